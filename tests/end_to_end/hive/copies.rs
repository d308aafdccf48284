//! Engines that copy every table into Parquet files of their own: what they have read is what MySQL has, before and after changes and a
//! rebuild.

use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::hosted::{self, Hosted};

/// Statements that copy a table into a directory, without what it is partitioned by, and forget the copy.
type Copying = fn(&Table, &LakeName, &Path) -> String;

/// A running engine, behind a script that starts it and runs statements.
#[derive(Debug)]
pub(super) struct Engine {
    name: &'static str,
    script: &'static str,
    hosted: Hosted,
    copying: Copying,
}

impl Engine {
    /// Starts one for a metastore.
    pub(super) fn start(name: &'static str, script: &'static str, copying: Copying, metastore: &MetastoreServer) -> Self {
        let arguments = |port: u16| vec![port.to_string(), metastore.port().to_string()];
        let hosted = Hosted::start(script, hosted::directory(&name.to_lowercase()), 1, arguments);
        Self { name, script, hosted, copying }
    }

    /// Its client, about to run statements.
    pub(super) fn client(&self, statements: &str) -> Command {
        let file = self.hosted.directory().join("statements.sql");
        std::fs::write(&file, statements).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(self.script);
        let mut command = Command::new(script);
        command.arg("run").arg(self.hosted.port().to_string()).arg(file).stderr(Stdio::inherit());
        command
    }

    /// Runs statements, and answers the lines that they print.
    fn run(&self, statements: &str) -> Vec<String> {
        let ran = self.client(statements).output().unwrap();
        assert!(ran.status.success(), "{} refused a statement, see above: {statements}", self.name);
        let printed = String::from_utf8(ran.stdout).unwrap();
        printed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    async fn assert_reads(&self, scene: &Scene, server: &Server, tables: &[String], shown: &Shown, copy: &str) {
        let (mut statements, mut jobs) = (String::new(), Vec::new());
        for table in tables {
            let (database, table_name) = table.split_once('.').unwrap();
            let name = Shown::name(database, table_name);
            let into = scene.path(&format!("{table}.{copy}"));
            statements.push_str(&(self.copying)(&shown.table(&name).await, &name, &into));
            jobs.push((table, dumped(scene, server, table).await, into));
        }
        tokio::task::block_in_place(|| self.run(&statements));
        let jobs: Vec<Value> = jobs
            .into_iter()
            .map(|(table, dump, into)| {
                let files = std::fs::read_dir(into).unwrap().map(|entry| entry.unwrap().path());
                let written = |file: &std::path::PathBuf| !file.file_name().unwrap().to_str().unwrap().starts_with(['.', '_']);
                json!({"table": format!("{table}, {}", self.name), "dump": dump, "files": files.filter(written).collect::<Vec<_>>()})
            })
            .collect();
        assert_same(&jobs);
    }
}

/// A table's columns, each between two marks.
pub(super) fn columns(table: &Table, mark: char) -> String {
    table.columns.iter().map(|column| format!("{mark}{}{mark}", column.name)).collect::<Vec<_>>().join(", ")
}

/// Segments, one directory, and days, before and after changes and a rebuild.
pub(super) async fn reads_what_mysql_has(start: fn(&MetastoreServer) -> Engine, database: &str, seed: u64) {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::shared(Version::Four));
    let engine = tokio::task::block_in_place(|| start(metastore));
    let server = Server::shared();
    let (scene, tables) = main_job(server, metastore, database).await;
    let shown = Shown::by(metastore);
    scene.catch_up();
    engine.assert_reads(&scene, server, &tables, &shown, "first").await;

    let load = Workload::start(server, database, &SHAPES, seed).await;
    let mut daemon = Daemon::start(&scene);
    load.commits(300).await;
    daemon.wait_live(&tables);
    load.stop().await;
    daemon.stop();
    scene.good(&["rebuild", &tables[0]]);
    scene.catch_up();
    engine.assert_reads(&scene, server, &tables, &shown, "second").await;

    let counted = |table: &str| {
        let counted = tokio::task::block_in_place(|| engine.run(&format!("SELECT count(*) FROM ods_{database}.{table};")));
        counted[0].parse::<u64>().unwrap()
    };
    let changes = scene.changelog_files(&format!("{database}.ordinary"));
    let expected = Reader::start().query("SELECT count(*) FROM c", &[("c", &changes)])[0][0].as_u64().unwrap();
    assert_eq!(counted("ordinary_changelog WHERE dt >= '2000-01-01'"), expected, "partitions are pruned by the day");
    assert_eq!(counted("ordinary_changelog WHERE dt < '2000-01-01'"), 0);
}
