//! Changes as they came, in the order of time, before their keys are known.

use arrow::array::RecordBatch;

use super::frame::{Change, Expect, Frame, RowAt};
use crate::change::{ChangePosition, Operation};
use crate::lake::Result;
use crate::lake::columns::Shape;
use crate::lake::keys::stored_keys;
use crate::trial::{Mistake, planted};

/// A change as it came: which rows of the builders are its images.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawChange {
    pub(super) operation: Operation,
    pub(super) exact: bool,
    pub(super) position: ChangePosition,
    pub(super) before: Option<u32>,
    pub(super) after: Option<u32>,
}

/// What a batch holds in memory.
#[derive(Debug)]
pub(super) struct RawChanges {
    pub(super) before: RecordBatch,
    pub(super) after: RecordBatch,
    pub(super) changes: Vec<RawChange>,
}

impl RawChanges {
    /// The changes with their keys, in the order of time.
    pub(super) fn into_frame(self, shape: &Shape) -> Result<Frame> {
        let (before_keys, after_keys) = (stored_keys(shape, &self.before)?, stored_keys(shape, &self.after)?);
        let mut frame = Frame::default();
        for raw in self.changes {
            let at = |row: Option<u32>| row.map(|row| RowAt { batch: 0, row });
            let expect = match (raw.exact, raw.before) {
                (false, _) => Expect::Unchecked,
                (true, None) => Expect::Absent,
                (true, Some(_)) => Expect::Present,
            };
            let change = Change { key: 0, expect, position: raw.position, before: at(raw.before), after: at(raw.after) };
            let keys = (raw.before.map(|row| before_keys.get(row as usize)), raw.after.map(|row| after_keys.get(row as usize)));
            match keys {
                // An update that moves its row to another key, or another day, is a delete here and a create there.
                (Some(old), Some(new)) if old != new => {
                    if !planted(Mistake::MovedRowStays) {
                        frame.push(old, Change { after: None, ..change });
                    }
                    let expect = if raw.exact { Expect::Absent } else { Expect::Unchecked };
                    frame.push(new, Change { expect, before: None, ..change });
                }
                (old, new) => frame.push(new.or(old).unwrap_or_default(), change),
            }
        }
        frame.before.push(self.before);
        frame.after.push(self.after);
        Ok(frame)
    }
}
