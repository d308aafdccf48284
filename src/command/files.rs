//! `files`: the live Parquet files of the committed state, or those of a day.

use std::path::Path;

use binlake::lake::{FrozenDay, TableKind};

use super::assemble::{Assembled, Need};
use super::{Failed, Outcome, print};

/// Prints the files of a table, one path a line.
pub(crate) async fn run(config: &Path, table: &str, changelog: bool, json: bool) -> Outcome {
    let rooms = Assembled::open(config, Need::Lake).await?;
    let state = rooms.table(table).await?;
    let specs = binlake::pipeline::targets::targets(&state);
    let wanted = match (state.mode.as_str(), changelog) {
        ("mirror", true) => {
            return Err(Failed(format!(
                "{table} has mode `mirror`: it keeps no changelog table\n  remedy: set `mode: both` and rebuild it"
            )));
        }
        ("both", true) => specs.last(),
        _ => specs.first(),
    };
    let Some(spec) = wanted else { return Err(Failed(format!("{table} feeds no lake table"))) };
    let committed = rooms.lake.published(&spec.name).await.map_err(|error| Failed::from_failure(&error))?;
    if committed.is_none() {
        return Err(Failed(format!(
            "{table} has no state that readers may see yet (phase {})\n  remedy: wait until `binlake status` shows it live",
            state.phase
        )));
    }
    let files = rooms.lake.files(&spec.name).await.map_err(|error| Failed::from_failure(&error))?;
    let seq = committed.map(|committed| committed.seq);
    let report = serde_json::json!({ "table": table, "seq": seq, "files": files });
    print_list(json.then_some(&report), &files)
}

/// The report, where one is wanted, or one path a line.
fn print_list(report: Option<&serde_json::Value>, files: &[String]) -> Outcome {
    print(&report.map_or_else(|| files.iter().map(|file| format!("{file}\n")).collect(), |report| format!("{report}\n")))?;
    Ok(true)
}

/// Prints the files of a day of a table's mirror, one path a line.
pub(crate) async fn of_day(config: &Path, table: &str, day: &str, json: bool) -> Outcome {
    let rooms = Assembled::open(config, Need::Lake).await?;
    let state = rooms.table(table).await?;
    let specs = binlake::pipeline::targets::targets(&state);
    let Some(mirror) = specs.first().filter(|spec| spec.kind == TableKind::Mirror) else {
        return Err(Failed(format!(
            "{table} has mode `{}`: there is no mirror to freeze\n  remedy: use mode `mirror` or `both`",
            state.mode
        )));
    };
    let failed = |error| Failed::from_failure(&error);
    let Some(frozen) = rooms.lake.day(&mirror.name, day).await.map_err(failed)? else {
        let days = rooms.lake.days(&mirror.name).await.map_err(failed)?;
        let there = match (days.first(), days.last()) {
            (Some(first), Some(last)) => format!("days from {first} to {last} are there"),
            _ => "no day is there: a day is frozen by the first transaction behind its midnight, with `daily: true`".to_owned(),
        };
        return Err(Failed(format!("{table} was not frozen for the day {day:?}\n  {there}")));
    };
    let FrozenDay { rows, bytes, files, .. } = frozen;
    let report = serde_json::json!({ "table": table, "day": day, "rows": rows, "bytes": bytes, "files": files });
    print_list(json.then_some(&report), &files)
}
