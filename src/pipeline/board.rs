//! Who is woken by what, and the counters that people look at while a daemon runs. Nothing here is durable or decides anything:
//! a worker that was woken for nothing looks at the stores and sleeps again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::Semaphore;

use super::bell::{Bell, Listener};

/// Wakes workers of one source and counts what passed.
#[derive(Debug)]
pub struct Board {
    topics: Mutex<HashMap<String, Bell>>,
    published: Bell,
    tables: Bell,
    loads: OnceLock<Arc<Semaphore>>,
    /// Row changes that went into the change log since the start.
    pub changes: AtomicU64,
    /// Snapshot rows read since the start.
    pub snapshot_rows: AtomicU64,
    /// The progress of running snapshots, by table name: chunks done, chunks planned, rows, estimated rows.
    progress: Mutex<HashMap<String, Progress>>,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Chunks that are in.
    pub chunks_done: u64,
    /// Rows that are in.
    pub rows: u64,
    /// The server's estimate of all rows.
    pub rows_estimated: u64,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            topics: Mutex::default(),
            published: Bell::default(),
            tables: Bell::default(),
            loads: OnceLock::new(),
            changes: AtomicU64::new(0),
            snapshot_rows: AtomicU64::new(0),
            progress: Mutex::default(),
        }
    }
}

impl Board {
    /// Called when the topic has new published records.
    pub fn topic_moved(&self, topic: &str) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic.to_owned()).or_default().ring();
    }

    /// Hears when the topic has new published records.
    pub fn watch_topic(&self, topic: &str) -> Listener {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic.to_owned()).or_default().listen()
    }

    /// Called when `published` was saved.
    pub fn published_moved(&self) {
        self.published.ring();
    }

    /// Hears when `published` moves. For the few that wait for a position; a table that is live waits for its topic.
    pub fn watch_published(&self) -> Listener {
        self.published.listen()
    }

    /// Called when the list of tables, a phase or a capture changed.
    pub fn tables_changed(&self) {
        self.tables.ring();
    }

    /// Hears every change of a phase or a capture.
    pub fn watch_tables(&self) -> Listener {
        self.tables.listen()
    }

    /// One permit per table of the source that is being loaded: each has connections of its own to the server.
    pub fn loads(&self, parallel: usize) -> Arc<Semaphore> {
        Arc::clone(self.loads.get_or_init(|| Arc::new(Semaphore::new(parallel.max(1)))))
    }

    /// Row changes and snapshot rows since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.changes.load(Ordering::Relaxed), self.snapshot_rows.load(Ordering::Relaxed))
    }

    /// Records the progress of a snapshot.
    pub fn set_progress(&self, table: &str, progress: Progress) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned(), progress);
    }

    /// Forgets a snapshot that ended.
    pub fn clear_progress(&self, table: &str) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).remove(table);
    }

    /// The snapshots that are running.
    pub fn progress(&self) -> Vec<(String, Progress)> {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = progress.iter().map(|(table, progress)| (table.clone(), *progress)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// A board shared by the workers of one source.
pub type SharedBoard = Arc<Board>;
