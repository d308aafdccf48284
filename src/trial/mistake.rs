//! The mistake that is planted in a thread.

use std::cell::Cell;
use std::sync::OnceLock;

use super::Mistake;

/// The mistake of the whole process, by the name of its variant.
const VARIABLE: &str = "BINLAKE_PLANT";

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
    static EVERYWHERE: OnceLock<Option<String>> = OnceLock::new();
    let everywhere = EVERYWHERE.get_or_init(|| std::env::var(VARIABLE).ok()).as_deref();
    MISTAKE.get() == Some(mistake) || everywhere.is_some_and(|name| name == format!("{mistake:?}"))
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
