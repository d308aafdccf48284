//! The log on real brokers: its contract, and what only a cluster can do to it.

use std::sync::atomic::AtomicU64;

use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;
use crate::change::{ChangePosition, Failure, Remedy};
use crate::changelog::chain::{ChainCheck, Verdict};
use crate::changelog::contract::{Feed, Tenant, every_log};

#[path = "../../../tests/servers/broker.rs"]
mod broker;

use broker::Brokers;

fn settings(brokers: &Brokers) -> KafkaSettings {
    KafkaSettings { brokers: brokers.addresses(), name: "test".to_owned(), ..KafkaSettings::default() }
}

fn config(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A name that no other test uses.
fn fresh_topic() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    format!("shop.books.t{}", MADE.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
}

async fn delete(log: &KafkaLog, topics: &[&str]) {
    let deleted = log.topics.admin().unwrap().delete_topics(topics, &AdminOptions::new()).await.unwrap();
    drop(deleted);
    for topic in topics {
        while log.topics.partitions(topic).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct OnKafka(Brokers);

#[async_trait]
impl Tenant for OnKafka {
    async fn fresh(&self, _bytes_max: u64) -> Arc<dyn ChangeLog> {
        let topic_config = config(&[("max.message.bytes", "8000000")]);
        let log = KafkaLog::open(KafkaSettings { partitions: 3, topic_config, ..settings(&self.0) }).unwrap();
        delete(&log, &["t", "u"]).await;
        Arc::new(log)
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    every_log(&OnKafka(Brokers::start(1, &[]))).await;
}
