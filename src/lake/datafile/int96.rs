//! Instants as INT96, for Hive 2 and 3.1: their Parquet readers know no timestamp of eight bytes.
//!
//! Twelve bytes hold the nanosecond of a day and the day's Julian number. Every instant that microseconds in an `i64` name has exactly one
//! such form (the day is the floor, also before 1970), and the way back gives the same microseconds. Arrow has no such type, so only
//! the file differs: Parquet's schema gets another physical type for the instants, and their columns are written here, past Arrow's writer.
//! Readers of ours ask for microseconds and get them out of both forms; left alone, Arrow would make nanoseconds of INT96, which wrap
//! around outside the years 1677 to 2262.
//!
//! All files of a generation have one form, the one that was set when it began: engines show the two differently (Hive in the zone of its
//! server or not, DuckDB as another type), and one that is given both at once makes wrong instants of one of them. So another
//! `timestamp_encoding` takes a rebuild.
//!
//! There are no statistics for these columns: for most of INT96's life its order was not defined, and a reader that compares the bytes as
//! they stand would pass over row groups that hold what it looks for.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::column::writer::{ColumnCloseResult, ColumnWriterImpl};
use parquet::data_type::{Int96, Int96Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor, Type, TypePtr};

const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// The Julian number of 1970-01-01.
const EPOCH_DAY: i64 = 2_440_588;

/// A column chunk of INT96.
pub(super) struct Int96Chunk {
    /// As it is in a file.
    pub(super) bytes: Bytes,
    /// What the footer says of it.
    pub(super) close: ColumnCloseResult,
}

/// The schema with INT96 for its instants.
pub(super) fn schema(plain: &SchemaDescriptor) -> Result<SchemaDescriptor> {
    let root = plain.root_schema();
    let fields: Result<Vec<TypePtr>> = root.get_fields().iter().map(field).collect();
    let root = Type::group_type_builder(root.name()).with_fields(fields?).build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

fn field(plain: &TypePtr) -> Result<TypePtr> {
    match plain.get_basic_info().logical_type_ref() {
        Some(LogicalType::Timestamp(_)) => {
            let builder = Type::primitive_type_builder(plain.name(), PhysicalType::INT96);
            builder.with_repetition(Repetition::OPTIONAL).build().map(Arc::new)
        }
        _ => Ok(Arc::clone(plain)),
    }
}

/// Encodes a column of instants.
pub(super) fn encode(
    descriptor: &ColumnDescPtr,
    properties: &Arc<WriterProperties>,
    batches: &[RecordBatch],
    column: usize,
) -> Result<Int96Chunk> {
    let mut written = TrackedWrite::new(Vec::new());
    let pages = Box::new(SerializedPageWriter::new(&mut written));
    let mut writer = ColumnWriterImpl::<Int96Type>::new(Arc::clone(descriptor), Arc::clone(properties), pages);
    for batch in batches {
        let instants = batch.column(column).as_primitive_opt::<TimestampMicrosecondType>();
        let instants = instants.ok_or_else(|| ParquetError::General(format!("{} holds no instants", descriptor.name())))?;
        let values: Vec<Int96> = instants.iter().flatten().map(int96).collect();
        let levels: Vec<i16> = (0..instants.len()).map(|row| i16::from(instants.is_valid(row))).collect();
        writer.write_batch(&values, Some(&levels), None)?;
    }
    let close = writer.close()?;
    Ok(Int96Chunk { bytes: written.into_inner()?.into(), close })
}

fn int96(microseconds: i64) -> Int96 {
    let day = microseconds.div_euclid(DAY_MICROSECONDS) + EPOCH_DAY;
    let nanosecond = microseconds.rem_euclid(DAY_MICROSECONDS) * 1000;
    let mut value = Int96::new();
    // A day is within ±2^27 of the epoch's: it fits, and its sign is that of the lowest 32 bits.
    value.set_data(nanosecond as u32, (nanosecond >> 32) as u32, day as u32);
    value
}

/// A file's metadata for Arrow, with instants in microseconds whichever form they have in it. They come in UTC as an offset: Arrow prints
/// no zone that has a name.
pub(crate) fn metadata_in_microseconds(file: &Bytes) -> Result<ArrowReaderMetadata> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::load(file, options.clone())?;
    let in_microseconds = |field: &Arc<Field>| match field.data_type() {
        DataType::Timestamp(..) => {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
            Arc::new(field.as_ref().clone().with_data_type(utc))
        }
        _ => Arc::clone(field),
    };
    let fields: Vec<Arc<Field>> = metadata.schema().fields().iter().map(in_microseconds).collect();
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options.with_schema(Arc::new(Schema::new(fields))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_microsecond_has_one_form_that_leads_back_to_it() {
        let year_0 = -62_167_219_200_000_000;
        let year_9999 = 253_402_300_799_999_999;
        let near = |value: i64| [value - 1, value, value + 1];
        let days = [year_0, -DAY_MICROSECONDS, 0, DAY_MICROSECONDS, year_9999].into_iter().flat_map(near);
        for microseconds in days.chain([i64::MIN, i64::MAX]) {
            let value = int96(microseconds);
            assert_eq!(value.to_micros(), microseconds);
            let nanosecond = u64::from(value.data()[1]) << 32 | u64::from(value.data()[0]);
            assert!(nanosecond < 86_400_000_000_000, "{microseconds} lies within a day");
        }
        // The Julian day that astronomers have for it.
        assert_eq!(int96(year_9999).data()[2], 5_373_484);
    }
}
