//! Reads JSON text whose shape is known: each step says what must come next, and nothing is skipped or guessed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The text is not what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unexpected {
    /// Bytes into the text.
    pub(super) at: usize,
    /// What should have been there.
    pub(super) wanted: &'static str,
}

type Step<T> = std::result::Result<T, Unexpected>;

/// A place in a text, which is known to be UTF-8: to look at a record once costs less than to look at each of its strings.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, rest: text.as_bytes() }
    }

    /// Starts at `at` in `text`.
    pub(super) fn starting_at(text: &'a str, at: usize) -> Self {
        Self { text, rest: text.as_bytes().get(at..).unwrap_or_default() }
    }

    /// How many bytes lie behind.
    pub(super) fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// The failure at this place.
    pub(super) fn unexpected<T>(&self, wanted: &'static str) -> Step<T> {
        Err(Unexpected { at: self.at(), wanted })
    }

    /// Whether `literal` comes next; it is passed if so.
    #[inline]
    pub(super) fn take(&mut self, literal: &[u8]) -> bool {
        match self.rest.strip_prefix(literal) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Passes `literal`.
    #[inline]
    pub(super) fn expect(&mut self, literal: &[u8], wanted: &'static str) -> Step<()> {
        if self.take(literal) { Ok(()) } else { self.unexpected(wanted) }
    }

    /// The text from here on.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The text must be at its end.
    pub(super) fn end(&self) -> Step<()> {
        if self.rest.is_empty() { Ok(()) } else { self.unexpected("the end of the record") }
    }

    /// A number without sign, fraction or exponent.
    #[inline]
    pub(super) fn unsigned(&mut self) -> Step<u64> {
        let mut value: u64 = 0;
        let mut digits = 0;
        for byte in self.rest {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            match value.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit))) {
                Some(grown) => value = grown,
                None => return self.unexpected("a number of at most 64 bits"),
            }
            digits += 1;
        }
        if digits == 0 {
            return self.unexpected("a number");
        }
        self.rest = &self.rest[digits..];
        Ok(value)
    }

    /// A number with or without a minus sign.
    #[inline]
    pub(super) fn signed(&mut self) -> Step<i64> {
        let start = self.clone();
        let negative = self.take(b"-");
        let magnitude = self.unsigned()?;
        let value = if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
        value.map_or_else(|| start.unexpected("a number of at most 64 bits with its sign"), Ok)
    }

    /// A whole number of any size, which nobody needs.
    pub(super) fn digits(&mut self) -> Step<()> {
        self.take(b"-");
        let digits = self.rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.rest.len());
        if digits == 0 {
            return self.unexpected("a number");
        }
        self.rest = &self.rest[digits..];
        Ok(())
    }

    /// The text from here to where `later` stands.
    pub(super) fn text_until(&self, later: &Self) -> &'a [u8] {
        &self.rest[..self.rest.len() - later.rest.len()]
    }

    /// A number of any form that `T` reads.
    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Step<T> {
        let part_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest.iter().position(|byte| !part_of_number(byte)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(length);
        match std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
            Some(value) => {
                self.rest = rest;
                Ok(value)
            }
            None => self.unexpected("a number"),
        }
    }

    /// A string without escapes, as bytes between its quotes.
    #[inline]
    pub(super) fn plain(&mut self) -> Step<&'a [u8]> {
        let Some(inner) = self.rest.strip_prefix(b"\"") else { return self.unexpected("a string") };
        match memchr::memchr2(b'"', b'\\', inner) {
            Some(end) if inner[end] == b'"' => {
                self.rest = &inner[end + 1..];
                Ok(&inner[..end])
            }
            _ => self.unexpected("a string without escapes"),
        }
    }

    /// A string of hexadecimal digits, if a string comes next.
    pub(super) fn hexadecimal(&mut self) -> Step<Option<u32>> {
        if !self.rest.starts_with(b"\"") {
            return Ok(None);
        }
        let start = self.clone();
        let digits = std::str::from_utf8(self.plain()?).ok();
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(value) => Ok(Some(value)),
            None => start.unexpected("hexadecimal digits"),
        }
    }

    /// A string of base64; the bytes are in `scratch`.
    pub(super) fn base64<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Step<&'s [u8]> {
        let start = self.clone();
        let text = self.plain()?;
        scratch.clear();
        match STANDARD.decode_vec(text, scratch) {
            Ok(()) => Ok(scratch),
            Err(_) => start.unexpected("base64"),
        }
    }

    /// A string; it borrows from the text where it has no escapes, else from `scratch`.
    #[inline]
    pub(super) fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Step<&'s str>
    where
        'a: 's,
    {
        let start = self.clone();
        let Some(inner) = self.rest.strip_prefix(b"\"") else { return self.unexpected("a string") };
        let text = match memchr::memchr2(b'"', b'\\', inner) {
            Some(end) if inner[end] == b'"' => {
                let from = self.text.len() - inner.len();
                self.rest = &inner[end + 1..];
                self.text.get(from..from + end)
            }
            Some(_) => {
                self.rest = inner;
                self.unescape(scratch)?;
                std::str::from_utf8(scratch).ok()
            }
            None => return self.unexpected("a string that ends"),
        };
        text.map_or_else(|| start.unexpected("a string in UTF-8"), Ok)
    }

    /// The rest of a string whose opening quote was passed.
    fn unescape(&mut self, scratch: &mut Vec<u8>) -> Step<()> {
        scratch.clear();
        loop {
            let Some(at) = memchr::memchr2(b'"', b'\\', self.rest) else { return self.unexpected("a string that ends") };
            scratch.extend_from_slice(&self.rest[..at]);
            let special = self.rest[at];
            self.rest = &self.rest[at + 1..];
            if special == b'"' {
                return Ok(());
            }
            let Some((letter, rest)) = self.rest.split_first() else { return self.unexpected("an escape") };
            let byte = match letter {
                b'"' | b'\\' => *letter,
                b'b' => 0x08,
                b't' => 0x09,
                b'n' => 0x0a,
                b'f' => 0x0c,
                b'r' => 0x0d,
                b'u' => {
                    let code = rest.strip_prefix(b"00").and_then(|rest| rest.first_chunk::<2>());
                    let value = code.and_then(|[high, low]| Some(hex(*high)? * 16 + hex(*low)?));
                    let Some(value) = value.filter(u8::is_ascii) else {
                        return self.unexpected("an escape of a control character");
                    };
                    scratch.push(value);
                    self.rest = &rest[4..];
                    continue;
                }
                _ => return self.unexpected("an escape"),
            };
            scratch.push(byte);
            self.rest = rest;
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_refused() {
        assert_eq!(Scanner::new("18446744073709551615,").unsigned(), Ok(u64::MAX));
        assert!(Scanner::new("18446744073709551616").unsigned().is_err());
        assert_eq!(Scanner::new("-9223372036854775808").signed(), Ok(i64::MIN));
        assert!(Scanner::new("9223372036854775808").signed().is_err());
        assert!(Scanner::new("-9223372036854775809").signed().is_err());
        assert!(Scanner::new("-").signed().is_err());
        assert!(Scanner::new("").number::<f64>().is_err());
    }

    #[test]
    fn strings_that_are_not_ours_are_refused() {
        let mut scratch = Vec::new();
        for text in ["\"abc", "\"a\\", "\"a\\\"", "\"\\x\"", "\"\\u00\"", "\"\\u20ac\"", "\"\\u00ff\"", "x", ""] {
            assert!(Scanner::new(text).string(&mut scratch).is_err(), "{text}");
        }
        assert_eq!(Scanner::new("\"a\\u0001\\\\\\\"\\n\"").string(&mut scratch), Ok("a\u{1}\\\"\n"));
    }
}
