//! What a daemon answers over HTTP: numbers that are true, health, and the status; and nothing else.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::proxy::{Proxy, Weather};
use crate::scene::Scene;
use crate::server::Server;

/// How long a number may take to come to what is awaited.
const LIMIT: Duration = Duration::from_secs(60);

/// Where a daemon says that it listens.
fn address(scene: &Scene) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let log = std::fs::read_to_string(scene.log()).unwrap_or_default();
        let line = log.lines().rev().find(|line| line.contains("served over HTTP"));
        let address = line.and_then(|line| line.split("127.0.0.1:").nth(1));
        if let Some(port) = address {
            let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
            return format!("127.0.0.1:{digits}");
        }
        assert!(Instant::now() < deadline, "the daemon does not say where it listens");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Status code and body of an answer.
fn asked(address: &str, method: &str, path: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

pub(crate) fn numbers(address: &str) -> String {
    let (code, text) = asked(address, "GET", "/metrics");
    assert_eq!(code, 200, "{text}");
    text
}

/// The value of a series, by its name with its labels in order.
pub(crate) fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

fn wait_for(address: &str, what: &str, reached: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = numbers(address);
        if reached(&text) {
            return text;
        }
        assert!(Instant::now() < deadline, "never {what}:\n{text}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The names of the families that a daemon shows.
fn families(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect()
}

/// The names that the documentation lists: the first cell of each row of its tables.
fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

/// Every family that a daemon can show is documented, and the other way round; some come only with their first value.
fn assert_documented(text: &str) {
    let (shown, listed) = (families(text), documented());
    assert!(shown.is_subset(&listed), "not in docs/metrics.md: {:?}", shown.difference(&listed));
    let later = [
        "binlake_table_parked",
        "binlake_cleaned_files_total",
        "binlake_snapshot_rows_estimated",
        "binlake_metastore_behind_seconds",
    ];
    let absent: Vec<&String> = listed.difference(&shown).filter(|name| !later.contains(&name.as_str())).collect();
    assert!(absent.is_empty(), "documented, and never shown: {absent:?}");
}

/// A table of 700 rows, and one of none.
async fn fill(server: &Server) {
    server.create_database("numbered").await;
    let rows: Vec<String> = (1..=700).map(|id| format!("({id},'row {id}')")).collect();
    server
        .execute(&[
            "CREATE TABLE numbered.one (id INT NOT NULL PRIMARY KEY, note VARCHAR(40) NULL, born DATE NULL)".to_owned(),
            format!("INSERT INTO numbered.one (id, note) VALUES {}", rows.join(",")),
            "CREATE TABLE numbered.two (id INT NOT NULL PRIMARY KEY)".to_owned(),
        ])
        .await;
}

/// What went through the change log is counted, and nothing of it is left in hand.
fn assert_counted(text: &str, source: &str, one: &str) {
    let of_one = |name: &str| format!("{name}{{source=\"{source}\",table=\"{one}\"}}");
    let of_source = |name: &str| format!("{name}{{source=\"{source}\"}}");
    let in_by = |op: &str| value(text, &format!("binlake_rows_in_total{{op=\"{op}\",source=\"{source}\",table=\"{one}\"}}"));
    assert_eq!(["insert", "update", "delete"].map(in_by), [Some(3.0), Some(2.0), Some(1.0)], "{text}");
    for counted in ["binlake_acknowledged_records_total", "binlake_published_records_total"] {
        assert_eq!(value(text, &of_source(counted)), Some(6.0), "{counted}");
    }
    let (taken, written) = ("binlake_commit_taken_bytes_total", "binlake_commit_bytes_total");
    let (taken, written) = (value(text, &of_one(taken)).unwrap(), value(text, &of_one(written)).unwrap());
    let amplification = value(text, &of_one("binlake_write_amplification")).unwrap();
    assert!(taken > 0.0 && (amplification - written / taken).abs() < 1e-9, "{written} / {taken}");
    assert_eq!(value(text, &of_one("binlake_commit_failures_total")), Some(0.0));
    assert!(value(text, &of_source("binlake_published_offset")) > Some(4.0), "{text}");
    assert!(value(text, "binlake_changelog_max_bytes") > value(text, "binlake_changelog_bytes"), "{text}");
    assert!(value(text, &of_source("binlake_heartbeat_age_seconds")) < Some(15.0), "{text}");
    assert_eq!(value(text, &of_one("binlake_table_waiting_records")), Some(0.0));
    let held = |buffer: &str| value(text, &format!("binlake_buffered_bytes{{buffer=\"{buffer}\",source=\"{source}\"}}"));
    assert_eq!(["transaction", "append", "batch"].map(held), [Some(0.0); 3], "nothing waits, so nothing is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_are_true_and_are_those_of_the_documentation() {
    // A server of its own: on one that others write to there is always something that the change log has not.
    let server = &Server::start(&[]).await;
    fill(server).await;
    let proxy = Proxy::start(server.port()).await;
    let mut scene = Scene::new(server, &["{table: numbered.one}", "{table: numbered.two}"]);
    scene.edit(|yaml| yaml.url = format!("mysql://127.0.0.1:{}", proxy.port()));
    let tables = ["numbered.one".to_owned(), "numbered.two".to_owned()];
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let at = address(&scene);
    let (source, one) = (scene.yaml.name.clone(), "numbered.one");
    let of_one = |name: &str| format!("{name}{{source=\"{source}\",table=\"{one}\"}}");
    let of_source = |name: &str| format!("{name}{{source=\"{source}\"}}");

    let first = wait_for(&at, "all rows", |text| value(text, &of_one("binlake_table_rows")) == Some(700.0));
    assert_eq!(value(&first, &of_one("binlake_snapshot_rows_total")), Some(700.0));
    assert!(value(&first, &of_one("binlake_snapshot_chunks_total")) >= Some(2.0), "{first}");
    assert_eq!(value(&first, &format!("binlake_tables{{phase=\"live\",source=\"{source}\"}}")), Some(2.0));
    assert_eq!(value(&first, &of_source("binlake_source_up")), Some(1.0));
    assert!(value(&first, &of_source("binlake_binlog_runway_seconds")) > Some(3600.0), "{first}");
    assert!(value(&first, "binlake_resident_bytes") > Some(1e6), "{first}");

    server
        .execute(&[
            "INSERT INTO numbered.one VALUES (1001, 'a', NULL), (1002, 'b', NULL), (1003, 'c', NULL)".to_owned(),
            "UPDATE numbered.one SET note = 'changed' WHERE id <= 2".to_owned(),
            "DELETE FROM numbered.one WHERE id = 3".to_owned(),
        ])
        .await;
    let op = |op: &str| format!("binlake_commit_rows_total{{op=\"{op}\",source=\"{source}\",table=\"{one}\"}}");
    let then = wait_for(&at, "the changes", |text| value(text, &of_one("binlake_table_rows")) == Some(702.0));
    let changed = [op("insert"), op("update"), op("delete")].map(|series| value(&then, &series));
    assert_eq!(changed, [Some(3.0), Some(2.0), Some(1.0)], "{then}");
    assert_eq!(value(&then, &of_source("binlake_appended_records")), Some(6.0));
    assert_counted(&then, &source, one);
    assert!(value(&then, &of_one("binlake_commit_bytes_total")) > Some(0.0));
    wait_for(&at, "no lag", |text| {
        value(text, &of_source("binlake_lag_seconds")) == Some(0.0)
            && value(text, &of_source("binlake_lag_bytes")) == Some(0.0)
            && value(text, &of_one("binlake_freshness_seconds")) == Some(0.0)
    });

    assert_documented(&then);

    // A server that does not answer is down, and what is seen of it grows old.
    proxy.set(Weather::Refusing);
    proxy.cut();
    let down = wait_for(&at, "a server that is down", |text| {
        value(text, &of_source("binlake_source_up")) == Some(0.0)
            && value(text, &format!("binlake_restarts_total{{remedy=\"retry\",source=\"{source}\",worker=\"source\"}}"))
                > Some(0.0)
    });
    assert!(value(&down, &of_source("binlake_lag_seconds")) > Some(0.0), "{down}");
    assert_eq!(asked(&at, "GET", "/readyz").0, 200, "a source that is away takes nothing down");
    proxy.set(Weather::Fair);
    server.execute(&["ALTER TABLE numbered.two ADD COLUMN more INT".to_owned()]).await;
    let parked = format!("binlake_table_parked{{source=\"{source}\",table=\"numbered.two\"}}");
    wait_for(&at, "a parked table", |text| value(text, &parked) == Some(1.0));
    daemon.stop();
    scene.catch_up_badly();
    assert_equal(&scene, server, &[one]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_status_are_answered_and_nothing_else_is() {
    let server = Server::shared();
    server.create_database("healthy").await;
    server.execute(&["CREATE TABLE healthy.one (id INT NOT NULL PRIMARY KEY)".to_owned()]).await;
    let scene = Scene::new(server, &["{table: healthy.one}"]);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&["healthy.one".to_owned()]);
    let at = address(&scene);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(asked(&at, "GET", path).0, 200, "{path}");
    }
    let (code, body) = asked(&at, "GET", "/api/status");
    let (served, printed): (Value, Value) = (serde_json::from_str(&body).unwrap(), scene.status().0);
    assert_eq!((code, &served["daemon_running"]), (200, &Value::Bool(true)));
    for key in ["table", "phase", "committed", "rows"] {
        assert_eq!(served["sources"][0]["tables"][0][key], printed["sources"][0]["tables"][0][key], "{key}");
    }
    assert!(served["sources"][0]["runway_seconds"].as_f64() > Some(3600.0), "{served}");
    let (code, body) = asked(&at, "GET", "/nowhere");
    assert!(code == 404 && body.contains("there is no /nowhere"), "{code} {body}");
    for path in ["/metrics", "/api/status", "/healthz"] {
        assert_eq!(asked(&at, "POST", path).0, 405, "{path}");
    }
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_said_and_keeps_nobody_from_working() {
    let server = Server::shared();
    server.create_database("taken").await;
    server.execute(&["CREATE TABLE taken.one (id INT NOT NULL PRIMARY KEY)".to_owned()]).await;
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut scene = Scene::new(server, &["{table: taken.one}"]);
    scene.edit(|yaml| yaml.http = holder.local_addr().unwrap().to_string());
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&["taken.one".to_owned()]);
    assert!(scene.has_logged("nothing listens at `http`"));
    daemon.stop();
}

#[test]
fn alerts_are_about_numbers_that_there_are() {
    let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/binlake.rules.yml")).unwrap();
    let listed = documented();
    let expressions = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let words = expressions.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let named: BTreeSet<String> = words.filter(|word| word.starts_with("binlake_")).map(str::to_owned).collect();
    assert!(named.len() >= 8 && named.is_subset(&listed), "{:?}", named.difference(&listed));
}
