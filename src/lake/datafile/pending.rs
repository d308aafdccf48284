//! Rows that wait until they make a row group.

use arrow::array::{Array, RecordBatch};

/// What the rows of a batch take in memory; of a slice, its own part.
pub(crate) fn memory_bytes(batch: &RecordBatch) -> usize {
    let column_bytes = |column: &arrow::array::ArrayRef| {
        // A type whose slices cannot be measured counts in full: an estimate, never a reason to fail.
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(column_bytes).sum()
}

/// Rows in order, with their size.
#[derive(Debug, Default)]
pub(crate) struct PendingRows {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl PendingRows {
    pub(crate) fn push(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.rows += batch.num_rows();
            // At least a byte a row, so that rows are never taken for nothing.
            self.bytes += memory_bytes(&batch).max(batch.num_rows());
            self.batches.push(batch);
        }
    }

    /// What the rows take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The first rows, about `bytes` of them and at least one; all of them when there are not many more.
    pub(crate) fn cut(&mut self, bytes: usize) -> Vec<RecordBatch> {
        let share = (self.rows as u128 * bytes as u128).checked_div(self.bytes as u128);
        let wanted = share.map_or(self.rows, |rows| (rows as usize).clamp(1, self.rows.max(1)));
        let mut cut = Vec::new();
        let mut missing = wanted;
        let mut rest = Vec::new();
        for batch in std::mem::take(&mut self.batches) {
            let taken = missing.min(batch.num_rows());
            missing -= taken;
            if taken > 0 {
                cut.push(batch.slice(0, taken));
            }
            if taken < batch.num_rows() {
                rest.push(batch.slice(taken, batch.num_rows() - taken));
            }
        }
        self.rows = 0;
        self.bytes = 0;
        rest.into_iter().for_each(|batch| self.push(batch));
        cut
    }

    /// The next row group of about `target` bytes, when there is more than enough for one.
    pub(crate) fn full(&mut self, target: usize) -> Option<Vec<RecordBatch>> {
        (self.bytes >= target.saturating_mul(2)).then(|| self.cut(target))
    }

    /// A last row group, when there is anything: all of it, or the first half when all would be far over `target`.
    pub(crate) fn rest(&mut self, target: usize) -> Option<Vec<RecordBatch>> {
        match self.bytes {
            _ if self.is_empty() => None,
            bytes if bytes > target.saturating_add(target / 2) => Some(self.cut(bytes.div_ceil(2))),
            _ => {
                self.rows = 0;
                self.bytes = 0;
                Some(std::mem::take(&mut self.batches))
            }
        }
    }
}
