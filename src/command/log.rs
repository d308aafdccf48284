//! The change log that the configuration asks for, as each source has it.

use std::sync::Arc;

use binlake::changelog::kafka::Properties;
use binlake::changelog::{ChangeLog, KafkaLog, KafkaSettings, LocalLog, LocalSettings};
use binlake::config::{ChangelogConfig, KafkaConfig};

use super::Failed;
use super::limits::Parts;

/// An open change log.
pub(crate) enum Log {
    /// One store for all sources.
    Local(Arc<LocalLog>),
    /// One cluster for all sources, with a producer for each.
    Kafka {
        /// What the sources share.
        shared: KafkaLog,
        /// `changelog.topic`.
        topic: String,
    },
}

impl Log {
    /// Opens it.
    pub(crate) async fn open(config: &ChangelogConfig, parts: &Parts) -> Result<Self, Failed> {
        match config {
            ChangelogConfig::Local(local) => {
                let settings = LocalSettings { directory: local.directory.clone(), bytes_max: local.bytes_max };
                let log = LocalLog::open(settings).await.map_err(|error| Failed::from_failure(&error))?;
                Ok(Self::Local(Arc::new(log)))
            }
            ChangelogConfig::Kafka(kafka) => {
                let shared = KafkaLog::open(kafka_settings(kafka, parts)).map_err(|error| Failed::from_failure(&error))?;
                Ok(Self::Kafka { shared, topic: kafka.topic.clone() })
            }
        }
    }

    /// The log as a source has it.
    pub(crate) fn of(&self, source: &str) -> Result<Arc<dyn ChangeLog>, Failed> {
        match self {
            Self::Local(log) => Ok(Arc::<LocalLog>::clone(log)),
            Self::Kafka { shared, topic } => {
                let log = shared.for_source(&client_name(topic, source)).map_err(|error| Failed::from_failure(&error))?;
                Ok(Arc::new(log))
            }
        }
    }
}

/// The settings of a log on Kafka, for the room.
pub(crate) fn kafka_settings(kafka: &KafkaConfig, parts: &Parts) -> KafkaSettings {
    let properties = kafka.properties.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect();
    KafkaSettings {
        brokers: kafka.brokers.clone(),
        partitions: kafka.partitions,
        replication: kafka.replication,
        topic_config: kafka.topic_config.clone(),
        properties: Properties(properties),
        transactions: kafka.transactions,
        tombstones: kafka.tombstones,
        name: "binlake".to_owned(),
        in_flight_bytes: parts.in_flight,
        consumers: parts.consumers,
    }
}

/// What the brokers know a source's clients by: the same for all daemons that write the same topics, and another one where a template
/// keeps two installations apart.
fn client_name(template: &str, source: &str) -> String {
    let filled = template.replace("{source}", source);
    let before = filled.split('{').next().unwrap_or_default().trim_matches(['.', '-', '_']);
    match (before.is_empty(), before.contains(source)) {
        (true, _) => source.to_owned(),
        (false, true) => before.to_owned(),
        (false, false) => format!("{before}.{source}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installations_that_have_other_topics_have_other_clients() {
        let name = |template| client_name(template, "shop");
        assert_eq!(name("{source}.{database}.{table}"), "shop");
        assert_eq!(name("staging.{source}.{table}"), "staging.shop");
        assert_eq!(name("cdc-{table}"), "cdc.shop");
        assert_eq!(name("{database}.{source}.{table}"), "shop");
    }
}
