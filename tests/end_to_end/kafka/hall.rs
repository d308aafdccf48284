//! A daemon's world whose change log is Kafka: a server with tables under load, brokers, and what can be done to the topics.

use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;

use crate::broker::Brokers;
use crate::equality::assert_workload_exact;
use crate::scene::Scene;
use crate::server::Server;
use crate::workload::{self, SHAPES};

/// Rows that every table starts with.
const ROWS: usize = 400;
/// How long a question to the brokers may take.
const LIMIT: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Hall {
    pub(super) server: &'static Server,
    pub(super) database: &'static str,
    pub(super) scene: Scene,
    pub(super) tables: Vec<String>,
    addresses: String,
}

impl Hall {
    /// Tables under `database` of the shared server, with topics of so many partitions at these brokers.
    pub(super) async fn new(database: &'static str, brokers: &Brokers, partitions: u32) -> Self {
        Self::at(database, &brokers.addresses(), &format!("partitions: {partitions}")).await
    }

    /// The same with more of the flow map behind `changelog:`.
    pub(super) async fn at(database: &'static str, addresses: &[String], more: &str) -> Self {
        let server = Server::shared();
        workload::prepare(server, database, &SHAPES, ROWS).await;
        let mut scene = Scene::new(server, &workload::listed(database, &["ordinary", "composite"]));
        scene.edit(|yaml| yaml.log = format!("{}, {more}", on(addresses)));
        let tables = workload::names(database, &SHAPES);
        Self { server, database, scene, tables, addresses: addresses.join(",") }
    }

    /// A table's topic.
    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}.{}.{name}", self.scene.yaml.name, self.database)
    }

    /// Up to where changes are published, as `status` has it.
    pub(super) fn published(&self) -> serde_json::Value {
        self.scene.status().0["sources"][0]["position"].clone()
    }

    /// All that must hold when the load has ended: every mirror equal, no change twice, and the changelog leads to what MySQL has.
    pub(super) async fn assert_exact(&self) {
        self.scene.catch_up();
        assert_workload_exact(&self.scene, self.server, self.database, &self.tables).await;
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.addresses).set("group.id", "a test's").set("isolation.level", "read_uncommitted");
        config
    }

    /// The ends of a topic's partitions.
    pub(super) fn ends(&self, topic: &str) -> Vec<i64> {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let ends = || {
            let metadata = consumer.fetch_metadata(Some(topic), LIMIT)?;
            let partitions = metadata.topics()[0].partitions().len() as i32;
            let ends = (0..partitions).map(|partition| consumer.fetch_watermarks(topic, partition, LIMIT).map(|(_, end)| end));
            ends.collect::<Result<Vec<i64>, KafkaError>>()
        };
        // A leader may be moving.
        let deadline = Instant::now() + LIMIT * 2;
        loop {
            match ends() {
                Ok(ends) if !ends.is_empty() => return ends,
                other => assert!(Instant::now() < deadline, "the ends of {topic} are not to be had: {other:?}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a topic holds more than these ends.
    pub(super) fn wait_beyond(&self, topic: &str, ends: &[i64]) {
        let deadline = Instant::now() + LIMIT;
        while self.ends(topic).iter().sum::<i64>() <= ends.iter().sum() {
            assert!(Instant::now() < deadline, "nothing came into {topic}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until every partition of the tables' topics has so many replicas in sync.
    pub(super) fn wait_replicated(&self, replicas: usize) {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let deadline = Instant::now() + LIMIT * 2;
        loop {
            let metadata = consumer.fetch_metadata(Some(&self.topic("ordinary")), LIMIT);
            let in_sync =
                |metadata: &Metadata| metadata.topics()[0].partitions().iter().all(|partition| partition.isr().len() == replicas);
            if metadata.is_ok_and(|metadata| in_sync(&metadata)) {
                return;
            }
            assert!(Instant::now() < deadline, "a replica does not come back");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The flow map behind `changelog:` for brokers at these addresses.
pub(super) fn on(addresses: &[String]) -> String {
    let listed: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("kind: kafka, brokers: [{}]", listed.join(", "))
}

/// Sends a process a signal, by its name.
pub(super) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// The port of an address.
pub(super) fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}
