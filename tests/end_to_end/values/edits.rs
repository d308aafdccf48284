//! Statements that fill and change the tables, as sessions of all kinds would.

use rand::RngExt;
use rand::rngs::StdRng;

use super::columns::Dialect;
use super::documents;
use super::tables::{Table, pick, quoted};

/// Rows of an INSERT.
fn rows(dice: &mut StdRng, table: &Table, count: usize) -> String {
    let rows: Vec<String> = (0..count)
        .map(|_| {
            let cells: Vec<String> = table.columns.iter().map(|column| column.value(dice)).collect();
            format!("({})", cells.join(", "))
        })
        .collect();
    format!("{} ({}) VALUES {}", table.name, table.names(), rows.join(", "))
}

/// Fills a table.
pub(super) fn fill(dice: &mut StdRng, table: &Table, count: usize) -> String {
    format!("INSERT IGNORE INTO {}", rows(dice, table, count))
}

/// How a session may be set up. `sql_mode` is lax throughout: the strangest values come in so.
pub(super) fn session(dice: &mut StdRng, dialect: Dialect) -> Vec<String> {
    let mut statements = vec![
        format!(
            "SET SESSION sql_mode = '{}'",
            pick(dice, &["", "ALLOW_INVALID_DATES", "ALLOW_INVALID_DATES,PAD_CHAR_TO_FULL_LENGTH", "NO_ZERO_IN_DATE"])
        ),
        format!("SET SESSION time_zone = '{}'", pick(dice, &["+00:00", "-11:30", "+13:00", "SYSTEM"])),
    ];
    if dialect == Dialect::Mysql {
        statements.extend([
            format!("SET SESSION binlog_transaction_compression = {}", pick(dice, &["ON", "OFF", "OFF"])),
            format!("SET SESSION binlog_row_value_options = '{}'", pick(dice, &["", "PARTIAL_JSON"])),
        ]);
    }
    statements
}

/// One statement on one table.
fn statement(dice: &mut StdRng, table: &Table) -> String {
    let some = format!("ORDER BY RAND({}) LIMIT {}", dice.random_range(1..1000), dice.random_range(1..5));
    match dice.random_range(0..12) {
        0..3 => {
            let count = dice.random_range(1..6);
            fill(dice, table, count)
        }
        3 => {
            let count = dice.random_range(1..4);
            format!("REPLACE INTO {}", rows(dice, table, count))
        }
        4 => {
            let columns: Vec<String> =
                table.columns.iter().filter(|column| !column.key).map(|column| quoted(&column.name)).collect();
            let changes: Vec<String> = columns.iter().map(|name| format!("{name} = VALUES({name})")).collect();
            let count = dice.random_range(1..4);
            format!("INSERT IGNORE INTO {} ON DUPLICATE KEY UPDATE {}", rows(dice, table, count), changes.join(", "))
        }
        5 => format!("DELETE FROM {} {some}", table.name),
        _ => {
            let mut changes: Vec<String> = Vec::new();
            for column in &table.columns {
                let wanted = if column.key { 8 } else { 3 };
                if dice.random_range(0..wanted) > 0 {
                    continue;
                }
                let name = quoted(&column.name);
                let value = match column.drawn.is_document() && dice.random_range(0..4) > 0 {
                    true => documents::change(dice, &name),
                    false => column.value(dice),
                };
                changes.push(format!("{name} = {value}"));
            }
            match changes.is_empty() {
                true => format!("DELETE FROM {} {some}", table.name),
                false => format!("UPDATE IGNORE {} SET {} {some}", table.name, changes.join(", ")),
            }
        }
    }
}

/// A transaction over a few tables.
pub(super) fn transaction(dice: &mut StdRng, tables: &[Table], dialect: Dialect) -> Vec<String> {
    let mut statements = session(dice, dialect);
    if dice.random_range(0..4) == 0 {
        let table = &tables[dice.random_range(0..tables.len())];
        statements.push(statement(dice, table));
        return statements;
    }
    statements.push("START TRANSACTION".to_owned());
    for _ in 0..dice.random_range(1..8) {
        let table = &tables[dice.random_range(0..tables.len())];
        statements.push(statement(dice, table));
    }
    statements.push(pick(dice, &["COMMIT", "COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]).to_owned());
    statements
}
