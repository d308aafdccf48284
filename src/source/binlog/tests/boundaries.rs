//! Where transactions begin and end: XA, savepoints, DDL, statements, files, sizes.

use super::*;

/// All transactions as `[rows…]`.
fn shapes(seen: &[Seen]) -> Vec<Vec<String>> {
    seen.iter().map(Seen::rows).collect()
}

const EVERYTHING: &str = "
INSERT INTO a VALUES (1, 1), (2, 2);
BEGIN;
INSERT INTO a VALUES (3, 3);
SAVEPOINT s1;
INSERT INTO a VALUES (4, 4);
ROLLBACK TO s1;
SAVEPOINT s2;
INSERT INTO b VALUES (5, 5);
RELEASE SAVEPOINT s2;
UPDATE a SET v = 30 WHERE id = 3;
COMMIT;
BEGIN;
INSERT INTO a VALUES (6, 6);
ROLLBACK;
INSERT INTO other VALUES (1, 1);
XA START 'one';
INSERT INTO a VALUES (10, 10);
XA END 'one';
XA PREPARE 'one';
XA START 'two', 'branch', 7;
INSERT INTO a VALUES (11, 11);
XA END 'two', 'branch', 7;
XA PREPARE 'two', 'branch', 7;
INSERT INTO b VALUES (6, 6);
XA ROLLBACK 'one';
FLUSH BINARY LOGS;
XA START 'three';
INSERT INTO b VALUES (12, 12);
UPDATE a SET v = 0 WHERE id = 1;
XA END 'three';
XA COMMIT 'three' ONE PHASE;
XA COMMIT 'two', 'branch', 7;
CREATE TABLE copied SELECT * FROM a;
REPLACE INTO a VALUES (1, 100);
INSERT INTO a VALUES (2, 0) ON DUPLICATE KEY UPDATE v = 200;
UPDATE a SET id = id + 100 WHERE id < 3;
DELETE FROM b;
TRUNCATE TABLE b";

const EXPECTED: [&[&str]; 12] = [
    &["a c 1,1", "a c 2,2"],
    &["a c 3,3", "b c 5,5", "a u 3,3 -> 3,30"],
    &["b c 6,6"],
    &["b c 12,12", "a u 1,1 -> 1,0"],
    &["a c 11,11"],
    &["a u 1,0 -> 1,100"],
    &["a u 2,2 -> 2,200"],
    &["a u 1,100 -> 101,100", "a u 2,200 -> 102,200"],
    &["b d 5,5", "b d 6,6", "b d 12,12"],
    &["b truncate"],
    &[],
    &[],
];

async fn transactions_come_whole(options: &[&str]) {
    let mut bench = Bench::start(options).await;
    for table in ["a", "b", "other"] {
        bench.run(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, v INT)")).await;
    }
    let mut stream = bench.open_now(&["a", "b"]).await;
    let mut checkpoints = vec![stream.checkpoint()];
    // Every checkpoint that a caller can see, with what had come before it.
    let mut seen_before = vec![0];
    bench.run(EVERYTHING).await;
    let end = bench.source().flushed().await.unwrap().cut(0);
    let mut seen = Vec::new();
    while stream.checkpoint().position < end {
        if let StreamItem::Transaction(transaction) = next(&mut stream).await {
            seen.push(look(transaction));
        }
        checkpoints.push(stream.checkpoint());
        seen_before.push(seen.len());
    }
    let expected: Vec<Vec<String>> = EXPECTED
        .iter()
        .filter(|transaction| !transaction.is_empty())
        .map(|rows| rows.iter().map(|row| (*row).to_owned()).collect())
        .collect();
    assert_eq!(shapes(&seen), expected, "{options:?}");
    let gtids = !options.contains(&"--gtid-mode=OFF");
    assert!(seen.iter().all(|seen| seen.gtid.is_some() == gtids));
    assert_eq!(stream.checkpoint().gtids.is_some(), gtids);
    drop(stream);
    if gtids {
        let executed = bench.root.query_text("SELECT @@GLOBAL.gtid_executed").await.unwrap();
        let executed = String::from_utf8(executed[0][0].clone().unwrap()).unwrap();
        assert_eq!(checkpoints.last().unwrap().gtids, Some(executed.parse().unwrap()));
    }
    for (checkpoint, before) in checkpoints.into_iter().zip(seen_before) {
        let place = checkpoint.position;
        let mut stream = bench.open_behind(checkpoint, &["a", "b"]).await;
        let rest = bench.drain(&mut stream).await;
        assert_eq!(rest, seen[before..], "from {place} with {options:?}");
    }
}

#[tokio::test]
async fn transactions_come_whole_and_the_rest_comes_from_every_checkpoint() {
    transactions_come_whole(&[]).await;
}

#[tokio::test]
async fn transactions_come_whole_without_gtids() {
    transactions_come_whole(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).await;
}

#[tokio::test]
async fn transactions_come_whole_when_compressed_and_without_checksums() {
    transactions_come_whole(&["--binlog-transaction-compression=ON", "--binlog-checksum=NONE"]).await;
}

#[tokio::test]
async fn large_transactions_go_through_the_scratch_directory() {
    for options in [&[][..], &["--binlog-transaction-compression=ON"]] {
        let mut bench = Bench::start(options).await;
        bench.run("CREATE TABLE a (id INT PRIMARY KEY, v LONGBLOB)").await;
        let settings = Settings { transaction_bytes_max: 4096, ..bench.settings() };
        let capture = bench.capture(&["a"]).await;
        let mut stream = open(&settings, StreamFrom::Now { epoch: 0 }, capture).await.unwrap();
        // Rows that compress and rows that do not; together more than one packet can hold, and one value larger than a frame.
        bench
            .run(
                "SET cte_max_recursion_depth = 100000;
BEGIN;
INSERT INTO a WITH RECURSIVE n AS (SELECT 1 id UNION ALL SELECT id + 1 FROM n WHERE id < 20000) SELECT id, REPEAT('x', 100) FROM n;
INSERT INTO a WITH RECURSIVE n AS (SELECT 1 id UNION ALL SELECT id + 1 FROM n WHERE id < 20000) SELECT id + 20000, RANDOM_BYTES(200) FROM n;
INSERT INTO a VALUES (0, REPEAT(RANDOM_BYTES(1000), 18000));
DELETE FROM a WHERE id % 2 = 1;
COMMIT",
            )
            .await;
        let seen = bench.drain(&mut stream).await;
        assert_eq!(seen.len(), 1);
        let mut rows = BTreeMap::new();
        apply(&mut rows, &seen, "a");
        assert!(rows == bench.rows("a").await, "the rows differ");
        assert_eq!(std::fs::read_dir(bench.scratch.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn statements_in_the_stream_never_pass_silently() {
    let mut bench = Bench::start(&[]).await;
    bench.run("CREATE TABLE a (id INT PRIMARY KEY, v INT);\nCREATE TABLE b (id INT PRIMARY KEY, v INT)").await;
    let mut stream = bench.open_now(&["a", "b"]).await;
    for (sql, expected) in [
        ("SET SESSION binlog_format = STATEMENT;\nINSERT INTO a VALUES (1, 1)", vec![vec!["a unusable"]]),
        ("SET SESSION binlog_format = ROW;\nSET SESSION binlog_row_image = MINIMAL;\nUPDATE a SET v = 2", vec![vec!["error"]]),
        ("SET SESSION binlog_row_image = FULL;\nUPDATE a SET v = 3", vec![vec!["a u 1,2 -> 1,3"]]),
        ("CREATE INDEX i ON a (v);\nANALYZE TABLE a;\nALTER TABLE a ADD INDEX k (v)", vec![]),
        ("RENAME TABLE a TO c, b TO a", vec![vec!["a schema", "b schema"]]),
        ("RENAME TABLE a TO b, c TO a", vec![vec!["a schema", "b schema"]]),
        ("ALTER TABLE a ADD COLUMN w INT FIRST", vec![vec!["a schema"]]),
        ("INSERT INTO a VALUES (9, 9, 9)", vec![vec!["a unusable"]]),
        ("ALTER TABLE a DROP COLUMN w", vec![vec!["a schema"]]),
        ("ALTER TABLE a RENAME COLUMN v TO w", vec![vec!["a schema"]]),
        ("INSERT INTO a VALUES (10, 10)", vec![vec!["a unusable"]]),
        ("DROP TABLE a, b", vec![vec!["a schema", "b schema"]]),
        ("CREATE TABLE a (id INT PRIMARY KEY, v INT)", vec![vec!["a schema"]]),
        ("DROP DATABASE d", vec![vec!["a schema", "b schema"]]),
    ] {
        bench.run(sql).await;
        let seen = bench.drain(&mut stream).await;
        let mut found: Vec<Vec<String>> = shapes(&seen);
        for part in found.iter_mut().flatten().filter(|part| part.starts_with("error")) {
            assert!(part.contains("binlog_row_image"), "{part}");
            "error".clone_into(part);
        }
        found.iter_mut().for_each(|parts| parts.sort());
        assert_eq!(found, expected, "{sql}");
    }
}

#[tokio::test]
async fn a_table_that_is_added_within_a_transaction_gets_all_of_it() {
    let mut bench = Bench::start(&[]).await;
    bench.run("CREATE TABLE a (id INT PRIMARY KEY, v INT);\nCREATE TABLE b (id INT PRIMARY KEY, v LONGTEXT)").await;
    let mut stream = bench.open_now(&["a"]).await;
    let large = |attempt: u32| {
        format!(
            "TRUNCATE b;\nBEGIN;\nINSERT INTO b VALUES (1, 'first'), (2, REPEAT('x', 3000000));
             INSERT INTO b VALUES (3, REPEAT('y', 30000000));\nINSERT INTO a VALUES ({attempt}, 1);\nCOMMIT"
        )
    };
    let mut attempt = 1;
    bench.run(&large(attempt)).await;
    // Dropped again and again in the middle; the stream stands within the transaction when the table is added.
    while !stream.is_within_transaction() {
        match tokio::time::timeout(Duration::from_millis(1), stream.next()).await {
            Err(_) | Ok(Ok(StreamItem::Progress { .. })) => {}
            // All of it was there at once: another one.
            Ok(Ok(StreamItem::Transaction(_))) => {
                attempt += 1;
                bench.run(&large(attempt)).await;
            }
            Ok(Err(error)) => panic!("{error}"),
        }
    }
    let since = stream.checkpoint().position;
    let mut capture = bench.capture(&["a", "b"]).await;
    for table in capture.tables.values_mut().filter(|table| table.schema.name.table == "b") {
        table.since = since;
    }
    stream.set_capture(capture);
    let seen = bench.drain(&mut stream).await;
    let mut rows = BTreeMap::new();
    apply(&mut rows, &seen, "b");
    assert!(rows == bench.rows("b").await);
    assert_eq!(seen[0].parts.len(), 4);
}

#[tokio::test]
async fn a_capture_counts_from_its_since_on() {
    let mut bench = Bench::start(&[]).await;
    bench.run("CREATE TABLE a (id INT PRIMARY KEY)").await;
    let mut capture = bench.capture(&["a"]).await;
    let mut stream = open(&bench.settings(), StreamFrom::Now { epoch: 3 }, Capture::default()).await.unwrap();
    bench.run("INSERT INTO a VALUES (1);\nXA START 'x';\nINSERT INTO a VALUES (2);\nXA END 'x';\nXA PREPARE 'x'").await;
    let since = bench.source().flushed().await.unwrap().cut(3);
    for table in capture.tables.values_mut() {
        table.since = since;
    }
    stream.set_capture(capture);
    bench.run("XA COMMIT 'x';\nINSERT INTO a VALUES (3)").await;
    let seen = bench.drain(&mut stream).await;
    assert_eq!(shapes(&seen), [["a c 2"], ["a c 3"]], "what was prepared before and committed behind it counts");
}
