//! Parquet files of rows in key order, written and read back by row group.
//!
//! A file's footer names the first and the last key of every row group: a merge finds the row groups that a change
//! touches without decoding any, and copies the others byte for byte. Each row group is encoded on its own in a blocking thread and
//! uploaded when it is complete, so a file of any size takes the memory of one row group. What every Hive engine reads: Snappy, V1
//! data pages, format version 1.0, no Arrow schema beside Parquet's, no page index (its offsets would have to move with every copy).

use serde::{Deserialize, Serialize};

use super::{Error, Result};
use crate::trial;

mod encode;
mod footer;
mod int96;
mod pending;
mod read;
mod upload;
mod write;

pub(crate) use encode::{EncodedRowGroup, encode_row_group};
pub(crate) use int96::metadata_in_microseconds;
pub(crate) use pending::{PendingRows, memory_bytes};
pub(crate) use read::{Decoded, StoredFile, StoredRowGroup};
pub use upload::FileUpload;
pub(crate) use upload::location;

#[cfg(test)]
mod tests;

/// The name of every data file: each lies in a directory of its own, so that a directory can be what engines read (a metastore names
/// directories, never files), never changes, and belongs to one partition alone.
pub(crate) const FILE_NAME: &str = "part.parquet";

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

/// Runs work that takes the processor for long where it stalls nobody.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    if trial::is_simulated() {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::Scratch { path: "a blocking thread".to_owned(), source: std::io::Error::other(error) }),
    }
}
