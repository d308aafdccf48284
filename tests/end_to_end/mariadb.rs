//! MariaDB as the source: what holds for MySQL, on both versions, and what is MariaDB's own.

use std::sync::OnceLock;
use std::time::Duration;

use mysql_async::prelude::Queryable;

use crate::bank::the_sum_stays;
use crate::changes::{parks_nothing, parks_on, truncates};
use crate::daemon::Daemon;
use crate::equality::{assert_equal, assert_no_duplicates};
use crate::lifecycle::{adds_and_removes, keeps_a_changelog, pauses, rebuilds};
use crate::scene::Scene;
use crate::server::{Kind, Server};
use crate::snapshots::equal_on;
use crate::workload::{self, MARIADB_SHAPES, Workload};

const OLDER: Kind = Kind::Mariadb("10.11");
const NEWER: Kind = Kind::Mariadb("11.8");

/// Everything that is long enough is compressed.
const COMPRESSED: [&str; 2] = ["--log-bin-compress=ON", "--log-bin-compress-min-len=10"];

async fn start(kind: Kind, options: &[&str]) -> Server {
    Server::start_a(kind, options).await
}

/// The server that tests share which need nothing special of one.
fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| {
        let start = || tokio::runtime::Runtime::new().unwrap().block_on(start(NEWER, &[]));
        std::thread::spawn(start).join().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_are_equal_on_10_11_with_compressed_events() {
    let options = ["--max-binlog-size=1048576", "--default-time-zone=+08:00"].into_iter().chain(COMPRESSED);
    equal_on(&start(OLDER, &options.collect::<Vec<_>>()).await, "older_compressed", &MARIADB_SHAPES, 31).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_are_equal_on_11_8() {
    equal_on(&start(NEWER, &["--max-binlog-size=1048576"]).await, "newer", &MARIADB_SHAPES, 32).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the other versions of tests that run always"]
async fn mirrors_are_equal_on_10_11() {
    equal_on(&start(OLDER, &["--binlog-row-metadata=MINIMAL"]).await, "older", &MARIADB_SHAPES, 33).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the other versions of tests that run always"]
async fn mirrors_are_equal_on_11_8_with_compressed_events() {
    equal_on(&start(NEWER, &COMPRESSED).await, "newer_compressed", &MARIADB_SHAPES, 34).await;
}

/// Kills in the load, in catching up and in the tail.
async fn survives_kills(kind: Kind) {
    let (server, database) = (start(kind, &[]).await, "killed");
    workload::prepare(&server, database, &MARIADB_SHAPES, 3000).await;
    let tables = workload::names(database, &MARIADB_SHAPES);
    let scene = Scene::new(&server, &[format!("{{table: {database}.ordinary, mode: both}}"), format!("{{table: {database}.*}}")]);
    let load = Workload::start(&server, database, &MARIADB_SHAPES, 21).await;
    load.commits(20).await;
    for _ in 0..4 {
        let mut daemon = Daemon::start(&scene);
        daemon.wait_for("rows", |status| tables.iter().any(|table| status.snapshot_rows(table) > 0));
        daemon.kill();
    }
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    daemon.kill();
    for _ in 0..4 {
        let mut daemon = Daemon::start(&scene);
        let before = scene.status().commit("killed.ordinary");
        daemon.wait_for("another commit", |status| status.commit("killed.ordinary") > before);
        daemon.kill();
    }
    load.stop().await;
    scene.catch_up();
    assert!(scene.files("killed.ordinary").iter().all(|file| file.contains("/g0001/")), "a table was built anew");
    assert_no_duplicates(&scene, "killed.ordinary");
    assert_equal(&scene, &server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_on_11_8() {
    survives_kills(NEWER).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the other versions of tests that run always"]
async fn killed_under_load_on_10_11() {
    survives_kills(OLDER).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the other versions of tests that run always"]
async fn no_read_shows_another_sum_on_11_8() {
    the_sum_stays(shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_followed_or_parks() {
    let server = shared();
    truncates(server).await;
    let more = [
        "CREATE SEQUENCE harmless.counter",
        "SELECT NEXTVAL(harmless.counter)",
        "CREATE OR REPLACE TABLE harmless.later (id INT) ENGINE=Aria",
        "INSERT INTO harmless.later VALUES (1)",
        "DROP TABLE harmless.later",
        "SET STATEMENT max_statement_time = 10 FOR ANALYZE TABLE harmless.one",
        "DROP SEQUENCE harmless.counter",
    ];
    parks_nothing(server, &more).await;
    let statement = "ALTER TABLE altered.one ADD COLUMN more INT NULL";
    parks_on(server, "altered", statement, statement, &[]).await;
    let statement = "SET STATEMENT max_statement_time = 60 FOR ALTER TABLE waited.one WAIT 5 ADD COLUMN more INT NULL";
    parks_on(server, "waited", statement, statement, &[]).await;
    let statement = "CREATE OR REPLACE TABLE replaced.one (id INT NOT NULL PRIMARY KEY, other INET6 NULL)";
    parks_on(server, "replaced", statement, statement, &["INSERT INTO replaced.one VALUES (1, '::1')"]).await;
    let statement = "RENAME TABLE renamed.one TO renamed.gone";
    parks_on(server, "renamed", statement, statement, &["RENAME TABLE renamed.gone TO renamed.one"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_go_pause_and_are_rebuilt() {
    let server = shared();
    keeps_a_changelog(server).await;
    adds_and_removes(server).await;
    pauses(server).await;
    rebuilds(server).await;
}

/// A server that is killed goes on with its own history; what it had not made durable was not captured either.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_killed_under_load() {
    let server = start(OLDER, &[]).await;
    let database = "crashing";
    workload::prepare(&server, database, &MARIADB_SHAPES[..4], 200).await;
    let tables = workload::names(database, &MARIADB_SHAPES[..4]);
    let scene = Scene::new(&server, &[format!("{{table: {database}.*}}")]);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    for seed in [41, 42] {
        let load = Workload::start(&server, database, &MARIADB_SHAPES[..4], seed).await;
        load.commits(150).await;
        // An XA transaction that is prepared when the server dies is committed when it is back.
        let mut other = server.connect().await;
        for statement in [
            format!("XA START 'left-{seed}'"),
            format!("INSERT INTO {database}.ordinary (id, n) VALUES ({}, {seed})", 7000 + seed),
            format!("XA END 'left-{seed}'"),
            format!("XA PREPARE 'left-{seed}'"),
        ] {
            other.query_drop(statement).await.unwrap();
        }
        load.stop().await;
        server.kill();
        server.start_again();
        server.execute(&[format!("XA COMMIT 'left-{seed}'")]).await;
    }
    daemon.wait_live(&tables);
    daemon.stop();
    scene.catch_up();
    assert!(scene.files("crashing.ordinary").iter().all(|file| file.contains("/g0001/")), "a table was built anew");
    assert_equal(&scene, &server, &tables).await;
}

/// What cannot be kept right is refused by name; the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_refused() {
    let server = shared();
    server.create_database("refused").await;
    server
        .execute(&[
            "CREATE TABLE refused.kept (id INT NOT NULL PRIMARY KEY, n INT, g INT AS (n + 1) STORED)",
            "INSERT INTO refused.kept (id, n) VALUES (1, 1), (2, 2)",
            "CREATE TABLE refused.versioned (id INT NOT NULL PRIMARY KEY) WITH SYSTEM VERSIONING",
            "CREATE TABLE refused.hashed (id INT NOT NULL PRIMARY KEY, b BLOB UNIQUE)",
            "CREATE TABLE refused.generated (id INT NOT NULL PRIMARY KEY, g INT AS (id + 1) VIRTUAL)",
            "CREATE SEQUENCE refused.counter",
        ])
        .await;
    let scene = Scene::new(server, &["{table: refused.kept, columns: {exclude: [g]}}", "{table: refused.*}"]);
    let ended = scene.catch_up_badly().text();
    let status = scene.status();
    for (table, word) in [("versioned", "system-versioned"), ("hashed", "hash"), ("generated", "generated")] {
        let reason = status.parked(&format!("refused.{table}"));
        assert!(reason.as_ref().is_some_and(|reason| reason.contains(word)), "{table}: {reason:?}\n{ended}");
    }
    assert!(status.table("refused.counter").is_none(), "a sequence was taken for a table");
    server.execute(&["UPDATE refused.kept SET n = 7 WHERE id = 1", "DELETE FROM refused.kept WHERE id = 2"]).await;
    scene.catch_up_badly();
    let rows = crate::lake::Reader::start().query("SELECT id, n FROM t ORDER BY id", &[("t", &scene.files("refused.kept"))]);
    assert_eq!(serde_json::json!(rows), serde_json::json!([[1, 7]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_what_is_missing_on_mariadb() {
    let server = shared();
    server.create_database("checked").await;
    server.execute(&["CREATE TABLE checked.one (id INT NOT NULL PRIMARY KEY)"]).await;
    let mut scene = Scene::new(server, &["{table: checked.one}"]);
    let good = scene.good(&["check"]);
    assert!(good.contains("MariaDB 11.8"), "{good}");
    server.create_user("mariadb_reader", "SELECT").await;
    scene.edit(|yaml| yaml.user = "mariadb_reader".to_owned());
    let ended = scene.run(&["check"]);
    assert_eq!(ended.code, Some(1), "{}", ended.text());
    for right in ["GRANT BINLOG MONITOR", "GRANT SLAVE MONITOR", "GRANT REPLICATION SLAVE"] {
        assert!(ended.text().contains(right), "{right}: {}", ended.text());
    }
}

async fn position(server: &Server, variable: &str) -> String {
    let mut connection = server.connect().await;
    let position: Option<String> = connection.query_first(format!("SELECT @@GLOBAL.{variable}")).await.unwrap();
    connection.disconnect().await.unwrap();
    position.unwrap()
}

/// Waits until a replica has taken everything that its source has written.
async fn replicated(source: &Server, replica: &Server) {
    let wanted = position(source, "gtid_binlog_pos").await;
    let wait = async {
        while position(replica, "gtid_slave_pos").await != wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the replica follows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_by_gtid() {
    let source = start(NEWER, &[]).await;
    let replica = start(NEWER, &["--server-id=2", "--log-slave-updates=ON"]).await;
    replica
        .execute(&[
            // The user that every server is given is in both histories.
            "RESET MASTER".to_owned(),
            "SET GLOBAL gtid_slave_pos = '0-1-2'".to_owned(),
            format!(
                "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='root', MASTER_SSL=0, MASTER_USE_GTID=slave_pos",
                source.port()
            ),
            "START SLAVE".to_owned(),
        ])
        .await;
    let database = "moving";
    workload::prepare(&source, database, &MARIADB_SHAPES[..4], 300).await;
    let tables = workload::names(database, &MARIADB_SHAPES[..4]);
    let mut scene = Scene::new(&source, &[format!("{{table: {database}.*}}")]);
    let load = Workload::start(&source, database, &MARIADB_SHAPES[..4], 51).await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    load.commits(200).await;
    load.stop().await;
    daemon.stop();
    // Of MariaDB's GTIDs one in their midst cannot be asked for again: with an XA transaction prepared at this place the tables would park.
    scene.catch_up();
    let load = Workload::start(&source, database, &MARIADB_SHAPES[..4], 53).await;
    load.commits(50).await;
    load.stop().await;
    replicated(&source, &replica).await;
    replica.execute(&["STOP SLAVE"]).await;
    source.kill();

    let load = Workload::start(&replica, database, &MARIADB_SHAPES[..4], 52).await;
    load.commits(100).await;
    load.stop().await;
    scene.edit(|yaml| yaml.url = format!("mysql://127.0.0.1:{}", replica.port()));
    scene.catch_up();
    assert!(scene.files("moving.ordinary").iter().all(|file| file.contains("/g0001/")), "a table was built anew");
    assert_eq!(scene.status().0["sources"][0]["position"]["epoch"], 1, "{}", scene.status().0);
    assert_equal(&scene, &replica, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binlog_that_is_encrypted_at_rest_is_read() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "1;a7addd9adea9978fda19f21e6be987880e68ac92632ca052e5bb42b1a506939a\n").unwrap();
    let file = format!("--file-key-management-filename={}", keys.path().display());
    let server = start(OLDER, &["--plugin-load-add=file_key_management", &file, "--encrypt-binlog=ON"]).await;
    server.create_database("sealed").await;
    server.execute(&["CREATE TABLE sealed.one (id INT NOT NULL PRIMARY KEY)", "INSERT INTO sealed.one VALUES (1), (2)"]).await;
    let scene = Scene::new(&server, &["{table: sealed.one}"]);
    scene.catch_up();
    // From the middle of the file as well.
    server.execute(&["INSERT INTO sealed.one VALUES (3)", "DELETE FROM sealed.one WHERE id = 1"]).await;
    scene.catch_up();
    assert_equal(&scene, &server, &["sealed.one"]).await;
}
