//! MySQL's decimal text as an integer of units of the last digit, without allocation.

/// Reads text as [`crate::change::RowSink::decimal`] describes it: exactly `scale` digits behind the point, at most `precision` in all.
pub(crate) fn unscaled(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(point) => (digits.get(..point)?, digits.get(point + 1..)?),
        None => (digits, &digits[digits.len()..]),
    };
    if whole.is_empty() || fraction.len() != usize::from(scale) {
        return None;
    }
    let value = if whole.len() + fraction.len() <= NARROW_DIGITS {
        // Most decimals: arithmetic of 128 bits costs several times as much.
        i128::from(whole.iter().chain(fraction).try_fold(0_u64, |value, byte| Some(value * 10 + u64::from(digit(*byte)?)))?)
    } else {
        let wide = |value: i128, byte: &u8| value.checked_mul(10)?.checked_add(i128::from(digit(*byte)?));
        whole.iter().chain(fraction).try_fold(0, wide)?
    };
    let limit = POWERS.get(usize::from(precision))?;
    (value < *limit).then_some(if negative { -value } else { value })
}

/// Powers of ten: raising one anew for every cell costs more than the rest of it.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// So many digits fit into 64 bits whatever they are.
const NARROW_DIGITS: usize = 19;

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

#[cfg(test)]
mod tests {
    use super::unscaled;

    #[test]
    fn reads_what_mysql_prints_and_nothing_else() {
        assert_eq!(unscaled("-1.50", 5, 2), Some(-150));
        assert_eq!(unscaled("0.00", 5, 2), Some(0));
        assert_eq!(unscaled("18446744073709551615", 20, 0), Some(18_446_744_073_709_551_615));
        assert_eq!(unscaled("99999999999999999999999999999999999999", 38, 0), Some(10_i128.pow(38) - 1));
        for wrong in ["", "-", ".50", "1.5", "1.500", "1000.00", "1,50", "+1.50", "1..0", "1.-0", "--1.00"] {
            assert_eq!(unscaled(wrong, 5, 2), None, "{wrong:?}");
        }
        // Around the widest number that is read in 64 bits.
        for digits in 17..=21 {
            let text = "9".repeat(digits);
            assert_eq!(unscaled(&text, 38, 0), Some(10_i128.pow(digits as u32) - 1));
            assert_eq!(unscaled(&text, digits as u8 - 1, 0), None);
        }
    }
}
