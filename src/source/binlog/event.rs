//! One binlog event as it came: header, checksum, body. Pure; every byte is checked before it is believed.
//!
//! A server sends a CRC32 behind every event (unless `binlog_checksum=NONE`); a flipped bit that reached a table would be a
//! silent difference for ever, so the sum is always checked and its result kept: it also identifies a transaction when its
//! first event is read again after a restart.

use std::fmt;

use super::mariadb::kind as mariadb;
use crate::source::wire::fields::Fields;

/// Bytes of the common header.
pub(super) const HEADER_BYTES: usize = 19;
const CHECKSUM_BYTES: usize = 4;
/// The event was made for this connection and stands in no file.
const FLAG_ARTIFICIAL: u16 = 0x20;
/// A reader that does not know the event may leave it out.
const FLAG_IGNORABLE: u16 = 0x80;

/// The types of events that are known here, by MySQL's numbers.
pub(super) mod kind {
    pub(in crate::source::binlog) const QUERY: u8 = 2;
    pub(in crate::source::binlog) const STOP: u8 = 3;
    pub(in crate::source::binlog) const ROTATE: u8 = 4;
    pub(in crate::source::binlog) const INTVAR: u8 = 5;
    pub(in crate::source::binlog) const APPEND_BLOCK: u8 = 9;
    pub(in crate::source::binlog) const DELETE_FILE: u8 = 11;
    pub(in crate::source::binlog) const RAND: u8 = 13;
    pub(in crate::source::binlog) const USER_VAR: u8 = 14;
    pub(in crate::source::binlog) const FORMAT_DESCRIPTION: u8 = 15;
    pub(in crate::source::binlog) const XID: u8 = 16;
    pub(in crate::source::binlog) const BEGIN_LOAD_QUERY: u8 = 17;
    pub(in crate::source::binlog) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(in crate::source::binlog) const TABLE_MAP: u8 = 19;
    pub(in crate::source::binlog) const WRITE_ROWS_V1: u8 = 23;
    pub(in crate::source::binlog) const UPDATE_ROWS_V1: u8 = 24;
    pub(in crate::source::binlog) const DELETE_ROWS_V1: u8 = 25;
    pub(in crate::source::binlog) const INCIDENT: u8 = 26;
    pub(in crate::source::binlog) const HEARTBEAT: u8 = 27;
    pub(in crate::source::binlog) const IGNORABLE: u8 = 28;
    pub(in crate::source::binlog) const ROWS_QUERY: u8 = 29;
    pub(in crate::source::binlog) const WRITE_ROWS: u8 = 30;
    pub(in crate::source::binlog) const UPDATE_ROWS: u8 = 31;
    pub(in crate::source::binlog) const DELETE_ROWS: u8 = 32;
    pub(in crate::source::binlog) const GTID: u8 = 33;
    pub(in crate::source::binlog) const ANONYMOUS_GTID: u8 = 34;
    pub(in crate::source::binlog) const PREVIOUS_GTIDS: u8 = 35;
    pub(in crate::source::binlog) const TRANSACTION_CONTEXT: u8 = 36;
    pub(in crate::source::binlog) const VIEW_CHANGE: u8 = 37;
    pub(in crate::source::binlog) const XA_PREPARE: u8 = 38;
    pub(in crate::source::binlog) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(in crate::source::binlog) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(in crate::source::binlog) const HEARTBEAT_V2: u8 = 41;
    pub(in crate::source::binlog) const GTID_TAGGED: u8 = 42;
}

/// Bytes that are not what the format promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

impl Malformed {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Turns a missing field into a [`Malformed`].
pub(super) trait OrMalformed<T> {
    /// `what` names the field or structure.
    fn or_malformed(self, what: &str) -> Result<T, Malformed>;
}

impl<T> OrMalformed<T> for Option<T> {
    fn or_malformed(self, what: &str) -> Result<T, Malformed> {
        self.ok_or_else(|| Malformed(format!("{what} ends too early")))
    }
}

/// The common header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Seconds since 1970-01-01 UTC.
    pub(super) timestamp: u32,
    pub(super) kind: u8,
    /// The server that wrote the event first.
    pub(super) server_id: u32,
    /// Bytes of the whole event with header and checksum.
    pub(super) size: u32,
    /// The low 32 bits of the offset behind the event; 0 for an event that stands in no file.
    pub(super) end: u32,
    flags: u16,
}

impl Header {
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let mut fields = Fields(packet);
        let (timestamp, kind, server_id) = (fields.u32()?, fields.u8()?, fields.u32()?);
        Some(Self { timestamp, kind, server_id, size: fields.u32()?, end: fields.u32()?, flags: fields.u16()? })
    }

    /// The header of an event of another type in the same place.
    pub(super) fn as_kind(self, kind: u8) -> Self {
        Self { kind, ..self }
    }

    /// Whether the event stands in no binlog file.
    pub(super) fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0 || (self.end == 0 && !self.may_lack_its_place())
    }

    /// Whether it stands in a file and says not where: MariaDB leaves the place out of events inside a group
    /// (`binlog_legacy_event_pos=OFF`). A server makes up only rotations and descriptions without a place.
    pub(super) fn lacks_its_place(&self) -> bool {
        self.end == 0 && self.flags & FLAG_ARTIFICIAL == 0 && self.may_lack_its_place()
    }

    fn may_lack_its_place(&self) -> bool {
        matches!(
            self.kind,
            kind::QUERY
                | kind::INTVAR
                | kind::RAND
                | kind::USER_VAR
                | kind::TABLE_MAP
                | kind::WRITE_ROWS_V1..=kind::DELETE_ROWS_V1
                | kind::WRITE_ROWS..=kind::DELETE_ROWS
                | kind::BEGIN_LOAD_QUERY
                | kind::EXECUTE_LOAD_QUERY
                | kind::APPEND_BLOCK
                | kind::DELETE_FILE
                | mariadb::ANNOTATE_ROWS
                | mariadb::QUERY_COMPRESSED..=mariadb::DELETE_ROWS_COMPRESSED
        )
    }

    /// Whether it may be left out by one who does not know it.
    pub(super) fn is_ignorable(&self) -> bool {
        self.flags & FLAG_IGNORABLE != 0
    }
}

/// What stands behind every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Nothing.
    None,
    /// Four bytes of CRC32.
    Crc32,
}

/// A checked event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) header: Header,
    /// Without header and checksum.
    pub(super) body: &'a [u8],
    /// CRC32 of header and body, whether or not the server sent it.
    pub(super) crc: u32,
}

impl<'a> Event<'a> {
    /// Cuts one event out of a packet that holds nothing else.
    pub(super) fn parse(packet: &'a [u8], checksum: Checksum) -> Result<Self, Malformed> {
        let header = Header::parse(packet).or_malformed("an event's header")?;
        if header.size as usize != packet.len() {
            return Err(Malformed(format!("an event of {} bytes says that it has {}", packet.len(), header.size)));
        }
        if header.kind == kind::FORMAT_DESCRIPTION {
            return Self::parse_description(packet, header);
        }
        let (content, sum) = match checksum {
            Checksum::None => (packet, None),
            Checksum::Crc32 => {
                packet.split_last_chunk::<CHECKSUM_BYTES>().map(|(content, sum)| (content, Some(sum))).or_malformed("an event")?
            }
        };
        Self::verified(header, content, sum)
    }

    /// An event of a transaction payload: the payload as a whole carries the checksum.
    pub(super) fn parse_inner(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = Header::parse(bytes).or_malformed("an inner event's header")?;
        let body = bytes.get(HEADER_BYTES..).or_malformed("an inner event")?;
        Ok(Self { header, body, crc: 0 })
    }

    /// A format description carries room for a checksum always, and says itself whether it means it.
    fn parse_description(packet: &'a [u8], header: Header) -> Result<Self, Malformed> {
        let (content, sum) = packet.split_last_chunk::<CHECKSUM_BYTES>().or_malformed("the format description")?;
        let meant = content.last() == Some(&1);
        Self::verified(header, content, meant.then_some(sum))
    }

    fn verified(header: Header, content: &'a [u8], sum: Option<&[u8; CHECKSUM_BYTES]>) -> Result<Self, Malformed> {
        let crc = crc32fast::hash(content);
        if let Some(sum) = sum.map(|sum| u32::from_le_bytes(*sum))
            && sum != crc
        {
            return Err(Malformed(format!(
                "the checksum of an event of type {} is {crc:08x} where the server sent {sum:08x}",
                header.kind
            )));
        }
        let body = content.get(HEADER_BYTES..).or_malformed("an event")?;
        Ok(Self { header, body, crc })
    }
}

/// What a format description says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) checksum: Checksum,
    /// The server wrote it when it started: what was open in the file before was never committed.
    pub(super) server_started: bool,
}

impl Description {
    /// Reads the body of a format description event.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let version = fields.u16().or_malformed("the format description")?;
        fields.take(50).or_malformed("the format description")?;
        let created = fields.u32().or_malformed("the format description")?;
        let header_bytes = fields.u8().or_malformed("the format description")?;
        let (algorithm, lengths) = fields.0.split_last().or_malformed("the format description")?;
        if version != 4 || usize::from(header_bytes) != HEADER_BYTES {
            return Err(Malformed(format!("binlog version {version} with headers of {header_bytes} bytes is not known")));
        }
        for (kind, expected) in [(kind::TABLE_MAP, 8), (kind::WRITE_ROWS_V1, 8), (kind::WRITE_ROWS, 10)] {
            match lengths.get(usize::from(kind) - 1) {
                // Newer servers give those that they do not write any more no length at all.
                Some(length) if *length != expected && *length != 0 => {
                    return Err(Malformed(format!("events of type {kind} have a fixed part of {length} bytes, not {expected}")));
                }
                _ => {}
            }
        }
        let checksum = match algorithm {
            0 => Checksum::None,
            1 => Checksum::Crc32,
            other => return Err(Malformed(format!("checksum algorithm {other} is not known"))),
        };
        Ok(Self { checksum, server_started: created != 0 })
    }
}

/// Reads the body of a rotate event: the next file's name and the place in it.
pub(super) fn parse_rotate(body: &[u8]) -> Result<(String, u64), Malformed> {
    let mut fields = Fields(body);
    let offset = fields.array().map(u64::from_le_bytes).or_malformed("a rotate event")?;
    let name = std::str::from_utf8(fields.0).map_err(|_| Malformed::new("a binlog file's name that is not UTF-8"))?;
    Ok((name.to_owned(), offset))
}

/// Reads the body of a heartbeat of either version: the file's name, and the offset where the event carries it in full.
pub(super) fn parse_heartbeat(event: &Event<'_>) -> Result<(String, u64), Malformed> {
    let name =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::new("a binlog file's name that is not UTF-8"));
    if event.header.kind == kind::HEARTBEAT {
        // Beyond 32 bits MariaDB sends the place before the name, and none in the header.
        return match event.body.split_first_chunk() {
            Some((place, file)) if event.header.end == 0 => Ok((name(file)?, u64::from_le_bytes(*place))),
            _ => Ok((name(event.body)?, u64::from(event.header.end))),
        };
    }
    let mut fields = Fields(event.body);
    let (mut file, mut offset) = (None, None);
    loop {
        let tag = fields.length().or_malformed("a heartbeat")?;
        if tag == 0 {
            break;
        }
        let value = fields.string().or_malformed("a heartbeat")?;
        match tag {
            1 => file = Some(name(value)?),
            2 => offset = Some(Fields(value).length().or_malformed("a heartbeat")?),
            _ => {}
        }
    }
    match (file, offset) {
        (Some(file), Some(offset)) => Ok((file, offset)),
        _ => Err(Malformed::new("a heartbeat without file and position")),
    }
}

/// The number in a binlog file's name: `binlog.000012` is 12.
pub(super) fn file_number(name: &str) -> Option<u64> {
    name.rsplit_once('.').and_then(|(_, number)| number.parse().ok())
}

/// The offset behind an event: the header has its low 32 bits only, and a file may be longer.
///
/// `start` is where the event was expected; the server may have left out what lies between.
pub(super) fn end_offset(start: u64, size: u32, low: u32) -> u64 {
    let expected = start + u64::from(size);
    let candidate = (expected & !u64::from(u32::MAX)) | u64::from(low);
    if candidate < expected { candidate + (1 << 32) } else { candidate }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn event(kind: u8, body: &[u8], checksum: Checksum) -> Vec<u8> {
        let extra = if checksum == Checksum::Crc32 { 4 } else { 0 };
        let size = (HEADER_BYTES + body.len() + extra) as u32;
        let mut bytes = vec![0, 0, 0, 0, kind, 1, 0, 0, 0];
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(body);
        if checksum == Checksum::Crc32 {
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let whole = event(kind::XID, &[1, 2, 3, 4, 5, 6, 7, 8], Checksum::Crc32);
        assert_eq!(Event::parse(&whole, Checksum::Crc32).unwrap().body, &[1, 2, 3, 4, 5, 6, 7, 8]);
        for bit in 0..whole.len() * 8 {
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            // A broken type byte may name a format description, which has a sum of its own, or none.
            if broken[4] != kind::FORMAT_DESCRIPTION {
                assert!(Event::parse(&broken, Checksum::Crc32).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn offsets_go_on_behind_4_gib() {
        assert_eq!(end_offset(100, 50, 150), 150);
        assert_eq!(end_offset(u64::from(u32::MAX) - 9, 20, 10), (1 << 32) + 10);
        assert_eq!(end_offset((3 << 32) + 7, 20, 27), (3 << 32) + 27);
        // The server left out 1,000 bytes.
        assert_eq!(end_offset((3 << 32) + 7, 20, 1027), (3 << 32) + 1027);
    }

    #[test]
    fn a_files_number_is_a_number() {
        assert_eq!(file_number("mysql-bin.1000000"), Some(1_000_000));
        assert_eq!(file_number("a.b.000012"), Some(12));
        assert_eq!(file_number("binlog"), None);
    }
}
