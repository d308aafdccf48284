//! The embedded log against its contract, and against what only a disk can do to it.

use super::*;
use crate::change::{Failure, Remedy};
use crate::changelog::contract::{Feed, Tenant, bounded_log, every_log};

struct OnDisk {
    home: tempfile::TempDir,
    made: std::sync::atomic::AtomicU64,
}

impl OnDisk {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), made: 0.into() }
    }

    fn settings(&self, nth: u64, bytes_max: u64) -> LocalSettings {
        LocalSettings { directory: self.home.path().join(format!("log-{nth}/nested")), bytes_max }
    }
}

#[async_trait]
impl Tenant for OnDisk {
    async fn fresh(&self, bytes_max: u64) -> Arc<dyn ChangeLog> {
        let nth = self.made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Arc::new(LocalLog::open(self.settings(nth, bytes_max)).await.unwrap())
    }

    async fn reopened(&self, log: Arc<dyn ChangeLog>) -> Arc<dyn ChangeLog> {
        let bytes_max = log.usage().await.unwrap().bytes_max;
        drop(log);
        let nth = self.made.load(std::sync::atomic::Ordering::SeqCst) - 1;
        Arc::new(LocalLog::open(self.settings(nth, bytes_max)).await.unwrap())
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    every_log(&OnDisk::new()).await;
    bounded_log(&OnDisk::new()).await;
}

async fn with_records(home: &Path, batches: &[(u64, usize)]) -> (LocalLog, LocalSettings) {
    let settings = LocalSettings { directory: home.to_owned(), bytes_max: 1 << 30 };
    let log = LocalLog::open(settings.clone()).await.unwrap();
    log.open_topic("t", Term(0)).await.unwrap();
    let mut feed = Feed::new("t", 0);
    for (records, bytes) in batches {
        log.append(vec![feed.batch(1, *records, *bytes)]).await.unwrap();
    }
    (log, settings)
}

fn sql(home: &Path, statements: &str) {
    rusqlite::Connection::open(home.join(store::FILE)).unwrap().execute_batch(statements).unwrap();
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_has_gone() {
    let home = tempfile::tempdir().unwrap();
    let (log, settings) = with_records(home.path(), &[]).await;
    let error = LocalLog::open(settings.clone()).await.err().unwrap();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(matches!(error.remedy(), Remedy::Stop(_)));
    drop(log);
    LocalLog::open(settings).await.unwrap();
}

#[tokio::test]
async fn a_later_format_and_a_foreign_file_are_refused_untouched() {
    let home = tempfile::tempdir().unwrap();
    let (log, settings) = with_records(home.path(), &[]).await;
    drop(log);
    sql(home.path(), "PRAGMA user_version = 99");
    let error = LocalLog::open(settings.clone()).await.err().unwrap();
    assert!(matches!(error, Error::Format { found: 99, known: 1, .. }), "{error}");
    sql(home.path(), "PRAGMA user_version = 1; PRAGMA application_id = 7");
    let error = LocalLog::open(settings).await.err().unwrap();
    assert!(error.to_string().contains("not a binlake change log"), "{error}");
}

async fn read_all(log: &LocalLog) -> Result<Vec<Record>> {
    log.read("t", 0, LogOffset(0), LogOffset(u64::MAX), usize::MAX).await
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_block_is_found() {
    for damage in [
        "UPDATE blocks SET data = CAST(substr(data, 1, 9) || x'00' || substr(data, 11) AS BLOB) WHERE first_offset = 2",
        "UPDATE blocks SET data = CAST(data || x'00' AS BLOB) WHERE first_offset = 2",
        "UPDATE blocks SET term = term + 1 WHERE first_offset = 2",
        "UPDATE blocks SET schema = 'ffffffff' WHERE first_offset = 2",
        "UPDATE blocks SET previous = NULL WHERE first_offset = 2",
        "UPDATE blocks SET raw_bytes = 1000000000000 WHERE first_offset = 2",
        "UPDATE blocks SET end_offset = end_offset + 1 WHERE first_offset = 2",
        "DELETE FROM blocks WHERE first_offset = 2",
    ] {
        let home = tempfile::tempdir().unwrap();
        let (log, settings) = with_records(home.path(), &[(2, 30), (3, 30), (2, 30)]).await;
        drop(log);
        sql(home.path(), damage);
        let log = LocalLog::open(settings).await.unwrap();
        let error = read_all(&log).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { offset: LogOffset(2), .. }), "{damage}: {error}");
        let whole = log.read("t", 0, LogOffset(5), LogOffset(7), usize::MAX).await.unwrap();
        assert_eq!(whole.len(), 2, "the blocks beside it are whole");
    }
}

#[tokio::test]
async fn records_of_a_block_share_its_bytes() {
    let home = tempfile::tempdir().unwrap();
    let (log, _) = with_records(home.path(), &[(6, 100)]).await;
    let first = log.read("t", 0, LogOffset(0), LogOffset(2), usize::MAX).await.unwrap();
    let second = log.read("t", 0, LogOffset(2), LogOffset(6), usize::MAX).await.unwrap();
    let address = |record: &Record| record.value.as_ptr() as usize;
    assert_eq!(address(&second[0]) - address(&first[1]), address(&first[1]) - address(&first[0]), "the block was kept");
}

#[tokio::test]
async fn calls_at_the_same_time_share_commits_and_do_not_mix() {
    let home = tempfile::tempdir().unwrap();
    let settings = LocalSettings { directory: home.path().to_owned(), bytes_max: 1 << 30 };
    let log = Arc::new(LocalLog::open(settings).await.unwrap());
    let topics: Vec<String> = (0..20).map(|nth| format!("t{nth}")).collect();
    for topic in &topics {
        log.open_topic(topic, Term(0)).await.unwrap();
    }
    let tailers = topics.iter().map(|topic| {
        let log = Arc::clone(&log);
        let mut feed = Feed::new(topic, 0);
        async move {
            for round in 0..10 {
                let mut stale = feed.clone().batch(1, 2, 10);
                stale.records.remove(0);
                let (good, bad) = futures::join!(log.append(vec![feed.batch(1, 3, 10)]), log.append(vec![stale]));
                assert_eq!(good.unwrap()[0].ends, [Some(LogOffset((round + 1) * 3))]);
                assert!(matches!(bad, Err(Error::Broken { .. })), "{bad:?}");
            }
        }
    });
    futures::future::join_all(tailers).await;
    for topic in &topics {
        assert_eq!(log.ends(topic).await.unwrap()[0], LogOffset(30));
    }
}

#[tokio::test]
async fn readers_do_not_wait_for_a_writer() {
    let home = tempfile::tempdir().unwrap();
    let (log, _) = with_records(home.path(), &[(2, 10)]).await;
    let other = rusqlite::Connection::open(home.path().join(store::FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(read_all(&log).await.unwrap().len(), 2);
    other.execute_batch("ROLLBACK").unwrap();
}

#[tokio::test]
async fn freed_space_is_used_again_and_given_back() {
    let home = tempfile::tempdir().unwrap();
    let (log, _) = with_records(home.path(), &[]).await;
    let mut feed = Feed::new("t", 0);
    let consumer = Consumer("c".to_owned());
    let file = home.path().join(store::FILE);
    let mut sizes = Vec::new();
    for _ in 0..4 {
        for _ in 0..12 {
            log.append(vec![feed.batch(1, 8, 1 << 20)]).await.unwrap();
        }
        let end = log.ends("t").await.unwrap()[0];
        log.register("t", Term(1), &consumer, &[end]).await.unwrap();
        sizes.push(std::fs::metadata(&file).unwrap().len());
    }
    assert_eq!(log.usage().await.unwrap().bytes, 0);
    assert!(sizes[3] <= sizes[0] + (40 << 20), "{sizes:?}");
    for _ in 0..12 {
        log.open_topic("t", Term(1)).await.unwrap();
    }
    drop(log);
    let after = std::fs::metadata(&file).unwrap().len();
    assert!(after < sizes[0], "{after} of {sizes:?}");
}

#[tokio::test]
async fn a_transaction_larger_than_the_log_passes_once_nothing_else_is_left_in_it() {
    let home = tempfile::tempdir().unwrap();
    let settings = LocalSettings { directory: home.path().to_owned(), bytes_max: 7 << 19 };
    let log = LocalLog::open(settings).await.unwrap();
    log.open_topic("t", Term(0)).await.unwrap();
    let mut feed = Feed::new("t", 0);
    let consumer = Consumer("c".to_owned());
    log.register("t", Term(1), &consumer, &[LogOffset(0)]).await.unwrap();
    log.append(vec![feed.batch(1, 2, 1 << 20)]).await.unwrap();
    let unpublished = Arc::new(Unpublished::default());
    let parts: Vec<_> = (0..8).map(|_| Arc::new(vec![feed.batch(1, 1, 1 << 20)])).collect();
    let (fits, rest) = parts.split_at(1);
    log.append_unpublished(&fits[0], &unpublished).await.unwrap_or_else(|error| panic!("{error}"));
    let full = log.append_unpublished(&rest[0], &unpublished).await;
    assert!(matches!(full, Err(Error::Full { .. })), "there is something that a writer has yet to take: {full:?}");
    log.advance("t", &consumer, &[LogOffset(2)]).await.unwrap();
    for part in rest {
        log.append_unpublished(part, &unpublished).await.unwrap();
    }
    assert!(log.usage().await.unwrap().bytes > 7 << 20);
    assert_eq!(log.bytes_from("t", LogOffset(2)).await.unwrap(), unpublished.bytes());
    unpublished.clear();
    let full = log.append(vec![feed.batch(1, 1, 1 << 20)]).await;
    assert!(matches!(full, Err(Error::Full { .. })), "what was published is for the writer to take: {full:?}");
}

/// Not a benchmark, a look: `cargo test --release --lib local::tests::speed -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "prints the speed of the embedded log"]
async fn speed() {
    let home = tempfile::tempdir().unwrap();
    let (log, _) = with_records(home.path(), &[]).await;
    let value =
        br#"{"before":null,"after":{"id":1,"c":"0123456789012345678901234567890123456789"},"source":{"version":"0.1.0"}}"#
            .repeat(5);
    let mut last = None;
    let mut batch = |round: u64| {
        let mut batch = AppendBatch { topic: "t".to_owned(), ..AppendBatch::default() };
        for ordinal in 0..10_000 {
            let transaction = crate::change::BinlogPosition { epoch: 0, file: 1, offset: round };
            let position = crate::change::ChangePosition { transaction, ordinal };
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(&value);
            let value = start..batch.bytes.len();
            let previous = last.replace(position);
            batch.records.push(super::super::AppendRecord {
                partition: 0,
                position,
                previous,
                schema: "00000000".into(),
                key: start..start,
                value,
            });
        }
        batch
    };
    let batches: Vec<_> = (0..20).map(&mut batch).collect();
    let start = std::time::Instant::now();
    for batch in batches {
        log.append(vec![batch]).await.unwrap();
    }
    let appended = start.elapsed();
    let start = std::time::Instant::now();
    let mut at = LogOffset(0);
    loop {
        let records = log.read("t", 0, at, LogOffset(u64::MAX), 4 << 20).await.unwrap();
        let Some(last) = records.last() else { break };
        at = LogOffset(last.offset.0 + 1);
    }
    println!("200,000 records of {} bytes: appended in {appended:?}, read in {:?}", value.len(), start.elapsed());
}
