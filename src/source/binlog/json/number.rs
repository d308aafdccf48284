//! Numbers and SQL values inside JSON documents, spelled as MySQL spells them.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::write_string;
use crate::source::binlog::event::{Malformed, OrMalformed};
use crate::source::binlog::table_map::wire_type as w;
use crate::source::binlog::{decimal, temporal};
use crate::source::wire::fields::Fields;

/// A double in as few digits as read back to it. MySQL turns to an exponent where the point would stand more than 15 places from
/// the first digit, unless digits follow the point; a whole number gets `.0`.
pub(super) fn write_double(value: f64, out: &mut String) -> Result<(), Malformed> {
    const PLACES_MAX: i32 = 15;
    if !value.is_finite() {
        return Err(Malformed::new("a JSON number that is not finite"));
    }
    // One digit, a point if more follow, the exponent: on the stack, as documents may hold many.
    let mut buffer = [0; 32];
    let mut room = buffer.as_mut_slice();
    std::io::Write::write_fmt(&mut room, format_args!("{value:e}")).map_err(|_| Malformed::new("a number"))?;
    let used = 32 - room.len();
    let text = buffer.get(..used).and_then(|bytes| std::str::from_utf8(bytes).ok()).or_malformed("a number")?;
    let (mantissa, exponent) = text.split_once('e').or_malformed("a number")?;
    let exponent: i32 = exponent.parse().map_err(|_| Malformed::new("a number's exponent"))?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let (first, others) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (point, length) = (exponent + 1, (first.len() + others.len()) as i32);
    out.push_str(sign);
    if point <= -PLACES_MAX || (point > PLACES_MAX && length <= point) {
        out.push_str(mantissa);
        return write!(out, "e{exponent}").map_err(|_| Malformed::new("a number"));
    }
    if point <= 0 {
        out.push_str("0.");
        (point..0).for_each(|_| out.push('0'));
        out.push_str(first);
        out.push_str(others);
    } else if length > point {
        let (whole, fraction) = others.split_at_checked(exponent as usize).or_malformed("a number")?;
        out.push_str(first);
        out.push_str(whole);
        out.push('.');
        out.push_str(fraction);
    } else {
        out.push_str(first);
        out.push_str(others);
        (length..point).for_each(|_| out.push('0'));
        out.push_str(".0");
    }
    Ok(())
}

/// An SQL value: decimals as numbers, dates and times as strings, anything else as base64 with its type.
pub(super) fn write_opaque(kind: u8, bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    const WHAT: &str = "an SQL value in a JSON document";
    match kind {
        w::NEWDECIMAL => {
            let mut fields = Fields(bytes);
            let (precision, scale) = fields.u8().zip(fields.u8()).or_malformed(WHAT)?;
            decimal::write_text(fields.0, precision, scale, out)
        }
        w::DATE | w::DATETIME | w::TIMESTAMP => {
            let packed = Fields(bytes).array().map(i64::from_le_bytes).or_malformed(WHAT)?;
            let ((year, month, day), (hour, minute, second), microseconds) = temporal::packed_datetime(packed);
            let date = write!(out, "\"{year:04}-{month:02}-{day:02}");
            let time = if kind == w::DATE { Ok(()) } else { write!(out, " {hour:02}:{minute:02}:{second:02}.{microseconds:06}") };
            out.push('"');
            date.and(time).map_err(|_| Malformed::new(WHAT))
        }
        w::TIME => {
            let packed = Fields(bytes).array().map(i64::from_le_bytes).or_malformed(WHAT)?;
            let (negative, (hour, minute, second), microseconds) = temporal::packed_time(packed);
            let sign = if negative { "-" } else { "" };
            write!(out, "\"{sign}{hour:02}:{minute:02}:{second:02}.{microseconds:06}\"").map_err(|_| Malformed::new(WHAT))
        }
        _ => write_base64(kind, bytes, out),
    }
}

/// MySQL breaks base64 into lines, and the line breaks become part of the string.
fn write_base64(kind: u8, bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    const LINE_BYTES: usize = 57;
    let mut text = format!("base64:type{kind}:");
    for (index, line) in bytes.chunks(LINE_BYTES).enumerate() {
        if index > 0 {
            text.push('\n');
        }
        STANDARD.encode_string(line, &mut text);
    }
    write_string(text.as_bytes(), out)
}
