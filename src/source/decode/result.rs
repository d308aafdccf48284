//! Rows of a binary result to cells, by a plan that is made once per result.
//!
//! The plan is made from the captured schema *and* the columns that the server announces: a table that was altered since its
//! schema was read is refused before its first row. The session must run with `character_set_results = NULL` and
//! `time_zone = '+00:00'`: text then arrives in its column's own bytes, as it does in the binlog, and both ways decode it alike.

use std::collections::HashSet;

use mysql_common::collations::{Collation, CollationId};

use super::charset::Decoder;
use super::{calendar, labels};
use crate::change::{CellError, Charset, Column, ColumnType, Image, RowSink, TableSchema};
use crate::source::wire::ColumnDefinition;
use crate::source::wire::fields::Fields;

/// Types of the protocol.
mod kind {
    pub(super) const TINY: u8 = 1;
    pub(super) const SHORT: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const LONGLONG: u8 = 8;
    pub(super) const INT24: u8 = 9;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const YEAR: u8 = 13;
    pub(super) const BIT: u8 = 16;
    pub(super) const VECTOR: u8 = 242;
    pub(super) const JSON: u8 = 245;
    pub(super) const NEWDECIMAL: u8 = 246;
    pub(super) const BLOB: u8 = 252;
    pub(super) const VAR_STRING: u8 = 253;
    pub(super) const STRING: u8 = 254;
    pub(super) const GEOMETRY: u8 = 255;
}

const UNSIGNED_FLAG: u16 = 0x20;
const ENUM_FLAG: u16 = 0x100;
const SET_FLAG: u16 = 0x800;
const BINARY_COLLATION: u16 = 63;

/// How one column's cells are read.
#[derive(Debug)]
enum Form {
    Integer {
        bits: u8,
        unsigned: bool,
    },
    Year,
    Float,
    Double,
    Decimal {
        scale: usize,
    },
    Bit,
    Text(Decoder),
    Enum {
        decoder: Decoder,
        labels: Labels,
    },
    Set {
        decoder: Decoder,
        labels: Labels,
    },
    /// Text without a character set of its own.
    Plain,
    Bytes {
        fixed: usize,
    },
    Date,
    Time,
    Datetime,
    Timestamp,
}

/// The labels that a column may have.
#[derive(Debug)]
struct Labels {
    shown: HashSet<String>,
    /// Those that do not show all their letters.
    hidden: Vec<String>,
    charset: Charset,
}

impl Labels {
    fn new(shown: &[String], charset: &Charset) -> Self {
        let hidden = shown.iter().filter(|label| labels::hides_letters(label, charset)).cloned().collect();
        Self { shown: shown.iter().cloned().collect(), hidden, charset: charset.clone() }
    }

    fn contain(&self, label: &str) -> bool {
        self.shown.contains(label) || self.hidden.iter().any(|shown| labels::is_shown_as(label, shown, &self.charset))
    }
}

#[derive(Debug)]
struct Cell {
    name: String,
    form: Form,
}

/// Decodes the rows of one result.
#[derive(Debug)]
pub struct RowDecoder {
    cells: Vec<Cell>,
    scratch: String,
}

impl RowDecoder {
    /// A decoder for a SELECT of `schema`'s columns in their order, whose result the server announced as `announced`.
    ///
    /// # Errors
    /// When what the server announces is not what the schema says, or a character set is not supported.
    pub fn new(schema: &TableSchema, announced: &[ColumnDefinition]) -> Result<Self, CellError> {
        if announced.len() != schema.columns.len() {
            let reason = format!("{} columns are announced where {} were asked for", announced.len(), schema.columns.len());
            return Err(CellError { column: String::new(), reason });
        }
        let cells = schema.columns.iter().zip(announced).map(|(column, definition)| {
            let failure = |reason: String| CellError { column: column.name.clone(), reason };
            if definition.name != column.name {
                return Err(failure(format!("column {:?} is announced in its place", definition.name)));
            }
            check(column, definition).map_err(failure)?;
            Ok(Cell { name: column.name.clone(), form: form(&column.kind).map_err(failure)? })
        });
        Ok(Self { cells: cells.collect::<Result<_, _>>()?, scratch: String::new() })
    }

    /// Drives one row into `sink`, announced as [`Image::After`].
    pub fn decode(&mut self, packet: &[u8], sink: &mut dyn RowSink) -> Result<(), CellError> {
        let malformed = || CellError { column: String::new(), reason: "a result row cannot be read".to_owned() };
        let mut fields = Fields(packet);
        if fields.u8() != Some(0) {
            return Err(malformed());
        }
        // The bitmap's first two bits are reserved.
        let nulls = fields.take((self.cells.len() + 9) / 8).ok_or_else(malformed)?;
        sink.image(Image::After)?;
        for (index, cell) in (2..).zip(&self.cells) {
            let null = nulls.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
            if null {
                sink.null()?;
                continue;
            }
            match cell.form.decode(&mut fields, &mut self.scratch, sink) {
                Ok(()) => {}
                Err(Refusal::Sink(error)) => return Err(error),
                Err(Refusal::Value(reason)) => return Err(CellError { column: cell.name.clone(), reason }),
                Err(Refusal::Short) => {
                    return Err(CellError { column: cell.name.clone(), reason: "the row ends within this column".to_owned() });
                }
            }
        }
        if fields.0.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}

/// Why a cell was not decoded.
enum Refusal {
    Sink(CellError),
    Value(String),
    Short,
}

impl From<CellError> for Refusal {
    fn from(error: CellError) -> Self {
        Self::Sink(error)
    }
}

impl Form {
    fn decode(&self, fields: &mut Fields<'_>, scratch: &mut String, sink: &mut dyn RowSink) -> Result<(), Refusal> {
        let short = || Refusal::Short;
        match self {
            Self::Integer { bits, unsigned } => integer(*bits, *unsigned, fields, sink)?,
            Self::Year => sink.signed(i64::from(fields.u16().ok_or_else(short)?))?,
            Self::Float => sink.float(f32::from_le_bytes(fields.array().ok_or_else(short)?))?,
            Self::Double => sink.double(f64::from_le_bytes(fields.array().ok_or_else(short)?))?,
            Self::Decimal { scale } => sink.decimal(decimal(fields.string().ok_or_else(short)?, *scale, scratch)?)?,
            Self::Bit => sink.unsigned(bits(fields.string().ok_or_else(short)?)?)?,
            Self::Text(decoder) => sink.text(text(decoder, fields.string().ok_or_else(short)?, scratch)?)?,
            Self::Enum { decoder, labels } => {
                let label = text(decoder, fields.string().ok_or_else(short)?, scratch)?;
                // The empty string is what MySQL keeps for a value that was no label.
                known(label.is_empty() || labels.contain(label), label)?;
                sink.text(label)?;
            }
            Self::Set { decoder, labels } => {
                let members = text(decoder, fields.string().ok_or_else(short)?, scratch)?;
                known(members.is_empty() || members.split(',').all(|label| labels.contain(label)), members)?;
                sink.text(members)?;
            }
            Self::Plain => {
                let bytes = fields.string().ok_or_else(short)?;
                let text =
                    std::str::from_utf8(bytes).map_err(|error| Refusal::Value(format!("text that is no UTF-8: {error}")))?;
                sink.text(text)?;
            }
            Self::Bytes { fixed } => {
                let bytes = fields.string().ok_or_else(short)?;
                if bytes.len() >= *fixed {
                    sink.bytes(bytes)?;
                } else {
                    let mut padded = bytes.to_vec();
                    padded.resize(*fixed, 0);
                    sink.bytes(&padded)?;
                }
            }
            Self::Time => sink.time(time(fields)?)?,
            Self::Date | Self::Datetime | Self::Timestamp => self.moment(fields, sink)?,
        }
        Ok(())
    }

    fn moment(&self, fields: &mut Fields<'_>, sink: &mut dyn RowSink) -> Result<(), Refusal> {
        let moment = moment(fields)?;
        match (self, moment) {
            (_, None) => sink.zero_date()?,
            (Self::Date, Some((days, _))) => sink.date(days)?,
            (Self::Timestamp, Some((days, clock))) => sink.timestamp(calendar::wall_clock(days, clock))?,
            (_, Some((days, clock))) => sink.datetime(calendar::wall_clock(days, clock))?,
        }
        Ok(())
    }
}

fn known(known: bool, label: &str) -> Result<(), Refusal> {
    if known { Ok(()) } else { Err(Refusal::Value(format!("{label:?} is none of the column's labels"))) }
}

fn text<'a>(decoder: &Decoder, bytes: &'a [u8], scratch: &'a mut String) -> Result<&'a str, Refusal> {
    decoder.decode_into(bytes, scratch).map_err(|error| Refusal::Value(error.to_string()))
}

fn integer(bits: u8, unsigned: bool, fields: &mut Fields<'_>, sink: &mut dyn RowSink) -> Result<(), Refusal> {
    let short = || Refusal::Short;
    // MEDIUMINT travels in four bytes.
    match (bits, unsigned) {
        (8, true) => sink.unsigned(u64::from(fields.u8().ok_or_else(short)?))?,
        (8, false) => sink.signed(i64::from(i8::from_le_bytes(fields.array().ok_or_else(short)?)))?,
        (16, true) => sink.unsigned(u64::from(fields.u16().ok_or_else(short)?))?,
        (16, false) => sink.signed(i64::from(i16::from_le_bytes(fields.array().ok_or_else(short)?)))?,
        (64, true) => sink.unsigned(u64::from_le_bytes(fields.array().ok_or_else(short)?))?,
        (64, false) => sink.signed(i64::from_le_bytes(fields.array().ok_or_else(short)?))?,
        (_, true) => sink.unsigned(u64::from(fields.u32().ok_or_else(short)?))?,
        (_, false) => sink.signed(i64::from(i32::from_le_bytes(fields.array().ok_or_else(short)?)))?,
    }
    Ok(())
}

fn bits(bytes: &[u8]) -> Result<u64, Refusal> {
    if bytes.len() > 8 {
        return Err(Refusal::Value(format!("a BIT of {} bytes", bytes.len())));
    }
    Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The canonical text of a decimal: ZEROFILL's zeros and the sign of zero go.
fn decimal<'a>(bytes: &'a [u8], scale: usize, scratch: &'a mut String) -> Result<&'a str, Refusal> {
    let invalid = || Refusal::Value(format!("{:?} is no decimal with {scale} places", String::from_utf8_lossy(bytes)));
    let all = std::str::from_utf8(bytes).map_err(|_| invalid())?;
    let (negative, digits) = match all.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, all),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() != scale || !numeric(whole) || !numeric(fraction) {
        return Err(invalid());
    }
    let zeros = whole.len() - whole.trim_start_matches('0').len();
    let superfluous = zeros.min(whole.len() - 1);
    let zero = negative && digits.bytes().all(|byte| byte == b'0' || byte == b'.');
    let rest = digits.get(superfluous..).unwrap_or(digits);
    match (negative && !zero, superfluous) {
        (false, _) => Ok(rest),
        (true, 0) => Ok(all),
        (true, _) => {
            scratch.clear();
            scratch.push('-');
            scratch.push_str(rest);
            Ok(scratch)
        }
    }
}

fn time(fields: &mut Fields<'_>) -> Result<i64, Refusal> {
    let short = || Refusal::Short;
    let length = fields.u8().ok_or_else(short)?;
    let mut fields = Fields(fields.take(usize::from(length)).ok_or_else(short)?);
    if length == 0 {
        return Ok(0);
    }
    let negative = fields.u8().ok_or_else(short)? != 0;
    let days = fields.u32().ok_or_else(short)?;
    let [hour, minute, second] = fields.array().ok_or_else(short)?;
    let microsecond = if length > 8 { fields.u32().ok_or_else(short)? } else { 0 };
    // TIME ends at 838 hours, which is less than 35 days.
    let clock = calendar::clock(u32::from(hour), u32::from(minute), u32::from(second), microsecond).filter(|_| days < 35);
    match clock {
        Some(clock) => {
            let microseconds = i64::from(days) * 86_400_000_000 + clock;
            Ok(if negative { -microseconds } else { microseconds })
        }
        None => Err(Refusal::Value(format!("{days} days {hour}:{minute}:{second}.{microsecond} is no TIME"))),
    }
}

/// Days and microseconds of the day; None for what is no day of the calendar.
fn moment(fields: &mut Fields<'_>) -> Result<Option<(i32, i64)>, Refusal> {
    let short = || Refusal::Short;
    let length = fields.u8().ok_or_else(short)?;
    let mut fields = Fields(fields.take(usize::from(length)).ok_or_else(short)?);
    if length == 0 {
        return Ok(None);
    }
    let year = fields.u16().ok_or_else(short)?;
    let [month, day] = fields.array().ok_or_else(short)?;
    let [hour, minute, second] = if length > 4 { fields.array().ok_or_else(short)? } else { [0; 3] };
    let microsecond = if length > 7 { fields.u32().ok_or_else(short)? } else { 0 };
    let clock = calendar::clock(u32::from(hour), u32::from(minute), u32::from(second), microsecond)
        .ok_or_else(|| Refusal::Value(format!("{hour}:{minute}:{second}.{microsecond} is no time of day")))?;
    Ok(calendar::days(u32::from(year), u32::from(month), u32::from(day)).map(|days| (days, clock)))
}

fn form(kind: &ColumnType) -> Result<Form, String> {
    let decoder = |charset: &Charset| Decoder::new(charset).map_err(|error| error.to_string());
    Ok(match kind {
        ColumnType::Integer { bits, unsigned } => Form::Integer { bits: *bits, unsigned: *unsigned },
        ColumnType::Year => Form::Year,
        ColumnType::Float => Form::Float,
        ColumnType::Double => Form::Double,
        ColumnType::Decimal { scale, .. } => Form::Decimal { scale: usize::from(*scale) },
        ColumnType::Bit { .. } => Form::Bit,
        ColumnType::Text { charset } => Form::Text(decoder(charset)?),
        ColumnType::Enum { labels, charset } => Form::Enum { decoder: decoder(charset)?, labels: Labels::new(labels, charset) },
        ColumnType::Set { labels, charset } => Form::Set { decoder: decoder(charset)?, labels: Labels::new(labels, charset) },
        ColumnType::Json | ColumnType::Address(_) => Form::Plain,
        ColumnType::Binary { fixed } => Form::Bytes { fixed: fixed.map_or(0, |length| length as usize) },
        ColumnType::Geometry | ColumnType::Vector => Form::Bytes { fixed: 0 },
        ColumnType::Date => Form::Date,
        ColumnType::Time { .. } => Form::Time,
        ColumnType::Datetime { .. } => Form::Datetime,
        ColumnType::Timestamp { .. } => Form::Timestamp,
    })
}

/// Compares a column with what the server announces for it, as far as that goes.
fn check(column: &Column, definition: &ColumnDefinition) -> Result<(), String> {
    let unsigned = definition.flags & UNSIGNED_FLAG != 0;
    let listed = definition.flags & (ENUM_FLAG | SET_FLAG);
    let string = matches!(definition.kind, kind::BLOB | kind::VAR_STRING | kind::STRING) && listed == 0;
    let decimals = definition.decimals;
    let fits = match (&column.kind, definition.kind) {
        (ColumnType::Integer { bits, unsigned: expected }, announced) => {
            let kind = match bits {
                8 => kind::TINY,
                16 => kind::SHORT,
                24 => kind::INT24,
                32 => kind::LONG,
                _ => kind::LONGLONG,
            };
            announced == kind && unsigned == *expected
        }
        (ColumnType::Decimal { scale, .. }, kind::NEWDECIMAL) => decimals == *scale,
        (ColumnType::Bit { bits }, kind::BIT) => definition.length == u32::from(*bits),
        (ColumnType::Text { charset }, _) => string && of_charset(definition.collation, charset),
        (ColumnType::Enum { charset, .. }, kind::STRING) => listed == ENUM_FLAG && of_charset(definition.collation, charset),
        (ColumnType::Set { charset, .. }, kind::STRING) => listed == SET_FLAG && of_charset(definition.collation, charset),
        // MariaDB announces them as strings: UUID, INET4, INET6 and its VECTOR.
        (ColumnType::Address(_), _) => string,
        (ColumnType::Vector, kind::BLOB | kind::VAR_STRING | kind::STRING) => string && definition.collation == BINARY_COLLATION,
        (ColumnType::Binary { fixed }, _) => {
            string && definition.collation == BINARY_COLLATION && fixed.is_none_or(|length| definition.length == length)
        }
        (ColumnType::Time { fraction } | ColumnType::Datetime { fraction } | ColumnType::Timestamp { fraction }, announced) => {
            let kind = match column.kind {
                ColumnType::Time { .. } => kind::TIME,
                ColumnType::Datetime { .. } => kind::DATETIME,
                _ => kind::TIMESTAMP,
            };
            announced == kind && decimals == *fraction
        }
        (ColumnType::Year, kind::YEAR)
        | (ColumnType::Float, kind::FLOAT)
        | (ColumnType::Double, kind::DOUBLE)
        | (ColumnType::Date, kind::DATE)
        | (ColumnType::Json, kind::JSON)
        | (ColumnType::Geometry, kind::GEOMETRY)
        | (ColumnType::Vector, kind::VECTOR) => true,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(format!(
        "the server announces type {} (flags {:#x}, collation {}, length {}, decimals {decimals}) where the schema says {}",
        definition.kind, definition.flags, definition.collation, definition.length, column.declared
    ))
}

/// Whether a collation is one of a character set. One that is not known here counts as such: the session has compared the
/// column's character set by name.
fn of_charset(collation: u16, charset: &Charset) -> bool {
    let id = CollationId::from(collation);
    if id == CollationId::UNKNOWN_COLLATION_ID {
        return true;
    }
    let resolved = Collation::resolve(id);
    let found = resolved.charset().to_ascii_lowercase();
    found == charset.0 || [found.as_str(), charset.0.as_str()].iter().all(|name| matches!(*name, "utf8" | "utf8mb3"))
}
