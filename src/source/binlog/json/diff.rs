//! Partial updates (`binlog_row_value_options=PARTIAL_JSON`): the after image of a document is a list of changes to its before
//! image. They are applied to a tree whose leaves are still the bytes they came as, so that what did not change prints the same.

use std::borrow::Cow;

use super::binary::View;
use super::{DEPTH_MAX, write_scalar, write_string};
use crate::source::binlog::event::{Malformed, OrMalformed};
use crate::source::wire::fields::Fields;

/// A document that can be changed.
#[derive(Debug, Clone)]
enum Tree<'a> {
    Scalar(View<'a>),
    Array(Vec<Tree<'a>>),
    /// In MySQL's order: shorter keys first, then by bytes.
    Object(Vec<(Cow<'a, [u8]>, Tree<'a>)>),
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leg<'a> {
    Member(Cow<'a, [u8]>),
    Cell(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Replace,
    Insert,
    Remove,
}

/// Appends the text of `before` with all of `changes` applied.
pub(in crate::source::binlog) fn apply(before: &[u8], changes: &[u8], out: &mut String) -> Result<(), Malformed> {
    const WHAT: &str = "a partial JSON update";
    let mut budget = 64 * (before.len() + changes.len()) + 1024;
    let mut tree = Tree::parse(before, &mut budget)?;
    let mut fields = Fields(changes);
    while !fields.0.is_empty() {
        let change = match fields.u8() {
            Some(0) => Change::Replace,
            Some(1) => Change::Insert,
            Some(2) => Change::Remove,
            other => return Err(Malformed(format!("a partial JSON update of kind {other:?} is not known"))),
        };
        let path = parse_path(fields.string().or_malformed(WHAT)?)?;
        let value = match change {
            Change::Remove => None,
            Change::Replace | Change::Insert => Some(Tree::parse(fields.string().or_malformed(WHAT)?, &mut budget)?),
        };
        tree.change(change, &path, value)?;
    }
    tree.write(0, out)
}

impl<'a> Tree<'a> {
    fn parse(document: &'a [u8], budget: &mut usize) -> Result<Self, Malformed> {
        if document.is_empty() {
            return Ok(Self::Scalar(View::Null));
        }
        Self::grow(View::parse(document)?, 0, budget)
    }

    fn grow(view: View<'a>, depth: usize, budget: &mut usize) -> Result<Self, Malformed> {
        // A document whose parts overlap could otherwise grow without end.
        *budget = budget.checked_sub(1).filter(|_| depth <= DEPTH_MAX).or_malformed("the depth of a JSON document")?;
        Ok(match view {
            View::Object(container) => {
                let mut members = Vec::new();
                for index in 0..container.len() {
                    members.push((Cow::Borrowed(container.key(index)?), Self::grow(container.value(index)?, depth + 1, budget)?));
                }
                Self::Object(members)
            }
            View::Array(container) => {
                let mut cells = Vec::new();
                for index in 0..container.len() {
                    cells.push(Self::grow(container.value(index)?, depth + 1, budget)?);
                }
                Self::Array(cells)
            }
            scalar => Self::Scalar(scalar),
        })
    }

    fn change(&mut self, change: Change, path: &[Leg<'a>], value: Option<Self>) -> Result<(), Malformed> {
        let misfit = || Malformed(format!("a partial JSON update ({change:?}) does not fit its document"));
        let Some((last, parents)) = path.split_last() else {
            // The whole document.
            return match (change, value) {
                (Change::Replace, Some(value)) => {
                    *self = value;
                    Ok(())
                }
                _ => Err(misfit()),
            };
        };
        let mut parent = self;
        for leg in parents {
            parent = parent.child(leg).ok_or_else(misfit)?;
        }
        match (change, value) {
            (Change::Replace, Some(value)) => *parent.child(last).ok_or_else(misfit)? = value,
            (Change::Insert, Some(value)) => parent.insert(last, value).ok_or_else(misfit)?,
            _ => parent.remove(last).ok_or_else(misfit)?,
        }
        Ok(())
    }

    fn child(&mut self, leg: &Leg<'a>) -> Option<&mut Self> {
        match (self, leg) {
            (Self::Object(members), Leg::Member(key)) => {
                members.iter_mut().find(|(member, _)| member == key).map(|(_, value)| value)
            }
            (Self::Array(cells), Leg::Cell(index)) => cells.get_mut(*index),
            // MySQL takes anything else for an array of one.
            (this @ (Self::Scalar(_) | Self::Object(_)), Leg::Cell(0)) => Some(this),
            _ => None,
        }
    }

    fn insert(&mut self, leg: &Leg<'a>, value: Self) -> Option<()> {
        match (self, leg) {
            (Self::Object(members), Leg::Member(key)) => {
                let order = |member: &[u8]| member.len().cmp(&key.len()).then_with(|| member.cmp(key));
                let place = members.binary_search_by(|(member, _)| order(member)).err()?;
                members.insert(place, (key.clone(), value));
            }
            (Self::Array(cells), Leg::Cell(index)) => cells.insert(*index.min(&cells.len()), value),
            _ => return None,
        }
        Some(())
    }

    fn remove(&mut self, leg: &Leg<'a>) -> Option<()> {
        match (self, leg) {
            (Self::Object(members), Leg::Member(key)) => {
                let place = members.iter().position(|(member, _)| member == key)?;
                members.remove(place);
            }
            (Self::Array(cells), Leg::Cell(index)) if *index < cells.len() => {
                cells.remove(*index);
            }
            _ => return None,
        }
        Some(())
    }

    fn write(&self, depth: usize, out: &mut String) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed::new("a JSON document nests too deep"));
        }
        match self {
            Self::Scalar(view) => write_scalar(view, out)?,
            Self::Array(cells) => {
                out.push('[');
                for (index, cell) in cells.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    cell.write(depth + 1, out)?;
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    write_string(key, out)?;
                    out.push_str(": ");
                    value.write(depth + 1, out)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

/// Reads `$.member[3]."quoted member"`.
fn parse_path(path: &[u8]) -> Result<Vec<Leg<'_>>, Malformed> {
    let wrong = || Malformed(format!("the JSON path {:?}", String::from_utf8_lossy(path)));
    // The leading `$` is left out by the server.
    let mut rest = path.strip_prefix(b"$").unwrap_or(path);
    let mut legs = Vec::new();
    while let Some((first, behind)) = rest.split_first() {
        if legs.len() > DEPTH_MAX {
            return Err(wrong());
        }
        match first {
            b'[' => {
                let end = behind.iter().position(|byte| *byte == b']').ok_or_else(wrong)?;
                let (number, behind) = behind.split_at_checked(end).ok_or_else(wrong)?;
                let number = std::str::from_utf8(number).ok().and_then(|number| number.trim().parse().ok());
                legs.push(Leg::Cell(number.ok_or_else(wrong)?));
                rest = behind.get(1..).ok_or_else(wrong)?;
            }
            b'.' if behind.first() == Some(&b'"') => {
                let end = quoted_end(behind).ok_or_else(wrong)?;
                let (quoted, behind) = behind.split_at_checked(end).ok_or_else(wrong)?;
                let key: String = serde_json::from_slice(quoted).map_err(|_| wrong())?;
                legs.push(Leg::Member(Cow::Owned(key.into_bytes())));
                rest = behind;
            }
            b'.' => {
                let end = behind.iter().position(|byte| matches!(byte, b'.' | b'[')).unwrap_or(behind.len());
                let (key, behind) = behind.split_at_checked(end).ok_or_else(wrong)?;
                legs.push(Leg::Member(Cow::Borrowed(key)));
                rest = behind;
            }
            _ => return Err(wrong()),
        }
    }
    Ok(legs)
}

/// Where a quoted member ends, its closing quote included.
fn quoted_end(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (place, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(place + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        assert_eq!(
            parse_path(br#"$.a[12]."b \"c\".d""#).unwrap(),
            [Leg::Member(b"a"[..].into()), Leg::Cell(12), Leg::Member(br#"b "c".d"#[..].into())]
        );
        assert_eq!(parse_path(b"$").unwrap(), []);
        for wrong in [&b"$a"[..], b"$[x]", b"$[1", b"$.\"a"] {
            assert!(parse_path(wrong).is_err());
        }
    }
}
