//! A table's publication in the metastore: kept up beside its attendant, whatever phase that is in.
//!
//! The metastore may be away for long, and a table there may be somebody else's: neither is the table's own trouble, so nothing is
//! parked. It is said once, and tried again until it passes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::change::{Failure, Remedy};
use crate::metadata::Parked;
use crate::pipeline::publish::Publish;
use crate::pipeline::{Error, Ledger, Result, TableKey, targets};

use super::supervisor::{Backoff, describe};
use super::{Settings, SourcePlan};

/// The lake tables of a table whose publication does not pass of itself, and why.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<String, Parked>>>);

impl Refusals {
    /// Why the publication of a lake table stands still.
    pub fn of(&self, lake_table: &str) -> Option<Parked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(lake_table).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Parked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn set(&self, lake_table: &str, refusal: Option<Parked>) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match refusal {
            Some(refusal) => drop(refusals.insert(lake_table.to_owned(), refusal)),
            None => drop(refusals.remove(lake_table)),
        }
    }
}

/// Keeps up the publication of all lake tables of a table until cancelled. Never fails.
pub async fn run(
    plan: SourcePlan,
    ledger: Arc<Ledger>,
    key: TableKey,
    settings: Settings,
    refusals: Refusals,
    cancel: CancellationToken,
) -> Result<()> {
    let Some(state) = ledger.get(&key).await else { return Ok(()) };
    let mut running = JoinSet::new();
    for spec in targets::targets(&state) {
        let publish = Publish { rooms: plan.rooms.clone(), board: Arc::clone(&plan.board), key: key.clone(), spec };
        running.spawn(keep_up(publish, settings.clone(), refusals.clone(), cancel.clone()).in_current_span());
    }
    while running.join_next().await.is_some() {}
    Ok(())
}

async fn keep_up(publish: Publish, settings: Settings, refusals: Refusals, cancel: CancellationToken) {
    let name = publish.spec.name.to_string();
    let mut backoff = Backoff::new(settings.backoff, settings.backoff_max);
    let mut commits = publish.commits();
    let mut said = String::new();
    loop {
        commits.forget();
        let started = Instant::now();
        let tried = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            tried = publish.once() => tried,
        };
        let Err(error) = tried else {
            refusals.set(&name, None);
            if !std::mem::take(&mut said).is_empty() {
                tracing::info!(table = name, "publication has caught up");
            }
            backoff = Backoff::new(settings.backoff, settings.backoff_max);
            if publish.wait(&mut commits, &cancel).await { continue } else { return }
        };
        refusals.set(&name, note(&publish, &error, &mut said));
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(backoff.wait(started.elapsed())) => {}
        }
    }
}

/// Says why it failed, the same reason once, and answers what does not pass of itself.
fn note(publish: &Publish, error: &Error, said: &mut String) -> Option<Parked> {
    let (reason, remedy) = describe(error);
    let stands_still = matches!(error.remedy(), Remedy::Park(_) | Remedy::Stop(_));
    if *said != reason {
        match stands_still {
            true => tracing::error!(table = %publish.spec.name, reason, remedy, "publication stands still"),
            false => tracing::warn!(table = %publish.spec.name, reason, remedy, "publication will be tried again"),
        }
        said.clone_from(&reason);
    }
    stands_still.then(|| Parked { reason, remedy, resumable: true, at_ms: publish.rooms.clock.now_ms() })
}
