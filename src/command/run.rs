//! `run`: the daemon, until SIGTERM or until it has caught up.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use binlake::pipeline::board::SharedBoard;
use binlake::{coordinator, http};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::assemble::{Assembled, Need};
use super::serve::Daemon;
use super::{Failed, Outcome, print, progress, start_log};
use crate::arguments::LogFormat;

/// How long a stop may take; what is not committed by then is abandoned, and done again at the next start.
const GRACE: Duration = Duration::from_secs(10);

/// What is asked for.
pub(crate) struct Options {
    /// Ends when every table covers the position of the start.
    pub(crate) until_caught_up: bool,
    /// Goes on above the terms of whoever wrote the lake before.
    pub(crate) take_over: bool,
}

/// Runs the daemon.
pub(crate) async fn run(config: &Path, options: &Options, log: LogFormat) -> Outcome {
    let until_caught_up = options.until_caught_up;
    // What the client of a bucket tries again inside one call is no event of note.
    start_log(log, "info,object_store=warn");
    // Before anything that takes time: until then a signal would end the process without a word.
    let mut signals = Signals::new()?;
    let opened = async {
        let rooms = Assembled::open(config, Need::Everything).await?;
        rooms.check_lake().await?;
        rooms.check_zones().await?;
        Ok::<_, Failed>(rooms)
    };
    let rooms = tokio::select! {
        rooms = opened => rooms?,
        () = signals.next() => return Ok(true),
    };
    let cancel = CancellationToken::new();
    let plans = rooms.plans(until_caught_up)?;
    let settings = rooms.coordinator_settings(until_caught_up, options.take_over);
    let boards: Vec<SharedBoard> = plans.iter().map(|plan| Arc::clone(&plan.board)).collect();
    let _serving = serve(Arc::new(rooms), boards.clone(), &cancel).await;
    let drawing = tokio::spawn(progress::draw(boards, cancel.clone()));
    let mut working = tokio::spawn(coordinator::run(plans, settings, cancel.clone()));
    let ended = tokio::select! {
        ended = &mut working => Some(ended),
        () = signals.next() => stop(&mut working, &mut signals, &cancel).await?,
    };
    let Some(outcome) = ended else { return Ok(true) };
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

/// Answers over HTTP until it is dropped. An address that is taken keeps nobody from working.
async fn serve(rooms: Arc<Assembled>, boards: Vec<SharedBoard>, cancel: &CancellationToken) -> Option<AbortOnDropHandle<()>> {
    let address = rooms.http();
    let listener = match http::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%address, %error, "nothing listens at `http`: there are no metrics and no health checks of this daemon");
            return None;
        }
    };
    let address = listener.local_addr().map_or(address, |bound| bound);
    tracing::info!(%address, "metrics, health and status are served over HTTP");
    let metrics = Arc::clone(&rooms.metrics);
    let (answers, cancel) = (Arc::new(Daemon::new(rooms, boards, metrics)), cancel.clone());
    Some(AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = http::serve(listener, answers, cancel).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    })))
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failed> {
        let failed = |error: std::io::Error| Failed(format!("signals: {error}"));
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt()).map_err(failed)? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

type Ended = Result<coordinator::Outcome, tokio::task::JoinError>;

/// Lets the workers come to their next safe point; None when they did not within the grace.
async fn stop(
    working: &mut tokio::task::JoinHandle<coordinator::Outcome>,
    signals: &mut Signals,
    cancel: &CancellationToken,
) -> Result<Option<Ended>, Failed> {
    tracing::info!("stopping: unfinished commits are abandoned, the next start goes on from the last ones");
    cancel.cancel();
    tokio::select! {
        ended = working => Ok(Some(ended)),
        () = signals.next() => Err(Failed("a second signal: left at once".to_owned())),
        () = tokio::time::sleep(GRACE) => {
            tracing::warn!("not everything stopped within {} s; nothing is lost", GRACE.as_secs());
            Ok(None)
        }
    }
}
