//! Transactions that are larger than `memory`: they spill, they come out whole, and no reader ever sees half of one.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::json;

use super::assert_within;
use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::lake::Reader;
use crate::scene::{Scene, Status};
use crate::server::Server;

/// One transaction: what there was is changed, and `rows` come, each of about `bytes`.
struct Size {
    rows: u64,
    bytes: u64,
    memory_mib: u64,
    limit: Duration,
}

const SMALL: Size = Size { rows: 100_000, bytes: 2_000, memory_mib: 64, limit: Duration::from_secs(120) };
/// 2 M rows, 4 GB of row events.
const HUGE: Size = Size { rows: 2_000_000, bytes: 2_000, memory_mib: 128, limit: Duration::from_secs(3600) };

const OLD_ROWS: u64 = 1000;

async fn large_transaction(database: &str, size: &Size, compressed: bool) -> (Server, Scene) {
    let server = Server::start(&[]).await;
    server.create_database(database).await;
    let old: Vec<String> = (1..=OLD_ROWS).map(|id| format!("({id},'before','')")).collect();
    server
        .execute(&[
            format!(
                "CREATE TABLE {database}.t (id INT NOT NULL PRIMARY KEY, state VARCHAR(10) NOT NULL, body VARCHAR(4000) NOT NULL)"
            ),
            format!("INSERT INTO {database}.t VALUES {}", old.join(",")),
        ])
        .await;
    let mut scene = Scene::new(&server, &[format!("{{table: {database}.t}}")]);
    scene.edit(|yaml| yaml.more = format!("memory: {}MiB\n", size.memory_mib));
    let tables = [format!("{database}.t")];
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    commit(&server, database, size, compressed).await;
    if size.rows == SMALL.rows {
        // In the middle of it: what it had spilled is of no use to anyone, and goes with the next start.
        daemon.wait_for("spilled batch", |_| spilled(&scene) > 0);
        assert_within(&daemon, size.memory_mib);
        daemon.kill();
        daemon = Daemon::start(&scene);
    }
    assert_comes_at_once(&mut daemon, &scene, &tables[0], size);
    daemon.wait_live(&tables);
    assert_within(&daemon, size.memory_mib);
    assert_eq!(spilled(&scene), 0, "something is left in scratch");
    daemon.stop();
    (server, scene)
}

async fn commit(server: &Server, database: &str, size: &Size, compressed: bool) {
    let mut connection = server.connect().await;
    let (first, last, hashes) = (OLD_ROWS + 1, OLD_ROWS + size.rows, size.bytes / 64);
    for statement in [
        format!("SET SESSION binlog_transaction_compression = {}", if compressed { "ON" } else { "OFF" }),
        format!("SET SESSION cte_max_recursion_depth = {last}, sql_log_bin = 1"),
        format!("USE {database}"),
        "BEGIN".to_owned(),
        "UPDATE t SET state = 'after'".to_owned(),
        format!(
            "INSERT INTO t WITH RECURSIVE n (id) AS (SELECT {first} UNION ALL SELECT id + 1 FROM n WHERE id < {last}) \
             SELECT id, 'after', REPEAT(SHA2(id, 256), {hashes}) FROM n"
        ),
        "COMMIT".to_owned(),
    ] {
        if let Err(error) = connection.query_drop(&statement).await {
            panic!("{statement}: {error}");
        }
    }
    connection.disconnect().await.unwrap();
}

fn spilled(scene: &Scene) -> usize {
    std::fs::read_dir(scene.path("state/scratch")).map_or(0, Iterator::count)
}

/// Looks at what readers see until all of the transaction is there: at any time it is all of it, or nothing.
fn assert_comes_at_once(daemon: &mut Daemon<'_>, scene: &Scene, table: &str, size: &Size) {
    let mut reader = Reader::start();
    let mut looks = 0;
    daemon.wait_long_for(size.limit, "whole transaction", |status: &Status| {
        if !status.daemon_running() {
            return false;
        }
        let files = scene.files(table);
        let query = "SELECT count(*), count(*) FILTER (state = 'after'), sum(length(body)) FROM t";
        let seen = reader.query(query, &[("t", &files)]).remove(0);
        looks += 1;
        let all = OLD_ROWS + size.rows;
        let (before, after) = (json!([OLD_ROWS, 0, 0]), json!([all, all]));
        let (whole, nothing) = (json!(seen[..2]) == after, json!([&seen[0], &seen[1]]) == json!([&before[0], &before[1]]));
        assert!(whole || nothing, "a reader saw half of a transaction: {seen:?}");
        whole
    });
    println!("{looks} looks of a reader");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_beyond_memory_spills_and_comes_at_once_also_behind_a_crash() {
    let (server, scene) = large_transaction("spilling", &SMALL, false).await;
    assert_equal(&scene, &server, &["spilling.t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_transaction_beyond_memory_is_never_held_and_comes_at_once() {
    let (server, scene) = large_transaction("packed", &SMALL, true).await;
    assert_equal(&scene, &server, &["packed.t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 4 GB of row events, and 20 GB of disk"]
async fn a_transaction_of_four_gigabytes_stays_below_memory() {
    large_transaction("huge", &HUGE, false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 4 GB of row events, and 20 GB of disk"]
async fn a_compressed_transaction_of_four_gigabytes_stays_below_memory() {
    large_transaction("hugepacked", &HUGE, true).await;
}
