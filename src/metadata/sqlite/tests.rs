//! The contract on real files, and what only a file can do: corruption, foreign formats, other processes, kill -9.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;
use crate::change::{Failure, Remedy, Term};
use crate::metadata::contract::{self, Stand, cut, source, table};
use crate::metadata::{CaptureState, Phase};

struct Files(tempfile::TempDir);

impl Files {
    fn path(&self) -> PathBuf {
        self.0.path().join("deep/state/binlake.db")
    }
}

impl Stand for Files {
    fn open(&self) -> Result<Arc<dyn Metadata>> {
        Ok(Arc::new(SqliteMetadata::open(&self.path())?))
    }
}

fn files() -> Files {
    Files(tempfile::tempdir().unwrap())
}

fn shell(path: &Path, sql: &str) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    contract::run(&|| Box::new(files())).await.unwrap();
}

async fn with_a_table(stand: &Files) {
    let store = stand.open().unwrap();
    let lease = store.acquire("source/shop", "test").await.unwrap();
    store.save_source(&lease, &source("shop")).await.unwrap();
    let parked = super::super::Parked { reason: "lost".to_owned(), remedy: "rebuild".to_owned(), resumable: false, at_ms: 5 };
    let state = TableState {
        phase: Phase::Live { handoff: cut(2, 77) }.pause().unwrap().park(parked),
        capture: CaptureState::On { since: cut(1, 4) },
        ..table("shop", &TableName::new("shop", "orders"), 1)
    };
    store.save_table(&lease, &state).await.unwrap();
}

#[tokio::test]
async fn a_person_reads_the_state_in_the_shell() {
    let stand = files();
    with_a_table(&stand).await;
    let connection = shell(&stand.path(), "");
    let line: (String, String, String, String, String) = connection
        .query_row("SELECT \"table\", phase, since, handoff, reason FROM overview", (), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .unwrap();
    let expected = ("shop.orders", "parked", "0:1:4", "0:2:77", "lost");
    assert_eq!((&*line.0, &*line.1, &*line.2, &*line.3, &*line.4), expected);
    assert!(connection.execute("UPDATE tables SET phase = 'live'", ()).is_err(), "a shown column cannot contradict its document");
}

#[tokio::test]
async fn corruption_is_named_and_never_read_over() {
    let cases = [
        ("UPDATE tables SET starts = '[1,'", "table shop.orders, generation 1: starts"),
        ("UPDATE tables SET phase_document = '{\"phase\":\"asleep\"}'", "table shop.orders, generation 1: phase"),
        ("UPDATE tables SET since = 'yesterday'", "table shop.orders, generation 1: since"),
        ("UPDATE tables SET since = NULL", "table shop.orders, generation 1: capture"),
        ("UPDATE tables SET datetimes = 'somehow'", "table shop.orders, generation 1: datetimes"),
        ("UPDATE schemas SET document = '{}'", "table shop.orders, generation 1: schema"),
        ("PRAGMA foreign_keys = OFF; DELETE FROM schemas", "table shop.orders, generation 1: schema"),
    ];
    for (sql, place) in cases {
        let stand = files();
        with_a_table(&stand).await;
        drop(shell(&stand.path(), sql));
        let error = stand.open().unwrap().tables("shop").await.unwrap_err();
        assert!(matches!(&error, Error::Corrupt { what, .. } if what == place), "{sql}: {error}");
        assert!(matches!(error.remedy(), Remedy::Stop(_)));
    }
    let stand = files();
    with_a_table(&stand).await;
    drop(shell(&stand.path(), "UPDATE sources SET published = '0:1:4'"));
    assert!(matches!(stand.open().unwrap().source("shop").await, Err(Error::Corrupt { .. })), "published without its file");
}

#[tokio::test]
async fn a_file_that_is_no_database_and_a_newer_format_are_refused() {
    let stand = files();
    std::fs::create_dir_all(stand.path().parent().unwrap()).unwrap();
    std::fs::write(
        stand.path(),
        "this is a text file that somebody put here, long enough to be read as a header, and more of it",
    )
    .unwrap();
    let error = SqliteMetadata::open(&stand.path()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");

    let stand = files();
    with_a_table(&stand).await;
    drop(shell(&stand.path(), "INSERT INTO format (version, binlake) VALUES (7, '9.9')"));
    let error = SqliteMetadata::open(&stand.path()).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 7, known: 6, .. }), "{error}");
}

#[tokio::test]
async fn every_commit_is_synced() {
    let stand = files();
    let store = SqliteMetadata::open(&stand.path()).unwrap();
    let connection = guard(&store.store.connection);
    let (mode, synchronous): (String, i64) = connection
        .query_row("SELECT j.journal_mode, s.synchronous FROM pragma_journal_mode j, pragma_synchronous s", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!((mode.as_str(), synchronous), ("wal", 2), "2 is FULL");
}

/// `run` makes the store while `status` and `rebuild` already look for it.
#[test]
fn a_fresh_store_is_made_by_many_at_once() {
    // In one or two of a hundred somebody would be sent away.
    for _ in 0..150 {
        let stand = files();
        let together = std::sync::Barrier::new(6);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    together.wait();
                    stand.open().unwrap();
                });
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_wait_for_a_writer() {
    let stand = files();
    with_a_table(&stand).await;
    let writer = Connection::open(stand.path()).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM tables").unwrap();
    let started = std::time::Instant::now();
    let seen = stand.open().unwrap().tables("shop").await.unwrap();
    assert_eq!(seen.len(), 1, "the last committed state");
    assert!(started.elapsed() < BUSY_TIMEOUT / 2);
}

#[tokio::test]
async fn a_daemon_is_seen_and_a_glance_at_it_is_in_nobodys_way() {
    let stand = files();
    let store = SqliteMetadata::open(&stand.path()).unwrap();
    assert_eq!(SqliteMetadata::living_holder(&stand.path()).unwrap(), None);
    let glance = std::fs::File::create(lock::path_of(&stand.path())).unwrap();
    glance.try_lock_shared().unwrap();
    let release = std::thread::spawn(move || {
        std::thread::sleep(lock::PATIENCE / 4);
        drop(glance);
    });
    store.claim("the daemon").await.unwrap();
    release.join().unwrap();
    assert!(SqliteMetadata::living_holder(&stand.path()).unwrap().is_some_and(|holder| holder.contains("the daemon")));
    let second = SqliteMetadata::open(&stand.path()).unwrap();
    assert!(matches!(second.claim("another").await, Err(Error::Held { holder, .. }) if holder.contains("the daemon")));
    drop(store);
    second.claim("another").await.unwrap();
}

/// Not a test of its own: the process that `kill_minus_nine_frees_the_lock` kills.
#[tokio::test]
async fn hold_until_killed() {
    let Some(path) = std::env::var_os("BINLAKE_TEST_HOLD") else { return };
    let store = SqliteMetadata::open(Path::new(&path)).unwrap();
    let lease = store.acquire("source/shop", "the victim").await.unwrap();
    println!("\nheld with term {}", lease.term);
    std::thread::sleep(Duration::from_secs(60));
}

#[tokio::test]
async fn kill_minus_nine_frees_the_lock() {
    let stand = files();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "metadata::sqlite::tests::hold_until_killed", "--nocapture"])
        .env("BINLAKE_TEST_HOLD", stand.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let held = lines.map_while(std::result::Result::ok).find(|line| line.starts_with("held")).unwrap();
    assert_eq!(held, "held with term 1");

    let store = SqliteMetadata::open(&stand.path()).unwrap();
    let refused = store.acquire("source/shop", "the heir").await.unwrap_err();
    let pid = format!("process {} ", victim.id());
    assert!(matches!(&refused, Error::Held { holder, .. } if holder.contains(&pid)), "{refused} names process {pid}");

    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(store.acquire("source/shop", "the heir").await.unwrap().term, Term(2));
}
