//! Chunks of a snapshot as files: nothing of them is visible before a commit adopts them.
//!
//! Each attempt writes into directories of its own, `g0001/chunks/c000012-<attempt>-0000/` and so on, one for each file, so a chunk that is
//! read twice makes two sets of files and the metadata store says which one counts. A mirror's rows are sorted by stored key within each file. What
//! comes in beyond `batch_bytes` is cut off as one more file, or one more for each day of a mirror that is cut by days, so a chunk needs no
//! more memory than that. A changelog table's rows carry `_op = 'r'` and the position of `since`; what the source's clock said is not known
//! of them, so `_ts_ms`, `_gtid` and `_file` are NULL, `_row` counts through the snapshot, and the day they lie in is the one they were read on.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};

use super::by_day::{DayKey, cut_by_day};
use super::columns::{ChangeColumns, RowsBuilder, Shape};
use super::datafile::{FILE_NAME, FileUpload, blocking};
use super::log::{generation_name, table_folder, table_object};
use super::store::LakeStore;
use super::table::days::{self, Days};
use super::{ChunkFile, ChunkPart, ChunkWriter, Error, Result, Settings, TableKind, TableSpec, keys};
use crate::change::row::pass_cells;
use crate::change::{CellError, Cut, Image, RowSink};

/// Bits of `_row` that count a chunk's rows; those above are the chunk's number.
const ROW_BITS: u32 = 40;
/// Days of a mirror that is cut by days whose files are written at a time.
const PIECES_AT_ONCE: usize = 8;

/// See the module.
pub(crate) struct ParquetChunk {
    store: LakeStore,
    settings: Settings,
    spec: TableSpec,
    shape: Shape,
    directory: String,
    /// Below it, of a changelog table: the day's, with its slash.
    day: String,
    rows: SnapshotRows,
    parts: Vec<ChunkPart>,
}

/// Rows of a snapshot as they come; in a changelog table each gets its leading cells.
struct SnapshotRows {
    rows: RowsBuilder,
    changelog: bool,
    since: Cut,
    next_row: u64,
}

impl ParquetChunk {
    pub(crate) fn new(
        store: &LakeStore,
        settings: &Settings,
        spec: &TableSpec,
        place: (Cut, u64),
        attempt: &str,
    ) -> Result<Self> {
        let (since, chunk) = place;
        let shape = Shape::new(spec, settings)?;
        let changelog = spec.kind == TableKind::Changelog;
        let directory = format!("{}/chunks/c{chunk:06}-{attempt}", generation_name(spec.generation));
        let mut day = String::new();
        if attempt.is_empty() || !attempt.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            let reason = format!("{attempt:?} cannot name an attempt: letters, digits, - and _ can");
            return Err(Error::File { path: directory, reason });
        }
        if changelog {
            let read_us = i64::try_from(settings.clock.now_ms()).unwrap_or(i64::MAX).saturating_mul(1000);
            day = format!("/{}", days::directory(Days::of(&shape).day(read_us)?));
        }
        let rows = SnapshotRows { rows: RowsBuilder::new(&shape), changelog, since, next_row: chunk << ROW_BITS };
        let (store, settings, spec) = (store.clone(), settings.clone(), spec.clone());
        Ok(Self { store, settings, spec, shape, directory, day, rows, parts: Vec::new() })
    }

    /// Makes a file of what is in memory.
    async fn cut(&mut self) -> Result<()> {
        if self.rows.rows.is_empty() {
            return Ok(());
        }
        let batch = self.rows.rows.take()?;
        let pieces = match self.spec.kind {
            TableKind::Changelog => vec![(None, batch)],
            TableKind::Mirror => {
                let shape = self.shape.clone();
                blocking(move || cut_by_day(&shape, keys::sorted_by_key(&shape, &batch)?)).await?
            }
        };
        let this = &*self;
        let pieces = (this.parts.len()..).zip(pieces).map(|(number, (day, rows))| this.write(number, day, rows));
        let parts: Vec<ChunkPart> = futures::stream::iter(pieces).buffered(PIECES_AT_ONCE).try_collect().await?;
        self.parts.extend(parts);
        Ok(())
    }

    /// Makes one file.
    async fn write(&self, number: usize, day: Option<DayKey>, rows: RecordBatch) -> Result<ChunkPart> {
        let day = match day {
            Some(day) => format!("/{}", day.directory(&self.shape)?),
            None => self.day.clone(),
        };
        let path = format!("{}-{number:04}{day}/{FILE_NAME}", self.directory);
        let folder = table_folder(&self.spec.name);
        let mut file = FileUpload::new(&self.store.objects(), &folder, path, &self.shape, &self.settings)?;
        file.write(rows).await?;
        let entry = file.finish().await?;
        Ok(ChunkPart { path: entry.path, rows: entry.rows, bytes: entry.bytes, keys: entry.keys })
    }
}

#[async_trait]
impl ChunkWriter for ParquetChunk {
    fn sink(&mut self) -> &mut (dyn RowSink + Send) {
        &mut self.rows
    }

    async fn flush(&mut self) -> Result<()> {
        match self.rows.rows.memory_bytes() > self.settings.batch_bytes {
            true => self.cut().await,
            false => Ok(()),
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<ChunkFile> {
        self.cut().await?;
        self.store.settle(self.parts.iter().map(|part| table_object(&self.spec.name, &part.path))).await?;
        let zero_dates: BTreeMap<String, u64> = self.rows.rows.zero_dates();
        Ok(ChunkFile { rows: self.parts.iter().map(|part| part.rows).sum(), files: self.parts, zero_dates })
    }
}

impl SnapshotRows {
    fn pass(
        &mut self,
        cell: impl FnOnce(&mut RowsBuilder) -> std::result::Result<(), CellError>,
    ) -> std::result::Result<(), CellError> {
        cell(&mut self.rows)
    }
}

impl RowSink for SnapshotRows {
    fn image(&mut self, image: Image) -> std::result::Result<(), CellError> {
        if self.changelog {
            self.rows.change(&ChangeColumns {
                operation: 'r',
                committed_ms: None,
                gtid: None,
                file: None,
                position: self.since.0.offset,
                row: self.next_row,
            })?;
            self.next_row += 1;
        }
        self.rows.image(image)
    }

    pass_cells!();
}
