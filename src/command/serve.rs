//! The daemon's answers over HTTP: what `status` says, and the same as numbers.

use std::sync::Arc;

use async_trait::async_trait;
use binlake::http::Answers;
use binlake::pipeline::board::SharedBoard;
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
            seen.changes.with_label_values(&[&report.name]).set(whole(board.counts().0));
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
    if let Some(runway) = report.runway_seconds {
        seen.runway.with_label_values(&source).set(runway);
    }
    for table in &report.tables {
        show_table(seen, &report.name, table);
    }
}

fn show_table(seen: &Seen, source: &str, table: &TableReport) {
    let labels = [source, table.table.as_str()];
    seen.tables.with_label_values(&[source, table.phase.as_str()]).inc();
    if table.phase == "parked" {
        seen.parked.with_label_values(&labels).set(1);
    }
    if table.committed.is_none() {
        return;
    }
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
