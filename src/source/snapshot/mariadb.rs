//! What is MariaDB's own in a snapshot: the session's settings, and the wait until the server shows all of `since`.
//!
//! `START TRANSACTION WITH CONSISTENT SNAPSHOT` takes the lock under which commits become visible in the binlog's order, and says in
//! `binlog_snapshot_file` and `_position` which of them its snapshot shows. What one snapshot shows every later read shows.

use std::time::Duration;

use tokio::time::Instant;

use crate::change::GtidSet;
use crate::source::wire::WireConnection;
use crate::source::{Checkpoint, Error, Result, Settings};

use super::sample::file_number;
use super::session::Variable;
use super::visible::{POLL, expired};

/// What only MariaDB calls so.
pub(super) const VARIABLES: &[Variable] = &[
    ("tx_isolation", "'REPEATABLE-READ'", Some("REPEATABLE-READ")),
    ("max_statement_time", "0", Some("0.000000")),
    // An answer that was kept for another reader is not what the server shows now.
    ("query_cache_type", "OFF", Some("OFF")),
];

/// Waits until a snapshot shows every transaction below `since`.
pub(super) async fn wait_visible(
    connection: &mut WireConnection,
    settings: &Settings,
    since: &Checkpoint,
    server_uuid: &str,
    timeout: Duration,
) -> Result<&'static str> {
    if scalar(connection, "SELECT @@GLOBAL.binlog_optimize_thread_scheduling").await?.as_deref() != Some("1") {
        return Err(Error::Setting {
            name: settings.name.clone(),
            reason: "binlog_optimize_thread_scheduling is OFF: the server does not tell which transactions its snapshots show"
                .to_owned(),
            remedy: "start the server without --binlog-optimize-thread-scheduling=OFF".to_owned(),
        });
    }
    let deadline = Instant::now() + timeout;
    loop {
        let (file_name, offset) = shown(connection).await?;
        let is_reached = if server_uuid == since.server_uuid {
            let file = file_number(&file_name);
            let file = file.ok_or_else(|| connection.failure(format!("binlog_snapshot_file {file_name:?} has no number")))?;
            (file, offset) >= (since.position.0.file, since.position.0.offset)
        } else {
            let Some(wanted) = &since.gtids else { return Err(elsewhere(settings, since, server_uuid)) };
            shown_gtids(connection, &file_name, offset).await?.contains_set(wanted)
        };
        if is_reached {
            return Ok("consistent_snapshot");
        }
        if Instant::now() >= deadline {
            return Err(expired(settings, format!("a snapshot behind {}:{}", since.file_name, since.position.0.offset), timeout));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn elsewhere(settings: &Settings, since: &Checkpoint, server_uuid: &str) -> Error {
    Error::History {
        name: settings.name.clone(),
        reason: format!("server {server_uuid} answers; since is a position of {}, and there are no GTIDs", since.server_uuid),
        remedy: "binlake rebuild the tables of this source".to_owned(),
        lost: true,
    }
}

/// The place in the binlog that a snapshot taken now shows.
async fn shown(connection: &mut WireConnection) -> Result<(String, u64)> {
    connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
    let rows = connection.query_text("SHOW SESSION STATUS LIKE 'binlog\\_snapshot\\_%'").await?;
    connection.execute("COMMIT").await?;
    let value = |name: &str| {
        let row = rows
            .iter()
            .find(|row| row.first().and_then(Option::as_deref).is_some_and(|cell| cell.eq_ignore_ascii_case(name.as_bytes())))?;
        String::from_utf8(row.get(1)?.clone()?).ok()
    };
    let place = value("binlog_snapshot_file").zip(value("binlog_snapshot_position").and_then(|offset| offset.parse().ok()));
    place.ok_or_else(|| connection.failure("the server does not tell what its snapshot shows"))
}

/// The GTIDs below a place of this server's binlog.
async fn shown_gtids(connection: &mut WireConnection, file_name: &str, offset: u64) -> Result<GtidSet> {
    let statement = format!("SELECT BINLOG_GTID_POS({}, {offset})", super::sql::string(file_name));
    let text = scalar(connection, &statement).await?.unwrap_or_default();
    text.parse().map_err(|error| connection.failure(format!("{error}")))
}

async fn scalar(connection: &mut WireConnection, statement: &str) -> Result<Option<String>> {
    let rows = connection.query_text(statement).await?;
    let cell = rows.first().and_then(|row| row.first()).cloned().flatten();
    Ok(cell.map(|cell| String::from_utf8_lossy(&cell).into_owned()))
}
