//! Dying at a named point.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where to die, as the environment says.
const VARIABLE: &str = "BINLAKE_DIE_AT";

/// The point, and how many passages are left before the last one.
fn wanted() -> Option<&'static (String, AtomicU64)> {
    static WANTED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    WANTED.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| parse(&text))).as_ref()
}

fn parse(text: &str) -> (String, AtomicU64) {
    match text.rsplit_once(':') {
        Some((name, passage)) => (name.to_owned(), AtomicU64::new(passage.parse().unwrap_or(1))),
        None => (text.to_owned(), AtomicU64::new(1)),
    }
}

/// Dies at the wanted passage of the wanted point: nothing is flushed, no destructor runs.
pub(super) fn pass(name: &'static str) {
    let Some((wanted, left)) = wanted() else { return };
    if wanted == name && left.fetch_sub(1, Ordering::SeqCst) == 1 {
        eprintln!("{VARIABLE}: died at {name}");
        std::process::abort();
    }
}
