//! How values lie in a generation's files, and what becomes of the tables that are there when the YAML wants another form.
//!
//! A generation keeps the form that it was begun with, for nobody could tell which of its rows were written in which: its loader and its
//! writers take it from the table's state, never from the YAML. Another form is for what begins from then on, and is told at each start of
//! a table that has an older one, until it is rebuilt.

use crate::change::{Column, ColumnType, DatetimeEncoding, Datetimes};
use crate::metadata::TableState;

/// What the YAML says of the values in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// `lake.timestamp_encoding: int96`.
    pub timestamps_int96: bool,
    /// `lake.datetime` and `lake.datetime_zone`.
    pub datetimes: Datetimes,
    /// `partition_by` of the table.
    pub partition_by: Option<String>,
}

impl Form {
    /// What a generation's files have otherwise, a sentence each.
    pub fn kept_otherwise(&self, state: &TableState) -> Vec<String> {
        let mut kept = Vec::new();
        if state.timestamps_int96 != self.timestamps_int96 {
            kept.push("`lake.timestamp_encoding` was changed: its files stay as they are until it is built anew".to_owned());
        }
        if state.partition_by != self.partition_by {
            let said = |by: &Option<String>| by.clone().unwrap_or_else(|| "none".to_owned());
            kept.push(format!(
                "`partition_by` was changed from {} to {}: its files stay as they are until it is built anew",
                said(&state.partition_by),
                said(&self.partition_by)
            ));
        }
        if let Some(begun) = state.datetimes.as_ref().filter(|begun| differ(begun, &self.datetimes, state)) {
            kept.push(format!(
                "`lake.datetime` or `lake.datetime_zone` was changed from {begun} to {}: its files stay as they are until it is built anew",
                self.datetimes
            ));
        }
        kept
    }

    /// What helps then.
    pub fn remedy(state: &TableState) -> String {
        format!("run `binlake rebuild {}`, or take the change back", state.table)
    }

    /// Gives a generation whatever of this form makes no difference to the files it has. `untouched`: it has none.
    pub(super) fn give_to(&self, state: &mut TableState, untouched: bool) {
        if untouched {
            state.timestamps_int96 = self.timestamps_int96;
            state.partition_by.clone_from(&self.partition_by);
        }
        // Not written down is what an older version began: it read the zone that was set at each start, and so this one.
        if untouched || state.datetimes.as_ref().is_none_or(|begun| !differ(begun, &self.datetimes, state)) {
            state.datetimes = Some(self.datetimes.clone());
        }
    }
}

/// Whether files of a generation would come out otherwise: a DATETIME by its form and, as an instant, by its zone; a changelog's days, and
/// those of a TIMESTAMP that a mirror is cut by, by the zone.
fn differ(one: &Datetimes, other: &Datetimes, state: &TableState) -> bool {
    let is_clock = |column: &Column| matches!(column.kind, ColumnType::Datetime { .. });
    let clocks = state.schema.columns.iter().any(is_clock);
    let by = |column: &&Column| state.partition_by.as_ref().is_some_and(|name| column.name.eq_ignore_ascii_case(name));
    let instant = |column: &Column| matches!(column.kind, ColumnType::Timestamp { .. });
    let days = state.mode != "mirror" || state.schema.columns.iter().find(by).is_some_and(instant);
    let encodings = clocks && one.encoding != other.encoding;
    let instants = clocks && one.encoding == DatetimeEncoding::Instant;
    encodings || ((days || instants) && one.zone != other.zone)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::change::{TableName, TableSchema};
    use crate::metadata::contract;

    /// A generation of a table with a column of a kind.
    fn table(mode: &str, kind: ColumnType, datetimes: &str) -> TableState {
        let state = contract::table("shop", &TableName::new("shop", "orders"), 1);
        let mut schema = TableSchema::clone(&state.schema);
        schema.columns[1].kind = kind;
        TableState { mode: mode.to_owned(), schema: Arc::new(schema), datetimes: datetimes.parse().ok(), ..state }
    }

    fn form(datetimes: &str) -> Form {
        Form { timestamps_int96: false, datetimes: datetimes.parse().unwrap(), partition_by: None }
    }

    /// What a generation has after a start with `wanted`, and whether the log says that it is not what is wanted.
    fn started(state: &TableState, untouched: bool, wanted: &str) -> (String, bool) {
        let mut state = state.clone();
        form(wanted).give_to(&mut state, untouched);
        let is_told = !form(wanted).kept_otherwise(&state).is_empty();
        (state.datetimes.unwrap().to_string(), is_told)
    }

    #[test]
    fn a_generation_keeps_what_its_files_depend_on_and_takes_all_else() {
        let (utc, east, text) = ("instant in UTC", "instant in Asia/Shanghai", "string in Asia/Shanghai");
        let clock = ColumnType::Datetime { fraction: 0 };
        let keeps = |mode, kind: &ColumnType, begun: &str, wanted: &str| {
            let after = started(&table(mode, kind.clone(), begun), false, wanted);
            match after {
                (after, true) if after == begun => true,
                (after, false) if after == wanted => false,
                other => panic!("{mode} {kind:?} {begun} {wanted}: {other:?}"),
            }
        };
        assert!(keeps("mirror", &clock, utc, east), "instants of two zones");
        assert!(keeps("mirror", &clock, utc, text), "instants and texts");
        assert!(!keeps("mirror", &clock, text, "string in UTC"), "a text is of no zone");
        assert!(!keeps("mirror", &ColumnType::Date, utc, east), "nothing is of a zone");
        assert!(!keeps("mirror", &ColumnType::Date, utc, text), "nothing is a DATETIME");
        for mode in ["changelog", "both"] {
            assert!(keeps(mode, &ColumnType::Date, utc, east), "days of two zones");
            assert!(keeps(mode, &clock, text, "string in UTC"), "days of two zones");
            assert!(!keeps(mode, &ColumnType::Date, east, text), "days of one zone");
        }
        let begun = table("mirror", clock.clone(), utc);
        assert_eq!(started(&begun, true, east), (east.to_owned(), false), "nothing was written yet");
        assert_eq!(started(&table("mirror", clock, ""), false, east), (east.to_owned(), false), "an older version began it");
    }

    #[test]
    fn days_that_a_mirror_is_cut_by_are_of_its_zone_and_of_its_column() {
        let (utc, east) = ("instant in UTC", "instant in Asia/Shanghai");
        for (kind, differs) in [(ColumnType::Timestamp { fraction: 0 }, true), (ColumnType::Date, false)] {
            let state = table("mirror", kind, utc);
            let column = state.schema.columns[1].name.clone();
            let cut = TableState { partition_by: Some(column.clone()), ..state.clone() };
            let wanted = |by: Option<&String>| Form { partition_by: by.cloned(), ..form(east) };
            let (mut cut_begun, mut begun) = (cut.clone(), state.clone());
            wanted(Some(&column)).give_to(&mut cut_begun, false);
            wanted(None).give_to(&mut begun, false);
            assert_eq!(wanted(Some(&column)).kept_otherwise(&cut_begun).len(), usize::from(differs));
            assert_eq!(wanted(None).kept_otherwise(&begun), Vec::<String>::new());
            let told = wanted(Some(&column)).kept_otherwise(&begun);
            assert!(told.len() == 1 && told[0].contains("`partition_by` was changed from none to"), "{told:?}");
            wanted(Some(&column)).give_to(&mut begun, false);
            assert_eq!(begun.partition_by, None, "its files are there");
            wanted(Some(&column)).give_to(&mut begun, true);
            assert_eq!(begun.partition_by, Some(column));
        }
    }

    #[test]
    fn the_form_of_instants_stays_unless_there_are_none() {
        let long = Form { timestamps_int96: true, ..form("instant in UTC") };
        let mut state = table("mirror", ColumnType::Date, "instant in UTC");
        long.give_to(&mut state, false);
        assert_eq!((state.timestamps_int96, long.kept_otherwise(&state).len()), (false, 1));
        long.give_to(&mut state, true);
        assert_eq!((state.timestamps_int96, long.kept_otherwise(&state).len()), (true, 0));
    }
}
