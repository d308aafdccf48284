//! The lake is what MySQL is: `SELECT *` against `binlake files`, every cell of every row.

use serde_json::json;

use crate::dump;
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::Server;

/// Fails with the first differences unless the mirrors of all `tables` (`database.table`) are equal to MySQL's. The lake must have
/// caught up.
pub(crate) async fn assert_equal<S: AsRef<str>>(scene: &Scene, server: &Server, tables: &[S]) {
    let different = differences(scene, server, tables).await;
    assert!(different.is_empty(), "the lake is not equal to MySQL:\n{}", different.join("\n"));
}

/// What is different, for people: an entry per table that is not equal to MySQL's.
pub(crate) async fn differences<S: AsRef<str>>(scene: &Scene, server: &Server, tables: &[S]) -> Vec<String> {
    let mut connection = server.connect().await;
    let mut jobs = Vec::new();
    for table in tables {
        let (database, name) = table.as_ref().split_once('.').unwrap();
        let file = scene.path(&format!("{database}.{name}.dump.parquet"));
        dump::dump(&mut connection, database, name, &file).await.unwrap();
        jobs.push(json!({
            "table": table.as_ref(), "dump": file, "files": scene.files(table.as_ref()), "datetime_zone": scene.yaml.zone,
            "datetime": if scene.yaml.lake.contains("datetime: string") { "string" } else { "instant" },
        }));
    }
    connection.disconnect().await.unwrap();
    let results = Reader::start().compare(&jobs);
    results.into_iter().filter(|(equal, _)| !equal).map(|(_, text)| text).collect()
}

/// A table as MySQL has it at one moment, when the lake has caught up: what readers must go on seeing of a table that stands still.
#[derive(Debug)]
pub(crate) struct Kept {
    table: String,
    dump: std::path::PathBuf,
}

impl Kept {
    pub(crate) async fn of(scene: &Scene, server: &Server, table: &str) -> Self {
        let (database, name) = table.split_once('.').unwrap();
        let dump = scene.path(&format!("{table}.kept.parquet"));
        let mut connection = server.connect().await;
        dump::dump(&mut connection, database, name, &dump).await.unwrap();
        connection.disconnect().await.unwrap();
        Self { table: table.to_owned(), dump }
    }

    /// Fails unless the table's files are there and hold what MySQL had then.
    pub(crate) fn assert_readable(&self, scene: &Scene) {
        let job = json!({"table": self.table, "dump": self.dump, "files": scene.files(&self.table)});
        let (equal, text) = Reader::start().compare(&[job]).remove(0);
        assert!(equal, "what was committed is not what readers see:\n{text}");
    }
}

/// Fails when a changelog holds the same change twice. `_gtid` names a transaction where there are GTIDs, `_file:_pos` everywhere.
pub(crate) fn assert_no_duplicates(scene: &Scene, table: &str) {
    let files = scene.changelog_files(table);
    assert!(!files.is_empty(), "the changelog of {table} has no files");
    let by_place = "SELECT _file, _pos, _row, count(*) FROM c WHERE _op <> 'r' GROUP BY ALL HAVING count(*) > 1 LIMIT 5";
    let by_gtid =
        "SELECT _gtid, _row, count(*) FROM c WHERE _op <> 'r' AND _gtid IS NOT NULL GROUP BY ALL HAVING count(*) > 1 LIMIT 5";
    let mut reader = Reader::start();
    for query in [by_place, by_gtid] {
        let twice = reader.query(query, &[("c", &files)]);
        assert!(twice.is_empty(), "{table}: the same change twice: {twice:?}");
    }
}

/// Fails unless the state that a changelog leads to is what MySQL holds: the last change of every `key`, or its snapshot row.
/// `columns` are compared as text, so they must be of types that both sides print alike.
pub(crate) async fn assert_changelog_leads_to(scene: &Scene, server: &Server, table: &str, key: &str, columns: &[&str]) {
    use mysql_async::prelude::Queryable;
    let files = scene.changelog_files(table);
    let texts: Vec<String> = columns.iter().map(|column| format!("CAST({column} AS VARCHAR) AS {column}")).collect();
    let query = format!(
        "SELECT {} FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY _op <> 'r' DESC, _ts_ms DESC, _file DESC, _pos DESC, _row DESC) \
         AS place FROM c) WHERE place = 1 AND _op <> 'd' ORDER BY ALL",
        texts.join(", ")
    );
    let lake: Vec<Vec<Option<String>>> = Reader::start()
        .query(&query, &[("c", &files)])
        .into_iter()
        .map(|row| row.into_iter().map(|cell| cell.as_str().map(str::to_owned)).collect())
        .collect();
    let texts: Vec<String> = columns.iter().map(|column| format!("CAST({column} AS CHAR)")).collect();
    let mut connection = server.connect().await;
    let rows: Vec<mysql_async::Row> = connection.query(format!("SELECT {} FROM {table}", texts.join(", "))).await.unwrap();
    connection.disconnect().await.unwrap();
    let cell = |row: &mysql_async::Row, index: usize| row.get::<Option<String>, usize>(index).unwrap();
    let mut source: Vec<Vec<Option<String>>> =
        rows.iter().map(|row| (0..columns.len()).map(|index| cell(row, index)).collect()).collect();
    let mut lake = lake;
    source.sort();
    lake.sort();
    if source == lake {
        return;
    }
    let missing: Vec<_> = source.iter().filter(|row| !lake.contains(row)).take(5).collect();
    let superfluous: Vec<_> = lake.iter().filter(|row| !source.contains(row)).take(5).collect();
    panic!(
        "{table}: its changelog leads to {} rows, MySQL has {}; only in MySQL {missing:?}, only in the lake {superfluous:?}",
        lake.len(),
        source.len()
    );
}

/// What a workload's tables must be when it has ended and the lake has caught up: `tables` as MySQL has them, in the changelogs no change
/// twice, and what the changelog says is what MySQL has.
pub(crate) async fn assert_workload_exact(scene: &Scene, server: &Server, database: &str, tables: &[String]) {
    assert_equal(scene, server, tables).await;
    for table in ["ordinary", "composite"] {
        assert_no_duplicates(scene, &format!("{database}.{table}"));
    }
    let ordinary = format!("{database}.ordinary");
    assert_changelog_leads_to(scene, server, &ordinary, "id", &["id", "n", "amount", "note"]).await;
}
