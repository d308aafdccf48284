//! Promise 9: whatever comes, the daemon's memory, its processor time and its disk stay within their limits, and nothing stands still
//! for good. Memory is the high-water mark that the kernel keeps of the real process.

mod many;
mod pressure;
mod rows;
mod transaction;
mod versions;

use crate::daemon::Daemon;

/// What `memory` does not count: the program itself, and what the allocator keeps.
const BESIDE_MEMORY_MIB: u64 = 128;

/// The most memory that the daemon has ever had, in MiB.
pub(crate) fn peak_mib(daemon: &Daemon<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Fails when the daemon has ever had more than `memory_mib` and what comes beside it.
pub(crate) fn assert_within(daemon: &Daemon<'_>, memory_mib: u64) {
    let peak = peak_mib(daemon);
    println!("peak RSS {peak} MiB under memory: {memory_mib}MiB");
    assert!(peak <= memory_mib + BESIDE_MEMORY_MIB, "the daemon took {peak} MiB under memory: {memory_mib}MiB");
}

/// Hundredths of a second that the daemon's threads have run so far.
fn processor_ticks(daemon: &Daemon<'_>) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    // Behind the program's name, which may hold spaces: utime and stime are the 14th and 15th field of all.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
