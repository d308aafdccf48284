//! A topic's records in the order of the source, whatever partitions they are in.
//!
//! Within a partition records come in the order of their offsets, and only those that its chain takes: late and repeated ones are dropped,
//! those of a history that was left before they were published are left out. Of several partitions the next record is the one with the
//! lowest position among their next ones, and it is given only when each partition that has not come to its end has shown its next. What
//! a chain takes has rising positions, so a transaction's records come together, in order, and a reader who stops before a position
//! has taken all that lies below it in every partition.

use crate::change::LogOffset;
use crate::changelog::chain::{ChainCheck, Verdict};
use crate::changelog::{ChangeLog, Error, Record, Result};

use super::epoch::Histories;

/// Reads every partition of a topic up to an end.
pub(super) struct TopicReader<'a> {
    changelog: &'a dyn ChangeLog,
    topic: &'a str,
    histories: &'a Histories,
    /// Record bytes of a partition that are fetched at once.
    bytes: usize,
    cursors: Vec<Cursor>,
}

struct Cursor {
    /// Behind the last record that passed.
    offset: LogOffset,
    /// Where this reader stood before the records that it left out since the last one that it took, and the chain there.
    left_out: Option<(LogOffset, ChainCheck)>,
    end: LogOffset,
    chain: ChainCheck,
    block: Vec<Record>,
    next: usize,
}

impl<'a> TopicReader<'a> {
    /// Begins at these offsets, one per partition, and ends at those.
    pub(super) fn new(
        changelog: &'a dyn ChangeLog,
        topic: &'a str,
        histories: &'a Histories,
        (from, ends): (&[LogOffset], &[LogOffset]),
        chains: Vec<ChainCheck>,
        bytes: usize,
    ) -> Self {
        let cursor = |((offset, end), chain): ((&LogOffset, &LogOffset), ChainCheck)| Cursor {
            offset: *offset,
            left_out: None,
            end: *end,
            chain,
            block: Vec::new(),
            next: 0,
        };
        let cursors: Vec<Cursor> = from.iter().zip(ends).zip(chains).map(cursor).collect();
        Self { changelog, topic, histories, bytes: bytes / cursors.len().max(1), cursors }
    }

    /// Fetches what the next record has to be chosen from; false when every partition has come to its end.
    ///
    /// A log may have nothing more below an end (marks of its transactions, say), if it reaches up to there. Were a record missing
    /// all the same, the next one would not name the last one that was taken.
    ///
    /// # Errors
    /// Those of [`ChangeLog::read`] and of the chains.
    pub(super) async fn fill(&mut self) -> Result<bool> {
        for (number, cursor) in self.cursors.iter_mut().enumerate() {
            while cursor.is_waited_for() {
                let partition = u32::try_from(number).unwrap_or(u32::MAX);
                cursor.block = self.changelog.read(self.topic, partition, cursor.offset, cursor.end, self.bytes).await?;
                cursor.next = 0;
                if cursor.block.is_empty() {
                    reaches(self.changelog, self.topic, partition, cursor.end).await?;
                    cursor.offset = cursor.end;
                }
                cursor.settle(self.histories)?;
            }
        }
        Ok(self.cursors.iter().any(|cursor| cursor.head().is_some()))
    }

    /// The next record and its partition; None when something has to be fetched first, or nothing is left.
    pub(super) fn head(&self) -> Option<(usize, &Record)> {
        let mut lowest: Option<(usize, &Record)> = None;
        for (number, cursor) in self.cursors.iter().enumerate() {
            match cursor.head() {
                Some(record) if lowest.is_none_or(|(_, lowest)| record.position < lowest.position) => {
                    lowest = Some((number, record));
                }
                None if cursor.is_waited_for() => return None,
                _ => {}
            }
        }
        lowest
    }

    /// The record at the head of a partition was taken.
    ///
    /// # Errors
    /// When the next one does not follow it.
    pub(super) fn pass(&mut self, partition: usize) -> Result<()> {
        let Some(cursor) = self.cursors.get_mut(partition) else { return Ok(()) };
        if let Some(record) = cursor.block.get(cursor.next) {
            cursor.chain.pass(record, Verdict::Take);
            cursor.left_out = None;
            cursor.skip();
        }
        cursor.settle(self.histories)
    }

    /// Behind the last record that passed, per partition, and the chains there. A reader that did not come to the end stops before what
    /// was left out last: whether the next record follows it is seen when it is taken.
    pub(super) fn stop(mut self, at_end: bool) -> (Vec<LogOffset>, Vec<ChainCheck>) {
        for cursor in self.cursors.iter_mut().filter(|_| !at_end) {
            if let Some(before) = cursor.left_out.take() {
                (cursor.offset, cursor.chain) = before;
            }
        }
        self.cursors.into_iter().map(|cursor| (cursor.offset, cursor.chain)).unzip()
    }
}

/// # Errors
/// [`Error::Broken`] when a partition ends before an offset that was published.
async fn reaches(changelog: &dyn ChangeLog, topic: &str, partition: u32, published: LogOffset) -> Result<()> {
    let end = changelog.ends(topic).await?.get(partition as usize).copied().unwrap_or_default();
    if end >= published {
        return Ok(());
    }
    let reason =
        format!("the log ends here, though it was published up to {published}: it was lost, or replaced by an older one");
    Err(Error::Broken { topic: topic.to_owned(), partition, offset: end, reason })
}

impl Cursor {
    fn head(&self) -> Option<&Record> {
        self.block.get(self.next)
    }

    fn is_waited_for(&self) -> bool {
        self.head().is_none() && self.offset < self.end
    }

    /// Passes what nobody takes, up to a record that is taken or the end of the block.
    fn settle(&mut self, histories: &Histories) -> Result<()> {
        while let Some(record) = self.block.get(self.next) {
            if histories.is_left_over(record.position.transaction) {
                self.left_out.get_or_insert_with(|| (self.offset, self.chain.clone()));
                self.chain.leave_out(record)?;
                self.note("the history it is of was left before it was published");
            } else {
                let verdict = self.chain.verdict(record)?;
                let Verdict::Drop(reason) = verdict else { return Ok(()) };
                self.chain.pass(record, verdict);
                self.note(reason.text());
            }
            self.skip();
        }
        Ok(())
    }

    /// Says that the head is left out.
    fn note(&self, reason: &str) {
        let Some(record) = self.head() else { return };
        let (topic, partition) = self.chain.place();
        tracing::warn!(topic, partition, offset = %record.offset, position = %record.position, reason, "record left out");
    }

    fn skip(&mut self) {
        let Some(record) = self.head() else { return };
        self.offset = LogOffset(record.offset.0 + 1);
        self.next += 1;
        if self.next == self.block.len() {
            // A huge row is not kept in its record as well.
            self.block = Vec::new();
            self.next = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Cut, LogPlace, Term};
    use crate::changelog::MemoryLog;
    use crate::changelog::contract::Feed;
    use crate::changelog::memory::Rules;

    /// Two records that count, three of which the history was left, the late one of a tailer that was fenced before two of them, and two of
    /// the next epoch.
    async fn left_behind() -> (MemoryLog, Histories) {
        let log = MemoryLog::new(1, u64::MAX).with_rules(Rules { atomic: true, refuses: false });
        let mut feed = Feed::new("t", 0);
        let (first, second) = (feed.batch(1, 3, 5), feed.batch(2, 2, 5));
        let left = Cut(first.records[2].position.transaction);
        let (late, mut new) = (feed.batch(1, 1, 5), feed.batch(3, 2, 5));
        new.records.iter_mut().for_each(|record| record.position.transaction.epoch = 1);
        new.records[0].previous = Some(second.records[1].position);
        new.records[1].previous = Some(new.records[0].position);
        for batch in [first, second, late, new] {
            log.open_topic("t", batch.term).await.unwrap();
            log.append(vec![batch]).await.unwrap();
        }
        (log, Histories::behind(left))
    }

    /// Takes so many of the records up to `end` and stops: behind which offset, and behind which record that counted.
    async fn read(
        (log, histories): &(MemoryLog, Histories),
        (from, end): (u64, u64),
        chain: ChainCheck,
        takes: usize,
    ) -> (u64, ChainCheck) {
        let offsets = (&[LogOffset(from)][..], &[LogOffset(end)][..]);
        let mut reader = TopicReader::new(log, "t", histories, offsets, vec![chain], 1 << 20);
        let mut taken = 0;
        let at_end = loop {
            if !reader.fill().await.unwrap() {
                break true;
            }
            if taken == takes {
                break false;
            }
            reader.pass(0).unwrap();
            taken += 1;
        };
        let (offsets, mut chains) = reader.stop(at_end);
        (offsets[0].0, chains.remove(0))
    }

    #[tokio::test]
    async fn who_stops_behind_what_was_left_out_stands_where_his_own_reading_of_it_began() {
        let log = left_behind().await;
        let fresh = || ChainCheck::new("t", 0, &LogPlace::default());
        for (first_end, second_from, late) in [(8, 2, 0), (6, 6, 1), (4, 4, 0)] {
            // The first comes to its end within what is left out or behind it, or to a record of the new epoch.
            let (offset, chain) = read(&log, (0, first_end), fresh(), 2).await;
            assert_eq!((offset, chain.dropped().late), (second_from, late), "what is read again is counted then");
            let before = (chain.last(), chain.dropped());
            let (offset, chain) = read(&log, (offset, 8), chain, 0).await;
            assert_eq!((offset, chain.last(), chain.dropped()), (second_from, before.0, before.1), "it has taken nothing");
            let (offset, chain) = read(&log, (offset, 8), chain, 2).await;
            assert_eq!((offset, chain.last().map(|(last, _)| last.transaction.epoch)), (8, Some(1)));
            assert_eq!(chain.dropped().late, 1);
        }
    }

    #[tokio::test]
    async fn an_empty_read_is_believed_only_of_a_log_that_reaches_the_published_end() {
        let log = MemoryLog::new(1, u64::MAX);
        log.open_topic("t", Term(1)).await.unwrap();
        log.append(vec![Feed::new("t", 0).batch(1, 2, 5)]).await.unwrap();
        let histories = Histories::default();
        let chains = vec![ChainCheck::new("t", 0, &LogPlace::default())];
        let offsets = (&[LogOffset(0)][..], &[LogOffset(3)][..]);
        let mut reader = TopicReader::new(&log, "t", &histories, offsets, chains, 1 << 20);
        assert!(reader.fill().await.unwrap());
        for _ in 0..2 {
            assert_eq!(reader.head().map(|(partition, _)| partition), Some(0));
            reader.pass(0).unwrap();
        }
        let shorter = reader.fill().await;
        assert!(matches!(shorter, Err(Error::Broken { offset: LogOffset(2), .. })), "{shorter:?}");
    }
}
