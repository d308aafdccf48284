//! Mirrors: after each commit exactly the rows of the source.

use super::*;
use crate::lake::faults::{Fault, FaultyStore};

fn texts(rows: &BTreeMap<i64, String>) -> Vec<(i64, String)> {
    rows.iter().map(|(id, name)| (*id, name.clone())).collect()
}

#[tokio::test]
async fn snapshot_and_changes_make_the_table() {
    let everywhere = |partition_by| houses().into_iter().map(move |house| (house, partition_by));
    for (house, partition_by) in [None, Some("born")].into_iter().flat_map(everywhere) {
        let spec = TableSpec { partition_by: partition_by.map(str::to_owned), ..house.spec(TableKind::Mirror, 1) };
        let chunks = vec![
            house.chunk(&spec, 0, "a", &[(2, "bob"), (1, "ann"), (3, "cy")]).await,
            house.chunk(&spec, 1, "a", &[(5, "eve"), (4, "dan")]).await,
            house.chunk(&spec, 2, "a", &[]).await,
        ];
        let dead = house.chunk(&spec, 1, "b", &[(4, "dan")]).await;
        let mut writer = house.lake.writer(spec.clone(), Term(1)).await.unwrap();
        assert!(matches!(writer.commit(point(1, false)).await, Err(Error::Log { .. })));
        let mut writer2 = house.lake.writer(spec.clone(), Term(2)).await.unwrap();
        std::mem::swap(&mut writer, &mut writer2);
        writer.adopt(chunks, point(0, false)).await.unwrap();
        assert_eq!(writer.committed().rows, 5);
        assert_eq!(writer.committed().zero_dates["born"], 2);
        let changes = [
            Change::Insert(6, "fay"),
            Change::Update((1, "ann"), "anna"),
            Change::Delete(2, "bob"),
            Change::Update((6, "fay"), "faye"),
        ];
        for (transaction, change) in (0..).zip(&changes) {
            put(writer.as_mut(), transaction, MIDNIGHT_MS, change).unwrap();
            writer.relieve().await.unwrap();
        }
        writer.commit(point(4, true)).await.unwrap();
        let expected = [(1, "anna"), (3, "cy"), (4, "dan"), (5, "eve"), (6, "faye")];
        assert_eq!(house.rows(1).await, expected.map(|(id, name)| (id, name.to_owned())));
        assert_eq!(house.lake.published(&name()).await.unwrap().unwrap().rows, 5);
        if partition_by.is_some() {
            let files = house.lake.files(&name()).await.unwrap();
            let lie_in = |day: &str| files.iter().filter(|file| file.contains(&format!("/dt={day}/"))).count();
            assert_eq!((lie_in("2024-10-04"), lie_in("__HIVE_DEFAULT_PARTITION__"), files.len()), (1, 1, 2), "{files:?}");
        }
        assert!(writer.maintain(&[]).await.unwrap().files_deleted >= 1);
        let dead = crate::lake::log::table_object(&name(), &dead.files[0].path);
        assert_eq!(house.lake.store().size(&dead).await.unwrap(), None);

        put(writer.as_mut(), 4, MIDNIGHT_MS, &Change::Truncate).unwrap();
        put(writer.as_mut(), 5, MIDNIGHT_MS, &Change::Insert(1, "again")).unwrap();
        writer.commit(point(6, true)).await.unwrap();
        assert_eq!(house.rows(1).await, [(1, "again".to_owned())]);
        put(writer.as_mut(), 6, MIDNIGHT_MS, &Change::Truncate).unwrap();
        writer.commit(point(7, true)).await.unwrap();
        assert_eq!(house.rows(1).await, []);
        put(writer.as_mut(), 7, MIDNIGHT_MS, &Change::Insert(9, "ida")).unwrap();
        writer.commit(point(8, true)).await.unwrap();
        assert_eq!(house.rows(1).await, [(9, "ida".to_owned())]);
    }
}

#[tokio::test]
async fn an_empty_table_is_a_table() {
    for house in houses() {
        let mut writer = house.lake.writer(house.spec(TableKind::Mirror, 1), Term(1)).await.unwrap();
        writer.adopt(Vec::new(), point(0, false)).await.unwrap();
        writer.commit(point(0, true)).await.unwrap();
        let published = house.lake.published(&name()).await.unwrap().unwrap();
        assert_eq!((published.rows, published.files), (0, 0));
        put(writer.as_mut(), 0, MIDNIGHT_MS, &Change::Insert(1, "first")).unwrap();
        writer.commit(point(1, true)).await.unwrap();
        assert_eq!(house.rows(1).await, [(1, "first".to_owned())]);
    }
}

#[tokio::test]
async fn what_the_mirror_does_not_hold_is_a_divergence_and_commits_nothing() {
    for house in houses() {
        let spec = house.spec(TableKind::Mirror, 1);
        let chunks = vec![house.chunk(&spec, 0, "a", &[(1, "ann")]).await];
        let mut writer = house.lake.writer(spec.clone(), Term(1)).await.unwrap();
        writer.adopt(chunks, point(0, true)).await.unwrap();
        let wrong = [
            Change::Insert(1, "ann"),
            Change::Delete(2, "bob"),
            Change::Update((1, "wrong"), "new"),
            Change::Update((3, "x"), "y"),
        ];
        for (term, change) in (2..).zip(&wrong) {
            let mut writer = house.lake.writer(spec.clone(), Term(term)).await.unwrap();
            put(writer.as_mut(), 0, MIDNIGHT_MS, change).unwrap();
            assert!(matches!(writer.commit(point(1, true)).await, Err(Error::Divergence { .. })));
            assert!(is_fenced(writer.commit(point(1, true)).await));
            assert_eq!(house.rows(1).await, [(1, "ann".to_owned())]);
        }
    }
}

/// Random batches, writers that come and go, and a look after every commit.
#[tokio::test]
async fn random_changes_are_followed_commit_by_commit() {
    for (house, seed) in houses().into_iter().zip(7..) {
        let mut random: u64 = seed;
        let mut next = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let spec = house.spec(TableKind::Mirror, 1);
        let long = "long".repeat(100);
        let mut expected: BTreeMap<i64, String> = (0..300).map(|id| (id, long.clone())).collect();
        let rows: Vec<(i64, &str)> = expected.keys().map(|id| (*id, long.as_str())).collect();
        let mut chunks = Vec::new();
        for (number, rows) in (0..).zip(rows.chunks(100)) {
            chunks.push(house.chunk(&spec, number, "a", rows).await);
        }
        let mut term = 1;
        let mut writer = house.lake.writer(spec.clone(), Term(term)).await.unwrap();
        writer.adopt(chunks, point(0, true)).await.unwrap();
        let mut transaction = 0;
        for round in 0..40 {
            if round % 9 == 8 {
                term += 1;
                writer = house.reopened().writer(spec.clone(), Term(term)).await.unwrap();
                assert_eq!(writer.committed().point, Some(point(transaction, true)));
            }
            for _ in 0..next(60) {
                let id = next(400) as i64;
                let new = format!("{}{}", next(1000), "y".repeat(next(400) as usize));
                let change = match (expected.get(&id), next(300)) {
                    (_, 0) => Change::Truncate,
                    (None, _) => Change::Insert(id, &new),
                    (Some(old), 1..100) => Change::Delete(id, old),
                    (Some(old), _) => Change::Update((id, old), &new),
                };
                put(writer.as_mut(), transaction, MIDNIGHT_MS, &change).unwrap();
                writer.relieve().await.unwrap();
                match change {
                    Change::Truncate => expected.clear(),
                    Change::Delete(..) => drop(expected.remove(&id)),
                    Change::Insert(..) | Change::Update(..) => drop(expected.insert(id, new)),
                }
                transaction += 1;
            }
            writer.commit(point(transaction, true)).await.unwrap();
            assert_eq!(house.rows(1).await, texts(&expected), "round {round}");
            assert_eq!(writer.committed().rows, expected.len() as u64);
            house.clock.advance(HOUR_MS);
            writer.maintain(&[]).await.unwrap();
        }
    }
}

/// Crashes around every commit: answers that are lost, records that are, and a new writer each time. After each the lake must be
/// the source at the lake's own position.
#[tokio::test]
async fn crashes_around_commits_lose_nothing_and_double_nothing() {
    for (house, seed) in houses().into_iter().zip(3u64..) {
        let spec = house.spec(TableKind::Mirror, 1);
        let mut term = 1;
        let mut writer = house.lake.writer(spec.clone(), Term(term)).await.unwrap();
        writer.adopt(Vec::new(), point(0, true)).await.unwrap();
        let (mut lost, mut landed) = (0, 0);
        let mut done: u64 = 0;
        while done < 400 {
            let target = done + 1 + (done * 31 + term * seed) % 17;
            let outcome = commit_up_to(writer.as_mut(), done, target).await;
            let crashed = outcome.is_err();
            if crashed || term * 7 % 5 < done % 5 {
                term += 1;
                let faults: Vec<Fault> = (0..40).map(|put| fault(term * 11 + seed + put)).collect();
                writer = match house.reopened().behind(FaultyStore::scripted(&faults)).writer(spec.clone(), Term(term)).await {
                    Ok(writer) => writer,
                    Err(_) => {
                        term += 1;
                        house.reopened().writer(spec.clone(), Term(term)).await.unwrap()
                    }
                };
            }
            let at = writer.committed().point.as_ref().unwrap().offsets[0].0;
            assert!(at == target || (crashed && at == done), "at {at} after {done}, {target}");
            assert_eq!(house.rows(1).await, after(at), "at {at}");
            lost += u32::from(crashed && at == done);
            landed += u32::from(crashed && at == target);
            done = at;
        }
        assert!(lost > 0 && landed > 0, "{lost} commits lost, {landed} landed without an answer");
    }
}

/// Eight lost puts in a row are a crash: before the record when it is the first of them, behind it when its answer was lost.
fn fault(number: u64) -> Fault {
    match (number / 8 % 3, number % 8, number / 24 % 2) {
        (1, 0, 0) | (0, 3, _) => Fault::AnswerLost,
        (1, ..) => Fault::Lost,
        _ => Fault::None,
    }
}

/// Transaction n inserts key n / 2, or updates it to the next name.
async fn commit_up_to(writer: &mut dyn TableWriter, from: u64, to: u64) -> Result<()> {
    for transaction in from..to {
        let key = (transaction / 2) as i64;
        let (old, new) = ((transaction - transaction % 2).to_string(), transaction.to_string());
        let change = match transaction % 2 {
            0 => Change::Insert(key, &new),
            _ => Change::Update((key, &old), &new),
        };
        put(writer, transaction, MIDNIGHT_MS, &change)?;
    }
    writer.commit(point(to, true)).await
}

/// The source after so many transactions.
fn after(transactions: u64) -> Vec<(i64, String)> {
    let last = |key: u64| (key as i64, (key * 2 + 1).min(transactions - 1).to_string());
    (0..transactions.div_ceil(2)).map(last).collect()
}

#[tokio::test]
async fn old_files_stay_readable_as_long_as_retention_says() {
    let house = House::new(Ground::Files);
    let spec = house.spec(TableKind::Mirror, 1);
    let chunks = vec![house.chunk(&spec, 0, "a", &[(1, "ann")]).await];
    let mut writer = house.lake.writer(spec, Term(1)).await.unwrap();
    writer.adopt(chunks, point(0, true)).await.unwrap();
    let planned = house.lake.files(&name()).await.unwrap();
    put(writer.as_mut(), 0, MIDNIGHT_MS, &Change::Update((1, "ann"), "bea")).unwrap();
    writer.commit(point(1, true)).await.unwrap();
    house.clock.advance(24 * HOUR_MS - 1);
    writer.maintain(&[]).await.unwrap();
    assert!(planned.iter().all(|path| std::path::Path::new(path).exists()));
    house.clock.advance(1);
    writer.maintain(&[]).await.unwrap();
    assert!(planned.iter().all(|path| !std::path::Path::new(path).exists()));
    assert!(house.lake.files(&name()).await.unwrap().iter().all(|path| std::path::Path::new(path).exists()));
}
