//! `daily: true`: what a mirror held when a day of the source ended stays as a day of `<table>_daily`. The days are MariaDB's, whose sessions
//! say what time it is.

use binlake::trial::at;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::lake::Reader;
use crate::scene::{Scene, Status};
use crate::server::{Kind, Server};

/// 2026-03-04 12:00:00 UTC, which is 20:00 in Shanghai.
pub(crate) const NOON: i64 = 1_772_625_600;
pub(crate) const DAY: i64 = 86_400;
const TABLES: [&str; 2] = ["orders", "quiet"];

pub(crate) async fn start() -> Server {
    Server::start_a(Kind::Mariadb("11.8"), &["--default-time-zone=+00:00"]).await
}

/// Executes these at a time of the source's own.
pub(crate) async fn at_time(server: &Server, time: i64, statements: &[String]) {
    let mut all = vec![format!("SET TIMESTAMP = {time}")];
    all.extend(statements.iter().cloned());
    server.execute(&all).await;
}

fn insert(database: &str, ids: std::ops::Range<u32>) -> Vec<String> {
    let rows: Vec<String> = ids.map(|id| format!("({id}, 'row {id}')")).collect();
    vec![format!("INSERT INTO {database}.orders VALUES {}", rows.join(","))]
}

/// Two tables, of which one has no change behind its first rows, and one without days.
pub(crate) async fn prepared(server: &Server, database: &str) -> Scene {
    server.create_database(database).await;
    let tables = TABLES.into_iter().chain(["other"]);
    let mut statements: Vec<String> =
        tables.map(|name| format!("CREATE TABLE {database}.{name} (id INT NOT NULL PRIMARY KEY, t VARCHAR(40))")).collect();
    statements.extend(insert(database, 1..301));
    statements.push(format!("INSERT INTO {database}.quiet VALUES (1, 'still')"));
    at_time(server, NOON, &statements).await;
    let items: Vec<String> = TABLES.iter().map(|name| format!("{{table: {database}.{name}, daily: true}}")).collect();
    let mut scene = Scene::new(server, &items);
    scene.edit(|yaml| yaml.zone = "Asia/Shanghai".to_owned());
    scene
}

/// The rows of a day, as one text.
fn day(scene: &Scene, table: &str, day: &str) -> String {
    let files: Vec<String> = scene.good(&["files", table, "--day", day]).lines().map(str::to_owned).collect();
    let query = "SELECT count(*), sum(id), max(t) FROM d";
    Reader::start().query(query, &[("d", &files)]).iter().map(|row| Value::from(row.clone()).to_string()).collect()
}

pub(crate) fn last_day(status: &Status, table: &str) -> String {
    status.table(table).map(|entry| entry["daily"]["day"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

/// What MariaDB has now, in the same form.
pub(crate) async fn now(server: &Server, table: &str) -> String {
    use mysql_async::prelude::Queryable;
    let mut connection = server.connect().await;
    let query = format!("SELECT count(*), sum(id), max(t) FROM {table}");
    let row: Option<(u64, u64, String)> = connection.query_first(query).await.unwrap();
    let (rows, sum, text) = row.unwrap();
    format!("[{rows},\"{sum}\",\"{text}\"]").replace('"', "")
}

pub(crate) fn plain(text: &str) -> String {
    text.replace('"', "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_what_the_table_was_at_its_end_whatever_happens_there() {
    let (server, database) = (start().await, "days");
    let mut scene = prepared(&server, database).await;
    let (orders, quiet) = (format!("{database}.orders"), format!("{database}.quiet"));
    scene.catch_up();
    // 23:59:59 in Shanghai is of the day.
    at_time(&server, NOON + 4 * 3600 - 1, &insert(database, 301..401)).await;
    let (first, first_quiet) = (now(&server, &orders).await, now(&server, &quiet).await);
    at_time(&server, NOON + 4 * 3600, &insert(database, 401..501)).await;
    at_time(&server, NOON + 5 * 3600, &[format!("DELETE FROM {orders} WHERE id <= 100")]).await;
    for point in at::OF_DAYS {
        tokio::task::block_in_place(|| Daemon::die_at(&scene, point, 1));
    }
    let mut daemon = Daemon::start(&scene);
    let status = daemon.wait_for("the first day", |status| {
        TABLES.iter().all(|name| last_day(status, &format!("{database}.{name}")) == "2026-03-04")
    });
    assert_eq!(status.table(&quiet).unwrap()["daily"]["rows"], 1);
    assert_eq!((plain(&day(&scene, &orders, "2026-03-04")), plain(&day(&scene, &quiet, "2026-03-04"))), (first, first_quiet));

    // A day that another table ends, and two that nobody has written on.
    let second = now(&server, &orders).await;
    at_time(&server, NOON + 3 * DAY, &[format!("INSERT INTO {database}.other VALUES (1, 'not captured')")]).await;
    daemon.wait_for("the days", |status| last_day(status, &orders) == "2026-03-06");
    daemon.stop();
    for ended in ["2026-03-05", "2026-03-06"] {
        assert_eq!(plain(&day(&scene, &orders, ended)), second, "{ended}");
    }
    let missing = scene.run(&["files", &orders, "--day", "2026-03-07"]);
    assert!(
        missing.code == Some(1) && missing.text().contains("days from 2026-03-04 to 2026-03-06 are there"),
        "{}",
        missing.text()
    );

    // A rebuild keeps them, and the mirror goes on; nothing of an attempt is left.
    scene.good(&["rebuild", &orders]);
    at_time(&server, NOON + 4 * DAY, &insert(database, 501..601)).await;
    scene.edit(|yaml| yaml.lake.push_str("  retention: {min: 0s, max: 0s}\n"));
    scene.catch_up();
    scene.catch_up();
    assert_eq!(plain(&day(&scene, &orders, "2026-03-05")), second);
    let wanted: Vec<String> = scene.good(&["files", &orders, "--day", "2026-03-04"]).lines().map(str::to_owned).collect();
    let directory = std::path::Path::new(&wanted[0]).ancestors().nth(2).unwrap().to_owned();
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "{}", directory.display());
}
