//! The C library's allocator, kept from keeping what was freed.
//!
//! glibc gives threads arenas of their own, eight a core, and what is freed into an arena stays with it: a daemon whose blocking threads
//! take turns at encoding row groups ends with a peak in each of them (measured while a commit of 1.6 GB was
//! written under `memory: 128MiB`: 209 MiB, and 97 with two arenas).
//! The number can be set in the environment before a program starts, or by a call that is not safe: so it starts once more.

use std::os::unix::process::CommandExt;
use std::process::Command;

const VARIABLE: &str = "MALLOC_ARENA_MAX";
const ARENAS: &str = "2";

/// Starts the program anew in this very process, with few arenas, unless the environment says how many there are to be.
pub(crate) fn keep_small() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // It returns only where it failed: then the daemon takes more memory, and nothing else is different.
    let error = again.args(arguments).env(VARIABLE, ARENAS).exec();
    eprintln!("binlake: could not be started with {VARIABLE}={ARENAS}, so it will take more memory: {error}");
}
