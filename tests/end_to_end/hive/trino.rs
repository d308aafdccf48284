//! Trino reads the lake, and no sum that it reads while commits and a rebuild go on is wrong.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::copies::{Engine, columns, reads_what_mysql_has};
use super::*;

/// Sums that are read while commits and a rebuild go on.
const SUMS: usize = 400;
/// Those that one start of the client asks for.
const AT_ONCE: usize = 50;

fn copying(table: &Table, name: &LakeName, into: &Path) -> String {
    let (columns, LakeName { database, table }) = (columns(table, '"'), name);
    format!(
        "CREATE TABLE {database}.{table}_copy WITH (format = 'PARQUET', external_location = 'file://{}') AS SELECT {columns} FROM {database}.{table};\n\
         DROP TABLE {database}.{table}_copy;\n",
        into.display(),
    )
}

fn trino(metastore: &MetastoreServer) -> Engine {
    Engine::start("Trino", "trino.sh", copying, metastore)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: an engine that is fetched for this test alone"]
async fn trino_reads_what_mysql_has() {
    reads_what_mysql_has(trino, "trino_reads", 74).await;
}

/// How many sums were asked for, and those that came: [`SUMS`] at least, and some behind the moment in which the table was rebuilt.
fn read_sums(trino: &Engine, rebuilt: &AtomicBool) -> (usize, Vec<String>) {
    let select = "SELECT CAST(sum(balance) AS bigint), count(*) FROM ods_bank.accounts;\n";
    let mut client = trino.client(&select.repeat(AT_ONCE));
    client.arg("--ignore-errors");
    let (mut asked, mut sums, mut last) = (0, Vec::new(), false);
    while asked < SUMS || !last {
        last = rebuilt.load(Ordering::SeqCst);
        let printed = String::from_utf8(client.output().unwrap().stdout).unwrap();
        sums.extend(printed.lines().map(str::to_owned));
        asked += AT_ONCE;
    }
    (asked, sums)
}

/// Every transfer touches two segments: a read that is torn shows another sum.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: an engine that is fetched for this test alone"]
async fn no_sum_that_trino_reads_is_wrong_while_commits_and_a_rebuild_go_on() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::start(Version::Four));
    let trino = tokio::task::block_in_place(|| trino(&metastore));
    let server = &Server::start(&[]).await;
    bank::prepare(server).await;
    let (scene, table) = (bank_scene(server, &metastore), "bank.accounts".to_owned());
    let tellers = Tellers::start(server, 0);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_for("first publication", |status| publication(status, &table)["shown"].is_string());
    let before = scene.status().commit(&table);
    let rebuilt = Arc::new(AtomicBool::new(false));
    let reads = std::thread::spawn({
        let rebuilt = Arc::clone(&rebuilt);
        move || read_sums(&trino, &rebuilt)
    });
    daemon.wait_for("commits", |status| status.commit(&table) > before.map(|seq| seq + 20));
    scene.good(&["rebuild", &table]);
    daemon.wait_for("the rebuilt table", |status| {
        publication(status, &table)["shown"].as_str().is_some_and(|shown| shown.starts_with("g0002"))
    });
    rebuilt.store(true, Ordering::SeqCst);
    let (asked, sums) = tokio::task::block_in_place(|| reads.join().unwrap());
    println!("{} of {asked} queries answered", sums.len());
    let expected = format!("{}\t{}", bank::ACCOUNTS * 100, bank::ACCOUNTS);
    let wrong: Vec<&String> = sums.iter().filter(|sum| **sum != expected).collect();
    assert!(wrong.is_empty(), "{} of {} sums are wrong: {wrong:?}", wrong.len(), sums.len());
    assert!(sums.len() * 2 > asked, "queries fail too often: {} of {asked} answered", sums.len());
    tellers.stop().await;
    daemon.stop();
}
