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
    let mut value: i128 = 0;
    for byte in whole.iter().chain(fraction) {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
    }
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (value < limit).then_some(if negative { -value } else { value })
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
    }
}
