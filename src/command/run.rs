//! `run`: the daemon, until SIGTERM or until it has caught up.

use std::path::Path;
use std::time::Duration;

use binlake::coordinator;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::assemble::{Assembled, Need};
use super::{Failed, Outcome, print, progress, start_log};
use crate::arguments::LogFormat;

/// How long a stop may take; what is not committed by then is abandoned, and done again at the next start.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the daemon.
pub(crate) async fn run(config: &Path, until_caught_up: bool, log: LogFormat) -> Outcome {
    start_log(log, "info");
    let rooms = Assembled::open(config, Need::Everything).await?;
    let cancel = CancellationToken::new();
    rooms.check_zones().await?;
    let plans = rooms.plans(until_caught_up)?;
    let settings = rooms.coordinator_settings(until_caught_up);
    let boards = plans.iter().map(|plan| std::sync::Arc::clone(&plan.board)).collect();
    let drawing = tokio::spawn(progress::draw(boards, cancel.clone()));
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failed(format!("signals: {error}")))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Failed(format!("signals: {error}")))?;
    let mut working = tokio::spawn(coordinator::run(plans, settings, cancel.clone()));
    let outcome = loop {
        tokio::select! {
            outcome = &mut working => break outcome,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if cancel.is_cancelled() {
            return Err(Failed("a second signal: left at once".to_owned()));
        }
        tracing::info!("stopping: unfinished commits are abandoned, the next start goes on from the last ones");
        cancel.cancel();
        tokio::select! {
            outcome = &mut working => break outcome,
            () = tokio::time::sleep(GRACE) => {
                tracing::warn!("not everything stopped within {} s; nothing is lost", GRACE.as_secs());
                return Ok(true);
            }
            _ = terminate.recv() => return Err(Failed("a second signal: left at once".to_owned())),
            _ = interrupt.recv() => return Err(Failed("a second signal: left at once".to_owned())),
        }
    };
    let stopped_by_signal = cancel.is_cancelled();
    cancel.cancel();
    drawing.await.map_err(|error| Failed(format!("progress bars: {error}")))?;
    let outcome = outcome.map_err(|error| Failed(format!("the coordinator ended: {error}")))?;
    for (source, reason, remedy) in &outcome.stopped {
        eprintln!("binlake: source {source} stopped: {reason}\n  remedy: {remedy}");
    }
    if until_caught_up {
        for (table, parked) in &outcome.parked {
            eprintln!("binlake: {table} is parked: {}\n  remedy: {}", parked.reason, parked.remedy);
        }
        if outcome.stopped.is_empty() && outcome.parked.is_empty() && !stopped_by_signal {
            print("caught up\n")?;
        }
        return Ok(outcome.stopped.is_empty() && outcome.parked.is_empty());
    }
    Ok(outcome.stopped.is_empty())
}
