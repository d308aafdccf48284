//! The captured shape of a table, from `information_schema` and what the YAML says of it.
//!
//! Reading ([`facts`]) and judging are apart: [`capture`] is pure and names *every* reason why a table cannot be captured,
//! each with its remedy. A table is refused rather than captured in a way that could be silently wrong.

pub(super) mod declared;
pub(super) mod facts;
mod key;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use self::facts::{ColumnFacts, TableFacts};
use super::control::{Answer, Control, identifier};
use super::decode::{charset, labels};
use super::identity::ServerTraits;
use super::{Error, Problem, Result, TableOptions};
use crate::change::{Column, ColumnType, Generated, KeyKind, TableName, TableSchema};

/// Columns that a changelog table adds.
const RESERVED: [&str; 6] = ["_op", "_ts_ms", "_gtid", "_file", "_pos", "_row"];
/// Engines that write no row events of their own, or somebody else's.
const REFUSED_ENGINES: [&str; 5] = ["BLACKHOLE", "FEDERATED", "NDBCLUSTER", "NDB", "MRG_MYISAM"];

/// Every base table of every user database; MariaDB's system-versioned tables as well, so that a pattern that means one is told that
/// it is refused.
pub(super) async fn tables(control: &mut Control) -> Result<Vec<TableName>> {
    let lower_case = ServerTraits::read(control).await?.lower_case_names;
    let rows = control
        .rows(
            "SELECT table_schema AS d, table_name AS t FROM information_schema.tables WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND \
             table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema', 'ndbinfo')",
        )
        .await?;
    let name = |row: &Answer| Some(TableName::new(row.text("d")?, row.text("t")?));
    let mut tables: Vec<TableName> = rows.iter().filter_map(name).map(|name| in_case(&name, lower_case)).collect();
    tables.sort();
    Ok(tables)
}

/// The name as it is kept: lower case where the server does not tell the cases apart.
pub(super) fn in_case(table: &TableName, lower_case: bool) -> TableName {
    if lower_case { TableName::new(table.database.to_lowercase(), table.table.to_lowercase()) } else { table.clone() }
}

/// A table with all that stands against capturing it.
pub(super) struct Examined {
    /// What the server says.
    pub facts: TableFacts,
    /// The shape, or the problems.
    pub shape: std::result::Result<Arc<TableSchema>, Vec<Problem>>,
}

/// Reads and judges one table.
pub(super) async fn examine(
    control: &mut Control,
    traits: &ServerTraits,
    table: &TableName,
    options: &TableOptions,
) -> Result<Examined> {
    let table = in_case(table, traits.lower_case_names);
    let Some(facts) = facts::read(control, &table).await? else {
        let problem = unseen(control.account(), &table);
        return Ok(Examined { facts: TableFacts::default(), shape: Err(vec![problem]) });
    };
    if facts.table_type == "BASE TABLE"
        && let Err(denial) = facts::readable(control, &table).await?
    {
        let problem = Problem {
            reason: format!("{} (error {})", denial.message, denial.code),
            remedy: if denial.is_right() {
                grant_select(control.account(), &table)
            } else {
                "see what the server's error log says of the table".to_owned()
            },
        };
        return Ok(Examined { facts, shape: Err(vec![problem]) });
    }
    let shape = capture(&table, &facts, options, traits).map(Arc::new);
    Ok(Examined { facts, shape })
}

/// The captured shape of a table, or [`Error::Table`] with every reason against it.
pub(super) async fn describe(control: &mut Control, table: &TableName, options: &TableOptions) -> Result<Arc<TableSchema>> {
    let traits = ServerTraits::read(control).await?;
    examine(control, &traits, table, options).await?.shape.map_err(|problems| error(table, &problems))
}

fn error(table: &TableName, problems: &[Problem]) -> Error {
    let join = |pick: fn(&Problem) -> &String| {
        let mut texts: Vec<&str> = Vec::new();
        for text in problems.iter().map(pick) {
            if !texts.contains(&text.as_str()) {
                texts.push(text);
            }
        }
        texts.join("; ")
    };
    Error::Table { table: table.clone(), reason: join(|problem| &problem.reason), remedy: join(|problem| &problem.remedy) }
}

fn grant_select(account: &str, table: &TableName) -> String {
    let name = format!("{}.{}", identifier(&table.database), identifier(&table.table));
    format!("GRANT SELECT ON {name} TO {account}")
}

fn unseen(account: &str, table: &TableName) -> Problem {
    Problem {
        reason: "the server has no such table, or does not show it to us".to_owned(),
        remedy: format!("correct the table list, or {}", grant_select(account, table)),
    }
}

/// Judges what the server says of a table.
pub(super) fn capture(
    table: &TableName,
    facts: &TableFacts,
    options: &TableOptions,
    traits: &ServerTraits,
) -> std::result::Result<TableSchema, Vec<Problem>> {
    let mut problems = Vec::new();
    if facts.table_type == "SYSTEM VERSIONED" {
        return Err(vec![Problem {
            reason: "it is system-versioned: its rows of the past cannot be told from those of today".to_owned(),
            remedy: "leave the table out, or ALTER TABLE … DROP SYSTEM VERSIONING".to_owned(),
        }]);
    }
    if facts.table_type != "BASE TABLE" {
        return Err(vec![Problem {
            reason: format!("it is a {}, not a base table", facts.table_type),
            remedy: "name the tables it is made of".to_owned(),
        }]);
    }
    let engine = facts.engine.to_ascii_uppercase();
    if REFUSED_ENGINES.contains(&engine.as_str()) {
        problems.push(Problem {
            reason: format!("engine {} does not write its rows into this server's binlog", facts.engine),
            remedy: "ALTER TABLE … ENGINE=InnoDB, or leave the table out".to_owned(),
        });
    }
    problems.extend(cascades(facts, options, traits));
    problems.extend(unknown_exclusions(facts, options));
    let (columns, physical) = columns(facts, options, &mut problems);
    problems.extend(names(&columns));
    problems.extend(options.partition_by.iter().filter_map(|name| uncuttable(name, &columns)));
    problems.extend(hidden_columns(facts, traits));
    if traits.leaves_out_generated {
        problems.extend(columns.iter().filter(|column| column.generated != Generated::No).map(unlogged));
    }
    if !traits.names_labels {
        problems.extend(columns.iter().filter(|column| hides_letters(&column.kind)).map(unreadable_labels));
    }
    let key = key::choose(facts, &columns, options).map_err(|problem| problems.push(problem));
    match key {
        Ok((_, KeyKind::Configured)) if options.partition_by.is_some() => {
            problems.push(unkept_key());
            Err(problems)
        }
        Ok((key, key_kind)) if problems.is_empty() => {
            Ok(TableSchema { name: table.clone(), columns, key, key_kind, physical_columns: physical.len(), physical })
        }
        Ok(_) | Err(()) => Err(problems),
    }
}

fn cascades(facts: &TableFacts, options: &TableOptions, traits: &ServerTraits) -> Vec<Problem> {
    if traits.writes_cascades || options.accept_cascades {
        return Vec::new();
    }
    facts.cascades.iter().map(|(name, rule)| unwritten(name, rule)).collect()
}

fn unwritten(name: &str, rule: &str) -> Problem {
    Problem {
        reason: format!("foreign key {name} {rule}: this server does not write what it does to the table into the binlog"),
        remedy: "let the application delete the child rows, or set `cascades: accept` and be told of each difference; MySQL 9.6 \
                 and later write them with innodb_native_foreign_keys=OFF"
            .to_owned(),
    }
}

/// The tables whose foreign keys change them without a word in the binlog, as the server is set now.
pub(super) async fn unwritten_cascades(
    control: &mut Control,
    tables: &[(TableName, TableOptions)],
) -> Result<Vec<(TableName, Problem)>> {
    let traits = ServerTraits::read(control).await?;
    if traits.writes_cascades || tables.iter().all(|(_, options)| options.accept_cascades) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (table, name, rule) in facts::all_cascades(control, "true").await? {
        let table = in_case(&table, traits.lower_case_names);
        if tables.iter().any(|(known, options)| *known == table && !options.accept_cascades) {
            found.push((table, unwritten(&name, &rule)));
        }
    }
    Ok(found)
}

/// The binlog's rows have a column that `information_schema` does not show, and no image could be walked.
fn hidden_columns(facts: &TableFacts, traits: &ServerTraits) -> Vec<Problem> {
    if !traits.hides_hash_columns || facts.engine.eq_ignore_ascii_case("MEMORY") {
        return Vec::new();
    }
    let problem = |key: &facts::IndexFacts| Problem {
        reason: format!("its constraint {} is UNIQUE by a hash, which is a hidden column of the table", key.name),
        remedy: format!("ALTER TABLE … DROP KEY {}, or limit it to a length that an index can hold", identifier(&key.name)),
    };
    facts.unique_keys.iter().filter(|key| key.hashed).map(problem).collect()
}

fn unlogged(column: &Column) -> Problem {
    Problem {
        reason: format!(
            "column {} is generated, and this server leaves it out of the images of updates and deletes",
            column.name
        ),
        remedy: format!("columns: {{exclude: [{}]}}", column.name),
    }
}

fn is_excluded(options: &TableOptions, name: &str) -> bool {
    options.exclude_columns.iter().any(|excluded| excluded.eq_ignore_ascii_case(name))
}

fn unknown_exclusions(facts: &TableFacts, options: &TableOptions) -> Vec<Problem> {
    let known = |name: &str| facts.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    let unknown = options.exclude_columns.iter().filter(|name| !known(name));
    unknown
        .map(|name| Problem {
            reason: format!("`columns.exclude` names {name}, which is no column of the table"),
            remedy: format!("remove {name} from `columns.exclude`"),
        })
        .collect()
}

/// Why a mirror cannot be cut by the days of a column (`partition_by`).
fn uncuttable(name: &str, columns: &[Column]) -> Option<Problem> {
    let problem = |reason: String, remedy: &str| Some(Problem { reason, remedy: remedy.to_owned() });
    if columns.iter().any(|column| column.name.eq_ignore_ascii_case("dt")) {
        let reason = "it has a column dt, which is what a mirror with `partition_by` is partitioned by".to_owned();
        return problem(reason, "leave it out with `columns: {exclude: [dt]}`, or remove `partition_by`");
    }
    let Some(column) = columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)) else {
        let reason = format!("`partition_by` names {name}, which is no captured column of the table");
        return problem(reason, "correct `partition_by`");
    };
    match (&column.kind, column.generated) {
        (_, Generated::Virtual) => {
            problem(format!("`partition_by` names {name}, which is computed when it is read"), "name a column that is stored")
        }
        (ColumnType::Date | ColumnType::Datetime { .. } | ColumnType::Timestamp { .. }, _) => None,
        _ => problem(format!("`partition_by` names {name}, which has no days"), "name a DATE, a DATETIME or a TIMESTAMP"),
    }
}

/// Two rows of one key and two days would lie side by side.
fn unkept_key() -> Problem {
    Problem {
        reason: "`partition_by` needs a key that the server keeps unique, and nothing there keeps that of `key:`".to_owned(),
        remedy: "ALTER TABLE … ADD UNIQUE KEY, or remove `partition_by`".to_owned(),
    }
}

/// The captured columns, and all of them with their types.
fn columns(facts: &TableFacts, options: &TableOptions, problems: &mut Vec<Problem>) -> (Vec<Column>, Vec<(String, ColumnType)>) {
    let mut captured = Vec::new();
    let mut physical = Vec::new();
    for (ordinal, column) in facts.columns.iter().enumerate() {
        let kind = match declared::column_type(&column.declared, column.charset.as_deref()) {
            Ok(kind) => kind,
            Err(reason) => {
                // Not captured or not: without its type no row image can be walked past it.
                problems.push(Problem {
                    reason: format!("column {}: {reason}", column.name),
                    remedy: "change the column's type, or leave the table out".to_owned(),
                });
                continue;
            }
        };
        physical.push((column.name.clone(), kind.clone()));
        if is_excluded(options, &column.name) {
            continue;
        }
        problems.extend(charset_problem(column, &kind));
        captured.push(Column {
            name: column.name.clone(),
            kind,
            nullable: column.nullable,
            generated: column.generated,
            ordinal,
            declared: column.declared.clone(),
        });
    }
    (captured, physical)
}

fn charset_problem(column: &ColumnFacts, kind: &ColumnType) -> Option<Problem> {
    let (ColumnType::Text { charset } | ColumnType::Enum { charset, .. } | ColumnType::Set { charset, .. }) = kind else {
        return None;
    };
    (!charset::supported(charset)).then(|| Problem {
        reason: format!("column {}: character set {} is not supported", column.name, charset.0),
        remedy: format!("exclude the column, or change its character set (MODIFY {} … CHARACTER SET utf8mb4)", column.name),
    })
}

fn names(columns: &[Column]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for column in columns {
        let lower = column.name.to_lowercase();
        if RESERVED.contains(&lower.as_str()) {
            problems.push(Problem {
                reason: format!("column {} has the name of a column that changelog tables add", column.name),
                remedy: format!("exclude or rename {}", column.name),
            });
        }
        if !seen.insert(lower) {
            problems.push(Problem {
                reason: format!("column {} differs from another one only in case, which Hive does not tell apart", column.name),
                remedy: format!("exclude {}", column.name),
            });
        }
    }
    if columns.is_empty() {
        problems.push(Problem { reason: "no column is left to capture".to_owned(), remedy: "exclude fewer columns".to_owned() });
    }
    problems
}

/// What an operator has to decide about a table that can be captured.
pub(super) fn notes(facts: &TableFacts, schema: &TableSchema, traits: &ServerTraits) -> Vec<Problem> {
    let mut notes = Vec::new();
    let mut note = |reason: String, remedy: String| notes.push(Problem { reason, remedy });
    if !traits.writes_cascades {
        for (name, rule) in &facts.cascades {
            note(
                format!(
                    "foreign key {name} {rule} is accepted: what it does to the table is in no binlog, and parks it when met"
                ),
                "let the application delete the child rows".to_owned(),
            );
        }
    }
    match facts.engine.to_ascii_uppercase().as_str() {
        "INNODB" | "ROCKSDB" => {}
        "MEMORY" => note(
            "engine MEMORY: its rows are gone after a restart of the server".to_owned(),
            "ALTER TABLE … ENGINE=InnoDB".to_owned(),
        ),
        _ => note(
            format!(
                "engine {} has no transactions: a crash or a failed statement leaves changes that no binlog tells of",
                facts.engine
            ),
            "ALTER TABLE … ENGINE=InnoDB".to_owned(),
        ),
    }
    match schema.key_kind {
        KeyKind::Primary | KeyKind::Unique => {}
        KeyKind::Configured => note(
            format!(
                "nothing on the server keeps ({}) unique: a second row of the same key parks the table",
                schema.key_names().join(", ")
            ),
            format!("ALTER TABLE … ADD UNIQUE KEY ({})", schema.key_names().join(", ")),
        ),
        KeyKind::None => note(
            "it has no key: its changes are kept as a changelog only, and its snapshot is read in one piece".to_owned(),
            "ALTER TABLE … ADD PRIMARY KEY, or `key:`".to_owned(),
        ),
    }
    notes
}

/// Whether a label may hold a character that `information_schema` cannot show: it prints those outside the basic plane as `?`.
fn hides_letters(kind: &ColumnType) -> bool {
    let (ColumnType::Enum { labels: shown, charset } | ColumnType::Set { labels: shown, charset }) = kind else { return false };
    shown.iter().any(|label| labels::hides_letters(label, charset))
}

fn unreadable_labels(column: &Column) -> Problem {
    Problem {
        reason: format!(
            "column {}: a `?` in a label may stand for a character outside the basic plane, which only the binlog can tell",
            column.name
        ),
        remedy: format!("SET PERSIST binlog_row_metadata = FULL, or exclude {}", column.name),
    }
}
