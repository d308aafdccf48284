//! One append on its way: every record of it is handed to the client, and counted until it is acknowledged.
//!
//! An append has failed when any record of it has: what became of the others is not asked. Whoever goes on reads the topics' tails.

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

/// Counts the records of an append.
pub(super) struct Sending<'b> {
    batches: &'b [AppendBatch],
    /// The number of each batch's first record.
    firsts: Vec<usize>,
    ends: Vec<Ends>,
    /// Records that are on their way, of each batch.
    pending: Vec<usize>,
    /// Their bytes.
    pending_bytes: usize,
    progressed: Instant,
}

impl<'b> Sending<'b> {
    pub(super) fn new(batches: &'b [AppendBatch]) -> Self {
        let mut next = 0;
        let first = |batch: &AppendBatch| {
            next += batch.records.len();
            next - batch.records.len()
        };
        Self {
            batches,
            firsts: batches.iter().map(first).collect(),
            ends: vec![Ends::new(); batches.len()],
            pending: vec![0; batches.len()],
            pending_bytes: 0,
            progressed: Instant::now(),
        }
    }

    /// A record, or the one without a value behind it, is on its way; the number to send it under.
    pub(super) fn sent(&mut self, batch: usize, record: usize, tombstone: bool) -> usize {
        self.pending[batch] += 1;
        self.pending_bytes += self.bytes(batch, record);
        let number = self.firsts[batch] + record;
        if tombstone { number | TOMBSTONE } else { number }
    }

    /// A report has come.
    ///
    /// # Errors
    /// When it is about a failure.
    pub(super) fn reported(&mut self, report: Report) -> Result<(), Failed> {
        let number = report.number & !TOMBSTONE;
        let batch = self.firsts.partition_point(|first| *first <= number).saturating_sub(1);
        // Of batches without records several begin at one number: the last of them is the one with records.
        let record = number - self.firsts[batch];
        let offset = match report.outcome {
            Ok(offset) => offset,
            Err(code) => return Err(failed(batch, record, code)),
        };
        self.pending[batch] -= 1;
        self.pending_bytes -= self.bytes(batch, record);
        self.progressed = Instant::now();
        let (partition, behind) = (self.batches[batch].records[record].partition, LogOffset(offset.0 + 1));
        match self.ends[batch].iter_mut().find(|(known, _)| *known == partition) {
            Some((_, end)) => *end = behind.max(*end),
            None => self.ends[batch].push((partition, behind)),
        }
        Ok(())
    }

    /// Bytes on their way.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Whether all that was sent is acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.pending.iter().all(|pending| *pending == 0)
    }

    /// Since when nothing has been acknowledged although something is on its way, with the first such topic.
    pub(super) fn stalled(&self) -> Option<(&'b str, Duration)> {
        let batch = self.pending.iter().position(|pending| *pending > 0)?;
        Some((self.batches.get(batch)?.topic.as_str(), self.progressed.elapsed()))
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

    #[test]
    fn an_append_is_done_when_every_record_is_acknowledged() {
        let (mut first, mut second) = (Feed::new("t", 1), Feed::new("u", 0));
        let batches = [first.batch(1, 0, 0), first.batch(1, 2, 5), second.batch(1, 1, 5), first.batch(1, 0, 0)];
        let mut sending = Sending::new(&batches);
        assert!(sending.is_done());
        let numbers = [sending.sent(1, 0, false), sending.sent(1, 1, false), sending.sent(2, 0, false), sending.sent(2, 0, true)];
        assert_eq!(sending.stalled().map(|(topic, _)| topic), Some("t"));
        for (number, offset) in numbers.into_iter().zip([7, 9, 3, 4]) {
            assert!(!sending.is_done() && sending.pending_bytes() > 0);
            sending.reported(report(number, offset)).unwrap();
        }
        assert!(sending.is_done() && sending.pending_bytes() == 0);
        assert_eq!(sending.into_ends(), [vec![], vec![(1, LogOffset(10))], vec![(0, LogOffset(5))], vec![]]);
    }

    #[test]
    fn any_failure_fails_it_and_says_which_record() {
        let mut feed = Feed::new("t", 0);
        let batches = [feed.batch(1, 2, 5), feed.batch(1, 2, 5)];
        let mut sending = Sending::new(&batches);
        let number = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(batch, record)| sending.sent(batch, record, false))[3];
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
