//! The one place that changes a table's state, so that the tailer (capture) and the workers (phase) never overwrite each other.
//!
//! The daemon that holds the source's lease is the only writer of these documents; every change is read-modify-write under one lock
//! and durable before it is seen by anyone here. A write of a fenced daemon is refused by the metadata store.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::change::TableName;
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

impl std::fmt::Display for TableKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (g{:04})", self.table, self.generation)
    }
}

/// All table states of one source, in memory and in the metadata store.
pub struct Ledger {
    metadata: Arc<dyn Metadata>,
    lease: Lease,
    source: String,
    board: SharedBoard,
    tables: Mutex<BTreeMap<TableKey, TableState>>,
    /// What is written down of workers that fail and are tried again.
    troubles: Mutex<BTreeMap<TableKey, Parked>>,
}

impl Ledger {
    /// Reads every generation of every table of the source.
    pub async fn open(metadata: Arc<dyn Metadata>, lease: Lease, source: &str, board: SharedBoard) -> Result<Self> {
        let mut tables = BTreeMap::new();
        for newest in metadata.tables(source).await? {
            for state in metadata.generations(source, &newest.table).await? {
                tables.insert(TableKey { table: state.table.clone(), generation: state.generation }, state);
            }
        }
        let troubles = metadata.troubles(source).await?.into_iter();
        let troubles = troubles.map(|(table, generation, trouble)| (TableKey { table, generation }, trouble)).collect();
        Ok(Self { metadata, lease, source: source.to_owned(), board, tables: Mutex::new(tables), troubles: Mutex::new(troubles) })
    }

    /// The lease that every write names.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Every generation of every table.
    pub async fn all(&self) -> Vec<TableState> {
        self.tables.lock().await.values().cloned().collect()
    }

    /// The newest generation of every table.
    pub async fn newest(&self) -> Vec<TableState> {
        let mut newest: BTreeMap<TableName, TableState> = BTreeMap::new();
        for state in self.tables.lock().await.values() {
            newest.insert(state.table.clone(), state.clone());
        }
        newest.into_values().collect()
    }

    /// One generation.
    pub async fn get(&self, key: &TableKey) -> Option<TableState> {
        self.tables.lock().await.get(key).cloned()
    }

    /// Adds a generation.
    pub async fn insert(&self, state: TableState) -> Result<()> {
        let mut tables = self.tables.lock().await;
        self.metadata.save_table(&self.lease, &state).await?;
        tables.insert(TableKey { table: state.table.clone(), generation: state.generation }, state);
        drop(tables);
        self.board.tables_changed();
        Ok(())
    }

    /// Changes one generation and makes the change durable. `change` sees the state as it is now.
    pub async fn update(&self, key: &TableKey, change: impl FnOnce(&mut TableState) + Send) -> Result<TableState> {
        let mut tables = self.tables.lock().await;
        let Some(current) = tables.get(key) else {
            return Err(Error::Table {
                table: key.table.clone(),
                reason: format!("generation {} is no longer known", key.generation),
                remedy: "none is needed: a newer generation has replaced it".to_owned(),
            });
        };
        let mut state = current.clone();
        change(&mut state);
        if state != *current {
            self.metadata.save_table(&self.lease, &state).await?;
            tables.insert(key.clone(), state.clone());
            drop(tables);
            self.board.tables_changed();
        }
        Ok(state)
    }

    /// Forgets a generation that was replaced.
    pub async fn remove(&self, key: &TableKey) -> Result<()> {
        let mut tables = self.tables.lock().await;
        self.metadata.remove_table(&self.lease, &self.source, &key.table, key.generation).await?;
        tables.remove(key);
        drop(tables);
        self.board.tables_changed();
        Ok(())
    }

    /// Parks one generation; a parked one keeps its first reason, unless only the new one rules out `resume`.
    pub async fn park(&self, key: &TableKey, parked: Parked) -> Result<TableState> {
        self.update(key, |state| {
            state.phase = state.phase.clone().park(parked);
        })
        .await
    }

    /// Parks on the capture side: nothing of the table that starts at or behind `until` is in the change log.
    pub async fn end_capture(&self, key: &TableKey, until: crate::change::Cut, parked: Parked) -> Result<TableState> {
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

    /// The source's name.
    pub fn source_name(&self) -> &str {
        &self.source
    }
}
