//! Rows as text, for the two rows of a divergence.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::Shape;
use super::calendar::datetime_text;

/// Longer cells are cut in messages.
const CELL_CHARACTERS_MAX: usize = 200;

fn cells_text(batch: &RecordBatch, row: usize, columns: impl Iterator<Item = usize>) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let schema = batch.schema();
    let cells = columns.filter_map(|index| {
        let name = schema.fields().get(index)?.name();
        let text = cell_text(batch.columns().get(index)?, row, &options);
        let cut = match text.char_indices().nth(CELL_CHARACTERS_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        };
        Some(format!("{name}={cut}"))
    });
    cells.collect::<Vec<_>>().join(", ")
}

fn cell_text(column: &ArrayRef, row: usize, options: &FormatOptions<'_>) -> String {
    // Arrow prints instants in UTC only with a time zone library of its own.
    if let Some(instants) = column.as_primitive_opt::<TimestampMicrosecondType>().filter(|instants| instants.is_valid(row)) {
        return datetime_text(instants.value(row), 6)
            .map_or_else(|| instants.value(row).to_string(), |text| format!("{}Z", text.as_str()));
    }
    match ArrayFormatter::try_new(column.as_ref(), options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(error) => format!("({error})"),
    }
}

/// The key of a mirror's row as `column=value, …`.
pub(crate) fn key_text(shape: &Shape, batch: &RecordBatch, row: usize) -> String {
    cells_text(batch, row, shape.key().iter().copied())
}

/// A row as `(column=value, …)`.
pub(crate) fn row_text(batch: &RecordBatch, row: usize) -> String {
    format!("({})", cells_text(batch, row, 0..batch.num_columns()))
}
