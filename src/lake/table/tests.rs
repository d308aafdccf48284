//! The ledger against a store: fencing, unknown answers, checkpoints, generations, retention. Files here are only bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ledger::{Draft, Ledger};
use crate::change::{BinlogPosition, Cut, Dropped, KeyKind, LogOffset, ManualClock, TableName, TableSchema, Term};
use crate::lake::datafile::FileEntry;
use crate::lake::faults::{Fault, FaultyStore};
use crate::lake::log::generations;
use crate::lake::log::record::RecordKind;
use crate::lake::store::LakeStore;
use crate::lake::{
    Check, CommitPoint, Error, LakeName, Layout, Maintenance, Result, Retention, Settings, TableKind, TableSpec,
    TimestampEncoding,
};

const HOUR_MS: u64 = 3_600_000;

struct House {
    store: LakeStore,
    clock: Arc<ManualClock>,
    settings: Settings,
}

impl House {
    fn new() -> Self {
        Self::on(LakeStore::in_memory())
    }

    fn on(store: LakeStore) -> Self {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let settings = Settings {
            url: String::new(),
            options: crate::lake::StoreOptions::default(),
            retention: Retention { min: Duration::from_secs(3600), max: Duration::from_secs(86_400), size: 3.0 },
            zero_dates_park: false,
            check: Check::Rows,
            file_bytes: 1 << 20,
            row_group_bytes: 1 << 20,
            checkpoint_every: 8,
            batch_bytes: 1 << 20,
            scratch: std::env::temp_dir(),
            clock: Arc::clone(&clock) as _,
            publishing: None,
        };
        Self { store, clock, settings }
    }

    fn name(&self) -> LakeName {
        LakeName { database: "ods_shop".to_owned(), table: "orders".to_owned() }
    }

    async fn take_over(&self, generation: u32, term: u64) -> Result<Ledger> {
        self.take_over_through(&self.store, generation, term).await
    }

    async fn take_over_through(&self, store: &LakeStore, generation: u32, term: u64) -> Result<Ledger> {
        let schema = TableSchema {
            name: TableName::new("shop", "orders"),
            columns: Vec::new(),
            key: Vec::new(),
            key_kind: KeyKind::None,
            physical_columns: 0,
            physical: Vec::new(),
        };
        let spec = TableSpec {
            name: self.name(),
            kind: TableKind::Changelog,
            generation,
            schema: Arc::new(schema),
            layout: Layout::Single,
            timestamp_encoding: TimestampEncoding::Int64,
            datetimes: "instant in UTC".parse().ok(),
            partition_by: None,
            daily: false,
            source: "shop".to_owned(),
        };
        Ledger::take_over(store, &self.settings, spec, Term(term)).await
    }

    async fn live(&self) -> Option<(u32, u64)> {
        let live = generations::live(&self.store, &self.name()).await.unwrap();
        live.state.unwrap().filter(|state| state.publishes()).map(|state| (state.generation, state.seq))
    }
}

fn point(offset: u64, publish: bool) -> CommitPoint {
    CommitPoint {
        position: Cut(BinlogPosition { epoch: 0, file: 1, offset }),
        offsets: vec![LogOffset(offset)],
        last: vec![None],
        gtid: None,
        file_name: "binlog.000001".to_owned(),
        source_time_us: 0,
        publish,
        dropped: Dropped::default(),
    }
}

async fn write(ledger: &Ledger, directory: &str) -> FileEntry {
    let path = format!("{}/{directory}/part-0000.parquet", ledger.generation_directory());
    ledger.store.put(&ledger.object(&path), Bytes::from_static(b"0123456789")).await.unwrap();
    FileEntry { path, rows: 1, bytes: 10, keys: None }
}

async fn adopt(ledger: &mut Ledger) -> Result<()> {
    ledger.begin()?;
    ledger.append(RecordKind::Adopt, Draft { point: Some(point(0, false)), ..Draft::default() }).await
}

/// One file replaces all there are.
async fn replace(ledger: &mut Ledger, offset: u64, publish: bool) -> Result<FileEntry> {
    ledger.begin()?;
    let file = write(ledger, &ledger.commit_directory()).await;
    let removed = ledger.state.files().iter().map(|file| file.path.clone()).collect();
    let draft = Draft { point: Some(point(offset, publish)), added: vec![file.clone()], removed, ..Draft::default() };
    ledger.append(RecordKind::Commit, draft).await?;
    Ok(file)
}

async fn is_there(house: &House, ledger: &Ledger, file: &FileEntry) -> bool {
    house.store.size(&ledger.object(&file.path)).await.unwrap().is_some()
}

fn is_fenced<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Fenced { .. } | Error::Replaced { .. }))
}

#[tokio::test]
async fn the_second_writer_fences_the_first_and_needs_no_lower_term() {
    let house = House::new();
    let mut first = house.take_over(1, 1).await.unwrap();
    adopt(&mut first).await.unwrap();
    let mut second = house.take_over(1, 2).await.unwrap();
    assert_eq!(second.committed().point, Some(point(0, false)));
    assert!(is_fenced(replace(&mut first, 1, false).await));
    assert!(is_fenced(replace(&mut first, 1, false).await), "a writer that failed stays failed");
    assert!(is_fenced(first.maintain(&[]).await));
    replace(&mut second, 1, false).await.unwrap();
    assert!(is_fenced(house.take_over(1, 1).await));
}

#[tokio::test]
async fn an_unknown_answer_is_asked_again_until_the_slot_is_occupied() {
    let house = House::new();
    adopt(&mut house.take_over(1, 1).await.unwrap()).await.unwrap();
    for (term, faults) in [
        (2, &[Fault::None, Fault::AnswerLost][..]),
        (3, &[Fault::AnswerLost, Fault::Lost, Fault::AnswerLost]),
        (4, &[Fault::None, Fault::Lost, Fault::Lost, Fault::AnswerLost]),
    ] {
        let store = house.store.behind(FaultyStore::scripted(faults));
        let mut ledger = house.take_over_through(&store, 1, term).await.unwrap();
        replace(&mut ledger, term, false).await.unwrap();
        assert_eq!(house.take_over(1, term + 10).await.err().map(|error| error.to_string()), None);
        assert!(is_fenced(replace(&mut ledger, term, false).await));
        house.clock.advance(1);
        return_to(&house, term).await;
    }
}

/// The next round's terms must be higher than the checker's: start anew.
async fn return_to(house: &House, term: u64) {
    let state = generations::live(&house.store, &house.name()).await.unwrap().state.unwrap().unwrap();
    assert_eq!(state.point, Some(point(term, false)));
    for object in house.store.list(&object_store::path::Path::from("ods_shop")).await.unwrap() {
        house.store.delete(&object.location).await.unwrap();
    }
    adopt(&mut house.take_over(1, 1).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_commit_whose_answer_never_came_is_settled_by_the_next_writer() {
    let house = House::new();
    adopt(&mut house.take_over(1, 1).await.unwrap()).await.unwrap();
    for (happened, fault) in [(false, Fault::Lost), (true, Fault::AnswerLost)] {
        let mut script = vec![Fault::None, fault];
        script.extend([Fault::Lost; 8]);
        let store = house.store.behind(FaultyStore::scripted(&script));
        let term = 2 + u64::from(happened) * 10;
        let mut ledger = house.take_over_through(&store, 1, term).await.unwrap();
        assert!(matches!(replace(&mut ledger, term, false).await, Err(Error::Store { .. })));
        let mut next = house.take_over(1, term + 1).await.unwrap();
        assert_eq!(next.committed().point == Some(point(term, false)), happened);
        let orphans = u64::from(!happened);
        assert_eq!(next.maintain(&[]).await.unwrap().files_deleted, orphans);
    }
}

#[tokio::test]
async fn a_long_log_is_read_from_its_newest_checkpoint() {
    let house = House::new();
    let mut ledger = house.take_over(1, 1).await.unwrap();
    adopt(&mut ledger).await.unwrap();
    for offset in 1..=30 {
        replace(&mut ledger, offset, offset > 9).await.unwrap();
        house.clock.advance(HOUR_MS);
    }
    assert_eq!(ledger.log.newest_checkpoint().await.unwrap(), 32);
    let whole = ledger.log.load().await.unwrap().unwrap();
    assert_eq!(whole, ledger.state);
    let done = ledger.maintain(&[]).await.unwrap();
    assert_eq!(done.entries_expired, 8, "24 hours are kept, and all from the checkpoint on");
    assert!(done.files_deleted > 20, "{done:?}");
    assert_eq!(house.live().await, Some((1, 32)));
    assert_eq!(ledger.log.records().await.unwrap().len(), 24);
    replace(&mut ledger, 31, true).await.unwrap();
    assert!(ledger.state.retained.len() < 10);
    assert_eq!(ledger.log.load().await.unwrap().unwrap(), ledger.state);
}

#[tokio::test]
async fn a_record_that_is_missing_or_unreadable_is_an_error_of_the_log() {
    for broken in [None, Some(&b"{\"v\":1"[..]), Some(b"{\"v\":1}")] {
        let house = House::new();
        let mut ledger = house.take_over(1, 1).await.unwrap();
        adopt(&mut ledger).await.unwrap();
        replace(&mut ledger, 1, true).await.unwrap();
        house.store.delete(&ledger.log.slot(2)).await.unwrap();
        if let Some(bytes) = broken {
            house.store.put(&ledger.log.slot(2), Bytes::from_static(bytes)).await.unwrap();
        }
        assert!(matches!(ledger.log.load().await, Err(Error::Log { .. })));
        assert!(matches!(house.take_over(1, 2).await, Err(Error::Log { .. })));
    }
}

#[tokio::test]
async fn a_writer_notices_that_its_newest_record_was_deleted() {
    let house = House::new();
    let mut ledger = house.take_over(1, 1).await.unwrap();
    adopt(&mut ledger).await.unwrap();
    house.store.delete(&ledger.log.slot(2)).await.unwrap();
    assert!(matches!(ledger.check_still_ours().await, Err(Error::Log { .. })));
    assert!(matches!(replace(&mut ledger, 1, true).await, Err(Error::Log { .. })), "nobody has gone on: it is no successor");
    assert!(replace(&mut ledger, 2, true).await.is_err(), "the writer is used up");
    assert_eq!(house.live().await, Some((1, 3)), "readers keep the sum that the writer knew");
    let mut next = house.take_over(1, 2).await.unwrap();
    replace(&mut next, 2, true).await.unwrap();
    assert_eq!(house.live().await, Some((1, 5)));
}

#[tokio::test]
async fn a_new_generation_replaces_one_whose_log_is_damaged() {
    for unreadable in [None, Some("{"), Some(r#"{"v":1,"kind":"quantum"}"#)] {
        let house = House::new();
        let mut old = house.take_over(1, 1).await.unwrap();
        adopt(&mut old).await.unwrap();
        replace(&mut old, 1, true).await.unwrap();
        replace(&mut old, 2, true).await.unwrap();
        // A hole, or a newest record that says nothing.
        let slot = old.log.slot(if unreadable.is_some() { 4 } else { 3 });
        house.store.delete(&slot).await.unwrap();
        if let Some(text) = unreadable {
            house.store.put(&slot, Bytes::from_static(text.as_bytes())).await.unwrap();
        }
        let live = generations::live(&house.store, &house.name()).await.unwrap();
        assert!(matches!(live.state, Err(Error::Log { .. })), "{unreadable:?}");
        assert!(matches!(house.take_over(1, 2).await, Err(Error::Log { .. })));

        let mut new = house.take_over(2, 2).await.unwrap();
        adopt(&mut new).await.unwrap();
        replace(&mut new, 1, true).await.unwrap();
        assert_eq!(house.live().await, Some((2, 3)), "{unreadable:?}");
        replace(&mut house.take_over(2, 3).await.unwrap(), 2, true).await.unwrap();
        assert_eq!(house.live().await, Some((2, 5)), "the switch is found behind the damage");
        assert!(matches!(house.take_over(1, 9).await, Err(Error::Replaced { by: 2, .. })));
    }
}

#[tokio::test]
async fn a_writer_that_slept_until_its_slot_had_expired_is_fenced() {
    let house = House::new();
    let mut asleep = house.take_over(1, 1).await.unwrap();
    adopt(&mut asleep).await.unwrap();
    let mut awake = house.take_over(1, 2).await.unwrap();
    let mut last = None;
    for offset in 1..=40 {
        last = Some(replace(&mut awake, offset, true).await.unwrap());
        house.clock.advance(HOUR_MS);
    }
    house.clock.advance(48 * HOUR_MS);
    awake.maintain(&[]).await.unwrap();
    assert!(!awake.log.has(3).await.unwrap(), "the sleeper's next slot is free");
    assert!(is_fenced(replace(&mut asleep, 1, false).await));
    assert_eq!(house.live().await, Some((1, 43)));
    assert!(is_there(&house, &awake, &last.unwrap()).await);
    replace(&mut awake, 41, true).await.unwrap();
    let mut next = house.take_over(1, 3).await.unwrap();
    assert_eq!(next.maintain(&[]).await.unwrap().files_deleted, 1, "what the sleeper wrote");
    assert_eq!(next.log.records().await.unwrap().first().unwrap().seq, 40);
}

#[tokio::test]
async fn readers_go_to_a_new_generation_with_its_first_published_commit() {
    let house = House::new();
    let mut old = house.take_over(1, 1).await.unwrap();
    adopt(&mut old).await.unwrap();
    assert_eq!(house.live().await, None);
    let old_file = replace(&mut old, 1, true).await.unwrap();
    let mut new = house.take_over(2, 1).await.unwrap();
    adopt(&mut new).await.unwrap();
    replace(&mut new, 1, false).await.unwrap();
    assert_eq!(house.live().await, Some((1, 3)));
    replace(&mut old, 2, true).await.unwrap();
    replace(&mut new, 2, true).await.unwrap();
    assert_eq!(house.live().await, Some((2, 4)));
    assert!(is_fenced(replace(&mut old, 3, true).await));
    assert!(is_fenced(house.take_over(1, 9).await));
    replace(&mut new, 3, true).await.unwrap();

    house.clock.advance(HOUR_MS / 2);
    assert_eq!(new.maintain(&[]).await.unwrap(), Maintenance::default());
    house.clock.advance(24 * HOUR_MS);
    assert!(new.maintain(&[]).await.unwrap().files_deleted >= 4);
    assert!(!is_there(&house, &old, &old_file).await);
    assert_eq!(house.live().await, Some((2, 5)), "the old log still leads to the new generation");
}

#[tokio::test]
async fn a_crash_between_the_commit_and_the_switch_is_mended_by_the_next_writer() {
    for old_exists in [true, false] {
        let house = House::new();
        if old_exists {
            let mut old = house.take_over(1, 1).await.unwrap();
            adopt(&mut old).await.unwrap();
            replace(&mut old, 1, true).await.unwrap();
        }
        let before = house.live().await;
        let mut script = vec![Fault::None; 3];
        script.extend([Fault::Lost; 6]);
        let store = house.store.behind(FaultyStore::scripted(&script));
        let mut new = house.take_over_through(&store, 3, 5).await.unwrap();
        adopt(&mut new).await.unwrap();
        assert!(matches!(replace(&mut new, 1, true).await, Err(Error::Store { .. })));
        assert_eq!(house.live().await, before);
        let next = house.take_over(3, 6).await.unwrap();
        assert_eq!(house.live().await, Some((3, next.committed().seq)));
        assert!(is_fenced(house.take_over(2, 9).await), "a generation between them comes too late");
        assert!(is_fenced(house.take_over(1, 9).await));
    }
}

#[tokio::test]
async fn a_generation_that_was_overtaken_cannot_switch_readers_back() {
    let house = House::new();
    let mut first = house.take_over(1, 1).await.unwrap();
    adopt(&mut first).await.unwrap();
    replace(&mut first, 1, true).await.unwrap();
    let mut second = house.take_over(2, 1).await.unwrap();
    adopt(&mut second).await.unwrap();
    let mut third = house.take_over(3, 1).await.unwrap();
    adopt(&mut third).await.unwrap();
    replace(&mut third, 1, true).await.unwrap();
    assert!(is_fenced(replace(&mut second, 1, true).await));
    assert_eq!(house.live().await, Some((3, 3)));
}

#[tokio::test]
async fn points_do_not_go_back() {
    let house = House::new();
    let mut term = 0;
    for (wrong, text) in [(point(4, true), "position"), (point(5, false), "unpublished"), (point(6, true), "")] {
        term += 1;
        let mut ledger = house.take_over(1, term).await.unwrap();
        if term == 1 {
            adopt(&mut ledger).await.unwrap();
            replace(&mut ledger, 5, true).await.unwrap();
        }
        let checked = ledger.check_point(&wrong).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(checked.contains(text) && checked.is_empty() == text.is_empty(), "{checked}");
    }
}

#[tokio::test]
async fn only_what_crashes_left_behind_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    let (local, _) = LakeStore::open(&format!("file://{}", directory.path().display()), &Default::default()).unwrap();
    for house in [House::new(), House::on(local)] {
        let mut first = house.take_over(1, 1).await.unwrap();
        let adopted = write(&first, "chunks/c000001-a").await;
        let dead = write(&first, "chunks/c000001-b").await;
        assert_eq!(first.maintain(&[]).await.unwrap().files_deleted, 0, "chunks are open until the adoption");
        first.begin().unwrap();
        let draft = Draft { point: Some(point(0, false)), added: vec![adopted.clone()], ..Draft::default() };
        first.append(RecordKind::Adopt, draft).await.unwrap();
        let crashed = write(&first, &first.commit_directory()).await;
        let stranger = write(&first, "of-somebody-else").await;
        let mut second = house.take_over(1, 2).await.unwrap();
        let open = write(&second, &second.commit_directory()).await;
        let later = write(&second, "s00000009-t3-abcd1234").await;
        let kept = vec![dead.path.clone()];
        assert_eq!(second.maintain(&kept).await.unwrap().files_deleted, 1);
        assert!(!is_there(&house, &second, &crashed).await);
        assert_eq!(second.maintain(&[]).await.unwrap().files_deleted, 1);
        assert!(!is_there(&house, &second, &dead).await);
        for file in [&adopted, &stranger, &open, &later] {
            assert!(is_there(&house, &second, file).await, "{}", file.path);
        }
    }
}
