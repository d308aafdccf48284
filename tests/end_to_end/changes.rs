//! What changes under a running daemon: TRUNCATE is followed; DROP, RENAME and ALTER park the table and say what helps.

use serde_json::json;

use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::Server;

/// A database with two tables of ten rows.
async fn prepared(server: &Server, database: &str, mode: &str) -> (Scene, Vec<String>) {
    server.create_database(database).await;
    let mut tables = Vec::new();
    for name in ["one", "two"] {
        let table = format!("{database}.{name}");
        let rows: Vec<String> = (1..=10).map(|id| format!("({id},'row {id}')")).collect();
        server
            .execute(&[
                format!("CREATE TABLE {table} (id INT NOT NULL PRIMARY KEY, note VARCHAR(20) NULL)"),
                format!("INSERT INTO {table} VALUES {}", rows.join(",")),
            ])
            .await;
        tables.push(table);
    }
    let scene = Scene::new(server, &[format!("{{table: {database}.*, mode: {mode}}}")]);
    (scene, tables)
}

#[tokio::test(flavor = "multi_thread")]
async fn truncate_empties_the_mirror_and_is_a_record() {
    truncates(Server::shared()).await;
}

/// TRUNCATE in both spellings, among changes.
pub(crate) async fn truncates(server: &Server) {
    let (scene, tables) = prepared(server, "truncated", "both").await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    server.execute(&["INSERT INTO truncated.one VALUES (11,'before')", "TRUNCATE TABLE truncated.one"]).await;
    server.execute(&["INSERT INTO truncated.one VALUES (3,'after')", "TRUNCATE truncated.two"]).await;
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
    let counted = Reader::start()
        .query("SELECT _op, count(*) FROM c GROUP BY _op ORDER BY _op", &[("c", &scene.changelog_files("truncated.one"))]);
    assert_eq!(json!(counted), json!([["c", 2], ["r", 10], ["t", 1]]));
}

/// A statement parks `one`, with the statement as the binlog has it (`shown`), its place and the remedy; `two` goes on; after `mend`
/// a rebuild makes `one` right.
pub(crate) async fn parks_on(server: &Server, database: &str, statement: &str, shown: &str, mend: &[&str]) {
    let (scene, tables) = prepared(server, database, "mirror").await;
    let (one, two) = (&tables[0], &tables[1]);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let readable = scene.files(one);
    server.execute(&[statement]).await;

    let reason = daemon.wait_parked(one);
    assert!(reason.contains(shown), "the statement is not in {reason}");
    assert!(reason.contains("binlog."), "the position is not in {reason}");
    assert!(reason.contains("rebuild"), "the remedy is not in {reason}");
    assert_eq!(scene.files(one), readable, "what was committed stays readable");

    server.execute(&[format!("INSERT INTO {two} VALUES (11,'still captured')")]).await;
    server.execute(mend).await;
    server.execute(&[format!("INSERT INTO {one} (id) VALUES (12)")]).await;
    scene.good(&["rebuild", one]);
    daemon.wait_live_again(&tables);
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}

async fn parks(database: &str, statement: &str, shown: &str, mend: &[&str]) {
    parks_on(Server::shared(), database, statement, shown, mend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alter_parks_and_rebuild_recovers() {
    let statement = "ALTER TABLE altered.one ADD COLUMN more INT NULL";
    parks("altered", statement, statement, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_parks_and_rebuild_recovers() {
    let again = "CREATE TABLE dropped.one (id INT NOT NULL PRIMARY KEY, other DECIMAL(5,2) NULL)";
    parks("dropped", "DROP TABLE dropped.one", "DROP TABLE", &[again, "INSERT INTO dropped.one VALUES (1, 2.50)"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_parks_and_rebuild_recovers() {
    let statement = "RENAME TABLE renamed.one TO renamed.gone";
    parks("renamed", statement, statement, &["RENAME TABLE renamed.gone TO renamed.one"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_keep_the_shape_park_nothing() {
    parks_nothing(Server::shared(), &[]).await;
}

/// Statements that leave the tables of `harmless` as they are, and `more` of them.
pub(crate) async fn parks_nothing(server: &Server, more: &[&str]) {
    let (scene, tables) = prepared(server, "harmless", "mirror").await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    server
        .execute(&[
            "CREATE TABLE harmless.later (id INT NOT NULL PRIMARY KEY)",
            "ALTER TABLE harmless.later ADD COLUMN n INT",
            "DROP TABLE harmless.later",
            "ANALYZE TABLE harmless.one",
            "CREATE VIEW harmless.seen AS SELECT * FROM harmless.one",
            "DROP VIEW harmless.seen",
            "INSERT INTO harmless.one VALUES (20,'; DROP TABLE one; --')",
            "UPDATE harmless.two SET note = 'ALTER TABLE two' WHERE id = 1",
        ])
        .await;
    server.execute(more).await;
    server.execute(&["CREATE TEMPORARY TABLE harmless.one (a INT)", "ALTER TABLE harmless.one ADD b INT"]).await;
    daemon.stop();
    scene.catch_up();
    assert!(scene.status().all_live(&tables));
    assert_equal(&scene, server, &tables).await;
}
