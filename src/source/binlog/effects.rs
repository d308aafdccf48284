//! Statements and problems as parts of a transaction, with the words for the operator.

use std::sync::Arc;

use crate::change::{BinlogPosition, Capture, TableName};
use crate::source::{Part, Problem};

use super::ddl::{EffectKind, NameCase, effects};
use super::query::Query;

/// Statements are shown up to here.
const SHOWN_CHARACTERS: usize = 1000;

/// Where a transaction stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) start: BinlogPosition,
    pub(super) file_name: Arc<str>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file_name, self.start.offset)
    }
}

/// What a statement means for the tables that are captured at its place.
pub(super) fn statement_parts(query: &Query, capture: &Capture, case: NameCase, place: &Place) -> Vec<Part> {
    effects(query, capture, case)
        .into_iter()
        .filter(|effect| capture.at(&effect.table, place.start).is_some())
        .map(|effect| part(effect.table, &effect.kind, &shown(&query.sql), place))
        .collect()
}

fn part(table: TableName, kind: &EffectKind, statement: &str, place: &Place) -> Part {
    match kind {
        EffectKind::Truncate => Part::Truncate { table, statement: statement.to_owned() },
        EffectKind::Schema(happened) => {
            let problem = Problem {
                reason: format!("{table} {happened} at {place}: {statement}"),
                remedy: format!(
                    "run `binlake rebuild {table}` to capture it as it is now; if it is gone for good, take it out of the YAML"
                ),
            };
            Part::Schema { table, statement: statement.to_owned(), problem }
        }
        EffectKind::Statement => {
            let problem = Problem {
                reason: format!("rows of {table} were changed in statement format at {place}: {statement}"),
                remedy: format!("set binlog_format=ROW in every session that writes, then run `binlake rebuild {table}`"),
            };
            Part::Unusable { table, problem }
        }
        EffectKind::Around => {
            let problem = Problem {
                reason: format!(
                    "rows were changed in statement format at {place}, by way of a view, a trigger or a function perhaps those of \
                     {table}: {statement}"
                ),
                remedy: format!("set binlog_format=ROW in every session that writes, then run `binlake rebuild {table}`"),
            };
            Part::Unusable { table, problem }
        }
        EffectKind::Unknown => {
            let problem = Problem {
                reason: format!("the statement at {place} names {table} and is not understood: {statement}"),
                remedy: format!("run `binlake rebuild {table}`; please report the statement"),
            };
            Part::Unusable { table, problem }
        }
    }
}

/// The part that says why a table's rows cannot be read at a place.
pub(super) fn unusable(problem: &(TableName, Problem), place: &Place) -> Part {
    let (table, problem) = problem;
    let reason = format!("{} (transaction at {place})", problem.reason);
    Part::Unusable { table: table.clone(), problem: Problem { reason, remedy: problem.remedy.clone() } }
}

/// The table a part concerns.
pub(super) fn table_of(part: &Part) -> &TableName {
    match part {
        Part::Rows { table, .. } | Part::Truncate { table, .. } | Part::Schema { table, .. } | Part::Unusable { table, .. } => {
            table
        }
    }
}

fn shown(sql: &str) -> String {
    match sql.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", sql.get(..end).unwrap_or_default()),
        None => sql.to_owned(),
    }
}
