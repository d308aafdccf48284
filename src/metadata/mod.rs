//! The metadata store: phases, since, chunks with their `high`, handoff, published, schema versions, leases, requests.
//!
//! It says what is being done, never what is committed: that stands in the lake (promise 4). The door is [`Metadata`].
//! Documents of other rooms (checkpoints, plans, bounds, chunk files) pass through as JSON text that this room does not read.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::change::failure::advice_on_place;
use crate::change::{Cut, Datetimes, DayEnd, Failure, LogPlace, Remedy, TableName, TableSchema, Term};

pub mod contract;
pub mod memory;
pub mod phase;
pub mod sqlite;

pub use memory::MemoryMetadata;
pub use phase::PhaseError;
pub use sqlite::SqliteMetadata;

/// What this room returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What `published` means: every captured change that starts below `position` is durably in the change log, and the partitions ended
/// there. Position and ends are saved and read together, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The cut.
    pub position: Cut,
    /// The binlog file's name of `position`.
    pub file_name: String,
    /// When the server committed the last transaction below it, microseconds since 1970-01-01 UTC; 0 where none was seen.
    pub source_time_us: i64,
}

/// What the tailer saves when it has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The cut.
    pub published: Published,
    /// The topics that were appended to, with their ends.
    pub ends: Vec<(String, Vec<LogPlace>)>,
    /// The days that ended below the cut.
    pub days: Vec<DayEnd>,
}

/// A source as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// The name in the YAML.
    pub name: String,
    /// The tailer's checkpoint, as the source room wrote it (JSON); None before the first start and after the position was lost.
    pub checkpoint: Option<String>,
    /// The cut up to which everything is in the change log.
    pub published: Option<Published>,
    /// The epoch in force; the next history gets a higher one.
    pub epoch: u32,
    /// Why the source stands still, with the remedy; None while it works.
    pub stopped: Option<Parked>,
}

/// Why something stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// One sentence, with the place.
    pub reason: String,
    /// What the operator does.
    pub remedy: String,
    /// `resume` is enough; else only `rebuild` helps.
    pub resumable: bool,
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
}

/// The phase of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Nothing was done yet; `since` may not be taken.
    Pending,
    /// Chunks are being read.
    Snapshotting,
    /// All chunks are in; the lake has not passed the handoff.
    CatchingUp {
        /// The highest `high` of the chunks.
        handoff: Cut,
    },
    /// The lake is exact at every commit.
    Live {
        /// The highest `high` of the chunks.
        handoff: Cut,
    },
    /// The operator stopped it; capture goes on.
    Paused {
        /// Where it goes on.
        before: Box<Phase>,
    },
    /// It cannot be kept right.
    Parked {
        /// Why, and what helps.
        parked: Parked,
        /// Where it goes on after `resume`.
        before: Box<Phase>,
    },
}

/// Whether the tailer captures a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "capture")]
pub enum CaptureState {
    /// Not yet: `since` is taken at the tailer's next transaction boundary.
    Wanted,
    /// Every change behind `since` is in the change log.
    On {
        /// The cut.
        since: Cut,
    },
    /// It was captured up to here and no further.
    Ended {
        /// The cut it was captured from.
        since: Cut,
        /// Changes that start at or behind it are not in the log.
        until: Cut,
    },
}

/// One generation of a captured table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// The source's name.
    pub source: String,
    /// `database.table` on the source.
    pub table: TableName,
    /// From 1; a rebuild makes the next.
    pub generation: u32,
    /// `mirror`, `changelog` or `both`.
    pub mode: String,
    /// The lake's database and table name.
    pub into: (String, String),
    /// The mirror is one segment, whatever its size (`layout: single`).
    #[serde(default)]
    pub layout_single: bool,
    /// The column by whose day the mirror is cut (`partition_by`).
    #[serde(default)]
    pub partition_by: Option<String>,
    /// Instants in its files are INT96 (`timestamp_encoding: int96`).
    #[serde(default)]
    pub timestamps_int96: bool,
    /// What a DATETIME becomes in its files, and of which zone its days are (`lake.datetime`, `lake.datetime_zone`). None where an older
    /// version began it, until the next start.
    #[serde(default)]
    pub datetimes: Option<Datetimes>,
    /// The topic its changes are in. A generation has its own capture, in the same topic or a new one.
    pub topic: String,
    /// The captured shape.
    pub schema: Arc<TableSchema>,
    /// What is being done.
    pub phase: Phase,
    /// Whether the tailer captures it.
    pub capture: CaptureState,
    /// The places of the topic's partitions when `since` was taken: where this generation's records start.
    pub starts: Vec<LogPlace>,
    /// The checkpoint at `since` (JSON of the source room): what must be visible before the first chunk is read.
    pub since_checkpoint: Option<String>,
    /// How the server showed all of `since` (JSON of the source room); None until it did.
    pub visible: Option<String>,
    /// The snapshot's plan (JSON of the source room); None until it is made.
    pub plan: Option<String>,
    /// No chunk lies behind the last one planned.
    pub planned_all: bool,
    /// Still in the YAML. A table that is not stands still and is kept.
    pub listed: bool,
    /// Its mirror is frozen when a day ends (`daily: true`), as of the last start.
    #[serde(default)]
    pub daily: bool,
}

/// One chunk of a table's snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkState {
    /// From 0, in key order.
    pub index: u64,
    /// Its bounds (JSON of the source room).
    pub range: String,
    /// How often it was started.
    pub attempts: u32,
    /// What came of it; None until it is in.
    pub done: Option<ChunkDone>,
}

/// A chunk that is in: its file and its `high` entered together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkDone {
    /// Sampled after the read.
    pub high: Cut,
    /// Rows read.
    pub rows: u64,
    /// The lake files by lake table name (JSON of the lake room).
    pub files: String,
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
}

/// What an operator asked for through the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// Stop writing the table.
    Pause,
    /// Go on with a paused or parked table.
    Resume,
    /// Make a new generation.
    Rebuild,
}

/// One request, until the daemon has taken it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its number.
    pub id: u64,
    /// The source.
    pub source: String,
    /// The table.
    pub table: TableName,
    /// What is wanted.
    pub kind: RequestKind,
}

/// The write half of a lease: every write names it, and one of an older term is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is held, e.g. `source/shop`.
    pub resource: String,
    /// The term.
    pub term: Term,
}

/// The metadata store. Every method is one transaction, durable when it returns; with a lease it is refused ([`Error::Fenced`]) if a
/// higher term holds the resource.
#[async_trait]
pub trait Metadata: Send + Sync {
    /// Takes a resource over: the term grows. A resource whose holder is alive is refused with [`Error::Held`].
    async fn acquire(&self, resource: &str, holder: &str) -> Result<Lease>;
    /// Lets a term that this process holds grow above another one that was seen elsewhere: only for an operator who has said that
    /// no other daemon is alive.
    async fn raise(&self, lease: &Lease, above: Term) -> Result<Lease>;
    /// Gives a resource back.
    async fn release(&self, lease: &Lease) -> Result<()>;
    /// A source; None before it was first saved.
    async fn source(&self, name: &str) -> Result<Option<SourceState>>;
    /// Saves a source.
    async fn save_source(&self, lease: &Lease, state: &SourceState) -> Result<()>;
    /// Writes down why a known source stands still, or that it goes on, and touches nothing else of it: it may land late.
    async fn save_stopped(&self, lease: &Lease, source: &str, stopped: Option<&Parked>) -> Result<()>;
    /// Saves the checkpoint with `published`, the ends of the topics that were appended to, and the days that ended below it, in one
    /// transaction. A day that has ended already keeps its end.
    async fn save_published(&self, lease: &Lease, source: &str, checkpoint: &str, news: &News) -> Result<()>;
    /// `published` and the topic's ends as of it, read in one transaction. Ends are empty for a topic that never got a record.
    ///
    /// Whoever writes by it names its lease, and is refused once it was overtaken: `published` speaks of the tables that its own daemon
    /// captured. A successor whose list lacks a table moves it on past changes of that table that nobody took.
    async fn published(&self, lease: Option<&Lease>, source: &str, topic: &str) -> Result<Option<(Published, Vec<LogPlace>)>>;
    /// The first day of this zone's calendar behind `after`, or of all, that ended below `published`. Whoever asks for it behind
    /// [`Metadata::published`] hears of every day that ended below what that said.
    async fn day_end(&self, source: &str, zone: &str, after: Option<&str>) -> Result<Option<DayEnd>>;
    /// The newest generation of every table of a source (and an older one while it is still being read: see [`Metadata::generations`]).
    async fn tables(&self, source: &str) -> Result<Vec<TableState>>;
    /// All generations of one table, oldest first.
    async fn generations(&self, source: &str, table: &TableName) -> Result<Vec<TableState>>;
    /// Saves one generation of a table (insert or update).
    async fn save_table(&self, lease: &Lease, state: &TableState) -> Result<()>;
    /// Saves several generations; in one transaction where the store has transactions.
    async fn save_tables(&self, lease: &Lease, states: &[TableState]) -> Result<()> {
        for state in states {
            self.save_table(lease, state).await?;
        }
        Ok(())
    }
    /// Removes one generation of a table with its chunks.
    async fn remove_table(&self, lease: &Lease, source: &str, table: &TableName, generation: u32) -> Result<()>;
    /// What the workers of a source's tables fail on at present, by table and generation: shown to people, decides nothing.
    async fn troubles(&self, source: &str) -> Result<Vec<(TableName, u32, Parked)>>;
    /// Writes down what a table's worker fails on while it is tried again, or, with None, that it works.
    async fn save_trouble(
        &self,
        lease: &Lease,
        source: &str,
        table: &TableName,
        generation: u32,
        trouble: Option<&Parked>,
    ) -> Result<()>;
    /// The chunks of a generation, in order.
    async fn chunks(&self, source: &str, table: &TableName, generation: u32) -> Result<Vec<ChunkState>>;
    /// Adds planned chunks, or replaces those with the same index. `planned_all`: no more will follow.
    async fn save_chunks(&self, lease: &Lease, table: &TableState, chunks: &[ChunkState], planned_all: bool) -> Result<()>;
    /// The chunk's file and `high` enter. A chunk that is in already stays as it is, and `false` is returned.
    async fn chunk_done(&self, lease: &Lease, table: &TableState, index: u64, done: &ChunkDone) -> Result<bool>;
    /// Puts a request of the command line; needs no lease.
    async fn put_request(&self, source: &str, table: &TableName, kind: RequestKind) -> Result<u64>;
    /// The requests not taken up yet, oldest first.
    async fn requests(&self) -> Result<Vec<Request>>;
    /// Forgets a request that the holder of its source's lease has taken up.
    async fn drop_request(&self, lease: &Lease, id: u64) -> Result<()>;
}

/// What can go wrong in the metadata store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the resource.
    #[error("{resource} is held by {holder}")]
    Held {
        /// The resource.
        resource: String,
        /// Who holds it.
        holder: String,
    },
    /// Another process has taken the resource over.
    #[error("{resource}: term {term} was overtaken by term {by}")]
    Fenced {
        /// The resource.
        resource: String,
        /// Ours.
        term: Term,
        /// Theirs.
        by: Term,
    },
    /// The store failed.
    #[error("metadata store {path}: {reason}")]
    Storage {
        /// Where it is.
        path: String,
        /// What it said.
        reason: String,
    },
    /// The store was written by a newer binlake.
    #[error("metadata store {path} has format {found}; this binlake knows up to {known}")]
    Newer {
        /// Where it is.
        path: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A document in the store cannot be read.
    #[error("metadata store {path}: {what}: {reason}")]
    Corrupt {
        /// Where it is.
        path: String,
        /// Which document.
        what: String,
        /// What was found.
        reason: String,
    },
}

impl Failure for Error {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Storage { .. } => Remedy::Retry,
            Self::Fenced { .. } => Remedy::Fenced,
            Self::Held { .. } => Remedy::Stop("stop the other daemon first, or give this one a state of its own".to_owned()),
            Self::Newer { .. } => Remedy::Stop("run the newer binlake, or restore the backup made before the upgrade".to_owned()),
            Self::Corrupt { .. } => {
                Remedy::Stop("restore the metadata store from its backup, or remove it to snapshot anew".to_owned())
            }
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Storage { path, reason } => advice_on_place(&format!("the metadata store ({path})"), reason),
            _ => None,
        }
    }
}
