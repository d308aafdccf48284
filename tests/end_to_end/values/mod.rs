//! Values: what a column of any type holds is the same in MySQL, by the snapshot and by the binlog, on servers of every set-up.
//!
//! Each test has a server of one set-up for its tables and looks at three things: what an early daemon made of them (part snapshot, part
//! stream), what a late one did (all snapshot), and what the server itself shows to a client that is not ours.

mod alphabets;
mod charsets;
mod columns;
pub(crate) mod contract;
mod debezium;
mod documents;
mod edits;
mod random;
mod refused;
mod same;
mod setups;
mod tables;
