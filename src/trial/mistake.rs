//! The mistake that is planted in a thread.

use std::cell::Cell;

use super::Mistake;

thread_local! {
    static MISTAKE: Cell<Option<Mistake>> = const { Cell::new(None) };
}

/// Takes the mistake out again when it goes.
#[derive(Debug)]
pub struct Planted(());

impl Drop for Planted {
    fn drop(&mut self) {
        MISTAKE.set(None);
    }
}

/// Plants a mistake in this thread for as long as the answer lives.
#[must_use]
pub fn plant(mistake: Mistake) -> Planted {
    MISTAKE.set(Some(mistake));
    Planted(())
}

pub(super) fn is_planted(mistake: Mistake) -> bool {
    MISTAKE.get() == Some(mistake)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::planted;

    #[test]
    fn a_mistake_is_made_only_while_it_is_planted_and_only_in_its_thread() {
        assert!(!planted(Mistake::LoadBeforeVisible));
        let held = plant(Mistake::LoadBeforeVisible);
        assert!(planted(Mistake::LoadBeforeVisible));
        assert!(!std::thread::spawn(|| planted(Mistake::LoadBeforeVisible)).join().unwrap());
        drop(held);
        assert!(!planted(Mistake::LoadBeforeVisible));
    }
}
