//! The address leads to another server: with GTIDs nothing is lost and nothing comes twice, a replica that is behind is waited for, and
//! one that lacks what we have is refused.

use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::daemon::Daemon;
use crate::equality::{assert_changelog_leads_to, assert_equal, assert_no_duplicates};
use crate::lake::Reader;
use crate::pair::{Pair, caught_up, executed, follow, promote, uuid};
use crate::scene::{Scene, Status};
use crate::server::Server;
use crate::workload::{self, SHAPES, Workload};

/// Rows that every table starts with.
const ROWS: usize = 800;
/// Rows of the table whose snapshot is overtaken.
const LARGE_ROWS: u64 = 40_000;

fn server_uuid(status: &Status) -> &str {
    status.0["sources"][0]["server_uuid"].as_str().unwrap_or_default()
}

/// Why the source stands still, and what helps; empty while it does not.
fn standstill(status: &Status) -> String {
    let source = &status.0["sources"][0];
    match source["reason"].as_str() {
        Some(reason) => format!("{reason} / {}", source["remedy"].as_str().unwrap_or_default()),
        None => String::new(),
    }
}

/// Waits until the stream is one of this server.
async fn wait_taken(daemon: &mut Daemon<'_>, server: &Server) {
    let uuid = uuid(server).await;
    daemon.wait_for("stream of the other server", |status| server_uuid(status) == uuid);
}

fn items(database: &str) -> [String; 2] {
    [format!("{{table: {database}.ordinary, mode: both}}"), format!("{{table: {database}.*}}")]
}

fn generations(scene: &Scene, table: &str) -> Vec<String> {
    let generation = |file: &String| file.split('/').find(|part| part.len() == 5 && part.starts_with('g')).map(str::to_owned);
    let mut found: Vec<String> = scene.files(table).iter().filter_map(generation).collect();
    found.dedup();
    found
}

/// The writers of one server stop, those of the other begin at once; the daemon learns of it when its connection is cut.
async fn move_load(pair: &Pair, load: Workload, (from, to): (&Server, &Server), database: &str, seed: u64) -> Workload {
    load.stop().await;
    caught_up(to, from).await;
    promote(to).await;
    follow(from, to).await;
    let load = Workload::start(to, database, &SHAPES, seed).await;
    load.commits(20).await;
    pair.address.point(to.port());
    load
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_under_load_nothing_is_lost_and_nothing_comes_twice() {
    let pair = Pair::start(&["--log-bin=other"]).await;
    let (first, second) = (&pair.first, &pair.second);
    workload::prepare(first, "moved", &SHAPES, ROWS).await;
    let scene = pair.scene(&items("moved"));
    let tables = workload::names("moved", &SHAPES);

    let mut load = Workload::start(first, "moved", &SHAPES, 31).await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    for (from, to, seed) in [(first, second, 32), (second, first, 33)] {
        load.commits(100).await;
        load = move_load(&pair, load, (from, to), "moved", seed).await;
        load.commits(100).await;
        wait_taken(&mut daemon, to).await;
    }
    load.stop().await;
    daemon.stop();
    scene.catch_up();
    let status = scene.status();
    assert_eq!(status.0["sources"][0]["position"]["epoch"], 2, "{}", status.0);
    assert_equal(&scene, first, &tables).await;
    assert_no_duplicates(&scene, "moved.ordinary");
    assert_changelog_leads_to(&scene, first, "moved.ordinary", "id", &["id", "n", "amount", "note"]).await;
    for table in &tables {
        assert_eq!(generations(&scene, table), ["g0001"], "{table} was built anew");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_snapshot_it_is_read_anew_on_the_other_server() {
    // Files of the same names, with other content.
    let pair = Pair::start(&["--log-bin=binlog"]).await;
    let (first, second) = (&pair.first, &pair.second);
    workload::prepare(first, "overtaken", &SHAPES, ROWS).await;
    first
        .execute(&[
            "CREATE TABLE overtaken.large (id INT NOT NULL PRIMARY KEY, n INT NOT NULL, note VARCHAR(40) NULL)".to_owned(),
            "SET GLOBAL cte_max_recursion_depth = 1000000".to_owned(),
        ])
        .await;
    first
        .execute(&[format!(
            "INSERT INTO overtaken.large WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < {LARGE_ROWS}) \
             SELECT id, id * 7, CONCAT('row ', id) FROM ids"
        )])
        .await;
    let scene = pair.scene(&items("overtaken"));
    let large = "overtaken.large".to_owned();
    let mut tables = workload::names("overtaken", &SHAPES);

    let load = Workload::start(first, "overtaken", &SHAPES, 34).await;
    let mut daemon = Daemon::start(&scene);
    let status = daemon.wait_for("chunks", |status| status.snapshot_rows(&large) * 100 >= LARGE_ROWS * 20);
    assert_eq!(status.phase(&large), "snapshotting", "the snapshot was over before it could be overtaken");
    let load = move_load(&pair, load, (first, second), "overtaken", 35).await;
    load.commits(20).await;
    second
        .execute(&["UPDATE overtaken.large SET n = n + 1 WHERE id % 97 = 0", "DELETE FROM overtaken.large WHERE id % 89 = 0"])
        .await;
    tables.push(large.clone());
    wait_taken(&mut daemon, second).await;
    daemon.wait_live(&tables);
    load.stop().await;
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, second, &tables).await;
    assert_no_duplicates(&scene, "overtaken.ordinary");
    assert_changelog_leads_to(&scene, second, "overtaken.ordinary", "id", &["id", "n", "amount", "note"]).await;
}

/// A pair with one table of two rows, and a daemon's scene for it.
async fn small(database: &str) -> (Pair, Scene, Vec<String>) {
    let pair = Pair::start(&["--log-bin=other"]).await;
    let tables = pair.first.create_small(database, &["one"]).await;
    let scene = pair.scene(&[format!("{{table: {database}.one, mode: both}}")]);
    (pair, scene, tables)
}

/// Waits until the mirror has so many rows.
fn wait_rows(scene: &Scene, daemon: &mut Daemon<'_>, table: &str, rows: u64) {
    daemon.wait_for("rows", |status| status.table(table).is_some_and(|entry| entry["rows"] == rows));
    let counted = Reader::start().query("SELECT count(*) FROM t", &[("t", &scene.files(table))]);
    assert_eq!(json!(counted), json!([[rows]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_is_waited_for() {
    let (pair, scene, tables) = small("behind").await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    caught_up(&pair.second, &pair.first).await;
    pair.second.execute(&["STOP REPLICA SQL_THREAD"]).await;
    pair.first.execute(&["INSERT INTO behind.one VALUES (3,'not yet on the replica')"]).await;
    wait_rows(&scene, &mut daemon, "behind.one", 3);

    pair.address.point(pair.second.port());
    let status = daemon.wait_for("standstill", |status| standstill(status).contains("lacks"));
    let said = standstill(&status);
    let missing = executed(&pair.first).await;
    let last = missing.rsplit_once(['-', ':']).unwrap().1;
    assert!(
        said.contains(&format!("{}:{last}", uuid(&pair.first).await)),
        "the missing set is not in {said}; executed is {missing}"
    );
    assert_eq!(status.phase("behind.one"), "live");
    pair.second.execute(&["START REPLICA SQL_THREAD"]).await;
    wait_taken(&mut daemon, &pair.second).await;
    pair.first.execute(&["INSERT INTO behind.one VALUES (4,'by way of the replica')"]).await;
    wait_rows(&scene, &mut daemon, "behind.one", 4);
    assert_eq!(standstill(&scene.status()), "");

    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, &pair.second, &tables).await;
    assert_no_duplicates(&scene, "behind.one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lacks_what_we_have_is_refused_and_a_rebuild_takes_it() {
    let (pair, scene, tables) = small("lacking").await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    caught_up(&pair.second, &pair.first).await;
    promote(&pair.second).await;
    pair.first.execute(&["INSERT INTO lacking.one VALUES (3,'lost in the failover')"]).await;
    wait_rows(&scene, &mut daemon, "lacking.one", 3);
    let readable = scene.files("lacking.one");

    pair.second.execute(&["INSERT INTO lacking.one VALUES (4,'on the new server')"]).await;
    pair.address.point(pair.second.port());
    let said = standstill(&daemon.wait_for("standstill", |status| standstill(status).contains("lacks")));
    assert!(said.contains(&uuid(&pair.first).await) && said.contains("binlake rebuild"), "{said}");
    assert_eq!(scene.files("lacking.one"), readable, "what was committed stays readable");

    scene.good(&["rebuild", "lacking.one"]);
    wait_taken(&mut daemon, &pair.second).await;
    daemon.wait_live_again(&tables);
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, &pair.second, &tables).await;
    assert_eq!(generations(&scene, "lacking.one"), ["g0002"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_on_the_old_server_and_tagged_gtids_come_from_the_new_one() {
    let (pair, scene, tables) = small("prepared").await;
    let xa = |xid: &str, id: u32| {
        [
            format!("XA START '{xid}'"),
            format!("INSERT INTO prepared.one VALUES ({id},'{xid}')"),
            format!("XA END '{xid}'"),
            format!("XA PREPARE '{xid}'"),
        ]
    };
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    pair.first.execute(&xa("committed", 10)).await;
    pair.first.execute(&xa("undone", 11)).await;
    pair.first.execute(&["SET gtid_next = 'AUTOMATIC:blue'", "INSERT INTO prepared.one VALUES (3,'tagged')"]).await;
    wait_rows(&scene, &mut daemon, "prepared.one", 3);

    // Restarts in between: the prepared rows are read again from where they stand.
    daemon.stop();
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    pair.switch(&pair.first, &pair.second).await;
    wait_taken(&mut daemon, &pair.second).await;
    daemon.stop();
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    pair.second.execute(&["XA COMMIT 'committed'", "XA ROLLBACK 'undone'"]).await;
    pair.second.execute(&["SET gtid_next = 'AUTOMATIC:blue'", "INSERT INTO prepared.one VALUES (4,'tagged there')"]).await;
    wait_rows(&scene, &mut daemon, "prepared.one", 5);
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, &pair.second, &tables).await;
    assert_no_duplicates(&scene, "prepared.one");
    assert_eq!(generations(&scene, "prepared.one"), ["g0001"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_prepared_on_the_old_server_alone_and_changed_nothing_keeps_no_table_waiting_on_the_new_one() {
    let (pair, scene, tables) = small("unheard").await;
    let mut connection = pair.first.connect().await;
    for statement in ["XA START 'x'", "UPDATE unheard.one SET note = '' WHERE id = 99", "XA END 'x'", "XA PREPARE 'x'"] {
        connection.query_drop(statement).await.unwrap();
    }
    let mut daemon = Daemon::start(&scene);
    daemon.wait_for("the wait", |_| scene.has_logged("captured only when this XA transaction has ended"));
    pair.switch(&pair.first, &pair.second).await;
    wait_taken(&mut daemon, &pair.second).await;
    daemon.wait_live(&tables);
    pair.second.execute(&["INSERT INTO unheard.one VALUES (3,'on the new server')"]).await;
    wait_rows(&scene, &mut daemon, "unheard.one", 3);
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, &pair.second, &tables).await;
    connection.query_drop("XA ROLLBACK 'x'").await.unwrap();
}
