//! Hive Metastores for a test, by `metastore.sh`: on loopback, in a directory of their own, and gone with the test, however it ends.

use std::sync::OnceLock;

use crate::hosted::{self, Hosted};

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
    server: Hosted,
}

impl Server {
    /// Starts one with an empty database.
    pub(crate) fn start(version: Version) -> Self {
        let arguments = |port| arguments(version, port);
        Self { version, server: Hosted::start("metastore.sh", hosted::directory("metastore"), 1, arguments) }
    }

    /// The one that tests share which need nothing special of it.
    pub(crate) fn shared(version: Version) -> &'static Self {
        static SHARED: [OnceLock<Server>; 3] = [const { OnceLock::new() }; 3];
        SHARED[version as usize].get_or_init(|| Self::start(version))
    }

    /// Where it answers.
    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    /// SIGKILL, at this very moment; its data stay.
    pub(crate) fn kill(&self) {
        assert!(self.server.run("kill", &[]));
    }

    /// Starts it again with the same data and port.
    pub(crate) fn start_again(&self) {
        assert!(self.server.run("start", &arguments(self.version, self.port())), "the metastore did not start again");
    }
}

fn arguments(version: Version, port: u16) -> Vec<String> {
    vec![version.number().to_owned(), port.to_string()]
}
