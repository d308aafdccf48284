//! Mirrors that are cut by the day of one of their columns (`partition_by`).
//!
//! The day is the beginning of a row's stored key, so a day's rows are a stretch of the key space, a file holds rows of one day, and all
//! that merges know of keys holds: nothing else in the lake has to know of days.
//!
//! **Why no row is lost and none is there twice when one moves to another day.** To the mirror a row of another day is another row. A
//! change that moves one carries both images, whole, and the day of each is computed from the value that lies in the file: so it is a
//! delete where the row was and a create where it is, in one commit, as an update of the key is (`batch`). Before the handoff the same
//! argument holds as for keys: what the log has of a day and a key is applied in order and decides, and of what it has nothing the
//! snapshot's read is right, for a row that went to another day between two reads has left both traces in the log. Behind it each
//! before image is looked for under its own day, and one that is not there parks the table (promise 11).
//!
//! A row without a day (NULL, as a zero date is) lies before all days, in the partition that Hive has for such rows.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};
use jiff::Span;
use jiff::civil::Date;

use super::Result;
use super::columns::Shape;
use super::table::days;
use crate::change::Days;

/// How many bytes of a stored key say the day.
const DAY_BYTES: usize = 4;
/// Hive's name for the partition of NULL.
const NO_DAY: &str = "__HIVE_DEFAULT_PARTITION__";
const EPOCH: Date = jiff::civil::date(1970, 1, 1);
const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// A day as stored keys have it: days since 1970-01-01 with the sign bit turned, big-endian, so that bytes compare as days do. Rows without
/// a day have zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct DayKey(u32);

impl DayKey {
    fn of_number(days: i32) -> Self {
        Self(days as u32 ^ 1 << 31)
    }

    /// The day that a stored key says.
    pub(crate) fn of_key(key: &[u8]) -> Self {
        let mut bytes = [0; DAY_BYTES];
        bytes.iter_mut().zip(key).for_each(|(byte, from)| *byte = *from);
        Self(u32::from_be_bytes(bytes))
    }

    /// The bytes that all keys of the day begin with; as a bound they lie below all of them.
    pub(crate) fn bytes(self) -> [u8; DAY_BYTES] {
        self.0.to_be_bytes()
    }

    /// The bound behind all keys of the day.
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// As in `dt=2026-11-22`.
    fn name(self) -> Option<String> {
        match self.0 {
            0 => Some(NO_DAY.to_owned()),
            turned => EPOCH.checked_add(Span::new().try_days((turned ^ 1 << 31) as i32).ok()?).ok().map(|day| day.to_string()),
        }
    }

    /// The directory of its files.
    ///
    /// # Errors
    /// [`super::Error::Value`] for a day that no calendar has.
    pub(crate) fn directory(self, shape: &Shape) -> Result<String> {
        let name = self.name().ok_or_else(|| no_day(shape, format!("day {} since 1970", i64::from(self.0) - (1 << 31))))?;
        Ok(days::directory(&name))
    }
}

fn no_day(shape: &Shape, what: String) -> super::Error {
    shape.value_error(format!("no day of the calendar: {what}"), "leave `partition_by` out, and run `binlake rebuild` for it")
}

/// Whether rows can be cut by the day of a column of this type.
pub(crate) fn has_days(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}

/// The day of each row; None for a table that is not cut by days.
///
/// # Errors
/// [`super::Error::Value`] for an instant whose day no calendar has.
pub(crate) fn days_of(shape: &Shape, batch: &RecordBatch) -> Result<Option<Vec<DayKey>>> {
    let Some(column) = shape.day().and_then(|index| batch.columns().get(index)) else { return Ok(None) };
    let valid = |row: usize| column.is_valid(row);
    if let Some(dates) = column.as_primitive_opt::<Date32Type>() {
        let days = dates.values().iter().enumerate();
        return Ok(Some(days.map(|(row, day)| if valid(row) { DayKey::of_number(*day) } else { DayKey::default() }).collect()));
    }
    if let Some(instants) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        let mut calendar = Calendar::of(shape);
        let days = instants.values().iter().enumerate();
        let mut day = |(row, at): (usize, &i64)| if valid(row) { calendar.day(shape, *at) } else { Ok(DayKey::default()) };
        return days.map(&mut day).collect::<Result<_>>().map(Some);
    }
    Err(shape.value_error(format!("days of a column of type {}", column.data_type()), "report this as a bug of binlake"))
}

/// Tells the day of instants; in UTC without the calendar.
struct Calendar {
    zoned: Option<Days>,
    last: (Date, DayKey),
}

impl Calendar {
    fn of(shape: &Shape) -> Self {
        let zoned = shape.zone().map(|zone| Days::in_zone(zone.clone()));
        Self { zoned, last: (EPOCH, DayKey::of_number(0)) }
    }

    fn day(&mut self, shape: &Shape, microseconds: i64) -> Result<DayKey> {
        let Some(days) = &mut self.zoned else {
            return Ok(DayKey::of_number(microseconds.div_euclid(DAY_MICROSECONDS) as i32));
        };
        let day = days.day(microseconds).map_err(|error| no_day(shape, format!("{microseconds} us: {error}")))?;
        if day != self.last.0 {
            let number = day.since(EPOCH).map_err(|error| no_day(shape, error.to_string()))?.get_days();
            self.last = (day, DayKey::of_number(number));
        }
        Ok(self.last.1)
    }
}

/// Cuts rows where one day follows another; all in one piece where the table is not cut by days.
///
/// # Errors
/// As [`days_of`].
pub(crate) fn cut_by_day(shape: &Shape, batch: RecordBatch) -> Result<Vec<(Option<DayKey>, RecordBatch)>> {
    let Some(days) = days_of(shape, &batch)? else { return Ok(vec![(None, batch)]) };
    let mut start = 0;
    let stretch = |stretch: &[DayKey]| {
        let rows = batch.slice(start, stretch.len());
        start += stretch.len();
        (stretch.first().copied(), rows)
    };
    Ok(days.chunk_by(|one, next| one == next).map(stretch).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::keys::to_hex;

    /// These bytes stand in the footers of files: they never change.
    #[test]
    fn days_have_golden_bytes_and_names() {
        let golden = [
            (i32::MIN, "00000000", Some("__HIVE_DEFAULT_PARTITION__")),
            (-719_528, "7ff50558", Some("0000-01-01")),
            (-1, "7fffffff", Some("1969-12-31")),
            (0, "80000000", Some("1970-01-01")),
            (20_781, "8000512d", Some("2026-11-24")),
            (2_932_896, "802cc0a0", Some("9999-12-31")),
            (i32::MAX, "ffffffff", None),
        ];
        for (number, bytes, name) in golden {
            let day = DayKey::of_number(number);
            assert_eq!((to_hex(&day.bytes()).as_str(), day.name().as_deref()), (bytes, name), "{number}");
            assert_eq!(DayKey::of_key(&[&day.bytes()[..], &[7, 8]].concat()), day);
        }
        let days = golden.map(|(number, ..)| DayKey::of_number(number));
        assert!(days.windows(2).all(|pair| pair[0] < pair[1] && pair[0].next() <= pair[1]));
        assert_eq!(DayKey::default(), days[0]);
    }
}
