//! Durations (`500ms`, `60s`, `24h`), sizes (`512MiB`, plain bytes) and ratios (`3x`), read and printed.

use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// What a value should have looked like.
pub(super) type Expected = &'static str;

/// A duration. Its unit must be given.
pub(super) fn duration(text: &str) -> Result<Duration, Expected> {
    let expected = "a duration such as 500ms, 60s, 5m, 24h or 7d";
    let (number, unit) = split(text).ok_or(expected)?;
    let (_, milliseconds) = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or(expected)?;
    number.checked_mul(*milliseconds).map(Duration::from_millis).ok_or("a duration that is not that long")
}

/// A size in bytes. Without a unit they are bytes; units are powers of 1024, and say so.
pub(super) fn size(text: &str) -> Result<u64, Expected> {
    let expected = "a size such as 64KiB, 512MiB, 20GiB or plain bytes";
    let (number, unit) = split(text).ok_or(expected)?;
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit).ok_or(expected)?;
    number.checked_mul(*bytes).ok_or("a size that is not that large")
}

/// So many times.
pub(super) fn ratio(text: &str) -> Result<f64, Expected> {
    let expected = "a ratio such as 3x or 1.5x";
    let number = text.strip_suffix('x').ok_or(expected)?;
    let plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    number.parse().ok().filter(|_| plain).ok_or(expected)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// A duration in its largest whole unit.
pub(super) fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let fits = DURATIONS.iter().find(|(_, unit)| milliseconds > 0 && milliseconds.is_multiple_of(u128::from(*unit)));
    fits.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", milliseconds / u128::from(*unit)))
}

/// A size in its largest whole unit.
pub(super) fn show_size(bytes: u64) -> String {
    let fits = SIZES.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    fits.map_or_else(|| "0B".to_owned(), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_printed_back() {
        for (text, milliseconds) in [("500ms", 500), ("90s", 90_000), ("1h", 3_600_000), ("7d", 604_800_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
            assert_eq!(show_duration(Duration::from_millis(milliseconds)), text);
        }
        for (text, bytes) in [("512MiB", 512 << 20), ("20GiB", 20 << 30), ("64KiB", 64 << 10), ("1001B", 1001)] {
            assert_eq!(size(text), Ok(bytes));
            assert_eq!(show_size(bytes), text);
        }
        assert_eq!((size("4711"), size("1 MiB"), ratio("3x"), ratio("0.5x")), (Ok(4711), Ok(1 << 20), Ok(3.0), Ok(0.5)));
    }

    #[test]
    fn what_could_be_meant_otherwise_is_refused() {
        for text in ["", "60", "s", "-1s", "1.5h", "1h30m", "99999999999999999999s", "1hour"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "MiB", "5MB", "5mib", "-1", "1.5GiB", "99999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        for text in ["3", "x", "-1x", "infx", "nanx", "1e3x", "1.2.3x"] {
            assert!(ratio(text).is_err(), "{text}");
        }
    }
}
