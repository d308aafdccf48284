//! What the kills are made on: a server of its own under load, a table whose snapshot takes long, and all that must hold at the end.

use std::cell::Cell;

use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::daemon::Daemon;
use crate::equality::assert_workload_exact;
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::{Server, USER};
use crate::workload::{self, SHAPES};

/// Rows of a chunk.
const CHUNK_ROWS: u64 = 500;
/// Chunks read at once.
const PARALLEL: u64 = 2;
/// `large` has every id, so a chunk of it is about as long as wanted; the bounds are asked for row by row.
const CHUNK_SLACK: u64 = 2;
/// Rows of the other tables.
const ROWS: usize = 1000;

/// See the module.
pub(super) struct Stage {
    pub(super) server: Server,
    pub(super) database: &'static str,
    pub(super) scene: Scene,
    pub(super) tables: Vec<String>,
    pub(super) large_rows: u64,
    /// Rows of `large` that binlake had been sent when the server was killed: it counts from nothing after that.
    sent_before: Cell<u64>,
    counts_all: Cell<bool>,
}

impl Stage {
    /// Tables under `database`, with a `large` of so many rows.
    pub(super) async fn new(database: &'static str, large_rows: u64, options: &[&str]) -> Self {
        let server = Server::start(options).await;
        workload::prepare(&server, database, &SHAPES, ROWS).await;
        create_large(&server, database, large_rows).await;
        let mut scene = Scene::new(&server, &workload::listed(database, &["large", "ordinary", "composite"]));
        scene.edit(|yaml| yaml.snapshot = format!("{{parallel: {PARALLEL}, chunk_rows: {CHUNK_ROWS}}}"));
        let mut tables = workload::names(database, &SHAPES);
        tables.push(format!("{database}.large"));
        Self { server, database, scene, tables, large_rows, sent_before: Cell::new(0), counts_all: Cell::new(true) }
    }

    /// A table's full name.
    pub(super) fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.database)
    }

    /// Rows of `large` that are in finished chunks.
    pub(super) fn loaded(&self) -> u64 {
        self.scene.status().snapshot_rows(&self.table("large"))
    }

    /// Starts a daemon, and waits until so many of a hundred rows of `large` are in finished chunks.
    pub(super) fn start_until_percent(&self, percent: u64) -> Daemon<'_> {
        let large = self.table("large");
        let mut daemon = Daemon::start(&self.scene);
        let status = daemon.wait_for("chunks", |status| status.snapshot_rows(&large) * 100 >= self.large_rows * percent);
        assert_eq!(status.phase(&large), "snapshotting", "the snapshot was over before it could be interrupted");
        daemon
    }

    /// `kill -9` for the server, and another start with the same data.
    pub(super) async fn kill_server(&self) {
        // What is sent between the count and the kill is not counted.
        let sent = rows_sent(&self.server, self.database, "large").await;
        self.sent_before.set(self.sent_before.get() + sent);
        self.counts_all.set(false);
        self.server.kill();
        self.server.start_again();
    }

    /// All that must hold when the load has ended: every mirror equal, nothing double, nothing read again but what was in flight at
    /// `interruptions`, and every table in its first generation but `composite`, which was built anew `rebuilds` times.
    pub(super) async fn assert_exact(&self, interruptions: u64, rebuilds: u32) {
        self.scene.catch_up();
        assert!(self.scene.status().all_live(&self.tables), "{}", self.scene.status().0);
        for table in &self.tables {
            let generation = if *table == self.table("composite") { 1 + rebuilds } else { 1 };
            let files = self.scene.files(table);
            let own = format!("/g{generation:04}/");
            assert!(files.iter().all(|file| file.contains(&own)), "{table} is not in generation {generation}: {files:?}");
        }
        self.assert_read_once(interruptions).await;
        assert_workload_exact(&self.scene, &self.server, self.database, &self.tables).await;
        let snapshot_rows = "SELECT count(*), count(DISTINCT id) FROM c WHERE _op = 'r'";
        let large = self.scene.changelog_files(&self.table("large"));
        let counted = Reader::start().query(snapshot_rows, &[("c", &large)]);
        assert_eq!(
            json!(counted),
            json!([[self.large_rows, self.large_rows]]),
            "snapshot rows of a changelog, each exactly once"
        );
    }

    /// Fails unless all that was read of `large` is its rows once, and the chunks in flight at so many interruptions again.
    async fn assert_read_once(&self, interruptions: u64) {
        let sent = self.sent_before.get() + rows_sent(&self.server, self.database, "large").await;
        let (rows, again) = (self.large_rows, interruptions * PARALLEL * CHUNK_ROWS * CHUNK_SLACK);
        println!("{sent} rows sent of {rows}, {again} more allowed");
        assert!(
            !self.counts_all.get() || sent >= rows,
            "{USER} was sent {sent} rows of {rows}: the server counts otherwise than thought"
        );
        assert!(sent <= rows + again, "{sent} rows read of a table of {rows}: more than the chunks in flight again");
    }
}

/// Makes `database.large` with every id from 1 on.
async fn create_large(server: &Server, database: &str, rows: u64) {
    server
        .execute(&[
            format!("CREATE TABLE {database}.large (id INT NOT NULL PRIMARY KEY, n INT NOT NULL, note VARCHAR(40) NULL)"),
            format!(
                "INSERT INTO {database}.large WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids \
                 WHERE id < {rows}) SELECT /*+ SET_VAR(cte_max_recursion_depth = 1000000) */ id, id * 7, CONCAT('row ', id) FROM ids"
            ),
        ])
        .await;
}

/// Rows of a table that binlake has been sent since the server started.
async fn rows_sent(server: &Server, database: &str, table: &str) -> u64 {
    let mut connection = server.connect().await;
    let statement = "SELECT CAST(COALESCE(SUM(SUM_ROWS_SENT), 0) AS UNSIGNED) FROM performance_schema.events_statements_summary_by_digest \
                     WHERE DIGEST_TEXT LIKE ? AND (DIGEST_TEXT LIKE 'SELECT%' OR DIGEST_TEXT LIKE 'EXECUTE SELECT%')";
    let sent: Option<u64> = connection.exec_first(statement, (format!("%`{database}` . `{table}`%"),)).await.unwrap();
    connection.disconnect().await.unwrap();
    sent.unwrap()
}
