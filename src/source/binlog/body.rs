//! The parts of one transaction, read back in order.
//!
//! A transaction's row events were kept as they came; here they are decoded, one row at a time, straight into the caller's sink.
//! Row events of one table that do the same and follow each other are one part.

use std::sync::Arc;

use crate::change::{BinlogPosition, Operation, RowSink};
use crate::source::wire::fields::Fields;
use crate::source::{Error, Part, Result, TransactionBody};

use super::effects::{Place, statement_parts};
use super::event::Malformed;
use super::plan::Plan;
use super::query::Query;
use super::rows::{RowFault, RowReader, RowsHead, operation};
use super::spill::StoreReader;
use super::tables::Tables;

/// The kinds of entries of a store.
pub(super) mod tag {
    /// Plan number, event type, event body.
    pub(in crate::source::binlog) const ROWS: u8 = 1;
    /// The number of a ready part.
    pub(in crate::source::binlog) const PART: u8 = 2;
    /// The body of a table map (XA).
    pub(in crate::source::binlog) const RAW_MAP: u8 = 3;
    /// Event type and body of a row event (XA).
    pub(in crate::source::binlog) const RAW_ROWS: u8 = 4;
    /// Event type and body of a query event (XA).
    pub(in crate::source::binlog) const RAW_QUERY: u8 = 5;
}

/// A prepared transaction has one transaction's table maps.
const ONE_TRANSACTION: u64 = 0;

/// The parts of one transaction.
pub(super) struct Body {
    source: Arc<str>,
    place: Place,
    reader: StoreReader,
    plans: Vec<Arc<Plan>>,
    /// Ready parts, by number.
    parts: Vec<Option<Part>>,
    /// What raw entries are resolved with.
    tables: Option<Tables>,
    /// Parts that one statement gave beyond the first.
    waiting: std::collections::VecDeque<Part>,
    /// The entry at hand was looked at and belongs to the next part.
    pending: Option<u8>,
    rows: Option<Rows>,
    row_reader: RowReader,
}

/// The row event at hand.
struct Rows {
    plan: Arc<Plan>,
    /// The plan of the columns that are there.
    present: Arc<Plan>,
    operation: Operation,
    event_kind: u8,
    /// Where the next row starts in the entry.
    at: usize,
    /// Why no row can be read, said at the first one.
    unreadable: Option<RowFault>,
}

impl Body {
    pub(super) fn new(
        source: Arc<str>,
        place: Place,
        reader: StoreReader,
        plans: Vec<Arc<Plan>>,
        parts: Vec<Part>,
        tables: Option<Tables>,
    ) -> Self {
        let parts = parts.into_iter().map(Some).collect();
        let (waiting, row_reader) = Default::default();
        Self { source, place, reader, plans, parts, tables, waiting, pending: None, rows: None, row_reader }
    }

    fn position(&self) -> BinlogPosition {
        self.place.start
    }

    fn advance(&mut self) -> Result<Option<u8>> {
        match self.pending.take() {
            Some(tag) => Ok(Some(tag)),
            None => self.reader.advance(),
        }
    }

    fn malformed(&self, malformed: &Malformed) -> Error {
        super::event_error(&self.source, self.position(), &malformed.0)
    }

    /// What the entry at hand begins or continues.
    fn look(&mut self, tag: u8) -> Result<Look> {
        let looked = match tag {
            tag::ROWS => self.look_at_rows(),
            tag::PART => self.look_at_part(),
            _ => self.look_at_raw(tag),
        };
        looked.map_err(|malformed| self.malformed(&malformed))
    }

    fn look_at_rows(&self) -> std::result::Result<Look, Malformed> {
        const WHAT: &str = "a kept row event has lost its plan";
        let mut fields = Fields(self.reader.entry());
        let (number, event_kind) = fields.u32().zip(fields.u8()).ok_or_else(|| Malformed::new(WHAT))?;
        let plan = self.plans.get(number as usize).ok_or_else(|| Malformed::new(WHAT))?;
        Ok(Look::Rows(rows(Arc::clone(plan), event_kind, self.reader.entry(), 5)?))
    }

    fn look_at_part(&mut self) -> std::result::Result<Look, Malformed> {
        let number = Fields(self.reader.entry()).u32();
        let part = number.and_then(|number| self.parts.get_mut(number as usize)).and_then(Option::take);
        part.map(Look::Part).ok_or_else(|| Malformed::new("a kept part is lost"))
    }

    /// Entries of a transaction whose tables are looked up only now.
    fn look_at_raw(&mut self, tag: u8) -> std::result::Result<Look, Malformed> {
        let Some(tables) = &mut self.tables else { return Err(Malformed::new("a kept entry of unknown kind")) };
        let entry = self.reader.entry();
        if tag == tag::RAW_MAP {
            tables.take_map(entry, ONE_TRANSACTION)?;
            return Ok(Look::Nothing);
        }
        let (event_kind, body) = entry.split_first().ok_or_else(|| Malformed::new("a kept event is empty"))?;
        if tag == tag::RAW_QUERY {
            let query = Query::parse(*event_kind, body)?;
            self.waiting.extend(statement_parts(&query, tables.capture(), tables.case(), &self.place));
            return Ok(self.waiting.pop_front().map_or(Look::Nothing, Look::Part));
        }
        let id = super::table_map::table_id(body)?;
        match tables.get(id, ONE_TRANSACTION)?.at(self.place.start) {
            None => Ok(Look::Nothing),
            Some(Ok(plan)) => Ok(Look::Rows(rows(Arc::clone(plan), *event_kind, entry, 1)?)),
            Some(Err(unusable)) => Ok(Look::Part(super::effects::unusable(unusable, &self.place))),
        }
    }

    fn row_error(&mut self, fault: RowFault) -> Error {
        let table = self.rows.take().map(|rows| rows.plan.schema.name.clone());
        let column = fault.column.map(|column| format!("column {column}: ")).unwrap_or_default();
        let table = table.unwrap_or_else(|| crate::change::TableName::new("", ""));
        let remedy = if fault.reason == PARTIAL_IMAGE {
            format!("set binlog_row_image=FULL in every session that writes, then run `binlake rebuild {table}`")
        } else {
            format!("run `binlake rebuild {table}`; if it comes again, report it with the column's type")
        };
        let reason = format!("{column}{} (transaction at {})", fault.reason, self.place);
        Error::Row { remedy, table, position: self.position(), reason }
    }
}

/// What stands at an entry.
enum Look {
    Rows(Rows),
    Part(Part),
    Nothing,
}

const PARTIAL_IMAGE: &str = "a row image does not have all columns (binlog_row_image is not FULL in the session that wrote it)";

fn rows(plan: Arc<Plan>, event_kind: u8, entry: &[u8], head: usize) -> std::result::Result<Rows, Malformed> {
    let operation = operation(event_kind).ok_or_else(|| Malformed(format!("a kept row event of type {event_kind}")))?;
    let parsed = RowsHead::parse(event_kind, entry.get(head..).unwrap_or_default())?;
    let (present, reason) = if parsed.width != plan.cells.len() {
        (None, format!("a row event has {} columns where its table map has {}", parsed.width, plan.cells.len()))
    } else {
        (parsed.present.plan(&plan), PARTIAL_IMAGE.to_owned())
    };
    let unreadable = present.is_none().then_some(RowFault { column: None, reason });
    let present = present.unwrap_or_else(|| Arc::clone(&plan));
    Ok(Rows { plan, present, operation, event_kind, at: head + parsed.images_at, unreadable })
}

impl TransactionBody for Body {
    fn next_part(&mut self) -> Result<Option<Part>> {
        // What is left of the current part is skipped with all events that continue it.
        let skipped = self.rows.take();
        let mut skipped = skipped.as_ref();
        if let Some(part) = self.waiting.pop_front() {
            return Ok(Some(part));
        }
        while let Some(tag) = self.advance()? {
            match self.look(tag)? {
                Look::Nothing => {}
                Look::Part(part) => return Ok(Some(part)),
                Look::Rows(rows) if skipped.is_some_and(|skipped| rows.continues(skipped)) => {}
                Look::Rows(rows) => {
                    let schema = Arc::clone(&rows.plan.schema);
                    let part = Part::Rows { table: schema.name.clone(), schema, operation: rows.operation };
                    self.rows = Some(rows);
                    return Ok(Some(part));
                }
            }
            if skipped.is_some() && !matches!(tag, tag::ROWS | tag::RAW_MAP | tag::RAW_ROWS) {
                skipped = None;
            }
        }
        Ok(None)
    }

    fn next_row(&mut self, sink: &mut dyn RowSink) -> Result<bool> {
        loop {
            let Some(rows) = &mut self.rows else { return Ok(false) };
            if let Some(fault) = rows.unreadable.take() {
                return Err(self.row_error(fault));
            }
            let mut fields = Fields(self.reader.entry().get(rows.at..).unwrap_or_default());
            if !fields.0.is_empty() {
                let read = self.row_reader.read(&rows.present, rows.event_kind, &mut fields, sink);
                let is_last = fields.0.is_empty();
                rows.at = self.reader.entry().len() - fields.0.len();
                if is_last && read.is_ok() {
                    self.reader.release();
                }
                return match read {
                    Ok(()) => Ok(true),
                    Err(fault) => Err(self.row_error(fault)),
                };
            }
            if !self.continue_rows()? {
                return Ok(false);
            }
        }
    }
}

impl Rows {
    fn continues(&self, before: &Self) -> bool {
        Arc::ptr_eq(&self.plan, &before.plan) && self.operation == before.operation
    }
}

impl Body {
    /// Goes to the next row event if it belongs to the part at hand.
    fn continue_rows(&mut self) -> Result<bool> {
        loop {
            let Some(tag) = self.advance()? else { return Ok(false) };
            match tag {
                tag::RAW_MAP => {
                    self.look(tag)?;
                }
                tag::ROWS | tag::RAW_ROWS => match (self.look(tag)?, &self.rows) {
                    (Look::Rows(next), Some(rows)) if next.continues(rows) => {
                        self.rows = Some(next);
                        return Ok(true);
                    }
                    (Look::Nothing, _) => {}
                    _ => {
                        self.pending = Some(tag);
                        return Ok(false);
                    }
                },
                _ => {
                    self.pending = Some(tag);
                    return Ok(false);
                }
            }
        }
    }
}
