//! Delivery reports: what became of each record that was handed to the producer.

use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;

use super::cluster::offset;
use super::failure::error_code;
use super::voice::{LastWord, Voice};
use crate::change::LogOffset;

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// The number it was sent under.
    pub(super) number: usize,
    /// Where it is, acknowledged; or why it is not.
    pub(super) outcome: Result<LogOffset, RDKafkaErrorCode>,
}

/// The context of a producer: it keeps the reports until they are asked for. Both happen on the producer's own thread.
pub(super) struct Reports {
    voice: Voice,
    waiting: Mutex<Vec<Report>>,
}

impl Reports {
    pub(super) fn new(last_word: LastWord) -> Self {
        Self { voice: Voice::of("producer").heard_by(last_word), waiting: Mutex::default() }
    }

    /// Hands over what has come in, in its order, by exchange for an empty list.
    pub(super) fn exchange(&self, into: &mut Vec<Report>) {
        into.clear();
        std::mem::swap(into, &mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.voice.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let outcome = match result {
            Ok(message) => Ok(offset(message.offset())),
            Err((error, _)) => Err(error_code(error).unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Report { number, outcome });
    }
}
