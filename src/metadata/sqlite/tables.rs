//! Tables: one row per generation, and the shapes they were captured in.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Row, Transaction};

use super::trouble::{Outcome, Trouble, document, loaded, parsed, written};
use crate::change::{TableName, TableSchema};
use crate::metadata::{CaptureState, TableState};

const COLUMNS: &str =
    "t.source, t.database, t.name, t.generation, t.mode, t.into_database, t.into_table, t.layout_single, t.timestamps_int96, t.datetimes, t.daily, t.partition_by, t.topic,
  t.phase_document, t.capture, t.since, t.captured_until, t.starts, t.since_checkpoint, t.visible, t.plan, t.planned_all,
  t.listed, s.document AS schema_document
  FROM tables t LEFT JOIN schemas s ON s.source = t.source AND s.database = t.database AND s.name = t.name
    AND s.version = t.schema_version";

/// The newest generation of every table of a source.
pub(super) fn newest(transaction: &Transaction<'_>, source: &str) -> Outcome<Vec<TableState>> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE t.source = ?1 AND t.generation = (SELECT max(n.generation) FROM tables n
           WHERE n.source = t.source AND n.database = t.database AND n.name = t.name) ORDER BY t.database, t.name"
    ))?;
    let mut rows = statement.query([source])?;
    let mut tables = Vec::new();
    while let Some(row) = rows.next()? {
        tables.push(from_row(row)?);
    }
    Ok(tables)
}

/// All generations of one table, oldest first.
pub(super) fn generations(transaction: &Transaction<'_>, source: &str, table: &TableName) -> Outcome<Vec<TableState>> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE t.source = ?1 AND t.database = ?2 AND t.name = ?3 ORDER BY t.generation"
    ))?;
    let mut rows = statement.query((source, &table.database, &table.table))?;
    let mut tables = Vec::new();
    while let Some(row) = rows.next()? {
        tables.push(from_row(row)?);
    }
    Ok(tables)
}

fn from_row(row: &Row<'_>) -> Outcome<TableState> {
    let table = TableName { database: row.get("database")?, table: row.get("name")? };
    let generation: i64 = row.get("generation")?;
    let what = |part: &str| format!("table {table}, generation {generation}: {part}");
    let schema: Option<String> = row.get("schema_document")?;
    let Some(schema) = schema else {
        return Err(Trouble::Corrupt { what: what("schema"), reason: "its version is missing".to_owned() });
    };
    let (phase, offsets): (String, String) = (row.get("phase_document")?, row.get("starts")?);
    let datetimes: Option<String> = row.get("datetimes")?;
    Ok(TableState {
        source: row.get("source")?,
        generation: loaded(|| what("generation"), generation)?,
        mode: row.get("mode")?,
        into: (row.get("into_database")?, row.get("into_table")?),
        layout_single: row.get("layout_single")?,
        timestamps_int96: row.get("timestamps_int96")?,
        datetimes: datetimes.map(|text| parsed(|| what("datetimes"), &text)).transpose()?,
        topic: row.get("topic")?,
        schema: Arc::new(document::<TableSchema>(|| what("schema"), &schema)?),
        phase: document(|| what("phase"), &phase)?,
        capture: capture(&what, row.get("capture")?, row.get("since")?, row.get("captured_until")?)?,
        starts: document(|| what("starts"), &offsets)?,
        since_checkpoint: row.get("since_checkpoint")?,
        visible: row.get("visible")?,
        plan: row.get("plan")?,
        planned_all: row.get("planned_all")?,
        listed: row.get("listed")?,
        daily: row.get("daily")?,
        partition_by: row.get("partition_by")?,
        table,
    })
}

fn capture(what: &dyn Fn(&str) -> String, name: String, since: Option<String>, until: Option<String>) -> Outcome<CaptureState> {
    let position = |part: &'static str, text: &str| parsed(|| what(part), text);
    match (name.as_str(), since, until) {
        ("wanted", None, None) => Ok(CaptureState::Wanted),
        ("on", Some(since), None) => Ok(CaptureState::On { since: position("since", &since)? }),
        ("ended", Some(since), Some(until)) => {
            Ok(CaptureState::Ended { since: position("since", &since)?, until: position("captured_until", &until)? })
        }
        (name, since, until) => Err(Trouble::Corrupt {
            what: what("capture"),
            reason: format!("{name:?} with since {since:?} and captured_until {until:?}"),
        }),
    }
}

/// Inserts or updates one generation.
pub(super) fn save(transaction: &Transaction<'_>, state: &TableState) -> Outcome<()> {
    let schema_version = save_schema(transaction, state)?;
    let until = match &state.capture {
        CaptureState::Ended { until, .. } => Some(until.to_string()),
        CaptureState::Wanted | CaptureState::On { .. } => None,
    };
    let mut statement = transaction.prepare_cached(
        "INSERT INTO tables (source, database, name, generation, mode, into_database, into_table, layout_single, topic, phase_document,
           capture, since, captured_until, starts, since_checkpoint, visible, plan, planned_all, listed, schema_version, timestamps_int96,
           datetimes, daily, partition_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)
         ON CONFLICT DO UPDATE SET mode = excluded.mode, into_database = excluded.into_database, into_table = excluded.into_table,
           layout_single = excluded.layout_single, topic = excluded.topic, phase_document = excluded.phase_document,
           capture = excluded.capture, since = excluded.since, captured_until = excluded.captured_until,
           starts = excluded.starts, since_checkpoint = excluded.since_checkpoint, visible = excluded.visible,
           plan = excluded.plan, planned_all = excluded.planned_all, listed = excluded.listed,
           schema_version = excluded.schema_version, timestamps_int96 = excluded.timestamps_int96,
           datetimes = excluded.datetimes, daily = excluded.daily, partition_by = excluded.partition_by",
    )?;
    statement.execute(rusqlite::params![
        state.source,
        state.table.database,
        state.table.table,
        state.generation,
        state.mode,
        state.into.0,
        state.into.1,
        state.layout_single,
        state.topic,
        written(&state.phase)?,
        state.capture.name(),
        state.capture.since().map(|since| since.to_string()),
        until,
        written(&state.starts)?,
        state.since_checkpoint,
        state.visible,
        state.plan,
        state.planned_all,
        state.listed,
        schema_version,
        state.timestamps_int96,
        state.datetimes.as_ref().map(ToString::to_string),
        state.daily,
        state.partition_by,
    ])?;
    Ok(())
}

/// The version of the state's shape; a shape that is new to the table gets the next one. Shapes are compared whole: a fingerprint
/// of four bytes is for people.
fn save_schema(transaction: &Transaction<'_>, state: &TableState) -> Outcome<i64> {
    let (database, name, text) = (&state.table.database, &state.table.table, written(&*state.schema)?);
    let known: Option<i64> = transaction
        .prepare_cached("SELECT version FROM schemas WHERE source = ?1 AND database = ?2 AND name = ?3 AND document = ?4")?
        .query_row((&state.source, database, name, &text), |row| row.get(0))
        .optional()?;
    if let Some(version) = known {
        return Ok(version);
    }
    Ok(transaction.query_row(
        "INSERT INTO schemas (source, database, name, version, fingerprint, document)
         SELECT ?1, ?2, ?3, coalesce(max(version), 0) + 1, ?4, ?5 FROM schemas WHERE source = ?1 AND database = ?2 AND name = ?3
         RETURNING version",
        (&state.source, database, name, state.schema.id(), &text),
        |row| row.get(0),
    )?)
}

/// Removes one generation with its chunks; with the last one its shapes; with the last one of its topic the topic's ends, so that a
/// topic of the same name, whose offsets begin anew, is not measured by them. One that is not there is fine.
pub(super) fn remove(transaction: &Transaction<'_>, source: &str, table: &TableName, generation: u32) -> Outcome<()> {
    let topic: Option<String> = transaction
        .query_row(
            "DELETE FROM tables WHERE source = ?1 AND database = ?2 AND name = ?3 AND generation = ?4 RETURNING topic",
            (source, &table.database, &table.table, generation),
            |row| row.get(0),
        )
        .optional()?;
    transaction.execute(
        "DELETE FROM schemas AS s WHERE s.source = ?1 AND s.database = ?2 AND s.name = ?3
           AND NOT EXISTS (SELECT 1 FROM tables t WHERE t.source = ?1 AND t.database = ?2 AND t.name = ?3)",
        (source, &table.database, &table.table),
    )?;
    transaction.execute(
        "DELETE FROM topic_ends WHERE source = ?1 AND topic = ?2
           AND NOT EXISTS (SELECT 1 FROM tables t WHERE t.source = ?1 AND t.topic = ?2)",
        (source, topic),
    )?;
    Ok(())
}

/// Records whether more chunks will be planned.
pub(super) fn set_planned_all(
    transaction: &Transaction<'_>,
    source: &str,
    table: &TableName,
    generation: u32,
    planned_all: bool,
) -> Outcome<()> {
    let changed = transaction.execute(
        "UPDATE tables SET planned_all = ?5 WHERE source = ?1 AND database = ?2 AND name = ?3 AND generation = ?4",
        (source, &table.database, &table.table, generation, planned_all),
    )?;
    match changed {
        1 => Ok(()),
        _ => Err(Trouble::Refused(format!("{table} has no generation {generation}"))),
    }
}
