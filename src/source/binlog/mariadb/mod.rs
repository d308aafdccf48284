//! What MariaDB's binlog has of its own: GTIDs by domain, compressed events and columns, addresses, and how a dump is asked for.
//!
//! A group begins with its GTID event, which says whether one statement follows, rows until a commit event, or an XA transaction that
//! is prepared; there is no BEGIN. Inside a group newer servers (`binlog_legacy_event_pos=OFF`) write no positions: the offset is
//! counted ([`super::track`]). Everything else is as MySQL has it.

pub(super) mod address;
pub(super) mod column;
pub(super) mod facts;
pub(super) mod gtid;
pub(super) mod inflate;

/// The types of events that only MariaDB writes.
pub(super) mod kind {
    /// The statement behind the rows, as a comment.
    pub(in crate::source::binlog) const ANNOTATE_ROWS: u8 = 160;
    /// Which binlogs a crash recovery needs.
    pub(in crate::source::binlog) const BINLOG_CHECKPOINT: u8 = 161;
    pub(in crate::source::binlog) const GTID: u8 = 162;
    /// At a file's head: the last GTID of every domain and server before it.
    pub(in crate::source::binlog) const GTID_LIST: u8 = 163;
    pub(in crate::source::binlog) const START_ENCRYPTION: u8 = 164;
    pub(in crate::source::binlog) const QUERY_COMPRESSED: u8 = 165;
    pub(in crate::source::binlog) const WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub(in crate::source::binlog) const UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
    pub(in crate::source::binlog) const DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    pub(in crate::source::binlog) const WRITE_ROWS_COMPRESSED: u8 = 169;
    pub(in crate::source::binlog) const UPDATE_ROWS_COMPRESSED: u8 = 170;
    pub(in crate::source::binlog) const DELETE_ROWS_COMPRESSED: u8 = 171;
}
