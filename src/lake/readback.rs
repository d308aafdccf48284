//! Reading a lake table back as text: for tests, simulations and small tables. Real readers read the files themselves.

use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::datafile::metadata_in_microseconds;
use super::log::CommitLog;
use super::{Error, LakeName, ObjectLake, Result};

/// A row: column names with their values as Arrow prints them; None is NULL. In a changelog table `dt` comes last.
pub type TextRow = Vec<(String, Option<String>)>;

impl ObjectLake {
    /// All rows of a generation's last commit, published or not, in no particular order.
    ///
    /// # Errors
    /// When the log or a live file cannot be read, or a file does not hold what the log says.
    pub async fn read_back(&self, name: &LakeName, generation: u32) -> Result<Vec<TextRow>> {
        let Some(state) = CommitLog::new(self.store(), name, generation).load().await? else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        for file in state.files() {
            let damaged = |reason: String| Error::File { path: file.path.clone(), reason };
            let object = super::log::table_object(name, &file.path);
            let bytes = self.store().get(&object).await?.ok_or_else(|| damaged("it is gone, though it is live".to_owned()))?;
            if bytes.len() as u64 != file.bytes {
                return Err(damaged(format!("it has {} bytes, the commit log says {}", bytes.len(), file.bytes)));
            }
            let before = rows.len() as u64;
            text_rows(bytes, super::table::days::of_path(&file.path), &mut rows).map_err(|error| damaged(error.to_string()))?;
            if rows.len() as u64 - before != file.rows {
                return Err(damaged(format!("it has {} rows, the commit log says {}", rows.len() as u64 - before, file.rows)));
            }
        }
        Ok(rows)
    }
}

fn text_rows(bytes: bytes::Bytes, day: Option<&str>, rows: &mut Vec<TextRow>) -> parquet::errors::Result<()> {
    let options = FormatOptions::default();
    let metadata = metadata_in_microseconds(&bytes)?;
    for batch in ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata).build()? {
        let batch = batch?;
        let schema = batch.schema();
        let formatters: std::result::Result<Vec<_>, _> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options)).collect();
        let formatters = formatters?;
        for row in 0..batch.num_rows() {
            let columns = schema.fields().iter().zip(batch.columns()).zip(&formatters);
            let cells = columns.map(|((field, column), formatter)| {
                (field.name().clone(), (!column.is_null(row)).then(|| formatter.value(row).to_string()))
            });
            rows.push(cells.chain(day.map(|day| ("dt".to_owned(), Some(day.to_owned())))).collect());
        }
    }
    Ok(())
}
