//! load: one table's snapshot, in chunks, straight into the lake.
//!
//! Why no row is lost: nothing is read before the server *shows* everything that starts below `since` ([`wait_visible`](crate::source::Source::wait_visible)
//! closes the commit race), and everything behind `since` is in the change log. A chunk may be read again, in any order, twice: the log
//! heals it. A chunk's files and its `high` (sampled after the read, so nothing that was read lies behind it) enter the metadata store in
//! one transaction; a chunk that is not in is read again after a crash, and only such a chunk. The handoff is the highest `high`: once the
//! log was applied up to there, every key's last change is in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::change::row::pass_cells;
use crate::change::{CellError, Cut, Image, RowSink};
use crate::lake::{ChunkFile, ChunkWriter};
use crate::metadata::{CaptureState, ChunkDone, ChunkState, Phase, TableState};
use crate::source::{self, Checkpoint, ChunkRange, KeyBound, SnapshotPlan, Visible};
use crate::trial::{Mistake, at, planted, point};

use super::board::{Progress, SharedBoard};
use super::gauges::Share;
use super::{Error, Ledger, Result, Rooms, TableKey, read_document, targets, write_document};

/// What a load shares with the other loads of its source.
#[derive(Clone)]
pub struct Limits {
    /// One permit per chunk in flight, over all tables of the source.
    pub chunks: Arc<Semaphore>,
    /// How many chunks of one table are planned ahead.
    pub parallel: usize,
    /// Bytes between two looks at the chunk writer.
    pub flush_bytes: usize,
    /// How long the server may take to show `since`.
    pub visible_timeout: Duration,
}

/// Everything one load works with.
#[derive(Clone)]
pub struct Load {
    /// The rooms.
    pub rooms: Rooms,
    /// The table states.
    pub ledger: Arc<Ledger>,
    /// Counters.
    pub board: SharedBoard,
    /// Shared limits.
    pub limits: Limits,
    /// The table.
    pub key: TableKey,
}

impl Load {
    /// Runs until the snapshot is complete or the load is cancelled; goes on where an earlier run stopped.
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        // A thousand tables that are captured at once must not all connect at once; they come in their order.
        let _permit = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            permit = self.board.loads(self.limits.parallel).acquire_owned() => permit.map_err(|_| self.stopping())?,
        };
        let state = self.state().await?;
        let CaptureState::On { since } = state.capture else { return Ok(()) };
        let visible = self.wait_visible(&state).await?;
        let plan = self.plan(&state, &visible).await?;
        let mut chunks = self.rooms.metadata.chunks(&state.source, &state.table, state.generation).await?;
        self.show(&plan, &chunks);
        let mut running: JoinSet<Result<(u64, ChunkDone)>> = JoinSet::new();
        let mut waiting: Vec<ChunkState> = chunks.iter().filter(|chunk| chunk.done.is_none()).cloned().collect();
        waiting.reverse();
        let mut planned_all = state.planned_all;
        loop {
            while running.len() < self.limits.parallel {
                if waiting.is_empty() && !planned_all {
                    planned_all = self.plan_more(&state, &plan, &mut chunks, &mut waiting).await?;
                }
                let Some(chunk) = waiting.pop() else { break };
                self.spawn(&mut running, &state, chunk, since, &visible).await?;
            }
            let done = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                done = running.join_next() => done,
            };
            let Some(done) = done else { break };
            let (index, done) = done.map_err(|error| Error::Table {
                table: state.table.clone(),
                reason: format!("a chunk's task ended: {error}"),
                remedy: "report this with the log".to_owned(),
            })??;
            point(at::CHUNK_UPLOADED);
            self.rooms.metadata.chunk_done(self.ledger.lease(), &state, index, &done).await?;
            point(at::CHUNK_DONE);
            self.ledger.works(&self.key).await?;
            self.board.snapshot_rows.fetch_add(done.rows, Ordering::Relaxed);
            if let Some(numbers) = self.board.numbers() {
                numbers.chunk(&self.key.table.to_string(), done.rows);
            }
            if let Some(chunk) = chunks.iter_mut().find(|chunk| chunk.index == index) {
                chunk.done = Some(done);
            }
            self.show(&plan, &chunks);
        }
        self.finish(since, &chunks, &visible).await
    }

    fn stopping(&self) -> Error {
        Error::Table {
            table: self.key.table.clone(),
            reason: "the daemon is stopping".to_owned(),
            remedy: "none is needed".to_owned(),
        }
    }

    async fn state(&self) -> Result<Arc<TableState>> {
        self.ledger.get(&self.key).await.ok_or_else(|| Error::Table {
            table: self.key.table.clone(),
            reason: format!("generation {} is no longer known", self.key.generation),
            remedy: "none is needed: a newer generation has replaced it".to_owned(),
        })
    }

    /// Closes the commit race, once per server: a `since` that was seen visible stays visible there.
    async fn wait_visible(&self, state: &TableState) -> Result<Visible> {
        if let Some(text) = &state.visible {
            return read_document("visible", &state.table, text);
        }
        let Some(text) = &state.since_checkpoint else {
            return Err(Error::Document { what: "since", of: state.table.to_string(), reason: "missing".to_owned() });
        };
        let since: Checkpoint = read_document("checkpoint", &state.table, text)?;
        let visible = match planted(Mistake::LoadBeforeVisible) {
            true => Visible { server_uuid: since.server_uuid.clone(), by: "nothing".to_owned() },
            false => self.rooms.source.wait_visible(&since, self.limits.visible_timeout).await?,
        };
        let document = write_document("visible", &state.table, &visible)?;
        self.ledger
            .update(&self.key, |state| {
                state.visible = Some(document);
                if state.phase == Phase::Pending {
                    state.phase = Phase::Snapshotting;
                }
            })
            .await?;
        tracing::info!(table = %state.table, generation = state.generation, phase = "snapshotting", seen_by = visible.by, "phase");
        Ok(visible)
    }

    async fn plan(&self, state: &TableState, visible: &Visible) -> Result<SnapshotPlan> {
        if let Some(text) = &state.plan {
            return read_document("plan", &state.table, text);
        }
        let plan = self.rooms.source.plan_snapshot_on(&state.schema, visible).await?;
        let document = write_document("plan", &state.table, &plan)?;
        self.ledger.update(&self.key, |state| state.plan = Some(document)).await?;
        Ok(plan)
    }

    /// Plans the next chunk and makes it durable before it is read; true when no more will follow.
    async fn plan_more(
        &self,
        state: &TableState,
        plan: &SnapshotPlan,
        chunks: &mut Vec<ChunkState>,
        waiting: &mut Vec<ChunkState>,
    ) -> Result<bool> {
        let after: Option<KeyBound> = match chunks.last() {
            Some(last) => read_document::<ChunkRange>("chunk", &state.table, &last.range)?.upper,
            None => None,
        };
        let next = match (plan.whole, chunks.is_empty()) {
            _ if plan.empty => None,
            (true, true) => Some(ChunkRange { lower: None, upper: None }),
            (true, false) => None,
            // An open upper bound, or the plan's own, is the last one.
            (false, false) if after.is_none() || after == plan.upper => None,
            (false, _) => self.rooms.source.next_chunk(&state.schema, plan, after.as_ref()).await?,
        };
        let Some(range) = next else {
            self.rooms.metadata.save_chunks(self.ledger.lease(), state, &[], true).await?;
            self.ledger.update(&self.key, |state| state.planned_all = true).await?;
            return Ok(true);
        };
        let range = write_document("chunk", &state.table, &range)?;
        let chunk = ChunkState { index: chunks.len() as u64, range, attempts: 0, done: None };
        chunks.push(chunk.clone());
        waiting.push(chunk);
        Ok(false)
    }

    async fn spawn(
        &self,
        running: &mut JoinSet<Result<(u64, ChunkDone)>>,
        state: &Arc<TableState>,
        mut chunk: ChunkState,
        since: Cut,
        visible: &Visible,
    ) -> Result<()> {
        chunk.attempts += 1;
        self.rooms.metadata.save_chunks(self.ledger.lease(), state, std::slice::from_ref(&chunk), false).await?;
        let (load, state, visible) = (self.clone(), Arc::clone(state), visible.clone());
        let reading = async move {
            let index = chunk.index;
            let done = load.read_chunk(&state, &chunk, since, &visible).await?;
            Ok((index, done))
        };
        running.spawn(reading.in_current_span());
        Ok(())
    }

    async fn read_chunk(&self, state: &TableState, chunk: &ChunkState, since: Cut, visible: &Visible) -> Result<ChunkDone> {
        let _permit = Arc::clone(&self.limits.chunks).acquire_owned().await.map_err(|_| self.stopping())?;
        let mut in_flight = Share::of(&self.board, |gauges| &gauges.chunks);
        in_flight.set(1);
        let range: ChunkRange = read_document("chunk", &state.table, &chunk.range)?;
        let attempt = format!("{}-{}", self.ledger.lease().term, chunk.attempts);
        let specs = targets::targets(state);
        let mut writers = Vec::with_capacity(specs.len());
        for spec in &specs {
            writers.push(self.rooms.lake.chunk(spec, since, chunk.index, &attempt).await?);
        }
        let early = if planted(Mistake::HighBeforeRead) { Some(self.rooms.source.flushed().await?) } else { None };
        let mut reader = self.rooms.source.read_chunk(Arc::clone(&state.schema), &range, visible).await?;
        let mut rows = 0;
        loop {
            let read = {
                let mut sink = Tee(&mut writers);
                reader.next_rows(&mut sink, self.limits.flush_bytes).await?
            };
            if read == 0 {
                break;
            }
            rows += read;
            for writer in &mut writers {
                writer.flush().await?;
            }
        }
        let high = reader.high().await?;
        let high = self.bind(state, visible, &early.unwrap_or(high)).await?;
        let mut files: BTreeMap<String, ChunkFile> = BTreeMap::new();
        for (spec, writer) in specs.iter().zip(writers) {
            files.insert(spec.name.table.clone(), writer.finish().await?);
        }
        let files = write_document("chunk files", &state.table, &files)?;
        tracing::debug!(table = %state.table, chunk = chunk.index, rows, %high, "chunk is in");
        Ok(ChunkDone { high, rows, files, at_ms: self.rooms.clock.now_ms() })
    }

    /// A sample is a place of the history that the stream is in, or of none: another server's file and offset mean nothing here.
    async fn bind(&self, state: &TableState, visible: &Visible, sample: &source::Sample) -> Result<Cut> {
        let known = self.ledger.source().await?;
        let epoch = known.as_ref().map_or(0, |known| known.epoch);
        let server = known.as_ref().and_then(|known| known.checkpoint.as_deref());
        let server: Option<Checkpoint> = server.map(|text| read_document("checkpoint", &state.table, text)).transpose()?;
        let same =
            sample.server_uuid == visible.server_uuid && server.is_some_and(|server| server.server_uuid == sample.server_uuid);
        if same {
            return Ok(sample.cut(epoch));
        }
        self.ledger.update(&self.key, |state| state.visible = None).await?;
        Err(Error::Source(source::Error::Connection {
            name: state.source.clone(),
            address: sample.server_uuid.clone(),
            reason: "the snapshot was read from another server than the one whose binlog is followed".to_owned(),
        }))
    }

    async fn finish(&self, since: Cut, chunks: &[ChunkState], visible: &Visible) -> Result<()> {
        let mut handoff = since;
        if chunks.is_empty() {
            // That there is no row was seen when the plan was made, which was after `since`: it has a `high` like any read.
            let state = self.state().await?;
            let high = self.rooms.source.flushed().await?;
            handoff = handoff.max(self.bind(&state, visible, &high).await?);
        }
        for chunk in chunks {
            match &chunk.done {
                Some(done) => handoff = handoff.max(done.high),
                // Cancelled between two chunks: the next run goes on.
                None => return Ok(()),
            }
        }
        self.board.clear_progress(&self.key.table.to_string());
        point(at::CHUNKS_IN);
        let state = self
            .ledger
            .update(&self.key, |state| {
                if matches!(state.phase, Phase::Pending | Phase::Snapshotting) {
                    state.phase = Phase::CatchingUp { handoff };
                }
            })
            .await?;
        let rows: u64 = chunks.iter().filter_map(|chunk| chunk.done.as_ref()).map(|done| done.rows).sum();
        tracing::info!(
            table = %state.table, generation = state.generation, phase = %state.phase, rows, chunks = chunks.len(), %handoff, "phase"
        );
        Ok(())
    }

    fn show(&self, plan: &SnapshotPlan, chunks: &[ChunkState]) {
        let done = chunks.iter().filter_map(|chunk| chunk.done.as_ref());
        let progress = Progress {
            chunks_done: done.clone().count() as u64,
            rows: done.map(|done| done.rows).sum(),
            rows_estimated: plan.estimated_rows,
        };
        self.board.set_progress(&self.key.table.to_string(), progress);
    }
}

/// Drives the same row into every writer.
struct Tee<'a>(&'a mut Vec<Box<dyn ChunkWriter>>);

impl Tee<'_> {
    fn pass(
        &mut self,
        mut cell: impl FnMut(&mut (dyn RowSink + Send)) -> std::result::Result<(), CellError>,
    ) -> std::result::Result<(), CellError> {
        self.0.iter_mut().try_for_each(|writer| cell(writer.sink()))
    }
}

impl RowSink for Tee<'_> {
    fn image(&mut self, image: Image) -> std::result::Result<(), CellError> {
        self.pass(|sink| sink.image(image))
    }

    pass_cells!();
}
