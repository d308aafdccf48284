//! Reading: one consumer that follows a partition, from any offset on.
//!
//! Nothing is skipped in silence. An offset that is gone, or that lies behind the end, is an error of the consumer (it is told to jump
//! nowhere), and the partition's bounds say which of the two it is. That there is nothing more is believed only when the consumer's own
//! position has reached the end that the brokers gave: silence, and a partition's "end", prove nothing after a leader has moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::cluster::{Bounds, bounds, offset};
use super::failure::{error_code, is_unknown, right_missing, settings, storage, storage_text, text};
use super::headers::{self, Unread};
use super::settings::KafkaSettings;
use super::voice::{Seldom, Voice};
use crate::change::LogOffset;
use crate::changelog::range::Range;
use crate::changelog::{Error, Record, Result};

/// One look at what has come.
const LOOK: Duration = Duration::from_millis(20);
/// After so much silence the partition's bounds are asked for again.
const SILENCE: Duration = Duration::from_secs(2);
/// A read that gets nothing for so long fails: the reader starts again from what is durable.
const GIVE_UP: Duration = Duration::from_secs(60);
/// What a record takes beside its key and value, as the caller's limit counts it.
const RECORD_OVERHEAD: usize = 64;

/// A consumer, and where it stands.
pub(super) struct Reader {
    consumer: BaseConsumer<Voice>,
    /// Offsets may hold nothing but marks of transactions.
    marks: bool,
    following: Option<Following>,
    waiting: Seldom,
}

/// The partition that a consumer follows.
struct Following {
    topic: String,
    partition: u32,
    /// The offset that it reads next: everything below it was handed out.
    next: LogOffset,
    /// The end as it was last asked for.
    end: LogOffset,
    /// A record at or behind `next` that was fetched, and lay behind what was asked for.
    held: Option<Record>,
}

/// What became of a look.
enum Seen<'c> {
    Message(BorrowedMessage<'c>),
    Nothing,
}

impl Reader {
    /// Makes the client; it follows nothing yet.
    pub(super) fn new(from: &KafkaSettings) -> Result<Self> {
        let consumer = from.consumer().create_with_context(Voice::of("reader")).map_err(|error| settings(&error))?;
        Ok(Self { consumer, marks: from.transactions, following: None, waiting: Seldom::default() })
    }

    /// Whether it would go on reading just there.
    pub(super) fn stands_at(&self, topic: &str, partition: u32, from: LogOffset) -> bool {
        self.following.as_ref().is_some_and(|at| at.partition == partition && at.next == from && at.topic == topic)
    }

    /// Reads; blocks until there is something, the range holds nothing, or `stop` is set. After an error it follows nothing any more.
    pub(super) fn read(&mut self, range: &Range, stop: &AtomicBool) -> Result<Vec<Record>> {
        let mut following = match self.following.take() {
            Some(at) if at.partition == range.partition && at.next == range.from && at.topic == range.topic => at,
            _ => self.follow(range)?,
        };
        // An end that was asked for earlier may have nothing but a mark before it: that says nothing of what lies behind it.
        let mut records = Vec::new();
        while records.is_empty() && following.next < range.until {
            if following.next >= following.end {
                following.end = self.checked(&Range { from: following.next, ..range.clone() })?.end;
                if following.next >= following.end {
                    break;
                }
            }
            let until = range.until.min(following.end);
            records = self.fill(&mut following, until, range.bytes_max, stop)?;
        }
        self.following = Some(following);
        Ok(records)
    }

    fn follow(&self, range: &Range) -> Result<Following> {
        let Bounds { first: next, end } = self.checked(range)?;
        let mut list = TopicPartitionList::with_capacity(1);
        let from = Offset::Offset(i64::try_from(next.0).unwrap_or(i64::MAX));
        let assigned = list
            .add_partition_offset(&range.topic, i32::try_from(range.partition).unwrap_or(i32::MAX), from)
            .and_then(|()| self.consumer.assign(&list));
        assigned.map_err(|error| storage(&range.topic, "it cannot be read", &error))?;
        Ok(Following { topic: range.topic.clone(), partition: range.partition, next, end, held: None })
    }

    /// Where to begin, and the partition's end, if the range lies within its bounds.
    ///
    /// With transactions there may have been nothing but a mark before the first offset that is left, of a topic that was silent for longer
    /// than its retention. What comes next tells: if records are missing before it, it does not follow the last one taken.
    fn checked(&self, range: &Range) -> Result<Bounds> {
        let found = bounds(&self.consumer, &range.topic, range.partition)?;
        if range.from < found.first && self.marks && found.first < range.until.min(found.end) {
            return Ok(found);
        }
        let shorter = |end| format!("the topic ends at {end}: it was deleted and made anew, or its newest records were lost");
        range.check_start(found.first, found.end, shorter)?;
        Ok(Bounds { first: range.from, ..found })
    }

    fn fill(&self, at: &mut Following, until: LogOffset, bytes_max: usize, stop: &AtomicBool) -> Result<Vec<Record>> {
        let mut taken = Gathered::default();
        let (silent_since, mut checked) = (Instant::now(), Instant::now());
        at.take_held(until, &mut taken);
        while at.next < until && (taken.records.is_empty() || taken.bytes < bytes_max) {
            let wait = if taken.records.is_empty() { LOOK } else { Duration::ZERO };
            match self.look(at, wait)? {
                Seen::Message(message) => at.take(&message, until, &mut taken)?,
                Seen::Nothing if !taken.records.is_empty() => break,
                Seen::Nothing => {
                    if self.position(at).is_some_and(|position| position >= until) {
                        // Only marks of transactions, or what compaction has left of the range.
                        at.next = until;
                    } else if stop.load(Ordering::Acquire) {
                        return Err(storage_text(&at.topic, "nobody waits for what is read any more"));
                    } else if checked.elapsed() >= SILENCE {
                        self.look_around(at, silent_since.elapsed())?;
                        checked = Instant::now();
                    }
                }
            }
        }
        Ok(taken.into_records())
    }

    /// After silence: is the partition there, and is what is wanted still in it?
    fn look_around(&self, at: &Following, silent: Duration) -> Result<()> {
        let range = Range { topic: at.topic.clone(), partition: at.partition, from: at.next, until: at.end, bytes_max: 0 };
        match self.checked(&range) {
            Ok(found) if found.end < at.end => {
                let reason =
                    format!("the topic ends at {}, and did so at {} before: its newest records were lost", found.end, at.end);
                return Err(Error::Broken { topic: range.topic, partition: at.partition, offset: found.end, reason });
            }
            // The brokers are away, or answer again: reading goes on by itself.
            Ok(_) | Err(Error::Storage { .. }) => {}
            Err(error) => return Err(error),
        }
        if silent >= GIVE_UP {
            return Err(storage_text(
                &at.topic,
                format!("nothing could be read at offset {} for {} s", at.next, silent.as_secs()),
            ));
        }
        if self.waiting.speaks().is_some() {
            tracing::warn!(topic = %at.topic, partition = at.partition, offset = %at.next, silent_seconds = silent.as_secs(), "waiting for records of kafka");
        }
        Ok(())
    }

    fn look(&self, at: &Following, wait: Duration) -> Result<Seen<'_>> {
        let failed = match self.consumer.poll(wait) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Seen::Nothing),
            Some(Ok(message)) => return Ok(Seen::Message(message)),
            Some(Err(error)) => error,
        };
        let corrupt =
            |reason: String| Error::Corrupt { topic: at.topic.clone(), partition: at.partition, offset: at.next, reason };
        match error_code(&failed) {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                let range =
                    Range { topic: at.topic.clone(), partition: at.partition, from: at.next, until: at.end, bytes_max: 0 };
                self.checked(&range)?;
                // It is within the bounds: the consumer asked a leader that has moved meanwhile.
                Err(storage(&at.topic, &format!("offset {} cannot be read", at.next), &failed))
            }
            Some(RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::InvalidMessage | RDKafkaErrorCode::BadCompression) => {
                Err(corrupt(text(&failed)))
            }
            Some(code) if is_unknown(code) => Err(Error::Missing { topic: at.topic.clone(), partition: Some(at.partition) }),
            Some(code) if right_missing(code, &at.topic).is_some() => Err(storage(&at.topic, "it cannot be read", &failed)),
            _ if matches!(failed, KafkaError::MessageConsumptionFatal(_)) => {
                Err(storage(&at.topic, "it cannot be read", &failed))
            }
            // Transport: librdkafka goes on by itself.
            _ => Ok(Seen::Nothing),
        }
    }

    /// Behind what the consumer has delivered or stepped over.
    fn position(&self, at: &Following) -> Option<LogOffset> {
        let list = self.consumer.position().ok()?;
        let partition = i32::try_from(at.partition).ok()?;
        match list.find_partition(&at.topic, partition)?.offset() {
            Offset::Offset(position) => Some(offset(position)),
            _ => None,
        }
    }
}

impl Following {
    fn take(&mut self, message: &BorrowedMessage<'_>, until: LogOffset, taken: &mut Gathered) -> Result<()> {
        let found = offset(message.offset());
        let ours = i64::from(self.partition) == i64::from(message.partition()) && message.topic() == self.topic;
        if !ours || found < self.next {
            // Fetched before the consumer was pointed here.
            return Ok(());
        }
        let headers = headers::read(message.headers()).map_err(|why| self.unread(found, why))?;
        self.next = LogOffset(found.0 + 1);
        // Without headers of ours: what follows a delete, for the brokers.
        let Some(headers) = headers else { return Ok(()) };
        let record = Record {
            offset: found,
            position: headers.position,
            previous: headers.previous,
            term: headers.term,
            schema: taken.schema(headers.schema),
            key: Bytes::new(),
            value: Bytes::new(),
        };
        let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
        if found < until {
            taken.push(record, key, value);
        } else {
            self.next = until;
            self.held = Some(Record { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value), ..record });
        }
        Ok(())
    }

    fn unread(&self, offset: LogOffset, why: Unread) -> Error {
        let (topic, partition) = (self.topic.clone(), self.partition);
        match why {
            Unread::Foreign(reason) => Error::Corrupt { topic, partition, offset, reason },
            Unread::Newer(found) => {
                let path = format!("kafka topic {topic}[{partition}] at offset {offset}");
                Error::Format { path, found, known: headers::KNOWN_FORMAT }
            }
        }
    }

    /// The record that lay behind what an earlier read wanted.
    fn take_held(&mut self, until: LogOffset, taken: &mut Gathered) {
        match self.held.take() {
            Some(held) if held.offset < until => {
                self.next = LogOffset(held.offset.0 + 1);
                taken.push(Record { key: Bytes::new(), value: Bytes::new(), ..held.clone() }, &held.key, &held.value);
            }
            Some(held) => {
                self.next = until;
                self.held = Some(held);
            }
            None => {}
        }
    }
}

/// Records of one read; all of their bytes lie in one buffer.
#[derive(Default)]
struct Gathered {
    buffer: Vec<u8>,
    /// Records without their bytes, and the lengths of these.
    records: Vec<(Record, usize, usize)>,
    bytes: usize,
    schema: Option<Arc<str>>,
}

impl Gathered {
    /// One text for all records of a shape.
    fn schema(&mut self, text: &str) -> Arc<str> {
        match &self.schema {
            Some(known) if **known == *text => Arc::clone(known),
            _ => Arc::clone(self.schema.insert(text.into())),
        }
    }

    fn push(&mut self, record: Record, key: &[u8], value: &[u8]) {
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        self.bytes += key.len() + value.len() + RECORD_OVERHEAD;
        self.records.push((record, key.len(), value.len()));
    }

    fn into_records(self) -> Vec<Record> {
        let mut rest = Bytes::from(self.buffer);
        let with_bytes = |(record, key, value): (Record, usize, usize)| {
            let (key, value) = (rest.split_to(key), rest.split_to(value));
            Record { key, value, ..record }
        };
        self.records.into_iter().map(with_bytes).collect()
    }
}
