//! Instants of twelve bytes: what the Parquet reader of Hive 2 and 3.1 wants, and engines of today read as well.

use std::collections::BTreeSet;
use std::fs::File;

use parquet::basic::Type;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;

/// How the instants lie in the files that the metastore names.
async fn forms(shown: &Shown, table: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    for file in shown.files(&Shown::name("int96", table)).await {
        let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
        let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
        forms.extend(columns.iter().filter(|column| column.name() != "id").map(|column| column.physical_type().to_string()));
    }
    forms
}

/// Rows of this century, in pieces of one statement.
fn rows(from: u32) -> String {
    let row = |id: u32| {
        let clock =
            format!("{}-{:02}-{:02} {:02}:{:02}:{:02}", 1971 + id % 60, 1 + id % 12, 1 + id % 28, id % 24, id % 60, id % 60);
        let micros = id * 7919 % 1_000_000;
        match id % 7 {
            0 => format!("({id}, NULL, NULL)"),
            _ => format!("({id}, '{clock}.{micros:06}', '{clock}.{:06}')", 999_999 - micros),
        }
    };
    (from..from + 300).map(row).collect::<Vec<_>>().join(",")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_of_old_hives_and_engines_of_today_read_instants_of_twelve_bytes() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::shared(Version::Two));
    let server = Server::shared();
    server.create_database("int96").await;
    let columns = "(id INT NOT NULL PRIMARY KEY, at DATETIME(6) NULL, seen TIMESTAMP(6) NULL)";
    server
        .execute(&[
            "SET SESSION time_zone = '+00:00'".to_owned(),
            format!("CREATE TABLE int96.plain {columns}"),
            format!("CREATE TABLE int96.edges {columns}"),
            format!("INSERT INTO int96.plain VALUES {}", rows(1)),
            "INSERT INTO int96.edges VALUES (1, '0001-01-01 00:00:00.000001', '1970-01-01 00:00:01.000001'),
               (2, '1000-01-01', NULL), (3, '1582-10-15 00:00:00', NULL), (4, '1677-09-21 00:12:43', NULL),
               (5, '1969-12-31 23:59:59.999999', NULL), (6, '2262-04-11 23:47:17', '2038-01-19 03:14:07.999999'),
               (7, '9999-12-31 23:59:59.999999', NULL), (8, NULL, NULL)"
                .to_owned(),
        ])
        .await;
    let tables = ["int96.plain".to_owned(), "int96.edges".to_owned()];
    let mut scene = Scene::new(server, &["{table: int96.*}"]);
    publish_in(&mut scene, metastore);
    scene.edit(|yaml| yaml.lake.push_str("  file_bytes: 16KiB\n"));
    scene.catch_up();
    let (shown, mut spark) = (Shown::by(metastore), Spark::start(metastore, Version::Two));
    assert_equal(&scene, server, &tables, &shown, &mut spark).await;
    let instants = "SELECT count(at), count(seen) FROM ods_int96.plain";
    let all = spark.query(instants);
    spark.set_native(false);
    spark.try_query(instants).expect_err("the reader of Hive 2 knows no instants of eight bytes");

    // A table keeps the form that it has until it is built anew.
    scene.edit(|yaml| yaml.lake.push_str("  timestamp_encoding: int96\n"));
    server.execute(&[format!("INSERT INTO int96.plain VALUES {}", rows(1001))]).await;
    scene.catch_up();
    assert_eq!(forms(&shown, "plain").await, BTreeSet::from([Type::INT64.to_string()]));
    let mut daemon = Daemon::start(&scene);
    scene.good(&["rebuild", "int96.plain", "int96.edges"]);
    let second = |status: &Status, table: &String| {
        publication(status, table)["shown"].as_str().is_some_and(|version| version.starts_with("g0002/"))
    };
    daemon.wait_for("second generation", |status| tables.iter().all(|table| second(status, table)));
    assert!(scene.has_logged("`lake.timestamp_encoding` was changed"), "nobody was told");
    server
        .execute(&[
            format!("INSERT INTO int96.plain VALUES {}", rows(2001)),
            "UPDATE int96.plain SET at = at + INTERVAL 1 MICROSECOND WHERE id % 11 = 0".to_owned(),
            "DELETE FROM int96.plain WHERE id % 13 = 0".to_owned(),
        ])
        .await;
    daemon.stop();
    scene.catch_up();
    assert_eq!(forms(&shown, "plain").await, BTreeSet::from([Type::INT96.to_string()]));
    assert!(spark.query(instants)[0][0].as_u64() > all[0][0].as_u64());
    assert_equal(&scene, server, &tables[..1], &shown, &mut spark).await;
    println!("by the reader of Hive 2: {:?}", spark.query("SELECT id, CAST(at AS STRING) FROM ods_int96.edges ORDER BY id"));
    spark.set_native(true);
    for zone in ["UTC", "Asia/Shanghai"] {
        spark.set_zone(zone);
        assert_equal(&scene, server, &tables, &shown, &mut spark).await;
    }
}
