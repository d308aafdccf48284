//! One source: its lease, its tailer, its tables' attendants, its requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::change::{Cut, Failure, Remedy, TableName};
use crate::metadata::{Parked, Phase, SourceState, TableState};
use crate::pipeline::tail::{self, Tail};
use crate::pipeline::write::Standing;
use crate::pipeline::{Error, Ledger, Result, Sample, TableKey, check_server, other_server, targets};

use super::attendant::{Attendant, reached};
use super::publication::{self, Refusals};
use super::supervisor::{Backoff, describe, logged};
use super::{Outcome, Settings, SourcePlan, WantedTable, lookout, reconcile, requests};

/// A table that is looked after.
struct Attended {
    stop: CancellationToken,
    standings: watch::Receiver<Vec<watch::Receiver<Standing>>>,
    refusals: Refusals,
}

type StandingsOf = BTreeMap<TableKey, Attended>;

/// Runs one source until cancelled, or until it has caught up.
pub async fn run(plan: SourcePlan, settings: Settings, cancel: CancellationToken) -> Outcome {
    let name = plan.name.clone();
    let mut lease = match plan.rooms.metadata.acquire(&format!("source/{name}"), &settings.holder).await {
        Ok(lease) => lease,
        Err(error) => return stopped(&name, &error.into()),
    };
    plan.board.set_leased();
    let (ledger, mut outcome) = loop {
        let opened = Ledger::open(Arc::clone(&plan.rooms.metadata), lease.clone(), &name, Arc::clone(&plan.board)).await;
        let ledger = match opened {
            Ok(ledger) => Arc::new(ledger),
            Err(error) => return stopped(&name, &error),
        };
        let error = match supervise(&plan, &ledger, &settings, &cancel).await {
            Ok(refused) => break (ledger, Outcome { parked: refused, ..Outcome::default() }),
            Err(error) => error,
        };
        let Some(found) = error.ahead().filter(|found| settings.take_over && *found > lease.term) else {
            break (ledger, stopped(&name, &error));
        };
        tracing::warn!(source = %name, %error, "taking over, as the operator says that no other daemon is alive");
        lease = match plan.rooms.metadata.raise(&lease, found).await {
            Ok(lease) => lease,
            Err(error) => return stopped(&name, &error.into()),
        };
    };
    for state in ledger.newest().await.into_iter().filter(|state| state.listed) {
        if let Phase::Parked { parked, .. } = &state.phase {
            outcome.parked.push((state.table.clone(), parked.clone()));
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

/// How far the sessions of a run have come.
struct SoFar {
    /// None has begun its work.
    before_first: bool,
    /// The last one took up a rebuild.
    rebuild_asked: bool,
    /// What the last one could not publish.
    refused: Vec<(TableName, Parked)>,
}

/// Starts the session anew after what may pass. What was refused at the very start ends the run: nobody waits for a typo.
/// Answers what stands still in the metastore.
async fn supervise(
    plan: &SourcePlan,
    ledger: &Arc<Ledger>,
    settings: &Settings,
    cancel: &CancellationToken,
) -> Result<Vec<(TableName, Parked)>> {
    let mut backoff = Backoff::new(settings.backoff, settings.backoff_max);
    let mut so_far = SoFar { before_first: true, rebuild_asked: false, refused: Vec::new() };
    loop {
        let started = Instant::now();
        let mut error = match session(plan, ledger, settings, cancel, &mut so_far).await {
            Ok(()) => return Ok(so_far.refused),
            Err(error) => error,
        };
        if so_far.rebuild_asked
            // A metadata store that cannot be asked is met by `note`, which says so.
            && lookout::stands_still_for(ledger, &describe(&error).0).await.unwrap_or(false)
            && let Some(given_up) = error.given_up()
        {
            error = given_up;
        }
        let ends = match error.remedy() {
            Remedy::Fenced => return Err(error),
            // A lost history parks the tables and begins a new one: whoever asked for a rebuild gets it, the others are named.
            Remedy::Stop(_) if error.is_lost_history() => false,
            Remedy::Stop(_) | Remedy::Park(_) => so_far.before_first || settings.until_caught_up,
            Remedy::Retry => false,
        };
        if let Some(numbers) = plan.board.numbers() {
            numbers.failed("source", if matches!(error.remedy(), Remedy::Retry) { "retry" } else { "stop" });
        }
        if let Err(unnoted) = note(plan, ledger, &error).await {
            match unnoted.remedy() {
                Remedy::Fenced => return Err(unnoted),
                // A store that cannot be written to is what it was about, or comes on top of it: both are tried again.
                _ => {
                    tracing::error!(source = %plan.name, error = %unnoted, "why the source stands still could not be written down")
                }
            }
        }
        if ends {
            return Err(error);
        }
        let wait = backoff.wait(started.elapsed());
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Vec::new()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Writes down why the source stands still; a lost position parks its tables, and the next start begins a new history.
async fn note(plan: &SourcePlan, ledger: &Ledger, error: &Error) -> Result<()> {
    let (reason, remedy) = describe(error);
    tracing::error!(source = %plan.name, reason = logged(error), remedy, "the source stands still");
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
    let published = state.published.as_ref();
    let until = published.map_or_else(Cut::default, |published| published.position);
    let place = published.map(|published| format!(" (captured up to {}:{})", published.file_name, until.0.offset));
    let parked = Parked { reason: format!("{}{}", parked.reason, place.unwrap_or_default()), ..parked.clone() };
    for table in ledger.all().await {
        if matches!(table.capture, crate::metadata::CaptureState::On { .. }) {
            let key = TableKey::of(&table);
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
    so_far: &mut SoFar,
) -> Result<()> {
    so_far.rebuild_asked = false;
    ledger.begin_session();
    plan.rooms.source.identity().await?;
    let wanted = reconcile::reconcile(plan, ledger, settings.take_over).await?;
    let captured: Vec<_> = wanted.iter().map(|table| (table.name.clone(), table.options.clone())).collect();
    check_server(&plan.rooms, &plan.name, &captured).await?;
    so_far.rebuild_asked = requests::take_up(plan, ledger, &wanted).await?;
    lookout::park_cascading(plan, ledger, &captured).await?;
    so_far.before_first = false;
    let opening = Tail::open(plan.rooms.clone(), Arc::clone(ledger), Arc::clone(&plan.board), plan.tail.clone());
    let tail = tokio::select! {
        biased;
        () = cancel.cancelled() => return Ok(()),
        tail = Box::pin(opening) => tail?,
    };
    let server = tail.server_uuid();
    // Sampled when the stream is one of this server's: a place of another one, or of a history that is gone, would be no bound.
    let target = plan.rooms.source.flushed().await?;
    if target.server_uuid != server {
        return Err(other_server(&plan.name, &target.server_uuid, &server));
    }
    let stop = cancel.child_token();
    let mut tailer = JoinSet::new();
    tailer.spawn(tail::run(tail, stop.clone()).in_current_span());
    let mut attendants: JoinSet<Result<()>> = JoinSet::new();
    attendants.spawn(lookout::same_server(plan.clone(), server, stop.clone()).in_current_span());
    let mut standings = StandingsOf::new();
    let outcome =
        watch_over(plan, ledger, settings, cancel, &wanted, &target, &mut tailer, &mut attendants, &mut standings).await;
    stop.cancel();
    so_far.refused = refused(&standings);
    for attended in standings.values() {
        attended.stop.cancel();
    }
    while let Some(ended) = attendants.join_next().await {
        log_late(ended);
    }
    while let Some(ended) = tailer.join_next().await {
        log_late(ended);
    }
    outcome
}

fn refused(standings: &StandingsOf) -> Vec<(TableName, Parked)> {
    let of_table = |(key, attended): (&TableKey, &Attended)| {
        attended.refusals.all().into_iter().map(|refusal| (key.table.clone(), refusal)).collect::<Vec<_>>()
    };
    standings.iter().flat_map(of_table).collect()
}

fn log_late(ended: std::result::Result<Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = logged(&error), "while stopping"),
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
    let tables = plan.board.watch_tables();
    let all = ledger.all().await.iter().map(|state| TableKey::of(state)).collect();
    look_after(plan, ledger, settings, attendants, standings, &all).await?;
    let mut every = tokio::time::interval(settings.request_every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
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
            () = tables.changed() => look_after(plan, ledger, settings, attendants, standings, &tables.take()).await?,
        }
    }
}

fn task_ended(plan: &SourcePlan, reason: &str) -> Error {
    Error::Document { what: "a task", of: plan.name.clone(), reason: reason.to_owned() }
}

/// Looks at the tables that changed: one that is new gets its attendant, one that has replaced an older generation ends that.
async fn look_after(
    plan: &SourcePlan,
    ledger: &Arc<Ledger>,
    settings: &Settings,
    attendants: &mut JoinSet<Result<()>>,
    standings: &mut StandingsOf,
    changed: &BTreeSet<TableKey>,
) -> Result<()> {
    for key in changed {
        let Some(state) = ledger.get(key).await else { continue };
        if !standings.contains_key(key) {
            let (sender, receiver) = watch::channel(Vec::new());
            let stop = CancellationToken::new();
            let attendant = Attendant {
                plan: plan.clone(),
                ledger: Arc::clone(ledger),
                key: key.clone(),
                settings: settings.clone(),
                standings: Arc::new(sender),
            };
            let span = tracing::info_span!("table", table = %key.table, generation = key.generation);
            attendants.spawn(attendant.run(stop.clone()).instrument(span.clone()));
            let refusals = Refusals::default();
            if plan.rooms.lake.is_published() && state.listed {
                let (ledger, refusals) = (Arc::clone(ledger), refusals.clone());
                let publication = publication::run(plan.clone(), ledger, key.clone(), settings.clone(), refusals, stop.clone());
                attendants.spawn(publication.instrument(span));
            }
            standings.insert(key.clone(), Attended { stop, standings: receiver, refusals });
        }
        if matches!(state.phase, Phase::Live { .. }) {
            retire_replaced(plan, ledger, standings, key).await?;
        }
    }
    Ok(())
}

/// When a generation is live the older ones have been replaced: readers were switched by the lake itself.
async fn retire_replaced(plan: &SourcePlan, ledger: &Ledger, standings: &mut StandingsOf, live: &TableKey) -> Result<()> {
    // Whatever comes behind the live one: a rebuild may have been asked for before this was looked at, and waits for room in the log.
    for old in ledger.generations(&live.table).await.iter().filter(|old| old.generation < live.generation) {
        if let Some(attended) = standings.remove(&TableKey::of(old)) {
            attended.stop.cancel();
        }
        tracing::info!(table = %old.table, old = old.generation, new = live.generation, "readers were switched to the new generation");
        requests::forget(plan, ledger, old).await?;
    }
    Ok(())
}

/// Whether the metastore shows what the lake has committed, or will not before somebody does something about it.
fn is_shown(plan: &SourcePlan, state: &TableState, attended: &Attended) -> bool {
    let specs = targets::targets(state);
    let seqs: Vec<u64> = attended.standings.borrow().iter().map(|standing| standing.borrow().seq).collect();
    !plan.rooms.lake.is_published()
        || specs.iter().zip(seqs).all(|(spec, seq)| {
            let shown = plan.rooms.lake.shown(&spec.name);
            shown.is_some_and(|shown| shown.generation == spec.generation && shown.seq >= seq)
                || attended.refusals.of(&spec.name.to_string()).is_some()
        })
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
        let key = TableKey::of(&state);
        let Some((published, ends)) = plan.rooms.metadata.published(Some(ledger.lease()), &plan.name, &state.topic).await? else {
            return Ok(false);
        };
        let live = matches!(state.phase, Phase::Live { .. });
        let attended = standings.get(&key);
        let there = attended.is_some_and(|attended| reached(&attended.standings.borrow(), &ends, target));
        let passed = state.phase.handoff().is_some_and(|handoff| published.position >= handoff);
        if !(live && there && passed && attended.is_some_and(|attended| is_shown(plan, &state, attended))) {
            return Ok(false);
        }
    }
    Ok(true)
}
