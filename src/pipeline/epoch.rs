//! Starting a table anew: the next generation of a rebuild, or of a snapshot that a change of history overtook.
//!
//! An epoch change never satisfies a `high`: it was sampled in a history that the stream has left. A table whose mirror had passed its
//! handoff before is exact and goes on; one that had not gets a new generation, read on the new server from the beginning.

use crate::change::{BinlogPosition, Cut};
use crate::metadata::{CaptureState, Phase, TableState};
use crate::trial::{Mistake, planted};

use super::{Ledger, Result, Rooms, TableKey, past};

/// The next generation of a table: captured from a new `since`, read anew.
async fn next_generation(rooms: &Rooms, state: &TableState) -> Result<TableState> {
    let past = past::of(rooms, &state.mode, &state.into, &state.topic).await?;
    Ok(TableState {
        generation: state.generation.max(past.generation) + 1,
        phase: Phase::Pending,
        capture: CaptureState::Wanted,
        start_offsets: Vec::new(),
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
    for state in ledger.newest().await {
        let started = !matches!(state.capture, CaptureState::Wanted);
        let exact = state.phase.handoff().is_some_and(|handoff| handoff <= reached);
        if planted(Mistake::EpochChangeAsHigh) || !started || exact || !state.listed || state.phase.parked().is_some() {
            continue;
        }
        tracing::warn!(table = %state.table, "the source's history changed before the snapshot was exact: reading it anew");
        ledger.insert(next_generation(rooms, &state).await?).await?;
        ledger.remove(&TableKey { table: state.table.clone(), generation: state.generation }).await?;
    }
    Ok(())
}
