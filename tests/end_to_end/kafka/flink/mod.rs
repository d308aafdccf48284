//! Apache Flink reads our topics with its stock `debezium-json` format, set up as `docs/kafka.md` says: what it makes of them is what MySQL
//! holds.

mod columns;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use mysql_async::prelude::Queryable;

use super::{hall, kcat};
use crate::broker::Brokers;
use crate::scene::Scene;
use crate::server::Server;
use crate::values::contract;
use columns::{Cell, Column};

/// A section of `docs/kafka.md`.
fn document() -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kafka.md")).unwrap();
    let (_, section) = text.split_once("\n## Apache Flink\n").unwrap();
    section.split_once("\n## ").map_or(section, |(section, _)| section).to_owned()
}

/// What the document's example sets, each with its value.
fn documented_options() -> Vec<(String, String)> {
    let text = document();
    let (_, with) = text.split_once(") WITH (\n").unwrap();
    let (with, _) = with.split_once("\n);").unwrap();
    let option = |line: &str| {
        let mut quoted = line.split('\'').skip(1).step_by(2).map(str::to_owned);
        (quoted.next().unwrap(), quoted.next().unwrap())
    };
    with.lines().map(option).collect()
}

/// A table of MySQL's, and what Flink is to know of it.
struct Table {
    name: &'static str,
    columns: Vec<Column>,
}

impl Table {
    fn declare(&self, as_name: &str, topic: &str, brokers: &Brokers, more: &[(&str, &str)]) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| format!("{} {}", column.name, column.declared)).collect();
        let mut options = documented_options();
        let ours = [
            ("topic", topic),
            ("properties.bootstrap.servers", &brokers.addresses().join(",")),
            ("scan.bounded.mode", "latest-offset"),
        ];
        for (name, value) in ours.iter().chain(more) {
            options.retain(|(known, _)| known != name);
            options.push(((*name).to_owned(), (*value).to_owned()));
        }
        let options: Vec<String> = options.iter().map(|(name, value)| format!("'{name}'='{value}'")).collect();
        format!("CREATE TABLE {as_name} ({}, PRIMARY KEY (id) NOT ENFORCED) WITH ({})", columns.join(", "), options.join(", "))
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.columns.iter().flat_map(|column| &column.cells)
    }

    fn query(&self, name: &str) -> String {
        format!("SELECT {} FROM {name}", self.cells().map(|cell| cell.flink.as_str()).collect::<Vec<_>>().join(", "))
    }

    fn plain(&self, mut rows: Vec<Vec<Option<String>>>) -> Vec<Vec<Option<String>>> {
        for row in &mut rows {
            for (cell, text) in self.cells().zip(row) {
                *text = text.take().map(|text| cell.plain(text));
            }
        }
        rows.sort();
        rows
    }

    /// What MySQL holds, as Flink is asked for it.
    async fn source(&self, server: &Server) -> Vec<Vec<Option<String>>> {
        let cells: Vec<&str> = self.cells().map(|cell| cell.mysql.as_str()).collect();
        let mut connection = server.connect().await;
        let rows: Vec<mysql_async::Row> =
            connection.query(format!("SELECT {} FROM flink.{}", cells.join(", "), self.name)).await.unwrap();
        connection.disconnect().await.unwrap();
        let cell = |row: &mysql_async::Row, index: usize| row.get::<Option<String>, usize>(index).unwrap();
        self.plain(rows.iter().map(|row| (0..cells.len()).map(|index| cell(row, index)).collect()).collect())
    }
}

/// What Flink made of a query: its rows, or why it failed.
type Answer = Result<Vec<Vec<Option<String>>>, String>;

/// Runs statements; an answer for each query.
fn run(statements: &[String]) -> Vec<Answer> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/flink.sh");
    let mut child = Command::new(script).args(["run", "3"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(statements.join("\n;\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "Flink ended with {}: see above", output.status);
    let (mut answers, mut rows, mut failed) = (Vec::new(), Vec::new(), None);
    for line in std::str::from_utf8(&output.stdout).unwrap().lines() {
        match line.strip_prefix("! ") {
            Some(why) => failed = Some(serde_json::from_str(why).unwrap()),
            None if line == "." => {
                let rows = std::mem::take(&mut rows);
                answers.push(failed.take().map_or(Ok(rows), Err));
            }
            None => rows.push(serde_json::from_str(line).unwrap()),
        }
    }
    answers
}

/// A column of every type, with its first sample in `docs/types.md`.
fn every() -> (Table, String, Vec<String>) {
    let mut samples: Vec<(String, String)> = Vec::new();
    for (kind, sample) in contract::samples() {
        if samples.iter().all(|(known, _)| *known != kind) {
            samples.push((kind, sample));
        }
    }
    let columns = samples.iter().enumerate().map(|(number, (kind, _))| Column::of(&format!("c{number}"), kind));
    let columns = [Column::of("id", "INT")].into_iter().chain(columns).collect();
    let kinds: Vec<String> = samples.iter().enumerate().map(|(number, (kind, _))| format!("c{number} {kind} NULL")).collect();
    let create = format!("CREATE TABLE flink.every (id INT NOT NULL PRIMARY KEY, {})", kinds.join(", "));
    let values: Vec<&str> = samples.iter().map(|(_, sample)| sample.as_str()).collect();
    let nulls: Vec<String> = (0..samples.len()).map(|number| format!("c{number} = NULL")).collect();
    let insert = |id: u32| format!("INSERT INTO flink.every VALUES ({id}, {})", values.join(", "));
    let changes = vec![
        // Labels that are no label, as the samples have them.
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'".to_owned(),
        insert(1),
        insert(2),
        insert(3),
        insert(4),
        "INSERT INTO flink.every (id) VALUES (5)".to_owned(),
        format!("UPDATE flink.every SET {} WHERE id = 2", nulls.join(", ")),
        "UPDATE flink.every SET id = 30 WHERE id = 3".to_owned(),
        "DELETE FROM flink.every WHERE id = 4".to_owned(),
    ];
    (Table { name: "every", columns }, create, changes)
}

/// A table of many keys, which change, move and go.
fn busy(name: &'static str) -> (Table, String) {
    let columns = [("id", "INT"), ("n", "INT"), ("note", "VARCHAR(40)")].map(|(name, kind)| Column::of(name, kind));
    (
        Table { name, columns: columns.into() },
        format!("CREATE TABLE flink.{name} (id INT NOT NULL PRIMARY KEY, n INT NULL, note VARCHAR(40) NULL)"),
    )
}

fn fill(name: &str) -> Vec<String> {
    let mut statements = vec![format!(
        "INSERT INTO flink.{name} WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 500) \
         SELECT id, id, CONCAT('row ', id) FROM n"
    )];
    for round in 1..=10 {
        statements
            .push(format!("UPDATE flink.{name} SET n = n * {round}, note = IF(n % 3 = 0, NULL, UUID()) WHERE id % {round} = 0"));
        statements.push(format!("UPDATE flink.{name} SET id = id + 10000 WHERE id % 11 = {round} AND id < 10000"));
        statements.push(format!("DELETE FROM flink.{name} WHERE id % 29 = {round}"));
        statements
            .push(format!("INSERT INTO flink.{name} VALUES ({round} * 100000, NULL, NULL), ({round} * 100000 + 1, 1, 'one')"));
    }
    statements
}

#[test]
fn the_document_names_every_declaration_and_conversion() {
    let text = document();
    let (table, ..) = every();
    for column in &table.columns {
        let declared = match column.declared.as_str() {
            digits if digits.starts_with("DECIMAL") && digits != "DECIMAL(20, 0)" => "DECIMAL(p, s)",
            declared => declared,
        };
        assert!(text.contains(&format!("`{declared}`")), "{declared} is not in docs/kafka.md");
        for cell in &column.cells {
            // The document's conversions end before they are made a text.
            let text_of = cell.flink.strip_prefix("CAST(").and_then(|rest| rest.strip_suffix(" AS STRING)"));
            let conversion = text_of.unwrap_or(&cell.flink).replace(&column.name, "c");
            assert!(
                !conversion.contains('(') || text.contains(&format!("`{conversion}`")),
                "{conversion} is not in docs/kafka.md"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: starts Flink"]
async fn flink_makes_of_the_topics_what_mysql_holds() {
    let server = Server::start(&[]).await;
    let brokers = Brokers::shared();
    server.create_database("flink").await;
    let (every, create, changes) = every();
    let (busy_table, create_busy) = busy("busy");
    let (cut, create_cut) = busy("cut");
    let (altered, create_altered) = busy("altered");
    server.execute(&[create, create_busy, create_cut, create_altered]).await;
    // The same tables into topics of one and of three partitions; the latter with transactions, whose marks stand between the records.
    let scenes = ["partitions: 1", "partitions: 3, transactions: true"].map(|more| {
        let mut scene = Scene::new(&server, &["{table: flink.*}"]);
        scene.edit(|yaml| yaml.log = format!("{}, {more}", hall::on(&brokers.addresses())));
        scene.catch_up();
        scene
    });
    server.execute(&changes).await;
    server.execute(&fill("busy")).await;
    server.execute(&[fill("cut"), vec!["TRUNCATE TABLE flink.cut".to_owned()], fill("cut")].concat()).await;
    server.execute(&[fill("altered"), vec!["ALTER TABLE flink.altered DROP COLUMN note".to_owned()]].concat()).await;
    for scene in &scenes {
        let ended = scene.catch_up_badly();
        assert!(ended.text().contains("flink.altered"), "{}", ended.text());
    }

    let mut statements = Vec::new();
    for (number, scene) in scenes.iter().enumerate() {
        for table in [&every, &busy_table, &cut, &altered] {
            let name = format!("{}_{number}", table.name);
            let topic = format!("{}.flink.{}", scene.yaml.name, table.name);
            statements.push(table.declare(&name, &topic, brokers, &[("properties.isolation.level", "read_committed")]));
            statements.push(table.query(&name));
        }
    }
    // Behind a TRUNCATE the table is empty: whoever starts there has all of it.
    let topic = format!("{}.flink.cut", scenes[0].yaml.name);
    let truncate = kcat::read(brokers, &topic).into_iter().find(|record| record.operation() == "t").unwrap();
    let behind = format!("partition:0,offset:{}", truncate.offset + 1);
    let more = [("scan.startup.mode", "specific-offsets"), ("scan.startup.specific-offsets", behind.as_str())];
    statements.push(cut.declare("cut_behind", &topic, brokers, &more));
    statements.push(cut.query("cut_behind"));

    let answers = run(&statements);
    assert_eq!(answers.len(), 9);
    for (number, answer) in answers.into_iter().enumerate() {
        let (table, refused) = match number {
            0 | 4 => (&every, None),
            1 | 5 => (&busy_table, None),
            2 | 6 => (&cut, Some("Unknown \"op\" value \"t\"")),
            3 | 7 => (&altered, Some("Unknown \"op\" value \"s\"")),
            _ => (&cut, None),
        };
        match (answer, refused) {
            (Ok(rows), None) => {
                let source = table.source(&server).await;
                assert!(source.len() > 3, "{} holds something", table.name);
                assert_eq!(table.plain(rows), source, "{number}: {}", table.name);
            }
            (Err(why), Some(refused)) => assert!(why.contains(refused), "{number}: {why}"),
            (answer, _) => panic!("{number}: {}: {answer:?}", table.name),
        }
    }
}
