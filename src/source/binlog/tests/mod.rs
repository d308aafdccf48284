//! The stream against real servers: every row that comes is compared with what the server itself shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::change::{Capture, CapturedTable, Cut, Image, Operation, TableName, TableSchema, Value, ValueSink};
use crate::source::mysql::MysqlSource;
use crate::source::wire::WireConnection;
use crate::source::wire::tests::Server;
use crate::source::{
    BinlogStream, Checkpoint, Part, Settings, Source as _, StreamFrom, StreamItem, TableOptions, Transaction, Visible,
};

use super::DumpStream;
use super::open::open;

mod boundaries;
mod crafted;
mod every_kind;
mod faults;
mod history;
mod mutated;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with a connection for statements and a scratch directory.
struct Bench {
    server: Server,
    root: WireConnection,
    scratch: tempfile::TempDir,
}

/// A transaction as it came, in a form that can be compared.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    start: String,
    gtid: Option<String>,
    parts: Vec<SeenPart>,
}

#[derive(Debug, Clone, PartialEq)]
enum SeenPart {
    Row { table: String, operation: Operation, images: Vec<(Image, Vec<Value>)> },
    Truncate(String),
    Schema(String),
    Unusable(String, String),
    Error(String),
}

impl Seen {
    /// The rows as `c 1`, `u 1 -> 2`, with the table where there are several.
    fn rows(&self) -> Vec<String> {
        self.parts.iter().map(SeenPart::short).collect()
    }
}

impl SeenPart {
    fn short(&self) -> String {
        match self {
            Self::Row { table, operation, images } => {
                let cells = |image: &(Image, Vec<Value>)| image.1.iter().map(plain).collect::<Vec<_>>().join(",");
                let images: Vec<String> = images.iter().map(cells).collect();
                format!("{} {} {}", table, operation.letter(), images.join(" -> "))
            }
            Self::Truncate(table) => format!("{table} truncate"),
            Self::Schema(table) => format!("{table} schema"),
            Self::Unusable(table, _) => format!("{table} unusable"),
            Self::Error(error) => format!("error {error}"),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Signed(value) => value.to_string(),
        Value::Text(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

impl Bench {
    async fn start(options: &[&str]) -> Self {
        let server = Server::start(options);
        let mut root = server.root().await;
        root.execute("CREATE DATABASE d").await.unwrap();
        root.execute("USE d").await.unwrap();
        Self { server, root, scratch: tempfile::tempdir().unwrap() }
    }

    fn settings(&self) -> Settings {
        Settings { scratch: self.scratch.path().to_owned(), heartbeat: Duration::from_secs(2), ..self.server.settings() }
    }

    fn source(&self) -> MysqlSource {
        MysqlSource::new(self.settings())
    }

    /// Runs statements that a semicolon at a line's end divides.
    async fn run(&mut self, statements: &str) {
        run(&mut self.root, statements).await;
    }

    async fn schema(&self, table: &str) -> Arc<TableSchema> {
        self.source().describe(&TableName::new("d", table), &TableOptions::default()).await.unwrap()
    }

    async fn capture(&self, tables: &[&str]) -> Capture {
        let mut capture = Capture::default();
        for table in tables {
            let schema = self.schema(table).await;
            capture.tables.insert(schema.name.clone(), CapturedTable { schema, since: Cut::default() });
        }
        capture
    }

    async fn open_now(&self, tables: &[&str]) -> DumpStream {
        open(&self.settings(), StreamFrom::Now { epoch: 0 }, self.capture(tables).await).await.unwrap()
    }

    async fn open_behind(&self, checkpoint: Checkpoint, tables: &[&str]) -> DumpStream {
        open(&self.settings(), StreamFrom::Checkpoint(checkpoint), self.capture(tables).await).await.unwrap()
    }

    /// Everything up to the server's flushed end.
    async fn drain(&self, stream: &mut DumpStream) -> Vec<Seen> {
        let end = self.source().flushed().await.unwrap().cut(stream.checkpoint().position.0.epoch);
        let mut seen = Vec::new();
        while stream.checkpoint().position < end {
            if let StreamItem::Transaction(transaction) = next(stream).await {
                seen.push(look(transaction));
            }
        }
        seen
    }

    /// What `SELECT` shows, by the snapshot's way: the first cell as the key.
    async fn rows(&self, table: &str) -> BTreeMap<String, Vec<Value>> {
        let source = self.source();
        let schema = self.schema(table).await;
        let plan = source.plan_snapshot(&schema).await.unwrap();
        let visible = Visible { server_uuid: source.identity().await.unwrap().server_uuid, by: "test".to_owned() };
        let (mut after, mut rows) = (None, BTreeMap::new());
        while let Some(range) = source.next_chunk(&schema, &plan, after.as_ref()).await.unwrap() {
            let mut reader = source.read_chunk(Arc::clone(&schema), &range, &visible).await.unwrap();
            let mut sink = ValueSink::default();
            while reader.next_rows(&mut sink, 1 << 20).await.unwrap() > 0 {}
            rows.extend(sink.images.into_iter().map(|(_, cells)| (plain(&cells[0]), cells)));
            after = range.upper;
        }
        rows
    }

    /// The binlog files as they lie on the disk, oldest first.
    fn binlogs(&self) -> Vec<Vec<u8>> {
        let mut files: Vec<_> = std::fs::read_dir(self.server.path("data")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            path.extension().is_some_and(|number| number.to_string_lossy().parse::<u64>().is_ok()) && !name.starts_with('#')
        });
        files.sort();
        files.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
    }
}

async fn run(connection: &mut WireConnection, statements: &str) {
    for statement in statements.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        connection.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn next(stream: &mut DumpStream) -> StreamItem {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("the stream gives nothing").unwrap()
}

/// Reads a transaction to its end.
fn look(mut transaction: Transaction) -> Seen {
    let mut parts = Vec::new();
    while let Some(part) = transaction.body.next_part().unwrap() {
        match part {
            Part::Rows { table, operation, .. } => loop {
                let mut sink = ValueSink::default();
                match transaction.body.next_row(&mut sink) {
                    Ok(true) => parts.push(SeenPart::Row { table: table.table.clone(), operation, images: sink.images }),
                    Ok(false) => break,
                    Err(error) => {
                        parts.push(SeenPart::Error(error.to_string()));
                        break;
                    }
                }
            },
            Part::Truncate { table, .. } => parts.push(SeenPart::Truncate(table.table)),
            Part::Schema { table, .. } => parts.push(SeenPart::Schema(table.table)),
            Part::Unusable { table, problem } => {
                parts.push(SeenPart::Unusable(table.table, format!("{} / {}", problem.reason, problem.remedy)));
            }
        }
    }
    Seen { start: transaction.start.to_string(), gtid: transaction.gtid, parts }
}

/// Applies the changes of one table in order and compares every before image with the row that is there.
fn apply(rows: &mut BTreeMap<String, Vec<Value>>, seen: &[Seen], table: &str) {
    for part in seen.iter().flat_map(|seen| &seen.parts) {
        match part {
            SeenPart::Row { table: of, images, .. } if of == table => {
                for (image, cells) in images {
                    let key = plain(&cells[0]);
                    match image {
                        Image::Before => assert_eq!(rows.remove(&key).as_ref(), Some(cells), "the before image of {key}"),
                        Image::After => assert_eq!(rows.insert(key.clone(), cells.clone()), None, "the after image of {key}"),
                    }
                }
            }
            SeenPart::Truncate(of) if of == table => rows.clear(),
            SeenPart::Row { .. } | SeenPart::Truncate(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
