//! The change log's records are Debezium's, but for what the documents list: Debezium's engine and binlake read the same statements, and
//! every difference stands in `docs/types.md` (cells) or `docs/change-log.md` (what is around them), as does nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::value::RawValue;

use super::contract::{Reader, TABLE, document, insert, make, samples};
use crate::scene::Scene;
use crate::server::Server;

/// A file of the repository.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The options that `docs/types.md` names.
fn options() -> Vec<String> {
    let text = std::fs::read_to_string(document()).unwrap();
    let (_, section) = text.split_once("## The Debezium options it corresponds to\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap_or((section, ""));
    section.split('`').skip(1).step_by(2).filter(|code| code.contains('=')).map(str::to_owned).collect()
}

/// Debezium's engine, which goes on where it was between two calls.
struct Engine {
    directory: tempfile::TempDir,
    jars: String,
}

impl Engine {
    fn new(server: &Server, name: &str) -> Self {
        let installed = Command::new(file("benches/debezium/install.sh")).stderr(Stdio::inherit()).output().unwrap();
        assert!(installed.status.success(), "Debezium could not be installed: see above");
        let jars = String::from_utf8(installed.stdout).unwrap().trim().to_owned();
        let directory = tempfile::tempdir().unwrap();
        let mut text = std::fs::read_to_string(file("benches/debezium/engine.properties")).unwrap();
        let state = directory.path().display();
        // TRUNCATE is left out unless one asks for it.
        write!(
            text,
            "name=debezium\ntopic.prefix={name}\ndatabase.include.list=contract\ntable.include.list={TABLE}\ndatabase.hostname=127.0.0.1\n\
             database.port={}\ndatabase.user=root\ndatabase.password=\ndatabase.server.id=990200\nskipped.operations=none\n\
             offset.storage.file.filename={state}/offsets\nschema.history.internal.file.filename={state}/history\n{}\n",
            server.port(),
            options().join("\n"),
        )
        .unwrap();
        std::fs::write(directory.path().join("properties"), text).unwrap();
        Self { directory, jars }
    }

    /// The next records, at least `count`; or why there are none.
    fn take(&self, count: usize) -> Result<Vec<Message>, String> {
        let output = Command::new("timeout")
            .args(["240", "java", "-Xmx1g"])
            .arg(format!("-Dlog4j2.configurationFile={}", file("benches/debezium/log4j2.properties").display()))
            .args(["-cp", &self.jars])
            .arg(file("benches/debezium/Harness.java"))
            .arg(self.directory.path().join("properties"))
            .args(["json", &count.to_string()])
            .env("SHOW_RECORD", "1")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        if !output.status.success() {
            return Err(text);
        }
        Ok(text.lines().filter(|line| line.starts_with('{') || line.starts_with("null ")).map(Message::shown).collect())
    }
}

type Fields = BTreeMap<String, Box<RawValue>>;

/// One record.
struct Message {
    key: Box<RawValue>,
    value: Fields,
}

impl Message {
    /// Of the line that the harness prints.
    fn shown(line: &str) -> Self {
        let mut parts = serde_json::Deserializer::from_str(line).into_iter::<Box<RawValue>>();
        let mut part = || parts.next().unwrap().unwrap_or_else(|error| panic!("{error}: {line}"));
        let key = part();
        Self { key, value: serde_json::from_str(part().get()).unwrap() }
    }

    /// A field of the value; `null` if it is not there.
    fn field(&self, name: &str) -> &str {
        self.value.get(name).map_or("null", |raw| raw.get())
    }

    fn operation(&self) -> &str {
        self.field("op")
    }

    /// The cells of an image; None if it is null.
    fn image(&self, name: &str) -> Option<Fields> {
        serde_json::from_str(self.field(name)).unwrap()
    }

    /// Every field around the cells, by its path.
    fn around(&self) -> BTreeMap<String, String> {
        let source: Fields = serde_json::from_str(self.field("source")).unwrap();
        let source = source.iter().map(|(name, raw)| (format!("source.{name}"), plain(raw)));
        let envelope = self.value.iter().filter(|(name, _)| !["before", "after", "source"].contains(&name.as_str()));
        source.chain(envelope.map(|(name, raw)| (name.clone(), plain(raw)))).collect()
    }
}

/// JSON with its numbers as they are written, and the rest in one way of writing.
fn plain(raw: &RawValue) -> String {
    let text = raw.get();
    match text.as_bytes()[0] {
        b'{' => {
            let fields: Fields = serde_json::from_str(text).unwrap();
            let fields: Vec<String> = fields.iter().map(|(name, raw)| format!("\"{name}\":{}", plain(raw))).collect();
            format!("{{{}}}", fields.join(","))
        }
        b'[' => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap();
            let items: Vec<String> = items.iter().map(|raw| plain(raw)).collect();
            format!("[{}]", items.join(","))
        }
        b'"' => serde_json::from_str::<serde_json::Value>(text).unwrap().to_string(),
        _ => text.to_owned(),
    }
}

/// The lines of a document's table of differences, without the reasons.
fn listed(name: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file(name)).unwrap();
    let (_, rest) = text.split_once("<!-- debezium -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- end of debezium -->\n").unwrap();
    let line = |line: &str| {
        let (line, reason) = line.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        assert!(!reason.is_empty(), "{name}: a difference without a reason: {line}");
        line.to_owned()
    };
    table.lines().skip(2).map(line).collect()
}

fn assert_listed(name: &str, found: &BTreeSet<String>) {
    let listed = listed(name);
    let lines = |lines: Vec<&String>| lines.into_iter().fold(String::new(), |text, line| text + line + "\n");
    let unknown = lines(found.difference(&listed).collect());
    let gone = lines(listed.difference(found).collect());
    assert!(unknown.is_empty() && gone.is_empty(), "{name} does not list:\n{unknown}and lists what is none:\n{gone}");
}

/// How the cells differ, as `docs/types.md` shows it.
fn cells(samples: &[(String, String)], theirs: &Fields, ours: &Fields) -> BTreeSet<String> {
    let names = |fields: &Fields| fields.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(theirs), names(ours), "the columns");
    let mut found = BTreeSet::new();
    for (name, raw) in theirs {
        let (theirs, ours) = (plain(raw), plain(&ours[name]));
        if theirs != ours {
            let index: usize = name.trim_start_matches('c').parse().unwrap();
            let (kind, sample) = &samples[index];
            found.insert(format!("| `{kind}` | `{sample}` | `{theirs}` | `{ours}`"));
        }
    }
    found
}

/// How what is around the cells differs, as `docs/change-log.md` shows it.
fn around(theirs: &Message, ours: &Message) -> BTreeSet<String> {
    let (theirs, ours) = (theirs.around(), ours.around());
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let difference = |name: &String| match (theirs.get(name), ours.get(name)) {
        (Some(theirs), Some(ours)) if theirs == ours => None,
        (Some(_), Some(_)) => Some("another value"),
        (Some(_), None) => Some("Debezium's only"),
        (None, _) => Some("binlake's only"),
    };
    names.into_iter().filter_map(|name| Some(format!("| `{name}` | {}", difference(name)?))).collect()
}

/// The sample that Debezium's engine ends at: it is NULL in what both read.
const UNREADABLE: &str = "'2023-02-30'";

/// What is done to row 2, which is inserted before: a statement for each operation, and a change of the key. The first is as on a replica,
/// which keeps the time of its source's commit. TRUNCATE is there twice, as one commit may be at a whole millisecond by chance.
const STATEMENTS: [&str; 7] = [
    "SET SESSION original_commit_timestamp = 1700000000123456",
    "UPDATE contract.every SET c0 = 1 WHERE id = 2",
    "UPDATE contract.every SET id = 3 WHERE id = 2",
    "UPDATE contract.every SET c0 = NULL WHERE id = 3",
    "DELETE FROM contract.every WHERE id = 3",
    "TRUNCATE TABLE contract.every",
    "TRUNCATE TABLE contract.every",
];

/// What becomes of the insert and of [`STATEMENTS`]: the operation, and what the document adds to a difference that begins there.
const OPERATIONS: [(&str, &str); 8] = [
    (r#""c""#, ""),
    (r#""u""#, " on a replica"),
    (r#""d""#, ""),
    (r#""c""#, ""),
    (r#""u""#, ""),
    (r#""d""#, ""),
    (r#""t""#, " of a `t`"),
    (r#""t""#, " of a `t`"),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: starts Debezium's engine"]
async fn records_are_debeziums_but_for_what_the_documents_list() {
    let samples = samples();
    let server = Server::start(&[]).await;
    make(&server, &samples).await;
    // Debezium's snapshot fails on a row of all samples, and is not what is compared: it takes one of NULLs.
    server.execute(&[format!("INSERT INTO {TABLE} (id) VALUES (1)")]).await;
    let scene = Scene::new(&server, &[format!("{{table: {TABLE}}}")]);
    scene.catch_up();
    let reader = Reader::register(&scene).await;
    let engine = Engine::new(&server, &scene.yaml.name);
    assert_eq!(engine.take(1).unwrap().len(), 1, "the snapshot's row");

    let readable: Vec<(String, String)> = samples
        .iter()
        .map(|(kind, sample)| (kind.clone(), if sample == UNREADABLE { "NULL" } else { sample }.to_owned()))
        .collect();
    assert_ne!(readable, samples);
    insert(&server, &readable, 2).await;
    let lax = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'";
    let statements: Vec<&str> = [lax].into_iter().chain(STATEMENTS).collect();
    server.execute(&statements).await;
    let theirs = engine.take(OPERATIONS.len()).unwrap();
    scene.catch_up();
    let record = |record: binlake::changelog::Record| Message {
        key: serde_json::from_slice(if record.key.is_empty() { b"null" } else { &record.key }).unwrap(),
        value: serde_json::from_slice(&record.value).unwrap(),
    };
    let ours: Vec<Message> = reader.records(&scene).await.into_iter().map(record).collect();
    for messages in [&theirs, &ours] {
        assert_eq!(messages.iter().map(Message::operation).collect::<Vec<_>>(), OPERATIONS.map(|(operation, _)| operation));
    }

    let (mut in_cells, mut in_fields) = (BTreeSet::new(), BTreeSet::new());
    for ((theirs, ours), (_, only)) in theirs.iter().zip(&ours).zip(OPERATIONS) {
        assert_eq!(plain(&theirs.key), plain(&ours.key), "the keys of {}", ours.operation());
        for image in ["before", "after"] {
            match (theirs.image(image), ours.image(image)) {
                (Some(theirs), Some(ours)) => in_cells.extend(cells(&samples, &theirs, &ours)),
                (theirs, ours) => assert_eq!(theirs.is_some(), ours.is_some(), "the {image} image"),
            }
        }
        let new: Vec<String> = around(theirs, ours).difference(&in_fields).map(|line| format!("{line}{only}")).collect();
        in_fields.extend(new);
    }
    insert(&server, &samples, 4).await;
    // Started again it may give the last record once more.
    let end = engine.take(OPERATIONS.len()).err().unwrap_or_default();
    if end.contains("Invalid date 'FEBRUARY 30'") {
        in_cells.insert(format!("| `DATE` | `{UNREADABLE}` | the engine ends | `null`"));
    }
    assert_listed("docs/types.md", &in_cells);
    assert_listed("docs/change-log.md", &in_fields);
}
