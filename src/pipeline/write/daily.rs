//! The days of a mirror: what it held when a day of its source ended is kept as a day of `<table>_daily`.
//!
//! Why a day is exact: its end is one place of the source's history, saved with a `published` that lies behind it. The writer asks for days
//! *behind* its look at `published`, so it knows every end that lies below what it may take, and lets no batch go past the next one.
//! When a batch has come to that end, or nothing was left below it, the mirror holds what the source held there; it is frozen
//! before anything else is taken. A writer that dies in between finds the mirror where it was, and freezes it then.
//!
//! What lies before the mirror's position, or before its handoff, has no day: what the table held there nobody knows any more.

use crate::change::{Cut, DayEnd};
use crate::lake::TableWriter;

use super::super::Result;
use super::Write;

/// See the module.
pub(super) struct DailyTable {
    /// The last day that was frozen or has passed.
    after: Option<String>,
}

impl DailyTable {
    /// What is known of a table's days; None where none are kept.
    pub(super) async fn open(write: &Write, table: &dyn TableWriter) -> Result<Option<Self>> {
        Ok(if write.spec.daily { Some(Self { after: table.frozen().await? }) } else { None })
    }

    /// Whether a day has ended that was not frozen yet: for a mistake that is planted.
    pub(super) async fn has_next(&self, write: &Write) -> Result<bool> {
        let (source, zone) = (&write.spec.source, &write.limits.zone);
        Ok(write.rooms.metadata.day_end(source, zone, self.after.as_deref()).await?.is_some())
    }

    /// The next day that ends between two positions, both included.
    pub(super) async fn next(&mut self, write: &Write, first: Cut, last: Cut) -> Result<Option<DayEnd>> {
        let mut passed: Option<DayEnd> = None;
        let next = loop {
            let (source, zone) = (&write.spec.source, &write.limits.zone);
            let day = write.rooms.metadata.day_end(source, zone, self.after.as_deref()).await?;
            match day {
                Some(day) if day.end < first => {
                    self.after = Some(day.day.clone());
                    passed = Some(day);
                }
                day => break day.filter(|day| day.end <= last),
            }
        };
        if let Some(passed) = passed {
            let (table, generation) = (&write.spec.name, write.spec.generation);
            tracing::info!(%table, generation, day = passed.day, end = %passed.end, "no day up to this one: it ended before the table's position");
        }
        Ok(next)
    }

    /// Keeps what the table holds as this day.
    pub(super) async fn freeze(&mut self, write: &Write, table: &mut dyn TableWriter, day: DayEnd) -> Result<()> {
        if table.freeze(&day).await? {
            tracing::info!(table = %write.spec.name, day = day.day, end = %day.end, "a day is frozen");
        }
        self.after = Some(day.day);
        Ok(())
    }
}
