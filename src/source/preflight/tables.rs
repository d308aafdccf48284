//! Each table: whether it can be captured, and what is to be known of it.

use super::{broken, fine, of_table, risky};
use crate::change::{KeyKind, TableName, TableSchema};
use crate::source::control::Control;
use crate::source::identity::ServerTraits;
use crate::source::schema::{self, facts::TableFacts};
use crate::source::{Finding, Result, TableOptions};

/// Examines them one by one.
pub(super) async fn judge(
    control: &mut Control,
    traits: &ServerTraits,
    tables: &[(TableName, TableOptions)],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (table, options) in tables {
        let examined = schema::examine(control, traits, table, options).await?;
        let subject = table.to_string();
        match &examined.shape {
            Ok(shape) => {
                findings.push(of_table(fine(&subject, summary(shape, &examined.facts)), table));
                for note in schema::notes(&examined.facts, shape, traits) {
                    findings.push(of_table(risky(&subject, note.reason, note.remedy), table));
                }
            }
            Err(problems) => {
                let problem = |problem: &crate::source::Problem| {
                    of_table(broken(&subject, problem.reason.clone(), problem.remedy.clone()), table)
                };
                findings.extend(problems.iter().map(problem));
            }
        }
    }
    Ok(findings)
}

fn summary(shape: &TableSchema, facts: &TableFacts) -> String {
    let key = match shape.key_kind {
        KeyKind::Primary => format!("primary key ({})", shape.key_names().join(", ")),
        KeyKind::Unique => format!("unique key ({})", shape.key_names().join(", ")),
        KeyKind::Configured => format!("configured key ({})", shape.key_names().join(", ")),
        KeyKind::None => "no key".to_owned(),
    };
    format!("{} of {} columns, {key}, {}, about {} rows", shape.columns.len(), shape.physical_columns, facts.engine, facts.rows)
}
