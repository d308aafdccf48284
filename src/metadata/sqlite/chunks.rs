//! The chunks of a generation's snapshot.

use rusqlite::Transaction;

use super::trouble::{Outcome, Trouble, loaded, parsed, stored};
use crate::change::TableName;
use crate::metadata::{ChunkDone, ChunkState};

/// The chunks in order.
pub(super) fn load(transaction: &Transaction<'_>, source: &str, table: &TableName, generation: u32) -> Outcome<Vec<ChunkState>> {
    let mut statement = transaction.prepare_cached(
        "SELECT chunk, range, attempts, high, rows, files, done_at_ms FROM chunks
         WHERE source = ?1 AND database = ?2 AND name = ?3 AND generation = ?4 ORDER BY chunk",
    )?;
    let mut rows = statement.query((source, &table.database, &table.table, generation))?;
    let mut chunks = Vec::new();
    while let Some(row) = rows.next()? {
        let index: i64 = row.get(0)?;
        let what = || format!("chunk {index} of {table}, generation {generation}");
        let done = match (row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?) {
            (None, None, None, None) => None,
            (Some(high), Some(rows), Some(files), Some(at_ms)) => Some(done(what, high, rows, files, at_ms)?),
            _ => return Err(Trouble::Corrupt { what: what(), reason: "it is neither planned nor done".to_owned() }),
        };
        let range = row.get(1)?;
        chunks.push(ChunkState { index: loaded(what, index)?, range, attempts: loaded(what, row.get(2)?)?, done });
    }
    Ok(chunks)
}

fn done(what: impl Fn() -> String, high: String, rows: i64, files: String, at_ms: i64) -> Outcome<ChunkDone> {
    Ok(ChunkDone { high: parsed(&what, &high)?, rows: loaded(&what, rows)?, files, at_ms: loaded(&what, at_ms)? })
}

/// Inserts or replaces one chunk.
pub(super) fn save(
    transaction: &Transaction<'_>,
    source: &str,
    table: &TableName,
    generation: u32,
    chunk: &ChunkState,
) -> Outcome<()> {
    let done = chunk.done.as_ref();
    let mut statement = transaction.prepare_cached(
        "INSERT OR REPLACE INTO chunks (source, database, name, generation, chunk, range, attempts, high, rows, files, done_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    statement.execute((
        source,
        &table.database,
        &table.table,
        generation,
        stored(chunk.index)?,
        &chunk.range,
        chunk.attempts,
        done.map(|done| done.high.to_string()),
        done.map(|done| stored(done.rows)).transpose()?,
        done.map(|done| &done.files),
        done.map(|done| stored(done.at_ms)).transpose()?,
    ))?;
    Ok(())
}

/// A chunk's file and `high` enter together; false when it is in already.
pub(super) fn finish(
    transaction: &Transaction<'_>,
    source: &str,
    table: &TableName,
    generation: u32,
    index: u64,
    done: &ChunkDone,
) -> Outcome<bool> {
    let changed = transaction.execute(
        "UPDATE chunks SET high = ?6, rows = ?7, files = ?8, done_at_ms = ?9
         WHERE source = ?1 AND database = ?2 AND name = ?3 AND generation = ?4 AND chunk = ?5 AND high IS NULL",
        (
            source,
            &table.database,
            &table.table,
            generation,
            stored(index)?,
            done.high.to_string(),
            stored(done.rows)?,
            &done.files,
            stored(done.at_ms)?,
        ),
    )?;
    if changed == 1 {
        return Ok(true);
    }
    let there: i64 = transaction.query_row(
        "SELECT count(*) FROM chunks WHERE source = ?1 AND database = ?2 AND name = ?3 AND generation = ?4 AND chunk = ?5",
        (source, &table.database, &table.table, generation, stored(index)?),
        |row| row.get(0),
    )?;
    match there {
        0 => Err(Trouble::Refused(format!("{table}, generation {generation}, has no chunk {index}"))),
        _ => Ok(false),
    }
}
