//! The plan of a table's rows: how each cell lies in the bytes and which captured column it is. Made once per table map.
//!
//! A plan exists only where the table map agrees with the captured schema in everything that both say: number of columns,
//! types, signs, character sets, names, labels. Anything else is a [`Problem`], and the table parks; a value can so never
//! stand under another column's name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::change::{AddressKind, Charset, Column, ColumnType, TableSchema};
use crate::source::Problem;
use crate::source::decode::charset::Decoder;
use crate::source::decode::labels::{hides_letters, is_shown_as};

use super::decimal;
use super::mariadb::address;
use super::table_map::{MappedColumn, TableMap, wire_type as w};
use super::temporal::fraction_bytes;
use super::text::charset_of;

/// How the length of a cell is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Always so many bytes.
    Fixed(usize),
    /// A little-endian length stands before it.
    Prefixed {
        /// Bytes of the length.
        bytes: u8,
        /// Bytes that the column can have.
        most: usize,
    },
}

/// What a cell's bytes mean.
#[derive(Debug, Clone)]
pub(super) enum Meaning {
    Signed,
    Unsigned,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Year,
    Bit,
    Date,
    TimeOld,
    Time,
    DatetimeOld,
    Datetime,
    TimestampOld,
    Timestamp,
    /// The labels by number.
    Enum(Arc<[String]>),
    /// The labels by bit.
    Set(Arc<[String]>),
    Text(Arc<Decoder>),
    Bytes,
    /// BINARY(n): the zeros at its end are not in the bytes.
    Padded(usize),
    Json,
    /// The zeros at its end are not in the bytes.
    Address(AddressKind),
    /// Of a column declared COMPRESSED.
    Compressed(Box<Meaning>),
}

/// One cell of a row.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) extent: Extent,
    pub(super) meaning: Meaning,
    /// Its place among the captured columns; None where the column is left out.
    pub(super) captured: Option<usize>,
}

/// How to read the rows behind one table map.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) schema: Arc<TableSchema>,
    pub(super) cells: Vec<Cell>,
}

impl Plan {
    /// The plan of images that have only some of the columns; None where one is missing that is captured.
    pub(super) fn of_present(&self, is_present: impl Fn(usize) -> bool) -> Option<Self> {
        let present = self.cells.iter().enumerate().filter(|(index, _)| is_present(*index));
        let cells: Vec<Cell> = present.map(|(_, cell)| cell.clone()).collect();
        let captured = cells.iter().filter(|cell| cell.captured.is_some()).count();
        (captured == self.schema.columns.len()).then(|| Self { schema: Arc::clone(&self.schema), cells })
    }

    /// The captured column of a cell.
    pub(super) fn column(&self, captured: usize) -> Option<&Column> {
        self.schema.columns.get(captured)
    }
}

/// Decoders by character set, shared by all plans.
pub(super) type Decoders = HashMap<Charset, Arc<Decoder>>;

/// Compares a table map with the captured schema and makes the plan.
pub(super) fn compile(map: &TableMap<'_>, schema: &Arc<TableSchema>, decoders: &mut Decoders) -> Result<Plan, Problem> {
    let mismatch = |reason: String| Problem {
        reason: format!("the binlog's description of {} does not fit the captured shape: {reason}", schema.name),
        remedy: format!("run `binlake rebuild {}` to capture it in its present shape", schema.name),
    };
    if map.columns.len() != schema.physical_columns || map.columns.len() != schema.physical.len() {
        return Err(mismatch(format!("it has {} columns, not {}", map.columns.len(), schema.physical_columns)));
    }
    let mut cells = Vec::with_capacity(map.columns.len());
    for (ordinal, (mapped, (name, kind))) in map.columns.iter().zip(&schema.physical).enumerate() {
        if mapped.name.is_some_and(|mapped| mapped != name.as_bytes()) {
            let found = String::from_utf8_lossy(mapped.name.unwrap_or_default()).into_owned();
            return Err(mismatch(format!("its column {} is {found:?}, not {name:?}", ordinal + 1)));
        }
        let captured = schema.columns.iter().position(|column| column.ordinal == ordinal);
        let cell = cell(mapped, kind, decoders).map_err(|reason| mismatch(format!("column {name:?} {reason}")))?;
        cells.push(Cell { captured, ..cell });
    }
    if cells.iter().filter(|cell| cell.captured.is_some()).count() != schema.columns.len() {
        return Err(mismatch("a captured column is not among its columns".to_owned()));
    }
    Ok(Plan { schema: Arc::clone(schema), cells })
}

fn cell(mapped: &MappedColumn<'_>, kind: &ColumnType, decoders: &mut Decoders) -> Result<Cell, String> {
    let found = match kind {
        ColumnType::Integer { bits, unsigned } => integer(mapped, *bits, *unsigned),
        ColumnType::Float => (mapped.kind == w::FLOAT).then_some((Extent::Fixed(4), Meaning::Float)),
        ColumnType::Double => (mapped.kind == w::DOUBLE).then_some((Extent::Fixed(8), Meaning::Double)),
        ColumnType::Decimal { precision, scale } => packed_decimal(mapped, *precision, *scale),
        ColumnType::Bit { bits } => (mapped.kind == w::BIT && mapped.meta == u16::from(*bits))
            .then_some((Extent::Fixed(usize::from(*bits).div_ceil(8)), Meaning::Bit)),
        ColumnType::Year
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::Datetime { .. }
        | ColumnType::Timestamp { .. } => temporal(mapped, kind),
        ColumnType::Text { charset } => return text(mapped, charset, decoders),
        ColumnType::Binary { fixed } => binary(mapped, *fixed),
        ColumnType::Enum { labels, charset } => return labelled(mapped, w::ENUM, labels, charset, decoders),
        ColumnType::Set { labels, charset } => return labelled(mapped, w::SET, labels, charset, decoders),
        ColumnType::Json => blob(mapped, w::JSON).map(|extent| (extent, Meaning::Json)),
        ColumnType::Geometry => blob(mapped, w::GEOMETRY).map(|extent| (extent, Meaning::Bytes)),
        // MariaDB's is a string of bytes.
        ColumnType::Vector if mapped.kind == w::VARCHAR => binary(mapped, None),
        ColumnType::Vector => blob(mapped, w::VECTOR).map(|extent| (extent, Meaning::Bytes)),
        ColumnType::Address(kind) => (mapped.kind == w::STRING && mapped.meta == address::width(*kind))
            .then_some((Extent::Prefixed { bytes: 1, most: usize::from(mapped.meta) }, Meaning::Address(*kind))),
    };
    let (extent, meaning) = found.ok_or_else(|| differs(mapped, kind))?;
    Ok(Cell { extent, meaning, captured: None })
}

fn differs(mapped: &MappedColumn<'_>, kind: &ColumnType) -> String {
    let sign = match mapped.unsigned {
        Some(true) => ", unsigned",
        _ => "",
    };
    format!("has binlog type {} ({}{sign}), which is not {kind:?}", mapped.kind, mapped.meta)
}

fn integer(mapped: &MappedColumn<'_>, bits: u8, unsigned: bool) -> Option<(Extent, Meaning)> {
    let expected = match bits {
        8 => w::TINY,
        16 => w::SHORT,
        24 => w::INT24,
        32 => w::LONG,
        64 => w::LONGLONG,
        _ => return None,
    };
    let fits = mapped.kind == expected && mapped.unsigned.is_none_or(|mapped| mapped == unsigned);
    let meaning = if unsigned { Meaning::Unsigned } else { Meaning::Signed };
    fits.then_some((Extent::Fixed(usize::from(bits / 8)), meaning))
}

fn packed_decimal(mapped: &MappedColumn<'_>, precision: u8, scale: u8) -> Option<(Extent, Meaning)> {
    let fits = mapped.kind == w::NEWDECIMAL && mapped.meta == u16::from_be_bytes([precision, scale]);
    let bytes = decimal::packed_bytes(precision, scale).filter(|_| fits)?;
    Some((Extent::Fixed(bytes), Meaning::Decimal { precision, scale }))
}

fn temporal(mapped: &MappedColumn<'_>, kind: &ColumnType) -> Option<(Extent, Meaning)> {
    let with_fraction = |bytes: usize, fraction: u8, meaning: Meaning| {
        (mapped.meta == u16::from(fraction) && fraction <= 6).then(|| (Extent::Fixed(bytes + fraction_bytes(fraction)), meaning))
    };
    match (kind, mapped.kind) {
        (ColumnType::Year, w::YEAR) => Some((Extent::Fixed(1), Meaning::Year)),
        (ColumnType::Date, w::DATE | w::NEWDATE) => Some((Extent::Fixed(3), Meaning::Date)),
        (ColumnType::Time { fraction: 0 }, w::TIME) => Some((Extent::Fixed(3), Meaning::TimeOld)),
        (ColumnType::Datetime { fraction: 0 }, w::DATETIME) => Some((Extent::Fixed(8), Meaning::DatetimeOld)),
        (ColumnType::Timestamp { fraction: 0 }, w::TIMESTAMP) => Some((Extent::Fixed(4), Meaning::TimestampOld)),
        (ColumnType::Time { fraction }, w::TIME2) => with_fraction(3, *fraction, Meaning::Time),
        (ColumnType::Datetime { fraction }, w::DATETIME2) => with_fraction(5, *fraction, Meaning::Datetime),
        (ColumnType::Timestamp { fraction }, w::TIMESTAMP2) => with_fraction(4, *fraction, Meaning::Timestamp),
        _ => None,
    }
}

/// Strings of every kind: how long they are.
fn string_extent(mapped: &MappedColumn<'_>) -> Option<Extent> {
    match mapped.kind {
        w::STRING | w::VARCHAR | w::VARCHAR_COMPRESSED | w::VAR_STRING => {
            Some(Extent::Prefixed { bytes: if mapped.meta > 255 { 2 } else { 1 }, most: usize::from(mapped.meta) })
        }
        w::TINY_BLOB | w::BLOB | w::BLOB_COMPRESSED | w::MEDIUM_BLOB | w::LONG_BLOB => blob(mapped, mapped.kind),
        _ => None,
    }
}

/// The meaning of a string's bytes, of which the column may keep another form.
fn unpacked(mapped: &MappedColumn<'_>, meaning: Meaning) -> Meaning {
    let is_compressed = matches!(mapped.kind, w::BLOB_COMPRESSED | w::VARCHAR_COMPRESSED);
    if is_compressed { Meaning::Compressed(Box::new(meaning)) } else { meaning }
}

fn blob(mapped: &MappedColumn<'_>, kind: u8) -> Option<Extent> {
    let bytes = u8::try_from(mapped.meta).ok().filter(|bytes| (1..=4).contains(bytes))?;
    (mapped.kind == kind).then_some(Extent::Prefixed { bytes, most: usize::MAX })
}

fn text(mapped: &MappedColumn<'_>, charset: &Charset, decoders: &mut Decoders) -> Result<Cell, String> {
    let extent = string_extent(mapped).ok_or_else(|| differs(mapped, &ColumnType::Text { charset: charset.clone() }))?;
    check_charset(mapped, charset)?;
    Ok(Cell { extent, meaning: unpacked(mapped, Meaning::Text(decoder(charset, decoders)?)), captured: None })
}

fn check_charset(mapped: &MappedColumn<'_>, charset: &Charset) -> Result<(), String> {
    let today = |name: &str| if name == "utf8" { "utf8mb3".to_owned() } else { name.to_owned() };
    match mapped.collation.and_then(charset_of) {
        Some(found) if today(found) != today(&charset.0) => Err(format!("has character set {found}, not {}", charset.0)),
        _ => Ok(()),
    }
}

fn decoder(charset: &Charset, decoders: &mut Decoders) -> Result<Arc<Decoder>, String> {
    if let Some(decoder) = decoders.get(charset) {
        return Ok(Arc::clone(decoder));
    }
    let decoder = Arc::new(Decoder::new(charset).map_err(|error| format!("cannot be decoded: {error}"))?);
    decoders.insert(charset.clone(), Arc::clone(&decoder));
    Ok(decoder)
}

fn binary(mapped: &MappedColumn<'_>, fixed: Option<u32>) -> Option<(Extent, Meaning)> {
    const BINARY_COLLATION: u16 = 63;
    if mapped.collation.is_some_and(|collation| collation != BINARY_COLLATION) {
        return None;
    }
    let extent = string_extent(mapped)?;
    match fixed {
        Some(length) if mapped.kind == w::STRING && u32::from(mapped.meta) == length => {
            Some((extent, Meaning::Padded(usize::from(mapped.meta))))
        }
        None if mapped.kind != w::STRING => Some((extent, unpacked(mapped, Meaning::Bytes))),
        _ => None,
    }
}

fn labelled(
    mapped: &MappedColumn<'_>,
    kind: u8,
    labels: &[String],
    charset: &Charset,
    decoders: &mut Decoders,
) -> Result<Cell, String> {
    let bytes = usize::from(mapped.meta);
    let enough = match kind {
        w::ENUM => (labels.len() < 256 && bytes == 1) || (labels.len() >= 256 && bytes == 2),
        _ => bytes <= 8 && labels.len() <= bytes * 8,
    };
    if mapped.kind != kind || !enough {
        return Err(format!("has binlog type {} of {bytes} bytes, which is no list of {} labels", mapped.kind, labels.len()));
    }
    check_charset(mapped, charset)?;
    let labels = match &mapped.labels {
        Some(named) => named_labels(named, labels, charset, decoders)?,
        None if labels.iter().any(|label| hides_letters(label, charset)) => {
            return Err("has labels with a `?` that may stand for another character, and the server does not name them: \
                        binlog_row_metadata is no longer FULL"
                .to_owned());
        }
        None => labels.into(),
    };
    let meaning = if kind == w::ENUM { Meaning::Enum(labels) } else { Meaning::Set(labels) };
    Ok(Cell { extent: Extent::Fixed(bytes), meaning, captured: None })
}

/// The labels as the table map names them, if they are those that were captured.
fn named_labels(named: &[&[u8]], shown: &[String], charset: &Charset, decoders: &mut Decoders) -> Result<Arc<[String]>, String> {
    let decoder = decoder(charset, decoders)?;
    let mut scratch = String::new();
    let decoded: Option<Vec<String>> =
        named.iter().map(|label| decoder.decode_into(label, &mut scratch).ok().map(str::to_owned)).collect();
    let same = |labels: &Vec<String>| {
        labels.len() == shown.len() && labels.iter().zip(shown).all(|(label, shown)| is_shown_as(label, shown, charset))
    };
    decoded.filter(same).map(Arc::from).ok_or_else(|| "has other labels".to_owned())
}
