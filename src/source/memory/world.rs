//! The state of the modelled server: its history of transactions, and the rows twice: as flushed and as visible. What befalls a whole
//! server is in [`super::fate`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::key::Key;
use super::{Op, Refusal};
use crate::change::{Gtid, GtidSet, Operation, TableName, TableSchema, Value};
use crate::source::Sample;

/// Where a file's first event starts.
pub(super) const FILE_START: u64 = 158;

/// A row with all columns of its table.
pub(super) type Row = Vec<Value>;

/// One table's rows at one time.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub schema: Arc<TableSchema>,
    /// By key; equal rows of a keyless table are counted.
    pub rows: BTreeMap<Key, (Row, usize)>,
}

pub(super) type Tables = BTreeMap<TableName, Table>;

/// One change as the binlog has it.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Row { operation: Operation, before: Option<Row>, after: Option<Row> },
    Truncate { statement: String },
    Shape { statement: String, schema: Option<Arc<TableSchema>> },
}

/// What was done to a table that had this shape.
pub(super) type Done = (TableName, Arc<TableSchema>, Change);

/// What a group of the binlog is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A transaction.
    Plain,
    /// The rows of an XA transaction that counts when it is committed.
    Prepare(String),
    /// `XA COMMIT`: the rows are those that were prepared.
    Commit(String),
    /// `XA ROLLBACK`.
    Rollback(String),
}

/// One transaction of the binlog.
#[derive(Debug, Clone)]
pub(super) struct Logged {
    pub kind: Kind,
    pub file: u64,
    pub offset: u64,
    pub gtid: Option<Gtid>,
    pub committed_us: i64,
    pub crc: u32,
    /// The table's shape when it was written, and what was done to it.
    pub changes: Vec<Done>,
}

impl Logged {
    /// What it does to the tables.
    pub(super) fn applied(&self) -> &[Done] {
        match self.kind {
            Kind::Plain | Kind::Commit(_) => &self.changes,
            Kind::Prepare(_) | Kind::Rollback(_) => &[],
        }
    }

    /// Bytes that it takes in its file.
    pub(super) fn bytes(&self) -> u64 {
        120 + 40 * self.changes.len() as u64
    }
}

/// An XA transaction that is prepared: it holds its locks.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub changes: Vec<Done>,
    /// The group that ends it, which is not visible yet.
    pub ended: Option<usize>,
}

/// A history that this address had once.
#[derive(Debug, Clone)]
pub(super) struct Era {
    pub server_uuid: String,
    pub base: Tables,
    pub history: Vec<Arc<Logged>>,
}

/// The server.
#[derive(Debug)]
pub(super) struct World {
    pub server_uuid: String,
    pub gtids: bool,
    /// What the binlog files' names begin with.
    pub file_base: String,
    pub file: u64,
    pub offset: u64,
    pub file_bytes: u64,
    /// All transactions since `base`; those below `purged` are in no file any more.
    pub history: Vec<Arc<Logged>>,
    pub purged: usize,
    /// Which of `history` are visible to reads.
    pub visible: Vec<bool>,
    /// Visible GTIDs.
    pub executed: GtidSet,
    /// The XA transactions that are prepared, by xid.
    pub prepared: BTreeMap<String, Prepared>,
    /// What a replica that took over has not applied yet.
    pub backlog: VecDeque<Arc<Logged>>,
    /// The histories before this one, the oldest first.
    pub past: Vec<Era>,
    /// The tables before `history`.
    pub base: Tables,
    pub flushed_tables: Tables,
    pub visible_tables: Tables,
    /// Grows when connections break.
    pub incarnation: u64,
    pub next_number: u64,
    pub clock_us: i64,
    /// What the clock moves on with each transaction.
    pub tick_us: i64,
}

impl World {
    pub(super) fn new(server_uuid: &str, gtids: bool) -> Self {
        Self {
            server_uuid: server_uuid.to_owned(),
            gtids,
            file_base: "binlog".to_owned(),
            file: 1,
            offset: FILE_START,
            file_bytes: 4096,
            history: Vec::new(),
            purged: 0,
            visible: Vec::new(),
            executed: GtidSet::default(),
            prepared: BTreeMap::new(),
            backlog: VecDeque::new(),
            past: Vec::new(),
            base: Tables::new(),
            flushed_tables: Tables::new(),
            visible_tables: Tables::new(),
            incarnation: 0,
            next_number: 1,
            clock_us: 1_700_000_000_000_000,
            tick_us: 1_000,
        }
    }

    /// Creates an empty table: before all history, or as a transaction of it.
    pub(super) fn create(&mut self, schema: Arc<TableSchema>) {
        let name = schema.name.clone();
        if self.history.is_empty() {
            let table = Table { schema, rows: BTreeMap::new() };
            for tables in [&mut self.base, &mut self.flushed_tables, &mut self.visible_tables] {
                tables.insert(name.clone(), table.clone());
            }
            return;
        }
        let change = Change::Shape { statement: format!("CREATE TABLE {name}"), schema: Some(Arc::clone(&schema)) };
        self.await_locks(&name, &change);
        replay(&mut self.flushed_tables, &name, &change);
        let index = self.log(Kind::Plain, vec![(name, schema, change)]);
        self.make_visible(index);
    }

    pub(super) fn file_name(&self, file: u64) -> String {
        format!("{}.{file:06}", self.file_base)
    }

    /// All GTIDs in the binlog, visible or not.
    pub(super) fn flushed_gtids(&self) -> GtidSet {
        let mut set = self.executed.clone();
        for gtid in self.history.iter().filter_map(|logged| logged.gtid.as_ref()) {
            set.insert(gtid);
        }
        set
    }

    /// The flushed end.
    pub(super) fn sample(&self) -> Sample {
        Sample {
            server_uuid: self.server_uuid.clone(),
            file_name: self.file_name(self.file),
            file: self.file,
            offset: self.offset,
        }
    }

    /// The place below which everything is visible: all that `gtid_executed` can vouch for.
    pub(super) fn executed_end(&self) -> Sample {
        let hidden = self.history.iter().zip(&self.visible).find(|(_, visible)| !**visible);
        match hidden {
            Some((logged, _)) => {
                Sample { file_name: self.file_name(logged.file), file: logged.file, offset: logged.offset, ..self.sample() }
            }
            None => self.sample(),
        }
    }

    /// Writes a transaction to the binlog: it gets a place, and is not visible yet.
    pub(super) fn flush(&mut self, ops: Vec<Op>) -> Result<usize, Refusal> {
        let (changes, after) = self.changes(ops)?;
        self.flushed_tables = after;
        Ok(self.log(Kind::Plain, changes))
    }

    /// `XA PREPARE`: the rows are in the binlog and hold their locks, and nobody sees them. Without rows nothing is in the binlog.
    pub(super) fn prepare(&mut self, xid: &str, ops: Vec<Op>) -> Result<(), Refusal> {
        if self.prepared.contains_key(xid) {
            return Err(Refusal::Xid(xid.to_owned()));
        }
        let (changes, _) = self.changes(ops)?;
        if !changes.is_empty() {
            let index = self.log(Kind::Prepare(xid.to_owned()), changes.clone());
            self.make_visible(index);
        }
        self.prepared.insert(xid.to_owned(), Prepared { changes, ended: None });
        Ok(())
    }

    /// The first half of `XA COMMIT` or `XA ROLLBACK`; the whole of it where nothing was written.
    pub(super) fn end_prepared(&mut self, xid: &str, commits: bool) -> Result<Option<usize>, Refusal> {
        self.catch_up(usize::MAX);
        let unknown = || Refusal::Xid(xid.to_owned());
        let prepared = self.prepared.get(xid).filter(|prepared| prepared.ended.is_none()).ok_or_else(unknown)?;
        if prepared.changes.is_empty() {
            self.prepared.remove(xid);
            return Ok(None);
        }
        let (kind, changes) = match commits {
            true => (Kind::Commit(xid.to_owned()), prepared.changes.clone()),
            false => (Kind::Rollback(xid.to_owned()), Vec::new()),
        };
        for (name, _, change) in &changes {
            replay(&mut self.flushed_tables, name, change);
        }
        let index = self.log(kind, changes);
        if let Some(prepared) = self.prepared.get_mut(xid) {
            prepared.ended = Some(index);
        }
        Ok(Some(index))
    }

    /// What operations do, one after another, and the tables afterwards.
    fn changes(&mut self, ops: Vec<Op>) -> Result<(Vec<Done>, Tables), Refusal> {
        self.catch_up(usize::MAX);
        let mut after = self.flushed_tables.clone();
        let mut changes = Vec::with_capacity(ops.len());
        for op in ops {
            let (name, schema, change) = change(&after, op)?;
            let open = self.prepared.values().filter(|prepared| prepared.ended.is_none());
            let mut held = open.flat_map(|prepared| &prepared.changes).filter(|(other, ..)| *other == name);
            if held.any(|(_, schema, done)| conflict(schema, &change, done)) {
                return Err(Refusal::Locked(name));
            }
            self.await_locks(&name, &change);
            apply(&mut after, &name, &change)?;
            changes.push((name, schema, change));
        }
        Ok((changes, after))
    }

    fn log(&mut self, kind: Kind, changes: Vec<Done>) -> usize {
        if self.offset >= self.file_bytes {
            self.rotate();
        }
        let gtid = self.gtids.then(|| Gtid { origin: self.server_uuid.clone(), number: self.next_number });
        self.clock_us += self.tick_us;
        let seed = format!("{}:{}:{}", self.server_uuid, self.next_number, self.clock_us);
        self.next_number += 1;
        let crc = crc32fast::hash(seed.as_bytes());
        let logged = Logged { kind, file: self.file, offset: self.offset, gtid, committed_us: self.clock_us, crc, changes };
        self.offset += logged.bytes();
        self.history.push(Arc::new(logged));
        self.visible.push(false);
        self.history.len() - 1
    }

    /// A real server would have made this one wait for the row and table locks of those that are not visible yet.
    fn await_locks(&mut self, name: &TableName, change: &Change) {
        let held: Vec<usize> = (0..self.history.len()).filter(|index| self.visible.get(*index) == Some(&false)).collect();
        for index in held {
            let Some(logged) = self.history.get(index) else { continue };
            if logged.applied().iter().any(|(other, schema, done)| other == name && conflict(schema, change, done)) {
                self.make_visible(index);
            }
        }
    }

    /// The storage engine commits.
    pub(super) fn make_visible(&mut self, index: usize) {
        let (Some(logged), Some(visible)) = (self.history.get(index), self.visible.get_mut(index)) else { return };
        if std::mem::replace(visible, true) {
            return;
        }
        for (name, _, change) in logged.applied() {
            // What it conflicts with became visible before it.
            replay(&mut self.visible_tables, name, change);
        }
        if let Kind::Commit(xid) | Kind::Rollback(xid) = &logged.kind {
            self.prepared.remove(xid);
        }
        if let Some(gtid) = &logged.gtid {
            self.executed.insert(gtid);
        }
    }

    pub(super) fn rotate(&mut self) {
        self.file += 1;
        self.offset = FILE_START;
    }

    /// `PURGE BINARY LOGS TO` the file of this number.
    pub(super) fn purge(&mut self, file: u64) {
        self.purged = self.history.iter().take_while(|logged| logged.file < file).count().max(self.purged);
    }
}

fn keys(schema: &TableSchema, change: &Change) -> Option<Vec<Key>> {
    match change {
        Change::Row { before, after, .. } => Some(before.iter().chain(after).map(|row| Key::of(schema, row)).collect()),
        Change::Truncate { .. } | Change::Shape { .. } => None,
    }
}

fn conflict(schema: &TableSchema, one: &Change, other: &Change) -> bool {
    match (keys(schema, one), keys(schema, other)) {
        (Some(one), Some(other)) => one.iter().any(|key| other.contains(key)),
        _ => true,
    }
}

/// The change that an operation makes to the tables as they are.
fn change(tables: &Tables, op: Op) -> Result<(TableName, Arc<TableSchema>, Change), Refusal> {
    let name = op.table().clone();
    let table = tables.get(&name).ok_or_else(|| Refusal::NoTable(name.clone()))?;
    let find =
        |key: Vec<Value>| table.rows.get(&Key(key)).map(|(row, _)| row.clone()).ok_or_else(|| Refusal::NoRow(name.clone()));
    let change = match op {
        Op::Insert { row, .. } => Change::Row { operation: Operation::Create, before: None, after: Some(row) },
        Op::Update { key, row, .. } => Change::Row { operation: Operation::Update, before: Some(find(key)?), after: Some(row) },
        Op::Delete { key, .. } => Change::Row { operation: Operation::Delete, before: Some(find(key)?), after: None },
        Op::Truncate { .. } => Change::Truncate { statement: format!("TRUNCATE TABLE {name}") },
        Op::Alter { statement, schema, .. } => Change::Shape { statement, schema: Some(schema) },
        Op::Drop { .. } => Change::Shape { statement: format!("DROP TABLE {name}"), schema: None },
    };
    if let Change::Row { after: Some(row), .. } = &change
        && row.len() != table.schema.physical_columns
    {
        return Err(Refusal::Columns(name));
    }
    Ok((name, Arc::clone(&table.schema), change))
}

/// Applies what was checked when it was flushed.
pub(super) fn replay(tables: &mut Tables, name: &TableName, change: &Change) {
    if let Err(refusal) = apply(tables, name, change) {
        debug_assert!(false, "a flushed change does not apply: {refusal}");
    }
}

fn apply(tables: &mut Tables, name: &TableName, change: &Change) -> Result<(), Refusal> {
    if let Change::Shape { schema, .. } = change {
        return reshape(tables, name, schema.as_ref());
    }
    let Some(table) = tables.get_mut(name) else { return Err(Refusal::NoTable(name.clone())) };
    let Change::Row { before, after, .. } = change else {
        table.rows.clear();
        return Ok(());
    };
    if let Some(row) = before {
        remove(table, row).ok_or_else(|| Refusal::NoRow(name.clone()))?;
    }
    match after {
        Some(row) => insert(table, row).ok_or_else(|| Refusal::Duplicate(name.clone())),
        None => Ok(()),
    }
}

/// Drops, creates or alters a table.
fn reshape(tables: &mut Tables, name: &TableName, schema: Option<&Arc<TableSchema>>) -> Result<(), Refusal> {
    let old = tables.remove(name).map(|table| table.rows).unwrap_or_default();
    let Some(schema) = schema else { return Ok(()) };
    let mut table = Table { schema: Arc::clone(schema), rows: BTreeMap::new() };
    for (mut row, count) in old.into_values() {
        row.resize(schema.physical_columns, Value::Null);
        for _ in 0..count {
            insert(&mut table, &row).ok_or_else(|| Refusal::Duplicate(name.clone()))?;
        }
    }
    tables.insert(name.clone(), table);
    Ok(())
}

fn remove(table: &mut Table, row: &Row) -> Option<()> {
    let key = Key::of(&table.schema, row);
    let (_, count) = table.rows.get_mut(&key)?;
    *count -= 1;
    if *count == 0 {
        table.rows.remove(&key);
    }
    Some(())
}

fn insert(table: &mut Table, row: &Row) -> Option<()> {
    let keyless = table.schema.key.is_empty();
    let (_, count) = table.rows.entry(Key::of(&table.schema, row)).or_insert_with(|| (row.clone(), 0));
    if *count > 0 && !keyless {
        return None;
    }
    *count += 1;
    Some(())
}
