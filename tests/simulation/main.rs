//! The real pipeline and coordinator in a world that is all model: the server, the change log, the metadata store, the lake's store and
//! the time are in memory, and everything that can go wrong goes wrong as one seed says.
//!
//! A *step* is a call that may change something durable or visible, or an event of the world: each is counted, may meet a fault, and is
//! followed by the check ([`oracle`]). Nothing leaves a seed's thread, so a seed goes the same way every time:
//! `SIMULATION_SEED=n cargo test --locked --test simulation -- --nocapture` shows how. `make simulate SEEDS=n` runs as many as one likes.
//!
//! What is not simulated here: files of `scratch` (a batch that spills does so into real files, without faults), and the real tenants
//! behind the doors, which the contract suites hold to the same semantics.

// Failing loudly is what a test is for; clippy knows that of functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::panic)]

mod coverage;
mod days;
mod history;
mod lake;
mod load;
mod oracle;
#[cfg(debug_assertions)]
mod planted;
mod rooms;
mod run;
mod settings;
mod shown;
mod stage;
mod violation;
mod world;

use coverage::Coverage;

/// Seeds of one run of `make test`.
const SEEDS: u64 = 10_000;

/// The first of them.
const FROM: u64 = 0;

/// A run of so many seeds must have covered everything often.
const MANY: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn whatever_goes_wrong_every_reader_sees_the_source_as_it_was() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let coverage = run::shown(seed).unwrap_or_else(|violation| panic!("{violation}"));
        println!("{coverage}");
        return;
    }
    let (from, count) = (number("SIMULATION_FROM").unwrap_or(FROM), number("SIMULATION_SEEDS").unwrap_or(SEEDS));
    let started = std::time::Instant::now();
    let coverage = run::seeds(from..from + count, None).unwrap_or_else(|violation| panic!("{violation}"));
    println!("{coverage}{:.1} s", started.elapsed().as_secs_f64());
    if count >= MANY {
        assert_covered(&coverage);
    }
}

/// A run in which little went wrong proves little.
fn assert_covered(coverage: &Coverage) {
    assert!(coverage.median_steps() >= 300, "{} steps in the median seed", coverage.median_steps());
    for what in run::EXPECTED {
        assert!(coverage.of(what) >= 500, "{what}: only {} times", coverage.of(what));
    }
}

/// Played twice at the same time: what two plays shared would be seen too.
#[test]
fn the_same_seed_goes_the_same_way() {
    let play = |seed| run::seed(seed, None).unwrap_or_else(|violation| panic!("{violation}"));
    for seed in 0..12 {
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| play(seed));
            (play(seed), other.join().unwrap())
        });
        assert_eq!(one, other, "seed {seed}");
    }
}
