//! `status`: what the metadata store and the lake know, with the daemon up or down; the server is asked for its end if it answers.

use std::path::Path;
use std::time::Duration;

use binlake::change::{Cut, Dropped};
use binlake::coordinator::Form;
use binlake::coordinator::supervisor::describe;
use binlake::lake::{self, Committed, FrozenDay, TableSpec};
use binlake::metadata::{ChunkState, Parked, Phase, Published, SourceState, TableState};
use binlake::pipeline::{self, Board, TableKey, targets};
use binlake::source::{self, Checkpoint, Flavor, Holding, Sample};
use serde::Serialize;

use super::assemble::{Assembled, AssembledSource, Need};
use super::{Failed, Outcome, print, publication, writing};

/// How long the server may take to tell its end.
const ASK: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Report {
    daemon_running: bool,
    sources: Vec<SourceReport>,
}

#[derive(Serialize)]
pub(super) struct SourceReport {
    pub(super) name: String,
    pub(super) server_uuid: Option<String>,
    pub(super) flavor: Flavor,
    pub(super) position: Option<Place>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) runway_seconds: Option<f64>,
    #[serde(skip)]
    pub(super) lag_bytes: Option<u64>,
    #[serde(skip)]
    pub(super) answers: bool,
    pub(super) reason: Option<String>,
    pub(super) remedy: Option<String>,
    pub(super) tables: Vec<TableReport>,
}

#[derive(Serialize)]
pub(super) struct Place {
    epoch: u32,
    file: String,
    /// The number in the file's name.
    #[serde(skip)]
    pub(super) number: u64,
    pub(super) offset: u64,
    gtid: Option<String>,
}

#[derive(Serialize)]
pub(super) struct CommittedPlace {
    seq: u64,
    epoch: u32,
    file: String,
    offset: u64,
    gtid: Option<String>,
    source_time: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct Snapshot {
    chunks_done: u64,
    pub(super) chunks_total: u64,
    rows: u64,
}

/// The last day that was frozen.
#[derive(Serialize)]
pub(super) struct LastDay {
    day: String,
    rows: u64,
    bytes: u64,
}

#[derive(Serialize)]
pub(super) struct TableReport {
    pub(super) table: String,
    pub(super) into: String,
    pub(super) mode: String,
    pub(super) generation: u32,
    pub(super) phase: String,
    pub(super) reason: Option<String>,
    pub(super) remedy: Option<String>,
    /// What is not as the YAML has it though the table goes on, or is about to go wrong, with what helps.
    warnings: Vec<String>,
    pub(super) snapshot: Snapshot,
    pub(super) committed: Option<CommittedPlace>,
    pub(super) freshness_seconds: Option<f64>,
    pub(super) files: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) zero_dates: std::collections::BTreeMap<String, u64>,
    pub(super) dropped_records: Dropped,
    /// Records that are published and not in its last commit.
    #[serde(skip)]
    pub(super) waiting: u64,
    /// Its lake tables, by name.
    #[serde(skip)]
    pub(super) lake_tables: Vec<String>,
    /// What its last commits have cost.
    writing: Option<writing::Report>,
    /// The last day of its mirror; None where no day was frozen, or none are.
    daily: Option<LastDay>,
    /// What the metastore shows of its lake tables; empty where none is set.
    publications: Vec<publication::Report>,
}

/// Where a look at the lake tables comes from.
#[derive(Clone, Copy)]
pub(super) enum Eyes<'a> {
    /// The lake itself is read.
    Lake,
    /// The daemon's writers know; a table without one is not looked at.
    Board(&'a Board),
}

/// Prints the status.
pub(crate) async fn run(config: &Path, json: bool) -> Outcome {
    let rooms = Assembled::open(config, Need::Lake).await?;
    if json {
        print(&self::json(&rooms).await?)?;
    } else {
        print(&for_people(&report(&rooms).await?))?;
    }
    Ok(true)
}

/// The status as one line of JSON.
pub(super) async fn json(rooms: &Assembled) -> Result<String, Failed> {
    let text = serde_json::to_string(&report(rooms).await?).map_err(|error| Failed(error.to_string()))?;
    Ok(format!("{text}\n"))
}

async fn report(rooms: &Assembled) -> Result<Report, Failed> {
    let mut sources = Vec::new();
    for source in &rooms.sources {
        sources.push(source_report(rooms, source, Eyes::Lake).await?);
    }
    Ok(Report { daemon_running: rooms.daemon_is_running(), sources })
}

/// What is known of a source and its tables.
pub(super) async fn source_report(rooms: &Assembled, source: &AssembledSource, eyes: Eyes<'_>) -> Result<SourceReport, Failed> {
    let state = rooms.metadata.source(&source.name).await.map_err(|error| Failed::from_failure(&error))?;
    let checkpoint = state.as_ref().and_then(|state| state.checkpoint.as_deref()).map(serde_json::from_str::<Checkpoint>);
    let checkpoint = checkpoint.transpose().map_err(|error| Failed(format!("the checkpoint of {}: {error}", source.name)))?;
    let end = asked(source.source.flushed()).await;
    let holding = if end.is_some() { asked(source.source.holding()).await } else { None };
    let published = state.as_ref().and_then(|state| state.published.clone());
    let lag = lag_seconds(rooms.now_ms(), state.as_ref(), published.as_ref(), checkpoint.as_ref(), end.as_ref());
    let troubles = rooms.metadata.troubles(&source.name).await.map_err(|error| Failed::from_failure(&error))?;
    let mut tables = Vec::new();
    for table in rooms.metadata.tables(&source.name).await.map_err(|error| Failed::from_failure(&error))? {
        if table.listed {
            let of_table = |(name, generation, _): &&(_, u32, Parked)| (name, generation) == (&table.table, &table.generation);
            let trouble = troubles.iter().find(of_table).map(|(_, _, trouble)| trouble);
            tables.push(table_report(rooms, &table, trouble, lag, eyes).await?);
        }
    }
    let stopped = state.as_ref().and_then(|state| state.stopped.clone());
    let (lag_bytes, runway) = ahead(published.as_ref(), checkpoint.as_ref(), end.as_ref(), holding.as_ref(), lag);
    let answers = end.is_some();
    let server_uuid = checkpoint.as_ref().map(|checkpoint| checkpoint.server_uuid.clone()).or(end.map(|end| end.server_uuid));
    Ok(SourceReport {
        name: source.name.clone(),
        flavor: server_uuid.as_deref().map_or(Flavor::Mysql, Flavor::of),
        server_uuid,
        position: published.as_ref().map(|published| Place {
            epoch: published.position.0.epoch,
            file: published.file_name.clone(),
            number: published.position.0.file,
            offset: published.position.0.offset,
            gtid: checkpoint.and_then(|checkpoint| checkpoint.gtids).map(|gtids| gtids.to_string()),
        }),
        lag_seconds: lag,
        runway_seconds: runway.map(|runway| runway.as_secs_f64()),
        lag_bytes,
        answers,
        reason: stopped.as_ref().map(|stopped| stopped.reason.clone()),
        remedy: stopped.map(|stopped| stopped.remedy),
        tables,
    })
}

/// The server's answer, if it comes in time.
async fn asked<T>(question: impl Future<Output = source::Result<T>>) -> Option<T> {
    tokio::time::timeout(ASK, question).await.ok()?.ok()
}

/// Bytes that the server has and the change log has not, and how long at least the server keeps what is needed next. Both are known
/// only of the server that the stream is one of.
fn ahead(
    published: Option<&Published>,
    checkpoint: Option<&Checkpoint>,
    end: Option<&Sample>,
    holding: Option<&Holding>,
    lag: Option<f64>,
) -> (Option<u64>, Option<Duration>) {
    let (Some(published), Some(checkpoint), Some(end), Some(holding)) = (published, checkpoint, end, holding) else {
        return (None, None);
    };
    if end.server_uuid != checkpoint.server_uuid {
        return (None, None);
    }
    let place = published.position.0;
    let runway = lag.and_then(|lag| holding.runway(Duration::from_secs_f64(lag)));
    (holding.bytes_behind(place.file, place.offset), runway)
}

/// 0 when the server has nothing that is not in the change log; else the age of the last transaction that is.
fn lag_seconds(
    now_ms: u64,
    state: Option<&SourceState>,
    published: Option<&Published>,
    checkpoint: Option<&Checkpoint>,
    end: Option<&Sample>,
) -> Option<f64> {
    let (state, published) = (state?, published?);
    if let (Some(end), Some(checkpoint)) = (end, checkpoint)
        && end.server_uuid == checkpoint.server_uuid
        && end.cut(state.epoch) <= published.position
    {
        return Some(0.0);
    }
    (published.source_time_us > 0).then(|| age(now_ms, published.source_time_us))
}

fn age(now_ms: u64, time_us: i64) -> f64 {
    ((now_ms as f64) / 1e3 - (time_us as f64) / 1e6).max(0.0)
}

async fn table_report(
    rooms: &Assembled,
    table: &TableState,
    trouble: Option<&Parked>,
    lag: Option<f64>,
    eyes: Eyes<'_>,
) -> Result<TableReport, Failed> {
    let failure = |error: &binlake::metadata::Error| Failed::from_failure(error);
    let chunks = rooms.metadata.chunks(&table.source, &table.table, table.generation).await.map_err(|error| failure(&error))?;
    let specs = targets::targets(table);
    // A lake table that cannot be read is one table's matter: the others are shown all the same.
    let (committed, unreadable) = match specs.first() {
        Some(spec) => match seen(rooms, table, spec, eyes).await {
            Ok(committed) => (committed, None),
            Err(error) => (None, Some(pipeline::Error::from(error))),
        },
        None => (None, None),
    };
    let taken = taken(rooms, table, committed.as_ref()).await?;
    let point = committed.as_ref().and_then(|committed| committed.point.clone());
    let publications = match eyes {
        Eyes::Lake => publication::reports(rooms, &specs).await,
        Eyes::Board(_) => Vec::new(),
    };
    let shown = table.phase.parked().or(trouble).map(|parked| (parked.reason.clone(), parked.remedy.clone()));
    let (reason, remedy) = shown.or_else(|| unreadable.as_ref().map(describe)).unzip();
    let kept = rooms.form(table).kept_otherwise(table);
    let kept = kept.into_iter().map(|kept| format!("{kept}; {}", Form::remedy(table)));
    let (daily, unread) =
        last_day(rooms, specs.first(), eyes).await.map_or_else(|error| (None, Some(error.to_string())), |day| (day, None));
    let warnings = kept.chain(committed.as_ref().and_then(writing::warning)).chain(unread).collect();
    let phase = match (&table.phase, table.generation > 1 && committed.is_some()) {
        (Phase::Pending | Phase::Snapshotting | Phase::CatchingUp { .. }, true) => "rebuilding".to_owned(),
        (phase, _) => phase.to_string(),
    };
    Ok(TableReport {
        table: table.table.to_string(),
        into: specs.iter().map(|spec| spec.name.to_string()).collect::<Vec<_>>().join(", "),
        mode: table.mode.clone(),
        generation: table.generation,
        phase,
        reason,
        remedy,
        warnings,
        snapshot: snapshot(table, &chunks),
        freshness_seconds: committed.as_ref().and_then(|committed| freshness(rooms.now_ms(), committed, taken.is_all, lag)),
        files: committed.as_ref().map_or(0, |committed| committed.files),
        rows: committed.as_ref().map_or(0, |committed| committed.rows),
        bytes: committed.as_ref().map_or(0, |committed| committed.bytes),
        writing: committed.as_ref().map(writing::Report::of),
        daily,
        publications,
        waiting: taken.waiting,
        lake_tables: specs.iter().map(|spec| spec.name.to_string()).collect(),
        zero_dates: committed.as_ref().map(|committed| committed.zero_dates.clone()).unwrap_or_default(),
        dropped_records: point.as_ref().map(|point| point.dropped).unwrap_or_default(),
        committed: committed.zip(point).map(|(committed, point)| CommittedPlace {
            seq: committed.seq,
            epoch: point.position.0.epoch,
            file: point.file_name,
            offset: point.position.0.offset,
            gtid: point.gtid,
            source_time: (point.source_time_us > 0).then(|| point.source_time_us as f64 / 1e6),
        }),
    })
}

/// The last day of a mirror.
async fn last_day(rooms: &Assembled, spec: Option<&TableSpec>, eyes: Eyes<'_>) -> lake::Result<Option<LastDay>> {
    let Some(spec) = spec.filter(|spec| spec.daily && matches!(eyes, Eyes::Lake)) else { return Ok(None) };
    for day in rooms.lake.days(&spec.name).await?.iter().rev() {
        if let Some(FrozenDay { day, rows, bytes, .. }) = rooms.lake.day(&spec.name, day).await? {
            return Ok(Some(LastDay { day, rows, bytes }));
        }
    }
    Ok(None)
}

/// How old what readers see is, in seconds; None before there is anything.
fn freshness(now_ms: u64, committed: &Committed, covered: bool, lag: Option<f64>) -> Option<f64> {
    let point = committed.point.as_ref()?;
    match covered {
        true => lag,
        false if point.source_time_us > 0 => Some(age(now_ms, point.source_time_us)),
        // Of a snapshot without changes no transaction's time is known: it is this old at least.
        false => Some(now_ms.saturating_sub(committed.committed_ms) as f64 / 1e3),
    }
}

/// What readers see of a lake table.
async fn seen(rooms: &Assembled, table: &TableState, spec: &TableSpec, eyes: Eyes<'_>) -> lake::Result<Option<Committed>> {
    match eyes {
        Eyes::Lake => rooms.lake.published(&spec.name).await,
        Eyes::Board(board) => {
            let stand = board.stand(&spec.name.to_string(), &TableKey::of(table));
            Ok(stand.filter(|committed| committed.point.as_ref().is_some_and(|point| point.publish)))
        }
    }
}

/// How much a lake table has taken of what its topic holds below `published`.
#[derive(Default)]
struct Taken {
    is_all: bool,
    /// Records that it has not.
    waiting: u64,
}

async fn taken(rooms: &Assembled, table: &TableState, committed: Option<&Committed>) -> Result<Taken, Failed> {
    let Some(point) = committed.and_then(|committed| committed.point.as_ref()) else { return Ok(Taken::default()) };
    let known =
        rooms.metadata.published(None, &table.source, &table.topic).await.map_err(|error| Failed::from_failure(&error))?;
    let Some((published, ends)) = known else { return Ok(Taken::default()) };
    let passed = |cut: Cut| cut >= published.position;
    let waiting = point.offsets.iter().zip(&ends).map(|(offset, end)| end.offset.0.saturating_sub(offset.0)).sum();
    Ok(Taken { is_all: passed(point.position) || waiting == 0, waiting })
}

/// The table has taken everything that its topic holds below `published`.
pub(crate) async fn covered(rooms: &Assembled, table: &TableState, committed: Option<&Committed>) -> Result<bool, Failed> {
    Ok(taken(rooms, table, committed).await?.is_all)
}

fn snapshot(table: &TableState, chunks: &[ChunkState]) -> Snapshot {
    let done = chunks.iter().filter_map(|chunk| chunk.done.as_ref());
    let total = if table.planned_all { chunks.len() as u64 } else { chunks.len() as u64 + 1 };
    Snapshot { chunks_done: done.clone().count() as u64, chunks_total: total, rows: done.map(|done| done.rows).sum() }
}

fn for_people(report: &Report) -> String {
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} s"));
    let mut text = String::new();
    for source in &report.sources {
        let place =
            source.position.as_ref().map_or_else(|| "not started".to_owned(), |place| format!("{}:{}", place.file, place.offset));
        text.push_str(&format!("source {}  at {place}  lag {}", source.name, seconds(source.lag_seconds)));
        text.push_str(if report.daemon_running { "\n" } else { "  (no daemon is running)\n" });
        if let Some(reason) = &source.reason {
            text.push_str(&format!("  stands still: {reason}\n  remedy: {}\n", source.remedy.as_deref().unwrap_or("-")));
        }
        for table in &source.tables {
            text.push_str(&format!(
                "  {:<32} {:<14} -> {:<36} {:>12} rows {:>5} files  fresh {}{}\n",
                table.table,
                table.phase,
                table.into,
                table.rows,
                table.files,
                seconds(table.freshness_seconds),
                table.writing.as_ref().map(writing::Report::in_line).unwrap_or_default()
            ));
            if table.phase == "snapshotting" || table.phase == "rebuilding" {
                let snapshot = &table.snapshot;
                text.push_str(&format!(
                    "      {} of {} chunks, {} rows\n",
                    snapshot.chunks_done, snapshot.chunks_total, snapshot.rows
                ));
            }
            if let Some(LastDay { day, rows, .. }) = &table.daily {
                text.push_str(&format!("      last day {day}, {rows} rows\n"));
            }
            if !table.dropped_records.is_none() {
                let Dropped { late, repeated } = table.dropped_records;
                text.push_str(&format!("      left out of the change log: {late} late records, {repeated} repeated ones\n"));
            }
            for publication in table.publications.iter().filter(|publication| !publication.is_up_to_date()) {
                text.push_str(&publication.for_people());
            }
            for warning in &table.warnings {
                text.push_str(&format!("      warning: {warning}\n"));
            }
            if let Some(reason) = &table.reason {
                text.push_str(&format!("      {reason}\n      remedy: {}\n", table.remedy.as_deref().unwrap_or("-")));
            }
        }
    }
    text
}
