//! Questions to the cluster that need no reading: which partitions a topic has, and where they begin and end.
//!
//! Each is a blocking call with a time limit, made on a thread that may block.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::failure::{error_code, is_unknown, settings, storage, storage_text};
use super::settings::KafkaSettings;
use super::voice::Voice;
use crate::change::LogOffset;
use crate::changelog::{Error, Result};

/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_secs(8);
/// Between two tries of a question whose answer is just changing.
const AGAIN: Duration = Duration::from_millis(20);

/// Where a partition begins and ends, for a reader of what is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The first offset that is left.
    pub(super) first: LogOffset,
    /// Behind the last record that can be read.
    pub(super) end: LogOffset,
}

/// A connection to the cluster.
#[derive(Clone)]
pub(super) struct Cluster {
    client: Arc<BaseConsumer<Voice>>,
}

impl Cluster {
    /// Makes the client; nothing is asked yet.
    pub(super) fn new(from: &KafkaSettings) -> Result<Self> {
        let client = from.consumer().create_with_context(Voice::of("control")).map_err(|error| settings(&error))?;
        Ok(Self { client: Arc::new(client) })
    }

    /// Asks on a thread that may block.
    pub(super) async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Self) -> Result<T> + Send + 'static) -> Result<T> {
        let cluster = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = question(&cluster);
            cluster.look_after();
            answer
        });
        answer.await.map_err(|error| storage_text("-", format!("a question to the cluster ended early: {error}")))?
    }

    /// Hears what the client has to say.
    pub(super) fn look_after(&self) {
        drop(self.client.poll(Duration::ZERO));
    }

    /// How many partitions a topic has; None where there is no such topic.
    pub(super) fn partitions(&self, topic: &str) -> Result<Option<u32>> {
        self.describe(topic, |found| u32::try_from(found.partitions().len()).unwrap_or(u32::MAX))
    }

    /// What the brokers say of a topic; None where there is no such topic.
    pub(super) fn describe<T>(&self, topic: &str, look: impl FnOnce(&MetadataTopic) -> T) -> Result<Option<T>> {
        describe(&self.client, topic, look)
    }

    /// Some broker's id, and how many brokers there are.
    pub(super) fn brokers(&self) -> std::result::Result<Vec<i32>, KafkaError> {
        let metadata = self.client.fetch_metadata(None, ASK_LIMIT)?;
        Ok(metadata.brokers().iter().map(|broker| broker.id()).collect())
    }

    /// Where a partition begins and ends.
    pub(super) fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds> {
        bounds(&self.client, topic, partition)
    }

    /// The same by the way that is taken when both look the same.
    #[cfg(test)]
    pub(super) fn bounds_one_by_one(&self, topic: &str) -> std::result::Result<(i64, i64), KafkaError> {
        one_by_one(&self.client, topic, 0)
    }

    /// Shows how far a reader of these topics is, for dashboards. Nobody waits for it and nobody reads it back.
    pub(super) fn show_offsets(&self, topic: &str, offsets: &[LogOffset]) {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in (0..).zip(offsets) {
            let offset = Offset::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
            if let Err(error) = list.add_partition_offset(topic, partition, offset) {
                tracing::debug!(topic, %error, "offsets could not be committed for dashboards");
                return;
            }
        }
        if let Err(error) = self.client.commit(&list, CommitMode::Async) {
            tracing::debug!(topic, %error, "offsets could not be committed for dashboards");
        }
        self.look_after();
    }
}

/// Where a partition begins and ends, asked by a client that reads what is committed. A leader that is just moving is waited for.
///
/// Both together are two requests, and librdkafka takes their answers as they come: of a broker that was just away one may answer twice, or
/// with nothing, and stands for both then (2.12, rd_kafka_query_watermark_offsets). A table with all its records in the topic was parked for
/// that. So two that are the same are asked for again, one at a time.
pub(super) fn bounds(client: &BaseConsumer<Voice>, topic: &str, partition: u32) -> Result<Bounds> {
    let number = i32::try_from(partition).unwrap_or(i32::MAX);
    let begun = Instant::now();
    loop {
        let both = match client.fetch_watermarks(topic, number, ASK_LIMIT) {
            Ok((first, end)) if first == end => one_by_one(client, topic, number),
            both => both,
        };
        let error = match both {
            Ok((first, end)) => return Ok(Bounds { first: offset(first), end: offset(end) }),
            Err(error) => error,
        };
        let code = error_code(&error);
        if code.is_some_and(is_unknown) && !partition_is_there(client, topic, number)? {
            return Err(Error::Missing { topic: topic.to_owned(), partition: Some(partition) });
        }
        if !code.is_some_and(|code| is_unknown(code) || is_moving(code)) || begun.elapsed() > ASK_LIMIT {
            return Err(storage(topic, &format!("the ends of partition {partition} cannot be asked for"), &error));
        }
        std::thread::sleep(AGAIN);
    }
}

/// The same, each by a request that has an answer of its own.
fn one_by_one(client: &BaseConsumer<Voice>, topic: &str, partition: i32) -> std::result::Result<(i64, i64), KafkaError> {
    let ask = |place: Offset| {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, place)?;
        let found = client.offsets_for_times(list, ASK_LIMIT)?;
        let found = found.find_partition(topic, partition);
        let unknown = KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable);
        let found = found.ok_or_else(|| unknown.clone())?;
        found.error()?;
        match found.offset() {
            Offset::Offset(offset) => Ok(offset),
            _ => Err(unknown),
        }
    };
    Ok((ask(Offset::Beginning)?, ask(Offset::End)?))
}

/// Whether the brokers know the partition, whatever one of them has not heard yet.
fn partition_is_there(client: &BaseConsumer<Voice>, topic: &str, partition: i32) -> Result<bool> {
    let there = |found: &MetadataTopic| found.partitions().iter().any(|found| found.id() == partition);
    Ok(describe(client, topic, there)?.unwrap_or(false))
}

/// What the brokers say of a topic; None where there is no such topic.
fn describe<T>(client: &BaseConsumer<Voice>, topic: &str, look: impl FnOnce(&MetadataTopic) -> T) -> Result<Option<T>> {
    let failed = |error: &KafkaError| storage(topic, "it cannot be described", error);
    let metadata = client.fetch_metadata(Some(topic), ASK_LIMIT).map_err(|error| failed(&error))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(look(found))),
        Some(code) if is_unknown(code) => Ok(None),
        Some(code) => Err(failed(&KafkaError::MetadataFetch(code))),
    }
}

/// Whether an error says that a partition's leader is just changing.
fn is_moving(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::ReplicaNotAvailable
            | RDKafkaErrorCode::FencedLeaderEpoch
            | RDKafkaErrorCode::UnknownLeaderEpoch
            | RDKafkaErrorCode::OffsetNotAvailable
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::DestroyBroker
    )
}

/// Kafka counts in signed numbers; those below 0 are no offsets.
pub(super) fn offset(number: i64) -> LogOffset {
    LogOffset(u64::try_from(number).unwrap_or_default())
}
