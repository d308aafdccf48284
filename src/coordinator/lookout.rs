//! What is looked at beside the stream: whether the address still leads to its server, and what the server does behind its binlog.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::change::{Cut, TableName};
use crate::metadata::{CaptureState, Parked};
use crate::pipeline::{Ledger, Result, TableKey, TableOptions, other_server, targets, unwritten_cascades};

use super::SourcePlan;

/// Between two looks at the address.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks in a row that find another server before the stream is given up: one that is between two servers may show either.
const LOOKS: u32 = 3;

/// Returns with an error when the address leads to another server than the stream's: a stream may stay connected to a server that was
/// taken out of service, and be silent for ever.
pub async fn same_server(plan: SourcePlan, expected: String, cancel: CancellationToken) -> Result<()> {
    let mut others = 0;
    loop {
        let found = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            found = async {
                tokio::time::sleep(LOOK_EVERY).await;
                plan.rooms.source.identity().await
            } => found,
        };
        match found {
            Ok(found) if found.server_uuid == expected => others = 0,
            Ok(found) => {
                others += 1;
                if others >= LOOKS {
                    return Err(other_server(&plan.name, &found.server_uuid, &expected));
                }
            }
            Err(error) => tracing::debug!(source = %plan.name, %error, "nobody answers at the address"),
        }
    }
}

/// Parks tables that foreign keys change without the binlog telling of it, since the server was started otherwise than before, or is
/// another one. What was captured up to here is exact.
pub async fn park_cascading(plan: &SourcePlan, ledger: &Ledger, listed: &[(TableName, TableOptions)]) -> Result<()> {
    let found = unwritten_cascades(&plan.rooms, listed).await?;
    if found.is_empty() {
        return Ok(());
    }
    let published = ledger.source().await?.and_then(|source| source.published);
    let (until, place) = published.map_or_else(
        || (Cut::default(), "nothing was captured yet".to_owned()),
        |published| (published.position, format!("captured up to {}:{}", published.file_name, published.position.0.offset)),
    );
    for state in ledger.all().await.into_iter().filter(|state| state.listed && state.phase.parked().is_none()) {
        let Some((table, problem)) = found.iter().find(|(table, _)| *table == state.table) else { continue };
        let reason = format!("{table}: {} ({place})", problem.reason);
        let remedy = format!("{}; then run `binlake rebuild {table}`", problem.remedy);
        tracing::error!(%table, reason, remedy, phase = "parked", "phase");
        let key = TableKey { table: state.table.clone(), generation: state.generation };
        let captured = matches!(state.capture, CaptureState::On { .. });
        let parked = Parked { reason, remedy, resumable: !captured, at_ms: plan.rooms.clock.now_ms() };
        let state = if captured { ledger.end_capture(&key, until, parked).await? } else { ledger.park(&key, parked).await? };
        targets::set_active(&plan.rooms, &state, false).await?;
    }
    Ok(())
}

/// Whether the source stands still for this very reason already: the operator has seen it.
pub async fn stands_still_for(ledger: &Ledger, reason: &str) -> Result<bool> {
    let stopped = ledger.source().await?.and_then(|source| source.stopped);
    Ok(stopped.is_some_and(|stopped| stopped.reason == reason))
}
