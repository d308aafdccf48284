//! Which columns identify a row: the primary key, else the narrowest usable unique key, else `key:`, else nothing.

use super::facts::{IndexFacts, TableFacts};
use crate::change::{Column, ColumnType, Generated, KeyKind};
use crate::source::{Problem, TableOptions};

/// Indexes into `columns`, in the key's order, and where they come from.
pub(super) type Key = (Vec<usize>, KeyKind);

/// Invisible to the optimizer, columns, bytes, name: the smallest wins.
type Rank<'a> = (bool, usize, u64, &'a str);

/// Chooses the key.
///
/// # Errors
/// A problem where there is no key and the table may not be without, or where the one there is cannot serve.
pub(super) fn choose(facts: &TableFacts, columns: &[Column], options: &TableOptions) -> Result<Key, Problem> {
    let chosen = match facts.unique_keys.iter().find(|key| key.name == "PRIMARY") {
        Some(primary) => Some(places(primary, columns, options).map(|key| (key, KeyKind::Primary))),
        None => best_unique(facts, columns, options).map(|key| Ok((key, KeyKind::Unique))),
    };
    match chosen {
        Some(Ok((key, kind))) => {
            agrees_with_options(&key, columns, options)?;
            Ok((key, kind))
        }
        Some(Err(_)) if options.keyless_allowed => Ok((Vec::new(), KeyKind::None)),
        Some(Err(problem)) => Err(problem),
        None if !options.key.is_empty() => configured(columns, options).map(|key| (key, KeyKind::Configured)),
        None if options.keyless_allowed => Ok((Vec::new(), KeyKind::None)),
        None => Err(Problem {
            reason: "no primary key and no unique key over NOT NULL columns".to_owned(),
            remedy: "add a primary key, name the columns that identify a row in `key:`, or set `mode: changelog`".to_owned(),
        }),
    }
}

fn position(columns: &[Column], name: &str) -> Option<usize> {
    columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
}

fn places(primary: &IndexFacts, columns: &[Column], options: &TableOptions) -> Result<Vec<usize>, Problem> {
    let mut key = Vec::with_capacity(primary.columns.len());
    for name in primary.columns.iter().flatten() {
        let Some(index) = position(columns, name) else {
            let excluded = options.exclude_columns.iter().any(|excluded| excluded.eq_ignore_ascii_case(name));
            return Err(Problem {
                reason: if excluded {
                    format!("column {name} of the primary key is excluded")
                } else {
                    format!("column {name} of the primary key cannot be captured")
                },
                remedy: format!("take {name} out of `columns.exclude`"),
            });
        };
        usable(columns, index)?;
        key.push(index);
    }
    Ok(key)
}

/// Whether a column can identify rows: equal in MySQL must be equal wherever else it is compared.
fn usable(columns: &[Column], index: usize) -> Result<(), Problem> {
    let Some(column) = columns.get(index) else { return Ok(()) };
    let reason = match &column.kind {
        ColumnType::Float | ColumnType::Double => "its values cannot be compared exactly",
        ColumnType::Json | ColumnType::Geometry | ColumnType::Vector => "its values have no order",
        _ if column.generated == Generated::Virtual => "its values may depend on the session that wrote them",
        _ if column.nullable => "it may be NULL",
        _ => return Ok(()),
    };
    Err(Problem {
        reason: format!("key column {} {}: {reason}", column.name, column.declared),
        remedy: "give the table a primary key of other columns, or set `mode: changelog`".to_owned(),
    })
}

/// The narrowest of the usable ones; by name where two are as narrow, so that every start takes the same.
fn best_unique(facts: &TableFacts, columns: &[Column], options: &TableOptions) -> Option<Vec<usize>> {
    let mut best: Option<(Rank<'_>, Vec<usize>)> = None;
    for index in facts.unique_keys.iter().filter(|index| !index.prefixed && index.columns.iter().all(Option::is_some)) {
        let Ok(key) = places(index, columns, options) else { continue };
        let rank = (!index.visible, key.len(), width(facts, index), index.name.as_str());
        if best.as_ref().is_none_or(|(other, _)| rank < *other) {
            best = Some((rank, key));
        }
    }
    best.map(|(_, key)| key)
}

fn width(facts: &TableFacts, index: &IndexFacts) -> u64 {
    let column_width = |name: &String| {
        facts.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)).map_or(8, |column| {
            column.octets.unwrap_or_else(|| match column.declared.split(['(', ' ']).next() {
                Some("tinyint" | "year" | "bit") => 1,
                Some("smallint") => 2,
                Some("mediumint" | "date" | "time") => 3,
                Some("int") => 4,
                _ => 8,
            })
        })
    };
    index.columns.iter().flatten().map(column_width).sum()
}

fn agrees_with_options(key: &[usize], columns: &[Column], options: &TableOptions) -> Result<(), Problem> {
    let names: Vec<&str> = key.iter().filter_map(|index| columns.get(*index)).map(|column| column.name.as_str()).collect();
    let same = names.len() == options.key.len() && names.iter().zip(&options.key).all(|(a, b)| a.eq_ignore_ascii_case(b));
    if options.key.is_empty() || same {
        return Ok(());
    }
    Err(Problem {
        reason: format!("`key:` names ({}), but the table has a key of its own: ({})", options.key.join(", "), names.join(", ")),
        remedy: "remove `key:`: it is for tables without a key".to_owned(),
    })
}

fn configured(columns: &[Column], options: &TableOptions) -> Result<Vec<usize>, Problem> {
    let mut key = Vec::with_capacity(options.key.len());
    for name in &options.key {
        let Some(index) = position(columns, name) else {
            return Err(Problem {
                reason: format!("`key:` names {name}, which is no captured column"),
                remedy: "name columns of the table that are not excluded".to_owned(),
            });
        };
        if key.contains(&index) {
            return Err(Problem { reason: format!("`key:` names {name} twice"), remedy: "name each column once".to_owned() });
        }
        usable(columns, index)?;
        key.push(index);
    }
    Ok(key)
}
