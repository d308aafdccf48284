//! What a Kafka log is told, and the client configurations that follow from it.
//!
//! What no gap and no duplicate rests on is set last, and is not to be given as a property; all else can be, and wins over the defaults
//! here.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;

/// Settings of a log on Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port` of some brokers; the others are asked for.
    pub brokers: Vec<String>,
    /// Partitions of a topic that is created.
    pub partitions: u32,
    /// Replicas of a topic that is created; None means the brokers' default.
    pub replication: Option<u16>,
    /// Settings of a topic that is created.
    pub topic_config: BTreeMap<String, String>,
    /// Properties for librdkafka.
    pub properties: Properties,
    /// Appends are transactions, and a predecessor is shut out by the brokers.
    pub transactions: bool,
    /// A delete is followed by a record without a value, for topics that are compacted.
    pub tombstones: bool,
    /// What identifies this log's clients to the brokers: part of the transactional id and of the group that offsets are shown under.
    pub name: String,
    /// Bytes of records that may be on their way to the brokers at once.
    pub in_flight_bytes: usize,
    /// Consumers at once, over all topics. Each holds some megabytes.
    pub consumers: usize,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            partitions: 1,
            replication: None,
            topic_config: BTreeMap::new(),
            properties: Properties::default(),
            transactions: false,
            tombstones: false,
            name: "binlake".to_owned(),
            in_flight_bytes: 16 << 20,
            consumers: 8,
        }
    }
}

/// Properties of librdkafka by name. Values are not printed: there are secrets among them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Properties(pub BTreeMap<String, String>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, "***"))).finish()
    }
}

/// Bytes of one partition's records that go together, before compression.
pub(super) const REQUEST_BYTES: u64 = 1_000_000;

/// Defaults of ours that a property may replace, with other names of the same property.
const COMMON: &[(&str, &str, &str)] = &[
    ("client.id", "", "binlake"),
    // Dead connections are noticed, and a broker that is back is found soon.
    ("socket.keepalive.enable", "", "true"),
    ("socket.timeout.ms", "", "15000"),
    ("reconnect.backoff.max.ms", "", "500"),
    ("log.connection.close", "", "false"),
];
const PRODUCER: &[(&str, &str, &str)] = &[
    ("compression.type", "compression.codec", "lz4"),
    // It only fills batches while records are being handed over: the end of an append is flushed.
    ("linger.ms", "queue.buffering.max.ms", "5"),
    ("batch.num.messages", "", "100000"),
];
const CONSUMER: &[(&str, &str, &str)] = &[
    // How soon it is known that there is nothing more, and how often an idle consumer asks.
    ("fetch.wait.max.ms", "", "100"),
    // What a consumer holds is fetched ahead: about a fetch beyond the queue.
    ("queued.max.messages.kbytes", "", "2048"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes", "1048576"),
    // A full queue is looked at again so soon; a second would halve the speed of a reader that keeps up.
    ("fetch.queue.backoff.ms", "", "20"),
    ("fetch.error.backoff.ms", "", "100"),
    ("check.crcs", "", "true"),
];

impl KafkaSettings {
    /// For reading: nobody joins the group, its name is only needed.
    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.client(CONSUMER);
        config
            .set("group.id", self.group())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// For topics and their settings.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client(&[])
    }

    /// For appending. No record may be larger than `record_bytes` with key and headers, nor any batch of them than `batch_bytes`.
    pub(super) fn producer(&self, record_bytes: u64, batch_bytes: u64) -> ClientConfig {
        let mut config = self.client(PRODUCER);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "2147483647");
        config.set("message.max.bytes", record_bytes.clamp(1_000, 1_000_000_000).to_string());
        if !self.properties.0.contains_key("batch.size") {
            config.set("batch.size", batch_bytes.clamp(1, REQUEST_BYTES).to_string());
        }
        if self.transactions {
            config.set("transactional.id", self.transactional_id());
        }
        config
    }

    /// The group under which a dashboard sees how far the tables are.
    pub(super) fn group(&self) -> String {
        format!("binlake.{}", self.name)
    }

    /// The same for every daemon that writes these topics: who comes later shuts the earlier out.
    pub(super) fn transactional_id(&self) -> String {
        format!("binlake.{}", self.name)
    }

    /// What a record may be at most by what is configured here; None where nothing is.
    pub(super) fn record_bytes_configured(&self) -> Option<u64> {
        let number = |text: &String| text.parse::<u64>().ok();
        let property = self.properties.0.get("message.max.bytes").and_then(number);
        property.or_else(|| self.topic_config.get("max.message.bytes").and_then(number))
    }

    fn client(&self, defaults: &[(&str, &str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        let given = &self.properties.0;
        for (name, other_name, value) in COMMON.iter().chain(defaults) {
            if !given.contains_key(*other_name) {
                config.set(*name, *value);
            }
        }
        for (name, value) in given {
            config.set(name, value);
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(properties: &[(&str, &str)]) -> KafkaSettings {
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KafkaSettings {
            brokers: vec!["a:1".to_owned(), "b:2".to_owned()],
            properties: Properties(properties),
            ..KafkaSettings::default()
        }
    }

    #[test]
    fn properties_win_over_defaults_by_either_name() {
        let config = with(&[("compression.codec", "zstd"), ("linger.ms", "50")]).producer(1_000_000, 1_000_000);
        assert_eq!((config.get("compression.type"), config.get("compression.codec")), (None, Some("zstd")));
        assert_eq!(
            (config.get("linger.ms"), config.get("acks"), config.get("message.timeout.ms")),
            (Some("50"), Some("all"), Some("0"))
        );
        assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
    }

    #[test]
    fn properties_are_not_printed() {
        let text = format!("{:?}", with(&[("sasl.password", "geheim"), ("sasl.username", "ods")]));
        assert!(!text.contains("geheim") && text.contains("sasl.password"), "{text}");
    }

    #[test]
    fn the_clients_take_their_configurations() {
        for transactions in [false, true] {
            let settings = KafkaSettings { transactions, ..with(&[]) };
            settings.consumer().create_native_config().unwrap();
            settings.admin().create_native_config().unwrap();
            settings.producer(3 << 20, 1 << 20).create_native_config().unwrap();
        }
    }
}
