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

use std::collections::VecDeque;

use crate::change::{ChangePosition, Dropped, LogOffset, LogPlace, Term};
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

impl DropReason {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::LowerTerm => "late: its tailer had been succeeded",
            Self::Repeated => "repeated: its change was taken before",
        }
    }
}

/// What a reader does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is the next change.
    Take,
    /// It is left out, counted and reported.
    Drop(DropReason),
}

/// Decides for each record of one partition, in the order of offsets, whether it is taken.
#[derive(Debug, Clone)]
pub struct ChainCheck {
    topic: String,
    partition: u32,
    passed: Passed,
    /// Before those that were left out, if any were since the last record that counts.
    before_left_out: Option<Passed>,
}

/// What has passed.
#[derive(Debug, Clone, Copy)]
struct Passed {
    /// The last record taken.
    last: Option<ChangePosition>,
    /// The highest term.
    term: Term,
    /// Not taken, since this check began.
    dropped: Dropped,
}

impl ChainCheck {
    /// Starts at a place: behind the last record taken, with the highest term seen. Where nothing counts before the place, the first
    /// record must follow nothing.
    pub fn new(topic: impl Into<String>, partition: u32, place: &LogPlace) -> Self {
        Self {
            topic: topic.into(),
            partition,
            passed: Passed { last: place.last, term: place.term, dropped: Dropped::default() },
            before_left_out: None,
        }
    }

    /// The verdict on the next record, which has not passed with it yet.
    ///
    /// # Errors
    /// [`Error::Broken`] if records are missing before this one.
    pub fn verdict(&self, record: &Record) -> Result<Verdict> {
        if record.term < self.passed.term && !planted(Mistake::TermIgnored) {
            return Ok(Verdict::Drop(DropReason::LowerTerm));
        }
        if self.passed.last.is_some_and(|last| record.position <= last) {
            return Ok(Verdict::Drop(DropReason::Repeated));
        }
        // Of those that were left out, some may be late: whoever goes on behind them did not see them.
        let behind_left_out =
            |before: Passed| record.term > self.passed.term && (before.last..=self.passed.last).contains(&record.previous);
        let follows = record.previous == self.passed.last || self.before_left_out.is_some_and(behind_left_out);
        if follows { Ok(Verdict::Take) } else { Err(self.broken(record)) }
    }

    /// The next record passes and counts for nothing: the history it is of was left before it was published.
    ///
    /// # Errors
    /// As [`ChainCheck::verdict`].
    pub fn leave_out(&mut self, record: &Record) -> Result<()> {
        let before = self.before_left_out.unwrap_or(self.passed);
        let verdict = self.verdict(record)?;
        self.pass(record, verdict);
        self.before_left_out = Some(before);
        Ok(())
    }

    /// The record passes, with the verdict that it got.
    pub fn pass(&mut self, record: &Record, verdict: Verdict) {
        match verdict {
            Verdict::Take => (self.passed.last, self.before_left_out) = (Some(record.position), None),
            Verdict::Drop(DropReason::Repeated) => self.passed.dropped.repeated += 1,
            Verdict::Drop(DropReason::LowerTerm) => {
                self.passed.dropped.late += 1;
                return;
            }
        }
        self.passed.term = record.term;
    }

    /// The verdict on the next record, which passes.
    ///
    /// # Errors
    /// As [`ChainCheck::verdict`].
    pub fn check(&mut self, record: &Record) -> Result<Verdict> {
        let verdict = self.verdict(record)?;
        self.pass(record, verdict);
        Ok(verdict)
    }

    /// The topic and the partition.
    pub fn place(&self) -> (&str, u32) {
        (&self.topic, self.partition)
    }

    /// The last record taken and the highest term seen: what the lake commits, and what the next check starts from.
    pub fn last(&self) -> Option<(ChangePosition, Term)> {
        self.passed.last.map(|position| (position, self.passed.term))
    }

    /// What was dropped since this check began.
    pub fn dropped(&self) -> Dropped {
        self.passed.dropped
    }

    fn broken(&self, record: &Record) -> Error {
        let place = |position: Option<ChangePosition>| position.map_or_else(|| "nothing".to_owned(), |at| at.to_string());
        let (position, previous, last) = (record.position, place(record.previous), place(self.passed.last));
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

/// The places that are known, one per partition: where none is, nothing is known.
pub(super) fn known_places(known: &[LogPlace]) -> impl Iterator<Item = LogPlace> {
    known.iter().copied().chain(std::iter::repeat(LogPlace::default()))
}

/// What a partition holds behind a place that is known, as a log finds it when it reads on from there.
///
/// A tailer goes on behind `last`, so a hole is not its business: whoever takes the records parks there.
#[derive(Debug, Clone)]
pub struct TailScan {
    last: Option<ChangePosition>,
    term: Term,
    marks: Vec<LogPlace>,
}

impl TailScan {
    /// Begins behind a place.
    pub fn new(known: &LogPlace) -> Self {
        Self { last: known.last, term: known.term, marks: Vec::new() }
    }

    /// The next record. One that a reader would drop is no part of the tail.
    pub fn see(&mut self, record: &Record) {
        let late = record.term < self.term && !planted(Mistake::TermIgnored);
        if late || self.last.is_some_and(|last| record.position <= last) {
            self.term = self.term.max(record.term);
            return;
        }
        (self.last, self.term) = (Some(record.position), record.term);
        let mark = LogPlace { offset: LogOffset(record.offset.0 + 1), last: self.last, term: self.term };
        match self.marks.last_mut() {
            Some(end) if end.last.is_some_and(|end| end.transaction == record.position.transaction) => *end = mark,
            _ => self.marks.push(mark),
        }
    }

    /// The tail of a partition that ends here.
    pub fn tail(self, end: LogOffset) -> PartitionTail {
        PartitionTail { end, last: self.last.map(|last| (last, self.term)), marks: self.marks }
    }
}

/// Where the records stand that were linked so far, until the log says what offsets they got: more may be linked meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    ends: Vec<(LogPlace, Option<ChangePosition>)>,
    term: Term,
}

impl Linked {
    /// The places behind them, when the log has them up to these offsets (in those partitions that got any).
    pub fn places(&self, acknowledged: &[Option<LogOffset>]) -> Vec<LogPlace> {
        let acknowledged = acknowledged.iter().copied().chain(std::iter::repeat(None));
        let place = |((place, last), offset): (&(LogPlace, Option<ChangePosition>), Option<LogOffset>)| match offset {
            Some(offset) => LogPlace { offset, last: *last, term: self.term },
            None => *place,
        };
        self.ends.iter().zip(acknowledged).map(place).collect()
    }
}

/// The end of every partition of a topic, from which a tailer goes on, and the places of what has passed.
///
/// A place counts exactly the records of the transactions that have passed. The log's own end may lie further on: what a predecessor
/// appended and nobody published yet, or late records of it. A reader that took all up to there would take changes behind the position
/// that its commit names. Records that are in the log already move the place to the mark of their transaction; those that are
/// appended, to where the log says that they are.
///
/// After an append that failed, what is in the log is unknown: make it anew from [`super::ChangeLog::tails`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    ends: Vec<LinkedEnd>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LinkedEnd {
    /// The partition's last record, appended or about to be.
    last: Option<ChangePosition>,
    place: LogPlace,
    marks: VecDeque<LogPlace>,
}

impl Links {
    /// Goes on behind these tails; so far the topic has passed up to these places.
    pub fn new(tails: &[PartitionTail], places: &[LogPlace]) -> Self {
        let end = |(tail, place): (&PartitionTail, LogPlace)| LinkedEnd {
            last: tail.last.map(|(position, _)| position),
            place: if planted(Mistake::TailAsPublished) { tail.place() } else { place },
            marks: tail.marks.iter().copied().collect(),
        };
        Self { ends: tails.iter().zip(known_places(places)).map(end).collect() }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    /// The places of what has passed, if all that was linked is acknowledged.
    pub fn places(&self) -> Vec<LogPlace> {
        self.ends.iter().map(|end| end.place).collect()
    }

    /// Whether these are the places of what has passed.
    pub fn stand_at(&self, places: &[LogPlace]) -> bool {
        self.ends.iter().map(|end| &end.place).eq(places)
    }

    /// Whether the log has the record at `position` already.
    pub(crate) fn holds(&self, partition: u32, position: ChangePosition) -> bool {
        self.ends.get(partition as usize).and_then(|end| end.last).is_some_and(|last| position <= last)
    }

    /// Takes a partition for empty: for a mistake that is planted.
    pub(crate) fn forget(&mut self, partition: u32) {
        self.ends.get_mut(partition as usize).and_then(|end| end.last.take());
    }

    /// Links the record at `position` to the end of a partition. None if there is no such partition.
    pub fn link(&mut self, partition: u32, position: ChangePosition) -> Option<Link> {
        let end = self.ends.get_mut(partition as usize)?;
        if end.last.is_some_and(|last| position <= last) && !planted(Mistake::ReplayNotRecognised) {
            end.recognise(position);
            return Some(Link::Present);
        }
        Some(Link::Append { previous: end.last.replace(position) })
    }

    /// What was linked so far, to be appended under this term.
    pub fn linked(&self, term: Term) -> Linked {
        Linked { ends: self.ends.iter().map(|end| (end.place, end.last)).collect(), term }
    }

    /// What was linked up to there is in the log up to these offsets; where a partition got none, its place may have moved since.
    pub fn acknowledged(&mut self, linked: &Linked, offsets: &[Option<LogOffset>]) {
        for ((end, place), offset) in self.ends.iter_mut().zip(linked.places(offsets)).zip(offsets) {
            if offset.is_some() {
                end.place = place;
            }
        }
    }
}

impl LinkedEnd {
    /// A record that is in the log passes: the place moves behind its transaction's.
    fn recognise(&mut self, position: ChangePosition) {
        while let Some(mark) = self.marks.front()
            && mark.last.is_none_or(|last| last.transaction <= position.transaction)
        {
            if mark.last.is_some_and(|last| last.transaction == position.transaction) {
                self.place = *mark;
            }
            self.marks.pop_front();
        }
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
        let mut check = ChainCheck::new("t", 0, &LogPlace::default());
        let records = [
            record(0, 4, None, 1),
            record(1, 5, Some(4), 2),
            record(2, 5, Some(4), 1),
            record(3, 6, Some(5), 1),
            record(4, 6, Some(5), 2),
        ];
        let late = Verdict::Drop(DropReason::LowerTerm);
        assert_eq!(verdicts(&mut check, &records), [Verdict::Take, Verdict::Take, late, late, Verdict::Take]);
        assert_eq!(check.dropped(), Dropped { late: 2, repeated: 0 });
        assert_eq!(check.last(), Some((at(6), Term(2))));
    }

    #[test]
    fn what_a_successor_writes_again_is_dropped_and_fences_all_the_same() {
        let mut check = ChainCheck::new("t", 0, &behind(4, 1));
        let records = [record(9, 5, Some(4), 1), record(10, 6, Some(5), 1), record(11, 5, Some(4), 2), record(12, 7, Some(6), 1)];
        let expected = [Verdict::Take, Verdict::Take, Verdict::Drop(DropReason::Repeated), Verdict::Drop(DropReason::LowerTerm)];
        assert_eq!(verdicts(&mut check, &records), expected);
        assert_eq!(verdicts(&mut check, &[record(13, 6, Some(5), 2), record(14, 7, Some(6), 2)])[1], Verdict::Take);
    }

    #[test]
    fn behind_what_was_left_out_a_successor_names_what_it_saw_of_it() {
        let left_out = [record(9, 5, Some(4), 1), record(10, 6, Some(5), 2), record(11, 7, Some(6), 2)];
        for (previous, term, follows) in [(4, 3, true), (6, 3, true), (7, 3, true), (6, 2, false), (3, 3, false)] {
            let mut check = ChainCheck::new("t", 0, &behind(4, 1));
            left_out.iter().for_each(|record| check.leave_out(record).unwrap());
            assert_eq!(check.check(&record(12, 20, Some(previous), term)).is_ok(), follows, "{previous} {term}");
        }
    }

    #[test]
    fn a_hole_is_broken_and_stays_broken() {
        let mut check = ChainCheck::new("t", 3, &behind(4, 1));
        let hole = record(7, 6, Some(5), 1);
        for _ in 0..2 {
            let error = check.check(&hole).unwrap_err();
            assert!(matches!(error, Error::Broken { partition: 3, offset: LogOffset(7), .. }), "{error}");
        }
        assert!(check.check(&record(7, 6, None, 1)).is_err());
        assert_eq!(check.check(&record(7, 6, Some(4), 1)).unwrap(), Verdict::Take);
    }

    #[test]
    fn where_nothing_counts_the_first_record_follows_nothing_and_is_of_no_lower_term() {
        let begun = LogPlace { offset: LogOffset(5), last: None, term: Term(2) };
        assert_eq!(ChainCheck::new("t", 0, &begun).check(&record(5, 9, None, 2)).unwrap(), Verdict::Take);
        assert!(ChainCheck::new("t", 0, &begun).check(&record(5, 9, Some(8), 2)).is_err());
        let late = ChainCheck::new("t", 0, &begun).check(&record(5, 9, Some(8), 1));
        assert_eq!(late.unwrap(), Verdict::Drop(DropReason::LowerTerm), "of a tailer that knew what was in the topic before");
    }

    fn behind(position: u64, term: u64) -> LogPlace {
        LogPlace { offset: LogOffset(0), last: Some(at(position)), term: Term(term) }
    }

    #[test]
    fn a_place_moves_with_what_was_in_the_log_and_with_what_is_acknowledged() {
        let mut scan = TailScan::new(&behind(4, 1));
        // A late record before a known one, one of two transactions, and one that comes twice.
        let records = [record(7, 5, Some(4), 0), record(8, 5, Some(4), 1), record(9, 5, Some(4), 1), record(10, 6, Some(5), 2)];
        records.iter().for_each(|record| scan.see(record));
        let tail = scan.tail(LogOffset(12));
        assert_eq!((tail.end, tail.last), (LogOffset(12), Some((at(6), Term(2)))));
        let mut links = Links::new(&[tail], &[LogPlace { offset: LogOffset(7), ..behind(4, 1) }]);
        assert_eq!(links.places()[0].offset, LogOffset(7));
        assert_eq!(links.link(0, at(5)), Some(Link::Present));
        assert_eq!(links.places(), [LogPlace { offset: LogOffset(9), ..behind(5, 1) }]);
        assert_eq!(links.link(0, at(6)), Some(Link::Present));
        assert_eq!(links.places(), [LogPlace { offset: LogOffset(11), ..behind(6, 2) }]);
        assert_eq!(links.link(0, at(7)), Some(Link::Append { previous: Some(at(6)) }));
        let linked = links.linked(Term(3));
        assert_eq!(links.link(0, at(8)), Some(Link::Append { previous: Some(at(7)) }));
        assert_eq!(links.places()[0].offset, LogOffset(11), "not before it is acknowledged");
        assert_eq!(linked.places(&[Some(LogOffset(15))]), [LogPlace { offset: LogOffset(15), ..behind(7, 3) }]);
        assert_eq!(linked.places(&[None]), links.places());
        links.acknowledged(&linked, &[Some(LogOffset(15))]);
        assert_eq!(links.places(), [LogPlace { offset: LogOffset(15), ..behind(7, 3) }], "not that of the one behind it");
    }

    #[test]
    fn links_skip_what_is_in_the_log() {
        let tail = PartitionTail { end: LogOffset(1), last: Some((at(4), Term(1))), marks: Vec::new() };
        let mut links = Links::new(&[tail, PartitionTail::default()], &[]);
        assert_eq!(links.link(0, at(4)), Some(Link::Present));
        assert_eq!(links.link(0, at(5)), Some(Link::Append { previous: Some(at(4)) }));
        assert_eq!(links.link(0, at(6)), Some(Link::Append { previous: Some(at(5)) }));
        assert_eq!(links.link(1, at(6)), Some(Link::Append { previous: None }));
        assert_eq!(links.link(2, at(6)), None);
    }
}
