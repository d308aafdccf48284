//! Reads the lake's Parquet files back as values, with nothing of the lake's own code.

use std::collections::BTreeSet;
use std::fs::File;

use arrow::array::{Array, Int32Array, Int64Array, RecordBatch, StringArray};
use binlake::change::Value;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn batches(file: &str) -> Vec<RecordBatch> {
    let path = file.strip_prefix("file://").unwrap_or(file);
    let file = File::open(path).unwrap_or_else(|error| panic!("{path}: a live file cannot be read: {error}"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(ParquetRecordBatchReaderBuilder::build).unwrap();
    reader.map(Result::unwrap).collect()
}

fn cell(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    if let Some(numbers) = array.as_any().downcast_ref::<Int32Array>() {
        return Value::Signed(numbers.value(row).into());
    }
    if let Some(numbers) = array.as_any().downcast_ref::<Int64Array>() {
        return Value::Signed(numbers.value(row));
    }
    let text = array.as_any().downcast_ref::<StringArray>().expect("a column of a type that the simulation writes");
    Value::Text(text.value(row).to_owned())
}

/// All rows of a mirror, sorted.
pub(crate) fn rows(files: &[String], columns: usize) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for batch in files.iter().flat_map(|file| batches(file)) {
        assert_eq!(batch.num_columns(), columns);
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|column| cell(column.as_ref(), row)).collect());
        }
    }
    sorted(rows)
}

/// Rows in an order of their own.
pub(crate) fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort_by_key(|row| format!("{row:?}"));
    rows
}

/// No change stands twice in a changelog table. Snapshot rows all have the position of `since`.
pub(crate) fn no_change_twice(files: &[String]) {
    let mut seen = BTreeSet::new();
    for batch in files.iter().flat_map(|file| batches(file)) {
        for row in 0..batch.num_rows() {
            let of = |name: &str| cell(batch.column_by_name(name).expect("a changelog column").as_ref(), row);
            if of("_op") == Value::Text("r".to_owned()) {
                continue;
            }
            let change = format!("{:?} {:?} {:?}", of("_file"), of("_pos"), of("_row"));
            assert!(seen.insert(change.clone()), "{change} stands twice");
        }
    }
}
