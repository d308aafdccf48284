//! A metadata store or a change log that was lost, or is older than the lake. Nothing is skipped and nobody is overrun: a daemon whose
//! store is behind does not begin, unless the operator says that no other one is alive.

use std::path::PathBuf;

use crate::daemon::Daemon;
use crate::equality::{assert_equal, assert_no_duplicates};
use crate::lake::Reader;
use crate::log_file::LogFile;
use crate::scene::Scene;
use crate::server::Server;

async fn insert(server: &Server, tables: &[String], id: u32) {
    let changes = tables.iter().flat_map(|table| {
        [format!("INSERT INTO {table} VALUES ({id},'more')"), format!("UPDATE {table} SET note='touched by {id}' WHERE id=1")]
    });
    server.execute(&changes.collect::<Vec<_>>()).await;
}

/// The files of the metadata store.
fn store_files(scene: &Scene) -> Vec<PathBuf> {
    let all = std::fs::read_dir(scene.path("state")).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("binlake.db")).collect()
}

/// The daemon does not begin; it says what is ahead, and what helps.
fn assert_does_not_begin(scene: &Scene, words: &[&str]) {
    let said = scene.catch_up_badly().text();
    for word in ["is ahead of this metadata store", "stop every other daemon", "binlake run --take-over"].iter().chain(words) {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}

fn count(files: &[String]) -> u64 {
    Reader::start().query("SELECT count(*) FROM t", &[("t", files)])[0][0].as_u64().unwrap()
}

fn are_of(scene: &Scene, table: &str, generation: &str) -> bool {
    scene.files(table).iter().all(|file| file.contains(&format!("/{generation}/")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_metadata_store_is_noticed_and_everything_is_built_anew_beside_the_old() {
    let server = Server::shared();
    let tables = server.create_small("lost_state", &["one", "two"]).await;
    let scene = Scene::new(server, &["{table: lost_state.*}"]);
    scene.catch_up();
    // Of the other nothing was taken since its snapshot: its offsets would fit any log.
    insert(server, &tables[..1], 3).await;
    scene.catch_up();
    let readable = scene.files("lost_state.one");

    store_files(&scene).iter().for_each(|file| std::fs::remove_file(file).unwrap());
    insert(server, &tables, 4).await;
    assert_does_not_begin(&scene, &["lake table ods_lost_state.one, generation 1, term 2"]);
    assert_does_not_begin(&scene, &["generation 1"]);
    // Terms grow with every start: no number of starts makes the daemon begin by itself.
    assert_does_not_begin(&scene, &["generation 1"]);
    assert_eq!(count(&readable), 3, "what readers had is as it was");
    let ended = scene.take_over();
    assert_eq!(ended.code, Some(0), "{}", ended.text());
    assert!(tables.iter().all(|table| are_of(&scene, table, "g0002")), "{:?}", scene.files("lost_state.one"));
    assert_eq!(count(&readable), 3, "files that a reader may have planned on stay");
    assert_equal(&scene, server, &tables).await;

    insert(server, &tables, 5).await;
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;

    // The whole state, the change log with it.
    std::fs::remove_dir_all(scene.path("state")).unwrap();
    insert(server, &tables, 6).await;
    assert_does_not_begin(&scene, &["generation 2"]);
    let ended = scene.take_over();
    assert_eq!(ended.code, Some(0), "{}", ended.text());
    assert!(tables.iter().all(|table| are_of(&scene, table, "g0003")), "{:?}", scene.files("lost_state.one"));
    insert(server, &tables, 7).await;
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_store_from_an_old_backup_goes_on_at_the_lakes_offsets() {
    let server = Server::shared();
    let tables = server.create_small("restored", &["kept", "rebuilt", "later"]).await;
    let item = |table: &str| format!("{{table: restored.{table}, mode: both}}");
    let mut scene = Scene::new(server, &[item("kept"), item("rebuilt")]);
    scene.catch_up();
    let backup: Vec<(PathBuf, Vec<u8>)> =
        store_files(&scene).into_iter().map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect();

    // The store goes on: more changes in three runs, a rebuild, a table that the backup does not know.
    insert(server, &tables, 3).await;
    scene.edit(|yaml| yaml.tables.push(item("later")));
    scene.catch_up();
    insert(server, &tables, 4).await;
    scene.good(&["rebuild", "restored.rebuilt"]);
    scene.catch_up();
    insert(server, &tables, 5).await;
    scene.catch_up();
    insert(server, &tables, 6).await;

    store_files(&scene).iter().for_each(|file| std::fs::remove_file(file).unwrap());
    backup.iter().for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
    assert_does_not_begin(&scene, &["which is at term 2"]);
    assert_eq!(count(&scene.files("restored.kept")), 5, "readers keep what they had");
    let ended = scene.take_over();
    assert_eq!(ended.code, Some(1), "{}", ended.text());
    let status = scene.status();
    let rebuilt = status.parked("restored.rebuilt").unwrap_or_else(|| panic!("{}", ended.text()));
    assert!(rebuilt.contains("generation 1 was replaced") && rebuilt.contains("binlake rebuild"), "{rebuilt}");
    assert_eq!((status.phase("restored.kept"), status.phase("restored.later")), ("live", "live"));
    assert_eq!(count(&scene.files("restored.rebuilt")), 5, "readers keep the generation that they were sent to");
    assert!(are_of(&scene, "restored.kept", "g0001"), "the lake knew where to go on");
    assert!(are_of(&scene, "restored.later", "g0002"), "nobody knew where to go on");
    assert_equal(&scene, server, &["restored.kept", "restored.later"]).await;
    assert_no_duplicates(&scene, "restored.kept");

    scene.good(&["rebuild", "restored.rebuilt"]);
    insert(server, &tables, 7).await;
    scene.catch_up();
    assert!(are_of(&scene, "restored.rebuilt", "g0003"), "{:?}", scene.files("restored.rebuilt"));
    assert_equal(&scene, server, &tables).await;
    tables.iter().for_each(|table| assert_no_duplicates(&scene, table));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_change_log_parks_what_it_held_and_nothing_else() {
    let server = Server::shared();
    let tables = server.create_small("lost_log", &["waiting", "taken", "silent"]).await;
    let mut scene = Scene::new(server, &["{table: lost_log.*}"]);
    scene.catch_up();
    insert(server, &tables[1..2], 3).await;
    scene.catch_up();
    // Changes that are in the log and nowhere else.
    scene.edit(|yaml| yaml.commit = "{interval: 1h}".to_owned());
    let mut daemon = Daemon::start(&scene);
    insert(server, &tables[..1], 3).await;
    daemon.wait_for("records in the log", |_| LogFile::open(&scene, "lost_log.waiting").end() == 2);
    daemon.stop();

    std::fs::remove_dir_all(scene.path("state/changelog")).unwrap();
    insert(server, &tables, 4).await;
    let ended = scene.catch_up_badly().text();
    let status = scene.status();
    for table in &tables[..2] {
        let said = status.parked(table).unwrap_or_else(|| panic!("{table}: {ended}"));
        assert!(said.contains("ends at offset 0") && said.contains("up to 2 (position 0:"), "{said}");
        assert!(said.contains("the change log was lost") && said.contains("binlake rebuild"), "{said}");
    }
    assert_eq!(status.phase("lost_log.silent"), "live", "it lost nothing");
    assert_equal(&scene, server, &["lost_log.silent"]).await;
    assert_eq!(
        (count(&scene.files("lost_log.waiting")), count(&scene.files("lost_log.taken"))),
        (2, 3),
        "readers keep what they had"
    );

    tables[..2].iter().for_each(|table| drop(scene.good(&["rebuild", table])));
    insert(server, &tables, 5).await;
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}
