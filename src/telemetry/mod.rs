//! The numbers that a daemon shows at `/metrics`: names, help and labels in one place, handed down as a struct, never a global.
//!
//! Counters are noted by the workers as it happens ([`Noted`]); what moves by itself, ages and places above all, is asked for when
//! somebody looks, and set then ([`Seen`]). Labels are few: a source, a table of it, a worker. `docs/metrics.md` lists all of them, and
//! a test holds that list against a running daemon.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Upper bounds of a commit's duration, in seconds.
const COMMIT_SECONDS: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const SOURCE: &[&str] = &["source"];
const TABLE: &[&str] = &["source", "table"];
const OPERATION: &[&str] = &["source", "table", "op"];

/// What a name is wrong with, or that it is given twice: never at run time, as they are constants.
type Made<T> = prometheus::Result<T>;

macro_rules! families {
    ($(#[$comment:meta])* $of:ident { $($field:ident: $kind:ident($labels:expr) = $name:literal, $help:literal;)+ }) => {
        $(#[$comment])*
        #[derive(Debug)]
        pub struct $of { $(#[doc = $help] pub $field: $kind),+ }

        impl $of {
            fn registered(registry: &Registry) -> Made<Self> {
                $(
                    let $field = $kind::new(Opts::new($name, $help), $labels)?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { $($field),+ })
            }

            /// Forgets every series: of what is set when somebody looks, one that is gone must not stay.
            pub fn clear(&self) {
                $(self.$field.reset();)+
            }
        }
    };
}

families! {
    /// Noted by the workers as it happens.
    Noted {
        rows_in: IntCounterVec(OPERATION) = "binlake_rows_in_total", "Changes of the server that the change log has acknowledged; op is insert, update, delete, truncate or schema.";
        acknowledged: IntCounterVec(SOURCE) = "binlake_acknowledged_records_total", "Records that the change log has acknowledged as durable.";
        published: IntCounterVec(SOURCE) = "binlake_published_records_total", "Records of those that lie below the published place: writers may take them.";
        snapshot_rows: IntCounterVec(TABLE) = "binlake_snapshot_rows_total", "Rows of snapshot chunks that are in.";
        snapshot_chunks: IntCounterVec(TABLE) = "binlake_snapshot_chunks_total", "Snapshot chunks that are in.";
        commits: IntCounterVec(TABLE) = "binlake_commits_total", "Commits to the lake.";
        commit_failures: IntCounterVec(TABLE) = "binlake_commit_failures_total", "Failures of the lake that a table's writer met: a commit, or taking the table up again at the last one.";
        commit_rows: IntCounterVec(OPERATION) = "binlake_commit_rows_total", "Rows changed by commits; op is insert, update or delete.";
        commit_files: IntCounterVec(TABLE) = "binlake_commit_files_total", "Data files written by commits.";
        commit_bytes: IntCounterVec(TABLE) = "binlake_commit_bytes_total", "Bytes of data files written by commits.";
        taken_bytes: IntCounterVec(TABLE) = "binlake_commit_taken_bytes_total", "Bytes of records that commits have taken from the change log.";
        write_amplification: GaugeVec(TABLE) = "binlake_write_amplification", "Bytes of data files written for each byte of records taken, since the start.";
        cleaned_files: IntCounterVec(TABLE) = "binlake_cleaned_files_total", "Files that nobody needs any more and that were removed.";
        restarts: IntCounterVec(&["source", "worker", "remedy"]) = "binlake_restarts_total", "Failures of workers; worker is source or table; after remedy retry and stop it is started again, after park the table stands still.";
    }
}

families! {
    /// Set when somebody looks.
    Seen {
        up: IntGaugeVec(SOURCE) = "binlake_source_up", "1 while the server answers, else 0.";
        stopped: IntGaugeVec(SOURCE) = "binlake_source_stopped", "1 while the source stands still, else 0; the status has the reason.";
        changes: IntGaugeVec(SOURCE) = "binlake_appended_records", "Records appended to the change log since the start.";
        published_file: IntGaugeVec(SOURCE) = "binlake_published_file", "Number of the binlog file in which the published place lies.";
        published_offset: IntGaugeVec(SOURCE) = "binlake_published_offset", "Offset of the published place in that file.";
        heartbeat: GaugeVec(SOURCE) = "binlake_heartbeat_age_seconds", "How long ago the server last sent anything; idle, it sends a heartbeat every 5 seconds.";
        unacknowledged: GaugeVec(SOURCE) = "binlake_unacknowledged_seconds", "How long the append at hand has waited for the change log; 0 where there is none.";
        unknown_events: IntGaugeVec(SOURCE) = "binlake_unknown_events", "Events of types that this binlake does not know and that the server marks as safe to leave out, since the start.";
        buffered: IntGaugeVec(&["source", "buffer"]) = "binlake_buffered_bytes", "Bytes held in memory; buffer is transaction, append or batch.";
        chunks: IntGaugeVec(SOURCE) = "binlake_snapshot_chunks_in_flight", "Snapshot chunks that are being read.";
        lag_seconds: GaugeVec(SOURCE) = "binlake_lag_seconds", "0 when the change log has all that the server has; else the age of the last transaction in it.";
        lag_bytes: IntGaugeVec(SOURCE) = "binlake_lag_bytes", "Bytes of binlog that the server has and the change log has not.";
        runway: GaugeVec(SOURCE) = "binlake_binlog_runway_seconds", "How long at least the server keeps the binlog that is still needed; not there where it keeps it for ever.";
        tables: IntGaugeVec(&["source", "phase"]) = "binlake_tables", "Tables of the list, by phase.";
        parked: IntGaugeVec(TABLE) = "binlake_table_parked", "1 for each table that is parked; the status has the reason.";
        freshness: GaugeVec(TABLE) = "binlake_freshness_seconds", "Age of what readers of the lake table see; as the lag where the table has taken all that is in the change log.";
        waiting: IntGaugeVec(TABLE) = "binlake_table_waiting_records", "Records that are published and in no commit yet.";
        chunks_planned: IntGaugeVec(TABLE) = "binlake_snapshot_chunks_planned", "Chunks of the snapshot, as far as they are planned.";
        rows_estimated: IntGaugeVec(TABLE) = "binlake_snapshot_rows_estimated", "The server's estimate of the snapshot's rows, while it is read.";
        metastore_behind: GaugeVec(TABLE) = "binlake_metastore_behind_seconds", "For how long the metastore has not shown the last commit; 0 where it does. Not there without a metastore.";
        rows: IntGaugeVec(TABLE) = "binlake_table_rows", "Rows of the last commit.";
        files: IntGaugeVec(TABLE) = "binlake_table_files", "Live files of the last commit.";
        bytes: IntGaugeVec(TABLE) = "binlake_table_bytes", "Live bytes of the last commit.";
        zero_dates: IntGaugeVec(TABLE) = "binlake_table_zero_dates", "Zero dates stored as NULL so far.";
        changelog_bytes: IntGaugeVec(&[]) = "binlake_changelog_bytes", "Bytes of records that the embedded change log holds.";
        changelog_bytes_max: IntGaugeVec(&[]) = "binlake_changelog_max_bytes", "`changelog.max_bytes`.";
        dropped: IntGaugeVec(&["source", "table", "reason"]) = "binlake_table_dropped_records", "Records of the change log that were left out so far; reason is late or repeated.";
    }
}

/// All families of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    noted: Arc<Noted>,
    commit_seconds: HistogramVec,
    /// Memory that the process holds.
    pub resident: IntGauge,
    /// What is set when somebody looks.
    pub seen: Seen,
}

impl Metrics {
    /// All of them, at nothing.
    ///
    /// # Errors
    /// Never, as their names are constants; a test makes them.
    pub fn new(version: &str, memory_bytes: u64) -> Made<Self> {
        let registry = Registry::new();
        let build = IntGaugeVec::new(Opts::new("binlake_build_info", "1; the version is a label."), &["version"])?;
        build.with_label_values(&[version]).set(1);
        registry.register(Box::new(build))?;
        let memory = IntGauge::new("binlake_memory_budget_bytes", "`memory` of the configuration.")?;
        memory.set(i64::try_from(memory_bytes).unwrap_or(i64::MAX));
        registry.register(Box::new(memory))?;
        let options = HistogramOpts::new("binlake_commit_seconds", "How long a commit takes, from its first record.");
        let commit_seconds = HistogramVec::new(options.buckets(COMMIT_SECONDS.to_vec()), SOURCE)?;
        registry.register(Box::new(commit_seconds.clone()))?;
        let resident = IntGauge::new("binlake_resident_bytes", "Memory that the process holds.")?;
        registry.register(Box::new(resident.clone()))?;
        let (noted, seen) = (Arc::new(Noted::registered(&registry)?), Seen::registered(&registry)?);
        Ok(Self { registry, noted, commit_seconds, resident, seen })
    }

    /// What the workers of a source note.
    pub fn of(&self, source: &str) -> SourceNumbers {
        // A counter that is there from the start on shows its first failure.
        for (worker, remedy) in [("source", "retry"), ("source", "stop"), ("table", "retry"), ("table", "park")] {
            self.noted.restarts.with_label_values(&[source, worker, remedy]);
        }
        SourceNumbers { source: source.to_owned(), noted: Arc::clone(&self.noted), commit_seconds: self.commit_seconds.clone() }
    }

    /// As Prometheus reads them.
    ///
    /// # Errors
    /// When they cannot be written as text.
    pub fn text(&self) -> Result<String, String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).map_err(|error| error.to_string())?;
        String::from_utf8(text).map_err(|error| error.to_string())
    }
}

/// What one commit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitNumbers {
    /// Rows inserted, updated, deleted.
    pub rows: (u64, u64, u64),
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the records that it took from the change log.
    pub taken: u64,
    /// From the batch's first record to the commit's end.
    pub took: Duration,
}

/// What the workers of one source note; a table is its name on the source.
#[derive(Debug, Clone)]
pub struct SourceNumbers {
    source: String,
    noted: Arc<Noted>,
    commit_seconds: HistogramVec,
}

impl SourceNumbers {
    /// A chunk is in.
    pub fn chunk(&self, table: &str, rows: u64) {
        self.noted.snapshot_chunks.with_label_values(&[&self.source, table]).inc();
        self.noted.snapshot_rows.with_label_values(&[&self.source, table]).inc_by(rows);
    }

    /// The change log has acknowledged records of a table, made of so many changes of an operation.
    pub fn rows_in(&self, table: &str, operation: &str, changes: u64) {
        self.noted.rows_in.with_label_values(&[self.source.as_str(), table, operation]).inc_by(changes);
    }

    /// The change log has acknowledged records.
    pub fn acknowledged(&self, records: u64) {
        self.noted.acknowledged.with_label_values(&[&self.source]).inc_by(records);
    }

    /// Acknowledged records lie below the published place.
    pub fn published(&self, records: u64) {
        self.noted.published.with_label_values(&[&self.source]).inc_by(records);
    }

    /// A commit has failed.
    pub fn commit_failed(&self, table: &str) {
        self.noted.commit_failures.with_label_values(&[self.source.as_str(), table]).inc();
    }

    /// A commit is through.
    pub fn commit(&self, table: &str, did: &CommitNumbers) {
        let labels = [self.source.as_str(), table];
        self.noted.commits.with_label_values(&labels).inc();
        // A counter that is there from the first commit on shows its first failure.
        self.noted.commit_failures.with_label_values(&labels);
        self.noted.commit_files.with_label_values(&labels).inc_by(did.files);
        self.noted.commit_bytes.with_label_values(&labels).inc_by(did.bytes);
        self.noted.taken_bytes.with_label_values(&labels).inc_by(did.taken);
        let count = |counter: &IntCounterVec| counter.with_label_values(&labels).get() as f64;
        let taken = count(&self.noted.taken_bytes);
        if taken > 0.0 {
            self.noted.write_amplification.with_label_values(&labels).set(count(&self.noted.commit_bytes) / taken);
        }
        let (inserted, updated, deleted) = did.rows;
        for (op, rows) in [("insert", inserted), ("update", updated), ("delete", deleted)] {
            self.noted.commit_rows.with_label_values(&[self.source.as_str(), table, op]).inc_by(rows);
        }
        self.commit_seconds.with_label_values(&[self.source.as_str()]).observe(did.took.as_secs_f64());
    }

    /// Files were removed.
    pub fn cleaned(&self, table: &str, files: u64) {
        self.noted.cleaned_files.with_label_values(&[self.source.as_str(), table]).inc_by(files);
    }

    /// A worker has failed: `retry` and `stop` start it again, `park` does not.
    pub fn failed(&self, worker: &str, remedy: &str) {
        self.noted.restarts.with_label_values(&[self.source.as_str(), worker, remedy]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_can_be_made_and_what_is_noted_is_shown() {
        let metrics = Metrics::new("1.2.3", 512).unwrap();
        let numbers = metrics.of("shop");
        numbers.chunk("shop.orders", 7);
        let did = CommitNumbers { rows: (1, 2, 3), files: 4, bytes: 5, taken: 2, took: Duration::from_millis(70) };
        numbers.commit("shop.orders", &did);
        numbers.commit_failed("shop.orders");
        numbers.rows_in("shop.orders", "update", 3);
        numbers.acknowledged(4);
        numbers.published(2);
        numbers.failed("table", "park");
        numbers.cleaned("shop.orders", 9);
        metrics.seen.up.with_label_values(&["shop"]).set(1);
        let text = metrics.text().unwrap();
        for line in [
            "binlake_build_info{version=\"1.2.3\"} 1",
            "binlake_snapshot_rows_total{source=\"shop\",table=\"shop.orders\"} 7",
            "binlake_commit_rows_total{op=\"delete\",source=\"shop\",table=\"shop.orders\"} 3",
            "binlake_commit_seconds_bucket{source=\"shop\",le=\"0.1\"} 1",
            "binlake_write_amplification{source=\"shop\",table=\"shop.orders\"} 2.5",
            "binlake_commit_failures_total{source=\"shop\",table=\"shop.orders\"} 1",
            "binlake_rows_in_total{op=\"update\",source=\"shop\",table=\"shop.orders\"} 3",
            "binlake_acknowledged_records_total{source=\"shop\"} 4",
            "binlake_published_records_total{source=\"shop\"} 2",
            "binlake_restarts_total{remedy=\"park\",source=\"shop\",worker=\"table\"} 1",
            "binlake_restarts_total{remedy=\"retry\",source=\"shop\",worker=\"source\"} 0",
            "binlake_cleaned_files_total{source=\"shop\",table=\"shop.orders\"} 9",
            "binlake_source_up{source=\"shop\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing:\n{text}");
        }
        metrics.seen.clear();
        assert!(!metrics.text().unwrap().contains("binlake_source_up"));
    }
}
