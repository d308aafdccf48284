//! The kills can fail: with a mistake planted in the real binary, one kill at the right point is found at the end.

use binlake::trial::{Mistake, at};

use crate::daemon::Daemon;
use crate::equality::differences;
use crate::scene::Scene;
use crate::server::Server;
use crate::workload::{self, SHAPES, Workload};

/// Rows that every table starts with.
const ROWS: usize = 500;
/// Kills until the mistake has to be found: the first one may come where there is nothing to lose.
const KILLS: u64 = 10;

/// Kills a daemon that makes the mistake until a table is parked for it or differs from MySQL.
async fn is_found(database: &'static str, mistake: Mistake, point: &'static str) {
    let server = Server::shared();
    workload::prepare(server, database, &SHAPES, ROWS).await;
    let tables = workload::names(database, &SHAPES);
    let mut scene = Scene::new(server, &[format!("{{table: {database}.*}}")]);
    scene.catch_up();
    for kill in 1..=KILLS {
        let load = Workload::start(server, database, &SHAPES, 30 + kill).await;
        load.commits(20).await;
        // The variant's name is what the variable takes.
        scene.variables = vec![("BINLAKE_PLANT", format!("{mistake:?}"))];
        Daemon::die_at(&scene, point, kill);
        scene.variables.clear();
        load.stop().await;
        let ended = scene.catch_up_somehow();
        if ended.code != Some(0) {
            assert!(ended.text().contains("is parked"), "it ended otherwise than by parking: {}", ended.text());
            return;
        }
        if !differences(&scene, server, &tables).await.is_empty() {
            return;
        }
    }
    panic!("{KILLS} kills at {point} did not betray {mistake:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_betrays_published_saved_before_the_records() {
    is_found("betrayed_published", Mistake::PublishedBeforeAcknowledged, at::PUBLISHED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_betrays_offsets_committed_apart_from_the_data() {
    is_found("betrayed_offsets", Mistake::OffsetsApartFromData, at::COMMITTED).await;
}
