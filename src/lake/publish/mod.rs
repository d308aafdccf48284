//! Publication: what the commit log says, shown by a Hive Metastore.
//!
//! The metastore is a projection of the log and never more: a publication reads the log's end, reads what the metastore shows, and brings
//! the one to the other. It may be done again at any time, by anybody, from any state of the metastore in between; a publication that
//! was killed, or whose answers were lost, is simply made again. A commit never waits for it.
//!
//! **What is published.** Engines read directories, and remember what was in them. So every data file lies in a directory of its own that
//! never changes (`datafile::FILE_NAME`), and what changes is only which directories the metastore names:
//! - a mirror with `layout: single` has one file, and the table's location is its directory;
//! - any other mirror is partitioned by `_part`, a number without meaning: each partition is the directory of one segment's file;
//! - a changelog is partitioned by `dt`, the day, and `_part`: each partition is the directory of one file of that day.
//!
//! No directory is ever given to two partitions (Hive shows the rows of only one of them), but for `spare`, which holds nothing.
//!
//! **Why a reader sees a committed state and nothing else.** A table with one location is swapped in one `alter_table`. A partitioned one
//! in one `alter_partitions`: [`plan`] compares the live files with what the partitions show, leaves those alone that show a live
//! file, and lets the others show the rest. Partitions that are needed beyond that are added first, on `spare`, where they are nothing
//! to a reader; those left over go to `spare` in the same call, and are dropped by a later publication. What takes several calls (a new
//! partitioned table, other columns than can follow those before, another layout) is made under another name and renamed when it is whole;
//! there, between dropping the old table and renaming the new one, a reader finds no table: the one step that is not atomic.
//! An engine that asks for a table's directories in several calls may see two states: no metastore offers more, and `docs/lake.md` says what to
//! set there. One that asks for the names first and for all directories right behind them sees one, for a commit uses names that were there
//! before it ([`plan`]).
//!
//! **Why an overtaken daemon does no harm.** It projects the log as it stands, like its successor; and `binlake.seq`, which says generation,
//! term and record (`g0002/t7/43`), is compared by the server and only ever grows. Two things are left: a server that compares nothing
//! (3.1), and an `alter_partitions` that was sent long ago and is done only now. Against both every publication compares *all* locations, it
//! is made again now and then without a commit, and nothing is deleted that the metastore names at that moment ([`Publishing::named`]).
//!
//! **Why no reader loses a file.** A replaced file's time begins when a version without it was published, not when that was committed:
//! until then readers are sent to it. The writer notes publications in its next record, so the time outlives the process; one
//! that was not noted counts from the next one, which is later.
//!
//! **What is not ours stays as it is.** A table is ours if it names this very lake table (`binlake.table`), is external, is not to be purged,
//! and has the columns that were written down with it (`binlake.schema`). Any other is refused with what helps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::log::state::State;
use super::metastore::Metastore;
use super::{Error, LakeName, Result};

mod check;
mod daily;
mod hive;
mod plan;
mod project;
mod standing;

pub use standing::Publication;

pub(in crate::lake) use check::check;
pub(in crate::lake) use daily::publish_days;
pub(in crate::lake) use project::publish;
pub(in crate::lake) use standing::publication;

/// The parameter that is compared and swapped.
pub(crate) const SEQ: &str = "binlake.seq";
/// The parameter that is there while partitions are behind `binlake.seq`.
pub(crate) const UNFINISHED: &str = "binlake.unfinished";
/// The parameter that says which lake table it is: its folder.
pub(crate) const TABLE: &str = "binlake.table";
/// The parameter by which columns that somebody else changed are recognised.
pub(crate) const SCHEMA: &str = "binlake.schema";

/// A version of a lake table: what `binlake.seq` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) generation: u32,
    pub(crate) term: u64,
    pub(crate) seq: u64,
}

impl Version {
    pub(crate) fn of(state: &State) -> Self {
        Self { generation: state.generation, term: state.term.0, seq: state.seq }
    }

    /// From `g0002/t7/43`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let generation = parts.next()?.strip_prefix('g')?.parse().ok()?;
        let term = parts.next()?.strip_prefix('t')?.parse().ok()?;
        let seq = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { generation, term, seq })
    }

    /// Whether it shows what came later.
    pub(crate) fn is_behind(self, other: Self) -> bool {
        (self.generation, self.seq) < (other.generation, other.seq)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "g{:04}/t{}/{}", self.generation, self.term, self.seq)
    }
}

/// That a version was published: as a record notes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// The record.
    pub(crate) seq: u64,
    /// When, milliseconds since 1970-01-01 UTC: not before it was.
    pub(crate) at_ms: u64,
}

/// What this process has published of a lake table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// The generation.
    pub generation: u32,
    /// The number of the commit record.
    pub seq: u64,
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// When the generation was first seen to be published.
    pub first_ms: u64,
}

/// A metastore, and what this process has published in it. Shared by the publications, which note what they did, and the writers, which
/// must not delete what is still shown.
#[derive(Debug)]
pub struct Publishing {
    metastore: Arc<dyn Metastore>,
    shown: Mutex<BTreeMap<LakeName, Shown>>,
    /// The last day of each table of days that was shown.
    days: Mutex<BTreeMap<LakeName, String>>,
    /// Whose turn it is to publish a table.
    turns: Mutex<BTreeMap<LakeName, Arc<tokio::sync::Mutex<()>>>>,
}

impl Publishing {
    /// Publication in this metastore.
    pub fn new(metastore: Arc<dyn Metastore>) -> Self {
        Self { metastore, shown: Mutex::default(), days: Mutex::default(), turns: Mutex::default() }
    }

    pub(crate) fn metastore(&self) -> &dyn Metastore {
        &*self.metastore
    }

    fn marks(&self) -> MutexGuard<'_, BTreeMap<LakeName, Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this process has published of a table.
    pub fn shown(&self, name: &LakeName) -> Option<Shown> {
        self.marks().get(name).copied()
    }

    /// Notes that a version is what readers are shown, now that it is.
    fn note(&self, name: &LakeName, version: Version, now_ms: u64) {
        let mut marks = self.marks();
        let before = marks.get(name).filter(|shown| shown.generation == version.generation);
        if before.is_some_and(|shown| shown.seq >= version.seq) {
            return;
        }
        let first_ms = before.map_or(now_ms, |shown| shown.first_ms);
        let shown = Shown { generation: version.generation, seq: version.seq, at_ms: now_ms, first_ms };
        marks.insert(name.clone(), shown);
    }

    /// One publication of a table at a time: two generations are published side by side, and a swap of the older one that is still on its way
    /// would undo what the newer has shown.
    pub(in crate::lake) async fn turn(&self, name: &LakeName) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = Arc::clone(self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default());
        turn.lock_owned().await
    }

    fn shows_day(&self, name: &LakeName, day: &str) -> bool {
        self.days.lock().unwrap_or_else(PoisonError::into_inner).get(name).is_some_and(|shown| shown == day)
    }

    fn note_day(&self, name: &LakeName, day: &str) {
        self.days.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), day.to_owned());
    }

    /// Every directory that the metastore names for a table, in one form.
    pub(crate) async fn named(&self, name: &LakeName) -> Result<BTreeSet<String>> {
        let name = hive::hive_name(name);
        let Some(table) = self.metastore.table(&name).await? else { return Ok(BTreeSet::new()) };
        let mut named = BTreeSet::from([hive::canonical(&table.location)]);
        if !table.partitioned_by.is_empty() {
            named.extend(self.metastore.partitions(&name).await?.iter().map(|partition| hive::canonical(&partition.location)));
        }
        Ok(named)
    }
}

/// That a table cannot be published as it is found.
fn refused(table: &LakeName, reason: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Publication { table: table.to_string(), reason: reason.into(), remedy: remedy.into() }
}

/// The name that a directory of the lake goes by in the metastore.
pub(in crate::lake) use hive::{canonical, day_columns, hive_location};
