//! Tables that come and go in the YAML, and what an operator does to them: pause, resume, rebuild.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::equality::{assert_changelog_leads_to, assert_equal, assert_no_duplicates};
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::Server;

/// Something that inserts, updates and deletes rows of `database.one`, `.two`, … one after another until it is told to stop. Ids are
/// never used twice.
struct Trickle {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Trickle {
    async fn start(server: &Server, tables: &[String]) -> Self {
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1001)));
        let mut connection = server.connect().await;
        let (tables, stopped, ids) = (tables.to_vec(), Arc::clone(&stop), Arc::clone(&next));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let id = ids.fetch_add(1, Ordering::Relaxed);
                for table in &tables {
                    let change = match id % 3 {
                        0 => format!("DELETE FROM {table} WHERE id = {}", id - 500),
                        1 => {
                            format!("UPDATE {table} SET note = 'changed by {id}' WHERE id BETWEEN {} AND {}", id - 400, id - 395)
                        }
                        _ => format!("INSERT INTO {table} VALUES ({id}, NULL)"),
                    };
                    connection.query_drop(change).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            connection.disconnect().await.unwrap();
        });
        Self { stop, next, task }
    }

    /// Waits until every table was changed so many more times.
    async fn steps(&self, count: u64) {
        let goal = self.next.load(Ordering::Relaxed) + count;
        let wait = async {
            while self.next.load(Ordering::Relaxed) < goal {
                assert!(!self.task.is_finished(), "the trickle ended");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the trickle goes on");
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// A database with tables of a thousand rows, and their names.
async fn prepared(server: &Server, database: &str, tables: &[&str], key: &str) -> Vec<String> {
    server.create_database(database).await;
    let names: Vec<String> = tables.iter().map(|table| format!("{database}.{table}")).collect();
    let rows: Vec<String> = (1..=1000).map(|id| format!("({id},'row {id}')")).collect();
    for table in &names {
        server
            .execute(&[
                format!("CREATE TABLE {table} (id INT NOT NULL {key}, note VARCHAR(40) NULL)"),
                format!("INSERT INTO {table} VALUES {}", rows.join(",")),
            ])
            .await;
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_kept_as_a_changelog() {
    keeps_a_changelog(Server::shared()).await;
}

/// A table without a key.
pub(crate) async fn keeps_a_changelog(server: &Server) {
    let tables = prepared(server, "keyless", &["one"], "").await;
    let scene = Scene::new(server, &["{table: keyless.one, mode: changelog}"]);
    let trickle = Trickle::start(server, &tables).await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    trickle.steps(200).await;
    trickle.stop().await;
    daemon.stop();
    scene.catch_up();
    assert_no_duplicates(&scene, "keyless.one");
    assert_changelog_leads_to(&scene, server, "keyless.one", "id", &["id", "note"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_added_and_removed_between_two_runs() {
    adds_and_removes(Server::shared()).await;
}

/// Tables come and go.
pub(crate) async fn adds_and_removes(server: &Server) {
    let tables = prepared(server, "listed", &["one", "two", "three"], "PRIMARY KEY").await;
    let trickle = Trickle::start(server, &tables).await;
    let mut scene = Scene::new(server, &["{table: listed.one}", "{table: listed.two}"]);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables[..2]);
    daemon.stop();
    let left = scene.files("listed.two");

    scene.edit(|yaml| yaml.tables = vec!["{table: listed.one}".to_owned(), "{table: listed.three}".to_owned()]);
    let mut daemon = Daemon::start(&scene);
    let now = [tables[0].clone(), tables[2].clone()];
    daemon.wait_live(&now);
    trickle.steps(100).await;
    daemon.stop();
    scene.catch_up();
    assert!(
        left.iter().all(|file| std::path::Path::new(file.trim_start_matches("file://")).exists()),
        "files of a removed table"
    );
    let first_generation = |table: &str| scene.files(table).iter().all(|file| file.contains("/g0001/"));
    assert!(first_generation("listed.one"), "a table that stayed was built anew");

    // Its changes were not captured in between: it gets a new generation.
    scene.edit(|yaml| yaml.tables = vec!["{table: listed.*}".to_owned()]);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    trickle.stop().await;
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
    assert!(scene.files("listed.one").iter().all(|file| file.contains("/g0001/")), "a table that stayed was built anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_pattern_matches_later_is_taken_up_at_the_next_start() {
    let server = Server::shared();
    let mut tables = prepared(server, "patterns", &["one"], "PRIMARY KEY").await;
    let scene = Scene::new(server, &["{table: patterns.*}"]);
    scene.catch_up();
    server.execute(&["CREATE TABLE patterns.two (id INT NOT NULL PRIMARY KEY, note VARCHAR(40))"]).await;
    server.execute(&["INSERT INTO patterns.two VALUES (1,'x'),(2,NULL)"]).await;
    scene.catch_up();
    tables.push("patterns.two".to_owned());
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_table_stands_still_and_goes_on_where_it_was() {
    pauses(Server::shared()).await;
}

/// A pause, and what comes after it.
pub(crate) async fn pauses(server: &Server) {
    let tables = prepared(server, "paused", &["one", "two"], "PRIMARY KEY").await;
    let scene = Scene::new(server, &["{table: paused.*}"]);
    let trickle = Trickle::start(server, &tables).await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    scene.good(&["pause", "paused.one"]);
    daemon.wait_for("paused table", |status| status.phase("paused.one") == "paused");
    let (files, before) = (scene.files("paused.one"), scene.status().commit("paused.two"));
    daemon.wait_for("commits of the other table", |status| status.commit("paused.two") > before.map(|seq| seq + 2));
    assert_eq!(scene.files("paused.one"), files, "a paused table was committed to");
    scene.good(&["resume", "paused.one"]);
    daemon.wait_live(&tables);
    trickle.stop().await;
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
    assert!(scene.files("paused.one").iter().all(|file| file.contains("/g0001/")), "a resumed table was built anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_swaps_whole_generations_under_its_readers() {
    rebuilds(Server::shared()).await;
}

/// A rebuild under readers.
pub(crate) async fn rebuilds(server: &Server) {
    let tables = prepared(server, "rebuilt", &["one"], "PRIMARY KEY").await;
    let scene = Scene::new(server, &["{table: rebuilt.one}"]);
    let trickle = Trickle::start(server, &tables).await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    scene.good(&["rebuild", "rebuilt.one"]);
    let mut reader = Reader::start();
    let generation = |files: &[String], name: &str| files.iter().all(|file| file.contains(name));
    // Readers see the old generation whole, then the new one whole.
    daemon.wait_for("second generation", |_| {
        let files = scene.files("rebuilt.one");
        let (old, new) = (generation(&files, "/g0001/"), generation(&files, "/g0002/"));
        assert!(!files.is_empty() && (old || new), "readers see parts of two generations: {files:?}");
        let rows = reader.query("SELECT count(*), count(DISTINCT id) FROM one", &[("one", &files)]);
        assert!(rows[0][0] == rows[0][1] && rows[0][0].as_u64() > Some(500), "a reader saw {rows:?}");
        new
    });
    daemon.wait_live(&tables);
    trickle.stop().await;
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_from_the_change_log_is_refused_with_the_reason_for_each_table() {
    let server = Server::shared();
    let tables = prepared(server, "unlogged", &["one"], "PRIMARY KEY").await;
    server.execute(&["CREATE TABLE unlogged.empty (id INT NOT NULL PRIMARY KEY)"]).await;
    let scene = Scene::new(server, &["{table: unlogged.*}"]);
    scene.catch_up();
    let refused = scene.run(&["rebuild", "unlogged.one", "unlogged.empty", "--from", "changelog"]);
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    let words = [
        "unlogged.one cannot be built from its change log: the 1000 rows of its snapshot went straight into the lake",
        "run `binlake rebuild unlogged.one`",
        "unlogged.empty cannot be built from its change log: its snapshot had no row",
    ];
    assert!(words.iter().all(|word| refused.stderr.contains(word)), "{}", refused.text());
    scene.catch_up();
    assert!(scene.files("unlogged.one").iter().all(|file| file.contains("/g0001/")), "it was built anew all the same");
    scene.good(&["rebuild", "unlogged.one", "--from", "snapshot"]);
    scene.catch_up();
    assert!(scene.files("unlogged.one").iter().all(|file| file.contains("/g0002/")));
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_state_is_refused() {
    let server = Server::shared();
    let tables = prepared(server, "twice", &["one"], "PRIMARY KEY").await;
    let scene = Scene::new(server, &["{table: twice.one}"]);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let refused = scene.catch_up_badly().text();
    assert!(refused.contains("held by") && refused.contains("stop the other daemon"), "{refused}");
    assert!(daemon.runs(), "the first daemon was disturbed");
    server.execute(&["INSERT INTO twice.one VALUES (1001,'still captured')"]).await;
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_handoff() {
    let server = Server::shared();
    let tables = prepared(server, "explained", &["one"], "PRIMARY KEY").await;
    let scene = Scene::new(server, &["{table: explained.one}"]);
    let trickle = Trickle::start(server, &tables).await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    trickle.stop().await;
    let ledger: Value = serde_json::from_str(&scene.good(&["explain", "explained.one", "--json"])).unwrap();
    // epoch:file:offset, ordered by number.
    let place = |cut: &Value| -> Vec<u64> {
        let text = cut.as_str().unwrap_or_else(|| panic!("{cut} is no place: {ledger}"));
        text.split(':').map(|part| part.parse().unwrap()).collect()
    };
    let since = place(&ledger["since"]);
    let highs: Vec<_> = ledger["chunks"].as_array().unwrap().iter().map(|chunk| place(&chunk["high"])).collect();
    assert!(highs.len() >= 2 && highs.iter().all(|high| *high >= since), "{ledger}");
    assert_eq!(Some(&place(&ledger["handoff"])), highs.iter().max(), "the handoff is the highest high of the chunks");
    let lake = &ledger["lake_tables"][0];
    let first = lake["commits"].as_array().unwrap().iter().find(|commit| commit["seq"] == lake["first_live_commit"]).unwrap();
    assert!(place(&first["point"]["position"]) >= place(&ledger["handoff"]), "shown to readers before the handoff: {ledger}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_goes_away_and_comes_back() {
    let server = Server::start(&[]).await;
    server.create_database("away").await;
    server
        .execute(&[
            "CREATE TABLE away.one (id INT NOT NULL PRIMARY KEY, note VARCHAR(40))",
            "INSERT INTO away.one VALUES (1,'x')",
        ])
        .await;
    let tables = ["away.one".to_owned()];
    let scene = Scene::new(&server, &["{table: away.one}"]);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    server.stop();
    server.start_again();
    server.execute(&["INSERT INTO away.one VALUES (2,'after the restart')"]).await;
    daemon.wait_for("row from after the restart", |_| {
        let files = scene.files("away.one");
        !files.is_empty() && json!(Reader::start().query("SELECT count(*) FROM one", &[("one", &files)])) == json!([[2]])
    });
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, &server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_reset_parks_and_a_rebuild_recovers() {
    let server = Server::start(&[]).await;
    server.create_database("reset").await;
    server
        .execute(&[
            "CREATE TABLE reset.one (id INT NOT NULL PRIMARY KEY, note VARCHAR(40))",
            "INSERT INTO reset.one VALUES (1,'x'),(2,'y')",
        ])
        .await;
    let tables = ["reset.one".to_owned()];
    let scene = Scene::new(&server, &["{table: reset.one}"]);
    scene.catch_up();
    let readable = scene.files("reset.one");
    server
        .execute(&[
            "INSERT INTO reset.one VALUES (3,'never seen in the binlog')",
            "RESET BINARY LOGS AND GTIDS",
            "INSERT INTO reset.one VALUES (4,'in the new history')",
        ])
        .await;
    scene.catch_up_badly();
    assert_eq!(scene.status().phase("reset.one"), "parked");
    assert!(scene.status().parked("reset.one").is_some_and(|reason| reason.contains("rebuild")), "the remedy is not shown");
    assert_eq!(scene.files("reset.one"), readable, "what was committed stays readable");
    scene.good(&["rebuild", "reset.one"]);
    scene.catch_up();
    assert_equal(&scene, &server, &tables).await;
}
