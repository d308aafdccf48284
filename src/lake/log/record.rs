//! The commit record: one JSON object of the lake, and the atom of everything.
//!
//! Fields are only ever added; one that is not known is passed over. A record of a newer `v` is refused: what it means is
//! for newer programs to say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::change::Term;
use crate::lake::datafile::FileEntry;
use crate::lake::merge::Segment;
use crate::lake::publish::Published;
use crate::lake::{CommitPoint, HistoryEntry};

/// The format this program writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RecordKind {
    /// A writer takes the table over.
    Term,
    /// The snapshot becomes the content.
    Adopt,
    /// A batch of changes, or only a new point.
    Commit,
    /// The same rows in other files.
    Compact,
    /// Readers go to another generation; nothing comes behind it.
    Switch,
}

impl RecordKind {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "term",
            Self::Adopt => "adopt",
            Self::Commit => "commit",
            Self::Compact => "compact",
            Self::Switch => "switch",
        }
    }
}

/// Rows that a batch touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct RowCounts {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
}

/// How the segments of a mirror change: a whole list would make every record as large as the table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct SegmentChange {
    /// Lower bounds of segments that are no more.
    pub(crate) drop: Vec<String>,
    /// Segments that are new, or cover their range with another file.
    pub(crate) put: Vec<Segment>,
}

/// One entry of a commit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The format.
    pub(crate) v: u32,
    pub(crate) kind: RecordKind,
    /// Makes the record recognisable: after an unknown answer, "is it mine?" is asked of this.
    pub(crate) id: String,
    /// The lake table, for people.
    pub(crate) table: String,
    /// The source's name, for people.
    pub(crate) source: String,
    pub(crate) generation: u32,
    pub(crate) seq: u64,
    pub(crate) term: Term,
    pub(crate) committed_ms: u64,
    /// The fingerprint of the captured shape.
    pub(crate) schema: String,
    /// Where the table stands now; None where this record does not move it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) point: Option<CommitPoint>,
    /// Files that are live from here on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) added: Vec<FileEntry>,
    /// Files that were live until here; they stay for readers as long as retention says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) removed: Vec<String>,
    /// Removed files that are deleted by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) forgotten: Vec<String>,
    /// Mirrors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) segments: Option<SegmentChange>,
    #[serde(default)]
    pub(crate) rows: RowCounts,
    #[serde(default)]
    pub(crate) bytes_written: u64,
    /// From the end of the batch to this record, milliseconds.
    #[serde(default)]
    pub(crate) took_ms: u64,
    /// Zero dates that this batch stored as NULL, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) zero_dates: BTreeMap<String, u64>,
    /// The last version of this generation that a metastore was brought to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) published: Option<Published>,
    /// The generation that readers go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) switch_to: Option<u32>,
}

impl Record {
    /// What `explain` shows of it.
    pub(crate) fn entry(&self) -> HistoryEntry {
        HistoryEntry {
            seq: self.seq,
            kind: self.kind.name().to_owned(),
            term: self.term,
            point: self.point.clone(),
            files_added: self.added.len() as u64,
            files_removed: self.removed.len() as u64,
            rows: (self.rows.inserted, self.rows.updated, self.rows.deleted),
            bytes_written: self.bytes_written,
            committed_ms: self.committed_ms,
        }
    }
}

/// Why something of the log was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It has a format that is not known yet.
    Newer(u32),
    /// It is not what was written.
    Broken(String),
}

/// Reads a record, or anything else of the log that carries a format number.
pub(crate) fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Unread> {
    #[derive(Deserialize)]
    struct Format {
        v: u32,
    }
    let broken = |error: serde_json::Error| Unread::Broken(format!("it cannot be read: {error}"));
    let format: Format = serde_json::from_slice(bytes).map_err(broken)?;
    if format.v > VERSION {
        return Err(Unread::Newer(format.v));
    }
    serde_json::from_slice(bytes).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first format as it was first written: must be readable for ever.
    const FIRST: &str = r#"{"v":1,"kind":"commit","id":"5f0c","table":"ods_shop.orders","source":"shop","generation":1,"seq":42,"term":7,
        "committed_ms":1700000000000,"schema":"0badcafe","point":{"position":"0:12:4711","offsets":[9],"last":[["0:12:4000/1",3]],
        "gtid":null,"file_name":"binlog.000012","source_time_us":5,"publish":true},"added":[{"path":"g0001/s/part-0000.parquet","rows":2,
        "bytes":900,"keys":["01","02"]}],"removed":["g0001/r/part-0000.parquet"],"rows":{"inserted":1,"updated":1,"deleted":0},
        "bytes_written":900,"zero_dates":{"day":1},"a_field_of_tomorrow":{"deep":[1,2]}}"#;

    #[test]
    fn the_first_format_stays_readable_and_unknown_fields_do_not_matter() {
        let record: Record = read(FIRST.as_bytes()).unwrap();
        assert_eq!((record.seq, record.term, record.kind), (42, Term(7), RecordKind::Commit));
        assert_eq!(record.point.as_ref().unwrap().position.to_string(), "0:12:4711");
        let again: Record = read(&serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(again, record);
        assert_eq!(record.entry().kind, "commit");
    }

    #[test]
    fn a_newer_format_is_refused_whatever_else_it_holds() {
        assert_eq!(read::<Record>(br#"{"v":2,"kind":"quantum"}"#).unwrap_err(), Unread::Newer(2));
        for broken in [&b"{"[..], br#"{"kind":"commit"}"#] {
            assert!(matches!(read::<Record>(broken), Err(Unread::Broken(_))));
        }
    }
}
