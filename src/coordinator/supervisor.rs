//! What a failure means to those who look on, and how long a worker that failed waits before it is started again.

use std::time::Duration;

use crate::trial;

use crate::change::failure::all_said;
use crate::change::{Failure, Remedy};
use crate::pipeline::Error;

/// Reason and remedy of an error, as people are shown them.
pub fn describe(error: &Error) -> (String, String) {
    let remedy = match error.remedy() {
        Remedy::Park(remedy) | Remedy::Stop(remedy) => remedy,
        Remedy::Retry => error.advice().unwrap_or_else(|| "it will be tried again".to_owned()),
        Remedy::Fenced => "another daemon has taken over".to_owned(),
    };
    (all_said(error), remedy)
}

/// What a log says of an error: no row's values.
pub fn logged(error: &Error) -> String {
    error.without_values().unwrap_or_else(|| all_said(error))
}

/// Doubling waits with jitter; a worker that ran for long enough starts over.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first`, never waits longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The wait after a failure of a worker that ran for `ran`.
    pub fn wait(&mut self, ran: Duration) -> Duration {
        if ran > self.longest {
            self.next = self.first;
        }
        let wait = self.next;
        self.next = (self.next * 2).min(self.longest);
        // Of all that would wait the same time, some come sooner.
        let jitter = (trial::random() >> 64) as f64 / u64::MAX as f64;
        wait.mul_f64(0.75 + jitter / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_a_long_run() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<u128> = (0..6).map(|_| backoff.wait(Duration::ZERO).as_millis()).collect();
        assert!((75..=125).contains(&waits[0]), "{waits:?}");
        assert!((750..=1250).contains(&waits[5]), "{waits:?}");
        assert!(backoff.wait(Duration::from_secs(2)).as_millis() <= 125);
    }
}
