//! The SQL of chunks: quoted names, key bounds as literals, and keyset predicates that MySQL compares itself.
//!
//! A literal is made so that it equals the stored value and sorts where it sorts: text as the bytes of the column's character set
//! (the column's collation then decides), ENUM and SET by number as ORDER BY does, FLOAT by its exact DOUBLE.

use crate::change::{Column, ColumnType, TableSchema};
use crate::source::{ChunkRange, KeyBound};
use crate::trial::{Mistake, planted};

/// `` `name` ``, with its own backticks doubled.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `` `database`.`table` ``.
pub(super) fn table(schema: &TableSchema) -> String {
    format!("{}.{}", quoted(&schema.name.database), quoted(&schema.name.table))
}

/// A string literal, safe in every sql_mode.
pub(super) fn string(text: &str) -> String {
    format!("_utf8mb4 x'{}'", hexadecimal(text.as_bytes()))
}

/// The captured columns in their order.
pub(super) fn column_list(schema: &TableSchema) -> String {
    schema.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
}

/// The key columns in the key's order. Empty where chunks cannot be cut: no key, or one that may hold NULL.
pub(super) fn key(schema: &TableSchema) -> Vec<&Column> {
    let columns: Option<Vec<&Column>> = schema.key.iter().map(|index| schema.columns.get(*index)).collect();
    columns.filter(|columns| columns.iter().all(|column| !column.nullable && can_bound(&column.kind))).unwrap_or_default()
}

fn can_bound(kind: &ColumnType) -> bool {
    !matches!(kind, ColumnType::Json | ColumnType::Geometry | ColumnType::Vector)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The column as predicates compare it.
fn operand(column: &Column) -> String {
    match column.kind {
        // Compared with a number, a SET of many members would go through a DOUBLE.
        ColumnType::Set { .. } => format!("CAST({} AS UNSIGNED)", quoted(&column.name)),
        _ => quoted(&column.name),
    }
}

/// What a bound selects of a column: text from which [`literal`] is made.
fn selected(column: &Column) -> String {
    let name = quoted(&column.name);
    match column.kind {
        ColumnType::Text { .. } | ColumnType::Binary { .. } => format!("HEX({name})"),
        ColumnType::Enum { .. } | ColumnType::Set { .. } | ColumnType::Bit { .. } => format!("CAST({name} AS UNSIGNED)"),
        // FLOAT prints too few digits.
        ColumnType::Float => format!("CAST({name} AS DOUBLE)"),
        _ => name,
    }
}

/// The select list of a bound.
pub(super) fn bound_list(key: &[&Column]) -> String {
    key.iter().map(|column| selected(column)).collect::<Vec<_>>().join(", ")
}

/// The literal of one key value from what [`bound_list`] selected; None for what no literal can be made of.
fn literal(column: &Column, cell: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(cell).ok()?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match &column.kind {
        ColumnType::Integer { .. } | ColumnType::Bit { .. } | ColumnType::Enum { .. } | ColumnType::Set { .. } => {
            // ZEROFILL's zeros go.
            text.parse::<i128>().ok().map(|number| number.to_string())
        }
        ColumnType::Decimal { .. } => {
            let (whole, fraction) = text.strip_prefix('-').unwrap_or(text).split_once('.').unwrap_or((text, "0"));
            (digits(whole.trim_start_matches('-')) && digits(fraction)).then(|| text.to_owned())
        }
        ColumnType::Float | ColumnType::Double => {
            text.parse::<f64>().ok().filter(|number| number.is_finite())?;
            // Without an exponent it would be a DECIMAL.
            Some(if text.contains('e') { text.to_owned() } else { format!("{text}e0") })
        }
        ColumnType::Text { charset } => Some(format!("_{} x'{}'", charset.0, hex_digits(text)?)),
        ColumnType::Binary { .. } => Some(format!("x'{}'", hex_digits(text)?)),
        ColumnType::Year
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::Datetime { .. }
        | ColumnType::Timestamp { .. } => {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b' '));
            (plain && !text.is_empty()).then(|| format!("'{text}'"))
        }
        ColumnType::Address(_) => {
            let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b':' | b'.'));
            (plain && !text.is_empty()).then(|| format!("'{text}'"))
        }
        ColumnType::Json | ColumnType::Geometry | ColumnType::Vector => None,
    }
}

fn hex_digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(text)
}

/// A bound from the row that [`bound_list`] selected.
pub(super) fn bound(key: &[&Column], row: &[Option<Vec<u8>>]) -> Option<KeyBound> {
    let literals: Option<Vec<String>> =
        key.iter().zip(row).map(|(column, cell)| cell.as_deref().and_then(|cell| literal(column, cell))).collect();
    literals.filter(|literals| literals.len() == key.len()).map(KeyBound)
}

/// `ORDER BY` in the key's order.
pub(super) fn order(key: &[&Column], direction: &str) -> String {
    let columns: Vec<String> = key.iter().map(|column| format!("{} {direction}", quoted(&column.name))).collect();
    columns.join(", ")
}

/// `WHERE lower < key AND key <= upper`, in a form that is a few index ranges. Empty where both ends are open.
pub(super) fn range(key: &[&Column], range: &ChunkRange) -> String {
    let lower = range.lower.as_ref().map(|bound| (bound, ">", ">"));
    let upper = range.upper.as_ref().map(|bound| (bound, "<", if planted(Mistake::ChunkBoundsInNeither) { "<" } else { "<=" }));
    let sides: Vec<String> = [lower, upper]
        .into_iter()
        .flatten()
        .filter(|(bound, _, _)| !bound.0.is_empty())
        .map(|(bound, strict, last)| side(key, &bound.0, strict, last))
        .collect();
    if sides.is_empty() { String::new() } else { format!(" WHERE {}", sides.join(" AND ")) }
}

/// `(a > x) OR (a = x AND b > y) OR …`: one range a key column, which MySQL's optimizer intersects with those of the other side.
/// A row constructor would say the same and be read from end to end.
fn side(key: &[&Column], literals: &[String], strict: &str, last: &str) -> String {
    let columns: Vec<(String, &String)> = key.iter().map(|column| operand(column)).zip(literals).collect();
    let mut equal = String::new();
    let mut branches = Vec::with_capacity(columns.len());
    for (place, (operand, literal)) in columns.iter().enumerate() {
        let comparison = if place + 1 == columns.len() { last } else { strict };
        branches.push(format!("({equal}{operand} {comparison} {literal})"));
        equal.push_str(&format!("{operand} = {literal} AND "));
    }
    format!("({})", branches.join(" OR "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Charset;

    fn column(name: &str, kind: ColumnType) -> Column {
        Column {
            name: name.to_owned(),
            kind,
            nullable: false,
            generated: Default::default(),
            ordinal: 0,
            declared: String::new(),
        }
    }

    #[test]
    fn composite_bounds_expand_to_a_range_for_each_column() {
        let (a, b) = (
            column("a`b", ColumnType::Integer { bits: 32, unsigned: false }),
            column("c", ColumnType::Text { charset: Charset("latin1".to_owned()) }),
        );
        let key = [&a, &b];
        let lower = bound(&key, &[Some(b"-0005".to_vec()), Some(b"41".to_vec())]);
        let upper = bound(&key, &[Some(b"7".to_vec()), Some(b"".to_vec())]);
        let range = range(&key, &ChunkRange { lower, upper });
        assert_eq!(
            range,
            " WHERE ((`a``b` > -5) OR (`a``b` = -5 AND `c` > _latin1 x'41')) \
             AND ((`a``b` < 7) OR (`a``b` = 7 AND `c` <= _latin1 x''))"
        );
    }

    #[test]
    fn what_is_no_value_makes_no_literal() {
        let cases: &[(ColumnType, &[u8])] = &[
            (ColumnType::Integer { bits: 64, unsigned: true }, b"1 OR 1"),
            (ColumnType::Decimal { precision: 5, scale: 2 }, b"1;2"),
            (ColumnType::Double, b"nan"),
            (ColumnType::Date, b"2024-01-01'"),
            (ColumnType::Binary { fixed: None }, b"4'"),
            (ColumnType::Json, b"{}"),
        ];
        for (kind, cell) in cases {
            let column = column("k", kind.clone());
            assert_eq!(bound(&[&column], &[Some(cell.to_vec())]), None, "{kind:?}");
        }
        let decimal = column("k", ColumnType::Decimal { precision: 5, scale: 2 });
        assert_eq!(bound(&[&decimal], &[Some(b"-1.50".to_vec())]), Some(KeyBound(vec!["-1.50".to_owned()])));
    }
}
