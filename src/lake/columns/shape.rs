//! The lake's shape of one table.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use jiff::tz::TimeZone;

use crate::change::{Column, ColumnType, DatetimeEncoding, Generated, KeyKind};
use crate::lake::by_day::{DayKey, has_days};
use crate::lake::{Error, Result, Settings, TableKind, TableSpec, TimestampEncoding};

/// The columns that stand before the table's own in a changelog table.
const CHANGE_COLUMNS: [(&str, DataType); 6] = [
    ("_op", DataType::Utf8),
    ("_ts_ms", DataType::Int64),
    ("_gtid", DataType::Utf8),
    ("_file", DataType::Utf8),
    ("_pos", DataType::Int64),
    ("_row", DataType::Int64),
];

/// The partition column of changelog tables, and of mirrors that are cut by days: a directory, so no column of the file may have its name.
const DAY_COLUMN: &str = "dt";

/// How a column's cells become lake values, where the type alone does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// As they come.
    Plain,
    /// TIME, as MySQL prints it.
    TimeText {
        /// Digits of the second's fraction.
        fraction: u8,
    },
    /// DATETIME, as an instant.
    DatetimeInstant,
    /// DATETIME, as MySQL prints it.
    DatetimeText {
        /// Digits of the second's fraction.
        fraction: u8,
    },
}

/// One of the table's columns in the lake.
#[derive(Debug, Clone)]
pub(crate) struct LakeColumn {
    /// MySQL's name, for messages.
    pub(crate) name: String,
    /// What the file holds.
    pub(crate) data_type: DataType,
    /// How cells become values.
    pub(crate) rule: Rule,
    /// Whether it is part of the mirror's key.
    pub(crate) key: bool,
}

/// The lake's shape of one table: its file columns, its key, and what of it is compared. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shape(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: String,
    kind: TableKind,
    schema: SchemaRef,
    schema_id: String,
    columns: Vec<LakeColumn>,
    key: Vec<usize>,
    day: Option<usize>,
    compared: Vec<usize>,
    integer_leading: bool,
    zero_dates_park: bool,
    zone: Option<TimeZone>,
    timestamp_encoding: TimestampEncoding,
}

impl Shape {
    /// Maps a table's columns.
    ///
    /// # Errors
    /// [`Error::Value`] when two columns differ by case only, a name is taken, a mirror has no key, or the zone is unknown.
    pub fn new(spec: &TableSpec, settings: &Settings) -> Result<Self> {
        let table = spec.name.to_string();
        let refuse = |reason: String, remedy: &str| Error::Value { table: table.clone(), reason, remedy: remedy.to_owned() };
        let mirror = spec.kind == TableKind::Mirror;
        let key = if mirror { spec.schema.key.clone() } else { Vec::new() };
        if mirror && (key.is_empty() || key.iter().any(|index| *index >= spec.schema.columns.len())) {
            return Err(refuse("a mirror needs a key".to_owned(), "name its key with `key:`, or use `mode: changelog`"));
        }
        let Some(datetimes) = &spec.datetimes else {
            let reason = "nobody wrote down what a DATETIME becomes in its files".to_owned();
            return Err(refuse(reason, "run `binlake rebuild` for it"));
        };
        let zone = match datetimes.zone.as_str() {
            "UTC" => None,
            name => Some(TimeZone::get(name).map_err(|error| {
                refuse(
                    format!("datetime_zone {name}: {error}"),
                    "set `lake.datetime_zone` to a name of the IANA time zone database, and run `binlake rebuild` for it",
                )
            })?),
        };
        let mut fields: Vec<Field> = Vec::new();
        if !mirror {
            fields.extend(CHANGE_COLUMNS.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)));
        }
        let columns: Vec<LakeColumn> = spec
            .schema
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| lake_column(column, datetimes.encoding, key.contains(&index)))
            .collect();
        fields.extend(columns.iter().map(|column| Field::new(column.name.to_lowercase(), column.data_type.clone(), true)));
        let day = spec.partition_by.as_deref().map(|name| day_column(spec, &columns, name)).transpose();
        let day = day.map_err(|reason| refuse(reason, "correct `partition_by`, and run `binlake rebuild` for it"))?;
        let mut seen: HashSet<&str> = if mirror && day.is_none() { HashSet::new() } else { HashSet::from([DAY_COLUMN]) };
        if let Some(twice) = fields.iter().find(|field| !seen.insert(field.name())) {
            let reason = format!("two columns would be named {} in the lake", twice.name());
            return Err(refuse(reason, "leave one out with `columns: {exclude: […]}`, or rename it in MySQL"));
        }
        let virtual_column = |index: &usize| spec.schema.columns[*index].generated == Generated::Virtual;
        Ok(Self(Arc::new(Inner {
            compared: (0..columns.len()).filter(|index| !virtual_column(index)).collect(),
            integer_leading: key.first().is_some_and(|index| is_integer(&spec.schema.columns[*index].kind)),
            kind: spec.kind,
            schema: Arc::new(Schema::new(fields)),
            schema_id: spec.schema.id(),
            zero_dates_park: settings.zero_dates_park,
            timestamp_encoding: spec.timestamp_encoding,
            table,
            columns,
            key,
            day,
            zone,
        })))
    }

    /// The columns of the file.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    /// What the table holds.
    pub fn kind(&self) -> TableKind {
        self.0.kind
    }

    /// The lake table's name, for messages and file footers.
    pub fn table(&self) -> &str {
        &self.0.table
    }

    /// The fingerprint of the MySQL shape.
    pub fn schema_id(&self) -> &str {
        &self.0.schema_id
    }

    /// Whether rows are kept in the order of their key's first column; else by a hash of the key.
    pub fn integer_leading(&self) -> bool {
        self.0.integer_leading
    }

    /// The table's own columns, without a changelog's leading ones.
    pub(crate) fn columns(&self) -> &[LakeColumn] {
        &self.0.columns
    }

    /// Indexes of the key's columns in a mirror's file.
    pub(crate) fn key(&self) -> &[usize] {
        &self.0.key
    }

    /// The index of the column by whose day a mirror is cut.
    pub(crate) fn day(&self) -> Option<usize> {
        self.0.day
    }

    /// The day that a stored key says; None where the table is not cut by days.
    pub(crate) fn day_of(&self, key: &[u8]) -> Option<DayKey> {
        self.0.day.map(|_| DayKey::of_key(key))
    }

    /// Indexes of the columns that promise 11 compares: all but VIRTUAL ones.
    pub(crate) fn compared(&self) -> &[usize] {
        &self.0.compared
    }

    pub(crate) fn zero_dates_park(&self) -> bool {
        self.0.zero_dates_park
    }

    /// How instants lie in files.
    pub(crate) fn timestamp_encoding(&self) -> TimestampEncoding {
        self.0.timestamp_encoding
    }

    /// The zone that DATETIME is read in and days are cut by; None for UTC.
    pub(crate) fn zone(&self) -> Option<&TimeZone> {
        self.0.zone.as_ref()
    }

    pub(crate) fn value_error(&self, reason: String, remedy: &str) -> Error {
        Error::Value { table: self.0.table.clone(), reason, remedy: remedy.to_owned() }
    }

    pub(crate) fn file_error(&self, path: &str, reason: impl std::fmt::Display) -> Error {
        Error::File { path: format!("{}: {path}", self.0.table), reason: reason.to_string() }
    }
}

/// Which column `partition_by` names; else why rows cannot be cut by it.
fn day_column(spec: &TableSpec, columns: &[LakeColumn], name: &str) -> std::result::Result<usize, String> {
    let index = columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
    let index = index.ok_or_else(|| format!("`partition_by` names {name}, and there is no such column"))?;
    match spec.schema.columns[index].generated {
        _ if spec.schema.key_kind == KeyKind::Configured => {
            // Two rows of one key and two days would lie side by side.
            Err("`partition_by` needs a key that the server keeps unique".to_owned())
        }
        Generated::Virtual => Err(format!("`partition_by` names {name}, which is computed when it is read")),
        _ if has_days(&columns[index].data_type) => Ok(index),
        _ => Err(format!("`partition_by` names {name}, which is no DATE, DATETIME or TIMESTAMP with days of its own")),
    }
}

fn is_integer(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Integer { .. } | ColumnType::Year)
}

/// An instant in microseconds, UTC.
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn lake_column(column: &Column, datetime: DatetimeEncoding, key: bool) -> LakeColumn {
    let (data_type, rule) = match &column.kind {
        ColumnType::Integer { bits, unsigned } => (integer(*bits, *unsigned), Rule::Plain),
        ColumnType::Year => (DataType::Int32, Rule::Plain),
        ColumnType::Float => (DataType::Float32, Rule::Plain),
        ColumnType::Double => (DataType::Float64, Rule::Plain),
        ColumnType::Decimal { precision, scale } if (1..=38).contains(precision) && scale <= precision => {
            (DataType::Decimal128(*precision, *scale as i8), Rule::Plain)
        }
        ColumnType::Bit { bits: 1 } => (DataType::Boolean, Rule::Plain),
        ColumnType::Bit { bits: 2..=63 } => (DataType::Int64, Rule::Plain),
        ColumnType::Bit { .. } => (DataType::Decimal128(20, 0), Rule::Plain),
        ColumnType::Decimal { .. }
        | ColumnType::Text { .. }
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. }
        | ColumnType::Json
        | ColumnType::Address(_) => (DataType::Utf8, Rule::Plain),
        ColumnType::Binary { .. } | ColumnType::Geometry | ColumnType::Vector => (DataType::Binary, Rule::Plain),
        ColumnType::Date => (DataType::Date32, Rule::Plain),
        ColumnType::Time { fraction } => (DataType::Utf8, Rule::TimeText { fraction: *fraction }),
        ColumnType::Datetime { fraction } => match datetime {
            DatetimeEncoding::Instant => (instant(), Rule::DatetimeInstant),
            DatetimeEncoding::String => (DataType::Utf8, Rule::DatetimeText { fraction: *fraction }),
        },
        ColumnType::Timestamp { .. } => (instant(), Rule::Plain),
    };
    LakeColumn { name: column.name.clone(), data_type, rule, key }
}

fn integer(bits: u8, unsigned: bool) -> DataType {
    match (bits, unsigned) {
        (..=8, false) => DataType::Int8,
        (..=8, true) | (9..=16, false) => DataType::Int16,
        (9..=24, true) | (17..=32, false) => DataType::Int32,
        (25..=32, true) | (33.., false) => DataType::Int64,
        (33.., true) => DataType::Decimal128(20, 0),
    }
}
