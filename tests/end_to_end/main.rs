//! The real binary between a real MySQL and a lake that DuckDB reads: what users rely on, from end to end.
//!
//! Every test has a database and a daemon of its own; most share one server. A test that fails prints the end of its daemon's log.
//! States are awaited, never slept for.

// Failing loudly is what a test is for; clippy knows that of functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bank;
mod changes;
mod daemon;
#[path = "../servers/dump.rs"]
mod dump;
mod equality;
mod keeper;
mod kills;
mod lake;
mod lifecycle;
mod scene;
mod server;
mod settings;
mod snapshots;
mod values;
mod workload;
