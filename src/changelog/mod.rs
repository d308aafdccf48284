//! The change log: topics of records, ordered per partition, durable before they are acknowledged.
//!
//! The door is [`ChangeLog`]; [`codec`] turns row images into record bytes (Debezium's envelope) and back. What a reader may take
//! is decided in one place, [`chain`]: a late record of a fenced tailer and a repeated one are dropped and counted, a hole parks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::change::failure::advice_on_place;
use crate::change::{CellError, ChangePosition, Failure, LogOffset, LogPlace, Remedy, Term};

pub mod chain;
pub mod codec;
pub mod contract;
pub mod kafka;
pub mod local;
pub mod memory;
mod range;

pub use kafka::{KafkaLog, KafkaSettings};
pub use local::LocalLog;
pub use memory::MemoryLog;

/// What this room returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Settings of the embedded log.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// The directory that holds it.
    pub directory: std::path::PathBuf,
    /// Live bytes it may hold; appending waits beyond them.
    pub bytes_max: u64,
}

/// One record to append. Key and value are ranges of the batch's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendRecord {
    /// The partition it goes to.
    pub partition: u32,
    /// Where it stands.
    pub position: ChangePosition,
    /// The record before it in its partition.
    pub previous: Option<ChangePosition>,
    /// The shape's fingerprint; one text for all records of a shape.
    pub schema: Arc<str>,
    /// Byte range of the key in [`AppendBatch::bytes`]; empty for a keyless table, a truncate or a schema record.
    pub key: std::ops::Range<usize>,
    /// Byte range of the value.
    pub value: std::ops::Range<usize>,
}

/// Records of one topic, in order, that are appended together.
#[derive(Debug, Clone, Default)]
pub struct AppendBatch {
    /// The topic.
    pub topic: String,
    /// The term of the tailer.
    pub term: Term,
    /// All keys and values.
    pub bytes: Vec<u8>,
    /// The records.
    pub records: Vec<AppendRecord>,
}

/// What one tailer has in the log behind what is published, in bytes: nobody can take it before its transaction has ended.
#[derive(Debug, Default)]
pub struct Unpublished(AtomicU64);

impl Unpublished {
    /// So many bytes more.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So many bytes at least: what is known of topics may have been less.
    pub fn at_least(&self, bytes: u64) {
        self.0.fetch_max(bytes, Ordering::AcqRel);
    }

    /// Whatever the log holds, nobody takes it before more was appended.
    pub fn all(&self) {
        self.0.store(1 << 60, Ordering::Release);
    }

    /// All of it was published.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// How much it is.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The proof that a batch is durable. Only `append` makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The topic.
    pub topic: String,
    /// The offset behind the last record of the append in every partition; None where it had no record for it.
    pub ends: Vec<Option<LogOffset>>,
}

/// The end of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionTail {
    /// The offset that the next record will get.
    pub end: LogOffset,
    /// The last record's position and term, if there ever was one (also when it has been released since).
    pub last: Option<(ChangePosition, Term)>,
    /// Behind the place that was known: where the records of each transaction end, the earliest first. A transaction that is not in the
    /// log to its end has its last record's place.
    pub marks: Vec<LogPlace>,
}

impl PartitionTail {
    /// The place behind all of it.
    pub fn place(&self) -> LogPlace {
        let (last, term) = self.last.map_or((None, Term::default()), |(last, term)| (Some(last), term));
        LogPlace { offset: self.end, last, term }
    }
}

/// One record as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: LogOffset,
    /// Where it stands.
    pub position: ChangePosition,
    /// The record before it in its partition.
    pub previous: Option<ChangePosition>,
    /// Its tailer's term.
    pub term: Term,
    /// The shape's fingerprint; one text for all records of a shape.
    pub schema: Arc<str>,
    /// The key's bytes; shared with the block it was read from.
    pub key: Bytes,
    /// The value's bytes; shared likewise.
    pub value: Bytes,
}

/// Who reads a topic: a lake table and its generation, e.g. `ods_shop.orders/g0001`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Consumer(pub String);

/// How full the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Live bytes.
    pub bytes: u64,
    /// The limit; 0 where there is none.
    pub bytes_max: u64,
}

/// The change log.
#[async_trait]
pub trait ChangeLog: Send + Sync {
    /// Creates the topic unless it is there, and makes it this term's: nothing of a lower one gets in any more. The number of its
    /// partitions.
    ///
    /// # Errors
    /// [`Error::Fenced`] when a higher term has opened the topic or appended to it.
    async fn open_topic(&self, topic: &str, term: Term) -> Result<u32>;
    /// Appends batches (of different topics) and returns once all are durable. On the embedded log they become visible together.
    ///
    /// # Errors
    /// [`Error::Full`] when `bytes_max` is reached and what fills it is still needed by an active consumer: nothing was appended.
    /// [`Error::Fenced`] when a higher term has appended to one of the topics.
    async fn append(&self, batches: Vec<AppendBatch>) -> Result<Vec<Acknowledged>>;
    /// [`ChangeLog::append`] of batches that the caller keeps, to append them again when the log was full: they may be large, and are
    /// not copied where that can be helped. `unpublished` grows by what they take (where the log has a limit): one that holds nothing else
    /// is not full, for only more of the same transaction can ever make room in it.
    async fn append_unpublished(
        &self,
        batches: &Arc<Vec<AppendBatch>>,
        _unpublished: &Arc<Unpublished>,
    ) -> Result<Vec<Acknowledged>> {
        self.append(Vec::clone(batches)).await
    }
    /// The bytes that a topic takes from an offset on, as [`Unpublished`] counts them.
    async fn bytes_from(&self, _topic: &str, _from: LogOffset) -> Result<u64> {
        Ok(0)
    }
    /// The offsets that the next records of the topic's partitions will get, at least.
    async fn ends(&self, topic: &str) -> Result<Vec<LogOffset>>;
    /// The tails of the topic's partitions. What lies behind the places that are `known` (one per partition) is looked through.
    async fn tails(&self, topic: &str, known: &[LogPlace]) -> Result<Vec<PartitionTail>>;
    /// Records of `[from, until)`, at least one if there is one, about `bytes_max` at most. Empty when there is none.
    ///
    /// # Errors
    /// [`Error::Lost`] when `from` was released or evicted, [`Error::Corrupt`] when the bytes fail their checksum.
    async fn read(&self, topic: &str, partition: u32, from: LogOffset, until: LogOffset, bytes_max: usize)
    -> Result<Vec<Record>>;
    /// Registers a consumer that needs everything from these offsets on (one per partition). One that is registered moves on to them.
    ///
    /// # Errors
    /// [`Error::Fenced`] when a higher term has opened the topic or appended to it.
    async fn register(&self, topic: &str, term: Term, consumer: &Consumer, offsets: &[LogOffset]) -> Result<()>;
    /// The consumers that are registered; none where there is no such topic.
    async fn consumers(&self, topic: &str) -> Result<Vec<Consumer>>;
    /// Moves a consumer on: below these offsets it needs nothing any more. Never moves it back, and does nothing for one that is not
    /// registered: a daemon that was overtaken cannot bring back what its successor has forgotten, and fill the log with it.
    async fn advance(&self, topic: &str, consumer: &Consumer, offsets: &[LogOffset]) -> Result<()>;
    /// An inactive consumer (parked, paused) keeps its records only until the log is full; then they are evicted. A topic or consumer that
    /// is not there is fine.
    async fn set_active(&self, topic: &str, consumer: &Consumer, active: bool) -> Result<()>;
    /// Forgets consumers. What nobody has a claim on any more goes when the log is full. A topic that is not there is fine.
    ///
    /// # Errors
    /// [`Error::Fenced`] when a higher term has opened the topic or appended to it.
    async fn forget(&self, topic: &str, term: Term, consumers: &[Consumer]) -> Result<()>;
    /// Nobody has a claim on what the topic holds: a log that keeps records for its consumers alone lets them go. A topic that is not
    /// there is created. The offsets from which it goes on, as if it had begun there.
    ///
    /// # Errors
    /// [`Error::Fenced`] when a higher term has opened the topic or appended to it: a daemon that slept through its successor's start
    /// does not take its records away.
    async fn begin_topic(&self, topic: &str, term: Term) -> Result<Vec<LogOffset>>;
    /// The most bytes that key and value of one record may have together in this topic, which was opened.
    fn record_bytes_max(&self, _topic: &str) -> u64 {
        u64::MAX
    }
    /// The highest term that has opened the topic or appended to it; None where there is no such topic.
    async fn topic_term(&self, topic: &str) -> Result<Option<Term>>;
    /// How full the log is.
    async fn usage(&self) -> Result<Usage>;
    /// Who keeps an append waiting, as people call it, and what was last heard from there.
    fn waits_for(&self) -> String {
        "it gives no answer".to_owned()
    }
}

/// What can go wrong in the change log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `bytes_max` is reached.
    #[error("the change log is full: {bytes} of {bytes_max} bytes")]
    Full {
        /// Live bytes.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A higher term has appended.
    #[error("topic {topic}: term {term} was overtaken by term {by}")]
    Fenced {
        /// The topic.
        topic: String,
        /// Ours.
        term: Term,
        /// Theirs.
        by: Term,
    },
    /// The records are gone.
    #[error("topic {topic}[{partition}]: offset {from} is gone; the first that is left is {first}")]
    Lost {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What was asked for.
        from: LogOffset,
        /// What is there.
        first: LogOffset,
    },
    /// A record that does not follow the one before it.
    #[error("topic {topic}[{partition}] at offset {offset}: {reason}")]
    Broken {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The record.
        offset: LogOffset,
        /// What does not fit.
        reason: String,
    },
    /// Bytes that fail their checksum or are no record of ours.
    #[error("topic {topic}[{partition}] at offset {offset}: {reason}")]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The record, or the first of its block.
        offset: LogOffset,
        /// What was found.
        reason: String,
    },
    /// The topic was not opened, or has fewer partitions.
    #[error("topic {topic}{} is not in the change log", partition.map_or_else(String::new, |partition| format!("[{partition}]")))]
    Missing {
        /// The topic.
        topic: String,
        /// The partition, where only that is missing.
        partition: Option<u32>,
    },
    /// A cell that the record, or the reader's sink, cannot take.
    #[error("topic {topic}, record at {position}: {source}")]
    Cell {
        /// The topic.
        topic: String,
        /// The record.
        position: ChangePosition,
        /// The cell.
        source: CellError,
    },
    /// A record that is too large for the log.
    #[error("topic {topic}, record at {position} with key {key}: {bytes} bytes are more than the {bytes_max} that the log takes")]
    TooLarge {
        /// The topic.
        topic: String,
        /// The record.
        position: ChangePosition,
        /// Its key, as far as it is printed.
        key: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Another process has the log open.
    #[error("change log {path} is in use by another process")]
    Locked {
        /// Where it is.
        path: String,
    },
    /// The log was written by a later version.
    #[error("change log {path} has format {found}; this binlake knows formats up to {known}")]
    Format {
        /// Where it is.
        path: String,
        /// Its format.
        found: i64,
        /// The latest that is known.
        known: i64,
    },
    /// What is configured for the log cannot be used.
    #[error("the change log's settings cannot be used: {reason}")]
    Settings {
        /// What is wrong.
        reason: String,
    },
    /// The store behind the log failed.
    #[error("change log {path}: {reason}")]
    Storage {
        /// Where it is.
        path: String,
        /// What the store said.
        reason: String,
    },
}

impl Error {
    /// A record of a batch is larger than the log takes.
    pub fn too_large(batch: &AppendBatch, record: &AppendRecord, bytes_max: u64) -> Self {
        Self::TooLarge {
            topic: batch.topic.clone(),
            position: record.position,
            key: shown_key(batch.bytes.get(record.key.clone()).unwrap_or_default()),
            bytes: (record.key.len() + record.value.len()) as u64,
            bytes_max,
        }
    }
}

/// A key as errors print it.
fn shown_key(key: &[u8]) -> String {
    const SHOWN: usize = 200;
    let mut text: String = String::from_utf8_lossy(key).chars().take(SHOWN).collect();
    if key.len() > text.len() {
        text.push('…');
    }
    text
}

impl Failure for Error {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Full { .. } | Self::Storage { .. } | Self::Missing { .. } => Remedy::Retry,
            Self::Fenced { .. } => Remedy::Fenced,
            Self::Lost { .. } | Self::Broken { .. } | Self::Corrupt { .. } => {
                Remedy::Park("the log no longer holds every change of this table: run `binlake rebuild` for it".to_owned())
            }
            Self::Cell { source, .. } => Remedy::Park(format!(
                "the value of column {} cannot be kept as it is: leave the column out with `columns: {{exclude: […]}}`, then run `binlake rebuild`",
                source.column
            )),
            Self::TooLarge { .. } => Remedy::Park(
                "a row is too large for the change log: leave its largest column out with `columns: {exclude: […]}`, then run `binlake rebuild`"
                    .to_owned(),
            ),
            Self::Locked { .. } => {
                Remedy::Stop("stop the other binlake, or give this one a `changelog.dir` of its own".to_owned())
            }
            Self::Settings { .. } => Remedy::Stop("mend `changelog` in the configuration".to_owned()),
            Self::Format { .. } => Remedy::Stop("run the binlake version that wrote it, or a later one".to_owned()),
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Storage { path, reason } => advice_on_place(&format!("the change log ({path})"), reason),
            Self::Full { .. } => {
                Some("let the writers go on, or give `changelog.max_bytes` more: it goes on by itself".to_owned())
            }
            _ => None,
        }
    }

    fn without_values(&self) -> Option<String> {
        match self {
            Self::Cell { topic, position, source } => Some(format!(
                "topic {topic}, record at {position}: a value of column {} cannot be kept: `binlake status` names it",
                source.column
            )),
            Self::TooLarge { topic, position, bytes, bytes_max, .. } => Some(format!(
                "topic {topic}, record at {position}: {bytes} bytes are more than the {bytes_max} that the log takes: \
                 `binlake status` has its key"
            )),
            _ => None,
        }
    }
}
