//! The lake in a Hive Metastore: what Spark and DuckDB read at the places that it names, while all goes well and while it does not.

mod by_day;
mod copies;
mod days;
mod hiveserver;
mod int96;
mod shown;
mod spark;
mod trino;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use binlake::lake::LakeName;
use binlake::lake::metastore::{EXTERNAL, Metastore, PURGE, Table};
use binlake::trial::at;
use serde_json::{Value, json};

use crate::bank::{self, ACCOUNTS_PER_CHUNK, Tellers};
use crate::daemon::Daemon;
use crate::dump;
use crate::lake::Reader;
use crate::metastore::{Server as MetastoreServer, Version};
use crate::scene::{Scene, Status};
use crate::server::Server;
use crate::values::contract;
use crate::workload::{self, SHAPES, Workload};
use shown::Shown;
use spark::Spark;

/// Rows that every table starts with.
const ROWS: usize = 300;
/// How often a bank is read while commits, splits and a rebuild go on.
#[derive(Debug, Clone, Copy)]
struct Reads {
    duckdb: usize,
    spark: usize,
    /// How long they may take.
    limit: Duration,
}

/// Of a table that is not there.
static NOTHING: Value = Value::Null;

fn publish_in(scene: &mut Scene, metastore: &MetastoreServer) {
    scene.edit(|yaml| yaml.lake.push_str(&format!("  metastore: thrift://127.0.0.1:{}\n", metastore.port())));
}

/// What `status` says of a table's publication.
fn publication<'a>(status: &'a Status, table: &str) -> &'a Value {
    status.table(table).map_or(&NOTHING, |entry| &entry["publications"][0])
}

/// Whether the metastore shows a table's last commit.
fn is_shown(status: &Status, table: &str) -> bool {
    let publication = publication(status, table);
    publication["live"].is_string() && publication["live"] == publication["shown"]
}

async fn dumped(scene: &Scene, server: &Server, table: &str) -> std::path::PathBuf {
    let (database, name) = table.split_once('.').unwrap();
    let file = scene.path(&format!("{table}.hive.parquet"));
    let mut connection = server.connect().await;
    dump::dump(&mut connection, database, name, &file).await.unwrap();
    connection.disconnect().await.unwrap();
    file
}

/// Every cell of every table, read by DuckDB at the places of the metastore and by Spark through it.
async fn assert_equal(scene: &Scene, server: &Server, tables: &[String], shown: &Shown, spark: &mut Spark) {
    let mut jobs = Vec::new();
    for table in tables {
        let (database, name) = table.split_once('.').unwrap();
        let dump = dumped(scene, server, table).await;
        let files = shown.files(&Shown::name(database, name)).await;
        jobs.push(json!({"table": format!("{table}, DuckDB"), "dump": dump, "files": files}));
        let copied = spark.copy(&format!("ods_{database}.{name}"), &scene.path(&format!("{table}.spark")));
        jobs.push(json!({"table": format!("{table}, Spark"), "dump": dump, "files": copied}));
    }
    assert_same(&jobs);
}

/// Fails with every job that finds a difference.
fn assert_same(jobs: &[Value]) {
    let different: Vec<String> =
        Reader::start().compare(jobs).into_iter().filter(|(equal, _)| !equal).map(|(_, text)| text).collect();
    assert!(different.is_empty(), "what the metastore shows is not what MySQL has:\n{}", different.join("\n"));
}

/// Tables of every shape, of every layout and mode, in segments that are small.
async fn main_job(server: &Server, metastore: &MetastoreServer, database: &str) -> (Scene, Vec<String>) {
    workload::prepare(server, database, &SHAPES, ROWS).await;
    let items = [
        format!("{{table: {database}.ordinary, mode: both}}"),
        format!("{{table: {database}.composite, layout: single}}"),
        format!("{{table: {database}.days, partition_by: {{dt: day}}}}"),
        format!("{{table: {database}.uniquely, partition_by: {{dt: at}}, daily: true}}"),
        format!("{{table: {database}.*}}"),
    ];
    let mut scene = Scene::new(server, &items);
    publish_in(&mut scene, metastore);
    scene.edit(|yaml| yaml.lake.push_str("  file_bytes: 16KiB\n"));
    (scene, workload::names(database, &SHAPES))
}

/// The main job with one version of the metastore.
async fn engines_read_what_mysql_has(database: &'static str, version: Version) {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::shared(version));
    let server = Server::shared();
    let (scene, tables) = main_job(server, metastore, database).await;
    let (shown, mut spark) = (Shown::by(metastore), Spark::start(metastore, version));
    let checked = scene.good(&["check"]);
    let compares = if version == Version::Three { "takes a stale value" } else { "a stale value is refused" };
    assert!(checked.contains(compares), "{checked}");
    scene.catch_up();
    assert_equal(&scene, server, &tables, &shown, &mut spark).await;
    let load = Workload::start(server, database, &SHAPES, 71).await;
    let mut daemon = Daemon::start(&scene);
    load.commits(300).await;
    daemon.wait_live(&tables);
    load.stop().await;
    daemon.stop();
    scene.catch_up();
    spark.set_zone("Asia/Shanghai");
    assert_equal(&scene, server, &tables, &shown, &mut spark).await;
    let status = scene.status();
    assert!(tables.iter().all(|table| is_shown(&status, table)), "{:?}", status.0);
    let told = scene.good(&["status"]);
    assert!(!told.contains("metastore:"), "there is nothing to say: {told}");
    let writing = &status.table(&tables[0]).unwrap()["writing"];
    let is_known = writing["commits"].as_u64() > Some(0) && writing["amplification"].as_f64() > Some(0.0);
    assert!(is_known && told.contains("writes "), "{writing}\n{told}");

    // By Hive's own SerDe, and the changelog, day by day.
    spark.set_native(false);
    let count = |rows: Vec<Vec<Value>>| rows[0][0].as_u64().unwrap();
    let ordinary = format!("ods_{database}.ordinary");
    let by_serde = count(spark.query(&format!("SELECT count(id) FROM {ordinary}")));
    spark.set_native(true);
    assert_eq!(by_serde, count(spark.query(&format!("SELECT count(*) FROM {ordinary}"))));
    let changes = scene.changelog_files(&format!("{database}.ordinary"));
    let by_day = spark.query(&format!("SELECT count(*) FROM {ordinary}_changelog WHERE dt >= '2000-01-01'"));
    assert_eq!(by_day[0][0], Reader::start().query("SELECT count(*) FROM c", &[("c", &changes)])[0][0]);
    let table = shown.table(&Shown::name(database, "composite")).await;
    assert!(table.partitioned_by.is_empty(), "layout: single");
    assert_eq!((table.parameters.get(EXTERNAL).map(String::as_str), table.parameters.get(PURGE)), (Some("TRUE"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_read_what_mysql_has_by_a_metastore_of_version_2_3() {
    engines_read_what_mysql_has("hive_two", Version::Two).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a server that is fetched for this test alone"]
async fn engines_read_what_mysql_has_by_a_metastore_of_version_3_1() {
    engines_read_what_mysql_has("hive_three", Version::Three).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_read_what_mysql_has_by_a_metastore_of_version_4_1() {
    engines_read_what_mysql_has("hive_four", Version::Four).await;
}

/// What Hive calls a column of each type is what the document says.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_published_as_the_document_says() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::shared(Version::Four));
    let server = &Server::start(&[]).await;
    let samples = contract::samples();
    contract::make(server, &samples).await;
    let mut scene = Scene::new(server, &[format!("{{table: {}}}", contract::TABLE)]);
    publish_in(&mut scene, metastore);
    scene.catch_up();
    let text = std::fs::read_to_string(contract::document()).unwrap();
    let documented: Vec<&str> =
        text.lines().filter(|line| line.starts_with("| `")).map(|line| line.split(" | ").nth(3).unwrap()).collect();
    let table = Shown::by(metastore).table(&Shown::name("contract", "every")).await;
    let published: Vec<&str> = table.columns.iter().skip(1).map(|column| column.data_type.as_str()).collect();
    assert!(published.len() == samples.len() && published == documented[..published.len()], "{published:?}\n{documented:?}");
}

fn bank_scene(server: &Server, metastore: &MetastoreServer) -> Scene {
    let mut scene = Scene::new(server, &["{table: bank.accounts, layout: segments}"]);
    publish_in(&mut scene, metastore);
    scene.edit(|yaml| {
        yaml.snapshot = format!("{{parallel: 2, chunk_rows: {ACCOUNTS_PER_CHUNK}}}");
        yaml.commit = "{interval: 200ms}".to_owned();
        yaml.lake.push_str("  file_bytes: 16KiB\n");
    });
    scene
}

/// Every transfer touches two segments: a read that is torn shows another sum.
#[tokio::test(flavor = "multi_thread")]
async fn no_reader_of_the_metastore_sees_another_sum_while_commits_and_a_rebuild_go_on() {
    every_sum_is_right(Reads { duckdb: 160, spark: 16, limit: Duration::from_secs(300) }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: thousands of reads"]
async fn no_reader_of_thousands_sees_another_sum() {
    every_sum_is_right(Reads { duckdb: 3000, spark: 200, limit: Duration::from_secs(3600) }).await;
}

async fn every_sum_is_right(wanted: Reads) {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::start(Version::Four));
    let server = &Server::start(&[]).await;
    bank::prepare(server).await;
    let scene = bank_scene(server, &metastore);
    let table = "bank.accounts".to_owned();
    let tellers = Tellers::start(server, 0);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_for("first publication", |status| publication(status, &table)["shown"].is_string());
    let (shown, name) = (Shown::by(&metastore), Shown::name("bank", "accounts"));
    let expected = json!([[bank::ACCOUNTS * 100, bank::ACCOUNTS]]);
    let mut spark = Spark::start(&metastore, Version::Four);
    let by_spark = std::thread::spawn({
        let expected = expected.clone();
        move || {
            let mut failed = 0;
            for _ in 0..wanted.spark {
                match spark.try_query("SELECT CAST(sum(balance) AS BIGINT), count(*) FROM ods_bank.accounts") {
                    Ok(read) => assert_eq!(json!(read), expected, "Spark saw money that was not there"),
                    Err(error) => {
                        println!("Spark failed: {error}");
                        failed += 1;
                    }
                }
            }
            failed
        }
    });
    let (mut reader, mut seen, mut generations) = (Reader::start(), BTreeSet::new(), BTreeSet::new());
    let deadline = Instant::now() + wanted.limit;
    let mut reads = 0;
    while reads < wanted.duckdb || generations.len() < 2 || !by_spark.is_finished() {
        assert!(daemon.runs(), "the daemon ended");
        assert!(Instant::now() < deadline, "{reads} reads of {} states within {:?}", seen.len(), wanted.limit);
        if reads == wanted.duckdb / 4 {
            scene.good(&["rebuild", &table]);
        }
        let files = shown.files(&name).await;
        assert!(files.len() >= bank::SEGMENTS, "{files:?}");
        let read = reader.query("SELECT CAST(sum(balance) AS BIGINT), count(*) FROM a", &[("a", &files)]);
        assert_eq!(json!(read), expected, "DuckDB saw money that was not there: {files:?}");
        generations.insert(files[0].contains("/g0002/"));
        seen.insert(files);
        reads += 1;
    }
    let failed = by_spark.join().unwrap();
    println!(
        "{reads} reads of {} states, {} lists half changed, {failed} queries of Spark failed",
        seen.len(),
        shown.half_changed()
    );
    assert!(failed * 2 < wanted.spark && shown.half_changed() * 2 < reads as u64, "readers fail too often");
    assert!(seen.len() > 10, "{reads} reads saw {} states only", seen.len());
    tellers.stop().await;
    daemon.stop();
    scene.catch_up();
    let mut spark = Spark::start(&metastore, Version::Four);
    assert_equal(&scene, server, &[table], &shown, &mut spark).await;
}

/// Killed at any step of a publication; away; full of somebody else's tables.
#[tokio::test(flavor = "multi_thread")]
async fn publication_goes_on_after_kills_and_catches_up_when_the_metastore_is_back() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::start(Version::Four));
    let server = &Server::start(&[]).await;
    bank::prepare(server).await;
    let scene = bank_scene(server, &metastore);
    let table = "bank.accounts".to_owned();
    scene.catch_up();
    let (shown, name) = (Shown::by(&metastore), Shown::name("bank", "accounts"));
    let sum = |files: Vec<String>| {
        Reader::start().query("SELECT CAST(sum(balance) AS BIGINT) FROM a", &[("a", &files)])[0][0].as_i64().unwrap()
    };
    let mut expected = bank::ACCOUNTS * 100;
    for point in at::OF_PUBLICATION.iter().chain([&at::COMMITTED]) {
        server.execute(&["UPDATE bank.accounts SET balance = balance + 1 WHERE id IN (1, 3000)"]).await;
        expected += 2;
        tokio::task::block_in_place(|| Daemon::die_at(&scene, point, 1));
        let read = sum(shown.files(&name).await);
        assert!(read == expected || read == expected - 2, "killed at {point}: a reader sees {read}, not {expected}");
        scene.catch_up();
        assert_eq!(sum(shown.files(&name).await), expected, "killed at {point}");
    }

    let mut daemon = Daemon::start(&scene);
    daemon.wait_for("publication", |status| status.daemon_running() && is_shown(status, &table));
    let seq = scene.status().commit(&table);
    tokio::task::block_in_place(|| metastore.kill());
    for _ in 0..3 {
        let now = scene.status().commit(&table);
        server.execute(&["UPDATE bank.accounts SET balance = balance + 1 WHERE id IN (1, 3000)"]).await;
        expected += 2;
        daemon.wait_for("a commit without a metastore", |status| status.commit(&table) > now);
    }
    let status = scene.status();
    assert!(status.commit(&table) > seq.map(|seq| seq + 2), "commits go on");
    assert!(publication(&status, &table)["reason"].as_str().unwrap().contains("does not answer"), "{:?}", status.0);
    assert!(scene.good(&["status"]).contains("does not answer"));
    tokio::task::block_in_place(|| metastore.start_again());
    let read = sum(shown.files(&name).await);
    assert!((expected - 6..=expected).contains(&read), "readers keep what they had, or have what came since: {read}");
    daemon.wait_for("publication", |status| is_shown(status, &table));
    assert_eq!(sum(shown.files(&name).await), expected);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_somebody_else_is_left_alone_and_named() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::shared(Version::Four));
    let server = Server::shared();
    let tables = server.create_small("foreign_table", &["mine", "theirs"]).await;
    let mut scene = Scene::new(server, &["{table: foreign_table.*}"]);
    publish_in(&mut scene, metastore);
    scene.catch_up();
    let (shown, name) = (Shown::by(metastore), Shown::name("foreign_table", "theirs"));
    let mut theirs = shown.table(&name).await;
    theirs.parameters.retain(|key, _| !key.starts_with("binlake."));
    shown.metastore.alter_table(&name, &theirs, None).await.unwrap();
    server
        .execute(&["INSERT INTO foreign_table.theirs VALUES (3,'three')", "INSERT INTO foreign_table.mine VALUES (3,'three')"])
        .await;
    let ended = scene.catch_up_badly();
    assert!(ended.stderr.contains("that binlake did not make") && ended.stderr.contains("drop or rename"), "{}", ended.text());
    assert_eq!(shown.table(&name).await, theirs);
    let status = scene.status();
    assert!(is_shown(&status, &tables[0]) && !is_shown(&status, &tables[1]), "{:?}", status.0);
    shown.metastore.drop_table(&name).await.unwrap();
    scene.catch_up();
    assert!(is_shown(&scene.status(), &tables[1]));
}
