//! Where the days of a source end, as the stream goes by.
//!
//! A day ends before the first transaction that the server committed on a later one: one place of the history for all tables. It is saved
//! with a `published` that has this very transaction below it, in the same write. So nobody who reads `published` and then the days commits
//! past an end without knowing of it; and a day whose end is known never ends elsewhere, on another server either: all that lies
//! below the end is published, and what comes next is told from it by its place, whatever the new server calls it. What was noted
//! and not saved is found again by the next run: it starts from the time of the last transaction that was published.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::super::{Error, Result};
use crate::change::{BinlogPosition, Cut, DayEnd, Days};
use crate::metadata::{Published, SourceState};
use crate::source::Checkpoint;

/// Days that one transaction may end: a source may have been quiet for long. A clock that is wrong by more than that ends no more.
const ENDED_AT_ONCE: usize = 366;

/// See the module.
pub(super) struct DayEnds {
    zone: String,
    days: Days,
    /// The day of the latest transaction; None before the first.
    today: Option<Date>,
    /// Behind all that has passed, and before what comes next; with the binlog file's name.
    here: (Cut, Arc<str>),
    ended: Vec<DayEnd>,
}

impl DayEnds {
    /// The stream goes on at a checkpoint. `state` is the source's as it was stored: where its place was lost, nobody has seen what lies between.
    ///
    /// # Errors
    /// A zone that is none.
    pub(super) fn behind(state: &SourceState, checkpoint: &Checkpoint, zone: &str) -> Result<Self> {
        let published = state.published.as_ref().filter(|_| state.checkpoint.is_some());
        let seen_us = published.map(|published| published.source_time_us).filter(|seen_us| *seen_us > 0);
        let here = (checkpoint.position, checkpoint.file_name.as_str().into());
        Self::new(zone, seen_us, here).map_err(|error| {
            let mistakes = vec![format!("its days cannot be those of `lake.datetime_zone` {zone}: {error}")];
            Error::List { source_name: state.name.clone(), mistakes }
        })
    }

    /// The stream goes on here, behind a transaction that was committed at this time, microseconds since 1970-01-01 UTC; None where nothing
    /// is known of what came before.
    fn new(zone: &str, seen_us: Option<i64>, here: (Cut, Arc<str>)) -> std::result::Result<Self, jiff::Error> {
        let mut days = Days::in_zone(TimeZone::get(zone)?);
        let today = seen_us.map(|seen_us| days.day(seen_us)).transpose()?;
        Ok(Self { zone: zone.to_owned(), days, today, here, ended: Vec::new() })
    }

    /// A transaction with captured changes has passed.
    pub(super) fn pass(&mut self, committed_us: i64, start: BinlogPosition, file_name: &Arc<str>) {
        self.end_before((Cut(start), file_name), committed_us);
        // Where it ended nobody has said yet: right behind its start is as good.
        self.here = (Cut(BinlogPosition { offset: start.offset + 1, ..start }), Arc::clone(file_name));
    }

    /// Others have passed, up to here, the last of them committed at this time. A day that they end ends before them all: a table that is
    /// captured from here on may already show what they did.
    pub(super) fn pass_others(&mut self, committed_us: Option<i64>, here: Cut, file_name: &str) {
        if let Some(committed_us) = committed_us {
            let (before, file_name) = self.here.clone();
            self.end_before((before, &file_name), committed_us);
        }
        if self.here.0 != here {
            self.here = (here, file_name.into());
        }
    }

    fn end_before(&mut self, (end, file_name): (Cut, &Arc<str>), committed_us: i64) {
        // No binlog holds a time of which this is not known.
        let Ok(day) = self.days.day(committed_us) else { return };
        let Some(today) = self.today else {
            self.today = Some(day);
            return;
        };
        if day <= today {
            return;
        }
        let mut days = today.series(jiff::ToSpan::days(1)).take_while(|ended| *ended < day);
        let ended: Vec<Date> = days.by_ref().take(ENDED_AT_ONCE).collect();
        if let Some(left_out) = days.next() {
            tracing::warn!(from = %left_out, until = %day, "more than a year of days has ended at once: look at the source's clock; these are not frozen");
        }
        tracing::info!(day = %today, days = ended.len(), %end, zone = self.zone, "a day of the source has ended");
        self.ended.extend(ended.iter().map(|day| DayEnd {
            zone: self.zone.clone(),
            day: day.to_string(),
            end,
            file_name: file_name.to_string(),
        }));
        self.today = Some(day);
    }

    /// What is saved with a `published` that has all of it below, and all that has passed. The next day ends there or later: a writer may
    /// commit at this very place before it hears of that.
    pub(super) fn take(&mut self, published: &Published) -> Vec<DayEnd> {
        self.here = (published.position, published.file_name.as_str().into());
        std::mem::take(&mut self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDNIGHT: i64 = 1_795_305_600_000_000; // 2026-11-22T00:00:00Z
    const DAY: i64 = 86_400_000_000;

    fn at(offset: u64) -> BinlogPosition {
        BinlogPosition { epoch: 0, file: 1, offset }
    }

    fn days(zone: &str, seen_us: Option<i64>) -> DayEnds {
        DayEnds::new(zone, seen_us, (Cut(at(4)), "binlog.000001".into())).unwrap()
    }

    fn pass(days: &mut DayEnds, committed_us: i64, offset: u64) {
        days.pass(committed_us, at(offset), &"binlog.000001".into());
    }

    fn published(offset: u64) -> Published {
        Published { position: Cut(at(offset)), file_name: "binlog.000001".to_owned(), source_time_us: 0 }
    }

    /// What has ended when `published` is saved at this place.
    fn ended(days: &mut DayEnds, offset: u64) -> Vec<(String, u64)> {
        days.take(&published(offset)).into_iter().map(|day| (day.day, day.end.0.offset)).collect()
    }

    #[test]
    fn a_day_ends_before_the_first_transaction_of_a_later_one_and_only_once() {
        let mut days = days("UTC", Some(MIDNIGHT - 5));
        pass(&mut days, MIDNIGHT - 1, 10);
        assert_eq!(ended(&mut days, 20), []);
        pass(&mut days, MIDNIGHT, 20);
        pass(&mut days, MIDNIGHT - 1, 30);
        pass(&mut days, MIDNIGHT + 1, 40);
        assert_eq!(ended(&mut days, 50), [("2026-11-21".to_owned(), 20)]);
        pass(&mut days, MIDNIGHT + 3 * DAY, 50);
        let three = ["2026-11-22", "2026-11-23", "2026-11-24"].map(|day| (day.to_owned(), 50));
        assert_eq!(ended(&mut days, 60), three);
    }

    #[test]
    fn transactions_that_nobody_captures_end_a_day_before_the_first_of_them_and_behind_what_was_captured() {
        let mut days = days("UTC", Some(MIDNIGHT - 5));
        pass(&mut days, MIDNIGHT - 1, 10);
        days.pass_others(Some(MIDNIGHT), Cut(at(90)), "binlog.000001");
        assert_eq!(ended(&mut days, 90), [("2026-11-21".to_owned(), 11)]);
        days.pass_others(Some(MIDNIGHT + 1), Cut(at(95)), "binlog.000001");
        days.pass_others(None, Cut(at(99)), "binlog.000001");
        days.pass_others(Some(MIDNIGHT + DAY), Cut(at(200)), "binlog.000001");
        assert_eq!(ended(&mut days, 200), [("2026-11-22".to_owned(), 99)]);
    }

    #[test]
    fn a_day_ends_nowhere_below_what_was_published_without_it() {
        let mut days = days("UTC", Some(MIDNIGHT - 5));
        pass(&mut days, MIDNIGHT - 1, 10);
        assert_eq!(ended(&mut days, 38), []);
        days.pass_others(Some(MIDNIGHT), Cut(at(90)), "binlog.000001");
        assert_eq!(ended(&mut days, 90), [("2026-11-21".to_owned(), 38)]);
    }

    #[test]
    fn of_what_came_before_the_first_transaction_nothing_is_said() {
        let mut days = days("Asia/Shanghai", None);
        pass(&mut days, MIDNIGHT, 10);
        assert_eq!(ended(&mut days, 20), []);
        pass(&mut days, MIDNIGHT + DAY, 20);
        assert_eq!(ended(&mut days, 30), [("2026-11-22".to_owned(), 20)]);
    }

    #[test]
    fn a_zone_that_is_none_is_an_error() {
        assert!(DayEnds::new("Moon/Copernicus", None, (Cut(at(4)), "binlog.000001".into())).is_err());
    }

    #[test]
    fn a_clock_that_is_wrong_by_a_century_ends_a_year_at_most() {
        let mut days = days("UTC", Some(MIDNIGHT));
        pass(&mut days, MIDNIGHT + 36_500 * DAY, 10);
        assert_eq!(ended(&mut days, 20).len(), ENDED_AT_ONCE);
    }
}
