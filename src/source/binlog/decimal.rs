//! MySQL's packed DECIMAL to the text that MySQL prints.
//!
//! Nine digits in four bytes, what is left over in fewer; big-endian, the first bit inverted, all bits inverted for a negative
//! number. The bytes of a number sort as it does; that is what the format is for.

use super::event::Malformed;

const DIGITS_PER_WORD: usize = 9;
/// Bytes that hold so many left-over digits.
const BYTES_OF_DIGITS: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// Powers of ten, up to that of a word.
const POWERS: [u32; 10] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
/// Bytes of DECIMAL(65, …) at most.
const BYTES_MAX: usize = 36;

fn bytes_of_digits(digits: usize) -> usize {
    BYTES_OF_DIGITS.get(digits).copied().unwrap_or(4)
}

/// Bytes of a packed number; None for a precision and scale that MySQL does not have.
pub(super) fn packed_bytes(precision: u8, scale: u8) -> Option<usize> {
    if precision == 0 || precision > 81 || scale > precision || scale > 30 {
        return None;
    }
    let (whole, fraction) = (usize::from(precision - scale), usize::from(scale));
    let part = |digits: usize| digits / DIGITS_PER_WORD * 4 + bytes_of_digits(digits % DIGITS_PER_WORD);
    Some(part(whole) + part(fraction)).filter(|bytes| *bytes <= BYTES_MAX)
}

/// Appends the number as MySQL prints it.
pub(super) fn write_text(packed: &[u8], precision: u8, scale: u8, out: &mut String) -> Result<(), Malformed> {
    if packed_bytes(precision, scale) != Some(packed.len()) {
        return Err(Malformed(format!("DECIMAL({precision},{scale}) in {} bytes", packed.len())));
    }
    let mut bytes = [0; BYTES_MAX];
    let bytes = bytes.get_mut(..packed.len()).ok_or_else(|| Malformed::new("DECIMAL is too long"))?;
    bytes.copy_from_slice(packed);
    let Some(first) = bytes.first_mut() else { return Err(Malformed::new("DECIMAL without bytes")) };
    let negative = *first & 0x80 == 0;
    *first ^= 0x80;
    if negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let start = out.len();
    if negative {
        out.push('-');
    }
    let (whole, fraction) = (usize::from(precision - scale), usize::from(scale));
    let mut rest: &[u8] = bytes;
    let mut is_zero = true;
    let mut is_printing = false;
    let head = whole % DIGITS_PER_WORD;
    for digits in std::iter::once(head).chain(std::iter::repeat_n(DIGITS_PER_WORD, whole / DIGITS_PER_WORD)) {
        let word = take_word(&mut rest, digits)?;
        if is_printing {
            push_padded(word, digits, out);
        } else if word != 0 {
            is_printing = true;
            out.push_str(itoa::Buffer::new().format(word));
        }
    }
    is_zero &= !is_printing;
    if !is_printing {
        out.push('0');
    }
    if fraction > 0 {
        out.push('.');
        let tail = fraction % DIGITS_PER_WORD;
        for digits in std::iter::repeat_n(DIGITS_PER_WORD, fraction / DIGITS_PER_WORD).chain((tail > 0).then_some(tail)) {
            let word = take_word(&mut rest, digits)?;
            is_zero &= word == 0;
            push_padded(word, digits, out);
        }
    }
    if negative && is_zero {
        out.remove(start);
    }
    Ok(())
}

fn take_word(rest: &mut &[u8], digits: usize) -> Result<u32, Malformed> {
    let (bytes, behind) = rest
        .split_at_checked(if digits == DIGITS_PER_WORD { 4 } else { bytes_of_digits(digits) })
        .ok_or_else(|| Malformed::new("DECIMAL ends too early"))?;
    *rest = behind;
    let word = bytes.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
    if POWERS.get(digits).is_none_or(|power| word >= *power) {
        return Err(Malformed::new("DECIMAL holds a group that is no decimal number"));
    }
    Ok(word)
}

fn push_padded(word: u32, digits: usize, out: &mut String) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(word);
    const ZEROS: &str = "000000000";
    out.push_str(ZEROS.get(..digits.saturating_sub(text.len())).unwrap_or_default());
    out.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(packed: &[u8], precision: u8, scale: u8) -> String {
        let mut out = String::new();
        write_text(packed, precision, scale, &mut out).unwrap();
        out
    }

    #[test]
    fn numbers_print_as_mysql_prints_them() {
        // MySQL's own example: 1234567890.1234 and its negative as DECIMAL(14,4).
        assert_eq!(text(&[0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2], 14, 4), "1234567890.1234");
        assert_eq!(text(&[0x7e, 0xf2, 0x04, 0xc7, 0x2d, 0xfb, 0x2d], 14, 4), "-1234567890.1234");
        assert_eq!(text(&[0x80, 0x05], 4, 2), "0.05");
        assert_eq!(text(&[0x80], 2, 0), "0");
        assert_eq!(text(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0], 18, 4), "0.0000");
        assert_eq!(text(&[0x80, 0, 0, 1, 0, 0, 0, 0], 18, 0), "1000000000");
    }

    #[test]
    fn nonsense_is_refused() {
        let mut out = String::new();
        assert!(write_text(&[0x80], 4, 2, &mut out).is_err());
        assert!(write_text(&[0xff, 0xff], 4, 2, &mut out).is_err());
        assert!(packed_bytes(0, 0).is_none() && packed_bytes(3, 4).is_none());
        assert_eq!(packed_bytes(65, 30), Some(30));
    }

    #[test]
    fn random_bytes_are_a_number_of_the_columns_digits_or_refused() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut roll = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let (mut read, mut refused) = (0, 0);
        for precision in 1..=65u8 {
            for scale in 0..=precision.min(30) {
                let length = packed_bytes(precision, scale).unwrap();
                for round in 0..8 {
                    // Most random words are no decimal ones: zeros between them let some through.
                    let mut packed: Vec<u8> =
                        (0..length + usize::from(round == 7)).map(|_| (roll() & roll() & roll()) as u8).collect();
                    packed[0] &= 0x7f;
                    if round % 2 == 0 {
                        packed[0] |= 0x80;
                    } else {
                        packed.iter_mut().for_each(|byte| *byte = !*byte);
                        packed[0] &= 0x7f;
                    }
                    let mut out = String::new();
                    if write_text(&packed, precision, scale, &mut out).is_err() {
                        refused += 1;
                        continue;
                    }
                    assert_ne!(round, 7, "a byte too many is taken");
                    read += 1;
                    let digits = out.strip_prefix('-').unwrap_or(&out);
                    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
                    assert_eq!(fraction.len(), usize::from(scale), "{out} of ({precision},{scale})");
                    assert!(whole == "0" || (!whole.starts_with('0') && whole.len() <= usize::from(precision - scale)), "{out}");
                    assert!(digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), "{out}");
                    let zero = digits.bytes().all(|byte| matches!(byte, b'0' | b'.'));
                    assert!(!(zero && out.starts_with('-')), "{out}");
                }
            }
        }
        assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
    }
}
