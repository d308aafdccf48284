//! Dates and clocks as MySQL has them to counts of days and microseconds.

/// Days from 1970-01-01 to a day of the Gregorian calendar, years 0 to 9999; None for what is no day (`0000-00-00`,
/// `2024-00-15`, `2023-02-29`).
pub fn days(year: u32, month: u32, day: u32) -> Option<i32> {
    if year > 9999 || !(1..=12).contains(&month) || day == 0 || day > month_days(year, month) {
        return None;
    }
    // Counted in eras of 400 years that begin on the first of March, so that a leap day is the last of its year.
    let shifted = i64::from(year) - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((i64::from(month) + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}

fn month_days(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Microseconds of a time of day; None for what no clock shows.
pub fn clock(hour: u32, minute: u32, second: u32, microsecond: u32) -> Option<i64> {
    let valid = hour < 24 && minute < 60 && second < 60 && microsecond < 1_000_000;
    valid.then(|| ((i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second)) * 1_000_000 + i64::from(microsecond))
}

/// Microseconds of a day of the calendar and a time of that day.
pub fn wall_clock(days: i32, clock: i64) -> i64 {
    i64::from(days) * 86_400_000_000 + clock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_on_without_a_gap_and_only_for_days_there_are() {
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(9999, 12, 31), Some(2_932_896));
        assert_eq!(days(0, 1, 1), Some(-719_528));
        let mut expected = -719_528;
        for year in 0..=9999 {
            for month in 0..=13 {
                for day in 0..=32 {
                    if let Some(found) = days(year, month, day) {
                        assert_eq!(found, expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
        assert_eq!(expected, 2_932_897);
        for (year, month, day) in [(0, 0, 0), (2024, 0, 15), (2023, 2, 29), (1900, 2, 29), (10_000, 1, 1)] {
            assert_eq!(days(year, month, day), None);
        }
        assert_eq!(clock(23, 59, 59, 999_999), Some(86_399_999_999));
        assert_eq!(clock(24, 0, 0, 0), None);
    }
}
