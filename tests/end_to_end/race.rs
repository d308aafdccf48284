//! The commit race on a real server: tables are added and loaded while sixteen writers commit, and no update is lost.
//!
//! Every row is updated once. An update that a snapshot did not see, and whose event lies below the table's `since`, is lost for good:
//! no later change of the row would heal or betray it. So the lake's sum says how many were lost.
//!
//! A server sends a transaction's events before its rows can be seen. `sync_binlog=0` with a delay before each group's sync makes that
//! gap as long as the delay; without the wait for visibility updates are lost then, and two of the tests assert just that.

use std::sync::{Arc, Mutex};

use mysql_async::prelude::Queryable;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::equality::assert_equal;
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::{Address, Kind, Server};

/// Connections that commit at the same time.
const WRITERS: usize = 16;
/// Rows of a table.
const ROWS: usize = 40;
/// Rounds within which the planted mistake has to have lost an update; the first one does.
const ROUNDS_TO_LOSE: u32 = 12;
/// Options of a server without GTIDs.
const WITHOUT_GTIDS: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];

/// How a server commits.
#[derive(Debug, Clone, Copy)]
struct Commits {
    /// `binlog_order_commits`.
    ordered: bool,
    /// `sync_binlog`.
    sync: u32,
    /// `binlog_group_commit_sync_delay`, in microseconds.
    delay: u32,
}

/// The widest gap between an event and its row.
const WIDE: Commits = Commits { ordered: true, sync: 0, delay: 500_000 };

struct Race {
    server: Server,
    kind: Kind,
    database: &'static str,
    scene: Scene,
    tables_per_round: usize,
    rounds: u32,
}

impl Race {
    async fn new(database: &'static str, options: &[&str], tables_per_round: usize) -> Self {
        Self::on(Kind::Mysql, database, options, tables_per_round).await
    }

    async fn on(kind: Kind, database: &'static str, options: &[&str], tables_per_round: usize) -> Self {
        let server = Server::start_a(kind, options).await;
        server.create_database(database).await;
        let scene = Scene::new::<&str>(&server, &[]);
        Self { server, kind, database, scene, tables_per_round, rounds: 0 }
    }

    async fn commit_like(&self, commits: Commits) {
        let ordered = if commits.ordered { "ON" } else { "OFF" };
        let mut settings = vec![format!("SET GLOBAL sync_binlog = {}", commits.sync)];
        settings.extend(match self.kind {
            Kind::Mysql => [
                format!("SET GLOBAL binlog_order_commits = {ordered}"),
                format!("SET GLOBAL binlog_group_commit_sync_delay = {}", commits.delay),
            ],
            // Its commits are always in order, and it waits before a group's events are written.
            Kind::Mariadb(_) => [
                format!("SET GLOBAL binlog_commit_wait_count = {}", if commits.delay > 0 { WRITERS } else { 0 }),
                format!("SET GLOBAL binlog_commit_wait_usec = {}", commits.delay),
            ],
        });
        self.server.execute(&settings).await;
    }

    /// New tables, all of whose rows are updated while they are loaded. Answers how many updates the lake lacks when everything has
    /// come to rest.
    async fn round(&mut self, commits: Commits) -> u64 {
        self.rounds += 1;
        let prefix = format!("r{}", self.rounds);
        let tables: Vec<String> = (0..self.tables_per_round).map(|table| format!("{}.{prefix}_{table}", self.database)).collect();
        for table in &tables {
            let rows: Vec<String> = (1..=ROWS).map(|id| format!("({id},0)")).collect();
            self.server
                .execute(&[
                    format!("CREATE TABLE {table} (id INT NOT NULL PRIMARY KEY, updates INT NOT NULL)"),
                    format!("INSERT INTO {table} VALUES {}", rows.join(",")),
                ])
                .await;
        }
        let pattern = format!("{{table: {}.{prefix}_*}}", self.database);
        self.scene.edit(|yaml| yaml.tables = vec![pattern]);

        self.commit_like(commits).await;
        let writers = update_all(self.server.address(), &tables, u64::from(self.rounds));
        self.scene.catch_up();
        // The load is over: what is left of the updates may come fast.
        self.commit_like(Commits { delay: 0, ..commits }).await;
        writers.join_all().await;
        self.scene.catch_up();

        let files: Vec<String> = tables.iter().flat_map(|table| self.scene.files(table)).collect();
        let answer = Reader::start().query("SELECT count(*), CAST(sum(updates) AS BIGINT) FROM t", &[("t", &files)]);
        let number = |value: &Value| value.as_u64().unwrap();
        let rows = (self.tables_per_round * ROWS) as u64;
        assert_eq!(number(&answer[0][0]), rows, "rows of the lake");
        rows - number(&answer[0][1])
    }

    /// Some rounds, none of which loses anything; the wait was made by `seen_by`.
    async fn loses_nothing(&mut self, rounds: u32, commits: Commits, seen_by: &str) {
        for _ in 0..rounds {
            let lost = self.round(commits).await;
            assert_eq!(lost, 0, "updates lost in round {} with {commits:?}", self.rounds);
            let table = format!("{}.r{}_0", self.database, self.rounds);
            let explained = self.scene.good(&["explain", &table]);
            assert!(explained.contains(seen_by), "not seen by {seen_by}:\n{explained}");
            assert_equal(&self.scene, &self.server, &[table]).await;
        }
    }

    /// The real binary without the wait for visibility, until it loses an update.
    async fn loses_without_the_wait(&mut self) {
        self.scene.variables.push(("BINLAKE_PLANT", "LoadBeforeVisible".to_owned()));
        for _ in 0..ROUNDS_TO_LOSE {
            let lost = self.round(WIDE).await;
            println!("round {}: {lost} updates lost without the wait", self.rounds);
            if lost > 0 {
                return;
            }
        }
        panic!("no update was lost in {ROUNDS_TO_LOSE} rounds without the wait: the tests of the wait show nothing");
    }
}

/// Starts writers that update every row of the tables once, in an order of their own.
fn update_all(address: Address, tables: &[String], seed: u64) -> JoinSet<()> {
    let mut updates: Vec<String> = tables
        .iter()
        .flat_map(|table| (1..=ROWS).map(move |id| format!("UPDATE {table} SET updates = updates + 1 WHERE id = {id}")))
        .collect();
    updates.shuffle(&mut StdRng::seed_from_u64(seed));
    let updates = Arc::new(Mutex::new(updates));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let updates = Arc::clone(&updates);
        writers.spawn(async move {
            let mut connection = address.connect_again().await;
            loop {
                let update = updates.lock().unwrap().pop();
                let Some(update) = update else { break };
                connection.query_drop(update).await.unwrap();
            }
            connection.disconnect().await.unwrap();
        });
    }
    writers
}

/// All ways in which a server may commit.
fn all_ways() -> Vec<Commits> {
    let both = [true, false].into_iter();
    both.flat_map(|ordered| {
        [(0, 500_000), (0, 100_000), (1, 100_000), (1, 0)].map(|(sync, delay)| Commits { ordered, sync, delay })
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_lost_in_the_commit_race_with_gtids() {
    let mut race = Race::new("race_gtids", &[], 12).await;
    race.loses_nothing(1, WIDE, "gtid_executed").await;
    race.loses_nothing(1, Commits { ordered: false, ..WIDE }, "gtid_executed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_lost_in_the_commit_race_without_gtids() {
    let mut race = Race::new("race_positions", &WITHOUT_GTIDS, 12).await;
    race.loses_nothing(1, WIDE, "log_status").await;
    race.loses_nothing(1, Commits { ordered: false, ..WIDE }, "log_status").await;
}

/// There the gap between an event and its row is as short as a commit of the engine: what is lost without the wait is a matter of luck.
#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_lost_in_the_commit_race_on_mariadb() {
    let mut race = Race::on(Kind::Mariadb("11.8"), "race_maria", &[], 12).await;
    for (sync, delay) in [(0, 0), (1, 0), (1, 20_000)] {
        race.loses_nothing(1, Commits { ordered: true, sync, delay }, "consistent_snapshot").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_wait_for_visibility_updates_are_lost_with_gtids() {
    Race::new("race_lost_gtids", &[], 12).await.loses_without_the_wait().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_wait_for_visibility_updates_are_lost_without_gtids() {
    Race::new("race_lost_positions", &WITHOUT_GTIDS, 12).await.loses_without_the_wait().await;
}

#[ignore = "long: hundreds of tables"]
#[tokio::test(flavor = "multi_thread")]
async fn no_update_of_hundreds_of_tables_is_lost_however_the_server_commits_with_gtids() {
    let mut race = Race::new("races_gtids", &[], 16).await;
    for commits in all_ways() {
        race.loses_nothing(3, commits, "gtid_executed").await;
    }
}

#[ignore = "long: hundreds of tables"]
#[tokio::test(flavor = "multi_thread")]
async fn no_update_of_hundreds_of_tables_is_lost_however_the_server_commits_without_gtids() {
    let mut race = Race::new("races_positions", &WITHOUT_GTIDS, 16).await;
    for commits in all_ways() {
        race.loses_nothing(3, commits, "log_status").await;
    }
}
