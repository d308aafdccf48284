//! A stretch of changes: what each expects of the row before it, and the row it leaves behind.

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::error::ArrowError;

use crate::change::ChangePosition;
use crate::lake::columns::Shape;
use crate::lake::datafile::memory_bytes;
use crate::lake::keys::{StoredKeys, key_order};
use crate::lake::{Error, Result};

/// Rows are gathered in pieces of about so many bytes.
const STEP_BYTES: usize = 2 << 20;
const STEP_ROWS_MAX: usize = 8192;

/// What a change says about the row before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Nothing: the mirror was not exact yet, and the log heals it (promise 2).
    Unchecked,
    /// There is no row.
    Absent,
    /// There is one, and it is the before image.
    Present,
}

/// A row in a list of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowAt {
    pub(crate) batch: u32,
    pub(crate) row: u32,
}

/// One change of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Which of the frame's keys.
    pub(crate) key: u32,
    pub(crate) expect: Expect,
    /// Where the change stands whose expectation this is.
    pub(crate) position: ChangePosition,
    /// Its before image.
    pub(crate) before: Option<RowAt>,
    /// The row afterwards; None when it is gone.
    pub(crate) after: Option<RowAt>,
}

/// Changes with their keys and images.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    pub(crate) keys: StoredKeys,
    pub(crate) changes: Vec<Change>,
    pub(crate) before: Vec<RecordBatch>,
    pub(crate) after: Vec<RecordBatch>,
}

impl Frame {
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Adds a change under its key.
    pub(crate) fn push(&mut self, key: &[u8], change: Change) {
        let number = self.keys.len() as u32;
        self.keys.push(key);
        self.changes.push(Change { key: number, ..change });
    }

    /// The stored key of a change.
    pub(crate) fn key(&self, index: usize) -> &[u8] {
        self.changes.get(index).map_or(&[], |change| self.keys.get(change.key as usize))
    }

    pub(crate) fn last_key(&self) -> Option<&[u8]> {
        self.len().checked_sub(1).map(|last| self.key(last))
    }

    /// How many changes from `from` on have a key that `belongs`; those that do stand before those that do not.
    pub(crate) fn count(&self, from: usize, belongs: impl Fn(&[u8]) -> bool) -> usize {
        let rest = self.changes.get(from..).unwrap_or_default();
        rest.partition_point(|change| belongs(self.keys.get(change.key as usize)))
    }

    /// Puts the changes in the order of their keys, and of time within a key; they must be in the order of time.
    pub(crate) fn sort(&mut self) {
        let pairs = || (1..self.len()).map(|index| (self.key(index - 1), self.key(index)));
        if pairs().all(|(before, after)| before <= after) {
            return;
        }
        let mut of_changes = StoredKeys::default();
        (0..self.len()).for_each(|index| of_changes.push(self.key(index)));
        let order = key_order(&of_changes, self.len());
        self.changes = order.into_iter().filter_map(|index| self.changes.get(index as usize).copied()).collect();
    }

    /// How many changes to take at once, so that their rows are about [`STEP_BYTES`].
    pub(crate) fn step_rows(&self) -> usize {
        let rows: usize = self.after.iter().map(RecordBatch::num_rows).sum();
        let bytes: usize = self.after.iter().map(memory_bytes).sum();
        (rows * STEP_BYTES).checked_div(bytes).unwrap_or(STEP_ROWS_MAX).clamp(1, STEP_ROWS_MAX)
    }

    /// Adds the changes `range` of another frame, which come later in time.
    pub(crate) fn append(&mut self, other: &Self, range: std::ops::Range<usize>) {
        let (before, after) = (self.before.len() as u32, self.after.len() as u32);
        let moved = |row: RowAt, by: u32| RowAt { batch: row.batch + by, row: row.row };
        for index in range {
            let Some(change) = other.changes.get(index) else { break };
            let (before, after) = (change.before.map(|row| moved(row, before)), change.after.map(|row| moved(row, after)));
            self.push(other.key(index), Change { before, after, ..*change });
        }
        self.before.extend(other.before.iter().cloned());
        self.after.extend(other.after.iter().cloned());
    }
}

/// One column of some rows, in the order of `rows`.
pub(crate) fn gather_column(
    batches: &[RecordBatch],
    column: usize,
    rows: &[RowAt],
) -> std::result::Result<arrow::array::ArrayRef, ArrowError> {
    match batches {
        [only] => take(only.column(column), &UInt32Array::from_iter_values(rows.iter().map(|row| row.row)), None),
        many => {
            let arrays: Vec<&dyn Array> = many.iter().map(|batch| batch.column(column).as_ref()).collect();
            let places: Vec<(usize, usize)> = rows.iter().map(|row| (row.batch as usize, row.row as usize)).collect();
            interleave(&arrays, &places)
        }
    }
}

/// Some rows of some batches as one batch.
pub(crate) fn gather(shape: &Shape, batches: &[RecordBatch], rows: &[RowAt]) -> Result<RecordBatch> {
    let schema = shape.arrow_schema();
    if rows.is_empty() {
        return Ok(RecordBatch::new_empty(schema));
    }
    let columns =
        (0..schema.fields().len()).map(|column| gather_column(batches, column, rows)).collect::<std::result::Result<_, _>>();
    columns.and_then(|columns| RecordBatch::try_new(schema, columns)).map_err(|error| broken(shape, &error))
}

/// An Arrow kernel refused what only our own code made.
pub(crate) fn broken(shape: &Shape, error: &dyn std::fmt::Display) -> Error {
    shape.value_error(format!("rows cannot be put together: {error}"), "report this as a bug of binlake")
}
