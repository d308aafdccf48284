//! Events that MariaDB compressed (`log_bin_compress`): the statement of a query event, the images of a row event.

use flate2::{Decompress, FlushDecompress, Status};

use super::kind;
use crate::source::binlog::event::{Event, Malformed, OrMalformed, kind as plain};
use crate::source::binlog::query::statement_bytes;
use crate::source::binlog::rows::RowsHead;

/// No event is larger than this before it is compressed.
const BYTES_MAX: usize = 1 << 30;

/// The type of an event without its compression; None for one that is not compressed.
fn inflated_kind(event_kind: u8) -> Option<u8> {
    Some(match event_kind {
        kind::QUERY_COMPRESSED => plain::QUERY,
        kind::WRITE_ROWS_COMPRESSED_V1 => plain::WRITE_ROWS_V1,
        kind::UPDATE_ROWS_COMPRESSED_V1 => plain::UPDATE_ROWS_V1,
        kind::DELETE_ROWS_COMPRESSED_V1 => plain::DELETE_ROWS_V1,
        kind::WRITE_ROWS_COMPRESSED => plain::WRITE_ROWS,
        kind::UPDATE_ROWS_COMPRESSED => plain::UPDATE_ROWS,
        kind::DELETE_ROWS_COMPRESSED => plain::DELETE_ROWS,
        _ => return None,
    })
}

/// The event as it was before it was compressed, its body in `buffer`; one that is not compressed as it is.
pub(in crate::source::binlog) fn inflated<'a>(event: Event<'a>, buffer: &'a mut Vec<u8>) -> Result<Event<'a>, Malformed> {
    let Some(event_kind) = inflated_kind(event.header.kind) else { return Ok(event) };
    let compressed = if event_kind == plain::QUERY {
        statement_bytes(event.body).or_malformed("a compressed query event")?
    } else {
        event.body.get(RowsHead::parse(event_kind, event.body)?.images_at..).unwrap_or_default()
    };
    let head = event.body.len() - compressed.len();
    buffer.clear();
    buffer.extend_from_slice(event.body.get(..head).unwrap_or_default());
    inflate_record(compressed, buffer)?;
    Ok(Event { header: event.header.as_kind(event_kind), body: buffer, crc: event.crc })
}

/// `1mmm0lll`, m the method (0: zlib), l the bytes of the length, big-endian, that stand before the stream.
fn inflate_record(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    const WHAT: &str = "a compressed event";
    let (head, rest) = bytes.split_first().or_malformed(WHAT)?;
    if head & 0x80 == 0 || head & 0x70 != 0 {
        return Err(Malformed(format!("a compressed event with the head {head:#x} is not known")));
    }
    let (length, stream) = rest.split_at_checked(usize::from(head & 7)).or_malformed(WHAT)?;
    inflate(stream, true, big_endian(length), out)
}

pub(super) fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// Appends exactly `length` bytes, which the stream must give and no more.
pub(super) fn inflate(stream: &[u8], wrapped: bool, length: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if length > BYTES_MAX {
        return Err(Malformed(format!("{length} bytes of compressed content")));
    }
    let start = out.len();
    // One byte more, so that a stream that goes on is noticed.
    out.reserve_exact(length + 1);
    let mut decoder = Decompress::new(wrapped);
    let status = decoder
        .decompress_vec(stream, out, FlushDecompress::Finish)
        .map_err(|error| Malformed(format!("compressed content: {error}")))?;
    let found = out.len() - start;
    if status != Status::StreamEnd || found != length {
        return Err(Malformed(format!("compressed content of {found} bytes says that it has {length}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::binlog::event::Checksum;

    /// `UPDATE …` of a table of 11.8 with the rows compressed, made by zlib.
    fn compress(head: &[u8], content: &[u8]) -> Vec<u8> {
        let mut stream = vec![0; content.len() + 64];
        let mut encoder = flate2::Compress::new(flate2::Compression::default(), true);
        encoder.compress(content, &mut stream, flate2::FlushCompress::Finish).unwrap();
        stream.truncate(encoder.total_out() as usize);
        let length = content.len() as u16;
        [head, &[0x82], &length.to_be_bytes()[..], &stream].concat()
    }

    fn event(kind: u8, body: &[u8]) -> Vec<u8> {
        let size = 19 + body.len() as u32;
        let mut bytes = vec![0, 0, 0, 0, kind, 1, 0, 0, 0];
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn rows_and_statements_come_out_as_they_were() {
        let rows: Vec<u8> = (0..900u32).map(|index| (index % 7) as u8).collect();
        let head = [1, 0, 0, 0, 0, 0, 1, 0, 2, 0xff];
        let packet = event(kind::WRITE_ROWS_COMPRESSED_V1, &compress(&head, &rows));
        let mut buffer = Vec::new();
        let plain_event = inflated(Event::parse(&packet, Checksum::None).unwrap(), &mut buffer).unwrap();
        assert_eq!((plain_event.header.kind, plain_event.body), (plain::WRITE_ROWS_V1, [&head[..], &rows].concat().as_slice()));

        let head = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, b'd', 0];
        let packet = event(kind::QUERY_COMPRESSED, &compress(&head, b"ALTER TABLE t ADD c INT"));
        let plain_event = inflated(Event::parse(&packet, Checksum::None).unwrap(), &mut buffer).unwrap();
        assert_eq!(statement_bytes(plain_event.body), Some(&b"ALTER TABLE t ADD c INT"[..]));
    }

    #[test]
    fn a_length_that_does_not_hold_is_an_error() {
        let good = compress(&[], b"some content");
        let mut out = Vec::new();
        assert!(inflate_record(&good, &mut out).is_ok());
        for length in [0u8, 11, 13] {
            let mut wrong = good.clone();
            wrong[2] = length;
            assert!(inflate_record(&wrong, &mut Vec::new()).is_err(), "{length}");
        }
        for end in 0..good.len() {
            assert!(inflate_record(&good[..end], &mut Vec::new()).is_err(), "{end}");
        }
    }
}
