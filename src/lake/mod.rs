//! The lake: Parquet files and a commit log per table; what a reader sees is exactly what one commit record names.
//!
//! The door is [`Lake`]. A commit is one put-if-absent of a record that names files, change-log offsets and source position
//! together (promise 4): recovery asks the lake where to go on, and nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::change::{
    ChangePosition, Clock, Cut, Datetimes, DayEnd, Dropped, LogOffset, RecordHead, Remark, RowSink, TableSchema, Term,
};
use crate::trial;

pub mod batch;
mod by_day;
mod chunk;
pub mod columns;
#[cfg(test)]
mod contract;
mod daily;
pub mod datafile;
mod effort;
pub mod error;
#[cfg(test)]
mod faults;
#[cfg(feature = "hdfs")]
mod hdfs;
pub mod keys;
mod log;
pub mod memory;
pub mod merge;
pub mod metastore;
mod object_lake;
mod place;
pub mod publish;
mod readback;
mod remote;
mod store;
mod table;
mod temporary;
mod timed;

pub use effort::Effort;
pub use error::Error;
pub use object_lake::ObjectLake;
pub use place::StoreOptions;
pub use publish::{Publication, Publishing, Shown};
pub use readback::TextRow;
pub use store::Settle;

/// What this room returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A name that nothing else has.
fn unique() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(trial::random().to_le_bytes()).into_uuid()
}

/// How long replaced files stay.
#[derive(Debug, Clone, PartialEq)]
pub struct Retention {
    /// Everything replaced less than this ago stays.
    pub min: Duration,
    /// Everything replaced longer than this ago goes.
    pub max: Duration,
    /// Between the two: stays while old files together are below so many times the table's live bytes.
    pub size: f64,
}

/// How instants lie in a Parquet file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampEncoding {
    /// INT64: microseconds since 1970-01-01 UTC.
    Int64,
    /// INT96: the nanosecond of a Julian day, in UTC. What Hive 2 and 3.1 read.
    Int96,
}

/// What a mirror compares (promise 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Every before image with the row the mirror holds.
    Rows,
    /// Only that keys are there or not.
    Keys,
}

/// Settings of the lake.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `file:///absolute/path`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or
    /// `hdfs://namenode:port/path`.
    pub url: String,
    /// What the store's client is told; nothing for files.
    pub options: StoreOptions,
    /// How long replaced files stay.
    pub retention: Retention,
    /// `zero_dates: error`: park instead of NULL.
    pub zero_dates_park: bool,
    /// What mirrors compare.
    pub check: Check,
    /// Bytes a data file aims at; a segment is sealed or split beyond it.
    pub file_bytes: u64,
    /// Bytes a row group aims at, before compression.
    pub row_group_bytes: usize,
    /// A commit record is followed by a full checkpoint every so many commits.
    pub checkpoint_every: u64,
    /// Bytes of changes one writer holds in memory before it spills sorted runs to `scratch`.
    pub batch_bytes: usize,
    /// Where batches spill; a directory that is ours alone.
    pub scratch: std::path::PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where it is published; None where files are all there is.
    pub publishing: Option<Arc<Publishing>>,
}

/// What a lake table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// Current rows under MySQL's column names.
    Mirror,
    /// Every change as a row.
    Changelog,
}

/// The name of a lake table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LakeName {
    /// Hive database, e.g. `ods_shop`.
    pub database: String,
    /// Table; a changelog beside a mirror ends in `_changelog`.
    pub table: String,
}

impl std::fmt::Display for LakeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// How a mirror is cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One segment, whatever its size.
    Single,
    /// Segments that split and merge by size.
    Segments,
}

/// One lake table in one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name.
    pub name: LakeName,
    /// What it holds.
    pub kind: TableKind,
    /// From 1; a rebuild makes the next.
    pub generation: u32,
    /// The shape of its rows.
    pub schema: Arc<TableSchema>,
    /// How it is cut.
    pub layout: Layout,
    /// The column by whose day a mirror is cut besides; none for a changelog.
    pub partition_by: Option<String>,
    /// How instants lie in all its files.
    pub timestamp_encoding: TimestampEncoding,
    /// What a DATETIME becomes in all its files, and of which zone its days are. None where that is not known: nothing can be written then.
    pub datetimes: Option<Datetimes>,
    /// What it holds when a day ends is kept as a day of `<table>_daily` (a mirror's alone).
    pub daily: bool,
    /// The source's name in the YAML, for the records.
    pub source: String,
}

/// Where a commit stands: becomes visible together with its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitPoint {
    /// Everything of this table that starts below it is in, nothing else.
    pub position: Cut,
    /// The offset behind the last record taken, per partition.
    pub offsets: Vec<LogOffset>,
    /// The last record taken per partition: position and term.
    pub last: Vec<Option<(ChangePosition, Term)>>,
    /// The GTID of the last transaction taken, where there is one.
    pub gtid: Option<String>,
    /// The binlog file's name of `position`, for people.
    pub file_name: String,
    /// When the source committed the last transaction taken, microseconds since 1970-01-01 UTC; 0 where none was.
    pub source_time_us: i64,
    /// `position` has passed the handoff: readers may see it. Never goes back to false.
    pub publish: bool,
    /// Records that the change log held beside its own, and that were left out, so far.
    #[serde(default, skip_serializing_if = "Dropped::is_none")]
    pub dropped: Dropped,
}

/// What a lake table holds as of its last commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The generation.
    pub generation: u32,
    /// The number of the commit record.
    pub seq: u64,
    /// Where it stands; None before the snapshot was adopted.
    pub point: Option<CommitPoint>,
    /// Live files.
    pub files: u64,
    /// Live rows.
    pub rows: u64,
    /// Live bytes.
    pub bytes: u64,
    /// When the record was made, milliseconds since 1970-01-01 UTC.
    pub committed_ms: u64,
    /// Zero dates stored as NULL so far, by column.
    #[serde(default)]
    pub zero_dates: BTreeMap<String, u64>,
    /// What its last commits with changes have cost, oldest first.
    #[serde(default)]
    pub recent: Vec<Effort>,
}

/// A day of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenDay {
    /// As `2026-11-22`.
    pub day: String,
    /// Its rows.
    pub rows: u64,
    /// The bytes of its files.
    pub bytes: u64,
    /// Their paths, absolute, or URLs.
    pub files: Vec<String>,
}

/// What one commit has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Rows inserted, updated, deleted.
    pub rows: (u64, u64, u64),
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a lake knows of a table's past, whatever became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traces {
    /// The highest generation that anything was ever written for and is still there.
    pub generation: u32,
    /// The highest term in their commit logs.
    pub term: Term,
}

/// One entry of a table's history, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The number of the commit record.
    pub seq: u64,
    /// `term`, `adopt`, `commit`, `compact` or `switch`.
    pub kind: String,
    /// The writer's term.
    pub term: Term,
    /// Where it stands, if it moved.
    pub point: Option<CommitPoint>,
    /// Files added and removed.
    pub files_added: u64,
    /// Files removed.
    pub files_removed: u64,
    /// Rows of the batch: inserted, updated, deleted.
    pub rows: (u64, u64, u64),
    /// Bytes written.
    pub bytes_written: u64,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    pub committed_ms: u64,
}

/// A finished chunk: recorded in the metadata store and adopted by the first commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkFile {
    /// Paths relative to the table's folder; several for a chunk read whole.
    pub files: Vec<ChunkPart>,
    /// Rows in all.
    pub rows: u64,
    /// Zero dates stored as NULL, by column.
    #[serde(default)]
    pub zero_dates: BTreeMap<String, u64>,
}

/// One file of a chunk: sorted by the stored key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkPart {
    /// Relative to the table's folder.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// The lowest and the highest stored key, hexadecimal; empty for a changelog table.
    pub keys: Option<(String, String)>,
}

/// Takes the rows of one chunk and makes its file(s). Nothing of it is visible until a commit adopts it.
#[async_trait]
pub trait ChunkWriter: Send {
    /// Where the source drives rows into, each announced as an after image.
    fn sink(&mut self) -> &mut (dyn RowSink + Send);
    /// Encodes and uploads what has come in so far, when it is much; bounded memory.
    async fn flush(&mut self) -> Result<()>;
    /// Closes the chunk's file(s): durable when it returns.
    async fn finish(self: Box<Self>) -> Result<ChunkFile>;
}

/// Takes one change after another: `begin`, the images, `end`.
pub trait ChangeSink: RowSink {
    /// A change starts. `exact` says that the mirror is exact before it (behind the handoff): then it is compared (promise 11).
    fn begin(&mut self, head: &RecordHead, offset: LogOffset, exact: bool) -> Result<()>;
    /// The change's images are complete.
    fn end(&mut self) -> Result<()>;
}

/// What `maintain` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Maintenance {
    /// Files deleted.
    pub files_deleted: u64,
    /// Log entries expired.
    pub entries_expired: u64,
}

/// The one writer of a lake table's generation. Batches are all or nothing: dropping it, or an error, loses only what was not committed.
#[async_trait]
pub trait TableWriter: Send + Sync {
    /// The last commit.
    fn committed(&self) -> &Committed;
    /// Makes the snapshot the table's content, at `point` (its position is `since`, its offsets the start of the log). Once per generation.
    async fn adopt(&mut self, chunks: Vec<ChunkFile>, point: CommitPoint) -> Result<()>;
    /// What the last commit that this writer made has written.
    fn written(&self) -> Written;
    /// Where changes are driven into.
    fn sink(&mut self) -> &mut (dyn ChangeSink + Send);
    /// Bytes the open batch holds in memory.
    fn buffered_bytes(&self) -> usize;
    /// Changes in the open batch.
    fn buffered_changes(&self) -> u64;
    /// Spills the open batch to scratch when it is over the memory limit; call between changes.
    async fn relieve(&mut self) -> Result<()>;
    /// Merges the open batch, writes files, and commits them with `point`. With `point.publish` true for the first time and an older
    /// generation there, readers are switched to this one.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another writer holds the log, [`Error::Divergence`] by promise 11; after any error the writer is dropped.
    async fn commit(&mut self, point: CommitPoint) -> Result<()>;
    /// Removes what retention lets go and orphans of crashes; never anything a commit that is kept names. `keep` are chunk files
    /// (paths) that the metadata store still counts on.
    async fn maintain(&mut self, keep: &[String]) -> Result<Maintenance>;
    /// The last day that is frozen beside the table.
    async fn frozen(&self) -> Result<Option<String>>;
    /// Keeps what the last commit holds as a day of `<table>_daily`, for ever; false where that day is there already. What a mirror's alone is.
    async fn freeze(&mut self, day: &DayEnd) -> Result<bool>;
    /// Until then, milliseconds since 1970-01-01 UTC, `maintain` has nothing to do unless something is committed.
    fn rests_until_ms(&self) -> u64 {
        0
    }
}

/// A lake.
#[async_trait]
pub trait Lake: Send + Sync {
    /// Tries a put-if-absent twice in a scratch place and removes it: the second must be refused.
    async fn probe(&self) -> Result<()>;
    /// Takes a table's generation over: its log gets a record with our term before anything else.
    async fn writer(&self, spec: TableSpec, term: Term) -> Result<Box<dyn TableWriter>>;
    /// Opens a chunk; `attempt` makes its file names its own.
    async fn chunk(&self, spec: &TableSpec, since: Cut, chunk: u64, attempt: &str) -> Result<Box<dyn ChunkWriter>>;
    /// What readers see now: the published generation's last commit. None before a first publication.
    async fn published(&self, name: &LakeName) -> Result<Option<Committed>>;
    /// The last commit of a generation, published or not.
    async fn committed(&self, name: &LakeName, generation: u32) -> Result<Option<Committed>>;
    /// The paths (absolute, or URLs) of the published generation's live files.
    async fn files(&self, name: &LakeName) -> Result<Vec<String>>;
    /// The days of a mirror that a record is there of, oldest first.
    async fn days(&self, name: &LakeName) -> Result<Vec<String>>;
    /// A day of a mirror; None where it was not frozen.
    async fn day(&self, name: &LakeName, day: &str) -> Result<Option<FrozenDay>>;
    /// What is there of a table; None if there is nothing.
    async fn traces(&self, name: &LakeName) -> Result<Option<Traces>>;
    /// The commit records that are still there, oldest first.
    async fn history(&self, name: &LakeName, generation: u32) -> Result<Vec<HistoryEntry>>;
    /// Whether a metastore shows this lake's tables.
    fn is_published(&self) -> bool {
        false
    }
    /// Brings the metastore to what readers of this generation are to see: see [`publish`](mod@publish). Nothing happens where no metastore is
    /// set, the generation is not the one that readers see, or the metastore shows its last commit already.
    async fn publish(&self, _spec: &TableSpec) -> Result<()> {
        Ok(())
    }
    /// What this process has published of a table.
    fn shown(&self, _name: &LakeName) -> Option<Shown> {
        None
    }
    /// What the metastore shows of a table; None where no metastore is set.
    async fn publication(&self, _name: &LakeName) -> Result<Option<Publication>> {
        Ok(None)
    }
    /// Tries the metastore, and looks at these databases; nothing of it stays. Empty where no metastore is set.
    async fn check_metastore(&self, _databases: &[String]) -> Vec<Remark> {
        Vec::new()
    }
}
