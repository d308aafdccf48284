//! The writer of a mirror: a batch is merged into the segments it touches, then one record names the outcome.

use async_trait::async_trait;

use super::ledger::{Draft, Ledger, sum_zero_dates};
use crate::change::DayEnd;
use crate::lake::batch::MirrorBatch;
use crate::lake::columns::Shape;
use crate::lake::daily::{DailyLog, Writer};
use crate::lake::datafile::FILE_NAME;
use crate::lake::log::record::{RecordKind, RowCounts};
use crate::lake::log::state::{Content, difference};
use crate::lake::merge::{self, MergeContext, Merged, Segment};
use crate::lake::publish::day_columns;
use crate::lake::{ChangeSink, ChunkFile, ChunkPart, CommitPoint, Committed, Maintenance, Result, TableWriter, Written};

/// See the module.
pub(crate) struct MirrorWriter {
    ledger: Ledger,
    shape: Shape,
    batch: MirrorBatch,
}

impl MirrorWriter {
    pub(crate) fn new(ledger: Ledger) -> Result<Self> {
        let shape = Shape::new(&ledger.spec, &ledger.settings)?;
        let batch = MirrorBatch::new(&shape, &ledger.settings);
        Ok(Self { ledger, shape, batch })
    }

    fn segments(&self) -> Option<Vec<Segment>> {
        match &self.ledger.state.content {
            Some(Content::Segments(segments)) => Some(segments.clone()),
            Some(Content::Files(_)) | None => None,
        }
    }

    /// Merges what `work` is given; the context names files of the open commit.
    async fn merged(&self, work: Work<'_>) -> Result<Merged> {
        let mut parts = 0;
        let generation = self.ledger.generation_directory();
        let commit = self.ledger.commit_directory();
        let mut next_path = |day: Option<&str>| {
            parts += 1;
            let above = day.map_or(String::new(), |day| format!("{day}/"));
            format!("{generation}/{above}{commit}-{:04}/{FILE_NAME}", parts - 1)
        };
        let mut context = MergeContext {
            store: self.ledger.store.objects(),
            table_prefix: self.ledger.folder(),
            shape: self.shape.clone(),
            settings: &self.ledger.settings,
            layout: self.ledger.spec.layout,
            next_path: &mut next_path,
        };
        match work {
            Work::Adopt(chunks) => merge::adopt(&mut context, chunks).await,
            Work::Apply(segments, batch) => merge::apply(&mut context, segments, *batch).await,
        }
    }
}

enum Work<'a> {
    Adopt(&'a [ChunkPart]),
    Apply(&'a [Segment], Box<MirrorBatch>),
}

fn draft(point: CommitPoint, before: &[Segment], merged: Merged) -> Draft {
    let live: std::collections::BTreeSet<&String> =
        before.iter().filter_map(|segment| segment.file.as_ref()).map(|file| &file.path).collect();
    Draft {
        point: Some(point),
        // A chunk file that a merge at adoption replaced was never live: it is an orphan, not an old version.
        removed: merged.removed.iter().filter(|file| live.contains(&file.path)).map(|file| file.path.clone()).collect(),
        segments: Some(difference(before, &merged.segments)),
        added: merged.added,
        rows: RowCounts { inserted: merged.inserted, updated: merged.updated, deleted: merged.deleted },
        bytes_written: merged.bytes_written,
        zero_dates: merged.zero_dates,
    }
}

#[async_trait]
impl TableWriter for MirrorWriter {
    fn committed(&self) -> &Committed {
        self.ledger.committed()
    }

    fn written(&self) -> Written {
        self.ledger.written
    }

    async fn adopt(&mut self, chunks: Vec<ChunkFile>, point: CommitPoint) -> Result<()> {
        self.ledger.begin()?;
        self.ledger.check_adoption(&chunks).await?;
        let parts: Vec<ChunkPart> = chunks.iter().flat_map(|chunk| chunk.files.iter().cloned()).collect();
        let mut merged = self.merged(Work::Adopt(&parts)).await?;
        if merged.segments.is_empty() {
            merged.segments = Segment::empty_table();
        }
        merged.inserted = merged.segments.iter().filter_map(|segment| segment.file.as_ref()).map(|file| file.rows).sum();
        merged.zero_dates = sum_zero_dates(&chunks);
        self.ledger.append(RecordKind::Adopt, draft(point, &[], merged)).await
    }

    fn sink(&mut self) -> &mut (dyn ChangeSink + Send) {
        &mut self.batch
    }

    fn buffered_bytes(&self) -> usize {
        self.batch.memory_bytes()
    }

    fn buffered_changes(&self) -> u64 {
        self.batch.changes()
    }

    async fn relieve(&mut self) -> Result<()> {
        self.batch.relieve().await
    }

    async fn commit(&mut self, point: CommitPoint) -> Result<()> {
        self.ledger.begin()?;
        self.ledger.check_point(&point)?;
        let segments = self.segments().ok_or_else(|| self.ledger.refused("no snapshot was adopted yet"))?;
        let batch = std::mem::replace(&mut self.batch, MirrorBatch::new(&self.shape, &self.ledger.settings));
        let draft = match batch.is_empty() {
            true => Draft { point: Some(point), ..Draft::default() },
            false => draft(point, &segments, self.merged(Work::Apply(&segments, Box::new(batch))).await?),
        };
        self.ledger.append(RecordKind::Commit, draft).await
    }

    async fn maintain(&mut self, keep: &[String]) -> Result<Maintenance> {
        self.ledger.maintain(keep).await
    }

    async fn frozen(&self) -> Result<Option<String>> {
        // Now, and not at midnight, is the time to say that it cannot be.
        day_columns(&self.shape, &self.ledger.spec)?;
        DailyLog::new(&self.ledger.store, &self.ledger.spec.name).last().await
    }

    async fn freeze(&mut self, day: &DayEnd) -> Result<bool> {
        self.ledger.begin()?;
        let Ledger { spec, state, term, settings, store, .. } = &self.ledger;
        let writer = Writer { term: *term, columns: &day_columns(&self.shape, spec)?, now_ms: settings.clock.now_ms() };
        let is_new = DailyLog::new(store, &spec.name).freeze(spec, state, day, writer).await?;
        self.ledger.end();
        Ok(is_new)
    }

    fn rests_until_ms(&self) -> u64 {
        self.ledger.rests_until_ms
    }
}
