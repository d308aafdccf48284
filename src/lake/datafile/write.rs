//! A Parquet file put together from row groups: encoded ones, and ones copied from another file as they are.

use bytes::Bytes;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;

use super::encode::{parquet_schema, properties};
use super::footer::{Footer, RowGroupEntry};
use super::{EncodedRowGroup, FileEntry, StoredRowGroup};
use crate::lake::columns::Shape;
use crate::lake::keys::to_hex;
use crate::lake::{Error, Result, TableKind};

/// A file under construction, in memory; [`DataFileWriter::drain`] hands over what is done, so that memory holds one row group.
pub(super) struct DataFileWriter {
    shape: Shape,
    path: String,
    writer: SerializedFileWriter<Vec<u8>>,
    footer: Footer,
    rows: u64,
}

impl DataFileWriter {
    pub(super) fn new(shape: &Shape, path: String) -> Result<Self> {
        let writer = parquet_schema(shape)
            .and_then(|schema| SerializedFileWriter::new(Vec::new(), schema.root_schema_ptr(), properties(&schema, &[])))
            .map_err(|error| shape.file_error(&path, error))?;
        Ok(Self { shape: shape.clone(), path, writer, footer: Footer::default(), rows: 0 })
    }

    fn error(&self, error: impl std::fmt::Display) -> Error {
        self.shape.file_error(&self.path, error)
    }

    /// A row group follows the one before it, in keys too.
    fn note(&mut self, first_key: Vec<u8>, last_key: Vec<u8>, memory_bytes: u64, rows: u64) -> Result<()> {
        let follows = self.footer.row_groups.last().is_none_or(|before| before.last_key < first_key);
        if self.shape.kind() == TableKind::Mirror && !follows {
            return Err(self.error("a row group does not follow the one before it"));
        }
        self.footer.row_groups.push(RowGroupEntry { first_key, last_key, memory_bytes });
        self.rows += rows;
        Ok(())
    }

    pub(super) fn append(&mut self, group: EncodedRowGroup) -> Result<()> {
        let bytes = usize::try_from(group.bytes()).unwrap_or_default();
        self.note(group.first_key, group.last_key, group.memory_bytes, group.rows)?;
        let append = |writer: &mut SerializedFileWriter<Vec<u8>>| -> std::result::Result<(), ParquetError> {
            // At once: grown to it step by step, its bytes would be copied once more on the way.
            writer.inner_mut().reserve(bytes);
            let mut row_group = writer.next_row_group()?;
            for chunk in group.chunks {
                chunk.append_to(&mut row_group)?;
            }
            row_group.close()?;
            Ok(())
        };
        append(&mut self.writer).map_err(|error| self.shape.file_error(&self.path, error))
    }

    /// Puts a row group of another file in, byte for byte.
    pub(super) fn copy(&mut self, group: &StoredRowGroup) -> Result<()> {
        self.note(group.first_key().to_owned(), group.last_key().to_owned(), group.memory_bytes(), group.rows())?;
        let metadata = group.metadata();
        let rows_written = group.rows();
        let bytes = usize::try_from(group.bytes()).unwrap_or_default();
        let copy = |writer: &mut SerializedFileWriter<Vec<u8>>| -> std::result::Result<(), ParquetError> {
            writer.inner_mut().reserve(bytes);
            let mut row_group = writer.next_row_group()?;
            for column in metadata.columns() {
                let close = ColumnCloseResult {
                    bytes_written: u64::try_from(column.compressed_size()).unwrap_or_default(),
                    rows_written,
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                row_group.append_column(group.section(), close)?;
            }
            row_group.close()?;
            Ok(())
        };
        copy(&mut self.writer).map_err(|error| self.shape.file_error(&self.path, error))
    }

    /// What was written since the last call.
    pub(super) fn drain(&mut self) -> Result<Bytes> {
        self.writer.flush().map_err(|error| self.shape.file_error(&self.path, error))?;
        Ok(std::mem::take(self.writer.inner_mut()).into())
    }

    /// Writes the footer: the last bytes, and the file's entry.
    pub(super) fn finish(mut self) -> Result<(Bytes, FileEntry)> {
        let key_values = self.footer.to_key_values(&self.shape).map_err(|error| self.error(error))?;
        key_values.into_iter().for_each(|pair| self.writer.append_key_value_metadata(pair));
        if let Err(error) = self.writer.finish() {
            return Err(self.error(error));
        }
        let rest = self.drain()?;
        let keys = match (self.shape.kind(), self.footer.row_groups.first(), self.footer.row_groups.last()) {
            (TableKind::Mirror, Some(first), Some(last)) => Some((to_hex(&first.first_key), to_hex(&last.last_key))),
            _ => None,
        };
        let bytes = self.writer.bytes_written() as u64;
        Ok((rest, FileEntry { path: self.path, rows: self.rows, bytes, keys }))
    }
}
