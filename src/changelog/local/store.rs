//! The log's SQLite file: its tables, its settings, its format.
//!
//! Everything but the records themselves can be read with the `sqlite3` shell; positions are text. Space that released records
//! leave is used again for new ones; when more than half of the file is free (and more than 64 MiB), it is given back to the file
//! system bit by bit (`auto_vacuum=INCREMENTAL`).

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::change::{ChangePosition, LogOffset, Term};
use crate::changelog::{Error, PartitionTail};

/// The file in the log's directory.
pub(super) const FILE: &str = "changelog.db";
/// `PRAGMA application_id`: "blog".
const APPLICATION: i64 = 0x626c_6f67;
/// The statements that lead from one format to the next. `PRAGMA user_version` counts those that were done.
const FORMATS: &[&str] = &["
    CREATE TABLE topics (
        topic_id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        partitions INTEGER NOT NULL,
        term INTEGER NOT NULL              -- the highest that has appended
    ) STRICT;
    CREATE TABLE partitions (
        topic_id INTEGER NOT NULL REFERENCES topics ON DELETE CASCADE,
        partition INTEGER NOT NULL,
        first_offset INTEGER NOT NULL,     -- the first record that is left
        end_offset INTEGER NOT NULL,       -- what the next record gets
        last_position TEXT,                -- of the last record, also when it was released
        last_term INTEGER,
        PRIMARY KEY (topic_id, partition)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE blocks (
        block_id INTEGER PRIMARY KEY,
        topic_id INTEGER NOT NULL REFERENCES topics ON DELETE CASCADE,
        partition INTEGER NOT NULL,
        first_offset INTEGER NOT NULL,
        end_offset INTEGER NOT NULL,
        bytes INTEGER NOT NULL,            -- what it counts for in usage
        term INTEGER NOT NULL,
        schema TEXT NOT NULL,              -- the fingerprint of the records' shape
        previous TEXT,                     -- the position of the record before the first
        first_position TEXT NOT NULL,
        last_position TEXT NOT NULL,
        raw_bytes INTEGER NOT NULL,        -- length of all keys and values
        crc32 INTEGER NOT NULL,            -- over all that reading relies on
        data BLOB NOT NULL                 -- the text of the records, LZ4 behind its length
    ) STRICT;
    CREATE UNIQUE INDEX blocks_by_offset ON blocks (topic_id, partition, first_offset);
    CREATE TABLE consumers (
        topic_id INTEGER NOT NULL REFERENCES topics ON DELETE CASCADE,
        name TEXT NOT NULL,
        active INTEGER NOT NULL,           -- 0: its records go when the log is full
        PRIMARY KEY (topic_id, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE consumer_offsets (
        topic_id INTEGER NOT NULL,
        name TEXT NOT NULL,
        partition INTEGER NOT NULL,
        offset INTEGER NOT NULL,           -- below it the consumer needs nothing any more
        PRIMARY KEY (topic_id, name, partition),
        FOREIGN KEY (topic_id, name) REFERENCES consumers ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE usage (bytes INTEGER NOT NULL) STRICT;
    INSERT INTO usage VALUES (0);
"];

/// Why work on the store failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// SQLite said so.
    Sql(rusqlite::Error),
    /// A number or text in the store is not what it must be.
    Content(String),
    /// The log's own rules.
    Log(Error),
}

/// What work on the store returns.
pub(super) type Outcome<T> = std::result::Result<T, Failed>;

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

impl Failed {
    /// The room's error, with the store's path.
    pub(super) fn at(self, path: &Path) -> Error {
        match self {
            Self::Sql(error) => storage(path, &error),
            Self::Content(reason) => Error::Storage { path: path.display().to_string(), reason },
            Self::Log(error) => error,
        }
    }
}

/// An error of the store.
pub(super) fn storage(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Storage { path: path.display().to_string(), reason: reason.to_string() }
}

/// Opens the store for writing, creating it or bringing it to the current format.
pub(super) fn open_for_writing(path: &Path) -> Outcome<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let empty: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (empty, application, found) != (0, 0, 0) {
        return Err(Failed::Content("the file is not a binlake change log".to_owned()));
    }
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    let Some(missing) = FORMATS.get(done..) else {
        let (path, known) = (path.display().to_string(), FORMATS.len() as i64);
        return Err(Failed::Log(Error::Format { path, found, known }));
    };
    connection.execute_batch(
        "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON; PRAGMA cache_size = -8000; PRAGMA wal_autocheckpoint = 4096; PRAGMA journal_size_limit = 67108864;",
    )?;
    let transaction = connection.transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    for (nth, statements) in missing.iter().enumerate() {
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "user_version", (done + nth + 1) as i64)?;
    }
    transaction.commit()?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_for_reading(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.execute_batch("PRAGMA cache_size = -2000;")?;
    Ok(connection)
}

/// A topic's row.
pub(super) struct Topic {
    pub(super) id: i64,
    pub(super) partitions: u32,
    pub(super) term: Term,
}

/// A partition's row.
pub(super) struct Partition {
    pub(super) first: LogOffset,
    pub(super) tail: PartitionTail,
}

/// The topic; [`Error::Missing`] if it was not opened.
pub(super) fn topic(connection: &Connection, name: &str) -> Outcome<Topic> {
    let mut statement = connection.prepare_cached("SELECT topic_id, partitions, term FROM topics WHERE name = ?1")?;
    let mut rows = statement.query([name])?;
    let Some(row) = rows.next()? else {
        return Err(Failed::Log(Error::Missing { topic: name.to_owned(), partition: None }));
    };
    Ok(Topic { id: row.get(0)?, partitions: row.get(1)?, term: Term(number(row.get(2)?)?) })
}

/// One partition of a topic; [`Error::Missing`] if it has no such.
pub(super) fn partition(connection: &Connection, name: &str, topic: &Topic, partition: u32) -> Outcome<Partition> {
    let mut statement = connection.prepare_cached(
        "SELECT first_offset, end_offset, last_position, last_term FROM partitions WHERE topic_id = ?1 AND partition = ?2",
    )?;
    let mut rows = statement.query((topic.id, partition))?;
    let Some(row) = rows.next()? else {
        return Err(Failed::Log(Error::Missing { topic: name.to_owned(), partition: Some(partition) }));
    };
    let position: Option<String> = row.get(2)?;
    let term: Option<i64> = row.get(3)?;
    let last = match (position, term) {
        (Some(position), Some(term)) => Some((place(&position)?, Term(number(term)?))),
        _ => None,
    };
    let end = LogOffset(number(row.get(1)?)?);
    Ok(Partition { first: LogOffset(number(row.get(0)?)?), tail: PartitionTail { end, last, marks: Vec::new() } })
}

/// A number as the store has it.
pub(super) fn number(stored: i64) -> Outcome<u64> {
    u64::try_from(stored).map_err(|_| Failed::Content(format!("the store holds {stored} where no negative number can be")))
}

/// A number as the store takes it.
pub(super) fn stored(number: u64) -> Outcome<i64> {
    i64::try_from(number).map_err(|_| Failed::Content(format!("{number} is more than the store can hold")))
}

fn place(text: &str) -> Outcome<ChangePosition> {
    text.parse().map_err(|error| Failed::Content(format!("{error}")))
}
