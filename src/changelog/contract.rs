//! The contract of [`ChangeLog`] as a suite that every tenant's tests run.
//!
//! [`every_log`] is what any log keeps; [`bounded_log`] what a log keeps besides that knows its consumers and can refuse a record:
//! the embedded one and the one in memory.

use std::sync::Arc;

use async_trait::async_trait;

use super::chain::{ChainCheck, Verdict};
use super::{AppendBatch, AppendRecord, ChangeLog, Consumer, Error, LogOffset, Record, Result, Unpublished};
use crate::change::{BinlogPosition, ChangePosition, LogPlace, Term};

/// Makes logs for the suite.
#[async_trait]
pub trait Tenant: Send + Sync {
    /// A new, empty log.
    async fn fresh(&self, bytes_max: u64) -> Arc<dyn ChangeLog>;

    /// The same log, closed and opened again.
    async fn reopened(&self, log: Arc<dyn ChangeLog>) -> Arc<dyn ChangeLog> {
        log
    }
}

/// Makes batches of one partition that continue each other.
#[derive(Debug, Clone)]
pub struct Feed {
    topic: String,
    partition: u32,
    last: Option<ChangePosition>,
    made: u64,
}

impl Feed {
    /// Starts at the beginning of a partition.
    pub fn new(topic: &str, partition: u32) -> Self {
        Self { topic: topic.to_owned(), partition, last: None, made: 0 }
    }

    /// The next records, each with a value of `bytes` bytes that do not compress.
    pub fn batch(&mut self, term: u64, records: u64, bytes: usize) -> AppendBatch {
        let mut batch = AppendBatch { topic: self.topic.clone(), term: Term(term), ..AppendBatch::default() };
        for _ in 0..records {
            let transaction = BinlogPosition { epoch: 0, file: 1 + self.made / 1000, offset: 4 + self.made % 1000 };
            let position = ChangePosition { transaction, ordinal: 0 };
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(format!("{{\"id\":{}}}", self.made).as_bytes());
            let middle = batch.bytes.len();
            batch.bytes.extend((0..bytes as u64).map(|nth| noise(self.made << 32 | nth)));
            batch.records.push(AppendRecord {
                partition: self.partition,
                position,
                previous: self.last.replace(position),
                schema: format!("{:08x}", self.made / 7).into(),
                key: start..middle,
                value: middle..batch.bytes.len(),
            });
            self.made += 1;
        }
        batch
    }
}

fn noise(seed: u64) -> u8 {
    let mixed = (seed ^ (seed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8
}

/// What any change log keeps.
pub async fn every_log(tenant: &dyn Tenant) {
    order_and_offsets(tenant).await;
    large_batches(tenant).await;
    fencing(tenant).await;
    what_is_not_there(tenant).await;
    tails_behind_a_place(tenant).await;
    beginning(tenant).await;
}

/// What a log keeps besides that knows its consumers and can refuse a record.
pub async fn bounded_log(tenant: &dyn Tenant) {
    atomic_over_topics(tenant).await;
    broken_chains_are_refused(tenant).await;
    removal(tenant).await;
    retention_by_the_slowest(tenant).await;
    full(tenant).await;
    eviction_of_the_inactive(tenant).await;
    eviction_of_what_nobody_needs(tenant).await;
    unpublished_beside_what_may_go(tenant).await;
    all_of_it_survives_reopening(tenant).await;
}

const MUCH: u64 = 1 << 30;

async fn ok<T>(what: impl Future<Output = Result<T>>) -> T {
    what.await.expect("the log takes what its contract allows")
}

/// Everything of a partition from `from` on, read in pieces of `bytes_max`.
async fn drain(log: &dyn ChangeLog, topic: &str, partition: u32, from: u64, bytes_max: usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let next = records.last().map_or(from, |record| record.offset.0 + 1);
        let piece = ok(log.read(topic, partition, LogOffset(next), LogOffset(u64::MAX), bytes_max)).await;
        if piece.is_empty() {
            return records;
        }
        records.extend(piece);
    }
}

/// Records are those of the batches, at ascending offsets from `first`.
fn assert_same(records: &[Record], batches: &[&AppendBatch], first: u64) {
    let written: Vec<_> = batches.iter().flat_map(|batch| batch.records.iter().map(move |record| (*batch, record))).collect();
    assert_eq!(records.len(), written.len());
    for (offset, (record, (batch, written))) in (first..).zip(records.iter().zip(written)) {
        assert_eq!(record.offset, LogOffset(offset));
        assert_eq!((record.position, record.previous, record.term), (written.position, written.previous, batch.term));
        assert_eq!(record.schema, written.schema);
        assert_eq!(Some(&record.key[..]), batch.bytes.get(written.key.clone()));
        assert_eq!(Some(&record.value[..]), batch.bytes.get(written.value.clone()));
    }
}

/// Records come back as they were appended, in order, whatever is asked for at a time.
pub async fn order_and_offsets(tenant: &dyn Tenant) {
    let log = tenant.fresh(MUCH).await;
    let partitions = ok(log.open_topic("t", Term(0))).await;
    assert_eq!(ok(log.open_topic("t", Term(0))).await, partitions);
    assert!(drain(&*log, "t", 0, 0, 1).await.is_empty());
    let partition = partitions - 1;
    let mut feed = Feed::new("t", partition);
    let batches = [feed.batch(1, 3, 20), feed.batch(1, 1, 0), feed.batch(1, 20, 50)];
    for (batch, end) in batches.iter().zip([3, 4, 24]) {
        let acknowledged = ok(log.append(vec![batch.clone()])).await;
        assert_eq!(acknowledged.len(), 1);
        assert_eq!(acknowledged[0].topic, "t");
        assert_eq!(acknowledged[0].ends.len(), partitions as usize);
        assert_eq!(acknowledged[0].ends[partition as usize], Some(LogOffset(end)));
    }
    for bytes_max in [0, 1, 100, 500, usize::MAX] {
        assert_same(&drain(&*log, "t", partition, 0, bytes_max).await, &batches.each_ref(), 0);
    }
    assert_same(&drain(&*log, "t", partition, 3, 100).await, &[&batches[1], &batches[2]], 3);
    let piece = ok(log.read("t", partition, LogOffset(2), LogOffset(7), usize::MAX)).await;
    assert_eq!(piece.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert_eq!(ok(log.read("t", partition, LogOffset(2), LogOffset(7), 1)).await.len(), 1);
    assert!(ok(log.read("t", partition, LogOffset(7), LogOffset(7), 1)).await.is_empty());
    let tail = &ok(log.tails("t", &[])).await[partition as usize];
    assert_eq!((tail.end, tail.last), (LogOffset(24), feed.last.map(|last| (last, Term(1)))));
    let mut check = ChainCheck::new("t", partition, &LogPlace::default());
    for record in drain(&*log, "t", partition, 0, 300).await {
        assert_eq!(check.check(&record).ok(), Some(Verdict::Take));
    }
}

/// Batches of megabytes, records of megabytes among small ones.
pub async fn large_batches(tenant: &dyn Tenant) {
    let log = tenant.fresh(MUCH).await;
    ok(log.open_topic("t", Term(0))).await;
    let mut feed = Feed::new("t", 0);
    let mut batches = vec![feed.batch(1, 3000, 1000)];
    batches.extend([(2, 3 << 20), (5, 10), (1, 0)].map(|(records, bytes)| feed.batch(1, records, bytes)));
    for batch in &batches {
        ok(log.append(vec![batch.clone()])).await;
    }
    let batches: Vec<&AppendBatch> = batches.iter().collect();
    for bytes_max in [1 << 10, 700 << 10, usize::MAX] {
        assert_same(&drain(&*log, "t", 0, 0, bytes_max).await, &batches, 0);
    }
    let piece = ok(log.read("t", 0, LogOffset(0), LogOffset(u64::MAX), 100_000)).await;
    assert!((50..=150).contains(&piece.len()), "{} records of 1000 bytes are about 100,000 bytes", piece.len());
}

/// A higher term shuts lower ones out; an empty batch is enough for that.
pub async fn fencing(tenant: &dyn Tenant) {
    let log = tenant.fresh(MUCH).await;
    for topic in ["t", "u"] {
        ok(log.open_topic(topic, Term(0))).await;
    }
    let (mut feed, mut other) = (Feed::new("t", 0), Feed::new("u", 0));
    ok(log.append(vec![feed.batch(2, 2, 5)])).await;
    let mut late = feed.clone();
    let fenced = log.append(vec![late.batch(1, 1, 5)]).await;
    assert!(matches!(fenced, Err(Error::Fenced { term: Term(1), by: Term(2), .. })), "{fenced:?}");
    ok(log.append(vec![feed.batch(2, 1, 5)])).await;
    ok(log.append(vec![feed.batch(3, 0, 0)])).await;
    let mut late = feed.clone();
    assert!(matches!(log.append(vec![late.batch(2, 1, 5)]).await, Err(Error::Fenced { by: Term(3), .. })));
    ok(log.append(vec![feed.batch(3, 1, 5)])).await;
    ok(log.append(vec![other.batch(1, 1, 5)])).await;
    assert_eq!(ok(log.ends("t")).await[0], LogOffset(4), "nothing of a fenced tailer is in the log");
}

/// Unknown topics and partitions, offsets beyond the end.
pub async fn what_is_not_there(tenant: &dyn Tenant) {
    let log = tenant.fresh(MUCH).await;
    let mut feed = Feed::new("t", 0);
    assert!(matches!(log.append(vec![feed.clone().batch(1, 1, 1)]).await, Err(Error::Missing { .. })));
    assert!(matches!(log.ends("t").await, Err(Error::Missing { .. })));
    let partitions = ok(log.open_topic("t", Term(0))).await;
    assert!(matches!(log.append(vec![Feed::new("t", partitions).batch(1, 1, 1)]).await, Err(Error::Missing { .. })));
    assert!(matches!(log.read("t", partitions, LogOffset(0), LogOffset(1), 1).await, Err(Error::Missing { .. })));
    ok(log.append(vec![feed.batch(1, 2, 1)])).await;
    assert!(ok(log.read("t", 0, LogOffset(2), LogOffset(9), 1)).await.is_empty());
    assert!(matches!(log.read("t", 0, LogOffset(3), LogOffset(9), 1).await, Err(Error::Broken { .. })));
}

/// What lies behind a known place is found again: the last record, and where each transaction ends.
pub async fn tails_behind_a_place(tenant: &dyn Tenant) {
    let log = tenant.fresh(MUCH).await;
    ok(log.open_topic("t", Term(0))).await;
    let mut feed = Feed::new("t", 0);
    let mut known = Vec::new();
    for records in [3, 2] {
        let batch = feed.batch(4, records, 10);
        let ends = ok(log.append(vec![batch])).await.remove(0).ends;
        known.push(LogPlace { offset: ends[0].unwrap_or_default(), last: feed.last, term: Term(4) });
    }
    let tail = ok(log.tails("t", &known[..1])).await.swap_remove(0);
    assert_eq!((tail.end, tail.last), (known[1].offset, feed.last.map(|last| (last, Term(4)))));
    assert_eq!(tail.marks.len(), 2, "each record of a feed is a transaction of its own");
    assert_eq!(tail.marks.last(), Some(&known[1]));
    let tail = ok(log.tails("t", &known[1..])).await.swap_remove(0);
    assert_eq!((tail.last, tail.marks.len()), (feed.last.map(|last| (last, Term(4))), 0));
}

/// A topic that begins anew goes on at the offsets that it names, and a reader who starts there takes what follows.
pub async fn beginning(tenant: &dyn Tenant) {
    let log = tenant.fresh(MUCH).await;
    let first = ok(log.begin_topic("t", Term(4))).await;
    assert!(first.iter().all(|offset| *offset == LogOffset(0)));
    ok(log.append(vec![Feed::new("t", 0).batch(5, 9, 100)])).await;
    let offset = ok(log.begin_topic("t", Term(6))).await[0];
    let mut feed = Feed::new("t", 0);
    let batch = feed.batch(6, 4, 3);
    ok(log.append(vec![batch.clone()])).await;
    let records = drain(&*log, "t", 0, offset.0, 1).await;
    assert_same(&records, &[&batch], offset.0);
    let mut check = ChainCheck::new("t", 0, &LogPlace { offset, last: None, term: Term(6) });
    for record in records {
        assert_eq!(check.check(&record).ok(), Some(Verdict::Take));
    }
}

/// A topic that begins anew holds nothing of the old one, and only the newest term may begin it.
pub async fn removal(tenant: &dyn Tenant) {
    let log = tenant.fresh(MUCH).await;
    assert_eq!(ok(log.topic_term("t")).await, None);
    ok(log.begin_topic("t", Term(4))).await;
    assert_eq!(ok(log.topic_term("t")).await, Some(Term(4)));
    ok(log.append(vec![Feed::new("t", 0).batch(5, 9, 100)])).await;
    drain(&*log, "t", 0, 0, 1).await;
    let begun = ok(log.begin_topic("t", Term(6))).await[0];
    let place = LogPlace { offset: begun, last: None, term: Term(6) };
    assert_eq!(ok(log.tails("t", &[place])).await[0], super::PartitionTail { end: begun, ..Default::default() });
    assert_eq!(ok(log.usage()).await.bytes, 0);
    let late = log.read("t", 0, LogOffset(0), LogOffset(9), 1).await;
    assert!(matches!(late, Err(Error::Lost { .. })), "who still reads what it held is told that it is gone: {late:?}");
    // Whoever has slept through this takes nothing away, neither from a topic that is empty nor from one with records.
    let mut feed = Feed::new("t", 0);
    assert!(matches!(log.begin_topic("t", Term(5)).await, Err(Error::Fenced { term: Term(5), by: Term(6), .. })));
    let batches = [feed.batch(6, 4, 3), feed.batch(7, 4, 3)];
    for batch in &batches {
        ok(log.append(vec![batch.clone()])).await;
    }
    assert!(matches!(log.begin_topic("t", Term(6)).await, Err(Error::Fenced { by: Term(7), .. })));
    assert_same(&drain(&*log, "t", 0, begun.0, 1).await, &batches.each_ref(), begun.0);
}

/// All batches of a call are appended, or none.
pub async fn atomic_over_topics(tenant: &dyn Tenant) {
    let log = tenant.fresh(MUCH).await;
    for topic in ["t", "u"] {
        ok(log.open_topic(topic, Term(0))).await;
    }
    let (mut first, mut second) = (Feed::new("t", 0), Feed::new("u", 0));
    let acknowledged = ok(log.append(vec![first.batch(2, 2, 5), second.batch(2, 3, 5)])).await;
    assert_eq!(
        acknowledged.iter().map(|it| (it.topic.as_str(), it.ends[0].map(|end| end.0))).collect::<Vec<_>>(),
        [("t", Some(2)), ("u", Some(3))]
    );
    let before = (ok(log.tails("t", &[])).await, ok(log.tails("u", &[])).await, ok(log.usage()).await);
    let refused = log.append(vec![first.clone().batch(7, 2, 5), second.clone().batch(1, 2, 5)]).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    assert_eq!((ok(log.tails("t", &[])).await, ok(log.tails("u", &[])).await, ok(log.usage()).await), before);
    ok(log.append(vec![first.batch(2, 1, 5)])).await;
}

/// A record that is not above the last one, or names another as its predecessor, is refused with all that came with it.
pub async fn broken_chains_are_refused(tenant: &dyn Tenant) {
    let log = tenant.fresh(MUCH).await;
    ok(log.open_topic("t", Term(0))).await;
    let mut feed = Feed::new("t", 0);
    let first = feed.batch(1, 2, 5);
    ok(log.append(vec![first.clone()])).await;
    let mut skipping = feed.clone();
    skipping.batch(1, 1, 5);
    let mut inside = feed.clone().batch(1, 3, 5);
    inside.records.remove(1);
    for batch in [first, skipping.batch(1, 1, 5), inside] {
        let refused = log.append(vec![batch]).await;
        assert!(matches!(refused, Err(Error::Broken { .. })), "{refused:?}");
    }
    assert_eq!(ok(log.ends("t")).await[0], LogOffset(2));
    ok(log.append(vec![feed.batch(1, 1, 5)])).await;
}

fn consumer(name: &str) -> Consumer {
    Consumer(name.to_owned())
}

/// The offsets of a consumer that has passed `offset` in partition 0 and needs nothing of the others.
async fn passed(log: &dyn ChangeLog, topic: &str, offset: u64) -> Vec<LogOffset> {
    let mut offsets: Vec<LogOffset> = ok(log.ends(topic)).await;
    if let Some(first) = offsets.first_mut() {
        *first = LogOffset(offset);
    }
    offsets
}

async fn first_left(log: &dyn ChangeLog, topic: &str) -> u64 {
    match log.read(topic, 0, LogOffset(0), LogOffset(u64::MAX), 1).await {
        Ok(_) => 0,
        Err(Error::Lost { first, .. }) => first.0,
        Err(error) => unreachable!("a read from offset 0 fails only for what is lost: {error}"),
    }
}

/// Records stay until every consumer has passed them; without a consumer they stay.
pub async fn retention_by_the_slowest(tenant: &dyn Tenant) {
    let log = tenant.fresh(MUCH).await;
    ok(log.open_topic("t", Term(0))).await;
    let mut feed = Feed::new("t", 0);
    for _ in 0..6 {
        ok(log.append(vec![feed.batch(1, 1, 50)])).await;
    }
    let (fast, slow) = (consumer("fast"), consumer("slow"));
    let whole = ok(log.usage()).await.bytes;
    ok(log.register("t", Term(1), &slow, &passed(&*log, "t", 1).await)).await;
    ok(log.register("t", Term(1), &fast, &passed(&*log, "t", 5).await)).await;
    assert_eq!(first_left(&*log, "t").await, 1, "the slowest decides");
    assert!(ok(log.usage()).await.bytes.abs_diff(whole / 6 * 5) < 30);
    ok(log.advance("t", &slow, &passed(&*log, "t", 3).await)).await;
    ok(log.advance("t", &slow, &passed(&*log, "t", 2).await)).await;
    assert_eq!(first_left(&*log, "t").await, 3, "a consumer never moves back");
    assert_eq!(drain(&*log, "t", 0, 3, 1).await.len(), 3);
    let late = log.forget("t", Term(0), std::slice::from_ref(&slow)).await;
    assert!(matches!(late, Err(Error::Fenced { .. })), "who was overtaken forgets nothing: {late:?}");
    ok(log.forget("t", Term(1), std::slice::from_ref(&slow))).await;
    assert_eq!(first_left(&*log, "t").await, 5);
    assert_eq!(ok(log.consumers("t")).await, std::slice::from_ref(&fast));
    // What a daemon that was overtaken still says of a consumer that is forgotten.
    ok(log.set_active("t", &slow, true)).await;
    ok(log.advance("t", &slow, &passed(&*log, "t", 3).await)).await;
    ok(log.advance("t", &fast, &passed(&*log, "t", 6).await)).await;
    assert_eq!(ok(log.usage()).await.bytes, 0);
    let tail = &ok(log.tails("t", &[])).await[0];
    assert_eq!((tail.end, tail.last), (LogOffset(6), feed.last.map(|last| (last, Term(1)))), "the tail outlives its record");
    let batch = feed.batch(1, 2, 50);
    ok(log.append(vec![batch.clone()])).await;
    assert_same(&drain(&*log, "t", 0, 6, 1).await, &[&batch], 6);
    let beyond = log.advance("t", &fast, &passed(&*log, "t", 9).await).await;
    assert!(matches!(beyond, Err(Error::Broken { .. })), "{beyond:?}");
    ok(log.forget("t", Term(1), &[fast])).await;
    assert_eq!(first_left(&*log, "t").await, 6, "what nobody has a claim on stays until the log is full");
}

/// A full log refuses, whole, until an active consumer has moved on.
pub async fn full(tenant: &dyn Tenant) {
    let log = tenant.fresh(10_000).await;
    for topic in ["t", "u"] {
        ok(log.open_topic(topic, Term(0))).await;
    }
    let (mut feed, mut other) = (Feed::new("t", 0), Feed::new("u", 0));
    let active = consumer("active");
    ok(log.register("t", Term(1), &active, &passed(&*log, "t", 0).await)).await;
    ok(log.register("u", Term(1), &active, &passed(&*log, "u", 0).await)).await;
    ok(log.append(vec![other.batch(1, 1, 2000)])).await;
    let mut appended = 0;
    let refused = loop {
        match log.append(vec![feed.clone().batch(1, 1, 1000)]).await {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        feed.batch(1, 1, 1000);
        assert!(appended < 20, "the log takes more than it may hold");
    };
    assert!(matches!(refused, Error::Full { bytes_max: 10_000, .. }), "{refused}");
    assert!((4..=8).contains(&appended), "{appended}");
    assert!(ok(log.usage()).await.bytes <= 10_000);
    assert!(matches!(
        log.append(vec![other.clone().batch(1, 1, 1), feed.clone().batch(1, 9, 1000)]).await,
        Err(Error::Full { .. })
    ));
    assert_eq!((ok(log.ends("t")).await[0].0, ok(log.ends("u")).await[0].0), (appended, 1), "nothing was appended");
    ok(log.append(vec![feed.clone().batch(1, 0, 0)])).await;
    ok(log.advance("t", &active, &passed(&*log, "t", 2).await)).await;
    ok(log.append(vec![feed.batch(1, 1, 1000)])).await;
    assert_eq!(drain(&*log, "t", 0, 2, 1).await.len() as u64, appended - 1);
    assert_eq!(first_left(&*log, "u").await, 0, "what an active consumer needs stays");
    let huge = tenant.fresh(1000).await;
    ok(huge.open_topic("t", Term(0))).await;
    ok(huge.append(vec![Feed::new("t", 0).batch(1, 1, 5000)])).await;
}

/// What only an inactive consumer needs goes when the log is full, oldest first, and is known to be gone.
pub async fn eviction_of_the_inactive(tenant: &dyn Tenant) {
    let log = tenant.fresh(10_000).await;
    for topic in ["parked", "live"] {
        ok(log.open_topic(topic, Term(0))).await;
    }
    let (mut parked, mut live) = (Feed::new("parked", 0), Feed::new("live", 0));
    let (writer, other) = (consumer("writer"), consumer("other"));
    ok(log.register("parked", Term(1), &writer, &passed(&*log, "parked", 0).await)).await;
    ok(log.set_active("parked", &writer, false)).await;
    ok(log.register("live", Term(1), &writer, &passed(&*log, "live", 0).await)).await;
    ok(log.register("parked", Term(1), &other, &passed(&*log, "parked", 0).await)).await;
    for _ in 0..5 {
        ok(log.append(vec![parked.batch(1, 1, 1000)])).await;
    }
    ok(log.advance("parked", &other, &passed(&*log, "parked", 3).await)).await;
    assert_eq!(first_left(&*log, "parked").await, 0, "not before the log is full");
    let mut appended = 0;
    while log.append(vec![live.clone().batch(1, 1, 1000)]).await.is_ok() {
        live.batch(1, 1, 1000);
        appended += 1;
        assert!(appended < 20, "the log takes more than it may hold");
    }
    assert_eq!(first_left(&*log, "parked").await, 3, "what an active consumer needs stays");
    assert_eq!(drain(&*log, "parked", 0, 3, 1).await.len(), 2);
    assert_eq!(drain(&*log, "live", 0, 0, 1).await.len(), appended);
    let before = ok(log.usage()).await;
    ok(log.set_active("parked", &other, false)).await;
    ok(log.append(vec![live.batch(1, 1, 1000)])).await;
    assert_eq!(first_left(&*log, "parked").await, 4, "no more than needed");
    assert_eq!(ok(log.usage()).await, before);
    ok(log.set_active("parked", &writer, true)).await;
    let full = log.append(vec![live.clone().batch(1, 1, 1000)]).await;
    assert!(matches!(full, Err(Error::Full { .. })), "a consumer that is active again keeps its records: {full:?}");
}

/// A topic whose consumers are forgotten fills the log for nobody, neither with what it holds nor with what is still appended to it.
pub async fn eviction_of_what_nobody_needs(tenant: &dyn Tenant) {
    let log = tenant.fresh(10_000).await;
    for topic in ["left", "live"] {
        ok(log.open_topic(topic, Term(0))).await;
    }
    let (mut left, mut live) = (Feed::new("left", 0), Feed::new("live", 0));
    let writer = consumer("writer");
    for topic in ["left", "live"] {
        ok(log.register(topic, Term(1), &writer, &passed(&*log, topic, 0).await)).await;
    }
    ok(log.append(vec![live.batch(1, 1, 1000)])).await;
    for _ in 0..3 {
        ok(log.append(vec![left.batch(1, 1, 1000)])).await;
    }
    ok(log.forget("left", Term(1), std::slice::from_ref(&writer))).await;
    for _ in 0..20 {
        ok(log.append(vec![left.batch(1, 1, 1000)])).await;
    }
    assert_eq!(ok(log.ends("left")).await[0], LogOffset(23), "whoever appends goes on where it was");
    assert!(first_left(&*log, "left").await > 3);
    assert_eq!(drain(&*log, "live", 0, 0, 1).await.len(), 1);
    assert!(ok(log.usage()).await.bytes <= 10_000);
}

/// A log that holds nothing but its tailer's own unpublished records, and what may go, is not full for that tailer.
pub async fn unpublished_beside_what_may_go(tenant: &dyn Tenant) {
    let log = tenant.fresh(10_000).await;
    for topic in ["left", "t"] {
        ok(log.open_topic(topic, Term(0))).await;
    }
    ok(log.register("t", Term(1), &consumer("writer"), &passed(&*log, "t", 0).await)).await;
    ok(log.append(vec![Feed::new("left", 0).batch(1, 1, 200)])).await;
    let (mut feed, unpublished) = (Feed::new("t", 0), Arc::new(Unpublished::default()));
    // What may go is less than what the third of them lacks.
    for _ in 0..4 {
        ok(log.append_unpublished(&Arc::new(vec![feed.batch(1, 4, 1000)]), &unpublished)).await;
    }
    assert_eq!((drain(&*log, "t", 0, 0, 1).await.len(), first_left(&*log, "left").await), (16, 1));
}

/// Records, ends, terms, consumers, what was released and how full it is: all is there after closing and opening.
pub async fn all_of_it_survives_reopening(tenant: &dyn Tenant) {
    let log = tenant.fresh(10_000).await;
    for topic in ["t", "u"] {
        ok(log.open_topic(topic, Term(0))).await;
    }
    let mut feed = Feed::new("t", 0);
    let batches: Vec<_> = (0..4).map(|_| feed.batch(4, 1, 1000)).collect();
    for batch in &batches {
        ok(log.append(vec![batch.clone()])).await;
    }
    ok(log.register("t", Term(4), &consumer("c"), &passed(&*log, "t", 1).await)).await;
    ok(log.set_active("t", &consumer("c"), false)).await;
    let before = (ok(log.tails("t", &[])).await, ok(log.tails("u", &[])).await, ok(log.usage()).await);
    let log = tenant.reopened(log).await;
    assert_eq!((ok(log.tails("t", &[])).await, ok(log.tails("u", &[])).await, ok(log.usage()).await), before);
    assert_eq!(first_left(&*log, "t").await, 1);
    let kept: Vec<_> = batches.iter().skip(1).collect();
    assert_same(&drain(&*log, "t", 0, 1, 1).await, &kept, 1);
    assert!(matches!(log.append(vec![feed.clone().batch(3, 1, 1)]).await, Err(Error::Fenced { by: Term(4), .. })));
    ok(log.append(vec![Feed::new("u", 0).batch(1, 7, 1000)])).await;
    assert!(first_left(&*log, "t").await > 1, "the consumer is still inactive");
    let log = tenant.reopened(log).await;
    ok(log.append(vec![feed.batch(4, 1, 1)])).await;
}
