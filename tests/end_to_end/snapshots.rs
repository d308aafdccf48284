//! Four writers through the whole snapshot and after it: at the end every mirror is what `SELECT *` shows.

use mysql_async::prelude::Queryable;

use crate::daemon::Daemon;
use crate::equality::{assert_changelog_leads_to, assert_equal, assert_no_duplicates};
use crate::scene::Scene;
use crate::server::{Kind, Server};
use crate::workload::{self, SHAPES, Shape, Workload};

/// Rows that every table starts with.
const ROWS: usize = 3000;

/// The tables whose changes are kept as well.
const BOTH: [&str; 3] = ["ordinary", "composite", "unicode"];

/// Items of the YAML: every table a mirror, some with a changelog beside it.
fn items(database: &str) -> Vec<String> {
    let both = BOTH.iter().map(|table| format!("{{table: {database}.{table}, mode: both}}"));
    both.chain([format!("{{table: {database}.*}}")]).collect()
}

/// The whole way, on a MySQL server with these options.
async fn equal_under_writers(database: &str, seed: u64, options: &[&str]) {
    let server = Server::start(options).await;
    equal_on(&server, database, &SHAPES, seed).await;
}

/// The whole way: a load while everything is written to, and changes after it.
pub(crate) async fn equal_on(server: &Server, database: &str, shapes: &'static [Shape], seed: u64) {
    workload::prepare(server, database, shapes, ROWS).await;
    let scene = Scene::new(server, &items(database));
    let tables = workload::names(database, shapes);

    let load = Workload::start(server, database, shapes, seed).await;
    load.commits(50).await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    load.commits(1000).await;
    assert!(daemon.runs());
    load.stop().await;
    daemon.stop();

    scene.catch_up();
    let status = scene.status();
    assert!(status.all_live(&tables), "{}", status.0);
    assert_equal(&scene, server, &tables).await;
    for table in BOTH.map(|table| format!("{database}.{table}")) {
        assert_no_duplicates(&scene, &table);
    }
    assert_changelog_leads_to(&scene, server, &format!("{database}.ordinary"), "id", &["id", "n", "amount", "note"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_before_the_daemon_is_waited_for_until_it_ends_also_where_no_binlog_tells() {
    waits_for_prepared(&Server::start(&[]).await).await;
    waits_for_prepared(&Server::start_a(Kind::Mariadb("11.8"), &[]).await).await;
}

/// Two XA transactions are prepared in an earlier binlog file; the end of the one that changed nothing is in none.
async fn waits_for_prepared(server: &Server) {
    server.create_database("waiting").await;
    let create = "CREATE TABLE waiting.one (id INT NOT NULL PRIMARY KEY, n INT NOT NULL)";
    server.execute(&[create, "INSERT INTO waiting.one VALUES (1,1),(2,2)"]).await;
    let mut connections = Vec::new();
    for (xid, id) in [("'with rows'", 1), ("'without'", 99)] {
        let mut connection = server.connect().await;
        let update = format!("UPDATE waiting.one SET n = 7 WHERE id = {id}");
        for statement in [format!("XA START {xid}"), update, format!("XA END {xid}"), format!("XA PREPARE {xid}")] {
            connection.query_drop(statement).await.unwrap();
        }
        connections.push((connection, xid));
    }
    server.execute(&["FLUSH BINARY LOGS"]).await;
    let scene = Scene::new(server, &["{table: waiting.one}"]);
    let tables = ["waiting.one".to_owned()];
    let mut daemon = Daemon::start(&scene);
    daemon.wait_for("the wait", |_| scene.has_logged("captured only when this XA transaction has ended"));
    for (mut connection, xid) in connections {
        connection.query_drop(format!("XA COMMIT {xid}")).await.unwrap();
    }
    daemon.wait_live(&tables);
    daemon.stop();
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_are_equal_with_gtids() {
    equal_under_writers("with_gtids", 11, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_are_equal_without_gtids() {
    equal_under_writers(
        "without_gtids",
        12,
        &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF", "--default-time-zone=+08:00"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_are_equal_with_compressed_transactions() {
    let options = ["--binlog-transaction-compression=ON", "--binlog-order-commits=OFF", "--max-binlog-size=1048576"];
    equal_under_writers("compressed", 13, &options).await;
}
