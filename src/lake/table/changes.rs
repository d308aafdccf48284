//! Changes as rows: what a changelog table gets from each record. An update is its after image, a delete its before image, a
//! truncate a row of NULLs.

use std::collections::BTreeMap;

use super::days::Days;
use crate::change::row::pass_cells;
use crate::change::{CellError, Image, LogOffset, Operation, RecordHead, RowSink};
use crate::lake::columns::{ChangeColumns, RowsBuilder, Shape};
use crate::lake::log::record::RowCounts;
use crate::lake::{ChangeSink, Error, Result};

/// Days with rows in memory at a time.
const DAYS_OPEN: usize = 16;

/// The open batch of a changelog table: rows by day.
#[derive(Debug)]
pub(crate) struct ChangeRows {
    shape: Shape,
    days: Days,
    /// The day of the last change, and its rows: cells go here without a look-up.
    day: String,
    rows: RowsBuilder,
    /// The other days of this batch.
    others: BTreeMap<String, RowsBuilder>,
    /// The image that becomes a row.
    wanted: Option<Image>,
    /// Whether the cells that come belong to it.
    passing: bool,
    changes: u64,
    counts: RowCounts,
    zero_dates: BTreeMap<String, u64>,
}

impl ChangeRows {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            days: Days::of(shape),
            rows: RowsBuilder::new(shape),
            shape: shape.clone(),
            day: String::new(),
            others: BTreeMap::new(),
            wanted: None,
            passing: false,
            changes: 0,
            counts: RowCounts::default(),
            zero_dates: BTreeMap::new(),
        }
    }

    /// Bytes held in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.others.values().map(RowsBuilder::memory_bytes).sum::<usize>()
    }

    /// Whether the batch has so many days that their builders weigh more than their rows.
    pub(crate) fn is_scattered(&self) -> bool {
        self.others.len() >= DAYS_OPEN
    }

    /// Changes since the batch was opened.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The rows so far, by day; the sink has none afterwards, but still counts them.
    pub(crate) fn take(&mut self) -> Vec<(String, RowsBuilder)> {
        let current = std::mem::replace(&mut self.rows, RowsBuilder::new(&self.shape));
        let day = std::mem::take(&mut self.day);
        let mut days = std::mem::take(&mut self.others);
        days.insert(day, current);
        let days: Vec<_> = days.into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
        for (column, count) in days.iter().flat_map(|(_, rows)| rows.zero_dates()) {
            *self.zero_dates.entry(column).or_default() += count;
        }
        days
    }

    /// What came since the batch was opened; a new one is open afterwards.
    pub(crate) fn close(&mut self) -> (RowCounts, BTreeMap<String, u64>) {
        self.changes = 0;
        (std::mem::take(&mut self.counts), std::mem::take(&mut self.zero_dates))
    }

    fn turn_to(&mut self, committed_us: i64) -> Result<()> {
        let day = self.days.day(committed_us)?;
        if day != self.day {
            let rows = self.others.remove(day).unwrap_or_else(|| RowsBuilder::new(&self.shape));
            let before = std::mem::replace(&mut self.rows, rows);
            let before_day = std::mem::replace(&mut self.day, day.to_owned());
            if !before.is_empty() {
                self.others.insert(before_day, before);
            }
        }
        Ok(())
    }

    fn refused(&self, error: CellError) -> Error {
        Error::Value {
            table: self.shape.table().to_owned(),
            reason: error.to_string(),
            remedy: "run `binlake rebuild` for it once the cause is mended".to_owned(),
        }
    }

    fn pass(
        &mut self,
        cell: impl FnOnce(&mut RowsBuilder) -> std::result::Result<(), CellError>,
    ) -> std::result::Result<(), CellError> {
        match self.passing {
            true => cell(&mut self.rows),
            false => Ok(()),
        }
    }
}

impl ChangeSink for ChangeRows {
    fn begin(&mut self, head: &RecordHead, _offset: LogOffset, _exact: bool) -> Result<()> {
        let count = match head.operation {
            Operation::Create => Some((Image::After, &mut self.counts.inserted)),
            Operation::Update => Some((Image::After, &mut self.counts.updated)),
            Operation::Delete => Some((Image::Before, &mut self.counts.deleted)),
            Operation::Truncate => None,
            Operation::Schema => {
                let error = CellError { column: String::new(), reason: "a schema record is no change of rows".to_owned() };
                return Err(self.refused(error));
            }
        };
        self.wanted = count.map(|(image, count)| {
            *count += 1;
            image
        });
        self.passing = false;
        self.turn_to(head.committed_us)?;
        let columns = ChangeColumns {
            operation: head.operation.letter(),
            committed_ms: Some(head.committed_us.div_euclid(1000)),
            gtid: head.gtid.as_deref(),
            file: Some(&head.file),
            position: head.position.transaction.offset,
            row: head.position.ordinal,
        };
        let null_row = head.operation == Operation::Truncate;
        let taken = self.rows.change(&columns).and_then(|()| if null_row { self.rows.null_row() } else { Ok(()) });
        taken.map_err(|error| self.refused(error))
    }

    fn end(&mut self) -> Result<()> {
        let missing = self.wanted.take();
        self.passing = false;
        if missing.is_some() {
            return Err(self.refused(CellError { column: String::new(), reason: "a change came without its row".to_owned() }));
        }
        self.changes += 1;
        Ok(())
    }
}

impl RowSink for ChangeRows {
    fn image(&mut self, image: Image) -> std::result::Result<(), CellError> {
        self.passing = self.wanted == Some(image);
        if self.passing {
            self.wanted = None;
        }
        self.pass(|rows| rows.image(image))
    }

    pass_cells!();
}
