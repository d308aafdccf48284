//! The lake damaged from outside: commits deleted by hand, a table's folder removed. The table says what is gone and what helps, the
//! others go on, and a rebuild recovers.

use std::path::PathBuf;

use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::Server;

const NAMES: [&str; 5] = ["fine", "newest", "between", "at_rest", "folder"];

struct Stage {
    server: &'static Server,
    scene: Scene,
    tables: Vec<String>,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::shared();
        let tables = server.create_small("damaged", &NAMES).await;
        let mut scene = Scene::new(server, &["{table: damaged.*}"]);
        scene.edit(|yaml| yaml.commit = "{interval: 200ms}".to_owned());
        Self { server, scene, tables }
    }

    async fn insert(&self, id: u32) {
        let inserts: Vec<_> = self.tables.iter().map(|table| format!("INSERT INTO {table} VALUES ({id},'more')")).collect();
        self.server.execute(&inserts).await;
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.scene.path(&format!("lake/ods_damaged/{name}"))
    }

    /// The commit records of a table, oldest first.
    fn records(&self, name: &str) -> Vec<PathBuf> {
        let log = self.folder(name).join("_binlake/g0001/log");
        let mut records: Vec<PathBuf> = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
        records.sort();
        records
    }

    fn rows(&self, name: &str) -> u64 {
        let files = self.scene.files(&format!("damaged.{name}"));
        Reader::start().query("SELECT count(*) FROM t", &[("t", &files)])[0][0].as_u64().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_deleted_by_hand_and_a_folder_that_is_gone_park_their_tables_alone() {
    let stage = Stage::new().await;
    let scene = &stage.scene;
    let mut daemon = Daemon::start(scene);
    daemon.wait_live(&stage.tables);
    for id in 3..6 {
        stage.insert(id).await;
        let all = |status: &crate::scene::Status| {
            stage.tables.iter().all(|table| status.table(table).is_some_and(|entry| entry["rows"] == id))
        };
        daemon.wait_for("commits of all tables", all);
    }

    // Under the running daemon.
    std::fs::remove_file(stage.records("newest").pop().unwrap()).unwrap();
    std::fs::remove_file(&stage.records("between")[2]).unwrap();
    std::fs::remove_dir_all(stage.folder("folder")).unwrap();
    let shown = scene.status();
    let between = shown.table("damaged.between").unwrap();
    assert!(between["reason"].as_str().unwrap().contains("0003.json: the record is missing"), "{between}");
    assert_eq!(shown.table("damaged.fine").unwrap()["rows"], 5, "the others are shown all the same");
    let refused = scene.run(&["files", "damaged.between"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("binlake rebuild"), "{}", refused.text());

    stage.insert(6).await;
    let newest = daemon.wait_parked("damaged.newest");
    assert!(newest.contains(".json: the record is gone: it was deleted from outside") && newest.contains("rebuild"), "{newest}");
    let folder = daemon.wait_parked("damaged.folder");
    assert!(folder.contains("damaged") && folder.contains("rebuild"), "{folder}");
    daemon.wait_for("a commit of the table beside them", |status| status.table("damaged.fine").unwrap()["rows"] == 6);
    assert!([5, 6].contains(&stage.rows("newest")), "readers keep what they had");
    daemon.wait_for("the commit of `at_rest`", |status| status.table("damaged.at_rest").unwrap()["rows"] == 6);
    daemon.stop();

    // While no daemon runs.
    std::fs::remove_file(stage.records("at_rest").pop().unwrap()).unwrap();
    assert_eq!(stage.rows("at_rest"), 5, "readers see the commit before");
    stage.insert(7).await;
    let ended = scene.catch_up_badly().text();
    assert!(ended.contains("damaged.between is parked"), "{ended}");
    let at_rest = scene.status().parked("damaged.at_rest").expect("the log has let go what the deleted commit had taken");
    assert!(at_rest.contains("offset 3 is gone; the first that is left is 4") && at_rest.contains("rebuild"), "{at_rest}");
    assert_eq!((stage.rows("at_rest"), stage.rows("fine")), (5, 7));

    for table in &stage.tables[1..] {
        scene.good(&["rebuild", table]);
    }
    let mut daemon = Daemon::start(scene);
    daemon.wait_live_again(&stage.tables);
    stage.insert(8).await;
    daemon.wait_for("commits of all tables", |status| {
        stage.tables.iter().all(|table| status.table(table).is_some_and(|entry| entry["rows"] == 8))
    });
    daemon.stop();
    scene.catch_up();
    assert_equal(scene, stage.server, &stage.tables).await;
    assert!(scene.files("damaged.fine").iter().all(|file| file.contains("/g0001/")), "the table beside them was built anew");
}
