//! A mirror that is cut by the days of a column, whose rows go from day to day: what its readers see by a metastore.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use binlake::trial::at;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::shown::Shown;
use super::spark::Spark;
use super::{assert_equal, is_shown, publication, publish_in};
use crate::daemon::Daemon;
use crate::lake::Reader;
use crate::metastore::{Server as MetastoreServer, Version};
use crate::scene::Scene;
use crate::server::Server;

const ROWS: i64 = 2000;
const DAYS: i64 = 8;
/// States that DuckDB and queries that Spark reads while rows move.
const READS: (usize, usize) = (120, 12);
const LIMIT: Duration = Duration::from_secs(240);

/// Parcels and the day each is due: some have none yet, and each weighs a hundred.
async fn prepare(server: &Server, database: &str) -> String {
    server.create_database(database).await;
    let due = |id: i64| match id % 10 {
        0 => "NULL".to_owned(),
        _ => format!("'2026-03-{:02} 23:{:02}:00.5'", 1 + id % DAYS, id % 60),
    };
    let parcels: Vec<String> = (1..=ROWS).map(|id| format!("({id},{},100,REPEAT('x', {}))", due(id), id % 90)).collect();
    server
        .execute(&[
            format!(
                "CREATE TABLE {database}.parcels (id INT NOT NULL PRIMARY KEY, due DATETIME(3) NULL, weight INT NOT NULL, note TEXT)"
            ),
            format!("INSERT INTO {database}.parcels VALUES {}", parcels.join(",")),
        ])
        .await;
    format!("{database}.parcels")
}

/// Every transaction moves two parcels to other days, or to none, and weight from one to the other.
fn movers(server: &Server, table: &str, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (address, table, stop) = (server.address(), table.to_owned(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut dice = StdRng::seed_from_u64(17);
        let mut connection = address.connect_again().await;
        while !stop.load(Ordering::Relaxed) {
            let (one, grams) = (dice.random_range(1..=ROWS), dice.random_range(1..50));
            let other = (one + dice.random_range(1..ROWS)) % ROWS + 1;
            connection.query_drop("START TRANSACTION").await.unwrap();
            for (id, grams) in [(one, grams), (other, -grams)] {
                let due = match dice.random_range(0..8) {
                    0 => "NULL".to_owned(),
                    day => format!("'2026-03-{:02} 00:00:00'", day + dice.random_range(0..3)),
                };
                let set = format!("UPDATE {table} SET due = {due}, weight = weight + {grams} WHERE id = {id}");
                connection.query_drop(set).await.unwrap();
            }
            connection.query_drop("COMMIT").await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        connection.disconnect().await.unwrap();
    })
}

fn scene_of(server: &Server, metastore: &MetastoreServer, table: &str) -> Scene {
    let mut scene = Scene::new(server, &[format!("{{table: {table}, partition_by: {{dt: due}}}}")]);
    publish_in(&mut scene, metastore);
    scene.edit(|yaml| {
        yaml.snapshot = "{parallel: 2, chunk_rows: 400}".to_owned();
        yaml.commit = "{interval: 200ms}".to_owned();
        yaml.lake.push_str("  file_bytes: 16KiB\n");
    });
    scene
}

/// What MySQL has of each day, as JSON rows: day, rows, sum of ids.
async fn days_of(server: &Server, table: &str) -> Vec<Vec<Value>> {
    let mut connection = server.connect().await;
    let query = format!("SELECT CAST(DATE(due) AS CHAR), COUNT(*), CAST(SUM(id) AS SIGNED) FROM {table} GROUP BY 1 ORDER BY 1");
    let rows: Vec<(Option<String>, i64, i64)> = connection.query(query).await.unwrap();
    connection.disconnect().await.unwrap();
    rows.into_iter().map(|(day, count, sum)| vec![json!(day), json!(count), json!(sum)]).collect()
}

/// The same by Spark, which asks for each day's partitions alone.
fn days_by(spark: &mut Spark, lake_table: &str) -> Vec<Vec<Value>> {
    spark.query(&format!("SELECT dt, count(*), sum(id) FROM {lake_table} GROUP BY dt ORDER BY dt NULLS FIRST"))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_to_other_days_are_in_one_of_them_at_every_moment() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::start(Version::Four));
    let server = &Server::start(&[]).await;
    let table = prepare(server, "by_day").await;
    let scene = scene_of(server, &metastore, &table);
    let (stop, lake_table) = (Arc::new(AtomicBool::new(false)), "ods_by_day.parcels");
    let mover = movers(server, &table, &stop);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_for("first publication", |status| publication(status, &table)["shown"].is_string());
    let (shown, name) = (Shown::by(&metastore), Shown::name("by_day", "parcels"));
    let expected = json!([[ROWS * 100, ROWS, ROWS]]);
    let sums = |from: &str| format!("SELECT CAST(sum(weight) AS BIGINT), count(*), count(DISTINCT id) FROM {from}");
    let mut spark = Spark::start(&metastore, Version::Four);
    let by_spark = std::thread::spawn({
        let (query, expected) = (sums(lake_table), expected.clone());
        move || {
            let reads = (0..READS.1).map(|_| spark.try_query(&query));
            let failed = reads.filter(|read| match read {
                Ok(read) => {
                    assert_eq!(json!(read), expected, "Spark saw a parcel twice, or not at all");
                    false
                }
                Err(error) => {
                    println!("Spark failed: {error}");
                    true
                }
            });
            failed.count()
        }
    });
    let (mut reader, mut seen, mut reads) = (Reader::start(), BTreeSet::new(), 0);
    let deadline = Instant::now() + LIMIT;
    while reads < READS.0 || seen.len() < 20 || !by_spark.is_finished() {
        assert!(daemon.runs() && Instant::now() < deadline, "{reads} reads of {} states", seen.len());
        if reads == READS.0 / 4 {
            scene.good(&["rebuild", &table]);
        }
        let files = shown.files(&name).await;
        let read = reader.query(&sums("p"), &[("p", &files)]);
        assert_eq!(json!(read), expected, "DuckDB saw a parcel twice, or not at all: {files:?}");
        seen.insert(files);
        reads += 1;
    }
    assert!(by_spark.join().unwrap() * 2 < READS.1, "Spark fails too often");
    assert!(seen.last().unwrap()[0].contains("/g0002/"), "the rebuild is shown");
    stop.store(true, Ordering::Relaxed);
    mover.await.unwrap();
    daemon.stop();
    scene.catch_up();
    let mut spark = Spark::start(&metastore, Version::Four);
    assert_equal(&scene, server, std::slice::from_ref(&table), &shown, &mut spark).await;
    let days = days_of(server, &table).await;
    assert!(days.len() as i64 > DAYS && days[0][0].is_null(), "{days:?}");
    assert_eq!(days_by(&mut spark, lake_table), days);
    // Hive's own reader shows the name of the partition without a day.
    spark.set_native(false);
    let named =
        [days[1..].to_vec(), vec![vec![json!("__HIVE_DEFAULT_PARTITION__"), days[0][1].clone(), days[0][2].clone()]]].concat();
    assert_eq!(days_by(&mut spark, lake_table), named);
    assert!(is_shown(&scene.status(), &table));
}

/// Killed around a commit that moves a row, and around its publication.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_a_row_moves_to_another_day_leaves_it_in_one() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::shared(Version::Two));
    let server = Server::shared();
    let table = prepare(server, "moved_and_killed").await;
    let scene = scene_of(server, metastore, &table);
    scene.catch_up();
    let (shown, name) = (Shown::by(metastore), Shown::name("moved_and_killed", "parcels"));
    let counted = |files: &[String]| Reader::start().query("SELECT count(*), count(DISTINCT id) FROM p", &[("p", files)]);
    for (number, point) in at::OF_PUBLICATION.iter().chain([&at::COMMITTED]).enumerate() {
        let due = format!("2026-04-{:02} 12:00:00", 1 + number);
        server.execute(&[format!("UPDATE {table} SET due = '{due}' WHERE id IN (7, 1999)")]).await;
        tokio::task::block_in_place(|| Daemon::die_at(&scene, point, 1));
        assert_eq!(json!(counted(&shown.files(&name).await)), json!([[ROWS, ROWS]]), "killed at {point}");
        scene.catch_up();
        assert_eq!(json!(counted(&scene.files(&table))), json!([[ROWS, ROWS]]), "killed at {point}");
    }
    let mut spark = Spark::start(metastore, Version::Two);
    assert_equal(&scene, server, std::slice::from_ref(&table), &shown, &mut spark).await;
    assert_eq!(days_by(&mut spark, "ods_moved_and_killed.parcels"), days_of(server, &table).await);
}
