//! Binary JSON prints as `SELECT` prints it.

use super::*;

fn text(document: &[u8]) -> String {
    let mut out = String::new();
    write_text(document, &mut out).unwrap();
    out
}

fn double(value: f64) -> String {
    let mut out = String::new();
    number::write_double(value, &mut out).unwrap();
    out
}

#[test]
fn doubles_print_as_mysql_prints_them() {
    for (value, expected) in [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e14, "100000000000000.0"),
        (1e15, "1e15"),
        (1e22, "1e22"),
        (1e-5, "0.00001"),
        (1.5e-15, "0.0000000000000015"),
        (1e-16, "1e-16"),
        (1.234_567_890_123_456_8e16, "1.2345678901234568e16"),
        (4_503_599_627_370_495.5, "4503599627370495.5"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e308"),
    ] {
        assert_eq!(double(value), expected);
    }
}

#[test]
fn an_object_prints_with_its_escapes() {
    // {"a": "x\u0001\"é", "bc": [1, null]}
    let array = [2, 0, 10, 0, 0x05, 1, 0, 0x04, 0, 0];
    let string = b"\x05x\x01\"\xc3\xa9";
    let head = 4 + 2 * 4 + 2 * 3;
    let mut object = vec![2, 0, 0, 0];
    let keys_at = head as u16;
    for (offset, length) in [(keys_at, 1u16), (keys_at + 1, 2)] {
        object.extend_from_slice(&offset.to_le_bytes());
        object.extend_from_slice(&length.to_le_bytes());
    }
    let string_at = keys_at + 3;
    object.push(0x0c);
    object.extend_from_slice(&string_at.to_le_bytes());
    object.push(0x02);
    object.extend_from_slice(&(string_at + string.len() as u16).to_le_bytes());
    object.extend_from_slice(b"abc");
    object.extend_from_slice(string);
    object.extend_from_slice(&array);
    let size = object.len() as u16;
    object[2..4].copy_from_slice(&size.to_le_bytes());
    object.insert(0, 0);
    assert_eq!(text(&object), "{\"a\": \"x\\u0001\\\"é\", \"bc\": [1, null]}");
    for end in 0..object.len() {
        let mut out = String::new();
        assert!(end == 0 || write_text(&object[..end], &mut out).is_err(), "{end}");
    }
}

#[test]
fn an_empty_value_is_the_literal_null() {
    assert_eq!(text(b""), "null");
}

#[test]
fn long_binary_values_keep_the_servers_line_breaks() {
    let mut document = vec![0x0f, 15, 58];
    document.extend_from_slice(&[0; 58]);
    assert_eq!(text(&document), format!("\"base64:type15:{}\\nAA==\"", "A".repeat(76)));
}
