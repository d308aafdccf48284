//! The metadata store in one SQLite file: every method is one transaction of its own, on disk when it returns.
//!
//! Durable: WAL with `synchronous=FULL` syncs the log at every commit, and the directory when it is made. Fenced: the lease is
//! compared inside the writing transaction, which is IMMEDIATE, so nothing comes between the comparison and the write. One daemon:
//! `lock`. The command line reads and puts requests beside a running daemon: readers of a WAL wait for nobody, and the one short
//! write waits its turn for [`BUSY_TIMEOUT`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{
    ChunkDone, ChunkState, Error, Lease, Metadata, News, Parked, Published, Request, RequestKind, Result, SourceState, TableState,
};
use crate::change::{DayEnd, LogPlace, TableName, Term};
use lock::{Attempt, ProcessLock};
use trouble::{Outcome, Trouble};

mod chunks;
mod days;
mod format;
mod leases;
mod lock;
mod requests;
mod sources;
mod tables;
mod trouble;
mod troubles;

#[cfg(test)]
mod tests;

/// How long a call waits for another process's transaction.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long opening waits before it tries again what SQLite did not wait for.
const OPEN_AGAIN: Duration = Duration::from_millis(10);

/// The metadata store in an SQLite file.
#[derive(Debug)]
pub struct SqliteMetadata {
    store: Arc<Store>,
}

#[derive(Debug)]
struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// Held from the first `acquire` until this is dropped.
    lock: Mutex<Option<ProcessLock>>,
}

impl SqliteMetadata {
    /// Opens the store, and makes it with its directory where there is none. Takes no lock: that is for the first `acquire`.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Corrupt`], [`Error::Storage`]; [`Error::Held`] when an older format would have to be migrated
    /// under a running daemon.
    pub fn open(path: &Path) -> Result<Self> {
        let connection = connect(path).map_err(|trouble| trouble.at(path))?;
        let store = Store { path: path.to_owned(), connection: Mutex::new(connection), lock: Mutex::new(None) };
        Ok(Self { store: Arc::new(store) })
    }

    /// Makes this process the daemon of the store, before it touches anything else that belongs to it (scratch, the change log).
    /// `acquire` does it too.
    ///
    /// # Errors
    /// [`Error::Held`] with the process that is it already.
    pub async fn claim(&self, holder: &str) -> Result<()> {
        let (path, holder) = (self.store.path.clone(), holder.to_owned());
        let resource = format!("metadata store {}", path.display());
        self.blocking(move |store| store.lock(&resource, &holder)).await
    }

    /// The living daemon of the store at `path`, as it named itself; None where there is none. This process counts too.
    ///
    /// # Errors
    /// [`Error::Storage`] when the lock file cannot be looked at.
    pub fn living_holder(path: &Path) -> Result<Option<String>> {
        lock::living_holder(path).map_err(|error| Trouble::Io(error).at(path))
    }

    /// Runs one write transaction on a thread that may block.
    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Outcome<T> + Send + 'static,
    {
        self.run(TransactionBehavior::Immediate, work).await
    }

    /// Runs one read transaction on a thread that may block.
    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Outcome<T> + Send + 'static,
    {
        self.run(TransactionBehavior::Deferred, work).await
    }

    async fn run<T, F>(&self, behavior: TransactionBehavior, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Outcome<T> + Send + 'static,
    {
        self.blocking(move |store| store.transact(behavior, work)).await
    }

    async fn blocking<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> Outcome<T> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || work(&store).map_err(|trouble| trouble.at(&store.path)));
        match done.await {
            Ok(result) => result,
            Err(error) => Err(Error::Storage { path: self.store.path.display().to_string(), reason: error.to_string() }),
        }
    }
}

impl Store {
    fn transact<T>(&self, behavior: TransactionBehavior, work: impl FnOnce(&Transaction<'_>) -> Outcome<T>) -> Outcome<T> {
        let mut connection = guard(&self.connection);
        let transaction = connection.transaction_with_behavior(behavior)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// Makes sure that this process is the only daemon on the store.
    fn lock(&self, resource: &str, holder: &str) -> Outcome<()> {
        let mut held = guard(&self.lock);
        if held.is_some() {
            return Ok(());
        }
        match lock::attempt(&self.path, holder)? {
            Attempt::Ours(lock) => {
                *held = Some(lock);
                Ok(())
            }
            Attempt::Theirs(holder) => Err(Trouble::Held { resource: resource.to_owned(), holder }),
        }
    }
}

/// A panic in another call rolled its transaction back, so what it guarded is sound.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the file, again while another process makes it: of two that switch a fresh file to its write-ahead log, each with a
/// shared lock, SQLite sends one away at once, whatever [`BUSY_TIMEOUT`] says (waiting could not help it: sqlite3_busy_handler).
fn connect(path: &Path) -> Outcome<Connection> {
    let started = Instant::now();
    loop {
        match connect_once(path) {
            Err(Trouble::Sqlite(error)) if is_busy(&error) && started.elapsed() < BUSY_TIMEOUT => std::thread::sleep(OPEN_AGAIN),
            connected => return connected,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn connect_once(path: &Path) -> Outcome<Connection> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        create_directory(directory)?;
    }
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    if mode != "wal" {
        return Err(Trouble::Refused(format!("the file system does not bear a write-ahead log (journal_mode is {mode:?})")));
    }
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    format::prepare(&mut connection, path)?;
    Ok(connection)
}

/// Makes a directory whose name survives a power cut: the parent of each new one is synced. SQLite syncs what it makes inside.
fn create_directory(directory: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|one| !one.as_os_str().is_empty() && !one.exists()).collect();
    std::fs::create_dir_all(directory)?;
    for made in missing.iter().rev() {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[async_trait]
impl Metadata for SqliteMetadata {
    async fn acquire(&self, resource: &str, holder: &str) -> Result<Lease> {
        let (resource, holder) = (resource.to_owned(), holder.to_owned());
        let named = (resource.clone(), holder.clone());
        self.blocking(move |store| store.lock(&named.0, &named.1)).await?;
        self.write(move |transaction| leases::acquire(transaction, resource, &holder)).await
    }

    async fn raise(&self, lease: &Lease, above: Term) -> Result<Lease> {
        let lease = lease.clone();
        self.write(move |transaction| leases::raise(transaction, &lease, above)).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let lease = lease.clone();
        self.write(move |transaction| leases::release(transaction, &lease)).await
    }

    async fn source(&self, name: &str) -> Result<Option<SourceState>> {
        let name = name.to_owned();
        self.read(move |transaction| sources::load(transaction, &name)).await
    }

    async fn save_source(&self, lease: &Lease, state: &SourceState) -> Result<()> {
        let (lease, state) = (lease.clone(), state.clone());
        self.write(move |transaction| {
            leases::check(transaction, &lease)?;
            sources::save(transaction, &state)
        })
        .await
    }

    async fn save_stopped(&self, lease: &Lease, source: &str, stopped: Option<&Parked>) -> Result<()> {
        let (lease, source, stopped) = (lease.clone(), source.to_owned(), stopped.cloned());
        self.write(move |transaction| {
            leases::check(transaction, &lease)?;
            sources::save_stopped(transaction, &source, stopped.as_ref())
        })
        .await
    }

    async fn save_published(&self, lease: &Lease, source: &str, checkpoint: &str, news: &News) -> Result<()> {
        let (lease, source, checkpoint, news) = (lease.clone(), source.to_owned(), checkpoint.to_owned(), news.clone());
        self.write(move |transaction| {
            leases::check(transaction, &lease)?;
            sources::save_published(transaction, &source, &checkpoint, &news.published)?;
            news.ends.iter().try_for_each(|(topic, offsets)| sources::save_ends(transaction, &source, topic, offsets))?;
            news.days.iter().try_for_each(|day| days::save(transaction, &source, day))
        })
        .await
    }

    async fn day_end(&self, source: &str, zone: &str, after: Option<&str>) -> Result<Option<DayEnd>> {
        let (source, zone, after) = (source.to_owned(), zone.to_owned(), after.unwrap_or_default().to_owned());
        self.read(move |transaction| days::first_behind(transaction, &source, &zone, &after)).await
    }

    async fn published(&self, lease: Option<&Lease>, source: &str, topic: &str) -> Result<Option<(Published, Vec<LogPlace>)>> {
        let (lease, source, topic) = (lease.cloned(), source.to_owned(), topic.to_owned());
        self.read(move |transaction| {
            lease.as_ref().map_or(Ok(()), |lease| leases::check(transaction, lease))?;
            sources::published(transaction, &source, &topic)
        })
        .await
    }

    async fn tables(&self, source: &str) -> Result<Vec<TableState>> {
        let source = source.to_owned();
        self.read(move |transaction| tables::newest(transaction, &source)).await
    }

    async fn generations(&self, source: &str, table: &TableName) -> Result<Vec<TableState>> {
        let (source, table) = (source.to_owned(), table.clone());
        self.read(move |transaction| tables::generations(transaction, &source, &table)).await
    }

    async fn save_table(&self, lease: &Lease, state: &TableState) -> Result<()> {
        self.save_tables(lease, std::slice::from_ref(state)).await
    }

    async fn save_tables(&self, lease: &Lease, states: &[TableState]) -> Result<()> {
        let (lease, states) = (lease.clone(), states.to_vec());
        self.write(move |transaction| {
            leases::check(transaction, &lease)?;
            states.iter().try_for_each(|state| tables::save(transaction, state))
        })
        .await
    }

    async fn remove_table(&self, lease: &Lease, source: &str, table: &TableName, generation: u32) -> Result<()> {
        let (lease, source, table) = (lease.clone(), source.to_owned(), table.clone());
        self.write(move |transaction| {
            leases::check(transaction, &lease)?;
            tables::remove(transaction, &source, &table, generation)
        })
        .await
    }

    async fn troubles(&self, source: &str) -> Result<Vec<(TableName, u32, Parked)>> {
        let source = source.to_owned();
        self.read(move |transaction| troubles::load(transaction, &source)).await
    }

    async fn save_trouble(
        &self,
        lease: &Lease,
        source: &str,
        table: &TableName,
        generation: u32,
        trouble: Option<&Parked>,
    ) -> Result<()> {
        let (lease, source, table, trouble) = (lease.clone(), source.to_owned(), table.clone(), trouble.cloned());
        self.write(move |transaction| {
            leases::check(transaction, &lease)?;
            troubles::save(transaction, &source, &table, generation, trouble.as_ref())
        })
        .await
    }

    async fn chunks(&self, source: &str, table: &TableName, generation: u32) -> Result<Vec<ChunkState>> {
        let (source, table) = (source.to_owned(), table.clone());
        self.read(move |transaction| chunks::load(transaction, &source, &table, generation)).await
    }

    async fn save_chunks(&self, lease: &Lease, table: &TableState, chunks: &[ChunkState], planned_all: bool) -> Result<()> {
        let (lease, chunks) = (lease.clone(), chunks.to_vec());
        let (source, name, generation) = (table.source.clone(), table.table.clone(), table.generation);
        self.write(move |transaction| {
            leases::check(transaction, &lease)?;
            tables::set_planned_all(transaction, &source, &name, generation, planned_all)?;
            chunks.iter().try_for_each(|chunk| chunks::save(transaction, &source, &name, generation, chunk))
        })
        .await
    }

    async fn chunk_done(&self, lease: &Lease, table: &TableState, index: u64, done: &ChunkDone) -> Result<bool> {
        let (lease, done) = (lease.clone(), done.clone());
        let (source, name, generation) = (table.source.clone(), table.table.clone(), table.generation);
        self.write(move |transaction| {
            leases::check(transaction, &lease)?;
            chunks::finish(transaction, &source, &name, generation, index, &done)
        })
        .await
    }

    async fn put_request(&self, source: &str, table: &TableName, kind: RequestKind) -> Result<u64> {
        let (source, table) = (source.to_owned(), table.clone());
        self.write(move |transaction| requests::put(transaction, &source, &table, kind)).await
    }

    async fn requests(&self) -> Result<Vec<Request>> {
        self.read(requests::all).await
    }

    async fn drop_request(&self, lease: &Lease, id: u64) -> Result<()> {
        let lease = lease.clone();
        self.write(move |transaction| {
            leases::check(transaction, &lease)?;
            requests::forget(transaction, id)
        })
        .await
    }
}
