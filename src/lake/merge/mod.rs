//! The copy-on-write merge: a batch of changes laid over segments of sorted files.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::batch::MirrorBatch;
use super::columns::Shape;
use super::datafile::FileEntry;
use super::{ChunkPart, Layout, Result, Settings};

/// A stretch of the key space and the file that holds its rows. The segments of a table, in order, cover the whole key space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The lowest stored key that belongs here, hexadecimal; empty for the first segment.
    pub lower: String,
    /// The lowest stored key that no longer does; None for the last segment.
    pub upper: Option<String>,
    /// Its rows; None where there are none, which only a table's single segment may have.
    pub file: Option<FileEntry>,
}

impl Segment {
    /// The segments of an empty table.
    pub fn empty_table() -> Vec<Self> {
        vec![Self { lower: String::new(), upper: None, file: None }]
    }
}

/// What a merge works with.
pub struct MergeContext<'a> {
    /// Where files are.
    pub store: Arc<dyn ObjectStore>,
    /// The table's folder; paths of files are relative to it.
    pub table_prefix: Path,
    /// The table's shape.
    pub shape: Shape,
    /// Sizes and checks.
    pub settings: &'a Settings,
    /// Whether segments split.
    pub layout: Layout,
    /// Names the next data file, relative to the table's folder; never the same twice.
    pub next_path: &'a mut (dyn FnMut() -> String + Send),
}

/// What a merge made. Files are written and durable as far as the store is, and belong to nothing until a commit names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// The table's segments from now on, all of them.
    pub segments: Vec<Segment>,
    /// Files of `segments` that the table did not have.
    pub added: Vec<FileEntry>,
    /// Files that the table had (or, adopting, chunk files) and that `segments` do not name.
    pub removed: Vec<FileEntry>,
    /// Rows that are new.
    pub inserted: u64,
    /// Rows that were there and have new content.
    pub updated: u64,
    /// Rows that are gone.
    pub deleted: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Zero dates of the batch's after images stored as NULL, by column.
    pub zero_dates: BTreeMap<String, u64>,
}

/// Lays a batch over a table's segments.
///
/// # Errors
/// [`super::Error::Divergence`] by promise 11; store, scratch and file errors. Files written until then are orphans.
pub async fn apply(context: &mut MergeContext<'_>, segments: &[Segment], batch: MirrorBatch) -> Result<Merged> {
    let _unused = (context, segments, batch);
    todo!()
}

/// Makes a snapshot's chunk files the table's content.
///
/// # Errors
/// Store, scratch and file errors. Files written until then are orphans.
pub async fn adopt(context: &mut MergeContext<'_>, chunks: &[ChunkPart]) -> Result<Merged> {
    let _unused = (context, chunks);
    todo!()
}
