//! The change log on Kafka.
//!
//! Why no change is lost and none is taken twice, though nothing here is a transaction unless one is asked for:
//! - *Acknowledged means in the log.* An append is answered when every replica in sync has every record of it (`producer`). Only then does
//!   the caller publish, together with the offsets behind these very records: `published` never names what is not there.
//! - *What is in the log, and was never acknowledged to anyone, is found.* Whoever goes on, after a failure or a `kill -9`, reads each
//!   partition from the place that was published up to its end, and continues behind the last record there (`tails`).
//! - *What lands after that look is left out.* A request of a dead or hung predecessor may still arrive. Each record names its term, its
//!   position and its predecessor's: a reader drops a lower term behind a higher one, and a position that is not above the last
//!   ([`super::chain`]). With `transactions` the brokers refuse such a request; consumers that are not ours see none of it then.
//! - *What is gone is loud.* A reader is told to jump nowhere (`reader`). Retention, compaction, a truncated or a deleted and newly made topic, an
//!   unclean leader: either the offset is outside of the partition's bounds, or the chain of predecessors breaks.
//!
//! Nothing is ever deleted here, and nobody's progress is kept here: retention is the brokers', offsets are the lake's. Offsets are shown
//! under a group's name, for dashboards alone.

use std::sync::Arc;

use async_trait::async_trait;

mod append;
mod check;
mod client;
mod cluster;
mod failure;
mod headers;
mod producer;
mod reader;
mod readers;
mod reports;
mod sending;
mod settings;
mod topics;
mod voice;

#[cfg(test)]
mod tests;

pub use settings::{KafkaSettings, Properties};

use self::cluster::{Bounds, Cluster};
use self::producer::Producer;
use self::readers::Readers;
use self::topics::Topics;
use super::chain::{TailScan, known_places};
use super::range::Range;
use super::{Acknowledged, AppendBatch, ChangeLog, Consumer, Error, PartitionTail, Record, Result, Unpublished, Usage};
use crate::change::{LogOffset, LogPlace, Term};

/// Bytes read at once where the log looks through itself.
const SCAN_BYTES: usize = 1 << 20;
/// So many records at a partition's end are looked at for their term.
const TERM_RECORDS: u64 = 16;

/// See the module. Clients are made when they are first needed: a cluster that is away is none of opening's business.
pub struct KafkaLog {
    settings: Arc<KafkaSettings>,
    cluster: Cluster,
    topics: Arc<Topics>,
    readers: Arc<Readers>,
    producer: Producer,
    /// With transactions: the term for which the producer was made.
    claimed: tokio::sync::Mutex<Option<Term>>,
}

impl KafkaLog {
    /// A log of these settings.
    ///
    /// # Errors
    /// [`Error::Settings`] where no client can be made of them.
    pub fn open(settings: KafkaSettings) -> Result<Self> {
        // What is wrong with a producer's settings is not found at the first append.
        let sizes = settings.record_bytes_configured().unwrap_or(1_000_000);
        settings.producer(sizes, sizes).create_native_config().map_err(|error| failure::settings(&error))?;
        let settings = Arc::new(settings);
        let cluster = Cluster::new(&settings)?;
        let topics = Arc::new(Topics::new(&settings, &cluster));
        let readers = Arc::new(Readers::new(&settings));
        Self::assemble(settings, cluster, topics, readers)
    }

    /// The same log for a source, with a producer of its own.
    ///
    /// # Errors
    /// As [`KafkaLog::open`].
    pub fn for_source(&self, name: &str) -> Result<Self> {
        let settings = Arc::new(KafkaSettings { name: name.to_owned(), ..KafkaSettings::clone(&self.settings) });
        let cluster = Cluster::new(&settings)?;
        Self::assemble(settings, cluster, Arc::clone(&self.topics), Arc::clone(&self.readers))
    }

    fn assemble(settings: Arc<KafkaSettings>, cluster: Cluster, topics: Arc<Topics>, readers: Arc<Readers>) -> Result<Self> {
        let (seen, used) = (cluster.clone(), Arc::clone(&readers));
        let upkeep = move || {
            seen.look_after();
            used.let_go();
        };
        let producer = Producer::start(Arc::clone(&settings), upkeep)?;
        Ok(Self { settings, cluster, topics, readers, producer, claimed: tokio::sync::Mutex::default() })
    }

    /// Shuts a predecessor's producer out, where that can be done, before anybody looks at what the topics hold.
    async fn claim(&self, topic: &str, term: Term) -> Result<()> {
        if !self.settings.transactions {
            return Ok(());
        }
        let mut claimed = self.claimed.lock().await;
        if claimed.is_some_and(|claimed| claimed >= term) {
            return Ok(());
        }
        self.producer.claim(self.topics.sizes()).await.map_err(|failed| self.failure(failed, topic, term, &[]))?;
        *claimed = Some(term);
        Ok(())
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds> {
        let topic = topic.to_owned();
        self.cluster.ask(move |cluster| cluster.bounds(&topic, partition)).await
    }

    async fn scan(&self, range: Range, see: &mut (dyn FnMut(&Record) + Send)) -> Result<()> {
        let mut range = range;
        loop {
            let records = self.readers.read(range.clone()).await?;
            let Some(last) = records.last() else { return Ok(()) };
            range.from = LogOffset(last.offset.0 + 1);
            records.iter().for_each(&mut *see);
        }
    }

    async fn tail(&self, topic: &str, partition: u32, known: &LogPlace) -> Result<PartitionTail> {
        let bounds = self.bounds(topic, partition).await?;
        let mut scan = TailScan::new(known);
        // A topic that ends before the place was made anew, or has lost records: its end says so.
        if known.offset < bounds.end {
            let range =
                Range { topic: topic.to_owned(), partition, from: known.offset, until: bounds.end, bytes_max: SCAN_BYTES };
            self.scan(range, &mut |record| scan.see(record)).await?;
        }
        Ok(scan.tail(bounds.end))
    }
}

#[async_trait]
impl ChangeLog for KafkaLog {
    async fn open_topic(&self, topic: &str, term: Term) -> Result<u32> {
        let partitions = self.topics.open(topic, term).await?;
        self.claim(topic, term).await?;
        Ok(partitions)
    }

    async fn append(&self, batches: Vec<AppendBatch>) -> Result<Vec<Acknowledged>> {
        self.send(&Arc::new(batches)).await
    }

    async fn append_unpublished(
        &self,
        batches: &Arc<Vec<AppendBatch>>,
        _unpublished: &Arc<Unpublished>,
    ) -> Result<Vec<Acknowledged>> {
        self.send(batches).await
    }

    async fn ends(&self, topic: &str) -> Result<Vec<LogOffset>> {
        let name = topic.to_owned();
        let ask = move |cluster: &Cluster| {
            let missing = || Error::Missing { topic: name.clone(), partition: None };
            let partitions = cluster.partitions(&name)?.ok_or_else(missing)?;
            (0..partitions).map(|partition| cluster.bounds(&name, partition).map(|bounds| bounds.end)).collect()
        };
        self.cluster.ask(ask).await
    }

    async fn tails(&self, topic: &str, known: &[LogPlace]) -> Result<Vec<PartitionTail>> {
        let partitions = self.topics.partitions(topic).await?;
        let mut tails = Vec::with_capacity(partitions as usize);
        for (partition, known) in (0..partitions).zip(known_places(known)) {
            tails.push(self.tail(topic, partition, &known).await?);
        }
        Ok(tails)
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: LogOffset,
        until: LogOffset,
        bytes_max: usize,
    ) -> Result<Vec<Record>> {
        if partition >= self.topics.look(topic).await?.partitions {
            return Err(Error::Missing { topic: topic.to_owned(), partition: Some(partition) });
        }
        self.readers.read(Range { topic: topic.to_owned(), partition, from, until, bytes_max }).await
    }

    async fn register(&self, topic: &str, term: Term, _consumer: &Consumer, _offsets: &[LogOffset]) -> Result<()> {
        self.topics.raise(topic, term)
    }

    async fn consumers(&self, _topic: &str) -> Result<Vec<Consumer>> {
        Ok(Vec::new())
    }

    async fn advance(&self, topic: &str, _consumer: &Consumer, offsets: &[LogOffset]) -> Result<()> {
        // Handed over to the client, which sends them by and by.
        self.cluster.show_offsets(topic, offsets);
        Ok(())
    }

    async fn set_active(&self, _topic: &str, _consumer: &Consumer, _active: bool) -> Result<()> {
        Ok(())
    }

    async fn forget(&self, topic: &str, term: Term, _consumers: &[Consumer]) -> Result<()> {
        self.topics.raise(topic, term)
    }

    async fn begin_topic(&self, topic: &str, term: Term) -> Result<Vec<LogOffset>> {
        self.open_topic(topic, term).await?;
        self.ends(topic).await
    }

    fn record_bytes_max(&self, topic: &str) -> u64 {
        self.topics.get(topic).map_or(u64::MAX, |topic| self.topics.record_bytes_max(&topic))
    }

    async fn topic_term(&self, topic: &str) -> Result<Option<Term>> {
        let ends = match self.ends(topic).await {
            Ok(ends) => ends,
            Err(Error::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut term = self.topics.get(topic).map(|topic| topic.term).filter(|term| *term > Term::default());
        for (partition, end) in (0..).zip(ends) {
            let first = self.bounds(topic, partition).await?.first;
            let from = LogOffset(end.0.saturating_sub(TERM_RECORDS).max(first.0));
            let range = Range { topic: topic.to_owned(), partition, from, until: end, bytes_max: SCAN_BYTES };
            let seen = self.scan(range, &mut |record| term = term.max(Some(record.term))).await;
            match seen {
                // What is not ours says nothing of terms; whoever reads the topic will tell.
                Ok(()) | Err(Error::Corrupt { .. } | Error::Lost { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(term)
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }

    fn waits_for(&self) -> String {
        let brokers = self.settings.brokers.join(", ");
        let word = self.producer.last_word();
        format!("the brokers at {brokers}: {}", word.as_deref().unwrap_or("no answer, and no word of why"))
    }
}
