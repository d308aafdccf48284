//! A table with a column of every type.

use rand::rngs::StdRng;

use super::tables::{or_null, pick};

/// The statement that makes the table.
pub(super) const TYPES: &str = "CREATE TABLE types (
    id INT NOT NULL PRIMARY KEY,
    t TINYINT, tu TINYINT UNSIGNED, flag TINYINT(1), s SMALLINT, su SMALLINT UNSIGNED, m MEDIUMINT, mu MEDIUMINT UNSIGNED,
    i INT, iu INT UNSIGNED, b BIGINT, bu BIGINT UNSIGNED, y YEAR, f FLOAT, d DOUBLE, de DECIMAL(38,10), big DECIMAL(65,30),
    bit1 BIT(1), bits BIT(20), bits64 BIT(64), c CHAR(10), latin VARCHAR(50) CHARACTER SET latin1,
    gbk VARCHAR(20) CHARACTER SET gbk, tx MEDIUMTEXT, bi BINARY(8), vb VARBINARY(20), bl BLOB,
    e ENUM('x-small','Größe','x-large'), st SET('a','b','ü'), j JSON, dt DATE, tm TIME(3), dtm DATETIME(6), ts TIMESTAMP(6) NULL,
    whole INT AS (i DIV 2) STORED)";

/// Its columns behind the key.
pub(super) const TYPES_COLUMNS: [&str; 33] = [
    "t", "tu", "flag", "s", "su", "m", "mu", "i", "iu", "b", "bu", "y", "f", "d", "de", "big", "bit1", "bits", "bits64", "c",
    "latin", "gbk", "tx", "bi", "vb", "bl", "e", "st", "j", "dt", "tm", "dtm", "ts",
];

/// For every column of `types` an ordinary value and those at the edges.
const TYPES_VALUES: [&[&str]; 33] = [
    &["-128", "127", "0"],
    &["255", "0", "128"],
    &["1", "0", "2", "-1"],
    &["-32768", "32767", "5"],
    &["65535", "32768", "0"],
    &["-8388608", "8388607", "-1"],
    &["16777215", "8388608", "0"],
    &["-2147483648", "2147483647", "42"],
    &["4294967295", "2147483648", "0"],
    &["-9223372036854775808", "9223372036854775807", "-1"],
    &["18446744073709551615", "9223372036854775808", "0"],
    &["1901", "2155", "0", "2026"],
    &["0.1", "-3.4e38", "1.17549435e-38", "16777217", "0"],
    &["0.1", "-1.7976931348623157e308", "2.2250738585072014e-308", "1e16", "123456789.987654321"],
    &["-9999999999999999999999999999.9999999999", "0.0000000001", "-0.5", "0"],
    &["99999999999999999999999999999999999.999999999999999999999999999999", "-0.000000000000000000000000000001", "7"],
    &["b'1'", "b'0'"],
    &["b'11111111111111111111'", "b'0'", "b'101'"],
    &["b'1111111111111111111111111111111111111111111111111111111111111111'", "b'0'", "b'10'"],
    &["'char'", "''", "'  x'", "'ümläut'"],
    &["'café'", "''", "'naïve €'", "'trailing  '"],
    &["'中文字符'", "''", "'mixed 混合'"],
    &["REPEAT('long text ', 300)", "''", "'line\\nbreak\\t\\\\ and \\0 nul'", "'😀'"],
    &["X'00'", "X'0102030405060708'", "X'FF00'"],
    &["X''", "X'00FF00'", "'text'"],
    &["REPEAT(X'00FF', 400)", "X''", "X'80'"],
    &["'x-small'", "'Größe'", "'x-large'"],
    &["''", "'a,ü'", "'a,b,ü'", "'b'"],
    &["'{\"b\": 1, \"a\": [1.5, \"x\", null, true]}'", "'[]'", "'\"text ü\"'", "'12345678901234567890'", "'1e-7'", "'null'"],
    &["'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'1969-12-31'"],
    &["'-838:59:59'", "'838:59:59'", "'00:00:00.001'", "'-00:00:00.5'", "'12:34:56.789'"],
    &["'1000-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.000001'", "'2026-10-25 02:30:00'"],
    &["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07.499999'", "'2026-10-25 00:30:00.123456'"],
];

/// A row's cells behind the key.
pub(super) fn types(dice: &mut StdRng) -> Vec<String> {
    TYPES_VALUES
        .iter()
        .map(|values| {
            let value = pick(dice, values).to_owned();
            or_null(dice, value)
        })
        .collect()
}
