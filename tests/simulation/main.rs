//! The real pipeline and coordinator over the in-memory server, change log and metadata store and a lake in a temporary directory:
//! random load, the commit race, refused calls, lost answers, disconnects and kills, all from one seed.
//!
//! After every round each published mirror is compared with the server's rows at the very position that its commit names, and each
//! changelog table must hold no change twice. Replay one seed with `SIMULATION_SEED=n cargo test --test simulation`.

// Failing loudly is what a test is for; clippy knows that of functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::panic)]

mod reading;
mod world;

use world::World;

/// Seeds of one run.
const SEEDS: u64 = 24;

#[test]
fn every_published_mirror_equals_the_server_at_its_own_position() {
    let seeds: Vec<u64> = match std::env::var("SIMULATION_SEED") {
        Ok(seed) => vec![seed.parse().expect("SIMULATION_SEED is a number")],
        Err(_) => {
            let count = std::env::var("SIMULATION_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
            (0..count).collect()
        }
    };
    if seeds.len() == 1 {
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().init();
    }
    let mut total = world::Coverage::default();
    for seed in seeds {
        println!("seed {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let coverage = runtime.block_on(async { World::new(seed).run().await });
        total.add(&coverage);
    }
    println!("{total:?}");
    assert!(total.commits > 0 && total.checks > 0, "nothing was published: {total:?}");
    if std::env::var("SIMULATION_SEED").is_err() {
        assert!(
            total.kills > 20 && total.faults > 20 && total.raced > 20 && total.rebuilds > 5,
            "too little went wrong: {total:?}"
        );
    }
}
