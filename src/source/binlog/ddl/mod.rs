//! What a statement in the binlog does to captured tables.
//!
//! In row format the binlog has statements for everything but rows: schema changes, TRUNCATE, accounts, procedures. Most do not
//! concern us. What changes, moves, empties or drops a captured table is recognised; what is known to be harmless is left
//! alone; anything else that mentions a captured table as a name parks it. So nothing is silent, whatever MySQL comes to know.

use crate::change::{Capture, KeyKind, TableName};

use super::query::Query;
use statement::Statement;

mod statement;
mod tokens;

/// What a statement does to one captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effect {
    /// The table, as the capture names it.
    pub(super) table: TableName,
    pub(super) kind: EffectKind,
}

/// The kinds of effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EffectKind {
    /// It is emptied.
    Truncate,
    /// Its shape, name or existence changed; what happened, as a part of a sentence.
    Schema(String),
    /// Its rows were changed by a statement, which cannot be followed.
    Statement,
    /// They may have been: the statement changed rows in its database by way of a view, a trigger or a function.
    Around,
    /// The statement mentions it and is not understood.
    Unknown,
}

/// How names are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameCase {
    /// As they are written (`lower_case_table_names=0`).
    Kept,
    /// In lower case.
    Lower,
}

impl NameCase {
    /// A table's name as the capture has it.
    pub(super) fn fold(self, database: &str, table: &str) -> TableName {
        match self {
            Self::Kept => TableName::new(database, table),
            Self::Lower => TableName::new(database.to_lowercase(), table.to_lowercase()),
        }
    }
}

/// Finds the effects of a statement on the tables of `capture`, each table once.
pub(super) fn effects(query: &Query, capture: &Capture, case: NameCase) -> Vec<Effect> {
    let mut effects: Vec<Effect> = Vec::new();
    if capture.tables.is_empty() {
        return effects;
    }
    for effect in Statement::new(query, capture, case).effects() {
        if !effects.iter().any(|known| known.table == effect.table) {
            effects.push(effect);
        }
    }
    effects
}

/// Whether dropping an index can take a table's key away.
fn key_is_an_index(capture: &Capture, table: &TableName) -> bool {
    capture.tables.get(table).is_some_and(|captured| captured.schema.key_kind != KeyKind::Primary)
}

#[cfg(test)]
mod tests;
