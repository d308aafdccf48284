//! The codec: row images become records of Debezium's envelope (schemaless JSON), and back.
//!
//! A record's value is `{"before":…,"after":…,"source":{…},"op":"c","ts_ms":…,"ts_us":…,"ts_ns":…}`, its key `{"id":1}`: the
//! columns of the table's key. What Flink, Kafka Connect or ClickHouse read as Debezium's they read here. `source` holds
//! `version`, `connector` (`mysql`), `name`, `ts_ms`, `snapshot` (`"false"`), `db`, `ts_us`, `ts_ns`, `table`, `gtid`, `file`,
//! `pos` (where the transaction starts), `row` (the running number of the table's records in the transaction), in truncate and
//! schema records `query`, and where a row holds zero dates `zero_dates`. All times are the source's commit: nothing in a record
//! depends on when it was written, so that a record that is written again is the same.
//!
//! The lake is built from these records, so the encoding loses nothing:
//!
//! | MySQL | JSON | Debezium's setting |
//! |---|---|---|
//! | TINYINT … BIGINT, UNSIGNED too, YEAR | number, exact | (`bigint.unsigned.handling.mode` has no lossless number) |
//! | FLOAT, DOUBLE | number, the shortest that reads back as the same bits | |
//! | DECIMAL | string | `decimal.handling.mode=string` |
//! | BIT(1) / BIT(n) | boolean / base64 of the bits, little-endian, `ceil(n/8)` bytes | |
//! | CHAR, VARCHAR, TEXT, ENUM, SET, JSON | string | |
//! | BINARY, VARBINARY, BLOB | base64 | `binary.handling.mode=base64` |
//! | DATE | days since 1970-01-01 | `time.precision.mode=adaptive_time_microseconds` |
//! | TIME | microseconds | the same |
//! | DATETIME(0–3) / (4–6) | milliseconds / microseconds of the wall clock since 1970-01-01 | the same |
//! | TIMESTAMP(n) | `2018-06-20T13:37:03.123Z`, n digits | |
//! | GEOMETRY and its kinds | `{"wkb":base64,"srid":n}` | |
//! | VECTOR | array of numbers, each the shortest that reads back as the same bits | |
//! | a zero date | `null`, and its name in `source.zero_dates.before` or `.after` | |
//!
//! An update that changes the key is two records: a delete with the before image and a create with the after image. A truncate
//! (`"op":"t"`) and a statement that changed the table's shape (`"op":"s"`) have no images and no key; the statement is in
//! `source.query`, and they go to partition 0.
//!
//! The decoder expects the fields in the order that the encoder writes them, and takes nothing else.

mod cells;
mod decoder;
mod encoder;
mod envelope;
mod instant;
mod partition;
mod plan;
mod scanner;
mod string;
#[cfg(test)]
mod tests;

use crate::change::BinlogPosition;

pub(crate) use decoder::envelope_start;
pub use decoder::{Decoded, Decoder};
pub use encoder::Encoder;
pub use partition::partition_of;

/// What all records of one transaction share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionInfo<'a> {
    /// Where it starts.
    pub start: BinlogPosition,
    /// The binlog file's full name.
    pub file_name: &'a str,
    /// `uuid:number`, where the server has GTIDs.
    pub gtid: Option<&'a str>,
    /// When the source committed, microseconds since 1970-01-01 UTC.
    pub committed_us: i64,
}
