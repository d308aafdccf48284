//! [`Source`] over the modelled server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::snapshot::{self, MemoryReader};
use super::stream::MemoryStream;
use super::{Call, MemoryServer};
use crate::change::{Capture, KeyKind, TableName, TableSchema};
use crate::source::{
    BinlogStream, Checkpoint, ChunkRange, ChunkReader, Error, Finding, Flavor, Identity, KeyBound, PreparedNow, Result, Sample,
    Severity, SnapshotPlan, Source, StreamFrom, TableOptions, Visible,
};

/// A source whose server is a [`MemoryServer`].
#[derive(Debug, Clone)]
pub struct MemorySource {
    server: MemoryServer,
    name: String,
    chunk_rows: usize,
    heartbeat: Duration,
}

/// The connection broke.
pub(super) fn broken(name: &str, reason: &str) -> Error {
    Error::Connection { name: name.to_owned(), address: "memory".to_owned(), reason: reason.to_owned() }
}

impl MemorySource {
    /// A source of this name: chunks of 3 rows, a heartbeat every 10 seconds.
    pub fn new(server: &MemoryServer, name: &str) -> Self {
        Self { server: server.clone(), name: name.to_owned(), chunk_rows: 3, heartbeat: Duration::from_secs(10) }
    }

    /// Chunks of another size.
    #[must_use]
    pub fn with_chunk_rows(self, chunk_rows: usize) -> Self {
        Self { chunk_rows, ..self }
    }

    /// Heartbeats at another pace.
    #[must_use]
    pub fn with_heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }

    fn shape(&self, table: &TableName, options: &TableOptions) -> Result<Arc<TableSchema>> {
        let refuse = |reason: &str| Error::Table {
            table: table.clone(),
            reason: reason.to_owned(),
            remedy: "correct the table list".to_owned(),
        };
        let world = self.server.world();
        let full =
            world.visible_tables.get(table).map(|table| Arc::clone(&table.schema)).ok_or_else(|| refuse("no such table"))?;
        drop(world);
        let excluded = |name: &str| options.exclude_columns.iter().any(|column| column == name);
        let mut schema = TableSchema {
            columns: full.columns.iter().filter(|column| !excluded(&column.name)).cloned().collect(),
            ..(*full).clone()
        };
        let (names, kind) = match full.key_kind {
            KeyKind::None if !options.key.is_empty() => (options.key.iter().map(String::as_str).collect(), KeyKind::Configured),
            KeyKind::None if !options.keyless_allowed => return Err(refuse("no primary key")),
            kind => (full.key_names(), kind),
        };
        let place = |name: &&str| schema.columns.iter().position(|column| column.name == **name);
        let key: Option<Vec<usize>> = names.iter().map(place).collect();
        schema.key = key.ok_or_else(|| refuse("a key column is not captured"))?;
        schema.key_kind = kind;
        Ok(Arc::new(schema))
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn identity(&self) -> Result<Identity> {
        self.server.called(Call::Identity)?;
        let world = self.server.world();
        let (server_uuid, gtids) = (world.server_uuid.clone(), world.gtids);
        Ok(Identity { server_uuid, version: "9.7.0-memory".to_owned(), flavor: Flavor::Mysql, gtids })
    }

    async fn tables(&self) -> Result<Vec<TableName>> {
        self.server.called(Call::Tables)?;
        Ok(self.server.world().visible_tables.keys().cloned().collect())
    }

    async fn describe(&self, table: &TableName, options: &TableOptions) -> Result<Arc<TableSchema>> {
        self.server.called(Call::Describe)?;
        self.shape(table, options)
    }

    async fn preflight(&self, tables: &[(TableName, TableOptions)]) -> Result<Vec<Finding>> {
        self.server.called(Call::Preflight)?;
        let judge = |(table, options): &(TableName, TableOptions)| {
            let problem = self.shape(table, options).err();
            Finding {
                severity: if problem.is_some() { Severity::Error } else { Severity::Ok },
                subject: table.to_string(),
                remedy: problem.as_ref().map(|_| "correct the table list".to_owned()),
                message: problem.map_or_else(|| "it can be captured".to_owned(), |error| error.to_string()),
                table: Some(table.clone()),
            }
        };
        Ok(tables.iter().map(judge).collect())
    }

    async fn flushed(&self) -> Result<Sample> {
        self.server.called(Call::Flushed)?;
        Ok(self.server.flushed_end())
    }

    async fn prepared(&self) -> Result<PreparedNow> {
        self.server.called(Call::Flushed)?;
        let xids = Some(self.server.xa_recover().into_iter().collect());
        Ok(PreparedNow { xids, end: self.server.flushed_end() })
    }

    async fn stream(&self, from: StreamFrom, capture: Capture) -> Result<Box<dyn BinlogStream>> {
        self.server.called(Call::Stream)?;
        Ok(Box::new(MemoryStream::open(&self.server, &self.name, self.heartbeat, from, capture)?))
    }

    async fn wait_visible(&self, since: &Checkpoint, timeout: Duration) -> Result<Visible> {
        snapshot::wait_visible(&self.server, &self.name, since, timeout).await
    }

    async fn plan_snapshot(&self, schema: &TableSchema) -> Result<SnapshotPlan> {
        self.server.called(Call::Plan)?;
        snapshot::plan(&self.server, &self.name, schema, None)
    }

    async fn plan_snapshot_on(&self, schema: &TableSchema, visible: &Visible) -> Result<SnapshotPlan> {
        self.server.called(Call::Plan)?;
        snapshot::plan(&self.server, &self.name, schema, Some(visible))
    }

    async fn next_chunk(
        &self,
        schema: &TableSchema,
        plan: &SnapshotPlan,
        after: Option<&KeyBound>,
    ) -> Result<Option<ChunkRange>> {
        self.server.called(Call::NextChunk)?;
        snapshot::next_chunk(&self.server, schema, plan, after, self.chunk_rows)
    }

    async fn read_chunk(&self, schema: Arc<TableSchema>, range: &ChunkRange, visible: &Visible) -> Result<Box<dyn ChunkReader>> {
        self.server.called(Call::ReadChunk)?;
        Ok(Box::new(MemoryReader::open(&self.server, &self.name, schema, range, visible)?))
    }
}
