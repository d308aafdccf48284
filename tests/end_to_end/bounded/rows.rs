//! Rows and tables at MySQL's own limits: 60 MB in one row, as many columns and labels as a table may have.

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use super::assert_within;
use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::Server;

/// The default of `memory`, in MiB.
const MEMORY_DEFAULT_MIB: u64 = 512;

/// A row is held whole, and where an update has it twice, about a dozen times in all between binlog and Parquet: what a row of 60 MB takes
/// beside the rest.
const ROW_MIB: u64 = 4 * 60;

/// Every row's key with the fingerprints of its large cells.
async fn fingerprints(server: &Server) -> Value {
    let mut connection = server.connect().await;
    let rows: Vec<(u64, String, String)> =
        connection.query("SELECT id, SHA2(body, 256), SHA2(photo, 256) FROM large.t ORDER BY id").await.unwrap();
    connection.disconnect().await.unwrap();
    json!(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_sixty_megabytes_passes_every_way_within_a_few_times_its_size() {
    let server = Server::start(&["--max-allowed-packet=1073741824"]).await;
    server.create_database("large").await;
    let (text, photo) = ("REPEAT('wörter ', 60 * 131072)", "REPEAT(UNHEX(SHA2(3, 256)), 60 * 32768)");
    server
        .execute(&[
            "CREATE TABLE large.t (id INT NOT NULL PRIMARY KEY, body LONGTEXT, photo LONGBLOB)".to_owned(),
            format!("INSERT INTO large.t VALUES (1, {text}, 'x'), (2, 'x', {photo}), (3, 'small', 'small')"),
        ])
        .await;
    let scene = Scene::new(&server, &["{table: large.t}"]);
    let tables = ["large.t".to_owned()];
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let mut reader = Reader::start();
    let seen = "SELECT id, sha256(body), sha256(photo) FROM t ORDER BY id";
    assert_eq!(json!(reader.query(seen, &[("t", &scene.files("large.t"))])), fingerprints(&server).await, "the snapshot");
    for change in [
        // Created, changed with both images large, moved to another key, and gone.
        format!("INSERT INTO large.t VALUES (4, 'x', {photo})"),
        "UPDATE large.t SET body = 'y' WHERE id = 4".to_owned(),
        "UPDATE large.t SET id = 5 WHERE id = 1".to_owned(),
        "DELETE FROM large.t WHERE id = 2".to_owned(),
        "UPDATE large.t SET body = 'no longer small' WHERE id = 3".to_owned(),
    ] {
        server.execute(&[&change]).await;
        let source = fingerprints(&server).await;
        daemon.wait_for(&change, |_| json!(reader.query(seen, &[("t", &scene.files("large.t"))])) == source);
    }
    daemon.wait_live(&tables);
    assert_within(&daemon, MEMORY_DEFAULT_MIB + ROW_MIB);
    daemon.stop();
}

/// A name as long as MySQL allows.
fn long_name(number: usize) -> String {
    format!("c{number:04}_{}", "ü".repeat(58))
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_as_many_columns_and_labels_as_can_be_are_kept_or_refused_and_end_nothing() {
    let server = Server::start(&[]).await;
    server.create_database("wide").await;
    // InnoDB's limit is 1,017 columns, MySQL's 4,096.
    let columns = |count: usize| (1..count).map(|number| format!("{} TINYINT", long_name(number))).collect::<Vec<_>>().join(",");
    let labels = |count: usize| (0..count).map(|label| format!("'{label:0>200}'")).collect::<Vec<_>>().join(",");
    let enums: Vec<String> = (0..4).map(|number| format!("e{number} ENUM({})", labels(2_000 + number))).collect();
    server
        .execute(&[
            format!("CREATE TABLE wide.innodb (id INT NOT NULL PRIMARY KEY, {})", columns(1_017)),
            format!("CREATE TABLE wide.myisam (id INT NOT NULL PRIMARY KEY, {}) ENGINE = MyISAM", columns(4_000)),
            format!("CREATE TABLE wide.labels (id INT NOT NULL PRIMARY KEY, {})", enums.join(",")),
            "CREATE TABLE wide.narrow (id INT NOT NULL PRIMARY KEY, note VARCHAR(10))".to_owned(),
        ])
        .await;
    let all = ["innodb", "myisam", "labels", "narrow"];
    let fill = |id: usize| {
        let insert = |table: &&str| format!("INSERT INTO wide.{table} (id) VALUES ({id})");
        let mut statements: Vec<String> = all.iter().map(insert).collect();
        statements.push(format!("UPDATE wide.innodb SET {} = {id} WHERE id = {id}", long_name(1_000)));
        statements.push(format!("UPDATE wide.labels SET e3 = {} WHERE id = {id}", 2_000 + id));
        statements
    };
    server.execute(&fill(1)).await;
    let scene = Scene::new(&server, &["{table: wide.*}"]);
    let mut daemon = Daemon::start(&scene);
    let settled = |phase: &str| matches!(phase, "live" | "parked");
    daemon.wait_for("settled tables", |status| all.iter().all(|table| settled(status.phase(&format!("wide.{table}")))));
    server.execute(&fill(2)).await;
    let mut reader = Reader::start();
    let rows = "SELECT count(*) FROM t";
    daemon.wait_for("change of the narrow table", |_| {
        json!(reader.query(rows, &[("t", &scene.files("wide.narrow"))])) == json!([[2]])
    });
    let status = scene.status();
    let mut live: Vec<String> = Vec::new();
    for table in all.map(|table| format!("wide.{table}")) {
        match status.parked(&table) {
            Some(reason) => assert!(reason.contains(" / ") && table != "wide.innodb", "{table}: {reason}"),
            None => live.push(table),
        }
    }
    println!("live: {live:?}");
    for table in ["wide.innodb", "wide.labels", "wide.narrow"] {
        assert!(live.iter().any(|live| live == table), "{table} is not live: {:?}", status.parked(table));
    }
    assert_within(&daemon, MEMORY_DEFAULT_MIB);
    daemon.stop();
    let caught_up = live.len() == all.len();
    if caught_up {
        scene.catch_up()
    } else {
        drop(scene.catch_up_badly())
    }
    assert_equal(&scene, &server, &live).await;
}
