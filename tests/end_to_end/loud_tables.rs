//! What cannot be followed of one table parks it, loudly: reason, place and remedy are shown, all others go on, what was committed stays
//! readable and right, nothing is skipped, and the remedy that was named recovers it.

use crate::daemon::Daemon;
use crate::equality::{Kept, assert_equal};
use crate::scene::Scene;
use crate::server::Server;

/// A table, what is done in one session that it cannot be followed through, and what the reason must say.
struct Ill {
    table: &'static str,
    /// What the session sets at first.
    setting: Option<&'static str>,
    statements: &'static [&'static str],
    reason: &'static str,
}

/// What is done in a session of the server's own settings.
const fn ill(table: &'static str, statements: &'static [&'static str], reason: &'static str) -> Ill {
    Ill { table, setting: None, statements, reason }
}

/// One statement in a session that sets something before.
const fn under(setting: &'static str, table: &'static str, statements: &'static [&'static str], reason: &'static str) -> Ill {
    Ill { setting: Some(setting), ..ill(table, statements, reason) }
}

/// The captured tables, all of one shape. Those in `beside` are changed by what names none of them.
const TABLES: [&str; 13] = [
    "loud.calm",
    "loud.minimal",
    "loud.noblob",
    "loud.statement",
    "loud.exchanged",
    "loud.partner",
    "loud.again",
    "loud.same",
    "loud.circle_one",
    "loud.circle_two",
    "loud.swapped",
    "beside.viewed",
    "beside.triggered",
];

/// Not captured.
const OTHERS: [&str; 4] = [
    "ALTER TABLE loud.exchanged PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (6), PARTITION high VALUES LESS THAN MAXVALUE)",
    "CREATE TABLE beside.rest (id INT NOT NULL PRIMARY KEY)",
    "CREATE VIEW beside.view_of_it AS SELECT id, a FROM beside.viewed",
    "CREATE TRIGGER beside.on_rest AFTER INSERT ON beside.rest FOR EACH ROW UPDATE beside.triggered SET a = a + 1",
];

const ILLS: [Ill; 12] = [
    under("binlog_row_image = MINIMAL", "loud.minimal", &["UPDATE loud.minimal SET a = 100 WHERE id = 3"], "binlog_row_image"),
    under("binlog_row_image = NOBLOB", "loud.noblob", &["UPDATE loud.noblob SET a = 100 WHERE id = 3"], "binlog_row_image"),
    under("binlog_format = STATEMENT", "loud.statement", &["UPDATE loud.statement SET a = 100 WHERE id = 3"], "statement format"),
    under(
        "binlog_format = STATEMENT",
        "beside.viewed",
        &["UPDATE beside.view_of_it SET a = 100 WHERE id = 3"],
        "statement format",
    ),
    under("binlog_format = STATEMENT", "beside.triggered", &["INSERT INTO beside.rest VALUES (1)"], "statement format"),
    ill(
        "loud.exchanged",
        &["ALTER TABLE loud.exchanged EXCHANGE PARTITION low WITH TABLE loud.partner WITHOUT VALIDATION"],
        "EXCHANGE PARTITION",
    ),
    ill("loud.partner", &[], "EXCHANGE PARTITION"),
    ill(
        "loud.again",
        &[
            "DROP TABLE loud.again",
            "CREATE TABLE loud.again (id BIGINT NOT NULL PRIMARY KEY, other DECIMAL(5,2), a VARCHAR(10))",
            "INSERT INTO loud.again VALUES (1, 2.50, 'one'), (3, NULL, 'three')",
        ],
        "was dropped",
    ),
    ill(
        "loud.same",
        &[
            "CREATE TABLE loud.same_new LIKE loud.same",
            "DROP TABLE loud.same",
            "ALTER TABLE loud.same_new RENAME loud.same",
            "INSERT INTO loud.same VALUES (3, 3, 3, 'in the new one')",
        ],
        "was dropped",
    ),
    ill(
        "loud.circle_one",
        &[
            "RENAME TABLE loud.circle_one TO loud.away, loud.circle_two TO loud.circle_one, loud.away TO loud.circle_two",
            "UPDATE loud.circle_one SET a = 100 WHERE id = 3",
        ],
        "renamed",
    ),
    ill("loud.circle_two", &[], "renamed"),
    ill(
        "loud.swapped",
        &["ALTER TABLE loud.swapped RENAME COLUMN a TO b, RENAME COLUMN b TO a", "UPDATE loud.swapped SET a = 100 WHERE id = 3"],
        "RENAME COLUMN",
    ),
];

/// Whether a text names a place of a binlog file.
pub(crate) fn names_a_place(text: &str) -> bool {
    text.match_indices("binlog.").any(|(at, _)| {
        let behind = &text[at + "binlog.".len()..];
        let digits = behind.chars().take_while(char::is_ascii_digit).count();
        let offset = behind[digits..].strip_prefix(':').unwrap_or_default();
        digits >= 6 && offset.starts_with(|letter: char| letter.is_ascii_digit())
    })
}

async fn prepared(options: &[&str]) -> (Server, Scene) {
    let server = Server::start(options).await;
    for database in ["loud", "beside"] {
        server.create_database(database).await;
    }
    let rows: Vec<String> = (1..=10).map(|id| format!("({id},{id},{},'row {id}')", id * 10)).collect();
    for table in TABLES {
        let rows = if table == "loud.partner" { &rows[..5] } else { &rows[..] };
        server
            .execute(&[
                format!("CREATE TABLE {table} (id INT NOT NULL PRIMARY KEY, a INT, b INT, note TEXT)"),
                format!("INSERT INTO {table} VALUES {}", rows.join(",")),
            ])
            .await;
    }
    server.execute(&OTHERS).await;
    let items: Vec<String> = TABLES.iter().map(|table| format!("{{table: {table}}}")).collect();
    let scene = Scene::new(&server, &items);
    (server, scene)
}

/// Every ill happens to its table under one daemon.
async fn parks_and_recovers(options: &[&str]) {
    let (server, scene) = prepared(options).await;
    scene.catch_up();
    let names: Vec<String> = ILLS.iter().map(|ill| ill.table.to_owned()).collect();
    let mut daemon = Daemon::start(&scene);
    let all: Vec<String> = TABLES.iter().map(|table| (*table).to_owned()).collect();
    daemon.wait_live(&all);
    let mut kept = Vec::new();
    for name in &names {
        kept.push(Kept::of(&scene, &server, name).await);
    }
    for ill in &ILLS {
        let setting = ill.setting.map(|setting| format!("SET SESSION {setting}"));
        let statements: Vec<&str> = setting.as_deref().into_iter().chain(ill.statements.iter().copied()).collect();
        server.execute(&statements).await;
    }
    server.execute(&["UPDATE loud.calm SET b = 100 WHERE id = 3"]).await;

    let mut remedies = Vec::new();
    for (ill, name) in ILLS.iter().zip(&names) {
        let said = daemon.wait_parked(name);
        assert!(said.contains(ill.reason), "{name}: {:?} is not in {said}", ill.reason);
        assert!(names_a_place(&said), "{name}: no place in {said}");
        assert!(said.contains(&format!("`binlake rebuild {name}`")), "{name}: the remedy is not in {said}");
        remedies.push(name);
    }
    for kept in &kept {
        kept.assert_readable(&scene);
    }
    daemon.wait_for("commit of the calm table", |status| {
        status.table("loud.calm").is_some_and(|entry| entry["committed"]["seq"].as_u64() > Some(1))
    });
    assert_equal(&scene, &server, &["loud.calm"]).await;

    for name in remedies {
        scene.good(&["rebuild", name]);
    }
    daemon.wait_live_again(&all);
    server.execute(&["UPDATE loud.calm SET b = 101 WHERE id = 4", "UPDATE loud.circle_two SET a = 7 WHERE id = 7"]).await;
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, &server, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_followed_parks_its_table_and_the_remedy_recovers_it() {
    parks_and_recovers(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_where_the_binlog_does_not_name_columns() {
    parks_and_recovers(&["--binlog-row-metadata=MINIMAL"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cascades_that_no_binlog_tells_of_park_the_child() {
    let mut server = Server::start(&["--innodb-native-foreign-keys=ON"]).await;
    server.create_database("family").await;
    server
        .execute(&[
            "CREATE TABLE family.parent (id INT NOT NULL PRIMARY KEY)",
            "CREATE TABLE family.child (id INT NOT NULL PRIMARY KEY, parent INT, \
             CONSTRAINT of_parent FOREIGN KEY (parent) REFERENCES family.parent (id) ON DELETE CASCADE)",
            "INSERT INTO family.parent VALUES (1),(2),(3),(4)",
            "INSERT INTO family.child VALUES (1,1),(2,2),(3,3),(4,4)",
        ])
        .await;
    let tables = ["family.parent".to_owned(), "family.child".to_owned()];
    let scene = Scene::new(&server, &["{table: family.*}"]);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables[..1]);
    let said = daemon.wait_parked("family.child");
    assert!(said.contains("of_parent ON DELETE CASCADE") && said.contains("innodb_native_foreign_keys=OFF"), "{said}");
    server.execute(&["DELETE FROM family.parent WHERE id = 1"]).await;
    daemon.stop();

    // The remedy that is named: the server writes them.
    server.stop();
    server.set_options(&["--innodb-native-foreign-keys=OFF"]);
    server.start_again();
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live_again(&tables);
    server.execute(&["DELETE FROM family.parent WHERE id = 2"]).await;
    daemon.wait_for("cascade", |status| status.table("family.child").is_some_and(|entry| entry["rows"] == 2));
    let kept = Kept::of(&scene, &server, "family.child").await;

    // And later it does not any more: the child that is captured by now parks, before it can differ.
    server.stop();
    server.set_options(&["--innodb-native-foreign-keys=ON"]);
    server.start_again();
    let said = daemon.wait_parked("family.child");
    assert!(said.contains("of_parent ON DELETE CASCADE"), "{said}");
    server.execute(&["DELETE FROM family.parent WHERE id = 3"]).await;
    daemon.wait_for("parent's change", |status| status.table("family.parent").is_some_and(|entry| entry["rows"] == 1));
    kept.assert_readable(&scene);

    server.stop();
    server.set_options(&["--innodb-native-foreign-keys=OFF"]);
    server.start_again();
    scene.good(&["rebuild", "family.child"]);
    daemon.wait_live_again(&tables);
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, &server, &tables).await;
}
