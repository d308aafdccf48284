//! The chance of a thread that simulates: its seed's, so that the same seed goes the same way.

use std::cell::RefCell;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

thread_local! {
    static CHANCE: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// Gives the thread back to the machine's chance when it goes.
#[derive(Debug)]
pub struct Simulated(());

impl Drop for Simulated {
    fn drop(&mut self) {
        CHANCE.set(None);
    }
}

/// For as long as the answer lives, what is random in this thread comes from `seed`, and nothing leaves the thread.
#[must_use]
pub fn simulate(seed: u64) -> Simulated {
    CHANCE.set(Some(StdRng::seed_from_u64(seed)));
    Simulated(())
}

pub(super) fn simulated() -> bool {
    CHANCE.with_borrow(Option::is_some)
}

pub(super) fn random() -> Option<u128> {
    CHANCE.with_borrow_mut(|chance| chance.as_mut().map(|chance| chance.random()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial;

    #[test]
    fn the_same_seed_gives_the_same_chance_and_only_while_it_is_asked_for() {
        let draw = |seed| {
            let held = simulate(seed);
            assert!(trial::is_simulated());
            let drawn: Vec<u128> = (0..4).map(|_| trial::random()).collect();
            drop(held);
            drawn
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(!trial::is_simulated());
        assert_ne!(trial::random(), trial::random());
    }
}
