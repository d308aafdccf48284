//! What may go: records that every consumer has passed, and, when the log is full, those that no active consumer needs.
//!
//! A topic without a consumer has nothing that anyone has a claim on: what is captured has a consumer from its start on. It keeps its
//! records until the log is full, for a tailer may still go on behind the last of them; then they go, and so do those that it still appends.

use rusqlite::{Connection, OptionalExtension};

use super::append::raise_term;
use super::store::{self, Failed, Outcome, Topic, number, stored};
use crate::change::{LogOffset, Term};
use crate::changelog::{Consumer, Error};

/// Registers a consumer, or moves it on.
pub(super) fn register(
    connection: &Connection,
    name: &str,
    term: Term,
    consumer: &Consumer,
    offsets: &[LogOffset],
) -> Outcome<()> {
    let topic = store::topic(connection, name)?;
    raise_term(connection, name, &topic, term)?;
    connection
        .prepare_cached("INSERT INTO consumers (topic_id, name, active) VALUES (?1, ?2, 1) ON CONFLICT DO NOTHING")?
        .execute((topic.id, &consumer.0))?;
    advance(connection, name, consumer, offsets)
}

/// Moves a consumer on, if it is registered, and releases what nobody needs any more.
pub(super) fn advance(connection: &Connection, name: &str, consumer: &Consumer, offsets: &[LogOffset]) -> Outcome<()> {
    let topic = store::topic(connection, name)?;
    if offsets.len() != topic.partitions as usize {
        let partition = Some(u32::try_from(offsets.len()).unwrap_or(u32::MAX));
        return Err(Error::Missing { topic: name.to_owned(), partition }.into());
    }
    for (partition, offset) in (0..).zip(offsets) {
        let end = store::partition(connection, name, &topic, partition)?.tail.end;
        if *offset > end {
            let reason = format!(
                "{} has taken records up to {offset}, but the log ends at {end}: it was replaced by an older one",
                consumer.0
            );
            return Err(Error::Broken { topic: name.to_owned(), partition, offset: *offset, reason }.into());
        }
    }
    if !is_registered(connection, &topic, consumer)? {
        return Ok(());
    }
    for (partition, offset) in (0_u32..).zip(offsets) {
        let mut statement = connection.prepare_cached(
            "INSERT INTO consumer_offsets (topic_id, name, partition, offset) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET offset = max(offset, excluded.offset)",
        )?;
        statement.execute((topic.id, &consumer.0, partition, stored(offset.0)?))?;
    }
    release(connection, &topic)
}

fn is_registered(connection: &Connection, topic: &Topic, consumer: &Consumer) -> Outcome<bool> {
    let sql = "SELECT 1 FROM consumers WHERE topic_id = ?1 AND name = ?2";
    Ok(connection.prepare_cached(sql)?.exists((topic.id, &consumer.0))?)
}

/// Marks a consumer as active or not, if it is registered.
pub(super) fn set_active(connection: &Connection, name: &str, consumer: &Consumer, active: bool) -> Outcome<()> {
    let Some(topic) = topic_if_there(connection, name)? else { return Ok(()) };
    connection.prepare_cached("UPDATE consumers SET active = ?3 WHERE topic_id = ?1 AND name = ?2")?.execute((
        topic.id,
        &consumer.0,
        active,
    ))?;
    Ok(())
}

/// Forgets consumers, and releases what the others do not need.
pub(super) fn forget(connection: &Connection, name: &str, term: Term, consumers: &[Consumer]) -> Outcome<()> {
    let Some(topic) = topic_if_there(connection, name)? else { return Ok(()) };
    raise_term(connection, name, &topic, term)?;
    for consumer in consumers {
        let known = "DELETE FROM consumers WHERE topic_id = ?1 AND name = ?2";
        connection.prepare_cached(known)?.execute((topic.id, &consumer.0))?;
    }
    release(connection, &topic)
}

/// Takes all that a topic has away, unless a higher term owns it; its ends. They stay where they were: whoever still reads what it held
/// learns that it is gone, and does not take what comes now for it.
pub(super) fn empty(connection: &Connection, name: &str, term: Term) -> Outcome<Vec<LogOffset>> {
    let topic = store::topic(connection, name)?;
    raise_term(connection, name, &topic, term)?;
    for statement in [
        "UPDATE usage SET bytes = bytes - (SELECT coalesce(sum(bytes), 0) FROM blocks WHERE topic_id = ?1)",
        "DELETE FROM blocks WHERE topic_id = ?1",
        "DELETE FROM consumers WHERE topic_id = ?1",
        "UPDATE partitions SET first_offset = end_offset, last_position = NULL, last_term = NULL WHERE topic_id = ?1",
    ] {
        connection.prepare_cached(statement)?.execute([topic.id])?;
    }
    let end = |partition| store::partition(connection, name, &topic, partition).map(|partition| partition.tail.end);
    (0..topic.partitions).map(end).collect()
}

/// A topic that is not there holds nothing for anyone.
pub(super) fn topic_if_there(connection: &Connection, name: &str) -> Outcome<Option<Topic>> {
    match store::topic(connection, name) {
        Err(Failed::Log(Error::Missing { .. })) => Ok(None),
        other => other.map(Some),
    }
}

/// Deletes the blocks wholly below every consumer's offset.
fn release(connection: &Connection, topic: &Topic) -> Outcome<()> {
    for partition in 0..topic.partitions {
        let bound: Option<i64> = connection
            .prepare_cached("SELECT min(offset) FROM consumer_offsets WHERE topic_id = ?1 AND partition = ?2")?
            .query_row((topic.id, partition), |row| row.get(0))?;
        if let Some(bound) = bound {
            delete_below(connection, topic.id, partition, bound)?;
        }
    }
    Ok(())
}

/// Deletes the blocks of a partition that end at or below `bound`; the bytes they counted for.
fn delete_below(connection: &Connection, topic: i64, partition: u32, bound: i64) -> Outcome<u64> {
    let (bytes, end): (Option<i64>, Option<i64>) = connection
        .prepare_cached(
            "SELECT sum(bytes), max(end_offset) FROM blocks
             WHERE topic_id = ?1 AND partition = ?2 AND first_offset < ?3 AND end_offset <= ?3",
        )?
        .query_row((topic, partition, bound), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(bytes), Some(end)) = (bytes, end) else { return Ok(0) };
    connection
        .prepare_cached("DELETE FROM blocks WHERE topic_id = ?1 AND partition = ?2 AND first_offset < ?3 AND end_offset <= ?3")?
        .execute((topic, partition, bound))?;
    connection
        .prepare_cached("UPDATE partitions SET first_offset = ?3 WHERE topic_id = ?1 AND partition = ?2")?
        .execute((topic, partition, end))?;
    connection.prepare_cached("UPDATE usage SET bytes = bytes - ?1")?.execute([bytes])?;
    number(bytes)
}

/// Evicts the oldest blocks that no active consumer needs, until `wanted` bytes are free; the bytes that were freed.
pub(super) fn evict(connection: &Connection, wanted: u64) -> Outcome<u64> {
    let mut freed = 0;
    while freed < wanted {
        let Some((topic, partition, end)) = oldest_evictable(connection)? else { break };
        freed += delete_below(connection, topic, partition, end)?;
    }
    Ok(freed)
}

/// The first blocks of the partitions that have no consumer or an inactive one, as far as no active one needs them; the oldest of them.
fn oldest_evictable(connection: &Connection) -> Outcome<Option<(i64, u32, i64)>> {
    let sql = "
        SELECT blocks.topic_id, blocks.partition, blocks.end_offset
        FROM partitions JOIN blocks ON blocks.topic_id = partitions.topic_id AND blocks.partition = partitions.partition
             AND blocks.first_offset = partitions.first_offset
        WHERE (partitions.topic_id IN (SELECT topic_id FROM consumers WHERE NOT active)
               OR partitions.topic_id NOT IN (SELECT topic_id FROM consumers))
          AND blocks.end_offset <= coalesce((
                SELECT min(offset) FROM consumer_offsets JOIN consumers USING (topic_id, name)
                WHERE active AND topic_id = partitions.topic_id AND partition = partitions.partition), partitions.end_offset)
        ORDER BY blocks.block_id LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?)
}
