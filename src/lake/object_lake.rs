//! The lake on an object store: local files, or memory for tests and simulations. Both are the same code over another store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;

use super::chunk::ParquetChunk;
use super::log::{CommitLog, generation_of, generations, table_folder, table_object};
use super::store::{LakeStore, Put, Settle};
use super::table::ledger::Ledger;
use super::table::{ChangelogWriter, MirrorWriter};
use super::timed::Timed;
use super::{
    ChunkWriter, Committed, Error, HistoryEntry, Lake, LakeName, Publication, Result, Settings, Shown, TableKind, TableSpec,
    TableWriter, Traces, publish, unique,
};
use crate::change::{Cut, Term};

/// See the module. Clones see the same lake.
#[derive(Debug, Clone)]
pub struct ObjectLake {
    store: LakeStore,
    settings: Settings,
    /// Directories that opening it made, deepest first: a probe leaves none of them behind.
    made: Vec<PathBuf>,
}

impl ObjectLake {
    /// Opens the lake that `settings.url` names.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] when the URL names no lake, or its directory cannot be made.
    pub fn open(settings: Settings) -> Result<Self> {
        let (store, made) = LakeStore::open(&settings.url)?;
        Ok(Self { store, settings, made })
    }

    /// A lake that is gone with its last clone; `settings.url` does not matter.
    pub fn in_memory(settings: Settings) -> Self {
        Self { store: LakeStore::in_memory(), settings, made: Vec::new() }
    }

    /// A lake on a store that the caller brings: for simulations. `settling` is asked for what a crash of the machine may not take back.
    pub fn over(objects: Arc<dyn ObjectStore>, settling: Arc<dyn Settle>, settings: Settings) -> Self {
        let objects = Arc::new(Timed::new(objects));
        Self { store: LakeStore::over(objects, settling), settings, made: Vec::new() }
    }

    /// The same lake with other settings: as a daemon that was started again would open it.
    #[must_use]
    pub fn with_settings(&self, settings: Settings) -> Self {
        Self { settings, ..self.clone() }
    }

    /// The same lake behind a store of faults.
    #[cfg(test)]
    pub(super) fn behind(&self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self { store: self.store.behind(wrap), ..self.clone() }
    }

    pub(super) fn store(&self) -> &LakeStore {
        &self.store
    }

    fn unsuitable(&self, reason: &str) -> Error {
        Error::Unsuitable { url: self.settings.url.clone(), reason: reason.to_owned() }
    }
}

#[async_trait]
impl Lake for ObjectLake {
    async fn probe(&self) -> Result<()> {
        let path = Path::from(format!("_binlake_probe_{}", unique().simple()));
        let first = self.store.put_if_absent(&path, Bytes::from_static(b"first")).await?;
        let second = self.store.put_if_absent(&path, Bytes::from_static(b"second")).await;
        let found = self.store.get(&path).await;
        self.store.delete(&path).await?;
        for directory in &self.made {
            // A directory that is in use by now stays, and so do those above it.
            if std::fs::remove_dir(directory).is_err() {
                break;
            }
        }
        match (first, second?, found?.as_deref()) {
            (Put::Occupied, ..) => Err(self.unsuitable("a put-if-absent of a name that nobody uses was refused")),
            (Put::Done, Put::Done, _) => Err(self.unsuitable("a second put-if-absent of the same name went through")),
            (Put::Done, Put::Occupied, Some(b"first")) => Ok(()),
            (Put::Done, Put::Occupied, _) => Err(self.unsuitable("what was put cannot be read back")),
        }
    }

    async fn writer(&self, spec: TableSpec, term: Term) -> Result<Box<dyn TableWriter>> {
        let kind = spec.kind;
        let ledger = Ledger::take_over(&self.store, &self.settings, spec, term).await?;
        Ok(match kind {
            TableKind::Mirror => Box::new(MirrorWriter::new(ledger)?),
            TableKind::Changelog => Box::new(ChangelogWriter::new(ledger)?),
        })
    }

    async fn chunk(&self, spec: &TableSpec, since: Cut, chunk: u64, attempt: &str) -> Result<Box<dyn ChunkWriter>> {
        Ok(Box::new(ParquetChunk::new(&self.store, &self.settings, spec, (since, chunk), attempt)?))
    }

    async fn published(&self, name: &LakeName) -> Result<Option<Committed>> {
        let live = generations::live(&self.store, name).await?;
        Ok(live.state?.filter(|state| state.publishes()).map(|state| state.committed()))
    }

    async fn committed(&self, name: &LakeName, generation: u32) -> Result<Option<Committed>> {
        Ok(CommitLog::new(&self.store, name, generation).load().await?.map(|state| state.committed()))
    }

    async fn files(&self, name: &LakeName) -> Result<Vec<String>> {
        let live = generations::live(&self.store, name).await?;
        let Some(state) = live.state?.filter(|state| state.publishes()) else { return Ok(Vec::new()) };
        Ok(state.files().iter().map(|file| self.store.location(&table_object(name, &file.path))).collect())
    }

    async fn history(&self, name: &LakeName, generation: u32) -> Result<Vec<HistoryEntry>> {
        let records = CommitLog::new(&self.store, name, generation).records().await?;
        Ok(records.iter().map(super::log::record::Record::entry).collect())
    }

    fn is_published(&self) -> bool {
        self.settings.publishing.is_some()
    }

    async fn publish(&self, spec: &TableSpec) -> Result<()> {
        match &self.settings.publishing {
            Some(publishing) => publish::publish(&self.store, &self.settings, publishing, spec).await,
            None => Ok(()),
        }
    }

    fn shown(&self, name: &LakeName) -> Option<Shown> {
        self.settings.publishing.as_ref().and_then(|publishing| publishing.shown(name))
    }

    async fn publication(&self, name: &LakeName) -> Result<Option<Publication>> {
        match &self.settings.publishing {
            Some(publishing) => publish::publication(&self.store, publishing, name).await.map(Some),
            None => Ok(None),
        }
    }

    async fn check_metastore(&self, databases: &[String]) -> Vec<publish::Remark> {
        match &self.settings.publishing {
            Some(publishing) => publish::check(&self.store, publishing, databases).await,
            None => Vec::new(),
        }
    }

    async fn traces(&self, name: &LakeName) -> Result<Option<Traces>> {
        let folder = table_folder(name);
        let mut generations: BTreeSet<u32> = BTreeSet::new();
        for directory in [folder.clone(), folder.join("_binlake")] {
            generations.extend(self.store.directories(&directory).await?.iter().filter_map(|name| generation_of(name)));
        }
        let Some(generation) = generations.last().copied() else { return Ok(None) };
        let mut term = Term(0);
        for generation in generations {
            term = term.max(CommitLog::new(&self.store, name, generation).term().await?);
        }
        Ok(Some(Traces { generation, term }))
    }
}
