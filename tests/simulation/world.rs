//! One seed's world: what happens beside the daemons, and to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use binlake::change::{Clock, TableName};
use binlake::changelog::MemoryLog;
use binlake::changelog::memory::Rules;
use binlake::coordinator::{self, Outcome, Resolver, SourcePlan};
use binlake::lake::metastore::MemoryMetastore;
use binlake::lake::{self, Lake, LakeName, ObjectLake, Publishing};
use binlake::metadata::{MemoryMetadata, Metadata, RequestKind};
use binlake::pipeline::Rooms;
use binlake::source::memory::{MemoryServer, MemorySource};
use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::history::History;
use crate::load::{FIRST, LATER, Load};
use crate::rooms::{LifeLog, LifeMetadata, LifeMetastore, LifeSource, LifeStore, Shore};
use crate::settings::{self, Limits};
use crate::stage::{Ending, Life, SeedClock, Stage};
use crate::violation::Invariant;

/// How long a late request may still be on its way.
const LATEST: Duration = Duration::from_secs(80);

/// A daemon's process.
struct Daemon {
    life: Life,
    task: JoinHandle<Outcome>,
    cancel: CancellationToken,
    hung: bool,
}

pub(crate) struct World {
    stage: Stage,
    limits: Limits,
    clock: Arc<dyn Clock>,
    load: Arc<Load>,
    log: MemoryLog,
    metadata: MemoryMetadata,
    shore: Arc<Shore>,
    /// Where the lake is published, in some seeds.
    metastore: Option<MemoryMetastore>,
    /// Whether it compares before it swaps; 3.1 does not.
    compares: bool,
    /// Whether mirrors have one file, and whether one is cut by days.
    layout: (bool, bool),
    /// The chance in each round that a daemon wakes which hangs.
    wakes: f64,
    /// Whether the change log takes half of a batch.
    halves: bool,
    /// Whether it is one like Kafka, which refuses nothing and takes appends that come late.
    kafka: bool,
    daemons: Vec<Daemon>,
    lives: u32,
    paused: BTreeSet<TableName>,
}

/// Two seeds in five have a metastore, a quarter of them one that compares nothing.
fn metastore(seed: u64) -> (Option<MemoryMetastore>, bool) {
    match seed % 10 {
        2 | 4 | 7 => (Some(MemoryMetastore::new()), true),
        9 => (Some(MemoryMetastore::careless()), false),
        _ => (None, true),
    }
}

/// Plays a seed to its end, or to the first violation.
pub(crate) async fn play(stage: &Stage) {
    stage.begin();
    let mut world = World::new(stage);
    world.run().await;
    world.end_all().await;
}

impl World {
    fn new(stage: &Stage) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SeedClock::new());
        let mut scene = stage.scene();
        let limits = Limits::drawn(&mut scene, Arc::clone(&clock));
        let gtids = scene.chance(0.7);
        let server = MemoryServer::with_gtids(gtids);
        server.set_file_bytes(scene.between(400, 4000));
        let a_day = scene.between(8, 60) as i64;
        server.set_tick(86_400_000_000 / a_day);
        let shore = Arc::new(Shore::new(scene.chance(0.5)));
        let single = scene.chance(0.1);
        let layout = (single, !single && scene.chance(0.5));
        // Some sleep until what they were at has long expired.
        let wakes = if scene.chance(0.4) { 0.04 } else { 0.15 };
        let halves = scene.chance(0.9);
        let kafka = scene.chance(0.4);
        let partitions = if kafka { scene.between(1, 4) as u32 } else { 1 };
        if kafka {
            scene.coverage.count("change log like Kafka");
        }
        scene.oracle.history = History::new(&server.flushed_end().server_uuid);
        scene.oracle.file_bytes = limits.lake.file_bytes;
        scene.oracle.retention_min_ms = limits.lake.retention.min.as_millis() as u64;
        let sight = Arc::clone(&shore);
        scene.oracle.look_with(Box::new(move |path| sight.peek(path)));
        drop(scene);
        let load = Arc::new(Load::new(&server, gtids));
        let (metastore, compares) = metastore(stage.seed());
        FIRST.iter().for_each(|name| load.create(stage, name));
        Self {
            log: MemoryLog::new(partitions, if kafka { u64::MAX } else { limits.log_bytes })
                .with_rules(Rules { atomic: !halves && !kafka, refuses: !kafka }),
            halves,
            kafka,
            stage: stage.clone(),
            limits,
            clock,
            load,
            metadata: MemoryMetadata::new(),
            shore,
            metastore,
            compares,
            layout,
            wakes,
            daemons: Vec::new(),
            lives: 0,
            paused: BTreeSet::new(),
        }
    }

    async fn run(&mut self) {
        let first = self.stage.scene().between(2, 25);
        for _ in 0..first {
            self.load.transaction(&self.stage);
        }
        let lives = self.stage.scene().between(2, 5);
        for _ in 0..lives {
            self.live().await;
            if self.stage.scene().is_violated() {
                return;
            }
        }
        self.settle().await;
    }

    fn start(&mut self, tables: &[&str], until_caught_up: bool) {
        self.lives += 1;
        let life = Life::new(self.lives, &self.stage);
        self.log.opened();
        let elsewhere = self.stage.scene().chance(0.1);
        if elsewhere {
            self.stage.scene().coverage.count("topics by other names");
        }
        let topics = if elsewhere { "other" } else { "sim" };
        let wanted: Vec<_> = tables.iter().map(|name| settings::wanted(name, self.layout, topics)).collect();
        let resolver: Resolver = Arc::new(move |_| Ok(wanted.clone()));
        let source = MemorySource::new(&self.load.server, "sim").with_chunk_rows(self.limits.chunk_rows);
        let store = Arc::new(LifeStore { life: life.clone(), shore: Arc::clone(&self.shore) });
        let publishing = self.metastore.as_ref().map(|inner| {
            let metastore = LifeMetastore { life: life.clone(), inner: inner.clone(), compares: self.compares };
            Arc::new(Publishing::new(Arc::new(metastore)))
        });
        let lake = lake::Settings { publishing, ..self.limits.lake.clone() };
        let rooms = Rooms {
            source: Arc::new(LifeSource { life: life.clone(), inner: source, load: Arc::clone(&self.load) }),
            changelog: Arc::new(LifeLog {
                life: life.clone(),
                inner: self.log.clone(),
                halves: self.halves || self.kafka,
                late: self.kafka,
            }),
            lake: Arc::new(ObjectLake::over(Arc::clone(&store) as _, store, lake)),
            metadata: Arc::new(LifeMetadata { life: life.clone(), inner: self.metadata.rival() }),
            clock: Arc::clone(&self.clock),
        };
        let plan = SourcePlan {
            name: "sim".to_owned(),
            rooms,
            resolver,
            load: self.limits.load(),
            tail: self.limits.tail.clone(),
            write: self.limits.write(until_caught_up),
            board: SourcePlan::board(),
        };
        let cancel = CancellationToken::new();
        let run = coordinator::run(vec![plan], settings::coordinator(until_caught_up), cancel.clone());
        self.stage.stepped(self.lives, "start", &format_args!("{tables:?}"));
        self.daemons.push(Daemon { life, task: tokio::spawn(run), cancel, hung: false });
    }

    fn tables(&self) -> Vec<&'static str> {
        let later = self.load.has(LATER).then_some(LATER);
        FIRST.iter().copied().chain(later).collect()
    }

    /// A daemon is started, works under load and faults, and ends in one way or another.
    async fn live(&mut self) {
        let mut tables = self.tables();
        if self.stage.scene().chance(0.15) {
            let index = self.stage.scene().between(0, tables.len() as u64) as usize;
            let gone = tables.remove(index);
            self.stage.scene().coverage.count("table left out of the list");
            self.stage.scene().oracle.days.excused.insert(format!("ods_shop/{gone}"));
            self.stage.scene().note(0, "left out", &format_args!("{gone}"));
        }
        if self.daemons.iter().any(|daemon| !daemon.hung) {
            self.stage.scene().coverage.count("fault: lease lost");
        }
        self.start(&tables, false);
        let rounds = self.stage.scene().between(6, 22);
        for _ in 0..rounds {
            self.round().await;
            if self.stage.scene().is_violated() || !self.daemons.iter().any(|daemon| !daemon.hung) {
                return;
            }
        }
        self.finish().await;
    }

    async fn round(&mut self) {
        let transactions = self.stage.scene().between(0, 4);
        for _ in 0..transactions {
            self.load.transaction(&self.stage);
        }
        self.misfortune().await;
        self.land(0.3);
        let rest = self.stage.scene().between(1, 500);
        tokio::select! {
            biased;
            () = self.stage.wake.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(rest)) => {}
        }
        self.look_after().await;
    }

    /// Takes note of daemons that a step has killed or stopped, and of those that have ended.
    async fn look_after(&mut self) {
        let ending = self.stage.scene().ending.take();
        if let Some((number, ending)) = ending
            && let Some(index) = self.daemons.iter().position(|daemon| daemon.life.number == number)
        {
            match ending {
                // Sometimes it is the machine, and so at any step.
                Ending::Killed if self.stage.scene().chance(0.25) => self.crash().await,
                Ending::Killed => self.kill(index).await,
                Ending::Hung => self.daemons[index].hung = true,
            }
        }
        if let Some(index) = self.daemons.iter().position(|daemon| daemon.task.is_finished()) {
            let daemon = self.daemons.remove(index);
            self.ended(daemon).await;
        }
        let wakes = self.daemons.iter().any(|daemon| daemon.hung) && self.stage.scene().chance(self.wakes);
        if let Some(daemon) = self.daemons.iter_mut().find(|daemon| daemon.hung && wakes) {
            daemon.hung = false;
            daemon.life.wake();
            self.stage.scene().coverage.count("fault: hung and woke");
            self.stage.stepped(daemon.life.number, "wakes", &format_args!(""));
        }
    }

    /// Appends that are on their way arrive, each with this chance.
    fn land(&self, chance: f64) {
        for id in self.log.in_flight() {
            if self.stage.scene().chance(chance) && self.log.land(id) {
                self.stage.scene().coverage.count("late append landed");
                self.stage.stepped(0, "late append", &format_args!("{id}"));
            }
        }
    }

    async fn kill(&mut self, index: usize) {
        let daemon = self.daemons.remove(index);
        daemon.life.end();
        daemon.task.abort();
        self.ended(daemon).await;
    }

    async fn ended(&mut self, daemon: Daemon) {
        let number = daemon.life.number;
        let outcome = daemon.task.await;
        daemon.life.end();
        match outcome {
            Ok(outcome) => self.judge(&outcome),
            Err(error) if error.is_cancelled() => {}
            Err(error) => self.stage.violate(Invariant::Panicked, error.to_string()),
        }
        self.stage.stepped(number, "ended", &format_args!(""));
    }

    /// A daemon gives up only where another has taken over, or where what it met may pass.
    fn judge(&self, outcome: &Outcome) {
        let passes = |remedy: &str| remedy == "it will be tried again" || remedy == "another daemon has taken over";
        if let Some(stopped) = outcome.stopped.iter().find(|(_, _, remedy)| !passes(remedy)) {
            self.stage.violate(Invariant::UnexpectedStop, format!("{stopped:?}"));
        }
    }

    async fn finish(&mut self) {
        let kind = self.stage.scene().between(0, 100);
        match kind {
            0..=29 => {
                let index = self.daemons.len() - 1;
                self.stage.scene().coverage.count("fault: killed");
                self.kill(index).await;
            }
            30..=49 => self.crash().await,
            50..=69 => {
                for daemon in &self.daemons {
                    daemon.cancel.cancel();
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.look_after().await;
            }
            70..=84 => {
                let daemon = self.daemons.last_mut().unwrap();
                daemon.hung = true;
                daemon.life.stop();
                self.stage.scene().coverage.count("fault: hung");
            }
            // It goes on while the next one starts.
            _ => {}
        }
    }

    /// The machine loses its power: all processes die, and what was not on the disk is gone.
    async fn crash(&mut self) {
        self.end_all().await;
        self.stage.scene().coverage.count("fault: machine lost its power");
        self.shore.crash(&self.stage);
        let log = self.stage.scene().chance(0.5);
        let metadata = self.stage.scene().chance(0.5);
        self.log.crash(log);
        self.metadata.crash(metadata);
        self.stage.stepped(0, "crash", &format_args!(""));
    }

    async fn end_all(&mut self) {
        while !self.daemons.is_empty() {
            self.kill(0).await;
        }
    }

    async fn misfortune(&mut self) {
        let kind = self.stage.scene().between(0, 100);
        match kind {
            0..=5 => {
                self.load.server.disconnect();
                self.load.bell.ring();
                self.stage.scene().coverage.count("fault: disconnected");
            }
            6..=12 => {
                self.load.server.rotate();
                self.load.bell.ring();
            }
            13..=15 => self.request(RequestKind::Rebuild).await,
            // What only a paused table needs goes when the log is full.
            16..=18 if self.limits.log_bytes >= settings::ROOMY => self.request(RequestKind::Pause).await,
            19..=25 => self.resume().await,
            28..=29 => self.load.fail_over(&self.stage),
            30..=35 => self.read(),
            26..=27 if self.load.may_create(LATER) => {
                self.load.create(&self.stage, LATER);
                self.stage.scene().coverage.count("table created");
            }
            _ => {}
        }
    }

    /// A reader of the lake's own door sees what the commit records say.
    fn read(&self) {
        let store = Arc::new(LifeStore { life: Life::steady(&self.stage), shore: Arc::clone(&self.shore) });
        let lake = ObjectLake::over(Arc::clone(&store) as _, store, self.limits.lake.clone());
        let names: Vec<String> = self.stage.scene().oracle.lake.keys().cloned().collect();
        for name in names {
            let (database, table) = name.split_once('/').unwrap();
            let table = LakeName { database: database.to_owned(), table: table.to_owned() };
            let answer = async { Ok::<_, lake::Error>((lake.published(&table).await?, lake.files(&table).await?)) };
            let found = match answer.now_or_never() {
                Some(Ok((committed, mut files))) => {
                    files.sort();
                    Some((committed.map(|committed| (committed.generation, committed.seq)), files))
                }
                Some(Err(error)) => return self.stage.violate(Invariant::ReaderDiffers, error.to_string()),
                None => None,
            };
            let expected = self.stage.scene().oracle.reading(&name);
            if found.as_ref() != Some(&expected) {
                self.stage.violate(Invariant::ReaderDiffers, format!("{name}: {found:?}, its records say {expected:?}"));
            }
        }
        self.stage.scene().coverage.count("reader looked");
    }

    async fn request(&mut self, kind: RequestKind) {
        let tables = self.tables();
        let index = self.stage.scene().between(0, tables.len() as u64) as usize;
        let table = TableName::new("shop", tables[index]);
        self.metadata.put_request("sim", &table, kind).await.unwrap();
        self.stage.scene().coverage.count(if kind == RequestKind::Pause { "request: pause" } else { "request: rebuild" });
        self.stage.stepped(0, "request", &format_args!("{kind:?} {table}"));
        if kind == RequestKind::Pause {
            self.paused.insert(table);
        }
    }

    async fn resume(&mut self) {
        for table in std::mem::take(&mut self.paused) {
            self.metadata.put_request("sim", &table, RequestKind::Resume).await.unwrap();
            self.stage.stepped(0, "request", &format_args!("Resume {table}"));
        }
    }

    /// Nothing goes wrong any more: every table must come to the server's end, and nothing may be left over.
    async fn settle(&mut self) {
        self.stage.scene().calm = true;
        self.end_all().await;
        self.load.show_all(&self.stage);
        tokio::time::sleep(LATEST).await;
        self.resume().await;
        self.land(0.5);
        self.start(&self.tables(), true);
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.land(1.0);
        let daemon = self.daemons.pop().unwrap();
        match tokio::time::timeout(Duration::from_secs(120), daemon.task).await {
            Ok(Ok(outcome)) if outcome == Outcome::default() => {}
            other => self.stage.violate(Invariant::NotCaughtUp, format!("{other:?}")),
        }
        if self.stage.scene().is_violated() {
            return;
        }
        self.complete();
        self.start(&self.tables(), false);
        // With a metastore a file's time begins when this daemon has published a version without it.
        let started = if self.metastore.is_some() { Duration::from_secs(2) } else { Duration::ZERO };
        tokio::time::sleep(started + self.limits.lake.retention.max * 2).await;
        self.end_all().await;
        self.complete();
        let missing = self.stage.scene().oracle.missing_day();
        if let Some(missing) = missing {
            self.stage.violate(Invariant::DayMissing, missing);
        }
        self.nothing_left();
    }

    /// Each lake table is at the server's end.
    fn complete(&self) {
        let mut scene = self.stage.scene();
        let all = scene.oracle.history.transactions();
        for name in self.tables() {
            let behind = scene.oracle.behind(name, all);
            if let Some(behind) = behind {
                scene.violate(Invariant::NotCaughtUp, behind);
            }
        }
        if self.metastore.is_some()
            && let Some(unshown) = scene.oracle.unshown()
        {
            scene.violate(Invariant::NotCaughtUp, unshown);
        }
    }

    /// Every data file belongs to what readers see: all else had its time.
    fn nothing_left(&self) {
        let mut scene = self.stage.scene();
        let left: Vec<String> = self.shore.paths().into_iter().filter(|path| !scene.oracle.is_needed(path)).collect();
        if !left.is_empty() {
            scene.violate(Invariant::FilesLeft, format!("{left:?}"));
        }
    }
}
