//! The open batch of a mirror: changes as they come, collapsed to one net change per key.

use std::collections::BTreeMap;

use super::columns::{RowsBuilder, Shape};
use super::{ChangeSink, Result, Settings};
use crate::change::{CellError, Image, LogOffset, RecordHead, RowSink};

/// Changes that were not committed yet.
#[derive(Debug)]
pub struct MirrorBatch {
    after: RowsBuilder,
}

impl MirrorBatch {
    /// An empty batch.
    pub fn new(shape: &Shape, settings: &Settings) -> Self {
        let _unused = settings;
        Self { after: RowsBuilder::new(shape) }
    }
    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.after.memory_bytes()
    }
    /// Changes taken so far.
    pub fn changes(&self) -> u64 {
        todo!()
    }
    /// Whether nothing came yet.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// Zero dates of after images stored as NULL so far, by column.
    pub fn zero_dates(&self) -> BTreeMap<String, u64> {
        todo!()
    }
    /// Spills to scratch what is over `batch_bytes`; nothing to do below it.
    ///
    /// # Errors
    /// [`super::Error::Divergence`] when changes do not fit each other, [`super::Error::Scratch`]. The batch is unusable afterwards.
    pub async fn relieve(&mut self) -> Result<()> {
        todo!()
    }
}

macro_rules! forward { ($($name:ident($($arg:ident: $type:ty)?)),*) => { $(fn $name(&mut self $(, $arg: $type)?) -> std::result::Result<(), CellError> { self.after.$name($($arg)?) })* } }

impl RowSink for MirrorBatch {
    forward!(image(i: Image), null(), signed(v: i64), unsigned(v: u64), float(v: f32), double(v: f64), decimal(v: &str), text(v: &str),
        bytes(v: &[u8]), date(v: i32), time(v: i64), datetime(v: i64), timestamp(v: i64), zero_date());
}

impl ChangeSink for MirrorBatch {
    fn begin(&mut self, head: &RecordHead, offset: LogOffset, exact: bool) -> Result<()> {
        let _unused = (head, offset, exact);
        todo!()
    }
    fn end(&mut self) -> Result<()> {
        todo!()
    }
}
