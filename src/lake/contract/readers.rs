//! Readers that are not ours: DuckDB on the files that the lake names.

use super::*;

/// The interpreter that `tests/servers/python.sh` made. None, said aloud, where there is none and none can be made.
pub(super) fn python() -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/python.sh");
    let made = std::process::Command::new(script).output().unwrap();
    match made.status.success() {
        true => Some(String::from_utf8(made.stdout).unwrap().trim().to_owned()),
        false if std::env::var_os("BINLAKE_TEST_REQUIRE_ALL").is_some() => panic!("{}", String::from_utf8_lossy(&made.stderr)),
        false => {
            eprintln!("SKIPPED: no Python with DuckDB: {}", String::from_utf8_lossy(&made.stderr));
            None
        }
    }
}

fn duckdb(python: &str, sql: &str, files: &[String]) -> String {
    let program =
        "import sys, duckdb\nfor row in duckdb.sql(sys.argv[1].replace('FILES', repr(sys.argv[2:]))).fetchall(): print(*row)";
    let arguments: Vec<&str> = std::iter::once(sql).chain(files.iter().map(String::as_str)).collect();
    run(python, program, &arguments)
}

/// What a program in Python prints.
pub(super) fn run(python: &str, program: &str, arguments: &[&str]) -> String {
    let run = std::process::Command::new(python).args(["-c", program]).args(arguments).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

#[tokio::test]
async fn duckdb_reads_a_changelog_table_with_its_days() {
    let Some(python) = python() else { return };
    let house = House::new(Ground::Files);
    let spec = house.spec(TableKind::Changelog, 1);
    let chunks = vec![house.chunk(&spec, 0, "a", &[(1, "ann"), (2, "bob")]).await];
    let mut writer = house.lake.writer(spec, Term(1)).await.unwrap();
    writer.adopt(chunks, point(0, false)).await.unwrap();
    for transaction in 0..20 {
        put(writer.as_mut(), transaction, MIDNIGHT_MS + 24 * HOUR_MS, &Change::Insert(transaction as i64 + 10, "Łukasz 🚲"))
            .unwrap();
        writer.commit(point(transaction + 1, true)).await.unwrap();
    }
    let files = house.lake.files(&name()).await.unwrap();
    let sql = "SELECT dt::VARCHAR, _op, count(*), max(name), count(born), max(_ts_ms) FROM read_parquet(FILES, hive_partitioning = true)
        GROUP BY ALL ORDER BY 1";
    let expected = format!("2026-11-22 r 2 bob 1 None\n2026-11-23 c 20 Łukasz 🚲 10 {}\n", MIDNIGHT_MS + 24 * HOUR_MS);
    assert_eq!(duckdb(&python, sql, &files), expected);
}

#[tokio::test]
async fn duckdb_reads_a_mirror() {
    let Some(python) = python() else { return };
    let house = House::new(Ground::Files);
    let spec = house.spec(TableKind::Mirror, 1);
    let rows: Vec<(i64, String)> = (0..2000).map(|id| (id, format!("name {id}"))).collect();
    let rows: Vec<(i64, &str)> = rows.iter().map(|(id, name)| (*id, name.as_str())).collect();
    let mut chunks = Vec::new();
    for (number, rows) in (0..).zip(rows.chunks(500)) {
        chunks.push(house.chunk(&spec, number, "a", rows).await);
    }
    let mut writer = house.lake.writer(spec, Term(1)).await.unwrap();
    writer.adopt(chunks, point(0, false)).await.unwrap();
    put(writer.as_mut(), 0, MIDNIGHT_MS, &Change::Update((1000, "name 1000"), "changed")).unwrap();
    put(writer.as_mut(), 1, MIDNIGHT_MS, &Change::Delete(1999, "name 1999")).unwrap();
    writer.commit(point(2, true)).await.unwrap();
    let files = house.lake.files(&name()).await.unwrap();
    let sql = "SELECT count(*), count(DISTINCT id), sum(id), max(name) FILTER (id = 1000), count(born) FROM read_parquet(FILES)";
    assert_eq!(duckdb(&python, sql, &files), format!("1999 1999 {} changed 999\n", 1999 * 1998 / 2));
}
