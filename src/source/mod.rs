//! One MySQL server as binlake sees it: who it is, what it holds, its rows in chunks, its binlog as whole transactions.
//!
//! The door is [`Source`]. Everything behind it may use MySQL's protocol; nothing in front of it knows of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::change::{BinlogPosition, Capture, Cut, GtidSet, KeyKind, Operation, RowSink, TableName, TableSchema};

#[cfg(test)]
mod assembled_tests;
pub mod binlog;
mod control;
pub mod decode;
pub mod discover;
pub mod error;
mod holding;
mod identity;
pub mod memory;
pub mod mysql;
mod preflight;
mod prepared;
mod schema;
#[cfg(test)]
mod server_tests;
pub mod snapshot;
pub mod tls;
mod watched;
pub mod wire;

pub use error::Error;
pub use holding::Holding;
pub use watched::Watched;

/// What this room returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A secret that prints as `***`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How the connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain text. The default on loopback.
    Off,
    /// Encrypted; the certificate is not checked.
    Required,
    /// The certificate must chain to a trusted CA.
    VerifyCa,
    /// … and must name the host. The default elsewhere.
    VerifyIdentity,
}

/// TLS of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// How much is verified.
    pub mode: TlsMode,
    /// A PEM file of own CAs; None means the system's.
    pub ca: Option<PathBuf>,
}

/// How snapshots are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// Chunks read at once, over all tables of the source.
    pub parallel: usize,
    /// Rows a chunk aims at.
    pub chunk_rows: u64,
    /// Bytes a chunk aims at.
    pub chunk_bytes: u64,
    /// New chunks wait while the server runs more threads than this.
    pub max_threads_running: u64,
}

/// Everything needed to reach and read one source.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name in the YAML.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Transport security.
    pub tls: Tls,
    /// Our id among the server's replicas.
    pub server_id: u32,
    /// Announced as `@replica_uuid`, the same at every start, so that the server ends our predecessor's dump thread itself.
    pub replica_uuid: String,
    /// How snapshots are read.
    pub snapshot: SnapshotSettings,
    /// Row events of one transaction held in memory before they spill to `scratch`, in bytes.
    pub transaction_bytes_max: usize,
    /// Where oversized transactions spill; a directory that is ours alone.
    pub scratch: PathBuf,
    /// The server is asked to send a heartbeat after so long a silence; three missing ones mean a dead socket.
    pub heartbeat: Duration,
    /// How long one statement or connection attempt may take.
    pub timeout: Duration,
}

/// The kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// MySQL and its like.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Flavor {
    /// The kind of server that is known by this [`Identity::server_uuid`].
    pub fn of(server_uuid: &str) -> Self {
        if uuid::Uuid::parse_str(server_uuid).is_ok() { Self::Mysql } else { Self::Mariadb }
    }
}

/// Who answers at the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `@@server_uuid`; MariaDB's `@@server_id` and `@@server_uid`.
    pub server_uuid: String,
    /// `@@version`.
    pub version: String,
    /// MySQL or MariaDB.
    pub flavor: Flavor,
    /// `gtid_mode=ON` exactly; always on MariaDB.
    pub gtids: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, with a risk that is named.
    Warning,
    /// It cannot work.
    Error,
}

/// The subject of a finding about `binlog_do_db` and its like.
pub const BINLOG_FILTERS: &str = "binlog filters";

/// One line of `check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What was looked at, e.g. `binlog_format` or `shop.orders`.
    pub subject: String,
    /// What was found.
    pub message: String,
    /// The statement or setting that mends it.
    pub remedy: Option<String>,
    /// The table it concerns, where it concerns only one.
    pub table: Option<TableName>,
}

/// What the YAML says of one table, as far as the source needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// Columns left out, by MySQL's name.
    pub exclude_columns: Vec<String>,
    /// `key:`; empty where none is given.
    pub key: Vec<String>,
    /// `cascades: accept`.
    pub accept_cascades: bool,
    /// The table may be without a key (`mode: changelog`).
    pub keyless_allowed: bool,
    /// `partition_by`: the column by whose day its mirror is cut.
    pub partition_by: Option<String>,
}

/// A place sampled from a server, not yet bound to an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The server that was asked.
    pub server_uuid: String,
    /// The binlog file's full name, e.g. `binlog.000012`.
    pub file_name: String,
    /// Its number.
    pub file: u64,
    /// Byte offset.
    pub offset: u64,
}

impl Sample {
    /// The sampled place as a cut of the given epoch.
    pub fn cut(&self, epoch: u32) -> Cut {
        Cut(BinlogPosition { epoch, file: self.file, offset: self.offset })
    }
}

/// Which XA transactions a server holds prepared, and the end of its binlog afterwards.
///
/// One that was prepared before and is not among them has ended, and its end was flushed before the server forgot it: where the binlog has
/// it at all, it lies below `end`. It has none of a transaction that changed nothing: neither its PREPARE nor its COMMIT is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedNow {
    /// Their xids as the binlog prints them; None where the user may not ask.
    pub xids: Option<BTreeSet<String>>,
    /// The flushed end, sampled after the question.
    pub end: Sample,
}

/// The last transaction that was received, to recognise a history that was rewritten under the same coordinates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTransaction {
    /// The binlog file's full name.
    pub file_name: String,
    /// Where it starts.
    pub offset: u64,
    /// CRC32 of its first event as the server sent it.
    pub crc: u32,
}

/// A prepared XA transaction whose end was not seen yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedXa {
    /// The xid as the binlog prints it: `X'…',X'…',1`.
    pub xid: String,
    /// The binlog file that holds the group; empty where it was prepared before the stream began, or is in no binlog at all.
    pub file_name: String,
    /// Where the group starts. It is read again from here after a restart.
    pub offset: u64,
    /// The GTID of the group, by which another server is asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<String>,
}

/// Where a stream stands, with all it needs to go on. Saved with `published`; grows by fields only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The server whose binlog this is a place of.
    pub server_uuid: String,
    /// The binlog file's full name.
    pub file_name: String,
    /// All transactions that start below it have been returned.
    pub position: Cut,
    /// Exactly the transactions below `position`, where the server has GTIDs: from the stream itself, never sampled.
    pub gtids: Option<GtidSet>,
    /// The last transaction before `position`.
    pub last: Option<LastTransaction>,
    /// XA transactions that are prepared and not ended at `position`.
    #[serde(default)]
    pub prepared: Vec<PreparedXa>,
    /// Where the histories before this one were left, an epoch each: nothing of them at or behind it was ever published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Cut>,
    /// Transactions that another server had sent and that this one's binlog has not shown up to `position`: until it has shown them
    /// all, what was returned is more than what lies below `position`. None when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<GtidSet>,
}

/// Where a stream starts.
#[expect(clippy::large_enum_variant, reason = "one is made for each stream that is opened")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFrom {
    /// The flushed end of the binlog at this moment; positions get this epoch.
    Now {
        /// The epoch of the new history.
        epoch: u32,
    },
    /// Behind a checkpoint. Another server is taken only with GTIDs, and then the epoch grows by one.
    Checkpoint(Checkpoint),
}

/// Why a table cannot be captured any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One sentence with place, statement or column.
    pub reason: String,
    /// What the operator does.
    pub remedy: String,
}

/// One piece of a transaction.
#[derive(Debug, Clone)]
pub enum Part {
    /// Row changes of one captured table; fetch them with [`TransactionBody::next_row`].
    Rows {
        /// The table.
        table: TableName,
        /// The shape of the images.
        schema: Arc<TableSchema>,
        /// Create, update or delete.
        operation: Operation,
    },
    /// The table was emptied.
    Truncate {
        /// The table.
        table: TableName,
        /// The statement.
        statement: String,
    },
    /// The table was altered, dropped or renamed: it parks.
    Schema {
        /// The table.
        table: TableName,
        /// The statement.
        statement: String,
        /// Reason and remedy.
        problem: Problem,
    },
    /// Something about this table that cannot be kept right was met: it parks.
    Unusable {
        /// The table.
        table: TableName,
        /// Reason and remedy.
        problem: Problem,
    },
}

/// The parts of one committed transaction, in order. Reads from memory or from a spill file.
pub trait TransactionBody: Send + Sync {
    /// The next part; None after the last. What is left of the current part is skipped.
    fn next_part(&mut self) -> Result<Option<Part>>;
    /// Drives the next row change of the current [`Part::Rows`] into `sink`; false when there is none left.
    ///
    /// # Errors
    /// [`Error::Row`] names table, position and column; the body can go on with the next part.
    fn next_row(&mut self, sink: &mut dyn RowSink) -> Result<bool>;
}

/// A transaction whose commit was received. Only the parts of captured tables are in it.
pub struct Transaction {
    /// Where it starts (an XA transaction: where its XA COMMIT starts).
    pub start: BinlogPosition,
    /// The binlog file's full name.
    pub file_name: Arc<str>,
    /// `uuid:number` or `domain-server-number`, where the server has GTIDs.
    pub gtid: Option<String>,
    /// When the server committed, microseconds since 1970-01-01 UTC.
    pub committed_us: i64,
    /// Its parts.
    pub body: Box<dyn TransactionBody>,
}

/// What a stream yields.
pub enum StreamItem {
    /// A transaction with changes of captured tables.
    Transaction(Transaction),
    /// The stream stands further on (other tables' transactions, a heartbeat): see [`BinlogStream::checkpoint`].
    Progress {
        /// The server's clock at the last event, microseconds since 1970-01-01 UTC; None for a heartbeat.
        committed_us: Option<i64>,
        /// True when the server has nothing more to send right now.
        idle: bool,
    },
}

/// A binlog as a sequence of committed transactions.
#[async_trait]
pub trait BinlogStream: Send + Sync {
    /// The next item. Cancel-safe: a dropped call loses nothing.
    async fn next(&mut self) -> Result<StreamItem>;
    /// Where the stream stands: behind everything that `next` has returned.
    fn checkpoint(&self) -> Checkpoint;
    /// What it has in hand, to be looked at while it works; None where nobody need.
    fn watched(&self) -> Option<Arc<Watched>> {
        None
    }
    /// Captures other tables from the next transaction on.
    fn set_capture(&mut self, capture: Capture);
    /// Forgets prepared XA transactions that are known by their xid alone: they have ended, in no binlog.
    fn forget_prepared(&mut self, xids: &BTreeSet<String>);
}

/// Bounds of a snapshot in the order MySQL gives the key: opaque SQL literals, one per key column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyBound(pub Vec<String>);

/// How a table's snapshot is cut. Made once per table and generation and kept in the metadata store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPlan {
    /// Rows behind it are not read: the log has them. None for an empty or a keyless table.
    pub upper: Option<KeyBound>,
    /// The server's estimate.
    pub estimated_rows: u64,
    /// The server's estimate.
    pub estimated_bytes: u64,
    /// The table is read whole, in one chunk (no key to cut by).
    pub whole: bool,
    /// There is nothing to read.
    pub empty: bool,
}

/// One chunk: `lower < key <= upper`; None is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRange {
    /// Exclusive.
    pub lower: Option<KeyBound>,
    /// Inclusive.
    pub upper: Option<KeyBound>,
}

/// Reads one chunk on a connection of its own.
#[async_trait]
pub trait ChunkReader: Send {
    /// Drives rows (each announced as [`crate::change::Image::After`]) into `sink` until about `bytes` were read; 0 rows means the end.
    async fn next_rows(&mut self, sink: &mut (dyn RowSink + Send), bytes: usize) -> Result<u64>;
    /// After the last row: the flushed position, sampled now. Nothing that was read lies behind it.
    async fn high(self: Box<Self>) -> Result<Sample>;
}

/// How the server showed all of `since`, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visible {
    /// The server that showed it.
    pub server_uuid: String,
    /// `gtid_executed`, `log_status`, `consistent_snapshot` or `margin`.
    pub by: String,
}

/// One MySQL or MariaDB server.
#[async_trait]
pub trait Source: Send + Sync {
    /// Who answers at the address.
    async fn identity(&self) -> Result<Identity>;
    /// Every base table of every user database.
    async fn tables(&self) -> Result<Vec<TableName>>;
    /// The captured shape of a table.
    ///
    /// # Errors
    /// [`Error::Table`] where it cannot be captured: gone, no key, an unsupported column, cascades the server does not write.
    async fn describe(&self, table: &TableName, options: &TableOptions) -> Result<Arc<TableSchema>>;
    /// What foreign keys do to these tables without the server's binlog telling of it, as the server is now.
    async fn unwritten_cascades(&self, _tables: &[(TableName, TableOptions)]) -> Result<Vec<(TableName, Problem)>> {
        Ok(Vec::new())
    }
    /// Everything `check` and every start look at: settings, rights, retention, server id, and each table.
    async fn preflight(&self, tables: &[(TableName, TableOptions)]) -> Result<Vec<Finding>>;
    /// The flushed end of the binlog: an upper bound of all that is visible.
    async fn flushed(&self) -> Result<Sample>;
    /// What the server still has of its binlog.
    async fn holding(&self) -> Result<Holding> {
        Ok(Holding::default())
    }
    /// Which XA transactions are prepared.
    async fn prepared(&self) -> Result<PreparedNow>;
    /// Opens the binlog.
    async fn stream(&self, from: StreamFrom, capture: Capture) -> Result<Box<dyn BinlogStream>>;
    /// Waits, for at most `timeout`, until the server shows every transaction below `since`, and no XA transaction prepared before it is open.
    async fn wait_visible(&self, since: &Checkpoint, timeout: Duration) -> Result<Visible>;
    /// Fixes the snapshot's upper bound.
    async fn plan_snapshot(&self, schema: &TableSchema) -> Result<SnapshotPlan>;
    /// [`Source::plan_snapshot`] on the server that showed all of `since`, and on no other: there the greatest key could lie below
    /// rows that `since` covers, and nothing would ever bring them.
    async fn plan_snapshot_on(&self, schema: &TableSchema, visible: &Visible) -> Result<SnapshotPlan>;
    /// The next chunk behind `after`; None when the plan's end is reached.
    async fn next_chunk(&self, schema: &TableSchema, plan: &SnapshotPlan, after: Option<&KeyBound>)
    -> Result<Option<ChunkRange>>;
    /// Starts reading a chunk. Refuses a server other than `visible.server_uuid` and a table whose shape is no longer `schema`.
    async fn read_chunk(&self, schema: Arc<TableSchema>, range: &ChunkRange, visible: &Visible) -> Result<Box<dyn ChunkReader>>;
}

/// A table as `discover` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// The table.
    pub name: TableName,
    /// Where its key comes from.
    pub key_kind: KeyKind,
    /// What needs a decision.
    pub notes: Vec<String>,
    /// The server's estimates.
    pub rows: u64,
    /// The server's estimates.
    pub bytes: u64,
}
