//! What cannot go on holds back what comes behind it, up to the reader of the binlog; one table that stands still holds back nobody.

use serde_json::json;

use super::{assert_within, peak_mib};
use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::Server;

const MEMORY_MIB: u64 = 64;
const LOG_MIB: u64 = 8;

/// A body of about 900 bytes that nothing in another row repeats: what the log compresses away fills nothing.
fn body() -> String {
    let parts: Vec<String> = (0..7).map(|part| format!("SHA2(id * 7 + {part}, 512)")).collect();
    format!("CONCAT({})", parts.join(", "))
}

/// Fills `table`, from `first` on; each thousand rows are a transaction.
async fn fill(server: &Server, table: &str, first: u64, thousands: u64) {
    let statement = |thousand: u64| {
        let (from, to) = (first + thousand * 1000, first + thousand * 1000 + 999);
        format!(
            "INSERT INTO {table} WITH RECURSIVE n (id) AS (SELECT {from} UNION ALL SELECT id + 1 FROM n WHERE id < {to}) \
             SELECT id, {} FROM n",
            body()
        )
    };
    server.execute(&(0..thousands).map(statement).collect::<Vec<_>>()).await;
}

async fn prepared(database: &str, tables: &[&str]) -> (&'static Server, Scene, Vec<String>) {
    let server = Server::shared();
    server.create_database(database).await;
    for table in tables {
        server.execute(&[format!("CREATE TABLE {database}.{table} (id INT NOT NULL PRIMARY KEY, body VARCHAR(2000))")]).await;
    }
    let mut scene = Scene::new(server, &[format!("{{table: {database}.*}}")]);
    scene.edit(|yaml| {
        yaml.more = format!("memory: {MEMORY_MIB}MiB\n");
        yaml.changelog = format!(", max_bytes: {LOG_MIB}MiB");
    });
    let names = tables.iter().map(|table| format!("{database}.{table}")).collect();
    (server, scene, names)
}

/// What the change log takes on the disk, in MiB.
fn log_mib(scene: &Scene) -> u64 {
    let files = std::fs::read_dir(scene.path("state/changelog")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>() >> 20
}

fn rows(reader: &mut Reader, scene: &Scene, table: &str) -> u64 {
    let files = scene.files(table);
    if files.is_empty() {
        return 0;
    }
    reader.query("SELECT count(*) FROM t", &[("t", &files)])[0][0].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_lake_holds_the_binlog_reader_back_and_memory_stays_flat() {
    let (server, mut scene, tables) = prepared("slow", &["t"]).await;
    scene.variables.push(("BINLAKE_SLOW_LAKE_MS", "700".to_owned()));
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let beginning = peak_mib(&daemon);
    // Much more than the change log may hold.
    fill(server, "slow.t", 1, 40).await;
    daemon.wait_for("reader that is held back", |_| scene.has_logged("waiting for the writers"));
    let mut reader = Reader::start();
    let mut most = 0;
    daemon.wait_for("all rows in the lake", |_| {
        most = most.max(log_mib(&scene));
        rows(&mut reader, &scene, "slow.t") == 40_000
    });
    // Free pages and the write-ahead log beside what is live.
    assert!(most <= 8 * LOG_MIB + 64, "the change log took {most} MiB");
    println!("{beginning} MiB before, {} MiB at most; the change log took {most} MiB", peak_mib(&daemon));
    assert_within(&daemon, MEMORY_MIB);
    daemon.stop();
    scene.variables.clear();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_table_holds_nobody_back_when_the_log_is_full_and_a_rebuild_brings_it_back() {
    let (server, scene, tables) = prepared("stalled", &["one", "two"]).await;
    let [one, two] = [tables[0].as_str(), tables[1].as_str()];
    fill(server, one, 1, 1).await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    daemon.stop();
    // Parks it, and its changes are captured all the same.
    std::fs::remove_dir_all(scene.path("lake/ods_stalled/one")).unwrap();
    let mut daemon = Daemon::start(&scene);
    let reason = daemon.wait_parked(one);
    assert!(reason.contains("rebuild"), "{reason}");
    // Three times what the log holds goes by, of both tables.
    let mut reader = Reader::start();
    for round in 0..3 {
        fill(server, one, 10_001 + round * 10_000, 10).await;
        fill(server, two, 1 + round * 10_000, 10).await;
        daemon.wait_for("rows of the other table", |status| {
            assert_eq!(status.phase(two), "live", "the other table does not stay live: {:?}", status.parked(two));
            rows(&mut reader, &scene, two) == (round + 1) * 10_000
        });
    }
    assert_eq!(scene.status().phase(one), "parked");
    assert_within(&daemon, MEMORY_MIB);
    scene.good(&["rebuild", one]);
    daemon.wait_live_again(&tables);
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_table_whose_changes_went_parks_when_it_is_resumed_and_says_what_helps() {
    let (server, scene, tables) = prepared("evicted", &["one", "two"]).await;
    let [one, two] = [tables[0].as_str(), tables[1].as_str()];
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    scene.good(&["pause", one]);
    daemon.wait_for("paused table", |status| status.phase(one) == "paused");
    let mut reader = Reader::start();
    fill(server, one, 1, 20).await;
    fill(server, two, 1, 10).await;
    daemon.wait_for("rows of the other table", |_| rows(&mut reader, &scene, two) == 10_000);
    scene.good(&["resume", one]);
    let reason = daemon.wait_parked(one);
    assert!(reason.contains("is gone") && reason.contains("binlake rebuild"), "{reason}");
    scene.good(&["rebuild", one]);
    daemon.wait_for("rebuilt table", |status| {
        status.phase(one) == "live" && json!(rows(&mut reader, &scene, one)) == json!(20_000)
    });
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_larger_than_the_change_log_passes_it_also_behind_a_crash() {
    let (server, scene, tables) = prepared("oversized", &["t"]).await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    // Several times what the log may hold, in one transaction, behind some that the writer has to take first.
    fill(server, "oversized.t", 1, 5).await;
    server
        .execute(&[
            "SET SESSION cte_max_recursion_depth = 100000".to_owned(),
            format!(
                "INSERT INTO oversized.t WITH RECURSIVE n (id) AS (SELECT 10001 UNION ALL SELECT id + 1 FROM n WHERE id < 50000) \
                 SELECT id, {} FROM n",
                body()
            ),
        ])
        .await;
    daemon.wait_for("change log that is full of it", |_| log_mib(&scene) >= LOG_MIB);
    daemon.kill();
    let mut daemon = Daemon::start(&scene);
    let mut reader = Reader::start();
    daemon.wait_for("all of the transaction", |_| rows(&mut reader, &scene, "oversized.t") == 45_000);
    assert_within(&daemon, MEMORY_MIB);
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}
