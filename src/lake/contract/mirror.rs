//! Mirrors: after each commit exactly the rows of the source.

use super::*;

fn texts(rows: &BTreeMap<i64, String>) -> Vec<(i64, String)> {
    rows.iter().map(|(id, name)| (*id, name.clone())).collect()
}

#[tokio::test]
async fn snapshot_and_changes_make_the_table() {
    for house in houses() {
        let spec = house.spec(TableKind::Mirror, 1);
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
        assert_eq!(writer.maintain(&[]).await.unwrap().files_deleted, dead.files.len() as u64);

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
    for house in houses() {
        let mut random = 7u64;
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

#[tokio::test]
async fn old_files_stay_readable_as_long_as_retention_says() {
    let house = House::new(true);
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
