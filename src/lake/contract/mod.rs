//! What every [`Lake`](super::Lake) owes its users, run on files, in memory, on a real S3, where it is built in on a real HDFS, and where
//! `BINLAKE_TEST_AZURE` is set, for it wants Node, on Azure's emulator.

#[path = "../../../tests/servers/azure.rs"]
mod azure;
mod changelog;
mod days;
#[cfg(feature = "hdfs")]
#[path = "../../../tests/servers/hdfs.rs"]
mod hdfs;
#[cfg(feature = "hdfs")]
mod hdfs_faults;
mod lifecycle;
mod mirror;
#[cfg(feature = "hdfs")]
mod namenode_proxy;
mod publication;
mod readers;
#[path = "../../../tests/servers/s3.rs"]
mod s3;
mod s3_faults;
#[path = "../../../tests/servers/s3_proxy.rs"]
mod s3_proxy;
mod timestamps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::change::{
    BinlogPosition, Charset, Column, ColumnType, Dropped, Generated, Image, KeyKind, ManualClock, Operation, TableName,
};
use azure::Azure;

/// 2026-11-22T00:00:00Z.
pub(super) const MIDNIGHT_MS: u64 = 1_795_305_600_000;
pub(super) const HOUR_MS: u64 = 3_600_000;

/// A lake, its clock, and where it lies.
pub(super) struct House {
    pub(super) lake: ObjectLake,
    pub(super) clock: Arc<ManualClock>,
    pub(super) settings: Settings,
    pub(super) directory: tempfile::TempDir,
    ground: Ground,
}

/// What a lake lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    Files,
    Memory,
    S3,
    Azure,
    #[cfg(feature = "hdfs")]
    Hdfs,
}

/// One on each ground.
pub(super) fn houses() -> Vec<House> {
    let mut grounds = vec![
        Ground::Files,
        Ground::Memory,
        Ground::S3,
        #[cfg(feature = "hdfs")]
        Ground::Hdfs,
    ];
    if std::env::var_os("BINLAKE_TEST_AZURE").is_some() {
        grounds.push(Ground::Azure);
    }
    grounds.into_iter().map(House::new).collect()
}

impl House {
    pub(super) fn new(ground: Ground) -> Self {
        Self::with(ground, None)
    }

    /// One that is published.
    pub(super) fn with(ground: Ground, publishing: Option<Arc<Publishing>>) -> Self {
        match ground {
            Ground::S3 => Self::at(ground, (&s3::S3::shared().bucket(), s3::S3::shared().port()), &[], publishing),
            Ground::Azure => Self::at(ground, (&Azure::shared().container(), Azure::shared().port()), &[], publishing),
            #[cfg(feature = "hdfs")]
            Ground::Hdfs => Self::at(ground, (&hdfs::Hdfs::place(), hdfs::Hdfs::shared().port()), &[], publishing),
            Ground::Files | Ground::Memory => Self::at(ground, ("", 0), &[], publishing),
        }
    }

    /// On a bucket, or a directory of HDFS, behind a port, with more options of the client.
    pub(super) fn at(
        ground: Ground,
        (bucket, port): (&str, u16),
        more: &[(&str, &str)],
        publishing: Option<Arc<Publishing>>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(MIDNIGHT_MS));
        let url = match ground {
            Ground::S3 => format!("s3://{bucket}/lakes/ods"),
            Ground::Azure => format!("az://{bucket}/lakes/ods"),
            #[cfg(feature = "hdfs")]
            Ground::Hdfs => format!("hdfs://127.0.0.1:{port}/{bucket}/ods"),
            Ground::Files | Ground::Memory => format!("file://{}/lake", directory.path().display()),
        };
        let endpoint = format!("http://127.0.0.1:{port}");
        let account = format!("{endpoint}/{}", azure::ACCOUNT);
        let login: &[(&str, &str)] = match ground {
            Ground::S3 => {
                &[("access_key_id", s3::KEY), ("secret_access_key", s3::SECRET), ("endpoint", &endpoint), ("allow_http", "true")]
            }
            Ground::Azure => {
                &[("account_name", azure::ACCOUNT), ("account_key", azure::KEY), ("endpoint", &account), ("allow_http", "true")]
            }
            _ => &[],
        };
        let options = login.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = Settings {
            url,
            options: StoreOptions(options.collect()),
            retention: Retention { min: Duration::from_secs(3600), max: Duration::from_secs(86_400), size: 3.0 },
            zero_dates_park: false,
            check: Check::Rows,
            file_bytes: 64 << 10,
            row_group_bytes: 8 << 10,
            checkpoint_every: 5,
            batch_bytes: 16 << 10,
            scratch: directory.path().join("scratch"),
            clock: Arc::clone(&clock) as _,
            publishing,
        };
        std::fs::create_dir_all(&settings.scratch).unwrap();
        let lake = match ground {
            Ground::Memory => ObjectLake::in_memory(settings.clone()),
            _ => ObjectLake::open(settings.clone()).unwrap(),
        };
        Self { lake, clock, settings, directory, ground }
    }

    /// Whether nothing was ever made where the lake is to be.
    async fn is_untouched(&self) -> bool {
        #[cfg(feature = "hdfs")]
        if self.ground == Ground::Hdfs {
            let missing = self.lake.store().missing_directories().await.unwrap();
            return missing.iter().any(|directory| directory.as_ref().ends_with("/ods"));
        }
        !self.directory.path().join("lake").exists()
    }

    /// As a daemon that was started again sees it.
    pub(super) fn reopened(&self) -> ObjectLake {
        match self.ground {
            Ground::Memory => self.lake.clone(),
            _ => ObjectLake::open(self.settings.clone()).unwrap(),
        }
    }

    pub(super) fn spec(&self, kind: TableKind, generation: u32) -> TableSpec {
        let column = |name: &str, kind: ColumnType, ordinal: usize| Column {
            name: name.to_owned(),
            declared: String::new(),
            nullable: ordinal > 0,
            generated: Generated::No,
            kind,
            ordinal,
        };
        let columns = vec![
            column("Id", ColumnType::Integer { bits: 64, unsigned: false }, 0),
            column("name", ColumnType::Text { charset: Charset("utf8mb4".to_owned()) }, 1),
            column("born", ColumnType::Date, 2),
        ];
        let schema = TableSchema {
            name: TableName::new("shop", "users"),
            physical: columns.iter().map(|column| (column.name.clone(), column.kind.clone())).collect(),
            physical_columns: columns.len(),
            columns,
            key: vec![0],
            key_kind: KeyKind::Primary,
        };
        TableSpec {
            name: name(),
            kind,
            generation,
            schema: Arc::new(schema),
            layout: Layout::Segments,
            partition_by: None,
            daily: false,
            timestamp_encoding: TimestampEncoding::Int64,
            datetimes: "instant in UTC".parse().ok(),
            source: "shop".to_owned(),
        }
    }

    /// A chunk with these rows, each `(id, name)`.
    pub(super) async fn chunk(&self, spec: &TableSpec, number: u64, attempt: &str, rows: &[(i64, &str)]) -> ChunkFile {
        let since = Cut(BinlogPosition { epoch: 0, file: 1, offset: 100 });
        let mut chunk = self.lake.chunk(spec, since, number, attempt).await.unwrap();
        for row in rows {
            chunk.sink().image(Image::After).unwrap();
            drive(chunk.sink(), row);
            chunk.flush().await.unwrap();
        }
        chunk.finish().await.unwrap()
    }

    /// What the table holds, as `id name`.
    pub(super) async fn rows(&self, generation: u32) -> Vec<(i64, String)> {
        let rows = self.lake.read_back(&name(), generation).await.unwrap();
        let mut rows: Vec<_> = rows.iter().map(|row| (cell(row, "id").parse().unwrap(), cell(row, "name"))).collect();
        rows.sort();
        rows
    }
}

pub(super) fn name() -> LakeName {
    LakeName { database: "ods_shop".to_owned(), table: "users".to_owned() }
}

pub(super) fn cell(row: &TextRow, column: &str) -> String {
    let (_, value) = row.iter().find(|(name, _)| name == column).unwrap_or_else(|| panic!("no column {column} in {row:?}"));
    value.clone().unwrap_or_else(|| "NULL".to_owned())
}

fn drive(sink: &mut (impl RowSink + ?Sized), (id, name): &(i64, &str)) {
    sink.signed(*id).unwrap();
    sink.text(name).unwrap();
    match *id % 2 {
        0 => sink.zero_date().unwrap(),
        _ => sink.date(20_000).unwrap(),
    }
}

/// A place in the log: transactions at 100, 110, 120, …; the nth record has offset n.
pub(super) fn point(transactions: u64, publish: bool) -> CommitPoint {
    CommitPoint {
        position: Cut(BinlogPosition { epoch: 0, file: 1, offset: 100 + 10 * transactions }),
        offsets: vec![LogOffset(transactions)],
        last: vec![None],
        gtid: None,
        file_name: "binlog.000001".to_owned(),
        source_time_us: 0,
        publish,
        dropped: Dropped::default(),
    }
}

/// One change of one row, or of all.
pub(super) enum Change<'a> {
    Insert(i64, &'a str),
    Update((i64, &'a str), &'a str),
    Delete(i64, &'a str),
    Truncate,
}

/// The nth transaction, with one change.
pub(super) fn put(writer: &mut dyn TableWriter, transaction: u64, committed_ms: u64, change: &Change<'_>) -> Result<()> {
    let (operation, before, after) = match change {
        Change::Insert(id, name) => (Operation::Create, None, Some((*id, *name))),
        Change::Update((id, old), new) => (Operation::Update, Some((*id, *old)), Some((*id, *new))),
        Change::Delete(id, name) => (Operation::Delete, Some((*id, *name)), None),
        Change::Truncate => (Operation::Truncate, None, None),
    };
    let head = head(operation, transaction, committed_ms);
    let sink = writer.sink();
    sink.begin(&head, LogOffset(transaction), true)?;
    for (image, row) in [(Image::Before, before), (Image::After, after)] {
        if let Some(row) = row {
            sink.image(image).unwrap();
            drive(sink, &row);
        }
    }
    sink.end()
}

/// The nth transaction's one record.
pub(super) fn head(operation: Operation, transaction: u64, committed_ms: u64) -> RecordHead {
    let transaction_start = BinlogPosition { epoch: 0, file: 1, offset: 100 + 10 * transaction };
    RecordHead {
        operation,
        position: ChangePosition { transaction: transaction_start, ordinal: 0 },
        previous: None,
        term: Term(1),
        schema: String::new(),
        gtid: Some(format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{transaction}")),
        file: "binlog.000001".to_owned(),
        committed_us: i64::try_from(committed_ms).unwrap() * 1000,
        statement: None,
    }
}

pub(super) fn is_fenced<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Fenced { .. } | Error::Replaced { .. }))
}

/// How often each value of a column occurs.
pub(super) fn counted(rows: &[TextRow], column: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(cell(row, column)).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn a_probe_finds_put_if_absent_and_leaves_nothing() {
    for house in houses() {
        house.lake.probe().await.unwrap();
        assert!(house.is_untouched().await);
        let spec = house.spec(TableKind::Changelog, 1);
        house.lake.writer(spec, Term(1)).await.unwrap();
        house.lake.probe().await.unwrap();
        assert_eq!(house.lake.history(&name(), 1).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_table_that_is_not_there_has_nothing() {
    for house in houses() {
        assert_eq!(house.lake.published(&name()).await.unwrap(), None);
        assert_eq!(house.lake.committed(&name(), 1).await.unwrap(), None);
        assert!(house.lake.files(&name()).await.unwrap().is_empty());
        assert!(house.lake.history(&name(), 1).await.unwrap().is_empty());
    }
}
