//! Trino reads the lake, and no sum that it reads while commits and a rebuild go on is wrong.

use std::path::Path;

use super::copies::{Engine, columns, reads_what_mysql_has};
use super::*;

/// Sums that are read while commits and a rebuild go on.
const SUMS: usize = 400;

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
    let select = "SELECT CAST(sum(balance) AS bigint), count(*) FROM ods_bank.accounts;\n";
    let mut client = trino.client(&select.repeat(SUMS));
    let reads = std::thread::spawn(move || client.arg("--ignore-errors").output().unwrap());
    daemon.wait_for("commits", |status| status.commit(&table) > before.map(|seq| seq + 20));
    scene.good(&["rebuild", &table]);
    daemon.wait_for("the rebuilt table", |status| {
        publication(status, &table)["shown"].as_str().is_some_and(|shown| shown.starts_with("g0002"))
    });
    let rebuilt_meanwhile = !reads.is_finished();
    let printed = String::from_utf8(tokio::task::block_in_place(|| reads.join().unwrap()).stdout).unwrap();
    let sums: Vec<&str> = printed.lines().collect();
    println!("{} of {SUMS} queries answered", sums.len());
    let expected = format!("{}\t{}", bank::ACCOUNTS * 100, bank::ACCOUNTS);
    let wrong: Vec<&&str> = sums.iter().filter(|sum| **sum != expected).collect();
    assert!(wrong.is_empty(), "{} of {} sums are wrong: {wrong:?}", wrong.len(), sums.len());
    assert!(sums.len() * 2 > SUMS, "queries fail too often: {} of {SUMS} answered", sums.len());
    assert!(rebuilt_meanwhile, "all was read before the rebuilt table was shown");
    tellers.stop().await;
    daemon.stop();
}
