//! What an operator asked for on the command line, taken up by the running daemon: pause, resume, rebuild.

use crate::metadata::{CaptureState, Phase, Request, RequestKind, TableState};
use crate::pipeline::{Ledger, Result, TableKey, targets};
use crate::trial::{self, at};

use super::reconcile::insert_new;
use super::{SourcePlan, WantedTable};

/// Takes the source's requests up; true when a rebuild was among them.
pub async fn take_up(plan: &SourcePlan, ledger: &Ledger, wanted: &[WantedTable]) -> Result<bool> {
    let mut rebuild = false;
    for request in plan.rooms.metadata.requests().await?.into_iter().filter(|request| request.source == plan.name) {
        one(plan, ledger, wanted, &request).await?;
        if request.kind == RequestKind::Rebuild {
            trial::point(at::REBUILD_BEGUN);
        }
        plan.rooms.metadata.drop_request(ledger.lease(), request.id).await?;
        rebuild |= request.kind == RequestKind::Rebuild;
    }
    Ok(rebuild)
}

async fn one(plan: &SourcePlan, ledger: &Ledger, wanted: &[WantedTable], request: &Request) -> Result<()> {
    let Some(state) = ledger.newest_of(&request.table).await else {
        tracing::warn!(table = %request.table, "a request for a table that is not known was dropped");
        return Ok(());
    };
    let key = TableKey::of(&state);
    match request.kind {
        RequestKind::Pause => pause(plan, ledger, &state, &key).await,
        RequestKind::Resume => resume(plan, ledger, wanted, &state, &key).await,
        RequestKind::Rebuild => match wanted.iter().find(|table| table.name == request.table) {
            Some(table) => rebuild(plan, ledger, table, &state).await,
            None => {
                tracing::warn!(table = %request.table, "a rebuild of a table that is not listed was dropped");
                Ok(())
            }
        },
    }
}

async fn pause(plan: &SourcePlan, ledger: &Ledger, state: &TableState, key: &TableKey) -> Result<()> {
    if matches!(state.phase, Phase::Paused { .. } | Phase::Parked { .. }) {
        tracing::warn!(table = %state.table, "it stands still already");
        return Ok(());
    }
    ledger.update(key, |state| state.phase = Phase::Paused { before: Box::new(state.phase.clone()) }).await?;
    tracing::info!(table = %state.table, phase = "paused", "phase");
    targets::set_active(&plan.rooms, state, false).await
}

async fn resume(plan: &SourcePlan, ledger: &Ledger, wanted: &[WantedTable], state: &TableState, key: &TableKey) -> Result<()> {
    match (&state.phase, &state.capture) {
        (Phase::Paused { .. }, _) => {}
        (Phase::Parked { .. }, CaptureState::Wanted) => {
            if let Some(table) = wanted.iter().find(|table| table.name == state.table) {
                return insert_new(plan, ledger, table, state.generation).await;
            }
        }
        (Phase::Parked { parked, .. }, CaptureState::On { .. }) if parked.resumable => {}
        (Phase::Parked { .. }, _) => {
            tracing::warn!(table = %state.table, "resume cannot help: run `binlake rebuild` for it");
            return Ok(());
        }
        (Phase::Pending | Phase::Snapshotting | Phase::CatchingUp { .. } | Phase::Live { .. }, _) => {
            tracing::warn!(table = %state.table, "it does not stand still");
            return Ok(());
        }
    }
    ledger.update(key, |state| state.phase = state.phase.working().clone()).await?;
    tracing::info!(table = %state.table, phase = "resumed", "phase");
    targets::set_active(&plan.rooms, state, true).await
}

/// A new generation beside the old one. A generation that no reader has seen goes at once.
pub async fn rebuild(plan: &SourcePlan, ledger: &Ledger, table: &WantedTable, state: &TableState) -> Result<()> {
    insert_new(plan, ledger, table, state.generation + 1).await?;
    tracing::info!(table = %state.table, generation = state.generation + 1, "rebuild started");
    for old in ledger.generations(&state.table).await.into_iter().filter(|old| old.generation <= state.generation) {
        if !matches!(old.phase, Phase::Live { .. }) {
            forget(plan, ledger, &old).await?;
        }
    }
    Ok(())
}

/// Forgets a generation that is no longer worked on. Its lake files stay until the newer one's clean-up.
///
/// The metadata store comes first: it refuses a daemon that was overtaken, whose successor may still work on the generation. What the
/// change log keeps for it when the process dies in between goes with the tailer's next start.
pub async fn forget(plan: &SourcePlan, ledger: &Ledger, old: &TableState) -> Result<()> {
    ledger.remove(&TableKey::of(old)).await?;
    trial::point(at::RETIRING);
    targets::forget_the_gone(&plan.rooms, ledger, old).await
}
