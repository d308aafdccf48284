//! What every metadata store promises, as a suite that runs on each tenant. A broken promise panics with its sentence.

use std::sync::Arc;

use super::{
    CaptureState, ChunkDone, ChunkState, Error, Lease, Metadata, News, Parked, Phase, Published, RequestKind, Result,
    SourceState, TableState,
};
use crate::change::{
    BinlogPosition, ChangePosition, Charset, Column, ColumnType, Cut, DatetimeEncoding, Datetimes, DayEnd, Generated, KeyKind,
    LogOffset, LogPlace, TableName, TableSchema, Term,
};

/// An empty store, and processes that open it. Dropping what `open` returned is the death of that process.
pub trait Stand {
    /// Opens the store as a process of its own.
    fn open(&self) -> Result<Arc<dyn Metadata>>;
}

/// Runs every part on a fresh stand.
pub async fn run(fresh: &(dyn Fn() -> Box<dyn Stand> + Sync)) -> Result<()> {
    sources_come_back_as_saved(&*fresh()).await?;
    published_and_ends_move_together(&*fresh()).await?;
    a_day_that_has_ended_keeps_its_end(&*fresh()).await?;
    tables_show_their_newest_generation(&*fresh()).await?;
    every_phase_and_capture_comes_back(&*fresh()).await?;
    chunks_enter_once(&*fresh()).await?;
    a_removed_generation_takes_its_chunks_along(&*fresh()).await?;
    terms_grow_and_fence(&*fresh()).await?;
    troubles_are_kept_until_they_pass(&*fresh()).await?;
    the_living_holder_is_respected(&*fresh()).await?;
    requests_wait_in_order(&*fresh()).await
}

/// A cut in epoch 0.
pub fn cut(file: u64, offset: u64) -> Cut {
    Cut(BinlogPosition { epoch: 0, file, offset })
}

/// A source that was never started.
pub fn source(name: &str) -> SourceState {
    SourceState { name: name.to_owned(), checkpoint: None, published: None, epoch: 0, stopped: None }
}

/// A shape with an integer key and a text.
pub fn schema(name: &TableName) -> TableSchema {
    let text = ColumnType::Text { charset: Charset("utf8mb4".to_owned()) };
    let integer = ColumnType::Integer { bits: 64, unsigned: false };
    let column = |ordinal: usize, name: &str, kind: &ColumnType, declared: &str| Column {
        name: name.to_owned(),
        kind: kind.clone(),
        nullable: ordinal > 0,
        generated: Generated::No,
        ordinal,
        declared: declared.to_owned(),
    };
    TableSchema {
        name: name.clone(),
        columns: vec![column(0, "id", &integer, "bigint"), column(1, "naïve 'name'", &text, "varchar(20)")],
        key: vec![0],
        key_kind: KeyKind::Primary,
        physical_columns: 2,
        physical: vec![("id".to_owned(), integer.clone()), ("naïve 'name'".to_owned(), text.clone())],
    }
}

/// A generation of a table that waits for its start.
pub fn table(source: &str, name: &TableName, generation: u32) -> TableState {
    TableState {
        source: source.to_owned(),
        table: name.clone(),
        generation,
        mode: "mirror".to_owned(),
        into: (format!("ods_{}", name.database), name.table.clone()),
        layout_single: false,
        partition_by: None,
        timestamps_int96: false,
        datetimes: None,
        topic: format!("{source}.{name}"),
        schema: Arc::new(schema(name)),
        phase: Phase::Pending,
        capture: CaptureState::Wanted,
        starts: Vec::new(),
        since_checkpoint: None,
        visible: None,
        plan: None,
        planned_all: false,
        listed: true,
        daily: false,
    }
}

fn parked() -> Parked {
    Parked { reason: "a \"reason\"".to_owned(), remedy: "a remedy".to_owned(), resumable: true, at_ms: 1_790_000_000_000 }
}

fn published(cut: Cut) -> Published {
    Published { position: cut, file_name: format!("binlog.{:06}", cut.0.file), source_time_us: 1_790_000_000_000_001 }
}

fn news(published: Published, ends: &[(String, Vec<LogPlace>)]) -> News {
    News { published, ends: ends.to_vec(), days: Vec::new() }
}

async fn sources_come_back_as_saved(stand: &dyn Stand) -> Result<()> {
    let store = stand.open()?;
    let lease = store.acquire("source/shop", "test").await?;
    assert_eq!(store.source("shop").await?, None, "a source is not there before it is saved");
    let mut state = SourceState { stopped: Some(parked()), epoch: 4, ..source("shop") };
    store.save_source(&lease, &state).await?;
    assert_eq!(store.source("shop").await?, Some(state.clone()), "a stopped source comes back");
    store.save_stopped(&lease, "shop", None).await?;
    assert_eq!(store.source("shop").await?, Some(SourceState { stopped: None, ..state.clone() }), "it goes on, and is as it was");
    store.save_stopped(&lease, "shop", Some(&parked())).await?;
    assert_eq!(store.source("shop").await?, Some(state.clone()), "it stands again");
    store.save_stopped(&lease, "unknown", Some(&parked())).await?;
    assert_eq!(store.source("unknown").await?, None, "nothing is made of a source that is not known");
    state = SourceState { checkpoint: Some("{\"a\":1}".to_owned()), published: Some(published(cut(1, 2))), ..source("shop") };
    store.save_source(&lease, &state).await?;
    drop(store);
    assert_eq!(stand.open()?.source("shop").await?, Some(state), "what is saved outlives the process");
    Ok(())
}

/// A place in a topic; every other one has a record before it.
fn place(offset: u64) -> LogPlace {
    let transaction = BinlogPosition { epoch: 1, file: 2, offset: 4 };
    let last = (offset % 2 == 1).then_some(ChangePosition { transaction, ordinal: offset });
    LogPlace { offset: LogOffset(offset), last, term: Term(offset / 2) }
}

async fn published_and_ends_move_together(stand: &dyn Stand) -> Result<()> {
    let store = stand.open()?;
    let lease = store.acquire("source/shop", "test").await?;
    let early = store.save_published(&lease, "shop", "{}", &news(published(cut(1, 4)), &[])).await;
    assert!(matches!(early, Err(Error::Storage { .. })), "published belongs to a source that was saved");
    store.save_source(&lease, &source("shop")).await?;
    assert_eq!(store.published(None, "shop", "a").await?, None, "nothing is published at first");
    let ends = [("a".to_owned(), vec![place(7), place(0)]), ("b".to_owned(), vec![place(1)])];
    store.save_published(&lease, "shop", "{\"at\":1}", &news(published(cut(1, 4)), &ends)).await?;
    let second = published(Cut(BinlogPosition { epoch: 2, file: 1, offset: 900 }));
    store.save_published(&lease, "shop", "{\"at\":2}", &news(second.clone(), &[("b".to_owned(), vec![place(5)])])).await?;
    assert_eq!(store.published(None, "shop", "a").await?, Some((second.clone(), vec![place(7), place(0)])));
    assert_eq!(store.published(None, "shop", "b").await?, Some((second.clone(), vec![place(5)])));
    assert_eq!(store.published(None, "shop", "c").await?, Some((second.clone(), Vec::new())), "a silent topic has no ends");
    let state = SourceState { checkpoint: Some("{\"at\":2}".to_owned()), published: Some(second), epoch: 2, ..source("shop") };
    assert_eq!(store.source("shop").await?, Some(state), "the checkpoint moves with published, the epoch follows it");
    Ok(())
}

async fn a_day_that_has_ended_keeps_its_end(stand: &dyn Stand) -> Result<()> {
    let store = stand.open()?;
    let lease = store.acquire("source/shop", "test").await?;
    store.save_source(&lease, &source("shop")).await?;
    let ended = |zone: &str, day: &str, offset| DayEnd {
        zone: zone.to_owned(),
        day: day.to_owned(),
        end: cut(1, offset),
        file_name: "binlog.000001".to_owned(),
    };
    let save = async |days: Vec<DayEnd>| {
        let news = News { days, ..news(published(cut(1, 90)), &[]) };
        store.save_published(&lease, "shop", "{}", &news).await
    };
    assert_eq!(store.day_end("shop", "UTC", None).await?, None);
    save(vec![ended("UTC", "2026-11-22", 4), ended("UTC", "2026-11-23", 4)]).await?;
    save(vec![ended("UTC", "2026-11-23", 50), ended("UTC", "2026-11-24", 60), ended("Asia/Shanghai", "2026-11-22", 2)]).await?;
    assert_eq!(store.day_end("shop", "UTC", None).await?, Some(ended("UTC", "2026-11-22", 4)));
    assert_eq!(store.day_end("shop", "UTC", Some("2026-11-22")).await?, Some(ended("UTC", "2026-11-23", 4)), "it keeps its end");
    assert_eq!(store.day_end("shop", "UTC", Some("2026-11-23")).await?, Some(ended("UTC", "2026-11-24", 60)));
    assert_eq!(store.day_end("shop", "UTC", Some("2026-11-24")).await?, None);
    assert_eq!(store.day_end("shop", "Asia/Shanghai", None).await?, Some(ended("Asia/Shanghai", "2026-11-22", 2)));
    assert_eq!(store.day_end("other", "UTC", None).await?, None);
    Ok(())
}

async fn tables_show_their_newest_generation(stand: &dyn Stand) -> Result<()> {
    let store = stand.open()?;
    let lease = store.acquire("source/shop", "test").await?;
    let (orders, users) = (TableName::new("shop", "orders"), TableName::new("shop", "users"));
    for state in [table("shop", &orders, 1), table("shop", &orders, 2), table("shop", &users, 10), table("other", &orders, 7)] {
        store.save_table(&lease, &state).await?;
    }
    assert_eq!(store.tables("shop").await?, [table("shop", &orders, 2), table("shop", &users, 10)]);
    assert_eq!(store.generations("shop", &orders).await?, [table("shop", &orders, 1), table("shop", &orders, 2)]);
    assert_eq!(store.tables("nobody").await?, []);

    let mut wider = schema(&orders);
    wider.columns.truncate(1);
    let changed = TableState {
        schema: Arc::new(wider),
        mode: "both".to_owned(),
        layout_single: true,
        partition_by: Some("naïve 'name'".to_owned()),
        timestamps_int96: true,
        daily: true,
        datetimes: Some(Datetimes { encoding: DatetimeEncoding::String, zone: "Asia/Shanghai".to_owned() }),
        starts: vec![place(9), place(u64::from(u32::MAX) * 4)],
        since_checkpoint: Some("{\"s\":1}".to_owned()),
        visible: Some("{\"v\":1}".to_owned()),
        plan: Some("{\"p\":1}".to_owned()),
        planned_all: true,
        listed: false,
        topic: "another".to_owned(),
        ..table("shop", &orders, 2)
    };
    store.save_table(&lease, &changed).await?;
    assert_eq!(store.generations("shop", &orders).await?, [table("shop", &orders, 1), changed], "each keeps its own shape");
    Ok(())
}

async fn every_phase_and_capture_comes_back(stand: &dyn Stand) -> Result<()> {
    let store = stand.open()?;
    let lease = store.acquire("source/shop", "test").await?;
    let handoff = cut(3, 1_000_000);
    let paused = Phase::Paused { before: Box::new(Phase::CatchingUp { handoff }) };
    let phases = [
        Phase::Pending,
        Phase::Snapshotting,
        Phase::CatchingUp { handoff },
        Phase::Live { handoff },
        paused.clone(),
        Phase::Parked { parked: parked(), before: Box::new(paused) },
    ];
    let captures =
        [CaptureState::Wanted, CaptureState::On { since: cut(1, 4) }, CaptureState::Ended { since: cut(1, 4), until: cut(2, 8) }];
    let name = TableName::new("shop", "orders");
    for phase in phases {
        for capture in &captures {
            let state = TableState { phase: phase.clone(), capture: capture.clone(), ..table("shop", &name, 1) };
            store.save_table(&lease, &state).await?;
            assert_eq!(store.tables("shop").await?, [state]);
        }
    }
    Ok(())
}

fn chunk(index: u64, attempts: u32) -> ChunkState {
    ChunkState { index, range: format!("{{\"upper\":[\"{index}\"]}}"), attempts, done: None }
}

async fn chunks_enter_once(stand: &dyn Stand) -> Result<()> {
    let store = stand.open()?;
    let lease = store.acquire("source/shop", "test").await?;
    let name = TableName::new("shop", "orders");
    let state = table("shop", &name, 1);
    let early = store.save_chunks(&lease, &state, &[chunk(0, 0)], true).await;
    assert!(matches!(early, Err(Error::Storage { .. })), "chunks belong to a generation that was saved");
    store.save_table(&lease, &state).await?;
    store.save_chunks(&lease, &state, &[chunk(1, 0), chunk(10, 0), chunk(0, 0)], false).await?;
    assert!(!store.tables("shop").await?.iter().any(|table| table.planned_all));
    store.save_chunks(&lease, &state, &[chunk(1, 3)], true).await?;
    assert!(store.tables("shop").await?.iter().all(|table| table.planned_all), "the last plan says so");
    assert_eq!(store.chunks("shop", &name, 1).await?, [chunk(0, 0), chunk(1, 3), chunk(10, 0)], "in order, one replaced");

    let first = ChunkDone { high: cut(5, 6), rows: 100, files: "{\"f\":1}".to_owned(), at_ms: 3 };
    let second = ChunkDone { high: cut(9, 9), rows: 1, files: "{\"f\":2}".to_owned(), at_ms: 4 };
    assert!(store.chunk_done(&lease, &state, 1, &first).await?);
    assert!(!store.chunk_done(&lease, &state, 1, &second).await?, "a chunk that is in stays as it is");
    assert!(store.chunk_done(&lease, &state, 99, &second).await.is_err(), "a chunk that was never planned cannot enter");
    let in_it = ChunkState { done: Some(first), ..chunk(1, 3) };
    assert_eq!(store.chunks("shop", &name, 1).await?, [chunk(0, 0), in_it, chunk(10, 0)]);
    assert_eq!(store.chunks("shop", &name, 2).await?, []);
    Ok(())
}

async fn a_removed_generation_takes_its_chunks_along(stand: &dyn Stand) -> Result<()> {
    let store = stand.open()?;
    let lease = store.acquire("source/shop", "test").await?;
    let name = TableName::new("shop", "orders");
    store.save_source(&lease, &source("shop")).await?;
    for generation in [1, 2] {
        store.save_table(&lease, &table("shop", &name, generation)).await?;
        store.save_chunks(&lease, &table("shop", &name, generation), &[chunk(0, 1)], true).await?;
    }
    let topic = table("shop", &name, 1).topic;
    let ends = [(topic.clone(), vec![place(50)]), ("other".to_owned(), vec![place(1)])];
    store.save_published(&lease, "shop", "{}", &news(published(cut(1, 4)), &ends)).await?;
    store.remove_table(&lease, "shop", &name, 1).await?;
    store.remove_table(&lease, "shop", &name, 1).await?;
    assert_eq!(store.chunks("shop", &name, 1).await?, []);
    assert_eq!(store.chunks("shop", &name, 2).await?, [chunk(0, 1)], "the other generation keeps its own");
    assert_eq!(store.published(None, "shop", &topic).await?, Some((published(cut(1, 4)), vec![place(50)])));
    store.remove_table(&lease, "shop", &name, 2).await?;
    assert_eq!(store.tables("shop").await?, []);
    assert_eq!(
        store.published(None, "shop", &topic).await?,
        Some((published(cut(1, 4)), Vec::new())),
        "ends go with the last generation that used the topic"
    );
    assert_eq!(store.published(None, "shop", "other").await?.map(|(_, ends)| ends), Some(vec![place(1)]));
    Ok(())
}

async fn terms_grow_and_fence(stand: &dyn Stand) -> Result<()> {
    let store = stand.open()?;
    let old = store.acquire("source/shop", "test").await?;
    let other = store.acquire("source/other", "test").await?;
    assert_eq!((old.term, other.term), (Term(1), Term(1)), "each resource counts for itself");
    let new = store.acquire("source/shop", "test").await?;
    assert_eq!(new.term, Term(2), "a worker that is started again gets a higher term");
    let name = TableName::new("shop", "orders");
    let state = table("shop", &name, 1);
    store.save_source(&new, &source("shop")).await?;
    store.save_table(&new, &state).await?;
    store.save_chunks(&new, &state, &[chunk(0, 0)], true).await?;
    let before = (store.source("shop").await?, store.tables("shop").await?, store.chunks("shop", &name, 1).await?);

    let done = ChunkDone { high: cut(1, 1), rows: 1, files: "{}".to_owned(), at_ms: 1 };
    let moved = TableState { phase: Phase::Snapshotting, ..state.clone() };
    let refused = [
        store.save_source(&old, &SourceState { epoch: 9, ..source("shop") }).await,
        store.save_published(&old, "shop", "{}", &news(published(cut(1, 1)), &[])).await,
        store.save_table(&old, &moved).await,
        store.remove_table(&old, "shop", &name, 1).await,
        store.save_chunks(&old, &state, &[chunk(5, 5)], false).await,
        store.chunk_done(&old, &state, 0, &done).await.map(|_| ()),
        store.release(&old).await,
    ];
    for (number, result) in refused.into_iter().enumerate() {
        let fenced = matches!(&result, Err(Error::Fenced { term: Term(1), by: Term(2), .. }));
        assert!(fenced, "write {number} of an older term is refused, not {result:?}");
    }
    let told = store.published(Some(&old), "shop", "a").await;
    assert!(
        matches!(told, Err(Error::Fenced { term: Term(1), by: Term(2), .. })),
        "what its successor published is not for it: {told:?}"
    );
    assert_eq!(store.published(Some(&new), "shop", "a").await?, None);
    let after = (store.source("shop").await?, store.tables("shop").await?, store.chunks("shop", &name, 1).await?);
    assert_eq!(before, after, "a refused write leaves nothing behind");
    let unknown = Lease { resource: "source/unknown".to_owned(), term: Term(1) };
    assert!(matches!(store.save_table(&unknown, &state).await, Err(Error::Fenced { .. })), "a lease is acquired, not made up");
    store.release(&new).await?;
    let next = store.acquire("source/shop", "test").await?;
    assert_eq!(next.term, Term(3), "a term is never given twice");
    let raised = store.raise(&next, Term(40)).await?;
    assert_eq!(raised.term, Term(41), "it lies above what was seen elsewhere");
    assert!(matches!(store.save_source(&next, &source("shop")).await, Err(Error::Fenced { by: Term(41), .. })));
    assert!(matches!(store.raise(&next, Term(90)).await, Err(Error::Fenced { .. })), "only its holder may raise it");
    assert_eq!(store.raise(&raised, Term(7)).await?.term, Term(42), "a term never goes back");
    store.save_source(&other, &source("other")).await
}

async fn troubles_are_kept_until_they_pass(stand: &dyn Stand) -> Result<()> {
    let store = stand.open()?;
    let lease = store.acquire("source/shop", "test").await?;
    let name = TableName::new("shop", "orders");
    store.save_source(&lease, &source("shop")).await?;
    store.save_table(&lease, &table("shop", &name, 1)).await?;
    let trouble = Parked { reason: "full".to_owned(), remedy: "make room".to_owned(), resumable: true, at_ms: 4 };
    store.save_trouble(&lease, "shop", &name, 1, Some(&trouble)).await?;
    assert_eq!(store.troubles("shop").await?, [(name.clone(), 1, trouble.clone())]);
    assert!(store.troubles("other").await?.is_empty());
    store.save_trouble(&lease, "shop", &name, 1, None).await?;
    assert!(store.troubles("shop").await?.is_empty());
    store.save_trouble(&lease, "shop", &name, 1, Some(&trouble)).await?;
    store.remove_table(&lease, "shop", &name, 1).await?;
    assert!(store.troubles("shop").await?.is_empty(), "it goes with its table");
    Ok(())
}

async fn the_living_holder_is_respected(stand: &dyn Stand) -> Result<()> {
    let (first, second) = (stand.open()?, stand.open()?);
    let old = first.acquire("source/shop", "the first").await?;
    match second.acquire("source/shop", "the second").await {
        Err(Error::Held { resource, holder }) => {
            assert!(
                resource == "source/shop" && holder.contains("the first"),
                "it says what is held by whom: {resource} {holder}"
            );
        }
        other => assert!(other.is_err(), "a second daemon is refused while the first lives, not given {other:?}"),
    }
    let other = second.acquire("source/another", "the second").await;
    assert!(matches!(other, Err(Error::Held { .. })), "one daemon has the whole store");
    second.put_request("shop", &TableName::new("shop", "orders"), RequestKind::Rebuild).await?;
    assert_eq!(first.requests().await?.len(), 1, "the command line works beside the daemon");
    first.save_source(&old, &source("shop")).await?;
    drop(first);
    let new = second.acquire("source/shop", "the second").await?;
    assert_eq!(new.term, Term(2), "a dead holder is taken over at once, with a higher term");
    let late = second.save_source(&old, &source("shop")).await;
    assert!(matches!(late, Err(Error::Fenced { .. })), "what the dead one left under way is fenced");
    Ok(())
}

async fn requests_wait_in_order(stand: &dyn Stand) -> Result<()> {
    let store = stand.open()?;
    let (orders, users) = (TableName::new("shop", "orders"), TableName::new("shop", "users"));
    let first = store.put_request("shop", &orders, RequestKind::Pause).await?;
    let second = store.put_request("shop", &users, RequestKind::Rebuild).await?;
    let kinds: Vec<_> = store.requests().await?.into_iter().map(|request| (request.id, request.table, request.kind)).collect();
    assert_eq!(kinds, [(first, orders.clone(), RequestKind::Pause), (second, users, RequestKind::Rebuild)]);
    let old = store.acquire("source/shop", "test").await?;
    let lease = store.acquire("source/shop", "test").await?;
    let late = store.drop_request(&old, second).await;
    assert!(matches!(late, Err(Error::Fenced { .. })), "who was overtaken takes nothing up: {late:?}");
    store.drop_request(&lease, second).await?;
    store.drop_request(&lease, second).await?;
    drop(store);
    let store = stand.open()?;
    let third = store.put_request("shop", &orders, RequestKind::Resume).await?;
    assert!(third > second, "a number is never given twice");
    let ids: Vec<_> = store.requests().await?.into_iter().map(|request| request.id).collect();
    assert_eq!(ids, [first, third]);
    Ok(())
}
