//! The main job with Kafka as the change log: real brokers, killed, frozen, cut off, without room and tampered with;
//! and consumers that are not ours.

mod brokers;
mod flink;
mod full_disks;
mod hall;
mod kcat;
mod pressure;
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

/// Kills a daemon under load so many times, each at some moment behind so many transactions.
async fn killed(hall: &Hall, seed: u64, kills: u64, transactions: u64) {
    let load = Workload::start(hall.server, hall.database, &SHAPES, seed).await;
    let mut daemon = Daemon::start(&hall.scene);
    daemon.wait_live(&hall.tables);
    for kill in 0..kills {
        load.commits(transactions).await;
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
async fn kills_at_any_moment_leave_no_hole_and_no_change_twice() {
    killed(&Hall::new("kafka_kills", Brokers::shared(), 2).await, 43, 8, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_transactions_too() {
    let brokers = Brokers::shared();
    let hall = Hall::at("kafka_transactions", &brokers.addresses(), "partitions: 2, transactions: true").await;
    killed(&hall, 47, 3, 30).await;
}
