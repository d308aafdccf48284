//! Hive itself reads the lake: HiveServer2 copies every table into Parquet files of its own, and those are what MySQL has.

use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::hosted::{self, Hosted};

/// Timestamps are written as they were read. As INT96 those before 1582 would be put into the Julian calendar.
const AS_IT_IS: &str = "SET hive.parquet.write.int64.timestamp=true;\n";

/// A running HiveServer2.
#[derive(Debug)]
struct HiveServer(Hosted);

impl HiveServer {
    /// Starts one for a metastore.
    fn start(metastore: &MetastoreServer) -> Self {
        let arguments = |port: u16| vec![port.to_string(), metastore.port().to_string()];
        Self(Hosted::start("hive.sh", hosted::directory("hive"), 1, arguments))
    }

    /// Runs statements, and answers the lines that they print.
    fn run(&self, statements: &str) -> Vec<String> {
        let file = self.0.directory().join("statements.sql");
        std::fs::write(&file, statements).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/hive.sh");
        let mut command = Command::new(script);
        command.arg("run").arg(self.0.port().to_string()).arg(file).stderr(Stdio::inherit());
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "Hive refused a statement, see above: {statements}");
        let printed = String::from_utf8(ran.stdout).unwrap();
        printed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

/// What copies a table into a directory: Hive writes what it has read, without what the table is partitioned by.
fn copying(table: &Table, name: &LakeName, into: &Path) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| format!("`{}`", column.name)).collect();
    format!(
        "CREATE EXTERNAL TABLE {}.{}_copy STORED AS PARQUET LOCATION 'file://{}' AS SELECT {} FROM {}.{};\n",
        name.database,
        name.table,
        into.display(),
        columns.join(", "),
        name.database,
        name.table,
    )
}

async fn assert_hive_reads(scene: &Scene, server: &Server, tables: &[String], shown: &Shown, hive: &HiveServer, copy: &str) {
    let (mut statements, mut jobs) = (AS_IT_IS.to_owned(), Vec::new());
    for table in tables {
        let (database, table_name) = table.split_once('.').unwrap();
        let name = Shown::name(database, table_name);
        let into = scene.path(&format!("{table}.{copy}"));
        statements.push_str(&copying(&shown.table(&name).await, &name, &into));
        statements.push_str(&format!("DROP TABLE {}.{}_copy;\n", name.database, name.table));
        jobs.push((table, dumped(scene, server, table).await, into));
    }
    tokio::task::block_in_place(|| hive.run(&statements));
    let jobs: Vec<Value> = jobs
        .into_iter()
        .map(|(table, dump, into)| {
            let files = std::fs::read_dir(into).unwrap().map(|entry| entry.unwrap().path());
            let written = |file: &std::path::PathBuf| !file.file_name().unwrap().to_str().unwrap().starts_with(['.', '_']);
            json!({"table": format!("{table}, Hive"), "dump": dump, "files": files.filter(written).collect::<Vec<_>>()})
        })
        .collect();
    assert_same(&jobs);
}

/// Segments, one directory, and days, before and after changes and a rebuild.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: an engine that is fetched for this test alone"]
async fn hive_itself_reads_what_mysql_has() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::shared(Version::Four));
    let hive = tokio::task::block_in_place(|| HiveServer::start(metastore));
    let (server, database) = (Server::shared(), "hive_itself");
    let (scene, tables) = main_job(server, metastore, database).await;
    let shown = Shown::by(metastore);
    scene.catch_up();
    assert_hive_reads(&scene, server, &tables, &shown, &hive, "first").await;

    let load = Workload::start(server, database, &SHAPES, 72).await;
    let mut daemon = Daemon::start(&scene);
    load.commits(300).await;
    daemon.wait_live(&tables);
    load.stop().await;
    daemon.stop();
    scene.good(&["rebuild", &tables[0]]);
    scene.catch_up();
    assert_hive_reads(&scene, server, &tables, &shown, &hive, "second").await;

    let counted = |table: &str| {
        let counted = tokio::task::block_in_place(|| hive.run(&format!("SELECT count(*) FROM ods_{database}.{table};")));
        counted[0].parse::<u64>().unwrap()
    };
    let changes = scene.changelog_files(&format!("{database}.ordinary"));
    let expected = Reader::start().query("SELECT count(*) FROM c", &[("c", &changes)])[0][0].as_u64().unwrap();
    assert_eq!(counted("ordinary_changelog WHERE dt >= '2000-01-01'"), expected, "partitions are pruned by the day");
    assert_eq!(counted("ordinary_changelog WHERE dt < '2000-01-01'"), 0);
}
