//! Limits of one seed: tiny, so that everything that happens at a limit happens all the time.

use std::sync::Arc;
use std::time::Duration;

use binlake::change::{Clock, DatetimeEncoding, Datetimes, TableName};
use binlake::coordinator::{self, Form, WantedTable};
use binlake::lake::{self, Check, Retention};
use binlake::pipeline::{TableOptions, load, tail, write};
use tokio::sync::Semaphore;

use crate::load::BY_DAY;
use crate::stage::Scene;

/// A change log that is never full.
pub(crate) const ROOMY: u64 = 1 << 20;

/// What a seed's daemons are set to.
pub(crate) struct Limits {
    pub lake: lake::Settings,
    pub tail: tail::Settings,
    pub chunk_rows: usize,
    pub write_rows: u64,
    pub write_bytes: u64,
    pub log_bytes: u64,
    _scratch: tempfile::TempDir,
}

impl Limits {
    pub(crate) fn drawn(scene: &mut Scene, clock: Arc<dyn Clock>) -> Self {
        // What spills goes into real files; memory's own file system spares thousands of waits.
        let memory = std::path::Path::new("/dev/shm");
        let scratch = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        // Of this play alone: two threads may play the same seed at a time, whose batches then have the same names.
        let scratch = tempfile::Builder::new().prefix("binlake-simulation-").tempdir_in(scratch).unwrap();
        let spills = scene.chance(0.2);
        let retention = scene.between(1, 7);
        Self {
            lake: lake::Settings {
                url: String::new(),
                options: lake::StoreOptions::default(),
                retention: Retention {
                    min: Duration::from_secs(retention.min(scene.between(1, 4))),
                    max: Duration::from_secs(retention),
                    size: scene.between(0, 3) as f64,
                },
                zero_dates_park: false,
                check: if scene.chance(0.9) { Check::Rows } else { Check::Keys },
                // Small ones split and seal mirrors, large ones fold changelogs.
                file_bytes: if scene.chance(0.5) { scene.between(300, 900) } else { scene.between(8_000, 30_000) },
                row_group_bytes: scene.between(40, 90) as usize,
                checkpoint_every: scene.between(2, 8),
                batch_bytes: if spills { 300 } else { 1 << 20 },
                scratch: scratch.path().to_owned(),
                clock,
                publishing: None,
            },
            tail: tail::Settings {
                batch_bytes: scene.between(500, 4000) as usize,
                flush_after: Duration::from_millis(scene.between(1, 60)),
                progress_every: Duration::from_millis(200),
                full_wait: Duration::from_millis(100),
                zone: "UTC".to_owned(),
            },
            chunk_rows: scene.between(2, 12) as usize,
            write_rows: scene.between(3, 20),
            write_bytes: scene.between(1000, 8000),
            // Room for the largest transaction, and for little more.
            log_bytes: if scene.chance(0.2) { 24_000 } else { ROOMY },
            _scratch: scratch,
        }
    }

    pub(crate) fn load(&self) -> load::Limits {
        load::Limits {
            chunks: Arc::new(Semaphore::new(2)),
            parallel: 2,
            flush_bytes: 64,
            visible_timeout: Duration::from_secs(60),
        }
    }

    pub(crate) fn write(&self, eager: bool) -> write::Limits {
        write::Limits {
            interval: Duration::from_millis(300),
            rows: self.write_rows,
            bytes: self.write_bytes,
            batches: Arc::new(Semaphore::new(2)),
            read_bytes: 900,
            maintain_every: Duration::from_millis(700),
            eager,
            zone: "UTC".to_owned(),
        }
    }
}

pub(crate) fn coordinator(until_caught_up: bool) -> coordinator::Settings {
    coordinator::Settings {
        holder: "simulation".to_owned(),
        backoff: Duration::from_millis(50),
        backoff_max: Duration::from_millis(400),
        request_every: Duration::from_millis(200),
        until_caught_up,
        take_over: false,
    }
}

/// A table as the list names it.
pub(crate) fn wanted(name: &str, (single, by_day): (bool, bool), topics: &str) -> WantedTable {
    let mode = match name {
        "numbered" => "both",
        "journal" => "changelog",
        _ => "mirror",
    };
    WantedTable {
        name: TableName::new("shop", name),
        mode: mode.to_owned(),
        into: ("ods_shop".to_owned(), name.to_owned()),
        topic: format!("{topics}.shop.{name}"),
        layout_single: single,
        daily: mode != "changelog",
        form: Form {
            timestamps_int96: false,
            partition_by: (by_day && name == BY_DAY).then(|| "n".to_owned()),
            datetimes: Datetimes { encoding: DatetimeEncoding::Instant, zone: "UTC".to_owned() },
        },
        named: true,
        options: TableOptions::default(),
    }
}
