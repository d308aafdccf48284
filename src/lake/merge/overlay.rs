//! Net changes laid over a stretch of rows: both in the order of keys, the result too.

use std::cmp::Ordering;
use std::ops::Range;

use arrow::array::RecordBatch;

use crate::lake::Result;
use crate::lake::batch::{Checker, Expect, Frame, Pair, RowAt, gather};
use crate::lake::columns::row_text;
use crate::lake::keys::StoredKeys;

/// What a merge did to rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) inserted: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
}

/// Rows that are there, a stretch of a batch.
pub(super) struct Base<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) keys: &'a StoredKeys,
    pub(super) rows: Range<usize>,
}

/// The rows afterwards. Every row and every change is in the result or was dropped by a change of its key; what an exact change expects is
/// compared with the row that is there.
///
/// # Errors
/// [`crate::lake::Error::Divergence`] when a change does not fit.
pub(super) fn overlay(
    checker: &Checker,
    base: Option<Base<'_>>,
    frame: &Frame,
    changes: Range<usize>,
    counts: &mut Counts,
) -> Result<RecordBatch> {
    if let (Some(base), true) = (&base, changes.is_empty()) {
        return Ok(base.batch.slice(base.rows.start, base.rows.len()));
    }
    let mut sources: Vec<RecordBatch> = base.iter().map(|base| base.batch.clone()).collect();
    let shift = sources.len() as u32;
    sources.extend(frame.after.iter().cloned());
    let mut rows = base.as_ref().map_or(0..0, |base| base.rows.clone());
    let mut picked: Vec<RowAt> = Vec::with_capacity(rows.len() + changes.len());
    let mut pairs: Vec<Pair> = Vec::new();
    for index in changes {
        let Some(change) = frame.changes.get(index) else { break };
        let key = frame.key(index);
        let mut found: Option<RowAt> = None;
        while let (Some(base), true) = (&base, !rows.is_empty()) {
            let at = RowAt { batch: 0, row: rows.start as u32 };
            match base.keys.get(rows.start).cmp(key) {
                Ordering::Less => picked.push(at),
                Ordering::Equal => found = Some(at),
                Ordering::Greater => break,
            }
            rows.start += 1;
        }
        match (change.expect, found, &base) {
            (Expect::Absent, Some(at), Some(base)) => {
                return Err(checker.divergence(frame, change, Some(row_text(base.batch, at.row as usize))));
            }
            (Expect::Present, None, _) => return Err(checker.divergence(frame, change, None)),
            (Expect::Present, Some(found), _) if checker.compares_rows() => {
                pairs.extend(change.before.map(|expected| Pair { change: index, expected, found }));
            }
            _ => {}
        }
        match (found, change.after) {
            (None, Some(_)) => counts.inserted += 1,
            (Some(_), Some(_)) => counts.updated += 1,
            (Some(_), None) => counts.deleted += 1,
            (None, None) => {}
        }
        picked.extend(change.after.map(|at| RowAt { batch: at.batch + shift, row: at.row }));
    }
    picked.extend(rows.map(|row| RowAt { batch: 0, row: row as u32 }));
    checker.compare(frame, &sources, &pairs)?;
    gather(&checker.shape, &sources, &picked)
}
