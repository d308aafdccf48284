//! Stored keys: bytes whose plain order is the order of a mirror's rows, in every file and for ever.
//!
//! A key's columns are encoded one behind the other so that comparing bytes compares columns: integers big-endian with the sign bit
//! turned, text and bytes escaped and ended so that no key is a prefix of another. The encoding is one to one: two rows have the same
//! stored key exactly when their key columns hold the same lake values. A key whose first column is an integer keeps that order, so
//! that rows that are inserted last lie last; any other key is preceded by a hash of these bytes, which spreads rows evenly over
//! segments however the keys look. Before all that comes the day, in a mirror that is cut by days (`by_day`). Hash and encoding stand in the
//! footers of files: they never change (a test has golden bytes).

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::{self as types, DataType, TimeUnit};

use super::by_day::days_of;
use super::columns::{Shape, key_text};
use super::{Error, Result};

/// Stored keys of many rows, in one piece of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl StoredKeys {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The key of a row; empty for a row that is not there.
    pub fn get(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        match (start, self.ends.get(row)) {
            (Some(start), Some(end)) => &self.bytes[start..*end],
            _ => &[],
        }
    }

    /// The first key.
    pub fn first(&self) -> Option<&[u8]> {
        (!self.is_empty()).then(|| self.get(0))
    }

    /// The last key.
    pub fn last(&self) -> Option<&[u8]> {
        self.len().checked_sub(1).map(|row| self.get(row))
    }

    /// Adds a key as it is.
    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// How many keys from `from` on are below `bound`; the keys must be ascending. All of them without a bound.
    pub(crate) fn below(&self, from: usize, bound: Option<&[u8]>) -> usize {
        let Some(bound) = bound else { return self.len().saturating_sub(from) };
        let (mut low, mut high) = (from, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle) < bound {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low - from
    }
}

/// The stored keys of a mirror's rows; none for a changelog table.
///
/// # Errors
/// [`Error::Value`] when a key column is NULL or of a type no key has.
pub fn stored_keys(shape: &Shape, batch: &RecordBatch) -> Result<StoredKeys> {
    if shape.key().is_empty() {
        return Ok(StoredKeys::default());
    }
    let columns: Vec<&ArrayRef> = shape.key().iter().filter_map(|index| batch.columns().get(*index)).collect();
    if columns.len() != shape.key().len() {
        return Err(shape.value_error("rows without their key columns".to_owned(), "report this as a bug of binlake"));
    }
    if columns.iter().any(|column| column.null_count() > 0) {
        return Err(shape.value_error("a key's column is NULL".to_owned(), "give the table a key whose columns are NOT NULL"));
    }
    let days = days_of(shape, batch)?;
    let mut keys = StoredKeys { bytes: Vec::with_capacity(batch.num_rows() * 16), ends: Vec::with_capacity(batch.num_rows()) };
    for row in 0..batch.num_rows() {
        if let Some(day) = days.as_ref().and_then(|days| days.get(row)) {
            keys.bytes.extend_from_slice(&day.bytes());
        }
        let start = keys.bytes.len();
        if !shape.integer_leading() {
            keys.bytes.extend_from_slice(&[0; 8]);
        }
        for column in &columns {
            encode(column, row, &mut keys.bytes)
                .ok_or_else(|| shape.value_error(format!("a key of type {}", column.data_type()), "choose another `key:`"))?;
        }
        if !shape.integer_leading() {
            let hash = hash(&keys.bytes[start + 8..]);
            keys.bytes[start..start + 8].copy_from_slice(&hash.to_be_bytes());
        }
        keys.ends.push(keys.bytes.len());
    }
    Ok(keys)
}

/// The rows in the order of their stored keys.
///
/// # Errors
/// As [`stored_keys`]; [`Error::Value`] when two rows have the same key.
pub fn sorted_by_key(shape: &Shape, batch: &RecordBatch) -> Result<RecordBatch> {
    let keys = stored_keys(shape, batch)?;
    if keys.is_empty() {
        return Ok(batch.clone());
    }
    let order = key_order(&keys, batch.num_rows());
    if let Some(pair) = order.windows(2).find(|pair| keys.get(pair[0] as usize) == keys.get(pair[1] as usize)) {
        return Err(same_key(shape, batch, pair[0] as usize));
    }
    if order.iter().enumerate().all(|(place, row)| place == *row as usize) {
        return Ok(batch.clone());
    }
    let indices = UInt64Array::from_iter_values(order.into_iter().map(u64::from));
    arrow::compute::take_record_batch(batch, &indices)
        .map_err(|error| shape.value_error(error.to_string(), "report this as a bug"))
}

pub(crate) fn same_key(shape: &Shape, batch: &RecordBatch, row: usize) -> Error {
    let reason = format!("two rows have the key {}", key_text(shape, batch, row));
    shape.value_error(reason, "give the table a key that identifies a row (`key:`), then run `binlake rebuild` for it")
}

/// Rows in the order of their keys; equal keys stay in their own order.
pub(crate) fn key_order(keys: &StoredKeys, rows: usize) -> Vec<u32> {
    let prefix = |row: u32| {
        let mut bytes = [0; 8];
        let key = keys.get(row as usize);
        let length = key.len().min(8);
        bytes[..length].copy_from_slice(&key[..length]);
        u64::from_be_bytes(bytes)
    };
    let mut order: Vec<(u64, u32)> = (0..rows as u32).map(|row| (prefix(row), row)).collect();
    order.sort_unstable_by(|left, right| {
        let keys_compared = || keys.get(left.1 as usize).cmp(keys.get(right.1 as usize));
        left.0.cmp(&right.0).then_with(keys_compared).then(left.1.cmp(&right.1))
    });
    order.into_iter().map(|(_, row)| row).collect()
}

fn encode(column: &ArrayRef, row: usize, key: &mut Vec<u8>) -> Option<()> {
    match column.data_type() {
        // Every integer takes eight bytes, so that a widened column keeps its stored keys.
        DataType::Int8 => integer(column.as_primitive::<types::Int8Type>().value(row).into(), key),
        DataType::Int16 => integer(column.as_primitive::<types::Int16Type>().value(row).into(), key),
        DataType::Int32 => integer(column.as_primitive::<types::Int32Type>().value(row).into(), key),
        DataType::Int64 => integer(column.as_primitive::<types::Int64Type>().value(row), key),
        DataType::Date32 => integer(column.as_primitive::<types::Date32Type>().value(row).into(), key),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            integer(column.as_primitive::<types::TimestampMicrosecondType>().value(row), key);
        }
        DataType::Decimal128(_, _) => {
            let value = column.as_primitive::<types::Decimal128Type>().value(row);
            key.extend_from_slice(&(value as u128 ^ (1 << 127)).to_be_bytes());
        }
        DataType::Float32 => {
            let bits = column.as_primitive::<types::Float32Type>().value(row).to_bits();
            let turned = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
            key.extend_from_slice(&turned.to_be_bytes());
        }
        DataType::Float64 => {
            let bits = column.as_primitive::<types::Float64Type>().value(row).to_bits();
            let turned = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            key.extend_from_slice(&turned.to_be_bytes());
        }
        DataType::Boolean => key.push(column.as_boolean().value(row).into()),
        DataType::Utf8 => escaped(column.as_string::<i32>().value(row).as_bytes(), key),
        DataType::Binary => escaped(column.as_binary::<i32>().value(row), key),
        _ => return None,
    }
    Some(())
}

fn integer(value: i64, key: &mut Vec<u8>) {
    key.extend_from_slice(&(value as u64 ^ (1 << 63)).to_be_bytes());
}

/// A zero byte becomes `00 FF`, the end is `00 01`: shorter sorts before longer, and what follows never mixes in.
fn escaped(bytes: &[u8], key: &mut Vec<u8>) {
    for byte in bytes {
        key.push(*byte);
        if *byte == 0 {
            key.push(0xFF);
        }
    }
    key.extend_from_slice(&[0, 1]);
}

/// FNV-1a over the bytes, then the finaliser of MurmurHash3, which spreads the last bytes over the first bits.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Bytes as lower-case hexadecimal: sorts as the bytes do.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Reads lower-case hexadecimal; None for anything else.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int8Array, Int32Array, StringArray};

    use super::*;

    fn encoded(array: ArrayRef) -> Vec<String> {
        let one = |row| {
            let mut key = Vec::new();
            encode(&array, row, &mut key).unwrap();
            to_hex(&key)
        };
        (0..array.len()).map(one).collect()
    }

    /// These bytes stand in the footers of files: they never change.
    #[test]
    fn stored_keys_have_golden_bytes() {
        assert_eq!(encoded(Arc::new(Int8Array::from(vec![-1, 1]))), ["7fffffffffffffff", "8000000000000001"]);
        assert_eq!(encoded(Arc::new(Int32Array::from(vec![i32::MIN, 0]))), ["7fffffff80000000", "8000000000000000"]);
        let decimals = Decimal128Array::from(vec![-1, u64::MAX.into()]);
        assert_eq!(encoded(Arc::new(decimals)), ["7fffffffffffffffffffffffffffffff", "8000000000000000ffffffffffffffff"]);
        assert_eq!(encoded(Arc::new(StringArray::from(vec!["", "a", "ä "]))), ["0001", "610001", "c3a4200001"]);
        assert_eq!(encoded(Arc::new(BinaryArray::from(vec![&b"\0\x01"[..]]))), ["00ff010001"]);
        assert_eq!(encoded(Arc::new(BooleanArray::from(vec![false, true]))), ["00", "01"]);
        assert_eq!(encoded(Arc::new(Float64Array::from(vec![-1.0, 0.0]))), ["400fffffffffffff", "8000000000000000"]);
        assert_eq!(hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash(b"a\0\x01"), 0xbc08_481f_96e3_b568);
    }

    #[test]
    fn bytes_compare_as_values_do() {
        let texts = ["", "\0", "\0\0", "\0a", "\u{1}", "a", "a\0", "a\0b", "a\u{1}", "ab", "b"];
        let keys = encoded(Arc::new(StringArray::from(texts.to_vec())));
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        let numbers = [i128::from(i64::MIN), -(1 << 40), -1, 0, 1, i128::from(u64::MAX)];
        let keys = encoded(Arc::new(Decimal128Array::from(numbers.to_vec())));
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        let floats = [f64::NEG_INFINITY, -1.0, -f64::MIN_POSITIVE, -0.0, 0.0, f64::MIN_POSITIVE, 1.0, f64::INFINITY];
        let keys = encoded(Arc::new(Float64Array::from(floats.to_vec())));
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
    }

    #[test]
    fn hexadecimal_reads_back_and_refuses_the_rest() {
        assert_eq!(from_hex(&to_hex(&[0, 1, 0xab, 0xff])), Some(vec![0, 1, 0xab, 0xff]));
        assert_eq!(from_hex(""), Some(Vec::new()));
        for wrong in ["0", "0g", "AB", "é"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
