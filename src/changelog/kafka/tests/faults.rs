//! Brokers that die: what was acknowledged is there, whole and in order.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Appends to a topic until it is told to stop, as a tailer does: after a failure it goes on behind the tail that it finds.
async fn keep_appending(log: Arc<KafkaLog>, topic: String, stop: Arc<AtomicBool>) -> Vec<AppendBatch> {
    let (mut feed, mut acknowledged) = (Feed::new(&topic, 0), Vec::new());
    let mut ends = LogOffset(0);
    while !stop.load(Ordering::Acquire) {
        let batch = feed.batch(1, 200, 100);
        let done = log.append(vec![batch.clone()]).await.unwrap_or_else(|error| panic!("appending goes on: {error}"));
        assert!(done[0].ends[0] > Some(ends), "{done:?} behind {ends}");
        ends = done[0].ends[0].unwrap();
        acknowledged.push(batch);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    acknowledged
}

/// Runs `faults` while somebody appends, and reads back.
async fn survives(log: KafkaLog, topic: &str, faults: impl AsyncFnOnce(&KafkaLog)) {
    let (log, stop) = (Arc::new(log), Arc::new(AtomicBool::new(false)));
    let appending = tokio::spawn(keep_appending(Arc::clone(&log), topic.to_owned(), Arc::clone(&stop)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    faults(&log).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Release);
    let acknowledged = appending.await.unwrap();
    assert!(acknowledged.len() > 10, "{} appends", acknowledged.len());
    let read = all(&log, topic, 0).await.unwrap();
    assert_eq!(read.len(), acknowledged.len() * 200);
    assert!(positions(&read) == positions_of(&acknowledged), "what was acknowledged is there, once and in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_broker_is_killed_and_comes_back() {
    for transactions in [false, true] {
        let brokers = Brokers::start(1, &[]);
        let log = KafkaLog::open(KafkaSettings { transactions, ..settings(&brokers) }).unwrap();
        log.open_topic("t", Term(1)).await.unwrap();
        survives(log, "t", async |_| {
            tokio::task::block_in_place(|| {
                brokers.kill(1);
                std::thread::sleep(Duration::from_secs(1));
                brokers.start_again(1);
            });
        })
        .await;
    }
}

async fn the_leader_is_killed(brokers: &Brokers, transactions: bool, times: usize) {
    let topic = fresh_topic();
    let name = topic.clone();
    let log = KafkaLog::open(KafkaSettings { transactions, replication: Some(3), ..settings(brokers) }).unwrap();
    log.open_topic(&topic, Term(1)).await.unwrap();
    survives(log, &topic, async |log| {
        for _ in 0..times {
            let name = name.clone();
            let look = move |cluster: &Cluster| cluster.describe(&name, |found| found.partitions()[0].leader());
            let leader = u16::try_from(log.cluster.ask(look).await.unwrap().unwrap()).unwrap();
            tokio::task::block_in_place(|| {
                brokers.kill(leader);
                std::thread::sleep(Duration::from_secs(4));
                brokers.start_again(leader);
            });
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_three_is_killed() {
    the_leader_is_killed(&Brokers::start(3, &[]), false, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute of dying brokers"]
async fn the_leader_of_three_is_killed_again_and_again() {
    let brokers = Brokers::start(3, &[]);
    for transactions in [false, true] {
        the_leader_is_killed(&brokers, transactions, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute without brokers"]
async fn all_brokers_are_away_for_a_minute_and_reading_waits_too() {
    let brokers = Brokers::start(1, &[]);
    let log = KafkaLog::open(settings(&brokers)).unwrap();
    log.open_topic("t", Term(1)).await.unwrap();
    log.open_topic("u", Term(1)).await.unwrap();
    log.append(vec![Feed::new("u", 0).batch(1, 5, 20)]).await.unwrap();
    survives(log, "t", async |log| {
        tokio::task::block_in_place(|| brokers.stop(1));
        let reading = log.read("u", 0, LogOffset(0), LogOffset(5), 1 << 20).await;
        assert!(matches!(reading, Err(Error::Storage { .. })), "{reading:?}");
        tokio::time::sleep(Duration::from_secs(50)).await;
        tokio::task::block_in_place(|| brokers.start_again(1));
        assert_eq!(all(log, "u", 0).await.unwrap().len(), 5);
    })
    .await;
}
