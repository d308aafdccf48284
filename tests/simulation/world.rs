//! One seed's world: a server under load, daemons that are killed and started again, and the invariant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use binlake::change::{ColumnType, SystemClock, TableName, Value};
use binlake::changelog::ChangeLog;
use binlake::changelog::memory::{Call, Fault as LogFault, MemoryLog};
use binlake::coordinator::{self, Resolver, SourcePlan, WantedTable};
use binlake::lake::{Check, Committed, DatetimeEncoding, Lake, LakeName, ObjectLake, Retention};
use binlake::metadata::memory::{Fault, MemoryMetadata};
use binlake::metadata::{Metadata, RequestKind};
use binlake::pipeline::{Rooms, TableOptions, load, tail, write};
use binlake::source::memory::{Flushed, MemoryServer, MemorySource, Op};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::reading;

/// What happened in a run, so that a run in which nothing went wrong is noticed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Coverage {
    pub rounds: u64,
    pub commits: u64,
    pub checks: u64,
    pub kills: u64,
    pub faults: u64,
    pub raced: u64,
    pub rebuilds: u64,
}

impl Coverage {
    pub(crate) fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.commits += other.commits;
        self.checks += other.checks;
        self.kills += other.kills;
        self.faults += other.faults;
        self.raced += other.raced;
        self.rebuilds += other.rebuilds;
    }
}

pub(crate) struct World {
    random: StdRng,
    server: MemoryServer,
    log: MemoryLog,
    metadata: MemoryMetadata,
    lake: ObjectLake,
    tables: Vec<WantedTable>,
    rows: BTreeMap<TableName, BTreeSet<i64>>,
    pending: Vec<Flushed>,
    seen: BTreeMap<String, (u32, u64)>,
    coverage: Coverage,
    next: i64,
    _directory: tempfile::TempDir,
}

fn table(name: &str, mode: &str) -> WantedTable {
    WantedTable {
        name: TableName::new("shop", name),
        mode: mode.to_owned(),
        into: ("ods_shop".to_owned(), name.to_owned()),
        topic: format!("sim.shop.{name}"),
        layout_single: false,
        named: true,
        options: TableOptions::default(),
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let server = MemoryServer::with_gtids(random.random_bool(0.7));
        server.set_file_bytes(random.random_range(400..4000));
        let integer = ColumnType::Integer { bits: 32, unsigned: false };
        let text = ColumnType::Text { charset: binlake::change::Charset("utf8mb4".to_owned()) };
        let tables = vec![table("numbered", "both"), table("named", "mirror")];
        server.create_table(&tables[0].name, &[("id", integer.clone()), ("n", integer.clone())], &["id"]);
        server.create_table(&tables[1].name, &[("name", text), ("n", integer)], &["name"]);
        // What is synced is not the question here: a memory file system spares thousands of waits.
        let memory = std::path::Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = tempfile::Builder::new().prefix("binlake-sim").tempdir_in(place).unwrap();
        let lake = ObjectLake::open(lake_settings(directory.path())).unwrap();
        let rows = tables.iter().map(|table| (table.name.clone(), BTreeSet::new())).collect();
        Self {
            random,
            server,
            log: MemoryLog::new(1, 1 << 20),
            metadata: MemoryMetadata::new(),
            lake,
            tables,
            rows,
            pending: Vec::new(),
            seen: BTreeMap::new(),
            coverage: Coverage::default(),
            next: 0,
            _directory: directory,
        }
    }

    pub(crate) async fn run(mut self) -> Coverage {
        for _ in 0..20 {
            self.transaction();
        }
        let daemons = self.random.random_range(3..7);
        for _ in 0..daemons {
            self.daemon_life().await;
        }
        self.settle().await;
        self.coverage
    }

    fn plan(&self, metadata: Arc<dyn Metadata>, eager: bool) -> SourcePlan {
        let wanted = self.tables.clone();
        let resolver: Resolver = Arc::new(move |_| Ok(wanted.clone()));
        let rooms = Rooms {
            source: Arc::new(MemorySource::new(&self.server, "sim")),
            changelog: Arc::new(self.log.clone()),
            lake: Arc::new(self.lake.clone()),
            metadata,
            clock: Arc::new(SystemClock),
        };
        SourcePlan {
            name: "sim".to_owned(),
            rooms,
            resolver,
            load: load::Limits {
                chunks: Arc::new(Semaphore::new(2)),
                parallel: 2,
                flush_bytes: 64,
                visible_timeout: Duration::from_secs(60),
            },
            tail: tail::Settings { batch_bytes: 1500, ..tail::Settings::default() },
            write: write::Limits {
                interval: Duration::from_millis(300),
                rows: 7,
                bytes: 4000,
                batches: Arc::new(Semaphore::new(2)),
                read_bytes: 900,
                maintain_every: Duration::from_millis(500),
                eager,
            },
            board: SourcePlan::board(),
        }
    }

    fn settings(&self, until_caught_up: bool) -> coordinator::Settings {
        coordinator::Settings {
            holder: "simulation".to_owned(),
            backoff: Duration::from_millis(50),
            backoff_max: Duration::from_millis(400),
            request_every: Duration::from_millis(100),
            until_caught_up,
            take_over: false,
        }
    }

    /// A daemon is started, works under load and faults, and is killed: everything it had in memory is gone.
    async fn daemon_life(&mut self) {
        let view = self.metadata.another_process();
        let metadata = Arc::new(view);
        let plan = self.plan(Arc::clone(&metadata) as Arc<dyn Metadata>, false);
        let cancel = CancellationToken::new();
        let daemon = tokio::spawn(coordinator::run(vec![plan], self.settings(false), cancel.clone()));
        for _ in 0..self.random.random_range(5..40) {
            self.coverage.rounds += 1;
            for _ in 0..self.random.random_range(0..4) {
                self.transaction();
            }
            self.misfortune(&metadata).await;
            tokio::time::sleep(Duration::from_millis(self.random.random_range(1..400))).await;
            self.check().await;
        }
        if self.random.random_bool(0.7) {
            self.coverage.kills += 1;
            daemon.abort();
        } else {
            cancel.cancel();
        }
        match daemon.await {
            Ok(outcome) => assert!(outcome.parked.is_empty(), "parked: {outcome:?}"),
            Err(error) => assert!(error.is_cancelled(), "the daemon ended: {error}"),
        }
        drop(metadata);
        self.check().await;
    }

    async fn misfortune(&mut self, metadata: &MemoryMetadata) {
        if self.random.random_bool(0.25) {
            let fault = if self.random.random_bool(0.5) { Fault::Refused } else { Fault::AnswerLost };
            let method =
                ["save_published", "save_table", "save_chunks", "chunk_done", "published"][self.random.random_range(0..5)];
            metadata.inject(fault, Some(method), self.random.random_range(0..3));
            self.coverage.faults += 1;
        }
        if self.random.random_bool(0.25) {
            let fault = if self.random.random_bool(0.5) { LogFault::Refused } else { LogFault::AnswerLost };
            let call = [Call::Append, Call::Tails, Call::Read, Call::Advance][self.random.random_range(0..4)];
            self.log.fail_next(call, fault);
            self.coverage.faults += 1;
        }
        if self.random.random_bool(0.08) {
            self.server.disconnect();
        }
        if self.random.random_bool(0.08) {
            self.server.rotate();
        }
        if self.random.random_bool(0.03) {
            let table = self.tables[self.random.random_range(0..self.tables.len())].name.clone();
            metadata.put_request("sim", &table, RequestKind::Rebuild).await.unwrap_or_default();
            self.coverage.rebuilds += 1;
        }
    }

    /// One transaction of the load; sometimes it is in the binlog long before its rows are visible.
    fn transaction(&mut self) {
        let mut ops = Vec::new();
        for _ in 0..self.random.random_range(1..5) {
            let table = self.tables[self.random.random_range(0..self.tables.len())].name.clone();
            ops.extend(self.op(&table));
        }
        if ops.is_empty() {
            return;
        }
        if self.random.random_bool(0.3) {
            self.coverage.raced += 1;
            self.pending.push(self.server.flush(ops).unwrap());
        } else {
            self.server.execute(ops).unwrap();
        }
        while self.pending.len() > 2 || (!self.pending.is_empty() && self.random.random_bool(0.4)) {
            let index = self.random.random_range(0..self.pending.len());
            let transaction = self.pending.remove(index);
            self.server.make_visible(transaction);
        }
    }

    fn op(&mut self, table: &TableName) -> Option<Op> {
        let named = table.table == "named";
        let key = |id: i64| if named { Value::Text(format!("k{id}")) } else { Value::Signed(id) };
        let n = Value::Signed(self.random.random_range(0..1_000_000));
        let rows = self.rows.get_mut(table)?;
        let chosen = rows.iter().copied().nth(self.random.random_range(0..rows.len().max(1)));
        let fresh = if self.random.random_bool(0.7) { self.next } else { -self.next };
        let kind = self.random.random_range(0..100);
        match (kind, chosen) {
            (0..=29, _) | (_, None) => {
                self.next += 1;
                rows.insert(fresh).then(|| Op::Insert { table: table.clone(), row: vec![key(fresh), n] })
            }
            (30..=69, Some(id)) => Some(Op::Update { table: table.clone(), key: vec![key(id)], row: vec![key(id), n] }),
            (70..=84, Some(id)) => {
                rows.remove(&id);
                Some(Op::Delete { table: table.clone(), key: vec![key(id)] })
            }
            (_, Some(id)) => {
                self.next += 1;
                if !rows.insert(fresh) {
                    return None;
                }
                rows.remove(&id);
                Some(Op::Update { table: table.clone(), key: vec![key(id)], row: vec![key(fresh), n] })
            }
        }
    }

    /// The invariant.
    async fn check(&mut self) {
        for wanted in self.tables.clone() {
            let (database, name) = wanted.into.clone();
            let mirror = LakeName { database: database.clone(), table: name.clone() };
            let Some((committed, files)) = self.seen_by_a_reader(&mirror).await else { continue };
            let point = committed.point.clone().expect("a published table has a position");
            let place = (committed.generation, committed.seq);
            let last = self.seen.insert(name.clone(), place);
            assert!(last.is_none_or(|last| last <= place), "{name} went back from {last:?} to {place:?}");
            if last != Some(place) {
                self.coverage.commits += 1;
            }
            let at = point.position.0;
            let expected = self.server.rows_at(&wanted.name, &self.server.flushed_end().server_uuid, at.file, at.offset);
            let expected = reading::sorted(expected.expect("the position is one of this server"));
            let found = reading::rows(&files, 2);
            assert_eq!(found, expected, "{name} at {} (g{:04} commit {})", point.position, committed.generation, committed.seq);
            self.coverage.checks += 1;
            if wanted.mode == "both" {
                let changelog = LakeName { database, table: format!("{name}_changelog") };
                if self.lake.published(&changelog).await.expect("the lake can be read").is_some() {
                    reading::no_change_twice(&self.lake.files(&changelog).await.expect("files"));
                }
            }
        }
    }

    /// A commit and its files: the daemon works on between two looks, so the commit is looked at again.
    async fn seen_by_a_reader(&self, name: &LakeName) -> Option<(Committed, Vec<String>)> {
        loop {
            let before = self.lake.published(name).await.expect("the lake can be read")?;
            let files = self.lake.files(name).await.expect("files");
            let after = self.lake.published(name).await.expect("the lake can be read")?;
            if (before.generation, before.seq) == (after.generation, after.seq) {
                return Some((after, files));
            }
        }
    }

    /// Everything becomes visible, nothing goes wrong any more: every table must cover the server's end, and equal it.
    async fn settle(&mut self) {
        self.server.make_all_visible();
        self.pending.clear();
        let metadata: Arc<dyn Metadata> = Arc::new(self.metadata.another_process());
        let plan = self.plan(metadata, true);
        let run = coordinator::run(vec![plan], self.settings(true), CancellationToken::new());
        let outcome = tokio::time::timeout(Duration::from_secs(600), run).await.expect("it catches up");
        assert!(outcome.parked.is_empty() && outcome.stopped.is_empty(), "{outcome:?}");
        self.check().await;
        for wanted in &self.tables {
            let mirror = LakeName { database: wanted.into.0.clone(), table: wanted.into.1.clone() };
            let found = reading::rows(&self.lake.files(&mirror).await.expect("files"), 2);
            assert_eq!(found, reading::sorted(self.server.rows(&wanted.name)), "{} at the end", wanted.name);
        }
        let usage = self.log.usage().await.expect("usage");
        assert!(usage.bytes <= usage.bytes_max, "{usage:?}");
    }
}

fn lake_settings(directory: &std::path::Path) -> binlake::lake::Settings {
    binlake::lake::Settings {
        url: format!("file://{}/lake", directory.display()),
        retention: Retention { min: Duration::from_secs(3600), max: Duration::from_secs(7200), size: 3.0 },
        datetime_zone: "UTC".to_owned(),
        datetime: DatetimeEncoding::Instant,
        zero_dates_park: false,
        check: Check::Rows,
        file_bytes: 2000,
        row_group_bytes: 300,
        checkpoint_every: 4,
        batch_bytes: 600,
        scratch: directory.join("scratch"),
        clock: Arc::new(SystemClock),
    }
}
