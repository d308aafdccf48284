//! What is read of a partition at once, and whether it begins within what is there.

use super::{Error, Result};
use crate::change::LogOffset;

/// Records of `[from, until)` of a partition, about `bytes_max` at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) from: LogOffset,
    pub(super) until: LogOffset,
    pub(super) bytes_max: usize,
}

impl Range {
    /// # Errors
    /// [`Error::Lost`] when it begins before the first offset that is left, [`Error::Broken`] when behind the end: `shorter` says how that
    /// can be.
    pub(super) fn check_start(&self, first: LogOffset, end: LogOffset, shorter: impl FnOnce(LogOffset) -> String) -> Result<()> {
        let (topic, partition, from) = (self.topic.clone(), self.partition, self.from);
        if from < first {
            return Err(Error::Lost { topic, partition, from, first });
        }
        if from > end {
            return Err(Error::Broken { topic, partition, offset: from, reason: shorter(end) });
        }
        Ok(())
    }
}

/// Why a log of one daemon's own ends before what was taken of it.
pub(super) fn replaced(end: LogOffset) -> String {
    format!("the log ends at {end}: it was replaced by an older one")
}
