//! The store's format: a fresh store is made, an older one migrated in one transaction, a newer or a foreign one refused.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::lock::{self, Attempt};
use super::trouble::{Outcome, Trouble, loaded};
use crate::trial::{self, at};

/// What leads from format n to n + 1, from 0 (an empty file). Released steps never change.
const STEPS: &[&str] = &[
    include_str!("format_1.sql"),
    include_str!("format_2.sql"),
    include_str!("format_3.sql"),
    include_str!("format_4.sql"),
    include_str!("format_5.sql"),
    include_str!("format_6.sql"),
];

/// Brings the store to the newest format.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Outcome<()> {
    prepare_to(connection, path, STEPS)
}

fn prepare_to(connection: &mut Connection, path: &Path, steps: &[&str]) -> Outcome<()> {
    let known = loaded(|| "the number of formats".to_owned(), steps.len() as i64)?;
    let found = version(connection)?;
    if found == known {
        return Ok(());
    }
    // Nobody's store may change under a daemon of another version. A fresh store is made by whoever comes first.
    let _lock = if found == 0 { None } else { Some(exclusive(path, found, known)?) };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again: another process may have been faster.
    let found = version(&transaction)?;
    if found > known {
        return Err(Trouble::Newer { found, known });
    }
    if found == 0 {
        refuse_foreign(&transaction)?;
        transaction.execute_batch(
            "CREATE TABLE format (version INTEGER NOT NULL, binlake TEXT NOT NULL, at TEXT NOT NULL DEFAULT (datetime('now'))) STRICT;",
        )?;
    }
    for (number, step) in steps.iter().enumerate().skip(found as usize) {
        transaction.execute_batch(step)?;
        transaction
            .execute("INSERT INTO format (version, binlake) VALUES (?1, ?2)", (number as i64 + 1, env!("CARGO_PKG_VERSION")))?;
    }
    trial::point(at::FORMAT_STEP);
    transaction.commit()?;
    Ok(())
}

fn exclusive(path: &Path, found: u32, known: u32) -> Outcome<lock::ProcessLock> {
    if found > known {
        return Err(Trouble::Newer { found, known });
    }
    match lock::attempt(path, "migration")? {
        Attempt::Ours(lock) => Ok(lock),
        Attempt::Theirs(holder) => Err(Trouble::Held {
            resource: format!("metadata store {} (format {found}, to become {known})", path.display()),
            holder,
        }),
    }
}

/// The newest format that was written; 0 for a file without one.
fn version(connection: &Connection) -> Outcome<u32> {
    let there: Option<i64> = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'format'", (), |row| row.get(0))
        .optional()?;
    if there.is_none() {
        return Ok(0);
    }
    let version: Option<i64> = connection.query_row("SELECT max(version) FROM format", (), |row| row.get(0))?;
    match version {
        Some(version) => loaded(|| "table format".to_owned(), version),
        None => Err(Trouble::Corrupt { what: "table format".to_owned(), reason: "it is empty".to_owned() }),
    }
}

/// A database of something else is left alone.
fn refuse_foreign(connection: &Connection) -> Outcome<()> {
    let table: Option<String> =
        connection.query_row("SELECT name FROM sqlite_schema LIMIT 1", (), |row| row.get(0)).optional()?;
    match table {
        None => Ok(()),
        Some(table) => Err(Trouble::Corrupt {
            what: "the database".to_owned(),
            reason: format!("it is not binlake's: it has no table \"format\", but one called {table:?}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE one (a INTEGER) STRICT;";
    const SECOND: &str = "ALTER TABLE one ADD COLUMN b TEXT; INSERT INTO one VALUES (1, 'migrated');";

    fn store() -> (tempfile::TempDir, std::path::PathBuf, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("binlake.db");
        let connection = Connection::open(&path).unwrap();
        (directory, path, connection)
    }

    #[test]
    fn an_older_format_is_migrated_and_a_newer_one_refused() {
        let (_directory, path, mut connection) = store();
        prepare_to(&mut connection, &path, &[FIRST]).unwrap();
        prepare_to(&mut connection, &path, &[FIRST, SECOND]).unwrap();
        prepare_to(&mut connection, &path, &[FIRST, SECOND]).unwrap();
        let rows: i64 = connection.query_row("SELECT count(*) FROM one WHERE b = 'migrated'", (), |row| row.get(0)).unwrap();
        assert_eq!(rows, 1, "the step ran once");
        let refused = prepare_to(&mut connection, &path, &[FIRST]);
        assert!(matches!(refused, Err(Trouble::Newer { found: 2, known: 1 })), "{refused:?}");
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let (_directory, path, mut connection) = store();
        prepare_to(&mut connection, &path, &[FIRST]).unwrap();
        assert!(prepare_to(&mut connection, &path, &[FIRST, SECOND, "SELECT nonsense"]).is_err());
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(connection.prepare("SELECT b FROM one").is_err(), "the second step is undone with the third");
    }

    #[test]
    fn a_store_does_not_change_under_a_living_daemon() {
        let (_directory, path, mut connection) = store();
        prepare_to(&mut connection, &path, &[FIRST]).unwrap();
        let lock = lock::attempt(&path, "daemon").unwrap();
        assert!(matches!(prepare_to(&mut connection, &path, &[FIRST, SECOND]), Err(Trouble::Held { .. })));
        drop(lock);
        prepare_to(&mut connection, &path, &[FIRST, SECOND]).unwrap();
    }

    #[test]
    fn a_database_of_something_else_is_left_alone() {
        let (_directory, path, mut connection) = store();
        connection.execute_batch("CREATE TABLE customers (id INTEGER)").unwrap();
        assert!(matches!(prepare_to(&mut connection, &path, &[FIRST]), Err(Trouble::Corrupt { .. })));
    }
}
