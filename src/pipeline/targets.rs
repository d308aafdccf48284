//! Which lake tables one captured table feeds.

use std::sync::Arc;

use crate::change::{Cut, Failure, Remedy, TableName};
use crate::changelog::Consumer;
use crate::lake::{LakeName, Layout, TableKind, TableSpec, TimestampEncoding};
use crate::metadata::{Parked, TableState};

use super::{Error, Ledger, Result, Rooms, TableKey};

/// The lake tables of a generation: a mirror, a changelog, or both. Beside a mirror the changelog's name ends in `_changelog`.
pub fn targets(state: &TableState) -> Vec<TableSpec> {
    let (database, table) = &state.into;
    let spec = |table: String, kind: TableKind| TableSpec {
        name: LakeName { database: database.clone(), table },
        kind,
        generation: state.generation,
        schema: Arc::clone(&state.schema),
        partition_by: state.partition_by.clone().filter(|_| kind == TableKind::Mirror),
        layout: if state.layout_single { Layout::Single } else { Layout::Segments },
        timestamp_encoding: match state.timestamps_int96 {
            true => TimestampEncoding::Int96,
            false => TimestampEncoding::Int64,
        },
        datetimes: state.datetimes.clone(),
        daily: state.daily && kind == TableKind::Mirror,
        source: state.source.clone(),
    };
    names(&state.mode, table).into_iter().map(|(table, kind)| spec(table, kind)).collect()
}

/// The names of the lake tables that a mode asks for.
pub fn names(mode: &str, table: &str) -> Vec<(String, TableKind)> {
    let changelog = |name: String| (name, TableKind::Changelog);
    match mode {
        "changelog" => vec![changelog(table.to_owned())],
        "both" => vec![(table.to_owned(), TableKind::Mirror), changelog(format!("{table}_changelog"))],
        _ => vec![(table.to_owned(), TableKind::Mirror)],
    }
}

/// The name under which a lake table reads its topic.
pub fn consumer(spec: &TableSpec) -> Consumer {
    Consumer(format!("{}/g{:04}", spec.name, spec.generation))
}

/// Lets the change log forget generations of a table that are no longer stored: what it kept for them fills it for nobody.
pub async fn forget_the_gone(rooms: &Rooms, ledger: &Ledger, state: &TableState) -> Result<()> {
    let registered = rooms.changelog.consumers(&state.topic).await?;
    let known: Vec<Consumer> =
        ledger.generations(&state.table).await.iter().flat_map(|state| targets(state)).map(|spec| consumer(&spec)).collect();
    // Of other names there may be readers that we know nothing of.
    let ours: Vec<String> = targets(state).iter().map(|spec| format!("{}/g", spec.name)).collect();
    let is_gone = |one: &Consumer| ours.iter().any(|ours| one.0.starts_with(ours)) && !known.contains(one);
    let gone: Vec<Consumer> = registered.into_iter().filter(is_gone).collect();
    if gone.is_empty() {
        return Ok(());
    }
    Ok(rooms.changelog.forget(&state.topic, ledger.session_term(), &gone).await?)
}

/// Parks a table on the capture side, durably: of its changes at or behind `until` nothing is taken.
///
/// # Errors
/// The error itself where it does not ask for parking.
pub async fn end_capture(rooms: &Rooms, ledger: &Ledger, table: &TableName, until: Cut, error: Error) -> Result<()> {
    let Remedy::Park(remedy) = error.remedy() else { return Err(error) };
    let logged = error.without_values().unwrap_or_else(|| error.to_string());
    tracing::error!(table = %table, reason = logged, remedy, phase = "parked", "no longer captured");
    let parked = Parked { reason: error.to_string(), remedy, resumable: false, at_ms: rooms.clock.now_ms() };
    for state in ledger.generations(table).await {
        ledger.end_capture(&TableKey::of(&state), until, parked.clone()).await?;
        set_active(rooms, &state, false).await?;
    }
    Ok(())
}

/// A table that stands still keeps its records only until the embedded log is full: it never stalls the others.
pub async fn set_active(rooms: &Rooms, state: &TableState, active: bool) -> Result<()> {
    for spec in targets(state) {
        rooms.changelog.set_active(&state.topic, &consumer(&spec), active).await?;
    }
    Ok(())
}
