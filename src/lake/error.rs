//! What can go wrong in the lake, with what the operator does about it.

use super::metastore;
use crate::change::failure::{advice_on_place, all_said};
use crate::change::{ChangePosition, Failure, Remedy, Term};

/// What can go wrong in the lake.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object store failed.
    #[error("lake {path}")]
    Store {
        /// The object.
        path: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// The scratch directory failed.
    #[error("scratch {path}")]
    Scratch {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Parquet could not be written or read.
    #[error("lake file {path}: {reason}")]
    File {
        /// The object.
        path: String,
        /// What was found.
        reason: String,
    },
    /// Another writer holds this table.
    #[error("lake table {table}: term {term} was overtaken: {reason}")]
    Fenced {
        /// The table.
        table: String,
        /// Ours.
        term: Term,
        /// What was found.
        reason: String,
    },
    /// Readers were switched to a later generation.
    #[error("lake table {table}: generation {generation} was replaced: readers were switched to generation {by}")]
    Replaced {
        /// The table.
        table: String,
        /// Ours.
        generation: u32,
        /// Theirs.
        by: u32,
    },
    /// The commit log was written by a newer binlake.
    #[error("lake table {table}: commit log {path}: it has format {found}; this binlake knows formats up to {known}")]
    Newer {
        /// The table.
        table: String,
        /// The record.
        path: String,
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The commit log does not hold together: a record is missing or unreadable.
    #[error("lake table {table}: commit log {path}: {reason}")]
    Log {
        /// The table.
        table: String,
        /// The record.
        path: String,
        /// What was found.
        reason: String,
    },
    /// Promise 11: the mirror does not hold what the change says was there.
    #[error(
        "{table}: at {position}: the mirror differs from the source: key {key}: the change expects {expected}, the mirror holds {found}"
    )]
    Divergence {
        /// The table.
        table: String,
        /// The change.
        position: ChangePosition,
        /// The key, as column=value text.
        key: String,
        /// The row the change expects, or `no row`.
        expected: String,
        /// The row the mirror holds, or `no row`.
        found: String,
    },
    /// A value the lake's type cannot hold.
    #[error("{table}: {reason}")]
    Value {
        /// The table.
        table: String,
        /// Column and value kind.
        reason: String,
        /// What mends it.
        remedy: String,
    },
    /// The metastore failed. Commits go on.
    #[error(transparent)]
    Metastore(#[from] metastore::Error),
    /// The metastore holds something that is not ours to change.
    #[error("lake table {table} cannot be published: {reason}")]
    Publication {
        /// The table.
        table: String,
        /// What was found.
        reason: String,
        /// What mends it.
        remedy: String,
    },
    /// The store cannot do what a commit needs.
    #[error("lake {url}: {reason}")]
    Unsuitable {
        /// The lake.
        url: String,
        /// What was found.
        reason: String,
        /// What mends it.
        remedy: String,
    },
}

impl Failure for Error {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Store { .. } | Self::Scratch { .. } => Remedy::Retry,
            Self::Fenced { .. } | Self::Replaced { .. } => Remedy::Fenced,
            Self::File { .. } | Self::Log { .. } => {
                Remedy::Park("the lake table was damaged from outside: run `binlake rebuild` for it".to_owned())
            }
            Self::Divergence { .. } => {
                Remedy::Park("find out who wrote past the binlog, then run `binlake rebuild` for it".to_owned())
            }
            Self::Metastore(error) => error.remedy(),
            Self::Value { remedy, .. } | Self::Publication { remedy, .. } => Remedy::Park(remedy.clone()),
            Self::Unsuitable { remedy, .. } => Remedy::Stop(remedy.clone()),
            Self::Newer { .. } => {
                Remedy::Stop("run the binlake version that wrote it, or a later one, then `binlake resume` for it".to_owned())
            }
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Store { path, .. } => advice_on_place(&format!("the lake ({path})"), &all_said(self)),
            Self::Metastore(error) => error.advice(),
            Self::Scratch { path, .. } => advice_on_place(&format!("`scratch` ({path})"), &all_said(self)),
            _ => None,
        }
    }

    fn without_values(&self) -> Option<String> {
        match self {
            Self::Divergence { table, position, .. } => Some(format!(
                "{table}: at {position}: the mirror differs from the source: `binlake status` has the key and both rows"
            )),
            Self::Value { table, .. } => Some(format!("{table}: a value cannot be kept as it is: `binlake status` names it")),
            _ => None,
        }
    }
}
