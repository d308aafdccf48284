//! What goes wrong inside a transaction, before it is known to the room as an [`Error`] with the store's path.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::change::Term;
use crate::metadata::Error;

/// What a step inside a transaction returns.
pub(super) type Outcome<T> = std::result::Result<T, Trouble>;

/// What went wrong.
#[derive(Debug)]
pub(super) enum Trouble {
    /// SQLite refused.
    Sqlite(rusqlite::Error),
    /// The operating system refused.
    Io(std::io::Error),
    /// Another process has taken the resource over.
    Fenced { resource: String, term: Term, by: Term },
    /// Another process holds the resource.
    Held { resource: String, holder: String },
    /// Written by a newer binlake.
    Newer { found: u32, known: u32 },
    /// A document or a column that cannot be read.
    Corrupt { what: String, reason: String },
    /// What the call names is not there, or a value does not fit.
    Refused(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Trouble {
    /// Names the store.
    pub(super) fn at(self, path: &Path) -> Error {
        let path = path.display().to_string();
        match self {
            Self::Sqlite(error) => sqlite_error(path, &error),
            Self::Io(error) => Error::Storage { path, reason: error.to_string() },
            Self::Fenced { resource, term, by } => Error::Fenced { resource, term, by },
            Self::Held { resource, holder } => Error::Held { resource, holder },
            Self::Newer { found, known } => Error::Newer { path, found, known },
            Self::Corrupt { what, reason } => Error::Corrupt { path, what, reason },
            Self::Refused(reason) => Error::Storage { path, reason },
        }
    }
}

/// A file that SQLite cannot make sense of will not get better by trying again; everything else (busy, full, I/O) may.
fn sqlite_error(path: String, error: &rusqlite::Error) -> Error {
    let reason = error.to_string();
    match error {
        rusqlite::Error::SqliteFailure(failure, _)
            if matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
        {
            Error::Corrupt { path, what: "the database file".to_owned(), reason }
        }
        rusqlite::Error::InvalidColumnType(_, column, _) => {
            Error::Corrupt { path, what: format!("column {column}"), reason: reason.clone() }
        }
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::IntegralValueOutOfRange(..) => {
            Error::Corrupt { path, what: "a column".to_owned(), reason }
        }
        _ => Error::Storage { path, reason },
    }
}

/// A document this room reads.
pub(super) fn document<T: serde::de::DeserializeOwned>(what: impl FnOnce() -> String, text: &str) -> Outcome<T> {
    serde_json::from_str(text).map_err(|error| Trouble::Corrupt { what: what(), reason: error.to_string() })
}

/// A value that prints and parses back.
pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(what: impl FnOnce() -> String, text: &str) -> Outcome<T> {
    text.parse().map_err(|error: T::Err| Trouble::Corrupt { what: what(), reason: error.to_string() })
}

/// A document this room writes.
pub(super) fn written<T: serde::Serialize>(value: &T) -> Outcome<String> {
    serde_json::to_string(value).map_err(|error| Trouble::Refused(error.to_string()))
}

/// SQLite's integers are signed; a number that does not fit is refused, never bent.
pub(super) fn stored(number: u64) -> Outcome<i64> {
    i64::try_from(number).map_err(|_| Trouble::Refused(format!("{number} does not fit an SQLite integer")))
}

/// A number as it was stored.
pub(super) fn loaded<T: TryFrom<i64>>(what: impl FnOnce() -> String, number: i64) -> Outcome<T> {
    T::try_from(number).map_err(|_| Trouble::Corrupt { what: what(), reason: format!("{number} is out of range") })
}
