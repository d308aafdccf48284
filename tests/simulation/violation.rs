//! What a run may find to be wrong, by name.

use std::fmt;

/// A promise that a run holds the daemons to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// A published mirror is not what the source's table was at the mirror's own position.
    MirrorDiffers,
    /// A changelog table lacks a change that lies below its position.
    ChangelogGap,
    /// A changelog table holds a change, or a snapshot row, twice, or one that does not lie between its bounds.
    ChangelogDuplicate,
    /// A change stands in a changelog table with another content or in another order than it was made.
    ChangelogDiffers,
    /// The snapshot's rows with the changes laid over them are not the table.
    SnapshotDiffers,
    /// A day of a mirror is not what the source's table was when it ended.
    DayDiffers,
    /// A day that ended while its table was kept is not there.
    DayMissing,
    /// A file is gone that a reader may still hold.
    ReaderLostFile,
    /// A data file's content changed, or what a commit names cannot be read.
    FileDamaged,
    /// More files than the table's size explains.
    FilesUnbounded,
    /// What nobody needs was not removed.
    FilesLeft,
    /// A writer that slept until its place in the log had expired goes on with a table that is another's by now.
    SuspendedWriterActs,
    /// Readers were sent to an older state than they had seen.
    WentBack,
    /// A metastore shows what no commit was, or one that readers are not to see.
    ShownTorn,
    /// A commit names a position that is no boundary between two transactions.
    PositionTorn,
    /// What the lake's own reader says is not what its log says.
    ReaderDiffers,
    /// A table stands still without a reason that the world gave.
    UnexpectedPark,
    /// A daemon gave up without a reason that the world gave.
    UnexpectedStop,
    /// The faults ended, and the tables do not come to the server's end.
    NotCaughtUp,
    /// The program broke.
    Panicked,
}

/// The first thing that was found to be wrong in a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub invariant: Invariant,
    pub seed: u64,
    pub step: u64,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, step {}: {:?}", self.seed, self.step, self.invariant)?;
        writeln!(f, "{}", self.detail)?;
        write!(f, "replay: SIMULATION_SEED={} cargo test --locked --test simulation -- --nocapture", self.seed)
    }
}
