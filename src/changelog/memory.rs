//! The change log in memory: the embedded log's rules without its disk, for tests and simulation.
//!
//! Deterministic: nothing depends on time, threads or addresses. A clone is the same log, so that "the process dies" is dropping
//! one handle and going on with another. [`MemoryLog::fail_next`] plants the two faults that matter at a durable boundary.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::chain::check_append;
use super::{Acknowledged, AppendBatch, AppendRecord, ChangeLog, Consumer, Error, PartitionTail, Record, Result, Usage};
use crate::change::{LogOffset, Term};

/// What a record counts for beside its key and value.
const OVERHEAD: u64 = 200;

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`ChangeLog::open_topic`].
    OpenTopic,
    /// [`ChangeLog::append`].
    Append,
    /// [`ChangeLog::tails`].
    Tails,
    /// [`ChangeLog::read`].
    Read,
    /// [`ChangeLog::advance`].
    Advance,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was done.
    Refused,
    /// Everything was done, and the answer was lost.
    AnswerLost,
}

/// A change log in memory.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    partitions: u32,
    bytes_max: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<String, Topic>,
    bytes: u64,
    appended: u64,
    faults: VecDeque<(Call, Fault)>,
}

#[derive(Debug, Default)]
struct Topic {
    term: Term,
    partitions: Vec<Partition>,
    consumers: BTreeMap<Consumer, Reading>,
}

#[derive(Debug, Default)]
struct Partition {
    first: u64,
    tail: PartitionTail,
    /// Records with their place in the order of all appends.
    records: VecDeque<(u64, Record)>,
}

#[derive(Debug)]
struct Reading {
    active: bool,
    offsets: Vec<u64>,
}

/// A topic as it was before an append.
type Before = (String, Term, Vec<PartitionTail>);

impl MemoryLog {
    /// An empty log whose topics have so many partitions.
    pub fn new(partitions: u32, bytes_max: u64) -> Self {
        Self { partitions, bytes_max, state: Arc::default() }
    }

    /// Makes the next such call fail. Faults of the same call queue up.
    pub fn fail_next(&self, call: Call, fault: Fault) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).faults.push_back((call, fault));
    }

    fn run<T>(&self, call: Option<Call>, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let planted = state.faults.iter().position(|(planted, _)| Some(*planted) == call);
        let fault = planted.and_then(|index| state.faults.remove(index)).map(|(_, fault)| fault);
        let failure = |reason: &str| Error::Storage { path: "memory".to_owned(), reason: reason.to_owned() };
        if fault == Some(Fault::Refused) {
            return Err(failure("refused"));
        }
        let outcome = work(&mut state);
        if fault == Some(Fault::AnswerLost) { outcome.and(Err(failure("the answer was lost"))) } else { outcome }
    }
}

fn size(record: &Record) -> u64 {
    (record.key.len() + record.value.len()) as u64 + OVERHEAD
}

impl Topic {
    fn partition(&self, name: &str, partition: u32) -> Result<&Partition> {
        let missing = || Error::Missing { topic: name.to_owned(), partition: Some(partition) };
        self.partitions.get(partition as usize).ok_or_else(missing)
    }

    /// The offset below which no consumer, or no active one, needs anything; None where nothing may go.
    fn bound(&self, partition: usize, active_only: bool) -> Option<u64> {
        if self.consumers.is_empty() {
            return None;
        }
        let needed = self.consumers.values().filter(|reading| reading.active || !active_only);
        let lowest = needed.filter_map(|reading| reading.offsets.get(partition).copied()).min();
        lowest.or_else(|| self.partitions.get(partition).map(|partition| partition.tail.end.0))
    }

    /// Releases what every consumer has passed; the bytes.
    fn release(&mut self) -> u64 {
        let mut freed = 0;
        for index in 0..self.partitions.len() {
            let Some(bound) = self.bound(index, false) else { continue };
            let Some(partition) = self.partitions.get_mut(index) else { continue };
            while partition.first < bound
                && let Some((_, record)) = partition.records.pop_front()
            {
                partition.first = record.offset.0 + 1;
                freed += size(&record);
            }
        }
        freed
    }
}

impl State {
    fn topic(&mut self, name: &str) -> Result<&mut Topic> {
        self.topics.get_mut(name).ok_or_else(|| Error::Missing { topic: name.to_owned(), partition: None })
    }

    fn append(&mut self, batches: &[AppendBatch], bytes_max: u64) -> Result<Vec<Acknowledged>> {
        let (bytes, mut befores, mut acknowledged) = (self.bytes, Vec::new(), Vec::new());
        for batch in batches {
            match self.append_batch(batch, &mut befores) {
                Ok(ends) => acknowledged.push(Acknowledged { topic: batch.topic.clone(), ends }),
                Err(error) => {
                    self.undo(befores);
                    return Err(error);
                }
            }
        }
        let evictable: u64 = self.evictable().map(|(_, _, _, size)| size).sum();
        if self.bytes.saturating_sub(evictable) > bytes_max && bytes > 0 && self.bytes > bytes {
            self.undo(befores);
            return Err(Error::Full { bytes, bytes_max });
        }
        self.evict(bytes_max);
        Ok(acknowledged)
    }

    fn append_batch(&mut self, batch: &AppendBatch, befores: &mut Vec<Before>) -> Result<Vec<LogOffset>> {
        let mut appended = self.appended;
        let topic = self.topic(&batch.topic)?;
        if batch.term < topic.term {
            return Err(Error::Fenced { topic: batch.topic.clone(), term: batch.term, by: topic.term });
        }
        for record in &batch.records {
            topic.partition(&batch.topic, record.partition)?;
        }
        for (number, partition) in (0_u32..).zip(&topic.partitions) {
            let records = batch.records.iter().filter(|record| record.partition == number);
            check_append(&batch.topic, number, &partition.tail, records)?;
        }
        let tails = topic.partitions.iter().map(|partition| partition.tail.clone()).collect();
        befores.push((batch.topic.clone(), topic.term, tails));
        topic.term = batch.term;
        let mut bytes = 0;
        for record in &batch.records {
            let Some(partition) = topic.partitions.get_mut(record.partition as usize) else { continue };
            let kept = keep(batch, record, partition.tail.end)?;
            bytes += size(&kept);
            partition.tail = PartitionTail { end: LogOffset(kept.offset.0 + 1), last: Some((kept.position, batch.term)) };
            partition.records.push_back((appended, kept));
            appended += 1;
        }
        let ends = topic.partitions.iter().map(|partition| partition.tail.end).collect();
        self.appended = appended;
        self.bytes += bytes;
        Ok(ends)
    }

    fn undo(&mut self, befores: Vec<Before>) {
        for (name, term, tails) in befores.into_iter().rev() {
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            topic.term = term;
            for (partition, tail) in topic.partitions.iter_mut().zip(tails) {
                while let Some((_, record)) = partition.records.pop_back_if(|(_, record)| record.offset >= tail.end) {
                    self.bytes -= size(&record);
                }
                partition.tail = tail;
            }
        }
    }

    /// Records that only inactive consumers need: topic, partition, place among all appends, size.
    fn evictable(&self) -> impl Iterator<Item = (&str, usize, u64, u64)> {
        self.topics.iter().flat_map(|(name, topic)| {
            topic.partitions.iter().enumerate().flat_map(move |(index, partition)| {
                let bound = topic.bound(index, true).unwrap_or_default();
                let gone = partition.records.iter().take_while(move |(_, record)| record.offset.0 < bound);
                gone.map(move |(appended, record)| (name.as_str(), index, *appended, size(record)))
            })
        })
    }

    fn evict(&mut self, bytes_max: u64) {
        while self.bytes > bytes_max {
            let oldest = self.evictable().min_by_key(|(_, _, appended, _)| *appended);
            let Some((name, index)) = oldest.map(|(name, index, _, _)| (name.to_owned(), index)) else { return };
            let partition = self.topics.get_mut(&name).and_then(|topic| topic.partitions.get_mut(index));
            let Some((partition, (_, record))) = partition.and_then(|it| it.records.pop_front().map(|record| (it, record)))
            else {
                return;
            };
            partition.first = record.offset.0 + 1;
            self.bytes -= size(&record);
        }
    }
}

fn keep(batch: &AppendBatch, record: &AppendRecord, offset: LogOffset) -> Result<Record> {
    let part = |range: &std::ops::Range<usize>| match batch.bytes.get(range.clone()) {
        Some(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        None => Err(Error::Storage {
            path: batch.topic.clone(),
            reason: "a record names bytes that its batch does not have".to_owned(),
        }),
    };
    Ok(Record {
        offset,
        position: record.position,
        previous: record.previous,
        term: batch.term,
        schema: record.schema.clone(),
        key: part(&record.key)?,
        value: part(&record.value)?,
    })
}

#[async_trait]
impl ChangeLog for MemoryLog {
    async fn open_topic(&self, topic: &str) -> Result<u32> {
        self.run(Some(Call::OpenTopic), |state| {
            let partitions = || (0..self.partitions).map(|_| Partition::default()).collect();
            let topic =
                state.topics.entry(topic.to_owned()).or_insert_with(|| Topic { partitions: partitions(), ..Topic::default() });
            Ok(u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX))
        })
    }

    async fn append(&self, batches: Vec<AppendBatch>) -> Result<Vec<Acknowledged>> {
        self.run(Some(Call::Append), |state| state.append(&batches, self.bytes_max))
    }

    async fn tails(&self, topic: &str) -> Result<Vec<PartitionTail>> {
        self.run(Some(Call::Tails), |state| {
            Ok(state.topic(topic)?.partitions.iter().map(|partition| partition.tail.clone()).collect())
        })
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: LogOffset,
        until: LogOffset,
        bytes_max: usize,
    ) -> Result<Vec<Record>> {
        self.run(Some(Call::Read), |state| {
            let found = state.topic(topic)?.partition(topic, partition)?;
            let (topic, end) = (topic.to_owned(), found.tail.end);
            if from.0 < found.first {
                return Err(Error::Lost { topic, partition, from, first: LogOffset(found.first) });
            }
            if from > end {
                let reason = format!("the log ends at {end}: it was replaced by an older one");
                return Err(Error::Broken { topic, partition, offset: from, reason });
            }
            let skipped = usize::try_from(from.0 - found.first).unwrap_or(usize::MAX);
            let (mut records, mut bytes) = (Vec::new(), 0);
            for (_, record) in found.records.iter().skip(skipped).take_while(|(_, record)| record.offset < until) {
                if bytes >= bytes_max && !records.is_empty() {
                    break;
                }
                bytes += record.key.len() + record.value.len();
                records.push(record.clone());
            }
            Ok(records)
        })
    }

    async fn advance(&self, topic: &str, consumer: &Consumer, offsets: &[LogOffset]) -> Result<()> {
        self.run(Some(Call::Advance), |state| {
            let found = state.topic(topic)?;
            if offsets.len() != found.partitions.len() {
                let partition = Some(u32::try_from(offsets.len()).unwrap_or(u32::MAX));
                return Err(Error::Missing { topic: topic.to_owned(), partition });
            }
            for ((number, offset), partition) in (0..).zip(offsets).zip(&found.partitions) {
                if *offset > partition.tail.end {
                    let reason = format!("{} has taken records up to {offset}, which the log does not have", consumer.0);
                    return Err(Error::Broken { topic: topic.to_owned(), partition: number, offset: *offset, reason });
                }
            }
            let fresh = || Reading { active: true, offsets: vec![0; offsets.len()] };
            let reading = found.consumers.entry(consumer.clone()).or_insert_with(fresh);
            for (known, offset) in reading.offsets.iter_mut().zip(offsets) {
                *known = offset.0.max(*known);
            }
            let freed = found.release();
            state.bytes -= freed;
            Ok(())
        })
    }

    async fn set_active(&self, topic: &str, consumer: &Consumer, active: bool) -> Result<()> {
        self.run(None, |state| {
            let Some(found) = state.topics.get_mut(topic) else { return Ok(()) };
            let firsts = || found.partitions.iter().map(|partition| partition.first).collect();
            let fresh = || Reading { active, offsets: firsts() };
            found.consumers.entry(consumer.clone()).or_insert_with(fresh).active = active;
            Ok(())
        })
    }

    async fn forget(&self, topic: &str, consumer: &Consumer) -> Result<()> {
        self.run(None, |state| {
            let Some(found) = state.topics.get_mut(topic) else { return Ok(()) };
            found.consumers.remove(consumer);
            let freed = found.release();
            state.bytes -= freed;
            Ok(())
        })
    }

    async fn remove_topic(&self, topic: &str) -> Result<()> {
        self.run(None, |state| {
            if let Some(topic) = state.topics.remove(topic) {
                let records = topic.partitions.iter().flat_map(|partition| &partition.records);
                state.bytes -= records.map(|(_, record)| size(record)).sum::<u64>();
            }
            Ok(())
        })
    }

    async fn usage(&self) -> Result<Usage> {
        self.run(None, |state| Ok(Usage { bytes: state.bytes, bytes_max: self.bytes_max }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changelog::contract::{Feed, Tenant};

    struct InMemory(u32);

    #[async_trait]
    impl Tenant for InMemory {
        async fn fresh(&self, bytes_max: u64) -> Arc<dyn ChangeLog> {
            Arc::new(MemoryLog::new(self.0, bytes_max))
        }
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        for partitions in [1, 3] {
            crate::changelog::contract::every_log(&InMemory(partitions)).await;
            crate::changelog::contract::bounded_log(&InMemory(partitions)).await;
        }
    }

    #[tokio::test]
    async fn planted_faults_happen_once_and_before_or_after_the_deed() {
        let log = MemoryLog::new(1, u64::MAX);
        log.open_topic("t").await.unwrap();
        let mut feed = Feed::new("t", 0);
        let batch = feed.batch(1, 2, 10);
        log.fail_next(Call::Append, Fault::Refused);
        log.fail_next(Call::Append, Fault::AnswerLost);
        assert!(matches!(log.append(vec![batch.clone()]).await, Err(Error::Storage { .. })));
        assert_eq!(log.tails("t").await.unwrap()[0].end, LogOffset(0));
        assert!(matches!(log.append(vec![batch.clone()]).await, Err(Error::Storage { .. })));
        assert_eq!(log.tails("t").await.unwrap()[0].end, LogOffset(2));
        assert!(matches!(log.append(vec![batch]).await, Err(Error::Broken { .. })), "the answer was lost, the records were not");
    }
}
