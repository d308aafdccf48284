//! A bank whose sum never changes, read while money moves: no reader ever sees half of a transfer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::task::JoinSet;

use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::{Address, Server};

/// Accounts, each with a hundred.
pub(crate) const ACCOUNTS: i64 = 3200;
/// Accounts of a chunk: a segment of the mirror.
pub(crate) const ACCOUNTS_PER_CHUNK: i64 = 160;
/// Segments that the mirror has at least.
pub(crate) const SEGMENTS: usize = 16;
/// Tellers at the same time.
const TELLERS: u64 = 3;
/// Committed states that are read.
const STATES: usize = 60;
/// How long reading them may take.
const LIMIT: Duration = Duration::from_secs(180);

/// Tellers at work: every transaction takes from one account and gives to another, far away.
#[derive(Debug)]
pub(crate) struct Tellers {
    stop: Arc<AtomicBool>,
    transfers: Arc<AtomicU64>,
    running: JoinSet<()>,
}

impl Tellers {
    /// Starts them; they come back when the server was killed under them.
    pub(crate) fn start(server: &Server, seed: u64) -> Self {
        let (stop, transfers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut running = JoinSet::new();
        for number in 0..TELLERS {
            running.spawn(teller(server.address(), seed * TELLERS + number, Arc::clone(&stop), Arc::clone(&transfers)));
        }
        Self { stop, transfers, running }
    }

    /// Transfers committed so far.
    pub(crate) fn transfers(&self) -> u64 {
        self.transfers.load(Ordering::Relaxed)
    }

    /// Stops them behind their current transactions.
    pub(crate) async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
        self.transfers()
    }
}

async fn teller(address: Address, number: u64, stop: Arc<AtomicBool>, transfers: Arc<AtomicU64>) {
    let mut dice = StdRng::seed_from_u64(number);
    let mut connection = address.connect_again().await;
    while !stop.load(Ordering::Relaxed) {
        match transfer(&mut connection, &mut dice).await {
            Ok(committed) => drop(transfers.fetch_add(u64::from(committed), Ordering::Relaxed)),
            // Whatever became of the transaction, it became of all of it.
            Err(_) => connection = address.connect_again().await,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    connection.disconnect().await.ok();
}

async fn transfer(connection: &mut Conn, dice: &mut StdRng) -> mysql_async::Result<bool> {
    let (from, amount) = (dice.random_range(1..=ACCOUNTS), dice.random_range(1..90));
    let to = (from + dice.random_range(ACCOUNTS_PER_CHUNK..ACCOUNTS - ACCOUNTS_PER_CHUNK)) % ACCOUNTS + 1;
    connection.query_drop("START TRANSACTION").await?;
    let take = connection.query_drop(format!("UPDATE bank.accounts SET balance = balance - {amount} WHERE id = {from}")).await;
    let give = connection.query_drop(format!("UPDATE bank.accounts SET balance = balance + {amount} WHERE id = {to}")).await;
    // A deadlock's victim has been undone as a whole; all else may be committed only as a whole.
    let whole = take.is_ok() && give.is_ok();
    connection.query_drop(if whole { "COMMIT" } else { "ROLLBACK" }).await?;
    Ok(whole)
}

/// Makes the bank.
pub(crate) async fn prepare(server: &Server) {
    server.create_database("bank").await;
    let accounts: Vec<String> = (1..=ACCOUNTS).map(|id| format!("({id},100,RANDOM_BYTES(128))")).collect();
    server
        .execute(&[
            "CREATE TABLE bank.accounts (id INT NOT NULL PRIMARY KEY, balance INT NOT NULL, seal VARBINARY(128) NOT NULL)"
                .to_owned(),
            format!("INSERT INTO bank.accounts VALUES {}", accounts.join(",")),
        ])
        .await;
}

/// Reads the state of this moment, whose sum has to be the one it always was. Answers its files.
pub(crate) fn read_state(scene: &Scene, reader: &mut Reader) -> Vec<String> {
    let files = scene.files("bank.accounts");
    assert!(files.len() >= SEGMENTS, "the mirror has {} files: {files:?}", files.len());
    let answer = reader.query("SELECT CAST(sum(balance) AS BIGINT), count(*) FROM accounts", &[("accounts", &files)]);
    assert_eq!(json!(answer), json!([[ACCOUNTS * 100, ACCOUNTS]]), "a reader saw money that was not there: {files:?}");
    files
}

/// Reads state after state until enough different ones were seen.
fn read_states(scene: &Scene, daemon: &mut Daemon<'_>) {
    let mut reader = Reader::start();
    let mut seen = BTreeSet::new();
    let deadline = Instant::now() + LIMIT;
    while seen.len() < STATES {
        assert!(daemon.runs(), "the daemon ended");
        assert!(Instant::now() < deadline, "only {} committed states seen within {LIMIT:?}", seen.len());
        seen.insert(read_state(scene, &mut reader));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_shows_another_sum() {
    the_sum_stays(Server::shared()).await;
}

/// See the module.
pub(crate) async fn the_sum_stays(server: &'static Server) {
    prepare(server).await;
    let mut scene = Scene::new(server, &["{table: bank.accounts, layout: segments}"]);
    scene.edit(|yaml| {
        yaml.snapshot = format!("{{parallel: 2, chunk_rows: {ACCOUNTS_PER_CHUNK}}}");
        yaml.commit = "{interval: 200ms}".to_owned();
        // As large as a chunk, so that it becomes a segment.
        yaml.lake = "  file_bytes: 16KiB\n".to_owned();
    });

    let tellers = Tellers::start(server, 0);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&["bank.accounts".to_owned()]);
    read_states(&scene, &mut daemon);
    tellers.stop().await;
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &["bank.accounts"]).await;
}
