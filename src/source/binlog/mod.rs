//! The binlog as whole transactions: a dump's packets to events, events to transactions, row bytes to cells.
//!
//! Why nothing is lost and nothing comes twice: a dump begins at the place that the checkpoint names, which is verified first
//! (the last transaction is read again and compared, the received GTIDs must be in the server's); every event is checked by its
//! sum and placed by its offset; an event that is not known and not marked as ignorable is an error; a transaction is given out
//! when its commit was read, and the checkpoint moves behind it in the same step ([`intake`]).
//!
//! The way of a packet: [`stream`] reads it, [`track`] places it, [`assembler`] collects its transaction in [`spill`],
//! [`body`] reads it back row by row, [`plan`] and [`cells`] drive the cells.

use crate::change::BinlogPosition;
use crate::source::Error;

mod assembler;
mod body;
mod cells;
mod ddl;
mod decimal;
mod effects;
mod event;
mod group;
mod gtid;
mod intake;
mod json;
mod mariadb;
mod open;
mod payload;
mod payload_event;
mod plan;
mod query;
mod rows;
mod session;
mod spill;
mod stream;
mod table_map;
mod tables;
mod temporal;
#[cfg(test)]
mod tests;
mod text;
mod track;
mod xa;

pub use open::open;
pub use stream::DumpStream;

/// The room's error for an event that is not understood.
fn event_error(source: &str, position: BinlogPosition, reason: &str) -> Error {
    Error::Event {
        name: source.to_owned(),
        position,
        reason: reason.to_owned(),
        remedy: "read the place with mysqlbinlog; if the server's own tool understands it, report it; `binlake rebuild` for the \
                 source's tables leaves it behind: they are read anew"
            .to_owned(),
    }
}
