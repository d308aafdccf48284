//! Rows as Arrow columns: the sink that snapshot and binlog drive their cells into. Nothing is allocated per cell.

use std::collections::BTreeMap;

use arrow::array::{RecordBatch, RecordBatchOptions};

use super::Shape;
use super::calendar;
use super::cells::Cells;
use super::decimal::unscaled;
use super::shape::{LakeColumn, Rule};
use crate::change::{CellError, Image, RowSink};
use crate::lake::{self, TableKind};

/// The leading cells of a changelog table's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeColumns<'a> {
    /// `c`, `u`, `d`, `t`, or `r` for a snapshot's row.
    pub operation: char,
    /// When the source committed, milliseconds since 1970-01-01 UTC; None for a snapshot's row.
    pub committed_ms: Option<i64>,
    /// The transaction's GTID.
    pub gtid: Option<&'a str>,
    /// The binlog file's name.
    pub file: Option<&'a str>,
    /// Offset of the transaction's first event.
    pub position: u64,
    /// The running number of the table's record in the transaction.
    pub row: u64,
}

/// Rows under construction: every image announced is a row.
#[derive(Debug)]
pub struct RowsBuilder {
    shape: Shape,
    leading: Vec<Cells>,
    leading_rows: usize,
    cells: Vec<Cells>,
    zero_dates: Vec<u64>,
    cursor: usize,
    rows: usize,
    bytes: usize,
    row_bytes: usize,
}

impl RowsBuilder {
    /// An empty builder.
    pub fn new(shape: &Shape) -> Self {
        let schema = shape.arrow_schema();
        // Every type a shape gives out has a builder; were one missing, the first row would be refused as incomplete.
        let mut leading: Vec<Cells> = schema.fields().iter().filter_map(|field| Cells::new(field.data_type())).collect();
        let cells = leading.split_off(leading.len().saturating_sub(shape.columns().len()));
        Self {
            shape: shape.clone(),
            leading_rows: 0,
            zero_dates: vec![0; cells.len()],
            cursor: cells.len(),
            rows: 0,
            bytes: 0,
            row_bytes: leading.iter().chain(&cells).map(Cells::fixed_bytes).sum(),
            leading,
            cells,
        }
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes the rows take in memory.
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Zero dates stored as NULL since the builder was made, by column; `take` does not reset it.
    pub fn zero_dates(&self) -> BTreeMap<String, u64> {
        let counted = self.shape.columns().iter().zip(&self.zero_dates).filter(|(_, count)| **count > 0);
        counted.map(|(column, count)| (column.name.to_lowercase(), *count)).collect()
    }

    /// The leading cells of a changelog table's next row; the image follows.
    ///
    /// # Errors
    /// When this is no changelog table, or the image of the row before is missing.
    pub fn change(&mut self, change: &ChangeColumns<'_>) -> Result<(), CellError> {
        if self.shape.kind() != TableKind::Changelog || self.leading_rows != self.rows {
            return Err(self.refuse("a change's columns are out of turn"));
        }
        let mut letter = [0; 4];
        let numbers = [change.committed_ms.map(i128::from), Some(i128::from(change.position)), Some(i128::from(change.row))];
        let texts = [Some(&*change.operation.encode_utf8(&mut letter)), change.gtid, change.file];
        for (index, text) in [0, 2, 3].into_iter().zip(texts) {
            self.bytes += text.map_or(0, str::len);
            let fits = self.leading.get_mut(index).is_some_and(|cells| match text {
                Some(text) => cells.text(text),
                None => null(cells),
            });
            if !fits {
                return Err(self.refuse("a change's column cannot hold its text"));
            }
        }
        for (index, number) in [1, 4, 5].into_iter().zip(numbers) {
            let fits = self.leading.get_mut(index).is_some_and(|cells| match number {
                Some(number) => cells.integer(number),
                None => null(cells),
            });
            if !fits {
                return Err(self.refuse("a change's column cannot hold its number"));
            }
        }
        self.leading_rows += 1;
        Ok(())
    }

    /// A row of NULLs: what a truncate is in a changelog table.
    ///
    /// # Errors
    /// As [`RowSink::image`] and [`RowSink::null`].
    pub fn null_row(&mut self) -> Result<(), CellError> {
        self.image(Image::After)?;
        for _ in 0..self.cells.len() {
            self.null()?;
        }
        Ok(())
    }

    /// The rows so far; the builder is empty afterwards.
    ///
    /// # Errors
    /// When the last row is not complete.
    pub fn take(&mut self) -> lake::Result<RecordBatch> {
        if self.cursor != self.cells.len() || (!self.leading.is_empty() && self.leading_rows != self.rows) {
            return Err(self
                .shape
                .value_error("a row ended before its last column".to_owned(), "report this as a bug of binlake"));
        }
        let arrays = self.leading.iter_mut().chain(&mut self.cells).map(Cells::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        self.leading_rows = 0;
        self.bytes = 0;
        RecordBatch::try_new_with_options(self.shape.arrow_schema(), arrays, &options).map_err(|error| {
            self.shape.value_error(format!("columns do not fit together: {error}"), "report this as a bug of binlake")
        })
    }

    fn refuse(&self, reason: impl Into<String>) -> CellError {
        let name = self.shape.columns().get(self.cursor).map_or("", |column| column.name.as_str());
        CellError { column: name.to_owned(), reason: reason.into() }
    }

    /// Appends one cell through `append`, which answers whether the column took it.
    fn cell(&mut self, what: &str, append: impl FnOnce(&mut Cells, &LakeColumn) -> bool) -> Result<(), CellError> {
        let taken = match (self.cells.get_mut(self.cursor), self.shape.columns().get(self.cursor)) {
            (Some(cells), Some(column)) => append(cells, column),
            _ => return Err(self.refuse("more cells than columns")),
        };
        if !taken {
            return Err(self.refuse(format!("the lake's column cannot hold this {what}")));
        }
        self.cursor += 1;
        Ok(())
    }

    fn printed(&mut self, text: Option<calendar::CellText>, what: &str) -> Result<(), CellError> {
        let text = text.ok_or_else(|| self.refuse(format!("the {what} is out of range")))?;
        self.text(text.as_str())
    }

    fn rule(&self) -> Rule {
        self.shape.columns().get(self.cursor).map_or(Rule::Plain, |column| column.rule)
    }
}

fn null(cells: &mut Cells) -> bool {
    cells.null();
    true
}

fn instant(cells: &mut Cells, microseconds: i64) -> bool {
    match cells {
        Cells::Instant(builder) => {
            builder.append_value(microseconds);
            true
        }
        _ => false,
    }
}

impl RowSink for RowsBuilder {
    fn image(&mut self, _image: Image) -> Result<(), CellError> {
        if self.cursor != self.cells.len() {
            return Err(self.refuse("the row before ended here"));
        }
        if !self.leading.is_empty() && self.leading_rows != self.rows + 1 {
            return Err(self.refuse("a row came without its change's columns"));
        }
        self.cursor = 0;
        self.rows += 1;
        self.bytes += self.row_bytes;
        Ok(())
    }

    fn null(&mut self) -> Result<(), CellError> {
        if self.shape.columns().get(self.cursor).is_some_and(|column| column.key) {
            return Err(self.refuse("a key's column is NULL"));
        }
        self.cell("NULL", |cells, _| null(cells))
    }

    fn signed(&mut self, value: i64) -> Result<(), CellError> {
        self.cell("number", |cells, _| cells.integer(i128::from(value)))
    }

    fn unsigned(&mut self, value: u64) -> Result<(), CellError> {
        self.cell("number", |cells, _| cells.integer(i128::from(value)))
    }

    fn float(&mut self, value: f32) -> Result<(), CellError> {
        self.cell("FLOAT", |cells, _| match cells {
            Cells::Float(builder) => {
                builder.append_value(value);
                true
            }
            _ => false,
        })
    }

    fn double(&mut self, value: f64) -> Result<(), CellError> {
        self.cell("DOUBLE", |cells, _| match cells {
            Cells::Double(builder) => {
                builder.append_value(value);
                true
            }
            _ => false,
        })
    }

    fn decimal(&mut self, text: &str) -> Result<(), CellError> {
        if let Some(Cells::Text(_)) = self.cells.get(self.cursor) {
            return self.text(text);
        }
        self.cell("DECIMAL", |cells, _| match cells {
            Cells::Decimal { builder, precision, scale } => {
                unscaled(text, *precision, *scale).map(|value| builder.append_value(value)).is_some()
            }
            _ => false,
        })
    }

    fn text(&mut self, text: &str) -> Result<(), CellError> {
        self.bytes += text.len();
        self.cell("text", |cells, _| cells.text(text))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), CellError> {
        self.bytes += bytes.len();
        self.cell("binary value", |cells, _| cells.bytes(bytes))
    }

    fn date(&mut self, days: i32) -> Result<(), CellError> {
        self.cell("DATE", |cells, _| match cells {
            Cells::Date(builder) => {
                builder.append_value(days);
                true
            }
            _ => false,
        })
    }

    fn time(&mut self, microseconds: i64) -> Result<(), CellError> {
        match self.rule() {
            Rule::TimeText { fraction } => self.printed(calendar::time_text(microseconds, fraction), "TIME"),
            _ => Err(self.refuse("a TIME came for a column of another type")),
        }
    }

    fn datetime(&mut self, microseconds: i64) -> Result<(), CellError> {
        match self.rule() {
            Rule::DatetimeText { fraction } => self.printed(calendar::datetime_text(microseconds, fraction), "DATETIME"),
            Rule::DatetimeInstant => {
                let value = match self.shape.zone() {
                    None => microseconds,
                    Some(zone) => calendar::instant(microseconds, zone).map_err(|what| {
                        let text = calendar::datetime_text(microseconds, 6).unwrap_or_default();
                        let name = zone.iana_name().unwrap_or("lake.datetime_zone");
                        self.refuse(format!("DATETIME {} {what} in {name}: set `datetime: string`", text.as_str()))
                    })?,
                };
                self.cell("DATETIME", |cells, _| instant(cells, value))
            }
            _ => Err(self.refuse("a DATETIME came for a column of another type")),
        }
    }

    fn timestamp(&mut self, microseconds: i64) -> Result<(), CellError> {
        self.cell("TIMESTAMP", |cells, _| instant(cells, microseconds))
    }

    fn zero_date(&mut self) -> Result<(), CellError> {
        if self.shape.zero_dates_park() {
            return Err(self.refuse("no day of the calendar, and `zero_dates: error` is set"));
        }
        if self.shape.columns().get(self.cursor).is_some_and(|column| column.key) {
            return Err(self.refuse("a key's column holds no day of the calendar: as NULL it could not be told from another"));
        }
        if let Some(count) = self.zero_dates.get_mut(self.cursor) {
            *count += 1;
        }
        self.cell("zero date", |cells, _| null(cells))
    }
}
