//! One topic's side of the tailer: rows of one table become records behind the last one that the topic holds.
//!
//! What a predecessor had appended behind its last saved checkpoint is read again from the binlog after a restart. Those records are
//! recognised by their position and left out, so the topic has neither a hole nor a repetition: positions are strictly rising, the
//! binlog is the same, and the ordinal counts this table's records alone.
//!
//! The end offset that stands beside `published` counts exactly the records below it: it starts at the saved end and grows with every
//! record that passes, appended or recognised. The log's own end may lie further on (what a predecessor appended and nobody published
//! yet); a writer that read up to there would take changes behind the position that its commit names.

use std::sync::Arc;

use crate::change::{BinlogPosition, LogOffset, Operation, TableSchema, Term};
use crate::changelog::chain::Links;
use crate::changelog::codec::{Encoder, TransactionInfo};
use crate::changelog::{AppendBatch, PartitionTail};
use crate::source::TransactionBody;

use super::{Error, Result};

/// The open batch of one topic.
pub(super) struct RecordFlow {
    encoder: Encoder,
    batch: AppendBatch,
    links: Links,
    transaction: BinlogPosition,
    ordinal: u64,
    schema: Arc<TableSchema>,
    end: u64,
    saved_end: u64,
}

impl RecordFlow {
    /// Goes on behind what the topic holds.
    pub(super) fn new(
        source: &str,
        schema: Arc<TableSchema>,
        topic: &str,
        term: Term,
        tails: &[PartitionTail],
        published_end: LogOffset,
    ) -> Self {
        Self {
            encoder: Encoder::new(&schema, source),
            batch: AppendBatch { topic: topic.to_owned(), term, ..AppendBatch::default() },
            links: Links::new(tails),
            transaction: BinlogPosition::default(),
            ordinal: 0,
            schema,
            end: published_end.0,
            saved_end: published_end.0,
        }
    }

    /// The topic's name.
    pub(super) fn topic(&self) -> &str {
        &self.batch.topic
    }

    /// The topic's end as of the last record that passed.
    pub(super) fn end(&self) -> LogOffset {
        LogOffset(self.end)
    }

    /// The topic's end as of the last record that passed, if it has moved since it was last asked for.
    pub(super) fn moved(&mut self) -> Option<(String, Vec<LogOffset>)> {
        let moved = self.end != self.saved_end;
        self.saved_end = self.end;
        moved.then(|| (self.batch.topic.clone(), vec![LogOffset(self.end)]))
    }

    /// Compares the acknowledged end with the records that passed: a difference means that someone else writes the topic.
    pub(super) fn acknowledged(&self, end: LogOffset) -> Result<()> {
        if end.0 == self.end {
            return Ok(());
        }
        Err(Error::Table {
            table: self.schema.name.clone(),
            reason: format!("topic {} ends at offset {end} where {} was expected", self.batch.topic, self.end),
            remedy: "another program writes this topic: stop it, then run `binlake rebuild` for the table".to_owned(),
        })
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

    /// Takes the batch; the flow goes on behind it.
    pub(super) fn take(&mut self) -> AppendBatch {
        let next = AppendBatch { topic: self.batch.topic.clone(), term: self.batch.term, ..AppendBatch::default() };
        std::mem::replace(&mut self.batch, next)
    }

    /// Encodes the next row change of the current part; false when there is none left.
    pub(super) fn row(&mut self, body: &mut dyn TransactionBody, operation: Operation, at: &TransactionInfo<'_>) -> Result<bool> {
        self.encoder.start(operation);
        if !body.next_row(&mut self.encoder)? {
            return Ok(false);
        }
        let ordinal = self.ordinal(at);
        let used = self.encoder.finish(at, ordinal, &mut self.links, &mut self.batch)?;
        self.pass(used);
        Ok(true)
    }

    /// Adds a truncate or schema record.
    pub(super) fn statement(&mut self, operation: Operation, statement: &str, at: &TransactionInfo<'_>) -> Result<()> {
        let ordinal = self.ordinal(at);
        let used = self.encoder.statement(operation, statement, (at, ordinal), &mut self.links, &mut self.batch)?;
        self.pass(used);
        Ok(())
    }

    fn ordinal(&mut self, at: &TransactionInfo<'_>) -> u64 {
        if self.transaction != at.start {
            self.transaction = at.start;
            self.ordinal = 0;
        }
        self.ordinal
    }

    fn pass(&mut self, records: u64) {
        self.ordinal += records;
        self.end += records;
    }
}
