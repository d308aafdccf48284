//! UUID, INET4 and INET6: their bytes to the text that the server shows.

use std::fmt::Write;

use crate::change::AddressKind;
use crate::source::binlog::event::Malformed;

/// Bytes of a kind. A row's image lacks the zeros at the end.
pub(in crate::source::binlog) fn width(kind: AddressKind) -> u16 {
    match kind {
        AddressKind::Uuid | AddressKind::Inet6 => 16,
        AddressKind::Inet4 => 4,
    }
}

/// Writes the text of an address.
pub(in crate::source::binlog) fn write_text(kind: AddressKind, bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let mut whole = [0; 16];
    let width = usize::from(width(kind));
    let place = whole.get_mut(..bytes.len()).filter(|_| bytes.len() <= width);
    place.ok_or_else(|| Malformed(format!("{} bytes in an address of {width}", bytes.len())))?.copy_from_slice(bytes);
    match kind {
        AddressKind::Uuid => write_uuid(&whole, out),
        AddressKind::Inet4 => write_inet4(&whole, out),
        AddressKind::Inet6 => write_inet6(&whole, out),
    }
    .map_err(|error| Malformed(error.to_string()))
}

fn write_uuid(bytes: &[u8; 16], out: &mut String) -> std::fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
        write!(out, "{dash}{byte:02x}")?;
    }
    Ok(())
}

fn write_inet4(bytes: &[u8], out: &mut String) -> std::fmt::Result {
    let mut dot = "";
    for byte in bytes.iter().take(4) {
        write!(out, "{dot}{byte}")?;
        dot = ".";
    }
    Ok(())
}

/// The first longest run of zero words, if only one, becomes `::`; what begins as an IPv4 address ends as one.
fn write_inet6(bytes: &[u8; 16], out: &mut String) -> std::fmt::Result {
    let mut words = [0u16; 8];
    for (word, pair) in words.iter_mut().zip(bytes.chunks_exact(2)) {
        *word = pair.iter().fold(0, |value, byte| value << 8 | u16::from(*byte));
    }
    let (gap, length) = longest_zeros(&words);
    let holds_inet4 = gap == 0 && (length == 6 || (length == 5 && words.get(5) == Some(&0xffff)));
    let mut index = 0;
    while index < 8 {
        if index == gap && length > 0 {
            out.push_str(if index == 0 { "::" } else { ":" });
            index += length;
        } else if index == 6 && holds_inet4 {
            return write_inet4(bytes.get(12..).unwrap_or_default(), out);
        } else {
            let colon = if index < 7 { ":" } else { "" };
            write!(out, "{:x}{colon}", words.get(index).copied().unwrap_or_default())?;
            index += 1;
        }
    }
    Ok(())
}

/// Where the first longest run of zeros starts, and its length.
fn longest_zeros(words: &[u16; 8]) -> (usize, usize) {
    let (mut longest, mut run) = ((0, 0), 0);
    for (index, word) in words.iter().enumerate() {
        run = if *word == 0 { run + 1 } else { 0 };
        if run > longest.1 {
            longest = (index + 1 - run, run);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: AddressKind, bytes: &[u8]) -> String {
        let mut out = String::new();
        write_text(kind, bytes, &mut out).unwrap();
        out
    }

    #[test]
    fn addresses_print_as_the_server_prints_them() {
        assert_eq!(text(AddressKind::Uuid, b"\x11\x22\x33\x44\x55\x66\x17"), "11223344-5566-1700-0000-000000000000");
        assert_eq!(text(AddressKind::Inet4, &[10, 1, 2]), "10.1.2.0");
        for (bytes, expected) in [
            (&[][..], "::"),
            (&[0x20, 1, 0x0d, 0xb8], "2001:db8::"),
            (&[0, 1, 0, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7], "1::2:3:4:5:6:7"),
            (&[0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7], "::1:2:3:4:5:6:7"),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4], "::ffff:1.2.3.4"),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], "::1.2.3.4"),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "::1"),
            (&[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1], "1::1:0:0:1:1"),
        ] {
            assert_eq!(text(AddressKind::Inet6, bytes), expected);
        }
        assert!(write_text(AddressKind::Inet4, &[1; 5], &mut String::new()).is_err());
    }
}
