//! Appending: the rules are checked, the blocks stored and room made in one transaction, or nothing is done.

use rusqlite::Connection;

use super::block::{PackedBatch, PackedBlock, StoredBlock};
use super::release::evict;
use super::store::{self, Outcome, Partition, Topic, stored};
use super::writer::used;
use crate::change::{LogOffset, Term};
use crate::changelog::chain::check_append;
use crate::changelog::{Acknowledged, Error};
use crate::trial::{Mistake, planted};

/// Appends all batches, or none. An empty batch only makes its term known. Of what the log holds `unpublished` bytes cannot go before
/// more is appended.
pub(super) fn append(
    connection: &Connection,
    batches: &[PackedBatch],
    bytes_max: u64,
    unpublished: u64,
) -> Outcome<Vec<Acknowledged>> {
    let before = used(connection)?;
    let mut acknowledged = Vec::with_capacity(batches.len());
    for batch in batches {
        acknowledged.push(append_batch(connection, batch)?);
    }
    let added: u64 = batches.iter().flat_map(|batch| &batch.blocks).map(PackedBlock::live_bytes).sum();
    let mut bytes = before + added;
    connection.prepare_cached("UPDATE usage SET bytes = ?1")?.execute([stored(bytes)?])?;
    let mut evicted = 0;
    if bytes > bytes_max {
        evicted = evict(connection, bytes - bytes_max)?;
        bytes -= evicted;
    }
    // What does not fit into an empty log would never fit, nor what does not fit beside its own transaction.
    if bytes > bytes_max && before.saturating_sub(evicted) > unpublished && added > 0 {
        return Err(Error::Full { bytes: before, bytes_max }.into());
    }
    Ok(acknowledged)
}

/// Makes a topic this term's, unless it is a higher one's.
pub(super) fn raise_term(connection: &Connection, name: &str, topic: &Topic, term: Term) -> Outcome<()> {
    if term < topic.term && !planted(Mistake::TermIgnored) {
        return Err(Error::Fenced { topic: name.to_owned(), term, by: topic.term }.into());
    }
    if term > topic.term {
        let mut statement = connection.prepare_cached("UPDATE topics SET term = ?2 WHERE topic_id = ?1")?;
        statement.execute((topic.id, stored(term.0)?))?;
    }
    Ok(())
}

fn append_batch(connection: &Connection, batch: &PackedBatch) -> Outcome<Acknowledged> {
    let topic = store::topic(connection, &batch.topic)?;
    raise_term(connection, &batch.topic, &topic, batch.term)?;
    if let Some(record) = batch.records.iter().find(|record| record.partition >= topic.partitions) {
        return Err(Error::Missing { topic: batch.topic.clone(), partition: Some(record.partition) }.into());
    }
    let mut ends = Vec::with_capacity(topic.partitions as usize);
    for number in 0..topic.partitions {
        let partition = store::partition(connection, &batch.topic, &topic, number)?;
        let records = batch.records.iter().filter(|record| record.partition == number);
        check_append(&batch.topic, number, &partition.tail, records)?;
        ends.push(Some(append_blocks(connection, batch, &topic, (number, partition))?));
    }
    Ok(Acknowledged { topic: batch.topic.clone(), ends })
}

/// Stores the blocks of one partition; its new end.
fn append_blocks(
    connection: &Connection,
    batch: &PackedBatch,
    topic: &Topic,
    (number, partition): (u32, Partition),
) -> Outcome<LogOffset> {
    let mut end = partition.tail.end.0;
    let mut last = None;
    for block in batch.blocks.iter().filter(|block| block.partition == number) {
        insert(connection, batch, topic, (block, end))?;
        end += block.records;
        last = Some(block.last);
    }
    if let Some(last) = last {
        let mut statement = connection.prepare_cached(
            "UPDATE partitions SET end_offset = ?3, last_position = ?4, last_term = ?5 WHERE topic_id = ?1 AND partition = ?2",
        )?;
        statement.execute((topic.id, number, stored(end)?, last.to_string(), stored(batch.term.0)?))?;
    }
    Ok(LogOffset(end))
}

fn insert(connection: &Connection, batch: &PackedBatch, topic: &Topic, (block, first): (&PackedBlock, u64)) -> Outcome<()> {
    let mut row = StoredBlock {
        first_offset: first,
        end_offset: first + block.records,
        term: batch.term.0,
        schema: block.schema.to_string(),
        previous: block.previous.map(|position| position.to_string()),
        raw_bytes: block.raw_bytes as u64,
        crc32: 0,
    };
    row.crc32 = row.checksum_with(&block.data);
    let mut statement = connection.prepare_cached(
        "INSERT INTO blocks (topic_id, partition, first_offset, end_offset, bytes, term, schema, previous, first_position,
                             last_position, raw_bytes, crc32, data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?;
    statement.execute(rusqlite::params![
        topic.id,
        block.partition,
        stored(row.first_offset)?,
        stored(row.end_offset)?,
        stored(block.live_bytes())?,
        stored(row.term)?,
        row.schema,
        row.previous,
        block.first.to_string(),
        block.last.to_string(),
        stored(row.raw_bytes)?,
        row.crc32,
        block.data,
    ])?;
    Ok(())
}
