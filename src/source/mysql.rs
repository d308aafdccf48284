//! [`Source`] over a real server: the room's parts put together.
//!
//! Nothing is kept between two calls but the settings: each call has connections of its own and ends with them, and whoever
//! answers at the address is asked anew.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::control::Control;
use super::{
    BinlogStream, Checkpoint, ChunkRange, ChunkReader, Finding, Holding, Identity, KeyBound, PreparedNow, Problem, Result,
    Sample, Settings, SnapshotPlan, Source, StreamFrom, TableOptions, Visible, binlog, holding, identity, preflight, prepared,
    schema, snapshot,
};
use crate::change::{Capture, TableName, TableSchema};

/// A MySQL server.
#[derive(Debug, Clone)]
pub struct MysqlSource {
    settings: Settings,
}

impl MysqlSource {
    /// A source; nothing is connected yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// What it was made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

#[async_trait]
impl Source for MysqlSource {
    async fn identity(&self) -> Result<Identity> {
        identity::identity(&mut Control::connect(&self.settings).await?).await
    }

    async fn tables(&self) -> Result<Vec<TableName>> {
        schema::tables(&mut Control::connect(&self.settings).await?).await
    }

    async fn describe(&self, table: &TableName, options: &TableOptions) -> Result<Arc<TableSchema>> {
        schema::describe(&mut Control::connect(&self.settings).await?, table, options).await
    }

    async fn unwritten_cascades(&self, tables: &[(TableName, TableOptions)]) -> Result<Vec<(TableName, Problem)>> {
        schema::unwritten_cascades(&mut Control::connect(&self.settings).await?, tables).await
    }

    async fn preflight(&self, tables: &[(TableName, TableOptions)]) -> Result<Vec<Finding>> {
        preflight::preflight(&mut Control::connect(&self.settings).await?, tables).await
    }

    async fn flushed(&self) -> Result<Sample> {
        snapshot::flushed(&self.settings).await
    }

    async fn holding(&self) -> Result<Holding> {
        holding::holding(&mut Control::connect(&self.settings).await?).await
    }

    async fn prepared(&self) -> Result<PreparedNow> {
        prepared::prepared(&self.settings).await
    }

    async fn stream(&self, from: StreamFrom, capture: Capture) -> Result<Box<dyn BinlogStream>> {
        Ok(Box::new(binlog::open(&self.settings, from, capture).await?))
    }

    async fn wait_visible(&self, since: &Checkpoint, timeout: Duration) -> Result<Visible> {
        snapshot::wait_visible(&self.settings, since, timeout).await
    }

    async fn plan_snapshot(&self, schema: &TableSchema) -> Result<SnapshotPlan> {
        snapshot::plan(&self.settings, schema, None).await
    }

    async fn plan_snapshot_on(&self, schema: &TableSchema, visible: &Visible) -> Result<SnapshotPlan> {
        snapshot::plan(&self.settings, schema, Some(&visible.server_uuid)).await
    }

    async fn next_chunk(
        &self,
        schema: &TableSchema,
        plan: &SnapshotPlan,
        after: Option<&KeyBound>,
    ) -> Result<Option<ChunkRange>> {
        snapshot::next_chunk(&self.settings, schema, plan, after).await
    }

    async fn read_chunk(&self, schema: Arc<TableSchema>, range: &ChunkRange, visible: &Visible) -> Result<Box<dyn ChunkReader>> {
        Ok(Box::new(snapshot::read_chunk(&self.settings, schema, range, visible).await?))
    }
}
