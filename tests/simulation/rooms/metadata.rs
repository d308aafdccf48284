//! The metadata store of one daemon's life. What is saved here is looked at: nothing may park that the world has given no reason for.

use async_trait::async_trait;
use binlake::change::{DayEnd, LogPlace, TableName, Term};
use binlake::metadata::memory::Fault;
use binlake::metadata::{
    ChunkDone, ChunkState, Error, Lease, MemoryMetadata, Metadata, News, Parked, Phase, Published, Request, RequestKind, Result,
    SourceState, TableState,
};
use binlake::source::Checkpoint;

use crate::stage::{Life, Step, change, look};
use crate::violation::Invariant;

/// See the module.
#[derive(Debug)]
pub(crate) struct LifeMetadata {
    pub life: Life,
    pub inner: MemoryMetadata,
}

fn fault(reason: &'static str) -> Error {
    Error::Storage { path: "memory".to_owned(), reason: reason.to_owned() }
}

impl LifeMetadata {
    async fn act<T>(&self, step: Step, detail: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let doubt = || self.inner.inject(Fault::AnswerLost, None, 0);
        self.life.act(step, detail, fault, doubt, work).await
    }

    /// The checkpoint that is saved now says which server's places its epoch counts in.
    async fn entered<T>(&self, outcome: Result<T>) -> Result<T> {
        let saved = self.inner.source("sim").await?.and_then(|source| source.checkpoint);
        if let Some(checkpoint) = saved.and_then(|text| serde_json::from_str::<Checkpoint>(&text).ok()) {
            self.life.stage.scene().oracle.history.entered(checkpoint.position.0.epoch, &checkpoint.server_uuid);
        }
        outcome
    }
}

#[async_trait]
impl Metadata for LifeMetadata {
    async fn acquire(&self, resource: &str, holder: &str) -> Result<Lease> {
        self.act(change("acquire"), resource, self.inner.acquire(resource, holder)).await
    }

    async fn raise(&self, lease: &Lease, above: Term) -> Result<Lease> {
        self.act(change("raise"), &lease.resource, self.inner.raise(lease, above)).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.act(change("release"), &lease.resource, self.inner.release(lease)).await
    }

    async fn source(&self, name: &str) -> Result<Option<SourceState>> {
        self.act(look("source"), name, self.inner.source(name)).await
    }

    async fn save_source(&self, lease: &Lease, state: &SourceState) -> Result<()> {
        let work = async { self.entered(self.inner.save_source(lease, state).await).await };
        self.act(change("save_source"), "", work).await
    }

    async fn save_stopped(&self, lease: &Lease, source: &str, stopped: Option<&Parked>) -> Result<()> {
        self.act(change("save_stopped"), "", self.inner.save_stopped(lease, source, stopped)).await
    }

    async fn save_published(&self, lease: &Lease, source: &str, checkpoint: &str, news: &News) -> Result<()> {
        let detail = news.published.position.to_string();
        let work = async { self.entered(self.inner.save_published(lease, source, checkpoint, news).await).await };
        self.act(change("save_published"), &detail, work).await
    }

    async fn published(&self, lease: Option<&Lease>, source: &str, topic: &str) -> Result<Option<(Published, Vec<LogPlace>)>> {
        self.act(look("published"), topic, self.inner.published(lease, source, topic)).await
    }

    async fn day_end(&self, source: &str, zone: &str, after: Option<&str>) -> Result<Option<DayEnd>> {
        self.act(look("day_end"), after.unwrap_or_default(), self.inner.day_end(source, zone, after)).await
    }

    async fn tables(&self, source: &str) -> Result<Vec<TableState>> {
        self.act(look("tables"), source, self.inner.tables(source)).await
    }

    async fn generations(&self, source: &str, table: &TableName) -> Result<Vec<TableState>> {
        self.act(look("generations"), &table.table, self.inner.generations(source, table)).await
    }

    async fn save_table(&self, lease: &Lease, state: &TableState) -> Result<()> {
        let detail = format!("{} g{} {}", state.table.table, state.generation, state.phase);
        let work = async {
            let outcome = self.inner.save_table(lease, state).await;
            // What a daemon wants that was overtaken does not count.
            if let (Phase::Parked { parked, .. }, false) = (&state.phase, matches!(outcome, Err(Error::Fenced { .. }))) {
                let detail = format!("{} g{}: {}", state.table, state.generation, parked.reason);
                self.life.stage.violate(Invariant::UnexpectedPark, detail);
            }
            outcome
        };
        self.act(change("save_table"), &detail, work).await
    }

    async fn remove_table(&self, lease: &Lease, source: &str, table: &TableName, generation: u32) -> Result<()> {
        let detail = format!("{} g{generation}", table.table);
        self.act(change("remove_table"), &detail, self.inner.remove_table(lease, source, table, generation)).await
    }

    async fn troubles(&self, source: &str) -> Result<Vec<(TableName, u32, Parked)>> {
        self.act(look("troubles"), source, self.inner.troubles(source)).await
    }

    async fn save_trouble(
        &self,
        lease: &Lease,
        source: &str,
        table: &TableName,
        generation: u32,
        trouble: Option<&Parked>,
    ) -> Result<()> {
        self.act(change("save_trouble"), &table.table, self.inner.save_trouble(lease, source, table, generation, trouble)).await
    }

    async fn chunks(&self, source: &str, table: &TableName, generation: u32) -> Result<Vec<ChunkState>> {
        self.act(look("chunks"), &table.table, self.inner.chunks(source, table, generation)).await
    }

    async fn save_chunks(&self, lease: &Lease, table: &TableState, chunks: &[ChunkState], planned_all: bool) -> Result<()> {
        let detail = format!("{} {}", table.table.table, chunks.first().map_or(0, |chunk| chunk.attempts));
        if chunks.iter().any(|chunk| chunk.attempts > 1) {
            self.life.stage.scene().coverage.count("snapshot: chunk read again");
        }
        self.act(change("save_chunks"), &detail, self.inner.save_chunks(lease, table, chunks, planned_all)).await
    }

    async fn chunk_done(&self, lease: &Lease, table: &TableState, index: u64, done: &ChunkDone) -> Result<bool> {
        let detail = format!("{} {index}", table.table.table);
        self.act(change("chunk_done"), &detail, self.inner.chunk_done(lease, table, index, done)).await
    }

    async fn put_request(&self, source: &str, table: &TableName, kind: RequestKind) -> Result<u64> {
        self.act(change("put_request"), &table.table, self.inner.put_request(source, table, kind)).await
    }

    async fn requests(&self) -> Result<Vec<Request>> {
        self.act(look("requests"), "", self.inner.requests()).await
    }

    async fn drop_request(&self, lease: &Lease, id: u64) -> Result<()> {
        self.act(change("drop_request"), "", self.inner.drop_request(lease, id)).await
    }
}
