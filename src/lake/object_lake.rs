//! The lake on an object store: local files, or memory for tests and simulations. Both are the same code over another store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::OnceCell;

use super::chunk::ParquetChunk;
use super::daily::DailyLog;
use super::log::{CommitLog, generation_of, generations, table_folder, table_object};
use super::store::{LakeStore, Put, Settle};
use super::table::ledger::Ledger;
use super::table::{ChangelogWriter, MirrorWriter};
use super::timed::Timed;
use super::{
    ChunkWriter, Committed, Error, FrozenDay, HistoryEntry, Lake, LakeName, Publication, Result, Settings, Shown, TableKind,
    TableSpec, TableWriter, Traces, publish, unique,
};
use crate::change::failure::all_said;
use crate::change::{Cut, Remark, Term};

/// How often a probe puts while the answer stays unknown.
const PROBE_ATTEMPTS: u32 = 3;

/// See the module. Clones see the same lake.
#[derive(Debug, Clone)]
pub struct ObjectLake {
    store: LakeStore,
    settings: Settings,
    /// Directories that opening it made, deepest first: a probe leaves none of them behind.
    made: Vec<PathBuf>,
    /// That the store has put-if-absent was tried: a daemon may start while it is away.
    proven: Arc<OnceCell<()>>,
}

impl ObjectLake {
    /// Opens the lake that `settings.url` names.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] when the URL names no lake, or its directory cannot be made.
    pub fn open(settings: Settings) -> Result<Self> {
        let (store, made) = LakeStore::open(&settings.url, &settings.options)?;
        Ok(Self { store, settings, made, proven: Arc::default() })
    }

    /// The same lake, of which a probe leaves the directories that opening it made.
    #[must_use]
    pub fn to_stay(self) -> Self {
        Self { made: Vec::new(), ..self }
    }

    /// A lake that is gone with its last clone; `settings.url` does not matter.
    pub fn in_memory(settings: Settings) -> Self {
        Self { store: LakeStore::in_memory(), settings, made: Vec::new(), proven: Arc::default() }
    }

    /// A lake on a store that the caller brings: for simulations. `settling` is asked for what a crash of the machine may not take back.
    pub fn over(objects: Arc<dyn ObjectStore>, settling: Arc<dyn Settle>, settings: Settings) -> Self {
        let objects = Arc::new(Timed::new(objects));
        Self { store: LakeStore::over(objects, settling), settings, made: Vec::new(), proven: Arc::default() }
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
        let remedy = "use a store that has put-if-absent: local files, S3 or one that keeps `If-None-Match: *`, GCS, Azure, HDFS";
        Error::Unsuitable { url: self.settings.url.clone(), reason: reason.to_owned(), remedy: remedy.to_owned() }
    }

    /// Failures of the first call that no second one would mend.
    fn judged(&self, error: Error) -> Error {
        let Error::Store { source, .. } = &error else { return error };
        let remedy = match source {
            _ if self.store.is_local() => return error,
            object_store::Error::NotFound { .. } => "make the bucket, or name another one in `lake.url`",
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                "give credentials that may put, get, list and delete there, in `lake.options` or in the environment"
            }
            object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => {
                return self.unsuitable(&all_said(source));
            }
            _ => return error,
        };
        Error::Unsuitable { url: self.settings.url.clone(), reason: all_said(source), remedy: remedy.to_owned() }
    }

    /// Puts until it is answered, as a commit does.
    async fn insist(&self, path: &Path, bytes: &'static [u8]) -> Result<Put> {
        let mut attempt = 1;
        loop {
            match self.store.put_if_absent(path, Bytes::from_static(bytes)).await {
                Err(Error::Store { source: object_store::Error::Generic { .. }, .. }) if attempt < PROBE_ATTEMPTS => attempt += 1,
                answered => return answered,
            }
        }
    }

    /// Puts twice under a name of its own. The client may have put again what had been done: so what is there counts, not the answer.
    async fn put_twice(&self, path: &Path) -> Result<()> {
        let first = self.insist(path, b"first").await?;
        let holds_first = |found: Option<Bytes>| found.as_deref() == Some(b"first");
        if first == Put::Occupied && !holds_first(self.store.get(path).await?) {
            return Err(self.unsuitable("a put-if-absent of a name that nobody uses was refused"));
        }
        match self.insist(path, b"second").await? {
            Put::Done => Err(self.unsuitable("a second put-if-absent of the same name went through")),
            Put::Occupied if holds_first(self.store.get(path).await?) => Ok(()),
            Put::Occupied => Err(self.unsuitable("what was put cannot be read back")),
        }
    }
}

#[async_trait]
impl Lake for ObjectLake {
    async fn probe(&self) -> Result<()> {
        let path = Path::from(format!("_binlake_probe_{}", unique().simple()));
        let missing = self.store.missing_directories().await.map_err(|error| self.judged(error))?;
        let tried = self.put_twice(&path).await;
        let removed = self.store.delete(&path).await;
        let removed = removed.and(self.store.remove_made(missing).await);
        for directory in &self.made {
            // A directory that is in use by now stays, and so do those above it.
            if std::fs::remove_dir(directory).is_err() {
                break;
            }
        }
        tried.and(removed).map_err(|error| self.judged(error))
    }

    async fn writer(&self, spec: TableSpec, term: Term) -> Result<Box<dyn TableWriter>> {
        if self.store.is_remote() {
            self.proven.get_or_try_init(|| self.probe()).await?;
        }
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

    async fn days(&self, name: &LakeName) -> Result<Vec<String>> {
        DailyLog::new(&self.store, name).days().await
    }

    async fn day(&self, name: &LakeName, day: &str) -> Result<Option<FrozenDay>> {
        DailyLog::new(&self.store, name).frozen(day).await
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
            Some(publishing) => {
                publish::publish(&self.store, &self.settings, publishing, spec).await?;
                match spec.daily {
                    true => publish::publish_days(&self.store, &self.settings, publishing, spec).await,
                    false => Ok(()),
                }
            }
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

    async fn check_metastore(&self, databases: &[String]) -> Vec<Remark> {
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
