//! The commit log of one generation of one table: records in numbered slots, each filled once.
//!
//! ```text
//! <table>/_binlake/g0001/log/00000000000000000042.json          put-if-absent = THE commit
//! <table>/_binlake/g0001/checkpoint/00000000000000000064.json   the sum of all records up to 64
//! ```
//!
//! **Why nothing is lost or doubled.** A record is visible or not: the store puts it whole or not at all, and never over another.
//! When the answer to a put is unknown, the *same* record is put again until its slot is occupied; whose record holds the slot is
//! then read from its id. So a commit is known to have happened, or known to never happen, before anything follows from it.
//! If the store stays silent, the next writer's first record settles it: it goes into that slot or finds it occupied.
//!
//! **Why a writer that was suspended does no harm.** Whoever takes over fills the slot that the old writer would put next. Log
//! entries expire in ascending order, so if that slot has expired and is free again, the one before it has expired too: after
//! putting n a writer looks whether n−1 is there, and if not counts itself as fenced. What it left in slot n lies below
//! a checkpoint, where nobody reads. The same look notices that somebody deleted our newest record: where it is gone and nobody has
//! gone on behind ours, it was not a successor.
//!
//! **Why a reader is right while entries expire.** It takes the newest checkpoint and every record behind it, without a gap;
//! a checkpoint's own record and all behind it are kept. When its listing was overtaken by expiry it lists again. A listing may also
//! be late, as object stores' once were: it says where to begin, and the log goes on for as long as the next record can be read.

pub(crate) mod generations;
mod leftovers;
pub(crate) mod record;
pub(crate) mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use self::record::{Record, Unread, VERSION};
use self::state::{State, Switched};
use super::store::{LakeStore, Put};
use super::{Error, LakeName, Result};
use crate::change::Term;
use crate::trial::{Mistake, planted};

/// How often a record is put while the answer stays unknown.
const PUT_ATTEMPTS: u32 = 6;
/// How often a listing that does not hold together is made again: entries may expire while it is read.
const LISTING_ATTEMPTS: u32 = 5;
/// The same where a listing may be late: with the pause that doubles, some seconds.
const LATE_LISTING_ATTEMPTS: u32 = 8;
/// The pause before the second attempt; it doubles.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(if cfg!(test) { 1 } else { 50 });
/// Entries that one call expires at most.
const EXPIRED_AT_ONCE: usize = 256;
/// Records fetched at a time.
const FETCHES: usize = 8;

/// Whose record holds a slot.
#[derive(Debug)]
pub(crate) enum Slot {
    /// The one that was to be put.
    Ours,
    /// Another.
    Taken(Box<Record>),
}

/// The log of one generation.
#[derive(Debug, Clone)]
pub(crate) struct CommitLog {
    store: LakeStore,
    table: LakeName,
    generation: u32,
    /// The last record that is known to be durable.
    settled: Arc<AtomicU64>,
}

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    v: u32,
    state: State,
}

/// The numbers that a listing found.
struct Listed {
    checkpoint: Option<u64>,
    /// In ascending order; whatever lies below the checkpoint may have gaps.
    records: Vec<u64>,
}

/// The folder of a table.
pub(crate) fn table_folder(table: &LakeName) -> Path {
    Path::from_iter([table.database.as_str(), table.table.as_str()])
}

/// An object of a table, from its path relative to the table's folder.
pub(crate) fn table_object(table: &LakeName, relative: &str) -> Path {
    relative.split('/').fold(table_folder(table), |path, part| path.join(part))
}

/// The name of a generation's directories.
pub(crate) fn generation_name(generation: u32) -> String {
    format!("g{generation:04}")
}

/// The generation that a directory's name says; None for a stranger.
pub(crate) fn generation_of(name: &str) -> Option<u32> {
    let generation: u32 = name.strip_prefix('g')?.parse().ok()?;
    (generation_name(generation) == name).then_some(generation)
}

impl CommitLog {
    pub(crate) fn new(store: &LakeStore, table: &LakeName, generation: u32) -> Self {
        Self { store: store.clone(), table: table.clone(), generation, settled: Arc::default() }
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    fn directory(&self, kind: &'static str) -> Path {
        table_folder(&self.table).join("_binlake").join(generation_name(self.generation)).join(kind)
    }

    /// Where a record lies.
    pub(crate) fn slot(&self, seq: u64) -> Path {
        self.directory("log").join(format!("{seq:020}.json"))
    }

    fn checkpoint_path(&self, seq: u64) -> Path {
        self.directory("checkpoint").join(format!("{seq:020}.json"))
    }

    /// An error about one record.
    pub(crate) fn broken(&self, path: &Path, reason: impl Into<String>) -> Error {
        Error::Log { table: self.table.to_string(), path: path.to_string(), reason: reason.into() }
    }

    fn unread(&self, path: &Path, why: Unread) -> Error {
        match why {
            Unread::Newer(found) => Error::Newer { table: self.table.to_string(), path: path.to_string(), found, known: VERSION },
            Unread::Broken(reason) => self.broken(path, reason),
        }
    }

    /// Puts a record into its slot, and says whose record the slot holds in the end.
    ///
    /// Whoever put the one before it may have failed to make it durable: a power cut would leave this one alone. So that comes first.
    pub(crate) async fn put(&self, record: &Record) -> Result<Slot> {
        let path = self.slot(record.seq);
        let before = record.seq.saturating_sub(1);
        if before > 0 && self.settled.load(Ordering::Acquire) != before {
            self.store.settle([self.slot(before)]).await?;
        }
        let bytes = Bytes::from(serde_json::to_vec(record).map_err(|error| self.broken(&path, error.to_string()))?);
        let mut pause = PAUSE;
        let mut attempt = 1;
        let slot = loop {
            match self.put_once(record, &path, bytes.clone()).await {
                Ok(slot) => break slot,
                Err(error @ (Error::Log { .. } | Error::Newer { .. })) => return Err(error),
                Err(error) if attempt == PUT_ATTEMPTS || planted(Mistake::TimedOutFilesDeleted) => return Err(error),
                Err(error) => {
                    tracing::warn!(%path, attempt, %error, "the answer to a commit is unknown, putting the same record again");
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        };
        if matches!(slot, Slot::Ours) && !planted(Mistake::FsyncLeftOut) {
            self.store.settle([path]).await?;
            self.settled.store(record.seq, Ordering::Release);
        }
        Ok(slot)
    }

    /// One put, and a look at whose record is there if there is one. The answer is unknown, too, when the store says that the slot is
    /// occupied and shows nothing there: S3 refuses so while another put is under way, whatever becomes of that one.
    async fn put_once(&self, record: &Record, path: &Path, bytes: Bytes) -> Result<Slot> {
        if self.store.put_if_absent(path, bytes).await? == Put::Done {
            return Ok(Slot::Ours);
        }
        match self.read_record(record.seq).await? {
            Some(holder) if holder.id == record.id => Ok(Slot::Ours),
            Some(holder) => Ok(Slot::Taken(Box::new(holder))),
            None => Err(self.store.silent(path, "the slot was called occupied, and it is empty")),
        }
    }

    /// Whether a record is there.
    pub(crate) async fn has(&self, seq: u64) -> Result<bool> {
        Ok(self.store.size(&self.slot(seq)).await?.is_some())
    }

    /// Reads one record; None if its slot is empty.
    pub(crate) async fn read_record(&self, seq: u64) -> Result<Option<Record>> {
        let path = self.slot(seq);
        match self.store.get(&path).await? {
            None => Ok(None),
            Some(bytes) => record::read(&bytes).map(Some).map_err(|why| self.unread(&path, why)),
        }
    }

    /// The sum of the log; None if there is no record.
    pub(crate) async fn load(&self) -> Result<Option<State>> {
        let (mut attempt, mut pause) = (1, PAUSE);
        let attempts = if self.store.is_local() { LISTING_ATTEMPTS } else { LATE_LISTING_ATTEMPTS };
        loop {
            match self.load_once().await {
                Err(Error::Log { path, reason, .. }) if attempt < attempts => {
                    tracing::debug!(path, reason, attempt, "reading the commit log again");
                    tokio::time::sleep(pause).await;
                    attempt += 1;
                    pause *= if self.store.is_local() { 1 } else { 2 };
                }
                other => return other,
            }
        }
    }

    async fn load_once(&self) -> Result<Option<State>> {
        let listed = self.listed().await?;
        let mut state = match listed.checkpoint {
            Some(seq) => self.read_checkpoint(seq).await?,
            None => State::new(self.generation),
        };
        if state.seq > 0 && !listed.records.contains(&state.seq) && !self.has(state.seq).await? {
            return Err(self.broken(&self.slot(state.seq), "the record is missing, though a checkpoint sums it up"));
        }
        let last = listed.records.last().copied().unwrap_or(0).max(state.seq);
        let mut records: Vec<Record> = futures::stream::iter(state.seq + 1..=last)
            .map(|seq| async move {
                let missing = || self.broken(&self.slot(seq), format!("the record is missing, though record {last} is there"));
                self.read_record(seq).await?.ok_or_else(missing)
            })
            .buffered(FETCHES)
            .try_collect()
            .await?;
        // A listing may be late; reading what was put is not. So the log ends where nothing can be read, whatever is listed.
        let mut next = last + 1;
        while let Some(record) = self.read_record(next).await? {
            records.push(record);
            next += 1;
        }
        for record in &records {
            state.apply(record).map_err(|reason| self.broken(&self.slot(record.seq), reason))?;
        }
        Ok(Some(state).filter(|state| state.seq > 0))
    }

    async fn read_checkpoint(&self, seq: u64) -> Result<State> {
        let path = self.checkpoint_path(seq);
        let bytes = self.store.get(&path).await?.ok_or_else(|| self.broken(&path, "the checkpoint is missing"))?;
        let Checkpoint { state, .. } = record::read(&bytes).map_err(|why| self.unread(&path, why))?;
        match state.seq == seq && state.generation == self.generation {
            true => Ok(state),
            false => Err(self.broken(&path, format!("it sums up record {} of generation {}", state.seq, state.generation))),
        }
    }

    /// Keeps the sum of all records so far. Needs no put-if-absent: whoever held record `seq` knows the one right sum.
    pub(crate) async fn checkpoint(&self, state: &State) -> Result<()> {
        let path = self.checkpoint_path(state.seq);
        let checkpoint = Checkpoint { v: VERSION, state: state.clone() };
        let bytes = serde_json::to_vec(&checkpoint).map_err(|error| self.broken(&path, error.to_string()))?;
        self.store.put(&path, bytes.into()).await?;
        self.store.settle([path]).await
    }

    /// The number of the newest record, whether or not those before it are there; 0 if there is none.
    pub(crate) async fn newest(&self) -> Result<u64> {
        Ok(self.numbers("log").await?.last().copied().unwrap_or(0))
    }

    /// The newest record that can be read; None if there is none.
    async fn newest_readable(&self) -> Result<Option<Record>> {
        for seq in self.numbers("log").await?.into_iter().rev() {
            match self.read_record(seq).await {
                Ok(None) | Err(Error::Log { .. }) => {}
                other => return other,
            }
        }
        Ok(None)
    }

    /// Where readers went, and the number of the record that says so, if that is the newest one: also of a log that does not hold together before it.
    pub(crate) async fn ends_in_switch(&self) -> Result<Option<(Switched, u64)>> {
        let Some(record) = self.newest_readable().await? else { return Ok(None) };
        Ok(record.switch_to.map(|generation| (Switched { generation, at_ms: record.committed_ms }, record.seq)))
    }

    /// The highest term that has written here, as the newest record has it; 0 where there is none.
    pub(crate) async fn term(&self) -> Result<Term> {
        Ok(self.newest_readable().await?.map_or(Term(0), |record| record.term))
    }

    /// Whether another writer has gone on behind record `seq`.
    pub(crate) async fn goes_on_behind(&self, seq: u64) -> Result<bool> {
        Ok(self.newest().await? > seq || self.newest_checkpoint().await? > seq)
    }

    /// The number of the newest checkpoint; 0 if there is none.
    pub(crate) async fn newest_checkpoint(&self) -> Result<u64> {
        Ok(self.numbers("checkpoint").await?.last().copied().unwrap_or(0))
    }

    async fn numbers(&self, kind: &'static str) -> Result<Vec<u64>> {
        let objects = self.store.list(&self.directory(kind)).await?;
        let mut numbers: Vec<u64> = objects.iter().filter_map(|object| number(&object.location)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    async fn listed(&self) -> Result<Listed> {
        // Checkpoints first: a record that they sum up and that is not listed afterwards has expired behind our back.
        let checkpoint = self.numbers("checkpoint").await?.last().copied();
        Ok(Listed { checkpoint, records: self.numbers("log").await? })
    }

    /// The records that are still there, oldest first: from the newest one back to the first gap.
    pub(crate) async fn records(&self) -> Result<Vec<Record>> {
        let numbers = self.numbers("log").await?;
        let mut kept: Vec<u64> = Vec::new();
        for seq in numbers.into_iter().rev() {
            match kept.last() {
                Some(last) if last - 1 != seq => break,
                _ => kept.push(seq),
            }
        }
        let read = futures::stream::iter(kept.into_iter().rev()).map(|seq| self.read_record(seq)).buffered(FETCHES);
        // None: it expired while this was reading.
        read.try_filter_map(|record| std::future::ready(Ok(record))).try_collect().await
    }

    /// Deletes entries below the newest checkpoint, the oldest first: those made before `before_ms`, and those beyond the newest
    /// `most`; not all at once. Older checkpoints go too. Returns how many entries went.
    pub(crate) async fn expire(&self, before_ms: u64, most: usize) -> Result<u64> {
        let checkpoints = self.numbers("checkpoint").await?;
        let Some(floor) = checkpoints.last().copied() else { return Ok(0) };
        // The checkpoint stands for what goes, and whoever wrote it may not have got to the end of settling it: a power cut would leave
        // neither.
        self.store.settle([self.checkpoint_path(floor)]).await?;
        let entries = self.numbers("log").await?;
        let beyond = entries.len().saturating_sub(most);
        let mut expired = 0;
        for (index, seq) in entries.iter().filter(|seq| **seq < floor).take(EXPIRED_AT_ONCE).enumerate() {
            if index >= beyond && !self.made_before(*seq, before_ms).await? {
                break;
            }
            self.store.delete(&self.slot(*seq)).await?;
            expired += 1;
        }
        for seq in checkpoints.iter().rev().skip(1) {
            self.store.delete(&self.checkpoint_path(*seq)).await?;
        }
        Ok(expired)
    }

    /// Below a checkpoint an entry is for people only: one that cannot be read is of no use and counts as old.
    async fn made_before(&self, seq: u64, before_ms: u64) -> Result<bool> {
        match self.read_record(seq).await {
            Ok(record) => Ok(record.is_none_or(|record| record.committed_ms < before_ms)),
            Err(Error::Log { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

fn number(path: &Path) -> Option<u64> {
    digits(path.filename()?)
}

/// The number of a record or checkpoint of this name.
fn digits(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
