//! `kill -9` in the middle of everything, the load going on: nothing lost, nothing double, nothing read anew.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::daemon::Daemon;
use crate::equality::{assert_changelog_leads_to, assert_equal, assert_no_duplicates};
use crate::scene::Scene;
use crate::server::{Server, USER};
use crate::workload::{self, SHAPES, Workload};

/// Rows of the table whose snapshot is interrupted.
const LARGE_ROWS: u64 = 60_000;
/// Rows of a chunk.
const CHUNK_ROWS: u64 = 500;
/// Chunks read at once.
const PARALLEL: u64 = 2;
/// Kills while chunks are read.
const KILLS_IN_LOAD: u64 = 4;
/// Kills while the tables are live.
const KILLS_IN_TAIL: u64 = 8;
/// A chunk may hold so many times the wanted rows: its bounds are estimates.
const CHUNK_SLACK: u64 = 3;

/// Makes `database.large` with every id from 1 on.
async fn create_large(server: &Server, database: &str) {
    let mut connection = server.connect().await;
    connection.query_drop(format!("USE {database}")).await.unwrap();
    connection
        .query_drop("CREATE TABLE large (id INT NOT NULL PRIMARY KEY, n INT NOT NULL, note VARCHAR(40) NULL)")
        .await
        .unwrap();
    connection.query_drop("SET SESSION cte_max_recursion_depth = 1000000").await.unwrap();
    connection
        .query_drop(format!(
            "INSERT INTO large WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < {LARGE_ROWS}) \
             SELECT id, id * 7, CONCAT('row ', id) FROM ids"
        ))
        .await
        .unwrap();
    connection.disconnect().await.unwrap();
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

/// Fails unless all that was read of `large` is its rows once, and the chunks in flight at so many interruptions again.
async fn assert_read_once(server: &Server, database: &str, interruptions: u64) {
    let sent = rows_sent(server, database, "large").await;
    let again = interruptions * PARALLEL * CHUNK_ROWS * CHUNK_SLACK;
    assert!(sent >= LARGE_ROWS, "{USER} was sent {sent} rows of {LARGE_ROWS}: the server does not count as this test thinks");
    println!("{sent} rows sent of {LARGE_ROWS}, {again} more allowed");
    assert!(sent <= LARGE_ROWS + again, "{sent} rows read of a table of {LARGE_ROWS}: more than the chunks in flight again");
}

fn assert_first_generation(scene: &Scene, tables: &[String]) {
    for table in tables {
        let files = scene.files(table);
        assert!(files.iter().all(|file| file.contains("/g0001/")), "{table} was built anew: {files:?}");
    }
}

struct Stage {
    server: Server,
    database: &'static str,
    scene: Scene,
    tables: Vec<String>,
}

impl Stage {
    async fn new(database: &'static str) -> Self {
        let server = Server::start(&[]).await;
        workload::prepare(&server, database, &SHAPES, 1000).await;
        create_large(&server, database).await;
        let items = [
            format!("{{table: {database}.large, mode: both}}"),
            format!("{{table: {database}.ordinary, mode: both}}"),
            format!("{{table: {database}.*}}"),
        ];
        let mut scene = Scene::new(&server, &items);
        scene.edit(|yaml| yaml.snapshot = format!("{{parallel: {PARALLEL}, chunk_rows: {CHUNK_ROWS}}}"));
        let mut tables = workload::names(database, &SHAPES);
        tables.push(format!("{database}.large"));
        Self { server, database, scene, tables }
    }

    fn large(&self) -> String {
        format!("{}.large", self.database)
    }

    /// Starts a daemon, and waits until so many of a hundred rows of `large` are in finished chunks.
    fn start_until_percent(&self, percent: u64) -> Daemon<'_> {
        let large = self.large();
        let mut daemon = Daemon::start(&self.scene);
        let status = daemon.wait_for("chunks", |status| status.snapshot_rows(&large) * 100 >= LARGE_ROWS * percent);
        assert_eq!(status.phase(&large), "snapshotting", "the snapshot was over before it could be interrupted");
        daemon
    }

    async fn assert_exact(&self, interruptions: u64) {
        self.scene.catch_up();
        assert_first_generation(&self.scene, &self.tables);
        assert_read_once(&self.server, self.database, interruptions).await;
        assert_equal(&self.scene, &self.server, &self.tables).await;
        let ordinary = format!("{}.ordinary", self.database);
        assert_no_duplicates(&self.scene, &ordinary);
        assert_changelog_leads_to(&self.scene, &self.server, &ordinary, "id", &["id", "n", "amount", "note"]).await;
        let snapshot_rows = "SELECT count(*), count(DISTINCT id) FROM c WHERE _op = 'r'";
        let counted = crate::lake::Reader::start().query(snapshot_rows, &[("c", &self.scene.changelog_files(&self.large()))]);
        assert_eq!(json!(counted), json!([[LARGE_ROWS, LARGE_ROWS]]), "snapshot rows of a changelog, each exactly once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_a_dozen_times_under_load() {
    let stage = Stage::new("killed").await;
    let load = Workload::start(&stage.server, stage.database, &SHAPES, 21).await;
    load.commits(20).await;

    for kill in 1..=KILLS_IN_LOAD {
        stage.start_until_percent(kill * 100 / (KILLS_IN_LOAD + 1)).kill();
    }
    // In the middle of catching up, or as soon as it is over.
    let large = stage.large();
    let mut daemon = Daemon::start(&stage.scene);
    daemon.wait_for("end of the snapshot", |status| !["", "pending", "snapshotting"].contains(&status.phase(&large)));
    daemon.kill();

    let mut dice = StdRng::seed_from_u64(22);
    for _ in 0..KILLS_IN_TAIL {
        let mut daemon = Daemon::start(&stage.scene);
        let ordinary = format!("{}.ordinary", stage.database);
        let before = stage.scene.status().commit(&ordinary);
        daemon.wait_for("another commit", |status| status.commit(&ordinary) > before);
        // Commits come once a second: any moment between two of them.
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..1000))).await;
        daemon.kill();
    }
    load.stop().await;
    stage.assert_exact(KILLS_IN_LOAD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_started_again_while_the_load_goes_on() {
    let stage = Stage::new("stopped").await;
    let load = Workload::start(&stage.server, stage.database, &SHAPES, 23).await;
    load.commits(20).await;

    stage.start_until_percent(30).stop();
    load.commits(300).await;
    let mut daemon = Daemon::start(&stage.scene);
    daemon.wait_live(&stage.tables);
    daemon.stop();
    load.commits(300).await;
    let mut daemon = Daemon::start(&stage.scene);
    daemon.wait_live(&stage.tables);
    load.stop().await;
    daemon.stop();
    stage.assert_exact(1).await;
}
