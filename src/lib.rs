//! binlake keeps a lakehouse's ODS tables equal to MySQL.
//!
//! See `docs/architecture.md` for the map: rooms, the way of one row change, and the promises with the argument why each holds.

pub mod change;
pub mod changelog;
pub mod config;
pub mod coordinator;
#[cfg(test)]
#[path = "../tests/servers/hosted.rs"]
mod hosted;
pub mod http;
#[cfg(test)]
#[path = "../tests/servers/keeper.rs"]
mod keeper;
pub mod lake;
pub mod metadata;
pub mod pipeline;
pub mod source;
pub mod telemetry;
pub mod trial;
