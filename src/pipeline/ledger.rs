//! The one place that changes a table's state, so that the tailer (capture) and the workers (phase) never overwrite each other.
//!
//! The daemon that holds the source's lease is the only writer of these documents; every change is read-modify-write under one lock
//! and durable before it is seen by anyone here. A write of a fenced daemon is refused by the metadata store.
//!
//! A write that failed may have been done: what the store holds is read again ([`Ledger::settle`]) before the next change, and before the
//! tailer starts anew. Else the store could say that a table is captured while the tailer passes its changes by and moves `published`
//! on: the next daemon would believe the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

use crate::change::{LogPlace, TableName, Term};
use crate::metadata::{CaptureState, Lease, Metadata, Parked, SourceState, TableState};

use super::board::SharedBoard;
use super::{Error, Result};

/// One generation of one table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    /// `database.table`.
    pub table: TableName,
    /// The generation.
    pub generation: u32,
}

impl TableKey {
    /// The key of a state.
    pub fn of(state: &TableState) -> Self {
        Self { table: state.table.clone(), generation: state.generation }
    }
}

impl std::fmt::Display for TableKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (g{:04})", self.table, self.generation)
    }
}

/// What is known of the tables.
#[derive(Default)]
struct Tables {
    states: BTreeMap<TableKey, Arc<TableState>>,
    /// Tables that a write was about which failed: in the store they may stand as before, or as wanted.
    doubtful: BTreeSet<TableName>,
}

/// All table states of one source, in memory and in the metadata store.
pub struct Ledger {
    metadata: Arc<dyn Metadata>,
    lease: Lease,
    source: String,
    board: SharedBoard,
    /// Sessions of this lease that have begun.
    sessions: AtomicU64,
    tables: Mutex<Tables>,
    /// What is written down of workers that fail and are tried again.
    troubles: Mutex<BTreeMap<TableKey, Parked>>,
}

impl Ledger {
    /// Reads every generation of every table of the source.
    pub async fn open(metadata: Arc<dyn Metadata>, lease: Lease, source: &str, board: SharedBoard) -> Result<Self> {
        let mut tables = Tables::default();
        for newest in metadata.tables(source).await? {
            for state in metadata.generations(source, &newest.table).await? {
                tables.states.insert(TableKey::of(&state), Arc::new(state));
            }
        }
        let troubles = metadata.troubles(source).await?.into_iter();
        let troubles = troubles.map(|(table, generation, trouble)| (TableKey { table, generation }, trouble)).collect();
        let (source, sessions) = (source.to_owned(), AtomicU64::new(0));
        Ok(Self { metadata, lease, source, board, sessions, tables: Mutex::new(tables), troubles: Mutex::new(troubles) })
    }

    /// Another session begins.
    pub fn begin_session(&self) {
        self.sessions.fetch_add(1, Ordering::AcqRel);
    }

    /// The term of the session at hand, by which the change log tells its records from those of earlier ones.
    pub fn session_term(&self) -> Term {
        self.lease.term.session(self.sessions.load(Ordering::Acquire))
    }

    /// The lease that every write names.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Every generation of every table.
    pub async fn all(&self) -> Vec<Arc<TableState>> {
        self.tables.lock().await.states.values().cloned().collect()
    }

    /// The newest generation of every table.
    pub async fn newest(&self) -> Vec<Arc<TableState>> {
        let tables = self.tables.lock().await;
        let mut newest: Vec<Arc<TableState>> = Vec::with_capacity(tables.states.len());
        // Generations of a table stand one behind the other, the newest last.
        for state in tables.states.values() {
            match newest.last_mut() {
                Some(older) if older.table == state.table => *older = Arc::clone(state),
                _ => newest.push(Arc::clone(state)),
            }
        }
        newest
    }

    /// Every generation of one table, the oldest first.
    pub async fn generations(&self, table: &TableName) -> Vec<Arc<TableState>> {
        let key = |generation| TableKey { table: table.clone(), generation };
        self.tables.lock().await.states.range(key(0)..=key(u32::MAX)).map(|(_, state)| Arc::clone(state)).collect()
    }

    /// The places up to which a table's topic is published: the saved ones, or where the earliest capture started behind them.
    pub async fn published_places(&self, table: &TableName, topic: &str) -> Result<Vec<LogPlace>> {
        let saved = self.metadata.published(Some(&self.lease), &self.source, topic).await?;
        let saved = saved.map(|(_, ends)| ends).unwrap_or_default();
        let captured = self.generations(table).await;
        let first = captured.iter().filter_map(|state| match state.capture {
            CaptureState::On { since } => Some((since, &state.starts)),
            CaptureState::Wanted | CaptureState::Ended { .. } => None,
        });
        let Some((_, starts)) = first.min_by_key(|(since, _)| *since) else { return Ok(saved) };
        let further = |(number, start): (usize, &LogPlace)| match saved.get(number) {
            Some(saved) if saved.offset > start.offset => *saved,
            _ => *start,
        };
        Ok(starts.iter().enumerate().map(further).collect())
    }

    /// The newest generation of one table.
    pub async fn newest_of(&self, table: &TableName) -> Option<Arc<TableState>> {
        self.generations(table).await.pop()
    }

    /// One generation.
    pub async fn get(&self, key: &TableKey) -> Option<Arc<TableState>> {
        self.tables.lock().await.states.get(key).cloned()
    }

    /// Adds a generation.
    pub async fn insert(&self, state: TableState) -> Result<()> {
        self.insert_all(vec![state]).await
    }

    /// Adds generations, all in one step.
    pub async fn insert_all(&self, states: Vec<TableState>) -> Result<()> {
        let mut tables = self.settled().await?;
        self.save(&mut tables, states).await
    }

    /// Changes one generation and makes the change durable. `change` sees the state as it is now.
    pub async fn update(&self, key: &TableKey, change: impl FnOnce(&mut TableState) + Send) -> Result<Arc<TableState>> {
        let mut tables = self.settled().await?;
        let Some(current) = tables.states.get(key) else { return Err(unknown(key)) };
        let mut state = TableState::clone(current);
        change(&mut state);
        if state != **current {
            self.save(&mut tables, vec![state]).await?;
        }
        tables.states.get(key).cloned().ok_or_else(|| unknown(key))
    }

    /// Changes several generations and makes the changes durable in one step.
    pub async fn update_all(&self, keys: &[TableKey], change: impl FnMut(&mut TableState) + Send) -> Result<()> {
        let mut tables = self.settled().await?;
        let states = keys.iter().map(|key| tables.states.get(key).ok_or_else(|| unknown(key)));
        let changed = changed(states.collect::<Result<Vec<_>>>()?, change);
        self.save(&mut tables, changed).await
    }

    /// Changes whatever generations there are and makes the changes durable in one step.
    pub async fn update_every(&self, change: impl FnMut(&mut TableState) + Send) -> Result<()> {
        // Those that there are now: a removal whose answer was lost may have been done.
        let mut tables = self.settled().await?;
        let changed = changed(tables.states.values(), change);
        self.save(&mut tables, changed).await
    }

    /// Reads again what writes that failed have done.
    pub async fn settle(&self) -> Result<()> {
        self.settled().await.map(drop)
    }

    async fn settled(&self) -> Result<MutexGuard<'_, Tables>> {
        let mut tables = self.tables.lock().await;
        while let Some(table) = tables.doubtful.first().cloned() {
            let mut stored = BTreeMap::new();
            for state in self.metadata.generations(&self.source, &table).await? {
                stored.insert(TableKey::of(&state), Arc::new(state));
            }
            let mut known = BTreeSet::new();
            tables.states.retain(|key, _| key.table != table || !known.insert(key.clone()));
            for key in known.iter().filter(|key| !stored.contains_key(key)) {
                self.board.table_gone(key);
            }
            stored.keys().for_each(|key| self.board.table_changed(key));
            tables.states.append(&mut stored);
            tables.doubtful.remove(&table);
        }
        Ok(tables)
    }

    /// Durable first, then seen by others.
    async fn save(&self, tables: &mut Tables, states: Vec<TableState>) -> Result<()> {
        if states.is_empty() {
            return Ok(());
        }
        // Before the call: it may be dropped on the way.
        tables.doubtful.extend(states.iter().map(|state| state.table.clone()));
        self.metadata.save_tables(&self.lease, &states).await?;
        for state in states {
            let key = TableKey::of(&state);
            tables.doubtful.remove(&key.table);
            tables.states.insert(key.clone(), Arc::new(state));
            self.board.table_changed(&key);
        }
        Ok(())
    }

    /// Forgets a generation that was replaced.
    pub async fn remove(&self, key: &TableKey) -> Result<()> {
        let mut tables = self.settled().await?;
        tables.doubtful.insert(key.table.clone());
        self.metadata.remove_table(&self.lease, &self.source, &key.table, key.generation).await?;
        tables.doubtful.remove(&key.table);
        tables.states.remove(key);
        self.board.table_gone(key);
        Ok(())
    }

    /// Parks one generation; a parked one keeps its first reason, unless only the new one rules out `resume`.
    pub async fn park(&self, key: &TableKey, parked: Parked) -> Result<Arc<TableState>> {
        self.update(key, |state| {
            state.phase = state.phase.clone().park(parked);
        })
        .await
    }

    /// Parks on the capture side: nothing of the table that starts at or behind `until` is in the change log.
    pub async fn end_capture(&self, key: &TableKey, until: crate::change::Cut, parked: Parked) -> Result<Arc<TableState>> {
        self.update(key, |state| {
            if let CaptureState::On { since } = state.capture {
                state.capture = CaptureState::Ended { since, until: until.max(since) };
            }
            state.phase = state.phase.clone().park(parked);
        })
        .await
    }

    /// Writes down, for `status`, what a table's worker fails on while it is tried again.
    pub async fn in_trouble(&self, key: &TableKey, trouble: Parked) -> Result<()> {
        let mut troubles = self.troubles.lock().await;
        // One that lasts is written once.
        if troubles.get(key).is_some_and(|known| known.reason == trouble.reason) {
            return Ok(());
        }
        self.metadata.save_trouble(&self.lease, &self.source, &key.table, key.generation, Some(&trouble)).await?;
        troubles.insert(key.clone(), trouble);
        Ok(())
    }

    /// The table's worker has done something durable: whatever it failed on has passed.
    pub async fn works(&self, key: &TableKey) -> Result<()> {
        let mut troubles = self.troubles.lock().await;
        if troubles.contains_key(key) {
            self.metadata.save_trouble(&self.lease, &self.source, &key.table, key.generation, None).await?;
            troubles.remove(key);
        }
        Ok(())
    }

    /// The source's state.
    pub async fn source(&self) -> Result<Option<SourceState>> {
        Ok(self.metadata.source(&self.source).await?)
    }

    /// Saves the source's state.
    pub async fn save_source(&self, state: &SourceState) -> Result<()> {
        Ok(self.metadata.save_source(&self.lease, state).await?)
    }

    /// Writes down, for `status`, why the source stands still though its session goes on; or, with None, that it goes on.
    pub async fn stands(&self, stopped: Option<Parked>) -> Result<()> {
        Ok(self.metadata.save_stopped(&self.lease, &self.source, stopped.as_ref()).await?)
    }

    /// The source's name.
    pub fn source_name(&self) -> &str {
        &self.source
    }
}

/// Those states that a change makes other ones.
fn changed<'a>(
    states: impl IntoIterator<Item = &'a Arc<TableState>>,
    mut change: impl FnMut(&mut TableState),
) -> Vec<TableState> {
    let after = |state: &'a Arc<TableState>| {
        let mut after = TableState::clone(state);
        change(&mut after);
        (after != **state).then_some(after)
    };
    states.into_iter().filter_map(after).collect()
}

fn unknown(key: &TableKey) -> Error {
    Error::Table {
        table: key.table.clone(),
        reason: format!("generation {} is no longer known", key.generation),
        remedy: "none is needed: a newer generation has replaced it".to_owned(),
    }
}
