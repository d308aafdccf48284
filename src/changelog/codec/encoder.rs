//! Cells in, record bytes out: a [`crate::change::RowSink`] compiled once per shape of a table.
//!
//! Cells become JSON text as they come, in a buffer of the encoder's own; [`Encoder::finish`] lays the images into the batch, with
//! the key before and the envelope behind them. So a row that fails half way leaves no trace in the batch, and nothing is
//! allocated per cell or row once the buffers have grown.

use std::ops::Range;
use std::sync::Arc;

use super::TransactionInfo;
use super::envelope::{Ending, Envelope};
use super::partition::partition_of;
use super::plan::{Format, Plan};
use crate::change::{CellError, ChangePosition, Image, Operation, TableSchema};
use crate::changelog::chain::{Link, Links};
use crate::changelog::{AppendBatch, AppendRecord, Error, Result};
use crate::trial::{Mistake, planted};

/// What a buffer keeps between two rows.
pub(super) const KEPT_BYTES: usize = 1 << 20;
/// A new batch gets as much room as the one before it came to take, up to here.
const BATCH_BYTES_AHEAD: usize = 8 << 20;

/// Encodes the row changes of one table in one shape.
#[derive(Debug)]
pub struct Encoder {
    plan: Plan,
    envelope: Envelope,
    operation: Operation,
    /// The text of both images.
    text: Vec<u8>,
    before: ImageText,
    after: ImageText,
    /// The image that cells go to.
    side: Option<Image>,
    /// The column of the next cell.
    next: usize,
    /// The key of the before image, while it is compared.
    key: Vec<u8>,
    /// Bytes and records of the last batch that was written to: growing the next one to that step by step copies it over and over.
    filled: (usize, usize),
}

/// One image in [`Encoder::text`].
#[derive(Debug, Default)]
struct ImageText {
    range: Range<usize>,
    /// Where the key's cells are, in the key's order.
    key: Vec<Range<usize>>,
    /// Columns that hold a zero date.
    zero_dates: Vec<usize>,
}

/// Which of the two images a record has.
struct Shown {
    operation: Operation,
    before: bool,
    after: bool,
}

impl Encoder {
    /// Compiles the encoder. `source_name` is the source's name in the YAML.
    pub fn new(schema: &TableSchema, source_name: &str) -> Self {
        let image = || ImageText { key: vec![0..0; schema.key.len()], ..ImageText::default() };
        Self {
            plan: Plan::new(schema),
            envelope: Envelope::new(schema, source_name),
            operation: Operation::Create,
            text: Vec::new(),
            before: image(),
            after: image(),
            side: None,
            next: 0,
            key: Vec::new(),
            filled: (0, 0),
        }
    }

    /// Begins a row change; what is left of an unfinished one is forgotten.
    pub fn start(&mut self, operation: Operation) {
        self.operation = operation;
        self.text.clear();
        self.side = None;
        self.next = 0;
        for image in [&mut self.before, &mut self.after] {
            image.range = 0..0;
            image.zero_dates.clear();
        }
    }

    /// Appends the record of the row change, or the two of an update that changed the key, unless `links` knows that the log has
    /// them; how many ordinals they use (1 or 2), whether or not they were appended.
    ///
    /// # Errors
    /// [`Error::Cell`] if the images are not complete or not those of the operation: the batch is as it was.
    pub fn finish(
        &mut self,
        info: &TransactionInfo<'_>,
        ordinal: u64,
        links: &mut Links,
        batch: &mut AppendBatch,
    ) -> Result<u64> {
        let used = self.lay_down(info, ordinal, links, batch);
        // A huge row is in the batch now, or nowhere.
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES);
        used
    }

    fn lay_down(&mut self, info: &TransactionInfo<'_>, ordinal: u64, links: &mut Links, batch: &mut AppendBatch) -> Result<u64> {
        let position = ChangePosition { transaction: info.start, ordinal };
        self.complete().map_err(|source| Error::Cell { topic: batch.topic.clone(), position, source })?;
        self.envelope.compile(info);
        let one = |operation, before, after| Shown { operation, before, after };
        match self.operation {
            Operation::Create => self.append(&one(Operation::Create, false, true), position, links, batch)?,
            Operation::Delete => self.append(&one(Operation::Delete, true, false), position, links, batch)?,
            Operation::Update if !self.key_changed() => {
                self.append(&one(Operation::Update, true, true), position, links, batch)?;
            }
            Operation::Update => {
                let second = ChangePosition { ordinal: ordinal + 1, ..position };
                if planted(Mistake::KeyUpdateLeftOut) && links.holds(0, position) {
                    return Ok(2);
                }
                if planted(Mistake::KeyUpdateRepeated) && links.holds(0, position) && !links.holds(0, second) {
                    links.forget(0);
                }
                self.append(&one(Operation::Delete, true, false), position, links, batch)?;
                self.append(&one(Operation::Create, false, true), second, links, batch)?;
                return Ok(2);
            }
            Operation::Truncate | Operation::Schema => unreachable_operation(position, batch)?,
        }
        Ok(1)
    }

    /// Appends a truncate or schema record, unless `links` knows that the log has it; it uses one ordinal.
    ///
    /// # Errors
    /// [`Error::Cell`] for an operation that has images.
    pub fn statement(
        &mut self,
        operation: Operation,
        statement: &str,
        position: (&TransactionInfo<'_>, u64),
        links: &mut Links,
        batch: &mut AppendBatch,
    ) -> Result<u64> {
        let (info, ordinal) = position;
        let position = ChangePosition { transaction: info.start, ordinal };
        if !matches!(operation, Operation::Truncate | Operation::Schema) {
            unreachable_operation(position, batch)?;
        }
        let Some(previous) = link(links, 0, position, batch)? else { return Ok(1) };
        self.envelope.compile(info);
        let from = batch.bytes.len();
        batch.bytes.extend_from_slice(b"{\"before\":null,\"after\":null");
        let ending = Ending { operation, ordinal, statement: Some(statement), zero_before: &[], zero_after: &[] };
        self.envelope.write(&mut batch.bytes, &self.plan, &ending);
        let value = from..batch.bytes.len();
        batch.records.push(AppendRecord {
            partition: 0,
            position,
            previous,
            schema: Arc::clone(&self.plan.schema_id),
            key: from..from,
            value,
        });
        Ok(1)
    }

    fn append(&mut self, shown: &Shown, position: ChangePosition, links: &mut Links, batch: &mut AppendBatch) -> Result<()> {
        let keyed = if shown.after { &self.after } else { &self.before };
        self.key.clear();
        write_key(&mut self.key, &self.plan, &self.text, &keyed.key);
        let partition = partition_of(&self.key, links.partitions());
        let Some(previous) = link(links, partition, position, batch)? else { return Ok(()) };
        if batch.records.is_empty() {
            batch.bytes.reserve(self.filled.0.min(BATCH_BYTES_AHEAD));
            batch.records.reserve(self.filled.1);
        }
        let out = &mut batch.bytes;
        let key = out.len()..out.len() + self.key.len();
        out.extend_from_slice(&self.key);
        out.extend_from_slice(b"{\"before\":");
        write_image(out, &self.text, &self.before, shown.before);
        out.extend_from_slice(b",\"after\":");
        write_image(out, &self.text, &self.after, shown.after);
        let ending = Ending {
            operation: shown.operation,
            ordinal: position.ordinal,
            statement: None,
            zero_before: if shown.before { &self.before.zero_dates } else { &[] },
            zero_after: if shown.after { &self.after.zero_dates } else { &[] },
        };
        self.envelope.write(out, &self.plan, &ending);
        let value = key.end..out.len();
        let schema = Arc::clone(&self.plan.schema_id);
        batch.records.push(AppendRecord { partition, position, previous, schema, key, value });
        self.filled = (batch.bytes.len(), batch.records.len());
        Ok(())
    }

    /// Whether the key's text differs between the images.
    fn key_changed(&self) -> bool {
        let cells = self.before.key.iter().zip(&self.after.key);
        cells.into_iter().any(|(before, after)| self.text[before.clone()] != self.text[after.clone()])
    }

    /// The column that a cell without a column is blamed on.
    fn misplaced(&self, reason: &str) -> CellError {
        let column = self.plan.columns.get(self.next).map_or_else(String::new, |column| column.name.clone());
        CellError { column, reason: reason.to_owned() }
    }

    /// Ends the image before and begins the next.
    pub(super) fn open(&mut self, image: Image) -> std::result::Result<(), CellError> {
        self.close()?;
        let place = match image {
            Image::Before => &mut self.before,
            Image::After => &mut self.after,
        };
        if !place.range.is_empty() {
            return Err(self.misplaced("the image came twice"));
        }
        place.range = self.text.len()..self.text.len();
        self.side = Some(image);
        self.next = 0;
        Ok(())
    }

    /// Remembers that the cell just written stands for a zero date.
    pub(super) fn note_zero_date(&mut self) {
        let image = if self.side == Some(Image::Before) { &mut self.before } else { &mut self.after };
        image.zero_dates.push(self.next.saturating_sub(1));
    }

    /// Ends the current image.
    fn close(&mut self) -> std::result::Result<(), CellError> {
        let Some(side) = self.side else { return Ok(()) };
        if self.next != self.plan.columns.len() {
            return Err(self.misplaced("the image ends before this column"));
        }
        if self.next == 0 {
            self.text.push(b'{');
        }
        self.text.push(b'}');
        let image = match side {
            Image::Before => &mut self.before,
            Image::After => &mut self.after,
        };
        image.range.end = self.text.len();
        self.side = None;
        Ok(())
    }

    /// Ends the row change: every image of the operation must be there, and no other.
    fn complete(&mut self) -> std::result::Result<(), CellError> {
        self.close()?;
        let there = (!self.before.range.is_empty(), !self.after.range.is_empty());
        let needed = match self.operation {
            Operation::Create => (false, true),
            Operation::Update => (true, true),
            Operation::Delete => (true, false),
            Operation::Truncate | Operation::Schema => return Err(self.misplaced("the operation has no images")),
        };
        if there == needed { Ok(()) } else { Err(self.misplaced("the images are not those of the operation")) }
    }

    /// Writes one cell with its column's name before it.
    pub(super) fn cell(
        &mut self,
        write: impl FnOnce(Format, &mut Vec<u8>) -> std::result::Result<(), &'static str>,
    ) -> std::result::Result<(), CellError> {
        let image = match self.side {
            Some(Image::Before) => &mut self.before,
            Some(Image::After) => &mut self.after,
            None => return Err(self.misplaced("a cell before its image")),
        };
        let Some(column) = self.plan.columns.get(self.next) else {
            return Err(self.misplaced("a cell behind the last column"));
        };
        let start = self.text.len();
        self.text.extend_from_slice(&column.open);
        let from = self.text.len();
        if let Err(reason) = write(column.format, &mut self.text) {
            self.text.truncate(start);
            return Err(CellError { column: column.name.clone(), reason: format!("{reason} ({})", column.declared) });
        }
        if let Some(range) = column.in_key.and_then(|index| image.key.get_mut(index)) {
            *range = from..self.text.len();
        }
        self.next += 1;
        Ok(())
    }
}

/// The record's predecessor; None if the log has the record.
fn link(
    links: &mut Links,
    partition: u32,
    position: ChangePosition,
    batch: &AppendBatch,
) -> Result<Option<Option<ChangePosition>>> {
    match links.link(partition, position) {
        Some(Link::Append { previous }) => Ok(Some(previous)),
        Some(Link::Present) => Ok(None),
        None => Err(Error::Missing { topic: batch.topic.clone(), partition: Some(partition) }),
    }
}

fn unreachable_operation(position: ChangePosition, batch: &AppendBatch) -> Result<()> {
    let source = CellError { column: String::new(), reason: "the operation and its images do not belong together".to_owned() };
    Err(Error::Cell { topic: batch.topic.clone(), position, source })
}

fn write_key(out: &mut Vec<u8>, plan: &Plan, text: &[u8], cells: &[Range<usize>]) {
    if cells.is_empty() {
        return;
    }
    for (open, cell) in plan.key_open.iter().zip(cells) {
        out.extend_from_slice(open);
        out.extend_from_slice(&text[cell.clone()]);
    }
    out.push(b'}');
}

fn write_image(out: &mut Vec<u8>, text: &[u8], image: &ImageText, shown: bool) {
    if shown {
        out.extend_from_slice(&text[image.range.clone()]);
    } else {
        out.extend_from_slice(b"null");
    }
}
