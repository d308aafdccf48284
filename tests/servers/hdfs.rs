//! A real HDFS for tests, by `hdfs.sh`: on loopback, in a directory of its own, and gone with the test, however it ends.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::hosted::{self, Hosted};

static SHARED: OnceLock<Hdfs> = OnceLock::new();

/// A NameNode and a DataNode.
#[derive(Debug)]
pub(crate) struct Hdfs(Hosted);

impl Hdfs {
    /// One of the test's own: it may be killed.
    pub(crate) fn start() -> Self {
        Self(Hosted::start("hdfs.sh", hosted::directory("hdfs"), 5, |port| vec![port.to_string()]))
    }

    /// The one that all tests of a process share.
    pub(crate) fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start)
    }

    /// The same, if a test has asked for it.
    #[allow(dead_code, reason = "each user of this file needs other parts")]
    pub(crate) fn started() -> Option<&'static Self> {
        SHARED.get()
    }

    /// The NameNode's.
    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }

    /// Where the DataNode gives files over HTTP.
    #[allow(dead_code, reason = "each user of this file needs other parts")]
    pub(crate) fn files_port(&self) -> u16 {
        self.0.port() + 4
    }

    /// A directory that nobody has, and that is not there.
    pub(crate) fn place() -> String {
        static MADE: AtomicU64 = AtomicU64::new(0);
        format!("lakes/{}", MADE.fetch_add(1, Ordering::Relaxed))
    }

    /// Kills `namenode` or `datanode`.
    pub(crate) fn kill(&self, node: &str) {
        assert!(self.0.run("kill", &[node.to_owned()]), "the {node} could not be killed");
    }

    /// Starts what does not run, and waits for it.
    pub(crate) fn revive(&self) {
        assert!(self.0.run("start", &[self.port().to_string()]), "HDFS did not come back");
    }

    /// Whether there is such a file or directory, by Hadoop's own shell.
    #[allow(dead_code, reason = "each user of this file needs other parts")]
    pub(crate) fn has(&self, path: &str) -> bool {
        self.shell(&["-test", "-e", path]).status.success()
    }

    /// All files below a directory.
    #[allow(dead_code, reason = "each user of this file needs other parts")]
    pub(crate) fn files(&self, directory: &str) -> Vec<String> {
        let listed = self.shell(&["-ls", "-R", directory]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let lines = String::from_utf8(listed.stdout).unwrap();
        lines.lines().filter(|line| line.starts_with('-')).map(|line| line[line.find('/').unwrap()..].to_owned()).collect()
    }

    fn shell(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/hdfs.sh");
        Command::new(script).arg("shell").arg(self.0.directory()).args(arguments).output().unwrap()
    }
}
