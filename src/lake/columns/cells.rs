//! One Arrow builder per column, chosen once; a cell is one match and one append.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int8Builder,
    Int16Builder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;

use super::shape::instant;

/// What one column of one builder may hold before its offsets overflow.
const COLUMN_BYTES_MAX: usize = i32::MAX as usize;

/// A column under construction.
#[derive(Debug)]
pub(crate) enum Cells {
    Boolean(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Decimal { builder: Decimal128Builder, precision: u8, scale: u8 },
    Float(Float32Builder),
    Double(Float64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Instant(TimestampMicrosecondBuilder),
}

impl Cells {
    /// A builder for one of the types that [`super::Shape`] gives out; None for any other.
    // Without room ahead: a table with thousands of columns, or one of thousands of tables, may hold no row for long.
    pub(crate) fn new(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean(BooleanBuilder::with_capacity(0)),
            DataType::Int8 => Self::Int8(Int8Builder::with_capacity(0)),
            DataType::Int16 => Self::Int16(Int16Builder::with_capacity(0)),
            DataType::Int32 => Self::Int32(Int32Builder::with_capacity(0)),
            DataType::Int64 => Self::Int64(Int64Builder::with_capacity(0)),
            DataType::Decimal128(precision, scale) => Self::Decimal {
                builder: Decimal128Builder::with_capacity(0).with_data_type(data_type.clone()),
                precision: *precision,
                scale: u8::try_from(*scale).ok()?,
            },
            DataType::Float32 => Self::Float(Float32Builder::with_capacity(0)),
            DataType::Float64 => Self::Double(Float64Builder::with_capacity(0)),
            DataType::Utf8 => Self::Text(StringBuilder::with_capacity(0, 0)),
            DataType::Binary => Self::Bytes(BinaryBuilder::with_capacity(0, 0)),
            DataType::Date32 => Self::Date(Date32Builder::with_capacity(0)),
            other if *other == instant() => {
                Self::Instant(TimestampMicrosecondBuilder::with_capacity(0).with_data_type(instant()))
            }
            _ => return None,
        })
    }

    /// Bytes a row takes in this column beside the text and bytes themselves.
    pub(crate) fn fixed_bytes(&self) -> usize {
        match self {
            Self::Boolean(_) | Self::Int8(_) => 1,
            Self::Int16(_) => 2,
            Self::Int32(_) | Self::Float(_) | Self::Date(_) | Self::Text(_) | Self::Bytes(_) => 4,
            Self::Int64(_) | Self::Double(_) | Self::Instant(_) => 8,
            Self::Decimal { .. } => 16,
        }
    }

    pub(crate) fn null(&mut self) {
        match self {
            Self::Boolean(builder) => builder.append_null(),
            Self::Int8(builder) => builder.append_null(),
            Self::Int16(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) => builder.append_null(),
            Self::Decimal { builder, .. } => builder.append_null(),
            Self::Float(builder) => builder.append_null(),
            Self::Double(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Instant(builder) => builder.append_null(),
        }
    }

    /// A signed or unsigned integer; false when this column cannot hold it.
    pub(crate) fn integer(&mut self, value: i128) -> bool {
        fn fits<T: TryFrom<i128>>(value: i128, append: impl FnOnce(T)) -> bool {
            T::try_from(value).map(append).is_ok()
        }
        match self {
            Self::Boolean(builder) => fits(value, |bit: u8| builder.append_value(bit != 0)) && (0..=1).contains(&value),
            Self::Int8(builder) => fits(value, |value| builder.append_value(value)),
            Self::Int16(builder) => fits(value, |value| builder.append_value(value)),
            Self::Int32(builder) => fits(value, |value| builder.append_value(value)),
            Self::Int64(builder) => fits(value, |value| builder.append_value(value)),
            Self::Decimal { builder, scale: 0, .. } => {
                builder.append_value(value);
                true
            }
            _ => false,
        }
    }

    /// Text; false when this is no text column or it is full.
    pub(crate) fn text(&mut self, text: &str) -> bool {
        match self {
            Self::Text(builder) if builder.values_slice().len().saturating_add(text.len()) < COLUMN_BYTES_MAX => {
                builder.append_value(text);
                true
            }
            _ => false,
        }
    }

    /// Bytes; false when this is no binary column or it is full.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Bytes(builder) if builder.values_slice().len().saturating_add(bytes.len()) < COLUMN_BYTES_MAX => {
                builder.append_value(bytes);
                true
            }
            _ => false,
        }
    }

    /// Everything appended so far, as an array; the builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Int8(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Decimal { builder, .. } => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bytes(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Instant(builder) => Arc::new(builder.finish()),
        }
    }
}
