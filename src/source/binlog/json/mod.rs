//! MySQL's binary JSON to the exact text that `SELECT` prints, and partial updates applied to it.
//!
//! The text must equal what the snapshot reads from the server, character by character: members in MySQL's order, `", "` and
//! `": "`, doubles as MySQL prints them, decimals and dates and other SQL values as the server spells them.

mod binary;
mod diff;
mod number;

use super::event::Malformed;

pub(super) use diff::apply;

use binary::View;

/// Documents nest at most so deep in MySQL.
const DEPTH_MAX: usize = 100;

/// Appends the text of a document.
pub(super) fn write_text(document: &[u8], out: &mut String) -> Result<(), Malformed> {
    // An empty value is what a column without a document was given; the server prints it as the literal.
    if document.is_empty() {
        out.push_str("null");
        return Ok(());
    }
    // Nothing in a document prints more than some ten times its size: more means that its parts overlap.
    let limit = out.len() + 64 * document.len() + 1024;
    write_view(&View::parse(document)?, 0, limit, out)
}

fn write_view(view: &View<'_>, depth: usize, limit: usize, out: &mut String) -> Result<(), Malformed> {
    if depth > DEPTH_MAX || out.len() > limit {
        return Err(Malformed::new("a JSON document nests deeper or prints longer than MySQL's can"));
    }
    match view {
        View::Object(container) => {
            out.push('{');
            for index in 0..container.len() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_string(container.key(index)?, out)?;
                out.push_str(": ");
                write_view(&container.value(index)?, depth + 1, limit, out)?;
            }
            out.push('}');
        }
        View::Array(container) => {
            out.push('[');
            for index in 0..container.len() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_view(&container.value(index)?, depth + 1, limit, out)?;
            }
            out.push(']');
        }
        scalar => write_scalar(scalar, out)?,
    }
    Ok(())
}

fn write_scalar(view: &View<'_>, out: &mut String) -> Result<(), Malformed> {
    match view {
        View::Null => out.push_str("null"),
        View::Bool(true) => out.push_str("true"),
        View::Bool(false) => out.push_str("false"),
        View::Signed(value) => out.push_str(itoa::Buffer::new().format(*value)),
        View::Unsigned(value) => out.push_str(itoa::Buffer::new().format(*value)),
        View::Double(value) => number::write_double(*value, out)?,
        View::String(bytes) => write_string(bytes, out)?,
        View::Opaque { kind, bytes } => number::write_opaque(*kind, bytes, out)?,
        View::Object(_) | View::Array(_) => {}
    }
    Ok(())
}

/// Appends a quoted string with MySQL's escapes.
fn write_string(bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::new("a JSON string that is not UTF-8"))?;
    out.push('"');
    let mut rest = text;
    while let Some(place) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, behind) = rest.split_at(place);
        out.push_str(plain);
        let mut characters = behind.chars();
        if let Some(special) = characters.next() {
            write_escape(special, out);
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
    Ok(())
}

fn write_escape(special: char, out: &mut String) {
    match special {
        '\u{8}' => out.push_str("\\b"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\u{c}' => out.push_str("\\f"),
        '\r' => out.push_str("\\r"),
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        control => {
            let code = u32::from(control);
            out.push_str("\\u00");
            for digit in [code >> 4, code & 15] {
                out.push(char::from_digit(digit, 16).unwrap_or('0'));
            }
        }
    }
}

#[cfg(test)]
mod tests;
