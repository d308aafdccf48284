//! `docs/types.md` is what users rely on: its table is held against what becomes of each sample, by snapshot and by stream.
//!
//! With `BINLAKE_WRITE_TYPES` set the test writes the table's right-hand columns instead of comparing them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use binlake::change::LogOffset;
use binlake::changelog::{ChangeLog, Consumer, LocalLog, LocalSettings, Record};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::LogicalType;
use parquet::schema::types::ColumnDescriptor;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::scene::Scene;
use crate::server::Server;

pub(crate) const TABLE: &str = "contract.every";

pub(crate) fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/types.md")
}

/// The types with their samples, as the document has them.
pub(crate) fn samples() -> Vec<(String, String)> {
    let (_, samples, ..) = parse(&std::fs::read_to_string(document()).unwrap());
    assert!(samples.len() > 40, "the table of types is short");
    samples
}

/// The document before its table, the types with their samples, the table's lines, and the document behind it.
fn parse(text: &str) -> (String, Vec<(String, String)>, Vec<String>, String) {
    let (before, rest) = text.split_once("<!-- types -->\n").unwrap();
    let (table, behind) = rest.split_once("<!-- end of types -->\n").unwrap();
    let lines: Vec<String> = table.lines().skip(2).map(str::to_owned).collect();
    let cell = |line: &str, index: usize| line.split(" | ").nth(index).unwrap().trim_matches(['|', ' ', '`']).to_owned();
    let samples = lines.iter().map(|line| (cell(line, 0), cell(line, 1))).collect();
    let head: String = table.lines().take(2).map(|line| format!("{line}\n")).collect();
    (format!("{before}<!-- types -->\n{head}"), samples, lines, format!("<!-- end of types -->\n{behind}"))
}

/// A column of the file as the document names it: Parquet's type, and Hive's for it.
fn types(column: &ColumnDescriptor) -> (String, String) {
    let physical = column.physical_type();
    let (logical, hive) = match column.logical_type_ref() {
        Some(LogicalType::Integer(kind)) => {
            let hive = match kind.bit_width {
                8 => "tinyint",
                16 => "smallint",
                32 => "int",
                _ => "bigint",
            };
            (format!(" INTEGER({})", kind.bit_width), hive.to_owned())
        }
        Some(LogicalType::Decimal(kind)) => {
            let arguments = format!("({},{})", kind.precision, kind.scale);
            (format!(" DECIMAL{arguments}"), format!("decimal{arguments}"))
        }
        Some(LogicalType::String) => (" STRING".to_owned(), "string".to_owned()),
        Some(LogicalType::Date) => (" DATE".to_owned(), "date".to_owned()),
        Some(LogicalType::Timestamp(kind)) => {
            assert!(kind.is_adjusted_to_u_t_c);
            (" TIMESTAMP(µs, UTC)".to_owned(), "timestamp".to_owned())
        }
        None => {
            let hive = match physical {
                parquet::basic::Type::BOOLEAN => "boolean",
                parquet::basic::Type::INT32 => "int",
                parquet::basic::Type::INT64 => "bigint",
                parquet::basic::Type::FLOAT => "float",
                parquet::basic::Type::DOUBLE => "double",
                parquet::basic::Type::BYTE_ARRAY => "binary",
                other => panic!("{other}"),
            };
            (String::new(), hive.to_owned())
        }
        Some(other) => panic!("{other:?} is no type of the lake"),
    };
    (format!("{physical}{logical}"), hive)
}

/// A cell as the document shows it.
fn shown(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    let options = FormatOptions::default();
    if let Some(instants) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        let unzoned: ArrayRef = std::sync::Arc::new(instants.clone().with_timezone_opt(None::<String>));
        return format!("{}Z", ArrayFormatter::try_new(unzoned.as_ref(), &options).unwrap().value(row));
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return texts.value(row).replace('\n', "\\n");
    }
    ArrayFormatter::try_new(column.as_ref(), &options).unwrap().value(row).to_string()
}

/// Types and cells of every column; both rows of the table must be the same.
fn lake(scene: &Scene) -> Vec<(String, String, String)> {
    let mut found: Vec<Vec<(String, String, String)>> = Vec::new();
    for file in scene.files(TABLE) {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
        let schema = builder.parquet_schema().columns().to_vec();
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            for row in 0..batch.num_rows() {
                let cells = schema.iter().zip(batch.columns()).skip(1).map(|(descriptor, column)| {
                    let (parquet, hive) = types(descriptor);
                    (parquet, hive, shown(column, row))
                });
                found.push(cells.collect());
            }
        }
    }
    assert_eq!(found.len(), 2, "one row by the snapshot, one by the stream");
    assert_eq!(found[0], found[1], "the snapshot and the stream give different values");
    found.remove(0)
}

#[derive(Deserialize)]
struct Value {
    after: BTreeMap<String, Box<RawValue>>,
}

async fn open_log(scene: &Scene) -> LocalLog {
    LocalLog::open(LocalSettings { directory: scene.path("state/changelog"), bytes_max: 1 << 30 }).await.unwrap()
}

/// A reader of the test's own: it keeps the log from forgetting what the lake has taken.
pub(super) struct Reader {
    topic: String,
    from: LogOffset,
}

impl Reader {
    /// Reads from the log's end.
    pub(super) async fn register(scene: &Scene) -> Self {
        let topic = format!("{}.{TABLE}", scene.yaml.name);
        let log = open_log(scene).await;
        let from = log.ends(&topic).await.unwrap()[0];
        let term = log.topic_term(&topic).await.unwrap().unwrap();
        log.register(&topic, term, &Consumer("test".to_owned()), &[from]).await.unwrap();
        Self { topic, from }
    }

    /// All that came.
    pub(super) async fn records(&self, scene: &Scene) -> Vec<Record> {
        let log = open_log(scene).await;
        let end = log.ends(&self.topic).await.unwrap()[0];
        log.read(&self.topic, 0, self.from, end, 1 << 20).await.unwrap()
    }
}

/// The column types that are made for `samples`, one table for all.
pub(crate) async fn make(server: &Server, samples: &[(String, String)]) {
    let columns: Vec<String> = samples.iter().enumerate().map(|(index, (kind, _))| format!("c{index} {kind} NULL")).collect();
    server.create_database("contract").await;
    server.execute(&[format!("CREATE TABLE {TABLE} (id INT PRIMARY KEY, {})", columns.join(", "))]).await;
}

pub(super) async fn insert(server: &Server, samples: &[(String, String)], id: u32) {
    let values: Vec<&str> = samples.iter().map(|(_, sample)| sample.as_str()).collect();
    let lax = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'".to_owned();
    server.execute(&[lax, format!("INSERT INTO {TABLE} VALUES ({id}, {})", values.join(", "))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_what_the_document_says() {
    let text = std::fs::read_to_string(document()).unwrap();
    let (before, samples, lines, behind) = parse(&text);
    assert!(samples.len() > 40, "the table of types is short");
    let server = Server::shared();
    make(server, &samples).await;
    insert(server, &samples, 1).await;
    let scene = Scene::new(server, &[format!("{{table: {TABLE}}}")]);
    scene.catch_up();

    let reader = Reader::register(&scene).await;
    insert(server, &samples, 2).await;
    scene.catch_up();
    let records = reader.records(&scene).await;
    assert_eq!(records.len(), 1);
    let value: Value = serde_json::from_slice(&records[0].value).unwrap();

    let mut written = Vec::new();
    for (index, ((kind, sample), (parquet, hive, cell))) in samples.iter().zip(lake(&scene)).enumerate() {
        let json = value.after[&format!("c{index}")].get();
        written.push(format!("| `{kind}` | `{sample}` | {parquet} | {hive} | `{cell}` | `{json}` |"));
    }
    if std::env::var_os("BINLAKE_WRITE_TYPES").is_some() {
        std::fs::write(document(), format!("{before}{}\n{behind}", written.join("\n"))).unwrap();
        return;
    }
    let wrong: Vec<String> = lines
        .iter()
        .zip(&written)
        .filter(|(line, written)| line != written)
        .map(|(line, written)| format!("{line}\n{written}"))
        .collect();
    assert!(wrong.is_empty(), "docs/types.md and what was found:\n{}", wrong.join("\n"));
}
