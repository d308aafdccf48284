//! What `status` says of the cost of keeping a lake table up: bytes written for those that change, and the time that commits take.

use binlake::lake::Committed;
use serde::Serialize;

/// The last commits of a lake table that had changes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    commits: usize,
    /// Rows inserted, updated and deleted.
    rows: u64,
    /// Bytes of the files that were written.
    bytes: u64,
    /// Bytes written for each byte that changed.
    amplification: Option<f64>,
    /// The part of the time that commits took.
    busy: Option<f64>,
}

/// That a lake table is about to fall behind, if it is, and what helps.
pub(super) fn warning(committed: &Committed) -> Option<String> {
    committed.strained().map(|strained| {
        format!("{strained}; a longer `lake.commit.interval` writes less often for the same changes, `mode: changelog` and `binlake rebuild` copies nothing")
    })
}

impl Report {
    pub(super) fn of(committed: &Committed) -> Self {
        Self {
            commits: committed.recent.len(),
            rows: committed.recent.iter().map(|effort| effort.rows).sum(),
            bytes: committed.recent.iter().map(|effort| effort.bytes).sum(),
            amplification: committed.write_amplification(),
            busy: committed.busy(),
        }
    }

    /// Behind what else the table's line says.
    pub(super) fn in_line(&self) -> String {
        self.amplification.map_or_else(String::new, |amplification| format!("  writes {amplification:.1}x"))
    }
}
