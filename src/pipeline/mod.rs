//! The verbs: [`load`] (source → lake), [`tail`] (source → change log), [`write`](mod@write) (change log → lake), and [`publish`]
//! (lake → metastore).
//!
//! Each is pulled along by one loop, holds a position and nothing else, and returns on the first error: it is started again from its
//! durable checkpoint by the coordinator. They hand over through stored data, never through each other.

use std::sync::Arc;

use crate::change::{CellError, Clock, Failure, Remedy, TableName, Term};
use crate::changelog::{self, ChangeLog};
use crate::lake::{self, Lake};
use crate::metadata::{self, Metadata};
use crate::source::{self, Source};

pub mod bell;
pub mod board;
pub mod epoch;
pub mod gauges;
pub mod ledger;
pub mod load;
pub mod past;
pub mod publish;
pub mod record_flow;
pub mod tail;
pub mod targets;
mod topic_reader;
pub mod write;

pub use board::Board;
pub use ledger::{Ledger, TableKey};

/// What the coordinator passes through to the source.
pub use crate::source::{Sample, TableOptions};

/// What a verb returns.
pub type Result<T> = std::result::Result<T, Error>;

/// The rooms one source's verbs work with.
#[derive(Clone)]
pub struct Rooms {
    /// The server.
    pub source: Arc<dyn Source>,
    /// The change log.
    pub changelog: Arc<dyn ChangeLog>,
    /// The lake.
    pub lake: Arc<dyn Lake>,
    /// The metadata store.
    pub metadata: Arc<dyn Metadata>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What stopped a verb.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The change log.
    #[error(transparent)]
    ChangeLog(#[from] changelog::Error),
    /// The lake.
    #[error(transparent)]
    Lake(#[from] lake::Error),
    /// The metadata store.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    /// A value that the next room cannot take.
    #[error("{table}: {source}")]
    Cell {
        /// The table.
        table: TableName,
        /// The column and why.
        #[source]
        source: CellError,
    },
    /// What is stored does not fit together.
    #[error("{table}: {reason}")]
    Table {
        /// The table.
        table: TableName,
        /// What was found.
        reason: String,
        /// What mends it.
        remedy: String,
    },
    /// Mistakes in the table list that only the server's tables show.
    #[error("source {source_name}: {}", mistakes.join("; "))]
    List {
        /// The source.
        source_name: String,
        /// Every mistake.
        mistakes: Vec<String>,
    },
    /// The lake or the change log has been written by somebody of whom this metadata store knows nothing.
    #[error(
        "{what} is ahead of this metadata store, which is at term {ours}: another daemon writes there, or the store is an old one"
    )]
    Ahead {
        /// What was found where.
        what: String,
        /// The highest term that was found.
        found: Term,
        /// The term of this daemon.
        ours: Term,
    },
    /// A topic got records that this run did not append: it has to look again.
    #[error("{reason}")]
    Overtaken {
        /// What the change log said.
        reason: String,
    },
    /// A document in the metadata store that its room cannot read.
    #[error("{what} of {of} in the metadata store: {reason}")]
    Document {
        /// Which document.
        what: &'static str,
        /// Whose.
        of: String,
        /// Why.
        reason: String,
    },
}

impl Failure for Error {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Source(error) => error.remedy(),
            Self::ChangeLog(error) => error.remedy(),
            Self::Lake(error) => error.remedy(),
            Self::Metadata(error) => error.remedy(),
            Self::Cell { .. } => {
                Remedy::Park("mend the value on the source, or exclude the column, then run `binlake rebuild` for it".to_owned())
            }
            Self::Table { remedy, .. } => Remedy::Park(remedy.clone()),
            Self::List { .. } => Remedy::Stop("mend the table list; `binlake check` shows every mistake".to_owned()),
            Self::Overtaken { .. } => Remedy::Retry,
            Self::Document { .. } => Remedy::Stop("restore the metadata store from its backup".to_owned()),
            Self::Ahead { .. } => Remedy::Stop(
                "stop every other daemon that writes there; if there is none, the metadata store was lost or restored from an old \
                 backup: start once with `binlake run --take-over`"
                    .to_owned(),
            ),
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.advice(),
            Self::ChangeLog(error) => error.advice(),
            Self::Lake(error) => error.advice(),
            Self::Metadata(error) => error.advice(),
            _ => None,
        }
    }

    fn without_values(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.without_values(),
            Self::ChangeLog(error) => error.without_values(),
            Self::Lake(error) => error.without_values(),
            Self::Cell { table, source } => {
                Some(format!("{table}: a value of column {} cannot be kept as it is: `binlake status` names it", source.column))
            }
            _ => None,
        }
    }
}

impl Error {
    /// The source's history no longer holds what is needed: nothing but a rebuild helps.
    pub fn is_lost_history(&self) -> bool {
        matches!(self, Self::Source(source::Error::History { lost: true, .. }))
    }

    /// The error as it stands when the operator, who has seen it, asks for a rebuild: the way on is a new history. None where the
    /// stream's place is not what is in the way.
    pub fn given_up(&self) -> Option<Self> {
        let (name, reason, remedy) = match self {
            Self::Source(source::Error::History { name, reason, remedy, lost: false }) => (name, reason.clone(), remedy),
            Self::Source(source::Error::Event { name, position, reason, remedy }) => {
                (name, format!("at {position}: {reason}"), remedy)
            }
            _ => return None,
        };
        Some(Self::Source(source::Error::History { name: name.clone(), reason, remedy: remedy.clone(), lost: true }))
    }

    /// Readers of the lake table were switched to a later generation.
    pub fn is_replaced(&self) -> bool {
        matches!(self, Self::Lake(lake::Error::Replaced { .. }))
    }

    /// The term that was found ahead of ours.
    pub fn ahead(&self) -> Option<Term> {
        match self {
            Self::Ahead { found, .. } => Some(*found),
            _ => None,
        }
    }
}

/// The tables whose foreign keys change them without a word in the server's binlog, as the server is set now: reason and remedy.
pub async fn unwritten_cascades(
    rooms: &Rooms,
    tables: &[(TableName, TableOptions)],
) -> Result<Vec<(TableName, source::Problem)>> {
    Ok(rooms.source.unwritten_cascades(tables).await?)
}

/// A source error that passes: tried again.
pub fn other_server(name: &str, found: &str, expected: &str) -> Error {
    Error::Source(source::Error::Connection {
        name: name.to_owned(),
        address: found.to_owned(),
        reason: format!("this server answers at the address; the stream is one of {expected}"),
    })
}

/// Looks at what a server's administrator may have changed since the last connect: settings, rights, binlog filters over the tables.
///
/// # Errors
/// [`source::Error::Setting`] with everything that makes capture impossible. What concerns one table alone is not judged here.
pub async fn check_server(rooms: &Rooms, name: &str, tables: &[(TableName, TableOptions)]) -> Result<()> {
    // Filters go by database: one table of each will do.
    let mut of_each: Vec<(TableName, TableOptions)> = Vec::new();
    for table in tables {
        if !of_each.iter().any(|(known, _)| known.database == table.0.database) {
            of_each.push(table.clone());
        }
    }
    let findings = rooms.source.preflight(&of_each).await?;
    let wrong = |finding: &&source::Finding| {
        finding.severity == source::Severity::Error && (finding.table.is_none() || finding.subject == source::BINLOG_FILTERS)
    };
    let wrong: Vec<&source::Finding> = findings.iter().filter(wrong).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let reasons: Vec<String> = wrong.iter().map(|finding| format!("{}: {}", finding.subject, finding.message)).collect();
    let remedies: Vec<&str> = wrong.iter().filter_map(|finding| finding.remedy.as_deref()).collect();
    Err(Error::Source(source::Error::Setting { name: name.to_owned(), reason: reasons.join("; "), remedy: remedies.join("; ") }))
}

/// Reads a room's document from its JSON text.
pub(crate) fn read_document<T: serde::de::DeserializeOwned>(
    what: &'static str,
    of: &dyn std::fmt::Display,
    text: &str,
) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Document { what, of: of.to_string(), reason: error.to_string() })
}

/// Writes a room's document as JSON text.
pub(crate) fn write_document<T: serde::Serialize>(
    what: &'static str,
    of: &dyn std::fmt::Display,
    document: &T,
) -> Result<String> {
    serde_json::to_string(document).map_err(|error| Error::Document { what, of: of.to_string(), reason: error.to_string() })
}
