//! Brokers that die, stand still, and come back.

use std::time::Duration;

use super::hall::{self, Hall};
use crate::bounded::assert_within;
use crate::broker::Brokers;
use crate::daemon::Daemon;
use crate::proxy::{Proxy, Weather};
use crate::scene::Status;
use crate::workload::{SHAPES, Workload};

#[tokio::test(flavor = "multi_thread")]
async fn the_only_broker_killed_stopped_and_frozen() {
    let brokers = Brokers::start(1, &[]);
    let hall = Hall::new("kafka_one_broker", &brokers, 2).await;
    let load = Workload::start(hall.server, hall.database, &SHAPES, 51).await;
    let mut daemon = Daemon::start(&hall.scene);
    daemon.wait_live(&hall.tables);
    for _ in 0..2 {
        load.commits(20).await;
        brokers.kill(1);
        load.commits(20).await;
        brokers.start_again(1);
        hall.wait_beyond(&hall.topic("ordinary"), &hall.ends(&hall.topic("ordinary")));
    }
    brokers.stop(1);
    load.commits(200).await;
    brokers.start_again(1);
    hall::signal(brokers.pid(1), "-STOP");
    load.commits(200).await;
    let source = |status: &Status| status.0["sources"][0].clone();
    let waits = daemon.wait_for("a word of who is waited for", |status| source(status)["reason"].is_string());
    let (reason, remedy) = (source(&waits)["reason"].to_string(), source(&waits)["remedy"].to_string());
    assert!(reason.contains("acknowledges nothing") && reason.contains(&brokers.addresses()[0]), "{reason}");
    assert!(remedy.contains("min.insync.replicas") && remedy.contains("by itself"), "{remedy}");
    hall::signal(brokers.pid(1), "-CONT");
    hall.wait_beyond(&hall.topic("ordinary"), &hall.ends(&hall.topic("ordinary")));
    daemon.wait_for("no word of it any more", |status| source(status)["reason"].is_null());
    assert!(daemon.runs());
    load.stop().await;
    daemon.stop();
    hall.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaders_of_three_brokers_killed_one_after_another() {
    let brokers = Brokers::start(3, &[]);
    let more = "partitions: 3, replication: 3, topic_config: {min.insync.replicas: \"2\"}";
    let hall = Hall::at("kafka_three_brokers", &brokers.addresses(), more).await;
    let load = Workload::start(hall.server, hall.database, &SHAPES, 53).await;
    let mut daemon = Daemon::start(&hall.scene);
    daemon.wait_live(&hall.tables);
    for node in 1..=3 {
        load.commits(20).await;
        brokers.kill(node);
        load.commits(100).await;
        hall.wait_beyond(&hall.topic("ordinary"), &hall.ends(&hall.topic("ordinary")));
        brokers.start_again(node);
        hall.wait_replicated(3);
    }
    load.stop().await;
    daemon.stop();
    hall.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_held_up_and_slow() {
    let proxy = Proxy::start(0).await;
    let advertised = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:@CONTROLLER@", proxy.port());
    let brokers = Brokers::start(1, &[&advertised]);
    proxy.point(hall::port(&brokers.addresses()[0]));
    let mut hall = Hall::at("kafka_network", &[format!("127.0.0.1:{}", proxy.port())], "partitions: 2").await;
    hall.scene.edit(|yaml| yaml.more = "memory: 64MiB\n".to_owned());
    let load = Workload::start(hall.server, hall.database, &SHAPES, 57).await;
    let mut daemon = Daemon::start(&hall.scene);
    daemon.wait_live(&hall.tables);
    for weather in [Weather::Fair, Weather::Stalled, Weather::Slow(Duration::from_millis(3)), Weather::Refusing] {
        proxy.set(weather);
        for _ in 0..5 {
            load.commits(10).await;
            proxy.cut();
        }
        proxy.set(Weather::Fair);
        hall.wait_beyond(&hall.topic("ordinary"), &hall.ends(&hall.topic("ordinary")));
    }
    assert!(daemon.runs());
    assert_within(&daemon, 64);
    load.stop().await;
    daemon.stop();
    hall.assert_exact().await;
}
