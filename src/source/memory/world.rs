//! The state of the modelled server: its history of transactions, and the rows twice: as flushed and as visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::Key;
use super::{Op, Refusal};
use crate::change::{Gtid, GtidSet, Operation, TableName, TableSchema, Value};
use crate::source::Sample;

/// Where a file's first event starts.
const FILE_START: u64 = 158;

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

/// One transaction of the binlog.
#[derive(Debug, Clone)]
pub(super) struct Logged {
    pub file: u64,
    pub offset: u64,
    pub gtid: Option<Gtid>,
    pub committed_us: i64,
    pub crc: u32,
    /// The table's shape when it was written, and what was done to it.
    pub changes: Vec<(TableName, Arc<TableSchema>, Change)>,
}

/// The server.
#[derive(Debug)]
pub(super) struct World {
    pub server_uuid: String,
    pub gtids: bool,
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
    /// The tables before `history`.
    base: Tables,
    pub flushed_tables: Tables,
    pub visible_tables: Tables,
    /// Grows when connections break.
    pub incarnation: u64,
    next_number: u64,
    clock_us: i64,
}

impl World {
    pub(super) fn new(server_uuid: &str, gtids: bool) -> Self {
        Self {
            server_uuid: server_uuid.to_owned(),
            gtids,
            file: 1,
            offset: FILE_START,
            file_bytes: 4096,
            history: Vec::new(),
            purged: 0,
            visible: Vec::new(),
            executed: GtidSet::default(),
            base: Tables::new(),
            flushed_tables: Tables::new(),
            visible_tables: Tables::new(),
            incarnation: 0,
            next_number: 1,
            clock_us: 1_700_000_000_000_000,
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
        let index = self.log(vec![(name, schema, change)]);
        self.make_visible(index);
    }

    pub(super) fn file_name(file: u64) -> String {
        format!("binlog.{file:06}")
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
            file_name: Self::file_name(self.file),
            file: self.file,
            offset: self.offset,
        }
    }

    /// The tables as all that starts below a place leaves them.
    pub(super) fn tables_at(&self, file: u64, offset: u64) -> Tables {
        let mut tables = self.base.clone();
        for logged in self.history.iter().take_while(|logged| (logged.file, logged.offset) < (file, offset)) {
            for (name, _, change) in &logged.changes {
                replay(&mut tables, name, change);
            }
        }
        tables
    }

    /// Writes a transaction to the binlog: it gets a place, and is not visible yet.
    pub(super) fn flush(&mut self, ops: Vec<Op>) -> Result<usize, Refusal> {
        let mut after = self.flushed_tables.clone();
        let mut changes = Vec::with_capacity(ops.len());
        for op in ops {
            let (name, schema, change) = change(&after, op)?;
            self.await_locks(&name, &change);
            apply(&mut after, &name, &change)?;
            changes.push((name, schema, change));
        }
        self.flushed_tables = after;
        Ok(self.log(changes))
    }

    fn log(&mut self, changes: Vec<(TableName, Arc<TableSchema>, Change)>) -> usize {
        if self.offset >= self.file_bytes {
            self.rotate();
        }
        let gtid = self.gtids.then(|| Gtid { origin: self.server_uuid.clone(), number: self.next_number });
        self.clock_us += 1_000;
        let offset = self.offset;
        self.offset += 120 + 40 * changes.len() as u64;
        let seed = format!("{}:{}:{offset}", self.server_uuid, self.next_number);
        self.next_number += 1;
        let logged =
            Logged { file: self.file, offset, gtid, committed_us: self.clock_us, crc: crc32fast::hash(seed.as_bytes()), changes };
        self.history.push(Arc::new(logged));
        self.visible.push(false);
        self.history.len() - 1
    }

    /// A real server would have made this one wait for the row and table locks of those that are not visible yet.
    fn await_locks(&mut self, name: &TableName, change: &Change) {
        let held: Vec<usize> = (0..self.history.len()).filter(|index| self.visible.get(*index) == Some(&false)).collect();
        for index in held {
            let Some(logged) = self.history.get(index) else { continue };
            if logged.changes.iter().any(|(other, schema, done)| other == name && conflict(schema, change, done)) {
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
        for (name, _, change) in &logged.changes {
            // What it conflicts with became visible before it.
            replay(&mut self.visible_tables, name, change);
        }
        if let Some(gtid) = &logged.gtid {
            self.executed.insert(gtid);
        }
    }

    pub(super) fn rotate(&mut self) {
        self.file += 1;
        self.offset = FILE_START;
    }

    /// Another server takes over, without the last `lost` transactions; its files are numbered differently.
    pub(super) fn fail_over(&mut self, server_uuid: &str, lost: usize) {
        let kept = self.history.len().saturating_sub(lost);
        let mut history = std::mem::take(&mut self.history);
        history.truncate(kept);
        self.incarnation += 1;
        self.server_uuid = server_uuid.to_owned();
        (self.file, self.offset, self.purged) = (7, FILE_START + 1000, 0);
        self.executed = GtidSet::default();
        self.visible = Vec::with_capacity(kept);
        (self.flushed_tables, self.visible_tables) = (self.base.clone(), self.base.clone());
        for logged in history {
            if self.offset >= self.file_bytes {
                self.rotate();
            }
            let moved = Logged { file: self.file, offset: self.offset, ..(*logged).clone() };
            self.offset += 120 + 40 * moved.changes.len() as u64;
            for (name, _, change) in &moved.changes {
                replay(&mut self.flushed_tables, name, change);
            }
            self.history.push(Arc::new(moved));
            self.visible.push(false);
            self.make_visible(self.history.len() - 1);
        }
    }

    /// `RESET BINARY LOGS AND GTIDS`: the rows stay.
    pub(super) fn reset(&mut self) {
        for index in 0..self.history.len() {
            self.make_visible(index);
        }
        self.base = self.flushed_tables.clone();
        self.history.clear();
        self.visible.clear();
        self.executed = GtidSet::default();
        (self.file, self.offset, self.purged, self.next_number) = (1, FILE_START, 0, 1);
        self.incarnation += 1;
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
fn replay(tables: &mut Tables, name: &TableName, change: &Change) {
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
