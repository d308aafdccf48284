//! The one thread that writes: it takes the jobs that wait and commits them together, with one fsync for all of them.
//!
//! Each job runs in a savepoint of the group's transaction, so that one that is refused leaves nothing behind and the others go on.
//! A job is answered only after the group's commit: what was answered is durable. Only moving a consumer on is not waited for:
//! if the machine goes down, some records stay longer than needed, and whatever is committed later brings it along.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::store::{self, Failed, Outcome, storage};
use crate::changelog::{Error, Result};

/// Jobs that may wait.
const QUEUE: usize = 64;
/// Jobs that share a commit.
const GROUP: usize = 32;
/// Free pages (8 KiB each) are given back beyond this, and only if they are more than half of the file.
const FREE_PAGES_KEPT: i64 = 8192;

/// Whether an answer waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// What was answered survives a power cut.
    Durable,
    /// It survives the process; losing it costs nothing but space.
    Eventual,
}

/// Tells the caller how its job ended, once the group's transaction has: with None if that was committed.
type Answer = Box<dyn FnOnce(Option<Error>) + Send>;

/// What a job leaves in the transaction.
enum Left {
    Changes,
    Nothing,
}

/// Work in the transaction; or, where there is none, the reason.
type Work = Box<dyn FnOnce(Result<&Connection>) -> (Left, Answer) + Send>;

struct Job {
    durability: Durability,
    work: Work,
}

/// The handle of the writing thread; dropping it waits until the jobs that it took are done.
pub(super) struct Writer {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    used: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread on a connection.
    pub(super) fn start(path: PathBuf, connection: Connection) -> Result<Self> {
        let bytes = used(&connection).map_err(|failed| failed.at(&path))?;
        let used = Arc::new(AtomicU64::new(bytes));
        let (jobs, queue) = mpsc::channel(QUEUE);
        let mut thread = WriterThread { path: path.clone(), connection, queue, used: Arc::clone(&used), durable: true };
        let thread = std::thread::Builder::new().name("changelog".to_owned()).spawn(move || thread.run());
        let thread = Some(thread.map_err(|error| storage(&path, &error))?);
        Ok(Self { path, jobs: Some(jobs), thread, used })
    }

    /// Live bytes after the last commit.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Runs `work` in the next group's transaction. If the call is dropped the work is done all the same, or not at all.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let work: Work = Box::new(move |connection| {
            let outcome = connection.and_then(|connection| work(connection).map_err(|failed| failed.at(&path)));
            let left = if outcome.is_ok() { Left::Changes } else { Left::Nothing };
            let answer = move |failure: Option<Error>| {
                let outcome = outcome.and_then(|value| failure.map_or(Ok(value), Err));
                // A caller that has gone does not wait for an answer.
                drop(reply.send(outcome));
            };
            (left, Box::new(answer))
        });
        let stopped = || storage(&self.path, &"its writing thread has stopped");
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { durability, work }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the change log's writing thread has panicked");
        }
    }
}

/// Live bytes as the store counts them.
pub(super) fn used(connection: &Connection) -> Outcome<u64> {
    let mut statement = connection.prepare_cached("SELECT bytes FROM usage")?;
    store::number(statement.query_row([], |row| row.get(0))?)
}

struct WriterThread {
    path: PathBuf,
    connection: Connection,
    queue: mpsc::Receiver<Job>,
    used: Arc<AtomicU64>,
    /// Whether commits wait for the disk now.
    durable: bool,
}

impl WriterThread {
    fn run(&mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let mut group = VecDeque::from([first]);
            while group.len() < GROUP
                && let Ok(next) = self.queue.try_recv()
            {
                group.push_back(next);
            }
            self.serve(group);
            if let Err(failed) = self.shrink() {
                tracing::warn!(error = %failed.at(&self.path), "free space of the change log could not be given back");
            }
        }
    }

    /// Runs a group, commits it and answers it.
    fn serve(&mut self, mut group: VecDeque<Job>) {
        let mut answers = Vec::with_capacity(group.len());
        let Err(failed) = self.commit(&mut group, &mut answers) else {
            answers.into_iter().for_each(|answer| answer(None));
            return;
        };
        self.abandon();
        let reason = match failed {
            Failed::Sql(error) => error.to_string(),
            Failed::Content(reason) => reason,
            Failed::Log(error) => error.to_string(),
        };
        answers.into_iter().for_each(|answer| answer(Some(storage(&self.path, &reason))));
        for job in group {
            let (_, answer) = (job.work)(Err(storage(&self.path, &reason)));
            answer(None);
        }
    }

    /// Runs the jobs of a group, which leave it one by one, and commits what they did.
    fn commit(&mut self, group: &mut VecDeque<Job>, answers: &mut Vec<Answer>) -> Outcome<()> {
        self.wait_for_disk(group.iter().any(|job| job.durability == Durability::Durable))?;
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        while !group.is_empty() {
            self.connection.execute_batch("SAVEPOINT job")?;
            let Some(job) = group.pop_front() else { break };
            let (left, answer) = (job.work)(Ok(&self.connection));
            answers.push(answer);
            match left {
                Left::Changes => self.connection.execute_batch("RELEASE job")?,
                Left::Nothing => self.connection.execute_batch("ROLLBACK TO job; RELEASE job")?,
            }
        }
        let bytes = used(&self.connection)?;
        self.connection.execute_batch("COMMIT")?;
        self.used.store(bytes, Ordering::Release);
        Ok(())
    }

    /// FULL syncs the write-ahead log at each commit, and with it whatever was committed before under NORMAL.
    fn wait_for_disk(&mut self, durable: bool) -> Outcome<()> {
        if self.durable != durable {
            self.connection.execute_batch(if durable { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
            self.durable = durable;
        }
        Ok(())
    }

    /// Ends a transaction that failed. SQLite may have ended it already.
    fn abandon(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(path = %self.path.display(), %error, "a transaction of the change log could not be rolled back");
        }
    }

    /// Gives some free pages back to the file system.
    fn shrink(&mut self) -> Outcome<()> {
        let count = |pragma: &str| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (free, all) = (count("freelist_count")?, count("page_count")?);
        if free > FREE_PAGES_KEPT && free > all / 2 {
            // It gives back one page a row.
            let mut statement = self.connection.prepare_cached("PRAGMA incremental_vacuum(1024)")?;
            let mut pages = statement.query([])?;
            while pages.next()?.is_some() {}
        }
        Ok(())
    }
}
