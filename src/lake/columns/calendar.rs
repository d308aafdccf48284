//! Times and wall clocks: as MySQL prints them, and as instants.

use std::fmt::Write as _;

use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// The most bytes that the text of a TIME or DATETIME takes.
pub(crate) const TEXT_BYTES: usize = 32;

/// Text on the stack, for one cell.
#[derive(Debug, Default)]
pub(crate) struct CellText {
    bytes: [u8; TEXT_BYTES],
    length: usize,
}

impl CellText {
    pub(crate) fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

impl std::fmt::Write for CellText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn write_fraction(text: &mut CellText, microseconds: u64, fraction: u8) -> std::fmt::Result {
    match fraction {
        0 => Ok(()),
        digits => {
            let digits = usize::from(digits.min(6));
            let kept = microseconds / 10_u64.pow(6 - digits as u32);
            write!(text, ".{kept:0digits$}")
        }
    }
}

/// A TIME as MySQL prints it: `-838:59:59.000000` with `fraction` digits.
pub(crate) fn time_text(microseconds: i64, fraction: u8) -> Option<CellText> {
    let mut text = CellText::default();
    let sign = if microseconds < 0 { "-" } else { "" };
    let magnitude = microseconds.unsigned_abs();
    let seconds = magnitude / SECOND as u64;
    write!(text, "{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60).ok()?;
    write_fraction(&mut text, magnitude % SECOND as u64, fraction).ok()?;
    Some(text)
}

/// A wall clock, given as microseconds since 1970-01-01 00:00:00 on that clock. None outside the years -9999 to 9999.
fn wall_clock(microseconds: i64) -> Option<civil::DateTime> {
    let days = i32::try_from(microseconds.div_euclid(DAY)).ok()?;
    let within = microseconds.rem_euclid(DAY);
    let date = civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
    let second = within / SECOND;
    let time = civil::Time::new(
        i8::try_from(second / 3600).ok()?,
        i8::try_from(second / 60 % 60).ok()?,
        i8::try_from(second % 60).ok()?,
        i32::try_from(within % SECOND * 1000).ok()?,
    );
    Some(civil::DateTime::from_parts(date, time.ok()?))
}

/// A DATETIME as MySQL prints it, with `fraction` digits.
pub(crate) fn datetime_text(microseconds: i64, fraction: u8) -> Option<CellText> {
    let clock = wall_clock(microseconds)?;
    let mut text = CellText::default();
    let (date, time) = (clock.date(), clock.time());
    write!(
        text,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
    .ok()?;
    write_fraction(&mut text, microseconds.rem_euclid(SECOND) as u64, fraction).ok()?;
    Some(text)
}

/// The instant at which a wall clock in `zone` shows `microseconds`.
///
/// # Errors
/// What the zone does to that wall clock: a skipped one is no instant, a doubled one is two.
pub(crate) fn instant(microseconds: i64, zone: &TimeZone) -> Result<i64, &'static str> {
    let clock = wall_clock(microseconds).ok_or("is out of range")?;
    match zone.to_ambiguous_timestamp(clock).offset() {
        AmbiguousOffset::Unambiguous { offset } => {
            microseconds.checked_sub(i64::from(offset.seconds()) * SECOND).ok_or("is out of range")
        }
        AmbiguousOffset::Gap { .. } => Err("is skipped"),
        AmbiguousOffset::Fold { .. } => Err("happens twice"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(year: i16, month: i8, day: i8, hour: i8, minute: i8, second: i8, fraction: i64) -> i64 {
        let clock = civil::date(year, month, day).at(hour, minute, second, 0);
        let span = civil::date(1970, 1, 1).at(0, 0, 0, 0).duration_until(clock);
        span.as_micros() as i64 + fraction
    }

    #[test]
    fn times_print_as_in_mysql() {
        let print = |value, fraction| time_text(value, fraction).map(|text| text.as_str().to_owned());
        assert_eq!(print(-(838 * 3600 + 59 * 60 + 59) * SECOND, 6).as_deref(), Some("-838:59:59.000000"));
        assert_eq!(print(-1, 6).as_deref(), Some("-00:00:00.000001"));
        assert_eq!(print(5 * 3600 * SECOND + 120_000, 2).as_deref(), Some("05:00:00.12"));
        assert_eq!(print(0, 0).as_deref(), Some("00:00:00"));
    }

    #[test]
    fn wall_clocks_print_to_the_last_microsecond_of_the_year_9999() {
        let print = |value, fraction| datetime_text(value, fraction).map(|text| text.as_str().to_owned());
        assert_eq!(print(micros(9999, 12, 31, 23, 59, 59, 999_999), 6).as_deref(), Some("9999-12-31 23:59:59.999999"));
        assert_eq!(print(micros(1000, 1, 1, 0, 0, 0, 0), 0).as_deref(), Some("1000-01-01 00:00:00"));
        assert_eq!(print(-1, 3).as_deref(), Some("1969-12-31 23:59:59.999"));
    }

    #[test]
    fn a_zone_turns_wall_clocks_into_instants_and_names_those_it_cannot() {
        let shanghai = TimeZone::get("Asia/Shanghai").unwrap();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let noon = micros(2026, 11, 22, 12, 0, 0, 5);
        assert_eq!(instant(noon, &shanghai), Ok(noon - 8 * 3600 * SECOND));
        let last = micros(9999, 12, 31, 23, 59, 59, 999_999);
        assert_eq!(instant(last, &shanghai), Ok(last - 8 * 3600 * SECOND));
        let new_york = TimeZone::get("America/New_York").unwrap();
        assert_eq!(instant(last, &new_york), Ok(last + 5 * 3600 * SECOND));
        assert_eq!(instant(micros(2026, 3, 29, 2, 30, 0, 0), &berlin), Err("is skipped"));
        assert_eq!(instant(micros(2026, 10, 25, 2, 30, 0, 0), &berlin), Err("happens twice"));
        assert_eq!(instant(micros(1988, 7, 1, 0, 0, 0, 0), &shanghai), Ok(micros(1988, 6, 30, 15, 0, 0, 0)));
    }
}
