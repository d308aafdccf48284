//! Switches that tests throw in the product's own code: planted mistakes and named points to die at.
//!
//! All exist only in builds with debug assertions; in a release build [`planted`] and [`is_simulated`] are `false` and [`point`] is
//! nothing, known when it is compiled. They are here because the code that decides correctness is what has to be tried, not a copy of it.
//!
//! - A **mistake** is planted in the thread that asks for it ([`plant`]): the simulation runs a seed in one thread, so two seeds side
//!   by side do not see each other's.
//! - **Chance** is a seed's in a thread that simulates ([`simulate`]): ids and jitter are the same in every run of it, and work that would
//!   go to a blocking thread is done on the spot.
//! - A **point** ends the process on the spot, as `kill -9` would: `BINLAKE_DIE_AT=name` at the first passage, `name:3` at the third.

#[cfg(debug_assertions)]
mod chance;
#[cfg(debug_assertions)]
mod mistake;
#[cfg(debug_assertions)]
mod points;

#[cfg(debug_assertions)]
pub use chance::{Simulated, simulate};
#[cfg(debug_assertions)]
pub use mistake::{Planted, plant};

/// A mistake that somebody could have made here. The names say what is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mistake {
    /// The loader reads before the server shows `since`.
    LoadBeforeVisible,
}

/// Whether this mistake is to be made now.
#[cfg(debug_assertions)]
pub fn planted(mistake: Mistake) -> bool {
    mistake::is_planted(mistake)
}

/// Whether this mistake is to be made now: never.
#[cfg(not(debug_assertions))]
pub const fn planted(_: Mistake) -> bool {
    false
}

/// Random bits: of the seed in a thread that simulates, else of the machine.
pub fn random() -> u128 {
    #[cfg(debug_assertions)]
    if let Some(bits) = chance::random() {
        return bits;
    }
    rand::random()
}

/// Whether this thread simulates: then nothing may leave it.
#[cfg(debug_assertions)]
pub fn is_simulated() -> bool {
    chance::simulated()
}

/// Whether this thread simulates: never.
#[cfg(not(debug_assertions))]
pub const fn is_simulated() -> bool {
    false
}

/// A place where a process may die in a test.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    points::pass(name);
}

/// A place where a process may die in a test: nothing.
#[cfg(not(debug_assertions))]
pub const fn point(_: &'static str) {}
