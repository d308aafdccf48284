//! A source whose history does not go on where we stood: its tables park with reason, place and remedy, other sources go on, what was
//! committed stays readable, and the rebuild that is named recovers.

use crate::daemon::Daemon;
use crate::equality::{Kept, assert_equal};
use crate::loud_tables::names_a_place;
use crate::proxy::{Direction, Proxy};
use crate::scene::{Scene, Status};
use crate::server::Server;

const NAMES: [&str; 3] = ["one", "two", "calm"];
const WITHOUT_GTIDS: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];

/// A server behind an address, and a second one whose source is in the same YAML.
struct Stage {
    server: Server,
    address: Proxy,
    scene: Scene,
    calm: &'static Server,
    database: &'static str,
    tables: [String; 2],
}

impl Stage {
    async fn new(database: &'static str, options: &[&str]) -> Self {
        let server = Server::start(options).await;
        let calm = Server::shared();
        for server in [&server, calm] {
            server.create_small(database, &NAMES).await;
        }
        let address = Proxy::start(server.port()).await;
        let mut scene = Scene::new(&server, &[format!("{{table: {database}.one}}"), format!("{{table: {database}.two}}")]);
        scene.edit(|yaml| {
            yaml.url = format!("mysql://127.0.0.1:{}", address.port());
            yaml.second = Some((calm.port(), format!("{{table: {database}.calm}}")));
        });
        let tables = [format!("{database}.one"), format!("{database}.two")];
        Self { server, address, scene, calm, database, tables }
    }

    /// All that is to be there is: every table live, and both tables' states as they are now.
    async fn settled(&self) -> (Daemon<'_>, Vec<Kept>) {
        let mut daemon = Daemon::start(&self.scene);
        let mut all = self.tables.to_vec();
        all.push(format!("{}.calm", self.database));
        daemon.wait_live(&all);
        self.server.execute(&[format!("INSERT INTO {} VALUES (3,'seen')", self.tables[0])]).await;
        daemon.wait_for("row", |status| rows(status, &self.tables[0]) == Some(3));
        let mut kept = Vec::new();
        for table in &self.tables {
            kept.push(Kept::of(&self.scene, &self.server, table).await);
        }
        (daemon, kept)
    }

    /// Both tables park and say `reason`; the other source goes on; then a rebuild makes them right.
    async fn parks_and_recovers(&self, mut daemon: Daemon<'_>, kept: &[Kept], reason: &str, server: &Server) {
        for table in &self.tables {
            let said = daemon.wait_parked(table);
            assert!(said.contains(reason), "{reason:?} is not in {said}");
            assert!(names_a_place(&said), "no place in {said}");
            assert!(said.contains("binlake rebuild"), "the remedy is not in {said}");
        }
        let calm = format!("{}.calm", self.database);
        self.calm.execute(&[format!("INSERT INTO {calm} VALUES (3,'goes on')")]).await;
        daemon.wait_for("row of the other source", |status| rows(status, &calm) == Some(3));
        for kept in kept {
            kept.assert_readable(&self.scene);
        }
        for table in &self.tables {
            self.scene.good(&["rebuild", table]);
        }
        daemon.wait_live_again(&self.tables);
        server.execute(&[format!("INSERT INTO {} VALUES (99,'after the rebuild')", self.tables[1])]).await;
        daemon.stop();
        self.scene.catch_up();
        assert_equal(&self.scene, server, &self.tables).await;
        assert_equal(&self.scene, self.calm, &[calm]).await;
    }
}

fn rows(status: &Status, table: &str) -> Option<u64> {
    status.table(table)?["rows"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binlog_that_was_purged() {
    let stage = Stage::new("purged", &[]).await;
    let (daemon, kept) = stage.settled().await;
    daemon.stop();
    stage
        .server
        .execute(&[
            "INSERT INTO purged.one VALUES (4,'nobody saw it')",
            "FLUSH BINARY LOGS",
            "FLUSH BINARY LOGS",
            "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY",
        ])
        .await;
    let daemon = Daemon::start(&stage.scene);
    stage.parks_and_recovers(daemon, &kept, "no longer has the binlog", &stage.server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_reset_while_the_daemon_ran() {
    let stage = Stage::new("resets", &[]).await;
    let (daemon, kept) = stage.settled().await;
    stage.server.execute(&["RESET BINARY LOGS AND GTIDS", "INSERT INTO resets.one VALUES (4,'in the new history')"]).await;
    // What ends the old stream in practice: the server closes it, or the connection breaks.
    stage.address.point(stage.server.port());
    stage.parks_and_recovers(daemon, &kept, "no longer has transactions that it sent us", &stage.server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_history_that_is_longer_than_the_old_position() {
    for (database, options) in [("longer", &[][..]), ("longer_plain", &WITHOUT_GTIDS)] {
        let stage = Stage::new(database, options).await;
        let (daemon, kept) = stage.settled().await;
        daemon.stop();
        let mut statements = vec!["RESET BINARY LOGS AND GTIDS".to_owned()];
        statements.extend((10..80).map(|id| format!("INSERT INTO {database}.one VALUES ({id},'{id}')")));
        statements.push("FLUSH BINARY LOGS".to_owned());
        statements.extend((100..160).map(|id| format!("INSERT INTO {database}.one VALUES ({id},'{id}')")));
        stage.server.execute(&statements).await;
        // A run that only catches up must not take it for having nothing to do.
        let ended = stage.scene.catch_up_badly().text();
        assert!(ended.contains("was rewritten"), "{ended}");
        let daemon = Daemon::start(&stage.scene);
        stage.parks_and_recovers(daemon, &kept, "was rewritten", &stage.server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_without_gtids() {
    let stage = Stage::new("plain", &WITHOUT_GTIDS).await;
    let other = Server::start(&WITHOUT_GTIDS).await;
    other.create_small("plain", &NAMES).await;
    let (daemon, kept) = stage.settled().await;
    stage.address.point(other.port());
    stage.parks_and_recovers(daemon, &kept, "server_uuid changed", &other).await;
}

/// The server tells replicas apart by the uuid that they announce, and ours is made from the source's name and `server_id`. So whoever takes
/// our place is another daemon with a copy of our YAML and a state of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_with_our_name_and_server_id_is_named_and_nothing_is_lost() {
    let mut stage = Stage::new("clash", &[]).await;
    stage.scene.edit(|yaml| yaml.snapshot.push_str("\n    server_id: 7700"));
    let mut copy = Scene::new(&stage.server, &stage.scene.yaml.tables);
    copy.edit(|yaml| (yaml.name, yaml.snapshot) = (stage.scene.yaml.name.clone(), stage.scene.yaml.snapshot.clone()));
    let (mut daemon, _) = stage.settled().await;
    let mut other = Daemon::start(&copy);
    for daemon in [&mut daemon, &mut other] {
        let status = daemon.wait_for("clash", |status| {
            let reason = status.0["sources"][0]["reason"].as_str().unwrap_or_default();
            reason.contains("another replica with our server_id 7700") && reason.contains("end it, or set another server_id")
        });
        assert!(status.all_live(&stage.tables), "{}", status.0);
        stage.server.execute(&["INSERT INTO clash.one SELECT MAX(id) + 1, 'during the clash' FROM clash.one"]).await;
    }
    other.stop();
    daemon.wait_for("rows", |status| rows(status, "clash.one") == Some(5));
    daemon.stop();
    stage.scene.catch_up();
    assert_equal(&stage.scene, &stage.server, &stage.tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_dead_at_both_ends_is_found_out() {
    let stage = Stage::new("half_open", &[]).await;
    let (mut daemon, _) = stage.settled().await;
    stage.address.mute(Direction::ToServer);
    stage.address.mute(Direction::FromServer);
    stage.server.execute(&["INSERT INTO half_open.one VALUES (4,'into the void')"]).await;
    daemon.wait_for("row", |status| rows(status, "half_open.one") == Some(4));
    assert!(stage.scene.has_logged("the source stands still"), "nobody noticed");
    daemon.stop();
    stage.scene.catch_up();
    assert_equal(&stage.scene, &stage.server, &stage.tables).await;
}
