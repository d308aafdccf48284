//! One source: its lease, its tailer, its tables' attendants, its requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::change::{Cut, Failure, Remedy};
use crate::metadata::{Parked, Phase, SourceState};
use crate::pipeline::write::Standing;
use crate::pipeline::{Error, Ledger, Result, Sample, TableKey, check_server, tail, targets};

use super::attendant::{Attendant, cause, reached};
use super::supervisor::Backoff;
use super::{Outcome, Settings, SourcePlan, WantedTable, reconcile, requests};

type StandingsOf = BTreeMap<TableKey, (CancellationToken, watch::Receiver<Vec<watch::Receiver<Standing>>>)>;

/// Runs one source until cancelled, or until it has caught up.
pub async fn run(plan: SourcePlan, settings: Settings, cancel: CancellationToken) -> Outcome {
    let name = plan.name.clone();
    let lease = match plan.rooms.metadata.acquire(&format!("source/{name}"), &settings.holder).await {
        Ok(lease) => lease,
        Err(error) => return stopped(&name, &error.into()),
    };
    let opened = Ledger::open(Arc::clone(&plan.rooms.metadata), lease.clone(), &name, Arc::clone(&plan.board)).await;
    let ledger = match opened {
        Ok(ledger) => Arc::new(ledger),
        Err(error) => return stopped(&name, &error),
    };
    let mut outcome = match supervise(&plan, &ledger, &settings, &cancel).await {
        Ok(()) => Outcome::default(),
        Err(error) => stopped(&name, &error),
    };
    for state in ledger.newest().await.into_iter().filter(|state| state.listed) {
        if let Phase::Parked { parked, .. } = state.phase {
            outcome.parked.push((state.table, parked));
        }
    }
    if let Err(error) = plan.rooms.metadata.release(&lease).await {
        tracing::warn!(source = %name, %error, "the lease was not given back");
    }
    outcome
}

fn stopped(name: &str, error: &Error) -> Outcome {
    let (reason, remedy) = describe(error);
    Outcome { stopped: vec![(name.to_owned(), reason, remedy)], parked: Vec::new() }
}

fn describe(error: &Error) -> (String, String) {
    let remedy = match error.remedy() {
        Remedy::Park(remedy) | Remedy::Stop(remedy) => remedy,
        Remedy::Retry => "it will be tried again".to_owned(),
        Remedy::Fenced => "another daemon has taken over".to_owned(),
    };
    let cause = cause(error);
    let reason = if cause.is_empty() { error.to_string() } else { format!("{error}: {cause}") };
    (reason, remedy)
}

/// Starts the session anew after what may pass. What was refused at the very start ends the run: nobody waits for a typo.
async fn supervise(plan: &SourcePlan, ledger: &Arc<Ledger>, settings: &Settings, cancel: &CancellationToken) -> Result<()> {
    let mut backoff = Backoff::new(settings.backoff, settings.backoff_max);
    let mut before_first = true;
    loop {
        let started = Instant::now();
        let error = match session(plan, ledger, settings, cancel, &mut before_first).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error.remedy() {
            Remedy::Fenced => return Err(error),
            // A lost history parks the tables and begins a new one: whoever asked for a rebuild gets it, the others are named.
            Remedy::Stop(_) if error.is_lost_history() => {}
            Remedy::Stop(_) | Remedy::Park(_) if before_first || settings.until_caught_up => return Err(error),
            Remedy::Stop(_) | Remedy::Park(_) | Remedy::Retry => {}
        }
        note(plan, ledger, &error).await?;
        let wait = backoff.wait(started.elapsed());
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Writes down why the source stands still; a lost position parks its tables, and the next start begins a new history.
async fn note(plan: &SourcePlan, ledger: &Ledger, error: &Error) -> Result<()> {
    let (reason, remedy) = describe(error);
    tracing::error!(source = %plan.name, reason, remedy, "the source stands still");
    let Some(mut state) = ledger.source().await? else { return Ok(()) };
    let parked = Parked { reason, remedy, resumable: false, at_ms: plan.rooms.clock.now_ms() };
    if error.is_lost_history() {
        lost(plan, ledger, &state, &parked).await?;
        state = ledger.source().await?.unwrap_or(state);
        state.checkpoint = None;
        state.epoch += 1;
    }
    state.stopped = Some(parked);
    ledger.save_source(&state).await
}

async fn lost(plan: &SourcePlan, ledger: &Ledger, state: &SourceState, parked: &Parked) -> Result<()> {
    let until = state.published.as_ref().map_or_else(Cut::default, |published| published.position);
    for table in ledger.all().await {
        if matches!(table.capture, crate::metadata::CaptureState::On { .. }) {
            let key = TableKey { table: table.table.clone(), generation: table.generation };
            let remedy = format!("run `binlake rebuild {}`: it is read anew while readers keep the old state", table.table);
            ledger.end_capture(&key, until, Parked { remedy, ..parked.clone() }).await?;
            targets::set_active(&plan.rooms, &table, false).await?;
        }
    }
    Ok(())
}

/// One session: from the first connection until something ends it.
async fn session(
    plan: &SourcePlan,
    ledger: &Arc<Ledger>,
    settings: &Settings,
    cancel: &CancellationToken,
    before_first: &mut bool,
) -> Result<()> {
    plan.rooms.source.identity().await?;
    let target = plan.rooms.source.flushed().await?;
    let wanted = reconcile::reconcile(plan, ledger).await?;
    let captured: Vec<_> = wanted.iter().map(|table| (table.name.clone(), table.options.clone())).collect();
    check_server(&plan.rooms, &plan.name, &captured).await?;
    requests::take_up(plan, ledger, &wanted).await?;
    *before_first = false;
    let stop = cancel.child_token();
    let mut tailer = JoinSet::new();
    tailer.spawn(tail::run(plan.rooms.clone(), Arc::clone(ledger), Arc::clone(&plan.board), plan.tail.clone(), stop.clone()));
    let mut attendants: JoinSet<Result<()>> = JoinSet::new();
    let mut standings = StandingsOf::new();
    let outcome =
        watch_over(plan, ledger, settings, cancel, &wanted, &target, &mut tailer, &mut attendants, &mut standings).await;
    stop.cancel();
    for (stop, _) in standings.values() {
        stop.cancel();
    }
    while let Some(ended) = attendants.join_next().await {
        log_late(ended);
    }
    while let Some(ended) = tailer.join_next().await {
        log_late(ended);
    }
    outcome
}

fn log_late(ended: std::result::Result<Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "while stopping"),
        Err(error) => tracing::warn!(%error, "while stopping"),
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one session, split so that all of them are joined on every way out")]
async fn watch_over(
    plan: &SourcePlan,
    ledger: &Arc<Ledger>,
    settings: &Settings,
    cancel: &CancellationToken,
    wanted: &[WantedTable],
    target: &Sample,
    tailer: &mut JoinSet<Result<()>>,
    attendants: &mut JoinSet<Result<()>>,
    standings: &mut StandingsOf,
) -> Result<()> {
    let mut tables = plan.board.watch_tables();
    let mut every = tokio::time::interval(settings.request_every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tables.forget();
        spawn_missing(plan, ledger, settings, attendants, standings).await;
        retire_replaced(plan, ledger, standings).await?;
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            Some(ended) = tailer.join_next() => return ended.unwrap_or_else(|error| Err(task_ended(plan, &error.to_string()))),
            Some(ended) = attendants.join_next() => {
                ended.unwrap_or_else(|error| Err(task_ended(plan, &error.to_string())))?;
            }
            _ = every.tick() => {
                requests::take_up(plan, ledger, wanted).await?;
                if settings.until_caught_up && caught_up(plan, ledger, target, standings).await? {
                    return Ok(());
                }
            }
            () = tables.heard() => {}
        }
    }
}

fn task_ended(plan: &SourcePlan, reason: &str) -> Error {
    Error::Document { what: "a task", of: plan.name.clone(), reason: reason.to_owned() }
}

async fn spawn_missing(
    plan: &SourcePlan,
    ledger: &Arc<Ledger>,
    settings: &Settings,
    attendants: &mut JoinSet<Result<()>>,
    standings: &mut StandingsOf,
) {
    for state in ledger.all().await {
        let key = TableKey { table: state.table.clone(), generation: state.generation };
        if standings.contains_key(&key) {
            continue;
        }
        let (sender, receiver) = watch::channel(Vec::new());
        let stop = CancellationToken::new();
        let attendant = Attendant {
            plan: plan.clone(),
            ledger: Arc::clone(ledger),
            key: key.clone(),
            settings: settings.clone(),
            standings: Arc::new(sender),
        };
        attendants.spawn(attendant.run(stop.clone()));
        standings.insert(key, (stop, receiver));
    }
}

/// When a generation is live the older ones have been replaced: readers were switched by the lake itself.
async fn retire_replaced(plan: &SourcePlan, ledger: &Arc<Ledger>, standings: &mut StandingsOf) -> Result<()> {
    let newest = ledger.newest().await;
    for old in ledger.all().await {
        let Some(new) = newest.iter().find(|new| new.table == old.table) else { continue };
        if old.generation >= new.generation || !matches!(new.phase, Phase::Live { .. }) {
            continue;
        }
        let key = TableKey { table: old.table.clone(), generation: old.generation };
        if let Some((stop, _)) = standings.remove(&key) {
            stop.cancel();
        }
        tracing::info!(table = %old.table, old = old.generation, new = new.generation, "readers were switched to the new generation");
        requests::forget(plan, ledger, &old).await?;
    }
    Ok(())
}

/// Whether every table that can go on covers the position that was asked for.
async fn caught_up(plan: &SourcePlan, ledger: &Ledger, target: &Sample, standings: &StandingsOf) -> Result<bool> {
    let Some(source) = ledger.source().await? else { return Ok(false) };
    let target = target.cut(source.epoch);
    if source.published.is_none_or(|published| published.position < target) {
        return Ok(false);
    }
    for state in ledger.newest().await.into_iter().filter(|state| state.listed) {
        if matches!(state.phase, Phase::Parked { .. } | Phase::Paused { .. }) {
            continue;
        }
        let key = TableKey { table: state.table.clone(), generation: state.generation };
        let Some((published, ends)) = plan.rooms.metadata.published(&plan.name, &state.topic).await? else { return Ok(false) };
        let live = matches!(state.phase, Phase::Live { .. });
        let there = standings.get(&key).is_some_and(|(_, table)| reached(&table.borrow(), &ends, target));
        let passed = state.phase.handoff().is_some_and(|handoff| published.position >= handoff);
        if !(live && there && passed) {
            return Ok(false);
        }
    }
    Ok(true)
}
