//! A daemon that was frozen, and its successor: the old one wakes, and goes on writing into the topics.

use std::process::Command;
use std::time::{Duration, Instant};

use super::hall::{self, Hall};
use crate::broker::Brokers;
use crate::daemon::Daemon;
use crate::scene::Scene;
use crate::workload::{SHAPES, Workload};

/// The scene of a daemon on another machine: the same file, a copy of the state, the same lake and brokers.
fn elsewhere(hall: &Hall) -> Scene {
    let mut scene = Scene::new(hall.server, &hall.scene.yaml.tables);
    let copied = Command::new("cp").arg("-a").arg(hall.scene.path("state")).arg(scene.path("")).status().unwrap();
    assert!(copied.success());
    scene.lake = hall.scene.path("lake");
    let yaml = hall.scene.yaml.clone();
    scene.edit(|new| *new = yaml);
    scene
}

/// The old one is frozen, a copy of its state is started elsewhere, and the old one wakes: the lake stays exact.
async fn taken_over(database: &'static str, seed: u64, more: &str) -> (Hall, Scene) {
    let mut hall = Hall::at(database, &Brokers::shared().addresses(), more).await;
    let load = Workload::start(hall.server, hall.database, &SHAPES, seed).await;
    let mut old = Daemon::start(&hall.scene);
    old.wait_live(&hall.tables);
    load.commits(60).await;
    hall::signal(old.pid(), "-STOP");
    let scene = elsewhere(&hall);
    let mut new = Daemon::start(&scene);
    new.wait_live(&hall.tables);
    load.commits(60).await;
    hall::signal(old.pid(), "-CONT");
    load.commits(150).await;
    // Whoever was overtaken says so, and ends.
    let deadline = Instant::now() + Duration::from_secs(60);
    while old.runs() && !hall.scene.has_logged("is ahead of this metadata store") && !hall.scene.has_logged("overtaken") {
        assert!(Instant::now() < deadline, "the old daemon has not noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    load.stop().await;
    new.stop();
    drop(old);
    // What is asked from here on is asked of the successor.
    let old = std::mem::replace(&mut hall.scene, scene);
    (hall, old)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_daemon_that_wakes_changes_nothing_in_the_lake() {
    let (hall, _old) = taken_over("kafka_frozen", 61, "partitions: 2").await;
    hall.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_transactions_the_brokers_shut_it_out() {
    let (hall, _old) = taken_over("kafka_frozen_out", 63, "partitions: 2, transactions: true").await;
    assert!(!hall.scene.has_logged("record left out"), "a record of the old daemon got in");
    hall.assert_exact().await;
}
