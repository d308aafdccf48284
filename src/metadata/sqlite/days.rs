//! Where the days of a source ended.

use rusqlite::{OptionalExtension, Transaction};

use super::trouble::{Outcome, parsed};
use crate::change::DayEnd;

/// Writes down where a day ended, unless that is known.
pub(super) fn save(transaction: &Transaction<'_>, source: &str, day: &DayEnd) -> Outcome<()> {
    transaction.execute(
        "INSERT INTO days (source, zone, day, ended, ended_file) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        (source, &day.zone, &day.day, day.end.to_string(), &day.file_name),
    )?;
    Ok(())
}

/// The first day behind `after`.
pub(super) fn first_behind(transaction: &Transaction<'_>, source: &str, zone: &str, after: &str) -> Outcome<Option<DayEnd>> {
    let found: Option<(String, String, String)> = transaction
        .prepare_cached(
            "SELECT day, ended, ended_file FROM days WHERE source = ?1 AND zone = ?2 AND day > ?3 ORDER BY day LIMIT 1",
        )?
        .query_row((source, zone, after), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((day, ended, file_name)) = found else { return Ok(None) };
    let end = parsed(|| format!("source {source}: the end of {day} in {zone}"), &ended)?;
    Ok(Some(DayEnd { zone: zone.to_owned(), day, end, file_name }))
}
