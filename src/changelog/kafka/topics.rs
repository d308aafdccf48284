//! Topics: made where they are missing, with the settings that are given for them; and what is known of those that are there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::Sizes;
use super::cluster::Cluster;
use super::failure::{settings, storage, storage_text};
use super::headers::HEADERS_BYTES;
use super::settings::KafkaSettings;
use super::voice::Voice;
use crate::change::{LogOffset, Term};
use crate::changelog::{Error, Result};

/// How long the cluster may take to make or describe a topic.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks whether a new topic is known to all.
const LOOK: Duration = Duration::from_millis(20);
/// What brokers take unless they are told otherwise (`message.max.bytes`), and clients send.
const BATCH_BYTES: u64 = 1_048_588;
const RECORD_BYTES: u64 = 1_000_000;
/// What a batch adds to its one record.
const BATCH_OVERHEAD: u64 = 128;

/// What is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) partitions: u32,
    /// The highest term that has opened it in this process.
    pub(super) term: Term,
    /// `max.message.bytes`.
    pub(super) batch_bytes: u64,
    /// Behind the last record that was acknowledged to this process, per partition.
    pub(super) ends: Vec<LogOffset>,
}

/// The topics, as one process knows them.
pub(super) struct Topics {
    settings: Arc<KafkaSettings>,
    cluster: Cluster,
    admin: OnceLock<AdminClient<Voice>>,
    known: Mutex<HashMap<String, Topic>>,
}

impl Topics {
    pub(super) fn new(settings: &Arc<KafkaSettings>, cluster: &Cluster) -> Self {
        Self { settings: Arc::clone(settings), cluster: cluster.clone(), admin: OnceLock::new(), known: Mutex::default() }
    }

    /// The topic, made if it is missing, for this term.
    ///
    /// # Errors
    /// [`Error::Fenced`] if a higher term has it in this process.
    pub(super) async fn open(&self, topic: &str, term: Term) -> Result<u32> {
        self.raise(topic, term)?;
        let partitions = match self.partitions_of(topic).await? {
            Some(partitions) => partitions,
            None => self.create(topic).await?,
        };
        let batch_bytes = self.batch_bytes(topic).await;
        let mut known = self.known();
        let entry = known.entry(topic.to_owned()).or_insert_with(|| Topic::of(partitions));
        if entry.partitions != partitions {
            *entry = Topic { term: entry.term, ..Topic::of(partitions) };
        }
        entry.batch_bytes = batch_bytes;
        entry.term = entry.term.max(term);
        Ok(partitions)
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// [`Error::Missing`] where there is none.
    pub(super) async fn partitions(&self, topic: &str) -> Result<u32> {
        let missing = || Error::Missing { topic: topic.to_owned(), partition: None };
        self.partitions_of(topic).await?.ok_or_else(missing)
    }

    /// The topic as this process knows it; the brokers are asked where it does not.
    ///
    /// # Errors
    /// [`Error::Missing`] where there is none.
    pub(super) async fn look(&self, topic: &str) -> Result<Topic> {
        if let Some(known) = self.get(topic) {
            return Ok(known);
        }
        let found = Topic { batch_bytes: self.batch_bytes(topic).await, ..Topic::of(self.partitions(topic).await?) };
        Ok(self.known().entry(topic.to_owned()).or_insert(found).clone())
    }

    /// What this process knows of a topic; None where it has neither opened nor looked at it.
    pub(super) fn get(&self, topic: &str) -> Option<Topic> {
        self.known().get(topic).cloned()
    }

    /// A term has the topic from here on.
    ///
    /// # Errors
    /// [`Error::Fenced`] if a higher one had it in this process.
    pub(super) fn raise(&self, topic: &str, term: Term) -> Result<()> {
        match self.known().get_mut(topic) {
            Some(known) if known.term > term => Err(Error::Fenced { topic: topic.to_owned(), term, by: known.term }),
            Some(known) => {
                known.term = term;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Records of a partition are acknowledged up to here.
    ///
    /// # Errors
    /// [`Error::Broken`] if there was more of them before: the topic was made anew meanwhile.
    pub(super) fn acknowledged(&self, topic: &str, partition: u32, end: LogOffset) -> Result<()> {
        let mut known = self.known();
        let Some(known_end) = known.get_mut(topic).and_then(|topic| topic.ends.get_mut(partition as usize)) else {
            return Ok(());
        };
        if end <= *known_end {
            let reason =
                format!("a record was put below offset {known_end}, where the topic had ended: it was deleted and made anew");
            let offset = std::mem::take(known_end);
            return Err(Error::Broken { topic: topic.to_owned(), partition, offset, reason });
        }
        *known_end = end;
        Ok(())
    }

    /// The most bytes that key and value of a record may have in a topic.
    pub(super) fn record_bytes_max(&self, topic: &Topic) -> u64 {
        let around = HEADERS_BYTES + BATCH_OVERHEAD;
        self.client_record_bytes().min(topic.batch_bytes).saturating_sub(around)
    }

    /// What the producer has to keep to.
    pub(super) fn sizes(&self) -> Sizes {
        let least = self.known().values().map(|topic| topic.batch_bytes).min().unwrap_or(BATCH_BYTES);
        Sizes { record_bytes: self.client_record_bytes(), batch_bytes: least }
    }

    /// Looks again how large a batch may be.
    pub(super) async fn refresh(&self, topic: &str) {
        let batch_bytes = self.batch_bytes(topic).await;
        if let Some(known) = self.known().get_mut(topic) {
            known.batch_bytes = batch_bytes;
        }
    }

    /// The settings of topics or brokers as they are in force.
    pub(super) async fn describe(&self, what: &ResourceSpecifier<'_>) -> std::result::Result<ConfigResource, KafkaError> {
        let admin = self.admin().map_err(|error| KafkaError::AdminOpCreation(error.to_string()))?;
        let described = admin.describe_configs([what], &options()).await?;
        let Some(first) = described.into_iter().next() else { return Err(KafkaError::AdminOp(RDKafkaErrorCode::Unknown)) };
        first.map_err(KafkaError::AdminOp)
    }

    /// The administration's client, made when it is first needed.
    pub(super) fn admin(&self) -> Result<&AdminClient<Voice>> {
        if let Some(admin) = self.admin.get() {
            return Ok(admin);
        }
        let made = self.settings.admin().create_with_context(Voice::of("admin")).map_err(|error| settings(&error))?;
        Ok(self.admin.get_or_init(|| made))
    }

    fn client_record_bytes(&self) -> u64 {
        self.settings.record_bytes_configured().unwrap_or(RECORD_BYTES)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Topic>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn partitions_of(&self, topic: &str) -> Result<Option<u32>> {
        let name = topic.to_owned();
        self.cluster.ask(move |cluster| cluster.partitions(&name)).await
    }

    /// Makes the topic, and waits until it is known.
    async fn create(&self, topic: &str) -> Result<u32> {
        match self.try_create(topic, false).await? {
            Ok(()) => tracing::info!(topic, partitions = self.settings.partitions, "topic created"),
            // Another daemon was faster.
            Err(RDKafkaErrorCode::TopicAlreadyExists) => {}
            Err(code) => return Err(storage(topic, "it cannot be created", &KafkaError::AdminOp(code))),
        }
        let begun = Instant::now();
        loop {
            if let Some(partitions) = self.partitions_of(topic).await? {
                return Ok(partitions);
            }
            if begun.elapsed() > LIMIT {
                return Err(storage_text(topic, "it was created, and the brokers do not know it yet"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Makes the topic, or only asks whether it could be made. Inside: the brokers' answer.
    pub(super) async fn try_create(&self, topic: &str, only_ask: bool) -> Result<std::result::Result<(), RDKafkaErrorCode>> {
        let settings = &self.settings;
        let replication = settings.replication.map_or(-1, i32::from);
        let partitions = i32::try_from(settings.partitions).unwrap_or(i32::MAX);
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
        for (name, value) in &settings.topic_config {
            new = new.set(name, value);
        }
        let asked = self.admin()?.create_topics([&new], &options().validate_only(only_ask)).await;
        let created = asked.map_err(|error| storage(topic, "it cannot be created", &error))?;
        Ok(created.into_iter().next().map_or(Ok(()), |created| created.map(|_| ()).map_err(|(_, code)| code)))
    }

    /// `max.message.bytes` in force; where it cannot be known, what is given for topics or what brokers take by themselves.
    async fn batch_bytes(&self, topic: &str) -> u64 {
        let given = self.settings.topic_config.get("max.message.bytes").and_then(|text| text.parse().ok());
        let described = match self.describe(&ResourceSpecifier::Topic(topic)).await {
            Ok(described) => described.get("max.message.bytes").and_then(|entry| entry.value.as_ref()?.parse().ok()),
            Err(error) => {
                tracing::debug!(topic, %error, "the settings of a topic cannot be seen");
                None
            }
        };
        described.or(given).unwrap_or(BATCH_BYTES)
    }
}

impl Topic {
    fn of(partitions: u32) -> Self {
        Self {
            partitions,
            term: Term::default(),
            batch_bytes: BATCH_BYTES,
            ends: vec![LogOffset::default(); partitions as usize],
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(LIMIT)).operation_timeout(Some(LIMIT))
}
