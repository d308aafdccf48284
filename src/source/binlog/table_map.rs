//! Table map events: which table the row events behind them belong to, and how its columns lie in the bytes.
//!
//! With `binlog_row_metadata=FULL` the event names its columns and labels; with MINIMAL it has types, signs and character sets.
//! Everything it says is compared with the captured schema ([`super::plan`]), so that a value can never come to stand under
//! another column's name.

use crate::source::Flavor;
use crate::source::wire::fields::Fields;

use super::event::{Malformed, OrMalformed};

/// MySQL's numbers of the types in a table map.
pub(super) mod wire_type {
    pub(in crate::source::binlog) const TINY: u8 = 1;
    pub(in crate::source::binlog) const SHORT: u8 = 2;
    pub(in crate::source::binlog) const LONG: u8 = 3;
    pub(in crate::source::binlog) const FLOAT: u8 = 4;
    pub(in crate::source::binlog) const DOUBLE: u8 = 5;
    pub(in crate::source::binlog) const TIMESTAMP: u8 = 7;
    pub(in crate::source::binlog) const LONGLONG: u8 = 8;
    pub(in crate::source::binlog) const INT24: u8 = 9;
    pub(in crate::source::binlog) const DATE: u8 = 10;
    pub(in crate::source::binlog) const TIME: u8 = 11;
    pub(in crate::source::binlog) const DATETIME: u8 = 12;
    pub(in crate::source::binlog) const YEAR: u8 = 13;
    pub(in crate::source::binlog) const NEWDATE: u8 = 14;
    pub(in crate::source::binlog) const VARCHAR: u8 = 15;
    pub(in crate::source::binlog) const BIT: u8 = 16;
    pub(in crate::source::binlog) const TIMESTAMP2: u8 = 17;
    pub(in crate::source::binlog) const DATETIME2: u8 = 18;
    pub(in crate::source::binlog) const TIME2: u8 = 19;
    /// MariaDB: a BLOB or TEXT declared COMPRESSED.
    pub(in crate::source::binlog) const BLOB_COMPRESSED: u8 = 140;
    /// MariaDB: a VARCHAR or VARBINARY declared COMPRESSED.
    pub(in crate::source::binlog) const VARCHAR_COMPRESSED: u8 = 141;
    pub(in crate::source::binlog) const VECTOR: u8 = 242;
    pub(in crate::source::binlog) const JSON: u8 = 245;
    pub(in crate::source::binlog) const NEWDECIMAL: u8 = 246;
    pub(in crate::source::binlog) const ENUM: u8 = 247;
    pub(in crate::source::binlog) const SET: u8 = 248;
    pub(in crate::source::binlog) const TINY_BLOB: u8 = 249;
    pub(in crate::source::binlog) const MEDIUM_BLOB: u8 = 250;
    pub(in crate::source::binlog) const LONG_BLOB: u8 = 251;
    pub(in crate::source::binlog) const BLOB: u8 = 252;
    pub(in crate::source::binlog) const VAR_STRING: u8 = 253;
    pub(in crate::source::binlog) const STRING: u8 = 254;
    pub(in crate::source::binlog) const GEOMETRY: u8 = 255;
}
use wire_type as w;

/// A table has at most 4,096 columns.
const COLUMNS_MAX: u64 = 4096;

/// Kinds of optional metadata: 1 to 6, 10 and 11 are read; geometry types (7), keys (8, 9), visibility (12) and dimensions of vectors (13)
/// change nothing about how bytes are read.
const KNOWN_METADATA: std::ops::RangeInclusive<u8> = 1..=13;

/// One column of a table map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct MappedColumn<'a> {
    /// The type; ENUM and SET are told apart from the strings they travel as.
    pub(super) kind: u8,
    /// What the type needs: a length (strings: of the value in bytes), bits, precision and scale, digits of a fraction.
    pub(super) meta: u16,
    /// Numbers: whether UNSIGNED, where the event says so.
    pub(super) unsigned: Option<bool>,
    /// Strings, ENUM and SET: the collation's id, where the event says so.
    pub(super) collation: Option<u16>,
    /// Where the event says so.
    pub(super) name: Option<&'a [u8]>,
    /// ENUM and SET: the labels in the column's character set, where the event says so.
    pub(super) labels: Option<Vec<&'a [u8]>>,
}

impl MappedColumn<'_> {
    fn is_number(&self) -> bool {
        // YEAR counts as a number here, and as an unsigned one.
        matches!(
            self.kind,
            w::TINY | w::SHORT | w::INT24 | w::LONG | w::LONGLONG | w::NEWDECIMAL | w::FLOAT | w::DOUBLE | w::YEAR
        )
    }

    /// VECTOR counts as a string of bytes; MariaDB counts GEOMETRY as one, too.
    fn is_string(&self, flavor: Flavor) -> bool {
        matches!(
            self.kind,
            w::STRING
                | w::VAR_STRING
                | w::VARCHAR
                | w::VARCHAR_COMPRESSED
                | w::BLOB
                | w::BLOB_COMPRESSED
                | w::TINY_BLOB
                | w::MEDIUM_BLOB
                | w::LONG_BLOB
                | w::VECTOR
        ) || (self.kind == w::GEOMETRY && flavor == Flavor::Mariadb)
    }

    fn has_labels(&self) -> bool {
        matches!(self.kind, w::ENUM | w::SET)
    }
}

/// A table map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableMap<'a> {
    pub(super) table_id: u64,
    pub(super) database: &'a str,
    pub(super) table: &'a str,
    pub(super) columns: Vec<MappedColumn<'a>>,
}

/// The number by which row events name their table.
pub(super) fn table_id(body: &[u8]) -> Result<u64, Malformed> {
    let [a, b, c, d, e, f] = Fields(body).array().or_malformed("an event's table number")?;
    Ok(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
}

/// Reads no more than the table's name.
pub(super) fn parse_name(body: &[u8]) -> Result<(&str, &str), Malformed> {
    let mut fields = Fields(body);
    fields.take(8).or_malformed("a table map")?;
    read_name(&mut fields)
}

fn read_name<'a>(fields: &mut Fields<'a>) -> Result<(&'a str, &'a str), Malformed> {
    let mut part = || {
        let length = fields.u8().or_malformed("a table map")?;
        let text = fields.take(usize::from(length)).or_malformed("a table map")?;
        fields.take(1).or_malformed("a table map")?;
        std::str::from_utf8(text).map_err(|_| Malformed::new("a table's name that is not UTF-8"))
    };
    Ok((part()?, part()?))
}

impl<'a> TableMap<'a> {
    /// Reads the body of a table map event, as a server of this kind writes it.
    pub(super) fn parse(body: &'a [u8], flavor: Flavor) -> Result<Self, Malformed> {
        const WHAT: &str = "a table map";
        let table_id = table_id(body)?;
        let mut fields = Fields(body);
        fields.take(8).or_malformed(WHAT)?;
        let (database, table) = read_name(&mut fields)?;
        let count = fields.length().filter(|count| *count <= COLUMNS_MAX).and_then(|count| usize::try_from(count).ok());
        let count = count.or_malformed(WHAT)?;
        let types = fields.take(count).or_malformed(WHAT)?;
        let mut metadata = Fields(fields.string().or_malformed(WHAT)?);
        let columns: Result<Vec<_>, Malformed> = types.iter().map(|kind| read_column(*kind, &mut metadata)).collect();
        let mut map = Self { table_id, database, table, columns: columns? };
        fields.take(count.div_ceil(8)).or_malformed(WHAT)?;
        while !fields.0.is_empty() {
            let tag = fields.u8().or_malformed(WHAT)?;
            let value = fields.string().or_malformed(WHAT)?;
            if !KNOWN_METADATA.contains(&tag) {
                return Err(Malformed(format!("metadata of kind {tag} is not known, and may say how the rows are to be read")));
            }
            map.take_metadata(tag, Fields(value), flavor).or_malformed("a table map's metadata")?;
        }
        Ok(map)
    }

    fn take_metadata(&mut self, tag: u8, mut value: Fields<'a>, flavor: Flavor) -> Option<()> {
        let is_string = |column: &&mut MappedColumn<'_>| column.is_string(flavor);
        match tag {
            1 => {
                let numbers = self.columns.iter().filter(|column| column.is_number()).count();
                let bits = value.take(numbers.div_ceil(8))?;
                for (index, column) in self.columns.iter_mut().filter(|column| column.is_number()).enumerate() {
                    column.unsigned = Some(bits.get(index / 8)? >> (7 - index % 8) & 1 == 1);
                }
            }
            2 => default_collations(self.columns.iter_mut().filter(is_string), &mut value)?,
            3 => collations(self.columns.iter_mut().filter(is_string), &mut value)?,
            4 => {
                for column in &mut self.columns {
                    column.name = Some(value.string()?);
                }
            }
            5 => labels(self.columns.iter_mut().filter(|column| column.kind == w::SET), &mut value)?,
            6 => labels(self.columns.iter_mut().filter(|column| column.kind == w::ENUM), &mut value)?,
            10 => default_collations(self.columns.iter_mut().filter(|column| column.has_labels()), &mut value)?,
            11 => collations(self.columns.iter_mut().filter(|column| column.has_labels()), &mut value)?,
            _ => return Some(()),
        }
        value.0.is_empty().then_some(())
    }
}

fn read_column<'a>(kind: u8, metadata: &mut Fields<'_>) -> Result<MappedColumn<'a>, Malformed> {
    const WHAT: &str = "a table map's column types";
    let (kind, meta) = match kind {
        w::STRING => {
            let [high, low] = metadata.array().or_malformed(WHAT)?;
            string_meta(high, low)
        }
        w::NEWDECIMAL => (kind, u16::from_be_bytes(metadata.array().or_malformed(WHAT)?)),
        w::BIT => {
            let [bits, bytes] = metadata.array().or_malformed(WHAT)?;
            (kind, u16::from(bytes) * 8 + u16::from(bits))
        }
        w::VARCHAR | w::VARCHAR_COMPRESSED | w::VAR_STRING => (kind, metadata.u16().or_malformed(WHAT)?),
        w::FLOAT
        | w::DOUBLE
        | w::TINY_BLOB
        | w::MEDIUM_BLOB
        | w::LONG_BLOB
        | w::BLOB
        | w::BLOB_COMPRESSED
        | w::GEOMETRY
        | w::JSON
        | w::VECTOR
        | w::TIME2
        | w::DATETIME2
        | w::TIMESTAMP2 => (kind, u16::from(metadata.u8().or_malformed(WHAT)?)),
        w::TINY
        | w::SHORT
        | w::LONG
        | w::INT24
        | w::LONGLONG
        | w::YEAR
        | w::DATE
        | w::NEWDATE
        | w::TIME
        | w::DATETIME
        | w::TIMESTAMP => (kind, 0),
        other => return Err(Malformed(format!("column type {other} is not known"))),
    };
    Ok(MappedColumn { kind, meta, ..MappedColumn::default() })
}

/// CHAR and BINARY, which may be longer than a byte counts: two bits of the length hide, inverted, in the type.
fn string_meta(high: u8, low: u8) -> (u8, u16) {
    if high & 0x30 != 0x30 {
        return (high | 0x30, u16::from(low) | u16::from((high & 0x30) ^ 0x30) << 4);
    }
    (high, u16::from(low))
}

fn default_collations<'a, 'c: 'a>(columns: impl Iterator<Item = &'a mut MappedColumn<'c>>, value: &mut Fields<'_>) -> Option<()> {
    let default = u16::try_from(value.length()?).ok()?;
    let mut exceptions = Vec::new();
    while !value.0.is_empty() {
        exceptions.push((usize::try_from(value.length()?).ok()?, u16::try_from(value.length()?).ok()?));
    }
    for (index, column) in columns.enumerate() {
        let exception = exceptions.iter().find(|(place, _)| *place == index);
        column.collation = Some(exception.map_or(default, |(_, collation)| *collation));
    }
    Some(())
}

fn collations<'a, 'c: 'a>(columns: impl Iterator<Item = &'a mut MappedColumn<'c>>, value: &mut Fields<'_>) -> Option<()> {
    for column in columns {
        column.collation = Some(u16::try_from(value.length()?).ok()?);
    }
    Some(())
}

fn labels<'a, 'c: 'a>(columns: impl Iterator<Item = &'a mut MappedColumn<'c>>, value: &mut Fields<'c>) -> Option<()> {
    for column in columns {
        let count = value.length()?;
        let mut labels = Vec::new();
        for _ in 0..count {
            labels.push(value.string()?);
        }
        column.labels = Some(labels);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_char_columns_beyond_a_byte_are_read() {
        // CHAR(255) of utf8mb4 has 1,020 bytes: the two high bits are inverted in the type.
        assert_eq!(string_meta(254 ^ 0x30, 252), (254, 1020));
        assert_eq!(string_meta(254, 40), (254, 40));
        assert_eq!(string_meta(247, 2), (247, 2));
    }

    #[test]
    fn geometry_has_a_collation_where_mariadb_says_so() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 3];
        body.extend_from_slice(&[w::VARCHAR, w::GEOMETRY, w::VARCHAR, 5, 40, 0, 4, 40, 0, 0]);
        let collations = |metadata: &[u8], flavor| -> Option<Vec<Option<u16>>> {
            let body = [&body, metadata].concat();
            let map = TableMap::parse(&body, flavor).ok()?;
            Some(map.columns.iter().map(|column| column.collation).collect())
        };
        assert_eq!(collations(&[3, 3, 45, 63, 8], Flavor::Mariadb), Some(vec![Some(45), Some(63), Some(8)]));
        assert_eq!(collations(&[3, 3, 45, 63, 8], Flavor::Mysql), None);
        assert_eq!(collations(&[3, 2, 45, 8], Flavor::Mysql), Some(vec![Some(45), None, Some(8)]));
        assert_eq!(collations(&[2, 3, 45, 1, 63], Flavor::Mariadb), Some(vec![Some(45), Some(63), Some(45)]));
        assert_eq!(collations(&[2, 3, 45, 1, 8], Flavor::Mysql), Some(vec![Some(45), None, Some(8)]));
    }

    #[test]
    fn metadata_finds_its_columns() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 4];
        body.extend_from_slice(&[w::LONG, w::VARCHAR, w::STRING, w::TINY]);
        body.extend_from_slice(&[4, 40, 0, 247, 1, 0]);
        body.extend_from_slice(&[1, 1, 0b0100_0000]);
        body.extend_from_slice(&[2, 3, 45, 0, 8]);
        body.extend_from_slice(&[4, 8, 1, b'a', 1, b'b', 1, b'c', 1, b'd']);
        body.extend_from_slice(&[6, 5, 2, 1, b'x', 1, b'y']);
        let map = TableMap::parse(&body, Flavor::Mysql).unwrap();
        assert_eq!((map.table_id, map.database, map.table), (7, "d", "t"));
        let unsigned: Vec<_> = map.columns.iter().map(|column| column.unsigned).collect();
        assert_eq!(unsigned, [Some(false), None, None, Some(true)]);
        assert_eq!(map.columns[1].collation, Some(8));
        assert_eq!(map.columns[2].labels, Some(vec![&b"x"[..], b"y"]));
        assert_eq!(map.columns[3].name, Some(&b"d"[..]));
        // What is not known, or is longer than what it describes, may say something that matters.
        for (more, said) in [
            (&[14, 1, 0][..], "kind 14"),
            (&[1, 2, 0, 0], "metadata"),
            (&[4, 9, 1, b'a', 1, b'b', 1, b'c', 1, b'd', 0], "metadata"),
        ] {
            let longer = [&body, more].concat();
            assert!(TableMap::parse(&longer, Flavor::Mysql).unwrap_err().0.contains(said), "{more:?}");
        }
        for end in 0..body.len() {
            assert!(TableMap::parse(&body[..end], Flavor::Mysql).is_err() || matches!(end, 25 | 28 | 33 | 43), "{end}");
        }
    }
}
