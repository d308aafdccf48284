//! The lake in a bucket of a real S3: the main job, kills, two daemons, and a network that goes wrong.

mod bay;
#[cfg(feature = "hdfs")]
mod hdfs;

use std::process::Command;
use std::time::{Duration, Instant};

use binlake::trial::at;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::daemon::Daemon;
use crate::lake::Reader;
use crate::s3::SECRET;
use crate::s3_proxy::{Fate, Request};
use crate::scene::Scene;
use crate::workload::{SHAPES, Workload};
use bay::Bay;

/// Replaced files go at once, so that whatever stays is an orphan.
const NOTHING_STAYS: &str = "  retention: {min: 0s, max: 0s, size: 0x}\n";

#[tokio::test(flavor = "multi_thread")]
async fn tables_under_load_stay_equal_in_a_bucket_and_every_command_knows_them() {
    let bay = Bay::new("bucket_load", "").await;
    let table = bay.table("ordinary");
    let checked = bay.scene.good(&["check"]);
    assert!(checked.contains("OK       lake: lake: a second put to the same name is refused"), "{checked}");
    let load = Workload::start(bay.server, bay.database, &SHAPES, 71).await;
    let mut daemon = Daemon::start(&bay.scene);
    daemon.wait_live(&bay.tables);
    // A reader that asked for the files some commits ago still finds them.
    let mut reader = Reader::start();
    let (old, seq) = (bay.scene.files(&table), bay.scene.status().commit(&table));
    load.commits(200).await;
    daemon.wait_for("commits", |status| status.commit(&table) > seq.map(|seq| seq + 3));
    assert!(reader.query("SELECT count(*) FROM t", &[("t", &old)])[0][0].as_u64().unwrap() > 0);
    load.stop().await;
    daemon.stop();
    bay.assert_exact().await;

    let files = bay.scene.files(&table);
    assert!(files.iter().all(|file| file.starts_with(&format!("s3://{}/lakes/ods/", bay.bucket))), "{files:?}");
    let entry = bay.scene.status().table(&table).cloned().unwrap();
    assert!(entry["bytes"].as_u64() > Some(0) && entry["files"].as_u64() == Some(files.len() as u64), "{entry}");
    let explained = bay.scene.good(&["explain", &table]);
    assert!(explained.contains("handoff"), "{explained}");
    let said = [checked, explained, entry.to_string(), bay.scene.good(&["check", "--print-config"]), bay.scene.good(&["status"])];
    assert!(!said.concat().contains(SECRET) && !bay.scene.has_logged(SECRET), "a secret is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_around_commits_leave_no_hole_no_double_and_in_the_end_no_orphan() {
    let bay = Bay::new("bucket_kills", NOTHING_STAYS).await;
    let load = Workload::start(bay.server, bay.database, &SHAPES, 73).await;
    let points = [at::CHUNK_UPLOADED, at::ADOPTING, at::ADOPTED, at::UPLOADED, at::COMMITTED, at::UPLOADED, at::COMMITTED];
    for (passage, point) in (1..).zip(points) {
        tokio::task::block_in_place(|| Daemon::die_at(&bay.scene, point, passage % 3 + 1));
        load.commits(5).await;
    }
    let mut daemon = Daemon::start(&bay.scene);
    daemon.wait_live(&bay.tables);
    load.commits(50).await;
    daemon.kill();
    load.stop().await;
    bay.assert_exact().await;
    tokio::task::block_in_place(|| bay.assert_clean());
    bay.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_network_costs_time_and_nothing_else() {
    let bay = Bay::new("bucket_faults", NOTHING_STAYS).await;
    let load = Workload::start(bay.server, bay.database, &SHAPES, 79).await;
    let mut daemon = Daemon::start(&bay.scene);
    let fates = [
        Fate::SlowDown,
        Fate::CutInRequest,
        Fate::AnswerLost,
        Fate::CutInAnswer,
        Fate::AnswerWithheld,
        Fate::Slow(Duration::from_millis(500)),
    ];
    let mut dice = StdRng::seed_from_u64(79);
    bay.proxy.rule(move |request| match dice.random_ratio(1, 12) {
        true if request.is_commit() && dice.random_ratio(1, 4) => Fate::Conflict,
        true => fates[dice.random_range(0..fates.len())],
        false => Fate::Passes,
    });
    daemon.wait_live(&bay.tables);
    load.commits(300).await;
    // Away for good, as far as the daemon can know: for longer than the client tries.
    let table = bay.table("ordinary");
    bay.proxy.rule(|_| Fate::CutInRequest);
    let deadline = Instant::now() + Duration::from_secs(90);
    while !bay.scene.has_logged("Error performing") {
        assert!(Instant::now() < deadline && daemon.runs(), "nobody has noticed that the store is away");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bay.proxy.fair();
    let seq = bay.scene.status().commit(&table);
    daemon.wait_for("a commit after the outage", |status| status.commit(&table) > seq);
    daemon.wait_live(&bay.tables);
    load.stop().await;
    daemon.stop();
    bay.assert_exact().await;
    tokio::task::block_in_place(|| bay.assert_clean());
}

/// The scene of a daemon on another machine: the same file, a copy of the state, the same bucket.
fn elsewhere(bay: &Bay) -> Scene {
    let mut scene = Scene::new(bay.server, &bay.scene.yaml.tables);
    let copied = Command::new("cp").arg("-a").arg(bay.scene.path("state")).arg(scene.path("")).status().unwrap();
    assert!(copied.success());
    scene.variables = bay.scene.variables.clone();
    let yaml = bay.scene.yaml.clone();
    scene.edit(|new| *new = yaml);
    scene
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_daemons_on_one_bucket_the_later_one_writes() {
    let mut bay = Bay::new("bucket_two", "").await;
    let load = Workload::start(bay.server, bay.database, &SHAPES, 83).await;
    let mut old = Daemon::start(&bay.scene);
    old.wait_live(&bay.tables);
    load.commits(60).await;
    signal(old.pid(), "-STOP");
    let scene = elsewhere(&bay);
    let mut new = Daemon::start(&scene);
    new.wait_live(&bay.tables);
    load.commits(60).await;
    signal(old.pid(), "-CONT");
    load.commits(150).await;
    // Whoever was overtaken says so.
    let deadline = Instant::now() + Duration::from_secs(60);
    while old.runs() && !bay.scene.has_logged("is ahead of this metadata store") && !bay.scene.has_logged("overtaken") {
        assert!(Instant::now() < deadline, "the old daemon has not noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    load.stop().await;
    new.stop();
    drop(old);
    bay.scene = scene;
    bay.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_put_if_absent_is_refused_by_check_and_by_run() {
    let bay = Bay::new("bucket_careless", "").await;
    bay.proxy.forget_conditions();
    for arguments in [&["check"][..], &["run", "--until-caught-up"]] {
        let ended = bay.scene.run(arguments);
        assert_eq!(ended.code, Some(1), "{}", ended.text());
        for words in ["a second put-if-absent of the same name went through", "use a store that has put-if-absent"] {
            assert!(ended.text().contains(words), "{arguments:?}: {}", ended.text());
        }
    }
    bay.proxy.rule(|_: &Request| Fate::Passes);
    assert!(crate::s3::S3::shared().objects(&bay.bucket).is_empty(), "something was written");
}
