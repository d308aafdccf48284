//! What tables' workers fail on at present.

use rusqlite::Transaction;

use super::trouble::{Outcome, loaded, stored};
use crate::change::TableName;
use crate::metadata::Parked;

/// All of a source.
pub(super) fn load(transaction: &Transaction<'_>, source: &str) -> Outcome<Vec<(TableName, u32, Parked)>> {
    let mut statement = transaction.prepare_cached(
        "SELECT database, name, generation, reason, remedy, since_ms FROM troubles WHERE source = ?1 ORDER BY database, name, generation",
    )?;
    let mut rows = statement.query([source])?;
    let mut troubles = Vec::new();
    while let Some(row) = rows.next()? {
        let table = TableName { database: row.get(0)?, table: row.get(1)? };
        let what = || format!("trouble of {table}");
        let trouble = Parked { reason: row.get(3)?, remedy: row.get(4)?, resumable: true, at_ms: loaded(what, row.get(5)?)? };
        let generation = loaded(what, row.get(2)?)?;
        troubles.push((table, generation, trouble));
    }
    Ok(troubles)
}

/// One table's, or that it has none.
pub(super) fn save(
    transaction: &Transaction<'_>,
    source: &str,
    table: &TableName,
    generation: u32,
    trouble: Option<&Parked>,
) -> Outcome<()> {
    let key = (source, &table.database, &table.table, generation);
    let Some(trouble) = trouble else {
        let sql = "DELETE FROM troubles WHERE source = ?1 AND database = ?2 AND name = ?3 AND generation = ?4";
        transaction.prepare_cached(sql)?.execute(key)?;
        return Ok(());
    };
    let mut statement = transaction.prepare_cached(
        "INSERT OR REPLACE INTO troubles (source, database, name, generation, reason, remedy, since_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let (source, database, name, generation) = key;
    statement.execute((source, database, name, generation, &trouble.reason, &trouble.remedy, stored(trouble.at_ms)?))?;
    Ok(())
}
