//! Random tables with random rows and random changes: the early daemon's lake, the late daemon's and MySQL agree in every bit.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::columns::Dialect;
use super::edits;
use super::same::Rows;
use super::setups::{DENSE, MARIA, OLD_MARIA, PLAIN, SPARSE, Setup};
use super::tables::Table;
use crate::equality;

/// Rows that a table starts with.
const ROWS: usize = 24;

/// What MySQL says of a row that it does not take: the statement is undone, and no harm done.
const REFUSED: &[u16] = &[
    // Duplicate keys, a value that cannot be, JSON that nests too deep or paths that lead nowhere, a partition that is none.
    1062, 1048, 1364, 1264, 1366, 1292, 1690, 3140, 3141, 3143, 3149, 3150, 3157, 3158, 1411, 1416, 3037, 3617, 3618, 6138, 1785,
];

async fn run(connection: &mut Conn, statement: &str) -> bool {
    match connection.query_drop(statement).await {
        Ok(()) => true,
        Err(mysql_async::Error::Server(error)) if REFUSED.contains(&error.code) => false,
        Err(error) => panic!("{statement}: {error}"),
    }
}

/// Makes and fills the tables.
async fn prepare(connection: &mut Conn, dice: &mut StdRng, dialect: Dialect, (database, count): (&str, usize)) -> Vec<Table> {
    connection.query_drop(format!("CREATE DATABASE {database} CHARACTER SET utf8mb4")).await.unwrap();
    connection.query_drop(format!("USE {database}")).await.unwrap();
    connection.query_drop("SET SESSION innodb_strict_mode = OFF").await.unwrap();
    let mut tables = Vec::new();
    while tables.len() < count {
        let table = Table::draw(dice, format!("t{}", tables.len()), dialect);
        for statement in edits::session(dice, dialect) {
            run(connection, &statement).await;
        }
        if dialect == Dialect::Mysql {
            let hidden = if table.create.contains("UNIQUE KEY") { "OFF" } else { "ON" };
            connection.query_drop(format!("SET SESSION sql_generate_invisible_primary_key = {hidden}")).await.unwrap();
        }
        // What is too wide for the server's pages or keys is drawn again.
        if let Err(error) = connection.query_drop(&table.create).await {
            let wide =
                matches!(&error, mysql_async::Error::Server(error) if matches!(error.code, 1071 | 1074 | 1118 | 1178 | 4028));
            assert!(wide, "{}: {error}", table.create);
            continue;
        }
        for statement in [Some(edits::fill(dice, &table, ROWS)), table.alter.clone(), Some(edits::fill(dice, &table, ROWS / 4))]
            .iter()
            .flatten()
        {
            run(connection, statement).await;
        }
        tables.push(table);
    }
    tables
}

/// The whole play under one set-up with one seed.
async fn values_agree(setup: &'static Setup, seed: u64, count: usize, transactions: usize) {
    let server = setup.server();
    let database = format!("random_{}_{seed}", setup.name);
    let mut dice = StdRng::seed_from_u64(seed);
    let mut connection = server.connect().await;
    let dialect = setup.dialect();
    let tables = prepare(&mut connection, &mut dice, dialect, (&database, count)).await;
    let names: Vec<String> = tables.iter().map(|table| format!("{database}.{}", table.name)).collect();
    let captured = [format!("{{table: {database}.*}}")];

    let early = setup.scene(&captured);
    early.catch_up();
    let mut taken = 0;
    for _ in 0..transactions {
        for statement in edits::transaction(&mut dice, &tables, dialect) {
            taken += usize::from(run(&mut connection, &statement).await);
        }
    }
    assert!(taken > transactions * 5, "only {taken} statements were taken");
    connection.disconnect().await.unwrap();
    early.catch_up();
    let late = setup.scene(&captured);
    late.catch_up();

    equality::assert_equal(&early, server, &names).await;
    let mut rows = 0;
    for (table, name) in tables.iter().zip(&names) {
        let (streamed, loaded) = (Rows::read(&early.files(name)), Rows::read(&late.files(name)));
        rows += loaded.len();
        if let Some(difference) = streamed.difference(&loaded) {
            panic!("{name} with seed {seed} on {}: {difference}\n{}", setup.name, table.create);
        }
    }
    assert!(rows > count * ROWS / 2, "only {rows} rows in {count} tables");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_tables_are_the_same_by_both_ways_on_a_plain_server() {
    values_agree(&PLAIN, 1, 100, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_tables_are_the_same_by_both_ways_on_a_server_that_tells_little() {
    values_agree(&SPARSE, 2, 100, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_tables_are_the_same_by_both_ways_with_compression_partial_documents_and_daylight_saving() {
    values_agree(&DENSE, 3, 100, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_tables_are_the_same_by_both_ways_on_mariadb_with_compression() {
    values_agree(&MARIA, 4, 60, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_tables_are_the_same_by_both_ways_on_an_older_mariadb_that_tells_little() {
    values_agree(&OLD_MARIA, 5, 60, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: other seeds, more tables"]
async fn random_tables_of_many_seeds_are_the_same_by_both_ways() {
    for seed in 100..106 {
        for setup in [&PLAIN, &SPARSE, &DENSE, &MARIA, &OLD_MARIA] {
            values_agree(setup, seed, 100, 600).await;
        }
    }
}
