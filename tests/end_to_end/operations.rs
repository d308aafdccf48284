//! What docs/operations.md says: a job that moves to another machine, stores of a later version, the rights that are enough.

use std::process::Command;

use rusqlite::Connection;

use crate::daemon::Daemon;
use crate::equality::{assert_equal, assert_no_duplicates};
use crate::scene::Scene;
use crate::server::{PASSWORD, Server};

/// The scene of the same job elsewhere: a copy of the state, the same configuration, the same lake.
fn elsewhere(server: &Server, here: &Scene) -> Scene {
    let mut scene = Scene::new(server, &here.yaml.tables);
    let copied = Command::new("cp").arg("-a").arg(here.path("state")).arg(scene.path("")).status().unwrap();
    assert!(copied.success());
    scene.lake.clone_from(&here.lake);
    let yaml = here.yaml.clone();
    scene.edit(|new| *new = yaml);
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_moves_goes_on_where_it_was_and_its_old_place_stays_shut() {
    let server = Server::shared();
    let tables = server.create_small("moved", &["mirrored", "waiting"]).await;
    let mut here = Scene::new(server, &["{table: moved.*, mode: both}"]);
    // What is in the change log and nowhere else moves with it.
    here.edit(|yaml| yaml.commit = "{interval: 1h}".to_owned());
    let mut daemon = Daemon::start(&here);
    daemon.wait_live(&tables);
    let changes =
        |id: u32| tables.iter().map(move |table| format!("INSERT INTO {table} VALUES ({id}, 'moved')")).collect::<Vec<_>>();
    server.execute(&changes(70)).await;
    daemon.wait_for("changes in the log", |status| status.0["sources"][0]["lag_seconds"] == 0.0);
    daemon.stop();

    let there = elsewhere(server, &here);
    server.execute(&changes(71)).await;
    there.catch_up();
    assert_equal(&there, server, &tables).await;
    tables.iter().for_each(|table| assert_no_duplicates(&there, table));
    let first = |file: &String| file.contains("/g0001/");
    assert!(tables.iter().all(|table| there.files(table).iter().all(first)), "a table was built anew");

    server.execute(&changes(72)).await;
    there.catch_up();

    // Somebody starts the old one again: its state lies behind the lake.
    let said = here.catch_up_badly().text();
    assert!(said.contains("is ahead of this metadata store") && said.contains("stop every other daemon"), "{said}");
    server.execute(&changes(73)).await;
    there.catch_up();
    assert_equal(&there, server, &tables).await;
    tables.iter().for_each(|table| assert_no_duplicates(&there, table));
}

/// A start says no, with these words; when what was newer is gone again, the next one goes on as if nothing had been.
fn assert_refused(scene: &Scene, what: &str, words: &[&str]) {
    let said = scene.catch_up_badly().text();
    for word in words {
        assert!(said.contains(word), "{what}: {word:?} is not in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_of_a_later_version_are_refused_with_what_helps_and_left_as_they_are() {
    let server = Server::shared();
    let tables = server.create_small("newer_stores", &["one"]).await;
    let scene = Scene::new(server, &["{table: newer_stores.one}"]);
    scene.catch_up();

    let sql = |file: &str, statement: &str| Connection::open(scene.path(file)).unwrap().execute_batch(statement).unwrap();
    sql("state/binlake.db", "INSERT INTO format (version, binlake) VALUES (99, '99.0')");
    assert_refused(&scene, "the metadata store", &["binlake.db has format 99", "run the newer binlake"]);
    assert_eq!(scene.run(&["status"]).code, Some(1), "nor can it be looked at");
    sql("state/binlake.db", "DELETE FROM format WHERE version = 99");

    sql("state/changelog/changelog.db", "PRAGMA user_version = 99");
    assert_refused(
        &scene,
        "the change log",
        &["changelog.db has format 99", "run the binlake version that wrote it, or a later one"],
    );
    sql("state/changelog/changelog.db", "PRAGMA user_version = 1");

    let log = scene.lake.join("ods_newer_stores/one/_binlake/g0001/log");
    let last = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let number: u64 = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let newer = log.join(format!("{:020}.json", number + 1));
    std::fs::write(&newer, r#"{"v":2,"kind":"of tomorrow"}"#).unwrap();
    assert_refused(&scene, "the lake", &["it has format 2", "run the binlake version that wrote it, or a later one"]);
    assert!(last.exists() && newer.exists());
    std::fs::remove_file(&newer).unwrap();
    if scene.status().phase(&tables[0]) == "parked" {
        scene.good(&["resume", &tables[0]]);
    }
    server.execute(&["INSERT INTO newer_stores.one VALUES (70, 'after')"]).await;
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
    assert!(scene.files(&tables[0]).iter().all(|file| file.contains("/g0001/")), "it was built anew");
}

/// The statements of the first SQL block behind a heading of docs/operations.md.
fn documented_sql(heading: &str) -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let behind = text.split(heading).nth(1).unwrap_or_else(|| panic!("there is no {heading:?}"));
    let block = behind.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let without_comments: String = block.lines().map(|line| line.split("--").next().unwrap()).collect::<Vec<_>>().join("\n");
    without_comments.split(';').map(|statement| statement.trim().to_owned()).filter(|statement| !statement.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_the_documentation_are_enough_for_everything() {
    let server = Server::shared();
    let tables = server.create_small("rightful", &["one"]).await;
    let mut scene = Scene::new(server, &["{table: rightful.one}"]);
    let password = PASSWORD.replace('\\', "\\\\").replace('\'', "''");
    let granted: Vec<String> = documented_sql("## The user")
        .iter()
        .map(|statement| statement.replace("binlake@", "documented@").replace('…', &password).replace("shop.*", "rightful.*"))
        .collect();
    assert!(granted.len() >= 3 && granted[0].starts_with("CREATE USER"), "{granted:?}");
    server.execute(&granted).await;
    scene.edit(|yaml| yaml.user = "documented".to_owned());
    let checked = scene.good(&["check"]);
    let about_rights =
        |line: &&str| ["REPLICATION", "BACKUP_ADMIN", "XA_RECOVER", "GRANT", "SELECT"].iter().any(|right| line.contains(right));
    let complaints: Vec<&str> = checked.lines().filter(about_rights).filter(|line| !line.starts_with("OK")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    scene.catch_up();
    server.execute(&["UPDATE rightful.one SET note = 'seen' WHERE id = 1"]).await;
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}
