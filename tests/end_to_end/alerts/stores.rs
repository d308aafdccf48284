//! Alerts about what lies below and beside the tables: the lake, the change log, the metastore, the memory.

use super::listening;
use super::prometheus::Prometheus;
use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::metastore;
use crate::mount::Mount;
use crate::server::Server;

pub(super) const LOCKED: &[&str] = &[
    "BinlakeCommitFailures",
    "BinlakeStale",
    "BinlakeChangeLogFull",
    "BinlakeLag",
    "BinlakeNoProgress",
    "BinlakeUnacknowledged",
];
pub(super) const UNSHOWN: &[&str] = &["BinlakeMetastoreBehind"];
pub(super) const LARGE: &[&str] = &["BinlakeMemory"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: the daemon's waits between two tries grow"]
async fn a_lake_that_cannot_be_written_to_fires_down_to_the_source_and_ends() {
    // Its own: of one that others write to there is always something that the change log has not.
    let server = &Server::start(&[]).await;
    server.create_database("alerted_locked").await;
    let table = "alerted_locked.one".to_owned();
    server.execute(&[format!("CREATE TABLE {table} (id INT NOT NULL PRIMARY KEY, note MEDIUMBLOB NULL)")]).await;
    let (mut scene, address) = listening(server, std::slice::from_ref(&table));
    scene.edit(|yaml| yaml.changelog = ", max_bytes: 4MiB".to_owned());
    let lake = Mount::new(&scene.path("lake"), 64 << 10);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(std::slice::from_ref(&table));
    let limits = [
        ("BinlakeCommitFailures", "> 3", "> 0.5"),
        ("BinlakeStale", "> 900", "> 4"),
        ("BinlakeLag", "> 300", "> 3"),
        ("BinlakeUnacknowledged", "> 60", "> 3"),
    ];
    let mut prometheus = Prometheus::start(&address, &limits);
    prometheus.wait_quiet();
    lake.lock();
    // The log takes some of them, and then no more.
    let noise = format!("CONCAT({})", ["RANDOM_BYTES(1024)"; 64].join(","));
    for id in 0..128 {
        server.execute(&[format!("INSERT INTO {table} VALUES ({id}, {noise})")]).await;
    }
    prometheus.wait_firing(LOCKED);
    let stands = daemon.wait_for("words of the full log", |status| {
        status.0["sources"][0]["reason"].as_str().is_some_and(|reason| reason.contains("the change log is full"))
    });
    assert!(stands.0["sources"][0]["remedy"].as_str().unwrap().contains("max_bytes"), "{stands:?}");
    lake.unlock();
    prometheus.wait_quiet();
    daemon.wait_for("no word of it any more", |status| status.0["sources"][0]["reason"].is_null());
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &[&table]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a Hive Metastore twice"]
async fn a_metastore_that_is_away_fires_and_ends() {
    let server = Server::shared();
    let tables = server.create_small("alerted_unshown", &["one"]).await;
    let metastore = metastore::Server::start(metastore::Version::Four);
    let (mut scene, address) = listening(server, &tables);
    scene.edit(|yaml| yaml.lake = format!("  metastore: thrift://127.0.0.1:{}\n", metastore.port()));
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let mut prometheus = Prometheus::start(&address, &[("BinlakeMetastoreBehind", "> 600", "> 2")]);
    prometheus.wait_quiet();
    assert_eq!(prometheus.result("binlake_metastore_behind_seconds"), ["0"]);
    metastore.kill();
    server.execute(&[format!("INSERT INTO {} VALUES (70, 'unshown')", tables[0])]).await;
    prometheus.wait_firing(UNSHOWN);
    metastore.start_again();
    prometheus.wait_quiet();
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "moves a hundred megabytes"]
async fn memory_that_is_used_fires_and_ends_with_the_process() {
    let server = Server::shared();
    server.create_database("alerted_large").await;
    let table = "alerted_large.one".to_owned();
    server.execute(&[format!("CREATE TABLE {table} (id INT NOT NULL PRIMARY KEY, note LONGTEXT NULL)")]).await;
    let (mut scene, address) = listening(server, std::slice::from_ref(&table));
    scene.edit(|yaml| yaml.more = "memory: 64MiB\n".to_owned());
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(std::slice::from_ref(&table));
    // A daemon that keeps its promise does not come to the shipped limit: one between what this one holds idle and what it holds then.
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let idle: f64 = line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap();
    let limit = (idle * 1024.0 + f64::from(12 << 20)) / f64::from((64 + 128) << 20);
    let mut prometheus = Prometheus::start(&address, &[("BinlakeMemory", "> 0.9", &format!("> {limit}"))]);
    prometheus.wait_quiet();
    // A row is held whole, at each step about twice.
    server.execute(&[format!("INSERT INTO {table} VALUES (1, REPEAT('0123456789', 1600000))")]).await;
    prometheus.wait_firing(LARGE);
    daemon.stop();
    let daemon = Daemon::start(&scene);
    prometheus.wait_quiet();
    daemon.stop();
}
