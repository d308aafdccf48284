//! The text of each kind of cell.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::encoder::Encoder;
use super::instant::write_instant;
use super::plan::Format;
use super::string::write_string;
use crate::change::{CellError, Image, RowSink};

/// What a cell that is not of its column's type is answered.
const MISMATCH: &str = "the value is of another kind than the column";

fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes base64 with its quotes.
fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) -> std::result::Result<(), &'static str> {
    out.push(b'"');
    let from = out.len();
    let length = base64::encoded_len(bytes.len(), true).ok_or("the value is too long")?;
    out.resize(from + length, 0);
    STANDARD.encode_slice(bytes, &mut out[from..]).map_err(|_| "the value cannot be written as base64")?;
    out.push(b'"');
    Ok(())
}

/// GEOMETRY: the SRID, then WKB. A value too short for that (MySQL once let an empty one in) has no SRID.
fn write_geometry(out: &mut Vec<u8>, bytes: &[u8]) -> std::result::Result<(), &'static str> {
    out.extend_from_slice(b"{\"wkb\":");
    match bytes.split_first_chunk::<4>() {
        Some((srid, wkb)) => {
            write_base64(out, wkb)?;
            out.extend_from_slice(b",\"srid\":");
            write_integer(out, u32::from_le_bytes(*srid));
        }
        None => {
            write_base64(out, bytes)?;
            out.extend_from_slice(b",\"srid\":null");
        }
    }
    out.push(b'}');
    Ok(())
}

/// VECTOR: numbers. A float that JSON has no number for is the hexadecimal of its bits, as a string.
fn write_vector(out: &mut Vec<u8>, bytes: &[u8]) -> std::result::Result<(), &'static str> {
    let (floats, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("the vector's length is no multiple of four bytes");
    }
    out.push(b'[');
    for (nth, float) in floats.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        let value = f32::from_le_bytes(*float);
        if value.is_finite() {
            out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
        } else {
            out.extend_from_slice(format!("\"{:08x}\"", value.to_bits()).as_bytes());
        }
    }
    out.push(b']');
    Ok(())
}

type Cell = std::result::Result<(), CellError>;

impl RowSink for Encoder {
    fn image(&mut self, image: Image) -> Cell {
        self.open(image)
    }

    fn null(&mut self) -> Cell {
        self.cell(|_, out| {
            out.extend_from_slice(b"null");
            Ok(())
        })
    }

    fn signed(&mut self, value: i64) -> Cell {
        self.cell(|format, out| match format {
            Format::Signed => {
                write_integer(out, value);
                Ok(())
            }
            _ => Err(MISMATCH),
        })
    }

    fn unsigned(&mut self, value: u64) -> Cell {
        self.cell(|format, out| match format {
            Format::Unsigned => {
                write_integer(out, value);
                Ok(())
            }
            Format::Boolean if value <= 1 => {
                out.extend_from_slice(if value == 1 { b"true" } else { b"false" });
                Ok(())
            }
            Format::Bits { bits } if bits >= 64 || value >> bits == 0 => {
                write_base64(out, &value.to_le_bytes()[..usize::from(bits.div_ceil(8)).min(8)])
            }
            Format::Boolean | Format::Bits { .. } => Err("the value has more bits than the column"),
            _ => Err(MISMATCH),
        })
    }

    fn float(&mut self, value: f32) -> Cell {
        self.cell(|format, out| match format {
            Format::Float if value.is_finite() => {
                out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
                Ok(())
            }
            Format::Float => Err("the value is no number"),
            _ => Err(MISMATCH),
        })
    }

    fn double(&mut self, value: f64) -> Cell {
        self.cell(|format, out| match format {
            Format::Double if value.is_finite() => {
                out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
                Ok(())
            }
            Format::Double => Err("the value is no number"),
            _ => Err(MISMATCH),
        })
    }

    fn decimal(&mut self, text: &str) -> Cell {
        self.cell(|format, out| match format {
            Format::Decimal => {
                write_string(out, text);
                Ok(())
            }
            _ => Err(MISMATCH),
        })
    }

    fn text(&mut self, text: &str) -> Cell {
        self.cell(|format, out| match format {
            Format::Text => {
                write_string(out, text);
                Ok(())
            }
            _ => Err(MISMATCH),
        })
    }

    fn bytes(&mut self, bytes: &[u8]) -> Cell {
        self.cell(|format, out| match format {
            Format::Base64 => write_base64(out, bytes),
            Format::Geometry => write_geometry(out, bytes),
            Format::Vector => write_vector(out, bytes),
            _ => Err(MISMATCH),
        })
    }

    fn date(&mut self, days: i32) -> Cell {
        self.cell(|format, out| match format {
            Format::Date => {
                write_integer(out, days);
                Ok(())
            }
            _ => Err(MISMATCH),
        })
    }

    fn time(&mut self, microseconds: i64) -> Cell {
        self.cell(|format, out| match format {
            Format::Time => {
                write_integer(out, microseconds);
                Ok(())
            }
            _ => Err(MISMATCH),
        })
    }

    fn datetime(&mut self, microseconds: i64) -> Cell {
        self.cell(|format, out| {
            match format {
                Format::DatetimeMicroseconds => write_integer(out, microseconds),
                Format::DatetimeMilliseconds if microseconds % 1000 == 0 => write_integer(out, microseconds / 1000),
                Format::DatetimeMilliseconds => return Err("the value has more digits than the column"),
                _ => return Err(MISMATCH),
            }
            Ok(())
        })
    }

    fn timestamp(&mut self, microseconds: i64) -> Cell {
        self.cell(|format, out| match format {
            Format::Timestamp { fraction } if write_instant(out, microseconds, fraction) => Ok(()),
            Format::Timestamp { .. } => Err("the value has more digits than the column, or a year that has not four"),
            _ => Err(MISMATCH),
        })
    }

    fn zero_date(&mut self) -> Cell {
        self.cell(|format, out| {
            if !format.is_date() {
                return Err(MISMATCH);
            }
            out.extend_from_slice(b"null");
            Ok(())
        })?;
        self.note_zero_date();
        Ok(())
    }
}
