//! Blocks: records of one partition, one term and one shape, compressed together and covered by one checksum.
//!
//! A block's text is its records one behind the other: the lengths of key and value, the position, key, value. Offsets are not in
//! it (they are given when the block is stored), nor are predecessors: within a block each record follows the one before it, which
//! [`super::super::chain::check_append`] has made sure of.

use std::sync::Arc;

use bytes::Bytes;

use crate::change::{BinlogPosition, ChangePosition, LogOffset, Term};
use crate::changelog::{AppendBatch, AppendRecord, Error, Record, Result};

/// A block is closed before it grows beyond this; a larger record has one to itself.
const RAW_BYTES_AIM: usize = 1 << 20;
/// SQLite takes values of up to 1,000,000,000 bytes; LZ4 adds at most 0.4 %.
const RAW_BYTES_MAX: usize = 900 << 20;
/// Lengths and position of a record.
const HEADER: usize = 36;
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
    raw: Vec<u8>,
}

/// The most bytes that a record's key and value may have together.
pub(super) const RECORD_BYTES_MAX: u64 = (RAW_BYTES_MAX - HEADER) as u64;

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
    let mut raw = Vec::new();
    for partition in partitions {
        let mut open: Option<OpenBlock<'_>> = None;
        for record in batch.records.iter().filter(|record| record.partition == partition) {
            let (key, value) = parts(batch, record)?;
            let bytes = HEADER + key.len() + value.len();
            if bytes > RAW_BYTES_MAX {
                return Err(Error::too_large(batch, record, RECORD_BYTES_MAX));
            }
            if let Some(full) = open.take_if(|open| open.raw.len() + bytes > RAW_BYTES_AIM || open.head.schema != record.schema) {
                raw = close(full, &mut blocks);
            }
            let block = open.get_or_insert_with(|| {
                raw.clear();
                OpenBlock { head: record, records: 0, last: record.position, raw: std::mem::take(&mut raw) }
            });
            write_record(&mut block.raw, record.position, key, value);
            block.records += 1;
            block.last = record.position;
        }
        if let Some(rest) = open {
            raw = close(rest, &mut blocks);
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
    blocks.push(PackedBlock {
        partition: open.head.partition,
        records: open.records,
        previous: open.head.previous,
        first: open.head.position,
        last: open.last,
        schema: Arc::clone(&open.head.schema),
        raw_bytes: open.raw.len(),
        data: lz4_flex::block::compress(&open.raw),
    });
    // A huge record's room is not kept for the small ones behind it.
    if open.raw.len() > 2 * RAW_BYTES_AIM { Vec::new() } else { open.raw }
}

fn write_record(raw: &mut Vec<u8>, position: ChangePosition, key: &[u8], value: &[u8]) {
    // Both lengths are below `RAW_BYTES_MAX`.
    raw.extend_from_slice(&(key.len() as u32).to_le_bytes());
    raw.extend_from_slice(&(value.len() as u32).to_le_bytes());
    raw.extend_from_slice(&position.transaction.epoch.to_le_bytes());
    raw.extend_from_slice(&position.transaction.file.to_le_bytes());
    raw.extend_from_slice(&position.transaction.offset.to_le_bytes());
    raw.extend_from_slice(&position.ordinal.to_le_bytes());
    raw.extend_from_slice(key);
    raw.extend_from_slice(value);
}

/// A block's row as it is stored.
pub(super) struct StoredBlock {
    pub(super) first_offset: u64,
    pub(super) end_offset: u64,
    pub(super) term: u64,
    pub(super) schema: String,
    pub(super) previous: Option<String>,
    pub(super) raw_bytes: u64,
    pub(super) crc32: u32,
    pub(super) data: Vec<u8>,
}

impl StoredBlock {
    /// The checksum of all that reading relies on, with `data` for the block's data.
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

    /// Checks and decompresses the block; what is wrong with it otherwise.
    pub(super) fn open(self) -> std::result::Result<Block, String> {
        if self.checksum_with(&self.data) != self.crc32 {
            return Err("the block fails its checksum".to_owned());
        }
        let previous = self.previous.as_deref().map(str::parse).transpose().map_err(|error| format!("{error}"))?;
        let length = usize::try_from(self.raw_bytes).ok().filter(|length| *length <= RAW_BYTES_MAX);
        let length = length.ok_or_else(|| format!("the block claims to have {} bytes", self.raw_bytes))?;
        let raw = lz4_flex::block::decompress(&self.data, length).map_err(|error| format!("the block is not LZ4: {error}"))?;
        let mut block = Block {
            first: LogOffset(self.first_offset),
            term: Term(self.term),
            schema: self.schema.into(),
            previous,
            entries: Vec::new(),
            raw: Bytes::from(raw),
        };
        block.index().ok_or("the block's records do not fill it")?;
        if block.end().0 != self.end_offset {
            return Err(format!("the block has {} records, not those up to {}", block.entries.len(), self.end_offset));
        }
        Ok(block)
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
    raw: Bytes,
}

/// One record in [`Block::raw`].
#[derive(Debug)]
struct Entry {
    position: ChangePosition,
    key: usize,
    value: usize,
    end: usize,
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
        self.raw.len() + self.entries.len() * size_of::<Entry>()
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
            key: self.raw.slice(entry.key..entry.value),
            value: self.raw.slice(entry.value..entry.end),
        })
    }

    /// Finds the records; None if the text ends inside of one.
    fn index(&mut self) -> Option<()> {
        let mut rest: &[u8] = &self.raw;
        while !rest.is_empty() {
            let start = self.raw.len() - rest.len();
            let (header, body) = rest.split_first_chunk::<HEADER>()?;
            let mut fields = Fields(header);
            let (key, value) = (fields.narrow()? as usize, fields.narrow()? as usize);
            let transaction = BinlogPosition { epoch: fields.narrow()?, file: fields.wide()?, offset: fields.wide()? };
            let position = ChangePosition { transaction, ordinal: fields.wide()? };
            rest = body.get(key.checked_add(value)?..)?;
            let key_start = start + HEADER;
            self.entries.push(Entry { position, key: key_start, value: key_start + key, end: key_start + key + value });
        }
        Some(())
    }
}

/// Little-endian numbers, one behind the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn narrow(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    fn wide(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }
}
