//! JSON: documents at the edges, random ones, and statements that change a part of them.

use rand::RngExt;
use rand::rngs::StdRng;

use super::alphabets::literal;
use super::tables::pick;

/// Expressions, each a document.
const CORNERS: &[&str] = &[
    "'null'",
    "'true'",
    "'\"\"'",
    "'[]'",
    "'{}'",
    "'1.0'",
    "'1e15'",
    "'1e16'",
    "'0.0000001'",
    "'-0.0'",
    "'9223372036854775808'",
    "'18446744073709551616'",
    "'-9223372036854775808'",
    "'5e-324'",
    "'[1.0, 1e15, 1e22, 123456789012345678, 1.5e-15, 0.1, 4503599627370495.5]'",
    "'{\"b\": 1, \"aa\": 2, \"a\": {\"é\": [null, true, {}]}, \"\": \"😀\"}'",
    "'{\"a\": 1, \"a\": 2}'",
    "'\"\\\\u00e9\\\\u0001\\\\/ \\\\ud83d\\\\ude00\"'",
    "JSON_OBJECT('d', CAST('2015-01-15' AS DATE), 't', CAST('-100:11:12.5' AS TIME(6)), 'dt', CAST('2015-01-15 10:11:12.5' AS DATETIME(6)))",
    "JSON_OBJECT('dec', CAST(-1.50 AS DECIMAL(10,2)), 'big', CAST(1e30 AS DECIMAL(65,30)), 'y', CAST(2020 AS YEAR), 'bit', b'101')",
    "JSON_OBJECT('short', X'00FF10', 'long', REPEAT(X'00FF10', 60), 'n', NULL)",
    "JSON_ARRAY(REPEAT('x', 70000), JSON_OBJECT('k', REPEAT('y', 300)))",
    "JSON_ARRAY(POINT(1, 2), CAST(PI() AS FLOAT), 1/3, TIMESTAMP'2038-01-19 03:14:07')",
];

/// A column's corners.
pub(super) fn corners() -> Vec<String> {
    CORNERS
        .iter()
        .map(|corner| if corner.starts_with('\'') { format!("CAST({corner} AS JSON)") } else { (*corner).to_owned() })
        .collect()
}

/// A document, as an expression.
pub(super) fn document(dice: &mut StdRng, depth: usize) -> String {
    match dice.random_range(0..if depth > 3 { 7 } else { 10 }) {
        0 => "NULL".to_owned(),
        1 => pick(dice, &["CAST('true' AS JSON)", "CAST('false' AS JSON)"]).to_owned(),
        2 => dice.random::<i64>().to_string(),
        3 => dice.random_range(0..100_000).to_string(),
        4 => format!("{:e}", f64::from_bits(dice.random::<u64>() & 0xbfff_ffff_ffff_ffff)),
        5 => literal(pick(dice, &["", "text", "😀 é", "\u{1}\"\\/\n", "a.b", "$"])),
        6 => {
            format!("CAST({}.{:03} AS DECIMAL(20,{}))", dice.random::<i32>(), dice.random_range(0..1000), dice.random_range(0..9))
        }
        7 => {
            let cells: Vec<String> = (0..dice.random_range(0..6)).map(|_| document(dice, depth + 1)).collect();
            format!("JSON_ARRAY({})", cells.join(", "))
        }
        _ => {
            let names = ["a", "b", "c", "name with \" quote", "é", "k.l", ""];
            let members: Vec<String> = (0..dice.random_range(0..6))
                .map(|_| format!("{}, {}", literal(pick(dice, &names)), document(dice, depth + 1)))
                .collect();
            format!("JSON_OBJECT({})", members.join(", "))
        }
    }
}

/// A path, some of which lead nowhere.
fn path(dice: &mut StdRng) -> String {
    let legs = [".a", ".b", ".c", "[0]", "[1]", "[7]", ".\"name with \\\" quote\"", ".\"é\"", ".\"k.l\"", ".new"];
    let legs: String = (0..dice.random_range(1..4)).map(|_| pick(dice, &legs)).collect();
    literal(&format!("${legs}"))
}

/// An expression that changes a part of the document in `column`.
pub(super) fn change(dice: &mut StdRng, column: &str) -> String {
    let function = pick(dice, &["JSON_SET", "JSON_REPLACE", "JSON_REMOVE", "JSON_ARRAY_INSERT", "JSON_INSERT"]);
    match function {
        "JSON_REMOVE" => format!("JSON_REMOVE({column}, {})", path(dice)),
        "JSON_ARRAY_INSERT" => {
            let index = dice.random_range(0..3);
            format!("JSON_ARRAY_INSERT({column}, '$[{index}]', {})", document(dice, 2))
        }
        _ => {
            let changes: Vec<String> =
                (0..dice.random_range(1..4)).map(|_| format!("{}, {}", path(dice), document(dice, 2))).collect();
            format!("{function}({column}, {})", changes.join(", "))
        }
    }
}
