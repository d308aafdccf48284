//! Description, preflight and discovery against real servers, good ones and bad ones.

use mysql_common::constants::Command;

use super::control::Control;
use super::wire::WireConnection;
use super::wire::tests::{Server, settings};
use super::*;
use crate::change::ColumnType;

async fn run(connection: &mut WireConnection, statements: &[&str]) {
    for statement in statements {
        connection.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn describe(settings: &Settings, table: &str, options: &TableOptions) -> Result<Arc<TableSchema>> {
    let mut control = Control::connect(settings).await.unwrap();
    schema::describe(&mut control, &table.parse().unwrap(), options).await
}

async fn check(settings: &Settings, tables: &[(&str, TableOptions)]) -> Vec<Finding> {
    let mut control = Control::connect(settings).await.unwrap();
    let tables: Vec<_> = tables.iter().map(|(name, options)| (name.parse().unwrap(), options.clone())).collect();
    preflight::preflight(&mut control, &tables).await.unwrap()
}

/// What is not OK.
fn complaints(findings: &[Finding]) -> Vec<(&str, Severity)> {
    let bad = findings.iter().filter(|finding| finding.severity != Severity::Ok);
    bad.map(|finding| (finding.subject.as_str(), finding.severity)).collect()
}

fn reason(error: Error) -> (String, String) {
    match error {
        Error::Table { reason, remedy, .. } => (reason, remedy),
        other => panic!("not about a table: {other}"),
    }
}

fn none() -> TableOptions {
    TableOptions::default()
}

#[tokio::test]
async fn tables_are_described_as_the_server_has_them() {
    let server = Server::start(&["--sql-generate-invisible-primary-key=ON", "--lower-case-table-names=0"]);
    let mut root = server.root().await;
    run(
        &mut root,
        &[
            "SET NAMES utf8mb4",
            "SET GLOBAL show_gipk_in_create_table_and_information_schema = OFF",
            "CREATE DATABASE `Sh``op`",
            "CREATE DATABASE shop",
            r"CREATE TABLE `Sh``op`.`we.ird` (a INT, id BIGINT UNSIGNED NOT NULL, e ENUM('it''s','a,b','back\\slash','new\nline','unsigned'),
              s SET('ä','€') CHARACTER SET latin1, t1 TINYINT(1), f FLOAT(7,3), d DECIMAL(10), z INT ZEROFILL, b BIT(5), v VECTOR(3),
              g POINT SRID 4326, gc GEOMETRYCOLLECTION, dt DATETIME(3), n CHAR(3) CHARACTER SET binary, j JSON, y YEAR,
              vg INT AS (a + 1) VIRTUAL, sg INT AS (a + 2) STORED INVISIBLE, PRIMARY KEY (id))",
            "CREATE TABLE shop.hidden (a INT, b INT)",
            "CREATE TABLE shop.functional (a INT NOT NULL, t TEXT NOT NULL, PRIMARY KEY (a), UNIQUE KEY fx ((a + 1)), UNIQUE KEY px (t(5)))",
            "ALTER TABLE shop.functional ADD COLUMN later INT, ADD COLUMN first_of_all INT FIRST",
            "CREATE VIEW shop.a_view AS SELECT 1 AS one",
        ],
    )
    .await;
    let settings = server.settings();
    let schema = describe(&settings, "Sh`op.we.ird", &none()).await.unwrap();
    let kind = |name: &str| schema.columns.iter().find(|column| column.name == name).map(|column| column.kind.clone()).unwrap();
    let ColumnType::Enum { labels, .. } = kind("e") else { panic!("{:?}", kind("e")) };
    assert_eq!(labels, ["it's", "a,b", r"back\slash", "new\nline", "unsigned"]);
    let ColumnType::Set { labels, charset } = kind("s") else { panic!("{:?}", kind("s")) };
    assert_eq!((labels, charset.0.as_str()), (vec!["ä".to_owned(), "€".to_owned()], "latin1"));
    assert_eq!(kind("t1"), ColumnType::Integer { bits: 8, unsigned: false });
    assert_eq!(kind("z"), ColumnType::Integer { bits: 32, unsigned: true });
    assert_eq!(kind("d"), ColumnType::Decimal { precision: 10, scale: 0 });
    assert_eq!(kind("n"), ColumnType::Binary { fixed: Some(3) });
    assert_eq!((schema.key.clone(), schema.key_kind, schema.physical_columns), (vec![1], KeyKind::Primary, 18));
    let generated: Vec<_> = schema.columns.iter().map(|column| column.generated).skip(16).collect();
    assert_eq!(generated, [crate::change::Generated::Virtual, crate::change::Generated::Stored]);

    // A generated invisible key is there although the server hides it, and is the first of all columns.
    let hidden = describe(&settings, "shop.hidden", &none()).await.unwrap();
    assert_eq!((hidden.key_names(), hidden.physical_columns), (vec!["my_row_id"], 3));
    let functional = describe(&settings, "shop.functional", &none()).await.unwrap();
    let names: Vec<_> = functional.columns.iter().map(|column| (column.name.as_str(), column.ordinal)).collect();
    assert_eq!(names, [("first_of_all", 0), ("a", 1), ("t", 2), ("later", 3)]);

    assert!(reason(describe(&settings, "shop.a_view", &none()).await.unwrap_err()).0.contains("VIEW"));
    assert!(reason(describe(&settings, "shop.gone", &none()).await.unwrap_err()).0.contains("no such table"));
    let mut control = Control::connect(&settings).await.unwrap();
    let tables = schema::tables(&mut control).await.unwrap();
    let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["Sh`op.we.ird", "shop.functional", "shop.hidden"]);
    assert!(identity::identity(&mut control).await.unwrap().gtids);
}

#[tokio::test]
async fn every_right_that_is_missing_is_named_with_the_statement_that_grants_it() {
    let server = Server::start(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
    let mut root = server.root().await;
    run(
        &mut root,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.parents (id INT PRIMARY KEY)",
            "CREATE TABLE shop.children (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES shop.parents (id) ON DELETE CASCADE)",
            "CREATE USER poor@'%' IDENTIFIED BY 'x'",
            "CREATE USER partly@'%' IDENTIFIED BY 'x'",
            "GRANT SELECT (id) ON shop.children TO partly@'%'",
        ],
    )
    .await;
    let poor = settings(server.port, "poor", "x");
    let tables = [("shop.parents", none()), ("shop.children", none())];
    let before = check(&poor, &tables).await;
    let wanted = ["REPLICATION CLIENT", "REPLICATION SLAVE", "XA_RECOVER_ADMIN", "BACKUP_ADMIN", "shop.parents", "shop.children"];
    for subject in wanted {
        assert!(complaints(&before).iter().any(|(found, _)| *found == subject), "{subject} in {before:#?}");
    }
    // The remedies are statements that work.
    for finding in before.iter().filter(|finding| wanted.contains(&finding.subject.as_str())) {
        let remedy = finding.remedy.as_deref().unwrap_or_default();
        let statements = remedy.get(remedy.find("GRANT").unwrap()..).unwrap();
        for statement in statements.split("; ") {
            run(&mut root, &[statement]).await;
        }
    }
    let after = check(&poor, &tables).await;
    assert_eq!(complaints(&after), [("gtid_mode", Severity::Warning)], "{after:#?}");

    // With rights on some columns only, the ordinals of all would be wrong.
    let partly = settings(server.port, "partly", "x");
    let (said, remedy) = reason(describe(&partly, "shop.children", &none()).await.unwrap_err());
    assert!(said.contains("SELECT command denied"), "{said}");
    assert_eq!(remedy, "GRANT SELECT ON `shop`.`children` TO 'partly'@'%'");
}

#[tokio::test]
async fn the_user_that_discover_prints_has_all_rights() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    run(
        &mut root,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
            "CREATE TABLE shop.keyless (a INT)",
            "INSERT INTO shop.orders VALUES (1), (2)",
        ],
    )
    .await;
    for statement in discover::grants(Flavor::Mysql, "binlake", &["shop".to_owned()]) {
        run(&mut root, &[&statement.replace('…', "secret")]).await;
    }
    let ours = settings(server.port, "binlake", "secret");
    let findings = check(&ours, &[("shop.orders", none())]).await;
    assert_eq!(complaints(&findings), [], "{findings:#?}");
    let (flavor, found) = discover::discover(&ours).await.unwrap();
    assert_eq!(flavor, Flavor::Mysql);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].name.to_string().as_str(), found[0].key_kind), ("shop.keyless", KeyKind::None));
    assert!(found[0].notes[0].contains("no primary key"), "{:?}", found[0].notes);
    assert_eq!((found[1].key_kind, found[1].notes.len()), (KeyKind::Primary, 0));
}

#[tokio::test]
async fn a_server_that_is_set_up_badly_is_told_so_in_every_point_at_once() {
    let server = Server::start(&[
        "--binlog-row-metadata=MINIMAL",
        "--binlog-row-image=MINIMAL",
        "--sync-binlog=0",
        "--innodb-flush-log-at-trx-commit=2",
        "--binlog-checksum=NONE",
        "--binlog-expire-logs-seconds=3600",
        "--gtid-mode=ON_PERMISSIVE",
        "--default-time-zone=+08:00",
        "--binlog-do-db=other",
        "--innodb-native-foreign-keys=ON",
        "--log-replica-updates=OFF",
        "--replicate-ignore-table=shop.children",
        "--server-id=5400",
    ]);
    let mut root = server.root().await;
    run(
        &mut root,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.parents (id INT PRIMARY KEY) ENGINE=InnoDB",
            "CREATE TABLE shop.children (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES shop.parents (id) ON UPDATE CASCADE)",
            "CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE=MyISAM",
            "CREATE TABLE shop.hole (id INT PRIMARY KEY) ENGINE=BLACKHOLE",
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1",
        ],
    )
    .await;
    let tables = [("shop.children", none()), ("shop.old", none()), ("shop.hole", none()), ("shop.gone", none())];
    let findings = check(&server.settings(), &tables).await;
    let mut found = complaints(&findings);
    found.sort_unstable();
    found.dedup();
    let (warning, error) = (Severity::Warning, Severity::Error);
    let mut wanted = vec![
        ("binlog filters", error),
        ("binlog_checksum", warning),
        ("binlog_expire_logs_seconds", warning),
        ("binlog_row_image", error),
        ("binlog_row_metadata", warning),
        ("gtid_mode", warning),
        ("innodb_flush_log_at_trx_commit", warning),
        ("log_replica_updates", error),
        ("replicate filters", warning),
        ("server_id", error),
        ("shop.children", error),
        ("shop.gone", error),
        ("shop.hole", error),
        ("shop.old", warning),
        ("sync_binlog", warning),
        ("time_zone", warning),
    ];
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{findings:#?}");
}

#[tokio::test]
async fn cascades_are_accepted_where_the_server_writes_them_and_the_binlog_may_be_off() {
    let server = Server::start(&["--skip-log-bin", "--skip-log-replica-updates"]);
    let mut root = server.root().await;
    run(
        &mut root,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.parents (id INT PRIMARY KEY)",
            "CREATE TABLE shop.children (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES shop.parents (id) ON DELETE SET NULL)",
        ],
    )
    .await;
    let findings = check(&server.settings(), &[("shop.children", none())]).await;
    assert_eq!(complaints(&findings), [("log_bin", Severity::Error)], "{findings:#?}");
}

/// COM_REGISTER_SLAVE, as a replica sends it.
async fn register(connection: &mut WireConnection, server_id: u32) {
    let mut payload = server_id.to_le_bytes().to_vec();
    // Host, user and password, each with its length; the port; the rank; the source's id.
    payload.extend_from_slice(b"\x04copy\x00\x00");
    payload.extend_from_slice(&3306u16.to_le_bytes());
    payload.extend_from_slice(&[0; 8]);
    connection.write_command(Command::COM_REGISTER_SLAVE, &payload).await.unwrap();
    connection.read_packet(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn another_client_with_our_server_id_is_a_clash_and_our_predecessor_is_none() {
    let server = Server::start(&[]);
    let ours = server.settings();
    for (uuid, clash) in [("99999999-0000-0000-0000-000000000000", true), (ours.replica_uuid.as_str(), false)] {
        let mut other = server.root().await;
        run(&mut other, &[&format!("SET @replica_uuid = '{uuid}', @slave_uuid = '{uuid}'")]).await;
        register(&mut other, ours.server_id).await;
        let findings = check(&ours, &[]).await;
        let wanted = if clash { vec![("replicas", Severity::Error)] } else { vec![] };
        assert_eq!(complaints(&findings), wanted, "{findings:#?}");
    }
}

#[tokio::test]
async fn names_are_lower_case_where_the_server_keeps_them_so() {
    let server = Server::start(&["--lower-case-table-names=1"]);
    let mut root = server.root().await;
    run(&mut root, &["CREATE DATABASE Shop", "CREATE TABLE Shop.Orders (Id INT PRIMARY KEY)"]).await;
    let schema = describe(&server.settings(), "SHOP.Orders", &none()).await.unwrap();
    assert_eq!((schema.name.to_string().as_str(), schema.columns[0].name.as_str()), ("shop.orders", "Id"));
}
