//! From an append to the producer and back: what cannot get in whole is refused before anything is sent, and what failed is named.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::KafkaLog;
use super::cluster::Bounds;
use super::failure::{right_missing, storage_text};
use super::sending::{Ends, Failed};
use crate::change::{LogOffset, Term};
use crate::changelog::{Acknowledged, AppendBatch, Error, Result};

/// What was committed is readable a moment later; brokers that are there are not waited for longer than this. One that died between a commit and
/// its mark may come back without it (seen with Kafka 4.3 and a single broker: its coordinator counts the transaction as done, the partition has
/// no mark; most likely it came back before the partition's leader did, and took the partition for deleted). The end of the next transaction
/// marks both. So the append fails, the tails are read, and what they lack is sent again: no reader of what is committed has seen it, and
/// it was not acknowledged.
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
        let mut patience = Patience { since: Instant::now() };
        while !patience.readable(topic, end, self.bounds(topic, partition).await, Instant::now())? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
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

/// The wait for brokers to show what was committed. While they are away it is like that for an acknowledgement, as long as it takes: one that
/// comes back marks the partitions only after it has read what it knew of the transaction.
struct Patience {
    /// Since when they have been there.
    since: Instant,
}

impl Patience {
    /// Whether a partition that reaches so far for readers has all up to `end`.
    fn readable(&mut self, topic: &str, end: LogOffset, seen: Result<Bounds>, now: Instant) -> Result<bool> {
        match seen {
            Ok(seen) if seen.end >= end => return Ok(true),
            Ok(_) if now.duration_since(self.since) <= READABLE_LIMIT => {}
            Ok(_) => return Err(storage_text(topic, "the brokers do not show what was committed: it is sent again")),
            Err(Error::Storage { .. }) => self.since = now,
            Err(error) => return Err(error),
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_waited_for_while_the_brokers_are_away_and_not_for_ever_once_they_are_back() {
        let begun = Instant::now();
        let mut patience = Patience { since: begun };
        let mut after = |seconds, seen| patience.readable("t", LogOffset(7), seen, begun + Duration::from_secs(seconds));
        let until = |end| Ok(Bounds { first: LogOffset(0), end: LogOffset(end) });
        assert!(!after(20, until(6)).unwrap());
        assert!(!after(500, Err(storage_text("t", "no broker"))).unwrap());
        assert!(!after(520, until(6)).unwrap());
        assert!(after(600, until(7)).unwrap(), "even late");
        assert!(after(600, until(6)).unwrap_err().to_string().contains("do not show what was committed"));
        let missing = after(600, Err(Error::Missing { topic: "t".to_owned(), partition: Some(0) }));
        assert!(matches!(missing, Err(Error::Missing { .. })), "{missing:?}");
    }
}
