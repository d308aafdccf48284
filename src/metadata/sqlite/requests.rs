//! What operators asked for on the command line, until the daemon has taken it up.

use rusqlite::Transaction;

use super::trouble::{Outcome, Trouble, loaded, stored};
use crate::change::TableName;
use crate::metadata::{Request, RequestKind};

/// Puts a request; its number.
pub(super) fn put(transaction: &Transaction<'_>, source: &str, table: &TableName, kind: RequestKind) -> Outcome<u64> {
    let kind = match kind {
        RequestKind::Pause => "pause",
        RequestKind::Resume => "resume",
        RequestKind::Rebuild => "rebuild",
    };
    let id: i64 = transaction.query_row(
        "INSERT INTO requests (source, database, name, kind) VALUES (?1, ?2, ?3, ?4) RETURNING id",
        (source, &table.database, &table.table, kind),
        |row| row.get(0),
    )?;
    loaded(|| "a request's id".to_owned(), id)
}

/// All requests, oldest first.
pub(super) fn all(transaction: &Transaction<'_>) -> Outcome<Vec<Request>> {
    let mut statement = transaction.prepare_cached("SELECT id, source, database, name, kind FROM requests ORDER BY id")?;
    let mut rows = statement.query(())?;
    let mut requests = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let kind: String = row.get(4)?;
        requests.push(Request {
            id: loaded(|| "a request's id".to_owned(), id)?,
            source: row.get(1)?,
            table: TableName { database: row.get(2)?, table: row.get(3)? },
            kind: match kind.as_str() {
                "pause" => RequestKind::Pause,
                "resume" => RequestKind::Resume,
                "rebuild" => RequestKind::Rebuild,
                other => {
                    return Err(Trouble::Corrupt { what: format!("request {id}"), reason: format!("unknown kind {other:?}") });
                }
            },
        });
    }
    Ok(requests)
}

/// Forgets a request; one that is gone already is fine.
pub(super) fn forget(transaction: &Transaction<'_>, id: u64) -> Outcome<()> {
    transaction.execute("DELETE FROM requests WHERE id = ?1", [stored(id)?])?;
    Ok(())
}
