//! Appending: one thread owns the client, and takes one append at a time.
//!
//! Why an acknowledged append is in the log, whole and in order, and why after a failure nothing is taken for acknowledged:
//! - The client is idempotent, waits for all replicas in sync, and never gives a record up (`message.timeout.ms=0`): it sends each partition's
//!   records in their order until they are acknowledged, so that what is in the log is always a prefix of what was sent.
//! - Every record's report is counted. An append is answered when all have come, and fails with the first that says otherwise. Then the client
//!   goes, with whatever it still had: the next append has a new one, and its caller has read the tails before.
//! - What a dropped client, or one of a process that died, had sent may still land after that look. It has a lower term or positions that
//!   are repeated, and readers leave it out. With transactions the brokers refuse it: making a client shuts out the one before it.
//!
//! The client's own waits come in steps of a tenth of a second, so they are not used: reports are served at once, and between two looks the
//! thread sleeps a little.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::client::{Client, Sizes};
use super::failure::storage_text;
use super::sending::{Ends, Failed};
use super::settings::KafkaSettings;
use super::voice::LastWord;
use crate::changelog::{AppendBatch, Result};

/// Appends that may wait.
const QUEUE: usize = 16;
/// An idle client is looked after so often.
const IDLE: Duration = Duration::from_secs(1);

type Answer<T> = oneshot::Sender<std::result::Result<T, Failed>>;

enum Job {
    /// Makes a client anew: with transactions, whoever had one before is shut out.
    Claim {
        sizes: Sizes,
        answer: Answer<()>,
    },
    Append {
        sizes: Sizes,
        batches: Arc<Vec<AppendBatch>>,
        answer: Answer<Vec<Ends>>,
    },
}

/// The handle of the thread. Dropping it ends the thread, and an append that is on its way with it.
pub(super) struct Producer {
    jobs: Option<SyncSender<(Job, OwnedSemaphorePermit)>>,
    room: Arc<Semaphore>,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    last_word: LastWord,
}

impl Producer {
    /// Starts the thread; it makes a client when there is something to do. While there is nothing it does the `upkeep`, every second.
    pub(super) fn start(settings: Arc<KafkaSettings>, upkeep: impl Fn() + Send + 'static) -> Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let closed = Arc::new(AtomicBool::new(false));
        let (closes, last_word) = (Arc::clone(&closed), LastWord::default());
        let (upkeep, said) = (Box::new(upkeep), last_word.clone());
        let mut thread = ProducerThread { settings, queue, closed: closes, upkeep, client: None, last_word: said };
        let thread = std::thread::Builder::new().name("kafka-producer".to_owned()).spawn(move || thread.run());
        let thread =
            Some(thread.map_err(|error| storage_text("-", format!("the producer's thread cannot be started: {error}")))?);
        Ok(Self { jobs: Some(jobs), room: Arc::new(Semaphore::new(QUEUE)), closed, thread, last_word })
    }

    /// What the client said of trouble with the brokers, if that is not long ago.
    pub(super) fn last_word(&self) -> Option<String> {
        self.last_word.recent()
    }

    /// Makes a client anew. With transactions: whoever had one before is shut out, and what it had not committed is undone.
    pub(super) async fn claim(&self, sizes: Sizes) -> std::result::Result<(), Failed> {
        self.ask(|answer| Job::Claim { sizes, answer }).await
    }

    /// Appends; returns when all of it is acknowledged, or a part of it failed. When the call is dropped it is given up.
    pub(super) async fn append(&self, sizes: Sizes, batches: &Arc<Vec<AppendBatch>>) -> std::result::Result<Vec<Ends>, Failed> {
        let batches = Arc::clone(batches);
        self.ask(|answer| Job::Append { sizes, batches, answer }).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> std::result::Result<T, Failed> {
        let stopped = || Failed::storage("the producer's thread has stopped");
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| stopped())?;
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        // There is room: a permit stands for a place in the queue.
        jobs.try_send((job(answer), permit)).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the kafka producer's thread has panicked");
        }
    }
}

struct ProducerThread {
    settings: Arc<KafkaSettings>,
    queue: Receiver<(Job, OwnedSemaphorePermit)>,
    closed: Arc<AtomicBool>,
    upkeep: Box<dyn Fn() + Send>,
    /// None before the first append, and after one that failed.
    client: Option<Client>,
    last_word: LastWord,
}

impl ProducerThread {
    fn run(&mut self) {
        loop {
            match self.queue.recv_timeout(IDLE) {
                Ok((Job::Claim { sizes, answer }, _permit)) => {
                    self.client = None;
                    let made = self.make_client(sizes, &answer);
                    // Who no longer waits hears nothing.
                    drop(answer.send(made));
                }
                Ok((Job::Append { sizes, batches, answer }, _permit)) => {
                    let ends = self.append(sizes, &batches, &answer);
                    drop(answer.send(ends));
                }
                Err(RecvTimeoutError::Timeout) => {
                    (self.upkeep)();
                    if let Some(client) = &mut self.client {
                        client.look_after();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn make_client<T>(&mut self, sizes: Sizes, answer: &Answer<T>) -> std::result::Result<(), Failed> {
        let given_up = || answer.is_closed() || self.closed.load(Ordering::Acquire);
        self.client = Some(Client::new(&self.settings, sizes, self.last_word.clone(), &given_up)?);
        Ok(())
    }

    fn append<T>(&mut self, sizes: Sizes, batches: &[AppendBatch], answer: &Answer<T>) -> std::result::Result<Vec<Ends>, Failed> {
        if self.client.as_ref().is_some_and(|client| !client.fits(sizes)) && !self.settings.transactions {
            self.client = None;
        }
        if self.client.is_none() {
            if self.settings.transactions {
                // Making one would shut out a successor that has come meanwhile: only who opens a topic may.
                return Err(Failed::storage("the producer was closed after a failure: the topics have to be opened again"));
            }
            self.make_client(sizes, answer)?;
        }
        let Some(mut client) = self.client.take() else { return Err(Failed::storage("there is no producer")) };
        let given_up = || answer.is_closed() || self.closed.load(Ordering::Acquire);
        let ends = client.append(batches, &given_up)?;
        // Kept only where all went well.
        self.client = Some(client);
        Ok(ends)
    }
}
