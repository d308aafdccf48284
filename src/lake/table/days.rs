//! Days of the calendar as changelog tables are cut by them: `dt=2026-11-22`.

use jiff::tz::TimeZone;

use crate::change;
use crate::lake::columns::Shape;
use crate::lake::{Error, Result};

/// Tells the day of an instant.
#[derive(Debug, Clone)]
pub(crate) struct Days {
    days: change::Days,
    table: String,
    /// The last one, as text.
    day: (jiff::civil::Date, String),
}

impl Days {
    /// The days of a table.
    pub(crate) fn of(shape: &Shape) -> Self {
        let days = change::Days::in_zone(shape.zone().cloned().unwrap_or(TimeZone::UTC));
        Self { days, table: shape.table().to_owned(), day: Default::default() }
    }

    /// The day, as `2026-11-22`, of microseconds since 1970-01-01 UTC.
    pub(crate) fn day(&mut self, microseconds: i64) -> Result<&str> {
        let day = self.days.day(microseconds).map_err(|error| Error::Value {
            table: self.table.clone(),
            reason: format!("no day of the calendar at {microseconds} us: {error}"),
            remedy: "look at the source's clock".to_owned(),
        })?;
        if self.day.0 != day || self.day.1.is_empty() {
            self.day = (day, day.to_string());
        }
        Ok(&self.day.1)
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
    fn a_path_says_its_day() {
        assert_eq!(of_path("g0001/dt=2026-11-22/s1-t1-x/part-0000.parquet"), Some("2026-11-22"));
        assert_eq!(of_path("g0001/s1-t1-x/part-0000.parquet"), None);
    }
}
