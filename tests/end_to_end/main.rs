//! The real binary between a real MySQL and a lake that DuckDB reads: what users rely on, from end to end.
//!
//! Every test has a database and a daemon of its own; most share one server. A test that fails prints the end of its daemon's log.
//! States are awaited, never slept for.

// Failing loudly is what a test is for; clippy knows that of functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::panic)]

mod alerts;
mod bank;
mod bounded;
#[path = "../servers/broker.rs"]
mod broker;
mod changes;
mod daemon;
mod daily;
mod damaged_lake;
mod divergences;
#[path = "../servers/dump.rs"]
mod dump;
mod equality;
mod failover;
mod full_disks;
#[cfg(feature = "hdfs")]
#[path = "../servers/hdfs.rs"]
mod hdfs;
mod hive;
#[path = "../servers/hosted.rs"]
mod hosted;
mod http;
mod kafka;
#[path = "../servers/keeper.rs"]
mod keeper;
mod kills;
mod lake;
mod lifecycle;
mod log_file;
mod logs;
mod lost_stores;
mod loud_sources;
mod loud_tables;
mod mariadb;
#[path = "../servers/metastore.rs"]
mod metastore;
mod mount;
mod operations;
mod pair;
mod proxy;
mod race;
#[path = "../servers/s3.rs"]
mod s3;
#[path = "../servers/s3_proxy.rs"]
mod s3_proxy;
mod scene;
mod server;
mod settings;
mod snapshots;
mod soak;
mod stores;
mod values;
mod workload;
mod zones;
