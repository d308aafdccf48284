//! Keys in order, and as the opaque texts that chunk bounds are made of.

use std::cmp::Ordering;

use crate::change::{TableSchema, Value};
use crate::source::KeyBound;

/// Key values in the order that a snapshot walks them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key(pub Vec<Value>);

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(a, b)| compare(a, b)).find(|order| order.is_ne()).unwrap_or_else(|| self.0.len().cmp(&other.0.len()))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Key {
    /// The key of a row under this shape; the whole row where there is none.
    pub(super) fn of(schema: &TableSchema, row: &[Value]) -> Self {
        if schema.key.is_empty() {
            return Self(row.to_vec());
        }
        let ordinals = schema.key.iter().filter_map(|index| schema.columns.get(*index)).map(|column| column.ordinal);
        Self(ordinals.filter_map(|ordinal| row.get(ordinal)).cloned().collect())
    }

    /// As a chunk's bound; None where a value has no text of its own.
    pub(super) fn bound(&self) -> Option<KeyBound> {
        self.0.iter().map(literal).collect::<Option<Vec<_>>>().map(KeyBound)
    }

    /// Back from a bound.
    pub(super) fn from_bound(bound: &KeyBound) -> Option<Self> {
        bound.0.iter().map(|text| value(text)).collect::<Option<Vec<_>>>().map(Self)
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Signed(number) => Some(i128::from(*number)),
        Value::Unsigned(number) => Some(i128::from(*number)),
        Value::Date(days) => Some(i128::from(*days)),
        Value::Time(time) | Value::Datetime(time) | Value::Timestamp(time) => Some(i128::from(*time)),
        _ => None,
    }
}

/// NULL first, then numbers, then texts and bytes; what has no order in MySQL stands behind all, by its print.
fn compare(a: &Value, b: &Value) -> Ordering {
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return a.cmp(&b);
    }
    match (a, b) {
        (Value::Text(a), Value::Text(b)) | (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (a, b) => rank(a).cmp(&rank(b)).then_with(|| format!("{a:?}").cmp(&format!("{b:?}"))),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        value if integer(value).is_some() => 1,
        Value::Text(_) | Value::Decimal(_) => 2,
        Value::Bytes(_) => 3,
        _ => 4,
    }
}

fn literal(value: &Value) -> Option<String> {
    Some(match value {
        Value::Signed(number) => format!("signed {number}"),
        Value::Unsigned(number) => format!("unsigned {number}"),
        Value::Text(text) => format!("text {text}"),
        Value::Bytes(bytes) => bytes.iter().fold("bytes ".to_owned(), |text, byte| format!("{text}{byte:02x}")),
        Value::Date(days) => format!("date {days}"),
        Value::Time(time) => format!("time {time}"),
        Value::Datetime(time) => format!("datetime {time}"),
        Value::Timestamp(time) => format!("timestamp {time}"),
        Value::Decimal(text) => format!("decimal {text}"),
        Value::Null | Value::Float(_) | Value::Double(_) | Value::ZeroDate => return None,
    })
}

fn value(literal: &str) -> Option<Value> {
    let (kind, text) = literal.split_once(' ')?;
    Some(match kind {
        "signed" => Value::Signed(text.parse().ok()?),
        "unsigned" => Value::Unsigned(text.parse().ok()?),
        "text" => Value::Text(text.to_owned()),
        "bytes" => {
            let pairs = (0..text.len()).step_by(2).map(|start| text.get(start..start + 2));
            Value::Bytes(pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<u8>>>()?)
        }
        "date" => Value::Date(text.parse().ok()?),
        "time" => Value::Time(text.parse().ok()?),
        "datetime" => Value::Datetime(text.parse().ok()?),
        "timestamp" => Value::Timestamp(text.parse().ok()?),
        "decimal" => Value::Decimal(text.to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_come_back_and_signs_do_not_confuse_the_order() {
        let key =
            Key(vec![Value::Signed(-5), Value::Text("a b".to_owned()), Value::Bytes(vec![0, 255]), Value::Unsigned(u64::MAX)]);
        assert_eq!(Key::from_bound(&key.bound().unwrap()), Some(key));
        assert!(Key(vec![Value::Signed(-1)]) < Key(vec![Value::Unsigned(0)]));
        assert!(Key(vec![Value::Signed(9)]) < Key(vec![Value::Signed(10)]));
        assert_eq!(Key(vec![Value::Null]).bound(), None);
    }
}
