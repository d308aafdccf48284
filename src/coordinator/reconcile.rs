//! The YAML's table list held against what is stored: tables are taken up, left behind, or told that they need a rebuild.
//!
//! A table that was altered or dropped while the daemon was down is *not* judged here: the stream will show the statement at its place,
//! with everything before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::change::{Failure, KeyKind, Remedy, TableName, TableSchema};
use crate::metadata::{CaptureState, Parked, Phase, TableState};
use crate::pipeline::past::{self, Past};
use crate::pipeline::{Error, Ledger, Result, TableKey, TableOptions, targets};

use super::{Form, SourcePlan, WantedTable};

/// Tables that the server is asked about at once, each on a connection of its own.
const DESCRIBED_AT_ONCE: usize = 4;

/// Brings the stored tables in line with the list.
///
/// # Errors
/// [`Error::Table`] with every mistake of the list: a named table that is not there, two tables into one name.
pub async fn reconcile(plan: &SourcePlan, ledger: &Ledger, take_over: bool) -> Result<Vec<WantedTable>> {
    let states = ledger.newest().await;
    let mut names: BTreeSet<TableName> = plan.rooms.source.tables().await?.into_iter().collect();
    names.extend(states.iter().map(|state| state.table.clone()));
    let names: Vec<TableName> = names.into_iter().collect();
    let wanted = (plan.resolver)(&names).map_err(|mistakes| Error::List { source_name: plan.name.clone(), mistakes })?;
    // Before anything is touched.
    let pasts = compare_with_past(plan, ledger, &wanted, &states, take_over).await?;
    give_forms(ledger, &wanted, &pasts).await?;
    let states = ledger.newest().await;
    let known: BTreeMap<&TableName, &Arc<TableState>> = states.iter().map(|state| (&state.table, state)).collect();
    let mut new: Vec<BoxFuture<'static, Result<TableState>>> = Vec::new();
    for (table, past) in wanted.iter().zip(&pasts).filter(|(table, _)| !known.contains_key(&table.name)) {
        let (plan, table, generation) = (plan.clone(), table.clone(), past.generation + 1);
        new.push(async move { new_generation(&plan, &table, generation).await }.boxed());
    }
    let new: Vec<TableState> = futures::stream::iter(new).buffered(DESCRIBED_AT_ONCE).try_collect().await?;
    ledger.insert_all(new).await?;
    for (table, past) in wanted.iter().zip(&pasts) {
        if let Some(state) = known.get(&table.name) {
            keep(plan, ledger, table, state, past).await?;
        }
    }
    let listed: BTreeSet<&TableName> = wanted.iter().map(|table| &table.name).collect();
    for state in states.iter().filter(|state| state.listed && !listed.contains(&state.table)) {
        leave(plan, ledger, state).await?;
    }
    Ok(wanted)
}

/// Tables looked at at a time.
const LOOKS_AT_ONCE: usize = 16;

/// What the lake and the change log remember of every table.
///
/// # Errors
/// [`Error::Ahead`] when they were written under a term that this store never gave, or, unless the operator says that he knows, when
/// the lake holds a table of which it knows nothing.
async fn compare_with_past(
    plan: &SourcePlan,
    ledger: &Ledger,
    wanted: &[WantedTable],
    states: &[Arc<TableState>],
    take_over: bool,
) -> Result<Vec<Past>> {
    let looks = wanted.iter().map(|table| past::of(&plan.rooms, &table.mode, &table.into, &table.topic));
    let pasts: Vec<Past> = futures::stream::iter(looks.collect::<Vec<_>>()).buffered(LOOKS_AT_ONCE).try_collect().await?;
    let ours = ledger.lease().term;
    let highest = pasts.iter().map(|past| past.term).max().unwrap_or_default();
    let ahead = |(table, past): &(&WantedTable, &Past)| {
        let unknown = past.generation > 0 && !states.iter().any(|state| state.table == table.name);
        past.term > ours || (unknown && !take_over)
    };
    match wanted.iter().zip(&pasts).find(ahead) {
        None => Ok(pasts),
        Some((table, past)) => Err(Error::Ahead {
            what: format!(
                "{} (lake table {}.{}, generation {}, term {})",
                table.name, table.into.0, table.into.1, past.generation, past.term
            ),
            found: highest,
            ours,
        }),
    }
}

/// Gives all generations of the listed tables what of the form that is wanted makes no difference to their files, and what is of no generation.
async fn give_forms(ledger: &Ledger, wanted: &[WantedTable], pasts: &[Past]) -> Result<()> {
    let wanted: BTreeMap<&TableName, (&WantedTable, &Past)> =
        wanted.iter().zip(pasts).map(|(table, past)| (&table.name, (table, past))).collect();
    let give = |state: &mut TableState| {
        if let Some((table, past)) = wanted.get(&state.table) {
            // No chunk is read before the plan is stored; of a store that is older than the lake the lake knows better.
            let untouched = state.plan.is_none() && past.generation < state.generation;
            table.form.give_to(state, untouched);
            state.daily = table.daily;
        }
    };
    ledger.update_every(give).await
}

/// A table's next generation, `generation` or higher: the lake must have no trace of it. Parked at once where it cannot be captured.
pub async fn insert_new(plan: &SourcePlan, ledger: &Ledger, table: &WantedTable, generation: u32) -> Result<()> {
    let past = past::of(&plan.rooms, &table.mode, &table.into, &table.topic).await?;
    let wanted = generation;
    let generation = wanted.max(past.generation + 1);
    let state = in_its_topic(ledger, new_generation(plan, table, generation).await?).await;
    ledger.insert(state).await?;
    // One of this number that was never captured, in a store that is older than the lake.
    let stale = TableKey { table: table.name.clone(), generation: wanted };
    match generation > wanted && ledger.get(&stale).await.is_some() {
        true => ledger.remove(&stale).await,
        false => Ok(()),
    }
}

/// Generations of one table that are captured at the same time share their topic: each change is appended once.
async fn in_its_topic(ledger: &Ledger, state: TableState) -> TableState {
    let known = ledger.generations(&state.table).await;
    let captured = known.iter().find(|older| matches!(older.capture, CaptureState::On { .. }));
    match captured {
        Some(older) if older.topic != state.topic => {
            tracing::warn!(table = %state.table, topic = older.topic, wanted = state.topic, "it stays in its topic while it is captured there");
            TableState { topic: older.topic.clone(), ..state }
        }
        _ => state,
    }
}

async fn new_generation(plan: &SourcePlan, table: &WantedTable, generation: u32) -> Result<TableState> {
    let mut state = TableState {
        source: plan.name.clone(),
        table: table.name.clone(),
        generation,
        mode: table.mode.clone(),
        into: table.into.clone(),
        layout_single: table.layout_single,
        partition_by: table.form.partition_by.clone(),
        timestamps_int96: table.form.timestamps_int96,
        datetimes: Some(table.form.datetimes.clone()),
        topic: table.topic.clone(),
        schema: Arc::new(TableSchema {
            name: table.name.clone(),
            columns: Vec::new(),
            key: Vec::new(),
            key_kind: KeyKind::None,
            physical_columns: 0,
            physical: Vec::new(),
        }),
        phase: Phase::Pending,
        capture: CaptureState::Wanted,
        starts: Vec::new(),
        since_checkpoint: None,
        visible: None,
        plan: None,
        planned_all: false,
        listed: true,
        daily: table.daily,
    };
    match plan.rooms.source.describe(&table.name, &table.options).await {
        Ok(schema) => state.schema = schema,
        Err(error) => match error.remedy() {
            Remedy::Park(remedy) if table.named && only_keyless(plan, table).await => {
                let mistakes = vec![format!("{error}; {remedy}")];
                return Err(Error::List { source_name: plan.name.clone(), mistakes });
            }
            Remedy::Park(remedy) => {
                tracing::error!(table = %table.name, reason = %error, remedy, phase = "parked", "phase");
                let parked = Parked { reason: error.to_string(), remedy, resumable: true, at_ms: plan.rooms.clock.now_ms() };
                state.phase = Phase::Parked { parked, before: Box::new(Phase::Pending) };
            }
            Remedy::Retry | Remedy::Stop(_) | Remedy::Fenced => return Err(error.into()),
        },
    }
    Ok(state)
}

/// Whether the table lacks nothing but a key: of a table that the list names this is a mistake of the list.
async fn only_keyless(plan: &SourcePlan, table: &WantedTable) -> bool {
    let options = TableOptions { keyless_allowed: true, ..table.options.clone() };
    !table.options.keyless_allowed && plan.rooms.source.describe(&table.name, &options).await.is_ok()
}

async fn keep(plan: &SourcePlan, ledger: &Ledger, table: &WantedTable, state: &TableState, past: &Past) -> Result<()> {
    let key = TableKey { table: state.table.clone(), generation: state.generation };
    let parked = state.phase.parked().is_some();
    if state.capture == CaptureState::Wanted && (parked || past.generation >= state.generation) {
        // It was never captured: whatever was in the way may be gone. What the lake may have of it is another capture's.
        return insert_new(plan, ledger, table, state.generation).await;
    }
    if matches!(state.capture, CaptureState::Ended { .. }) && !parked {
        tracing::info!(table = %state.table, "listed again: its changes were not captured in between, so it is built anew");
        return insert_new(plan, ledger, table, state.generation + 1).await;
    }
    for kept in table.form.kept_otherwise(state) {
        tracing::warn!(table = %state.table, remedy = Form::remedy(state), "{kept}");
    }
    let now = settings_of(table, state);
    let taken_back = now.is_none() && state.phase.parked().is_some_and(|parked| parked.reason.contains(CHANGED));
    if state.listed && now.is_none() && !taken_back {
        return Ok(());
    }
    ledger.update(&key, |state| state.listed = true).await?;
    if let Some(difference) = now {
        let reason = format!("{}: {difference} {CHANGED}", state.table);
        let remedy = format!("run `binlake rebuild {}` to build it anew, or take the change back", state.table);
        let at_ms = plan.rooms.clock.now_ms();
        ledger.park(&key, Parked { reason, remedy, resumable: true, at_ms }).await?;
    } else if taken_back {
        let unpark = |state: &mut TableState| {
            if let Phase::Parked { before, .. } = &state.phase {
                state.phase = Phase::clone(before);
            }
        };
        let resumed = ledger.update(&key, unpark).await?;
        tracing::info!(table = %resumed.table, phase = %resumed.phase, "phase");
    }
    Ok(())
}

/// Ends the reason of a table that is parked for its settings, and by that tells it: it goes on when they are what they were.
const CHANGED: &str = "since this generation was started";

/// What the YAML says otherwise than when the generation was started.
fn settings_of(table: &WantedTable, state: &TableState) -> Option<String> {
    if table.mode != state.mode {
        return Some(format!("`mode` was changed from {} to {}", state.mode, table.mode));
    }
    if table.into != state.into {
        return Some(format!(
            "the lake table was changed from {}.{} to {}.{}",
            state.into.0, state.into.1, table.into.0, table.into.1
        ));
    }
    let captured: BTreeSet<&str> = state.schema.columns.iter().map(|column| column.name.as_str()).collect();
    let excluded = |name: &str| table.options.exclude_columns.iter().any(|column| column.eq_ignore_ascii_case(name));
    let wanted: BTreeSet<&str> =
        state.schema.physical.iter().map(|(name, _)| name.as_str()).filter(|name| !excluded(name)).collect();
    (!state.schema.columns.is_empty() && captured != wanted).then(|| "`columns.exclude` was changed".to_owned())
}

async fn leave(plan: &SourcePlan, ledger: &Ledger, state: &TableState) -> Result<()> {
    tracing::info!(table = %state.table, "no longer listed: its lake table stays as it is");
    let until = ledger.source().await?.and_then(|source| source.published).map(|published| published.position);
    for state in ledger.generations(&state.table).await {
        ledger
            .update(&TableKey::of(&state), |state| {
                state.listed = false;
                if let CaptureState::On { since } = state.capture {
                    state.capture = CaptureState::Ended { since, until: until.unwrap_or(since).max(since) };
                }
            })
            .await?;
        targets::set_active(&plan.rooms, &state, false).await?;
    }
    Ok(())
}
