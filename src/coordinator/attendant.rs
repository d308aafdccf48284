//! One table's attendant: looks at the phase, runs what it asks for, and moves it on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::change::{Cut, Failure, LogPlace, Remedy};
use crate::metadata::{CaptureState, Parked, Phase, TableState};
use crate::pipeline::load::Load;
use crate::pipeline::write::{Standing, Write};
use crate::pipeline::{Error, Ledger, Result, TableKey, targets};

use super::supervisor::{Backoff, describe, logged};
use super::{Settings, SourcePlan};

/// Where a table's lake tables stand, for those who wait for them.
pub type Standings = watch::Receiver<Vec<watch::Receiver<Standing>>>;

/// What an attendant works with.
#[derive(Clone)]
pub struct Attendant {
    /// The source's rooms and limits.
    pub plan: SourcePlan,
    /// The table states.
    pub ledger: Arc<Ledger>,
    /// The table.
    pub key: TableKey,
    /// Backoff.
    pub settings: Settings,
    /// Told about the writers whenever they are started.
    pub standings: Arc<watch::Sender<Vec<watch::Receiver<Standing>>>>,
}

/// What a phase asks for.
enum Work {
    Nothing,
    Load,
    Write,
}

impl Attendant {
    /// Runs until cancelled. An error is one that stops more than this table: a fenced daemon.
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        let mut tables = self.plan.board.follow_table(&self.key);
        let mut backoff = Backoff::new(self.settings.backoff, self.settings.backoff_max);
        while !cancel.is_cancelled() {
            tables.forget();
            let Some(state) = self.ledger.get(&self.key).await else { return Ok(()) };
            let started = Instant::now();
            let outcome = match work(&state) {
                Work::Nothing => {
                    tokio::select! {
                        biased;
                        () = cancel.cancelled() => return Ok(()),
                        () = tables.heard() => continue,
                    }
                }
                Work::Load => self.attend(&state, Self::load(self.clone(), cancel.child_token()), &cancel).await,
                Work::Write => self.attend(&state, Self::write(self.clone(), cancel.child_token()), &cancel).await,
            };
            if let Err(error) = outcome {
                self.failed(error, backoff.wait(started.elapsed()), &cancel).await?;
            }
        }
        Ok(())
    }

    /// Runs the work until it ends, or until the phase asks for something else: then the work is told to stop at its next safe point.
    async fn attend(
        &self,
        state: &TableState,
        (stop, work): (CancellationToken, impl Future<Output = Result<()>> + Send + 'static),
        cancel: &CancellationToken,
    ) -> Result<()> {
        let mut tables = self.plan.board.follow_table(&self.key);
        // A task of its own: polled here, it would stand still while the look at the ledger below waits for a lock promised to it.
        let mut work_done = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
        loop {
            tables.forget();
            let now = self.ledger.get(&self.key).await;
            let same = now.is_some_and(|now| now.phase.is_working() == state.phase.is_working());
            if !same || cancel.is_cancelled() {
                stop.cancel();
                return self.ended(work_done.await);
            }
            tokio::select! {
                biased;
                outcome = &mut work_done => return self.ended(outcome),
                () = cancel.cancelled() => {}
                () = tables.heard() => {}
            }
        }
    }

    fn ended(&self, outcome: std::result::Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
        outcome.unwrap_or_else(|error| {
            Err(Error::Table {
                table: self.key.table.clone(),
                reason: format!("its task ended: {error}"),
                remedy: "report this with the log, then run `binlake resume` for it".to_owned(),
            })
        })
    }

    fn load(self, stop: CancellationToken) -> (CancellationToken, impl Future<Output = Result<()>> + Send + 'static) {
        let load = Load {
            rooms: self.plan.rooms.clone(),
            ledger: Arc::clone(&self.ledger),
            board: Arc::clone(&self.plan.board),
            limits: self.plan.load.clone(),
            key: self.key.clone(),
        };
        (stop.clone(), load.run(stop))
    }

    fn write(self, stop: CancellationToken) -> (CancellationToken, impl Future<Output = Result<()>> + Send + 'static) {
        (stop.clone(), self.writers(stop))
    }

    /// One writer per lake table; when the last of them shows its first state to readers, the table is live.
    async fn writers(self, stop: CancellationToken) -> Result<()> {
        let Some(state) = self.ledger.get(&self.key).await else { return Ok(()) };
        let mut running: JoinSet<Result<()>> = JoinSet::new();
        let mut standings = Vec::new();
        for spec in targets::targets(&state) {
            self.plan.rooms.changelog.set_active(&state.topic, &targets::consumer(&spec), true).await?;
            let (standing, seen) = watch::channel(Standing::default());
            standings.push(seen);
            let write = Write {
                rooms: self.plan.rooms.clone(),
                ledger: Arc::clone(&self.ledger),
                board: Arc::clone(&self.plan.board),
                limits: self.plan.write.clone(),
                key: self.key.clone(),
                spec,
                standing,
            };
            running.spawn(write.run(stop.clone()).in_current_span());
        }
        self.standings.send_replace(standings.clone());
        let mut all_seen = Box::pin(all_seen(standings));
        let mut waiting = matches!(state.phase, Phase::CatchingUp { .. });
        let outcome = loop {
            tokio::select! {
                biased;
                () = &mut all_seen, if waiting => {
                    waiting = false;
                    self.went_live().await?;
                }
                ended = running.join_next() => match ended {
                    None => break Ok(()),
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(error))) => break Err(error),
                    Some(Err(error)) => break Err(Error::Table {
                        table: self.key.table.clone(),
                        reason: format!("a writer's task ended: {error}"),
                        remedy: "report this with the log, then run `binlake resume` for it".to_owned(),
                    }),
                },
            }
        };
        stop.cancel();
        while let Some(ended) = running.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::warn!(table = %self.key, error = logged(&error), "a second writer of the table failed as well");
            }
        }
        outcome
    }

    async fn went_live(&self) -> Result<()> {
        self.ledger
            .update(&self.key, |state| {
                if let Phase::CatchingUp { handoff } = state.phase {
                    state.phase = Phase::Live { handoff };
                }
            })
            .await?;
        tracing::info!(table = %self.key.table, generation = self.key.generation, phase = "live", "phase");
        Ok(())
    }

    /// Retry waits; anything else parks the table. Only a fenced daemon is passed on.
    async fn failed(&self, error: Error, wait: Duration, cancel: &CancellationToken) -> Result<()> {
        if self.ledger.get(&self.key).await.is_none() {
            // A newer generation took its place while it worked.
            return Ok(());
        }
        match error.remedy() {
            Remedy::Retry => {
                self.count("retry");
                let (reason, remedy) = describe(&error);
                tracing::warn!(table = %self.key, reason = logged(&error), remedy, wait_ms = wait.as_millis() as u64, "will be tried again");
                let trouble = Parked { reason, remedy, resumable: true, at_ms: self.plan.rooms.clock.now_ms() };
                if let Err(error) = self.ledger.in_trouble(&self.key, trouble).await {
                    tracing::warn!(table = %self.key, %error, "the trouble could not be written down");
                }
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                }
                Ok(())
            }
            Remedy::Fenced if self.is_superseded().await => {
                // Readers were switched to the newer generation: this one has nothing left to do and is about to be retired.
                cancel.cancelled().await;
                Ok(())
            }
            Remedy::Park(_) | Remedy::Stop(_) if self.is_replaced().await => {
                // Half retired: the change log, or the store, may have forgotten it already.
                cancel.cancelled().await;
                Ok(())
            }
            // A generation that the metadata store does not know of: it is older than the lake.
            Remedy::Fenced if error.is_replaced() => self.park(&error, "run `binlake rebuild` for it".to_owned()).await,
            Remedy::Fenced => Err(error),
            Remedy::Park(remedy) | Remedy::Stop(remedy) => self.park(&error, remedy).await,
        }
    }

    async fn park(&self, error: &Error, remedy: String) -> Result<()> {
        self.count("park");
        let (reason, _) = describe(error);
        tracing::error!(table = %self.key, reason = logged(error), remedy, phase = "parked", "phase");
        let at_ms = self.plan.rooms.clock.now_ms();
        let state = self.ledger.park(&self.key, Parked { reason, remedy, resumable: true, at_ms }).await?;
        self.ledger.works(&self.key).await?;
        targets::set_active(&self.plan.rooms, &state, false).await
    }

    /// Counts a failure by what is done about it.
    fn count(&self, remedy: &str) {
        if let Some(numbers) = self.plan.board.numbers() {
            numbers.failed("table", remedy);
        }
    }

    /// A newer generation is what readers see.
    async fn is_replaced(&self) -> bool {
        let generations = self.ledger.generations(&self.key.table).await;
        let mut newer = generations.iter().filter(|state| state.generation > self.key.generation);
        newer.any(|state| matches!(state.phase, Phase::Live { .. }))
    }

    async fn is_superseded(&self) -> bool {
        let newest = self.ledger.newest_of(&self.key.table).await;
        newest.is_none_or(|newest| newest.generation > self.key.generation)
    }
}

fn work(state: &TableState) -> Work {
    if !state.listed {
        return Work::Nothing;
    }
    match (&state.phase, &state.capture) {
        (Phase::Parked { .. } | Phase::Paused { .. }, _) | (Phase::Pending | Phase::Snapshotting, CaptureState::Wanted) => {
            Work::Nothing
        }
        (Phase::Pending | Phase::Snapshotting, CaptureState::On { .. }) => Work::Load,
        // Removed from the YAML in the middle of its snapshot.
        (Phase::Pending | Phase::Snapshotting, CaptureState::Ended { .. }) => Work::Nothing,
        (Phase::CatchingUp { .. } | Phase::Live { .. }, _) => Work::Write,
    }
}

async fn all_seen(mut standings: Vec<watch::Receiver<Standing>>) {
    for standing in &mut standings {
        if standing.wait_for(|standing| standing.seen.is_some()).await.is_err() {
            // The writer has ended; whoever waits for it learns that elsewhere.
            std::future::pending::<()>().await;
        }
    }
}

/// Whether every lake table of a table covers `target`: by its own position, or because it has taken all that its topic held below a
/// `published` that covers it.
pub fn reached(standings: &[watch::Receiver<Standing>], ends: &[LogPlace], target: Cut) -> bool {
    !standings.is_empty()
        && standings.iter().all(|standing| {
            let standing = standing.borrow();
            let taken = || ends.iter().zip(&standing.offsets).all(|(end, taken)| *taken >= end.offset);
            standing.seen.is_some_and(|seen| seen >= target || taken())
        })
}
