//! Who is woken by what, and the counters that people look at while a daemon runs. Nothing here is durable or decides anything:
//! a worker that was woken for nothing looks at the stores and sleeps again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::{Notify, Semaphore};

use super::TableKey;
use super::bell::{Bell, Listener};
use super::gauges::Gauges;
use crate::lake::{Committed, Shown};
use crate::telemetry::SourceNumbers;

/// Writers of one source that are opened at once: each lists and reads its table's log.
const OPENINGS: usize = 8;

/// The tables that changed since one worker last looked.
#[derive(Debug, Default)]
pub struct ChangedTables {
    keys: Mutex<BTreeSet<TableKey>>,
    wake: Notify,
}

impl ChangedTables {
    /// Waits until there is something to take, or something to look at in vain. Cancel-safe; for one worker.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// What changed since the last call.
    pub fn take(&self) -> BTreeSet<TableKey> {
        std::mem::take(&mut *locked(&self.keys))
    }

    fn note(&self, key: &TableKey) {
        locked(&self.keys).insert(key.clone());
        self.wake.notify_one();
    }
}

/// What lies behind these locks is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes workers of one source, counts what passed, and holds what they share.
#[derive(Debug)]
pub struct Board {
    topics: Mutex<HashMap<String, Bell>>,
    published: Bell,
    /// Those that follow one table: a change of one of a thousand tables wakes nobody else's.
    followers: Mutex<HashMap<TableKey, Bell>>,
    /// Those that follow the commits of one table.
    commits: Mutex<HashMap<TableKey, Bell>>,
    /// Those that follow all tables.
    watchers: Mutex<Vec<Weak<ChangedTables>>>,
    loads: OnceLock<Arc<Semaphore>>,
    openings: Arc<Semaphore>,
    /// Row changes that went into the change log since the start.
    pub changes: AtomicU64,
    /// Snapshot rows read since the start.
    pub snapshot_rows: AtomicU64,
    /// What is in hand.
    pub gauges: Gauges,
    /// What is shown at `/metrics`, where somebody listens.
    numbers: Option<SourceNumbers>,
    /// The last commits of the lake tables, by their names in the lake.
    stands: Mutex<BTreeMap<String, Stand>>,
    /// Since when the metastore has not shown the last commit of a lake table, milliseconds since 1970-01-01 UTC.
    unshown: Mutex<BTreeMap<String, u64>>,
    leased: AtomicBool,
    /// The progress of running snapshots, by table name: chunks done, chunks planned, rows, estimated rows.
    progress: Mutex<HashMap<String, Progress>>,
}

/// A lake table's last commit.
#[derive(Debug, Clone)]
pub struct Stand {
    /// The table that it is of.
    pub key: TableKey,
    /// The commit.
    pub committed: Committed,
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
            followers: Mutex::default(),
            commits: Mutex::default(),
            watchers: Mutex::default(),
            loads: OnceLock::new(),
            openings: Arc::new(Semaphore::new(OPENINGS)),
            changes: AtomicU64::new(0),
            snapshot_rows: AtomicU64::new(0),
            gauges: Gauges::default(),
            numbers: None,
            stands: Mutex::default(),
            unshown: Mutex::default(),
            leased: AtomicBool::new(false),
            progress: Mutex::default(),
        }
    }
}

impl Board {
    /// A board whose workers note numbers.
    pub fn noting(numbers: SourceNumbers) -> Self {
        Self { numbers: Some(numbers), ..Self::default() }
    }

    /// What the workers note, where somebody wants to see it.
    pub fn numbers(&self) -> Option<&SourceNumbers> {
        self.numbers.as_ref()
    }

    /// The source's lease is ours.
    pub fn set_leased(&self) {
        self.leased.store(true, Ordering::Relaxed);
    }

    /// Whether the source's lease is ours.
    pub fn is_leased(&self) -> bool {
        self.leased.load(Ordering::Relaxed)
    }

    /// Where a lake table stands now.
    pub fn stands_at(&self, name: &str, key: &TableKey, committed: &Committed) {
        if committed.point.as_ref().is_some_and(|point| point.publish) {
            locked(&self.unshown).entry(name.to_owned()).or_insert(committed.committed_ms);
        }
        let stand = Stand { key: key.clone(), committed: committed.clone() };
        locked(&self.stands).insert(name.to_owned(), stand);
    }

    /// Where the lake table of a table's generation stands, as its writer knows it.
    pub fn stand(&self, name: &str, key: &TableKey) -> Option<Committed> {
        locked(&self.stands).get(name).filter(|stand| stand.key == *key).map(|stand| stand.committed.clone())
    }

    /// Called when the metastore was brought to a version of a lake table.
    pub fn shows(&self, name: &str, shown: Shown) {
        let last = locked(&self.stands).get(name).map(|stand| stand.committed.clone());
        let mut unshown = locked(&self.unshown);
        match last.filter(|last| (last.generation, last.seq) > (shown.generation, shown.seq)) {
            // Committed meanwhile, at the earliest.
            Some(last) => drop(unshown.insert(name.to_owned(), last.committed_ms)),
            None => drop(unshown.remove(name)),
        }
    }

    /// Since when the metastore has not shown a lake table's last commit, as far as this process knows; None where it shows it.
    pub fn unshown_since(&self, name: &str) -> Option<u64> {
        locked(&self.unshown).get(name).copied()
    }

    /// Called when the topic has new published records.
    pub fn topic_moved(&self, topic: &str) {
        locked(&self.topics).entry(topic.to_owned()).or_default().ring();
    }

    /// Hears when the topic has new published records.
    pub fn watch_topic(&self, topic: &str) -> Listener {
        locked(&self.topics).entry(topic.to_owned()).or_default().listen()
    }

    /// Called when `published` was saved.
    pub fn published_moved(&self) {
        self.published.ring();
    }

    /// Hears when `published` moves. For the few that wait for a position; a table that is live waits for its topic.
    pub fn watch_published(&self) -> Listener {
        self.published.listen()
    }

    /// Called when a table came, or changed its phase or capture.
    pub fn table_changed(&self, key: &TableKey) {
        if let Some(bell) = locked(&self.followers).get(key) {
            bell.ring();
        }
        locked(&self.watchers).retain(|watcher| watcher.upgrade().inspect(|watcher| watcher.note(key)).is_some());
    }

    /// Called when a lake table of this table has a new commit.
    pub fn committed(&self, key: &TableKey) {
        if let Some(bell) = locked(&self.commits).get(key) {
            bell.ring();
        }
    }

    /// Hears every commit of one table.
    pub fn watch_commits(&self, key: &TableKey) -> Listener {
        locked(&self.commits).entry(key.clone()).or_default().listen()
    }

    /// Called when a generation of a table is gone.
    pub fn table_gone(&self, key: &TableKey) {
        self.table_changed(key);
        locked(&self.followers).remove(key);
        locked(&self.commits).remove(key);
    }

    /// Hears every change of a phase or capture of one table.
    pub fn follow_table(&self, key: &TableKey) -> Listener {
        locked(&self.followers).entry(key.clone()).or_default().listen()
    }

    /// The tables that change from now on.
    pub fn watch_tables(&self) -> Arc<ChangedTables> {
        let watcher = Arc::new(ChangedTables::default());
        locked(&self.watchers).push(Arc::downgrade(&watcher));
        watcher
    }

    /// One permit per table of the source that is being loaded: each has connections of its own to the server.
    pub fn loads(&self, parallel: usize) -> Arc<Semaphore> {
        Arc::clone(self.loads.get_or_init(|| Arc::new(Semaphore::new(parallel.max(1)))))
    }

    /// One permit per writer that is being opened.
    pub fn openings(&self) -> Arc<Semaphore> {
        Arc::clone(&self.openings)
    }

    /// Row changes and snapshot rows since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.changes.load(Ordering::Relaxed), self.snapshot_rows.load(Ordering::Relaxed))
    }

    /// Records the progress of a snapshot.
    pub fn set_progress(&self, table: &str, progress: Progress) {
        locked(&self.progress).insert(table.to_owned(), progress);
    }

    /// Forgets a snapshot that ended.
    pub fn clear_progress(&self, table: &str) {
        locked(&self.progress).remove(table);
    }

    /// The snapshots that are running.
    pub fn progress(&self) -> Vec<(String, Progress)> {
        let progress = locked(&self.progress);
        let mut all: Vec<_> = progress.iter().map(|(table, progress)| (table.clone(), *progress)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// A board shared by the workers of one source.
pub type SharedBoard = Arc<Board>;
