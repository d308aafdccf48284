//! Sorted runs in scratch: what a batch holds beyond its memory, as Arrow streams that go with the batch.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, RecordBatch, UInt8Array, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt8Type, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;

use super::frame::{Change, Expect, Frame, RowAt, gather_column};
use crate::change::{BinlogPosition, ChangePosition};
use crate::lake::columns::Shape;
use crate::lake::{Error, Result, unique};

/// The columns before the images: key, flags, and the change's position.
const LEADING: usize = 6;
const HAS_BEFORE: u8 = 4;
const HAS_AFTER: u8 = 8;

/// The scratch directory of one batch; it goes when the batch goes.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: PathBuf,
    runs: u64,
}

pub(crate) fn scratch_error(path: &Path, source: std::io::Error) -> Error {
    Error::Scratch { path: path.display().to_string(), source }
}

impl Scratch {
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        let directory = parent.join(format!("batch-{}", unique().simple()));
        std::fs::create_dir_all(&directory).map_err(|source| scratch_error(&directory, source))?;
        Ok(Self { directory, runs: 0 })
    }

    /// A path no run has had.
    pub(crate) fn next_run(&mut self) -> PathBuf {
        self.runs += 1;
        self.directory.join(format!("{:06}.arrow", self.runs))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Scratch is emptied at the next start as well, so a directory that stays costs space, nothing else.
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!(path = %self.directory.display(), %error, "a scratch directory could not be removed");
        }
    }
}

fn run_schema(shape: &Shape) -> SchemaRef {
    let mut fields = vec![
        Field::new("key", DataType::Binary, false),
        Field::new("flags", DataType::UInt8, false),
        Field::new("epoch", DataType::UInt32, false),
        Field::new("file", DataType::UInt64, false),
        Field::new("offset", DataType::UInt64, false),
        Field::new("ordinal", DataType::UInt64, false),
    ];
    for side in ["before", "after"] {
        let images = shape.arrow_schema();
        fields.extend(
            images.fields().iter().map(|field| Field::new(format!("{side}.{}", field.name()), field.data_type().clone(), true)),
        );
    }
    Arc::new(Schema::new(fields))
}

fn arrow_error(path: &Path, error: ArrowError) -> Error {
    let source = match error {
        ArrowError::IoError(_, source) => source,
        other => std::io::Error::other(other),
    };
    scratch_error(path, source)
}

/// Writes frames whose keys ascend as one run.
pub(crate) struct RunWriter {
    path: PathBuf,
    shape: Shape,
    frame_bytes: usize,
    writer: StreamWriter<BufWriter<File>>,
}

impl RunWriter {
    /// A run whose frames are about `frame_bytes` when they are read back.
    pub(crate) fn create(path: PathBuf, shape: &Shape, frame_bytes: usize) -> Result<Self> {
        let file = File::create(&path).map_err(|source| scratch_error(&path, source))?;
        let writer =
            StreamWriter::try_new(BufWriter::new(file), &run_schema(shape)).map_err(|error| arrow_error(&path, error))?;
        Ok(Self { path, shape: shape.clone(), frame_bytes, writer })
    }

    pub(crate) fn write(&mut self, frame: &Frame) -> Result<()> {
        let sizes = (row_sizes(&frame.before), row_sizes(&frame.after));
        let size = |sizes: &[Vec<usize>], at: Option<RowAt>| {
            at.and_then(|at| sizes.get(at.batch as usize)?.get(at.row as usize).copied()).unwrap_or(0)
        };
        let (mut start, mut bytes) = (0, 0);
        for (index, change) in frame.changes.iter().enumerate() {
            bytes += size(&sizes.0, change.before) + size(&sizes.1, change.after) + size_of::<Change>();
            if bytes >= self.frame_bytes || index + 1 == frame.len() {
                self.write_range(frame, start..index + 1).map_err(|error| arrow_error(&self.path, error))?;
                (start, bytes) = (index + 1, 0);
            }
        }
        Ok(())
    }

    fn write_range(&mut self, frame: &Frame, range: std::ops::Range<usize>) -> std::result::Result<(), ArrowError> {
        let changes = frame.changes.get(range.clone()).unwrap_or_default();
        let mut keys = BinaryBuilder::new();
        range.for_each(|index| keys.append_value(frame.key(index)));
        let place = |change: &Change| change.position.transaction;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(keys.finish()),
            Arc::new(UInt8Array::from_iter_values(changes.iter().map(flags))),
            Arc::new(UInt32Array::from_iter_values(changes.iter().map(|change| place(change).epoch))),
            Arc::new(UInt64Array::from_iter_values(changes.iter().map(|change| place(change).file))),
            Arc::new(UInt64Array::from_iter_values(changes.iter().map(|change| place(change).offset))),
            Arc::new(UInt64Array::from_iter_values(changes.iter().map(|change| change.position.ordinal))),
        ];
        columns.extend(self.images(&frame.before, changes.iter().map(|change| change.before))?);
        columns.extend(self.images(&frame.after, changes.iter().map(|change| change.after))?);
        self.writer.write(&RecordBatch::try_new(run_schema(&self.shape), columns)?)
    }

    /// The rows in the order of `rows`, NULLs where there is none.
    fn images(
        &self,
        batches: &[RecordBatch],
        rows: impl Iterator<Item = Option<RowAt>>,
    ) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        let mut present = Vec::new();
        let places: UInt32Array = rows
            .map(|row| {
                present.extend(row);
                row.map(|_| present.len() as u32 - 1)
            })
            .collect();
        let schema = self.shape.arrow_schema();
        let column = |index: usize| {
            if present.is_empty() {
                return Ok(arrow::array::new_null_array(schema.field(index).data_type(), places.len()));
            }
            let gathered = gather_column(batches, index, &present)?;
            if present.len() == places.len() { Ok(gathered) } else { take(&gathered, &places, None) }
        };
        (0..schema.fields().len()).map(column).collect()
    }

    /// Closes the run.
    pub(crate) fn finish(mut self) -> Result<PathBuf> {
        self.writer.finish().map_err(|error| arrow_error(&self.path, error))?;
        Ok(self.path)
    }
}

fn flags(change: &Change) -> u8 {
    let expect = match change.expect {
        Expect::Unchecked => 0,
        Expect::Absent => 1,
        Expect::Present => 2,
    };
    expect | if change.before.is_some() { HAS_BEFORE } else { 0 } | if change.after.is_some() { HAS_AFTER } else { 0 }
}

/// What each row of each batch takes, texts and bytes included: one huge row must not hide in an average.
fn row_sizes(batches: &[RecordBatch]) -> Vec<Vec<usize>> {
    let sizes = |batch: &RecordBatch| {
        let mut sizes = vec![0; batch.num_rows()];
        for column in batch.columns() {
            let length = |row: usize| match column.data_type() {
                DataType::Utf8 => column.as_string::<i32>().value_length(row) as usize + 4,
                DataType::Binary => column.as_binary::<i32>().value_length(row) as usize + 4,
                other => other.primitive_width().unwrap_or(1),
            };
            sizes.iter_mut().enumerate().for_each(|(row, size)| *size += length(row));
        }
        sizes
    };
    batches.iter().map(sizes).collect()
}

/// Reads a run back, frame by frame; its file goes with the reader.
pub(crate) struct RunReader {
    path: PathBuf,
    shape: Shape,
    reader: StreamReader<BufReader<File>>,
}

impl RunReader {
    pub(crate) fn open(path: PathBuf, shape: &Shape) -> Result<Self> {
        let file = File::open(&path).map_err(|source| scratch_error(&path, source))?;
        let reader = StreamReader::try_new(BufReader::new(file), None).map_err(|error| arrow_error(&path, error))?;
        Ok(Self { path, shape: shape.clone(), reader })
    }

    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>> {
        match self.reader.next() {
            None => Ok(None),
            Some(batch) => batch.and_then(|batch| self.frame(&batch)).map(Some).map_err(|error| arrow_error(&self.path, error)),
        }
    }

    fn frame(&self, batch: &RecordBatch) -> std::result::Result<Frame, ArrowError> {
        let schema = self.shape.arrow_schema();
        let columns = batch.columns();
        let width = schema.fields().len();
        if columns.len() != LEADING + 2 * width {
            return Err(ArrowError::SchemaError("a run of another shape".to_owned()));
        }
        let images = |from: usize| RecordBatch::try_new(Arc::clone(&schema), columns[from..from + width].to_vec());
        let mut frame = Frame { before: vec![images(LEADING)?], after: vec![images(LEADING + width)?], ..Frame::default() };
        let keys = columns[0].as_binary::<i32>();
        let flags = columns[1].as_primitive::<UInt8Type>();
        let epochs = columns[2].as_primitive::<UInt32Type>();
        let [files, offsets, ordinals] = [3, 4, 5].map(|index| columns[index].as_primitive::<UInt64Type>());
        for row in 0..batch.num_rows() {
            let flags = flags.value(row);
            let at = |flag: u8| (flags & flag != 0).then_some(RowAt { batch: 0, row: row as u32 });
            let transaction = BinlogPosition { epoch: epochs.value(row), file: files.value(row), offset: offsets.value(row) };
            let expect = match flags & 3 {
                0 => Expect::Unchecked,
                1 => Expect::Absent,
                _ => Expect::Present,
            };
            frame.keys.push(keys.value(row));
            frame.changes.push(Change {
                key: row as u32,
                expect,
                position: ChangePosition { transaction, ordinal: ordinals.value(row) },
                before: at(HAS_BEFORE),
                after: at(HAS_AFTER),
            });
        }
        Ok(frame)
    }
}

impl Drop for RunReader {
    fn drop(&mut self) {
        // The batch's directory goes as a whole later; this only frees the space sooner.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "a run could not be removed");
        }
    }
}
