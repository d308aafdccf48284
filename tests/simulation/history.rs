//! What the source's tables were at every place of its history: the oracle's own memory, kept beside the modelled server.

use std::collections::BTreeMap;

use binlake::change::{Cut, TableName, Value};

/// A cell as the lake's files hold it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cell {
    Null,
    Number(i64),
    /// A DATE: days since 1970-01-01.
    Day(i32),
    Text(String),
}

pub(crate) type Row = Vec<Cell>;

/// Rows by their first column, the key.
pub(crate) type Rows = BTreeMap<Cell, Row>;

impl Cell {
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Number(number) => Value::Signed(*number),
            Self::Day(days) => Value::Date(*days),
            Self::Text(text) => Value::Text(text.clone()),
        }
    }
}

/// One record's worth of a change: an update of a key is two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The transaction, counted from 0.
    pub transaction: usize,
    /// Counts the table's records in the transaction.
    pub ordinal: u64,
    pub operation: char,
    pub before: Option<Row>,
    pub after: Option<Row>,
}

/// A table's changes, and its rows after all of them.
#[derive(Debug)]
pub(crate) struct Table {
    pub name: TableName,
    pub changes: Vec<Change>,
    pub rows: Rows,
    /// The rows as the transactions below a number left them: where the last look was.
    cursor: (usize, usize, Rows),
}

impl Table {
    fn new(name: TableName) -> Self {
        Self { name, changes: Vec::new(), rows: Rows::new(), cursor: (0, 0, Rows::new()) }
    }

    /// The rows as the first `transactions` left them.
    pub(crate) fn rows_at(&mut self, transactions: usize) -> &Rows {
        if self.cursor.0 > transactions {
            self.cursor = (0, 0, Rows::new());
        }
        let (_, next, rows) = &mut self.cursor;
        while let Some(change) = self.changes.get(*next).filter(|change| change.transaction < transactions) {
            apply(rows, change);
            *next += 1;
        }
        self.cursor.0 = transactions;
        &self.cursor.2
    }

    /// The changes of the transactions `from..until`.
    pub(crate) fn between(&self, from: usize, until: usize) -> &[Change] {
        let place = |transaction| self.changes.partition_point(|change| change.transaction < transaction);
        self.changes.get(place(from)..place(until)).unwrap_or_default()
    }
}

/// Lays a change over rows, whatever they hold.
pub(crate) fn apply(rows: &mut Rows, change: &Change) {
    if change.operation == 't' {
        rows.clear();
        return;
    }
    if let Some(key) = change.before.as_ref().and_then(|row| row.first()) {
        rows.remove(key);
    }
    if let Some(row) = &change.after {
        rows.insert(row[0].clone(), row.clone());
    }
}

/// A server that has answered at the source's address.
#[derive(Debug, Default)]
struct Server {
    uuid: String,
    /// Where each transaction starts in its files: file number and offset.
    starts: Vec<(u64, u64)>,
}

/// All that was ever written.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub tables: Vec<Table>,
    servers: Vec<Server>,
    /// Which server's places an epoch counts in.
    epochs: BTreeMap<u32, usize>,
    transactions: usize,
    /// When each was committed, microseconds since 1970-01-01 UTC.
    committed_us: Vec<i64>,
}

/// The day of an instant in UTC.
pub(crate) fn day(committed_us: i64) -> String {
    jiff::Timestamp::from_microsecond(committed_us).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

impl History {
    pub(crate) fn new(uuid: &str) -> Self {
        let server = Server { uuid: uuid.to_owned(), starts: Vec::new() };
        Self { servers: vec![server], epochs: BTreeMap::from([(0, 0)]), ..Self::default() }
    }

    pub(crate) fn table(&mut self, name: &TableName) -> &mut Table {
        if !self.tables.iter().any(|table| table.name == *name) {
            self.tables.push(Table::new(name.clone()));
        }
        self.tables.iter_mut().find(|table| table.name == *name).unwrap()
    }

    pub(crate) fn transactions(&self) -> usize {
        self.transactions
    }

    /// A transaction that starts at this place of the server that answers now; its changes by table.
    pub(crate) fn push(&mut self, start: (u64, u64), committed_us: i64, changes: Vec<(TableName, Change)>) {
        let transaction = self.transactions;
        self.committed_us.push(committed_us);
        self.transactions += 1;
        self.servers.last_mut().unwrap().starts.push(start);
        let mut ordinals: BTreeMap<TableName, u64> = BTreeMap::new();
        for (name, change) in changes {
            let ordinal = ordinals.entry(name.clone()).or_default();
            let change = Change { transaction, ordinal: *ordinal, ..change };
            *ordinal += 1;
            let table = self.table(&name);
            apply(&mut table.rows, &change);
            table.changes.push(change);
        }
    }

    /// How many transactions are of this day or an earlier one.
    pub(crate) fn until(&self, last: &str) -> usize {
        self.committed_us.partition_point(|committed_us| day(*committed_us).as_str() <= last)
    }

    /// Another server answers, or the one that answers has got further: where it has each transaction of each table, in order. What has
    /// no rows stands where the next one stands, or at the end.
    pub(crate) fn moved(&mut self, uuid: &str, places: &[(TableName, Vec<(u64, u64)>)], end: (u64, u64), complete: bool) {
        let mut starts: Vec<Option<(u64, u64)>> = vec![None; self.transactions];
        for (name, places) in places {
            let mut of_table: Vec<usize> = self.table(name).changes.iter().map(|change| change.transaction).collect();
            of_table.dedup();
            for (transaction, place) in of_table.into_iter().zip(places) {
                starts[transaction] = Some(*place);
            }
        }
        let known = starts.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        starts.truncate(if complete { starts.len() } else { known });
        let mut behind = end;
        let mut starts: Vec<(u64, u64)> = starts
            .into_iter()
            .rev()
            .map(|start| {
                behind = start.unwrap_or(behind);
                behind
            })
            .collect();
        starts.reverse();
        match self.servers.last_mut().filter(|server| server.uuid == uuid) {
            Some(server) => server.starts = starts,
            None => self.servers.push(Server { uuid: uuid.to_owned(), starts }),
        }
    }

    /// A stream's places of this epoch are this server's.
    pub(crate) fn entered(&mut self, epoch: u32, uuid: &str) {
        if let Some(index) = self.servers.iter().rposition(|server| server.uuid == uuid) {
            self.epochs.insert(epoch, index);
        }
    }

    fn starts(&self, cut: Cut) -> Option<&[(u64, u64)]> {
        let server = self.epochs.get(&cut.0.epoch).and_then(|index| self.servers.get(*index))?;
        Some(&server.starts)
    }

    /// How many transactions start below a cut; None where the cut is of no history that was ever entered.
    pub(crate) fn below(&self, cut: Cut) -> Option<usize> {
        Some(self.starts(cut)?.partition_point(|start| *start < (cut.0.file, cut.0.offset)))
    }
}
