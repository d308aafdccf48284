//! Writes a MySQL table, as the server itself shows it, into a Parquet file of text columns: what `compare.py` holds the lake against.
//!
//! The server makes the text (bytes as hexadecimal, instants in UTC, numbers as it prints them), so none of binlake's own decoding
//! has a part in it. The kinds of the columns and the key travel in the file's metadata under `columns` and `key`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::json;

/// Anything that goes wrong, with its text.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Rows in one batch of the file.
const BATCH_ROWS: u64 = 8192;

/// How a column is shown and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The server's own text.
    Text,
    /// A DECIMAL, without the zeros that ZEROFILL prints before it.
    Decimal {
        /// Digits in all.
        precision: u32,
        /// Digits behind the point.
        scale: u32,
    },
    /// A whole number, without the zeros that ZEROFILL and YEAR print before it.
    Integer,
    /// A number whose text may be written in several ways.
    Double,
    /// BIT: its number.
    Bit,
    /// Bytes: hexadecimal.
    Bytes,
    /// A day; one that is in no calendar counts as NULL.
    Date,
    /// A wall clock; one that is in no calendar counts as NULL.
    Datetime,
    /// An instant, in UTC; zero counts as NULL.
    Timestamp,
}

impl Kind {
    fn of(data_type: &str, precision: u32, scale: u32) -> Self {
        match data_type {
            "decimal" => Self::Decimal { precision, scale },
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Self::Integer,
            "float" | "double" => Self::Double,
            "bit" => Self::Bit,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => Self::Bytes,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geomcollection" | "geometrycollection" => Self::Bytes,
            "date" => Self::Date,
            "datetime" => Self::Datetime,
            "timestamp" => Self::Timestamp,
            _ => Self::Text,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text | Self::Decimal { .. } => "text",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Bit => "bit",
            Self::Bytes => "bytes",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::Timestamp => "timestamp",
        }
    }

    fn expression(self, column: &str) -> String {
        let quoted = format!("`{}`", column.replace('`', "``"));
        match self {
            Self::Text => format!("CONVERT(CAST({quoted} AS CHAR) USING utf8mb4)"),
            Self::Decimal { precision, scale } => format!("CAST(CAST({quoted} AS DECIMAL({precision},{scale})) AS CHAR)"),
            Self::Double => format!("CAST({quoted} AS DOUBLE)"),
            Self::Integer | Self::Bit => format!("CAST({quoted} + 0 AS CHAR)"),
            Self::Bytes => format!("HEX({quoted})"),
            Self::Date | Self::Datetime | Self::Timestamp => {
                let february =
                    format!("IF(YEAR({quoted}) % 4 = 0 AND (YEAR({quoted}) % 100 <> 0 OR YEAR({quoted}) % 400 = 0), 29, 28)");
                let last = format!("ELT(MONTH({quoted}), 31, {february}, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)");
                let day = format!("MONTH({quoted}) > 0 AND DAYOFMONTH({quoted}) BETWEEN 1 AND {last}");
                format!("IF({day}, CAST({quoted} AS CHAR), NULL)")
            }
        }
    }
}

/// Writes `database.table` to the file `into` and answers its number of rows.
pub(crate) async fn dump(connection: &mut Conn, database: &str, table: &str, into: &Path) -> Result<u64, Fault> {
    connection.query_drop("SET SESSION time_zone = '+00:00', sql_mode = '', character_set_results = 'utf8mb4'").await?;
    let columns = columns(connection, database, table).await?;
    let key = key(connection, database, table).await?;
    let fields: Vec<Field> = columns.iter().map(|(name, _)| Field::new(name, DataType::Utf8, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let kinds: Vec<_> = columns.iter().map(|(name, kind)| json!({"name": name, "kind": kind.name()})).collect();
    let metadata = vec![
        KeyValue::new("columns".to_owned(), Some(serde_json::to_string(&kinds)?)),
        KeyValue::new("key".to_owned(), Some(serde_json::to_string(&key)?)),
    ];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata)).build();
    let mut writer = ArrowWriter::try_new(File::create(into)?, Arc::clone(&schema), Some(properties))?;

    let expressions: Vec<String> = columns.iter().map(|(name, kind)| kind.expression(name)).collect();
    let statement = format!("SELECT {} FROM `{database}`.`{table}`", expressions.join(", "));
    let mut result = connection.query_iter(statement).await?;
    let mut builders: Vec<StringBuilder> = columns.iter().map(|_| StringBuilder::new()).collect();
    let mut rows = 0;
    while let Some(row) = result.next().await? {
        push(row, &mut builders)?;
        rows += 1;
        if rows % BATCH_ROWS == 0 {
            writer.write(&batch(&schema, &mut builders)?)?;
        }
    }
    writer.write(&batch(&schema, &mut builders)?)?;
    writer.close()?;
    Ok(rows)
}

/// The columns in the table's order with their kinds.
async fn columns(connection: &mut Conn, database: &str, table: &str) -> Result<Vec<(String, Kind)>, Fault> {
    let statement = "SELECT column_name, data_type, COALESCE(numeric_precision, 0), COALESCE(numeric_scale, 0) \
                     FROM information_schema.columns WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position";
    let found: Vec<(String, String, u32, u32)> = connection.exec(statement, (database, table)).await?;
    if found.is_empty() {
        return Err(format!("there is no table {database}.{table}").into());
    }
    let column = |(name, data_type, precision, scale): (String, String, u32, u32)| {
        (name, Kind::of(&data_type.to_ascii_lowercase(), precision, scale))
    };
    Ok(found.into_iter().map(column).collect())
}

/// The columns of the primary key; empty without one.
async fn key(connection: &mut Conn, database: &str, table: &str) -> Result<Vec<String>, Fault> {
    let statement = "SELECT column_name FROM information_schema.statistics \
                     WHERE table_schema = ? AND table_name = ? AND index_name = 'PRIMARY' ORDER BY seq_in_index";
    Ok(connection.exec(statement, (database, table)).await?)
}

fn push(row: Row, builders: &mut [StringBuilder]) -> Result<(), Fault> {
    for (cell, builder) in row.unwrap_raw().into_iter().zip(builders) {
        match cell {
            Some(Value::Bytes(bytes)) => builder.append_value(String::from_utf8(bytes)?),
            Some(Value::NULL) => builder.append_null(),
            other => return Err(format!("a cell that is not text: {other:?}").into()),
        }
    }
    Ok(())
}

fn batch(schema: &Arc<Schema>, builders: &mut [StringBuilder]) -> Result<RecordBatch, Fault> {
    let arrays: Vec<ArrayRef> = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), arrays)?)
}
