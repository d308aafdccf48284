//! The text of a block before it is compressed: its records one behind the other, each said by what is not in the one before it.
//!
//! The envelope behind a record's images makes up nearly half of it and repeats from record to record, all but a digit or two within a
//! transaction. A compressor finds that too, but it has to look: saying it here takes a third off what compressing costs, and what is
//! put together again when a block is read is copied once, as decompressing would.
//!
//! Of each record the text has, numbers with seven bits a byte:
//! - 1 where it is the next change of the same transaction, else 0 and its position (epoch, file, offset, ordinal);
//! - five lengths: of the key, of the value's own beginning, of what its closing shares with the beginning of the closing before, of
//!   what stands between, and of what it shares with the end of the closing before;
//! - the key, the value's own beginning, what stands between.
//!
//! Where a value's closing begins is only a guess that costs bytes where it is wrong: any cut is put together again.

use crate::change::{BinlogPosition, ChangePosition};
use crate::changelog::codec::envelope_start;

/// What a record takes beside its key and value, at most: whether it is the next change, a position, five lengths.
pub(super) const HEADER_BYTES_MAX: usize = 1 + 35 + 5 * 5;
/// Its position is told.
const TOLD: u64 = 0;
/// It is the next change of the transaction of the record before.
const NEXT: u64 = 1;

/// A text under construction, of records whose bytes live elsewhere.
#[derive(Debug)]
pub(super) struct TextWriter<'a> {
    text: Vec<u8>,
    before: ChangePosition,
    /// What follows the images of the record before.
    closing: &'a [u8],
    /// Bytes of keys and values.
    bytes: usize,
}

impl<'a> TextWriter<'a> {
    /// Writes into `text`, which loses what it holds.
    pub(super) fn new(mut text: Vec<u8>) -> Self {
        text.clear();
        Self { text, before: ChangePosition::default(), closing: &[], bytes: 0 }
    }

    /// Adds a record.
    pub(super) fn push(&mut self, position: ChangePosition, key: &'a [u8], value: &'a [u8]) {
        let (own, closing) = value.split_at(envelope_start(value).unwrap_or(value.len()));
        let head = shared_head(self.closing, closing);
        let tail = shared_tail(self.closing.get(head..).unwrap_or_default(), closing.get(head..).unwrap_or_default());
        let middle = closing.get(head..closing.len() - tail).unwrap_or_default();
        self.position(position);
        for length in [key.len(), own.len(), head, middle.len(), tail] {
            write_number(&mut self.text, length as u64);
        }
        for part in [key, own, middle] {
            self.text.extend_from_slice(part);
        }
        (self.before, self.closing) = (position, closing);
        self.bytes += key.len() + value.len();
    }

    fn position(&mut self, position: ChangePosition) {
        let next = ChangePosition { ordinal: self.before.ordinal.wrapping_add(1), ..self.before };
        if position == next && !self.text.is_empty() {
            return write_number(&mut self.text, NEXT);
        }
        let transaction = position.transaction;
        for number in [TOLD, transaction.epoch.into(), transaction.file, transaction.offset, position.ordinal] {
            write_number(&mut self.text, number);
        }
    }

    /// Bytes of the keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The text.
    pub(super) fn finish(self) -> Vec<u8> {
        self.text
    }
}

/// How many bytes both begin with.
fn shared_head(left: &[u8], right: &[u8]) -> usize {
    let words = |bytes| <[u8]>::as_chunks::<8>(bytes).0.iter();
    for (index, (left, right)) in words(left).zip(words(right)).enumerate() {
        let different = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if different != 0 {
            return index * 8 + (different.trailing_zeros() / 8) as usize;
        }
    }
    let words = left.len().min(right.len()) / 8 * 8;
    let rest = left.iter().zip(right).skip(words);
    words + rest.take_while(|(left, right)| left == right).count()
}

/// How many bytes both end with.
fn shared_tail(left: &[u8], right: &[u8]) -> usize {
    let words = |bytes| <[u8]>::as_rchunks::<8>(bytes).1.iter().rev();
    for (index, (left, right)) in words(left).zip(words(right)).enumerate() {
        let different = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if different != 0 {
            return index * 8 + (different.leading_zeros() / 8) as usize;
        }
    }
    let words = left.len().min(right.len()) / 8 * 8;
    let rest = left.iter().rev().zip(right.iter().rev()).skip(words);
    words + rest.take_while(|(left, right)| left == right).count()
}

fn write_number(text: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        text.push(number as u8 | 0x80);
        number >>= 7;
    }
    text.push(number as u8);
}

/// One record of a text that was read.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) position: ChangePosition,
    /// Where its key starts in the bytes.
    pub(super) key: usize,
    /// Where its value starts.
    pub(super) value: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// Puts so many records of a text together again, whose keys and values have so many bytes: where each is, and those bytes. None if it is
/// no such text. What it takes in memory is bounded by what is asked for, whatever the text says.
pub(super) fn read(text: &[u8], records: usize, length: usize) -> Option<(Vec<Entry>, Vec<u8>)> {
    let mut rest = text;
    let mut bytes = Vec::with_capacity(length);
    let mut entries: Vec<Entry> = Vec::with_capacity(records.min(text.len()));
    let mut closing = 0..0;
    while !rest.is_empty() {
        let position = read_position(&mut rest, entries.last())?;
        let mut lengths = [0; 5];
        for length in &mut lengths {
            *length = usize::try_from(read_number(&mut rest)?).ok()?;
        }
        let [key, own, head, middle, tail] = lengths;
        let whole = lengths.iter().try_fold(0_usize, |sum, length| sum.checked_add(*length))?;
        if head > closing.len() || tail > closing.len() || whole > length - bytes.len() || entries.len() == records {
            return None;
        }
        let key_at = bytes.len();
        bytes.extend_from_slice(take(&mut rest, key)?);
        bytes.extend_from_slice(take(&mut rest, own)?);
        let from = bytes.len();
        bytes.extend_from_within(closing.start..closing.start + head);
        bytes.extend_from_slice(take(&mut rest, middle)?);
        bytes.extend_from_within(closing.end - tail..closing.end);
        closing = from..bytes.len();
        entries.push(Entry { position, key: key_at, value: key_at + key, end: closing.end });
    }
    (bytes.len() == length && entries.len() == records).then_some((entries, bytes))
}

fn read_position(rest: &mut &[u8], before: Option<&Entry>) -> Option<ChangePosition> {
    match read_number(rest)? {
        NEXT => {
            let before = before?.position;
            Some(ChangePosition { ordinal: before.ordinal.checked_add(1)?, ..before })
        }
        TOLD => {
            let epoch = u32::try_from(read_number(rest)?).ok()?;
            let transaction = BinlogPosition { epoch, file: read_number(rest)?, offset: read_number(rest)? };
            Some(ChangePosition { transaction, ordinal: read_number(rest)? })
        }
        _ => None,
    }
}

#[inline]
fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    rest.split_off(..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, ordinal: u64) -> ChangePosition {
        ChangePosition { transaction: BinlogPosition { epoch: 3, file: 7, offset }, ordinal }
    }

    fn closing(gtid: u64, row: u64, operation: char) -> String {
        format!(
            ",\"source\":{{\"name\":\"s\",\"gtid\":\"u:{gtid}\",\"row\":{row}}},\"op\":\"{operation}\",\"ts_ms\":{}}}",
            gtid * 7
        )
    }

    fn records() -> Vec<(ChangePosition, Vec<u8>, Vec<u8>)> {
        let mut records = vec![(at(4, 0), Vec::new(), Vec::new()), (at(4, 1), b"k".to_vec(), Vec::new())];
        for gtid in 5..40 {
            for row in 0..gtid % 12 {
                let value = format!("{{\"before\":null,\"after\":{{\"id\":{gtid}{row}}}{}", closing(gtid, row, 'c'));
                records.push((at(gtid * 100, row), format!("{{\"id\":{gtid}{row}}}").into_bytes(), value.into_bytes()));
            }
        }
        // What is no record of ours, what is the same as the one before, an ordinal left out, and a huge one.
        for (nth, value) in
            ["", ",\"source\":{", ",\"source\":{", "x", "{{{", &closing(9, 9, 'd'), &"y".repeat(1 << 20)].iter().enumerate()
        {
            records.push((at(9000, nth as u64 * 2), vec![nth as u8; nth * 100], value.as_bytes().to_vec()));
        }
        records
    }

    fn written(records: &[(ChangePosition, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut writer = TextWriter::new(b"left over".to_vec());
        records.iter().for_each(|(position, key, value)| writer.push(*position, key, value));
        writer.finish()
    }

    #[test]
    fn records_are_put_together_as_they_were() {
        let mut records = records();
        for _ in 0..2 {
            let text = written(&records);
            let length = records.iter().map(|(_, key, value)| key.len() + value.len()).sum();
            let (entries, bytes) = read(&text, records.len(), length).unwrap();
            assert_eq!(entries.len(), records.len());
            for (entry, (position, key, value)) in entries.iter().zip(&records) {
                assert_eq!(entry.position, *position);
                assert_eq!((&bytes[entry.key..entry.value], &bytes[entry.value..entry.end]), (&key[..], &value[..]));
            }
            // Without the huge one, what is shared shows.
            records.pop();
        }
        let text = written(&records);
        let bytes: usize = records.iter().map(|(_, key, value)| key.len() + value.len()).sum();
        assert!(text.len() < bytes * 3 / 4, "{} of {bytes}", text.len());
    }

    #[test]
    fn a_text_that_is_cut_or_says_too_much_is_refused() {
        let mut records = records();
        records.pop();
        let text = written(&records);
        let length = records.iter().map(|(_, key, value)| key.len() + value.len()).sum();
        let read = |text: &[u8]| read(text, records.len(), length);
        assert!(read(&text).is_some());
        assert!(
            super::read(&text, records.len(), length - 1).is_none() && super::read(&text, records.len(), length + 1).is_none()
        );
        assert!(
            super::read(&text, records.len() - 1, length).is_none() && super::read(&text, records.len() + 1, length).is_none()
        );
        for cut in 0..text.len() {
            assert!(read(&text[..cut]).is_none(), "{cut}");
        }
        // Whatever a byte says, it is an answer and no panic.
        for place in 0..text.len() {
            for flip in [1, 0x40, 0x80, 0xff] {
                let mut other = text.clone();
                other[place] ^= flip;
                if let Some((entries, bytes)) = read(&other) {
                    assert!(
                        entries
                            .iter()
                            .all(|entry| entry.key <= entry.value && entry.value <= entry.end && entry.end <= bytes.len())
                    );
                }
            }
        }
    }

    #[test]
    fn what_two_share_is_counted_to_the_byte() {
        let same = [7_u8; 70];
        for length in 0..70 {
            for different in 0..length {
                let mut other = same;
                other[different] = 8;
                assert_eq!(shared_head(&same[..length], &other[..length]), different);
                assert_eq!(shared_tail(&same[..length], &other[..length]), length - different - 1);
            }
            assert_eq!(shared_head(&same[..length], &same), length);
            assert_eq!(shared_tail(&same, &same[..length]), length);
        }
    }
}
