//! The embedded change log: Kafka's offsets, durability and order in one SQLite file, for one daemon.
//!
//! Why nothing is lost or doubled: a batch's records, the partition's end, its last position and the topic's term are one SQLite
//! transaction, committed with `synchronous=FULL` before the append is answered. The same transaction checks the term, that each
//! record is above the partition's last one and that it names it as its predecessor; so a fenced tailer, a repeated append and a
//! hole are refused where they happen. Batches of one call are one transaction: a source's transaction over several tables is in
//! the log whole or not at all.
//!
//! A topic has one partition here: order is total, and one writer a table is what the lake has.

mod append;
mod block;
mod reader;
mod release;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::range::Range;
use super::{
    Acknowledged, AppendBatch, ChangeLog, Consumer, Error, LocalSettings, PartitionTail, Record, Result, Unpublished, Usage,
};
use crate::change::{LogOffset, LogPlace, Term};
use block::PackedBlock;
use reader::Reader;
use rusqlite::Connection;
use store::{Outcome, storage};
use writer::{Durability, Writer};

/// Partitions of a topic.
const PARTITIONS: u32 = 1;
/// Reads at the same time; more wait.
const READS: usize = 8;
/// Held while the log is open.
const LOCK: &str = "lock";

/// The embedded change log.
pub struct LocalLog {
    path: PathBuf,
    bytes_max: u64,
    // Dropped in this order: the lock last.
    writer: Writer,
    reader: Arc<Reader>,
    reads: Arc<Semaphore>,
    /// Of every tailer that appends.
    unpublished: Mutex<Vec<Weak<Unpublished>>>,
    _lock: File,
}

impl LocalLog {
    /// Opens the log in its directory, creating both where they are not there.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has it open, [`Error::Format`] if a later version wrote it.
    pub async fn open(settings: LocalSettings) -> Result<Self> {
        let directory = settings.directory.clone();
        blocking(&directory, move || Self::open_blocking(&settings)).await
    }

    fn open_blocking(settings: &LocalSettings) -> Result<Self> {
        let directory = &settings.directory;
        std::fs::create_dir_all(directory).map_err(|error| storage(directory, &error))?;
        let lock = lock(directory)?;
        let path = directory.join(store::FILE);
        let connection = store::open_for_writing(&path).map_err(|failed| failed.at(&path))?;
        // What a process had appended when it was killed is visible and may be in no more than memory: it is synced before anybody takes it.
        for file in [path.clone(), path.with_extension("db-wal")] {
            match File::open(&file).and_then(|file| file.sync_all()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(storage(&file, &error)),
                _ => {}
            }
        }
        // The file's name, and the directory's, survive a power cut too.
        for place in [Some(directory.as_path()), directory.parent()].into_iter().flatten() {
            let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
            File::open(place).and_then(|place| place.sync_all()).map_err(|error| storage(place, &error))?;
        }
        let writer = Writer::start(path.clone(), connection)?;
        let reader = Arc::new(Reader::new(path.clone()));
        let reads = Arc::new(Semaphore::new(READS));
        let unpublished = Mutex::default();
        Ok(Self { path, bytes_max: settings.bytes_max, writer, reader, reads, unpublished, _lock: lock })
    }

    /// What all tailers, this one included, have in the log and did not publish.
    fn unpublished_with(&self, tailer: &Arc<Unpublished>) -> u64 {
        let mut known = self.unpublished.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.strong_count() > 0);
        if !known.iter().any(|known| known.as_ptr() == Arc::as_ptr(tailer)) {
            known.push(Arc::downgrade(tailer));
        }
        known.iter().filter_map(Weak::upgrade).map(|known| known.bytes()).sum()
    }

    /// Runs a read away from the async threads, a bounded number at a time.
    async fn reading<T: Send + 'static>(&self, read: impl FnOnce(&Reader) -> Result<T> + Send + 'static) -> Result<T> {
        let permit = Arc::clone(&self.reads).acquire_owned().await.map_err(|error| storage(&self.path, &error))?;
        let reader = Arc::clone(&self.reader);
        let work = move || {
            let outcome = read(&reader);
            drop(permit);
            outcome
        };
        blocking(&self.path, work).await
    }
}

/// Takes the directory's lock.
fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|error| storage(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Locked { path: directory.display().to_string() }),
        Err(std::fs::TryLockError::Error(error)) => Err(storage(&path, &error)),
    }
}

/// Runs blocking work away from the async threads.
async fn blocking<T: Send + 'static>(path: &Path, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| storage(path, &error))?
}

/// Creates the topic unless it is there, and makes it this term's; the number of its partitions.
fn open_topic(connection: &rusqlite::Connection, name: &str, term: Term) -> Outcome<u32> {
    let mut statement = connection
        .prepare_cached("INSERT INTO topics (name, partitions, term) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING")?;
    let created = statement.execute((name, PARTITIONS, store::stored(term.0)?))?;
    let topic = store::topic(connection, name)?;
    if created > 0 {
        for partition in 0..topic.partitions {
            let sql = "INSERT INTO partitions (topic_id, partition, first_offset, end_offset) VALUES (?1, ?2, 0, 0)";
            connection.prepare_cached(sql)?.execute((topic.id, partition))?;
        }
    }
    append::raise_term(connection, name, &topic, term)?;
    Ok(topic.partitions)
}

#[async_trait]
impl ChangeLog for LocalLog {
    async fn open_topic(&self, topic: &str, term: Term) -> Result<u32> {
        let topic = topic.to_owned();
        self.writer.call(Durability::Durable, move |connection| open_topic(connection, &topic, term)).await
    }

    async fn append(&self, batches: Vec<AppendBatch>) -> Result<Vec<Acknowledged>> {
        self.append_unpublished(&Arc::new(batches), &Arc::default()).await
    }

    async fn append_unpublished(
        &self,
        batches: &Arc<Vec<AppendBatch>>,
        unpublished: &Arc<Unpublished>,
    ) -> Result<Vec<Acknowledged>> {
        let batches = Arc::clone(batches);
        let packed = blocking(&self.path, move || block::pack(&batches)).await?;
        let added = packed.iter().flat_map(|batch| &batch.blocks).map(PackedBlock::live_bytes).sum();
        let all_unpublished = self.unpublished_with(unpublished);
        let bytes_max = self.bytes_max;
        let append = move |connection: &Connection| append::append(connection, &packed, bytes_max, all_unpublished);
        let acknowledged = self.writer.call(Durability::Durable, append).await?;
        unpublished.add(added);
        Ok(acknowledged)
    }

    async fn bytes_from(&self, topic: &str, from: LogOffset) -> Result<u64> {
        let topic = topic.to_owned();
        self.reading(move |reader| reader.bytes_from(&topic, from)).await
    }

    async fn ends(&self, topic: &str) -> Result<Vec<LogOffset>> {
        let topic = topic.to_owned();
        self.reading(move |reader| reader.ends(&topic)).await
    }

    async fn tails(&self, topic: &str, known: &[LogPlace]) -> Result<Vec<PartitionTail>> {
        let (topic, known) = (topic.to_owned(), known.to_vec());
        self.reading(move |reader| reader.tails(&topic, &known)).await
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: LogOffset,
        until: LogOffset,
        bytes_max: usize,
    ) -> Result<Vec<Record>> {
        let range = Range { topic: topic.to_owned(), partition, from, until, bytes_max };
        self.reading(move |reader| reader.read(&range)).await
    }

    async fn register(&self, topic: &str, term: Term, consumer: &Consumer, offsets: &[LogOffset]) -> Result<()> {
        let (topic, consumer, offsets) = (topic.to_owned(), consumer.clone(), offsets.to_vec());
        // A registration that got lost would let others release what this consumer needs.
        let register = move |connection: &Connection| release::register(connection, &topic, term, &consumer, &offsets);
        self.writer.call(Durability::Durable, register).await
    }

    async fn advance(&self, topic: &str, consumer: &Consumer, offsets: &[LogOffset]) -> Result<()> {
        let (topic, consumer, offsets) = (topic.to_owned(), consumer.clone(), offsets.to_vec());
        let advance = move |connection: &Connection| release::advance(connection, &topic, &consumer, &offsets);
        self.writer.call(Durability::Eventual, advance).await
    }

    async fn set_active(&self, topic: &str, consumer: &Consumer, active: bool) -> Result<()> {
        let (topic, consumer) = (topic.to_owned(), consumer.clone());
        self.writer.call(Durability::Durable, move |connection| release::set_active(connection, &topic, &consumer, active)).await
    }

    async fn consumers(&self, topic: &str) -> Result<Vec<Consumer>> {
        let topic = topic.to_owned();
        self.reading(move |reader| reader.consumers(&topic)).await
    }

    async fn forget(&self, topic: &str, term: Term, consumers: &[Consumer]) -> Result<()> {
        let (topic, consumers) = (topic.to_owned(), consumers.to_vec());
        let forget = move |connection: &Connection| release::forget(connection, &topic, term, &consumers);
        self.writer.call(Durability::Durable, forget).await
    }

    async fn begin_topic(&self, topic: &str, term: Term) -> Result<Vec<LogOffset>> {
        let topic = topic.to_owned();
        let begin = move |connection: &Connection| {
            open_topic(connection, &topic, term)?;
            release::empty(connection, &topic, term)
        };
        self.writer.call(Durability::Durable, begin).await
    }

    fn record_bytes_max(&self, _topic: &str) -> u64 {
        block::RECORD_BYTES_MAX
    }

    async fn topic_term(&self, topic: &str) -> Result<Option<Term>> {
        let topic = topic.to_owned();
        self.reading(move |reader| reader.term(&topic)).await
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage { bytes: self.writer.used(), bytes_max: self.bytes_max })
    }

    fn waits_for(&self) -> String {
        format!("the disk of {} gives no answer", self.path.display())
    }
}
