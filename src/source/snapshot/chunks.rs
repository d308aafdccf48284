//! Where chunks begin and end.
//!
//! A single integer key is cut by arithmetic: a width from the server's estimate, corrected by what the optimizer sees in the
//! index of the very range, so that gaps and dense stretches give chunks of like size without counting a row. Other keys are
//! walked. Only sizes depend on estimates, never which rows are read.

use crate::change::{Column, ColumnType, KeyKind, TableSchema};
use crate::source::wire::WireConnection;
use crate::source::{ChunkRange, KeyBound, Result, Settings, SnapshotPlan};

use super::session;
use super::sql;

/// Corrections of one chunk's width.
const CORRECTIONS_MAX: usize = 12;

/// Fixes the upper bound of a table's snapshot, and what the server estimates of its size.
///
/// `shown_by` is the server that showed all of `since` ([`crate::source::Visible::server_uuid`]): on another one the greatest
/// key could lie below rows that `since` covers.
pub async fn plan(settings: &Settings, schema: &TableSchema, shown_by: Option<&str>) -> Result<SnapshotPlan> {
    let mut connection = session::open(settings, shown_by).await?;
    session::check_shape(&mut connection, schema).await?;
    let (estimated_rows, estimated_bytes) = estimates(&mut connection, schema).await?;
    let key = sql::key(schema);
    if key.is_empty() {
        return Ok(SnapshotPlan { upper: None, estimated_rows, estimated_bytes, whole: true, empty: false });
    }
    let statement =
        format!("SELECT {} FROM {} ORDER BY {} LIMIT 1", sql::bound_list(&key), indexed(schema), sql::order(&key, "DESC"));
    let upper = one_bound(&mut connection, schema, &key, &statement).await?;
    let empty = upper.is_none();
    Ok(SnapshotPlan { upper, estimated_rows, estimated_bytes, whole: false, empty })
}

/// The chunk behind `after`. The last one ends at the plan's bound; of a table that is read whole there is one, whose upper
/// bound has no columns.
pub async fn next_chunk(
    settings: &Settings,
    schema: &TableSchema,
    plan: &SnapshotPlan,
    after: Option<&KeyBound>,
) -> Result<Option<ChunkRange>> {
    if plan.empty || (plan.whole && after.is_some()) {
        return Ok(None);
    }
    let (key, Some(end)) = (sql::key(schema), &plan.upper) else {
        return Ok(Some(ChunkRange { lower: None, upper: Some(KeyBound(Vec::new())) }));
    };
    if after == Some(end) {
        return Ok(None);
    }
    let mut connection = session::open(settings, None).await?;
    let rows = rows_a_chunk(settings, plan);
    let last = ChunkRange { lower: after.cloned(), upper: Some(end.clone()) };
    let upper = match key.as_slice() {
        [column] if matches!(column.kind, ColumnType::Integer { .. }) => {
            step(&mut connection, schema, column, plan, &last, rows).await?
        }
        _ => walk(&mut connection, schema, &key, &last, rows).await?,
    };
    Ok(Some(ChunkRange { lower: after.cloned(), upper: Some(upper.unwrap_or_else(|| end.clone())) }))
}

/// As many rows as the settings' rows and bytes allow.
fn rows_a_chunk(settings: &Settings, plan: &SnapshotPlan) -> u64 {
    let row_bytes = plan.estimated_bytes.checked_div(plan.estimated_rows).unwrap_or(0).max(1);
    settings.snapshot.chunk_rows.min(settings.snapshot.chunk_bytes / row_bytes).max(1)
}

/// The table, read by its primary key where it has one: the optimizer may think a scan cheaper, chunk after chunk.
pub(super) fn indexed(schema: &TableSchema) -> String {
    let hint = if schema.key_kind == KeyKind::Primary { " FORCE INDEX (PRIMARY)" } else { "" };
    format!("{}{hint}", sql::table(schema))
}

async fn estimates(connection: &mut WireConnection, schema: &TableSchema) -> Result<(u64, u64)> {
    if !connection.is_mariadb() {
        // Else they may be a day old.
        connection.execute("SET SESSION information_schema_stats_expiry = 0").await?;
    }
    let statement = format!(
        "SELECT TABLE_ROWS, DATA_LENGTH FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        sql::string(&schema.name.database),
        sql::string(&schema.name.table)
    );
    let rows = connection.query_text(&statement).await?;
    // An estimate that the server does not give counts as 0: only sizes depend on it.
    let number = |place: usize| rows.first().and_then(|row| row.get(place)?.as_deref()).and_then(parse).unwrap_or(0);
    Ok((number(0), number(1)))
}

fn parse(cell: &[u8]) -> Option<u64> {
    std::str::from_utf8(cell).ok()?.parse().ok()
}

/// Runs a statement that selects at most one bound.
async fn one_bound(
    connection: &mut WireConnection,
    schema: &TableSchema,
    key: &[&Column],
    statement: &str,
) -> Result<Option<KeyBound>> {
    let rows = connection.query_text(statement).await;
    let rows = rows.map_err(|error| session::on_table(connection, schema, error))?;
    let Some(row) = rows.first() else { return Ok(None) };
    match sql::bound(key, row) {
        Some(bound) => Ok(Some(bound)),
        None => {
            Err(session::changed(schema, format!("the key {} cannot be written as a literal", schema.key_names().join(", "))))
        }
    }
}

/// The bound `rows` rows behind the lower one; None when the end is nearer.
async fn walk(
    connection: &mut WireConnection,
    schema: &TableSchema,
    key: &[&Column],
    rest: &ChunkRange,
    rows: u64,
) -> Result<Option<KeyBound>> {
    let statement = format!(
        "SELECT {} FROM {}{} ORDER BY {} LIMIT 1 OFFSET {}",
        sql::bound_list(key),
        indexed(schema),
        sql::range(key, rest),
        sql::order(key, "ASC"),
        rows - 1
    );
    one_bound(connection, schema, key, &statement).await
}

/// The bound of a chunk by arithmetic; None when the end is nearer.
async fn step(
    connection: &mut WireConnection,
    schema: &TableSchema,
    column: &Column,
    plan: &SnapshotPlan,
    rest: &ChunkRange,
    rows: u64,
) -> Result<Option<KeyBound>> {
    let key = [column];
    let value = |bound: Option<&KeyBound>| bound.and_then(|bound| bound.0.first()).and_then(|text| text.parse::<i128>().ok());
    let Some(end) = value(rest.upper.as_ref()) else { return walk(connection, schema, &key, rest, rows).await };
    // The first key that is there: a gap is jumped over.
    let statement = format!(
        "SELECT {} FROM {}{} ORDER BY {} LIMIT 1",
        sql::bound_list(&key),
        indexed(schema),
        sql::range(&key, rest),
        sql::order(&key, "ASC")
    );
    let Some(first) = value(one_bound(connection, schema, &key, &statement).await?.as_ref()) else { return Ok(None) };
    let wanted = i128::from(rows);
    let mut width = ((end - first) / i128::from(plan.estimated_rows.max(1)) * wanted).max(wanted);
    for _ in 0..CORRECTIONS_MAX {
        let upper = first + width - 1;
        if upper >= end {
            width = end - first + 1;
        }
        let bound = KeyBound(vec![(first + width - 1).to_string()]);
        let range = ChunkRange { lower: rest.lower.clone(), upper: Some(bound.clone()) };
        let seen = i128::from(rows_seen(connection, schema, column, &range).await?);
        if seen > wanted * 2 {
            width = (width * wanted / seen).max(1);
        } else if seen * 2 < wanted && upper < end {
            // Never more than eightfold at once: the range behind may be dense.
            width *= (wanted / seen.max(1)).clamp(2, 8);
        } else {
            return Ok(if upper >= end { None } else { Some(bound) });
        }
    }
    // Keys so uneven that no width fits are counted.
    walk(connection, schema, &key, rest, rows).await
}

/// The rows that the optimizer expects in a range, from a look into the index.
async fn rows_seen(connection: &mut WireConnection, schema: &TableSchema, column: &Column, range: &ChunkRange) -> Result<u64> {
    let name = sql::quoted(&column.name);
    // Not FORCE INDEX: it spares the look into the index, and every range then counts one row.
    let hint = if schema.key_kind == KeyKind::Primary { " USE INDEX (PRIMARY)" } else { "" };
    let condition = sql::range(&[column], range);
    let statement = format!("EXPLAIN FORMAT=TRADITIONAL SELECT {name} FROM {}{hint}{condition}", sql::table(schema));
    let rows = connection.query_text(&statement).await.map_err(|error| session::on_table(connection, schema, error))?;
    let place = connection.columns().iter().position(|column| column.name == "rows");
    // NULL where nothing can match.
    Ok(place.and_then(|place| rows.first()?.get(place)?.as_deref()).and_then(parse).unwrap_or(0))
}
