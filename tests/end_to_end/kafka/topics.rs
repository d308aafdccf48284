//! What becomes of topics, and what stands in them: loud where it is not what it was, and the other tables go on.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::hall;
use crate::broker::Brokers;
use crate::daemon::Daemon;
use crate::equality::{assert_equal, assert_no_duplicates};
use crate::scene::{Scene, Status};
use crate::server::Server;

fn client(brokers: &Brokers) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers.addresses().join(","));
    config
}

/// A database with two tables of ten rows, live through Kafka.
async fn two_tables(server: &Server, brokers: &Brokers, database: &str) -> (Scene, Vec<String>) {
    server.create_database(database).await;
    let tables: Vec<String> = ["one", "two"].iter().map(|name| format!("{database}.{name}")).collect();
    for table in &tables {
        let rows: Vec<String> = (1..=10).map(|id| format!("({id},'row {id}')")).collect();
        let create = format!("CREATE TABLE {table} (id INT NOT NULL PRIMARY KEY, note VARCHAR(20) NULL)");
        server.execute(&[create, format!("INSERT INTO {table} VALUES {}", rows.join(","))]).await;
    }
    let mut scene = Scene::new(server, &[format!("{{table: {database}.*, mode: both}}")]);
    scene.edit(|yaml| yaml.log = hall::on(&brokers.addresses()));
    (scene, tables)
}

fn topic(scene: &Scene, table: &str) -> String {
    format!("{}.{table}", scene.yaml.name)
}

/// A table parks for a reason, the other goes on, and a rebuild mends it.
async fn parks_and_is_rebuilt(server: &Server, scene: &Scene, mut daemon: Daemon<'_>, tables: &[String], reason: &str) {
    let found = daemon.wait_parked(&tables[0]);
    assert!(found.contains(reason) && found.contains("rebuild"), "{found}");
    server.execute(&[format!("INSERT INTO {} VALUES (50,'still captured')", tables[1])]).await;
    scene.good(&["rebuild", &tables[0]]);
    daemon.wait_live_again(tables);
    server.execute(&[format!("INSERT INTO {} VALUES (51,'captured again')", tables[0])]).await;
    daemon.stop();
    scene.catch_up();
    assert_equal(scene, server, tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_ate_parks_the_table_alone() {
    let (server, brokers) = (Server::shared(), Brokers::shared());
    let (scene, tables) = two_tables(server, brokers, "eaten").await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    scene.good(&["pause", &tables[0]]);
    daemon.wait_for("a paused table", |status| status.phase(&tables[0]) == "paused");
    server.execute(&[format!("INSERT INTO {} VALUES (20,'eaten'), (21,'eaten')", tables[0])]).await;
    let topic = topic(&scene, &tables[0]);
    let consumer: BaseConsumer = client(brokers).set("group.id", "look").create().unwrap();
    let end = loop {
        let (_, end) = consumer.fetch_watermarks(&topic, 0, Duration::from_secs(10)).unwrap();
        if end >= 2 {
            break end;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let admin: AdminClient<DefaultClientContext> = client(brokers).create().unwrap();
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(&topic, 0, Offset::Offset(end)).unwrap();
    admin.delete_records(&below, &AdminOptions::new()).await.unwrap();
    scene.good(&["resume", &tables[0]]);
    parks_and_is_rebuilt(server, &scene, daemon, &tables, "is gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_parks_the_table_alone() {
    let (server, brokers) = (Server::shared(), Brokers::shared());
    let (scene, tables) = two_tables(server, brokers, "topicless").await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    server.execute(&[format!("INSERT INTO {} VALUES (20,'before')", tables[0])]).await;
    let eleven = |status: &Status| status.table(&tables[0]).is_some_and(|table| table["rows"] == 11);
    let before = daemon.wait_for("the row in the lake", eleven).commit(&tables[0]);
    let admin: AdminClient<DefaultClientContext> = client(brokers).create().unwrap();
    admin.delete_topics(&[&topic(&scene, &tables[0])], &AdminOptions::new()).await.unwrap();
    server.execute(&[format!("INSERT INTO {} VALUES (21,'behind {before:?}')", tables[0])]).await;
    parks_and_is_rebuilt(server, &scene, daemon, &tables, &topic(&scene, &tables[0])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_record_parks_the_table_with_its_offset() {
    let (server, brokers) = (Server::shared(), Brokers::shared());
    let (scene, tables) = two_tables(server, brokers, "foreign_records").await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    server.execute(&[format!("INSERT INTO {} VALUES (20,'ours')", tables[0])]).await;
    daemon.wait_for("the row in the lake", |status| status.table(&tables[0]).is_some_and(|table| table["rows"] == 11));
    let producer: BaseProducer = client(brokers).create().unwrap();
    producer.send(BaseRecord::to(&topic(&scene, &tables[0])).key("k").payload("theirs")).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
    server.execute(&[format!("INSERT INTO {} VALUES (21,'ours again')", tables[0])]).await;
    parks_and_is_rebuilt(server, &scene, daemon, &tables, "no record of binlake's").await;
}

/// The record at the end of a topic, once more, with another term if one is given.
fn say_again(brokers: &Brokers, topic: &str, term: Option<&str>) {
    let consumer: BaseConsumer = client(brokers).set("group.id", "look").create().unwrap();
    let (_, end) = consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)).unwrap();
    let mut last = TopicPartitionList::new();
    last.add_partition_offset(topic, 0, Offset::Offset(end - 1)).unwrap();
    consumer.assign(&last).unwrap();
    let record = consumer.poll(Duration::from_secs(20)).expect("the last record comes").unwrap();
    let headers = record.headers().unwrap().iter().fold(OwnedHeaders::new(), |headers, header| {
        let other = term.filter(|_| header.key == "binlake.term").map(str::as_bytes);
        headers.insert(Header { key: header.key, value: other.or(header.value) })
    });
    let again = BaseRecord::to(topic).key(record.key().unwrap()).payload(record.payload().unwrap()).headers(headers);
    let producer: BaseProducer = client(brokers).create().unwrap();
    producer.send(again).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_repeated_records_are_left_out_and_counted() {
    let (server, brokers) = (Server::shared(), Brokers::shared());
    let (scene, tables) = two_tables(server, brokers, "said_again").await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let rows = |wanted: u64| move |status: &Status| status.table("said_again.one").is_some_and(|table| table["rows"] == wanted);
    server.execute(&[format!("INSERT INTO {} VALUES (20,'once')", tables[0])]).await;
    daemon.wait_for("the row in the lake", rows(11));
    for term in [None, None, Some("1")] {
        say_again(brokers, &topic(&scene, &tables[0]), term);
    }
    // Behind a start the log may hold whatever it likes: the next record is appended behind what is there.
    daemon.kill();
    let mut daemon = Daemon::start(&scene);
    server.execute(&[format!("INSERT INTO {} VALUES (21,'behind them')", tables[0])]).await;
    let status = daemon.wait_for("the row behind them in the lake", rows(12));
    let dropped = |table: &str| status.table(table).unwrap()["dropped_records"].clone();
    assert_eq!(dropped(&tables[0]), serde_json::json!({"late": 1, "repeated": 2}));
    assert_eq!(dropped(&tables[1]), serde_json::json!({"late": 0, "repeated": 0}));
    assert!(scene.good(&["status"]).contains("1 late records, 2 repeated ones"));
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
    assert_no_duplicates(&scene, &tables[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_what_other_consumers_expect() {
    let (server, brokers) = (Server::shared(), Brokers::shared());
    let (mut scene, tables) = two_tables(server, brokers, "for_others").await;
    scene.edit(|yaml| yaml.changelog = ", tombstones: true, topic: \"cdc-{source}-{database}.{table}\"".to_owned());
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let table = &tables[0];
    let changes = [
        format!("UPDATE {table} SET note = 'changed' WHERE id = 1"),
        format!("UPDATE {table} SET id = 100 WHERE id = 2"),
        format!("DELETE FROM {table} WHERE id = 3"),
    ];
    server.execute(&changes).await;
    daemon.stop();
    scene.catch_up();
    let consumer: BaseConsumer = client(brokers).set("group.id", "theirs").set("auto.offset.reset", "earliest").create().unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(&format!("cdc-{}-{table}", scene.yaml.name), 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let message = consumer.poll(Duration::from_secs(20)).expect("all records come").unwrap();
        let key = String::from_utf8_lossy(message.key().unwrap()).into_owned();
        let value: Option<serde_json::Value> = message.payload().map(|value| serde_json::from_slice(value).unwrap());
        seen.push((key, value.map(|value| value["op"].as_str().unwrap().to_owned())));
    }
    let expected = [("1", Some("u")), ("2", Some("d")), ("2", None), ("100", Some("c")), ("3", Some("d")), ("3", None)];
    let expected = expected.map(|(id, operation)| (format!("{{\"id\":{id}}}"), operation.map(str::to_owned)));
    assert_eq!(seen, expected);
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_over_the_limit_parks_its_table_with_its_key_and_size() {
    let (server, brokers) = (Server::shared(), Brokers::shared());
    let (mut scene, tables) = two_tables(server, brokers, "oversize").await;
    scene.edit(|yaml| yaml.changelog = ", topic_config: {max.message.bytes: \"60000\"}".to_owned());
    server.execute(&[format!("ALTER TABLE {} ADD COLUMN body MEDIUMTEXT", tables[0])]).await;
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    server
        .execute(&[
            format!("INSERT INTO {} VALUES (20,'fits',REPEAT('0123456789',3000))", tables[0]),
            format!("INSERT INTO {} VALUES (77,'does not',REPEAT('0123456789',30000))", tables[0]),
            format!("INSERT INTO {} VALUES (21,'behind it')", tables[1]),
        ])
        .await;
    let reason = daemon.wait_parked(&tables[0]);
    for word in ["{\\\"id\\\":77}", "bytes are more than", "exclude", "rebuild"] {
        assert!(reason.contains(word), "{word} is not in: {reason}");
    }
    daemon.stop();
    assert_eq!(scene.catch_up_somehow().code, Some(1), "the table is named at the end");
    assert_equal(&scene, server, &tables[1..]).await;
    scene.edit(|yaml| yaml.tables = vec![format!("{{table: \"oversize.*\", mode: both, columns: {{exclude: [body]}}}}")]);
    let mut daemon = Daemon::start(&scene);
    scene.good(&["rebuild", &tables[0]]);
    daemon.wait_live_again(&tables);
    daemon.stop();
}
