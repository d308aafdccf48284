//! Sources, `published`, and the ends of the change log's topics as of it.

use rusqlite::{OptionalExtension, Transaction};

use super::trouble::{Outcome, Trouble, loaded, parsed, stored};
use crate::change::{LogOffset, LogPlace, Term};
use crate::metadata::{Parked, Published, SourceState};

/// A source; None before it was first saved.
pub(super) fn load(transaction: &Transaction<'_>, name: &str) -> Outcome<Option<SourceState>> {
    type Columns = (i64, Option<String>, Option<String>, Option<String>, Option<bool>, Option<i64>);
    let columns: Option<Columns> = transaction
        .query_row(
            "SELECT epoch, checkpoint, stopped_reason, stopped_remedy, stopped_resumable, stopped_at_ms FROM sources WHERE name = ?1",
            [name],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)),
        )
        .optional()?;
    let Some((epoch, checkpoint, reason, remedy, resumable, at_ms)) = columns else {
        return Ok(None);
    };
    let stopped = match (reason, remedy, resumable, at_ms) {
        (None, ..) => None,
        (Some(reason), Some(remedy), Some(resumable), Some(at_ms)) => {
            let at_ms = loaded(|| format!("source {name}: stopped_at_ms"), at_ms)?;
            Some(Parked { reason, remedy, resumable, at_ms })
        }
        (Some(reason), ..) => {
            let reason = format!("stopped for {reason:?} without a remedy or a time");
            return Err(Trouble::Corrupt { what: format!("source {name}"), reason });
        }
    };
    Ok(Some(SourceState {
        name: name.to_owned(),
        checkpoint,
        published: load_published(transaction, name)?,
        epoch: loaded(|| format!("source {name}: epoch"), epoch)?,
        stopped,
    }))
}

fn load_published(transaction: &Transaction<'_>, name: &str) -> Outcome<Option<Published>> {
    type Columns = (Option<String>, Option<String>, Option<i64>);
    let columns: Option<Columns> = transaction
        .query_row("SELECT published, published_file, published_source_time_us FROM sources WHERE name = ?1", [name], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    match columns {
        None | Some((None, ..)) => Ok(None),
        Some((Some(position), Some(file_name), Some(source_time_us))) => {
            let position = parsed(|| format!("source {name}: published"), &position)?;
            Ok(Some(Published { position, file_name, source_time_us }))
        }
        Some((Some(position), ..)) => {
            let reason = format!("published is {position:?} without its file or time");
            Err(Trouble::Corrupt { what: format!("source {name}"), reason })
        }
    }
}

/// Inserts or replaces a source.
pub(super) fn save(transaction: &Transaction<'_>, state: &SourceState) -> Outcome<()> {
    let (published, stopped) = (state.published.as_ref(), state.stopped.as_ref());
    transaction.execute(
        "INSERT OR REPLACE INTO sources (name, epoch, checkpoint, published, published_file, published_source_time_us,
           stopped_reason, stopped_remedy, stopped_resumable, stopped_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        (
            &state.name,
            state.epoch,
            &state.checkpoint,
            published.map(|published| published.position.to_string()),
            published.map(|published| &published.file_name),
            published.map(|published| published.source_time_us),
            stopped.map(|stopped| &stopped.reason),
            stopped.map(|stopped| &stopped.remedy),
            stopped.map(|stopped| stopped.resumable),
            stopped.map(|stopped| stored(stopped.at_ms)).transpose()?,
        ),
    )?;
    Ok(())
}

/// Why a source stands still, or that it goes on.
pub(super) fn save_stopped(transaction: &Transaction<'_>, source: &str, stopped: Option<&Parked>) -> Outcome<()> {
    transaction.execute(
        "UPDATE sources SET stopped_reason = ?2, stopped_remedy = ?3, stopped_resumable = ?4, stopped_at_ms = ?5 WHERE name = ?1",
        (
            source,
            stopped.map(|stopped| &stopped.reason),
            stopped.map(|stopped| &stopped.remedy),
            stopped.map(|stopped| stopped.resumable),
            stopped.map(|stopped| stored(stopped.at_ms)).transpose()?,
        ),
    )?;
    Ok(())
}

/// Saves checkpoint and `published` of a known source. Its epoch follows `published` upwards.
pub(super) fn save_published(
    transaction: &Transaction<'_>,
    source: &str,
    checkpoint: &str,
    published: &Published,
) -> Outcome<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE sources SET checkpoint = ?2, published = ?3, published_file = ?4, published_source_time_us = ?5,
           epoch = max(epoch, ?6) WHERE name = ?1",
    )?;
    let position = published.position;
    let changed = statement.execute((
        source,
        checkpoint,
        position.to_string(),
        &published.file_name,
        published.source_time_us,
        position.0.epoch,
    ))?;
    match changed {
        1 => Ok(()),
        _ => Err(Trouble::Refused(format!("source {source} was never saved"))),
    }
}

/// Saves the ends of one topic, a row per partition.
pub(super) fn save_ends(transaction: &Transaction<'_>, source: &str, topic: &str, ends: &[LogPlace]) -> Outcome<()> {
    transaction.prepare_cached("DELETE FROM topic_ends WHERE source = ?1 AND topic = ?2 AND partition >= ?3")?.execute((
        source,
        topic,
        stored(ends.len() as u64)?,
    ))?;
    let mut statement = transaction.prepare_cached(
        "INSERT OR REPLACE INTO topic_ends (source, topic, partition, end_offset, last, term) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (partition, end) in ends.iter().enumerate() {
        let last = end.last.map(|last| last.to_string());
        statement.execute((source, topic, stored(partition as u64)?, stored(end.offset.0)?, last, stored(end.term.0)?))?;
    }
    Ok(())
}

/// `published` with the topic's ends as of it.
pub(super) fn published(transaction: &Transaction<'_>, source: &str, topic: &str) -> Outcome<Option<(Published, Vec<LogPlace>)>> {
    let Some(published) = load_published(transaction, source)? else {
        return Ok(None);
    };
    let mut statement = transaction.prepare_cached(
        "SELECT partition, end_offset, last, term FROM topic_ends WHERE source = ?1 AND topic = ?2 ORDER BY partition",
    )?;
    let mut rows = statement.query((source, topic))?;
    let mut ends = Vec::new();
    while let Some(row) = rows.next()? {
        let what = || format!("topic_ends of {topic}");
        let partition: usize = loaded(what, row.get(0)?)?;
        if partition != ends.len() {
            return Err(Trouble::Corrupt { what: what(), reason: format!("partition {} is missing", ends.len()) });
        }
        let last: Option<String> = row.get(2)?;
        ends.push(LogPlace {
            offset: LogOffset(loaded(what, row.get(1)?)?),
            last: last.map(|last| parsed(what, &last)).transpose()?,
            term: Term(loaded(what, row.get(3)?)?),
        });
    }
    Ok(Some((published, ends)))
}
