//! `pause`, `resume`, `rebuild`: a request in the metadata store, taken up by the daemon within a second.
//!
//! A rebuild reads the server's rows. `--from changelog` is known and refused: a table's snapshot goes straight into the lake, so the change
//! log holds what changed since, and never the table. Applied to nothing, it would be the table only if that was empty when its capture
//! began, it is captured since without a break and in the same shape, and not one record has gone; then the records from `since` on, taken
//! once more by a generation with the same `since` and the same places, would do.

use binlake::metadata::{ChunkState, RequestKind, TableState};

use super::assemble::{Assembled, Need};
use super::{Failed, Outcome, print};
use crate::arguments::Tables;

/// Puts the requests; says so when nobody is there to take them up.
pub(crate) async fn run(tables: &Tables, kind: RequestKind) -> Outcome {
    let rooms = Assembled::open(&tables.file.config, Need::Metadata).await?;
    let mut states = Vec::new();
    for table in &tables.tables {
        states.push(rooms.table(table).await?);
    }
    for state in &states {
        rooms.metadata.put_request(&state.source, &state.table, kind).await.map_err(|error| Failed::from_failure(&error))?;
    }
    let running = rooms.daemon_is_running();
    let word = match kind {
        RequestKind::Pause => "pause",
        RequestKind::Resume => "resume",
        RequestKind::Rebuild => "rebuild",
    };
    if tables.json {
        let names: Vec<String> = states.iter().map(|state| state.table.to_string()).collect();
        print(&format!("{}\n", serde_json::json!({ "request": word, "tables": names, "daemon_running": running })))?;
        return Ok(true);
    }
    for state in &states {
        let when = if running {
            "the daemon takes it up within a second"
        } else {
            "no daemon is running: it takes effect at the next start"
        };
        print(&format!("{word} {}: {when}\n", state.table))?;
    }
    Ok(true)
}

/// Says of each table why it is not built from its change log.
pub(crate) async fn refuse_changelog(tables: &Tables) -> Outcome {
    let rooms = Assembled::open(&tables.file.config, Need::Metadata).await?;
    let mut refusals = Vec::new();
    for table in &tables.tables {
        let state = rooms.table(table).await?;
        let chunks = rooms.metadata.chunks(&state.source, &state.table, state.generation).await;
        let chunks = chunks.map_err(|error| Failed::from_failure(&error))?;
        refusals.push(format!(
            "{table} cannot be built from its change log: {}\n  remedy: run `binlake rebuild {table}`, which reads the server's rows while readers keep what they have",
            why_no_changelog(&state, &chunks)
        ));
    }
    Err(Failed(refusals.join("\n")))
}

fn why_no_changelog(state: &TableState, chunks: &[ChunkState]) -> String {
    let rows: u64 = chunks.iter().filter_map(|chunk| chunk.done.as_ref()).map(|done| done.rows).sum();
    match (state.phase.handoff(), state.capture.since()) {
        (Some(_), Some(since)) if rows == 0 => format!(
            "its snapshot had no row, so all of it would be in the log from {since} on, if that still held it; this is not implemented"
        ),
        (Some(_), Some(since)) => format!(
            "the {rows} rows of its snapshot went straight into the lake and are in no record of the log, which begins for it at {since}"
        ),
        _ => "its first snapshot is not complete".to_owned(),
    }
}
