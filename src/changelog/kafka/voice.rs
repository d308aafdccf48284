//! What librdkafka says, as log lines that do not flood: a cluster that is away is reported ten times a second by every client.
//!
//! Nothing here decides anything: errors that matter come back from the calls themselves, and in delivery reports.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::util::Timeout;

/// The same trouble is told again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Lets one line through per while, and counts the others.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Whether to speak now; if so, how many were held back.
    pub(super) fn speaks(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.is_some_and(|last| last.elapsed() < AGAIN_AFTER) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(Instant::now());
        Some(std::mem::take(&mut state.1))
    }
}

/// A word that is older says nothing of what is waited for now.
const RECENT: Duration = Duration::from_secs(120);

/// What a client last said of trouble with its brokers.
#[derive(Debug, Clone, Default)]
pub(super) struct LastWord(Arc<Mutex<Option<(Instant, String)>>>);

impl LastWord {
    fn set(&self, word: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), word.to_owned()));
    }

    /// The word, if it is not long ago.
    pub(super) fn recent(&self) -> Option<String> {
        let word = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        word.as_ref().filter(|(at, _)| at.elapsed() < RECENT).map(|(_, word)| word.clone())
    }
}

/// The context of every client: what it is for.
#[derive(Debug)]
pub(super) struct Voice {
    client: &'static str,
    trouble: Seldom,
    warning: Seldom,
    last_word: LastWord,
}

impl Voice {
    /// For a client of this use.
    pub(super) fn of(client: &'static str) -> Self {
        Self { client, trouble: Seldom::default(), warning: Seldom::default(), last_word: LastWord::default() }
    }

    /// The same, heard by somebody.
    pub(super) fn heard_by(self, last_word: LastWord) -> Self {
        Self { last_word, ..self }
    }
}

impl ClientContext for Voice {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if matches!(facility, "FAIL" | "REQTMOUT") {
            self.last_word.set(message);
        }
        let client = self.client;
        // A property of the producer is none of the consumer's: that is how they are passed through.
        let harmless = matches!(facility, "CONFWARN" | "GETPID" | "FAIL" | "CONNWARN");
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info => tracing::trace!(client, facility, "{message}"),
            _ if harmless => tracing::debug!(client, facility, "{message}"),
            RDKafkaLogLevel::Notice => tracing::debug!(client, facility, "{message}"),
            _ => match self.warning.speaks() {
                Some(held_back) => tracing::warn!(client, facility, held_back, "kafka: {message}"),
                None => tracing::debug!(client, facility, "{message}"),
            },
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        tracing::debug!(client = self.client, statistics = %String::from_utf8_lossy(statistics), "kafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is no trouble, and what a call returns is told by whoever called.
        let expected =
            matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AutoOffsetReset));
        if expected {
            return;
        }
        self.last_word.set(reason);
        match self.trouble.speaks() {
            Some(held_back) => tracing::warn!(client = self.client, %error, reason, held_back, "trouble with kafka"),
            None => tracing::debug!(client = self.client, %error, reason, "trouble with kafka"),
        }
    }
}

impl ConsumerContext for Voice {
    fn commit_callback(&self, result: rdkafka::error::KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets could not be committed for dashboards");
        }
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(100))
    }
}
