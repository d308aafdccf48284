//! What mirrors and changelogs share: holding the log, appending to it, and being fenced.
//!
//! A ledger is used up by its first error. A batch that was merged and not committed is gone, so a commit after it would move the
//! position past rows that are in no file: [`Ledger::begin`] marks the ledger as failed until the commit is through, and a marked
//! one refuses everything. The same holds for a commit that was abandoned half way, and for one that is in the log and whose
//! checkpoint or switch failed: whoever takes the table over finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

use crate::change::Term;
use crate::lake::datafile::FileEntry;
use crate::lake::log::generations::{self, Switcher};
use crate::lake::log::record::{Record, RecordKind, RowCounts, SegmentChange, VERSION};
use crate::lake::log::state::{Content, State};
use crate::lake::log::{CommitLog, Slot, generation_name, table_folder, table_object};
use crate::lake::publish::Published;
use crate::lake::store::LakeStore;
use crate::lake::{ChunkFile, CommitPoint, Committed, Error, Result, Settings, TableKind, TableSpec, Written, unique};
use crate::trial::{Mistake, at, planted, point};

/// How often a take-over may find its slot filled by the writer it takes over from.
const TAKE_OVER_ATTEMPTS: usize = 64;

/// Files looked at at a time.
const LOOKS_AT_ONCE: usize = 16;

/// What a record is to say; the ledger knows the rest.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) point: Option<CommitPoint>,
    pub(crate) added: Vec<FileEntry>,
    pub(crate) removed: Vec<String>,
    pub(crate) segments: Option<SegmentChange>,
    pub(crate) rows: RowCounts,
    pub(crate) bytes_written: u64,
    pub(crate) zero_dates: BTreeMap<String, u64>,
}

/// The writer's end of a commit log.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) store: LakeStore,
    pub(crate) settings: Settings,
    pub(crate) spec: TableSpec,
    pub(crate) term: Term,
    pub(crate) log: CommitLog,
    pub(crate) state: State,
    committed: Committed,
    /// What the last record of this writer says that it has written.
    pub(crate) written: Written,
    checkpointed: u64,
    /// Deleted files that the next record lets the state forget.
    pub(crate) forgotten: Vec<String>,
    /// When readers were switched to this generation, once that is known.
    pub(crate) switched_ms: Option<u64>,
    /// Whether orphans of older terms have been removed.
    pub(crate) swept: bool,
    /// Until then there is nothing to remove.
    pub(crate) rests_until_ms: u64,
    failed: bool,
    /// When the call that is on its way began, milliseconds since 1970-01-01 UTC.
    begun_ms: u64,
}

impl Ledger {
    /// Puts a record with our term behind everything there is, and mends a switch that a crash left undone.
    pub(crate) async fn take_over(store: &LakeStore, settings: &Settings, spec: TableSpec, term: Term) -> Result<Self> {
        let log = CommitLog::new(store, &spec.name, spec.generation);
        let mut ledger = Self {
            store: store.clone(),
            settings: settings.clone(),
            term,
            log,
            state: State::new(spec.generation),
            committed: State::new(spec.generation).committed(),
            written: Written::default(),
            checkpointed: 0,
            forgotten: Vec::new(),
            switched_ms: None,
            swept: false,
            rests_until_ms: 0,
            failed: false,
            begun_ms: 0,
            spec,
        };
        for _ in 0..TAKE_OVER_ATTEMPTS {
            ledger.read_and_check().await?;
            let record = ledger.record(RecordKind::Term, Draft::default());
            match ledger.log.put(&record).await? {
                Slot::Taken(_) => {}
                Slot::Ours => {
                    ledger.accept(&record).await?;
                    ledger.switch_readers().await?;
                    return Ok(ledger);
                }
            }
        }
        Err(ledger.fenced("another writer is always ahead"))
    }

    async fn read_and_check(&mut self) -> Result<()> {
        let live = generations::live(&self.store, &self.spec.name).await?;
        if live.generation() > self.spec.generation {
            let (table, generation) = (self.spec.name.to_string(), self.spec.generation);
            return Err(Error::Replaced { table, generation, by: live.generation() });
        }
        // The log of an older generation may be damaged: this one is there to replace it.
        self.state = match live.generation() == self.spec.generation {
            true => live.state?,
            false => self.log.load().await?,
        }
        .unwrap_or_else(|| State::new(self.spec.generation));
        // The same term is ours: a writer of this daemon that failed. Whatever of it is still on its way finds its slot taken.
        if self.state.seq > 0 && self.state.term > self.term && !planted(Mistake::TermIgnored) {
            return Err(self.fenced(format!("the commit log is at term {}", self.state.term)));
        }
        let fits = matches!(
            (&self.state.content, self.spec.kind),
            (None, _) | (Some(Content::Segments(_)), TableKind::Mirror) | (Some(Content::Files(_)), TableKind::Changelog)
        );
        if !fits {
            let reason = format!("the table is no {:?}: a table of another kind needs another generation", self.spec.kind);
            return Err(self.log.broken(&self.log.slot(self.state.seq), reason));
        }
        self.checkpointed = self.log.newest_checkpoint().await?;
        Ok(())
    }

    /// The last commit.
    pub(crate) fn committed(&self) -> &Committed {
        &self.committed
    }

    /// That another writer holds this table, or that this one cannot tell.
    pub(crate) fn fenced(&self, reason: impl Into<String>) -> Error {
        Error::Fenced { table: self.spec.name.to_string(), term: self.term, reason: reason.into() }
    }

    /// That somebody removed a record that this writer knows was there.
    fn deleted(&self, seq: u64) -> Error {
        self.log.broken(&self.log.slot(seq), "the record is gone: it was deleted from outside")
    }

    /// A call that would make the table wrong.
    pub(crate) fn refused(&self, reason: impl Into<String>) -> Error {
        self.log.broken(&self.log.slot(self.state.seq + 1), reason)
    }

    /// The first half of every commit: from here to the end of [`Self::append`] the ledger counts as failed.
    pub(crate) fn begin(&mut self) -> Result<()> {
        if self.failed {
            return Err(self.fenced("an earlier call of this writer failed: the table has to be taken over again"));
        }
        self.failed = true;
        self.begun_ms = self.settings.clock.now_ms();
        Ok(())
    }

    /// Ends what [`Self::begin`] began without a commit.
    pub(crate) fn end(&mut self) {
        self.failed = false;
    }

    /// Refuses a second adoption, and chunks whose files are not there as they were finished.
    pub(crate) async fn check_adoption(&self, chunks: &[ChunkFile]) -> Result<()> {
        if self.state.content.is_some() {
            return Err(self.refused("a snapshot was adopted already"));
        }
        let parts = chunks.iter().flat_map(|chunk| chunk.files.iter().map(|part| (self.object(&part.path), part.bytes)));
        let sizes = futures::stream::iter(parts.collect::<Vec<_>>())
            .map(|(path, bytes)| async move { Ok::<_, Error>((self.store.size(&path).await?, bytes, path)) })
            .buffer_unordered(LOOKS_AT_ONCE);
        let wrong = sizes.try_filter(|(found, bytes, _)| std::future::ready(*found != Some(*bytes)));
        match std::pin::pin!(wrong).try_next().await? {
            None => Ok(()),
            Some((found, bytes, path)) => {
                let found = found.map_or("it is not there".to_owned(), |found| format!("it has {found}"));
                Err(Error::File { path: path.to_string(), reason: format!("a chunk's file should have {bytes} bytes: {found}") })
            }
        }
    }

    /// Refuses a point that lies behind the last one.
    pub(crate) fn check_point(&self, point: &CommitPoint) -> Result<()> {
        let Some(last) = &self.state.point else { return Ok(()) };
        let offsets_go_on =
            last.offsets.len() == point.offsets.len() && last.offsets.iter().zip(&point.offsets).all(|(old, new)| old <= new);
        match (point.position >= last.position, offsets_go_on, point.publish || !last.publish) {
            (true, true, true) => Ok(()),
            (false, ..) => Err(self.refused(format!("position {} lies behind {}", point.position, last.position))),
            (_, false, _) => Err(self.refused(format!("offsets {:?} lie behind {:?}", point.offsets, last.offsets))),
            (.., false) => Err(self.refused("a published table cannot be unpublished".to_owned())),
        }
    }

    /// The directory of the open commit: names the slot it is for and whose it is.
    pub(crate) fn commit_directory(&self) -> String {
        let unique = unique().simple().to_string();
        format!("s{:08}-t{}-{}", self.state.seq + 1, self.term, unique.get(..8).unwrap_or(&unique))
    }

    /// The name of this generation's data directory.
    pub(crate) fn generation_directory(&self) -> String {
        generation_name(self.spec.generation)
    }

    /// The table's folder.
    pub(crate) fn folder(&self) -> Path {
        table_folder(&self.spec.name)
    }

    /// An object from its path relative to the table's folder.
    pub(crate) fn object(&self, relative: &str) -> Path {
        table_object(&self.spec.name, relative)
    }

    /// Commits a draft: durable data first, then its record. Ends what [`Self::begin`] began.
    pub(crate) async fn append(&mut self, kind: RecordKind, draft: Draft) -> Result<()> {
        if !planted(Mistake::FsyncLeftOut) {
            self.store.settle(draft.added.iter().map(|file| self.object(&file.path))).await?;
        }
        let record = self.record(kind, draft);
        point(if kind == RecordKind::Adopt { at::ADOPTING } else { at::UPLOADED });
        if planted(Mistake::CleanupOneEarly) {
            self.delete_files(record.removed.iter()).await?;
        }
        let put = self.log.put(&record).await;
        if put.is_err() && planted(Mistake::TimedOutFilesDeleted) {
            self.delete_files(record.added.iter().map(|file| &file.path)).await?;
        }
        if let Slot::Taken(holder) = put? {
            return Err(self.fenced(format!("record {} is a {:?} of term {}", holder.seq, holder.kind, holder.term)));
        }
        point(if kind == RecordKind::Adopt { at::ADOPTED } else { at::COMMITTED });
        self.accept(&record).await?;
        self.switch_readers().await?;
        self.end();
        Ok(())
    }

    /// What no commit should ever do: for mistakes that are planted.
    async fn delete_files(&self, paths: impl Iterator<Item = &String> + Send) -> Result<()> {
        for path in paths {
            self.store.delete(&self.object(path)).await?;
        }
        Ok(())
    }

    /// Takes in a record that the log holds, after the look that tells a suspended writer that it was one.
    async fn accept(&mut self, record: &Record) -> Result<()> {
        // The first record has none before it: its slot, too, is free again once it has expired.
        let is_first = record.seq == 1;
        let follows = planted(Mistake::SuspendedWriterGoesOn) || (!is_first && self.log.has(record.seq - 1).await?);
        if !follows && self.log.goes_on_behind(record.seq).await? {
            return Err(self.fenced(format!("what comes before record {} has expired: this writer was suspended", record.seq)));
        }
        self.state.apply(record).map_err(|reason| self.log.broken(&self.log.slot(record.seq), reason))?;
        if !follows && !is_first {
            // Nobody has gone on, so the sum that we know is the right one: with it readers keep what they had.
            self.log.checkpoint(&self.state).await?;
            return Err(self.deleted(record.seq - 1));
        }
        self.committed = self.state.committed();
        let RowCounts { inserted, updated, deleted } = record.rows;
        let rows = (inserted, updated, deleted);
        self.written = Written { rows, files: record.added.len() as u64, bytes: record.bytes_written };
        self.forgotten.clear();
        self.rests_until_ms = 0;
        if self.state.seq.saturating_sub(self.checkpointed) >= self.settings.checkpoint_every.max(1) {
            self.log.checkpoint(&self.state).await?;
            self.checkpointed = self.state.seq;
        }
        Ok(())
    }

    async fn switch_readers(&mut self) -> Result<()> {
        if self.switched_ms.is_some() || self.spec.generation == 1 || !self.state.publishes() {
            return Ok(());
        }
        let switcher = Switcher {
            table: self.spec.name.clone(),
            source: self.spec.source.clone(),
            schema: self.spec.schema.id(),
            generation: self.spec.generation,
            term: self.term,
            clock: Arc::clone(&self.settings.clock),
        };
        point(at::SWITCHING);
        self.switched_ms = Some(generations::switch(&self.store, &switcher).await?);
        Ok(())
    }

    /// What this process has published of this generation, if the log does not say so yet.
    pub(crate) fn publication(&self) -> Option<Published> {
        let shown = self.settings.publishing.as_ref()?.shown(&self.spec.name)?;
        let is_new = self.state.published.is_none_or(|noted| noted.seq < shown.seq);
        (shown.generation == self.spec.generation && is_new).then_some(Published { seq: shown.seq, at_ms: shown.at_ms })
    }

    /// Makes sure that the log still ends where we left it: before anything is deleted.
    pub(crate) async fn check_still_ours(&self) -> Result<()> {
        if !self.log.has(self.state.seq).await? {
            return Err(match self.log.goes_on_behind(self.state.seq).await? {
                true => self.fenced(format!("record {} has expired: this writer was suspended", self.state.seq)),
                false => self.deleted(self.state.seq),
            });
        }
        match self.log.read_record(self.state.seq + 1).await? {
            None => Ok(()),
            Some(holder) => Err(self.fenced(format!("record {} is a {:?} of term {}", holder.seq, holder.kind, holder.term))),
        }
    }

    fn record(&self, kind: RecordKind, draft: Draft) -> Record {
        let committed_ms = self.settings.clock.now_ms();
        Record {
            v: VERSION,
            kind,
            id: unique().to_string(),
            table: self.spec.name.to_string(),
            source: self.spec.source.clone(),
            generation: self.spec.generation,
            seq: self.state.seq + 1,
            term: self.term,
            committed_ms,
            schema: self.spec.schema.id(),
            point: draft.point,
            added: draft.added,
            removed: draft.removed,
            forgotten: self.forgotten.clone(),
            segments: draft.segments,
            rows: draft.rows,
            bytes_written: draft.bytes_written,
            took_ms: if kind == RecordKind::Term { 0 } else { committed_ms.saturating_sub(self.begun_ms) },
            zero_dates: draft.zero_dates,
            published: self.publication(),
            switch_to: None,
        }
    }
}

/// The zero dates of all chunks.
pub(crate) fn sum_zero_dates(chunks: &[ChunkFile]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (column, count) in chunks.iter().flat_map(|chunk| &chunk.zero_dates) {
        *sums.entry(column.clone()).or_default() += count;
    }
    sums
}
