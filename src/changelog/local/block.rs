//! Blocks: records of one partition, one term and one shape, compressed together and covered by one checksum.
//!
//! A block's text ([`super::text`]) is its records one behind the other. Offsets are not in it (they are given when the block is
//! stored), nor are predecessors: within a block each record follows the one before it, which
//! [`super::super::chain::check_append`] has made sure of.

use std::sync::Arc;

use bytes::Bytes;

use super::text::{self, Entry, HEADER_BYTES_MAX, TextWriter};
use crate::change::{ChangePosition, LogOffset, Term};
use crate::changelog::{AppendBatch, AppendRecord, Error, Record, Result};

/// A block is closed before it grows beyond this; a larger record has one to itself.
const RAW_BYTES_AIM: usize = 1 << 20;
/// SQLite takes values of up to 1,000,000,000 bytes; LZ4 adds at most 0.4 %.
const RAW_BYTES_MAX: usize = 900 << 20;
/// What a block takes beside its data, about: its row and its place in the index.
const OVERHEAD: u64 = 200;

/// A batch, ready to be stored.
pub(super) struct PackedBatch {
    /// The batches of the call, and which of them this is.
    batches: Arc<Vec<AppendBatch>>,
    number: usize,
    pub(super) blocks: Vec<PackedBlock>,
}

impl std::ops::Deref for PackedBatch {
    type Target = AppendBatch;

    fn deref(&self) -> &AppendBatch {
        &self.batches[self.number]
    }
}

/// A block that has no offset yet.
pub(super) struct PackedBlock {
    pub(super) partition: u32,
    pub(super) records: u64,
    pub(super) previous: Option<ChangePosition>,
    pub(super) first: ChangePosition,
    pub(super) last: ChangePosition,
    pub(super) schema: Arc<str>,
    pub(super) raw_bytes: usize,
    pub(super) data: Vec<u8>,
}

impl PackedBlock {
    /// What it adds to the log's live bytes.
    pub(super) fn live_bytes(&self) -> u64 {
        self.data.len() as u64 + OVERHEAD
    }
}

/// A block under construction.
struct OpenBlock<'a> {
    head: &'a AppendRecord,
    records: u64,
    last: ChangePosition,
    /// What its text may come to.
    bytes: usize,
    text: TextWriter<'a>,
}

/// The most bytes that a record's key and value may have together.
pub(super) const RECORD_BYTES_MAX: u64 = (RAW_BYTES_MAX - HEADER_BYTES_MAX) as u64;

/// Cuts batches into blocks and compresses them.
///
/// # Errors
/// [`Error::TooLarge`] for a record that no block can hold, [`Error::Storage`] for one that names bytes the batch does not have.
pub(super) fn pack(batches: &Arc<Vec<AppendBatch>>) -> Result<Vec<PackedBatch>> {
    let pack = |(number, batch): (usize, &AppendBatch)| -> Result<PackedBatch> {
        Ok(PackedBatch { batches: Arc::clone(batches), number, blocks: blocks(batch)? })
    };
    batches.iter().enumerate().map(pack).collect()
}

fn blocks(batch: &AppendBatch) -> Result<Vec<PackedBlock>> {
    let mut partitions: Vec<u32> = batch.records.iter().map(|record| record.partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    let mut blocks = Vec::new();
    let mut room = Vec::with_capacity(batch.bytes.len().min(RAW_BYTES_AIM));
    for partition in partitions {
        let mut open: Option<OpenBlock<'_>> = None;
        for record in batch.records.iter().filter(|record| record.partition == partition) {
            let (key, value) = parts(batch, record)?;
            let bytes = HEADER_BYTES_MAX + key.len() + value.len();
            if bytes > RAW_BYTES_MAX {
                return Err(Error::too_large(batch, record, RECORD_BYTES_MAX));
            }
            if let Some(full) = open.take_if(|open| open.bytes + bytes > RAW_BYTES_AIM || open.head.schema != record.schema) {
                room = close(full, &mut blocks);
            }
            let block = open.get_or_insert_with(|| {
                let text = TextWriter::new(std::mem::take(&mut room));
                OpenBlock { head: record, records: 0, last: record.position, bytes: 0, text }
            });
            block.text.push(record.position, key, value);
            block.bytes += bytes;
            block.records += 1;
            block.last = record.position;
        }
        if let Some(rest) = open {
            room = close(rest, &mut blocks);
        }
    }
    Ok(blocks)
}

fn parts<'a>(batch: &'a AppendBatch, record: &AppendRecord) -> Result<(&'a [u8], &'a [u8])> {
    match (batch.bytes.get(record.key.clone()), batch.bytes.get(record.value.clone())) {
        (Some(key), Some(value)) => Ok((key, value)),
        _ => {
            let reason = format!("the record at {} names bytes that its batch does not have", record.position);
            Err(Error::Storage { path: batch.topic.clone(), reason })
        }
    }
}

/// Compresses the block; its buffer for the next one.
fn close(open: OpenBlock<'_>, blocks: &mut Vec<PackedBlock>) -> Vec<u8> {
    let raw_bytes = open.text.bytes();
    let text = open.text.finish();
    blocks.push(PackedBlock {
        partition: open.head.partition,
        records: open.records,
        previous: open.head.previous,
        first: open.head.position,
        last: open.last,
        schema: Arc::clone(&open.head.schema),
        raw_bytes,
        data: lz4_flex::block::compress_prepend_size(&text),
    });
    // A huge record's room is not kept for the small ones behind it.
    if text.len() > 2 * RAW_BYTES_AIM { Vec::new() } else { text }
}

/// A block's row as it is stored, without its data.
pub(super) struct StoredBlock {
    pub(super) first_offset: u64,
    pub(super) end_offset: u64,
    pub(super) term: u64,
    pub(super) schema: String,
    pub(super) previous: Option<String>,
    pub(super) raw_bytes: u64,
    pub(super) crc32: u32,
}

impl StoredBlock {
    /// The checksum of all that reading relies on.
    pub(super) fn checksum_with(&self, data: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        for number in [self.first_offset, self.end_offset, self.term, self.raw_bytes] {
            crc.update(&number.to_le_bytes());
        }
        crc.update(self.schema.as_bytes());
        crc.update(b"/");
        crc.update(self.previous.as_deref().unwrap_or("-").as_bytes());
        crc.update(data);
        crc.finalize()
    }

    /// Checks and decompresses the block's data into `room`, which grows but is not filled anew; the length of the text, or what is wrong
    /// with the block.
    pub(super) fn decompress(&self, data: &[u8], room: &mut Vec<u8>) -> std::result::Result<usize, String> {
        if self.checksum_with(data) != self.crc32 {
            return Err("the block fails its checksum".to_owned());
        }
        let no_text = |error: &dyn std::fmt::Display| format!("the block is not LZ4: {error}");
        let (length, compressed) = lz4_flex::block::uncompressed_size(data).map_err(|error| no_text(&error))?;
        if length > RAW_BYTES_MAX {
            return Err(format!("the block claims to have a text of {length} bytes"));
        }
        if room.len() < length {
            room.resize(length, 0);
        }
        let place = room.get_mut(..length).unwrap_or_default();
        lz4_flex::block::decompress_into(compressed, place).map_err(|error| no_text(&error))
    }

    /// The block's records, from its text; what is wrong with it otherwise.
    pub(super) fn open(self, text: &[u8]) -> std::result::Result<Block, String> {
        let previous = self.previous.as_deref().map(str::parse).transpose().map_err(|error| format!("{error}"))?;
        let length = usize::try_from(self.raw_bytes).ok().filter(|length| *length <= RAW_BYTES_MAX);
        let length = length.ok_or_else(|| format!("the block claims to have {} bytes", self.raw_bytes))?;
        let records = usize::try_from(self.end_offset.saturating_sub(self.first_offset)).unwrap_or(usize::MAX);
        let read = text::read(text, records, length);
        let (entries, bytes) = read.ok_or_else(|| format!("the block's text is not {records} records of {length} bytes"))?;
        let (first, term, schema) = (LogOffset(self.first_offset), Term(self.term), self.schema.into());
        Ok(Block { first, term, schema, previous, entries, bytes: bytes.into() })
    }
}

/// A block that is open for reading.
#[derive(Debug)]
pub(super) struct Block {
    first: LogOffset,
    term: Term,
    schema: Arc<str>,
    previous: Option<ChangePosition>,
    entries: Vec<Entry>,
    /// Keys and values.
    bytes: Bytes,
}

impl Block {
    /// The offset behind its last record.
    pub(super) fn end(&self) -> LogOffset {
        LogOffset(self.first.0 + self.entries.len() as u64)
    }

    /// Whether it holds the record.
    pub(super) fn holds(&self, offset: LogOffset) -> bool {
        (self.first..self.end()).contains(&offset)
    }

    /// Bytes it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// How many records it has from `from` on.
    pub(super) fn records_left(&self, from: LogOffset) -> usize {
        usize::try_from(self.end().0.saturating_sub(from.0)).unwrap_or(usize::MAX)
    }

    /// The records from `from` on. Key and value share the block's bytes.
    pub(super) fn records_from(&self, from: LogOffset) -> impl Iterator<Item = Record> {
        let skipped = usize::try_from(from.0.saturating_sub(self.first.0)).unwrap_or(usize::MAX);
        self.entries.iter().enumerate().skip(skipped).map(|(nth, entry)| Record {
            offset: LogOffset(self.first.0 + nth as u64),
            position: entry.position,
            previous: nth.checked_sub(1).map_or(self.previous, |before| self.entries.get(before).map(|before| before.position)),
            term: self.term,
            schema: Arc::clone(&self.schema),
            key: self.bytes.slice(entry.key..entry.value),
            value: self.bytes.slice(entry.value..entry.end),
        })
    }
}
