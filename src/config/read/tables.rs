//! The entries of `tables`.

use super::lake::word;
use crate::config::cursor::{Fields, Reader};
use crate::config::pattern::TablePattern;
use crate::config::problem::Place;
use crate::config::settings::{Cascades, Layout, Mode, SourceConfig, TableEntry, TableOptions};
use crate::config::tree::{Node, merged};

pub(super) fn entry(reader: &mut Reader<'_>, node: &Node, defaults: Option<&Node>) -> Option<TableEntry> {
    let whole = merged(node, defaults);
    let mut fields = reader.fields(&whole)?;
    let pattern = match fields.take("table") {
        Some(node) => pattern(reader, node),
        None => {
            let remedy = "name database.table, a glob such as shop.*, or /an expression/";
            reader.error(&fields.place_of("table"), "it is missing", remedy);
            None
        }
    };
    let options = options(reader, &mut fields);
    let place = fields.place.clone();
    reader.finish(fields);
    Some(TableEntry { place, pattern: pattern?, options: options? })
}

pub(super) fn pattern(reader: &mut Reader<'_>, node: &Node) -> Option<TablePattern> {
    let text = reader.text(node)?;
    match TablePattern::parse(&text) {
        Ok(pattern) => Some(pattern),
        Err(message) => {
            reader.error(&node.place, message, "write database.table, a glob such as shop.*, or /an expression/");
            None
        }
    }
}

/// What may stand in an entry and in `defaults.table`.
pub(super) fn options(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<TableOptions> {
    let standard = TableOptions::default();
    let mode = word(reader, fields.take("mode"), standard.mode);
    let key = match fields.take("key") {
        Some(node) => reader.names(node),
        None => Some(standard.key),
    };
    let layout_node = fields.take("layout");
    let layout = word(reader, layout_node, standard.layout);
    let cascades: Option<Cascades> = word(reader, fields.take("cascades"), standard.cascades);
    let exclude_columns = columns(reader, fields.take("columns"));
    let partition_node = fields.take("partition_by");
    let partition_by = match partition_node {
        Some(node) => day_column(reader, node).map(Some),
        None => Some(None),
    };
    let daily_node = fields.take("daily");
    let daily = match daily_node {
        Some(node) => reader.flag(node),
        None => Some(standard.daily),
    };
    reader.not_built(fields, "into", "another name in the lake is", "remove it; `lake.database` names the database");
    let (mode, layout, daily, key, exclude_columns) = (mode?, layout?, daily?, key?, exclude_columns?);
    let partition_by = partition_by?;
    if mode == Mode::Changelog {
        let freezes = daily_node.filter(|_| daily);
        needs_mirror(reader, freezes, "to freeze", "remove `daily`, or use mirror or both");
        let lays_out = layout_node.filter(|_| layout != Layout::Auto);
        needs_mirror(reader, lays_out, "to lay out", "remove `layout`, or use mirror or both");
        let remedy = "remove `partition_by` (a changelog is partitioned by the day of the change), or use mirror or both";
        needs_mirror(reader, partition_node, "to partition", remedy);
    } else if let Some(node) = partition_node.filter(|_| layout == Layout::Single) {
        reader.error(&node.place, "`layout: single` has one file, and each day has its own", "remove one of the two");
    }
    if let Some(node) = partition_node {
        let remedy = "days are those of a column that is kept";
        needs_columns(reader, &node.place, partition_by.as_slice(), &exclude_columns, remedy);
    }
    needs_columns(reader, &fields.place_of("key"), &key, &exclude_columns, "a key needs all of its columns");
    Some(TableOptions { mode, key, layout, partition_by, daily, cascades: cascades?, exclude_columns })
}

/// `partition_by: {dt: created_at}`.
fn day_column(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let mut fields = reader.fields(node)?;
    let column = match fields.take("dt") {
        Some(node) => reader.text(node),
        None => {
            reader.error(
                &fields.place_of("dt"),
                "it is missing",
                "write `partition_by: {dt: created_at}`: the partition column is dt",
            );
            None
        }
    };
    reader.finish(fields);
    column
}

/// What is set for a mirror, with a mode that makes none; as a default it is for the other tables.
fn needs_mirror(reader: &mut Reader<'_>, node: Option<&Node>, what: &str, remedy: &str) {
    if let Some(node) = node.filter(|node| !node.place.path.starts_with("defaults.")) {
        reader.error(&node.place, format!("`mode: changelog` makes no mirror {what}"), remedy);
    }
}

fn needs_columns(reader: &mut Reader<'_>, place: &Place, columns: &[String], excluded: &[String], remedy: &str) {
    let is_excluded = |column: &&String| excluded.iter().any(|other| other.eq_ignore_ascii_case(column));
    if let Some(column) = columns.iter().find(is_excluded) {
        reader.error(place, format!("column {column:?} is in `columns.exclude` too"), remedy);
    }
}

fn columns(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<Vec<String>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let mut fields = reader.fields(node)?;
    let exclude = match fields.take("exclude") {
        Some(node) => reader.names(node),
        None => Some(Vec::new()),
    };
    reader.not_built(&mut fields, "mask", "masking is", "use `exclude`, or remove it");
    reader.finish(fields);
    exclude
}

/// Since the first match wins, an entry behind one that takes its table would be read over, with all it says of columns.
pub(super) fn check_order(reader: &mut Reader<'_>, source: &SourceConfig) {
    for (index, entry) in source.tables.iter().enumerate() {
        let Some((database, table)) = entry.pattern.exact() else {
            let earlier = source.tables.iter().take(index).find(|earlier| earlier.pattern == entry.pattern);
            if let Some(earlier) = earlier {
                let message = format!("{} takes every table of it first", earlier.place.path);
                reader.error(&entry.place.key("table"), message, "list each pattern once");
            }
            continue;
        };
        let earlier = source.tables.iter().take(index).find(|earlier| earlier.pattern.matches(database, table));
        if let Some(earlier) = earlier {
            let message = format!("{} ({}) takes {} first", earlier.place.path, earlier.pattern, entry.pattern);
            reader.error(&entry.place.key("table"), message, "list each table once, before the patterns that match it");
        } else if let Some(pattern) = source.exclude.iter().find(|pattern| pattern.matches(database, table)) {
            let message = format!("{} is named here and excluded by {pattern}", entry.pattern);
            reader.error(&entry.place.key("table"), message, "remove one of the two");
        }
    }
}
