//! A broker has no room left on its disk: it ends, and whoever needs it waits until there is room and it is started again.

use std::path::Path;
use std::time::{Duration, Instant};

use super::hall::Hall;
use crate::bounded::assert_within;
use crate::broker::Brokers;
use crate::daemon::Daemon;
use crate::mount::Mount;
use crate::scene::LOOK_INTERVAL;
use crate::workload::{SHAPES, Workload};

const MEMORY_MIB: u64 = 64;
/// Room for node 1, in KiB.
const DISK_KIB: u64 = 192 << 10;
const LIMIT: Duration = Duration::from_secs(120);

/// Waits until a broker has ended by itself.
async fn wait_ended(brokers: &Brokers, node: u16, load: &Workload) {
    let (process, deadline) = (format!("/proc/{}/exe", brokers.pid(node)), Instant::now() + LIMIT);
    // The link of a process that has ended, and that nobody has asked for its end yet, cannot be read.
    while std::fs::read_link(Path::new(&process)).is_ok() {
        assert!(Instant::now() < deadline, "node {node} goes on without room");
        load.commits(5).await;
    }
}

/// How often the daemon has said that nothing is acknowledged.
fn said(hall: &Hall) -> usize {
    std::fs::read_to_string(hall.scene.log()).unwrap().matches("kafka acknowledges nothing").count()
}

async fn wait_said(hall: &Hall, before: usize) {
    let deadline = Instant::now() + LIMIT;
    while said(hall) <= before {
        assert!(Instant::now() < deadline, "nothing is said of a log that acknowledges nothing");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: brokers that run out of room"]
async fn the_only_broker_runs_out_of_room_and_everything_waits_until_it_has_some() {
    let directory = tempfile::Builder::new().prefix("binlake-kafka.").tempdir().unwrap();
    let disk = Mount::new(&directory.path().join("n1"), DISK_KIB);
    let brokers = Brokers::start_in(directory.path().to_owned(), 1, &[]);
    let mut hall = Hall::new("kafka_full_disk", &brokers, 2).await;
    hall.scene.edit(|yaml| yaml.more = format!("memory: {MEMORY_MIB}MiB\n"));
    let load = Workload::start(hall.server, hall.database, &SHAPES, 71).await;
    let mut daemon = Daemon::start(&hall.scene);
    daemon.wait_live(&hall.tables);
    for round in 1..=2 {
        load.commits(40).await;
        let before = said(&hall);
        disk.fill();
        wait_ended(&brokers, 1, &load).await;
        wait_said(&hall, before).await;
        let stands = hall.published();
        load.commits(200).await;
        assert_eq!(hall.published(), stands, "published moves without a log");
        assert!(daemon.runs());
        assert_within(&daemon, MEMORY_MIB);
        disk.empty();
        if round == 2 {
            // What waits for a broker is given up when the daemon is told to end.
            daemon.stop();
            daemon = Daemon::start(&hall.scene);
        }
        brokers.start_again(1);
        hall.wait_beyond(&hall.topic("ordinary"), &hall.ends(&hall.topic("ordinary")));
    }
    assert_within(&daemon, MEMORY_MIB);
    load.stop().await;
    daemon.stop();
    hall.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: brokers that run out of room"]
async fn one_of_three_brokers_runs_out_of_room_and_nobody_waits_for_it() {
    let directory = tempfile::Builder::new().prefix("binlake-kafka.").tempdir().unwrap();
    let disk = Mount::new(&directory.path().join("n1"), DISK_KIB);
    let brokers = Brokers::start_in(directory.path().to_owned(), 3, &[]);
    let more = "partitions: 3, replication: 3, topic_config: {min.insync.replicas: \"2\"}";
    let hall = Hall::at("kafka_full_disk_of_three", &brokers.addresses(), more).await;
    let load = Workload::start(hall.server, hall.database, &SHAPES, 73).await;
    let mut daemon = Daemon::start(&hall.scene);
    daemon.wait_live(&hall.tables);
    load.commits(40).await;
    disk.fill();
    wait_ended(&brokers, 1, &load).await;
    load.commits(100).await;
    hall.wait_beyond(&hall.topic("ordinary"), &hall.ends(&hall.topic("ordinary")));
    disk.empty();
    brokers.start_again(1);
    hall.wait_replicated(3);
    load.stop().await;
    daemon.stop();
    hall.assert_exact().await;
}
