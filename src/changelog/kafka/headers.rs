//! What binlake writes beside a record's key and value, as text that people and other consumers can read too.

use std::fmt::Write as _;
use std::str::FromStr;

use rdkafka::message::{BorrowedHeaders, Header, Headers, OwnedHeaders};

use crate::change::{ChangePosition, Term};
use crate::changelog::AppendRecord;

/// Where the record stands: `epoch:file:offset/ordinal`.
pub(super) const POSITION: &str = "binlake.position";
/// Where the record before it in its partition stands; left out where there is none.
pub(super) const PREVIOUS: &str = "binlake.previous";
/// The term of the tailer that wrote it.
pub(super) const TERM: &str = "binlake.term";
/// The shape's fingerprint.
pub(super) const SCHEMA: &str = "binlake.schema";
/// The format of the record, where it is another than the first: nobody who does not know it may read on.
pub(super) const FORMAT: &str = "binlake.format";
/// The newest format that is known, and the one that is written.
pub(super) const KNOWN_FORMAT: i64 = 1;
/// Stands alone beside the key of a record without a value: it belongs to the delete before it, and is none of ours to read.
pub(super) const TOMBSTONE: &str = "binlake.tombstone";

/// The most that the headers of one record add to it, framing included.
pub(super) const HEADERS_BYTES: u64 = 512;

/// Writes headers, with room that is used again.
#[derive(Debug, Default)]
pub(super) struct HeaderWriter {
    term: Option<(Term, String)>,
    text: String,
}

impl HeaderWriter {
    /// The headers of a record.
    pub(super) fn write(&mut self, record: &AppendRecord, term: Term) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new_with_capacity(4);
        headers = self.position(headers, POSITION, record.position);
        if let Some(previous) = record.previous {
            headers = self.position(headers, PREVIOUS, previous);
        }
        if self.term.as_ref().is_none_or(|(known, _)| *known != term) {
            self.term = Some((term, term.to_string()));
        }
        let term = self.term.as_ref().map_or("", |(_, text)| text);
        headers = headers.insert(Header { key: TERM, value: Some(term) });
        headers.insert(Header { key: SCHEMA, value: Some(&*record.schema) })
    }

    /// The headers of a record without a value, behind a delete.
    pub(super) fn tombstone(&mut self, record: &AppendRecord) -> OwnedHeaders {
        self.position(OwnedHeaders::new_with_capacity(1), TOMBSTONE, record.position)
    }

    fn position(&mut self, headers: OwnedHeaders, key: &str, position: ChangePosition) -> OwnedHeaders {
        self.text.clear();
        // Writing to a string does not fail.
        if write!(self.text, "{position}").is_err() {
            return headers;
        }
        headers.insert(Header { key, value: Some(self.text.as_str()) })
    }
}

/// The headers of a record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadHeaders<'m> {
    pub(super) position: ChangePosition,
    pub(super) previous: Option<ChangePosition>,
    pub(super) term: Term,
    pub(super) schema: &'m str,
}

/// Why a record's headers were not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unread {
    /// A later version wrote the record.
    Newer(i64),
    /// This is no record of binlake's: why.
    Foreign(String),
}

/// Reads the headers; None for a record without a value behind a delete.
///
/// # Errors
/// Why this is no record that could be read.
pub(super) fn read(headers: Option<&BorrowedHeaders>) -> Result<Option<ReadHeaders<'_>>, Unread> {
    read_known(headers).map_err(|reason| {
        // What cannot be read may be so because it is newer.
        let format = headers.into_iter().flat_map(Headers::iter).find(|header| header.key == FORMAT);
        match format.and_then(|format| parsed(format).ok()) {
            Some(format) if format > KNOWN_FORMAT => Unread::Newer(format),
            _ => Unread::Foreign(reason),
        }
    })
}

fn read_known(headers: Option<&BorrowedHeaders>) -> Result<Option<ReadHeaders<'_>>, String> {
    let foreign = |missing: &str| format!("it is no record of binlake's: it has no header {missing}");
    let headers = headers.ok_or_else(|| foreign(POSITION))?;
    let (mut position, mut previous, mut term, mut schema) = (None, None, None, None);
    for header in headers.iter() {
        match header.key {
            POSITION => position = Some(parsed(header)?),
            PREVIOUS => previous = Some(parsed(header)?),
            TERM => term = Some(Term(parsed(header)?)),
            SCHEMA => schema = Some(text(header)?),
            TOMBSTONE => return Ok(None),
            FORMAT if parsed::<i64>(header)? > KNOWN_FORMAT => return Err("its format is newer".to_owned()),
            _ => {}
        }
    }
    Ok(Some(ReadHeaders {
        position: position.ok_or_else(|| foreign(POSITION))?,
        previous,
        term: term.ok_or_else(|| foreign(TERM))?,
        schema: schema.ok_or_else(|| foreign(SCHEMA))?,
    }))
}

fn text<'m>(header: Header<'m, &'m [u8]>) -> Result<&'m str, String> {
    std::str::from_utf8(header.value.unwrap_or_default()).map_err(|_| format!("its header {} is no text", header.key))
}

fn parsed<T: FromStr>(header: Header<'_, &[u8]>) -> Result<T, String> {
    let text = text(header.clone())?;
    // Not quoted whole: it may be anything.
    text.parse().map_err(|_| format!("its header {} cannot be read: {:?}", header.key, text.chars().take(60).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::BinlogPosition;

    fn record(previous: Option<ChangePosition>) -> AppendRecord {
        let transaction = BinlogPosition { epoch: 2, file: 1_000_000, offset: 4711 };
        let position = ChangePosition { transaction, ordinal: 3 };
        AppendRecord { partition: 0, position, previous, schema: "0badcafe".into(), key: 0..0, value: 0..0 }
    }

    #[test]
    fn headers_read_back_as_they_were_written() {
        let mut writer = HeaderWriter::default();
        for (previous, term) in [(None, 1), (Some(record(None).position), u64::MAX), (None, 2)] {
            let record = record(previous);
            let written = writer.write(&record, Term(term));
            let read = read(Some(written.as_borrowed())).unwrap().unwrap();
            let expected = ReadHeaders { position: record.position, previous, term: Term(term), schema: "0badcafe" };
            assert_eq!(read, expected);
            let bytes: usize = written.iter().map(|header| header.key.len() + header.value.unwrap_or_default().len() + 10).sum();
            assert!((bytes as u64) < HEADERS_BYTES);
        }
        assert_eq!(read(Some(writer.tombstone(&record(None)).as_borrowed())), Ok(None));
    }

    #[test]
    fn a_newer_format_is_refused_whatever_else_it_holds_and_the_first_needs_no_header() {
        let formatted = |format: &str| {
            let headers = HeaderWriter::default().write(&record(None), Term(1));
            headers.insert(Header { key: FORMAT, value: Some(format) })
        };
        assert!(matches!(read(Some(formatted("1").as_borrowed())), Ok(Some(_))));
        assert_eq!(read(Some(formatted("2").as_borrowed())), Err(Unread::Newer(2)));
        let alone = OwnedHeaders::new().insert(Header { key: FORMAT, value: Some("9") });
        assert_eq!(read(Some(alone.as_borrowed())), Err(Unread::Newer(9)));
    }

    #[test]
    fn what_is_not_ours_says_why() {
        let read = |headers: Option<&BorrowedHeaders>| match read_known(headers) {
            Err(why) => {
                assert_eq!(super::read(headers), Err(Unread::Foreign(why.clone())));
                Err(why)
            }
            Ok(read) => Ok(read.map(drop)),
        };
        assert!(read(None).unwrap_err().contains("no header binlake.position"));
        let one = |key: &str, value: &[u8]| OwnedHeaders::new().insert(Header { key, value: Some(value) });
        assert!(read(Some(one("other", b"x").as_borrowed())).unwrap_err().contains("no header binlake.position"));
        assert!(read(Some(one(POSITION, b"0:1:4/0").as_borrowed())).unwrap_err().contains("no header binlake.term"));
        assert!(read(Some(one(POSITION, b"0:1:4").as_borrowed())).unwrap_err().contains("cannot be read: \"0:1:4\""));
        assert!(read(Some(one(POSITION, &[0xff]).as_borrowed())).unwrap_err().contains("no text"));
    }
}
