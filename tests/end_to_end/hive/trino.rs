//! Trino reads the lake: it copies every table into files of its own, which are what MySQL has, and no sum that it reads meanwhile is wrong.

use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::hosted::{self, Hosted};

/// Sums that are read while commits and a rebuild go on.
const SUMS: usize = 400;

/// A running Trino.
#[derive(Debug)]
struct Trino(Hosted);

impl Trino {
    /// Starts one for a metastore.
    fn start(metastore: &MetastoreServer) -> Self {
        let arguments = |port: u16| vec![port.to_string(), metastore.port().to_string()];
        Self(Hosted::start("trino.sh", hosted::directory("trino"), 1, arguments))
    }

    /// Its client, about to run statements.
    fn client(&self, statements: &str) -> Command {
        let file = self.0.directory().join("statements.sql");
        std::fs::write(&file, statements).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/trino.sh");
        let mut command = Command::new(script);
        command.arg("run").arg(self.0.port().to_string()).arg(file).stderr(Stdio::inherit());
        command
    }

    fn run(&self, statements: &str) -> Vec<String> {
        let ran = self.client(statements).output().unwrap();
        assert!(ran.status.success(), "Trino refused a statement, see above: {statements}");
        String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

/// What copies a table into a directory, without what it is partitioned by.
fn copying(table: &Table, name: &LakeName, into: &Path) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let LakeName { database, table } = name;
    format!(
        "CREATE TABLE {database}.{table}_copy WITH (format = 'PARQUET', external_location = 'file://{}') AS SELECT {} FROM {database}.{table};\n\
         DROP TABLE {database}.{table}_copy;\n",
        into.display(),
        columns.join(", "),
    )
}

async fn assert_trino_reads(scene: &Scene, server: &Server, tables: &[String], shown: &Shown, trino: &Trino, copy: &str) {
    let (mut statements, mut jobs) = (String::new(), Vec::new());
    for table in tables {
        let (database, table_name) = table.split_once('.').unwrap();
        let name = Shown::name(database, table_name);
        let into = scene.path(&format!("{table}.{copy}"));
        statements.push_str(&copying(&shown.table(&name).await, &name, &into));
        jobs.push((table, dumped(scene, server, table).await, into));
    }
    tokio::task::block_in_place(|| trino.run(&statements));
    let jobs: Vec<Value> = jobs
        .into_iter()
        .map(|(table, dump, into)| {
            let files = std::fs::read_dir(into).unwrap().map(|entry| entry.unwrap().path());
            let written = |file: &std::path::PathBuf| !file.file_name().unwrap().to_str().unwrap().starts_with(['.', '_']);
            json!({"table": format!("{table}, Trino"), "dump": dump, "files": files.filter(written).collect::<Vec<_>>()})
        })
        .collect();
    assert_same(&jobs);
}

/// Segments, one directory, and days, before and after changes and a rebuild.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: an engine that is fetched for this test alone"]
async fn trino_reads_what_mysql_has() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::shared(Version::Four));
    let trino = tokio::task::block_in_place(|| Trino::start(metastore));
    let (server, database) = (Server::shared(), "trino_reads");
    let (scene, tables) = main_job(server, metastore, database).await;
    let shown = Shown::by(metastore);
    scene.catch_up();
    assert_trino_reads(&scene, server, &tables, &shown, &trino, "first").await;

    let load = Workload::start(server, database, &SHAPES, 74).await;
    let mut daemon = Daemon::start(&scene);
    load.commits(300).await;
    daemon.wait_live(&tables);
    load.stop().await;
    daemon.stop();
    scene.good(&["rebuild", &tables[0]]);
    scene.catch_up();
    assert_trino_reads(&scene, server, &tables, &shown, &trino, "second").await;

    let counted = |table: &str| {
        let counted = tokio::task::block_in_place(|| trino.run(&format!("SELECT count(*) FROM ods_{database}.{table};")));
        counted[0].parse::<u64>().unwrap()
    };
    let changes = scene.changelog_files(&format!("{database}.ordinary"));
    let expected = Reader::start().query("SELECT count(*) FROM c", &[("c", &changes)])[0][0].as_u64().unwrap();
    assert_eq!(counted("ordinary_changelog WHERE dt >= '2000-01-01'"), expected, "partitions are pruned by the day");
    assert_eq!(counted("ordinary_changelog WHERE dt < '2000-01-01'"), 0);
}

/// Every transfer touches two segments: a read that is torn shows another sum.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: an engine that is fetched for this test alone"]
async fn no_sum_that_trino_reads_is_wrong_while_commits_and_a_rebuild_go_on() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::start(Version::Four));
    let trino = tokio::task::block_in_place(|| Trino::start(&metastore));
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
