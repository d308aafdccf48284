//! A view of MySQL's binary JSON: one value at a time, its parts found by the offsets in it. Nothing is copied.

use crate::source::binlog::event::{Malformed, OrMalformed};
use crate::source::wire::fields::Fields;

const SMALL_OBJECT: u8 = 0x00;
const LARGE_OBJECT: u8 = 0x01;
const SMALL_ARRAY: u8 = 0x02;
const LARGE_ARRAY: u8 = 0x03;
const LITERAL: u8 = 0x04;
const INT16: u8 = 0x05;
const UINT16: u8 = 0x06;
const INT32: u8 = 0x07;
const UINT32: u8 = 0x08;
const INT64: u8 = 0x09;
const UINT64: u8 = 0x0a;
const DOUBLE: u8 = 0x0b;
const STRING: u8 = 0x0c;
const OPAQUE: u8 = 0x0f;

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum View<'a> {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Double(f64),
    String(&'a [u8]),
    /// An SQL value that JSON does not know: its MySQL type and bytes.
    Opaque {
        kind: u8,
        bytes: &'a [u8],
    },
    Object(Container<'a>),
    Array(Container<'a>),
}

/// An array or object: entries of fixed size, then what they point to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Container<'a> {
    /// From the element count to the container's end; offsets count from here.
    bytes: &'a [u8],
    count: usize,
    large: bool,
    object: bool,
}

impl<'a> View<'a> {
    /// A document: a type byte, then the value.
    pub(super) fn parse(document: &'a [u8]) -> Result<Self, Malformed> {
        let (kind, value) = document.split_first().or_malformed("a JSON document")?;
        Self::value(*kind, value)
    }

    fn value(kind: u8, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(bytes);
        let view = match kind {
            SMALL_OBJECT | LARGE_OBJECT | SMALL_ARRAY | LARGE_ARRAY => return Container::parse(kind, bytes),
            LITERAL => match fields.u8() {
                Some(0) => Some(Self::Null),
                Some(1) => Some(Self::Bool(true)),
                Some(2) => Some(Self::Bool(false)),
                _ => None,
            },
            INT16 => fields.array().map(|bytes| Self::Signed(i64::from(i16::from_le_bytes(bytes)))),
            UINT16 => fields.u16().map(|value| Self::Unsigned(u64::from(value))),
            INT32 => fields.array().map(|bytes| Self::Signed(i64::from(i32::from_le_bytes(bytes)))),
            UINT32 => fields.u32().map(|value| Self::Unsigned(u64::from(value))),
            INT64 => fields.array().map(|bytes| Self::Signed(i64::from_le_bytes(bytes))),
            UINT64 => fields.array().map(|bytes| Self::Unsigned(u64::from_le_bytes(bytes))),
            DOUBLE => fields.array().map(|bytes| Self::Double(f64::from_le_bytes(bytes))),
            STRING => long_string(&mut fields).map(Self::String),
            OPAQUE => fields.u8().and_then(|kind| long_string(&mut fields).map(|bytes| Self::Opaque { kind, bytes })),
            other => return Err(Malformed(format!("a JSON value of type {other:#x} is not known"))),
        };
        view.or_malformed("a JSON value")
    }
}

/// A string behind a length of seven bits a byte.
fn long_string<'a>(fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    let mut length = 0usize;
    for shift in 0..5 {
        let byte = fields.u8()?;
        length |= usize::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            return fields.take(length);
        }
    }
    None
}

impl<'a> Container<'a> {
    fn parse(kind: u8, bytes: &'a [u8]) -> Result<View<'a>, Malformed> {
        const WHAT: &str = "a JSON container";
        let large = matches!(kind, LARGE_OBJECT | LARGE_ARRAY);
        let object = matches!(kind, SMALL_OBJECT | LARGE_OBJECT);
        let container = Self { bytes, count: 0, large, object };
        let count = container.number(0).or_malformed(WHAT)?;
        let size = container.number(container.word()).or_malformed(WHAT)?;
        let bytes = bytes.get(..size).or_malformed(WHAT)?;
        let container = Self { bytes, count, ..container };
        if container.entry(count).is_none_or(|end| end > size) {
            return Err(Malformed(format!("a JSON container of {size} bytes cannot have {count} entries")));
        }
        Ok(if object { View::Object(container) } else { View::Array(container) })
    }

    /// How many entries.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of an offset.
    fn word(&self) -> usize {
        if self.large { 4 } else { 2 }
    }

    fn number(&self, at: usize) -> Option<usize> {
        let mut fields = Fields(self.bytes.get(at..)?);
        if self.large { fields.u32().map(|value| value as usize) } else { fields.u16().map(usize::from) }
    }

    /// Where the entry of a value stands; that of `count` is where they end.
    fn entry(&self, index: usize) -> Option<usize> {
        let keys = if self.object { self.count.checked_mul(self.word() + 2)? } else { 0 };
        (2 * self.word()).checked_add(keys)?.checked_add(index.checked_mul(1 + self.word())?)
    }

    /// An object's key.
    pub(super) fn key(&self, index: usize) -> Result<&'a [u8], Malformed> {
        let at = 2 * self.word() + index * (self.word() + 2);
        let read = || {
            let start = self.number(at)?;
            let length = usize::from(Fields(self.bytes.get(at + self.word()..)?).u16()?);
            self.bytes.get(start..start.checked_add(length)?)
        };
        read().or_malformed("a JSON key")
    }

    /// A value.
    pub(super) fn value(&self, index: usize) -> Result<View<'a>, Malformed> {
        const WHAT: &str = "a JSON entry";
        let at = self.entry(index).or_malformed(WHAT)?;
        let kind = *self.bytes.get(at).or_malformed(WHAT)?;
        let inlined = matches!(kind, LITERAL | INT16 | UINT16) || (self.large && matches!(kind, INT32 | UINT32));
        let start = if inlined { at + 1 } else { self.number(at + 1).or_malformed(WHAT)? };
        // What an entry points to lies behind the entries, so no value can hold itself.
        if !inlined && self.entry(self.count).is_none_or(|end| start < end) {
            return Err(Malformed::new("a JSON entry points into the entries"));
        }
        View::value(kind, self.bytes.get(start..).or_malformed(WHAT)?)
    }
}
