//! What stands around the row images of one change-log record.

use serde::{Deserialize, Serialize};

use super::{ChangePosition, Term};

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Debezium's `c`: after image only.
    Create,
    /// `u`: both images.
    Update,
    /// `d`: before image only.
    Delete,
    /// `t`: the table was emptied.
    Truncate,
    /// A statement that changed or removed the table: nothing behind it can be read with the same shape.
    Schema,
}

impl Operation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Create, Self::Update, Self::Delete, Self::Truncate, Self::Schema];

    /// What people call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Schema => "schema",
        }
    }

    /// Debezium's letter; `s` for a schema record.
    pub fn letter(self) -> char {
        match self {
            Self::Create => 'c',
            Self::Update => 'u',
            Self::Delete => 'd',
            Self::Truncate => 't',
            Self::Schema => 's',
        }
    }
}

/// The head of a record: everything but the row images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHead {
    /// What it says.
    pub operation: Operation,
    /// Where it stands.
    pub position: ChangePosition,
    /// The position of the record before it in its partition; None for the partition's first.
    pub previous: Option<ChangePosition>,
    /// The term of the tailer that wrote it.
    pub term: Term,
    /// The fingerprint of the shape that the images have.
    pub schema: String,
    /// The transaction's GTID as text, where the server has one.
    pub gtid: Option<String>,
    /// The binlog file's name.
    pub file: String,
    /// When the source committed, in microseconds since 1970-01-01 UTC.
    pub committed_us: i64,
    /// The statement of a truncate or schema record.
    pub statement: Option<String>,
}
