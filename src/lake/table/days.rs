//! Days of the calendar as changelog tables are cut by them: `dt=2026-11-22`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::lake::columns::Shape;
use crate::lake::{Error, Result};

/// Tells the day of an instant; instants come in runs of the same day, so the last day's bounds are kept.
#[derive(Debug, Clone)]
pub(crate) struct Days {
    zone: TimeZone,
    table: String,
    /// Microseconds: start inclusive, end exclusive.
    bounds: (i64, i64),
    day: String,
}

impl Days {
    /// The days of a table.
    pub(crate) fn of(shape: &Shape) -> Self {
        Self::in_zone(shape.zone().cloned().unwrap_or(TimeZone::UTC), shape.table().to_owned())
    }

    fn in_zone(zone: TimeZone, table: String) -> Self {
        Self { zone, table, bounds: (0, 0), day: String::new() }
    }

    /// The day, as `2026-11-22`, of microseconds since 1970-01-01 UTC.
    pub(crate) fn day(&mut self, microseconds: i64) -> Result<&str> {
        if !(self.bounds.0..self.bounds.1).contains(&microseconds) {
            let (bounds, day) = self.look_up(microseconds).map_err(|error| Error::Value {
                table: self.table.clone(),
                reason: format!("no day of the calendar at {microseconds} us: {error}"),
                remedy: "look at the source's clock".to_owned(),
            })?;
            self.bounds = bounds;
            self.day = day;
        }
        Ok(&self.day)
    }

    fn look_up(&self, microseconds: i64) -> std::result::Result<((i64, i64), String), jiff::Error> {
        let zoned = Timestamp::from_microsecond(microseconds)?.to_zoned(self.zone.clone());
        let start = zoned.start_of_day()?.timestamp().as_microsecond();
        let end = zoned.tomorrow()?.start_of_day()?.timestamp().as_microsecond();
        Ok(((start, end), zoned.date().to_string()))
    }
}

/// The directory of a day.
pub(crate) fn directory(day: &str) -> String {
    format!("dt={day}")
}

/// The day that a path lies in.
pub(crate) fn of_path(path: &str) -> Option<&str> {
    path.split('/').find_map(|part| part.strip_prefix("dt="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_and_ends_in_its_zone() {
        let mut utc = Days::in_zone(TimeZone::UTC, String::new());
        let midnight = 1_795_305_600_000_000; // 2026-11-22T00:00:00Z
        assert_eq!(utc.day(midnight).unwrap(), "2026-11-22");
        assert_eq!(utc.day(midnight - 1).unwrap(), "2026-11-21");
        assert_eq!(utc.day(midnight + 86_400_000_000 - 1).unwrap(), "2026-11-22");
        let mut shanghai = Days::in_zone(TimeZone::get("Asia/Shanghai").unwrap(), String::new());
        assert_eq!(shanghai.day(midnight - 8 * 3_600_000_000).unwrap(), "2026-11-22");
        assert_eq!(shanghai.day(midnight + 16 * 3_600_000_000).unwrap(), "2026-11-23");
        assert_eq!(of_path("g0001/dt=2026-11-22/s1-t1-x/part-0000.parquet"), Some("2026-11-22"));
    }
}
