//! A server of a test, by one of the scripts here: on loopback, in a directory of its own, and gone with the test, however it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::keeper::Keeper;

/// A running server.
#[derive(Debug)]
pub(crate) struct Hosted {
    script: PathBuf,
    directory: PathBuf,
    port: u16,
    _keeper: Keeper,
}

/// The first of so many ports in a row that nobody listens on at this moment.
fn free_ports(count: u16) -> u16 {
    loop {
        let any = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Below the ports that outgoing connections get, lest one of these takes a server's while it is down.
        let port = 10_000 + any % 20_000;
        if (port..port + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}

/// A directory for a server of this name.
pub(crate) fn directory(name: &str) -> PathBuf {
    tempfile::Builder::new().prefix(&format!("binlake-{name}.")).tempdir().unwrap().keep()
}

impl Hosted {
    /// Starts it in a directory that goes with it, on so many ports in a row; `arguments` are those of the script's `start` behind the
    /// directory, for the first port.
    pub(crate) fn start(script: &str, directory: PathBuf, ports: u16, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(script);
        let places = [&script, &directory].map(|place| place.to_str().unwrap());
        let keeper = Keeper::new(r#""$1" kill "$2"; rm -rf "$2""#, &places);
        let mut server = Self { script, directory, port: 0, _keeper: keeper };
        // Another process may take a port between the choice and the start.
        for _ in 0..3 {
            server.port = free_ports(ports);
            if server.run("start", &arguments(server.port)) {
                return server;
            }
            server.run("kill", &[]);
        }
        panic!("{} did not start: see above", server.script.display());
    }

    /// Runs a command of the script, with its directory and more arguments; whether it went well.
    pub(crate) fn run(&self, command: &str, arguments: &[String]) -> bool {
        Command::new(&self.script).arg(command).arg(&self.directory).args(arguments).status().unwrap().success()
    }

    /// The first port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where its files are.
    #[allow(dead_code, reason = "each user of this file needs other parts")]
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}
