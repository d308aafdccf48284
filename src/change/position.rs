//! Every kind of place there is in binlake. No arithmetic, no conversion from bare numbers by accident; each prints and parses back.
//!
//! Within one epoch positions are totally ordered by *number*: binlog file `.999999` comes before `.1000000`. GTID sets are only
//! partially ordered and therefore live elsewhere ([`super::GtidSet`]) and have no `<`.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place of a transaction's first event in a source's history.
///
/// `epoch` grows only when the server's history changes (failover, reset); `file` is the number in the binlog file's
/// name; `offset` is in bytes. Prints as `epoch:file:offset`, e.g. `0:12:4711`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BinlogPosition {
    /// The history this position belongs to.
    pub epoch: u32,
    /// The number of the binlog file, from its name's extension.
    pub file: u64,
    /// Byte offset in the file.
    pub offset: u64,
}

/// A bound in a source's history: everything that *starts* below it, and nothing else, is meant.
///
/// `since`, `high`, handoff, published and applied are cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cut(pub BinlogPosition);

impl Cut {
    /// Whether a transaction that starts at `start` lies below this cut.
    pub fn covers(self, start: BinlogPosition) -> bool {
        start < self.0
    }
}

/// The place of one record: its transaction's start, and the running number of *this table's* records in it.
///
/// Prints as `epoch:file:offset/ordinal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChangePosition {
    /// Where the transaction starts.
    pub transaction: BinlogPosition,
    /// Counts the table's records in the transaction from 0; a primary-key update is two.
    pub ordinal: u64,
}

/// The offset of a record in one partition of a topic; the first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogOffset(pub u64);

/// A place in one partition of a topic: an offset, and the record that a reader who stands there took last.
///
/// Records that stand below `offset` and are not `last` or before it were left out: see the change log's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogPlace {
    /// What is read next.
    pub offset: LogOffset,
    /// The last record before it that counts; None where nothing before it does.
    pub last: Option<ChangePosition>,
    /// The highest term up to here: records of a lower one are late.
    pub term: Term,
}

/// How many records of a topic were left out, each for what its chain says of it: no change is lost with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// Late ones: their tailer had been succeeded.
    pub late: u64,
    /// Repeated ones: their change was taken before.
    pub repeated: u64,
}

impl Dropped {
    /// Whether none was.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl std::ops::Add for Dropped {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self { late: self.late + more.late, repeated: self.repeated + more.repeated }
    }
}

/// The fencing token of a daemon that holds a lease. Grows with every take-over; has nothing to do with an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(pub u64);

/// Sessions that a lease's term has room for.
const SESSIONS: u64 = 1 << 20;

impl Term {
    /// The term of a lease's `number`-th session: higher than those of the sessions before it and of lower leases.
    ///
    /// A tailer that failed may have left an append behind that is still on its way to the log; the next one of the same daemon must
    /// be told from it as from a predecessor's.
    #[must_use]
    pub fn session(self, number: u64) -> Self {
        Self(self.0.saturating_mul(SESSIONS).saturating_add(number.min(SESSIONS - 1)))
    }

    /// The lease's term of a session's.
    #[must_use]
    pub fn of_session(self) -> Self {
        Self(self.0 / SESSIONS)
    }
}

/// A position that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}")]
pub struct ParsePositionError {
    /// What was read.
    pub text: String,
    /// What it should have been.
    pub what: &'static str,
}

impl fmt::Display for BinlogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By itoa: each record on its way to Kafka has two of them written, and formatting shows in a profile.
        let mut digits = itoa::Buffer::new();
        f.write_str(digits.format(self.epoch))?;
        for number in [self.file, self.offset] {
            f.write_char(':')?;
            f.write_str(digits.format(number))?;
        }
        Ok(())
    }
}

impl FromStr for BinlogPosition {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text.as_bytes();
        let position = take_transaction(&mut rest).filter(|_| rest.is_empty());
        position.ok_or_else(|| ParsePositionError { text: text.to_owned(), what: "position (epoch:file:offset)" })
    }
}

/// Takes `epoch:file:offset`. A record from Kafka carries two such texts, and splitting them by searching shows in a profile.
fn take_transaction(rest: &mut &[u8]) -> Option<BinlogPosition> {
    let epoch = u32::try_from(take_number(rest)?).ok()?;
    take_sign(rest, b':')?;
    let file = take_number(rest)?;
    take_sign(rest, b':')?;
    Some(BinlogPosition { epoch, file, offset: take_number(rest)? })
}

/// Takes `epoch:file:offset/ordinal`.
fn take_change(rest: &mut &[u8]) -> Option<ChangePosition> {
    let transaction = take_transaction(rest)?;
    take_sign(rest, b'/')?;
    Some(ChangePosition { transaction, ordinal: take_number(rest)? })
}

fn take_sign(rest: &mut &[u8], sign: u8) -> Option<()> {
    (*rest.split_off_first()? == sign).then_some(())
}

/// Takes the digits of a number, at least one.
fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = take_digit(rest)?;
    while let Some(digit) = take_digit(rest) {
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    Some(number)
}

fn take_digit(rest: &mut &[u8]) -> Option<u64> {
    let digit = rest.first()?.wrapping_sub(b'0');
    (digit < 10).then(|| {
        *rest = &rest[1..];
        u64::from(digit)
    })
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cut {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Cut)
    }
}

impl fmt::Display for ChangePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transaction.fmt(f)?;
        f.write_char('/')?;
        f.write_str(itoa::Buffer::new().format(self.ordinal))
    }
}

impl FromStr for ChangePosition {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text.as_bytes();
        let position = take_change(&mut rest).filter(|_| rest.is_empty());
        position.ok_or_else(|| ParsePositionError { text: text.to_owned(), what: "change position (epoch:file:offset/ordinal)" })
    }
}

impl fmt::Display for LogOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_as_text!(BinlogPosition);
serde_as_text!(ChangePosition);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_print_and_parse_back() {
        let position = ChangePosition { transaction: BinlogPosition { epoch: 3, file: 1_000_000, offset: 4 }, ordinal: 7 };
        assert_eq!(position.to_string(), "3:1000000:4/7");
        assert_eq!(position.to_string().parse::<ChangePosition>(), Ok(position));
        let most = ChangePosition {
            transaction: BinlogPosition { epoch: u32::MAX, file: u64::MAX, offset: u64::MAX },
            ordinal: u64::MAX,
        };
        assert_eq!(most.to_string().parse::<ChangePosition>(), Ok(most));
        for wrong in ["3:1:4:5", "3:1", "3:1:", ":1:4", "", "3:1:4 ", "+3:1:4", "4294967296:1:4", "3:18446744073709551616:4"] {
            assert!(wrong.parse::<BinlogPosition>().is_err(), "{wrong}");
        }
        for wrong in ["3:1:4", "3:1:4/", "3:1:4/5/", "3:1/4", "3:1:4/-5", "3:1:4/5x"] {
            assert!(wrong.parse::<ChangePosition>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_are_ordered_by_number_and_not_by_name() {
        let old = BinlogPosition { epoch: 0, file: 999_999, offset: 900 };
        let new = BinlogPosition { epoch: 0, file: 1_000_000, offset: 4 };
        assert!(old < new);
    }

    #[test]
    fn a_cut_covers_what_starts_below_it() {
        let start = BinlogPosition { epoch: 0, file: 1, offset: 100 };
        assert!(!Cut(start).covers(start));
        assert!(Cut(BinlogPosition { offset: 101, ..start }).covers(start));
    }
}
