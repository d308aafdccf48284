//! The daemon's answers over HTTP: what `status` says, and the same as numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use binlake::http::Answers;
use binlake::pipeline::board::{Board, SharedBoard};
use binlake::telemetry::{Metrics, Seen};
use tokio::sync::Mutex;

use super::Failed;
use super::assemble::Assembled;
use super::status::{self, Eyes, SourceReport, TableReport};

/// See the module.
pub(crate) struct Daemon {
    rooms: Arc<Assembled>,
    /// In the order of the sources.
    boards: Vec<SharedBoard>,
    metrics: Arc<Metrics>,
    /// One look at a time: what was seen is cleared before it is set.
    looking: Mutex<()>,
}

impl Daemon {
    /// Of these rooms, whose workers note on these boards.
    pub(crate) fn new(rooms: Arc<Assembled>, boards: Vec<SharedBoard>, metrics: Arc<Metrics>) -> Self {
        Self { rooms, boards, metrics, looking: Mutex::new(()) }
    }

    async fn look(&self) -> Result<(), Failed> {
        let mut reports = Vec::new();
        for (source, board) in self.rooms.sources.iter().zip(&self.boards) {
            reports.push(status::source_report(&self.rooms, source, Eyes::Board(board)).await?);
        }
        let seen = &self.metrics.seen;
        seen.clear();
        for (report, board) in reports.iter().zip(&self.boards) {
            show(seen, report);
            show_hands(seen, &report.name, board, self.rooms.now_ms());
            show_progress(seen, &report.name, board);
            if self.rooms.lake.is_published() {
                show_metastore(seen, report, board, self.rooms.now_ms());
            }
        }
        if let Some(usage) = self.rooms.log_usage().await {
            const NONE: &[&str] = &[];
            seen.changelog_bytes.with_label_values(NONE).set(whole(usage.bytes));
            seen.changelog_bytes_max.with_label_values(NONE).set(whole(usage.bytes_max));
        }
        if let Some(bytes) = resident_bytes() {
            self.metrics.resident.set(whole(bytes));
        }
        Ok(())
    }
}

#[async_trait]
impl Answers for Daemon {
    async fn metrics(&self) -> Result<String, String> {
        let _looking = self.looking.lock().await;
        self.look().await.map_err(|failed| failed.0)?;
        self.metrics.text()
    }

    fn waits_for(&self) -> Option<String> {
        let mut waiting = self.rooms.sources.iter().zip(&self.boards).filter(|(_, board)| !board.is_leased());
        waiting.next().map(|(source, _)| format!("source {} has no lease yet", source.name))
    }

    async fn status(&self) -> Result<String, String> {
        status::json(&self.rooms).await.map_err(|failed| failed.0)
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn show(seen: &Seen, report: &SourceReport) {
    let source = [report.name.as_str()];
    seen.up.with_label_values(&source).set(i64::from(report.answers));
    seen.stopped.with_label_values(&source).set(i64::from(report.reason.is_some()));
    if let Some(lag) = report.lag_seconds {
        seen.lag_seconds.with_label_values(&source).set(lag);
    }
    if let Some(bytes) = report.lag_bytes {
        seen.lag_bytes.with_label_values(&source).set(whole(bytes));
    }
    if let Some(position) = &report.position {
        seen.published_file.with_label_values(&source).set(whole(position.number));
        seen.published_offset.with_label_values(&source).set(whole(position.offset));
    }
    if let Some(runway) = report.runway_seconds {
        seen.runway.with_label_values(&source).set(runway);
    }
    for table in &report.tables {
        show_table(seen, &report.name, table);
    }
}

/// What the source's workers have in hand.
fn show_hands(seen: &Seen, source: &str, board: &Board, now_ms: u64) {
    let (gauges, labels) = (&board.gauges, [source]);
    let held = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
    seen.changes.with_label_values(&labels).set(whole(board.counts().0));
    seen.unknown_events.with_label_values(&labels).set(whole(gauges.unknown_events()));
    seen.chunks.with_label_values(&labels).set(whole(held(&gauges.chunks)));
    let stream = gauges.stream();
    let transaction = stream.as_ref().map_or(0, |stream| stream.transaction_bytes());
    for (buffer, bytes) in [("transaction", transaction), ("append", held(&gauges.append)), ("batch", held(&gauges.batch))] {
        seen.buffered.with_label_values(&[source, buffer]).set(whole(bytes));
    }
    if let Some(stream) = stream {
        seen.heartbeat.with_label_values(&labels).set(stream.silence().as_secs_f64());
    }
    let since_ms = held(&gauges.appending_since_ms);
    let waits = if since_ms == 0 { 0.0 } else { seconds_since(since_ms, now_ms) };
    seen.unacknowledged.with_label_values(&labels).set(waits);
}

/// How far the snapshots that are running have to go.
fn show_progress(seen: &Seen, source: &str, board: &Board) {
    for (table, progress) in board.progress() {
        seen.rows_estimated.with_label_values(&[source, &table]).set(whole(progress.rows_estimated));
    }
}

/// A table's publication is as old as that of the later of its lake tables.
fn show_metastore(seen: &Seen, report: &SourceReport, board: &Board, now_ms: u64) {
    for table in report.tables.iter().filter(|table| table.committed.is_some()) {
        let since_ms = table.lake_tables.iter().filter_map(|name| board.unshown_since(name)).min();
        let behind = since_ms.map_or(0.0, |since_ms| seconds_since(since_ms, now_ms));
        seen.metastore_behind.with_label_values(&[report.name.as_str(), table.table.as_str()]).set(behind);
    }
}

fn seconds_since(then_ms: u64, now_ms: u64) -> f64 {
    now_ms.saturating_sub(then_ms) as f64 / 1e3
}

fn show_table(seen: &Seen, source: &str, table: &TableReport) {
    let labels = [source, table.table.as_str()];
    seen.tables.with_label_values(&[source, table.phase.as_str()]).inc();
    if table.phase == "parked" {
        seen.parked.with_label_values(&labels).set(1);
    }
    seen.chunks_planned.with_label_values(&labels).set(whole(table.snapshot.chunks_total));
    if table.committed.is_none() {
        return;
    }
    seen.waiting.with_label_values(&labels).set(whole(table.waiting));
    if let Some(freshness) = table.freshness_seconds {
        seen.freshness.with_label_values(&labels).set(freshness);
    }
    seen.rows.with_label_values(&labels).set(whole(table.rows));
    seen.files.with_label_values(&labels).set(whole(table.files));
    seen.bytes.with_label_values(&labels).set(whole(table.bytes));
    seen.zero_dates.with_label_values(&labels).set(whole(table.zero_dates.values().sum()));
    let dropped = table.dropped_records;
    for (reason, records) in [("late", dropped.late), ("repeated", dropped.repeated)] {
        seen.dropped.with_label_values(&[source, table.table.as_str(), reason]).set(whole(records));
    }
}

/// What the system says that this process holds; None where it does not say so in Linux's way.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
