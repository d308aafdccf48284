//! The model behaves like the server it stands for; above all, it can lose rows where a real one would.

use std::collections::{BTreeSet, HashMap};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::change::{Capture, CapturedTable, Image, Operation, ValueSink};
use crate::source::{
    BinlogStream, Checkpoint, ChunkReader, KeyBound, Part, Source, StreamFrom, StreamItem, TableOptions, Transaction,
};
use std::time::Duration;

fn orders() -> TableName {
    TableName::new("shop", "orders")
}

fn server(gtids: bool) -> (MemoryServer, MemorySource, Arc<TableSchema>) {
    let server = MemoryServer::with_gtids(gtids);
    let id = ColumnType::Integer { bits: 32, unsigned: false };
    let schema = server.create_table(&orders(), &[("id", id.clone()), ("n", id)], &["id"]);
    let source = MemorySource::new(&server, "shop");
    (server, source, schema)
}

fn row(id: i64, n: i64) -> Vec<Value> {
    vec![Value::Signed(id), Value::Signed(n)]
}

fn insert(id: i64, n: i64) -> Op {
    Op::Insert { table: orders(), row: row(id, n) }
}

fn update(id: i64, n: i64) -> Op {
    Op::Update { table: orders(), key: vec![Value::Signed(id)], row: row(id, n) }
}

fn delete(id: i64) -> Op {
    Op::Delete { table: orders(), key: vec![Value::Signed(id)] }
}

fn capture(schema: &Arc<TableSchema>, since: &Checkpoint) -> Capture {
    let table = CapturedTable { schema: Arc::clone(schema), since: since.position };
    Capture { tables: HashMap::from([(schema.name.clone(), table)]) }
}

async fn open(source: &MemorySource, schema: &Arc<TableSchema>) -> (Box<dyn BinlogStream>, Checkpoint) {
    let mut stream = source.stream(StreamFrom::Now { epoch: 0 }, Capture::default()).await.unwrap();
    let since = stream.checkpoint();
    stream.set_capture(capture(schema, &since));
    (stream, since)
}

/// Everything up to the first idle moment.
async fn drain(stream: &mut dyn BinlogStream) -> Vec<Transaction> {
    let mut transactions = Vec::new();
    loop {
        match stream.next().await.unwrap() {
            StreamItem::Transaction(transaction) => transactions.push(transaction),
            StreamItem::Progress { idle: true, .. } => return transactions,
            StreamItem::Progress { .. } => {}
        }
    }
}

type Rows = std::collections::BTreeMap<i64, i64>;

fn numbers(values: &[Value]) -> (i64, i64) {
    match values {
        [Value::Signed(id), Value::Signed(n)] => (*id, *n),
        other => panic!("{other:?}"),
    }
}

/// The writer in small: last one wins.
fn apply(rows: &mut Rows, mut transaction: Transaction) {
    while let Some(part) = transaction.body.next_part().unwrap() {
        match part {
            Part::Rows { .. } => {
                let mut sink = ValueSink::default();
                while transaction.body.next_row(&mut sink).unwrap() {}
                for (image, values) in &sink.images {
                    let (id, n) = numbers(values);
                    match image {
                        Image::Before => drop(rows.remove(&id)),
                        Image::After => drop(rows.insert(id, n)),
                    }
                }
            }
            Part::Truncate { .. } => rows.clear(),
            other => panic!("{other:?}"),
        }
    }
}

fn expected(server: &MemoryServer) -> Rows {
    server.rows(&orders()).iter().map(|values| numbers(values)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_flushed_transaction_is_streamed_and_not_yet_read() {
    for gtids in [true, false] {
        let (server, source, schema) = server(gtids);
        let flushed = server.flush(vec![insert(1, 1)]).unwrap();
        let (mut stream, since) = open(&source, &schema).await;
        assert_eq!(source.flushed().await.unwrap().cut(0), since.position);
        assert!(source.plan_snapshot(&schema).await.unwrap().empty, "the row is not visible yet");
        let wait = source.wait_visible(&since, Duration::from_secs(5)).await;
        assert!(matches!(wait, Err(Error::Timeout { seconds: 5, .. })));
        server.make_visible(flushed);
        let visible = source.wait_visible(&since, Duration::from_secs(5)).await.unwrap();
        assert_eq!(visible.by, if gtids { "gtid_executed" } else { "log_status" });
        assert_eq!(server.visible_rows(&orders()), [row(1, 1)]);
        assert_eq!(drain(&mut *stream).await.len(), 0, "it lies before the stream's start");
    }
}

#[tokio::test]
async fn what_waits_for_a_lock_makes_its_holder_visible_and_others_stay() {
    let (server, ..) = server(true);
    server.flush(vec![insert(1, 1)]).unwrap();
    server.flush(vec![insert(2, 2)]).unwrap();
    server.flush(vec![update(1, 5)]).unwrap();
    assert_eq!(server.visible_rows(&orders()), [row(1, 1)]);
    server.flush(vec![Op::Truncate { table: orders() }]).unwrap();
    assert_eq!(server.visible_rows(&orders()), [row(1, 5), row(2, 2)]);
    assert_eq!(server.rows(&orders()), Vec::<Vec<Value>>::new());
}

#[tokio::test]
async fn a_refused_transaction_leaves_nothing() {
    let (server, ..) = server(true);
    let end = server.flushed_end();
    assert_eq!(server.execute(vec![insert(1, 1), insert(1, 2)]), Err(Refusal::Duplicate(orders())));
    assert_eq!(server.execute(vec![delete(7)]), Err(Refusal::NoRow(orders())));
    let narrow = Op::Insert { table: orders(), row: vec![Value::Signed(1)] };
    assert_eq!(server.execute(vec![narrow]), Err(Refusal::Columns(orders())));
    assert_eq!((server.flushed_end(), server.rows(&orders()).len()), (end, 0));
}

/// One load with writers in between; whether the mirror equals the source at the end.
async fn load(seed: u64, waits: bool) -> bool {
    let mut random = StdRng::seed_from_u64(seed);
    let (server, source, schema) = server(seed.is_multiple_of(2));
    server.set_file_bytes(600);
    for id in 0..12 {
        server.execute(vec![insert(id * 2, 0)]).unwrap();
    }
    write(&server, &mut random);
    let (mut stream, since) = open(&source, &schema).await;
    let writer = server.clone();
    let mut chance = StdRng::seed_from_u64(seed + 1);
    server.on_call(move |call| {
        if call == Call::WaitVisible {
            writer.make_all_visible();
        } else if chance.random_bool(0.7) {
            write(&writer, &mut chance);
        }
        None
    });
    let visible = match waits {
        true => source.wait_visible(&since, Duration::from_secs(5)).await.unwrap(),
        false => crate::source::Visible { server_uuid: since.server_uuid.clone(), by: "nothing".to_owned() },
    };
    let mut rows = Rows::new();
    let plan = source.plan_snapshot(&schema).await.unwrap();
    let mut after: Option<KeyBound> = None;
    while let Some(range) = source.next_chunk(&schema, &plan, after.as_ref()).await.unwrap() {
        let mut reader: Box<dyn ChunkReader> = source.read_chunk(Arc::clone(&schema), &range, &visible).await.unwrap();
        let mut sink = ValueSink::default();
        while reader.next_rows(&mut sink, 20).await.unwrap() > 0 {}
        reader.high().await.unwrap();
        rows.extend(sink.images.iter().map(|(_, values)| numbers(values)));
        after = range.upper;
    }
    server.on_call(|_| None);
    for transaction in drain(&mut *stream).await {
        apply(&mut rows, transaction);
    }
    rows == expected(&server)
}

/// A transaction at random, often left between flush and commit.
fn write(server: &MemoryServer, random: &mut StdRng) {
    let id = random.random_range(0..30);
    let op = match random.random_range(0..3) {
        0 => insert(id, random.random_range(0..1000)),
        1 => update(id, random.random_range(0..1000)),
        _ => delete(id),
    };
    // Refusals are part of the game: a duplicate, a row that is not there.
    if let Ok(flushed) = server.flush(vec![op])
        && random.random_bool(0.5)
    {
        server.make_visible(flushed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_among_writers_is_exact_with_the_wait_and_loses_rows_without_it() {
    let mut lost = 0;
    for seed in 0..200 {
        assert!(load(seed, true).await, "seed {seed}");
        lost += u32::from(!load(seed, false).await);
    }
    assert!(lost > 5, "the model lost rows in {lost} of 200 loads only: it does not have the commit race");
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_behind_its_checkpoint_over_rotation_and_heartbeats() {
    let (server, source, schema) = server(false);
    let (mut stream, since) = open(&source, &schema).await;
    server.execute(vec![insert(1, 1), insert(2, 2), update(2, 3)]).unwrap();
    let StreamItem::Transaction(transaction) = stream.next().await.unwrap() else { panic!() };
    assert!(!since.position.covers(transaction.start));
    server.rotate();
    server.execute(vec![delete(1)]).unwrap();
    let checkpoint = stream.checkpoint();
    drop(stream);
    let from = StreamFrom::Checkpoint(checkpoint);
    let mut stream = source.stream(from, capture(&schema, &since)).await.unwrap();
    let StreamItem::Transaction(next) = stream.next().await.unwrap() else { panic!() };
    assert_eq!((next.start.file, &*next.file_name), (2, "binlog.000002"));
    for _ in 0..2 {
        assert!(matches!(stream.next().await.unwrap(), StreamItem::Progress { committed_us: None, idle: true }));
    }
    assert_eq!(stream.checkpoint().position, source.flushed().await.unwrap().cut(0));
    server.disconnect();
    assert!(matches!(stream.next().await, Err(Error::Connection { .. })));
}

#[tokio::test]
async fn parts_come_by_table_and_operation() {
    let (server, source, schema) = server(true);
    let other = TableName::new("shop", "other");
    server.create_table(&other, &[("a", ColumnType::Json)], &[]);
    let (mut stream, _) = open(&source, &schema).await;
    let foreign = Op::Insert { table: other, row: vec![Value::Null] };
    server.execute(vec![foreign.clone()]).unwrap();
    server.execute(vec![insert(1, 1), insert(2, 2), foreign, update(1, 9), delete(2)]).unwrap();
    server.execute(vec![Op::Truncate { table: orders() }]).unwrap();
    server.execute(vec![Op::Drop { table: orders() }]).unwrap();
    let mut seen = Vec::new();
    for mut transaction in drain(&mut *stream).await {
        while let Some(part) = transaction.body.next_part().unwrap() {
            let mut sink = ValueSink::default();
            while transaction.body.next_row(&mut sink).unwrap() {}
            seen.push(match part {
                Part::Rows { operation, .. } => (operation, sink.images.len()),
                Part::Truncate { .. } => (Operation::Truncate, 0),
                Part::Schema { .. } | Part::Unusable { .. } => (Operation::Schema, 0),
            });
        }
    }
    use Operation::{Create, Delete, Schema, Truncate, Update};
    assert_eq!(seen, [(Create, 2), (Update, 2), (Delete, 1), (Truncate, 0), (Schema, 0)]);
}

#[tokio::test]
async fn another_server_is_taken_with_gtids_only_and_only_when_it_has_all() {
    const NEW: &str = "00000000-0000-4000-8000-000000000002";
    for (gtids, lost) in [(true, 0), (true, 1), (false, 0)] {
        let (server, source, schema) = server(gtids);
        let (mut stream, since) = open(&source, &schema).await;
        server.execute(vec![insert(1, 1)]).unwrap();
        server.execute(vec![insert(2, 2)]).unwrap();
        drain(&mut *stream).await;
        let checkpoint = stream.checkpoint();
        server.fail_over(&Failover { lost, ..Failover::to(NEW) });
        assert!(matches!(stream.next().await, Err(Error::Connection { .. })));
        let opened = source.stream(StreamFrom::Checkpoint(checkpoint), capture(&schema, &since)).await;
        match (gtids, lost) {
            (true, 0) => {
                let mut stream = opened.unwrap();
                assert_eq!(stream.checkpoint().position.0.epoch, 1);
                server.execute(vec![insert(3, 3)]).unwrap();
                assert_eq!(drain(&mut *stream).await.len(), 1);
                assert_eq!(server.rows(&orders()).len(), 3);
            }
            (true, _) => assert!(matches!(opened.err(), Some(Error::Connection { .. }))),
            (false, _) => assert!(matches!(opened.err(), Some(Error::History { lost: true, .. }))),
        }
    }
}

#[tokio::test]
async fn purged_and_reset_binlogs_are_told_of() {
    for (purge, reset) in [(true, false), (false, true)] {
        let (server, source, schema) = server(true);
        let (stream, since) = open(&source, &schema).await;
        let checkpoint = stream.checkpoint();
        server.execute(vec![insert(1, 1)]).unwrap();
        server.rotate();
        server.execute(vec![insert(2, 2)]).unwrap();
        let (mut second, _) = open(&source, &schema).await;
        drain(&mut *second).await;
        if purge {
            server.purge(2);
        }
        if reset {
            server.reset();
            server.execute(vec![insert(3, 3)]).unwrap();
        }
        let from = if reset { second.checkpoint() } else { checkpoint };
        let opened = source.stream(StreamFrom::Checkpoint(from), capture(&schema, &since)).await;
        assert!(matches!(opened.err(), Some(Error::History { .. })));
    }
}

#[tokio::test]
async fn the_hook_fails_any_call_once() {
    let (server, source, schema) = server(true);
    let (mut stream, _) = open(&source, &schema).await;
    let mut failures = 1;
    server.on_call(move |call| {
        (call == Call::Next && failures > 0).then(|| {
            failures -= 1;
            source::broken("shop", "injected")
        })
    });
    assert!(stream.next().await.is_err());
    assert!(stream.next().await.is_ok());
}

#[tokio::test]
async fn keyless_tables_count_equal_rows_and_options_shape_the_schema() {
    let (server, source, _) = server(true);
    let name = TableName::new("shop", "log");
    server.create_table(&name, &[("a", ColumnType::Json), ("b", ColumnType::Json)], &[]);
    let same = || Op::Insert { table: name.clone(), row: vec![Value::Text("1".to_owned()), Value::Null] };
    server.execute(vec![same(), same(), same()]).unwrap();
    server.execute(vec![Op::Delete { table: name.clone(), key: vec![Value::Text("1".to_owned()), Value::Null] }]).unwrap();
    assert_eq!(server.rows(&name).len(), 2);
    assert!(source.describe(&name, &TableOptions::default()).await.is_err());
    let options = TableOptions { keyless_allowed: true, exclude_columns: vec!["a".to_owned()], ..TableOptions::default() };
    let schema = source.describe(&name, &options).await.unwrap();
    assert_eq!((schema.columns.len(), schema.columns[0].ordinal, schema.physical_columns), (1, 1, 2));
    let plan = source.plan_snapshot(&schema).await.unwrap();
    assert!(plan.whole && !plan.empty);
    let range = source.next_chunk(&schema, &plan, None).await.unwrap().unwrap();
    let visible = source.wait_visible(&open(&source, &schema).await.1, Duration::from_secs(1)).await.unwrap();
    let mut reader = source.read_chunk(Arc::clone(&schema), &range, &visible).await.unwrap();
    let mut sink = ValueSink::default();
    assert_eq!(reader.next_rows(&mut sink, 1000).await.unwrap(), 2);
    assert_eq!(source.next_chunk(&schema, &plan, range.upper.as_ref()).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_prepared_xa_transaction_counts_at_its_commit_and_is_waited_for() {
    let (server, source, schema) = server(true);
    server.xa_prepare("early", vec![insert(1, 1)]).unwrap();
    server.rotate();
    let (mut stream, since) = open(&source, &schema).await;
    assert_eq!(since.prepared.len(), 1, "it is known, though its rows are not");
    assert_eq!(server.execute(vec![insert(1, 2)]), Err(Refusal::Locked(orders())));
    server.xa_prepare("late", vec![insert(2, 2)]).unwrap();
    assert_eq!(drain(&mut *stream).await.len(), 0);
    let checkpoint = stream.checkpoint();
    assert_eq!(checkpoint.prepared.len(), 2);
    let wait = source.wait_visible(&since, Duration::from_secs(5)).await;
    assert!(matches!(wait, Err(Error::Timeout { .. })), "both were prepared by then");
    for xid in ["early", "late"] {
        let flushed = server.xa_commit(xid).unwrap();
        assert!(server.xa_recover().iter().any(|open| open == xid));
        server.make_visible(flushed);
    }
    source.wait_visible(&since, Duration::from_secs(5)).await.unwrap();
    drop(stream);
    let mut stream = source.stream(StreamFrom::Checkpoint(checkpoint), capture(&schema, &since)).await.unwrap();
    let transactions = drain(&mut *stream).await;
    let mut rows = Rows::new();
    transactions.into_iter().for_each(|transaction| apply(&mut rows, transaction));
    assert_eq!(rows, Rows::from([(2, 2)]), "the rows of the early one are in the snapshot alone");
    assert_eq!(server.visible_rows(&orders()), [row(1, 1), row(2, 2)]);
    server.xa_prepare("never", vec![delete(1)]).unwrap();
    server.xa_rollback("never").unwrap();
    assert!(stream.checkpoint().prepared.is_empty() && server.xa_recover().is_empty());
    assert_eq!(server.rows(&orders()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_xa_transaction_that_changed_nothing_is_prepared_and_in_no_binlog() {
    let (server, source, schema) = server(true);
    let flushed = source.flushed().await.unwrap();
    server.xa_prepare("nothing", Vec::new()).unwrap();
    let (mut stream, since) = open(&source, &schema).await;
    assert_eq!(since.prepared.len(), 1);
    assert!(source.prepared().await.unwrap().xids.unwrap().contains("nothing"));
    let committed = server.xa_commit("nothing").unwrap();
    server.make_visible(committed);
    let now = source.prepared().await.unwrap();
    assert_eq!((now.xids, now.end), (Some(BTreeSet::new()), flushed));
    assert_eq!(drain(&mut *stream).await.len(), 0);
    assert_eq!(stream.checkpoint().prepared.len(), 1, "no event told of its end");
    server.xa_prepare("late", vec![insert(2, 2)]).unwrap();
    drain(&mut *stream).await;
    stream.forget_prepared(&BTreeSet::from(["nothing".to_owned(), "late".to_owned()]));
    assert_eq!(stream.checkpoint().prepared.len(), 1, "what brought rows is kept");
}

#[tokio::test]
async fn a_replica_may_be_behind_for_a_while_and_takes_over_under_other_names() {
    let (server, source, schema) = server(true);
    let (mut stream, since) = open(&source, &schema).await;
    for id in 0..3 {
        server.execute(vec![insert(id, id)]).unwrap();
    }
    drain(&mut *stream).await;
    let checkpoint = stream.checkpoint();
    server.fail_over(&Failover {
        behind: 2,
        file_base: "other".to_owned(),
        ..Failover::to("00000000-0000-4000-8000-00000000000b")
    });
    let again = || source.stream(StreamFrom::Checkpoint(checkpoint.clone()), capture(&schema, &since));
    assert!(matches!(again().await.err(), Some(Error::Connection { .. })));
    assert_eq!((server.visible_rows(&orders()).len(), server.catch_up(1)), (1, 1));
    assert!(matches!(again().await.err(), Some(Error::Connection { .. })));
    server.execute(vec![insert(9, 9)]).unwrap();
    let mut stream = again().await.unwrap();
    let transactions = drain(&mut *stream).await;
    assert_eq!(transactions.iter().map(|transaction| &*transaction.file_name).collect::<Vec<_>>(), ["other.000007"]);
    let place = checkpoint.position.0;
    assert_eq!(server.rows_at(&orders(), &checkpoint.server_uuid, place.file, place.offset).unwrap().len(), 3);
    assert_eq!(
        (server.era(), server.written_in(&orders(), 0).unwrap().len(), server.written_in(&orders(), 1).unwrap().len()),
        (1, 3, 4)
    );
}

#[tokio::test]
async fn a_crash_that_loses_transactions_uses_their_numbers_again_and_is_noticed() {
    for (gtids, received) in [(true, true), (false, true), (true, false), (false, false)] {
        let (server, source, schema) = server(gtids);
        let (mut stream, since) = open(&source, &schema).await;
        server.execute(vec![insert(1, 1)]).unwrap();
        drain(&mut *stream).await;
        let before = stream.checkpoint();
        server.rotate();
        server.execute(vec![insert(2, 2)]).unwrap();
        drain(&mut *stream).await;
        let checkpoint = if received { stream.checkpoint() } else { before };
        server.crash(1);
        server.execute(vec![insert(3, 3)]).unwrap();
        let opened = source.stream(StreamFrom::Checkpoint(checkpoint), capture(&schema, &since)).await;
        match received {
            true => assert!(matches!(opened.err(), Some(Error::History { lost: true, .. }))),
            false => assert_eq!(drain(&mut *opened.unwrap()).await.len(), 1),
        }
    }
}

#[tokio::test]
async fn the_three_samples_bound_what_is_visible_from_both_sides() {
    let (server, source, _) = server(true);
    let flushed = server.flush(vec![insert(1, 1)]).unwrap();
    server.execute(vec![insert(2, 2)]).unwrap();
    assert!(server.executed_end().offset < server.flushed_end().offset && server.log_status().is_none());
    assert_eq!((server.executed().to_string().ends_with(":2"), source.flushed().await.unwrap()), (true, server.flushed_end()));
    server.make_visible(flushed);
    assert_eq!((server.log_status(), server.executed_end()), (Some(server.flushed_end()), server.flushed_end()));
}
