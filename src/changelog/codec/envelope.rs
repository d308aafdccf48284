//! What stands around the images: written from one compiled text per transaction.

use crate::change::{Operation, TableSchema};

use super::TransactionInfo;
use super::plan::{Plan, json_string};
use super::string::write_string;

/// The text between the images and the record's end. Compiled when the transaction changes, then copied per record.
#[derive(Debug)]
pub(super) struct Envelope {
    /// `,"source":{"version":…,"name":…,"ts_ms":`
    opening: Vec<u8>,
    /// `,"snapshot":"false","db":…`
    database: Vec<u8>,
    /// `,"table":…,"gtid":`
    table: Vec<u8>,
    /// The transaction that `head` and `tail` were compiled for.
    transaction: Option<CompiledFor>,
    /// `,"source":{… "row":`
    head: Vec<u8>,
    /// `,"ts_ms":…,"ts_us":…,"ts_ns":…}`
    tail: Vec<u8>,
}

#[derive(Debug)]
struct CompiledFor {
    start: crate::change::BinlogPosition,
    file_name: String,
    gtid: Option<String>,
    committed_us: i64,
}

impl CompiledFor {
    fn is(&self, info: &TransactionInfo<'_>) -> bool {
        self.start == info.start
            && self.committed_us == info.committed_us
            && self.gtid.as_deref() == info.gtid
            && self.file_name == info.file_name
    }
}

/// Columns of one image that hold zero dates.
pub(super) type ZeroDates<'a> = &'a [usize];

/// What the end of one record says beside its transaction.
pub(super) struct Ending<'a> {
    pub(super) operation: Operation,
    pub(super) ordinal: u64,
    pub(super) statement: Option<&'a str>,
    pub(super) zero_before: ZeroDates<'a>,
    pub(super) zero_after: ZeroDates<'a>,
}

impl Envelope {
    pub(super) fn new(schema: &TableSchema, source_name: &str) -> Self {
        let mut opening = b",\"source\":{\"version\":".to_vec();
        write_string(&mut opening, env!("CARGO_PKG_VERSION"));
        opening.extend_from_slice(b",\"connector\":\"mysql\",\"name\":");
        write_string(&mut opening, source_name);
        opening.extend_from_slice(b",\"ts_ms\":");
        let mut database = b",\"snapshot\":\"false\",\"db\":".to_vec();
        database.extend_from_slice(&json_string(&schema.name.database));
        let mut table = b",\"table\":".to_vec();
        table.extend_from_slice(&json_string(&schema.name.table));
        table.extend_from_slice(b",\"gtid\":");
        Self { opening, database, table, transaction: None, head: Vec::new(), tail: Vec::new() }
    }

    /// Makes the texts those of this transaction.
    pub(super) fn compile(&mut self, info: &TransactionInfo<'_>) {
        if self.transaction.as_ref().is_some_and(|compiled| compiled.is(info)) {
            return;
        }
        let mut digits = itoa::Buffer::new();
        let milliseconds = info.committed_us.div_euclid(1000);
        self.head.clear();
        self.head.extend_from_slice(&self.opening);
        self.head.extend_from_slice(digits.format(milliseconds).as_bytes());
        self.head.extend_from_slice(&self.database);
        self.tail.clear();
        self.tail.extend_from_slice(b",\"ts_ms\":");
        self.tail.extend_from_slice(digits.format(milliseconds).as_bytes());
        for out in [&mut self.head, &mut self.tail] {
            out.extend_from_slice(b",\"ts_us\":");
            out.extend_from_slice(digits.format(info.committed_us).as_bytes());
            out.extend_from_slice(b",\"ts_ns\":");
            match info.committed_us.checked_mul(1000) {
                Some(nanoseconds) => out.extend_from_slice(digits.format(nanoseconds).as_bytes()),
                None => out.extend_from_slice(digits.format(i128::from(info.committed_us) * 1000).as_bytes()),
            }
        }
        self.tail.push(b'}');
        self.head.extend_from_slice(&self.table);
        match info.gtid {
            Some(gtid) => write_string(&mut self.head, gtid),
            None => self.head.extend_from_slice(b"null"),
        }
        self.head.extend_from_slice(b",\"file\":");
        write_string(&mut self.head, info.file_name);
        self.head.extend_from_slice(b",\"pos\":");
        self.head.extend_from_slice(digits.format(info.start.offset).as_bytes());
        self.head.extend_from_slice(b",\"row\":");
        self.transaction = Some(CompiledFor {
            start: info.start,
            file_name: info.file_name.to_owned(),
            gtid: info.gtid.map(str::to_owned),
            committed_us: info.committed_us,
        });
    }

    /// Writes everything behind the images. [`Envelope::compile`] comes first.
    pub(super) fn write(&self, out: &mut Vec<u8>, plan: &Plan, ending: &Ending<'_>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(itoa::Buffer::new().format(ending.ordinal).as_bytes());
        if let Some(statement) = ending.statement {
            out.extend_from_slice(b",\"query\":");
            write_string(out, statement);
        }
        if !ending.zero_before.is_empty() || !ending.zero_after.is_empty() {
            out.extend_from_slice(b",\"zero_dates\":{\"before\":");
            write_names(out, plan, ending.zero_before);
            out.extend_from_slice(b",\"after\":");
            write_names(out, plan, ending.zero_after);
            out.push(b'}');
        }
        out.extend_from_slice(b"},\"op\":\"");
        out.push(letter(ending.operation));
        out.push(b'"');
        out.extend_from_slice(&self.tail);
    }
}

fn write_names(out: &mut Vec<u8>, plan: &Plan, columns: ZeroDates<'_>) {
    out.push(b'[');
    for (nth, column) in columns.iter().filter_map(|index| plan.columns.get(*index)).enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&column.name_json);
    }
    out.push(b']');
}

/// [`Operation::letter`] as a byte.
pub(super) fn letter(operation: Operation) -> u8 {
    match operation {
        Operation::Create => b'c',
        Operation::Update => b'u',
        Operation::Delete => b'd',
        Operation::Truncate => b't',
        Operation::Schema => b's',
    }
}
