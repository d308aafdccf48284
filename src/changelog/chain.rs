//! The chain of a partition: every record names the record before it, and a reader takes a record only if that is true.
//!
//! What a reader may meet, and why nothing is lost or doubled:
//! - A tailer that was fenced may still get records into a log that cannot refuse them (Kafka). Its successor's records have a
//!   higher term. A record of a lower term behind a higher one is dropped: the successor writes every change behind the tail it
//!   found, so the same change is in the log under the higher term, or was taken before.
//! - The successor may write changes again which the fenced tailer got in meanwhile. Positions are the source's own, so the second
//!   copy is not above the last record taken, and is dropped.
//! - What is left must be a chain: a record that is above the last one taken but does not name it as its predecessor means that
//!   records are missing between them (an unclean leader lost them, or other records took their offsets). That parks the table.
//!
//! A dropped record never explains a hole: either its content was taken, and then the chain goes on from the record that was
//! taken, or it was not, and then dropping it in silence would lose a change.

use crate::change::{ChangePosition, LogOffset, Term};
use crate::trial::{Mistake, planted};

use super::{AppendRecord, Error, PartitionTail, Record, Result};

/// Why a record is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Its tailer had been overtaken.
    LowerTerm,
    /// Its position is not above the last record taken.
    Repeated,
}

/// What a reader does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is the next change.
    Take,
    /// It is left out, counted and reported.
    Drop(DropReason),
}

/// How many records of a partition were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// [`DropReason::LowerTerm`].
    pub lower_term: u64,
    /// [`DropReason::Repeated`].
    pub repeated: u64,
}

/// Decides for each record of one partition, in the order of offsets, whether it is taken.
#[derive(Debug, Clone)]
pub struct ChainCheck {
    topic: String,
    partition: u32,
    last: Option<ChangePosition>,
    term: Term,
    dropped: Dropped,
}

impl ChainCheck {
    /// Starts behind `last`: the last record taken and the highest term seen, as a lake commit keeps them. With None nothing of this
    /// partition was taken yet: the first record is taken whatever it follows, unless it is at offset 0, where nothing can precede it.
    pub fn new(topic: impl Into<String>, partition: u32, last: Option<(ChangePosition, Term)>) -> Self {
        let (last, term) = last.map_or((None, Term::default()), |(position, term)| (Some(position), term));
        Self { topic: topic.into(), partition, last, term, dropped: Dropped::default() }
    }

    /// The verdict on the next record.
    ///
    /// # Errors
    /// [`Error::Broken`] if records are missing before this one.
    pub fn check(&mut self, record: &Record) -> Result<Verdict> {
        if record.term < self.term && !planted(Mistake::TermIgnored) {
            self.dropped.lower_term += 1;
            return Ok(Verdict::Drop(DropReason::LowerTerm));
        }
        if self.last.is_some_and(|last| record.position <= last) {
            self.term = record.term;
            self.dropped.repeated += 1;
            return Ok(Verdict::Drop(DropReason::Repeated));
        }
        let follows = match self.last {
            Some(last) => record.previous == Some(last),
            None => {
                record.previous.is_none()
                    || (record.offset != LogOffset(0) && record.previous.is_some_and(|previous| previous < record.position))
            }
        };
        if !follows {
            return Err(self.broken(record));
        }
        self.term = record.term;
        self.last = Some(record.position);
        Ok(Verdict::Take)
    }

    /// The last record taken and the highest term seen: what the lake commits, and what the next check starts from.
    pub fn last(&self) -> Option<(ChangePosition, Term)> {
        self.last.map(|position| (position, self.term))
    }

    /// What was left out so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    fn broken(&self, record: &Record) -> Error {
        let place = |position: Option<ChangePosition>| position.map_or_else(|| "nothing".to_owned(), |at| at.to_string());
        let (position, previous, last) = (record.position, place(record.previous), place(self.last));
        let reason =
            format!("the record at {position} follows {previous}, but the last one taken is {last}: records are missing");
        Error::Broken { topic: self.topic.clone(), partition: self.partition, offset: record.offset, reason }
    }
}

/// How a record is linked to its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is new: append it behind this record.
    Append {
        /// The partition's last record.
        previous: Option<ChangePosition>,
    },
    /// It is in the log already: an earlier run got it in.
    Present,
}

/// The last record of every partition of a topic, from which a tailer goes on.
///
/// After an append that failed, what is in the log is unknown: make it anew from [`super::ChangeLog::tails`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    lasts: Vec<Option<ChangePosition>>,
}

impl Links {
    /// Goes on behind these tails.
    pub fn new(tails: &[PartitionTail]) -> Self {
        Self { lasts: tails.iter().map(|tail| tail.last.map(|(position, _)| position)).collect() }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.lasts.len()).unwrap_or(u32::MAX)
    }

    /// Whether the log has the record at `position` already.
    pub(crate) fn holds(&self, partition: u32, position: ChangePosition) -> bool {
        self.lasts.get(partition as usize).copied().flatten().is_some_and(|last| position <= last)
    }

    /// Takes a partition for empty: for a mistake that is planted.
    pub(crate) fn forget(&mut self, partition: u32) {
        self.lasts.get_mut(partition as usize).and_then(Option::take);
    }

    /// Links the record at `position` to the end of a partition. None if there is no such partition.
    pub fn link(&mut self, partition: u32, position: ChangePosition) -> Option<Link> {
        let last = self.lasts.get_mut(partition as usize)?;
        if last.is_some_and(|last| position <= last) && !planted(Mistake::ReplayNotRecognised) {
            return Some(Link::Present);
        }
        Some(Link::Append { previous: last.replace(position) })
    }
}

/// Whether records may be appended to a partition that ends with `tail`; how many there are. A log that can refuse asks this.
pub(super) fn check_append<'a>(
    topic: &str,
    partition: u32,
    tail: &PartitionTail,
    records: impl Iterator<Item = &'a AppendRecord>,
) -> Result<u64> {
    let mut last = tail.last.map(|(position, _)| position);
    let mut count = 0;
    for record in records {
        let reason = match last {
            Some(last) if record.position <= last => {
                format!("a record at {} is not above the last one at {last}", record.position)
            }
            _ if record.previous != last => {
                format!("a record at {} does not name the last one as its predecessor", record.position)
            }
            _ => {
                last = Some(record.position);
                count += 1;
                continue;
            }
        };
        let offset = LogOffset(tail.end.0 + count);
        return Err(Error::Broken { topic: topic.to_owned(), partition, offset, reason });
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::change::BinlogPosition;

    fn at(offset: u64) -> ChangePosition {
        ChangePosition { transaction: BinlogPosition { epoch: 0, file: 1, offset }, ordinal: 0 }
    }

    fn record(offset: u64, position: u64, previous: Option<u64>, term: u64) -> Record {
        Record {
            offset: LogOffset(offset),
            position: at(position),
            previous: previous.map(at),
            term: Term(term),
            schema: "".into(),
            key: Bytes::new(),
            value: Bytes::new(),
        }
    }

    fn verdicts(check: &mut ChainCheck, records: &[Record]) -> Vec<Verdict> {
        records.iter().map(|record| check.check(record).unwrap()).collect()
    }

    #[test]
    fn a_fenced_tailers_late_records_are_dropped_and_counted() {
        let mut check = ChainCheck::new("t", 0, None);
        let records = [
            record(0, 4, None, 1),
            record(1, 5, Some(4), 2),
            record(2, 5, Some(4), 1),
            record(3, 6, Some(5), 1),
            record(4, 6, Some(5), 2),
        ];
        let late = Verdict::Drop(DropReason::LowerTerm);
        assert_eq!(verdicts(&mut check, &records), [Verdict::Take, Verdict::Take, late, late, Verdict::Take]);
        assert_eq!(check.dropped(), Dropped { lower_term: 2, repeated: 0 });
        assert_eq!(check.last(), Some((at(6), Term(2))));
    }

    #[test]
    fn what_a_successor_writes_again_is_dropped_and_fences_all_the_same() {
        let mut check = ChainCheck::new("t", 0, Some((at(4), Term(1))));
        let records = [record(9, 5, Some(4), 1), record(10, 6, Some(5), 1), record(11, 5, Some(4), 2), record(12, 7, Some(6), 1)];
        let expected = [Verdict::Take, Verdict::Take, Verdict::Drop(DropReason::Repeated), Verdict::Drop(DropReason::LowerTerm)];
        assert_eq!(verdicts(&mut check, &records), expected);
        assert_eq!(verdicts(&mut check, &[record(13, 6, Some(5), 2), record(14, 7, Some(6), 2)])[1], Verdict::Take);
    }

    #[test]
    fn a_hole_is_broken_and_stays_broken() {
        let mut check = ChainCheck::new("t", 3, Some((at(4), Term(1))));
        let hole = record(7, 6, Some(5), 1);
        for _ in 0..2 {
            let error = check.check(&hole).unwrap_err();
            assert!(matches!(error, Error::Broken { partition: 3, offset: LogOffset(7), .. }), "{error}");
        }
        assert!(check.check(&record(7, 6, None, 1)).is_err());
        assert_eq!(check.check(&record(7, 6, Some(4), 1)).unwrap(), Verdict::Take);
    }

    #[test]
    fn the_first_record_may_follow_anything_but_not_at_offset_0() {
        assert!(ChainCheck::new("t", 0, None).check(&record(5, 9, Some(8), 1)).is_ok());
        assert!(ChainCheck::new("t", 0, None).check(&record(0, 9, Some(8), 1)).is_err());
        assert!(ChainCheck::new("t", 0, None).check(&record(5, 9, Some(9), 1)).is_err());
    }

    #[test]
    fn links_skip_what_is_in_the_log() {
        let mut links =
            Links::new(&[PartitionTail { end: LogOffset(1), last: Some((at(4), Term(1))) }, PartitionTail::default()]);
        assert_eq!(links.link(0, at(4)), Some(Link::Present));
        assert_eq!(links.link(0, at(5)), Some(Link::Append { previous: Some(at(4)) }));
        assert_eq!(links.link(0, at(6)), Some(Link::Append { previous: Some(at(5)) }));
        assert_eq!(links.link(1, at(6)), Some(Link::Append { previous: None }));
        assert_eq!(links.link(2, at(6)), None);
    }
}
