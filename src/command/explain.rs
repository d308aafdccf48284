//! `explain`: the handoff ledger of a table, from the metadata store and the lake's commit records.

use std::path::Path;

use binlake::lake::HistoryEntry;
use binlake::metadata::{CaptureState, TableState};
use binlake::pipeline::targets;
use serde_json::{Value, json};

use super::assemble::{Assembled, Need};
use super::{Failed, Outcome, print};

/// Prints the ledger.
pub(crate) async fn run(config: &Path, table: &str, as_json: bool) -> Outcome {
    let rooms = Assembled::open(config, Need::Lake).await?;
    let state = rooms.table(table).await?;
    let ledger = ledger(&rooms, &state).await?;
    if as_json {
        print(&format!("{ledger}\n"))?;
    } else {
        print(&for_people(&ledger))?;
    }
    Ok(true)
}

async fn ledger(rooms: &Assembled, state: &TableState) -> Result<Value, Failed> {
    let (since, until) = match state.capture {
        CaptureState::Wanted => (None, None),
        CaptureState::On { since } => (Some(since), None),
        CaptureState::Ended { since, until } => (Some(since), Some(until)),
    };
    let chunks = rooms
        .metadata
        .chunks(&state.source, &state.table, state.generation)
        .await
        .map_err(|error| Failed::from_failure(&error))?;
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|chunk| {
            let files = chunk.done.as_ref().map(|done| document(&done.files));
            json!({
                "chunk": chunk.index,
                "range": document(&chunk.range),
                "attempts": chunk.attempts,
                "high": chunk.done.as_ref().map(|done| done.high),
                "rows": chunk.done.as_ref().map(|done| done.rows),
                "files": files,
            })
        })
        .collect();
    let mut lake_tables = Vec::new();
    for spec in targets::targets(state) {
        let history = rooms.lake.history(&spec.name, spec.generation).await.map_err(|error| Failed::from_failure(&error))?;
        let first_live =
            history.iter().find(|entry| entry.point.as_ref().is_some_and(|point| point.publish)).map(|entry| entry.seq);
        lake_tables.push(json!({ "lake_table": spec.name.to_string(), "first_live_commit": first_live, "commits": history }));
    }
    Ok(json!({
        "table": state.table.to_string(),
        "generation": state.generation,
        "phase": state.phase.to_string(),
        "topic": state.topic,
        "starts": state.starts,
        "since": since,
        "captured_until": until,
        "since_checkpoint": state.since_checkpoint.as_deref().map(document),
        "visible": state.visible.as_deref().map(document),
        "chunks": chunks,
        "handoff": state.phase.handoff(),
        "lake_tables": lake_tables,
    }))
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn for_people(ledger: &Value) -> String {
    let show = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut text = format!(
        "{} generation {} ({})\n  since    {}  seen visible by {}\n  handoff  {}\n",
        show(&ledger["table"]),
        show(&ledger["generation"]),
        show(&ledger["phase"]),
        show(&ledger["since"]),
        show(&ledger["visible"]["by"]),
        show(&ledger["handoff"]),
    );
    for chunk in ledger["chunks"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "  chunk {:>5}  high {:<24} rows {:>9}  attempts {}\n",
            show(&chunk["chunk"]),
            show(&chunk["high"]),
            show(&chunk["rows"]),
            show(&chunk["attempts"])
        ));
    }
    for table in ledger["lake_tables"].as_array().into_iter().flatten() {
        text.push_str(&format!("  {}  first live commit {}\n", show(&table["lake_table"]), show(&table["first_live_commit"])));
        for entry in table["commits"].as_array().into_iter().flatten() {
            text.push_str(&commit_line(entry));
        }
    }
    text
}

fn commit_line(entry: &Value) -> String {
    let Ok(entry) = serde_json::from_value::<HistoryEntry>(entry.clone()) else { return String::new() };
    let (position, offsets) = match &entry.point {
        Some(point) => {
            let offsets: Vec<String> = point.offsets.iter().map(ToString::to_string).collect();
            (point.position.to_string(), offsets.join(","))
        }
        None => ("-".to_owned(), "-".to_owned()),
    };
    let (inserted, updated, deleted) = entry.rows;
    format!(
        "    {:>6} {:<8} term {:<4} position {position:<24} offsets {offsets:<12} +{inserted} ~{updated} -{deleted} files +{} -{}\n",
        entry.seq, entry.kind, entry.term, entry.files_added, entry.files_removed
    )
}
