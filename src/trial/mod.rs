//! Switches that tests throw in the product's own code: planted mistakes and named points to die at.
//!
//! All exist only in builds with debug assertions; in a release build [`planted`] and [`is_simulated`] are `false`, [`point`] and
//! [`slow_put`] are nothing, known when it is compiled. They are here because the code that decides correctness is what has to be tried, not a copy of it.
//!
//! - A **mistake** is planted in the thread that asks for it ([`plant`]): the simulation runs a seed in one thread, so two seeds side
//!   by side do not see each other's. `BINLAKE_PLANT=LoadBeforeVisible` plants it in every thread of a process, for the real binary.
//! - **Chance** is a seed's in a thread that simulates ([`simulate`]): ids and jitter are the same in every run of it, and work that would
//!   go to a blocking thread is done on the spot.
//! - **Slowness** of the lake: `BINLAKE_SLOW_LAKE_MS=200` lets every put into it take so much longer.
//! - A **point** ends the process on the spot, as `kill -9` would: `BINLAKE_DIE_AT=name` at the first passage, `name:3` at the third.
//!   The names stand in [`at`].

pub mod at;
#[cfg(debug_assertions)]
mod chance;
#[cfg(debug_assertions)]
mod mistake;
#[cfg(debug_assertions)]
mod points;
#[cfg(debug_assertions)]
mod slow;

#[cfg(debug_assertions)]
pub use chance::{Simulated, simulate};
#[cfg(debug_assertions)]
pub use mistake::{Planted, plant};

/// A mistake that somebody could have made here. The names say what is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mistake {
    /// The loader reads before the server shows `since`.
    LoadBeforeVisible,
    /// The loader does not wait for XA transactions that were prepared before `since`.
    XaPreparedBeforeSince,
    /// The rows at the bounds of two chunks are in neither.
    ChunkBoundsInNeither,
    /// `high` is sampled before the chunk is read.
    HighBeforeRead,
    /// `high` is where `gtid_executed` stands: a lower bound.
    HighFromExecuted,
    /// `high` is where the last transaction starts and not where it ends, and with it the handoff.
    HandoffOneEarly,
    /// A chunk's `high` counts as passed because the source's history is another one now.
    EpochChangeAsHigh,
    /// The stream's GTID set is `gtid_executed`, sampled beside the flushed position.
    TwoSamplesAsOne,
    /// A change below the handoff is skipped: the snapshot's row "already has it".
    SkipWhatTheRowHas,
    /// An older change of a key is applied over a newer one of the same batch.
    OlderOverNewer,
    /// `published` is saved before the change log has acknowledged what lies below it.
    PublishedBeforeAcknowledged,
    /// A restarted tailer appends what the topic holds already.
    ReplayNotRecognised,
    /// A restarted tailer appends both halves of a primary-key update of which the topic holds the first.
    KeyUpdateRepeated,
    /// A restarted tailer appends neither half of a primary-key update of which the topic holds the first.
    KeyUpdateLeftOut,
    /// A mirror's row that moves to another key, or another day, stays where it was, too.
    MovedRowStays,
    /// All that the topic holds when the tailer opens it counts as published.
    TailAsPublished,
    /// A writer reads the topic's ends first and `published` later.
    EndsBeforePublished,
    /// A batch is cut inside a transaction.
    HalfTransaction,
    /// The offsets are committed behind the data, in a record of their own.
    OffsetsApartFromData,
    /// Replaced files go before the record that replaces them is in.
    CleanupOneEarly,
    /// A commit without an answer counts as failed, and its files are deleted.
    TimedOutFilesDeleted,
    /// A writer that put a record does not look whether the one before it is still there.
    SuspendedWriterGoesOn,
    /// A commit's files and its record are not synced.
    FsyncLeftOut,
    /// A lower term than the one in force is as good.
    TermIgnored,
    /// The partitions of a published table are changed in two calls.
    SwapInTwoCalls,
    /// A publication changes partitions without comparing first whether somebody was faster.
    SwapWithoutClaim,
    /// A published table's replaced files stay for a while from the commit on, not from the publication.
    RetentionFromCommit,
    /// A version counts as shown before it is.
    NotedBeforeShown,
    /// A commit is shown that its writer has not made durable yet.
    ShownBeforeSettled,
    /// A batch goes past the end of a day that is to be frozen.
    BatchPastDay,
    /// The writer asks for days that have ended first and for `published` later.
    DaysBeforePublished,
    /// A day's record names files that are still being copied.
    DayNamedBeforeCopied,
}

impl Mistake {
    /// Every mistake there is.
    pub const ALL: [Self; 32] = [
        Self::LoadBeforeVisible,
        Self::XaPreparedBeforeSince,
        Self::ChunkBoundsInNeither,
        Self::HighBeforeRead,
        Self::HighFromExecuted,
        Self::HandoffOneEarly,
        Self::EpochChangeAsHigh,
        Self::TwoSamplesAsOne,
        Self::SkipWhatTheRowHas,
        Self::OlderOverNewer,
        Self::PublishedBeforeAcknowledged,
        Self::ReplayNotRecognised,
        Self::KeyUpdateRepeated,
        Self::KeyUpdateLeftOut,
        Self::MovedRowStays,
        Self::TailAsPublished,
        Self::EndsBeforePublished,
        Self::HalfTransaction,
        Self::OffsetsApartFromData,
        Self::CleanupOneEarly,
        Self::TimedOutFilesDeleted,
        Self::SuspendedWriterGoesOn,
        Self::FsyncLeftOut,
        Self::TermIgnored,
        Self::SwapInTwoCalls,
        Self::SwapWithoutClaim,
        Self::RetentionFromCommit,
        Self::NotedBeforeShown,
        Self::ShownBeforeSettled,
        Self::BatchPastDay,
        Self::DaysBeforePublished,
        Self::DayNamedBeforeCopied,
    ];
}

/// Whether this mistake is to be made now.
#[cfg(debug_assertions)]
pub fn planted(mistake: Mistake) -> bool {
    mistake::is_planted(mistake)
}

/// Whether this mistake is to be made now: never.
#[cfg(not(debug_assertions))]
pub const fn planted(_: Mistake) -> bool {
    false
}

/// Random bits: of the seed in a thread that simulates, else of the machine.
pub fn random() -> u128 {
    #[cfg(debug_assertions)]
    if let Some(bits) = chance::random() {
        return bits;
    }
    rand::random()
}

/// Whether this thread simulates: then nothing may leave it.
#[cfg(debug_assertions)]
pub fn is_simulated() -> bool {
    chance::simulated()
}

/// Whether this thread simulates: never.
#[cfg(not(debug_assertions))]
pub const fn is_simulated() -> bool {
    false
}

/// A place where a process may die in a test.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    points::pass(name);
}

/// A place where a process may die in a test: nothing.
#[cfg(not(debug_assertions))]
pub const fn point(_: &'static str) {}

/// Waits as long as a put into the lake is to be delayed in a test.
#[cfg(debug_assertions)]
pub async fn slow_put() {
    slow::put().await;
}

/// Waits as long as a put into the lake is to be delayed in a test: not at all.
#[cfg(not(debug_assertions))]
pub async fn slow_put() {}
