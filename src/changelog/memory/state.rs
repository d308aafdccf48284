//! What the log in memory holds, and how it changes: the embedded log's rules.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Call, Fault};
use crate::change::{LogOffset, LogPlace, Term};
use crate::changelog::chain::{TailScan, check_append};
use crate::changelog::{Acknowledged, AppendBatch, AppendRecord, Consumer, Error, PartitionTail, Record, Result};
use crate::trial::{Mistake, planted};

/// What a record counts for beside its key and value.
const OVERHEAD: u64 = 200;

/// How much the log takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub bytes_max: u64,
    /// What it holds of transactions that are not published: it cannot go before more is appended.
    pub unpublished: u64,
}

/// Who waits for an append that hangs.
pub(super) type Caller = oneshot::Sender<Result<Vec<Acknowledged>>>;

#[derive(Debug, Default)]
pub(super) struct State {
    pub topics: BTreeMap<String, Topic>,
    pub bytes: u64,
    pub appended: u64,
    pub faults: VecDeque<(Call, Fault)>,
    pub in_flight: BTreeMap<u64, (Vec<AppendBatch>, Option<Caller>)>,
    pub delayed: u64,
    /// Appends that nobody was told of: a crash of the machine may take them back.
    pub doubtful: Vec<Before>,
}

#[derive(Debug, Default)]
pub(super) struct Topic {
    pub term: Term,
    pub partitions: Vec<Partition>,
    pub consumers: BTreeMap<Consumer, Reading>,
}

#[derive(Debug, Default)]
pub(super) struct Partition {
    pub first: u64,
    pub tail: PartitionTail,
    /// Records with their place in the order of all appends.
    pub records: VecDeque<(u64, Record)>,
}

#[derive(Debug)]
pub(super) struct Reading {
    pub active: bool,
    pub offsets: Vec<u64>,
}

/// A topic as it was before an append.
pub(super) type Before = (String, Term, Vec<PartitionTail>);

pub(super) fn size(record: &Record) -> u64 {
    (record.key.len() + record.value.len()) as u64 + OVERHEAD
}

/// What a record will count for.
pub(super) fn size_of(record: &AppendRecord) -> u64 {
    (record.key.len() + record.value.len()) as u64 + OVERHEAD
}

impl Partition {
    /// What lies behind a known place. A log that refuses knows its last record; of another one it is what a reader would take.
    pub(super) fn tail(&self, known: &LogPlace, refuses: bool) -> PartitionTail {
        let mut scan = TailScan::new(known);
        self.records.iter().filter(|(_, record)| record.offset >= known.offset).for_each(|(_, record)| scan.see(record));
        let tail = scan.tail(self.tail.end);
        if refuses { PartitionTail { marks: tail.marks, ..self.tail.clone() } } else { tail }
    }
}

impl Topic {
    pub(super) fn new(term: Term, partitions: u32) -> Self {
        Self { term, partitions: (0..partitions).map(|_| Partition::default()).collect(), consumers: BTreeMap::new() }
    }

    pub(super) fn partition(&self, name: &str, partition: u32) -> Result<&Partition> {
        let missing = || Error::Missing { topic: name.to_owned(), partition: Some(partition) };
        self.partitions.get(partition as usize).ok_or_else(missing)
    }

    /// The offset below which no consumer, or no active one, needs anything; None where nothing may go.
    fn bound(&self, partition: usize, active_only: bool) -> Option<u64> {
        if self.consumers.is_empty() && !active_only {
            return None;
        }
        let needed = self.consumers.values().filter(|reading| reading.active || !active_only);
        let lowest = needed.filter_map(|reading| reading.offsets.get(partition).copied()).min();
        lowest.or_else(|| self.partitions.get(partition).map(|partition| partition.tail.end.0))
    }

    /// Releases what every consumer has passed; the bytes.
    pub(super) fn release(&mut self) -> u64 {
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
    pub(super) fn topic(&mut self, name: &str) -> Result<&mut Topic> {
        self.topics.get_mut(name).ok_or_else(|| Error::Missing { topic: name.to_owned(), partition: None })
    }

    /// Creates a topic unless it is there, and makes it this term's; the number of its partitions.
    pub(super) fn open(&mut self, name: &str, term: Term, partitions: u32, refuses: bool) -> Result<u32> {
        self.topics.entry(name.to_owned()).or_insert_with(|| Topic::new(term, partitions));
        self.raise(name, term, refuses)?;
        Ok(u32::try_from(self.topic(name)?.partitions.len()).unwrap_or(u32::MAX))
    }

    /// Makes a topic this term's, unless it is a higher one's.
    pub(super) fn raise(&mut self, name: &str, term: Term, refuses: bool) -> Result<()> {
        let topic = self.topic(name)?;
        if refuses && term < topic.term && !planted(Mistake::TermIgnored) {
            return Err(Error::Fenced { topic: name.to_owned(), term, by: topic.term });
        }
        topic.term = term.max(topic.term);
        Ok(())
    }

    /// Empties a topic, or creates it. A log that cannot refuse keeps what it has: whoever was overtaken would take it away. The ends,
    /// which stay where they were.
    pub(super) fn begin(&mut self, name: &str, term: Term, partitions: u32, refuses: bool) -> Result<Vec<LogOffset>> {
        self.open(name, term, partitions, refuses)?;
        let topic = self.topic(name)?;
        let mut freed = 0;
        if refuses {
            topic.consumers.clear();
            for partition in &mut topic.partitions {
                freed += partition.records.drain(..).map(|(_, record)| size(&record)).sum::<u64>();
                partition.first = partition.tail.end.0;
                partition.tail.last = None;
            }
        }
        let ends = topic.partitions.iter().map(|partition| partition.tail.end).collect();
        self.bytes -= freed;
        Ok(ends)
    }

    /// Moves a consumer on, if it is registered.
    pub(super) fn advance(&mut self, name: &str, consumer: &Consumer, offsets: &[LogOffset]) -> Result<()> {
        let topic = self.topic(name)?;
        if offsets.len() != topic.partitions.len() {
            let partition = Some(u32::try_from(offsets.len()).unwrap_or(u32::MAX));
            return Err(Error::Missing { topic: name.to_owned(), partition });
        }
        for ((number, offset), partition) in (0..).zip(offsets).zip(&topic.partitions) {
            if *offset > partition.tail.end {
                let reason = format!("{} has taken records up to {offset}, which the log does not have", consumer.0);
                return Err(Error::Broken { topic: name.to_owned(), partition: number, offset: *offset, reason });
            }
        }
        let Some(reading) = topic.consumers.get_mut(consumer) else { return Ok(()) };
        for (known, offset) in reading.offsets.iter_mut().zip(offsets) {
            *known = offset.0.max(*known);
        }
        let freed = topic.release();
        self.bytes -= freed;
        Ok(())
    }

    /// Appends all or nothing. What it did can be undone with what it leaves in `doubtful`.
    pub(super) fn append(&mut self, batches: &[AppendBatch], limit: Limit, refuses: bool) -> Result<Vec<Acknowledged>> {
        let Limit { bytes_max, unpublished } = limit;
        let (bytes, mut befores, mut acknowledged) = (self.bytes, Vec::new(), Vec::new());
        for batch in batches {
            match self.append_batch(batch, refuses, &mut befores) {
                Ok(ends) => acknowledged.push(Acknowledged { topic: batch.topic.clone(), ends }),
                Err(error) => {
                    self.undo(befores);
                    return Err(error);
                }
            }
        }
        let evictable: u64 = self.evictable().map(|(_, _, _, size)| size).sum();
        // What does not fit into an empty log would never fit, nor what does not fit beside its own transaction.
        if self.bytes.saturating_sub(evictable) > bytes_max && bytes.saturating_sub(evictable) > unpublished && self.bytes > bytes
        {
            self.undo(befores);
            return Err(Error::Full { bytes, bytes_max });
        }
        self.evict(bytes_max);
        self.doubtful.append(&mut befores);
        Ok(acknowledged)
    }

    fn append_batch(&mut self, batch: &AppendBatch, refuses: bool, befores: &mut Vec<Before>) -> Result<Vec<Option<LogOffset>>> {
        let mut appended = self.appended;
        let topic = self.topic(&batch.topic)?;
        if refuses && batch.term < topic.term && !planted(Mistake::TermIgnored) {
            return Err(Error::Fenced { topic: batch.topic.clone(), term: batch.term, by: topic.term });
        }
        for record in &batch.records {
            topic.partition(&batch.topic, record.partition)?;
        }
        for (number, partition) in (0_u32..).zip(&topic.partitions) {
            let records = batch.records.iter().filter(|record| record.partition == number);
            if refuses {
                check_append(&batch.topic, number, &partition.tail, records)?;
            }
        }
        let tails = topic.partitions.iter().map(|partition| partition.tail.clone()).collect();
        befores.push((batch.topic.clone(), topic.term, tails));
        topic.term = batch.term.max(topic.term);
        let mut bytes = 0;
        for record in &batch.records {
            let Some(partition) = topic.partitions.get_mut(record.partition as usize) else { continue };
            let kept = keep(batch, record, partition.tail.end)?;
            bytes += size(&kept);
            let end = LogOffset(kept.offset.0 + 1);
            partition.tail = PartitionTail { end, last: Some((kept.position, batch.term)), marks: Vec::new() };
            partition.records.push_back((appended, kept));
            appended += 1;
        }
        let has = |number: u32| batch.records.iter().any(|record| record.partition == number);
        let ends = (0..).zip(&topic.partitions).map(|(number, partition)| has(number).then_some(partition.tail.end)).collect();
        self.appended = appended;
        self.bytes += bytes;
        Ok(ends)
    }

    pub(super) fn undo(&mut self, befores: Vec<Before>) {
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

    /// Records that no active consumer needs: topic, partition, place among all appends, size.
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
        schema: Arc::clone(&record.schema),
        key: part(&record.key)?,
        value: part(&record.value)?,
    })
}
