//! JSON strings: written with as few escapes as JSON allows, found again by the same rule.

/// Writes `text` as a JSON string with its quotes.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_to_escape(rest) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, tail)) = tail.split_first() else { break };
        write_escape(out, *byte);
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The first control character, quote or backslash. Nearly all text has none: 32 bytes a step, which the compiler turns into few
/// instructions as long as nothing in it may end the step early.
fn first_to_escape(bytes: &[u8]) -> Option<usize> {
    let must = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let strides = bytes.as_chunks::<32>().0;
    let plain = strides.iter().take_while(|stride| !stride.iter().fold(false, |any, byte| any | must(*byte))).count() * 32;
    first_in_words(bytes.get(plain..).unwrap_or_default()).map(|at| plain + at)
}

/// The same, eight bytes a step.
fn first_in_words(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(index * 8 + (marks.trailing_zeros() / 8) as usize);
        }
    }
    rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\').map(|at| words.len() * 8 + at)
}

/// The high bit of the lowest byte that must be escaped is set (bits above it may be wrong: a borrow only travels upwards).
fn marks(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGH;
    below(word, 0x20) | below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5c), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_what_a_json_parser_reads_back() {
        let mut every = String::new();
        for code in 0..0x3000_u32 {
            every.extend(char::from_u32(code));
        }
        every.push_str("\u{2028}\u{d7ff}\u{e000}\u{fffd}\u{ffff}\u{1f600}\u{10ffff}");
        for length in 0..80 {
            for text in [every.chars().skip(length * 37).take(length).collect::<String>(), format!("{}\"", "x".repeat(length))] {
                let mut out = Vec::new();
                write_string(&mut out, &text);
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            }
        }
        let mut out = Vec::new();
        write_string(&mut out, &every);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), every);
    }

    #[test]
    fn only_what_must_be_escaped_is() {
        let mut out = Vec::new();
        write_string(&mut out, "é/\u{7f}\u{1}\n\"\\");
        assert_eq!(out, "\"é/\u{7f}\\u0001\\n\\\"\\\\\"".as_bytes());
    }
}
