//! What keeping a table up has cost lately, told by its own commit records, so that it can be asked with the daemon up or down.
//!
//! Copy-on-write writes whole row groups for single rows. That is cheap where changes lie together, and dear where a few of them are
//! spread over a large table: then every commit writes most of it anew. Nothing is wrong with such a table until its commits take longer than
//! the changes take to come. Both are seen beforehand: how many bytes are written for each byte that changes, and which part
//! of the time the commits take.

use serde::{Deserialize, Serialize};

use super::Committed;

/// Commits that are looked back on.
pub(crate) const LOOKED_BACK_ON: usize = 20;
/// So many are needed before anything is said of them.
const ENOUGH: usize = 5;
/// Commits that take this part of the time leave no room for more.
const BUSY: f64 = 0.7;
/// From here on it is copying that takes it, and not the changes themselves.
const MOSTLY_COPIES: f64 = 4.0;

/// What one commit with changes has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// When it was made, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// From the end of its batch to its record, milliseconds.
    pub took_ms: u64,
    /// Rows inserted, updated and deleted.
    pub rows: u64,
    /// Bytes of the files that it wrote.
    pub bytes: u64,
}

impl Committed {
    /// Bytes written for each byte of the rows that changed, these being as large as the table's are on average; None while nothing is
    /// known.
    pub fn write_amplification(&self) -> Option<f64> {
        let (rows, bytes) = self.recent.iter().fold((0, 0), |(rows, bytes), effort| (rows + effort.rows, bytes + effort.bytes));
        (rows > 0 && self.bytes > 0).then(|| bytes as f64 * self.rows as f64 / (rows as f64 * self.bytes as f64))
    }

    /// The part of the time that commits have taken; None while it is too early to say.
    pub fn busy(&self) -> Option<f64> {
        let [first, later @ ..] = self.recent.as_slice() else { return None };
        let last = later.last().filter(|_| self.recent.len() >= ENOUGH)?;
        let span = last.at_ms.saturating_sub(first.at_ms);
        let took: u64 = later.iter().map(|effort| effort.took_ms).sum();
        (span > 0).then(|| (took as f64 / span as f64).min(1.0))
    }

    /// Why the table is about to fall behind, if it is: its commits do little else than copy, nearly all the time.
    pub fn strained(&self) -> Option<String> {
        let (busy, amplification) = self.busy().zip(self.write_amplification())?;
        (busy >= BUSY && amplification >= MOSTLY_COPIES).then(|| {
            let percent = busy * 100.0;
            format!("commits take {percent:.0} % of the time and write {amplification:.1} bytes for each one that changes: with more changes it falls behind")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A table of a thousand rows of 100 bytes; commits every ten seconds.
    fn table(commits: u64, took_ms: u64, rows: u64, bytes: u64) -> Committed {
        let effort = |nth| Effort { at_ms: 1_000_000 + nth * 10_000, took_ms, rows, bytes };
        Committed {
            generation: 1,
            seq: commits,
            point: None,
            files: 1,
            rows: 1000,
            bytes: 100_000,
            committed_ms: 0,
            zero_dates: BTreeMap::new(),
            recent: (0..commits).map(effort).collect(),
        }
    }

    #[test]
    fn bytes_are_held_against_those_that_changed_and_commits_against_the_time() {
        let some = table(8, 2500, 10, 5_000);
        assert_eq!(some.write_amplification(), Some(5.0));
        assert_eq!(some.busy(), Some(0.25));
        assert_eq!(some.strained(), None);
    }

    #[test]
    fn a_table_whose_commits_copy_all_the_time_is_told_of_and_one_that_catches_up_is_not() {
        let strained = table(8, 7500, 10, 50_000).strained().unwrap();
        assert!(strained.contains("75 %") && strained.contains("50.0 bytes"), "{strained}");
        assert_eq!(table(8, 9_900, 1000, 150_000).strained(), None, "it writes what changes");
        assert_eq!(table(4, 9_900, 10, 50_000).strained(), None, "too early");
    }

    #[test]
    fn of_nothing_nothing_is_said() {
        for nothing in [table(0, 0, 0, 0), Committed { bytes: 0, rows: 0, ..table(8, 1, 10, 10) }] {
            assert_eq!((nothing.write_amplification(), nothing.strained()), (None, None));
        }
    }
}
