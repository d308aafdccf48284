//! A real HDFS behind a network that goes wrong, and whose nodes die: what a put is, what a commit survives, and what they leave.

use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::hdfs::Hdfs;
use super::namenode_proxy::{Fate, Moment, NameNodeProxy};
use super::s3_faults::{insert, started};
use super::*;
use crate::lake::store::{LakeStore, Put};
use crate::lake::temporary;

/// How long a state may take to come.
const LIMIT: Duration = Duration::from_secs(60);

/// A lake of its own behind a proxy.
async fn behind_a_proxy(namenode: u16) -> (House, NameNodeProxy) {
    let proxy = NameNodeProxy::start(namenode).await;
    (House::at(Ground::Hdfs, (&Hdfs::place(), proxy.port()), &[], None), proxy)
}

fn store() -> LakeStore {
    House::new(Ground::Hdfs).lake.store().clone()
}

/// Every file of a lake, by its path in it.
async fn all(store: &LakeStore) -> Vec<Path> {
    store.list(&Path::default()).await.unwrap().into_iter().map(|object| object.location).collect()
}

/// Waits until nothing lies beside its place.
async fn wait_for_no_leftovers(store: &LakeStore) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let files = all(store).await;
        let left: Vec<_> = files.iter().filter(|path| temporary::of(path.filename().unwrap()).is_some()).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "they stay: {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// When so many renames have passed, so many meet this fate; answers how many there are still to come.
fn behind(proxy: &NameNodeProxy, mut passing: usize, count: usize, fate: Fate) -> Arc<Mutex<usize>> {
    let left = Arc::new(Mutex::new(count));
    let counted = Arc::clone(&left);
    proxy.rule(move |moment| {
        let mut left = counted.lock().unwrap();
        if moment == Moment::Done || *left == 0 {
            return Fate::Passes;
        }
        if passing > 0 {
            passing -= 1;
            return Fate::Passes;
        }
        *left -= 1;
        fate
    });
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_puts_of_one_name_one_is_done_and_nobody_ever_sees_half_of_it() {
    let store = store();
    let path = Path::from("a/00000000000000000001.json");
    let whole = |writer: u8| Bytes::from(vec![writer; 300_000]);
    let reading = tokio::spawn({
        let (store, path) = (store.clone(), path.clone());
        async move {
            loop {
                if let Some(bytes) = store.get(&path).await.unwrap() {
                    return bytes;
                }
            }
        }
    });
    let puts: Vec<_> = (0..8)
        .map(|writer| {
            let (store, path) = (store.clone(), path.clone());
            tokio::spawn(async move { store.put_if_absent(&path, whole(writer)).await.unwrap() })
        })
        .collect();
    let mut done = Vec::new();
    for (writer, put) in (0..).zip(puts) {
        done.extend((put.await.unwrap() == Put::Done).then_some(writer));
    }
    assert_eq!(done.len(), 1, "{done:?}");
    assert_eq!(reading.await.unwrap(), whole(done[0]), "what a reader found first");
    assert_eq!(store.get(&path).await.unwrap().unwrap(), whole(done[0]));
    wait_for_no_leftovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_several_blocks_is_there_as_a_whole_or_not_at_all() {
    let store = store();
    let (objects, path) = (store.objects(), Path::from("a/part.parquet"));
    // A block ends with the first part, and in the middle of the third.
    let parts = [1 << 20, 700_000, 700_000, 0, 5];
    let mut upload = objects.put_multipart(&path).await.unwrap();
    let mut expected = Vec::new();
    let mut uploading = Vec::new();
    for (number, length) in (1..).zip(parts) {
        let part = vec![number; length];
        expected.extend_from_slice(&part);
        uploading.push(upload.put_part(PutPayload::from(part)));
    }
    // Whichever is waited for first.
    uploading.swap(0, 3);
    for part in uploading {
        part.await.unwrap();
        assert_eq!(store.size(&path).await.unwrap(), None);
    }
    upload.complete().await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().unwrap(), expected);
    let range = objects.get_range(&path, (1 << 20) - 1..(1 << 20) + 1).await.unwrap();
    assert_eq!(range[..], [1, 2], "across two blocks");
    let copy = Path::from("c/part.parquet");
    store.copy(&path, &copy, expected.len() as u64).await.unwrap();
    assert_eq!(store.get(&copy).await.unwrap().unwrap(), expected);
    let nothing = store.copy(&Path::from("nothing"), &copy, 5).await;
    assert!(matches!(nothing, Err(Error::Store { source: object_store::Error::NotFound { .. }, .. })), "{nothing:?}");
    assert_eq!(store.get(&copy).await.unwrap().unwrap(), expected, "what failed replaces nothing");
    store.delete(&copy).await.unwrap();
    wait_for_no_leftovers(&store).await;

    let mut dropped = objects.put_multipart(&Path::from("b/part.parquet")).await.unwrap();
    dropped.put_part(PutPayload::from(vec![1; 100])).await.unwrap();
    assert_eq!(all(&store).await.len(), 2);
    drop(dropped);
    wait_for_no_leftovers(&store).await;
    assert_eq!(all(&store).await, [path]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cleaned_away_before_its_rename_never_gets_its_place() {
    let store = store();
    let path = Path::from("a/part.parquet");
    let mut upload = store.objects().put_multipart(&path).await.unwrap();
    upload.put_part(PutPayload::from(vec![1; 100])).await.unwrap();
    let beside = all(&store).await.remove(0);
    assert_eq!(temporary::of(beside.filename().unwrap()), Some("part.parquet"));
    store.delete(&beside).await.unwrap();
    let error = upload.complete().await.unwrap_err();
    assert!(matches!(error, object_store::Error::Generic { .. }), "the outcome is unknown: {error:?}");
    assert!(all(&store).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_go_where_they_are_empty_and_what_is_not_there_is_no_error() {
    let store = store();
    let (file, directory) = (Path::from("a/b/c.json"), Path::from("a/b"));
    assert!(store.list(&directory).await.unwrap().is_empty() && store.directories(&directory).await.unwrap().is_empty());
    for nothing in [&file, &directory] {
        store.delete(nothing).await.unwrap();
        store.drop_if_empty(nothing).await.unwrap();
        store.clear_directory(nothing).await.unwrap();
        assert_eq!((store.size(nothing).await.unwrap(), store.get(nothing).await.unwrap()), (None, None));
    }
    store.put(&file, Bytes::from_static(b"one")).await.unwrap();
    store.put(&file, Bytes::from_static(b"two, over it")).await.unwrap();
    assert_eq!(store.get(&file).await.unwrap().unwrap(), Bytes::from_static(b"two, over it"));
    assert_eq!(store.directories(&Path::from("a")).await.unwrap(), ["b"]);
    assert_eq!(store.size(&directory).await.unwrap(), None, "a directory is no object");
    store.drop_if_empty(&directory).await.unwrap();
    assert_eq!(store.size(&file).await.unwrap(), Some(12), "it was not empty");
    store.delete(&file).await.unwrap();
    store.drop_if_empty(&directory).await.unwrap();
    assert!(store.directories(&Path::from("a")).await.unwrap().is_empty());
    store.put(&file, Bytes::new()).await.unwrap();
    assert_eq!(store.get(&file).await.unwrap().unwrap(), Bytes::new());
    store.clear_directory(&Path::from("a")).await.unwrap();
    assert!(all(&store).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_known_to_have_happened_whatever_becomes_of_its_rename() {
    let (house, proxy) = behind_a_proxy(Hdfs::shared().port()).await;
    let mut writer = started(&house).await;
    let records = house.lake.history(&name(), 1).await.unwrap().len();
    // The first rename of a commit is its file's, and a file that was perhaps not put fails the commit.
    for (transaction, fate) in [Fate::Lost, Fate::AnswerLost].into_iter().enumerate() {
        let left = behind(&proxy, 0, 1, fate);
        let error = insert(writer.as_mut(), transaction as u64).await.unwrap_err();
        assert!(matches!(error, Error::Store { .. }) && *left.lock().unwrap() == 0, "{fate:?}: {error:?}");
        writer = house.lake.writer(house.spec(TableKind::Mirror, 1), Term(2)).await.unwrap();
        insert(writer.as_mut(), transaction as u64).await.unwrap();
    }
    let before = house.lake.history(&name(), 1).await.unwrap().len();
    assert_eq!(before, records + 4, "two commits, and a term before each");
    for (transaction, fate) in (2..).zip([Fate::Lost, Fate::AnswerLost]) {
        let left = behind(&proxy, 1, 2, fate);
        insert(writer.as_mut(), transaction).await.unwrap_or_else(|error| panic!("{fate:?}: {error:?}"));
        assert!(*left.lock().unwrap() < 2, "{fate:?} met nothing");
        proxy.rule(|_| Fate::Passes);
        let history = house.lake.history(&name(), 1).await.unwrap();
        assert_eq!(history.len() as u64, before as u64 + transaction - 1, "{fate:?}: one commit is one record");
        assert_eq!(house.rows(1).await.len() as u64, 2 + transaction + 1, "{fate:?}");
    }
    wait_for_no_leftovers(house.lake.store()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_puts_left_is_cleaned_away() {
    let house = House::new(Ground::Hdfs);
    let mut writer = started(&house).await;
    for transaction in 0..6 {
        insert(writer.as_mut(), transaction).await.unwrap();
    }
    let store = house.lake.store().clone();
    let files = all(&store).await;
    // Beside a record, a checkpoint and a data file that are there, and beside a file of ours that never came to be.
    let kinds = ["/log/", "/checkpoint/", ".parquet"];
    let mut places: Vec<Path> =
        kinds.iter().map(|kind| files.iter().find(|path| path.as_ref().contains(kind)).unwrap().clone()).collect();
    places.push(Path::from("ods_shop/users/g0001/s00000099-t1-abcd1234-0000/part.parquet"));
    for place in &places {
        store.put(&temporary::beside(place), Bytes::from_static(b"half")).await.unwrap();
    }
    assert_eq!(all(&store).await.len(), files.len() + 4);
    assert_eq!(house.reopened().committed(&name(), 1).await.unwrap().as_ref(), Some(writer.committed()));
    let mut writer = house.lake.writer(house.spec(TableKind::Mirror, 1), Term(2)).await.unwrap();
    writer.maintain(&[]).await.unwrap();
    let left = all(&store).await;
    assert!(!left.iter().any(|path| temporary::of(path.filename().unwrap()).is_some()), "{left:?}");
    let directories = store.directories(&Path::from("ods_shop/users/g0001")).await.unwrap();
    assert!(!directories.iter().any(|name| name.contains("s00000099")), "{directories:?}");
    assert_eq!(house.rows(1).await.len(), 8);
}

/// A writer of a later term, once the store lets it be one.
async fn next_writer(house: &House) -> Box<dyn TableWriter> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match house.lake.writer(house.spec(TableKind::Mirror, 1), Term(2)).await {
            Ok(writer) => return writer,
            Err(error) => assert!(matches!(error, Error::Store { .. }) && Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namenode_that_dies_before_or_behind_a_rename_costs_time_and_nothing_else() {
    let server = Arc::new(Hdfs::start());
    let (house, proxy) = behind_a_proxy(server.port()).await;
    let mut writer = started(&house).await;
    for (transaction, fate) in (0..).zip([Fate::Lost, Fate::AnswerLost]) {
        let (killed, mut renames) = (Arc::clone(&server), 0);
        let dead = Arc::new(Mutex::new(false));
        let dies = Arc::clone(&dead);
        proxy.rule(move |moment| {
            renames += usize::from(moment == Moment::Asked);
            // The second rename of a commit is its record's.
            let meets = renames == 2 && !*dies.lock().unwrap();
            if meets && (fate == Fate::Lost || moment == Moment::Done) {
                *dies.lock().unwrap() = true;
                killed.kill("namenode");
            }
            if meets { fate } else { Fate::Passes }
        });
        let commit = tokio::spawn(async move { insert(writer.as_mut(), transaction).await });
        let deadline = Instant::now() + LIMIT;
        while !*dead.lock().unwrap() {
            assert!(Instant::now() < deadline, "{fate:?}: it has not died");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.revive();
        // The answer may have come in the end, or never: then the next writer finds out what became of it.
        if let Err(error) = commit.await.unwrap() {
            assert!(matches!(error, Error::Store { .. }), "{fate:?}: {error:?}");
        }
        proxy.rule(|_| Fate::Passes);
        writer = next_writer(&house).await;
        let done = writer.committed().point.as_ref().unwrap().offsets[0].0 > transaction;
        assert!(done || fate == Fate::Lost, "what the NameNode had done it has lost");
        if !done {
            insert(writer.as_mut(), transaction).await.unwrap();
        }
        assert_eq!(house.rows(1).await.len() as u64, 2 + transaction + 1, "{fate:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_that_dies_fails_commits_until_it_is_back_and_loses_none() {
    let server = Hdfs::start();
    let house = House::at(Ground::Hdfs, (&Hdfs::place(), server.port()), &[], None);
    let mut writer = started(&house).await;
    insert(writer.as_mut(), 0).await.unwrap();
    server.kill("datanode");
    let error = insert(writer.as_mut(), 1).await.unwrap_err();
    assert!(matches!(error, Error::Store { .. }), "{error:?}");
    assert_eq!(crate::change::Failure::remedy(&error), crate::change::Remedy::Retry);
    server.revive();
    let mut writer = house.reopened().writer(house.spec(TableKind::Mirror, 1), Term(2)).await.unwrap();
    assert_eq!(writer.committed().point, Some(point(1, true)));
    insert(writer.as_mut(), 1).await.unwrap();
    assert_eq!(house.rows(1).await.len(), 4);
    wait_for_no_leftovers(house.lake.store()).await;
}
