//! Many changes of a key become one: what the first expected, and what the last left behind.
//!
//! In between each change must fit the one before it. The first unchecked change of a key makes all that follow it certain, whatever the
//! mirror held: an upsert or a delete leaves a known row behind. So a chain that an exact change continues is compared in any case.

use arrow::array::RecordBatch;

use super::compare::{Checker, Pair, row_of};
use super::frame::{Change, Expect, Frame};
use crate::lake::Result;
use crate::lake::columns::row_text;
use crate::trial::{Mistake, planted};

/// Sorts changes that are in the order of time by key, and leaves one per key.
///
/// # Errors
/// [`crate::lake::Error::Divergence`] when a change does not fit the one before it.
pub(crate) fn collapse(mut frame: Frame, checker: &Checker) -> Result<Frame> {
    frame.sort();
    let distinct = (1..frame.len()).all(|index| frame.key(index - 1) != frame.key(index));
    if distinct {
        return Ok(frame);
    }
    let mut net: Vec<Change> = Vec::with_capacity(frame.len());
    let mut pairs: Vec<Pair> = Vec::new();
    for (index, change) in frame.changes.iter().enumerate() {
        let same_key = index > 0 && frame.key(index - 1) == frame.key(index);
        match net.last_mut() {
            Some(last) if same_key => {
                pairs.extend(follow(&frame, last, index, change, checker)?);
                if !planted(Mistake::OlderOverNewer) {
                    last.after = change.after;
                }
            }
            _ => net.push(*change),
        }
    }
    checker.compare(&frame, &frame.after, &pairs)?;
    frame.changes = net;
    Ok(frame)
}

/// Checks that `change` fits what `last` left behind; the rows that are still to be compared.
fn follow(frame: &Frame, last: &Change, index: usize, change: &Change, checker: &Checker) -> Result<Option<Pair>> {
    let there = |batches: &[RecordBatch]| row_of(batches, last.after).map(|(batch, row)| row_text(batch, row));
    match (change.expect, last.after) {
        (Expect::Unchecked, _) | (Expect::Absent, None) => Ok(None),
        (Expect::Absent, Some(_)) | (Expect::Present, None) => Err(checker.divergence(frame, change, there(&frame.after))),
        (Expect::Present, Some(found)) => {
            let compared = change.before.filter(|_| checker.compares_rows());
            Ok(compared.map(|expected| Pair { change: index, expected, found }))
        }
    }
}
