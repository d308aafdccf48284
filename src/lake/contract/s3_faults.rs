//! A real S3 behind a network that goes wrong: what a commit, a take-over and an upload survive, and what they leave.

use std::sync::Mutex;
use std::time::Instant;

use super::s3::S3;
use super::s3_proxy::{Fate, Request, S3Proxy};
use super::*;

/// How long a state may take to come.
const LIMIT: Duration = Duration::from_secs(30);

/// A lake in a new bucket behind a proxy, whose client gives a request up after a second.
async fn behind_a_proxy() -> (House, S3Proxy, String) {
    let server = S3::shared();
    let bucket = server.bucket();
    let proxy = S3Proxy::start(server.port()).await;
    let house = House::at(Ground::S3, (&bucket, proxy.port()), &[("timeout", "1s")], None);
    (house, proxy, bucket)
}

/// A listing.
fn is_list(request: &Request) -> bool {
    request.method == "GET" && request.target.contains("list-type=2")
}

/// The read of an object.
fn is_read(request: &Request) -> bool {
    request.method == "GET" && !is_list(request)
}

/// The next so many requests of a kind meet this fate; answers how many there are still to come.
fn next(proxy: &S3Proxy, count: usize, fate: Fate, of: fn(&Request) -> bool) -> Arc<Mutex<usize>> {
    let left = Arc::new(Mutex::new(count));
    let counted = Arc::clone(&left);
    proxy.rule(move |request| {
        let mut left = counted.lock().unwrap();
        if *left == 0 || !of(request) {
            return Fate::Passes;
        }
        *left -= 1;
        fate
    });
    left
}

pub(super) async fn started(house: &House) -> Box<dyn TableWriter> {
    let spec = house.spec(TableKind::Mirror, 1);
    let chunk = house.chunk(&spec, 0, "a", &[(1, "ann"), (2, "bob")]).await;
    let mut writer = house.lake.writer(spec, Term(1)).await.unwrap();
    writer.adopt(vec![chunk], point(0, true)).await.unwrap();
    writer
}

pub(super) async fn insert(writer: &mut dyn TableWriter, transaction: u64) -> Result<()> {
    put(writer, transaction, MIDNIGHT_MS, &Change::Insert(transaction as i64 + 10, "new"))?;
    writer.commit(point(transaction + 1, true)).await
}

const FATES: [Fate; 7] = [
    Fate::SlowDown,
    Fate::Conflict,
    Fate::CutInRequest,
    Fate::AnswerLost,
    Fate::CutInAnswer,
    Fate::AnswerWithheld,
    Fate::Slow(Duration::from_millis(300)),
];

#[tokio::test]
async fn a_commit_is_known_to_have_happened_whatever_becomes_of_its_put() {
    let (house, proxy, bucket) = behind_a_proxy().await;
    let mut writer = started(&house).await;
    let records = house.lake.history(&name(), 1).await.unwrap().len();
    for (transaction, fate) in FATES.into_iter().enumerate() {
        let left = next(&proxy, 2, fate, Request::is_commit);
        insert(writer.as_mut(), transaction as u64).await.unwrap_or_else(|error| panic!("{fate:?}: {error:?}"));
        assert!(*left.lock().unwrap() < 2, "{fate:?} met nothing");
        proxy.fair();
        let history = house.lake.history(&name(), 1).await.unwrap();
        assert_eq!(history.len(), records + transaction + 1, "{fate:?}: one commit is one record");
        assert_eq!(house.rows(1).await.len(), 2 + transaction + 1, "{fate:?}");
    }
    let mut next = house.lake.writer(house.spec(TableKind::Mirror, 1), Term(2)).await.unwrap();
    next.maintain(&[]).await.unwrap();
    let live = house.lake.files(&name()).await.unwrap();
    let retained = S3::shared().objects(&bucket).into_iter().filter(|object| object.ends_with(".parquet")).count();
    assert!(retained >= live.len() && retained <= 1 + FATES.len() + live.len(), "{retained} files: orphans are left");
}

#[tokio::test]
async fn a_table_is_taken_over_and_read_through_a_bad_network() {
    let (house, proxy, _) = behind_a_proxy().await;
    let mut writer = started(&house).await;
    for transaction in 0..7 {
        insert(writer.as_mut(), transaction).await.unwrap();
    }
    for kind in [is_list as fn(&Request) -> bool, is_read, |request| request.target.contains(".parquet")] {
        for fate in FATES.into_iter().filter(|fate| *fate != Fate::Conflict) {
            let left = next(&proxy, 2, fate, kind);
            let mut writer = house.reopened().writer(house.spec(TableKind::Mirror, 1), Term(1)).await.unwrap();
            let transaction = writer.committed().point.as_ref().unwrap().offsets[0].0;
            insert(writer.as_mut(), transaction).await.unwrap_or_else(|error| panic!("{fate:?}: {error:?}"));
            assert_eq!(house.rows(1).await.len() as u64, 2 + transaction + 1, "{fate:?}");
            assert!(*left.lock().unwrap() < 2, "{fate:?} met nothing");
        }
    }
}

#[tokio::test]
async fn a_store_that_is_away_makes_a_commit_fail_and_not_a_table_park() {
    let (house, proxy, _) = behind_a_proxy().await;
    let mut writer = started(&house).await;
    proxy.rule(|request| if request.method == "PUT" { Fate::CutInRequest } else { Fate::Passes });
    let error = insert(writer.as_mut(), 0).await.unwrap_err();
    assert_eq!(crate::change::Failure::remedy(&error), crate::change::Remedy::Retry, "{error:?}");
    proxy.fair();
    let mut next = house.lake.writer(house.spec(TableKind::Mirror, 1), Term(1)).await.unwrap();
    insert(next.as_mut(), 0).await.unwrap();
    assert_eq!(house.rows(1).await.len(), 3);
}

/// A chunk whose file is uploaded in parts.
async fn large_chunk(house: &House) -> Result<ChunkFile> {
    let settings = Settings { row_group_bytes: 2 << 20, batch_bytes: 1 << 30, ..house.settings.clone() };
    let spec = house.spec(TableKind::Mirror, 1);
    let since = Cut(BinlogPosition { epoch: 0, file: 1, offset: 100 });
    let mut chunk = house.lake.with_settings(settings).chunk(&spec, since, 0, "a").await?;
    let mut dice = 1_u64;
    for id in 0..24 {
        let mut text = String::new();
        while text.len() < 1 << 20 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{dice:x}"));
        }
        chunk.sink().image(Image::After).unwrap();
        drive(chunk.sink(), &(id, &text));
    }
    chunk.finish().await
}

async fn wait_for_uploads(bucket: &str, uploads: usize) {
    let deadline = Instant::now() + LIMIT;
    while S3::shared().open_uploads(bucket) != uploads {
        assert!(Instant::now() < deadline, "it never comes to {uploads} open uploads");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_upload_in_parts_that_is_not_completed_leaves_nothing() {
    let (house, proxy, bucket) = behind_a_proxy().await;
    let house = Arc::new(house);
    proxy.rule(|request| if request.target.contains("partNumber=2") { Fate::AnswerWithheld } else { Fate::Passes });
    let cancelled = Arc::clone(&house);
    let cancelled = tokio::spawn(async move { large_chunk(&cancelled).await });
    wait_for_uploads(&bucket, 1).await;
    cancelled.abort();
    wait_for_uploads(&bucket, 0).await;

    proxy.rule(|request| match request.method == "POST" && request.target.contains("uploadId=") {
        true => Fate::CutInRequest,
        false => Fate::Passes,
    });
    let error = large_chunk(&house).await.unwrap_err();
    assert!(matches!(error, Error::Store { .. }), "{error:?}");
    wait_for_uploads(&bucket, 0).await;

    proxy.fair();
    let file = large_chunk(&house).await.unwrap();
    assert_eq!((file.rows, S3::shared().open_uploads(&bucket)), (24, 0));
    assert_eq!(S3::shared().objects(&bucket).len(), 1);
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused_and_one_that_is_not_there_is_named() {
    let (house, proxy, bucket) = behind_a_proxy().await;
    for fate in [Fate::AnswerLost, Fate::SlowDown, Fate::Slow(Duration::from_millis(100))] {
        next(&proxy, 2, fate, |request| request.method == "PUT");
        house.lake.probe().await.unwrap_or_else(|error| panic!("{fate:?}: {error:?}"));
    }
    proxy.fair();
    proxy.forget_conditions();
    let error = house.lake.probe().await.unwrap_err();
    assert!(error.to_string().contains("a second put-if-absent of the same name went through"), "{error}");
    assert!(matches!(crate::change::Failure::remedy(&error), crate::change::Remedy::Stop(_)));
    assert!(S3::shared().objects(&bucket).is_empty(), "a probe leaves nothing");
    let nowhere = House::at(Ground::S3, ("no-such-bucket", S3::shared().port()), &[], None);
    let error = nowhere.lake.probe().await.unwrap_err();
    assert!(matches!(&error, Error::Unsuitable { remedy, .. } if remedy.contains("make the bucket")), "{error:?}");
}
