//! The part of a merge that takes the processor: decode, lay changes over rows, encode. It does no I/O on the lake and runs in blocking
//! threads, one row group at a time.

use std::collections::VecDeque;

use arrow::array::RecordBatch;

use super::overlay::{Base, Counts, overlay};
use crate::lake::Result;
use crate::lake::batch::Changes;
use crate::lake::by_day::{DayKey, cut_by_day};
use crate::lake::datafile::{Decoded, EncodedRowGroup, PendingRows, StoredRowGroup, encode_row_group, memory_bytes};
use crate::lake::keys::StoredKeys;

/// Decoded rows that were not merged yet.
struct Rows {
    batch: RecordBatch,
    keys: StoredKeys,
    cursor: usize,
}

/// Lays a batch's changes over rows that come in the order of keys.
pub(super) struct Rewriter {
    changes: Changes,
    row_group_bytes: usize,
    decoded: Option<Decoded>,
    rows: Option<Rows>,
    pending: PendingRows,
    /// The day of `pending`, in a mirror that is cut by days.
    day: Option<DayKey>,
    /// What comes behind it, in pieces of one day each.
    later: VecDeque<(Option<DayKey>, RecordBatch)>,
    pub(super) counts: Counts,
}

impl Rewriter {
    pub(super) fn new(changes: Changes, row_group_bytes: usize) -> Self {
        Self {
            changes,
            row_group_bytes: row_group_bytes.max(1),
            decoded: None,
            rows: None,
            pending: PendingRows::default(),
            day: None,
            later: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// What the rows that wait for a row group take in memory.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.bytes() + self.later.iter().map(|(_, rows)| memory_bytes(rows)).sum::<usize>()
    }

    /// The key of the next change; None at the end.
    pub(super) fn next_key(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(self.changes.peek()?.map(<[u8]>::to_vec))
    }

    /// The rows to be merged next; those before must be done.
    pub(super) fn decode(&mut self, group: &StoredRowGroup) -> Result<()> {
        self.decoded = Some(group.decode()?);
        Ok(())
    }

    /// Rows that follow those that wait.
    pub(super) fn push(&mut self, rows: RecordBatch) -> Result<()> {
        self.later.extend(cut_by_day(&self.changes.checker.shape, rows)?);
        self.take_up();
        Ok(())
    }

    /// Lets rows of the day that `pending` has, or of the next one when it has none, go there.
    fn take_up(&mut self) {
        while let Some((day, rows)) = self.later.pop_front_if(|(day, _)| self.pending.is_empty() || *day == self.day) {
            self.day = day;
            self.pending.push(rows);
        }
    }

    /// A row group, when there are rows enough for one, or their day has ended.
    pub(super) fn full(&mut self) -> Result<Option<EncodedRowGroup>> {
        if !self.later.is_empty() {
            return self.flush();
        }
        let full = self.pending.full(self.row_group_bytes);
        full.map(|batches| encode_row_group(&self.changes.checker.shape, &batches)).transpose()
    }

    /// The next row group of what waits; None when nothing does.
    pub(super) fn flush(&mut self) -> Result<Option<EncodedRowGroup>> {
        let rest = self.pending.rest(self.row_group_bytes);
        self.take_up();
        rest.map(|batches| encode_row_group(&self.changes.checker.shape, &batches)).transpose()
    }

    /// Merges the decoded rows with the changes below `bound` until a row group is full; None when all of them are merged.
    pub(super) fn merge(&mut self, bound: Option<&[u8]>) -> Result<Option<EncodedRowGroup>> {
        loop {
            if let Some(group) = self.full()? {
                return Ok(Some(group));
            }
            if !self.step(bound)? {
                return Ok(None);
            }
        }
    }

    /// Merges some rows with some changes. Both sides go up to the same key, so that neither gets ahead of the other.
    fn step(&mut self, bound: Option<&[u8]>) -> Result<bool> {
        self.load_rows()?;
        let more = self.changes.peek()?.is_some();
        let (frame, from, step_rows) = self.changes.at_hand();
        let below = if more { frame.count(from, |key| bound.is_none_or(|bound| key < bound)) } else { 0 };
        let wanted = below.min(step_rows);
        let Some(rows) = self.rows.as_mut() else {
            if wanted == 0 {
                return Ok(false);
            }
            let merged = overlay(&self.changes.checker, None, frame, from..from + wanted, &mut self.counts)?;
            self.changes.advance(wanted);
            self.push(merged)?;
            return Ok(true);
        };
        let last = rows.keys.last().unwrap_or_default();
        let taken = frame.count(from, |key| key <= last).min(wanted);
        let next_is_above = frame.len() > from + wanted && frame.key(from + wanted) > last;
        let end = if taken < wanted || wanted == 0 || next_is_above {
            rows.keys.len()
        } else {
            // More changes of these rows may come with the next frame: go only as far as the changes at hand.
            let mut behind = frame.key(from + taken - 1).to_vec();
            behind.push(0);
            rows.cursor + rows.keys.below(rows.cursor, Some(&behind))
        };
        let base = Base { batch: &rows.batch, keys: &rows.keys, rows: rows.cursor..end };
        let merged = overlay(&self.changes.checker, Some(base), frame, from..from + taken, &mut self.counts)?;
        rows.cursor = end;
        if rows.cursor == rows.keys.len() {
            self.rows = None;
        }
        self.changes.advance(taken);
        self.push(merged)?;
        Ok(true)
    }

    fn load_rows(&mut self) -> Result<()> {
        while self.rows.is_none() {
            let Some(decoded) = self.decoded.as_mut() else { return Ok(()) };
            match decoded.next_batch()? {
                Some((batch, keys)) if !keys.is_empty() => self.rows = Some(Rows { batch, keys, cursor: 0 }),
                Some(_) => {}
                None => self.decoded = None,
            }
        }
        Ok(())
    }
}
