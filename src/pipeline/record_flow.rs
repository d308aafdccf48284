//! One topic's side of the tailer: rows of one table become records behind the last one that the topic holds.
//!
//! What a predecessor had appended behind its last saved checkpoint is read again from the binlog after a restart. Those records are
//! recognised by their position and left out, so the topic has neither a hole nor a repetition: positions are strictly rising, the
//! binlog is the same, and the ordinal counts this table's records alone.
//!
//! The places that stand beside `published` count exactly the records below it ([`Links`]): they start at the saved ones and move with
//! every transaction that passes, appended or recognised.

use std::sync::Arc;

use crate::change::{BinlogPosition, LogOffset, LogPlace, Operation, TableSchema, Term};
use crate::changelog::chain::{Linked, Links};
use crate::changelog::codec::{Encoder, TransactionInfo};
use crate::changelog::{self, AppendBatch, AppendRecord, PartitionTail};
use crate::source::TransactionBody;

use super::Result;

/// The open batch of one topic.
pub(super) struct RecordFlow {
    encoder: Encoder,
    batch: AppendBatch,
    links: Links,
    transaction: BinlogPosition,
    ordinal: u64,
    schema: Arc<TableSchema>,
    saved: Vec<LogPlace>,
    record_bytes_max: u64,
    /// Changes whose records are in the batch, by operation.
    changes: Changes,
}

/// How many changes of each operation, in the order of [`Operation::ALL`].
pub(super) type Changes = [u64; Operation::ALL.len()];

impl RecordFlow {
    /// Goes on behind what the topic holds; so far it has passed up to `places`.
    pub(super) fn new(
        source: &str,
        schema: Arc<TableSchema>,
        topic: &str,
        term: Term,
        (tails, places): (&[PartitionTail], &[LogPlace]),
        record_bytes_max: u64,
    ) -> Self {
        let links = Links::new(tails, places);
        Self {
            encoder: Encoder::new(&schema, source),
            batch: AppendBatch { topic: topic.to_owned(), term, ..AppendBatch::default() },
            saved: links.places(),
            links,
            transaction: BinlogPosition::default(),
            ordinal: 0,
            schema,
            record_bytes_max,
            changes: Changes::default(),
        }
    }

    /// The topic's name.
    pub(super) fn topic(&self) -> &str {
        &self.batch.topic
    }

    /// The topic's places as of the last record that passed. Exact when nothing waits to be appended, at the end of a transaction.
    pub(super) fn places(&self) -> Vec<LogPlace> {
        self.links.places()
    }

    /// Whether the topic's places have moved since they were last saved.
    pub(super) fn has_moved(&self) -> bool {
        !self.links.stand_at(&self.saved)
    }

    /// Where the topic stands with all that was taken so far.
    pub(super) fn linked(&self) -> Linked {
        self.links.linked(self.batch.term)
    }

    /// What was taken up to there is in the log, up to these offsets.
    pub(super) fn acknowledged(&mut self, linked: &Linked, ends: &[Option<LogOffset>]) {
        self.links.acknowledged(linked, ends);
    }

    /// These places are saved.
    pub(super) fn saved(&mut self, places: Vec<LogPlace>) {
        self.saved = places;
    }

    /// Bytes waiting to be appended.
    pub(super) fn bytes(&self) -> usize {
        self.batch.bytes.len()
    }

    /// Records waiting to be appended.
    pub(super) fn records(&self) -> usize {
        self.batch.records.len()
    }

    /// Whether the flow still has this shape.
    pub(super) fn has_schema(&self, schema: &TableSchema) -> bool {
        *self.schema == *schema
    }

    /// Takes the batch, and of what changes it is; the flow goes on behind it.
    pub(super) fn take(&mut self) -> (AppendBatch, Changes) {
        let next = AppendBatch { topic: self.batch.topic.clone(), term: self.batch.term, ..AppendBatch::default() };
        (std::mem::replace(&mut self.batch, next), std::mem::take(&mut self.changes))
    }

    /// Counts a change, unless the topic had all of its records.
    fn count(&mut self, operation: Operation, records_before: usize) {
        if self.batch.records.len() > records_before
            && let Some(changes) = self.changes.get_mut(operation as usize)
        {
            *changes += 1;
        }
    }

    /// Encodes row changes of the current part until `bytes_max` wait to be appended; false when there is none left.
    pub(super) fn rows(
        &mut self,
        body: &mut dyn TransactionBody,
        operation: Operation,
        at: &TransactionInfo<'_>,
        bytes_max: usize,
    ) -> Result<bool> {
        while self.row(body, operation, at)? {
            if self.bytes() >= bytes_max {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Encodes the next row change of the current part; false when there is none left.
    fn row(&mut self, body: &mut dyn TransactionBody, operation: Operation, at: &TransactionInfo<'_>) -> Result<bool> {
        self.encoder.start(operation);
        if !body.next_row(&mut self.encoder)? {
            return Ok(false);
        }
        let ordinal = self.ordinal(at);
        let known = self.batch.records.len();
        self.ordinal += self.encoder.finish(at, ordinal, &mut self.links, &mut self.batch)?;
        self.check_size(known)?;
        self.count(operation, known);
        Ok(true)
    }

    /// A record that the log does not take parks its table before it is sent, and leaves the batch as it was.
    fn check_size(&mut self, known: usize) -> Result<()> {
        let is_too_large = |record: &AppendRecord| (record.key.len() + record.value.len()) as u64 > self.record_bytes_max;
        let mut new = self.batch.records.iter().skip(known);
        let first = new.clone().next().map(|record| record.key.start);
        let Some(record) = new.find(|record| is_too_large(record)) else { return Ok(()) };
        let error = changelog::Error::too_large(&self.batch, record, self.record_bytes_max);
        self.batch.records.truncate(known);
        self.batch.bytes.truncate(first.unwrap_or_default());
        Err(error.into())
    }

    /// Adds a truncate or schema record.
    pub(super) fn statement(&mut self, operation: Operation, statement: &str, at: &TransactionInfo<'_>) -> Result<()> {
        let ordinal = self.ordinal(at);
        let known = self.batch.records.len();
        self.ordinal += self.encoder.statement(operation, statement, (at, ordinal), &mut self.links, &mut self.batch)?;
        self.count(operation, known);
        Ok(())
    }

    fn ordinal(&mut self, at: &TransactionInfo<'_>) -> u64 {
        if self.transaction != at.start {
            self.transaction = at.start;
            self.ordinal = 0;
        }
        self.ordinal
    }
}
