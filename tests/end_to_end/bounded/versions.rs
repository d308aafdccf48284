//! Old versions of a table that changes all the time: readers keep theirs for a while, and the lake does not grow.

use std::path::Path;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;

use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::scene::Scene;
use crate::server::Server;

/// Bytes and files of a directory, with all below it.
fn measure(directory: &Path) -> (u64, u64) {
    let mut sum = (0, 0);
    for entry in std::fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
        // What is deleted in between counts no more.
        let Ok(metadata) = entry.metadata() else { continue };
        let (bytes, files) = if metadata.is_dir() { measure(&entry.path()) } else { (metadata.len(), 1) };
        sum = (sum.0 + bytes, sum.1 + files);
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: minutes of a change a second"]
async fn old_versions_stay_within_retention() {
    let server = Server::shared();
    server.create_database("versions").await;
    let rows: Vec<String> = (1..=2_000).map(|id| format!("({id},SHA2({id},512))")).collect();
    server
        .execute(&[
            "CREATE TABLE versions.t (id INT NOT NULL PRIMARY KEY, note VARCHAR(200))".to_owned(),
            format!("INSERT INTO versions.t VALUES {}", rows.join(",")),
        ])
        .await;
    let mut scene = Scene::new(server, &["{table: versions.t}"]);
    // A minute's changes of a table that keeps an hour, sixty times as fast. Clean-ups come every 30 s.
    scene.edit(|yaml| yaml.lake = "  retention: {min: 20s, max: 60s, size: 3x}\n".to_owned());
    let tables = ["versions.t".to_owned()];
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let mut connection = server.connect().await;
    let (mut commits, mut most) = (0, (0, 0));
    let first = scene.files("versions.t");
    let live = std::fs::metadata(&first[0]).unwrap().len();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(300) {
        let before = scene.status().commit("versions.t");
        connection.query_drop("UPDATE versions.t SET note = SHA2(CONCAT(note, id), 512)").await.unwrap();
        daemon.wait_for("commit", |status| status.commit("versions.t") > before);
        let files = scene.files("versions.t");
        assert!(files.iter().all(|file| Path::new(file).exists()), "a live file is gone: {files:?}");
        if started.elapsed() < Duration::from_secs(15) {
            assert!(
                first.iter().all(|file| Path::new(file).exists()),
                "a file that a reader may have planned on went before `min`"
            );
        }
        let now = measure(&scene.path("lake/ods_versions/t/g0001"));
        most = (most.0.max(now.0), most.1.max(now.1));
        commits += 1;
    }
    connection.disconnect().await.unwrap();
    // At most a commit a second; what is younger than `min` at a clean-up and what came until the next one stays beside 3 x live.
    let (bytes_max, files_max) = ((3 + 1 + 20 + 30 + 10) * live * 5 / 4, 3 + 1 + 20 + 30 + 10);
    println!("{commits} commits of {live} bytes; at most {} bytes in {} files", most.0, most.1);
    assert!(commits > 100, "only {commits} commits");
    assert!(most.0 <= bytes_max, "{} bytes were there, not at most {bytes_max}", most.0);
    assert!(most.1 <= files_max, "{} files were there, not at most {files_max}", most.1);
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}
