//! One append on its way: every record of it is handed to the client, and counted until it is acknowledged.
//!
//! An append has failed when any record of it has: what became of the others is not asked. Whoever goes on reads the topics' tails.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::failure::{is_fenced, is_unknown};
use super::reports::Report;
use crate::change::LogOffset;
use crate::changelog::AppendBatch;

/// How an append failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failed {
    /// A successor has shut this producer out.
    Fenced,
    /// The batch's topic, or a partition of it, is not there.
    Missing { batch: usize },
    /// The brokers found the record too large.
    TooLarge { batch: usize, record: usize },
    /// Anything else, of this batch where it is one's.
    Storage { batch: Option<usize>, reason: String, code: Option<RDKafkaErrorCode> },
}

impl Failed {
    /// With no more than a reason.
    pub(super) fn storage(reason: impl Into<String>) -> Self {
        Self::Storage { batch: None, reason: reason.into(), code: None }
    }
}

/// Behind the last record in each partition that a batch has records for.
pub(super) type Ends = Vec<(u32, LogOffset)>;

/// Bit of a number that is not a record's but that of the record without a value behind it.
const TOMBSTONE: usize = 1 << (usize::BITS - 1);

/// Counts the records of an append, and says which go next.
///
/// Each partition's records go in portions, the next when all of the one before is acknowledged. The idempotent client has one request a
/// partition on its way whatever it is given, and asks again and again whether the next may go as long as it has one: a core, for nothing
/// (librdkafka 2.12, rd_kafka_toppar_producer_serve).
pub(super) struct Sending<'b> {
    batches: &'b [AppendBatch],
    lanes: Vec<Lane>,
    /// Lanes whose next portion may go.
    ready: Vec<usize>,
    ends: Vec<Ends>,
    /// Bytes that are on their way.
    pending_bytes: usize,
    pending: usize,
    progressed: Instant,
}

/// The records of one partition.
struct Lane {
    /// The number of the first.
    first: usize,
    /// Batch and record of each.
    records: Vec<(u32, u32)>,
    next: usize,
    /// How many are on their way.
    pending: usize,
}

impl<'b> Sending<'b> {
    pub(super) fn new(batches: &'b [AppendBatch]) -> Self {
        let mut by_partition: BTreeMap<(&str, u32), Vec<(u32, u32)>> = BTreeMap::new();
        for (number, batch) in batches.iter().enumerate() {
            let mut lane = (None, &mut Vec::new());
            for (at, record) in batch.records.iter().enumerate() {
                if lane.0 != Some(record.partition) {
                    lane = (Some(record.partition), by_partition.entry((&batch.topic, record.partition)).or_default());
                }
                lane.1.push((number as u32, at as u32));
            }
        }
        let mut first = 0;
        let lane = |records: Vec<(u32, u32)>| {
            first += records.len();
            Lane { first: first - records.len(), records, next: 0, pending: 0 }
        };
        let lanes: Vec<Lane> = by_partition.into_values().map(lane).collect();
        Self {
            batches,
            ready: (0..lanes.len()).rev().collect(),
            lanes,
            ends: vec![Ends::new(); batches.len()],
            pending_bytes: 0,
            pending: 0,
            progressed: Instant::now(),
        }
    }

    /// Takes the next portion out: the numbers of its records, of which the first may be larger than a portion.
    pub(super) fn portion(&mut self, bytes_max: usize) -> Option<Range<usize>> {
        let at = self.ready.pop()?;
        let lane = &self.lanes[at];
        let (begin, mut end, mut bytes) = (lane.next, lane.next, 0);
        while let Some((batch, record)) = lane.records.get(end) {
            bytes += self.bytes(*batch as usize, *record as usize);
            if bytes > bytes_max && end > begin {
                break;
            }
            end += 1;
        }
        let lane = &mut self.lanes[at];
        lane.next = end;
        Some(lane.first + begin..lane.first + end)
    }

    /// The batch and the record of a number.
    pub(super) fn record(&self, number: usize) -> (usize, usize) {
        self.place(number).1
    }

    /// The lane of a number beside its batch and record.
    fn place(&self, number: usize) -> (usize, (usize, usize)) {
        let at = self.lanes.partition_point(|lane| lane.first <= number).saturating_sub(1);
        let (batch, record) = self.lanes[at].records[number - self.lanes[at].first];
        (at, (batch as usize, record as usize))
    }

    /// A record, or the one without a value behind it, is on its way; the number to send it under.
    pub(super) fn sent(&mut self, number: usize, tombstone: bool) -> usize {
        let (at, (batch, record)) = self.place(number);
        self.lanes[at].pending += 1;
        self.pending += 1;
        self.pending_bytes += self.bytes(batch, record);
        if tombstone { number | TOMBSTONE } else { number }
    }

    /// A report has come.
    ///
    /// # Errors
    /// When it is about a failure.
    pub(super) fn reported(&mut self, report: Report) -> Result<(), Failed> {
        let number = report.number & !TOMBSTONE;
        let (at, (batch, record)) = self.place(number);
        let offset = match report.outcome {
            Ok(offset) => offset,
            Err(code) => return Err(failed(batch, record, code)),
        };
        let bytes = self.bytes(batch, record);
        let lane = &mut self.lanes[at];
        lane.pending -= 1;
        if lane.pending == 0 && lane.next < lane.records.len() {
            self.ready.push(at);
        }
        self.pending -= 1;
        self.pending_bytes -= bytes;
        self.progressed = Instant::now();
        let (partition, behind) = (self.batches[batch].records[record].partition, LogOffset(offset.0 + 1));
        match self.ends[batch].iter_mut().find(|(known, _)| *known == partition) {
            Some((_, end)) => *end = behind.max(*end),
            None => self.ends[batch].push((partition, behind)),
        }
        Ok(())
    }

    /// Whether a portion may go.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Bytes on their way.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Whether all is acknowledged that was sent.
    pub(super) fn is_done(&self) -> bool {
        self.pending == 0
    }

    /// Since when nothing has been acknowledged although something is on its way, with the first such topic.
    pub(super) fn stalled(&self) -> Option<(&'b str, Duration)> {
        let lane = self.lanes.iter().find(|lane| lane.pending > 0)?;
        let (batch, _) = lane.records.first()?;
        Some((self.batches.get(*batch as usize)?.topic.as_str(), self.progressed.elapsed()))
    }

    /// What is acknowledged, of each batch.
    pub(super) fn into_ends(self) -> Vec<Ends> {
        self.ends
    }

    fn bytes(&self, batch: usize, record: usize) -> usize {
        let record = &self.batches[batch].records[record];
        record.key.len() + record.value.len() + super::headers::HEADERS_BYTES as usize
    }
}

pub(super) fn failed(batch: usize, record: usize, code: RDKafkaErrorCode) -> Failed {
    match code {
        code if is_fenced(code) => Failed::Fenced,
        code if is_unknown(code) => Failed::Missing { batch },
        RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize => Failed::TooLarge { batch, record },
        code => Failed::Storage { batch: Some(batch), reason: format!("records were not taken: {code}"), code: Some(code) },
    }
}

/// Whether a record is a delete's: its value ends in the operation and three times.
pub(super) fn is_delete(value: &[u8]) -> bool {
    const OPERATION: &[u8] = b"\"op\":\"";
    let tail = value.len().saturating_sub(128);
    let found = value[tail..].windows(OPERATION.len()).rposition(|window| window == OPERATION);
    found.is_some_and(|at| value.get(tail + at + OPERATION.len()) == Some(&b'd'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changelog::contract::Feed;

    fn report(number: usize, offset: u64) -> Report {
        Report { number, outcome: Ok(LogOffset(offset)) }
    }

    /// Sends a portion.
    fn sent(sending: &mut Sending<'_>, bytes_max: usize) -> Vec<usize> {
        let portion = sending.portion(bytes_max).into_iter().flatten();
        portion.map(|number| sending.sent(number, false)).collect()
    }

    #[test]
    fn an_append_is_done_when_every_record_is_acknowledged() {
        let (mut first, mut second) = (Feed::new("t", 1), Feed::new("u", 0));
        let batches = [first.batch(1, 0, 0), first.batch(1, 2, 5), second.batch(1, 1, 5), first.batch(1, 0, 0)];
        let mut sending = Sending::new(&batches);
        assert!(sending.is_done() && sending.is_ready());
        let mut numbers = sent(&mut sending, 1 << 20);
        assert_eq!(sending.stalled().map(|(topic, _)| topic), Some("t"));
        numbers.extend(sent(&mut sending, 1 << 20));
        numbers.push(sending.sent(numbers[2], true));
        for (number, offset) in numbers.into_iter().zip([7, 9, 3, 4]) {
            assert!(!sending.is_done() && sending.pending_bytes() > 0);
            sending.reported(report(number, offset)).unwrap();
        }
        assert!(sending.is_done() && !sending.is_ready() && sending.pending_bytes() == 0);
        assert_eq!(sending.into_ends(), [vec![], vec![(1, LogOffset(10))], vec![(0, LogOffset(5))], vec![]]);
    }

    #[test]
    fn a_partitions_next_portion_goes_when_the_one_before_is_acknowledged() {
        let mut feed = Feed::new("t", 0);
        // Of one topic, behind each other: one partition's order is that of the call.
        let batches = [feed.batch(1, 2, 500), feed.batch(1, 2, 500)];
        let mut sending = Sending::new(&batches);
        let mut order = Vec::new();
        while sending.is_ready() {
            let numbers = sent(&mut sending, 1500);
            assert!(!sending.is_ready() && sending.portion(1500).is_none(), "the one before is on its way");
            assert!(!numbers.is_empty() && numbers.len() < 4);
            for number in numbers {
                order.push(sending.record(number));
                assert!(!sending.is_ready());
                sending.reported(report(number, number as u64)).unwrap();
            }
        }
        assert_eq!(order, [(0, 0), (0, 1), (1, 0), (1, 1)]);
        assert!(sending.is_done());
    }

    #[test]
    fn any_failure_fails_it_and_says_which_record() {
        let mut feed = Feed::new("t", 0);
        let batches = [feed.batch(1, 2, 5), feed.batch(1, 2, 5)];
        let mut sending = Sending::new(&batches);
        let number = sent(&mut sending, 1 << 20)[3];
        let mut ends_in = |code| sending.reported(Report { number, outcome: Err(code) }).unwrap_err();
        assert_eq!(ends_in(RDKafkaErrorCode::MessageSizeTooLarge), Failed::TooLarge { batch: 1, record: 1 });
        assert_eq!(ends_in(RDKafkaErrorCode::UnknownTopicOrPartition), Failed::Missing { batch: 1 });
        assert_eq!(ends_in(RDKafkaErrorCode::InvalidProducerEpoch), Failed::Fenced);
        assert!(matches!(ends_in(RDKafkaErrorCode::OutOfOrderSequenceNumber), Failed::Storage { batch: Some(1), .. }));
    }

    #[test]
    fn deletes_are_known_by_their_end() {
        let value = |operation: &str| {
            format!(r#"{{"before":{{"a":"\"op\":\"d\""}},"source":{{}},"op":"{operation}","ts_ms":1,"ts_us":2,"ts_ns":3}}"#)
        };
        assert!(is_delete(value("d").as_bytes()));
        assert!(!is_delete(value("u").as_bytes()));
        assert!(!is_delete(b""));
    }
}
