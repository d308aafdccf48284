//! No room, and no right to write: loud while it lasts, and when there is room again everything goes on by itself, nothing lost.

use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::lake::Reader;
use crate::mount::Mount;
use crate::scene::{Scene, Status};
use crate::server::Server;

/// A database with one table of ten rows.
async fn prepared(database: &str) -> (&'static Server, Scene, String) {
    let server = Server::shared();
    server.create_database(database).await;
    let table = format!("{database}.one");
    let rows: Vec<String> = (1..=10).map(|id| format!("({id},'row {id}')")).collect();
    server
        .execute(&[
            format!("CREATE TABLE {table} (id INT NOT NULL PRIMARY KEY AUTO_INCREMENT, note MEDIUMTEXT NULL)"),
            format!("INSERT INTO {table} VALUES {}", rows.join(",")),
        ])
        .await;
    let scene = Scene::new(server, &[format!("{{table: {table}}}")]);
    (server, scene, table)
}

/// Waits until the table's entry, or its source's, says why it does not get on, with what helps.
fn wait_for_words(daemon: &mut Daemon<'_>, table: &str, words: &[&str]) {
    let said = |status: &Status| {
        let source = &status.0["sources"][0];
        let entry = status.table(table).unwrap_or(source);
        format!("{} / {} / {} / {}", entry["reason"], entry["remedy"], source["reason"], source["remedy"])
    };
    daemon.wait_for(&format!("{words:?}"), |status| words.iter().all(|word| said(status).contains(word)));
}

fn rows(scene: &Scene, table: &str) -> u64 {
    let files = scene.files(table);
    Reader::start().query("SELECT count(*) FROM one", &[("one", &files)])[0][0].as_u64().unwrap()
}

/// Waits until readers see so many rows and nothing is said to be wrong any more.
fn wait_recovered(daemon: &mut Daemon<'_>, table: &str, rows: u64) {
    daemon.wait_for("recovery", |status| {
        let entry = status.table(table).unwrap();
        entry["rows"] == rows && entry["reason"].is_null() && status.phase(table) == "live"
    });
}

async fn end(server: &Server, scene: &Scene, daemon: Daemon<'_>, table: &str) {
    daemon.stop();
    scene.catch_up();
    assert_equal(scene, server, &[table]).await;
    assert!(scene.files(table).iter().all(|file| file.contains("/g0001/")), "{table} was built anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_that_is_full_or_read_only_says_so_and_goes_on_when_it_can() {
    let (server, scene, table) = prepared("full_lake").await;
    let lake = Mount::new(&scene.path("lake"), 4096);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(std::slice::from_ref(&table));

    lake.fill();
    server.execute(&[format!("INSERT INTO {table} (note) VALUES ('while it was full')")]).await;
    wait_for_words(&mut daemon, &table, &["No space left", "the lake", "make room", "goes on by itself"]);
    assert_eq!(rows(&scene, &table), 10, "readers keep what they had");
    lake.empty();
    wait_recovered(&mut daemon, &table, 11);

    lake.lock();
    server.execute(&[format!("INSERT INTO {table} (note) VALUES ('while it was locked')")]).await;
    wait_for_words(&mut daemon, &table, &["Read-only file system", "the lake", "writable", "goes on by itself"]);
    assert_eq!(rows(&scene, &table), 11, "readers keep what they had");
    lake.unlock();
    wait_recovered(&mut daemon, &table, 12);
    end(server, &scene, daemon, &table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_change_log_says_so_and_loses_nothing() {
    let (server, scene, table) = prepared("full_log").await;
    let log = Mount::new(&scene.path("state/changelog"), 8192);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(std::slice::from_ref(&table));

    log.fill();
    server
        .execute(&[format!("INSERT INTO {table} (note) SELECT UUID() FROM {table} UNION ALL SELECT UUID() FROM {table}")])
        .await;
    wait_for_words(&mut daemon, &table, &["change log", "changelog.db", "full", "make room", "goes on by itself"]);
    assert_eq!(rows(&scene, &table), 10, "readers keep what they had");
    log.empty();
    wait_recovered(&mut daemon, &table, 30);
    end(server, &scene, daemon, &table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_metadata_store_says_so_and_loses_nothing() {
    let (server, scene, table) = prepared("full_state").await;
    let state = Mount::new(&scene.path("state"), 16 << 10);
    let _log = Mount::new(&scene.path("state/changelog"), 16 << 10);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(std::slice::from_ref(&table));

    state.fill();
    server.execute(&[format!("INSERT INTO {table} (note) VALUES ('while it was full')")]).await;
    // It cannot write down that it cannot write: the log says it.
    daemon.wait_for("words in the daemon's log", |_| {
        let log = std::fs::read_to_string(scene.log()).unwrap();
        ["metadata store", "binlake.db", "is full", "make room"].iter().all(|word| log.contains(word))
    });
    assert_eq!(rows(&scene, &table), 10, "readers keep what they had");
    state.empty();
    wait_recovered(&mut daemon, &table, 11);
    end(server, &scene, daemon, &table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scratch_that_is_full_or_gone_stops_nothing_for_good() {
    let (server, mut scene, table) = prepared("full_scratch").await;
    scene.edit(|yaml| yaml.more = "memory: 64MiB\n".to_owned());
    // What a predecessor that was killed had spilled goes at the start; what is not ours stays.
    let scratch = scene.path("state/scratch");
    let mount = Mount::new(&scratch, 1024);
    std::fs::create_dir(scratch.join("batch-of-a-predecessor")).unwrap();
    std::fs::write(scratch.join("batch-of-a-predecessor/000001.arrow"), "spilled").unwrap();
    std::fs::write(scratch.join("of-somebody-else"), "kept").unwrap();
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(std::slice::from_ref(&table));
    assert!(!scratch.join("batch-of-a-predecessor").exists() && scratch.join("of-somebody-else").exists());

    // A transaction of 12 MB does not fit into its share of the memory.
    let large = format!("INSERT INTO {table} (note) SELECT REPEAT(UUID(), 30000) FROM {table} LIMIT 10");
    server.execute(std::slice::from_ref(&large)).await;
    wait_for_words(&mut daemon, &table, &["scratch", "No space left", "make room", "goes on by itself"]);
    assert_eq!(rows(&scene, &table), 10, "readers keep what they had");
    mount.resize(256 << 10);
    wait_recovered(&mut daemon, &table, 20);

    drop(mount);
    std::fs::remove_dir_all(&scratch).unwrap();
    server.execute(&[large]).await;
    wait_recovered(&mut daemon, &table, 30);
    end(server, &scene, daemon, &table).await;
}
