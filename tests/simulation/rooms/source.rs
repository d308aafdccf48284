//! The server as one daemon sees it: connections break at any event, and the load goes on between any two of its answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use binlake::change::{Capture, RowSink, TableName, TableSchema};
use binlake::source::memory::MemorySource;
use binlake::source::{
    BinlogStream, Checkpoint, ChunkRange, ChunkReader, Error, Finding, Identity, KeyBound, PreparedNow, Result, Sample,
    SnapshotPlan, Source, StreamFrom, StreamItem, TableOptions, Visible,
};
use futures::FutureExt;

use crate::load::Load;
use crate::stage::{Fate, Life, look};

/// How long a stream is silent at most.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone)]
pub(crate) struct LifeSource {
    pub life: Life,
    pub inner: MemorySource,
    pub load: Arc<Load>,
}

fn broken() -> Error {
    Error::Connection { name: "sim".to_owned(), address: "memory".to_owned(), reason: "the connection broke".to_owned() }
}

impl LifeSource {
    /// The answer that there is now. The model's own wait wakes its waiters in an order that no seed decides.
    fn at_once<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::task::unconstrained(answer).now_or_never()
    }

    /// Before an answer: others write, and the connection may break.
    async fn answers(&self, name: &'static str) -> Result<()> {
        let fate = self.life.fate(look(name)).await;
        self.load.meanwhile(&self.life.stage);
        match fate {
            Fate::Refused => {
                self.life.stage.scene().coverage.count("fault: disconnected");
                Err(broken())
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Source for LifeSource {
    async fn identity(&self) -> Result<Identity> {
        self.answers("identity").await?;
        self.inner.identity().await
    }

    async fn tables(&self) -> Result<Vec<TableName>> {
        self.answers("list tables").await?;
        self.inner.tables().await
    }

    async fn describe(&self, table: &TableName, options: &TableOptions) -> Result<Arc<TableSchema>> {
        self.answers("describe").await?;
        self.inner.describe(table, options).await
    }

    async fn preflight(&self, tables: &[(TableName, TableOptions)]) -> Result<Vec<Finding>> {
        self.answers("preflight").await?;
        self.inner.preflight(tables).await
    }

    async fn flushed(&self) -> Result<Sample> {
        self.answers("flushed").await?;
        self.inner.flushed().await
    }

    async fn prepared(&self) -> Result<PreparedNow> {
        self.answers("prepared").await?;
        self.inner.prepared().await
    }

    async fn stream(&self, from: StreamFrom, capture: Capture) -> Result<Box<dyn BinlogStream>> {
        self.answers("stream").await?;
        Ok(Box::new(LifeStream { source: self.clone(), inner: self.inner.stream(from, capture).await? }))
    }

    async fn wait_visible(&self, since: &Checkpoint, timeout: Duration) -> Result<Visible> {
        self.answers("wait_visible").await?;
        let mut bell = self.load.bell.listen();
        let begun = tokio::time::Instant::now();
        loop {
            if let Some(answer) = self.at_once(self.inner.wait_visible(since, timeout)) {
                return answer;
            }
            if tokio::time::timeout_at(begun + timeout, bell.heard()).await.is_err() {
                return Err(broken());
            }
            self.life.beats().await;
        }
    }

    async fn plan_snapshot(&self, schema: &TableSchema) -> Result<SnapshotPlan> {
        self.answers("plan").await?;
        self.inner.plan_snapshot(schema).await
    }

    async fn plan_snapshot_on(&self, schema: &TableSchema, visible: &Visible) -> Result<SnapshotPlan> {
        self.answers("plan").await?;
        self.inner.plan_snapshot_on(schema, visible).await
    }

    async fn next_chunk(
        &self,
        schema: &TableSchema,
        plan: &SnapshotPlan,
        after: Option<&KeyBound>,
    ) -> Result<Option<ChunkRange>> {
        self.answers("next_chunk").await?;
        self.inner.next_chunk(schema, plan, after).await
    }

    async fn read_chunk(&self, schema: Arc<TableSchema>, range: &ChunkRange, visible: &Visible) -> Result<Box<dyn ChunkReader>> {
        self.answers("read_chunk").await?;
        Ok(Box::new(LifeReader { source: self.clone(), inner: self.inner.read_chunk(schema, range, visible).await? }))
    }
}

struct LifeStream {
    source: LifeSource,
    inner: Box<dyn BinlogStream>,
}

#[async_trait]
impl BinlogStream for LifeStream {
    async fn next(&mut self) -> Result<StreamItem> {
        let mut bell = self.source.load.bell.listen();
        self.source.answers("next event").await?;
        loop {
            // Nothing is awaited behind an answer: a dropped call loses nothing.
            if let Some(answer) = self.source.at_once(self.inner.next()) {
                return answer;
            }
            if tokio::time::timeout(HEARTBEAT, bell.heard()).await.is_err() {
                return Ok(StreamItem::Progress { committed_us: None, idle: true });
            }
            self.source.life.beats().await;
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        self.inner.checkpoint()
    }

    fn set_capture(&mut self, capture: Capture) {
        self.inner.set_capture(capture);
    }

    fn forget_prepared(&mut self, xids: &BTreeSet<String>) {
        self.inner.forget_prepared(xids);
    }
}

struct LifeReader {
    source: LifeSource,
    inner: Box<dyn ChunkReader>,
}

#[async_trait]
impl ChunkReader for LifeReader {
    async fn next_rows(&mut self, sink: &mut (dyn RowSink + Send), bytes: usize) -> Result<u64> {
        self.source.answers("next rows").await?;
        self.inner.next_rows(sink, bytes).await
    }

    async fn high(self: Box<Self>) -> Result<Sample> {
        self.source.answers("high").await?;
        self.inner.high().await
    }
}
