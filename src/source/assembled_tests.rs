//! The whole room against a real server: described, streamed from now, loaded in chunks, and both ways compared.

use std::collections::{BTreeMap, HashMap};

use super::mysql::MysqlSource;
use super::wire::WireConnection;
use super::wire::tests::Server;
use super::*;
use crate::change::{CapturedTable, Image, Value, ValueSink};

/// A table of every type; the rows of [`ROWS`] go in before the stream starts, and once more behind it.
const EVERY_TYPE: &str = r"CREATE TABLE shop.every_type (
    id INT PRIMARY KEY, ti TINYINT, tu TINYINT UNSIGNED, si SMALLINT, mi MEDIUMINT, mu MEDIUMINT UNSIGNED, i INT ZEROFILL, b BIGINT,
    bu BIGINT UNSIGNED, bo TINYINT(1), f FLOAT, d DOUBLE, fm FLOAT(7,3), de DECIMAL(65,30), dn DECIMAL(10), bi BIT(5), bl BIT(64), y YEAR,
    dt DATE, t TIME, t6 TIME(6), dd DATETIME, d3 DATETIME(3), d6 DATETIME(6), ts TIMESTAMP NULL, ts6 TIMESTAMP(6) NULL,
    c CHAR(9), vc VARCHAR(300), lc VARCHAR(20) CHARACTER SET latin1, gb VARCHAR(20) CHARACTER SET gbk, u16 VARCHAR(20) CHARACTER SET utf16,
    tt TINYTEXT, tx TEXT, lt LONGTEXT, bn BINARY(4), vb VARBINARY(20), tb TINYBLOB, bb BLOB, lb LONGBLOB,
    e ENUM('it''s','a,b','unsigned','ö') CHARACTER SET latin1, s SET('x','y z','ä') , j JSON, g GEOMETRY, p POINT SRID 4326, v VECTOR(3),
    vg INT AS (ti + 1) VIRTUAL, sg INT AS (ti + 2) STORED INVISIBLE)";

const COLUMNS: &str = "id, ti, tu, si, mi, mu, i, b, bu, bo, f, d, fm, de, dn, bi, bl, y, dt, t, t6, dd, d3, d6, ts, ts6, c, vc, lc, gb, u16, \
    tt, tx, lt, bn, vb, tb, bb, lb, e, s, j, g, p, v";

const ROWS: [&str; 5] = [
    "-128, 255, -32768, -8388608, 16777215, 7, -9223372036854775808, 18446744073709551615, -1, 3.4e38, 5e-324, 12.345, \
     -12345678901234567890123456789012345.123456789012345678901234567890, -7, b'10101', 18446744073709551615, 2155, '9999-12-31', \
     '-838:59:59', '-00:00:00.000001', '9999-12-31 23:59:59', '1969-12-31 23:59:59.999', '1000-01-01 00:00:00.000001', \
     '2038-01-19 03:14:07', '1970-01-01 00:00:01.000001', 'x  ', 'é😀', '€“', '中国', '𝄞a', 'tiny', 'te\nxt', REPEAT('lang', 5000), x'01', \
     x'00ff00', x'', x'00', REPEAT('z', 70000), 'ö', 'x,ä', \
     '{\"b\": [1, 2.5, null, true, \"ü\"], \"a\": {\"c\": 1e15, \"d\": 18446744073709551615, \"z\": -1.0}}', \
     ST_GeomFromText('LINESTRING(0 0, 1 2.5)'), ST_GeomFromText('POINT(50 8)', 4326), STRING_TO_VECTOR('[1,-2.5,3e-3]')",
    "127, 0, 32767, 8388607, 0, 4294967295, 9223372036854775807, 0, 127, -1.5, -0.1, 0, 0, 0, b'0', 0, 1901, '1000-01-01', '838:59:59', \
     '12:34:56.5', '2024-02-29 12:00:00', '2024-03-31 02:30:00.5', '2024-10-27 02:30:00.123456', '2024-07-01 10:00:00', \
     '2024-10-27 00:30:00.5', '', '', '', '', '', '', '', '', x'01020304', x'', x'', x'', x'', 'it''s', '', 'null', NULL, NULL, NULL",
    "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    "0, 1, 0, -1, 1, 0, 0, 1, 0, 16777217, 1e300, 9999.999, 0.000000000000000000000000000001, 9999999999, b'1', 1, 0, '0000-00-00', \
     '00:00:00', '00:00:00', '0000-00-00 00:00:00', '2024-00-15 00:00:00', '2024-02-00 10:00:00', '0000-00-00 00:00:00', \
     '0000-00-00 00:00:00', 'a', 'b', 'ÿ', '啊', 'c', 'd', 'e', 'f', x'', x'61', x'62', x'63', x'64', '', 'y z', '[]', NULL, NULL, NULL",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 1.25, 2.5, -3.125, 4.5, 5, b'11111', 6, 2024, '1970-01-01', '-01:00:00', '-12:00:00.25', '1970-01-01 00:00:00', \
     '1970-01-01 00:00:00', '1969-12-31 00:00:00', '2000-01-01 00:00:00', '2000-01-01 00:00:00.25', 'Zz', 'vv', 'w', 'x', 'y', 'z', 'aa', 'bb', \
     x'ffffffff', x'ff', x'fe', x'fd', x'fc', 'unsigned', 'x,y z,ä', '\"text\"', ST_GeomFromText('POINT(1 1)'), NULL, NULL",
];

async fn run(connection: &mut WireConnection, statements: &[&str]) {
    for statement in statements {
        let done = connection.execute(statement).await;
        done.unwrap_or_else(|error| panic!("{}: {error}", statement.chars().take(300).collect::<String>()));
    }
}

fn source(server: &Server, chunk_rows: u64) -> (MysqlSource, tempfile::TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let mut settings = server.settings();
    settings.scratch = scratch.path().to_owned();
    settings.snapshot.chunk_rows = chunk_rows;
    settings.heartbeat = Duration::from_millis(500);
    (MysqlSource::new(settings), scratch)
}

type Row = Vec<Value>;
type Key = String;

/// The captured table's rows by their key, as a writer would keep them.
#[derive(Default)]
struct Mirror {
    rows: BTreeMap<Key, Row>,
}

impl Mirror {
    fn key(schema: &TableSchema, row: &Row) -> Key {
        format!("{:?}", schema.key.iter().map(|index| &row[*index]).collect::<Vec<_>>())
    }

    async fn load(&mut self, source: &MysqlSource, schema: &Arc<TableSchema>, since: &Checkpoint) -> Cut {
        let visible = source.wait_visible(since, Duration::from_secs(20)).await.unwrap();
        let plan = source.plan_snapshot_on(schema, &visible).await.unwrap();
        let mut after = None;
        let mut handoff = since.position;
        while let Some(range) = source.next_chunk(schema, &plan, after.as_ref()).await.unwrap() {
            let mut reader = source.read_chunk(Arc::clone(schema), &range, &visible).await.unwrap();
            let mut sink = ValueSink::default();
            while reader.next_rows(&mut sink, 1000).await.unwrap() > 0 {}
            handoff = handoff.max(reader.high().await.unwrap().cut(since.position.0.epoch));
            for (image, row) in sink.images {
                assert_eq!(image, Image::After);
                let twice = self.rows.insert(Self::key(schema, &row), row);
                assert!(twice.is_none() || schema.key.is_empty(), "a row came twice: {twice:?}");
            }
            after = range.upper;
        }
        handoff
    }

    fn apply(&mut self, schema: &TableSchema, body: &mut dyn TransactionBody) {
        while let Some(part) = body.next_part().unwrap() {
            match part {
                Part::Rows { .. } => {
                    let mut sink = ValueSink::default();
                    while body.next_row(&mut sink).unwrap() {}
                    for (image, row) in sink.images {
                        match image {
                            Image::Before => drop(self.rows.remove(&Self::key(schema, &row))),
                            Image::After => drop(self.rows.insert(Self::key(schema, &row), row)),
                        }
                    }
                }
                Part::Truncate { .. } => self.rows.clear(),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes the stream in until it has passed `end`.
    async fn follow(&mut self, schema: &TableSchema, stream: &mut dyn BinlogStream, end: Cut) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while stream.checkpoint().position < end {
            let item = tokio::time::timeout_at(deadline, stream.next()).await;
            let item = item.unwrap_or_else(|_| panic!("the stream stands at {:?}, not at {end}", stream.checkpoint().position));
            if let StreamItem::Transaction(mut transaction) = item.unwrap() {
                self.apply(schema, &mut *transaction.body);
            }
        }
    }
}

async fn open(source: &MysqlSource, schema: &Arc<TableSchema>) -> (Box<dyn BinlogStream>, Checkpoint) {
    let mut stream = source.stream(StreamFrom::Now { epoch: 0 }, Capture::default()).await.unwrap();
    let since = stream.checkpoint();
    let table = CapturedTable { schema: Arc::clone(schema), since: since.position };
    stream.set_capture(Capture { tables: HashMap::from([(schema.name.clone(), table)]) });
    (stream, since)
}

async fn insert_rows(connection: &mut WireConnection, first: usize) {
    run(connection, &["SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'", "SET NAMES utf8mb4"]).await;
    for (index, row) in ROWS.iter().enumerate() {
        run(connection, &[&format!("INSERT INTO shop.every_type ({COLUMNS}) VALUES ({}, {row})", first + index)]).await;
    }
}

#[tokio::test]
async fn every_type_has_the_same_value_in_the_snapshot_and_in_the_stream() {
    for options in
        [&["--default-time-zone=+08:00"][..], &["--binlog-row-metadata=MINIMAL", "--binlog-transaction-compression=ON"]]
    {
        let server = Server::start(options);
        let mut root = server.root().await;
        run(&mut root, &["CREATE DATABASE shop", EVERY_TYPE]).await;
        insert_rows(&mut root, 1).await;
        let (source, _scratch) = source(&server, 2);
        let name: TableName = "shop.every_type".parse().unwrap();
        let schema = source.describe(&name, &TableOptions::default()).await.unwrap();
        let (mut stream, since) = open(&source, &schema).await;
        let mut loaded = Mirror::default();
        loaded.load(&source, &schema, &since).await;
        insert_rows(&mut root, 101).await;
        let mut streamed = Mirror::default();
        streamed.follow(&schema, &mut *stream, source.flushed().await.unwrap().cut(0)).await;
        assert_eq!((loaded.rows.len(), streamed.rows.len()), (ROWS.len(), ROWS.len()));
        for (snapshot, change) in loaded.rows.values().zip(streamed.rows.values()) {
            for (column, (snapshot, change)) in schema.columns.iter().zip(snapshot.iter().zip(change)).skip(1) {
                assert_eq!(snapshot, change, "{} {} with {options:?}", column.name, column.declared);
            }
        }
    }
}

/// Writes at random until told to stop.
async fn hammer(mut connection: WireConnection, seed: u64, stop: Arc<std::sync::atomic::AtomicBool>) {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
        let (id, other) = (random.random_range(-50..400), random.random_range(-50..400));
        let statement = match random.random_range(0..6) {
            0 => format!("INSERT IGNORE INTO shop.accounts (id, n) VALUES ({id}, {other}), ({other}, 1)"),
            1 => format!("UPDATE shop.accounts SET n = n + 1 WHERE id BETWEEN {id} AND {id} + 3"),
            2 => format!("DELETE FROM shop.accounts WHERE id = {id}"),
            3 => format!("REPLACE INTO shop.accounts (id, n) VALUES ({id}, {other})"),
            4 => format!("INSERT INTO shop.accounts (id, n) VALUES ({id}, 5) ON DUPLICATE KEY UPDATE n = n * 2 % 1000"),
            _ => format!("UPDATE IGNORE shop.accounts SET id = {other} WHERE id = {id}"),
        };
        // A deadlock between writers is theirs.
        if let Err(error) = connection.execute(&statement).await {
            assert!(connection.server_error().is_some_and(|said| said.code == 1213), "{statement}: {error}");
        }
    }
}

async fn table_is_exact_among_writers(options: &[&str], create: &str) {
    let server = Server::start(options);
    let mut root = server.root().await;
    run(&mut root, &["CREATE DATABASE shop", create]).await;
    for id in 0..150 {
        run(&mut root, &[&format!("INSERT INTO shop.accounts (id, n) VALUES ({}, 0)", id * 2)]).await;
    }
    let (source, _scratch) = source(&server, 13);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for seed in 0..4 {
        writers.spawn(hammer(server.root().await, seed, Arc::clone(&stop)));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let name: TableName = "shop.accounts".parse().unwrap();
    let schema = source.describe(&name, &TableOptions::default()).await.unwrap();
    let (mut stream, since) = open(&source, &schema).await;
    let mut mirror = Mirror::default();
    let handoff = mirror.load(&source, &schema, &since).await;
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let end = source.flushed().await.unwrap().cut(0);
    assert!(since.position < handoff && handoff <= end);
    mirror.follow(&schema, &mut *stream, end).await;
    let mut truth = Mirror::default();
    truth.load(&source, &schema, &stream.checkpoint()).await;
    assert_eq!(mirror.rows, truth.rows);
    assert!(!truth.rows.is_empty());
}

const ACCOUNTS: &str = "CREATE TABLE shop.accounts (id INT PRIMARY KEY, n INT)";

#[tokio::test]
async fn a_table_among_writers_is_exact_with_gtids() {
    table_is_exact_among_writers(&["--max-binlog-size=8192"], ACCOUNTS).await;
}

#[tokio::test]
async fn a_table_among_writers_is_exact_without_gtids_and_by_a_unique_key() {
    let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF", "--binlog-order-commits=OFF"];
    table_is_exact_among_writers(&options, "CREATE TABLE shop.accounts (n INT, id INT NOT NULL UNIQUE)").await;
}

#[tokio::test]
async fn a_generated_invisible_key_that_the_server_hides_serves() {
    let server =
        Server::start(&["--sql-generate-invisible-primary-key=ON", "--show-gipk-in-create-table-and-information-schema=OFF"]);
    let mut root = server.root().await;
    run(
        &mut root,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.accounts (id INT, n INT)",
            "INSERT INTO shop.accounts VALUES (7, 7), (7, 7)",
        ],
    )
    .await;
    let (source, _scratch) = source(&server, 1);
    let schema = source.describe(&"shop.accounts".parse().unwrap(), &TableOptions::default()).await.unwrap();
    let (mut stream, since) = open(&source, &schema).await;
    let mut mirror = Mirror::default();
    mirror.load(&source, &schema, &since).await;
    run(&mut root, &["INSERT INTO shop.accounts VALUES (8, 8)", "DELETE FROM shop.accounts WHERE id = 7 LIMIT 1"]).await;
    mirror.follow(&schema, &mut *stream, source.flushed().await.unwrap().cut(0)).await;
    assert_eq!(mirror.rows.len(), 2);
    assert!(mirror.rows.values().all(|row| row.len() == 3));
}

#[tokio::test]
async fn the_door_tells_who_answers_and_looks_at_everything() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    run(&mut root, &["CREATE DATABASE shop", ACCOUNTS]).await;
    let (source, _scratch) = source(&server, 10);
    assert!(source.identity().await.unwrap().gtids);
    let tables = source.tables().await.unwrap();
    assert_eq!(tables, ["shop.accounts".parse().unwrap()]);
    let findings = source.preflight(&[(tables[0].clone(), TableOptions::default())]).await.unwrap();
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
}
