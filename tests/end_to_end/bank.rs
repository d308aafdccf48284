//! A bank whose sum never changes, read while money moves: no reader ever sees half of a transfer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::Server;

/// Accounts, each with a hundred.
const ACCOUNTS: i64 = 3200;
/// Accounts of a chunk: a segment of the mirror.
const ACCOUNTS_PER_CHUNK: i64 = 160;
/// Segments that the mirror has at least.
const SEGMENTS: usize = 16;
/// Committed states that are read.
const STATES: usize = 100;
/// How long reading them may take.
const LIMIT: Duration = Duration::from_secs(180);

/// Moves money until it is told to stop: every transaction takes from one account and gives to another, far away.
async fn teller(server: &'static Server, number: u64, stop: Arc<AtomicBool>) {
    let mut dice = StdRng::seed_from_u64(number);
    let mut connection = server.connect().await;
    connection.query_drop("SET SESSION innodb_lock_wait_timeout = 2").await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        let (from, amount) = (dice.random_range(1..=ACCOUNTS), dice.random_range(1..90));
        let to = (from + dice.random_range(ACCOUNTS_PER_CHUNK..ACCOUNTS - ACCOUNTS_PER_CHUNK)) % ACCOUNTS + 1;
        connection.query_drop("START TRANSACTION").await.unwrap();
        let take =
            connection.query_drop(format!("UPDATE bank.accounts SET balance = balance - {amount} WHERE id = {from}")).await;
        let give = connection.query_drop(format!("UPDATE bank.accounts SET balance = balance + {amount} WHERE id = {to}")).await;
        // A deadlock's victim has been undone as a whole; all else may be committed only as a whole.
        let end = if take.is_ok() && give.is_ok() { "COMMIT" } else { "ROLLBACK" };
        connection.query_drop(end).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    connection.disconnect().await.unwrap();
}

/// Reads state after state until enough different ones were seen.
fn read_states(scene: &Scene, daemon: &mut Daemon<'_>) {
    let mut reader = Reader::start();
    let mut seen = BTreeSet::new();
    let deadline = Instant::now() + LIMIT;
    while seen.len() < STATES {
        assert!(daemon.runs(), "the daemon ended");
        assert!(Instant::now() < deadline, "only {} committed states seen within {LIMIT:?}", seen.len());
        let files = scene.files("bank.accounts");
        assert!(files.len() >= SEGMENTS, "the mirror has {} files: {files:?}", files.len());
        let answer = reader.query("SELECT CAST(sum(balance) AS BIGINT), count(*) FROM accounts", &[("accounts", &files)]);
        assert_eq!(json!(answer), json!([[ACCOUNTS * 100, ACCOUNTS]]), "a reader saw money that was not there: {files:?}");
        seen.insert(files);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_shows_another_sum() {
    let server = Server::shared();
    server.create_database("bank").await;
    let accounts: Vec<String> = (1..=ACCOUNTS).map(|id| format!("({id},100,RANDOM_BYTES(128))")).collect();
    server
        .execute(&[
            "CREATE TABLE bank.accounts (id INT NOT NULL PRIMARY KEY, balance INT NOT NULL, seal VARBINARY(128) NOT NULL)"
                .to_owned(),
            format!("INSERT INTO bank.accounts VALUES {}", accounts.join(",")),
        ])
        .await;
    let mut scene = Scene::new(server, &["{table: bank.accounts, layout: segments}"]);
    scene.edit(|yaml| {
        yaml.snapshot = format!("{{parallel: 2, chunk_rows: {ACCOUNTS_PER_CHUNK}}}");
        yaml.commit = "{interval: 200ms}".to_owned();
        // As large as a chunk, so that it becomes a segment.
        yaml.lake = "  file_bytes: 16KiB\n".to_owned();
    });

    let stop = Arc::new(AtomicBool::new(false));
    let mut tellers = tokio::task::JoinSet::new();
    for number in 0..3 {
        tellers.spawn(teller(server, number, Arc::clone(&stop)));
    }
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&["bank.accounts".to_owned()]);
    read_states(&scene, &mut daemon);
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tellers.join_next().await {
        ended.unwrap();
    }
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &["bank.accounts"]).await;
}
