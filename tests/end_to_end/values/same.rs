//! Two lakes hold the same rows, bit for bit: `-0.0` is not `0.0` here, and a NULL is not an empty text.

use std::fs::File;

use arrow::row::{RowConverter, SortField};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// All rows of some files in one order, with the columns they have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rows {
    /// Name and type of each column.
    pub(super) columns: Vec<String>,
    rows: Vec<Box<[u8]>>,
}

impl Rows {
    /// Reads them; without files there is nothing.
    pub(super) fn read(files: &[String]) -> Self {
        let (mut columns, mut rows) = (Vec::new(), Vec::new());
        for file in files {
            let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
            let fields = builder.schema().fields().clone();
            columns = fields.iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
            let sorts = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
            let converter = RowConverter::new(sorts).unwrap();
            for batch in builder.build().unwrap() {
                let converted = converter.convert_columns(batch.unwrap().columns()).unwrap();
                rows.extend(converted.iter().map(|row| row.as_ref().to_vec().into_boxed_slice()));
            }
        }
        rows.sort_unstable();
        Self { columns, rows }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What stands in one of both only; None where they are the same.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        if self.columns != other.columns && !self.rows.is_empty() && !other.rows.is_empty() {
            return Some(format!("columns {:?} and {:?}", self.columns, other.columns));
        }
        let only = |here: &Self, there: &Self| here.rows.iter().filter(|row| there.rows.binary_search(row).is_err()).count();
        let (left, right) = (only(self, other), only(other, self));
        (self.rows != other.rows)
            .then(|| format!("{left} of {} and {right} of {} rows are on one side only", self.len(), other.len()))
    }
}
