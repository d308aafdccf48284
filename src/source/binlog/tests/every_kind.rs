//! Every type, from the binlog and from `SELECT`: the same values, bit by bit.

use super::*;

const TABLES: &str = "
CREATE TABLE numbers (id INT PRIMARY KEY, a TINYINT, b TINYINT UNSIGNED, c SMALLINT, d SMALLINT UNSIGNED, e MEDIUMINT,
  f MEDIUMINT UNSIGNED, g INT, y YEAR, h INT UNSIGNED, i BIGINT, j BIGINT UNSIGNED, l FLOAT, m DOUBLE, n DECIMAL(65,30),
  o DECIMAL(10,2) ZEROFILL, p BIT(1), q BIT(64), r INT(8) ZEROFILL, s DECIMAL(5,5), t BIT(11), u DECIMAL(27,9), v BOOL);
CREATE TABLE times (id INT PRIMARY KEY, a DATE, b DATETIME, c DATETIME(6), d TIMESTAMP NULL, e TIMESTAMP(3) NULL, f TIME, g TIME(6),
  h DATETIME(1), i TIME(2), j TIME(3), k TIMESTAMP(6) NULL, l TIME(5));
CREATE TABLE texts (id INT PRIMARY KEY, a CHAR(5), b VARCHAR(9) CHARACTER SET latin1, c TEXT CHARACTER SET gbk, d LONGTEXT,
  e BINARY(4), f VARBINARY(4), g BLOB, h ENUM('z','ä','m') CHARACTER SET latin1, i SET('x','y','€') CHARACTER SET latin1, j JSON,
  k GEOMETRY SRID 4326, l VECTOR(2), m VARCHAR(3) CHARACTER SET utf16, n CHAR(3) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin,
  o CHAR(255), p BINARY(255), q TINYTEXT, r MEDIUMBLOB, s VARCHAR(300), t VARBINARY(300), u POINT, v CHAR(0), w CHAR(3) CHARACTER SET binary,
  x ENUM('only') CHARACTER SET utf8mb4);
CREATE TABLE others (id INT PRIMARY KEY, a INT, v INT AS (a + 1) VIRTUAL, s INT AS (a + 2) STORED, hidden INT INVISIBLE DEFAULT 7,
  z JSON, INDEX multi ((CAST(z->'$[*]' AS UNSIGNED ARRAY))), INDEX functional ((a + 3))) ENGINE=InnoDB;
CREATE TABLE wide (id INT PRIMARY KEY, labels ENUM(MANY));
CREATE TABLE isam (id INT PRIMARY KEY, a VARCHAR(10)) ENGINE=MyISAM;
CREATE TABLE parts (id INT PRIMARY KEY, a INT) PARTITION BY HASH(id) PARTITIONS 3;
SET sql_generate_invisible_primary_key = ON;
CREATE TABLE hidden (a INT);
SET sql_generate_invisible_primary_key = OFF";

const ROWS: &str = "
INSERT INTO numbers VALUES
 (1, -128, 0, -32768, 0, -8388608, 0, -2147483648, 1901, 0, -9223372036854775808, 0, -3.4028235e38, -1.7976931348623157e308,
  -12345678901234567890123456789012345.123456789012345678901234567891, 12.3, 0, 0, 7, -0.00001, 0, -1, 0),
 (2, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 2155, 4294967295, 9223372036854775807, 18446744073709551615,
  0.1, 0.1, 0, 0, 1, 18446744073709551615, 12345678, 0.5, 1025, 123456789012345678.123456789, 1),
 (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (4, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, -0e0, -0e0, 0.000000000000000000000000000001, 1, 1, 1, 1, 0, 1, 0.000000001, -1);
INSERT INTO times VALUES
 (1, '1000-01-01', '9999-12-31 23:59:59', '1969-12-31 23:59:59.999999', '1970-01-01 00:00:01', '2038-01-19 03:14:07.999',
  '-838:59:59', '838:59:58.999999', '2024-02-29 00:00:00.9', '-00:00:00.01', '-00:00:01.100', '2000-01-01 00:00:00.000001', '-10:10:10.00001'),
 (2, '0000-00-00', '0000-00-00', '2024-00-15 01:02:03', '0000-00-00', '0000-00-00', '00:00:00', '-00:00:00.000001',
  '0000-00-00', '-838:59:59', '00:00:00.001', '0000-00-00', '0'),
 (3, '2023-02-30', '2024-02-29', '2024-06-01 12:00:00.5', '2024-06-01 12:00:00', '2024-06-01', '25:00:00', '-25:00:01.5',
  '1000-01-01', '838:59:58.99', '-838:59:58.999', NULL, '11:11:11.11111');
INSERT INTO texts VALUES
 (1, 'ab  ', '€“', '中国', '😀', 'a', 'a\\0', '\\0b', 'ä', 'x,€', '{\"b\": 1.0, \"a\": [1e15, \"😀\"]}',
  ST_GeomFromText('POINT(1 2)', 4326), TO_VECTOR('[1,-2]'), '😀', 'é', REPEAT('é', 255), 'p', 'q', REPEAT('r', 70000),
  REPEAT('s', 300), 't', POINT(1, -1), '', 'w', 'only'),
 (2, '', '', '', '', '', '', '', 'z', '', 'null', NULL, NULL, '', '', '', '', '', '', '', '', NULL, NULL, '', 'only');
INSERT IGNORE INTO texts (id, h) VALUES (3, 'none');
INSERT INTO others (id, a, z) VALUES (1, 5, '[1, 2]');
INSERT INTO wide VALUES (1, 'l1'), (2, 'l299');
INSERT INTO isam VALUES (1, 'x');
INSERT INTO parts VALUES (1, 1), (2, 2), (3, 3), (4, 4);
INSERT INTO hidden VALUES (5), (6)";

const CHANGES: &str = "
UPDATE numbers SET a = a + 1, q = 5, n = NULL WHERE id IN (2, 4);
UPDATE times SET a = '2024-12-31', g = '00:00:00.5' WHERE id < 3;
UPDATE texts SET e = x'01020000', j = JSON_SET(j, '$.c', TRUE), c = NULL WHERE id = 1;
UPDATE others SET a = 6;
UPDATE isam SET a = 'y';
UPDATE parts SET id = id + 10, a = 7;
ALTER TABLE parts ADD INDEX i (a);
DELETE FROM parts WHERE id = 12;
DELETE FROM hidden WHERE a = 5;
DELETE FROM times WHERE id = 3;
UPDATE wide SET id = id + 1 ORDER BY id DESC;
DELETE FROM texts WHERE id = 3";

const NAMES: [&str; 8] = ["numbers", "times", "texts", "others", "wide", "isam", "parts", "hidden"];

async fn types_come_alike(options: &[&str]) {
    let mut bench = Bench::start(options).await;
    let many: Vec<String> = (0..300).map(|index| format!("'l{index}'")).collect();
    bench.run(&TABLES.replace("MANY", &many.join(","))).await;
    bench.run("SET sql_mode = 'ALLOW_INVALID_DATES'").await;
    let mut stream = bench.open_now(&NAMES).await;
    let mut rows: Vec<BTreeMap<String, Vec<Value>>> = vec![BTreeMap::new(); NAMES.len()];
    for statements in [ROWS, CHANGES] {
        bench.run(statements).await;
        let seen = bench.drain(&mut stream).await;
        for (rows, table) in rows.iter_mut().zip(NAMES) {
            apply(rows, &seen, table);
            let shown = bench.rows(table).await;
            assert_eq!(rows.len(), shown.len(), "{table}");
            for (key, cells) in &shown {
                assert_eq!(rows.get(key), Some(cells), "{table} {key} with {options:?}");
            }
        }
    }
}

#[tokio::test]
async fn every_type_comes_as_select_shows_it() {
    types_come_alike(&[]).await;
}

#[tokio::test]
async fn every_type_comes_with_little_metadata_without_checksums_and_in_a_far_time_zone() {
    let options = [
        "--binlog-row-metadata=MINIMAL",
        "--binlog-checksum=NONE",
        "--default-time-zone=+05:30",
        "--character-set-server=latin1",
    ];
    types_come_alike(&options).await;
}

#[tokio::test]
async fn every_type_comes_compressed_and_with_partial_documents() {
    types_come_alike(&["--binlog-transaction-compression=ON", "--binlog-row-value-options=PARTIAL_JSON"]).await;
}

#[tokio::test]
async fn documents_print_as_the_server_prints_them() {
    let mut bench = Bench::start(&["--binlog-row-value-options=PARTIAL_JSON"]).await;
    bench.run("CREATE TABLE j (id INT PRIMARY KEY, n INT, j JSON, k JSON, b VARBINARY(200))").await;
    let mut stream = bench.open_now(&["j"]).await;
    bench
        .run(
            r#"SET sql_mode = 'NO_BACKSLASH_ESCAPES';
INSERT INTO j VALUES (1, 0, '[1.0, 1e15, 1e16, 1e14, 123456789012345678, 1e-5, 1e-14, 1e-15, 1.5e-15, 1e-16, 0.1, 1e100, -0.0, 5e-324]', NULL, '');
INSERT INTO j VALUES (2, 0, '[1.7976931348623157e308, 18446744073709551615, 18446744073709551616, -9223372036854775808, 4503599627370495.5, 1e22, 2147483648, 65536, -32769, 32768]', '{}', '');
INSERT INTO j VALUES (3, 0, JSON_OBJECT('d', CAST('2015-01-15' AS DATE), 't', CAST('-100:11:12.5' AS TIME(6)), 'dt', CAST('2015-01-15 10:11:12.5' AS DATETIME(6)), 'dec', CAST(-1.50 AS DECIMAL(10,2)), 'y', CAST(2020 AS YEAR), 'bit', b'101', 'null', NULL), '[]', '');
INSERT INTO j VALUES (4, 0, JSON_OBJECT('short', x'00ff10', 'long', REPEAT(x'00ff10', 60)), '"\u0001\u001f\u007f/é\n\t\b\f\r\"\\ 😀"', '');
INSERT INTO j VALUES (5, 0, JSON_ARRAY(REPEAT('x', 70000), JSON_OBJECT('k', REPEAT('y', 200))), '{"zz": 1, "b": 2, "aaa": 3, "": 4, "é": {"deep": [[[[]]]]}}', '');
INSERT INTO j VALUES (6, 0, '{"a": {"b": [1, 2, {"c": "d"}]}, "name with \"quote\" and .dot": 1, "n": 5}', '[1, 2, 3]', '');
UPDATE j SET j = JSON_SET(j, '$.a.b[2].c', 'changed', '$.added', CAST('[1]' AS JSON)), n = n + 1 WHERE id = 6;
UPDATE j SET j = JSON_REMOVE(j, '$.a.b[0]', '$.n'), k = JSON_REPLACE(k, '$[1]', 'longer than before') WHERE id = 6;
UPDATE j SET j = JSON_REPLACE(j, '$."name with \"quote\" and .dot"', CAST('2020-02-02' AS DATE)) WHERE id = 6;
UPDATE j SET j = JSON_SET(j, '$[0]', 'x'), k = JSON_SET(k, '$.b', 2.5, '$.new', NULL) WHERE id = 5;
UPDATE j SET k = JSON_SET(k, '$[7]', 'appended', '$[0]', 1) WHERE id = 6;
UPDATE j SET n = 100, k = NULL WHERE id = 2;
UPDATE j SET k = '{"from": "null"}' WHERE id = 1;
UPDATE j SET j = JSON_SET(j, '$.d', CAST('2016-01-15' AS DATE)), b = x'00' WHERE id = 3;
UPDATE j SET j = JSON_ARRAY_INSERT(j, '$[1]', 'inserted') WHERE id = 2;
UPDATE j SET j = JSON_SET(j, '$[0]', j), k = JSON_SET(k, '$.zz', JSON_OBJECT()) WHERE id IN (2, 5);
DELETE FROM j WHERE id = 4"#,
        )
        .await;
    let seen = bench.drain(&mut stream).await;
    let mut rows = BTreeMap::new();
    apply(&mut rows, &seen, "j");
    for (key, cells) in bench.rows("j").await {
        assert_eq!(rows.remove(&key), Some(cells), "{key}");
    }
    assert!(rows.is_empty());
    let partial = bench.binlogs().iter().flat_map(|file| super::mutated::kinds(file)).filter(|kind| *kind == 39).count();
    assert!(partial >= 8, "only {partial} updates were partial");
}

#[tokio::test]
async fn excluded_columns_are_left_out() {
    let mut bench = Bench::start(&[]).await;
    bench.run("CREATE TABLE e (a JSON, b INT, c TEXT, id INT PRIMARY KEY, d DECIMAL(5,1), f VARCHAR(3))").await;
    let options = TableOptions { exclude_columns: ["a", "c", "d"].map(str::to_owned).to_vec(), ..TableOptions::default() };
    let schema = bench.source().describe(&TableName::new("d", "e"), &options).await.unwrap();
    let mut capture = Capture::default();
    capture.tables.insert(schema.name.clone(), CapturedTable { schema, since: Cut::default() });
    let mut stream = open(&bench.settings(), StreamFrom::Now { epoch: 0 }, capture).await.unwrap();
    bench.run("INSERT INTO e VALUES ('{}', 1, 'x', 2, 3.5, 'f'), (NULL, NULL, NULL, 3, NULL, NULL)").await;
    let seen = bench.drain(&mut stream).await;
    assert_eq!(seen[0].rows(), ["e c 1,2,f", "e c NULL,3,NULL"]);
}

#[tokio::test]
async fn labels_that_the_dictionary_cannot_show_come_from_the_table_map() {
    let mut bench = Bench::start(&[]).await;
    bench
        .run(
            "CREATE TABLE l (id INT PRIMARY KEY, e ENUM('😀','?','x?') CHARACTER SET utf8mb4, s SET('😀','ü') CHARACTER SET gb18030,
             b ENUM('é','a') CHARACTER SET binary)",
        )
        .await;
    let mut stream = bench.open_now(&["l"]).await;
    bench.run("INSERT INTO l VALUES (1, '😀', '😀,ü', 'é'), (2, '?', 'ü', 'a'), (3, 'x?', '', NULL)").await;
    let seen = bench.drain(&mut stream).await;
    assert_eq!(seen[0].rows(), ["l c 1,😀,😀,ü,é", "l c 2,?,ü,a", "l c 3,x?,,NULL"]);
    let mut rows = BTreeMap::new();
    apply(&mut rows, &seen, "l");
    assert_eq!(rows, bench.rows("l").await);
    // Once the server names labels no longer, a question mark may be anything.
    bench.run("SET GLOBAL binlog_row_metadata = MINIMAL;\nINSERT INTO l VALUES (4, '😀', '', 'a')").await;
    let seen = bench.drain(&mut stream).await;
    let [SeenPart::Unusable(_, said)] = seen[0].parts.as_slice() else { panic!("{seen:?}") };
    assert!(said.contains("column \"e\"") && said.contains("binlog_row_metadata is no longer FULL"), "{said}");
}
