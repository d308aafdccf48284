//! Snapshots of a real server.
