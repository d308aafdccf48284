//! A model of a MySQL server, good enough to break everything in front of the door [`Source`](super::Source) against.
//!
//! What it keeps of the real one: transactions stand in numbered binlog files at byte offsets, with GTIDs or without; files
//! rotate and are purged; another server takes over with other files; and, above all, the *commit race*: a transaction is in the
//! binlog, sent to streams and below [`flushed`](super::Source::flushed) from [`MemoryServer::flush`] on, but reads see it only from
//! [`MemoryServer::make_visible`] on, in any order. Only what would wait for its locks on a real server makes it visible at once.
//!
//! Three samples say where the server is, and they are not the same: [`MemoryServer::flushed_end`] is an upper bound of what is visible,
//! [`MemoryServer::executed_end`] a lower one, [`MemoryServer::log_status`] both, whenever nothing is between the two halves of its commit.
//!
//! XA transactions write their rows when they are prepared ([`MemoryServer::xa_prepare`]) and count when they are committed. A server may
//! crash and lose its last transactions, or leave its place to another ([`Failover`]), which may be behind for a while, or lack
//! transactions for good. Each of these begins an *era*: positions name a place in one of them.
//!
//! It is deterministic: no clock but a counter, no threads, waits by `tokio::time` (which tests may pause). A hook is called
//! before every answer ([`MemoryServer::on_call`]): it may fail it, and may run transactions in the middle of anything.

mod fate;
mod key;
mod snapshot;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use self::world::World;
use super::{Error, Sample};
use crate::change::{Column, ColumnType, Generated, GtidSet, KeyKind, Operation, TableName, TableSchema, Value};

pub use source::MemorySource;

/// One operation of a transaction. Rows have all columns of the table.
#[derive(Debug, Clone)]
pub enum Op {
    /// A new row.
    Insert {
        /// Where.
        table: TableName,
        /// The row.
        row: Vec<Value>,
    },
    /// Replaces the row of a key (of a keyless table: a row equal to `key`); the new row may have another key.
    Update {
        /// Where.
        table: TableName,
        /// The old row's key.
        key: Vec<Value>,
        /// The new row.
        row: Vec<Value>,
    },
    /// Removes the row of a key.
    Delete {
        /// Where.
        table: TableName,
        /// Its key.
        key: Vec<Value>,
    },
    /// Empties the table. Alone in its transaction on a real server.
    Truncate {
        /// Where.
        table: TableName,
    },
    /// Gives the table another shape: rows are cut or filled with NULL at the end.
    Alter {
        /// Where.
        table: TableName,
        /// The statement, for the record.
        statement: String,
        /// The new shape.
        schema: Arc<TableSchema>,
    },
    /// Removes the table.
    Drop {
        /// Which.
        table: TableName,
    },
}

impl Op {
    /// The table it is about.
    pub fn table(&self) -> &TableName {
        match self {
            Self::Insert { table, .. }
            | Self::Update { table, .. }
            | Self::Delete { table, .. }
            | Self::Truncate { table }
            | Self::Alter { table, .. }
            | Self::Drop { table } => table,
        }
    }
}

/// Why the server did not take a transaction; nothing of it happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The table is not there.
    #[error("no table {0}")]
    NoTable(TableName),
    /// No row has the key.
    #[error("{0}: no such row")]
    NoRow(TableName),
    /// A row has the key already.
    #[error("{0}: duplicate key")]
    Duplicate(TableName),
    /// A row of another width.
    #[error("{0}: wrong number of columns")]
    Columns(TableName),
    /// A prepared XA transaction holds a lock that this one needs.
    #[error("{0}: locked by a prepared XA transaction")]
    Locked(TableName),
    /// An XA transaction that is prepared already, or is not.
    #[error("XA transaction {0}: unknown or already there")]
    Xid(String),
}

/// Another server that takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// Its `server_uuid`.
    pub server_uuid: String,
    /// What its binlog files' names begin with.
    pub file_base: String,
    /// The number of its first file: the same names may hold other content.
    pub first_file: u64,
    /// How much further back its first transaction stands in its file.
    pub shifted: u64,
    /// The last so many transactions it never got.
    pub lost: usize,
    /// So many it has got and not applied yet: see [`MemoryServer::catch_up`]. It takes no writes before it has.
    pub behind: usize,
}

impl Failover {
    /// To a server that has everything, with other file names.
    pub fn to(server_uuid: &str) -> Self {
        let (server_uuid, file_base) = (server_uuid.to_owned(), "mysql-bin".to_owned());
        Self { server_uuid, file_base, first_file: 7, shifted: 1000, lost: 0, behind: 0 }
    }
}

/// What a transaction did to one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The number of its binlog file.
    pub file: u64,
    /// Where it starts (an XA transaction: where its XA COMMIT starts).
    pub offset: u64,
    /// Its GTID, where the server has them.
    pub gtid: Option<String>,
    /// When it was committed, microseconds since 1970-01-01 UTC.
    pub committed_us: i64,
    /// Its changes; rows have all columns.
    pub changes: Vec<WrittenChange>,
}

/// Operation, the row before, the row after.
pub type WrittenChange = (Operation, Option<Vec<Value>>, Option<Vec<Value>>);

/// A transaction that was written to the binlog; None for one of which nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flushed(Option<usize>);

/// The call that is about to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`super::Source::identity`].
    Identity,
    /// [`super::Source::tables`].
    Tables,
    /// [`super::Source::describe`].
    Describe,
    /// [`super::Source::preflight`].
    Preflight,
    /// [`super::Source::flushed`].
    Flushed,
    /// [`super::Source::stream`].
    Stream,
    /// [`super::BinlogStream::next`], each time it looks for an item.
    Next,
    /// [`super::Source::wait_visible`], each time it looks.
    WaitVisible,
    /// [`super::Source::plan_snapshot`].
    Plan,
    /// [`super::Source::next_chunk`].
    NextChunk,
    /// [`super::Source::read_chunk`].
    ReadChunk,
    /// [`super::ChunkReader::next_rows`].
    NextRows,
    /// [`super::ChunkReader::high`].
    High,
}

type Hook = Box<dyn FnMut(Call) -> Option<Error> + Send>;

struct Shared {
    world: Mutex<World>,
    hook: Mutex<Option<Hook>>,
    changed: watch::Sender<u64>,
}

/// A modelled server; clones are handles to the same one.
#[derive(Clone)]
pub struct MemoryServer {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for MemoryServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let world = self.world();
        f.debug_struct("MemoryServer")
            .field("server_uuid", &world.server_uuid)
            .field("transactions", &world.history.len())
            .finish()
    }
}

impl MemoryServer {
    /// An empty server with GTIDs.
    pub fn new() -> Self {
        Self::with_gtids(true)
    }

    /// An empty server, with GTIDs or without.
    pub fn with_gtids(gtids: bool) -> Self {
        let world = World::new("00000000-0000-4000-8000-000000000001", gtids);
        let shared = Shared { world: Mutex::new(world), hook: Mutex::new(None), changed: watch::Sender::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// Where the last flushed transaction starts.
    fn last_start(&self) -> Sample {
        let world = self.world();
        let last = world.history.last().map(|logged| (logged.file, logged.offset));
        let (file, offset) = last.unwrap_or((world.file, world.offset));
        Sample { file_name: world.file_name(file), file, offset, ..world.sample() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let done = act(&mut self.world());
        self.shared.changed.send_modify(|version| *version = version.wrapping_add(1));
        done
    }

    /// Calls the hook before each answer; what it returns is the answer. It may run transactions on this server.
    pub fn on_call(&self, hook: impl FnMut(Call) -> Option<Error> + Send + 'static) {
        *self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    fn called(&self, call: Call) -> super::Result<()> {
        // The hook is taken out while it runs, so that calls it makes itself do not reach it.
        let hook = self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut hook) = hook else { return Ok(()) };
        let answer = hook(call);
        self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(hook);
        answer.map_or(Ok(()), Err)
    }

    /// Creates an empty table; `key` names columns, none for a keyless one. Columns may be NULL unless they are in the key.
    pub fn create_table(&self, name: &TableName, columns: &[(&str, ColumnType)], key: &[&str]) -> Arc<TableSchema> {
        let schema = Arc::new(shape(name, columns, key));
        self.change(|world| world.create(Arc::clone(&schema)));
        schema
    }

    /// Runs a transaction: written to the binlog and visible.
    pub fn execute(&self, ops: Vec<Op>) -> Result<Flushed, Refusal> {
        self.change(|world| {
            let index = world.flush(ops)?;
            world.make_visible(index);
            Ok(Flushed(Some(index)))
        })
    }

    /// The first half of a commit: written to the binlog, not visible to reads.
    pub fn flush(&self, ops: Vec<Op>) -> Result<Flushed, Refusal> {
        self.change(|world| world.flush(ops).map(Some).map(Flushed))
    }

    /// The second half. Nothing happens where it is done already.
    pub fn make_visible(&self, transaction: Flushed) {
        self.change(|world| transaction.0.into_iter().for_each(|index| world.make_visible(index)));
    }

    /// Makes all visible that is flushed.
    pub fn make_all_visible(&self) {
        self.change(|world| (0..world.history.len()).for_each(|index| world.make_visible(index)));
    }

    /// `FLUSH BINARY LOGS`.
    pub fn rotate(&self) {
        self.change(World::rotate);
    }

    /// Sets how large a binlog file grows.
    pub fn set_file_bytes(&self, bytes: u64) {
        self.change(|world| world.file_bytes = bytes);
    }

    /// Sets how long it takes from one transaction to the next, in microseconds of the server's clock.
    pub fn set_tick(&self, tick_us: i64) {
        self.change(|world| world.tick_us = tick_us);
    }

    /// When the last transaction was committed, microseconds since 1970-01-01 UTC.
    pub fn clock_us(&self) -> i64 {
        self.world().clock_us
    }

    /// `PURGE BINARY LOGS TO` the file of this number.
    pub fn purge(&self, file: u64) {
        self.change(|world| world.purge(file));
    }

    /// `RESET BINARY LOGS AND GTIDS`; connections break.
    pub fn reset(&self) {
        self.change(World::reset);
    }

    /// Another server answers at the address from now on; connections break.
    pub fn fail_over(&self, failover: &Failover) {
        self.change(|world| world.fail_over(failover));
    }

    /// A replica that took over applies up to so many of the transactions that it is behind; how many are left.
    pub fn catch_up(&self, most: usize) -> usize {
        self.change(|world| {
            world.catch_up(most);
            world.backlog.len()
        })
    }

    /// The server crashes and comes up without its last `lost` transactions, whose places and numbers it will use again; connections break.
    pub fn crash(&self, lost: usize) {
        self.change(|world| world.crash(lost));
    }

    /// `XA PREPARE`: the rows are written to the binlog, hold their locks, and nobody sees them. Without rows nothing is written.
    pub fn xa_prepare(&self, xid: &str, ops: Vec<Op>) -> Result<(), Refusal> {
        self.change(|world| world.prepare(xid, ops))
    }

    /// `XA COMMIT`, flushed: the rows count from here. [`MemoryServer::make_visible`] is its second half.
    pub fn xa_commit(&self, xid: &str) -> Result<Flushed, Refusal> {
        self.change(|world| world.end_prepared(xid, true).map(Flushed))
    }

    /// `XA ROLLBACK`.
    pub fn xa_rollback(&self, xid: &str) -> Result<(), Refusal> {
        self.change(|world| {
            let index = world.end_prepared(xid, false)?;
            index.into_iter().for_each(|index| world.make_visible(index));
            Ok(())
        })
    }

    /// `XA RECOVER`.
    pub fn xa_recover(&self) -> Vec<String> {
        self.world().prepared.keys().cloned().collect()
    }

    /// Breaks all streams and chunk reads that are open.
    pub fn disconnect(&self) {
        self.change(|world| world.incarnation += 1);
    }

    /// The flushed end of the binlog.
    pub fn flushed_end(&self) -> Sample {
        self.world().sample()
    }

    /// `@@gtid_executed`: a lower bound of what is visible. Empty without GTIDs.
    pub fn executed(&self) -> GtidSet {
        self.world().executed.clone()
    }

    /// The place below which everything is visible: a lower bound, as one who asks for `gtid_executed` would find it.
    pub fn executed_end(&self) -> Sample {
        self.world().executed_end()
    }

    /// `performance_schema.log_status`: below it everything is visible, and nothing else. It waits while a transaction is between the two
    /// halves of its commit: then there is none yet.
    pub fn log_status(&self) -> Option<Sample> {
        let world = self.world();
        world.visible.iter().all(|visible| *visible).then(|| world.sample())
    }

    /// The number of the history at hand. Each fail-over, crash and reset begins the next; positions of an epoch are of one of them.
    pub fn era(&self) -> usize {
        self.world().era()
    }

    /// The rows as all transactions of an era that start below a place leave them, in key order.
    pub fn rows_in(&self, table: &TableName, era: usize, file: u64, offset: u64) -> Option<Vec<Vec<Value>>> {
        self.world().tables_in(era, file, offset).map(|tables| rows(&tables, table))
    }

    /// All that an era's binlog says of a table, purged or not, in order.
    pub fn written_in(&self, table: &TableName, era: usize) -> Option<Vec<Written>> {
        self.world().written_in(era, table)
    }

    /// The rows as all flushed transactions leave them, in key order: what a mirror must equal in the end.
    pub fn rows(&self, table: &TableName) -> Vec<Vec<Value>> {
        rows(&self.world().flushed_tables, table)
    }

    /// The rows as all flushed transactions that start below a place leave them, in key order: what a mirror must equal there.
    /// None where no such server was ever here.
    pub fn rows_at(&self, table: &TableName, server_uuid: &str, file: u64, offset: u64) -> Option<Vec<Vec<Value>>> {
        let world = self.world();
        let era = world.era_of(server_uuid)?;
        world.tables_in(era, file, offset).map(|tables| rows(&tables, table))
    }

    /// The rows that a read sees now, in key order.
    pub fn visible_rows(&self, table: &TableName) -> Vec<Vec<Value>> {
        rows(&self.world().visible_tables, table)
    }
}

impl Default for MemoryServer {
    fn default() -> Self {
        Self::new()
    }
}

fn rows(tables: &world::Tables, table: &TableName) -> Vec<Vec<Value>> {
    let Some(table) = tables.get(table) else { return Vec::new() };
    table.rows.values().flat_map(|(row, count)| std::iter::repeat_n(row.clone(), *count)).collect()
}

/// A shape from names and kinds.
fn shape(name: &TableName, columns: &[(&str, ColumnType)], key: &[&str]) -> TableSchema {
    let captured = columns.iter().enumerate().map(|(ordinal, (column, kind))| Column {
        name: (*column).to_owned(),
        kind: kind.clone(),
        nullable: !key.contains(column),
        generated: Generated::No,
        ordinal,
        declared: format!("{kind:?}"),
    });
    TableSchema {
        name: name.clone(),
        columns: captured.collect(),
        key: key.iter().filter_map(|wanted| columns.iter().position(|(column, _)| column == wanted)).collect(),
        key_kind: if key.is_empty() { KeyKind::None } else { KeyKind::Primary },
        physical_columns: columns.len(),
        physical: columns.iter().map(|(column, kind)| ((*column).to_owned(), kind.clone())).collect(),
    }
}
