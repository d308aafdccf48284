//! Days of the calendar, and where in a source's history they end.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Cut;

/// Where a day of a source ends: all of its transactions start below `end`, and all that follow start at or behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayEnd {
    /// The zone whose calendar it is of, by its IANA name.
    pub zone: String,
    /// The day, as `2026-11-22`: days compare as their texts do.
    pub day: String,
    /// The place.
    pub end: Cut,
    /// The binlog file's name of `end`, for people.
    pub file_name: String,
}

/// The day of an instant in a zone. Instants come in runs of the same day, so the last day's bounds are kept.
#[derive(Debug, Clone)]
pub struct Days {
    zone: TimeZone,
    /// Microseconds since 1970-01-01 UTC: start inclusive, end exclusive.
    bounds: (i64, i64),
    day: Date,
}

impl Days {
    /// The calendar of a zone.
    pub fn in_zone(zone: TimeZone) -> Self {
        Self { zone, bounds: (0, 0), day: Date::default() }
    }

    /// The day of microseconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// An instant that no calendar has.
    pub fn day(&mut self, microseconds: i64) -> Result<Date, jiff::Error> {
        if !(self.bounds.0..self.bounds.1).contains(&microseconds) {
            let zoned = Timestamp::from_microsecond(microseconds)?.to_zoned(self.zone.clone());
            let start = zoned.start_of_day()?.timestamp().as_microsecond();
            let end = zoned.tomorrow()?.start_of_day()?.timestamp().as_microsecond();
            (self.bounds, self.day) = ((start, end), zoned.date());
        }
        Ok(self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_and_ends_in_its_zone() {
        let mut utc = Days::in_zone(TimeZone::UTC);
        let midnight = 1_795_305_600_000_000; // 2026-11-22T00:00:00Z
        let mut day = |at: i64| utc.day(at).unwrap().to_string();
        assert_eq!(day(midnight), "2026-11-22");
        assert_eq!(day(midnight - 1), "2026-11-21");
        assert_eq!(day(midnight + 86_400_000_000 - 1), "2026-11-22");
        let mut shanghai = Days::in_zone(TimeZone::get("Asia/Shanghai").unwrap());
        let mut day = |at: i64| shanghai.day(at).unwrap().to_string();
        assert_eq!(day(midnight - 8 * 3_600_000_000), "2026-11-22");
        assert_eq!(day(midnight + 16 * 3_600_000_000), "2026-11-23");
        assert!(utc.day(i64::MAX).is_err());
    }

    #[test]
    fn a_day_without_a_midnight_begins_when_it_begins() {
        // Clocks in Cairo went from 23:59:59 on 24 April 2025 to 01:00 on the 25th.
        let mut cairo = Days::in_zone(TimeZone::get("Africa/Cairo").unwrap());
        let begins = 1_745_532_000_000_000; // 2025-04-24T22:00:00Z
        assert_eq!(cairo.day(begins - 1).unwrap().to_string(), "2025-04-24");
        assert_eq!(cairo.day(begins).unwrap().to_string(), "2025-04-25");
    }
}
