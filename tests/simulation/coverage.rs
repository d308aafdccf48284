//! What happened in a run, so that a run in which little went wrong is noticed.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name, and the steps of each seed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Coverage {
    pub counts: BTreeMap<&'static str, u64>,
    pub steps: Vec<u64>,
    /// A fingerprint of all that happened, in order.
    pub trace: u64,
}

impl Coverage {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.steps.extend(&other.steps);
        // Seeds end in any order.
        self.trace ^= other.trace;
    }

    pub(crate) fn median_steps(&self) -> u64 {
        let mut steps = self.steps.clone();
        steps.sort_unstable();
        steps.get(steps.len() / 2).copied().unwrap_or_default()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.steps.iter().sum();
        writeln!(f, "{} seeds, {total} steps, {} in the median seed", self.steps.len(), self.median_steps())?;
        for (what, count) in &self.counts {
            writeln!(f, "  {what:<34} {count:>10}")?;
        }
        Ok(())
    }
}
