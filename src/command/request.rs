//! `pause`, `resume`, `rebuild`: a request in the metadata store, taken up by the daemon within a second.

use binlake::metadata::RequestKind;

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
