//! The lake in a real HDFS: the main job, kills of the daemon and of HDFS's nodes, and what Hadoop itself finds there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use binlake::trial::at;

use crate::daemon::Daemon;
use crate::equality::assert_workload_exact;
use crate::hdfs::Hdfs;
use crate::scene::Scene;
use crate::server::Server;
use crate::workload::{self, SHAPES, Workload};

use super::NOTHING_STAYS;

/// How long cleaning up may take: the daemon looks every half minute.
const CLEAN_LIMIT: Duration = Duration::from_secs(120);

/// The live files of all tables, as paths in HDFS.
fn live(scene: &Scene, tables: &[String], both: &[String]) -> BTreeSet<String> {
    let root = format!("hdfs://127.0.0.1:{}", Hdfs::shared().port());
    let mirrors = tables.iter().map(|table| scene.files(table));
    let files = mirrors.chain(both.iter().map(|table| scene.changelog_files(table))).flatten();
    files.map(|file| file.strip_prefix(&root).unwrap().to_owned()).collect()
}

/// Waits until a daemon has removed all but the live files, what dead ones left beside their places too.
fn assert_clean(scene: &Scene, place: &str, tables: &[String], both: &[String]) {
    let daemon = Daemon::start(scene);
    let deadline = Instant::now() + CLEAN_LIMIT;
    loop {
        let files: BTreeSet<String> = Hdfs::shared().files(place).into_iter().collect();
        let live = live(scene, tables, both);
        assert!(live.is_subset(&files), "live files are gone: {:?}", live.difference(&files));
        // Whoever is killed while it tries the store leaves what it tries with, as in a bucket.
        let stays = |file: &&String| file.ends_with(".json") || file.contains("_binlake_probe_");
        let left: Vec<&String> = files.difference(&live).filter(|file| !stays(file)).collect();
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{} files that nobody needs stay: {left:?}", left.len());
    }
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_hdfs_stay_equal_whoever_is_killed_and_in_the_end_nothing_is_left_over() {
    let (server, database) = (Server::shared(), "in_hdfs");
    workload::prepare(server, database, &SHAPES, 300).await;
    let tables = workload::names(database, &SHAPES);
    let both = ["ordinary", "composite"].map(|table| format!("{database}.{table}"));
    let place = format!("/{}", Hdfs::place());
    let mut scene = Scene::new(server, &workload::listed(database, &["ordinary", "composite"]));
    scene.edit(|yaml| {
        yaml.lake_url = Some(format!("hdfs://127.0.0.1:{}{place}/ods", Hdfs::shared().port()));
        yaml.lake = format!("  options: {{dfs.client.socket-timeout: \"5000\"}}\n{NOTHING_STAYS}");
    });
    let checked = scene.good(&["check"]);
    assert!(checked.contains("OK       lake: lake: a second put to the same name is refused"), "{checked}");
    assert!(!Hdfs::shared().has(&place), "check leaves nothing");

    let load = Workload::start(server, database, &SHAPES, 89).await;
    for (passage, point) in (1..).zip([at::CHUNK_UPLOADED, at::ADOPTED, at::UPLOADED, at::COMMITTED]) {
        tokio::task::block_in_place(|| Daemon::die_at(&scene, point, passage % 3 + 1));
        load.commits(5).await;
    }
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let commits = |scene: &Scene| scene.status().commit(&both[0]);
    for node in ["datanode", "namenode"] {
        load.commits(30).await;
        tokio::task::block_in_place(|| Hdfs::shared().kill(node));
        load.commits(30).await;
        tokio::task::block_in_place(|| Hdfs::shared().revive());
        let seq = commits(&scene);
        daemon.wait_for("a commit after a node came back", |status| status.commit(&both[0]) > seq);
        daemon.wait_live(&tables);
    }
    load.commits(30).await;
    daemon.kill();
    load.stop().await;
    scene.catch_up();
    assert_workload_exact(&scene, server, database, &tables).await;
    tokio::task::block_in_place(|| assert_clean(&scene, &place, &tables, &both));
    assert_workload_exact(&scene, server, database, &tables).await;
}
