//! Record bytes in, cells out: the encoder's inverse, which expects the fields in the order the encoder writes them.
//!
//! The head is needed before the images, and stands behind them. It is found from the end: a quote inside a JSON string is always
//! escaped, so the bytes `,"source":{` can only be a field, and the last one is the envelope's. So each byte is read once; and the
//! head of a record of the same transaction as the one before is only compared with it.

use super::encoder::KEPT_BYTES;
use super::envelope::letter;
use super::instant::read_instant;
use super::plan::{ColumnPlan, Format, Plan};
use super::scanner::{Scanner, Unexpected};
use crate::change::{
    BinlogPosition, CellError, ChangePosition, Image, LogOffset, Operation, RecordHead, RowSink, TableSchema, Term,
};
use crate::changelog::{Error, Record, Result};

const SOURCE: &[u8] = b",\"source\":{";

/// Decodes the records of one topic in one shape.
#[derive(Debug)]
pub struct Decoder {
    topic: String,
    plan: Plan,
    head: RecordHead,
    seen: Seen,
    /// Columns of the before and the after image that hold a zero date.
    zero_before: Vec<usize>,
    zero_after: Vec<usize>,
    scratch: Vec<u8>,
    floats: Vec<u8>,
}

/// The text of the last head that was read, as far as the records of a transaction share it.
#[derive(Debug, Default)]
struct Seen {
    transaction: BinlogPosition,
    /// From `"version"` to `"row":`; empty after a head that could not be read.
    source: Vec<u8>,
    /// Behind the operation.
    tail: Vec<u8>,
}

/// One record, its head decoded and its images not yet.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// Everything but the images.
    pub head: &'a RecordHead,
    place: Place<'a>,
    plan: &'a Plan,
    value: &'a str,
    /// Where the images end.
    images_end: usize,
    zero_before: &'a [usize],
    zero_after: &'a [usize],
    scratch: &'a mut Vec<u8>,
    floats: &'a mut Vec<u8>,
}

/// Where a record is, for errors.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    topic: &'a str,
    partition: u32,
    offset: LogOffset,
}

/// Why an image could not be driven.
enum Stopped {
    /// The bytes are not ours.
    Text(Unexpected),
    /// The sink refused a cell.
    Sink(CellError),
}

impl From<Unexpected> for Stopped {
    fn from(unexpected: Unexpected) -> Self {
        Self::Text(unexpected)
    }
}

impl From<CellError> for Stopped {
    fn from(error: CellError) -> Self {
        Self::Sink(error)
    }
}

impl Place<'_> {
    fn corrupt(self, reason: String) -> Error {
        Error::Corrupt { topic: self.topic.to_owned(), partition: self.partition, offset: self.offset, reason }
    }

    fn unexpected(self, unexpected: Unexpected) -> Error {
        self.corrupt(format!("at byte {} of the record's value there should be {}", unexpected.at, unexpected.wanted))
    }
}

impl Decoder {
    /// Compiles the decoder.
    pub fn new(schema: &TableSchema, topic: impl Into<String>) -> Self {
        let plan = Plan::new(schema);
        let head = RecordHead {
            operation: Operation::Create,
            position: ChangePosition::default(),
            previous: None,
            term: Term::default(),
            schema: plan.schema_id.to_string(),
            gtid: None,
            file: String::new(),
            committed_us: 0,
            statement: None,
        };
        let (zero_before, zero_after) = (Vec::new(), Vec::new());
        let (scratch, floats) = (Vec::new(), Vec::new());
        Self { topic: topic.into(), plan, head, seen: Seen::default(), zero_before, zero_after, scratch, floats }
    }

    /// The fingerprint of the shape that it decodes.
    pub fn schema_id(&self) -> &str {
        &self.plan.schema_id
    }

    /// Decodes a record's head; [`Decoded::drive`] does the images.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the record is of another shape, or is not what the encoder writes.
    pub fn decode<'a>(&'a mut self, partition: u32, record: &'a Record) -> Result<Decoded<'a>> {
        let place = Place { topic: &self.topic, partition, offset: record.offset };
        if record.schema != self.plan.schema_id {
            return Err(place.corrupt(format!("the record has shape {}, not {}", record.schema, self.plan.schema_id)));
        }
        let not_text = |error: std::str::Utf8Error| Unexpected { at: error.valid_up_to(), wanted: "text in UTF-8" };
        let value = std::str::from_utf8(&record.value).map_err(|error| place.unexpected(not_text(error)))?;
        let Some(images_end) = envelope_start(&record.value) else {
            return Err(place.corrupt("the record's value has no source".to_owned()));
        };
        self.head.position = record.position;
        self.head.previous = record.previous;
        self.head.term = record.term;
        let mut reading = HeadReading {
            scanner: Scanner::starting_at(value, images_end + SOURCE.len()),
            plan: &self.plan,
            head: &mut self.head,
            seen: &mut self.seen,
            zero_before: &mut self.zero_before,
            zero_after: &mut self.zero_after,
            scratch: &mut self.scratch,
        };
        reading.source().and_then(|()| reading.tail()).map_err(|unexpected| place.unexpected(unexpected))?;
        Ok(Decoded {
            head: &self.head,
            place,
            plan: &self.plan,
            value,
            images_end,
            zero_before: &self.zero_before,
            zero_after: &self.zero_after,
            scratch: &mut self.scratch,
            floats: &mut self.floats,
        })
    }
}

/// Where in a record's value `,"source":{` begins, behind the images; None in what the encoder did not write.
pub(crate) fn envelope_start(value: &[u8]) -> Option<usize> {
    memchr::memrchr_iter(b'{', value).find_map(|brace| {
        let start = (brace + 1).checked_sub(SOURCE.len())?;
        (value.get(start..=brace)? == SOURCE).then_some(start)
    })
}

/// The head while it is read. Its texts are overwritten in place.
struct HeadReading<'a> {
    scanner: Scanner<'a>,
    plan: &'a Plan,
    head: &'a mut RecordHead,
    seen: &'a mut Seen,
    zero_before: &'a mut Vec<usize>,
    zero_after: &'a mut Vec<usize>,
    scratch: &'a mut Vec<u8>,
}

impl HeadReading<'_> {
    /// The fields of `source`.
    fn source(&mut self) -> std::result::Result<(), Unexpected> {
        let transaction = self.head.position.transaction;
        let same = !self.seen.source.is_empty() && self.seen.transaction == transaction;
        if !same || !self.scanner.take(&self.seen.source) {
            self.seen.source.clear();
            let start = self.scanner.clone();
            self.shared()?;
            self.seen.source.extend_from_slice(start.text_until(&self.scanner));
            self.seen.transaction = transaction;
        }
        if self.scanner.unsigned()? != self.head.position.ordinal {
            return self.scanner.unexpected("a source.row like that of the record's position");
        }
        if self.scanner.take(b",\"query\":") {
            replace(self.head.statement.get_or_insert_default(), self.scanner.string(self.scratch)?);
        } else {
            self.head.statement = None;
        }
        self.zero_dates()
    }

    /// The fields of `source` that all records of a transaction share.
    fn shared(&mut self) -> std::result::Result<(), Unexpected> {
        self.scanner.expect(b"\"version\":", "source.version")?;
        self.scanner.string(self.scratch)?;
        self.scanner.expect(b",\"connector\":\"mysql\",\"name\":", "source.connector and source.name")?;
        self.scanner.string(self.scratch)?;
        self.scanner.expect(b",\"ts_ms\":", "source.ts_ms")?;
        self.scanner.signed()?;
        self.scanner.expect(b",\"snapshot\":\"false\",\"db\":", "source.snapshot and source.db")?;
        self.scanner.string(self.scratch)?;
        self.scanner.expect(b",\"ts_us\":", "source.ts_us")?;
        self.head.committed_us = self.scanner.signed()?;
        self.scanner.expect(b",\"ts_ns\":", "source.ts_ns")?;
        self.scanner.digits()?;
        self.scanner.expect(b",\"table\":", "source.table")?;
        self.scanner.string(self.scratch)?;
        self.scanner.expect(b",\"gtid\":", "source.gtid")?;
        if self.scanner.take(b"null") {
            self.head.gtid = None;
        } else {
            replace(self.head.gtid.get_or_insert_default(), self.scanner.string(self.scratch)?);
        }
        self.scanner.expect(b",\"file\":", "source.file")?;
        replace(&mut self.head.file, self.scanner.string(self.scratch)?);
        self.scanner.expect(b",\"pos\":", "source.pos")?;
        if self.scanner.unsigned()? != self.head.position.transaction.offset {
            return self.scanner.unexpected("a source.pos like that of the record's position");
        }
        self.scanner.expect(b",\"row\":", "source.row")
    }

    /// `zero_dates`, where it is there.
    fn zero_dates(&mut self) -> std::result::Result<(), Unexpected> {
        self.zero_before.clear();
        self.zero_after.clear();
        if self.scanner.take(b",\"zero_dates\":{\"before\":") {
            read_names(&mut self.scanner, self.plan, self.zero_before)?;
            self.scanner.expect(b",\"after\":", "source.zero_dates.after")?;
            read_names(&mut self.scanner, self.plan, self.zero_after)?;
            self.scanner.expect(b"}", "the end of source.zero_dates")?;
        }
        Ok(())
    }

    /// What follows `source`.
    fn tail(&mut self) -> std::result::Result<(), Unexpected> {
        const OPERATIONS: [Operation; 5] =
            [Operation::Create, Operation::Update, Operation::Delete, Operation::Truncate, Operation::Schema];
        self.scanner.expect(b"},\"op\":\"", "op")?;
        match OPERATIONS.into_iter().find(|operation| self.scanner.take(&[letter(*operation)])) {
            Some(operation) => self.head.operation = operation,
            None => return self.scanner.unexpected("c, u, d, t or s"),
        }
        if !self.seen.tail.is_empty() && self.scanner.rest() == self.seen.tail {
            return Ok(());
        }
        let start = self.scanner.clone();
        self.scanner.expect(b"\",\"ts_ms\":", "ts_ms")?;
        self.scanner.signed()?;
        self.scanner.expect(b",\"ts_us\":", "ts_us")?;
        self.scanner.signed()?;
        self.scanner.expect(b",\"ts_ns\":", "ts_ns")?;
        self.scanner.digits()?;
        self.scanner.expect(b"}", "the end of the record")?;
        self.scanner.end()?;
        self.seen.tail.clear();
        self.seen.tail.extend_from_slice(start.text_until(&self.scanner));
        Ok(())
    }
}

fn replace(place: &mut String, text: &str) {
    place.clear();
    place.push_str(text);
}

/// Reads column names, which come in the order of the columns.
fn read_names(scanner: &mut Scanner<'_>, plan: &Plan, indexes: &mut Vec<usize>) -> std::result::Result<(), Unexpected> {
    scanner.expect(b"[", "a list of columns")?;
    let mut columns = plan.columns.iter().enumerate();
    loop {
        if scanner.take(b"]") {
            return Ok(());
        }
        if !indexes.is_empty() {
            scanner.expect(b",", "a further column")?;
        }
        match columns.find(|(_, column)| scanner.take(&column.name_json)) {
            Some((index, _)) => indexes.push(index),
            None => return scanner.unexpected("a column of the table"),
        }
    }
}

impl Decoded<'_> {
    /// Drives the images into `sink`, before and then after; a truncate or schema record has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the images are not what the encoder writes, [`Error::Cell`] if the sink refused a cell.
    pub fn drive(&mut self, sink: &mut dyn RowSink) -> Result<()> {
        let driven = self.images(sink);
        self.scratch.clear();
        self.scratch.shrink_to(KEPT_BYTES);
        driven.map_err(|stopped| match stopped {
            Stopped::Text(unexpected) => self.place.unexpected(unexpected),
            Stopped::Sink(source) => Error::Cell { topic: self.place.topic.to_owned(), position: self.head.position, source },
        })
    }

    fn images(&mut self, sink: &mut dyn RowSink) -> std::result::Result<(), Stopped> {
        let (before, after) = match self.head.operation {
            Operation::Create => (false, true),
            Operation::Update => (true, true),
            Operation::Delete => (true, false),
            Operation::Truncate | Operation::Schema => (false, false),
        };
        let images = self.value.get(..self.images_end).unwrap_or_default();
        let mut scanner = Scanner::new(images);
        scanner.expect(b"{\"before\":", "before")?;
        let zero_before = self.zero_before;
        self.image(&mut scanner, before.then_some(Image::Before), zero_before, sink)?;
        scanner.expect(b",\"after\":", "after")?;
        let zero_after = self.zero_after;
        self.image(&mut scanner, after.then_some(Image::After), zero_after, sink)?;
        Ok(scanner.end()?)
    }

    fn image(
        &mut self,
        scanner: &mut Scanner<'_>,
        image: Option<Image>,
        zero_dates: &[usize],
        sink: &mut dyn RowSink,
    ) -> std::result::Result<(), Stopped> {
        let mut zero_dates = zero_dates.iter().copied().peekable();
        match image {
            None => scanner.expect(b"null", "null, for the operation has no such image")?,
            Some(image) => {
                sink.image(image)?;
                let plan = self.plan;
                for (index, column) in plan.columns.iter().enumerate() {
                    scanner.expect(&column.open, "the next column of the table")?;
                    if !scanner.take(b"null") {
                        self.cell(scanner, column, sink)?;
                    } else if zero_dates.next_if_eq(&index).is_some() {
                        sink.zero_date()?;
                    } else {
                        sink.null()?;
                    }
                }
                let end: &[u8] = if plan.columns.is_empty() { b"{}" } else { b"}" };
                scanner.expect(end, "the end of the image")?;
            }
        }
        if zero_dates.peek().is_some() {
            return Ok(scanner.unexpected("null in every column of source.zero_dates")?);
        }
        Ok(())
    }

    fn cell(
        &mut self,
        scanner: &mut Scanner<'_>,
        column: &ColumnPlan,
        sink: &mut dyn RowSink,
    ) -> std::result::Result<(), Stopped> {
        match column.format {
            Format::Signed => sink.signed(scanner.signed()?)?,
            Format::Unsigned => sink.unsigned(scanner.unsigned()?)?,
            Format::Float => sink.float(scanner.number()?)?,
            Format::Double => sink.double(scanner.number()?)?,
            Format::Decimal => sink.decimal(scanner.string(self.scratch)?)?,
            Format::Boolean if scanner.take(b"true") => sink.unsigned(1)?,
            Format::Boolean => {
                scanner.expect(b"false", "true or false")?;
                sink.unsigned(0)?;
            }
            Format::Bits { .. } => sink.unsigned(bits(scanner, self.scratch)?)?,
            Format::Text => sink.text(scanner.string(self.scratch)?)?,
            Format::Base64 => sink.bytes(scanner.base64(self.scratch)?)?,
            Format::Date => match i32::try_from(scanner.signed()?) {
                Ok(days) => sink.date(days)?,
                Err(_) => scanner.unexpected("a day")?,
            },
            Format::Time => sink.time(scanner.signed()?)?,
            Format::DatetimeMicroseconds => sink.datetime(scanner.signed()?)?,
            Format::DatetimeMilliseconds => match scanner.signed()?.checked_mul(1000) {
                Some(microseconds) => sink.datetime(microseconds)?,
                None => scanner.unexpected("milliseconds")?,
            },
            Format::Timestamp { fraction } => match read_instant(scanner.plain()?, fraction) {
                Some(microseconds) => sink.timestamp(microseconds)?,
                None => scanner.unexpected("a time with the digits of the column")?,
            },
            Format::Geometry => sink.bytes(geometry(scanner, self.scratch, self.floats)?)?,
            Format::Vector => sink.bytes(vector(scanner, self.floats)?)?,
        }
        Ok(())
    }
}

fn bits(scanner: &mut Scanner<'_>, scratch: &mut Vec<u8>) -> std::result::Result<u64, Unexpected> {
    let bytes = scanner.base64(scratch)?;
    let mut wide = [0; 8];
    match wide.get_mut(..bytes.len()) {
        Some(place) => place.copy_from_slice(bytes),
        None => return scanner.unexpected("at most 64 bits"),
    }
    Ok(u64::from_le_bytes(wide))
}

fn geometry<'s>(
    scanner: &mut Scanner<'_>,
    scratch: &mut Vec<u8>,
    whole: &'s mut Vec<u8>,
) -> std::result::Result<&'s [u8], Unexpected> {
    scanner.expect(b"{\"wkb\":", "a geometry")?;
    let wkb = scanner.base64(scratch)?;
    scanner.expect(b",\"srid\":", "the geometry's srid")?;
    whole.clear();
    if !scanner.take(b"null") {
        match u32::try_from(scanner.unsigned()?) {
            Ok(srid) => whole.extend_from_slice(&srid.to_le_bytes()),
            Err(_) => return scanner.unexpected("an srid of 32 bits"),
        }
    }
    whole.extend_from_slice(wkb);
    scanner.expect(b"}", "the geometry's end")?;
    Ok(whole)
}

fn vector<'s>(scanner: &mut Scanner<'_>, floats: &'s mut Vec<u8>) -> std::result::Result<&'s [u8], Unexpected> {
    scanner.expect(b"[", "a vector")?;
    floats.clear();
    while !scanner.take(b"]") {
        if !floats.is_empty() {
            scanner.expect(b",", "a further element")?;
        }
        let bits = match scanner.hexadecimal()? {
            Some(bits) => bits,
            None => scanner.number::<f32>()?.to_bits(),
        };
        floats.extend_from_slice(&bits.to_le_bytes());
    }
    Ok(floats)
}
