//! From an append to the producer and back: what cannot get in whole is refused before anything is sent, and what failed is named.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::KafkaLog;
use super::failure::{right_missing, storage_text};
use super::sending::{Ends, Failed};
use crate::change::{LogOffset, Term};
use crate::changelog::{Acknowledged, AppendBatch, Error, Result};

/// What was committed is readable a moment later; it is not waited for longer than this.
const READABLE_LIMIT: Duration = Duration::from_secs(30);

impl KafkaLog {
    /// Refuses, before anything is sent, what cannot get in whole.
    async fn check_batches(&self, batches: &[AppendBatch]) -> Result<()> {
        for batch in batches {
            let topic = self.topics.look(&batch.topic).await?;
            self.topics.raise(&batch.topic, batch.term)?;
            let bytes_max = self.topics.record_bytes_max(&topic);
            for record in &batch.records {
                if record.partition >= topic.partitions {
                    return Err(Error::Missing { topic: batch.topic.clone(), partition: Some(record.partition) });
                }
                if (record.key.len() + record.value.len()) as u64 > bytes_max {
                    return Err(Error::too_large(batch, record, bytes_max));
                }
            }
        }
        Ok(())
    }

    /// Appends; see [`crate::changelog::ChangeLog::append`].
    pub(super) async fn send(&self, batches: &Arc<Vec<AppendBatch>>) -> Result<Vec<Acknowledged>> {
        self.check_batches(batches).await?;
        let ends = match self.producer.append(self.topics.sizes(), batches).await {
            Ok(ends) => ends,
            Err(failed) => return Err(self.append_failed(failed, batches).await),
        };
        let mut acknowledged = Vec::with_capacity(batches.len());
        for (batch, ends) in batches.iter().zip(ends) {
            acknowledged.push(self.acknowledged(&batch.topic, &ends).await?);
        }
        Ok(acknowledged)
    }

    async fn acknowledged(&self, topic: &str, ends: &Ends) -> Result<Acknowledged> {
        let partitions = self.topics.get(topic).map_or(0, |topic| topic.partitions);
        let mut all = vec![None; partitions as usize];
        for (partition, end) in ends {
            self.topics.acknowledged(topic, *partition, *end)?;
            if self.settings.transactions {
                self.wait_readable(topic, *partition, *end).await?;
            }
            if let Some(known) = all.get_mut(*partition as usize) {
                *known = Some(*end);
            }
        }
        Ok(Acknowledged { topic: topic.to_owned(), ends: all })
    }

    /// The brokers answer a commit before they have marked every partition: what is published has to be readable.
    async fn wait_readable(&self, topic: &str, partition: u32, end: LogOffset) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.bounds(topic, partition).await {
                Ok(bounds) if bounds.end >= end => return Ok(()),
                // It is committed: a broker that is away for a moment is waited for.
                Ok(_) | Err(Error::Storage { .. }) if begun.elapsed() <= READABLE_LIMIT => {}
                Ok(_) => return Err(storage_text(topic, "what was committed cannot be read yet")),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn append_failed(&self, failed: Failed, batches: &[AppendBatch]) -> Error {
        // The producer is gone: with transactions, only who opens a topic makes another.
        *self.claimed.lock().await = None;
        if let Failed::TooLarge { batch, record } = failed
            && let Some(batch) = batches.get(batch)
        {
            // The topic's limit is another one than it was.
            self.topics.refresh(&batch.topic).await;
            let limit = self.topics.get(&batch.topic).map(|topic| self.topics.record_bytes_max(&topic));
            let record = batch.records.get(record);
            return match (limit, record) {
                (Some(limit), Some(record)) if (record.key.len() + record.value.len()) as u64 > limit => {
                    Error::too_large(batch, record, limit)
                }
                _ => storage_text(&batch.topic, "its max.message.bytes was lowered: it is kept to from now on"),
            };
        }
        let first = batches.first();
        self.failure(
            failed,
            first.map_or("-", |batch| &batch.topic),
            first.map_or_else(Term::default, |batch| batch.term),
            batches,
        )
    }

    /// What became of an append, or of making a producer, as the room says it.
    pub(super) fn failure(&self, failed: Failed, topic: &str, term: Term, batches: &[AppendBatch]) -> Error {
        let name =
            |batch: Option<usize>| batch.and_then(|batch| batches.get(batch)).map_or(topic, |batch| &batch.topic).to_owned();
        match failed {
            Failed::Fenced => Error::Fenced { topic: topic.to_owned(), term, by: Term(term.0 + 1) },
            Failed::Missing { batch } => Error::Missing { topic: name(Some(batch)), partition: None },
            Failed::TooLarge { batch, .. } => storage_text(&name(Some(batch)), "a record is too large for the topic"),
            Failed::Storage { batch, reason, code } => {
                let topic = name(batch);
                let right =
                    code.and_then(|code| right_missing(code, &topic)).map(|right| format!("; {right}")).unwrap_or_default();
                storage_text(&topic, format!("{reason}{right}"))
            }
        }
    }
}
