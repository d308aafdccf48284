//! `kill -9` in the middle of everything, the load going on: nothing lost, nothing double, nothing read anew.
//!
//! The points are those of [`binlake::trial::at`]: a daemon is started to die at one of them, and has to have died there.

mod planted;
mod run;
mod stage;

use binlake::trial::at;

use crate::daemon::Daemon;
use crate::workload::{SHAPES, Workload};
use run::{Plan, Run};
use stage::Stage;

/// Every named point was died at often enough: a new one cannot be forgotten here.
fn assert_everywhere(tally: &std::collections::BTreeMap<&'static str, u64>, times: u64) {
    for point in at::ALL {
        let died = tally.get(point).copied().unwrap_or_default();
        assert!(died >= times, "only {died} kills at {point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn some_dozens_of_kills_at_every_point_and_at_any_moment() {
    let plan = Plan { seed: 21, large_rows: 60_000, per_point: 1, in_load: 4, in_tail: 6, of_server: 1 };
    let tally = Run::start("killed", plan).await.through().await;
    assert_everywhere(&tally, 1);
    assert!(tally.values().sum::<u64>() >= 30, "{tally:?}");
}

#[ignore = "long: hundreds of kills"]
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_kills_at_every_point_and_at_any_moment() {
    let plan = Plan { seed: 1021, large_rows: 150_000, per_point: 6, in_load: 40, in_tail: 80, of_server: 10 };
    let tally = Run::start("killed_hundreds", plan).await.through().await;
    assert_everywhere(&tally, 5);
    assert!(tally.values().sum::<u64>() >= 200, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_started_again_while_the_load_goes_on() {
    let stage = Stage::new("stopped", 60_000, &[]).await;
    let load = Workload::start(&stage.server, stage.database, &SHAPES, 23).await;
    load.commits(20).await;

    stage.start_until_percent(30).stop();
    load.commits(300).await;
    let mut daemon = Daemon::start(&stage.scene);
    daemon.wait_live(&stage.tables);
    daemon.stop();
    load.commits(300).await;
    let mut daemon = Daemon::start(&stage.scene);
    daemon.wait_live(&stage.tables);
    load.stop().await;
    daemon.stop();
    stage.assert_exact(1, 0).await;
}
