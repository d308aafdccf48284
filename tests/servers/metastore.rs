//! Hive Metastores for a test, by `metastore.sh`: on loopback, in a directory of their own, and gone with the test, however it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

/// A version that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// The oldest, and the one in Spark's own jars.
    Two,
    /// It compares nothing.
    Three,
    /// What is current.
    Four,
}

impl Version {
    fn number(self) -> &'static str {
        match self {
            Self::Two => "2.3.10",
            Self::Three => "3.1.3",
            Self::Four => "4.1.0",
        }
    }
}

/// A running metastore.
#[derive(Debug)]
pub(crate) struct Server {
    version: Version,
    directory: PathBuf,
    port: u16,
    /// A shell that ends the server when its input does: also when the test process is killed, or ends without dropping a static.
    keeper: Child,
    input: Option<ChildStdin>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/metastore.sh")
}

/// A port that nobody listens on at this moment, below those that outgoing connections get.
fn free_port() -> u16 {
    loop {
        let any = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = 10_000 + any % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Server {
    /// Starts one with an empty database.
    pub(crate) fn start(version: Version) -> Self {
        let directory = tempfile::Builder::new().prefix("binlake-metastore.").tempdir().unwrap().keep();
        let mut keeper = Command::new("sh")
            .args(["-c", r#"trap '' INT TERM HUP; read -r _; "$1" kill "$2"; rm -rf "$2""#, "keeper"])
            .args([script(), directory.clone()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = keeper.stdin.take();
        let mut server = Self { version, directory, port: 0, keeper, input };
        // Another process may take the port between the choice and the start.
        for _ in 0..3 {
            server.port = free_port();
            if server.launch() {
                return server;
            }
            server.kill();
        }
        panic!("the metastore did not start: see above");
    }

    /// The one that tests share which need nothing special of it.
    pub(crate) fn shared(version: Version) -> &'static Self {
        static SHARED: [OnceLock<Server>; 3] = [const { OnceLock::new() }; 3];
        SHARED[version as usize].get_or_init(|| Self::start(version))
    }

    fn launch(&self) -> bool {
        let arguments = [self.version.number().to_owned(), self.port.to_string()];
        Command::new(script()).arg("start").arg(&self.directory).args(arguments).status().unwrap().success()
    }

    /// Where it answers.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL, at this very moment; its data stay.
    pub(crate) fn kill(&self) {
        assert!(Command::new(script()).arg("kill").arg(&self.directory).status().unwrap().success());
    }

    /// Starts it again with the same data and port.
    pub(crate) fn start_again(&self) {
        assert!(self.launch(), "the metastore did not start again");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Err(error) = self.keeper.wait() {
            eprintln!("the metastore's keeper could not be waited for: {error}");
        }
    }
}
