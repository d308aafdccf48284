//! A table's shape compiled for the codec: per column the JSON text before its cell, and the form of the cell.

use std::sync::Arc;

use crate::change::{ColumnType, TableSchema};

use super::string::write_string;

/// The form of a column's cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Signed,
    Unsigned,
    Float,
    Double,
    Decimal,
    /// BIT(1).
    Boolean,
    /// BIT(n): base64 of so many little-endian bytes.
    Bits {
        bits: u8,
    },
    Text,
    Base64,
    Date,
    Time,
    DatetimeMilliseconds,
    DatetimeMicroseconds,
    Timestamp {
        fraction: u8,
    },
    Geometry,
    Vector,
}

#[derive(Debug)]
pub(super) struct ColumnPlan {
    /// For messages.
    pub(super) name: String,
    /// For messages.
    pub(super) declared: String,
    /// The name as a JSON string.
    pub(super) name_json: Vec<u8>,
    /// `{"name":` for the first column, `,"name":` for the others.
    pub(super) open: Vec<u8>,
    pub(super) format: Format,
    /// Where the column stands in the key.
    pub(super) in_key: Option<usize>,
}

/// A table's shape, compiled once.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) columns: Vec<ColumnPlan>,
    /// `{"name":` for the first key column, `,"name":` for the others.
    pub(super) key_open: Vec<Vec<u8>>,
    /// The shape's fingerprint.
    pub(super) schema_id: Arc<str>,
}

impl Plan {
    pub(super) fn new(schema: &TableSchema) -> Self {
        let columns = schema.columns.iter().enumerate().map(|(index, column)| {
            let name_json = json_string(&column.name);
            ColumnPlan {
                name: column.name.clone(),
                declared: column.declared.clone(),
                open: opening(index, &name_json),
                name_json,
                format: Format::of(&column.kind),
                in_key: schema.key.iter().position(|key| *key == index),
            }
        });
        let key_open = schema.key_names().iter().enumerate().map(|(index, name)| opening(index, &json_string(name))).collect();
        Self { columns: columns.collect(), key_open, schema_id: schema.id().into() }
    }
}

impl Format {
    fn of(kind: &ColumnType) -> Self {
        match kind {
            ColumnType::Integer { unsigned: true, .. } => Self::Unsigned,
            ColumnType::Integer { unsigned: false, .. } | ColumnType::Year => Self::Signed,
            ColumnType::Float => Self::Float,
            ColumnType::Double => Self::Double,
            ColumnType::Decimal { .. } => Self::Decimal,
            ColumnType::Bit { bits: 1 } => Self::Boolean,
            ColumnType::Bit { bits } => Self::Bits { bits: *bits },
            ColumnType::Text { .. }
            | ColumnType::Enum { .. }
            | ColumnType::Set { .. }
            | ColumnType::Json
            | ColumnType::Address(_) => Self::Text,
            ColumnType::Binary { .. } => Self::Base64,
            ColumnType::Date => Self::Date,
            ColumnType::Time { .. } => Self::Time,
            ColumnType::Datetime { fraction: 0..=3 } => Self::DatetimeMilliseconds,
            ColumnType::Datetime { .. } => Self::DatetimeMicroseconds,
            ColumnType::Timestamp { fraction } => Self::Timestamp { fraction: *fraction },
            ColumnType::Geometry => Self::Geometry,
            ColumnType::Vector => Self::Vector,
        }
    }

    /// Whether a zero date can be a cell of it.
    pub(super) fn is_date(self) -> bool {
        matches!(self, Self::Date | Self::DatetimeMilliseconds | Self::DatetimeMicroseconds | Self::Timestamp { .. })
    }
}

/// `text` as a JSON string.
pub(super) fn json_string(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    out
}

fn opening(index: usize, name_json: &[u8]) -> Vec<u8> {
    let mut open = vec![if index == 0 { b'{' } else { b',' }];
    open.extend_from_slice(name_json);
    open.push(b':');
    open
}
