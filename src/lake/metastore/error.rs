//! What can go wrong with a metastore, with what the operator does about it.

use crate::change::{Failure, Remedy};

/// What can go wrong with a metastore.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No address answers, or a call got no answer: it may have been done.
    #[error("the metastore at {address} does not answer: {reason}")]
    Away {
        /// Which.
        address: String,
        /// What was found.
        reason: String,
    },
    /// It answered that it cannot.
    #[error("the metastore at {address} refused {call}: {reason}")]
    Failed {
        /// Which.
        address: String,
        /// The call.
        call: &'static str,
        /// What it said.
        reason: String,
    },
    /// What was to be changed is not there.
    #[error("the metastore has no {what}")]
    Missing {
        /// Table, partition or database.
        what: String,
    },
    /// What was to be made is there already.
    #[error("the metastore has {what} already")]
    Exists {
        /// Table, partition or database.
        what: String,
    },
    /// Somebody was faster.
    #[error("{what} was modified in the metastore by somebody else")]
    Modified {
        /// The table.
        what: String,
    },
    /// The columns cannot follow those that the table has.
    #[error("the metastore refuses the columns of {what}: {reason}")]
    Incompatible {
        /// The table.
        what: String,
        /// What it said.
        reason: String,
    },
}

impl Error {
    /// Whether the call may have been done all the same.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

/// What servers say, and what helps.
const KNOWN: [(&str, &str); 5] = [
    (
        "managed warehouse root",
        "the lake lies below the server's `metastore.warehouse.dir`: move one of the two, e.g. let `lake.url` name another directory",
    ),
    (
        "ClassNotFoundException: Class org.apache.hadoop.fs",
        "the metastore lacks the classes of the lake's file system: give it hadoop-aws (or the like) and credentials",
    ),
    ("No FileSystem for scheme", "the metastore does not know the lake's file system: give it its jar and settings"),
    (
        "is not a valid object name",
        "this server takes letters, digits and `_` only: rename the table on the source, or leave it out",
    ),
    (
        "Permission denied",
        "give the metastore's user the right to look at the lake's directories, and to make `_databases` below it",
    ),
];

impl Failure for Error {
    fn remedy(&self) -> Remedy {
        Remedy::Retry
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Away { .. } => Some(
                "start the metastore, or mend `lake.metastore`: publication catches up by itself, commits go on meanwhile"
                    .to_owned(),
            ),
            Self::Failed { reason, .. } => {
                let known = KNOWN.iter().find(|(said, _)| reason.contains(said));
                Some(known.map_or("look at the metastore's log; it will be tried again", |(_, helps)| helps).to_owned())
            }
            Self::Missing { .. } | Self::Exists { .. } | Self::Modified { .. } | Self::Incompatible { .. } => None,
        }
    }
}
