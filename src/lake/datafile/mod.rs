//! Parquet files of rows in key order, written and read back by row group.

use serde::{Deserialize, Serialize};

/// One data file of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative to the table's folder.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// The lowest and the highest stored key, hexadecimal; None for a changelog table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<(String, String)>,
}

use std::sync::Arc;

use arrow::array::RecordBatch;
use object_store::ObjectStore;
use object_store::path::Path;

use super::columns::Shape;
use super::{Result, Settings};

/// Writes one data file: encodes in blocking threads, uploads in parts. Rows of a mirror come in the order of their stored keys.
#[derive(Debug)]
pub struct FileUpload {}

impl FileUpload {
    /// A file at `path`, relative to the table's folder.
    pub fn new(store: &Arc<dyn ObjectStore>, table_prefix: &Path, path: String, shape: &Shape, settings: &Settings) -> Self {
        let _unused = (store, table_prefix, path, shape, settings);
        todo!()
    }
    /// Adds rows.
    ///
    /// # Errors
    /// When a mirror's rows are out of order, or the store fails.
    pub async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        let _unused = rows;
        todo!()
    }
    /// Closes the file; it is there when this returns.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish(self) -> Result<FileEntry> {
        todo!()
    }
}
