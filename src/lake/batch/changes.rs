//! A closed batch as its reader sees it: net changes in the order of keys, one frame at a time.

use super::compare::Checker;
use super::frame::Frame;
use super::raw::RawChanges;
use super::spill::{RunsMerge, Spilled};
use crate::lake::Result;

enum Stage {
    /// Nothing read yet: runs, and what was in memory.
    Closed(Box<(Spilled, RawChanges)>),
    Open(Box<RunsMerge>),
    Done,
}

/// The net changes of a batch. Reading works on files and sorts: it belongs into a blocking thread.
pub(crate) struct Changes {
    pub(crate) checker: Checker,
    /// The batch emptied the table before these changes.
    pub(crate) cleared: bool,
    stage: Stage,
    frame: Frame,
    cursor: usize,
    step_rows: usize,
}

impl Changes {
    pub(super) fn new(checker: Checker, spilled: Spilled, memory: RawChanges, cleared: bool) -> Self {
        let stage = Stage::Closed(Box::new((spilled, memory)));
        Self { checker, cleared, stage, frame: Frame::default(), cursor: 0, step_rows: 1 }
    }

    /// The key of the next change; None at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<&[u8]>> {
        while self.cursor >= self.frame.len() {
            let mut merge = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Closed(parts) => {
                    let (spilled, memory) = *parts;
                    Box::new(spilled.merge(&self.checker, memory.into_frame(&self.checker.shape)?)?)
                }
                Stage::Open(merge) => merge,
                Stage::Done => return Ok(None),
            };
            self.cursor = 0;
            // The old frame goes before the next one comes.
            self.frame = Frame::default();
            let Some(frame) = merge.next_frame(&self.checker)? else { continue };
            self.step_rows = frame.step_rows();
            self.frame = frame;
            self.stage = Stage::Open(merge);
        }
        Ok(Some(self.frame.key(self.cursor)))
    }

    /// The frame that holds the next changes, from which place on, and how many to take at once.
    pub(crate) fn at_hand(&self) -> (&Frame, usize, usize) {
        (&self.frame, self.cursor, self.step_rows)
    }

    /// So many changes were taken.
    pub(crate) fn advance(&mut self, count: usize) {
        self.cursor += count;
    }
}
