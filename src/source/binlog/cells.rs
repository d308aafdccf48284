//! The bytes of one cell into one call of the sink. The hot path: nothing is allocated here but what a sink keeps itself.

use crate::change::{CellError, RowSink};
use crate::source::wire::fields::Fields;

use super::event::{Malformed, OrMalformed};
use super::mariadb::{address, column as compressed};
use super::plan::{Cell, Extent, Meaning};
use super::{decimal, json, temporal};

/// Why a cell did not reach the sink.
#[derive(Debug)]
pub(super) enum CellFault {
    /// Its bytes mean nothing.
    Malformed(Malformed),
    /// The sink refused it.
    Refused(CellError),
}

impl From<Malformed> for CellFault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<CellError> for CellFault {
    fn from(refused: CellError) -> Self {
        Self::Refused(refused)
    }
}

/// What a buffer keeps between two rows.
pub(super) const KEPT_BYTES: usize = 1 << 20;

/// Buffers that live as long as the reader of rows.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    text: String,
    bytes: Vec<u8>,
    inflated: Vec<u8>,
}

impl Scratch {
    /// A huge cell's room is not kept for the small ones behind it.
    pub(super) fn shrink(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }
}

impl Cell {
    /// Cuts the cell's bytes off.
    pub(super) fn take<'a>(&self, fields: &mut Fields<'a>) -> Result<&'a [u8], Malformed> {
        let (bytes, most) = match self.extent {
            Extent::Fixed(length) => return fields.take(length).or_malformed("a row"),
            Extent::Prefixed { bytes, most } => (bytes, most),
        };
        let length = match bytes {
            1 => fields.u8().map(usize::from),
            2 => fields.u16().map(usize::from),
            3 => fields.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]) as usize),
            _ => fields.u32().map(|length| length as usize),
        };
        length.filter(|length| *length <= most).and_then(|length| fields.take(length)).or_malformed("a row")
    }

    /// Drives the cell's bytes into the sink.
    pub(super) fn drive(&self, bytes: &[u8], sink: &mut dyn RowSink, scratch: &mut Scratch) -> Result<(), CellFault> {
        drive(&self.meaning, bytes, sink, scratch)
    }
}

fn drive(meaning: &Meaning, bytes: &[u8], sink: &mut dyn RowSink, scratch: &mut Scratch) -> Result<(), CellFault> {
    match meaning {
        Meaning::Signed => sink.signed(signed(bytes))?,
        Meaning::Unsigned => sink.unsigned(little_endian(bytes))?,
        Meaning::Float => sink.float(f32::from_le_bytes(exact(bytes)?))?,
        Meaning::Double => sink.double(f64::from_le_bytes(exact(bytes)?))?,
        Meaning::Decimal { precision, scale } => {
            scratch.text.clear();
            decimal::write_text(bytes, *precision, *scale, &mut scratch.text)?;
            sink.decimal(&scratch.text)?;
        }
        Meaning::Year => sink.signed(temporal::year(u8::from_le_bytes(exact(bytes)?)))?,
        Meaning::Bit => sink.unsigned(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))?,
        Meaning::Enum(labels) => sink.text(enum_label(little_endian(bytes), labels)?)?,
        Meaning::Set(labels) => {
            set_labels(little_endian(bytes), labels, &mut scratch.text)?;
            sink.text(&scratch.text)?;
        }
        Meaning::Text(decoder) => {
            let text = decoder.decode_into(bytes, &mut scratch.text).map_err(|error| Malformed::new(error.to_string()))?;
            sink.text(text)?;
        }
        Meaning::Bytes => sink.bytes(bytes)?,
        Meaning::Padded(length) if bytes.len() == *length => sink.bytes(bytes)?,
        Meaning::Padded(length) => {
            if bytes.len() > *length {
                return Err(Malformed(format!("{} bytes in a BINARY({length})", bytes.len())).into());
            }
            scratch.bytes.clear();
            scratch.bytes.extend_from_slice(bytes);
            scratch.bytes.resize(*length, 0);
            sink.bytes(&scratch.bytes)?;
        }
        Meaning::Json => {
            scratch.text.clear();
            json::write_text(bytes, &mut scratch.text)?;
            sink.text(&scratch.text)?;
        }
        Meaning::Address(kind) => {
            scratch.text.clear();
            address::write_text(*kind, bytes, &mut scratch.text)?;
            sink.text(&scratch.text)?;
        }
        Meaning::Compressed(meaning) => {
            let mut inflated = std::mem::take(&mut scratch.inflated);
            let driven = match compressed::value(bytes, &mut inflated) {
                Ok(value) => drive(meaning, value, sink, scratch),
                Err(malformed) => Err(malformed.into()),
            };
            scratch.inflated = inflated;
            driven?;
        }
        temporal => drive_temporal(temporal, bytes, sink)?,
    }
    Ok(())
}

fn drive_temporal(meaning: &Meaning, bytes: &[u8], sink: &mut dyn RowSink) -> Result<(), CellFault> {
    let driven = match meaning {
        Meaning::Date => temporal::date(exact(bytes)?).map(|days| sink.date(days)),
        Meaning::Time => Some(sink.time(temporal::time2(bytes)?)),
        Meaning::TimeOld => Some(sink.time(temporal::time_old(exact(bytes)?)?)),
        Meaning::Datetime => temporal::datetime2(bytes)?.map(|moment| sink.datetime(moment)),
        Meaning::DatetimeOld => temporal::datetime_old(exact(bytes)?)?.map(|moment| sink.datetime(moment)),
        Meaning::Timestamp => temporal::timestamp2(bytes)?.map(|moment| sink.timestamp(moment)),
        _ => temporal::timestamp_old(exact(bytes)?).map(|moment| sink.timestamp(moment)),
    };
    Ok(driven.unwrap_or_else(|| sink.zero_date())?)
}

/// A JSON document that exists as text already.
pub(super) fn drive_json_text(text: &str, sink: &mut dyn RowSink) -> Result<(), CellFault> {
    Ok(sink.text(text)?)
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    Fields(bytes).array().or_malformed("a cell")
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn signed(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    (little_endian(bytes) << unused) as i64 >> unused
}

fn enum_label(index: u64, labels: &[String]) -> Result<&str, Malformed> {
    // Index 0 is what MySQL keeps for an invalid label: the empty string.
    let Some(place) = index.checked_sub(1) else { return Ok("") };
    usize::try_from(place)
        .ok()
        .and_then(|place| labels.get(place))
        .map(String::as_str)
        .ok_or_else(|| Malformed(format!("the ENUM has {} labels, and the row label {index}", labels.len())))
}

fn set_labels(bits: u64, labels: &[String], out: &mut String) -> Result<(), Malformed> {
    if labels.len() < 64 && bits >> labels.len() != 0 {
        return Err(Malformed(format!("the SET has {} labels, and the row the bits {bits:#x}", labels.len())));
    }
    out.clear();
    for (_, label) in labels.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1) {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(label);
    }
    Ok(())
}
