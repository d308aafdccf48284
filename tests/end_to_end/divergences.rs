//! Promise 11 on the real binary: whatever made a mirror wrong behind binlake's back is found by the row's next change, which parks the
//! table with the key, both rows and the place; a rebuild makes it right, and the other tables go on.

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::lake;
use crate::log_file::LogFile;
use crate::scene::{Scene, Status};
use crate::server::Server;

/// Rows of a table: enough that a file compressed harder is shorter, so that it can be filled up to the old length.
const ROWS: i64 = 800;

async fn create(server: &Server, database: &str, names: &[&str]) -> Vec<String> {
    server.create_database(database).await;
    let rows: Vec<String> = (1..=ROWS).map(|id| format!("({id},'row {id}',{})", id * 7)).collect();
    let mut tables = Vec::new();
    for name in names {
        let table = format!("{database}.{name}");
        server
            .execute(&[
                format!("CREATE TABLE {table} (id INT NOT NULL PRIMARY KEY, note VARCHAR(40) NULL, n INT NOT NULL)"),
                format!("INSERT INTO {table} VALUES {}", rows.join(",")),
            ])
            .await;
        tables.push(table);
    }
    tables
}

/// Whether a record's after image has this note.
fn makes(note: &'static str) -> impl Fn(&Value) -> bool {
    move |record| record["after"]["note"] == json!(note)
}

/// What a parked table must say: reason and remedy in one text, and the place of a change in it.
fn assert_says(status: &Status, table: &str, words: &[&str]) {
    let text = status.parked(table).unwrap_or_else(|| panic!("{table} is not parked: {:?}", status.table(table)));
    for word in words {
        assert!(text.contains(word), "{table}: {word:?} is not in {text}");
    }
    let place = text.split([' ', '"']).any(|word| {
        let parts: Vec<&str> = word.trim_end_matches(':').split([':', '/']).collect();
        parts.len() == 4 && parts.iter().all(|part| part.parse::<u64>().is_ok())
    });
    assert!(place, "{table}: no place epoch:file:offset/ordinal in {text}");
    assert!(text.contains("binlake rebuild"), "{table}: no remedy in {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_by_hand_parks_its_table_at_the_rows_next_change() {
    let server = Server::shared();
    let names = ["lake_value", "lake_row", "lake_size", "log_dropped", "in_a_batch", "log_changed", "log_bad", "log_odd", "fine"];
    let tables = create(server, "diverged", &names).await;
    let mut scene = Scene::new(server, &["{table: diverged.*}"]);
    // Nothing leaves the log between the first commit and the end: all that is planted stands before the writers.
    scene.edit(|yaml| {
        yaml.commit = "{interval: 1h}".to_owned();
        yaml.snapshot = format!("{{parallel: 2, chunk_rows: {}}}", ROWS * 2);
    });
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    for (id, note) in [(7, "first"), (7, "second"), (7, "third"), (9, "other"), (9, "last")] {
        let updates: Vec<_> = tables.iter().map(|table| format!("UPDATE {table} SET note='{note}' WHERE id={id}")).collect();
        server.execute(&updates).await;
    }
    daemon.wait_for("records in the log", |_| tables.iter().all(|table| LogFile::open(&scene, table).end() == 5));
    daemon.stop();

    let file = |table: &str| scene.files(table).pop().unwrap();
    lake::tamper(&[&file("diverged.lake_value"), "id", "7", "note", "tampered"]);
    lake::tamper(&[&file("diverged.lake_row"), "id", "7", "note", "--gone"]);
    lake::tamper(&["--other-size", &file("diverged.lake_size"), "id", "7", "note", "tampered"]);
    let log = |table: &str| LogFile::open(&scene, table);
    log("diverged.log_dropped").drop_record(makes("other"));
    log("diverged.in_a_batch").drop_record(makes("second"));
    log("diverged.log_changed").change(makes("other"), |text| text.replace(r#""note":"other""#, r#""note":"forged""#));
    let damaged = log("diverged.log_bad").damage(makes("second"));
    log("diverged.log_odd").change(makes("second"), |text| text.replace(r#"{"before":"#, r#"{"befor3":"#));
    let before: Vec<Vec<String>> = tables.iter().map(|table| scene.files(table)).collect();
    scene.catch_up_badly();

    let status = scene.status();
    assert_says(&status, "diverged.lake_value", &["key id=7", "(id=7, note=row 7, n=49)", "(id=7, note=tampered, n=49)"]);
    assert_says(&status, "diverged.log_dropped", &["key id=9", "(id=9, note=other, n=63)", "(id=9, note=row 9, n=63)"]);
    assert_says(&status, "diverged.in_a_batch", &["key id=7", "(id=7, note=second, n=49)", "(id=7, note=first, n=49)"]);
    assert_says(&status, "diverged.log_changed", &["key id=9", "(id=9, note=other, n=63)", "(id=9, note=forged, n=63)"]);
    for (table, words) in [
        ("diverged.lake_row", [".parquet", "799 rows", "the commit says 800"]),
        ("diverged.lake_size", [".parquet", "bytes, and the commit says", "binlake rebuild"]),
        ("diverged.log_bad", [&*format!("offset {damaged}"), "checksum", "binlake rebuild"]),
        ("diverged.log_odd", [".diverged.log_odd[0] at offset 1", "binlake rebuild", ""]),
    ] {
        let text = status.parked(table).unwrap_or_else(|| panic!("{table} is not parked"));
        assert!(words.iter().all(|word| text.contains(word)), "{table}: {text}");
    }
    assert_eq!(status.phase("diverged.fine"), "live");
    assert_equal(&scene, server, &["diverged.fine"]).await;
    for (table, files) in tables.iter().zip(&before).filter(|(table, _)| *table != "diverged.fine") {
        assert_eq!(scene.files(table), *files, "{table}: a table that parks keeps what readers had");
    }

    for table in tables.iter().filter(|table| *table != "diverged.fine") {
        scene.good(&["rebuild", table]);
    }
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_that_the_server_did_not_write_is_found_by_the_next_change() {
    let server = Server::start(&["--innodb-native-foreign-keys=ON"]).await;
    server.create_database("cascades").await;
    let key = |action: &str| format!("FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE {action}");
    server
        .execute(&[
            "CREATE TABLE cascades.parent (id INT NOT NULL PRIMARY KEY)".to_owned(),
            format!("CREATE TABLE cascades.gone (id INT NOT NULL PRIMARY KEY, parent INT NULL, {})", key("CASCADE")),
            format!("CREATE TABLE cascades.nulled (id INT NOT NULL PRIMARY KEY, parent INT NULL, {})", key("SET NULL")),
            "INSERT INTO cascades.parent VALUES (1),(2)".to_owned(),
            "INSERT INTO cascades.gone VALUES (10,1),(20,2)".to_owned(),
            "INSERT INTO cascades.nulled VALUES (10,1),(20,2)".to_owned(),
        ])
        .await;
    let tables: Vec<String> = ["parent", "gone", "nulled"].iter().map(|name| format!("cascades.{name}")).collect();
    let scene = Scene::new(&server, &["{table: cascades.*, cascades: accept}"]);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);

    let before = scene.status().commit("cascades.parent");
    server.execute(&["DELETE FROM cascades.parent WHERE id=1"]).await;
    daemon.wait_for("the parent's deletion", |status| status.commit("cascades.parent") > before);
    let status = scene.status();
    assert!(status.all_live(&tables), "nothing tells before the rows change: {status:?}");
    server.execute(&["INSERT INTO cascades.gone VALUES (10,2)", "UPDATE cascades.nulled SET parent=2 WHERE id=10"]).await;
    daemon.wait_parked("cascades.gone");
    daemon.wait_parked("cascades.nulled");
    let status = scene.status();
    assert_says(&status, "cascades.gone", &["key id=10", "expects no row", "(id=10, parent=1)"]);
    assert_says(&status, "cascades.nulled", &["key id=10", "(id=10, parent=NULL)", "(id=10, parent=1)"]);

    server.execute(&["INSERT INTO cascades.parent VALUES (3)"]).await;
    for table in &tables[1..] {
        scene.good(&["rebuild", table]);
    }
    daemon.wait_live_again(&tables);
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, &server, &tables).await;
}
