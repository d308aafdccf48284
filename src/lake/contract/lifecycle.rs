//! Writers that come, go, crash and meet; told with the kind of table that needs no merge.

use super::*;
use crate::change::Failure;
use crate::lake::faults::{Fault, FaultyStore};

async fn started(house: &House) -> Box<dyn TableWriter> {
    let mut writer = house.lake.writer(house.spec(TableKind::Changelog, 1), Term(1)).await.unwrap();
    writer.adopt(Vec::new(), point(0, false)).await.unwrap();
    writer
}

async fn insert(writer: &mut dyn TableWriter, transaction: u64, publish: bool) -> Result<()> {
    put(writer, transaction, MIDNIGHT_MS, &Change::Insert(transaction as i64, "x"))?;
    writer.commit(point(transaction + 1, publish)).await
}

#[tokio::test]
async fn of_two_writers_the_later_term_wins() {
    for house in houses() {
        let mut old = started(&house).await;
        let spec = house.spec(TableKind::Changelog, 1);
        let mut new = house.lake.writer(spec.clone(), Term(2)).await.unwrap();
        assert!(is_fenced(house.lake.writer(spec, Term(1)).await.map(drop)));
        assert!(is_fenced(insert(old.as_mut(), 0, true).await));
        assert!(is_fenced(old.commit(point(5, true)).await), "its batch is gone, so is its right to commit");
        insert(new.as_mut(), 0, true).await.unwrap();
        assert_eq!(house.rows(1).await, [(0, "x".to_owned())]);
    }
}

#[tokio::test]
async fn the_same_term_takes_over_its_own_writer_that_failed() {
    for house in houses() {
        let mut failed = started(&house).await;
        let mut next = house.lake.writer(house.spec(TableKind::Changelog, 1), Term(1)).await.unwrap();
        assert!(is_fenced(insert(failed.as_mut(), 0, true).await), "what is still on its way finds its slot taken");
        insert(next.as_mut(), 0, true).await.unwrap();
        assert_eq!(house.rows(1).await, [(0, "x".to_owned())]);
    }
}

#[tokio::test]
async fn a_daemon_that_starts_again_goes_on_where_the_lake_says() {
    for house in houses() {
        let mut writer = started(&house).await;
        for transaction in 0..9 {
            insert(writer.as_mut(), transaction, false).await.unwrap();
        }
        put(writer.as_mut(), 9, MIDNIGHT_MS, &Change::Insert(9, "never committed")).unwrap();
        let before = writer.committed().clone();
        drop(writer);
        let lake = house.reopened();
        assert_eq!(lake.committed(&name(), 1).await.unwrap(), Some(before));
        assert_eq!(lake.published(&name()).await.unwrap(), None);
        assert!(lake.files(&name()).await.unwrap().is_empty());
        let mut writer = lake.writer(house.spec(TableKind::Changelog, 1), Term(2)).await.unwrap();
        assert_eq!(writer.committed().point, Some(point(9, false)));
        assert_eq!(writer.buffered_changes(), 0);
        writer.commit(point(9, true)).await.unwrap();
        assert_eq!(lake.published(&name()).await.unwrap().as_ref(), Some(writer.committed()));
        assert_eq!(house.rows(1).await.len(), 9);
        assert!(matches!(writer.adopt(Vec::new(), point(9, true)).await, Err(Error::Log { .. })));
    }
}

#[tokio::test]
async fn a_crash_between_files_and_record_leaves_orphans_that_go() {
    for house in houses() {
        drop(started(&house).await);
        let mut script = vec![Fault::None];
        script.extend([Fault::Lost; 6]);
        let faulty = house.lake.behind(FaultyStore::scripted(&script));
        let mut writer = faulty.writer(house.spec(TableKind::Changelog, 1), Term(2)).await.unwrap();
        assert!(matches!(insert(writer.as_mut(), 0, true).await, Err(Error::Store { .. })));
        assert!(is_fenced(writer.commit(point(1, true)).await), "the batch is gone: its position must not be committed");
        let mut next = house.reopened().writer(house.spec(TableKind::Changelog, 1), Term(3)).await.unwrap();
        assert_eq!(next.committed().point, Some(point(0, false)));
        insert(next.as_mut(), 0, true).await.unwrap();
        assert_eq!(next.maintain(&[]).await.unwrap().files_deleted, 1);
        assert_eq!(house.rows(1).await, [(0, "x".to_owned())]);
        insert(next.as_mut(), 1, true).await.unwrap();
        assert_eq!(house.rows(1).await.len(), 2);
    }
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_not_made_twice() {
    for house in houses() {
        drop(started(&house).await);
        let faulty = house.lake.behind(FaultyStore::scripted(&[Fault::AnswerLost, Fault::Lost, Fault::AnswerLost, Fault::Lost]));
        let mut writer = faulty.writer(house.spec(TableKind::Changelog, 1), Term(2)).await.unwrap();
        insert(writer.as_mut(), 0, true).await.unwrap();
        insert(writer.as_mut(), 1, true).await.unwrap();
        let seqs: Vec<u64> = house.lake.history(&name(), 1).await.unwrap().iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5]);
        assert_eq!(house.rows(1).await.len(), 2);
    }
}

#[tokio::test]
async fn readers_are_switched_to_a_rebuilt_table_at_once() {
    for house in houses() {
        let mut old = started(&house).await;
        insert(old.as_mut(), 0, true).await.unwrap();
        let old_files = house.lake.files(&name()).await.unwrap();
        let spec = house.spec(TableKind::Changelog, 2);
        let chunks = vec![house.chunk(&spec, 0, "a", &[(7, "seven"), (8, "eight")]).await];
        let mut new = house.lake.writer(spec.clone(), Term(1)).await.unwrap();
        new.adopt(chunks, point(0, false)).await.unwrap();
        assert_eq!(house.lake.files(&name()).await.unwrap(), old_files);
        new.commit(point(1, true)).await.unwrap();
        assert_eq!(house.lake.published(&name()).await.unwrap().unwrap().generation, 2);
        assert_ne!(house.lake.files(&name()).await.unwrap(), old_files);
        assert!(is_fenced(insert(old.as_mut(), 1, true).await));
        assert_eq!(house.rows(1).await.len(), 1, "who planned on the old generation can still read it");
        house.clock.advance(25 * HOUR_MS);
        new.maintain(&[]).await.unwrap();
        assert!(house.lake.read_back(&name(), 1).await.is_err());
        assert_eq!(house.rows(2).await.len(), 2);
        let lake = house.reopened();
        assert_eq!(lake.published(&name()).await.unwrap().unwrap().generation, 2);
        drop(lake.writer(spec, Term(2)).await.unwrap());
    }
}

#[tokio::test]
async fn a_table_leaves_traces_of_every_generation_and_term() {
    for house in houses() {
        assert_eq!(house.lake.traces(&name()).await.unwrap(), None);
        // A snapshot that was never adopted is a trace too: its names are taken.
        house.chunk(&house.spec(TableKind::Changelog, 3), 0, "a", &[(1, "ann")]).await;
        assert_eq!(house.lake.traces(&name()).await.unwrap(), Some(Traces { generation: 3, term: Term(0) }));
        drop(house.lake.writer(house.spec(TableKind::Changelog, 1), Term(7)).await.unwrap());
        drop(house.lake.writer(house.spec(TableKind::Changelog, 4), Term(5)).await.unwrap());
        assert_eq!(house.lake.traces(&name()).await.unwrap(), Some(Traces { generation: 4, term: Term(7) }));
    }
}

#[tokio::test]
async fn a_log_with_a_hole_parks_the_table() {
    for house in houses() {
        let mut writer = started(&house).await;
        insert(writer.as_mut(), 0, true).await.unwrap();
        let slot = crate::lake::log::CommitLog::new(house.lake.store(), &name(), 1).slot(2);
        house.lake.store().delete(&slot).await.unwrap();
        assert!(matches!(house.lake.published(&name()).await, Err(Error::Log { .. })));
        let taken_over = house.lake.writer(house.spec(TableKind::Changelog, 1), Term(2)).await;
        assert!(matches!(taken_over.map(drop), Err(Error::Log { .. })));
    }
}

#[tokio::test]
async fn a_chunk_whose_file_vanished_is_not_adopted() {
    for house in houses() {
        let spec = house.spec(TableKind::Changelog, 1);
        let chunk = house.chunk(&spec, 0, "a", &[(1, "ann")]).await;
        let object = crate::lake::log::table_object(&name(), &chunk.files[0].path);
        house.lake.store().delete(&object).await.unwrap();
        let mut writer = house.lake.writer(spec, Term(1)).await.unwrap();
        assert!(matches!(writer.adopt(vec![chunk], point(0, false)).await, Err(Error::File { .. })));
    }
}

#[tokio::test]
async fn listings_that_are_late_hide_no_commit_and_park_no_table() {
    for late in [1, 2, 3, 5] {
        let house = House::new(Ground::Memory);
        let lake = house.lake.behind(FaultyStore::with_late_listings(late));
        let mut writer = lake.writer(house.spec(TableKind::Changelog, 1), Term(1)).await.unwrap();
        writer.adopt(Vec::new(), point(0, false)).await.unwrap();
        for transaction in 0..40 {
            if transaction % 3 == 2 {
                writer = lake.writer(house.spec(TableKind::Changelog, 1), Term(transaction)).await.unwrap();
                assert_eq!(writer.committed().point, Some(point(transaction, transaction > 0)), "a late listing hid a commit");
            }
            insert(writer.as_mut(), transaction, true).await.unwrap();
            let seen = lake.published(&name()).await.unwrap().unwrap();
            assert_eq!((seen.point, seen.rows), (Some(point(transaction + 1, true)), transaction + 1), "late by {late}");
            house.clock.advance(10 * HOUR_MS);
            writer.maintain(&[]).await.unwrap();
        }
        assert_eq!(house.rows(1).await.len(), 40);
        assert!(house.lake.history(&name(), 1).await.unwrap().len() < 20, "entries that are summed up have expired");
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_by_everybody_and_nothing_goes() {
    for house in houses() {
        let mut writer = started(&house).await;
        insert(writer.as_mut(), 0, true).await.unwrap();
        let seq = writer.committed().seq;
        let log = crate::lake::log::CommitLog::new(house.lake.store(), &name(), 1);
        let newer = bytes::Bytes::from_static(br#"{"v":2,"kind":"of tomorrow"}"#);
        house.lake.store().put(&log.slot(seq + 1), newer).await.unwrap();
        let newer = |error: Error| {
            let is_stop = matches!(error.remedy(), crate::change::Remedy::Stop(remedy) if remedy.contains("a later one"));
            assert!(matches!(error, Error::Newer { found: 2, known: 1, .. }) && is_stop, "{error}");
        };
        newer(house.lake.published(&name()).await.unwrap_err());
        newer(house.lake.traces(&name()).await.unwrap_err());
        newer(house.lake.writer(house.spec(TableKind::Changelog, 1), Term(2)).await.map(drop).unwrap_err());
        // Nor does another generation take its place.
        newer(house.lake.writer(house.spec(TableKind::Changelog, 2), Term(2)).await.map(drop).unwrap_err());
        assert!(log.has(seq).await.unwrap() && log.has(seq + 1).await.unwrap());
    }
}
