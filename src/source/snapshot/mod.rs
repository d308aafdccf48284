//! Snapshot reads: how a table is cut into chunks, and how one chunk is read.
//!
//! Why no row is lost between the chunks and the log:
//! - [`wait_visible`] returns when a server shows every transaction below `since`. From then on each SELECT on *that* server sees
//!   them; every session here compares `@@server_uuid` with it.
//! - [`plan`] then takes the greatest key. A row behind it was inserted later, so the log has it: a table that grows while it is
//!   read still ends. A row that moves between chunks while they are read has changed behind `since`: the log has that too.
//! - Chunks are `lower < key <= upper` with bounds that MySQL itself compares and orders, under the column's own collation. A
//!   bound is a literal of the column's bytes; it is never compared outside MySQL. Each chunk begins where the one before it
//!   ended and the last one ends at the plan's bound, so their union is the table, whatever the bounds in between are.
//! - A chunk is one autocommit SELECT in a session whose settings were set *and read back*, of a table whose columns are still
//!   those of the captured schema.
//! - [`flushed`] is sampled on the same server after the last row: what was read has been flushed, so it lies below.

mod chunks;
mod mariadb;
mod read;
mod sample;
mod session;
mod sql;
#[cfg(test)]
mod tests;
mod visible;

pub use chunks::{next_chunk, plan};
pub use read::{SnapshotReader, read_chunk};
pub use sample::flushed;
pub(in crate::source) use sample::{file_number, sample};
pub use visible::wait_visible;
