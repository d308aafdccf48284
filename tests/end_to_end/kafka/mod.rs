//! The main job with Kafka as the change log: real brokers, killed, frozen, cut off and tampered with.

mod brokers;
mod hall;
mod switch;
mod topics;
mod two;

use std::time::Duration;

use crate::broker::Brokers;
use crate::daemon::Daemon;
use crate::workload::{SHAPES, Workload};
use hall::Hall;

#[tokio::test(flavor = "multi_thread")]
async fn tables_under_load_stay_equal_with_three_partitions() {
    let hall = Hall::new("kafka_load", Brokers::shared(), 3).await;
    let load = Workload::start(hall.server, hall.database, &SHAPES, 41).await;
    load.commits(20).await;
    let mut daemon = Daemon::start(&hall.scene);
    daemon.wait_live(&hall.tables);
    load.commits(300).await;
    let ends = hall.ends(&hall.topic("ordinary"));
    assert!(ends.len() == 3 && ends.iter().all(|end| *end > 0), "keys are spread over partitions: {ends:?}");
    daemon.stop();
    load.commits(50).await;
    load.stop().await;
    hall.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_leave_no_hole_and_no_change_twice() {
    let hall = Hall::new("kafka_kills", Brokers::shared(), 2).await;
    let load = Workload::start(hall.server, hall.database, &SHAPES, 43).await;
    let mut daemon = Daemon::start(&hall.scene);
    daemon.wait_live(&hall.tables);
    for kill in 0..8_u64 {
        load.commits(15).await;
        tokio::time::sleep(Duration::from_millis(kill * 97 % 400)).await;
        daemon.kill();
        daemon = Daemon::start(&hall.scene);
        daemon.wait_live(&hall.tables);
    }
    load.stop().await;
    daemon.stop();
    hall.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_transactions_too() {
    let brokers = Brokers::shared();
    let hall = Hall::at("kafka_transactions", &brokers.addresses(), "partitions: 2, transactions: true").await;
    let load = Workload::start(hall.server, hall.database, &SHAPES, 47).await;
    let mut daemon = Daemon::start(&hall.scene);
    daemon.wait_live(&hall.tables);
    for _ in 0..3 {
        load.commits(30).await;
        daemon.kill();
        daemon = Daemon::start(&hall.scene);
        daemon.wait_live(&hall.tables);
    }
    load.stop().await;
    daemon.stop();
    hall.assert_exact().await;
}
