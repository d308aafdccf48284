//! Promise 11: what a change expects against what is there, column by column over many rows at once.
//!
//! Values are equal when their bits are: floats are compared by their bits too. VIRTUAL generated columns stay out of it, since what they
//! show may depend on the session that wrote the row.

use arrow::array::RecordBatch;
use arrow::compute::kernels::cmp::not_distinct;

use super::frame::{Change, Frame, RowAt, broken, gather_column};
use crate::lake::columns::{Shape, key_text, row_text};
use crate::lake::keys::to_hex;
use crate::lake::{Check, Error, Result};

const NO_ROW: &str = "no row";

/// Pairs of rows are compared so many at a time.
const COMPARE_ROWS: usize = 4096;

/// Compares, and says what differs.
#[derive(Debug, Clone)]
pub(crate) struct Checker {
    pub(crate) shape: Shape,
    pub(crate) check: Check,
}

/// A before image to be compared with the row that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    /// The change, by its place in the frame.
    pub(crate) change: usize,
    /// Its before image.
    pub(crate) expected: RowAt,
    /// The row that is there.
    pub(crate) found: RowAt,
}

impl Checker {
    /// Whether before images are compared, not only keys.
    pub(crate) fn compares_rows(&self) -> bool {
        self.check == Check::Rows
    }

    /// Compares the before images of `frame` with rows of `there`.
    pub(crate) fn compare(&self, frame: &Frame, there: &[RecordBatch], pairs: &[Pair]) -> Result<()> {
        for pairs in pairs.chunks(COMPARE_ROWS) {
            if let Some(different) =
                self.first_difference(&frame.before, there, pairs).map_err(|error| broken(&self.shape, &error))?
            {
                let Some(change) = frame.changes.get(different.change) else { continue };
                let found = row_of(there, Some(different.found)).map(|(batch, row)| row_text(batch, row));
                return Err(self.divergence(frame, change, found));
            }
        }
        Ok(())
    }

    fn first_difference(
        &self,
        before: &[RecordBatch],
        there: &[RecordBatch],
        pairs: &[Pair],
    ) -> std::result::Result<Option<Pair>, arrow::error::ArrowError> {
        let expected: Vec<RowAt> = pairs.iter().map(|pair| pair.expected).collect();
        let found: Vec<RowAt> = pairs.iter().map(|pair| pair.found).collect();
        let mut first: Option<usize> = None;
        for column in self.shape.compared() {
            let expected = gather_column(before, *column, &expected)?;
            let found = gather_column(there, *column, &found)?;
            let same = not_distinct(&expected, &found)?;
            if same.true_count() < pairs.len() {
                let different = same.values().iter().position(|same| !same);
                first = first.into_iter().chain(different).min();
            }
        }
        Ok(first.and_then(|index| pairs.get(index).copied()))
    }

    /// A change that does not fit what is there; `found` is the row there as text.
    pub(crate) fn divergence(&self, frame: &Frame, change: &Change, found: Option<String>) -> Error {
        let before = row_of(&frame.before, change.before);
        let key = before
            .or_else(|| row_of(&frame.after, change.after))
            .map_or_else(|| to_hex(frame.keys.get(change.key as usize)), |(batch, row)| key_text(&self.shape, batch, row));
        let no_row = || NO_ROW.to_owned();
        Error::Divergence {
            table: self.shape.table().to_owned(),
            position: change.position,
            key,
            expected: before.map_or_else(no_row, |(batch, row)| row_text(batch, row)),
            found: found.unwrap_or_else(no_row),
        }
    }
}

/// A row's batch and place in it.
pub(crate) fn row_of(batches: &[RecordBatch], at: Option<RowAt>) -> Option<(&RecordBatch, usize)> {
    at.and_then(|at| batches.get(at.batch as usize).map(|batch| (batch, at.row as usize)))
}
