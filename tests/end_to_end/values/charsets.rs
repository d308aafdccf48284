//! Every character of every character set that the server has, through both ways, against the server's own conversion.

use mysql_async::prelude::Queryable;

use super::setups::PLAIN;
use crate::equality;

/// Sets of one character a code point: every sequence of bytes is reached from its code point.
const UNICODE: &[&str] = &["utf8mb4", "utf8mb3", "ucs2", "utf16", "utf16le", "utf32"];
/// Sets that hold characters beyond the basic plane.
const WIDE: &[&str] = &["utf8mb4", "utf16", "utf16le", "utf32", "gb18030"];
/// Characters in a row.
const BLOCK: u32 = 256;
/// Added to the ids of rows that come by the stream.
const STREAMED: u32 = 100_000_000;

/// Rows made of every code point that the set can store.
fn of_code_points(charset: &str) -> String {
    let bound = if WIDE.contains(&charset) { 0x11_0000 } else { 0x1_0000 };
    // Where a set has bytes that mean nothing, the server shows them as U+FFFD, and stores that as such bytes: they are no text.
    let nothing = if UNICODE.contains(&charset) || charset == "gb18030" { "" } else { " AND i <> 0xFFFD" };
    format!(
        "INSERT INTO charsets.{charset} SELECT i DIV {BLOCK}, GROUP_CONCAT(CONVERT(u USING {charset}) ORDER BY i SEPARATOR '') \
         FROM charsets.points WHERE i < {bound} AND u IS NOT NULL{nothing} \
         AND CAST(CONVERT(CONVERT(u USING {charset}) USING utf32) AS BINARY) = CAST(u AS BINARY) GROUP BY i DIV {BLOCK}"
    )
}

/// Rows made of every sequence of bytes from `first` on that is one character: some code points have several.
fn of_bytes(charset: &str, first: u32, count: u32) -> String {
    let bytes = format!("CHAR({first} + i USING binary)");
    let text = format!("CONVERT({bytes} USING {charset})");
    let shown = format!("CONVERT({text} USING utf8mb4)");
    format!(
        "INSERT INTO charsets.{charset} SELECT {} + i DIV {BLOCK}, GROUP_CONCAT({text} ORDER BY i SEPARATOR '') FROM charsets.points \
         WHERE i < {count} AND {text} IS NOT NULL AND CHAR_LENGTH({text}) = 1 AND CHAR_LENGTH({shown}) = 1 \
         AND (HEX({shown}) NOT IN ('3F', 'EFBFBD') OR {bytes} = '?') GROUP BY i DIV {BLOCK}",
        10_000_000 + first / BLOCK
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_character_of_every_set_is_the_servers_by_both_ways() {
    let server = PLAIN.server();
    server.create_database("charsets").await;
    let mut connection = server.connect().await;
    // The table of code points is the test's own: it needs no binlog.
    for statement in [
        "SET SESSION sql_mode = '', sql_log_bin = OFF, cte_max_recursion_depth = 2000000, group_concat_max_len = 1048576",
        "CREATE TABLE charsets.points (i INT UNSIGNED PRIMARY KEY, u CHAR(1) CHARACTER SET utf32 COLLATE utf32_bin NULL)",
        "INSERT INTO charsets.points WITH RECURSIVE n AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1114111) \
         SELECT i, IF(i BETWEEN 0xD800 AND 0xDFFF, NULL, CONVERT(UNHEX(LPAD(HEX(i), 8, '0')) USING utf32)) FROM n",
        "SET SESSION sql_log_bin = ON",
    ] {
        connection.query_drop(statement).await.unwrap();
    }
    let charsets: Vec<String> = connection
        .query("SELECT character_set_name FROM information_schema.character_sets WHERE character_set_name <> 'binary'")
        .await
        .unwrap();
    assert!(charsets.len() >= 40);
    for charset in &charsets {
        let create = format!(
            "CREATE TABLE charsets.{charset} (id INT UNSIGNED PRIMARY KEY, t MEDIUMTEXT CHARACTER SET {charset} NOT NULL)"
        );
        let mut statements = vec![create, of_code_points(charset)];
        if !UNICODE.contains(&charset.as_str()) {
            statements.push(of_bytes(charset, 0, 0x1_0000));
        }
        if charset == "ujis" || charset == "eucjpms" {
            statements.push(of_bytes(charset, 0x8f_8000, 0x8000));
        }
        for statement in statements {
            connection.query_drop(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let characters: Option<u64> =
            connection.query_first(format!("SELECT SUM(CHAR_LENGTH(t)) FROM charsets.{charset}")).await.unwrap();
        assert!(characters > Some(200), "{charset} has {characters:?} characters");
    }

    let names: Vec<String> = charsets.iter().map(|charset| format!("charsets.{charset}")).collect();
    let listed: Vec<String> = names.iter().map(|name| format!("{{table: {name}}}")).collect();
    let scene = PLAIN.scene(&listed);
    scene.catch_up();
    for name in &names {
        connection.query_drop(format!("INSERT INTO {name} SELECT id + {STREAMED}, t FROM {name}")).await.unwrap();
    }
    connection.disconnect().await.unwrap();
    scene.catch_up();
    equality::assert_equal(&scene, server, &names).await;
}
