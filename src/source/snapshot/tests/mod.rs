//! Snapshots of a real server.

use std::sync::Arc;
use std::time::Duration;

use crate::change::{BinlogPosition, Cut, GtidSet, Image, KeyKind, TableName, TableSchema, Value, ValueSink};
use crate::source::wire::WireConnection;
use crate::source::wire::tests::{Server, settings};
use crate::source::{Checkpoint, ChunkReader, Error, KeyBound, Settings, TlsMode, Visible};

use super::{flushed, next_chunk, plan, read_chunk, wait_visible};

mod shape;

async fn visible(server: &Server) -> Visible {
    Visible { server_uuid: flushed(&server.settings()).await.unwrap().server_uuid, by: "test".to_owned() }
}

/// Runs statements that a semicolon at a line's end divides.
async fn run(connection: &mut WireConnection, statements: &str) {
    for statement in statements.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        connection.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// Every chunk's rows, in the order of the chunks.
async fn chunks(settings: &Settings, schema: &Arc<TableSchema>, visible: &Visible) -> Vec<Vec<Vec<Value>>> {
    let plan = plan(settings, schema, Some(&visible.server_uuid)).await.unwrap();
    let mut chunks = Vec::new();
    let mut after: Option<KeyBound> = None;
    while let Some(range) = next_chunk(settings, schema, &plan, after.as_ref()).await.unwrap() {
        assert!(chunks.len() < 10_000, "chunks without an end");
        let mut reader = read_chunk(settings, Arc::clone(schema), &range, visible).await.unwrap();
        let mut sink = ValueSink::default();
        let mut rows = 0;
        loop {
            match reader.next_rows(&mut sink, 100).await.unwrap() {
                0 => break,
                some => rows += some,
            }
        }
        let high = Box::new(reader).high().await.unwrap();
        assert_eq!(high.server_uuid, visible.server_uuid);
        assert_eq!(sink.images.len() as u64, rows);
        chunks.push(sink.images.into_iter().map(|(image, cells)| (image == Image::After).then_some(cells).unwrap()).collect());
        after = range.upper;
    }
    chunks
}

async fn rows_of(server: &Server, table: &str) -> Vec<Vec<Value>> {
    let schema = shape::describe(&mut server.root().await, table).await;
    chunks(&server.settings(), &schema, &visible(server).await).await.concat()
}

const TYPES: &str = "
CREATE DATABASE t;
CREATE TABLE t.numbers (id INT PRIMARY KEY, a TINYINT, b TINYINT UNSIGNED, c SMALLINT, d SMALLINT UNSIGNED, e MEDIUMINT,
  f MEDIUMINT UNSIGNED, g INT, h INT UNSIGNED, i BIGINT, j BIGINT UNSIGNED, k YEAR, l FLOAT, m DOUBLE, n DECIMAL(65,30),
  o DECIMAL(10,2) ZEROFILL, p BIT(1), q BIT(64), r INT(8) ZEROFILL, s DECIMAL(5,5));
INSERT INTO t.numbers VALUES
 (1, -128, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 0, 0, -3.4028235e38, -1.7976931348623157e308,
  -12345678901234567890123456789012345.123456789012345678901234567891, 12.3, 0, 0, 7, -0.00001),
 (2, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807, 18446744073709551615, 2155,
  0.1, 0.1, 0, 0, 1, 18446744073709551615, 12345678, 0.5),
 (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE t.times (id INT PRIMARY KEY, a DATE, b DATETIME, c DATETIME(6), d TIMESTAMP NULL, e TIMESTAMP(3) NULL, f TIME, g TIME(6));
INSERT INTO t.times VALUES
 (1, '1000-01-01', '9999-12-31 23:59:59', '1969-12-31 23:59:59.999999', '1970-01-01 00:00:01', '2038-01-19 03:14:07.999',
  '-838:59:59', '838:59:58.999999'),
 (2, '0000-00-00', '0000-00-00', '2024-00-15 01:02:03', '0000-00-00', '0000-00-00', '00:00:00', '-00:00:00.000001'),
 (3, '2023-02-30', '2024-02-29', '2024-06-01 12:00:00.5', '2024-06-01 12:00:00', '2024-06-01', '25:00:00', '-25:00:01.5');
CREATE TABLE t.texts (id INT PRIMARY KEY, a CHAR(5), b VARCHAR(9) CHARACTER SET latin1, c TEXT CHARACTER SET gbk, d LONGTEXT,
  e BINARY(4), f VARBINARY(4), g BLOB, h ENUM('z','ä','m') CHARACTER SET latin1, i SET('x','y','€') CHARACTER SET latin1, j JSON,
  k GEOMETRY SRID 4326, l VECTOR(2), m VARCHAR(3) CHARACTER SET utf16, n CHAR(3) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin);
INSERT INTO t.texts VALUES
 (1, 'ab  ', '€“', '中国', '😀', 'a', 'a\\0', '\\0b', 'ä', 'x,€', '{\"b\": 1.0, \"a\": [1e15, \"😀\"]}',
  ST_GeomFromText('POINT(1 2)', 4326), TO_VECTOR('[1,-2]'), '😀', 'é'),
 (2, '', '', '', '', '', '', '', 'z', '', 'null', NULL, NULL, '', '');
INSERT IGNORE INTO t.texts (id, h) VALUES (3, 'none')";

#[tokio::test]
async fn every_type_comes_through_as_it_is() {
    let server = Server::start(&["--default-time-zone=+05:30", "--explicit-defaults-for-timestamp=ON"]);
    let mut root = server.root().await;
    run(&mut root, "SET sql_mode = 'ALLOW_INVALID_DATES';\nSET time_zone = '+00:00'").await;
    run(&mut root, TYPES).await;
    let (s, u) = (Value::Signed, Value::Unsigned);
    let d = |text: &str| Value::Decimal(text.to_owned());
    let numbers = rows_of(&server, "t.numbers").await;
    let least = [s(1), s(-128), u(0), s(-32768), u(0), s(-8_388_608), u(0), s(-2_147_483_648), u(0), s(i64::MIN), u(0), s(0)];
    assert_eq!(numbers[0][..12], least);
    let rest = [
        Value::Float(f32::MIN),
        Value::Double(f64::MIN),
        d("-12345678901234567890123456789012345.123456789012345678901234567891"),
    ];
    assert_eq!(numbers[0][12..15], rest);
    assert_eq!(numbers[0][15..], [d("12.30"), u(0), u(0), u(7), d("-0.00001")]);
    let most = [s(2), s(127), u(255), s(32767), u(65535), s(8_388_607), u(16_777_215), s(2_147_483_647), u(4_294_967_295)];
    assert_eq!(numbers[1][..9], most);
    assert_eq!(numbers[1][9..14], [s(i64::MAX), u(u64::MAX), s(2155), Value::Float(0.1), Value::Double(0.1)]);
    assert_eq!(
        numbers[1][14..],
        [d("0.000000000000000000000000000000"), d("0.00"), u(1), u(u64::MAX), u(12_345_678), d("0.50000")]
    );
    assert!(numbers[2][1..].iter().all(|cell| *cell == Value::Null));

    let times = rows_of(&server, "t.times").await;
    let hour = 3_600_000_000;
    assert_eq!(
        times[0][1..],
        [
            Value::Date(-354_285),
            Value::Datetime(253_402_300_799_000_000),
            Value::Datetime(-1),
            Value::Timestamp(1_000_000),
            Value::Timestamp(2_147_483_647_999_000),
            Value::Time(-(839 * hour - 1_000_000)),
            Value::Time(839 * hour - 1_000_001),
        ]
    );
    assert_eq!(times[1][1..6], vec![Value::ZeroDate; 5]);
    assert_eq!(times[1][6..], [Value::Time(0), Value::Time(-1)]);
    assert_eq!(times[2][1..3], [Value::ZeroDate, Value::Datetime(1_709_164_800_000_000)]);
    assert_eq!(times[2][6..], [Value::Time(25 * hour), Value::Time(-25 * hour - 1_500_000)]);

    let texts = rows_of(&server, "t.texts").await;
    let t = |text: &str| Value::Text(text.to_owned());
    let b = |bytes: &[u8]| Value::Bytes(bytes.to_owned());
    assert_eq!(texts[0][1..8], [t("ab"), t("€“"), t("中国"), t("😀"), b(b"a\0\0\0"), b(b"a\0"), b(b"\0b")]);
    assert_eq!(texts[0][8..11], [t("ä"), t("x,€"), t("{\"a\": [1e15, \"😀\"], \"b\": 1.0}")]);
    let point = b(b"\xe6\x10\0\0\x01\x01\0\0\0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\xf0\x3f");
    assert_eq!(texts[0][11..], [point, b(b"\0\0\x80\x3f\0\0\0\xc0"), t("😀"), t("é")]);
    assert_eq!(texts[1][5..11], [b(&[0; 4]), b(b""), b(b""), t("z"), t(""), t("null")]);
    assert_eq!(texts[2][8], t(""));
}

/// `(columns, key, values of the key)` of one table with a hard key each.
const KEYS: &[(&str, &str, &str)] = &[
    ("k INT", "k", "(-2147483648),(-5),(-1),(0),(1),(2),(3),(1000000),(1000001),(2147483647)"),
    (
        "k BIGINT UNSIGNED",
        "k",
        "(0),(1),(9223372036854775807),(9223372036854775808),(18446744073709551614),(18446744073709551615)",
    ),
    ("k BIGINT ZEROFILL", "k", "(1),(22),(333),(4444),(55555),(666666),(7777777)"),
    (
        "k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci",
        "k",
        "(''),('a'),('a '),('B'),('ä1'),('É'),('zz'),('😀'),('ß2'),('中')",
    ),
    ("k VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci", "k", "(''),('a '),('B'),('ä1'),('zz'),('Z z'),('o'),('ö1')"),
    ("k CHAR(20) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin", "k", "('A'),('a'),('B'),('b'),('ä'),('a\\0'),('a\\t'),('a!')"),
    ("k VARCHAR(20) CHARACTER SET gbk", "k", "('中'),('国'),('a'),('Z'),('人1'),('')"),
    ("k VARCHAR(20) CHARACTER SET utf16le", "k", "('中'),('😀'),('a'),('Z'),('a1'),('')"),
    ("k VARBINARY(20)", "k", "(''),('\\0'),('\\0\\0'),('a'),('a '),('A'),(x'ff'),(x'ff00')"),
    ("k BINARY(3)", "k", "(''),('a'),('a '),('A'),(x'ff'),(x'ff00ff')"),
    (
        "k DECIMAL(30,10)",
        "k",
        "(-1.5),(0),(0.0000000001),(12345678901234567890.1234567891),(12345678901234567890.1234567892),(7)",
    ),
    ("k DATE", "k", "('0000-00-00'),('2024-00-15'),('2023-02-30'),('2024-01-01'),('9999-12-31')"),
    (
        "k DATETIME(6)",
        "k",
        "('0000-00-00'),('2024-01-01 00:00:00.000001'),('2024-01-01 00:00:00.000002'),('2024-01-01'),('9999-12-31 23:59:59.999999')",
    ),
    ("k TIMESTAMP(3)", "k", "('0000-00-00'),('2024-01-01 00:00:00.123'),('2024-01-01 00:00:00.124'),('2038-01-19 03:14:07.999')"),
    ("k TIME(6)", "k", "('-838:59:59'),('-00:00:01.5'),('00:00:00'),('25:00:00.000001'),('838:59:59')"),
    ("k YEAR", "k", "(0),(1901),(1970),(2000),(2069),(2155)"),
    ("k FLOAT", "k", "(0.1),(0.2),(1e38),(-3.3),(16777216),(16777218)"),
    ("k DOUBLE", "k", "(0.1),(0.30000000000000004),(0.3),(1e308),(-3.3),(5e-324)"),
    ("k ENUM('z','a','m','b')", "k", "('z'),('a'),('m'),('b')"),
    ("k SET('z','a','m','b')", "k", "(''),('z'),('a'),('z,a'),('m'),('b'),('z,b')"),
    ("k BIT(64)", "k", "(b'0'),(5),(9223372036854775807),(9223372036854775808),(18446744073709551615)"),
    ("k INT, l VARCHAR(9)", "k, l", "(1,'a'),(1,'B'),(1,'c'),(1,'d'),(2,''),(2,'x'),(-1,'y'),(3,'z')"),
    (
        "v INT, k ENUM('b','a'), l INT UNSIGNED, m BINARY(2)",
        "k, l, m",
        "(1,'b',1,'a'),(2,'b',1,'b'),(3,'b',2,'a'),(4,'a',1,'a'),(5,'a',1,'b'),(6,'a',9,'')",
    ),
    ("`od``d name` INT, `select` INT", "`select`, `od``d name`", "(1,5),(2,5),(3,5),(4,4),(5,4)"),
];

#[tokio::test]
async fn chunks_of_every_key_put_together_are_the_table_exactly() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    let visible = visible(&server).await;
    run(&mut root, "CREATE DATABASE t;\nSET sql_mode = 'ALLOW_INVALID_DATES'").await;
    for (index, (columns, key, values)) in KEYS.iter().enumerate() {
        let table = format!("t.k{index}");
        run(&mut root, &format!("CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}));\nINSERT INTO {table} VALUES {values}"))
            .await;
        let mut schema = shape::describe(&mut root, &table).await;
        let mut whole = Arc::unwrap_or_clone(Arc::clone(&schema));
        whole.key.clear();
        whole.key_kind = KeyKind::None;
        let expected = chunks(&server.settings(), &Arc::new(whole), &visible).await.concat();
        assert_eq!(expected.len(), values.matches("),(").count() + 1);
        for (kind, chunk_rows) in [(KeyKind::Primary, 1), (KeyKind::Primary, 2), (KeyKind::Configured, 3)] {
            Arc::make_mut(&mut schema).key_kind = kind;
            let mut settings = server.settings();
            settings.snapshot.chunk_rows = chunk_rows;
            let found = chunks(&settings, &schema, &visible).await;
            let integer = columns.starts_with("k INT") || columns.starts_with("k BIGINT");
            let most = if integer { 4 * chunk_rows } else { chunk_rows };
            assert!(found.iter().all(|chunk| chunk.len() as u64 <= most), "{columns} by {chunk_rows}: {found:?}");
            let mut found = found.concat();
            let mut expected = expected.clone();
            for rows in [&mut found, &mut expected] {
                rows.sort_by_key(|row| format!("{row:?}"));
            }
            assert_eq!(found, expected, "{columns} by {chunk_rows}");
        }
    }
}

#[tokio::test]
async fn integer_chunks_stay_near_their_size_over_gaps_and_dense_stretches() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    run(
        &mut root,
        "CREATE DATABASE t;\nCREATE TABLE t.gaps (id BIGINT PRIMARY KEY, v INT);\nSET cte_max_recursion_depth = 100000",
    )
    .await;
    let fill = |expression: &str, count: u32| {
        format!(
            "INSERT INTO t.gaps WITH RECURSIVE n AS (SELECT 0 i UNION ALL SELECT i + 1 FROM n WHERE i < {count} - 1) SELECT {expression}, i FROM n"
        )
    };
    run(&mut root, &fill("i", 20_000)).await;
    run(&mut root, &fill("i * 1000 + 5000000000000", 20_000)).await;
    run(&mut root, &fill("i - 9000000000000000000", 20_000)).await;
    run(&mut root, "ANALYZE TABLE t.gaps").await;
    let mut settings = server.settings();
    settings.snapshot.chunk_rows = 2_000;
    let schema = shape::describe(&mut root, "t.gaps").await;
    let chunks = chunks(&settings, &schema, &visible(&server).await).await;
    let sizes: Vec<usize> = chunks.iter().map(Vec::len).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 60_000);
    assert!(sizes.len() <= 80 && sizes.iter().all(|size| *size <= 6_000), "{sizes:?}");
    let rows = chunks.concat();
    assert!(rows.is_sorted_by_key(|row| match row[0] {
        Value::Signed(id) => id,
        _ => panic!("{row:?}"),
    }));
}

#[tokio::test]
async fn an_empty_table_has_no_chunk_and_a_growing_one_ends() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    run(&mut root, "CREATE DATABASE t;\nCREATE TABLE t.a (id INT PRIMARY KEY);\nCREATE TABLE t.b (id INT PRIMARY KEY);\nINSERT INTO t.b VALUES (1),(2)").await;
    assert!(rows_of(&server, "t.a").await.is_empty());
    let schema = shape::describe(&mut root, "t.b").await;
    let mut settings = server.settings();
    settings.snapshot.chunk_rows = 1;
    let plan = plan(&settings, &schema, None).await.unwrap();
    run(&mut root, "INSERT INTO t.b VALUES (3),(4),(5)").await;
    let mut after = None;
    let mut uppers = Vec::new();
    while let Some(range) = next_chunk(&settings, &schema, &plan, after.as_ref()).await.unwrap() {
        after = range.upper;
        uppers.push(after.clone().unwrap().0.concat());
    }
    assert_eq!(uppers, ["1", "2"]);
}

#[tokio::test]
async fn another_server_an_altered_table_and_a_busy_server_are_refused() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    run(&mut root, "CREATE DATABASE t;\nCREATE TABLE t.a (id INT PRIMARY KEY, v VARCHAR(9) CHARACTER SET latin1)").await;
    run(&mut root, "INSERT INTO t.a VALUES (1, 'x');\nSET GLOBAL transaction_isolation = 'READ-UNCOMMITTED';\nSET GLOBAL sql_select_limit = 1").await;
    let schema = shape::describe(&mut root, "t.a").await;
    let mut settings = server.settings();
    let visible = visible(&server).await;
    let range = crate::source::ChunkRange { lower: None, upper: None };
    assert!(read_chunk(&settings, Arc::clone(&schema), &range, &visible).await.is_ok());

    let other = Visible { server_uuid: "another".to_owned(), ..visible.clone() };
    let error = read_chunk(&settings, Arc::clone(&schema), &range, &other).await.unwrap_err();
    assert!(matches!(&error, Error::Connection { reason, .. } if reason.contains("another")), "{error}");

    for alter in
        ["MODIFY v VARCHAR(10) CHARACTER SET latin1", "MODIFY v VARCHAR(9) CHARACTER SET latin2", "ADD w INT", "RENAME TO t.c"]
    {
        run(&mut root, &format!("ALTER TABLE t.a {alter}")).await;
        let error = read_chunk(&settings, Arc::clone(&schema), &range, &visible).await.unwrap_err();
        assert!(matches!(&error, Error::Table { remedy, .. } if remedy == "binlake rebuild t.a"), "{alter}: {error}");
    }
    settings.snapshot.max_threads_running = 0;
    settings.timeout = Duration::from_millis(500);
    let error = read_chunk(&settings, schema, &range, &visible).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { .. }), "{error}");
}

async fn since(settings: &Settings, gtids: Option<GtidSet>) -> Checkpoint {
    let sample = flushed(settings).await.unwrap();
    let position = Cut(BinlogPosition { epoch: 0, file: sample.file, offset: sample.offset });
    Checkpoint {
        server_uuid: sample.server_uuid,
        file_name: sample.file_name,
        position,
        gtids,
        last: None,
        prepared: Vec::new(),
        left: Vec::new(),
        unseen: None,
    }
}

#[tokio::test]
async fn visibility_is_waited_for_by_gtids_by_one_cut_or_by_a_margin() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    run(&mut root, "CREATE DATABASE t;\nCREATE TABLE t.a (id INT PRIMARY KEY);\nINSERT INTO t.a VALUES (1)").await;
    run(&mut root, "CREATE USER 'b'@'%' IDENTIFIED BY 'x';\nGRANT REPLICATION CLIENT ON *.* TO 'b'@'%'").await;
    let settings_root = server.settings();
    let limit = Duration::from_secs(1);
    let executed = root.query_text("SELECT @@GLOBAL.gtid_executed").await.unwrap();
    let mut gtids: GtidSet = String::from_utf8(executed[0][0].clone().unwrap()).unwrap().parse().unwrap();
    let seen = wait_visible(&settings_root, &since(&settings_root, Some(gtids.clone())).await, limit).await.unwrap();
    assert_eq!(seen.by, "gtid_executed");
    let uuid = seen.server_uuid.clone();
    gtids.insert_interval(&uuid, 1, 1000);
    let error = wait_visible(&settings_root, &since(&settings_root, Some(gtids)).await, limit).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { what, .. } if what.contains("gtid_executed")), "{error}");

    let mut position = since(&settings_root, None).await;
    assert_eq!(wait_visible(&settings_root, &position, limit).await.unwrap().by, "log_status");
    position.position.0.offset += 1;
    let error = wait_visible(&settings_root, &position, limit).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { what, .. } if what.contains("log_status")), "{error}");
    let foreign = Checkpoint { server_uuid: "another".to_owned(), ..position.clone() };
    assert!(matches!(wait_visible(&settings_root, &foreign, limit).await, Err(Error::History { lost: true, .. })));

    let mut poor = settings(server.port, "b", "x");
    poor.tls.mode = TlsMode::Required;
    let error = wait_visible(&poor, &position, limit).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { remedy, .. } if remedy == "GRANT XA_RECOVER_ADMIN ON *.* TO 'b'@'%'"), "{error}");
    run(&mut root, "GRANT XA_RECOVER_ADMIN ON *.* TO 'b'@'%'").await;
    assert_eq!(wait_visible(&poor, &position, limit).await.unwrap().by, "margin");
}

#[tokio::test]
async fn a_prepared_xa_transaction_is_waited_for_and_named() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    run(&mut root, "CREATE DATABASE t;\nCREATE TABLE t.a (id INT PRIMARY KEY)").await;
    run(&mut root, "XA START 'one','b',7;\nINSERT INTO t.a VALUES (1);\nXA END 'one','b',7;\nXA PREPARE 'one','b',7").await;
    let settings = server.settings();
    let since = since(&settings, None).await;
    let error = wait_visible(&settings, &since, Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { what, .. } if what.contains("X'6f6e65',X'62',7")), "{error}");
    let ends = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        run(&mut server.root().await, "XA COMMIT X'6f6e65',X'62',7").await;
    };
    let (seen, ()) = tokio::join!(wait_visible(&settings, &since, Duration::from_secs(20)), ends);
    assert_eq!(seen.unwrap().by, "log_status");
    assert_eq!(rows_of(&server, "t.a").await.len(), 1);
}
