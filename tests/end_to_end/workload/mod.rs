//! Writers that do what applications do to tables, and a few things that only tests do.
//!
//! Every writer is a connection with dice of its own. A transaction is one to six statements on any of the tables, ended by COMMIT,
//! ROLLBACK, a partial rollback to a savepoint, or as an XA transaction. What MySQL refuses (a duplicate key, a deadlock) is part of it.

pub(crate) mod mariadb;
mod tables;
mod types;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{AbortHandle, JoinSet};

use crate::server::{Address, Server};

pub(crate) use tables::{MARIADB_SHAPES, SHAPES, Shape};

/// Writers at the same time.
const WRITERS: u64 = 4;

/// Rows that a table starts with are inserted so many at once.
const PREFILL_ROWS: usize = 200;

/// A pause between transactions, so that a daemon without optimisation keeps up on a small machine.
const PAUSE: Duration = Duration::from_millis(8);

/// Writers at work on one database.
#[derive(Debug)]
pub(crate) struct Workload {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    writers: JoinSet<()>,
    at_work: Vec<AbortHandle>,
}

/// Makes the tables of `shapes` in a fresh database and fills each with about `rows` rows.
pub(crate) async fn prepare(server: &Server, database: &str, shapes: &[Shape], rows: usize) {
    server.create_database(database).await;
    let mut connection = server.connect().await;
    connection.query_drop(format!("USE {database}")).await.unwrap();
    let mut dice = StdRng::seed_from_u64(1);
    for shape in shapes {
        connection.query_drop(shape.create).await.unwrap();
        let mut left = rows.min(shape.rows_at_most);
        while left > 0 {
            let batch = left.min(PREFILL_ROWS);
            connection.query_drop(format!("INSERT IGNORE INTO {}", shape.rows(&mut dice, batch))).await.unwrap();
            left -= batch;
        }
    }
    connection.disconnect().await.unwrap();
}

/// The names of the tables, as `database.table`.
pub(crate) fn names(database: &str, shapes: &[Shape]) -> Vec<String> {
    shapes.iter().map(|shape| format!("{database}.{}", shape.name)).collect()
}

/// The tables for the YAML's list: all of the database, and `both` with a changelog table beside the mirror.
pub(crate) fn listed(database: &str, both: &[&str]) -> Vec<String> {
    let both = both.iter().map(|table| format!("{{table: {database}.{table}, mode: both}}"));
    both.chain([format!("{{table: {database}.*}}")]).collect()
}

impl Workload {
    /// Starts the writers.
    pub(crate) async fn start(server: &Server, database: &str, shapes: &'static [Shape], seed: u64) -> Self {
        Self::start_with(server, database, shapes, (seed, false)).await
    }

    /// Starts writers that come back when the server was killed under them.
    pub(crate) async fn start_hardy(server: &Server, database: &str, shapes: &'static [Shape], seed: u64) -> Self {
        Self::start_with(server, database, shapes, (seed, true)).await
    }

    async fn start_with(server: &Server, database: &str, shapes: &'static [Shape], (seed, hardy): (u64, bool)) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (mut writers, mut at_work) = (JoinSet::new(), Vec::new());
        for number in 0..WRITERS {
            let writer = Writer {
                connection: connect(server.address(), database).await,
                address: server.address(),
                database: database.to_owned(),
                hardy,
                cut: false,
                dice: StdRng::seed_from_u64(seed * WRITERS + number),
                shapes,
                xid: format!("{database}-{number}"),
                transactions: 0,
                committed: Arc::clone(&committed),
            };
            at_work.push(writers.spawn(writer.work(Arc::clone(&stop))));
        }
        Self { stop, committed, writers, at_work }
    }

    /// Transactions committed so far.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Waits until so many more transactions are committed.
    pub(crate) async fn commits(&self, count: u64) {
        let goal = self.committed() + count;
        let wait = async {
            while self.committed() < goal {
                assert!(!self.at_work.iter().any(AbortHandle::is_finished), "a writer ended");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), wait).await.expect("the workload commits");
    }

    /// Stops the writers behind their current transactions.
    pub(crate) async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
        self.committed()
    }
}

async fn connect(address: Address, database: &str) -> Conn {
    let mut connection = address.connect_again().await;
    connection.query_drop(format!("USE {database}")).await.unwrap();
    connection.query_drop("SET SESSION innodb_lock_wait_timeout = 2").await.unwrap();
    connection
}

struct Writer {
    connection: Conn,
    address: Address,
    database: String,
    /// Whether a lost connection is part of the game.
    hardy: bool,
    /// The connection was lost in this transaction: there is nothing left of it to go on with.
    cut: bool,
    dice: StdRng,
    shapes: &'static [Shape],
    xid: String,
    transactions: u64,
    committed: Arc<AtomicU64>,
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// The statement is undone, the transaction goes on.
    Refused,
    /// The transaction is undone, or has to be.
    Beaten,
}

impl Writer {
    async fn work(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            self.transactions += 1;
            self.cut = false;
            let committed = match self.dice.random_range(0..100) {
                0..8 => self.distributed().await,
                8..20 => self.with_savepoint().await,
                20..30 => self.ended_by("ROLLBACK").await,
                30..50 => self.statement().await == Outcome::Done,
                _ => self.ended_by("COMMIT").await,
            };
            if committed {
                self.committed.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.connection.disconnect().await.unwrap();
    }

    async fn run(&mut self, statement: &str) -> Outcome {
        if self.cut {
            return Outcome::Beaten;
        }
        match self.connection.query_drop(statement).await {
            Ok(()) => Outcome::Done,
            Err(mysql_async::Error::Server(error)) => match error.code {
                // Duplicate key, no parent row, a child row, too long a cascade: the statement alone is undone.
                1062 | 1451 | 1452 | 6575 => Outcome::Refused,
                // A row that changed since the snapshot (MariaDB), lock wait, deadlock, and what an XA transaction says afterwards.
                1020 | 1205 | 1213 | 1402 | 1613 | 1614 => Outcome::Beaten,
                // The savepoint went with its transaction: MySQL 9.7 undoes the victim of a deadlock also where the deadlock was met
                // when a foreign key was checked, but says 1452 of it.
                1305 => Outcome::Beaten,
                // The server is shutting down, and has interrupted what was running.
                1053 | 1317 if self.hardy => {
                    self.come_back().await;
                    Outcome::Beaten
                }
                _ => panic!("{statement}: {error}"),
            },
            Err(_) if self.hardy => {
                self.come_back().await;
                Outcome::Beaten
            }
            Err(error) => panic!("{statement}: {error}"),
        }
    }

    /// Connects again, and ends what a killed server has kept of an XA transaction: as applications do, one way or the other.
    async fn come_back(&mut self) {
        self.cut = true;
        let end = if self.dice.random_range(0..2) == 0 { "COMMIT" } else { "ROLLBACK" };
        let statement = format!("XA {end} '{}-{}','b',7", self.xid, self.transactions);
        loop {
            self.connection = connect(self.address, &self.database).await;
            match self.connection.query_drop(&statement).await {
                Ok(()) => return,
                // Nothing was prepared under this xid.
                Err(mysql_async::Error::Server(error)) if error.code == 1397 => return,
                Err(_) => {}
            }
        }
    }

    /// One statement of a transaction, or a few that belong together.
    async fn statement(&mut self) -> Outcome {
        let shape = &self.shapes[self.dice.random_range(0..self.shapes.len())];
        let mut last = Outcome::Done;
        for statement in shape.change(&mut self.dice) {
            last = self.run(&statement).await;
            if last != Outcome::Done {
                break;
            }
        }
        last
    }

    async fn statements(&mut self) -> Outcome {
        for _ in 0..self.dice.random_range(1..=6) {
            if self.statement().await == Outcome::Beaten {
                return Outcome::Beaten;
            }
        }
        Outcome::Done
    }

    async fn ended_by(&mut self, end: &str) -> bool {
        self.run("START TRANSACTION").await;
        if self.statements().await == Outcome::Beaten {
            self.run("ROLLBACK").await;
            return false;
        }
        self.run(end).await == Outcome::Done
    }

    async fn with_savepoint(&mut self) -> bool {
        self.run("START TRANSACTION").await;
        for part in ["SAVEPOINT here", "ROLLBACK TO SAVEPOINT here"] {
            if self.statements().await == Outcome::Beaten || self.run(part).await == Outcome::Beaten {
                self.run("ROLLBACK").await;
                return false;
            }
        }
        if self.statements().await == Outcome::Beaten {
            self.run("ROLLBACK").await;
            return false;
        }
        self.run("COMMIT").await == Outcome::Done
    }

    /// An XA transaction: committed in one phase or two, or rolled back before or behind its PREPARE.
    async fn distributed(&mut self) -> bool {
        let xid = format!("'{}-{}','b',7", self.xid, self.transactions);
        self.run(&format!("XA START {xid}")).await;
        let worked = self.statements().await;
        // A transaction that was a deadlock's victim can only be rolled back; XA END answers with that.
        let ended = self.run(&format!("XA END {xid}")).await;
        if worked == Outcome::Beaten || ended == Outcome::Beaten {
            self.run(&format!("XA ROLLBACK {xid}")).await;
            return false;
        }
        match self.dice.random_range(0..4) {
            0 => self.run(&format!("XA COMMIT {xid} ONE PHASE")).await == Outcome::Done,
            1 => {
                self.run(&format!("XA ROLLBACK {xid}")).await;
                false
            }
            way => {
                self.run(&format!("XA PREPARE {xid}")).await;
                tokio::time::sleep(PAUSE).await;
                let end = if way == 2 { "ROLLBACK" } else { "COMMIT" };
                self.run(&format!("XA {end} {xid}")).await == Outcome::Done
            }
        }
    }
}
