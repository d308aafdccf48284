//! Which lake tables one captured table feeds.

use std::sync::Arc;

use crate::changelog::Consumer;
use crate::lake::{LakeName, Layout, TableKind, TableSpec};
use crate::metadata::TableState;

use super::{Result, Rooms};

/// The lake tables of a generation: a mirror, a changelog, or both. Beside a mirror the changelog's name ends in `_changelog`.
pub fn targets(state: &TableState) -> Vec<TableSpec> {
    let (database, table) = &state.into;
    let spec = |table: String, kind: TableKind| TableSpec {
        name: LakeName { database: database.clone(), table },
        kind,
        generation: state.generation,
        schema: Arc::clone(&state.schema),
        layout: if state.layout_single { Layout::Single } else { Layout::Segments },
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

/// A table that stands still keeps its records only until the embedded log is full: it never stalls the others.
pub async fn set_active(rooms: &Rooms, state: &TableState, active: bool) -> Result<()> {
    for spec in targets(state) {
        rooms.changelog.set_active(&state.topic, &consumer(&spec), active).await?;
    }
    Ok(())
}
