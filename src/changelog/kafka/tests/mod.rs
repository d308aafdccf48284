//! The log on real brokers: its contract, and what only a cluster can do to it.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;
use crate::change::{ChangePosition, Failure, Remedy};
use crate::changelog::chain::{ChainCheck, Verdict};
use crate::changelog::contract::{Feed, Tenant, every_log};

#[path = "../../../../tests/servers/broker.rs"]
mod broker;
mod checked;
mod faults;
mod secure;

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

/// A log on the shared broker, and a topic that no other test uses, opened for term 1.
async fn log_with(change: impl FnOnce(KafkaSettings) -> KafkaSettings) -> (KafkaLog, String) {
    let log = KafkaLog::open(change(settings(Brokers::shared()))).unwrap();
    let topic = fresh_topic();
    log.open_topic(&topic, Term(1)).await.unwrap();
    (log, topic)
}

async fn all(log: &KafkaLog, topic: &str, from: u64) -> Result<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = records.last().map_or(LogOffset(from), |last| LogOffset(last.offset.0 + 1));
        let piece = log.read(topic, 0, from, LogOffset(u64::MAX), 1 << 20).await?;
        if piece.is_empty() {
            return Ok(records);
        }
        records.extend(piece);
    }
}

fn positions(records: &[Record]) -> Vec<ChangePosition> {
    records.iter().map(|record| record.position).collect()
}

fn positions_of(batches: &[AppendBatch]) -> Vec<ChangePosition> {
    batches.iter().flat_map(|batch| batch.records.iter().map(|record| record.position)).collect()
}

/// Puts a record into a topic as somebody else would.
fn put_foreign(topic: &str, key: &str, headers: Option<rdkafka::message::OwnedHeaders>) {
    let producer: BaseProducer = settings(Brokers::shared()).admin().create().unwrap();
    let mut record = BaseRecord::to(topic).key(key).payload("{}").partition(0);
    if let Some(headers) = headers {
        record = record.headers(headers);
    }
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
}

#[tokio::test]
async fn ends_are_those_of_the_append_alone() {
    let (log, topic) = log_with(|settings| KafkaSettings { partitions: 3, ..settings }).await;
    let (mut zero, mut two) = (Feed::new(&topic, 0), Feed::new(&topic, 2));
    let mut both = zero.batch(1, 2, 5);
    let more = two.batch(1, 3, 5);
    let shift = both.bytes.len();
    both.bytes.extend_from_slice(&more.bytes);
    both.records.extend(more.records.into_iter().map(|mut record| {
        record.key = record.key.start + shift..record.key.end + shift;
        record.value = record.value.start + shift..record.value.end + shift;
        record
    }));
    let ends = |acknowledged: Vec<Acknowledged>| acknowledged.into_iter().flat_map(|it| it.ends).collect::<Vec<_>>();
    let some = |offset| Some(LogOffset(offset));
    assert_eq!(ends(log.append(vec![both]).await.unwrap()), [some(2), None, some(3)]);
    assert_eq!(ends(log.append(vec![zero.batch(1, 1, 5)]).await.unwrap()), [some(3), None, None]);
    assert_eq!(ends(log.append(vec![zero.batch(1, 0, 5)]).await.unwrap()), [None, None, None]);
    assert_eq!(log.ends(&topic).await.unwrap(), [LogOffset(3), LogOffset(0), LogOffset(3)]);
}

#[tokio::test]
async fn what_a_predecessor_had_sent_and_not_published_is_the_tail() {
    let (log, topic) = log_with(|settings| settings).await;
    let mut feed = Feed::new(&topic, 0);
    let published = feed.batch(1, 3, 5);
    log.append(vec![published.clone()]).await.unwrap();
    log.append(vec![feed.batch(1, 40, 70_000)]).await.unwrap();
    drop(log);
    let log = KafkaLog::open(settings(Brokers::shared())).unwrap();
    log.open_topic(&topic, Term(2)).await.unwrap();
    let known = LogPlace { offset: LogOffset(3), last: published.records.last().map(|last| last.position), term: Term(1) };
    let tail = log.tails(&topic, &[known]).await.unwrap().remove(0);
    assert_eq!((tail.end, tail.marks.len()), (LogOffset(43), 40));
    let next = feed.batch(2, 1, 5);
    assert_eq!(tail.last.map(|(position, _)| position), next.records[0].previous);
    log.append(vec![next]).await.unwrap();
    let whole = log.tails(&topic, &[LogPlace { offset: LogOffset(44), ..known }]).await.unwrap().remove(0);
    assert_eq!((whole.end, whole.last), (LogOffset(44), known.last.map(|last| (last, Term(1)))), "nothing lies behind the place");
    assert_eq!(log.topic_term(&topic).await.unwrap(), Some(Term(2)));
    let other = KafkaLog::open(settings(Brokers::shared())).unwrap();
    assert_eq!(other.topic_term(&topic).await.unwrap(), Some(Term(2)));
}

#[tokio::test]
async fn a_record_over_the_limit_is_refused_before_anything_is_sent() {
    let (log, topic) =
        log_with(|settings| KafkaSettings { topic_config: config(&[("max.message.bytes", "100000")]), ..settings }).await;
    assert!((98_000..100_000).contains(&log.record_bytes_max(&topic)), "{}", log.record_bytes_max(&topic));
    let mut feed = Feed::new(&topic, 0);
    let mut batch = feed.clone().batch(1, 5, 20);
    let large = feed.clone().batch(1, 1, 100_000);
    batch.records[3].key = batch.bytes.len()..batch.bytes.len() + large.records[0].key.len();
    batch.records[3].value = batch.bytes.len() + large.records[0].value.start..batch.bytes.len() + large.records[0].value.end;
    batch.bytes.extend_from_slice(&large.bytes);
    let refused = log.append(vec![batch]).await.unwrap_err();
    assert!(
        matches!(&refused, Error::TooLarge { bytes_max, key, .. } if *bytes_max == log.record_bytes_max(&topic) && key == "{\"id\":0}"),
        "{refused}"
    );
    assert!(matches!(refused.remedy(), Remedy::Park(_)));
    assert_eq!(log.ends(&topic).await.unwrap(), [LogOffset(0)]);
    // The largest that fits does, though it does not compress; and so do many that are too large together.
    let most = usize::try_from(log.record_bytes_max(&topic)).unwrap() - 8;
    for (records, bytes) in [(1, most), (300, 3_000)] {
        log.append(vec![feed.batch(1, records, bytes)]).await.unwrap();
    }
    assert_eq!(all(&log, &topic, 0).await.unwrap().len(), 301);
}

#[tokio::test]
async fn a_limit_that_is_lowered_under_us_loses_nothing() {
    let (log, topic) = log_with(|settings| settings).await;
    let mut feed = Feed::new(&topic, 0);
    log.append(vec![feed.batch(1, 1, 200_000)]).await.unwrap();
    let lowered =
        rdkafka::admin::AlterConfig::new(rdkafka::admin::ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "100000");
    log.topics.admin().unwrap().alter_configs([&lowered], &AdminOptions::new()).await.unwrap();
    let large = feed.clone().batch(1, 1, 200_000);
    let refused = log.append(vec![large]).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    let small = feed.batch(1, 200, 2_000);
    log.append(vec![small]).await.unwrap();
    assert_eq!(all(&log, &topic, 0).await.unwrap().len(), 201);
}

#[tokio::test]
async fn a_topic_that_is_deleted_or_made_anew_is_loud() {
    let (log, topic) = log_with(|settings| settings).await;
    let mut feed = Feed::new(&topic, 0);
    log.append(vec![feed.batch(1, 5, 20)]).await.unwrap();
    assert_eq!(all(&log, &topic, 0).await.unwrap().len(), 5);
    delete(&log, &[&topic]).await;
    assert!(matches!(log.read(&topic, 0, LogOffset(5), LogOffset(6), 1).await, Err(Error::Missing { .. })));
    assert!(matches!(log.read(&topic, 0, LogOffset(2), LogOffset(5), 1).await, Err(Error::Missing { .. })));
    assert!(matches!(log.tails(&topic, &[]).await, Err(Error::Missing { .. })));
    assert_eq!(KafkaLog::open(settings(Brokers::shared())).unwrap().topic_term(&topic).await.unwrap(), None);
    // Somebody makes it anew while a producer goes on: what is acknowledged then lies below what was.
    log.topics.try_create(&topic, false).await.unwrap().unwrap();
    let error = log.append(vec![feed.batch(1, 1, 20)]).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. } | Error::Missing { .. } | Error::Storage { .. }), "{error}");
    let error = log.read(&topic, 0, LogOffset(5), LogOffset(6), 1).await.unwrap_err();
    assert!(matches!(error, Error::Broken { offset: LogOffset(5), .. }), "{error}");
    let known = LogPlace { offset: LogOffset(5), last: None, term: Term(1) };
    assert!(log.tails(&topic, &[known]).await.unwrap()[0].end < known.offset);
}

#[tokio::test]
async fn bounds_that_are_asked_for_one_by_one_are_the_right_ones() {
    let (log, topic) = log_with(|settings| settings).await;
    let asked = |topic: String| log.cluster.ask(move |cluster| Ok(cluster.bounds_one_by_one(&topic)));
    assert_eq!(asked(topic.clone()).await.unwrap(), Ok((0, 0)));
    log.append(vec![Feed::new(&topic, 0).batch(1, 10, 20)]).await.unwrap();
    assert_eq!(asked(topic.clone()).await.unwrap(), Ok((0, 10)));
    let mut below = rdkafka::TopicPartitionList::new();
    below.add_partition_offset(&topic, 0, rdkafka::Offset::End).unwrap();
    log.topics.admin().unwrap().delete_records(&below, &AdminOptions::new()).await.unwrap();
    assert_eq!(asked(topic.clone()).await.unwrap(), Ok((10, 10)));
    assert_eq!(log.cluster.ask(move |cluster| cluster.bounds(&topic, 0)).await.unwrap().first, LogOffset(10));
}

#[tokio::test]
async fn what_retention_has_eaten_is_lost_and_says_where_it_begins() {
    let (log, topic) = log_with(|settings| settings).await;
    let mut feed = Feed::new(&topic, 0);
    log.append(vec![feed.batch(1, 10, 20)]).await.unwrap();
    assert_eq!(log.read(&topic, 0, LogOffset(0), LogOffset(2), 1 << 20).await.unwrap().len(), 2);
    let mut below = rdkafka::TopicPartitionList::new();
    below.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(6)).unwrap();
    log.topics.admin().unwrap().delete_records(&below, &AdminOptions::new()).await.unwrap();
    for from in [0, 2, 5] {
        match log.read(&topic, 0, LogOffset(from), LogOffset(10), 1 << 20).await {
            Err(Error::Lost { first: LogOffset(6), .. }) => {}
            // It was fetched ahead before it was deleted: the reader that stood there has it.
            Ok(records) if from == 2 => assert_eq!(records[0].offset, LogOffset(2)),
            other => panic!("from {from}: {other:?}"),
        }
    }
    assert_eq!(all(&log, &topic, 6).await.unwrap().len(), 4);
    let known = LogPlace { offset: LogOffset(3), last: None, term: Term(1) };
    assert!(matches!(log.tails(&topic, &[known]).await, Err(Error::Lost { .. })));
    let behind = log.read(&topic, 0, LogOffset(11), LogOffset(20), 1).await.unwrap_err();
    assert!(matches!(behind, Error::Broken { offset: LogOffset(11), .. }), "{behind}");
}

#[tokio::test]
async fn a_mark_that_retention_has_eaten_is_no_loss() {
    let (log, topic) = log_with(|settings| KafkaSettings { transactions: true, name: "silent".to_owned(), ..settings }).await;
    let mut feed = Feed::new(&topic, 0);
    let silent = log.append(vec![feed.batch(1, 3, 20)]).await.unwrap()[0].ends[0].unwrap();
    log.append(vec![feed.batch(1, 2, 20)]).await.unwrap();
    let mut below = rdkafka::TopicPartitionList::new();
    below.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(i64::try_from(silent.0).unwrap() + 1)).unwrap();
    log.topics.admin().unwrap().delete_records(&below, &AdminOptions::new()).await.unwrap();
    let read = log.read(&topic, 0, silent, LogOffset(6), 1 << 20).await.unwrap();
    assert_eq!(read.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [4, 5]);
    let known = LogPlace { offset: silent, last: None, term: Term(1) };
    assert_eq!(log.tails(&topic, &[known]).await.unwrap()[0].marks.len(), 2);
    // What was published and is gone is lost all the same.
    assert!(matches!(log.read(&topic, 0, LogOffset(2), silent, 1).await, Err(Error::Lost { first: LogOffset(4), .. })));
}

#[tokio::test]
async fn who_stands_before_a_mark_reads_what_came_behind_it() {
    let (log, topic) = log_with(|settings| KafkaSettings { transactions: true, name: "standing".to_owned(), ..settings }).await;
    let mut feed = Feed::new(&topic, 0);
    let mut from = LogOffset(0);
    for records in 1..4 {
        let end = log.append(vec![feed.batch(1, records, 20)]).await.unwrap()[0].ends[0].unwrap();
        // A reader that goes on knows an end from before: there is a mark between the two, and nothing else.
        let read = log.read(&topic, 0, from, end, 1 << 20).await.unwrap();
        assert_eq!(read.len() as u64, records, "between {from} and {end}");
        from = end;
    }
}

#[tokio::test]
async fn a_foreign_record_is_told_with_its_offset() {
    let (log, topic) = log_with(|settings| settings).await;
    let mut feed = Feed::new(&topic, 0);
    log.append(vec![feed.batch(1, 3, 20)]).await.unwrap();
    put_foreign(&topic, "x", None);
    log.append(vec![feed.batch(1, 1, 20)]).await.unwrap();
    assert_eq!(log.read(&topic, 0, LogOffset(0), LogOffset(3), 1 << 20).await.unwrap().len(), 3);
    let error = log.read(&topic, 0, LogOffset(3), LogOffset(5), 1 << 20).await.unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { offset: LogOffset(3), reason, .. } if reason.contains("no record of binlake's")),
        "{error}"
    );
    assert!(matches!(error.remedy(), Remedy::Park(_)));
    assert_eq!(log.read(&topic, 0, LogOffset(4), LogOffset(5), 1 << 20).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_delete_is_followed_by_a_record_without_a_value_where_that_is_wanted() {
    let (log, topic) = log_with(|settings| KafkaSettings { tombstones: true, ..settings }).await;
    let mut feed = Feed::new(&topic, 0);
    let mut batch = feed.batch(1, 3, 0);
    let value = br#"{"before":{},"after":null,"source":{},"op":"d","ts_ms":1,"ts_us":1000,"ts_ns":1000000}"#;
    for nth in [0, 2] {
        batch.records[nth].value = batch.bytes.len()..batch.bytes.len() + value.len();
        batch.bytes.extend_from_slice(value);
    }
    let acknowledged = log.append(vec![batch.clone()]).await.unwrap();
    assert_eq!(acknowledged[0].ends, [Some(LogOffset(5))]);
    let records = all(&log, &topic, 0).await.unwrap();
    assert_eq!(records.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(positions(&records), positions_of(&[batch]));
    assert!(log.read(&topic, 0, LogOffset(4), LogOffset(5), 1).await.unwrap().is_empty(), "nothing but a tombstone");
}

#[tokio::test]
async fn transactions_shut_a_predecessor_out_and_hide_what_it_left() {
    let transactional = |settings| KafkaSettings { transactions: true, name: "fenced".to_owned(), ..settings };
    let (old, topic) = log_with(transactional).await;
    let mut feed = Feed::new(&topic, 0);
    let mut batches = vec![feed.batch(1, 3, 20), feed.batch(1, 2, 20)];
    for (batch, end) in batches.iter().zip([3, 6]) {
        let acknowledged = old.append(vec![batch.clone()]).await.unwrap();
        assert_eq!(acknowledged[0].ends, [Some(LogOffset(end))]);
        let read = old.read(&topic, 0, LogOffset(end - 1), LogOffset(end), 1).await.unwrap();
        assert_eq!(read.len(), 1, "what is acknowledged can be read at once");
    }
    // What the predecessor has under way when its successor comes.
    let client: BaseProducer = old.settings.producer(1_000_000, 1_000_000).create().unwrap();
    client.init_transactions(Duration::from_secs(20)).unwrap();
    client.begin_transaction().unwrap();
    let headers = headers::HeaderWriter::default().write(&feed.clone().batch(1, 1, 1).records[0], Term(1));
    client
        .send(BaseRecord::<str, str>::to(&topic).partition(0).payload("left").headers(headers))
        .map_err(|(error, _)| error)
        .unwrap();
    client.flush(Duration::from_secs(10)).unwrap();

    let new = KafkaLog::open(transactional(settings(Brokers::shared()))).unwrap();
    new.open_topic(&topic, Term(2)).await.unwrap();
    let tail = new.tails(&topic, &[]).await.unwrap().remove(0);
    let next = feed.batch(2, 2, 20);
    assert_eq!(tail.last.map(|(position, _)| position), next.records[0].previous);
    let error = old.append(vec![feed.clone().batch(1, 1, 20)]).await.unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    new.append(vec![next.clone()]).await.unwrap();
    batches.push(next);
    assert_eq!(positions(&all(&new, &topic, 0).await.unwrap()), positions_of(&batches));
    let error = old.append(vec![feed.clone().batch(1, 1, 20)]).await.unwrap_err();
    assert!(matches!(error, Error::Storage { .. }), "it does not shut its successor out by itself: {error}");
    new.append(vec![feed.batch(2, 1, 20)]).await.unwrap();
}

#[tokio::test]
async fn a_dashboard_sees_how_far_a_table_is() {
    let (log, topic) = log_with(|settings| KafkaSettings { name: "dashboards".to_owned(), ..settings }).await;
    log.append(vec![Feed::new(&topic, 0).batch(1, 5, 20)]).await.unwrap();
    log.advance(&topic, &Consumer("ods.books/g0001".to_owned()), &[LogOffset(4)]).await.unwrap();
    let client: rdkafka::consumer::BaseConsumer = log.settings.consumer().create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition(&topic, 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = rdkafka::consumer::Consumer::committed_offsets(&client, list.clone(), Duration::from_secs(5)).unwrap();
        if found.elements()[0].offset() == rdkafka::Offset::Offset(4) {
            break;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether all threads of a process stand still.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| std::fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| stat.contains(") T ")))
}

#[tokio::test]
async fn a_cluster_that_hangs_is_waited_for_and_an_append_may_be_given_up() {
    let brokers = Brokers::start(1, &[]);
    let log = Arc::new(KafkaLog::open(settings(&brokers)).unwrap());
    let mut feed = Feed::new("t", 0);
    log.open_topic("t", Term(1)).await.unwrap();
    log.append(vec![feed.batch(1, 2, 20)]).await.unwrap();
    let signal = |name: &str| {
        let pid = brokers.pid(1).to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    // Each thread stops when it is next at it.
    while !is_stopped(brokers.pid(1)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let given_up = tokio::time::timeout(Duration::from_millis(500), log.append(vec![feed.clone().batch(1, 1, 20)])).await;
    assert!(given_up.is_err());
    let waiting = tokio::spawn({
        let (log, batch) = (Arc::clone(&log), feed.batch(1, 2, 20));
        async move { log.append(vec![batch]).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    signal("-CONT");
    waiting.await.unwrap().unwrap();
    // The append that was given up may have got in all the same: its record is the first of the next one.
    let mut check = ChainCheck::new("t", 0, &LogPlace::default());
    let mut taken = Vec::new();
    for record in all(&log, "t", 0).await.unwrap() {
        if check.check(&record).unwrap() == Verdict::Take {
            taken.push(record.position);
        }
    }
    assert_eq!(taken, positions_of(&[Feed::new("t", 0).batch(1, 4, 20)]));
}
