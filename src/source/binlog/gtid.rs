//! GTID events (plain, anonymous, tagged), the set of all earlier ones at a file's head, and the set a dump command sends.

use crate::change::{Gtid, GtidSet};
use crate::source::wire::fields::Fields;

use super::event::{Malformed, OrMalformed, kind};

/// More origins than this in one event is no set of a real server.
const ORIGINS_MAX: u64 = 1 << 20;

/// What stands at the head of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct GtidEvent {
    /// None for an anonymous one.
    pub(super) gtid: Option<Gtid>,
    /// When this server committed, microseconds since 1970-01-01 UTC; None where the server is too old to say.
    pub(super) committed_us: Option<i64>,
}

impl GtidEvent {
    /// Reads the body of an event of one of the three types.
    pub(super) fn parse(event_kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        match event_kind {
            kind::GTID_TAGGED => tagged(body),
            _ => plain(body, event_kind == kind::ANONYMOUS_GTID).or_malformed("a GTID event"),
        }
    }
}

fn plain(body: &[u8], anonymous: bool) -> Option<GtidEvent> {
    const LOGICAL_CLOCK: u8 = 2;
    const ORIGINAL_FOLLOWS: u64 = 1 << 55;
    let mut fields = Fields(body);
    let (_flags, uuid, number) = (fields.u8()?, fields.array::<16>()?, fields.array().map(u64::from_le_bytes)?);
    let gtid = (!anonymous).then(|| Gtid { origin: uuid_text(&uuid), number });
    let mut committed_us = None;
    if fields.u8() == Some(LOGICAL_CLOCK) && fields.take(16).is_some() {
        committed_us = fields.array::<7>().map(|bytes| microseconds(u56(bytes) & !ORIGINAL_FOLLOWS));
    }
    Some(GtidEvent { gtid, committed_us })
}

fn u56([a, b, c, d, e, f, g]: [u8; 7]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, g, 0])
}

fn microseconds(value: u64) -> i64 {
    // 56 bits fit.
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The fields of a tagged GTID event, by their numbers in MySQL's serialization.
mod field {
    pub(super) const FLAGS: u64 = 0;
    pub(super) const UUID: u64 = 1;
    pub(super) const NUMBER: u64 = 2;
    pub(super) const TAG: u64 = 3;
    pub(super) const LAST_COMMITTED: u64 = 4;
    pub(super) const SEQUENCE_NUMBER: u64 = 5;
    pub(super) const IMMEDIATE_COMMIT: u64 = 6;
    pub(super) const ORIGINAL_COMMIT: u64 = 7;
    pub(super) const TRANSACTION_BYTES: u64 = 8;
    pub(super) const IMMEDIATE_VERSION: u64 = 9;
    pub(super) const ORIGINAL_VERSION: u64 = 10;
    pub(super) const COMMIT_GROUP_TICKET: u64 = 11;
}

/// A message of MySQL's serialization library: version, size, last field that must be known, then number and value of each field.
fn tagged(body: &[u8]) -> Result<GtidEvent, Malformed> {
    const WHAT: &str = "a tagged GTID event";
    let mut fields = Fields(body);
    let version = varlen(&mut fields).or_malformed(WHAT)?;
    let size = varlen(&mut fields).or_malformed(WHAT)?;
    let last_needed = varlen(&mut fields).or_malformed(WHAT)?;
    // MySQL's first release of the library counts in twos: the number on the wire is the version.
    if version != 1 || last_needed > field::COMMIT_GROUP_TICKET {
        return Err(Malformed(format!("a tagged GTID event of version {version} that needs field {last_needed} is not known")));
    }
    let taken = body.len() - fields.0.len();
    let rest = usize::try_from(size).ok().and_then(|size| size.checked_sub(taken)).and_then(|rest| fields.take(rest));
    let mut fields = Fields(rest.or_malformed(WHAT)?);
    let (mut uuid, mut number, mut tag, mut committed_us) = (None, None, String::new(), None);
    while !fields.0.is_empty() {
        match varlen(&mut fields).or_malformed(WHAT)? {
            field::UUID => uuid = Some(serialized_uuid(&mut fields).or_malformed(WHAT)?),
            field::NUMBER => number = Some(signed_varlen(&mut fields).or_malformed(WHAT)?),
            field::TAG => {
                let length = varlen(&mut fields).and_then(|length| usize::try_from(length).ok());
                let text = length.and_then(|length| fields.take(length)).or_malformed(WHAT)?;
                tag =
                    std::str::from_utf8(text).map_err(|_| Malformed::new("a GTID's tag that is not UTF-8"))?.to_ascii_lowercase();
            }
            field::IMMEDIATE_COMMIT => committed_us = Some(microseconds(varlen(&mut fields).or_malformed(WHAT)?)),
            field::FLAGS
            | field::LAST_COMMITTED
            | field::SEQUENCE_NUMBER
            | field::ORIGINAL_COMMIT
            | field::TRANSACTION_BYTES
            | field::IMMEDIATE_VERSION
            | field::ORIGINAL_VERSION
            | field::COMMIT_GROUP_TICKET => {
                varlen(&mut fields).or_malformed(WHAT)?;
            }
            // Newer fields that may be left out come last, and their width is unknown.
            _ => break,
        }
    }
    let (uuid, number) = uuid.zip(number).or_malformed(WHAT)?;
    let number = u64::try_from(number).map_err(|_| Malformed::new("a negative GTID number"))?;
    Ok(GtidEvent { gtid: Some(Gtid { origin: origin(&uuid, &tag), number }), committed_us })
}

fn serialized_uuid(fields: &mut Fields<'_>) -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = u8::try_from(varlen(fields)?).ok()?;
    }
    Some(uuid)
}

/// An unsigned number of 1 to 9 bytes: the trailing ones of the first byte count the bytes that follow.
fn varlen(fields: &mut Fields<'_>) -> Option<u64> {
    let first = fields.u8()?;
    let more = first.trailing_ones() as usize;
    let mut bytes = [0; 8];
    bytes.get_mut(..more)?.copy_from_slice(fields.take(more)?);
    let high = u64::from_le_bytes(bytes);
    if more >= 7 {
        return Some(high);
    }
    Some(u64::from(first >> (more + 1)) | high << (7 - more))
}

fn signed_varlen(fields: &mut Fields<'_>) -> Option<i64> {
    let value = varlen(fields)?;
    let magnitude = i64::try_from(value >> 1).ok()?;
    Some(if value & 1 == 1 { !magnitude } else { magnitude })
}

fn origin(uuid: &[u8; 16], tag: &str) -> String {
    let uuid = uuid_text(uuid);
    if tag.is_empty() { uuid } else { format!("{uuid}:{tag}") }
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
        text.extend([digit(byte >> 4), digit(*byte)]);
    }
    text
}

/// Reads the body of a previous-GTIDs event: everything committed before the file's first transaction.
pub(super) fn parse_previous(body: &[u8]) -> Result<GtidSet, Malformed> {
    const WHAT: &str = "the set of previous GTIDs";
    let mut fields = Fields(body);
    let head = fields.array().map(u64::from_le_bytes).or_malformed(WHAT)?;
    let (is_tagged, count) = match head >> 56 {
        0 => (false, head),
        1 => (true, (head >> 8) & 0xffff_ffff_ffff),
        other => return Err(Malformed(format!("a GTID set in format {other} is not known"))),
    };
    if count > ORIGINS_MAX {
        return Err(Malformed(format!("a GTID set of {count} origins")));
    }
    let mut set = GtidSet::default();
    for _ in 0..count {
        let uuid = fields.array::<16>().or_malformed(WHAT)?;
        let mut tag = "";
        if is_tagged {
            let length = varlen(&mut fields).and_then(|length| usize::try_from(length).ok()).or_malformed(WHAT)?;
            let text = fields.take(length).or_malformed(WHAT)?;
            tag = std::str::from_utf8(text).map_err(|_| Malformed::new("a GTID's tag that is not UTF-8"))?;
        }
        let origin = origin(&uuid, tag);
        let intervals = fields.array().map(u64::from_le_bytes).or_malformed(WHAT)?;
        for _ in 0..intervals {
            let first = fields.array().map(u64::from_le_bytes).or_malformed(WHAT)?;
            let behind = fields.array().map(u64::from_le_bytes).or_malformed(WHAT)?;
            if first == 0 || behind <= first {
                return Err(Malformed(format!("GTID interval {first} to {behind}")));
            }
            set.insert_interval(&origin, first, behind - 1);
        }
    }
    Ok(set)
}

/// The set as `COM_BINLOG_DUMP_GTID` sends it. None for an origin that is no UUID.
pub(super) fn encode_set(set: &GtidSet) -> Option<Vec<u8>> {
    let count = set.intervals().count() as u64;
    let is_tagged = set.intervals().any(|(origin, _)| origin.contains(':'));
    let head = if is_tagged { 1 << 56 | count << 8 | 1 } else { count };
    let mut out = head.to_le_bytes().to_vec();
    for (origin, intervals) in set.intervals() {
        let (uuid, tag) = origin.split_once(':').unwrap_or((origin, ""));
        out.extend_from_slice(uuid::Uuid::parse_str(uuid).ok()?.as_bytes());
        if is_tagged {
            // A tag has at most 32 characters: its length is a number of one byte.
            out.push(u8::try_from(tag.len()).ok().filter(|length| *length < 128)? << 1);
            out.extend_from_slice(tag.as_bytes());
        }
        out.extend_from_slice(&(intervals.len() as u64).to_le_bytes());
        for (first, last) in intervals {
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&last.checked_add(1)?.to_le_bytes());
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn a_set_goes_to_the_server_and_comes_back() {
        for text in [format!("{A}:1-5:7"), format!("{A}:1-5,{A}:blue:3-4:9"), String::new()] {
            let set: GtidSet = text.parse().unwrap();
            assert_eq!(parse_previous(&encode_set(&set).unwrap()).unwrap(), set, "{text}");
        }
    }

    #[test]
    fn variable_numbers_follow_mysqls_examples() {
        for (bytes, value) in [
            (&[0b1111_1011, 0xff, 0x07][..], 65535),
            (&[0], 0),
            (&[0xfe], 127),
            (&[0x01, 0x02], 128),
            (&[0xff, 1, 0, 0, 0, 0, 0, 0, 0x80], (1 << 63) + 1),
            (&[0x7f, 1, 0, 0, 0, 0, 0, 0], 1),
        ] {
            assert_eq!(varlen(&mut Fields(bytes)), Some(value), "{bytes:x?}");
        }
        assert_eq!(signed_varlen(&mut Fields(&[0b1110_1011, 0xff, 0x0f])), Some(-65535));
        assert_eq!(signed_varlen(&mut Fields(&[0b1111_0011, 0xff, 0x0f])), Some(65535));
    }
}
