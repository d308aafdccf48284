//! Another `lake.datetime_zone` in the YAML: a generation keeps the zone that it was begun with, whatever becomes of the table, and the
//! next one takes the new one.

use binlake::trial::at;
use rusqlite::Connection;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::equality::{assert_equal, assert_no_duplicates};
use crate::lake::Reader;
use crate::scene::{Scene, Status};
use crate::server::Server;

const UTC: &str = "UTC";
const EAST: &str = "Asia/Shanghai";

/// Rows of which each has the same clock.
fn rows(ids: std::ops::Range<u32>) -> String {
    let rows: Vec<String> = ids.map(|id| format!("({id}, '2026-03-04 05:06:07')")).collect();
    rows.join(",")
}

/// A database with a table that has a DATETIME, and another one that has none.
async fn prepared(server: &Server, database: &str, mode: &str) -> Scene {
    server.create_database(database).await;
    server
        .execute(&[
            format!("CREATE TABLE {database}.clock (id INT NOT NULL PRIMARY KEY, at DATETIME NULL)"),
            format!("CREATE TABLE {database}.plain (id INT NOT NULL PRIMARY KEY, at TIMESTAMP NULL)"),
            format!("INSERT INTO {database}.plain VALUES (1, NULL)"),
            format!("INSERT INTO {database}.clock VALUES {}", rows(1..1501)),
        ])
        .await;
    let clock = format!("{{table: {database}.clock, mode: {mode}}}");
    let mut scene = Scene::new(server, &[clock, format!("{{table: {database}.plain}}")]);
    scene.edit(|yaml| yaml.zone = UTC.to_owned());
    scene
}

/// What `status` warns of, in one text.
fn warnings(status: &Status, table: &str) -> String {
    status.table(table).map(|entry| entry["warnings"].to_string()).unwrap_or_default()
}

fn assert_told(status: &Status, table: &str) {
    let told = warnings(status, table);
    let remedy = format!("run `binlake rebuild {table}`, or take the change back");
    let words = ["`lake.datetime_zone`", "from instant in UTC to instant in Asia/Shanghai", &remedy];
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
    assert_eq!(status.phase(table), "live");
}

/// Fails unless readers see this generation, and all of its clocks as they are read in one zone.
async fn assert_in_zone(scene: &mut Scene, server: &Server, table: &str, (generation, zone): (&str, &str)) {
    let files = scene.files(table);
    assert!(!files.is_empty() && files.iter().all(|file| file.contains(generation)), "{generation}: {files:?}");
    // Compared by it, while the YAML may want another one.
    let wanted = std::mem::replace(&mut scene.yaml.zone, zone.to_owned());
    assert_equal(scene, server, &[table]).await;
    scene.yaml.zone = wanted;
}

/// The changes in a changelog, and the different clocks of its rows: of such as have the same in MySQL.
fn changelog(scene: &Scene, table: &str) -> (u64, u64, String) {
    let files = scene.changelog_files(table);
    let query = "SELECT count(*) FILTER (_op <> 'r'), count(DISTINCT \"at\"), CAST(min(epoch_ms(\"at\")) AS VARCHAR) FROM c";
    let rows = Reader::start().query(query, &[("c", &files)]);
    let cell = |index: usize| &rows[0][index];
    (cell(0).as_u64().unwrap(), cell(1).as_u64().unwrap(), cell(2).as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_zone_is_for_what_is_built_anew_and_told_until_then() {
    let server = Server::shared();
    let mut scene = prepared(server, "rezoned", "mirror").await;
    scene.catch_up();
    let (clock, plain) = ("rezoned.clock", "rezoned.plain");
    let insert = |id: u32| format!("INSERT INTO {clock} VALUES {}", rows(id..id + 1));

    server.execute(&[insert(2001)]).await;
    scene.edit(|yaml| yaml.zone = EAST.to_owned());
    let said = scene.catch_up_somehow();
    assert_eq!(said.code, Some(0), "{}", said.text());
    assert!(said.text().contains("from instant in UTC to instant in Asia/Shanghai"), "the log is silent: {}", said.text());
    assert_told(&scene.status(), clock);
    assert!(scene.good(&["status"]).contains("warning: `lake.datetime`"), "people are not told");
    assert_eq!(warnings(&scene.status(), plain), "[]", "it has no DATETIME");
    assert_in_zone(&mut scene, server, clock, ("/g0001/", UTC)).await;

    // Taken back, it is as if nothing had been.
    server.execute(&[insert(2002)]).await;
    scene.edit(|yaml| yaml.zone = UTC.to_owned());
    scene.catch_up();
    assert_eq!(warnings(&scene.status(), clock), "[]");
    assert_in_zone(&mut scene, server, clock, ("/g0001/", UTC)).await;

    server.execute(&[insert(2003)]).await;
    scene.edit(|yaml| yaml.zone = EAST.to_owned());
    scene.good(&["rebuild", clock]);
    scene.catch_up();
    assert_eq!(warnings(&scene.status(), clock), "[]");
    assert_in_zone(&mut scene, server, clock, ("/g0002/", EAST)).await;
    assert_in_zone(&mut scene, server, plain, ("/g0001/", EAST)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_zone_while_a_rebuild_is_on_its_way_touches_neither_generation() {
    let server = Server::shared();
    let mut scene = prepared(server, "rezoning", "both").await;
    scene.catch_up();
    let clock = "rezoning.clock";

    // The new generation has a chunk of the snapshot, and goes no further; the old one goes on under its readers.
    scene.good(&["rebuild", clock]);
    tokio::task::block_in_place(|| Daemon::die_at(&scene, at::CHUNK_DONE, 1));
    scene.good(&["pause", clock]);
    scene.edit(|yaml| yaml.zone = EAST.to_owned());
    server
        .execute(&[
            format!("INSERT INTO {clock} VALUES {}", rows(2001..2011)),
            format!("UPDATE {clock} SET id = id + 5000 WHERE id <= 10"),
            format!("DELETE FROM {clock} WHERE id BETWEEN 20 AND 25"),
        ])
        .await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_for("the old generation's next state", |status| {
        let entry = status.table(clock).cloned().unwrap_or(Value::Null);
        status.daemon_running() && entry["phase"] == "paused" && entry["rows"] == 1504
    });
    // A key's update is two changes.
    daemon.wait_for("all changes in its changelog", |_| changelog(&scene, clock).0 == 10 + 2 * 10 + 6);
    daemon.stop();
    assert_in_zone(&mut scene, server, clock, ("/g0001/", UTC)).await;
    let (_, clocks, utc) = changelog(&scene, clock);
    assert_eq!(clocks, 1, "clocks of two zones");

    scene.good(&["resume", clock]);
    scene.catch_up();
    assert_told(&scene.status(), clock);
    assert_in_zone(&mut scene, server, clock, ("/g0002/", UTC)).await;
    assert_eq!(changelog(&scene, clock).1, 1);
    assert_eq!(changelog(&scene, clock).2, utc);
    assert_no_duplicates(&scene, clock);

    // One of which nothing was read yet takes what is set when it is.
    scene.edit(|yaml| yaml.zone = UTC.to_owned());
    scene.good(&["rebuild", clock]);
    tokio::task::block_in_place(|| Daemon::die_at(&scene, at::CAPTURING, 1));
    scene.edit(|yaml| yaml.zone = EAST.to_owned());
    scene.catch_up();
    assert_eq!(warnings(&scene.status(), clock), "[]");
    assert_in_zone(&mut scene, server, clock, ("/g0003/", EAST)).await;
    let (_, clocks, east) = changelog(&scene, clock);
    assert!(clocks == 1 && east != utc, "{clocks} {east}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_left_goes_on() {
    let server = Server::shared();
    let mut scene = prepared(server, "zoned_before", "mirror").await;
    scene.catch_up();
    let clock = "zoned_before.clock";
    let sql = |scene: &Scene, statement: &str| {
        Connection::open(scene.path("state/binlake.db")).unwrap().execute_batch(statement).unwrap()
    };

    // It parked a table whose zone was changed.
    let parked = "UPDATE tables SET phase_document = json_object('phase', 'parked', 'before', json(phase_document), 'parked', json_object(
        'reason', name || ': `lake.datetime` or `lake.datetime_zone` was changed from instant in UTC to instant in Asia/Shanghai since this generation was started',
        'remedy', 'rebuild', 'resumable', json('true'), 'at_ms', 1)) WHERE name = 'clock'";
    sql(&scene, parked);
    assert_eq!(scene.status().phase(clock), "parked");
    scene.edit(|yaml| yaml.zone = EAST.to_owned());
    server.execute(&[format!("INSERT INTO {clock} VALUES {}", rows(2001..2002))]).await;
    scene.catch_up();
    assert_told(&scene.status(), clock);
    assert_in_zone(&mut scene, server, clock, ("/g0001/", UTC)).await;

    // One before it wrote no zone down: it is the one that is set at the first start.
    sql(&scene, "UPDATE tables SET datetimes = NULL");
    scene.edit(|yaml| yaml.zone = UTC.to_owned());
    scene.catch_up();
    scene.edit(|yaml| yaml.zone = EAST.to_owned());
    server.execute(&[format!("INSERT INTO {clock} VALUES {}", rows(2002..2003))]).await;
    scene.catch_up();
    assert_told(&scene.status(), clock);
    assert_in_zone(&mut scene, server, clock, ("/g0001/", UTC)).await;
}
