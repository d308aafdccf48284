//! TIMESTAMP as Debezium's `ZonedTimestamp`: ISO-8601 in UTC with the digits of the column.

const DAY: i64 = 86_400_000_000;
const POWERS: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

/// Writes the instant with its quotes; false if it has more digits than the column, or a year that has not four digits.
pub(super) fn write_instant(out: &mut Vec<u8>, microseconds: i64, fraction: u8) -> bool {
    let Some(unit) = POWERS.get(usize::from(fraction)) else { return false };
    let (year, month, day) = civil(microseconds.div_euclid(DAY));
    if microseconds % unit != 0 || !(0..=9999).contains(&year) {
        return false;
    }
    let clock = microseconds.rem_euclid(DAY);
    let seconds = clock / 1_000_000;
    let mut text = *b"\"0000-00-00T00:00:00.000000";
    put(&mut text[1..5], year);
    put(&mut text[6..8], month);
    put(&mut text[9..11], day);
    put(&mut text[12..14], seconds / 3600);
    put(&mut text[15..17], seconds / 60 % 60);
    put(&mut text[18..20], seconds % 60);
    put(&mut text[21..27], clock % 1_000_000);
    let length = if fraction == 0 { 20 } else { 21 + usize::from(fraction) };
    out.extend_from_slice(&text[..length]);
    out.extend_from_slice(b"Z\"");
    true
}

/// Reads what [`write_instant`] writes, without the quotes.
pub(super) fn read_instant(text: &[u8], fraction: u8) -> Option<i64> {
    let unit = POWERS.get(usize::from(fraction))?;
    let length = if fraction == 0 { 20 } else { 21 + usize::from(fraction) };
    if text.len() != length || text.get(length - 1) != Some(&b'Z') {
        return None;
    }
    for (at, separator) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if text.get(at) != Some(&separator) {
            return None;
        }
    }
    let (year, month, day) = (digits(text, 0, 4)?, digits(text, 5, 7)?, digits(text, 8, 10)?);
    let (hour, minute, second) = (digits(text, 11, 13)?, digits(text, 14, 16)?, digits(text, 17, 19)?);
    let below = match fraction {
        0 => 0,
        _ if text.get(19) == Some(&b'.') => digits(text, 20, length - 1)? * unit,
        _ => return None,
    };
    if !exists(year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days(year, month, day) * DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000 + below)
}

fn put(place: &mut [u8], value: i64) {
    // Narrower than what it comes from: the parts of an instant all fit, and dividing them is cheaper.
    let mut value = value as u32;
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn digits(text: &[u8], from: usize, until: usize) -> Option<i64> {
    let mut value = 0;
    for byte in text.get(from..until)? {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some(value)
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Whether it is a day of the calendar.
fn exists(year: i64, month: i64, day: i64) -> bool {
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 0,
    };
    (1..=length).contains(&day)
}

/// The inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(microseconds: i64, fraction: u8) -> Option<String> {
        let mut out = Vec::new();
        write_instant(&mut out, microseconds, fraction).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn instants_have_the_digits_of_the_column() {
        assert_eq!(written(1_529_501_823_000_000, 0).unwrap(), "\"2018-06-20T13:37:03Z\"");
        assert_eq!(written(1_529_501_823_120_000, 3).unwrap(), "\"2018-06-20T13:37:03.120Z\"");
        assert_eq!(written(1, 6).unwrap(), "\"1970-01-01T00:00:00.000001Z\"");
        assert_eq!(written(-1, 6).unwrap(), "\"1969-12-31T23:59:59.999999Z\"");
        assert_eq!(written(1, 5), None);
    }

    #[test]
    fn instants_read_back_and_agree_with_a_calendar() {
        for day in (-719_528_i64..2_932_896).step_by(13) {
            for (fraction, below) in [(0, 0), (1, 900_000), (6, 123_456)] {
                let microseconds = day * DAY + 86_399_000_000 + below;
                let text = written(microseconds, fraction).unwrap();
                let inner = text.trim_matches('"');
                assert_eq!(read_instant(inner.as_bytes(), fraction), Some(microseconds));
                assert_eq!(inner.parse::<jiff::Timestamp>().unwrap().as_microsecond(), microseconds);
            }
        }
    }

    #[test]
    fn days_that_do_not_exist_are_not_read() {
        for text in [
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01 00:00:00Z",
            "",
        ] {
            assert_eq!(read_instant(text.as_bytes(), 0), None, "{text}");
        }
    }
}
