//! Every byte sequence against what a real server says of it.

use crate::change::Charset;
use crate::source::wire::tests::Server;

use super::{Decoder, supported};

fn decoder(name: &str) -> Decoder {
    Decoder::new(&Charset(name.to_owned())).unwrap()
}

fn decoded(name: &str, bytes: &[u8]) -> Option<String> {
    decoder(name).decode_into(bytes, &mut String::new()).ok().map(str::to_owned)
}

#[test]
fn ascii_is_borrowed_and_anything_else_is_written_aside() {
    let mut scratch = String::new();
    for name in ["utf8mb4", "utf8mb3", "ascii", "latin1", "gbk", "sjis", "gb18030"] {
        assert_eq!(decoder(name).decode_into(b"plain", &mut scratch).unwrap(), "plain");
        assert!(scratch.is_empty(), "{name}");
    }
    assert_eq!(decoder("latin1").decode_into(b"\x80\x93\x81", &mut scratch).unwrap(), "€“\u{81}");
    assert_eq!(decoded("gbk", b"a\xd6\xd0").unwrap(), "a中");
    assert_eq!(decoded("utf16", b"\xd8\x3d\xde\x00\x00a").unwrap(), "😀a");
    assert_eq!(decoded("utf16le", b"\x3d\xd8\x00\xde").unwrap(), "😀");
    assert_eq!(decoded("swe7", b"[").unwrap(), "Ä");
}

#[test]
fn what_is_no_character_is_an_error_with_its_place() {
    let wrong: &[(&str, &[u8])] = &[
        ("utf8mb4", b"ab\xff"),
        ("utf8mb3", b"ab\xf0\x9f\x98\x80"),
        ("ascii", b"ab\x80"),
        ("gbk", b"ab\xd6"),
        ("gbk", b"ab\x80"),
        ("cp1251", b"ab\x98"),
        ("gb18030", b"ab\x81\x30\x81"),
        ("ujis", b"ab\x8f\xa1"),
    ];
    for (name, bytes) in wrong {
        let error = decoder(name).decode_into(bytes, &mut String::new()).unwrap_err();
        assert_eq!((error.offset, error.charset.as_str()), (2, *name));
    }
    for (name, bytes) in [("ucs2", &b"\xd8\x00"[..]), ("ucs2", b"a"), ("utf16", b"\xd8\x00\x00a"), ("utf32", b"\0\x11\0\0")] {
        assert_eq!(decoded(name, bytes), None, "{name}");
    }
    assert!(!supported(&Charset("klingon".to_owned())));
}

/// Asks the server for every sequence of `first..=last`: None where it is malformed or not assigned.
async fn server_says(server: &Server, charset: &str, first: u32, last: u32) -> Vec<(Vec<u8>, Option<String>)> {
    let mut root = server.root().await;
    root.execute("SET SESSION cte_max_recursion_depth = 100000").await.unwrap();
    let sql = format!(
        "WITH RECURSIVE n AS (SELECT {first} AS i UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
         SELECT CHAR(i USING binary), CONVERT(CONVERT(CHAR(i USING binary) USING {charset}) USING utf8mb4) FROM n"
    );
    let rows = root.query_text(&sql).await.unwrap();
    rows.into_iter()
        .map(|mut row| {
            let text = row.pop().flatten().map(|text| String::from_utf8(text).unwrap());
            let bytes = row.pop().flatten().unwrap();
            // What it cannot convert, MySQL writes as a question mark, and in some 8-bit sets as U+FFFD.
            let marks = bytes.iter().filter(|byte| **byte == b'?').count();
            let lost =
                |text: &String| text.matches('?').count() > marks || text.contains('\u{fffd}') && !charset.starts_with(['u']);
            // And eucjpms drops half a character at the end without a word.
            let ascii = bytes.iter().take_while(|byte| **byte < 0x80).count();
            let half = |text: &String| charset == "eucjpms" && ascii < bytes.len() && text.chars().count() <= ascii;
            let text = text.filter(|text| !lost(text) && !half(text));
            (bytes, text)
        })
        .collect()
}

#[tokio::test]
async fn every_sequence_of_every_character_set_means_what_the_server_says() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    let rows = root.query_text("SELECT character_set_name FROM information_schema.character_sets").await.unwrap();
    let names: Vec<String> = rows.into_iter().map(|mut row| String::from_utf8(row.remove(0).unwrap()).unwrap()).collect();
    assert!(names.len() >= 41);
    for name in names.iter().filter(|name| *name != "binary") {
        assert!(supported(&Charset(name.clone())), "{name}");
        let decoder = decoder(name);
        let mut ranges = vec![(0, 0xff), (0x100, 0xffff)];
        if name == "ujis" || name == "eucjpms" {
            ranges.push((0x8f_8000, 0x8f_ffff));
        }
        // The server passes bytes of `ascii` on unseen; two of them may happen to be UTF-8.
        if name == "ascii" || super::single_byte::SINGLE_BYTE.iter().any(|set| set.name == name) {
            ranges.truncate(1);
        }
        // The server fills up half a character; a column never holds one.
        match name.as_str() {
            "ucs2" | "utf16" | "utf16le" => ranges = vec![(0x100, 0xffff)],
            "utf32" => ranges.clear(),
            _ => {}
        }
        let mut scratch = String::new();
        let mut wrong = Vec::new();
        for (first, last) in ranges {
            for (bytes, expected) in server_says(&server, name, first, last).await {
                let found = decoder.decode_into(&bytes, &mut scratch).ok();
                if found != expected.as_deref() {
                    wrong.push(format!("{bytes:02x?}: {found:?} and not {expected:?}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{name}: {} differ, e.g. {:?}", wrong.len(), &wrong[..wrong.len().min(8)]);
    }
}

#[tokio::test]
async fn every_code_point_of_the_unicode_sets_and_gb18030_comes_back() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    root.execute("SET SESSION cte_max_recursion_depth = 70000").await.unwrap();
    for name in ["utf8mb4", "utf8mb3", "ucs2", "utf16", "utf16le", "utf32", "gb18030"] {
        let (decoder, mut scratch) = (decoder(name), String::new());
        let planes = if matches!(name, "utf8mb3" | "ucs2") { 1 } else { 17 };
        for plane in 0..planes {
            let sql = format!(
                "WITH RECURSIVE n AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 65535) SELECT i + {plane} * 65536, \
                 CAST(CONVERT(CONVERT(UNHEX(LPAD(HEX(i + {plane} * 65536), 8, '0')) USING utf32) USING {name}) AS BINARY) FROM n"
            );
            for row in root.query_text(&sql).await.unwrap() {
                let code: u32 = String::from_utf8(row[0].clone().unwrap()).unwrap().parse().unwrap();
                let (Some(bytes), Some(expected)) = (&row[1], char::from_u32(code)) else { continue };
                let found = decoder.decode_into(bytes, &mut scratch).unwrap();
                assert!(found.chars().eq([expected]), "{name} U+{code:04X}: {found:?}");
            }
        }
    }
}
