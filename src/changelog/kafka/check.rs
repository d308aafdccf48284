//! What `check` says of the cluster and of each topic. Nothing is changed: a topic that is missing is only asked for.

use rdkafka::admin::{ConfigResource, ResourceSpecifier};
use rdkafka::error::RDKafkaErrorCode;

use super::KafkaLog;
use super::cluster::Cluster;
use super::failure::{error_code, right_missing, storage, text};
use crate::change::{LogOffset, Remark, Weight};
use crate::changelog::{ChangeLog as _, Error, Result};

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// What a topic looks like.
struct Found {
    partitions: u32,
    /// Of the partition with the fewest.
    replicas: usize,
    in_sync: usize,
}

/// Gathers what is said of one subject.
struct Remarks<'s> {
    subject: &'s str,
    all: Vec<Remark>,
}

impl Remarks<'_> {
    fn say(&mut self, weight: Weight, message: impl Into<String>, remedy: Option<String>) {
        self.all.push(Remark { weight, subject: self.subject.to_owned(), message: message.into(), remedy });
    }

    fn risk(&mut self, message: impl Into<String>, remedy: impl Into<String>) {
        self.say(Weight::Risk, message, Some(remedy.into()));
    }

    fn wrong(&mut self, message: impl Into<String>, remedy: impl Into<String>) {
        self.say(Weight::Wrong, message, Some(remedy.into()));
    }
}

impl KafkaLog {
    /// Looks at the cluster.
    pub async fn check_brokers(&self) -> Remark {
        let asked =
            self.cluster.ask(|cluster: &Cluster| cluster.brokers().map_err(|error| storage("-", &explained(&error), &error)));
        let (weight, message, remedy) = match asked.await {
            Ok(brokers) => (Weight::Fine, format!("{} brokers answer", brokers.len()), None),
            Err(Error::Storage { reason, .. }) => (
                Weight::Wrong,
                format!("the brokers do not answer: {reason}"),
                Some("see `changelog.brokers`, and security.protocol, sasl.* and ssl.* in `changelog.properties`".to_owned()),
            ),
            Err(error) => (Weight::Wrong, error.to_string(), None),
        };
        Remark { weight, subject: "brokers".to_owned(), message, remedy }
    }

    /// Looks at a topic. What is wrong comes first.
    pub async fn check_topic(&self, topic: &str) -> Vec<Remark> {
        let mut remarks = Remarks { subject: topic, all: Vec::new() };
        match self.found(topic).await {
            Ok(Some(found)) => self.check_found(&mut remarks, topic, &found).await,
            Ok(None) => self.check_creatable(&mut remarks, topic).await,
            Err(error) => remarks.say(Weight::Wrong, error.to_string(), None),
        }
        remarks.all.sort_by_key(|remark| std::cmp::Reverse(remark.weight));
        remarks.all
    }

    async fn found(&self, topic: &str) -> Result<Option<Found>> {
        let name = topic.to_owned();
        let look = move |cluster: &Cluster| {
            cluster.describe(&name, |found| Found {
                partitions: u32::try_from(found.partitions().len()).unwrap_or(u32::MAX),
                replicas: found.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
                in_sync: found.partitions().iter().map(|partition| partition.isr().len()).min().unwrap_or(0),
            })
        };
        self.cluster.ask(look).await
    }

    async fn check_creatable(&self, remarks: &mut Remarks<'_>, topic: &str) {
        let settings = &self.settings;
        let replication = settings.replication.map_or_else(|| "the brokers' default".to_owned(), |replicas| replicas.to_string());
        match self.topics.try_create(topic, true).await {
            Ok(Ok(())) => {
                let message = format!("it will be created: {} partitions, replication {replication}", settings.partitions);
                remarks.say(Weight::Fine, message, None);
                if settings.replication == Some(1) {
                    one_replica(remarks);
                }
            }
            Ok(Err(code)) => {
                let remedy = match code {
                    RDKafkaErrorCode::InvalidReplicationFactor => {
                        "give a `changelog.replication` that the brokers are enough for".to_owned()
                    }
                    RDKafkaErrorCode::InvalidConfig => {
                        "see `changelog.topic_config`: the brokers refuse a name or a value in it".to_owned()
                    }
                    RDKafkaErrorCode::PolicyViolation => "see the brokers' create.topic.policy".to_owned(),
                    code => right_missing(code, topic)
                        .unwrap_or_else(|| "create it by hand, with the settings of the documentation".to_owned()),
                };
                remarks.wrong(format!("it is not there, and cannot be created: {code}"), remedy);
            }
            Err(error) => remarks.say(Weight::Wrong, error.to_string(), None),
        }
    }

    async fn check_found(&self, remarks: &mut Remarks<'_>, topic: &str, found: &Found) {
        let message = format!("it is there: {} partitions, replication {}", found.partitions, found.replicas);
        remarks.say(Weight::Fine, message, None);
        if found.partitions != self.settings.partitions {
            remarks.risk(
                format!(
                    "it has {} partitions, `changelog.partitions` says {}: its own count is used",
                    found.partitions, self.settings.partitions
                ),
                "set `changelog.partitions` to it, or pause here, delete the topic, and rebuild the table",
            );
        }
        match found.replicas {
            0 | 1 => one_replica(remarks),
            replicas if found.in_sync < replicas => {
                let message = format!("of {replicas} replicas {} are in sync", found.in_sync);
                remarks.risk(message, "see what the missing brokers are at: until then less than promised survives a failure");
            }
            _ => {}
        }
        match self.topics.describe(&ResourceSpecifier::Topic(topic)).await {
            Ok(config) => check_config(remarks, &config, found, self.settings.tombstones),
            Err(error) => {
                let right = error_code(&error).and_then(|code| right_missing(code, topic));
                let remedy = right.unwrap_or_else(|| "allow binlake's user DescribeConfigs on the topic".to_owned());
                remarks.risk(format!("its settings cannot be seen: {}", text(&error)), remedy);
            }
        }
        self.check_last_record(remarks, topic, found).await;
    }

    /// Whose records are in it?
    async fn check_last_record(&self, remarks: &mut Remarks<'_>, topic: &str, found: &Found) {
        for partition in 0..found.partitions {
            let bounds = match self.bounds(topic, partition).await {
                Ok(bounds) => bounds,
                Err(error) => {
                    remarks.say(Weight::Wrong, error.to_string(), None);
                    continue;
                }
            };
            let from = LogOffset(bounds.end.0.saturating_sub(1));
            if bounds.end <= bounds.first {
                continue;
            }
            match self.read(topic, partition, from, bounds.end, 1).await {
                Err(Error::Corrupt { offset, reason, .. }) => remarks.wrong(
                    format!("partition {partition} holds the record of somebody else, at offset {offset}: {reason}"),
                    "give binlake topics of its own: another `changelog.topic`, or another topic for whoever writes there",
                ),
                Err(error @ Error::Storage { .. }) => remarks.say(Weight::Wrong, error.to_string(), None),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn explained(error: &rdkafka::error::KafkaError) -> String {
    error_code(error).and_then(|code| right_missing(code, "-")).unwrap_or_else(|| "no metadata".to_owned())
}

fn one_replica(remarks: &mut Remarks<'_>) {
    remarks.risk(
        "it has one replica: a broker that loses its disk, or its power before the disk has all, loses changes that were acknowledged",
        "set `changelog.replication` to 3 before the topic is created",
    );
}

/// Judges the settings in force.
fn check_config(remarks: &mut Remarks<'_>, config: &ConfigResource, found: &Found, tombstones: bool) {
    let value = |name: &str| config.get(name).and_then(|entry| entry.value.as_deref());
    let number = |name: &str| value(name).and_then(|text| text.parse::<i64>().ok());
    check_retention(remarks, number("retention.ms"), number("retention.bytes"));
    if value("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        if number("min.compaction.lag.ms").is_none_or(|lag| lag < DAY_MS) {
            remarks.wrong(
                "it is compacted: changes go that a writer has not taken yet, and its table would park",
                "set cleanup.policy=delete, or min.compaction.lag.ms to more than the longest outage",
            );
        }
        if !tombstones {
            remarks.risk("it is compacted, and keeps a deleted row's last record for ever", "set `changelog.tombstones: true`");
        }
    }
    let (replicas, least) = (i64::try_from(found.replicas).unwrap_or(i64::MAX), number("min.insync.replicas").unwrap_or(1));
    if least > replicas {
        remarks.wrong(
            format!("min.insync.replicas is {least} where there are {replicas} replicas: nothing can be written"),
            format!("set min.insync.replicas to {} on the topic", (replicas - 1).max(1)),
        );
    } else if replicas > 1 && least < 2 {
        remarks.risk(
            "min.insync.replicas is 1: a record that one broker alone has counts as acknowledged, and goes with it",
            "set min.insync.replicas to 2 on the topic",
        );
    } else if replicas > 1 && least == replicas {
        remarks.risk(
            format!("min.insync.replicas is {least} of {replicas} replicas: with one broker away nothing is written"),
            format!("set min.insync.replicas to {}, or replication to {}", least - 1, replicas + 1),
        );
    }
    if value("unclean.leader.election.enable") == Some("true") {
        remarks.risk(
            "unclean.leader.election.enable is true: a broker that lacks acknowledged records may become leader, and the table parks",
            "set unclean.leader.election.enable=false on the topic",
        );
    }
    if let Some(limit) = number("max.message.bytes").filter(|limit| *limit < 1_000_000) {
        remarks.risk(
            format!("max.message.bytes is {limit}: the table of a row that makes a larger record parks"),
            "set max.message.bytes to more than twice the largest row: an update holds it twice",
        );
    }
}

fn check_retention(remarks: &mut Remarks<'_>, milliseconds: Option<i64>, bytes: Option<i64>) {
    if milliseconds.is_some_and(|retention| (0..DAY_MS).contains(&retention)) {
        remarks.risk(
            "retention.ms is less than a day: a table whose writer, or whose snapshot, takes longer must be rebuilt",
            "set retention.ms to more than the longest outage, e.g. 604800000 (a week)",
        );
    }
    if bytes.is_some_and(|bytes| bytes >= 0) {
        remarks.risk(
            format!(
                "retention.bytes is {}: a burst of changes takes away what a writer has not read yet",
                bytes.unwrap_or_default()
            ),
            "set retention.bytes=-1, and let retention.ms decide",
        );
    }
}
