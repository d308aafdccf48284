//! A data file read back: its footer once, then one row group at a time, each with one request.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};

use super::FileEntry;
use super::footer::Footer;
use super::upload::location;
use crate::lake::columns::Shape;
use crate::lake::keys::{StoredKeys, stored_keys};
use crate::lake::{Error, Result, TableKind};

/// Bytes of a file's end that are asked for first: nearly every footer is within.
const FOOTER_GUESS_BYTES: u64 = 64 << 10;

/// Rows are decoded in batches of about so many bytes, so that a merge holds little beside a row group's compressed bytes.
const DECODE_BYTES: u64 = 2 << 20;
const DECODE_ROWS_MAX: u64 = 8192;

/// A data file whose footer has been read.
#[derive(Debug, Clone)]
pub(crate) struct StoredFile {
    store: Arc<dyn ObjectStore>,
    location: Path,
    shape: Shape,
    metadata: ArrowReaderMetadata,
    footer: Footer,
}

impl StoredFile {
    /// Reads the footer and checks that it is the file the commit names.
    pub(crate) async fn open(
        store: &Arc<dyn ObjectStore>,
        table_prefix: &Path,
        entry: &FileEntry,
        shape: &Shape,
    ) -> Result<Self> {
        let location = location(table_prefix, &entry.path);
        let damaged = |reason: &dyn std::fmt::Display| shape.file_error(location.as_ref(), reason);
        let mut length = entry.bytes.min(FOOTER_GUESS_BYTES);
        let mut parsed = None;
        // The first answer says how long the footer is, the second holds it.
        for _ in 0..2 {
            let tail = match get_tail(store, &location, entry.bytes, length).await? {
                Tail::Found(tail) => tail,
                Tail::OfOther(size) => {
                    return Err(damaged(&format!("it has {size} bytes, and the commit says {}", entry.bytes)));
                }
            };
            let mut reader = ParquetMetaDataReader::new();
            match reader.try_parse_sized(&tail, entry.bytes).and_then(|()| reader.finish()) {
                Ok(metadata) => {
                    parsed = Some(metadata);
                    break;
                }
                Err(ParquetError::NeedMoreData(needed)) => length = entry.bytes.min(needed as u64),
                Err(error) => return Err(damaged(&error)),
            }
        }
        let metadata: ParquetMetaData = parsed.ok_or_else(|| damaged(&"its footer cannot be read"))?;
        let footer = Footer::from_key_values(metadata.file_metadata().key_value_metadata()).map_err(|reason| damaged(&reason))?;
        let rows: i64 = metadata.row_groups().iter().map(RowGroupMetaData::num_rows).sum();
        if footer.row_groups.len() != metadata.num_row_groups() || u64::try_from(rows) != Ok(entry.rows) {
            return Err(damaged(&format!("it holds {rows} rows, and the commit says {}", entry.rows)));
        }
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_schema(shape.arrow_schema());
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(|error| damaged(&error))?;
        Ok(Self { store: Arc::clone(store), location, shape: shape.clone(), metadata, footer })
    }

    pub(crate) fn row_groups(&self) -> usize {
        self.footer.row_groups.len()
    }

    /// The stored key of a row group's first row; None behind the last.
    pub(crate) fn first_key(&self, index: usize) -> Option<&[u8]> {
        self.footer.row_groups.get(index).map(|group| group.first_key.as_slice())
    }

    /// The stored key of a row group's last row; None behind the last.
    pub(crate) fn last_key(&self, index: usize) -> Option<&[u8]> {
        self.footer.row_groups.get(index).map(|group| group.last_key.as_slice())
    }

    /// What a row group's rows take in memory.
    pub(crate) fn memory_bytes(&self, index: usize) -> u64 {
        self.footer.row_groups.get(index).map_or(0, |group| group.memory_bytes)
    }

    /// Fetches a row group's bytes.
    pub(crate) async fn row_group(&self, index: usize) -> Result<StoredRowGroup> {
        let damaged = |reason: &str| self.shape.file_error(self.location.as_ref(), reason);
        let (Some(metadata), Some(entry)) = (self.metadata.metadata().row_groups().get(index), self.footer.row_groups.get(index))
        else {
            return Err(damaged("it has no such row group"));
        };
        let range = byte_range(metadata).ok_or_else(|| damaged("a row group's bytes lie nowhere"))?;
        let bytes = get_range(&self.store, &self.location, range.clone()).await?;
        let section = Section { start: range.start, bytes };
        Ok(StoredRowGroup {
            path: self.location.to_string(),
            shape: self.shape.clone(),
            metadata: self.metadata.clone(),
            index,
            section,
            first_key: entry.first_key.clone(),
            last_key: entry.last_key.clone(),
            memory_bytes: entry.memory_bytes,
        })
    }
}

fn byte_range(metadata: &RowGroupMetaData) -> Option<std::ops::Range<u64>> {
    let mut whole: Option<std::ops::Range<u64>> = None;
    for column in metadata.columns() {
        let start = u64::try_from(column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset())).ok()?;
        let end = start.checked_add(u64::try_from(column.compressed_size()).ok()?)?;
        whole = Some(whole.map_or(start..end, |range| range.start.min(start)..range.end.max(end)));
    }
    whole
}

async fn get_range(store: &Arc<dyn ObjectStore>, location: &Path, range: std::ops::Range<u64>) -> Result<Bytes> {
    store.get_range(location, range).await.map_err(|source| unreadable(location, source))
}

fn unreadable(location: &Path, source: object_store::Error) -> Error {
    match source {
        // A commit names it: that it is gone does not pass.
        object_store::Error::NotFound { .. } => Error::File { path: location.to_string(), reason: "it is not there".to_owned() },
        source => Error::Store { path: location.to_string(), source },
    }
}

/// The end of a file.
enum Tail {
    Found(Bytes),
    /// The file has another size than the one that the commit names: so many bytes.
    OfOther(u64),
}

/// The last `length` bytes of a file of `size` bytes. Its size comes with any answer; stores may cut a range short that ends behind it.
async fn get_tail(store: &Arc<dyn ObjectStore>, location: &Path, size: u64, length: u64) -> Result<Tail> {
    let options = GetOptions { range: Some((size - length..size).into()), ..GetOptions::default() };
    match store.get_opts(location, options).await {
        Ok(found) if found.meta.size != size => Ok(Tail::OfOther(found.meta.size)),
        Ok(found) => found.bytes().await.map(Tail::Found).map_err(|source| unreadable(location, source)),
        // A file that is too short for the range does not grow by being asked again.
        Err(error) => match store.head(location).await {
            Ok(meta) if meta.size != size => Ok(Tail::OfOther(meta.size)),
            _ => Err(unreadable(location, error)),
        },
    }
}

/// A stretch of a file's bytes, addressed as the file is.
#[derive(Debug, Clone)]
pub(super) struct Section {
    start: u64,
    bytes: Bytes,
}

impl Section {
    fn part(&self, start: u64, length: Option<usize>) -> std::result::Result<Bytes, ParquetError> {
        let offset = start.checked_sub(self.start).and_then(|offset| usize::try_from(offset).ok());
        let end = offset.map(|offset| length.map_or(self.bytes.len(), |length| offset.saturating_add(length)));
        match (offset, end) {
            (Some(offset), Some(end)) if offset <= end && end <= self.bytes.len() => Ok(self.bytes.slice(offset..end)),
            _ => Err(ParquetError::EOF(format!("bytes from {start} on are outside the row group"))),
        }
    }
}

impl Length for Section {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Section {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> std::result::Result<Self::T, ParquetError> {
        Ok(bytes::Buf::reader(self.part(start, None)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> std::result::Result<Bytes, ParquetError> {
        self.part(start, Some(length))
    }
}

/// A row group's bytes as they are in its file.
#[derive(Debug, Clone)]
pub(crate) struct StoredRowGroup {
    path: String,
    shape: Shape,
    metadata: ArrowReaderMetadata,
    index: usize,
    section: Section,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    memory_bytes: u64,
}

impl StoredRowGroup {
    pub(super) fn section(&self) -> &Section {
        &self.section
    }

    pub(super) fn metadata(&self) -> &RowGroupMetaData {
        self.metadata.metadata().row_group(self.index)
    }

    pub(crate) fn first_key(&self) -> &[u8] {
        &self.first_key
    }

    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    pub(crate) fn rows(&self) -> u64 {
        u64::try_from(self.metadata().num_rows()).unwrap_or_default()
    }

    /// What its rows take in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Bytes in the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.section.bytes.len() as u64
    }

    /// Its bytes as they are in the file.
    #[cfg(test)]
    pub(crate) fn bytes_of_file(&self) -> &[u8] {
        &self.section.bytes
    }

    /// Decodes it batch by batch.
    pub(crate) fn decode(&self) -> Result<Decoded> {
        let rows = (self.rows() * DECODE_BYTES).checked_div(self.memory_bytes).unwrap_or(DECODE_ROWS_MAX);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.section.clone(), self.metadata.clone())
            .with_row_groups(vec![self.index])
            .with_batch_size(rows.clamp(1, DECODE_ROWS_MAX) as usize)
            .build()
            .map_err(|error| self.shape.file_error(&self.path, error))?;
        Ok(Decoded { reader, path: self.path.clone(), shape: self.shape.clone() })
    }
}

/// The rows of a row group, in batches with their stored keys.
pub(crate) struct Decoded {
    reader: ParquetRecordBatchReader,
    path: String,
    shape: Shape,
}

impl Decoded {
    /// The next rows and their stored keys (none for a changelog table).
    pub(crate) fn next_batch(&mut self) -> Result<Option<(RecordBatch, StoredKeys)>> {
        match self.reader.next() {
            None => Ok(None),
            Some(Err(error)) => Err(self.shape.file_error(&self.path, error)),
            Some(Ok(batch)) => {
                let keys = match self.shape.kind() {
                    TableKind::Mirror => stored_keys(&self.shape, &batch)?,
                    TableKind::Changelog => StoredKeys::default(),
                };
                Ok(Some((batch, keys)))
            }
        }
    }
}
