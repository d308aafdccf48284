//! Starting a table anew: the next generation of a rebuild, or of a snapshot that a change of history overtook.
//!
//! An epoch change never satisfies a `high`: it was sampled in a history that the stream has left. A table whose mirror had passed its
//! handoff before is exact and goes on; one that had not gets a new generation, read on the new server from the beginning. One that was
//! paused or parked on the way stays so, and is read anew when it goes on.

use crate::change::{BinlogPosition, Cut, LogPlace};
use crate::metadata::{CaptureState, Phase, TableState};
use crate::source::Checkpoint;
use crate::trial::{Mistake, planted};

use super::{Error, Ledger, Result, Rooms, TableKey, past, read_document, targets};

/// The next generation of a table: captured from a new `since`, read anew.
async fn next_generation(rooms: &Rooms, state: &TableState) -> Result<TableState> {
    let past = past::of(rooms, &state.mode, &state.into, &state.topic).await?;
    Ok(TableState {
        generation: state.generation.max(past.generation) + 1,
        phase: Phase::Pending,
        capture: CaptureState::Wanted,
        starts: Vec::new(),
        since_checkpoint: None,
        visible: None,
        plan: None,
        planned_all: false,
        listed: true,
        ..state.clone()
    })
}

/// After the stream moved to another history: `published` is how far the old one got. Tables that waited for more of it start anew.
pub async fn crossed(rooms: &Rooms, ledger: &Ledger, published: Option<Cut>) -> Result<()> {
    let reached = published.unwrap_or(Cut(BinlogPosition::default()));
    // All generations: one that was not exact may have been left half way, with the newer one beside it.
    for state in ledger.all().await {
        let started = !matches!(state.capture, CaptureState::Wanted);
        let exact = state.phase.handoff().is_some_and(|handoff| handoff <= reached);
        // What ended its capture is of the old history as well: that takes a rebuild anyway.
        let ended = matches!(state.capture, CaptureState::Ended { .. });
        if planted(Mistake::EpochChangeAsHigh) || !started || exact || !state.listed || ended {
            continue;
        }
        tracing::warn!(table = %state.table, "the source's history changed before the snapshot was exact: reading it anew");
        let is_newest = ledger.newest_of(&state.table).await.is_none_or(|newest| newest.generation == state.generation);
        if is_newest {
            let next = TableState { phase: from_the_start(state.phase.clone()), ..next_generation(rooms, &state).await? };
            ledger.insert(next).await?;
        }
        ledger.remove(&TableKey::of(&state)).await?;
    }
    Ok(())
}

/// Where the topics of captured tables end when another history begins. What they hold behind the ends saved beside `published` was
/// appended and never published: the new history sends it again, at other positions, if it has it at all. It lies below these ends, and
/// writers leave it out ([`Histories::is_left_over`]). The topics are this daemon's from here on: a late append of another one would lie
/// above these ends.
pub async fn ends(rooms: &Rooms, ledger: &Ledger) -> Result<Vec<(String, Vec<LogPlace>)>> {
    let mut ends: Vec<(String, Vec<LogPlace>)> = Vec::new();
    for state in ledger.all().await {
        let known = ends.iter().any(|(topic, _)| *topic == state.topic);
        if known || !matches!(state.capture, CaptureState::On { .. }) {
            continue;
        }
        let term = ledger.session_term();
        rooms.changelog.open_topic(&state.topic, term).await?;
        let known = ledger.published_places(&state.table, &state.topic).await?;
        let tails = match rooms.changelog.tails(&state.topic, &known).await {
            Ok(tails) => tails,
            // It parks its table alone: the crossing is made anew, without it.
            Err(error) => {
                let until = ledger.source().await?.and_then(|source| source.published).map(|published| published.position);
                let reason = error.to_string();
                targets::end_capture(rooms, ledger, &state.table, until.unwrap_or_default(), error.into()).await?;
                return Err(Error::Overtaken { reason });
            }
        };
        ends.push((state.topic.clone(), tails.iter().map(|tail| LogPlace { term, ..tail.place() }).collect()));
    }
    Ok(ends)
}

/// What a writer has to know of a source's earlier histories.
#[derive(Debug, Default)]
pub struct Histories {
    /// Where they were left, one of each epoch.
    left: Vec<Cut>,
    /// The epoch of the one at hand.
    epoch: u32,
    /// Its server has not shown yet all that an earlier one had sent: more is published than lies below the position.
    unsettled: bool,
}

impl Histories {
    /// Behind one that was left here.
    #[cfg(test)]
    pub fn behind(left: Cut) -> Self {
        Self { left: vec![left], epoch: left.0.epoch + 1, unsettled: false }
    }

    /// As the source's checkpoint has them.
    pub async fn read(rooms: &Rooms, source: &str) -> Result<Self> {
        let state = rooms.metadata.source(source).await?;
        let Some(text) = state.as_ref().and_then(|state| state.checkpoint.as_deref()) else { return Ok(Self::default()) };
        let checkpoint: Checkpoint = read_document("checkpoint", &source, text)?;
        let epoch = checkpoint.position.0.epoch;
        Ok(Self { left: checkpoint.left, epoch, unsettled: checkpoint.unseen.is_some() })
    }

    /// Whether a lake may name this position: all that was published lies below it.
    pub fn is_exact_at(&self, published: Cut) -> bool {
        published.0.epoch == self.epoch && !self.unsettled
    }

    /// Whether a record at this place was appended in an earlier history and never published.
    pub fn is_left_over(&self, start: BinlogPosition) -> bool {
        self.left.iter().any(|left| left.0.epoch == start.epoch && !left.covers(start))
    }
}

/// The phase with its work not begun, standing still where it stood still.
fn from_the_start(phase: Phase) -> Phase {
    match phase {
        Phase::Pending | Phase::Snapshotting | Phase::CatchingUp { .. } | Phase::Live { .. } => Phase::Pending,
        Phase::Paused { before } => Phase::Paused { before: Box::new(from_the_start(*before)) },
        Phase::Parked { parked, before } => Phase::Parked { parked, before: Box::new(from_the_start(*before)) },
    }
}
