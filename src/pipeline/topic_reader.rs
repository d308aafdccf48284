//! A topic's records in the order of the source, whatever partitions they are in.
//!
//! Within a partition records come in the order of their offsets. Of several partitions the next record is the one with the lowest
//! position among their next ones, and it is given only when each partition that has not come to its end has shown its next: so a
//! transaction's records come together, in order, and a reader who stops before a position has taken all that lies below it in every
//! partition. A late or repeated record, whose position is lower than what stands before it, comes sooner than it need, and is dropped by
//! its partition's chain all the same.

use crate::change::LogOffset;
use crate::changelog::{ChangeLog, Record, Result};

/// Reads every partition of a topic up to an end.
pub(super) struct TopicReader<'a> {
    changelog: &'a dyn ChangeLog,
    topic: &'a str,
    /// Record bytes of a partition that are fetched at once.
    bytes: usize,
    cursors: Vec<Cursor>,
}

struct Cursor {
    /// Behind the last record that passed.
    offset: LogOffset,
    end: LogOffset,
    block: Vec<Record>,
    next: usize,
}

impl Cursor {
    fn head(&self) -> Option<&Record> {
        self.block.get(self.next)
    }

    fn is_waited_for(&self) -> bool {
        self.head().is_none() && self.offset < self.end
    }
}

/// What [`TopicReader::fill`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// There are records, or there were none to wait for.
    Yes,
    /// Every partition has come to its end.
    AtEnd,
    /// A partition has no record at this offset, though it lies below the end.
    Gap(usize, LogOffset),
}

impl<'a> TopicReader<'a> {
    /// Begins at these offsets, one per partition, and ends at those.
    pub(super) fn new(
        changelog: &'a dyn ChangeLog,
        topic: &'a str,
        (from, ends): (&[LogOffset], &[LogOffset]),
        bytes: usize,
    ) -> Self {
        let cursor = |(offset, end): (&LogOffset, &LogOffset)| Cursor { offset: *offset, end: *end, block: Vec::new(), next: 0 };
        let cursors: Vec<Cursor> = from.iter().zip(ends).map(cursor).collect();
        Self { changelog, topic, bytes: bytes / cursors.len().max(1), cursors }
    }

    /// Fetches what the next record has to be chosen from.
    pub(super) async fn fill(&mut self) -> Result<Filled> {
        for (number, cursor) in self.cursors.iter_mut().enumerate().filter(|(_, cursor)| cursor.is_waited_for()) {
            let partition = u32::try_from(number).unwrap_or(u32::MAX);
            cursor.block = self.changelog.read(self.topic, partition, cursor.offset, cursor.end, self.bytes).await?;
            cursor.next = 0;
            if cursor.block.is_empty() {
                return Ok(Filled::Gap(number, cursor.offset));
            }
        }
        Ok(if self.cursors.iter().all(|cursor| cursor.head().is_none()) { Filled::AtEnd } else { Filled::Yes })
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

    /// The record at the head of a partition has passed.
    pub(super) fn pass(&mut self, partition: usize) {
        let Some(cursor) = self.cursors.get_mut(partition) else { return };
        let Some(record) = cursor.head() else { return };
        cursor.offset = LogOffset(record.offset.0 + 1);
        cursor.next += 1;
        if cursor.next == cursor.block.len() {
            // A huge row is not kept in its record as well.
            cursor.block = Vec::new();
            cursor.next = 0;
        }
    }

    /// Behind the last record that passed, per partition.
    pub(super) fn offsets(&self) -> Vec<LogOffset> {
        self.cursors.iter().map(|cursor| cursor.offset).collect()
    }
}
