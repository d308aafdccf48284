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

/// A generator that needs no seed but a number: the same run on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

/// A value's type and bytes as MySQL writes them, with the text that it must print as.
fn value(dice: &mut Dice, depth: usize) -> (u8, Vec<u8>, String) {
    match dice.roll(if depth > 3 { 7 } else { 10 }) {
        0 => (0x04, vec![0], "null".to_owned()),
        1 => (0x05, vec![0xff, 0xff], "-1".to_owned()),
        2 => {
            let number = dice.roll(1 << 31) as u32;
            (0x08, number.to_le_bytes().to_vec(), number.to_string())
        }
        3 => (0x0b, 2.5f64.to_le_bytes().to_vec(), "2.5".to_owned()),
        4 => (0x09, i64::MIN.to_le_bytes().to_vec(), i64::MIN.to_string()),
        5 => {
            let text = "x".repeat(dice.roll(200));
            let length = text.len();
            let mut bytes = if length < 128 { vec![length as u8] } else { vec![length as u8 | 0x80, (length >> 7) as u8] };
            bytes.extend_from_slice(text.as_bytes());
            (0x0c, bytes, format!("\"{text}\""))
        }
        // DECIMAL(4,2) -1.50 and a TIME, as SQL values.
        6 if dice.roll(2) == 0 => (0x0f, vec![246, 4, 4, 2, 0x7e, 0xcd], "-1.50".to_owned()),
        6 => (0x0f, vec![11, 8, 0, 0, 0, 0, 0, 0, 0, 0], "\"00:00:00.000000\"".to_owned()),
        kind => container(dice, depth, kind == 7),
    }
}

fn container(dice: &mut Dice, depth: usize, object: bool) -> (u8, Vec<u8>, String) {
    let values: Vec<_> = (0..dice.roll(5)).map(|_| value(dice, depth + 1)).collect();
    let keys: Vec<String> = (0..values.len()).map(|index| format!("k{index}")).collect();
    let key_entries = if object { 4 * keys.len() } else { 0 };
    let mut at = 4 + key_entries + 3 * values.len();
    let (mut entries, mut tail) = (Vec::new(), Vec::new());
    if object {
        for key in &keys {
            entries.extend_from_slice(&(at as u16).to_le_bytes());
            entries.extend_from_slice(&(key.len() as u16).to_le_bytes());
            tail.extend_from_slice(key.as_bytes());
            at += key.len();
        }
    }
    for (kind, bytes, _) in &values {
        entries.push(*kind);
        if matches!(kind, 0x04 | 0x05) {
            entries.extend_from_slice(&[bytes[0], bytes.get(1).copied().unwrap_or(0)]);
        } else {
            entries.extend_from_slice(&(at as u16).to_le_bytes());
            tail.extend_from_slice(bytes);
            at += bytes.len();
        }
    }
    let mut bytes = (values.len() as u16).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(at as u16).to_le_bytes());
    bytes.extend_from_slice(&entries);
    bytes.extend_from_slice(&tail);
    let texts: Vec<String> = values
        .iter()
        .zip(&keys)
        .map(|((_, _, text), key)| if object { format!("\"{key}\": {text}") } else { text.clone() })
        .collect();
    let (open, close) = if object { ('{', '}') } else { ('[', ']') };
    (if object { 0x00 } else { 0x02 }, bytes, format!("{open}{}{close}", texts.join(", ")))
}

fn document(dice: &mut Dice) -> (Vec<u8>, String) {
    let (kind, bytes, text) = value(dice, 0);
    let mut document = vec![kind];
    document.extend_from_slice(&bytes);
    (document, text)
}

#[test]
fn random_documents_print_and_broken_ones_never_panic() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut refused) = (0, 0);
    let mut out = String::new();
    for _ in 0..4000 {
        let (whole, expected) = document(&mut dice);
        assert_eq!(text(&whole), expected, "{whole:02x?}");
        // Changes to a document: replace, insert and remove at a few paths.
        let mut changes = Vec::new();
        for _ in 0..dice.roll(3) {
            let kind = dice.roll(3);
            let path: &[u8] = [&b"$"[..], b".k0", b"[1]", b".k1[0].k0", b".\"k 2\""][dice.roll(5)];
            changes.push(kind as u8);
            changes.push(path.len() as u8);
            changes.extend_from_slice(path);
            if kind < 2 {
                let (part, _) = document(&mut dice);
                if part.len() > 250 {
                    changes.truncate(changes.len() - path.len() - 2);
                    continue;
                }
                changes.push(part.len() as u8);
                changes.extend_from_slice(&part);
            }
        }
        for _ in 0..8 {
            let (mut document, mut changes) = (whole.clone(), changes.clone());
            for bytes in [&mut document, &mut changes] {
                for _ in 0..dice.roll(3) {
                    if !bytes.is_empty() {
                        let place = dice.roll(bytes.len());
                        bytes[place] = dice.roll(256) as u8;
                    }
                }
                if dice.roll(8) == 0 {
                    bytes.truncate(dice.roll(bytes.len() + 1));
                }
            }
            out.clear();
            let printed = write_text(&document, &mut out);
            // What overlaps cannot print without end.
            assert!(out.len() <= 64 * document.len() + 4096, "{} bytes of {}", out.len(), document.len());
            out.clear();
            match (printed, apply(&document, &changes, &mut out)) {
                (Ok(()), Ok(())) => read += 1,
                _ => refused += 1,
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}
