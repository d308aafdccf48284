//! The producing client, as its thread uses it: hand over, serve reports, wait, commit.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::failure::{error_code, is_fenced, text};
use super::headers::HeaderWriter;
use super::reports::{Report, Reports};
use super::sending::{Ends, Failed, Sending, failed, is_delete};
use super::settings::{self, KafkaSettings};
use super::voice::{LastWord, Seldom};
use crate::changelog::AppendBatch;

/// A record that is not acknowledged for so long is told of.
const STALL: Duration = Duration::from_secs(10);
/// One try to begin or to commit a transaction.
const TRANSACTION_STEP: Duration = Duration::from_secs(2);
/// How long a predecessor's transaction may take to be undone.
const CLAIM_LIMIT: Duration = Duration::from_secs(30);
/// The shortest and the longest sleep between two looks.
const SLEEP: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(2));

/// What records may be at most, as the topics have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// One record, with all that is around it.
    pub(super) record_bytes: u64,
    /// A batch of several.
    pub(super) batch_bytes: u64,
}

/// See the module.
pub(super) struct Client {
    producer: BaseProducer<Reports>,
    sizes: Sizes,
    transactions: bool,
    tombstones: bool,
    in_flight_bytes: usize,
    headers: HeaderWriter,
    reports: Vec<Report>,
    stalling: Seldom,
}

impl Client {
    /// Makes it; with transactions, it is the only one from here on.
    pub(super) fn new(
        settings: &KafkaSettings,
        sizes: Sizes,
        last_word: LastWord,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Self, Failed> {
        let config = settings.producer(sizes.record_bytes, sizes.batch_bytes);
        let producer: BaseProducer<Reports> = config
            .create_with_context(Reports::new(last_word))
            .map_err(|error| Failed::storage(format!("no producer can be made: {}", text(&error))))?;
        if settings.transactions {
            claim(&producer, given_up)?;
        }
        Ok(Self {
            producer,
            sizes,
            transactions: settings.transactions,
            tombstones: settings.tombstones,
            in_flight_bytes: settings.in_flight_bytes,
            headers: HeaderWriter::default(),
            reports: Vec::new(),
            stalling: Seldom::default(),
        })
    }

    /// Whether it is made for these sizes.
    pub(super) fn fits(&self, sizes: Sizes) -> bool {
        self.sizes == sizes
    }

    /// Lets it say what it has to say while nothing is sent.
    pub(super) fn look_after(&mut self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Appends, until all is acknowledged or `given_up`. After an error this client must not be used any more.
    pub(super) fn append(&mut self, batches: &[AppendBatch], given_up: &dyn Fn() -> bool) -> Result<Vec<Ends>, Failed> {
        if !self.transactions || batches.iter().all(|batch| batch.records.is_empty()) {
            return self.send_all(batches, given_up);
        }
        self.producer.begin_transaction().map_err(|error| lost("no transaction can be begun", &error))?;
        let ends = self.send_all(batches, given_up).and_then(|ends| self.commit(given_up).map(|()| ends));
        ends.map_err(|failed| self.abort(failed))
    }

    /// Undoes what was sent of a transaction that failed. That it failed because of a successor is said here, and not by the records.
    fn abort(&self, failed: Failed) -> Failed {
        let aborted = self.producer.abort_transaction(TRANSACTION_STEP);
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let said = aborted.err().and_then(|error| error_code(&error));
        if fatal.into_iter().chain(said).any(is_fenced) { Failed::Fenced } else { failed }
    }

    fn send_all(&mut self, batches: &[AppendBatch], given_up: &dyn Fn() -> bool) -> Result<Vec<Ends>, Failed> {
        let mut sending = Sending::new(batches);
        loop {
            while sending.pending_bytes() < self.in_flight_bytes {
                let Some(portion) = sending.portion(self.portion_bytes()) else { break };
                for number in portion {
                    self.hand_over(&mut sending, batches, number)?;
                }
                self.serve(&mut sending)?;
            }
            if sending.is_done() && !sending.is_ready() {
                return Ok(sending.into_ends());
            }
            let room = self.in_flight_bytes;
            self.wait(&mut sending, given_up, &|sending| {
                sending.is_ready() && sending.pending_bytes() < room || sending.is_done()
            })?;
        }
    }

    /// What goes as one request: a little less than the client puts into one.
    fn portion_bytes(&self) -> usize {
        let bytes = self.sizes.batch_bytes.min(settings::REQUEST_BYTES);
        usize::try_from(bytes - bytes / 16).unwrap_or(usize::MAX)
    }

    /// Hands a record over, and behind a delete one without a value where that is wanted.
    fn hand_over(&mut self, sending: &mut Sending<'_>, batches: &[AppendBatch], number: usize) -> Result<(), Failed> {
        let (nth, at) = sending.record(number);
        let (batch, record) = (&batches[nth], &batches[nth].records[at]);
        let key = batch.bytes.get(record.key.clone()).unwrap_or_default();
        let value = batch.bytes.get(record.value.clone()).unwrap_or_default();
        let partition = i32::try_from(record.partition).map_err(|_| Failed::Missing { batch: nth })?;
        let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&batch.topic, sending.sent(number, false))
            .partition(partition)
            .headers(self.headers.write(record, batch.term));
        // Without bytes there is none: that is what an empty one reads back as.
        message.key = Some(key).filter(|key| !key.is_empty());
        message.payload = Some(value).filter(|value| !value.is_empty());
        self.producer.send(message).map_err(|(error, _)| self.refused(nth, at, &error))?;
        if self.tombstones && !key.is_empty() && is_delete(value) {
            let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&batch.topic, sending.sent(number, true))
                .partition(partition)
                .headers(self.headers.tombstone(record));
            message.key = Some(key);
            self.producer.send(message).map_err(|(error, _)| self.refused(nth, at, &error))?;
        }
        Ok(())
    }

    /// Takes in the reports that have come.
    fn serve(&mut self, sending: &mut Sending<'_>) -> Result<(), Failed> {
        self.producer.poll(Duration::ZERO);
        self.producer.context().exchange(&mut self.reports);
        self.reports.drain(..).try_for_each(|report| sending.reported(report))
    }

    /// Waits for reports until `enough` have come; a broker that is away is waited for as long as it takes.
    fn wait(
        &mut self,
        sending: &mut Sending<'_>,
        given_up: &dyn Fn() -> bool,
        enough: &dyn Fn(&Sending<'_>) -> bool,
    ) -> Result<(), Failed> {
        let mut sleep = SLEEP.0;
        loop {
            self.serve(sending)?;
            if enough(sending) {
                return Ok(());
            }
            if given_up() {
                return Err(Failed::storage("the append was given up"));
            }
            self.tell_of_stall(sending);
            // What waits to fill a batch goes now. It says that not all has been acknowledged yet: that is known.
            if sleep < SLEEP.1 {
                drop(self.producer.flush(Duration::ZERO));
            }
            std::thread::sleep(sleep);
            sleep = (sleep * 2).min(SLEEP.1);
        }
    }

    fn tell_of_stall(&self, sending: &Sending<'_>) {
        if let Some((topic, age)) = sending.stalled()
            && age >= STALL
            && self.stalling.speaks().is_some()
        {
            let bytes = sending.pending_bytes();
            tracing::warn!(
                topic,
                seconds = age.as_secs(),
                bytes,
                "kafka acknowledges nothing: no broker is there, or too few replicas are in sync"
            );
        }
    }

    /// Commits the transaction, of which all is acknowledged.
    fn commit(&mut self, given_up: &dyn Fn() -> bool) -> Result<(), Failed> {
        loop {
            let error = match self.producer.commit_transaction(TRANSACTION_STEP) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let again = matches!(&error, KafkaError::Transaction(inner) if inner.is_retriable() && !inner.is_fatal());
            if !again || given_up() {
                return Err(lost("the transaction cannot be committed", &error));
            }
            if self.stalling.speaks().is_some() {
                tracing::warn!(%error, "a transaction waits for kafka to commit it");
            }
        }
    }

    /// A record that the client itself does not take.
    fn refused(&self, batch: usize, record: usize, error: &KafkaError) -> Failed {
        match error_code(error) {
            Some(RDKafkaErrorCode::Fatal) => {
                let fatal = self.producer.client().fatal_error();
                let fenced = fatal.as_ref().is_some_and(|(code, _)| is_fenced(*code));
                let reason = fatal.map_or_else(|| error.to_string(), |(code, reason)| format!("{code}: {reason}"));
                if fenced { Failed::Fenced } else { Failed::storage(reason) }
            }
            Some(code) => failed(batch, record, code),
            None => Failed::storage(text(error)),
        }
    }
}

/// Shuts out whoever had the transactional id before, and undoes what it had not committed.
fn claim(producer: &BaseProducer<Reports>, given_up: &dyn Fn() -> bool) -> Result<(), Failed> {
    let begun = Instant::now();
    loop {
        let error = match producer.init_transactions(TRANSACTION_STEP) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let again = matches!(&error, KafkaError::Transaction(inner) if inner.is_retriable() && !inner.is_fatal());
        if !again || given_up() || begun.elapsed() > CLAIM_LIMIT {
            return Err(lost("the transactional id cannot be had", &error));
        }
    }
}

/// What is left of a producer whose transaction failed.
fn lost(what: &str, error: &KafkaError) -> Failed {
    let code = error_code(error);
    if code.is_some_and(is_fenced) {
        return Failed::Fenced;
    }
    Failed::Storage { batch: None, reason: format!("{what}: {}", text(error)), code }
}
