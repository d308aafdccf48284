//! One run of kills, drawn from a seed: at every named point, and at any moment; of the daemon, of the server, and of both.
//!
//! The load goes on all the time: after every kill the writers have to commit again before the next one comes.

use std::collections::BTreeMap;
use std::time::Duration;

use binlake::trial::at;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::stage::Stage;
use crate::daemon::Daemon;
use crate::workload::{SHAPES, Workload};

/// Points that a daemon of live tables comes by again and again.
const IN_TAIL: [&str; 5] = [at::ACKNOWLEDGED, at::PUBLISHED, at::UPLOADED, at::COMMITTED, at::BEFORE_RELEASE];

/// The points of a rebuild, in the order in which it comes by them: a daemon that died at one goes on to the next.
const IN_REBUILD: [&str; 10] = [
    at::REBUILD_BEGUN,
    at::CAPTURING,
    at::CHUNK_UPLOADED,
    at::CHUNK_DONE,
    at::CHUNKS_IN,
    at::ADOPTING,
    at::ADOPTED,
    at::SWITCHING,
    at::SWITCHED,
    at::RETIRING,
];

/// A rebuild whose request is met twice makes two generations.
const GENERATIONS_PER_REBUILD: u32 = 2;

/// A kill at no named point comes at most so long after the start.
const MOMENTS: std::ops::Range<u64> = 0..1500;

/// How much is killed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// Rows of the table whose snapshot is interrupted.
    pub(super) large_rows: u64,
    /// How often at every named point, at least.
    pub(super) per_point: u64,
    /// Kills at any moment while snapshots are read.
    pub(super) in_load: u64,
    /// Kills at any moment while all tables are live.
    pub(super) in_tail: u64,
    /// Kills of the server under a daemon, and of both at once, in each of the two.
    pub(super) of_server: u64,
}

/// A kill of live tables.
#[derive(Debug, Clone, Copy)]
enum Kill {
    At(&'static str),
    AnyMoment,
    Server,
    Both,
}

/// One run under way.
pub(super) struct Run {
    stage: Stage,
    load: Workload,
    dice: StdRng,
    plan: Plan,
    tally: BTreeMap<&'static str, u64>,
    in_load: u64,
}

impl Run {
    pub(super) async fn start(database: &'static str, plan: Plan) -> Self {
        // Durable at every commit, and so for the binlog's readers: a crash loses nothing that was sent.
        let stage = Stage::new(database, plan.large_rows, &["--sync-binlog=1"]).await;
        let load = Workload::start_hardy(&stage.server, database, &SHAPES, plan.seed).await;
        Self { stage, load, dice: StdRng::seed_from_u64(plan.seed), plan, tally: BTreeMap::new(), in_load: 0 }
    }

    /// All of it, and what must hold at the end. Answers how many kills there were, by what was killed or where.
    pub(super) async fn through(mut self) -> BTreeMap<&'static str, u64> {
        self.first_load().await;
        for _ in 0..self.plan.per_point {
            self.rebuild().await;
        }
        self.live().await;
        let transactions = self.load.stop().await;
        println!("{transactions} transactions; kills: {:?}, {} of them in the first load", self.tally, self.in_load);
        let rebuilds = self.plan.per_point as u32 * GENERATIONS_PER_REBUILD;
        self.stage.assert_exact(self.in_load, rebuilds).await;
        self.tally
    }

    /// Counts a kill, and waits until the load goes on.
    async fn counted(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
        self.load.commits(1).await;
    }

    async fn die_at(&mut self, point: &'static str, passages: std::ops::RangeInclusive<u64>) {
        let passage = self.dice.random_range(passages);
        tokio::task::block_in_place(|| Daemon::die_at(&self.stage.scene, point, passage));
        self.counted(point).await;
    }

    /// A daemon, some moments after its start.
    async fn started(&mut self) -> Daemon<'_> {
        let moment = Duration::from_millis(self.dice.random_range(MOMENTS));
        let daemon = Daemon::start(&self.stage.scene);
        tokio::time::sleep(moment).await;
        daemon
    }

    /// From an empty state until every table is live.
    async fn first_load(&mut self) {
        for _ in 0..self.plan.per_point {
            self.die_at(at::FORMAT_STEP, 1..=1).await;
        }
        // All tables are captured at once: a daemon that has passed it leaves nothing to capture to the next.
        for _ in 0..self.plan.per_point {
            self.die_at(at::CAPTURING, 1..=1).await;
        }
        for _ in 0..self.plan.per_point {
            self.die_at(at::CHUNK_UPLOADED, 1..=4).await;
            self.die_at(at::CHUNK_DONE, 1..=4).await;
        }
        self.in_load = 2 * self.plan.per_point;
        // The server's share lies between the others.
        let all = self.plan.in_load + self.plan.of_server;
        for kill in 1..=all {
            let mut daemon = self.stage.start_until_percent(kill * 90 / (all + 1));
            let of_server = kill * self.plan.of_server / all > (kill - 1) * self.plan.of_server / all;
            if of_server {
                self.stage.kill_server().await;
                let (large, before) = (self.stage.table("large"), self.stage.loaded());
                daemon.wait_for("more chunks", |status| status.snapshot_rows(&large) > before);
            }
            daemon.kill();
            self.in_load += 1 + u64::from(of_server);
            self.counted(if of_server { "server while loading" } else { "while loading" }).await;
        }
        let mut daemon = Daemon::start(&self.stage.scene);
        daemon.wait_live(&self.stage.tables);
        daemon.kill();
        self.counted("just live").await;
    }

    /// A rebuild that is killed at every point it comes by.
    async fn rebuild(&mut self) {
        let table = self.stage.table("composite");
        self.stage.scene.good(&["rebuild", &table]);
        for point in IN_REBUILD {
            self.die_at(point, 1..=1).await;
        }
        let mut daemon = Daemon::start(&self.stage.scene);
        daemon.wait_live(&[table]);
        daemon.stop();
    }

    async fn live(&mut self) {
        let mut kills = Vec::new();
        for _ in 0..self.plan.per_point {
            kills.extend(IN_TAIL.map(Kill::At));
        }
        kills.extend((0..self.plan.in_tail).map(|_| Kill::AnyMoment));
        kills.extend((0..self.plan.of_server).flat_map(|_| [Kill::Server, Kill::Both]));
        kills.shuffle(&mut self.dice);
        for kill in kills {
            match kill {
                Kill::At(point) => self.die_at(point, 1..=8).await,
                Kill::AnyMoment => {
                    self.started().await.kill();
                    self.counted("any moment").await;
                }
                Kill::Server => self.server_under_a_daemon().await,
                Kill::Both => {
                    self.started().await.kill();
                    self.stage.kill_server().await;
                    self.counted("server and daemon").await;
                }
            }
        }
    }

    /// The server goes at any moment, and the same daemon goes on when it is back.
    async fn server_under_a_daemon(&mut self) {
        let moment = Duration::from_millis(self.dice.random_range(MOMENTS));
        let ordinary = self.stage.table("ordinary");
        let mut daemon = Daemon::start(&self.stage.scene);
        tokio::time::sleep(moment).await;
        self.stage.kill_server().await;
        let before = self.stage.scene.status().commit(&ordinary);
        daemon.wait_for("a commit from the server that came back", |status| status.commit(&ordinary) > before);
        daemon.kill();
        self.counted("server").await;
    }
}
