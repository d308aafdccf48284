//! What can go wrong at a source, with what the operator does about it.

use crate::change::failure::{advice_on_place, all_said};
use crate::change::{BinlogPosition, Failure, Remedy, TableName};

/// What can go wrong at a source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be reached, or the connection broke.
    #[error("source {name} ({address}): {reason}")]
    Connection {
        /// The source.
        name: String,
        /// Host and port.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The server answers and refuses us: wrong password, TLS, missing rights.
    #[error("source {name} ({address}): {reason}")]
    Refused {
        /// The source.
        name: String,
        /// Host and port.
        address: String,
        /// What the server said.
        reason: String,
        /// What mends it.
        remedy: String,
    },
    /// The server's history does not fit ours: purged, reset, another server, a missing transaction.
    #[error("source {name}: {reason}")]
    History {
        /// The source.
        name: String,
        /// What was found.
        reason: String,
        /// What mends it.
        remedy: String,
        /// All captured tables need a rebuild: the position is lost for good.
        lost: bool,
    },
    /// A server setting that makes capture impossible.
    #[error("source {name}: {reason}")]
    Setting {
        /// The source.
        name: String,
        /// What was found.
        reason: String,
        /// What mends it.
        remedy: String,
    },
    /// An event of the stream that cannot be understood.
    #[error("source {name}: at {position}: {reason}")]
    Event {
        /// The source.
        name: String,
        /// Where.
        position: BinlogPosition,
        /// What was found.
        reason: String,
        /// What mends it.
        remedy: String,
    },
    /// A table that cannot be captured.
    #[error("{table}: {reason}")]
    Table {
        /// The table.
        table: TableName,
        /// What was found.
        reason: String,
        /// What mends it.
        remedy: String,
    },
    /// A row that cannot be decoded.
    #[error("{table}: at {position}: {reason}")]
    Row {
        /// The table.
        table: TableName,
        /// The transaction's start.
        position: BinlogPosition,
        /// What was found, with the column.
        reason: String,
        /// What mends it.
        remedy: String,
    },
    /// A wait ran out.
    #[error("source {name}: {what} was not reached within {seconds} s")]
    Timeout {
        /// The source.
        name: String,
        /// What was awaited.
        what: String,
        /// For how long.
        seconds: u64,
    },
    /// The scratch directory failed.
    #[error("scratch {path}")]
    Scratch {
        /// The file or directory.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Failure for Error {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Connection { .. } | Self::Timeout { .. } | Self::Scratch { .. } => Remedy::Retry,
            Self::Refused { remedy, .. }
            | Self::History { remedy, .. }
            | Self::Setting { remedy, .. }
            | Self::Event { remedy, .. } => Remedy::Stop(remedy.clone()),
            Self::Table { remedy, .. } | Self::Row { remedy, .. } => Remedy::Park(remedy.clone()),
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Scratch { path, .. } => advice_on_place(&format!("`scratch` ({path})"), &all_said(self)),
            _ => None,
        }
    }

    fn without_values(&self) -> Option<String> {
        let Self::Row { table, position, .. } = self else { return None };
        Some(format!("{table}: at {position}: a row cannot be read: `binlake status` names its column"))
    }
}
