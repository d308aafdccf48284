//! Reading: on connections of its own, so that it waits for no write; records share the bytes of their block.
//!
//! A block that was read in part is kept, so that whoever reads on from there does not decompress it again. What is kept is bounded.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::block::{Block, StoredBlock};
use super::release::topic_if_there;
use super::store::{self, Failed, Outcome, Topic, number, stored};
use crate::change::{LogOffset, LogPlace, Term};
use crate::changelog::chain::{TailScan, known_places};
use crate::changelog::range::{Range, replaced};
use crate::changelog::{Consumer, Error, PartitionTail, Record, Result};

/// Connections that are kept open while nobody reads.
const IDLE_CONNECTIONS: usize = 4;
/// Bytes of blocks that are kept.
const KEPT_BYTES: usize = 16 << 20;
/// Bytes of records that are looked through at once for a tail.
const SCANNED_BYTES: usize = 1 << 20;
/// What a record counts for beside its key and value.
const RECORD_OVERHEAD: usize = 100;
/// Room for the text of a block that stays with an idle connection: most blocks need no more, and to get it from the system and fill it
/// with zeros for each block cost as much as decompressing does.
const ROOM_KEPT: usize = 2 << 20;

/// What one read works with.
struct Desk {
    connection: Connection,
    /// Where blocks are decompressed.
    room: Vec<u8>,
}

/// Reads the log. Its methods block.
pub(super) struct Reader {
    path: PathBuf,
    idle: Mutex<Vec<Desk>>,
    /// Blocks read in part, by topic and partition, the one used last at the back.
    kept: Mutex<VecDeque<(i64, u32, Arc<Block>)>>,
}

impl Reader {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Vec::new()), kept: Mutex::new(VecDeque::new()) }
    }

    /// The ends of a topic's partitions.
    pub(super) fn ends(&self, name: &str) -> Result<Vec<LogOffset>> {
        self.with_connection(|connection| {
            let topic = store::topic(connection, name)?;
            let end = |partition| store::partition(connection, name, &topic, partition).map(|partition| partition.tail.end);
            (0..topic.partitions).map(end).collect()
        })
    }

    /// The tails of a topic's partitions, looked through behind what is known.
    pub(super) fn tails(&self, name: &str, known: &[LogPlace]) -> Result<Vec<PartitionTail>> {
        self.at_a_desk(|connection, room| {
            let topic = store::topic(connection, name)?;
            let parts = (0..topic.partitions).zip(known_places(known));
            parts.map(|(partition, known)| self.tail((connection, &mut *room), name, partition, &known)).collect()
        })
    }

    /// One partition's tail. Where records behind the known place were evicted, nobody who is still there needs to know where they were.
    fn tail(
        &self,
        (connection, room): (&Connection, &mut Vec<u8>),
        name: &str,
        partition: u32,
        known: &LogPlace,
    ) -> Outcome<PartitionTail> {
        let topic = store::topic(connection, name)?;
        let stored = store::partition(connection, name, &topic, partition)?;
        let until = stored.tail.end;
        let mut scan = TailScan::new(known);
        let mut from = known.offset.max(stored.first);
        while from < until {
            let range = Range { topic: name.to_owned(), partition, from, until, bytes_max: SCANNED_BYTES };
            for record in self.read_range(connection, &range, room)? {
                from = LogOffset(record.offset.0 + 1);
                scan.see(&record);
            }
        }
        Ok(PartitionTail { marks: scan.tail(until).marks, ..stored.tail })
    }

    /// The consumers of a topic.
    pub(super) fn consumers(&self, name: &str) -> Result<Vec<Consumer>> {
        self.with_connection(|connection| {
            let sql = "SELECT consumers.name FROM consumers JOIN topics USING (topic_id) WHERE topics.name = ?1 ORDER BY 1";
            let mut statement = connection.prepare_cached(sql)?;
            let names = statement.query_map([name], |row| row.get(0).map(Consumer))?;
            Ok(names.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The highest term of a topic; None where there is no such topic.
    pub(super) fn term(&self, name: &str) -> Result<Option<Term>> {
        self.with_connection(|connection| Ok(topic_if_there(connection, name)?.map(|topic| topic.term)))
    }

    /// The bytes of a topic's blocks from an offset on.
    pub(super) fn bytes_from(&self, name: &str, from: LogOffset) -> Result<u64> {
        self.with_connection(|connection| {
            let topic = store::topic(connection, name)?;
            let sql = "SELECT coalesce(sum(bytes), 0) FROM blocks WHERE topic_id = ?1 AND first_offset >= ?2";
            number(connection.prepare_cached(sql)?.query_row((topic.id, stored(from.0)?), |row| row.get(0))?)
        })
    }

    /// The records of a range, as many as fit.
    pub(super) fn read(&self, range: &Range) -> Result<Vec<Record>> {
        self.at_a_desk(|connection, room| self.read_range(connection, range, room))
    }

    /// Runs `work` in one read transaction.
    fn with_connection<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T> {
        self.at_a_desk(|connection, _| work(connection))
    }

    fn at_a_desk<T>(&self, work: impl FnOnce(&Connection, &mut Vec<u8>) -> Outcome<T>) -> Result<T> {
        let idle = locked(&self.idle).pop();
        let open = || store::open_for_reading(&self.path).map(|connection| Desk { connection, room: Vec::new() });
        let Desk { connection, mut room } = idle.map_or_else(open, Ok).map_err(|failed| failed.at(&self.path))?;
        let outcome = connection.unchecked_transaction().map_err(Failed::Sql).and_then(|transaction| {
            let value = work(&transaction, &mut room)?;
            transaction.commit()?;
            Ok(value)
        });
        room.truncate(ROOM_KEPT);
        room.shrink_to(ROOM_KEPT);
        let mut idle = locked(&self.idle);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(Desk { connection, room });
        }
        outcome.map_err(|failed| failed.at(&self.path))
    }

    fn read_range(&self, connection: &Connection, range: &Range, room: &mut Vec<u8>) -> Outcome<Vec<Record>> {
        let topic = store::topic(connection, &range.topic)?;
        let partition = store::partition(connection, &range.topic, &topic, range.partition)?;
        range.check_start(partition.first, partition.tail.end, replaced)?;
        let until = range.until.min(partition.tail.end);
        let mut records = Vec::new();
        let (mut at, mut bytes) = (range.from, 0);
        while at < until && (records.is_empty() || bytes < range.bytes_max) {
            let block = match self.take_kept(&topic, range.partition, at) {
                Some(block) => block,
                None => Arc::new(fetch(connection, &topic, range, at, room)?),
            };
            // No more than there is room for in the answer, about.
            records.reserve(block.records_left(at).min(range.bytes_max / RECORD_OVERHEAD));
            for record in block.records_from(at) {
                if at >= until || !(records.is_empty() || bytes < range.bytes_max) {
                    break;
                }
                bytes += record.key.len() + record.value.len() + RECORD_OVERHEAD;
                at = LogOffset(record.offset.0 + 1);
                records.push(record);
            }
            if block.holds(at) {
                self.keep(&topic, range.partition, block);
            }
        }
        Ok(records)
    }

    fn take_kept(&self, topic: &Topic, partition: u32, at: LogOffset) -> Option<Arc<Block>> {
        let mut kept = locked(&self.kept);
        let found = kept.iter().position(|(id, number, block)| (*id, *number) == (topic.id, partition) && block.holds(at))?;
        kept.remove(found).map(|(_, _, block)| block)
    }

    fn keep(&self, topic: &Topic, partition: u32, block: Arc<Block>) {
        let mut kept = locked(&self.kept);
        kept.push_back((topic.id, partition, block));
        let mut bytes: usize = kept.iter().map(|(_, _, block)| block.bytes()).sum();
        while bytes > KEPT_BYTES
            && let Some((_, _, oldest)) = kept.pop_front()
        {
            bytes -= oldest.bytes();
        }
    }
}

/// What lies behind the lock is whole at any time, so that a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The block that holds the record at `at`.
fn fetch(connection: &Connection, topic: &Topic, range: &Range, at: LogOffset, room: &mut Vec<u8>) -> Outcome<Block> {
    let corrupt = |reason: String| {
        Failed::Log(Error::Corrupt { topic: range.topic.clone(), partition: range.partition, offset: at, reason })
    };
    let mut statement = connection.prepare_cached(
        "SELECT first_offset, end_offset, term, schema, previous, raw_bytes, crc32, data FROM blocks
         WHERE topic_id = ?1 AND partition = ?2 AND first_offset <= ?3 ORDER BY first_offset DESC LIMIT 1",
    )?;
    let mut rows = statement.query((topic.id, range.partition, stored(at.0)?))?;
    let Some(row) = rows.next()? else { return Err(corrupt("its block is missing".to_owned())) };
    let block = StoredBlock {
        first_offset: number(row.get(0)?)?,
        end_offset: number(row.get(1)?)?,
        term: number(row.get(2)?)?,
        schema: row.get(3)?,
        previous: row.get(4)?,
        raw_bytes: number(row.get(5)?)?,
        crc32: row.get(6)?,
    };
    let data = row.get_ref(7)?.as_blob().map_err(|error| corrupt(error.to_string()))?;
    let length = block.decompress(data, room).map_err(corrupt)?;
    // The row's data goes before the records come: a huge record is held twice at most.
    drop(rows);
    let block = block.open(room.get(..length).unwrap_or_default()).map_err(corrupt)?;
    if block.holds(at) { Ok(block) } else { Err(corrupt("its block is missing".to_owned())) }
}
