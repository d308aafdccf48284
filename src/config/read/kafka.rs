//! The `changelog` section of `kind: kafka`.

use std::collections::BTreeMap;

use crate::config::cursor::{Fields, Reader};
use crate::config::resolve::TOPIC_LENGTH;
use crate::config::secret::Secret;
use crate::config::settings::{KafkaConfig, Property, default};
use crate::config::tree::{Entry, Kind, Node};

/// The keys of this kind.
pub(super) const KAFKA_KEYS: [&str; 8] =
    ["brokers", "topic", "partitions", "replication", "topic_config", "properties", "transactions", "tombstones"];

/// Properties that are binlake's own, with what is to be used in their place or why there is nothing.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use `brokers`"),
    ("metadata.broker.list", "use `brokers`"),
    ("transactional.id", "use `transactions: true`: the id is made of the source's name"),
    ("group.id", "it is made of the source's name"),
    ("group.instance.id", "no group is ever joined"),
    ("group.protocol", "no group is ever joined"),
    ("enable.idempotence", "it is always true: else records would be doubled and reordered"),
    ("enable.gapless.guarantee", "whatever fails ends the producer already"),
    ("acks", "it is always `all`: a record counts only when every replica in sync has it"),
    ("request.required.acks", "it is always `all`: a record counts only when every replica in sync has it"),
    ("message.timeout.ms", "it is always 0: a record that is given up is a hole"),
    ("delivery.timeout.ms", "it is always 0: a record that is given up is a hole"),
    ("message.send.max.retries", "a record is sent until it is acknowledged"),
    ("retries", "a record is sent until it is acknowledged"),
    ("partitioner", "each record's partition is computed by binlake, as Java's client does it"),
    ("queue.buffering.max.messages", "what is on its way is bounded by `memory`"),
    ("queue.buffering.max.kbytes", "what is on its way is bounded by `memory`"),
    ("enable.auto.commit", "offsets come from the lake alone"),
    ("auto.commit.enable", "offsets come from the lake alone"),
    ("enable.auto.offset.store", "offsets come from the lake alone"),
    ("auto.offset.reset", "it is always `error`: what is gone must be seen"),
    ("isolation.level", "it is always `read_committed`"),
    ("enable.partition.eof", "binlake's reader has its own use for it"),
    ("allow.auto.create.topics", "topics are created by binlake, with `topic_config`"),
];

/// Parts of the names of properties that hold secrets.
const SECRETS: [&str; 7] = ["password", "secret", "token", "passphrase", "key.pem", "oauthbearer.config", "jaas"];

/// A day, in milliseconds: records that are kept for less are gone before a writer that was down over night is back.
const DAY_MS: i64 = 86_400_000;

pub(super) fn kafka(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<KafkaConfig> {
    let brokers = brokers(reader, fields);
    let topic = match fields.take("topic") {
        Some(node) => topic(reader, node),
        None => Some(default::TOPIC.to_owned()),
    };
    let partitions = match fields.take("partitions") {
        Some(node) => reader.number(node, (1, 10_000)).and_then(|number| u32::try_from(number).ok()),
        None => Some(1),
    };
    let replication = match fields.take("replication") {
        Some(node) => reader.number(node, (1, 100)).map(|number| u16::try_from(number).ok()),
        None => Some(None),
    };
    let topic_config = fields.take("topic_config").map_or_else(|| Some(BTreeMap::new()), |node| topic_config(reader, node));
    let properties = fields.take("properties").map_or_else(|| Some(BTreeMap::new()), |node| properties(reader, node));
    let mut flag = |reader: &mut Reader<'_>, key| fields.take(key).map_or(Some(false), |node| reader.flag(node));
    let (transactions, tombstones) = (flag(reader, "transactions"), flag(reader, "tombstones"));
    let config = KafkaConfig {
        brokers: brokers?,
        topic: topic?,
        partitions: partitions?,
        replication: replication?,
        topic_config: topic_config?,
        properties: properties?,
        transactions: transactions?,
        tombstones: tombstones?,
    };
    judge(reader, fields, &config);
    Some(config)
}

fn brokers(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let form = "list some of them, e.g. [kafka-1:9092, kafka-2:9092]; the others are asked for";
    let Some(node) = fields.take("brokers") else {
        reader.error(&fields.place_of("brokers"), "it is missing", form);
        return None;
    };
    let names = reader.names(node)?;
    let mut good = true;
    for name in &names {
        let (host, port) = name.rsplit_once(':').unwrap_or((name, ""));
        let plain = !host.is_empty() && !host.contains(['/', ',', ' ', '@']);
        if !plain || port.parse::<u16>().is_err() {
            reader.error(&node.place, "a broker is no host:port", form);
            good = false;
        }
    }
    good.then_some(names)
}

fn topic(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node)?;
    let rest = ["{source}", "{database}", "{table}"].iter().fold(text.clone(), |rest, name| rest.replace(name, ""));
    let plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !plain || !text.contains("{table}") || rest.len() > TOPIC_LENGTH / 2 {
        let remedy = "use letters, digits, `.`, `_`, `-`, {source}, {database} and {table}, e.g. \"{source}.{database}.{table}\"";
        reader.error(&node.place, "this makes no topic for each table", remedy);
        return None;
    }
    Some(text)
}

/// A map of names to single values.
fn pairs<'n>(reader: &mut Reader<'_>, node: &'n Node) -> Option<&'n [Entry]> {
    match &node.kind {
        Kind::Map(entries) => Some(entries),
        Kind::Scalar { .. } | Kind::List(_) => {
            reader.error(
                &node.place,
                format!("expected a map of names and values, found {}", node.describe()),
                "write {name: value}",
            );
            None
        }
    }
}

fn topic_config(reader: &mut Reader<'_>, node: &Node) -> Option<BTreeMap<String, String>> {
    let entries = pairs(reader, node)?;
    let read = entries.iter().map(|entry| Some((entry.key.clone(), reader.text(&entry.value)?)));
    read.collect::<Vec<_>>().into_iter().collect()
}

fn properties(reader: &mut Reader<'_>, node: &Node) -> Option<BTreeMap<String, Property>> {
    let entries = pairs(reader, node)?;
    let read: Vec<_> = entries.iter().map(|entry| property(reader, entry)).collect();
    read.into_iter().collect()
}

fn property(reader: &mut Reader<'_>, entry: &Entry) -> Option<(String, Property)> {
    if let Some((_, remedy)) = OWNED.iter().find(|(name, _)| *name == entry.key) {
        reader.error(&entry.place, "this property is binlake's own", *remedy);
        return None;
    }
    let text = reader.text(&entry.value)?;
    let written = reader.written(&entry.value)?;
    // Files are looked for where all of them are: beside this file.
    let is_path = entry.key.ends_with(".location") || entry.key.ends_with(".keytab");
    let text = if is_path { reader.directory.join(text).display().to_string() } else { text };
    let secret = SECRETS.iter().any(|part| entry.key.contains(part)) || written.contains("${");
    Some((entry.key.clone(), if secret { Property::Secret(Secret::new(text)) } else { Property::Plain(text) }))
}

/// What fits alone and not together.
fn judge(reader: &mut Reader<'_>, fields: &Fields<'_>, config: &KafkaConfig) {
    let place = fields.place_of("topic_config");
    let number = |name: &str| config.topic_config.get(name).and_then(|text| text.parse::<i64>().ok());
    let compacted = config.topic_config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
    if compacted && number("min.compaction.lag.ms").is_none_or(|lag| lag < DAY_MS) {
        let message = "a topic that is compacted loses changes that a writer has not taken yet: its table would park";
        let remedy = "leave cleanup.policy out, or add min.compaction.lag.ms: at least a day, and more than the longest outage";
        reader.error(&place.key("cleanup.policy"), message, remedy);
    }
    if compacted && !config.tombstones {
        let message = "a compacted topic keeps a deleted row's last record for ever";
        reader.warning(&place.key("cleanup.policy"), message, "set `tombstones: true`");
    }
    if number("retention.ms").is_some_and(|retention| (0..DAY_MS).contains(&retention)) {
        let message = "records are gone after less than a day: a table whose writer was away for longer must be rebuilt";
        reader.warning(
            &place.key("retention.ms"),
            message,
            "keep them for longer than the longest outage, e.g. \"604800000\": a week",
        );
    }
    if let (Some(least), Some(replication)) = (number("min.insync.replicas"), config.replication)
        && least > i64::from(replication)
    {
        let message = format!("{least} replicas are never in sync where there are {replication}: nothing could be written");
        reader.error(&place.key("min.insync.replicas"), message, "give at most `replication`, better one less");
    }
}
