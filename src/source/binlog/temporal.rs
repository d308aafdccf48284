//! Dates and times, as the binlog and JSON documents hold them, to numbers.
//!
//! The newer formats are big-endian with an offset that makes the bytes sort; a negative TIME's fraction counts downwards from
//! the next whole second. A date that is no day of the calendar is not a number: it is told apart, never repaired.

use super::event::Malformed;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A calendar date or none.
pub(super) type Moment = Option<i64>;

/// Days since 1970-01-01 of a day that exists.
pub(super) fn days(year: i64, month: i64, day: i64) -> Option<i32> {
    const LENGTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = LENGTHS.get(usize::try_from(month - 1).ok()?)? + i64::from(leap && month == 2);
    if !(1..=length).contains(&day) || !(0..=9999).contains(&year) {
        return None;
    }
    // Years from March, so that the leap day ends them; eras of 400 years.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    i32::try_from(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468).ok()
}

/// Microseconds of a wall clock, or None for a date that is no day.
pub(super) fn wall_clock(date: (i64, i64, i64), time: (i64, i64, i64), microseconds: i64) -> Result<Moment, Malformed> {
    let (hour, minute, second) = time;
    if !(0..24).contains(&hour)
        || !(0..60).contains(&minute)
        || !(0..60).contains(&second)
        || !(0..SECOND).contains(&microseconds)
    {
        return Err(Malformed(format!("the time of day {hour}:{minute}:{second}.{microseconds}")));
    }
    let of_day = ((hour * 60 + minute) * 60 + second) * SECOND + microseconds;
    Ok(days(date.0, date.1, date.2).map(|days| i64::from(days) * DAY + of_day))
}

/// Bytes of a fraction of so many digits.
pub(super) fn fraction_bytes(digits: u8) -> usize {
    usize::from(digits.min(6)).div_ceil(2)
}

fn big_endian(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |value, byte| value << 8 | i64::from(*byte))
}

/// Microseconds of one unit of a fraction in so many bytes.
fn fraction_unit(bytes: usize) -> i64 {
    match bytes {
        1 => 10_000,
        2 => 100,
        _ => 1,
    }
}

fn microseconds(fraction: &[u8]) -> i64 {
    big_endian(fraction) * fraction_unit(fraction.len())
}

/// DATE.
pub(super) fn date(bytes: [u8; 3]) -> Option<i32> {
    let value = i64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]));
    days(value >> 9, value >> 5 & 15, value & 31)
}

/// DATETIME(n).
pub(super) fn datetime2(bytes: &[u8]) -> Result<Moment, Malformed> {
    let (whole, fraction) = bytes.split_at_checked(5).ok_or_else(|| Malformed::new("DATETIME ends too early"))?;
    let value = big_endian(whole) - 0x80_0000_0000;
    if value < 0 {
        return Err(Malformed::new("a negative DATETIME"));
    }
    let months = value >> 22;
    wall_clock(
        (months / 13, months % 13, value >> 17 & 31),
        (value >> 12 & 31, value >> 6 & 63, value & 63),
        microseconds(fraction),
    )
}

/// DATETIME as servers before 5.6 wrote it.
pub(super) fn datetime_old(bytes: [u8; 8]) -> Result<Moment, Malformed> {
    let value = i64::try_from(u64::from_le_bytes(bytes)).map_err(|_| Malformed::new("DATETIME is too large"))?;
    let (date, time) = (value / 1_000_000, value % 1_000_000);
    wall_clock((date / 10_000, date / 100 % 100, date % 100), (time / 10_000, time / 100 % 100, time % 100), 0)
}

/// TIMESTAMP(n); None for `0000-00-00 00:00:00`.
pub(super) fn timestamp2(bytes: &[u8]) -> Result<Moment, Malformed> {
    let (whole, fraction) = bytes.split_at_checked(4).ok_or_else(|| Malformed::new("TIMESTAMP ends too early"))?;
    let value = big_endian(whole) * SECOND + microseconds(fraction);
    Ok((value != 0).then_some(value))
}

/// TIMESTAMP as servers before 5.6 wrote it.
pub(super) fn timestamp_old(bytes: [u8; 4]) -> Moment {
    let seconds = i64::from(u32::from_le_bytes(bytes));
    (seconds != 0).then_some(seconds * SECOND)
}

/// TIME(n).
pub(super) fn time2(bytes: &[u8]) -> Result<i64, Malformed> {
    let (_, fraction) = bytes.split_at_checked(3).ok_or_else(|| Malformed::new("TIME ends too early"))?;
    // One number over all bytes: the offset is a half of its range, and the fraction of a negative one comes out right.
    let bits = 8 * bytes.len() as u32;
    let value = big_endian(bytes) - (1i64 << (bits - 1));
    let magnitude = value.abs();
    let fraction_bits = 8 * fraction.len() as u32;
    let hms = magnitude >> fraction_bits;
    let units = magnitude & ((1i64 << fraction_bits) - 1);
    let microseconds = units * fraction_unit(fraction.len());
    let time = clock_time(hms >> 12 & 1023, hms >> 6 & 63, hms & 63, microseconds)?;
    Ok(if value < 0 { -time } else { time })
}

/// TIME as servers before 5.6 wrote it.
pub(super) fn time_old(bytes: [u8; 3]) -> Result<i64, Malformed> {
    let [low, middle, high] = bytes;
    let value = i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8);
    let magnitude = value.abs();
    let time = clock_time(magnitude / 10_000, magnitude / 100 % 100, magnitude % 100, 0)?;
    Ok(if value < 0 { -time } else { time })
}

fn clock_time(hour: i64, minute: i64, second: i64, microseconds: i64) -> Result<i64, Malformed> {
    if hour > 838 || minute > 59 || second > 59 || microseconds >= SECOND {
        return Err(Malformed(format!("the time {hour}:{minute}:{second}.{microseconds}")));
    }
    Ok(((hour * 60 + minute) * 60 + second) * SECOND + microseconds)
}

/// YEAR.
pub(super) fn year(byte: u8) -> i64 {
    if byte == 0 { 0 } else { 1900 + i64::from(byte) }
}

/// A date and time in a JSON document, in its parts: `(year, month, day)`, `(hour, minute, second)`, microseconds.
pub(super) fn packed_datetime(packed: i64) -> ((i64, i64, i64), (i64, i64, i64), i64) {
    let (value, microseconds) = (packed.abs() >> 24, packed.abs() & 0xff_ffff);
    let months = value >> 22;
    ((months / 13, months % 13, value >> 17 & 31), (value >> 12 & 31, value >> 6 & 63, value & 63), microseconds)
}

/// A TIME in a JSON document: negative, `(hour, minute, second)`, microseconds.
pub(super) fn packed_time(packed: i64) -> (bool, (i64, i64, i64), i64) {
    let magnitude = packed.checked_abs().unwrap_or(i64::MAX);
    let (value, microseconds) = (magnitude >> 24, magnitude & 0xff_ffff);
    (packed < 0, (value >> 12 & 1023, value >> 6 & 63, value & 63), microseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970_through_the_whole_calendar() {
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(1969, 12, 31), Some(-1));
        assert_eq!(days(2000, 2, 29), Some(11_016));
        assert_eq!(days(1000, 1, 1), Some(-354_285));
        assert_eq!(days(9999, 12, 31), Some(2_932_896));
        for nonsense in [(2023, 2, 29), (1900, 2, 29), (2024, 0, 1), (2024, 1, 0), (2024, 13, 1), (0, 0, 0)] {
            assert_eq!(days(nonsense.0, nonsense.1, nonsense.2), None, "{nonsense:?}");
        }
        let mut expected = days(1599, 12, 31).unwrap();
        for year in 1600..2100 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(count) = days(year, month, day) {
                        expected += 1;
                        assert_eq!(count, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn negative_times_keep_their_fraction() {
        // MySQL's own examples for TIME(2): -00:00:01.00, -00:00:00.99, -00:00:00.01.
        assert_eq!(time2(&[0x7f, 0xff, 0xff, 0x00]), Ok(-1_000_000));
        assert_eq!(time2(&[0x7f, 0xff, 0xff, 0x9d]), Ok(-990_000));
        assert_eq!(time2(&[0x7f, 0xff, 0xff, 0xff]), Ok(-10_000));
        assert_eq!(time2(&[0x80, 0x00, 0x00, 0x0a]), Ok(100_000));
        // 10:11:12 and its negative.
        assert_eq!(time_old([0xf8, 0x8a, 0x01]), Ok(36_672 * SECOND));
        assert_eq!(time_old([0x08, 0x75, 0xfe]), Ok(-36_672 * SECOND));
    }

    #[test]
    fn a_zero_date_is_no_number() {
        assert_eq!(datetime2(&[0x80, 0, 0, 0, 0]), Ok(None));
        assert_eq!(timestamp2(&[0, 0, 0, 0]), Ok(None));
        assert_eq!(date([0, 0, 0]), None);
        assert!(datetime2(&[0, 0, 0, 0, 0]).is_err());
    }
}
