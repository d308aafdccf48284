//! A session that reads a snapshot: every setting that could change what a SELECT returns is set and read back.

use crate::change::{ColumnType, TableSchema};
use crate::source::wire::WireConnection;
use crate::source::{Error, Result, Settings, identity::server_uuid};

use super::{mariadb, sql};

/// A session's variable, what it is set to, and what it must read back as.
pub(super) type Variable = (&'static str, &'static str, Option<&'static str>);

/// What is set on every server. A global `sql_select_limit` would end a chunk early, `PAD_CHAR_TO_FULL_LENGTH` would change values.
const VARIABLES: &[Variable] = &[
    // The only mode that concerns us lets key bounds be dates that are no days, as the table may hold them.
    ("sql_mode", "'ALLOW_INVALID_DATES'", Some("ALLOW_INVALID_DATES")),
    ("autocommit", "1", Some("1")),
    ("time_zone", "'+00:00'", Some("+00:00")),
    ("character_set_client", "utf8mb4", Some("utf8mb4")),
    ("collation_connection", "utf8mb4_general_ci", Some("utf8mb4_general_ci")),
    // Text comes in its column's own bytes.
    ("character_set_results", "NULL", None),
    ("sql_select_limit", "18446744073709551615", Some("18446744073709551615")),
    ("sql_big_selects", "1", Some("1")),
    // The lake may hold a reader back for a while before it takes the next rows.
    ("net_write_timeout", "3600", Some("3600")),
];

/// What only MySQL calls so. A global READ UNCOMMITTED would load rows that never were.
const OF_MYSQL: &[Variable] = &[
    ("transaction_isolation", "'REPEATABLE-READ'", Some("REPEATABLE-READ")),
    ("max_execution_time", "0", Some("0")),
    // A secondary engine follows behind the rows that this server has shown.
    ("use_secondary_engine", "OFF", Some("OFF")),
];

/// Opens a session on a server; on `expected` only, where that is given.
pub(super) async fn open(settings: &Settings, expected: Option<&str>) -> Result<WireConnection> {
    let mut connection = WireConnection::connect(settings).await?;
    if let Some(expected) = expected {
        let found = server_uuid(&mut connection).await?;
        if found != expected {
            // Trying again starts with the wait for visibility, on this server.
            return Err(connection.failure(format!("server {found} answers where {expected} had shown all of since")));
        }
    }
    // A reader never waits long behind an ALTER, and never makes others wait behind it: the server gives up before we do.
    let lock_wait = (settings.timeout.as_secs() / 2).max(1).to_string();
    let lock_wait_timeout = [("lock_wait_timeout", lock_wait.as_str(), Some(lock_wait.as_str()))];
    let own = if connection.is_mariadb() { mariadb::VARIABLES } else { OF_MYSQL };
    let variables: Vec<_> = VARIABLES.iter().chain(own).copied().chain(lock_wait_timeout).collect();
    let assignments: Vec<String> = variables.iter().map(|(name, value, _)| format!("@@SESSION.{name} = {value}")).collect();
    connection.execute(&format!("SET {}", assignments.join(", "))).await?;
    let names: Vec<String> = variables.iter().map(|(name, _, _)| format!("@@SESSION.{name}")).collect();
    let rows = connection.query_text(&format!("SELECT {}", names.join(", "))).await?;
    let row = rows.first().map(Vec::as_slice).unwrap_or_default();
    for (index, (name, _, expected)) in variables.iter().enumerate() {
        let found = row.get(index).map(|value| value.as_deref().map(String::from_utf8_lossy));
        if found.as_ref().map(|found| found.as_deref()) != Some(*expected) {
            return Err(Error::Setting {
                name: settings.name.clone(),
                reason: format!("the session's {name} reads back as {found:?} and not as {expected:?}"),
                remedy: format!("allow the user to set {name} in its sessions (look at init_connect and proxies)"),
            });
        }
    }
    show_generated_keys(&mut connection).await?;
    Ok(connection)
}

/// A server may hide the primary keys that it generates: they are columns like others. Older servers generate none.
async fn show_generated_keys(connection: &mut WireConnection) -> Result<()> {
    const UNKNOWN_VARIABLE: u16 = 1193;
    match connection.execute("SET SESSION show_gipk_in_create_table_and_information_schema = ON").await {
        Err(error) if connection.server_error().is_none_or(|said| said.code != UNKNOWN_VARIABLE) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Refuses a table whose columns are no longer those of `schema`.
pub(super) async fn check_shape(connection: &mut WireConnection, schema: &TableSchema) -> Result<()> {
    let sql = format!(
        "SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
        sql::string(&schema.name.database),
        sql::string(&schema.name.table)
    );
    let rows = connection.query_text(&sql).await?;
    if rows.is_empty() {
        return Err(changed(schema, "it is gone, or the user may not see it".to_owned()));
    }
    if rows.len() != schema.physical_columns {
        return Err(changed(schema, format!("it has {} columns where {} were captured", rows.len(), schema.physical_columns)));
    }
    for column in &schema.columns {
        let text = |place: usize| {
            let cell = rows.get(column.ordinal).and_then(|row| row.get(place)).cloned().flatten();
            cell.map(|cell| String::from_utf8_lossy(&cell).into_owned())
        };
        if text(0).as_deref() != Some(&column.name) {
            return Err(changed(schema, format!("column {} is {:?} now", column.name, text(0))));
        }
        if text(1).as_deref() != Some(&column.declared) {
            return Err(changed(schema, format!("column {} is {:?} now, not {:?}", column.name, text(1), column.declared)));
        }
        let charset = match &column.kind {
            ColumnType::Text { charset } | ColumnType::Enum { charset, .. } | ColumnType::Set { charset, .. } => &charset.0,
            _ => continue,
        };
        // An ENUM or SET of bytes has none.
        let found = text(2).unwrap_or_else(|| "binary".to_owned());
        let same = found == *charset || [found.as_str(), charset.as_str()].iter().all(|name| matches!(*name, "utf8" | "utf8mb3"));
        if !same {
            return Err(changed(schema, format!("column {} is of character set {found} now, not {charset}", column.name)));
        }
    }
    Ok(())
}

/// The table is not what was captured.
pub(super) fn changed(schema: &TableSchema, reason: String) -> Error {
    Error::Table {
        table: schema.name.clone(),
        reason: format!("the table was altered while it was loaded: {reason}"),
        remedy: format!("binlake rebuild {}", schema.name),
    }
}

/// Tells the errors of a statement on the table itself from those of the connection.
pub(super) fn on_table(connection: &WireConnection, schema: &TableSchema, error: Error) -> Error {
    match connection.server_error() {
        // No such table, database or column.
        Some(server) if matches!(server.code, 1049 | 1051 | 1054 | 1146) => changed(schema, server.to_string()),
        _ => error,
    }
}
