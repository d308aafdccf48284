//! The checker is checked: each mistake that somebody could have made in the product is planted, one at a time, and must be found, by a
//! promise that it breaks; and the seed that found it must pass without it.
//!
//! `SIMULATION_MISTAKE=name` tries one alone. A mistake that is not found means that the simulated world is too kind.

use std::time::Instant;

use binlake::trial::Mistake;

use crate::number;
use crate::run;
use crate::violation::Invariant::{self, *};

/// Seeds that a mistake has, to be found in: as many as a run. The rarest wants a writer that slept until its place in the log had expired.
const SEEDS: u64 = crate::SEEDS;

/// A row too few, too many, too old or too new: in the mirror, in the snapshot's rows of a changelog, or noticed by promise 11.
const WRONG_ROWS: &[Invariant] = &[MirrorDiffers, SnapshotDiffers, UnexpectedPark];
/// The change log no longer holds what its reader or its writer counts on.
const WRONG_LOG: &[Invariant] = &[MirrorDiffers, ChangelogGap, SnapshotDiffers, UnexpectedPark, UnexpectedStop, NotCaughtUp];

/// By which promises a mistake may be found.
fn breaks(mistake: Mistake) -> &'static [Invariant] {
    match mistake {
        Mistake::LoadBeforeVisible
        | Mistake::ChunkBoundsInNeither
        | Mistake::HighBeforeRead
        | Mistake::HighFromExecuted
        | Mistake::HandoffOneEarly => WRONG_ROWS,
        // Or it waits for ever for a place of a history that was left.
        Mistake::EpochChangeAsHigh => &[MirrorDiffers, SnapshotDiffers, UnexpectedPark, NotCaughtUp],
        // Of a changelog the change itself is missing.
        Mistake::XaPreparedBeforeSince => &[MirrorDiffers, SnapshotDiffers, ChangelogGap, UnexpectedPark],
        Mistake::OlderOverNewer | Mistake::MovedRowStays => &[MirrorDiffers, UnexpectedPark],
        // Too little is waited for, and after a fail-over what was received comes once more.
        Mistake::TwoSamplesAsOne => &[MirrorDiffers, SnapshotDiffers, ChangelogDuplicate, UnexpectedPark],
        Mistake::SkipWhatTheRowHas => &[MirrorDiffers, ChangelogGap, SnapshotDiffers, UnexpectedPark],
        Mistake::TailAsPublished => WRONG_LOG,
        Mistake::EndsBeforePublished => &[MirrorDiffers, ChangelogGap, SnapshotDiffers, DayDiffers, UnexpectedPark],
        Mistake::PublishedBeforeAcknowledged | Mistake::KeyUpdateLeftOut => WRONG_LOG,
        // The log refuses what it has.
        Mistake::ReplayNotRecognised | Mistake::KeyUpdateRepeated => {
            &[ChangelogDuplicate, UnexpectedPark, UnexpectedStop, NotCaughtUp]
        }
        Mistake::HalfTransaction => &[MirrorDiffers, ChangelogGap, ChangelogDuplicate, SnapshotDiffers],
        Mistake::OffsetsApartFromData => &[MirrorDiffers, ChangelogDuplicate, UnexpectedPark],
        Mistake::CleanupOneEarly => &[ReaderLostFile],
        Mistake::TimedOutFilesDeleted => &[ReaderLostFile, FileDamaged, UnexpectedPark],
        // It also lets the change log forget what its successor has not taken.
        Mistake::SuspendedWriterGoesOn => &[SuspendedWriterActs, ReaderLostFile, UnexpectedPark],
        Mistake::FsyncLeftOut => &[FileDamaged, WentBack, UnexpectedPark, UnexpectedStop],
        Mistake::SwapInTwoCalls | Mistake::SwapWithoutClaim => &[ShownTorn, WentBack],
        Mistake::RetentionFromCommit => &[ReaderLostFile],
        Mistake::NotedBeforeShown => &[ReaderLostFile, NotCaughtUp],
        Mistake::ShownBeforeSettled => &[ShownTorn],
        Mistake::BatchPastDay => &[DayDiffers],
        Mistake::DaysBeforePublished => &[DayMissing],
        Mistake::DayNamedBeforeCopied => &[FileDamaged],
        // Two daemons that both count as the one writer break whatever the other is at.
        Mistake::TermIgnored => &[
            MirrorDiffers,
            ChangelogGap,
            ChangelogDuplicate,
            SnapshotDiffers,
            ReaderLostFile,
            UnexpectedPark,
            UnexpectedStop,
            NotCaughtUp,
        ],
    }
}

/// What is wrong with how a mistake was found, if anything is.
fn tried(mistake: Mistake, seeds: u64) -> Option<String> {
    let started = Instant::now();
    let found = run::seeds(0..seeds, Some(mistake));
    let seconds = started.elapsed().as_secs_f64();
    let Err(violation) = found else { return Some(format!("{mistake:?} was not found in {seeds} seeds ({seconds:.1} s)")) };
    let detail: String = violation.detail.chars().take(120).collect();
    let (invariant, seed, step) = (violation.invariant, violation.seed, violation.step);
    println!("{:<28} {invariant:?}, seed {seed}, step {step}, {seconds:.1} s: {detail}", format!("{mistake:?}"));
    if !breaks(mistake).contains(&invariant) {
        return Some(format!("{mistake:?} was found by another promise than it breaks: {violation}"));
    }
    let without = run::seed(seed, None).err()?;
    Some(format!("{mistake:?}: its seed fails without it too: {without}"))
}

#[test]
fn every_planted_mistake_is_found_by_a_promise_that_it_breaks() {
    let wanted = std::env::var("SIMULATION_MISTAKE").ok();
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let chosen = |mistake: &Mistake| wanted.as_ref().is_none_or(|wanted| *wanted == format!("{mistake:?}"));
    let wrong: Vec<String> = Mistake::ALL.into_iter().filter(chosen).filter_map(|mistake| tried(mistake, seeds)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
