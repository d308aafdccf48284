//! The servers' set-ups under which a value must be the same: one server each for all tests here.

use std::sync::OnceLock;

use super::columns::Dialect;
use crate::scene::Scene;
use crate::server::{Kind, Server};

/// How a server is set up, and what the YAML says about it.
#[derive(Debug)]
pub(super) struct Setup {
    /// For databases and messages.
    pub(super) name: &'static str,
    kind: Kind,
    options: &'static [&'static str],
    /// The server's own time zone: what `TZ` says.
    server_zone: &'static str,
    /// The zone that the daemon runs in, which must not matter.
    our_zone: &'static str,
    /// `lake.datetime_zone`.
    pub(super) datetime_zone: &'static str,
    /// `lake.datetime`.
    pub(super) datetime: &'static str,
    server: OnceLock<Server>,
}

/// Names in table maps, GTIDs, UTC.
pub(super) static PLAIN: Setup = Setup {
    name: "plain",
    kind: Kind::Mysql,
    options: &["--default-time-zone=+00:00"],
    server_zone: "UTC",
    our_zone: "Pacific/Auckland",
    datetime_zone: "UTC",
    datetime: "instant",
    server: OnceLock::new(),
};

/// As little as a server may tell: no names, no GTIDs, no checksums; a zone that is half an hour off, and a lax `sql_mode`.
pub(super) static SPARSE: Setup = Setup {
    name: "sparse",
    kind: Kind::Mysql,
    options: &[
        "--binlog-row-metadata=MINIMAL",
        "--gtid-mode=OFF",
        "--enforce-gtid-consistency=OFF",
        "--binlog-checksum=NONE",
        "--default-time-zone=+05:30",
        "--sql-mode=",
        "--character-set-server=latin1",
    ],
    server_zone: "UTC",
    our_zone: "America/New_York",
    datetime_zone: "Asia/Kolkata",
    datetime: "instant",
    server: OnceLock::new(),
};

/// Compressed transactions and partial documents, in a zone with daylight saving.
pub(super) static DENSE: Setup = Setup {
    name: "dense",
    kind: Kind::Mysql,
    options: &["--binlog-transaction-compression=ON", "--binlog-row-value-options=PARTIAL_JSON"],
    server_zone: "EST5EDT,M3.2.0,M11.1.0",
    our_zone: "Asia/Kolkata",
    datetime_zone: "UTC",
    datetime: "string",
    server: OnceLock::new(),
};

/// MariaDB with all it may tell, compressed.
pub(super) static MARIA: Setup = Setup {
    name: "maria",
    kind: Kind::Mariadb("11.8"),
    options: &["--log-bin-compress=ON", "--log-bin-compress-min-len=10", "--default-time-zone=+05:30"],
    server_zone: "UTC",
    our_zone: "America/New_York",
    datetime_zone: "Asia/Kolkata",
    datetime: "instant",
    server: OnceLock::new(),
};

/// An older MariaDB that tells little, in a zone with daylight saving.
pub(super) static OLD_MARIA: Setup = Setup {
    name: "old_maria",
    kind: Kind::Mariadb("10.11"),
    options: &["--binlog-row-metadata=MINIMAL", "--binlog-checksum=NONE", "--sql-mode=", "--character-set-server=latin1"],
    server_zone: "EST5EDT,M3.2.0,M11.1.0",
    our_zone: "Asia/Kolkata",
    datetime_zone: "UTC",
    datetime: "string",
    server: OnceLock::new(),
};

impl Setup {
    /// What its server knows.
    pub(super) fn dialect(&self) -> Dialect {
        match self.kind {
            Kind::Mysql => Dialect::Mysql,
            Kind::Mariadb("10.11") => Dialect::OldMariadb,
            Kind::Mariadb(_) => Dialect::Mariadb,
        }
    }

    /// The server, started by the first test that asks.
    pub(super) fn server(&'static self) -> &'static Server {
        self.server.get_or_init(|| {
            // Called from within a runtime, which must not be blocked on: another thread has another runtime.
            let starting = || Server::start_of(self.kind, self.server_zone, self.options);
            let start = move || tokio::runtime::Runtime::new().unwrap().block_on(starting());
            std::thread::spawn(start).join().unwrap()
        })
    }

    /// A daemon of this set-up that captures `tables`.
    pub(super) fn scene(&'static self, tables: &[String]) -> Scene {
        let mut scene = Scene::new(self.server(), tables);
        scene.edit(|yaml| {
            yaml.zone = self.datetime_zone.to_owned();
            yaml.lake = format!("  datetime: {}\n", self.datetime);
            yaml.our_zone = self.our_zone.to_owned();
        });
        scene
    }
}
