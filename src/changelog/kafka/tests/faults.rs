//! Brokers that die: what was acknowledged is there, whole and in order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// Somebody who appends to a topic.
#[derive(Default)]
struct Appending {
    stop: AtomicBool,
    /// Appends that were acknowledged.
    done: AtomicUsize,
}

impl Appending {
    /// Appends until it is told to stop. No fault of the brokers' fails an append, but for a mark of a commit that they lose: then it
    /// goes on behind what is there, as the tailer does.
    async fn run(self: Arc<Self>, log: Arc<KafkaLog>, topic: String) -> Vec<AppendBatch> {
        let (mut feed, mut acknowledged, mut end) = (Feed::new(&topic, 0), Vec::new(), LogOffset(0));
        while !self.stop.load(Ordering::Acquire) {
            let batch = feed.batch(1, 200, 100);
            let done = loop {
                match log.append(vec![batch.clone()]).await {
                    Ok(done) => break done,
                    Err(error) if error.to_string().contains("do not show what was committed") => {
                        log.open_topic(&topic, Term(1)).await.unwrap();
                    }
                    Err(error) => panic!("appending goes on: {error}"),
                }
            };
            assert!(done[0].ends[0] > Some(end), "{done:?} behind {end}");
            end = done[0].ends[0].unwrap();
            acknowledged.push(batch);
            self.done.fetch_add(1, Ordering::AcqRel);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        acknowledged
    }

    /// Waits until so many more are done.
    async fn more(&self, appends: usize) {
        let (goal, deadline) = (self.done.load(Ordering::Acquire) + appends, Instant::now() + Duration::from_secs(120));
        while self.done.load(Ordering::Acquire) < goal {
            assert!(Instant::now() < deadline, "nothing is acknowledged");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Runs `faults` while somebody appends, and reads back.
async fn survives(log: KafkaLog, topic: &str, faults: impl AsyncFnOnce(&KafkaLog)) {
    let (log, appending) = (Arc::new(log), Arc::new(Appending::default()));
    let running = tokio::spawn(Arc::clone(&appending).run(Arc::clone(&log), topic.to_owned()));
    appending.more(20).await;
    faults(&log).await;
    appending.more(20).await;
    appending.stop.store(true, Ordering::Release);
    let acknowledged = running.await.unwrap();
    let mut read = positions(&all(&log, topic, 0).await.unwrap());
    let sent_again = read.len() - acknowledged.len() * 200;
    assert!(sent_again.is_multiple_of(200) && (log.settings.transactions || sent_again == 0), "{sent_again} repeated");
    // A reader leaves out what it has.
    let mut last = None;
    read.retain(|position| {
        let before = last;
        last = last.max(Some(*position));
        before < last
    });
    assert!(read == positions_of(&acknowledged), "what was acknowledged is there, once and in order");
}

async fn a_single_broker_dies(transactions: bool, times: u64) {
    let brokers = Brokers::start(1, &[]);
    let log = KafkaLog::open(KafkaSettings { transactions, ..settings(&brokers) }).unwrap();
    log.open_topic("t", Term(1)).await.unwrap();
    survives(log, "t", async |_| {
        for nth in 0..times {
            tokio::task::block_in_place(|| {
                brokers.kill(1);
                std::thread::sleep(Duration::from_secs(1));
                brokers.start_again(1);
                std::thread::sleep(Duration::from_millis(500 * (nth % 5)));
            });
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_broker_is_killed_and_comes_back() {
    for transactions in [false, true] {
        a_single_broker_dies(transactions, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: some kills make the broker lose a commit's mark"]
async fn a_single_broker_is_killed_again_and_again() {
    for transactions in [false, true] {
        a_single_broker_dies(transactions, 20).await;
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

/// Not a benchmark, a look: `cargo test --release --lib kafka::tests::faults::speed -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "prints the speed of the log on Kafka"]
async fn speed() {
    let (log, topic) = log_with(|settings| settings).await;
    let mut feed = Feed::new(&topic, 0);
    let cpu = || {
        std::fs::read_to_string("/proc/self/stat")
            .unwrap()
            .split(' ')
            .skip(13)
            .take(2)
            .map(|n| n.parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let batches: Vec<_> = (0..50).map(|_| Arc::new(vec![feed.batch(1, 10_000, 300)])).collect();
    let (start, ticks) = (Instant::now(), cpu());
    for batch in &batches {
        log.send(batch).await.unwrap();
    }
    println!("500,000 records of 300 bytes: appended in {:?}, {} ms CPU", start.elapsed(), (cpu() - ticks) * 10);
    let (start, ticks) = (Instant::now(), cpu());
    let (mut at, mut reads) = (LogOffset(0), 0);
    while at < LogOffset(500_000) {
        let records = log.read(&topic, 0, at, LogOffset(500_000), 1 << 20).await.unwrap();
        at = LogOffset(records.last().unwrap().offset.0 + 1);
        reads += 1;
    }
    println!("read in {:?}, {} ms CPU, {reads} reads", start.elapsed(), (cpu() - ticks) * 10);
}
