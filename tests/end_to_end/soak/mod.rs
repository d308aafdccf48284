//! The long run: the bank and the mixed workload, and all the while kills, network cuts and what an operator does.
//!
//! After every deed the daemon has to commit again, no table may be parked, and every state of the bank that is read on the way has
//! the sum it always had. Every few deeds the load stops, the lake catches up, and every table is compared with MySQL. At the end a
//! table says what was done and survived. `make soak MINUTES=…` runs it for as long as wanted.

mod deeds;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::bank::{self, ACCOUNTS_PER_CHUNK, Tellers};
use crate::daemon::Daemon;
use crate::equality::{assert_equal, assert_no_duplicates};
use crate::lake::Reader;
use crate::proxy::Proxy;
use crate::scene::Scene;
use crate::server::Server;
use crate::workload::{self, SHAPES, Workload};
use deeds::Deed;

/// Rows that the tables of the workload start with.
const ROWS: usize = 1000;
/// Deeds between two comparisons of everything.
const DEEDS_PER_INSPECTION: u64 = 12;
/// Minutes, where the environment does not say.
const MINUTES: u64 = 3;
/// How long the daemon may take to commit again: timeouts of silent connections, and waits behind failures.
const RETURN_LIMIT: Duration = Duration::from_secs(180);

/// What was done so far.
#[derive(Debug, Default)]
struct Tally {
    /// Per kind of deed: how often, and the slowest way back.
    deeds: BTreeMap<&'static str, (u64, Duration)>,
    transactions: u64,
    transfers: u64,
    states: u64,
    inspections: u64,
    compared: u64,
}

/// A run under way.
struct Soak {
    server: Server,
    proxy: Proxy,
    scene: Scene,
    tables: Vec<String>,
    tally: Tally,
}

impl Soak {
    async fn new() -> Self {
        let server = Server::start(&["--sync-binlog=1", "--max-binlog-size=16777216"]).await;
        workload::prepare(&server, "soak", &SHAPES, ROWS).await;
        bank::prepare(&server).await;
        let proxy = Proxy::start(server.port()).await;
        let items = [
            "{table: bank.accounts, layout: segments}",
            "{table: soak.ordinary, mode: both}",
            "{table: soak.composite, mode: both}",
            "{table: soak.*}",
        ];
        let mut scene = Scene::new(&server, &items);
        scene.edit(|yaml| {
            yaml.url = format!("mysql://127.0.0.1:{}", proxy.port());
            yaml.snapshot = format!("{{parallel: 2, chunk_rows: {ACCOUNTS_PER_CHUNK}}}");
            yaml.lake = "  file_bytes: 16KiB\n  retention: {min: 2m, max: 10m, size: 3x}\n".to_owned();
        });
        let mut tables = workload::names("soak", &SHAPES);
        tables.push("bank.accounts".to_owned());
        Self { server, proxy, scene, tables, tally: Tally::default() }
    }

    /// Load, some deeds, and a look at everything when the lake has caught up.
    async fn stretch(&mut self, dice: &mut StdRng, until: Instant) {
        let load = Workload::start_hardy(&self.server, "soak", &SHAPES, dice.random_range(0..1 << 32)).await;
        let tellers = Tellers::start(&self.server, dice.random_range(0..1 << 32));
        let mut tally = std::mem::take(&mut self.tally);
        let mut daemon = Daemon::start(&self.scene);
        daemon.wait_live(&self.tables);
        for _ in 0..DEEDS_PER_INSPECTION {
            if Instant::now() > until {
                break;
            }
            load.commits(dice.random_range(50..500)).await;
            let deed = Deed::draw(dice);
            let (transfers, begun) = (tellers.transfers(), Instant::now());
            println!("{} {}", tally.deeds.values().map(|(times, _)| times).sum::<u64>() + 1, deed.name());
            daemon = deed.happens(self, daemon, dice).await;
            tally.states += self.goes_on(&mut daemon);
            assert!(tellers.transfers() > transfers, "no money moved during {deed:?}");
            let entry = tally.deeds.entry(deed.name()).or_default();
            *entry = (entry.0 + 1, entry.1.max(begun.elapsed()));
        }
        tally.transactions += load.stop().await;
        tally.transfers += tellers.stop().await;
        daemon.stop();
        self.tally = tally;
        self.inspect().await;
    }

    /// Waits until the bank's table and another one were committed anew, reading state after state. Answers how many.
    fn goes_on(&self, daemon: &mut Daemon<'_>) -> u64 {
        let mut reader = Reader::start();
        let mut states = std::collections::BTreeSet::new();
        let watched = ["bank.accounts", "soak.ordinary"];
        let before = self.scene.status();
        daemon.wait_long_for(RETURN_LIMIT, "commits behind the deed", |status| {
            for table in &self.tables {
                if let Some(reason) = status.parked(table) {
                    panic!("{table} is parked: {reason}");
                }
            }
            states.insert(bank::read_state(&self.scene, &mut reader));
            let moved = |table| status.commit(table).is_some() && status.commit(table) != before.commit(table);
            watched.iter().all(|table| moved(table)) && status.daemon_running() && status.all_live(&self.tables)
        });
        states.len() as u64
    }

    async fn inspect(&mut self) {
        self.scene.catch_up();
        assert_equal(&self.scene, &self.server, &self.tables).await;
        assert_no_duplicates(&self.scene, "soak.ordinary");
        assert_no_duplicates(&self.scene, "soak.composite");
        bank::read_state(&self.scene, &mut Reader::start());
        self.tally.inspections += 1;
        self.tally.compared += self.tables.len() as u64;
        println!("compared: all {} tables are equal", self.tables.len());
    }
}

impl Tally {
    fn print(&self, minutes: u64, seed: u64) {
        println!("\n| in {minutes} minutes, seed {seed} | times | slowest way back |\n|---|---:|---:|");
        for (name, (times, slowest)) in &self.deeds {
            println!("| {name} | {times} | {:.1} s |", slowest.as_secs_f64());
        }
        println!("\n| meanwhile | |\n|---|---:|");
        println!("| transactions of the mixed workload | {} |", self.transactions);
        println!("| transfers of the bank | {} |", self.transfers);
        println!("| states of the bank read, each with the right sum | {} |", self.states);
        println!("| comparisons of everything | {} |", self.inspections);
        println!("| tables found equal, cell by cell | {} |", self.compared);
        println!("| tables parked, rows lost, rows double | 0 |\n");
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

#[ignore = "long: as long as wanted"]
#[tokio::test(flavor = "multi_thread")]
async fn a_long_run_of_everything_that_goes_wrong() {
    let (minutes, seed) = (number("BINLAKE_SOAK_MINUTES", MINUTES), number("BINLAKE_SOAK_SEED", 1));
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    let mut dice = StdRng::seed_from_u64(seed);
    let mut soak = Soak::new().await;
    while Instant::now() < until {
        soak.stretch(&mut dice, until).await;
    }
    soak.tally.print(minutes, seed);
}
