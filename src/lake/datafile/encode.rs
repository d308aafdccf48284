//! One row group, encoded on its own: it can be put into any file of the same shape.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Type as PhysicalType};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, SchemaDescPtr, SchemaDescriptor};

use super::int96::{self, Int96Chunk};
use super::memory_bytes;
use crate::lake::columns::Shape;
use crate::lake::keys::{same_key, stored_keys};
use crate::lake::{Result, TableKind, TimestampEncoding};

/// A page is closed when it has so many bytes. Parquet's standard, a MiB, is no better compressed (Snappy works in pieces of 64 KiB), and
/// its buffers, grown anew for each page, leave the cache and come fresh from the system.
const PAGE_BYTES: usize = 128 << 10;

/// How many values of a column are looked at to decide whether a dictionary pays.
const SAMPLE_ROWS: usize = 1024;

/// A column of a row group in Parquet's bytes.
pub(super) enum EncodedColumn {
    Arrow(ArrowColumnChunk),
    Int96(Int96Chunk),
}

impl EncodedColumn {
    /// What the footer will say of it, but for where it lies.
    pub(super) fn close(&self) -> &ColumnCloseResult {
        match self {
            Self::Arrow(chunk) => chunk.close(),
            Self::Int96(chunk) => &chunk.close,
        }
    }

    pub(super) fn append_to<W: Write + Send>(
        self,
        row_group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> std::result::Result<(), ParquetError> {
        match self {
            Self::Arrow(chunk) => chunk.append_to_row_group(row_group),
            Self::Int96(chunk) => row_group.append_column(&chunk.bytes, chunk.close),
        }
    }
}

/// A row group in Parquet's bytes, ready for a file.
pub(crate) struct EncodedRowGroup {
    pub(super) chunks: Vec<EncodedColumn>,
    pub(super) rows: u64,
    pub(super) memory_bytes: u64,
    pub(super) first_key: Vec<u8>,
    pub(super) last_key: Vec<u8>,
}

impl EncodedRowGroup {
    /// Bytes in the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.close().bytes_written).sum()
    }

    /// The stored key of the first row.
    pub(crate) fn first_key(&self) -> &[u8] {
        &self.first_key
    }
}

pub(super) fn parquet_schema(shape: &Shape) -> std::result::Result<SchemaDescPtr, ParquetError> {
    let plain = ArrowSchemaConverter::new().convert(&shape.arrow_schema())?;
    Ok(Arc::new(match shape.timestamp_encoding() {
        TimestampEncoding::Int64 => plain,
        TimestampEncoding::Int96 => int96::schema(&plain)?,
    }))
}

/// The properties of our files; `dictionaries` names the columns that have one.
pub(super) fn properties(schema: &SchemaDescriptor, dictionaries: &[String]) -> Arc<WriterProperties> {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("binlake ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_enabled(false);
    for name in dictionaries {
        builder = builder.set_column_dictionary_enabled(ColumnPath::from(name.as_str()), true);
    }
    for column in schema.columns().iter().filter(|column| column.physical_type() == PhysicalType::INT96) {
        builder = builder.set_column_statistics_enabled(column.path().clone(), EnabledStatistics::None);
    }
    Arc::new(builder.build())
}

/// Encodes rows as one row group; a mirror's must come in the order of their stored keys, each key once.
///
/// # Errors
/// When they do not, or Parquet refuses a value.
pub(crate) fn encode_row_group(shape: &Shape, batches: &[RecordBatch]) -> Result<EncodedRowGroup> {
    let (first_key, last_key) = check_order(shape, batches)?;
    let chunks = encode(shape, batches).map_err(|error| shape.file_error("a row group", error))?;
    Ok(EncodedRowGroup {
        chunks,
        rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
        memory_bytes: batches.iter().map(|batch| memory_bytes(batch) as u64).sum(),
        first_key,
        last_key,
    })
}

/// The first and the last key. Rows out of order would make a merge miss them, so they never reach a file.
fn check_order(shape: &Shape, batches: &[RecordBatch]) -> Result<(Vec<u8>, Vec<u8>)> {
    if shape.kind() == TableKind::Changelog {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut first: Option<Vec<u8>> = None;
    let mut last: Vec<u8> = Vec::new();
    for batch in batches {
        let keys = stored_keys(shape, batch)?;
        for row in 0..keys.len() {
            let key = keys.get(row);
            if first.is_some() && key <= last.as_slice() {
                return Err(match key == last.as_slice() {
                    true => same_key(shape, batch, row),
                    false => shape.file_error("a row group", "its rows are not in the order of their keys"),
                });
            }
            if first.is_none() {
                first = Some(key.to_owned());
            }
            last.clear();
            last.extend_from_slice(key);
        }
    }
    Ok((first.unwrap_or_default(), last))
}

fn encode(shape: &Shape, batches: &[RecordBatch]) -> std::result::Result<Vec<EncodedColumn>, ParquetError> {
    let schema = shape.arrow_schema();
    let dictionaries: Vec<String> = schema
        .fields()
        .iter()
        .enumerate()
        .filter(|(index, _)| dictionary_pays(batches, *index))
        .map(|(_, field)| field.name().clone())
        .collect();
    let stored = parquet_schema(shape)?;
    let properties = properties(&stored, &dictionaries);
    // The factory takes its schema and properties from a file writer; nothing is written through this one.
    let template = SerializedFileWriter::new(std::io::sink(), stored.root_schema_ptr(), Arc::clone(&properties))?;
    let writers = ArrowRowGroupWriterFactory::new(&template, Arc::clone(&schema)).create_column_writers(0)?;
    let mut chunks = Vec::with_capacity(writers.len());
    for (index, (mut writer, field)) in writers.into_iter().zip(schema.fields()).enumerate() {
        let descriptor = stored.column(index);
        if descriptor.physical_type() == PhysicalType::INT96 {
            chunks.push(EncodedColumn::Int96(int96::encode(&descriptor, &properties, batches, index)?));
            continue;
        }
        for batch in batches {
            for leaf in compute_leaves(field, batch.column(index))? {
                writer.write(&leaf)?;
            }
        }
        chunks.push(EncodedColumn::Arrow(writer.close()?));
    }
    Ok(chunks)
}

/// A dictionary pays where values repeat: when at most half of a sample over the rows are distinct.
fn dictionary_pays(batches: &[RecordBatch], column: usize) -> bool {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let step = rows.div_ceil(SAMPLE_ROWS).max(1);
    let mut seen: HashSet<&[u8], BuildHasherDefault<SampleHasher>> = HashSet::default();
    let mut sampled = 0;
    for batch in batches {
        let array = batch.column(column);
        let Some(values) = raw_values(array) else { return false };
        for row in (0..batch.num_rows()).step_by(step) {
            if array.is_valid(row) {
                sampled += 1;
                seen.insert(values(row));
            }
        }
    }
    sampled >= 16 && seen.len() * 2 <= sampled
}

/// Hashes samples: eight bytes a step. The standard one is made for keys that somebody may choose to collide; here that costs a sample's
/// time at worst, and the standard one took a thirtieth of what a row group costs.
#[derive(Debug, Default)]
struct SampleHasher(u64);

impl Hasher for SampleHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
        for word in words.iter().chain([&last]) {
            self.0 = (self.0 ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 ^= self.0 >> 29;
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type RawValues<'a> = Box<dyn Fn(usize) -> &'a [u8] + 'a>;

/// A column's values as bytes; None for a type that a dictionary does nothing for.
fn raw_values<'a>(array: &'a ArrayRef) -> Option<RawValues<'a>> {
    match array.data_type() {
        DataType::Boolean => None,
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            Some(Box::new(move |row| values.value(row).as_bytes()))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            Some(Box::new(move |row| values.value(row)))
        }
        other => {
            let width = other.primitive_width()?;
            fixed_values(array, width)
        }
    }
}

fn fixed_values<'a>(array: &'a ArrayRef, width: usize) -> Option<RawValues<'a>> {
    macro_rules! bytes_of {
        ($($type:ident),*) => {
            $(if let Some(values) = array.as_primitive_opt::<arrow::datatypes::$type>() {
                let bytes = values.values().inner().as_slice();
                return Some(Box::new(move |row| bytes.get(row * width..(row + 1) * width).unwrap_or_default()));
            })*
        };
    }
    bytes_of!(
        Int8Type,
        Int16Type,
        Int32Type,
        Int64Type,
        Float32Type,
        Float64Type,
        Date32Type,
        Decimal128Type,
        TimestampMicrosecondType
    );
    None
}
