//! A row as it passes from one room to the next: cells driven into a sink, never a value per cell.
//!
//! The source's decoder and the change log's reader drive a [`RowSink`]; the change log's encoder, the lake's column
//! builders and [`ValueSink`] (for tests) are sinks. A sink knows nothing of MySQL's wire formats.

/// Which side of a change the next cells belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Image {
    /// The row before the change (updates and deletes).
    Before,
    /// The row after the change (inserts and updates), or a row of a snapshot.
    After,
}

/// A cell that a sink cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct CellError {
    /// The column's name.
    pub column: String,
    /// Why the value cannot be kept.
    pub reason: String,
}

/// Takes the cells of captured columns, in the order of [`super::TableSchema::columns`], one call a cell.
///
/// The caller announces each image with [`RowSink::image`] and then makes exactly one call per column.
/// Which call a column gets is fixed by its [`super::ColumnType`]; it is named at each method. NULL may come for any.
pub trait RowSink {
    /// The cells that follow belong to this image.
    fn image(&mut self, image: Image) -> Result<(), CellError>;
    /// SQL NULL.
    fn null(&mut self) -> Result<(), CellError>;
    /// Signed integers, YEAR.
    fn signed(&mut self, value: i64) -> Result<(), CellError>;
    /// Unsigned integers, BIT.
    fn unsigned(&mut self, value: u64) -> Result<(), CellError>;
    /// FLOAT.
    fn float(&mut self, value: f32) -> Result<(), CellError>;
    /// DOUBLE.
    fn double(&mut self, value: f64) -> Result<(), CellError>;
    /// DECIMAL as MySQL prints it: sign only when negative and not zero, at least one digit before the point, exactly `scale` behind it.
    fn decimal(&mut self, text: &str) -> Result<(), CellError>;
    /// CHAR, VARCHAR, TEXT, ENUM and SET labels, JSON: Unicode, whatever the column's character set.
    fn text(&mut self, text: &str) -> Result<(), CellError>;
    /// BINARY (padded to its length), VARBINARY, BLOB, GEOMETRY (SRID, then WKB), VECTOR (little-endian floats).
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), CellError>;
    /// DATE: days since 1970-01-01.
    fn date(&mut self, days: i32) -> Result<(), CellError>;
    /// TIME: microseconds, signed.
    fn time(&mut self, microseconds: i64) -> Result<(), CellError>;
    /// DATETIME: microseconds of the wall clock since 1970-01-01 00:00:00 on that clock.
    fn datetime(&mut self, microseconds: i64) -> Result<(), CellError>;
    /// TIMESTAMP: microseconds since 1970-01-01 UTC.
    fn timestamp(&mut self, microseconds: i64) -> Result<(), CellError>;
    /// A DATE, DATETIME or TIMESTAMP that is no day of the calendar (`0000-00-00`, `2024-00-15`, a zero TIMESTAMP).
    fn zero_date(&mut self) -> Result<(), CellError>;
}

/// Writes the cell calls of a [`RowSink`] that passes them on: each becomes `self.pass(|sink| sink.…)`, with a `pass` of the sink's own.
macro_rules! pass_cells {
    () => {
        $crate::change::row::pass_cells! {
            null();
            signed(value: i64);
            unsigned(value: u64);
            float(value: f32);
            double(value: f64);
            decimal(text: &str);
            text(text: &str);
            bytes(bytes: &[u8]);
            date(days: i32);
            time(microseconds: i64);
            datetime(microseconds: i64);
            timestamp(microseconds: i64);
            zero_date();
        }
    };
    ($($name:ident($($value:ident: $type:ty)?);)+) => {
        $(fn $name(&mut self $(, $value: $type)?) -> std::result::Result<(), $crate::change::CellError> {
            self.pass(|sink| sink.$name($($value)?))
        })+
    };
}
pub(crate) use pass_cells;

/// A cell as a value: for tests and the in-memory source, never on the hot path.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// See [`RowSink::signed`].
    Signed(i64),
    /// See [`RowSink::unsigned`].
    Unsigned(u64),
    /// See [`RowSink::float`].
    Float(f32),
    /// See [`RowSink::double`].
    Double(f64),
    /// See [`RowSink::decimal`].
    Decimal(String),
    /// See [`RowSink::text`].
    Text(String),
    /// See [`RowSink::bytes`].
    Bytes(Vec<u8>),
    /// See [`RowSink::date`].
    Date(i32),
    /// See [`RowSink::time`].
    Time(i64),
    /// See [`RowSink::datetime`].
    Datetime(i64),
    /// See [`RowSink::timestamp`].
    Timestamp(i64),
    /// See [`RowSink::zero_date`].
    ZeroDate,
}

impl Value {
    /// Drives this value into a sink.
    pub fn drive(&self, sink: &mut dyn RowSink) -> Result<(), CellError> {
        match self {
            Self::Null => sink.null(),
            Self::Signed(value) => sink.signed(*value),
            Self::Unsigned(value) => sink.unsigned(*value),
            Self::Float(value) => sink.float(*value),
            Self::Double(value) => sink.double(*value),
            Self::Decimal(text) => sink.decimal(text),
            Self::Text(text) => sink.text(text),
            Self::Bytes(bytes) => sink.bytes(bytes),
            Self::Date(days) => sink.date(*days),
            Self::Time(microseconds) => sink.time(*microseconds),
            Self::Datetime(microseconds) => sink.datetime(*microseconds),
            Self::Timestamp(microseconds) => sink.timestamp(*microseconds),
            Self::ZeroDate => sink.zero_date(),
        }
    }
}

/// A sink that keeps values: the oracle of tests.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct ValueSink {
    /// Every image that came, in order, with its cells.
    pub images: Vec<(Image, Vec<Value>)>,
}

impl ValueSink {
    fn push(&mut self, value: Value) -> Result<(), CellError> {
        match self.images.last_mut() {
            Some((_, cells)) => {
                cells.push(value);
                Ok(())
            }
            None => Err(CellError { column: String::new(), reason: "a cell before its image".to_owned() }),
        }
    }
}

impl RowSink for ValueSink {
    fn image(&mut self, image: Image) -> Result<(), CellError> {
        self.images.push((image, Vec::new()));
        Ok(())
    }
    fn null(&mut self) -> Result<(), CellError> {
        self.push(Value::Null)
    }
    fn signed(&mut self, value: i64) -> Result<(), CellError> {
        self.push(Value::Signed(value))
    }
    fn unsigned(&mut self, value: u64) -> Result<(), CellError> {
        self.push(Value::Unsigned(value))
    }
    fn float(&mut self, value: f32) -> Result<(), CellError> {
        self.push(Value::Float(value))
    }
    fn double(&mut self, value: f64) -> Result<(), CellError> {
        self.push(Value::Double(value))
    }
    fn decimal(&mut self, text: &str) -> Result<(), CellError> {
        self.push(Value::Decimal(text.to_owned()))
    }
    fn text(&mut self, text: &str) -> Result<(), CellError> {
        self.push(Value::Text(text.to_owned()))
    }
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), CellError> {
        self.push(Value::Bytes(bytes.to_owned()))
    }
    fn date(&mut self, days: i32) -> Result<(), CellError> {
        self.push(Value::Date(days))
    }
    fn time(&mut self, microseconds: i64) -> Result<(), CellError> {
        self.push(Value::Time(microseconds))
    }
    fn datetime(&mut self, microseconds: i64) -> Result<(), CellError> {
        self.push(Value::Datetime(microseconds))
    }
    fn timestamp(&mut self, microseconds: i64) -> Result<(), CellError> {
        self.push(Value::Timestamp(microseconds))
    }
    fn zero_date(&mut self) -> Result<(), CellError> {
        self.push(Value::ZeroDate)
    }
}
