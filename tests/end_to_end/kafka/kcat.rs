//! kcat reads our topics: each kind of record is what `docs/change-log.md` shows, with the headers of `docs/kafka.md`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::hall;
use crate::broker::Brokers;
use crate::scene::Scene;
use crate::server::Server;

/// A record as kcat prints it.
#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    pub(super) partition: u32,
    pub(super) offset: u64,
    tstype: String,
    pub(super) key: Option<String>,
    /// The value.
    pub(super) payload: Option<String>,
    headers: Option<Vec<String>>,
}

/// What is looked at of a value; cells as they are written.
#[derive(Debug, Deserialize)]
struct Envelope {
    before: Box<RawValue>,
    after: Box<RawValue>,
    source: Value,
    op: String,
    ts_ms: i64,
}

impl Seen {
    fn headers(&self) -> BTreeMap<&str, &str> {
        self.headers.iter().flatten().map(String::as_str).collect::<Vec<_>>().chunks(2).map(|pair| (pair[0], pair[1])).collect()
    }

    /// The value; None of a tombstone.
    fn envelope(&self) -> Option<Envelope> {
        self.payload.as_ref().map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    /// The operation; empty of a tombstone.
    pub(super) fn operation(&self) -> String {
        self.envelope().map_or_else(String::new, |value| value.op)
    }

    /// As the document has it.
    fn shown(&self, statement: &str) -> String {
        let value = self.envelope().unwrap();
        let key = self.key.as_ref().map_or_else(|| "none".to_owned(), |key| format!("`{key}`"));
        format!("| {statement} | {key} | `{}` | `{}` | `{}` |", value.op, value.before, value.after)
    }
}

fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/kcat.sh");
        let made = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(made.status.success(), "there is no kcat: see above");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    })
}

/// All that stands in a topic.
pub(super) fn read(brokers: &Brokers, topic: &str) -> Vec<Seen> {
    let done = Command::new("timeout")
        .args(["60", program(), "-C", "-b", &brokers.addresses().join(","), "-t", topic, "-o", "beginning", "-e", "-q", "-J"])
        .output()
        .unwrap();
    let (text, said) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8_lossy(&done.stderr).into_owned());
    assert!(done.status.success(), "kcat: {said}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// The statements of the document's table, and its lines.
fn documented() -> (Vec<String>, Vec<String>) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/change-log.md")).unwrap();
    let (_, rest) = text.split_once("<!-- kinds -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- end of kinds -->\n").unwrap();
    let lines: Vec<String> = table.lines().skip(2).map(str::to_owned).collect();
    let statement = |line: &String| line.split('|').nth(1).unwrap().trim().trim_matches('`').to_owned();
    (lines.iter().map(statement).filter(|statement| !statement.is_empty()).collect(), lines)
}

/// `epoch:file:offset/ordinal`.
fn place(text: &str) -> Vec<u64> {
    text.split([':', '/']).map(|number| number.parse().unwrap()).collect()
}

/// What the headers say: each record stands behind the one before it in its partition, and names it.
fn assert_chained(records: &[Seen]) {
    let mut last = BTreeMap::new();
    for record in records {
        assert_eq!(record.tstype, "create");
        let headers = record.headers();
        if record.payload.is_none() {
            assert_eq!(headers.keys().copied().collect::<Vec<_>>(), ["binlake.tombstone"], "{record:?}");
            assert_eq!(last.get(&record.partition).map(String::as_str), headers.get("binlake.tombstone").copied(), "{record:?}");
            continue;
        }
        let names: Vec<&str> = headers.keys().copied().filter(|name| *name != "binlake.previous").collect();
        assert_eq!(names, ["binlake.position", "binlake.schema", "binlake.term"], "{record:?}");
        assert_eq!(last.get(&record.partition).map(String::as_str), headers.get("binlake.previous").copied(), "{record:?}");
        let position = headers["binlake.position"];
        assert!(last.get(&record.partition).is_none_or(|last| place(last) < place(position)), "{record:?}");
        last.insert(record.partition, position.to_owned());
        assert!(headers["binlake.term"].parse::<u64>().is_ok() && !headers["binlake.schema"].is_empty(), "{record:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_every_kind_are_what_the_document_shows_to_kcat() {
    let (server, brokers) = (Server::shared(), Brokers::shared());
    server.create_database("for_kcat").await;
    server.execute(&["CREATE TABLE for_kcat.orders (id INT NOT NULL PRIMARY KEY, name VARCHAR(20) NULL)"]).await;
    let mut scene = Scene::new(server, &["{table: for_kcat.orders, mode: both}"]);
    scene.edit(|yaml| yaml.log = format!("{}, partitions: 3, tombstones: true", hall::on(&brokers.addresses())));
    scene.catch_up();
    let (statements, lines) = documented();
    let topic = format!("{}.for_kcat.orders", scene.yaml.name);
    let mut shown = Vec::new();
    let mut known = 0;
    for statement in &statements {
        server.execute(&["USE for_kcat".to_owned(), statement.clone()]).await;
        // A statement that changes the table parks it: that is said at the end.
        let ended = scene.catch_up_somehow();
        assert!(ended.code == Some(0) || statement.starts_with("ALTER"), "{statement}: {}", ended.text());
        let records = read(brokers, &topic);
        assert_chained(&records);
        // Of partitions that are read one behind the other: in the order of the binlog.
        let mut rows: Vec<&Seen> = records.iter().filter(|record| record.payload.is_some()).collect();
        rows.sort_by_key(|record| place(record.headers()["binlake.position"]));
        for (number, record) in rows.iter().skip(known).enumerate() {
            let value = record.envelope().unwrap();
            assert!(value.ts_ms == value.source["ts_ms"] && value.source["table"] == "orders", "{record:?}");
            assert_eq!(value.source["query"].as_str(), matches!(value.op.as_str(), "t" | "s").then_some(statement.as_str()));
            shown.push(record.shown(&if number == 0 { format!("`{statement}`") } else { String::new() }).replace("|  |", "| |"));
        }
        known = rows.len();
        let deletes = rows.iter().filter(|record| record.operation() == "d").count();
        assert_eq!(records.len() - rows.len(), deletes, "a delete has a tombstone, nothing else has");
    }
    assert_eq!(shown, lines, "docs/change-log.md, and what kcat reads:\n{}", shown.join("\n"));
}
