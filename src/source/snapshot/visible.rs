//! The wait that closes the commit race: until the server *shows* every transaction below `since`.
//!
//! A server sends a transaction's events, and moves its binlog position, before the storage engine commits it: a SELECT made at
//! once may miss rows that `since` covers, and nothing would ever bring them. `gtid_executed` names only what is committed, and
//! `performance_schema.log_status` is one consistent cut of both; where neither can be had, a margin is waited. MariaDB tells what
//! a consistent snapshot shows ([`super::mariadb`]).
//! XA transactions write their rows when they are prepared and show them when they commit, so those that were prepared before
//! are waited for as well.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::prepared::prepared_xids;
use crate::source::wire::WireConnection;
use crate::source::{Checkpoint, Error, Result, Settings, Visible, identity::server_uuid};
use crate::trial::{Mistake, planted};

use super::mariadb;
use super::sample::file_number;

pub(super) const POLL: Duration = Duration::from_millis(100);
/// Measured: 10 ms were enough under load; this is no proof, only a margin.
const MARGIN: Duration = Duration::from_secs(2);
/// Access denied for want of a dynamic privilege.
const PRIVILEGE_NEEDED: u16 = 1227;
/// Access denied to a table.
const TABLE_DENIED: u16 = 1142;
/// What XA RECOVER says without XA_RECOVER_ADMIN.
const XA_DENIED: u16 = 1401;

/// Waits, for at most `timeout`, until the server shows every transaction below `since` and no XA transaction that was prepared
/// before is open.
///
/// # Errors
/// [`Error::Timeout`] with what was not reached: the GTID set, the position or the xid.
pub async fn wait_visible(settings: &Settings, since: &Checkpoint, timeout: Duration) -> Result<Visible> {
    let deadline = Instant::now() + timeout;
    let mut connection = WireConnection::connect(settings).await?;
    let server_uuid = server_uuid(&mut connection).await?;
    if connection.is_mariadb() {
        let by = mariadb::wait_visible(&mut connection, settings, since, &server_uuid, timeout).await?;
        if !planted(Mistake::XaPreparedBeforeSince) {
            wait_prepared(&mut connection, settings, deadline, timeout).await?;
        }
        return Ok(Visible { server_uuid, by: by.to_owned() });
    }
    let gtid_mode = scalar(&mut connection, "SELECT @@GLOBAL.gtid_mode").await?;
    let by = match &since.gtids {
        Some(gtids) if gtid_mode == "ON" => {
            wait_executed(&mut connection, settings, &gtids.to_string(), timeout).await?;
            "gtid_executed"
        }
        _ if server_uuid != since.server_uuid => {
            return Err(Error::History {
                name: settings.name.clone(),
                reason: format!(
                    "server {server_uuid} answers; since is a position of {}, and there are no GTIDs",
                    since.server_uuid
                ),
                remedy: "binlake rebuild the tables of this source".to_owned(),
                lost: true,
            });
        }
        _ => wait_position(&mut connection, settings, since, deadline, timeout).await?,
    };
    if !planted(Mistake::XaPreparedBeforeSince) {
        wait_prepared(&mut connection, settings, deadline, timeout).await?;
    }
    Ok(Visible { server_uuid, by: by.to_owned() })
}

async fn scalar(connection: &mut WireConnection, statement: &str) -> Result<String> {
    let rows = connection.query_text(statement).await?;
    match rows.first().and_then(|row| row.first()) {
        Some(Some(value)) => Ok(String::from_utf8_lossy(value).into_owned()),
        _ => Err(connection.failure(format!("the server gave no value for: {statement}"))),
    }
}

pub(super) fn expired(settings: &Settings, what: String, timeout: Duration) -> Error {
    Error::Timeout { name: settings.name.clone(), what, seconds: timeout.as_secs() }
}

async fn wait_executed(connection: &mut WireConnection, settings: &Settings, gtids: &str, timeout: Duration) -> Result<()> {
    // The set is of our own notation: hexadecimal digits, dashes, colons and letters of tags.
    let statement = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}', {:.3})", timeout.as_secs_f64());
    let rows = connection.query_text_within(&statement, timeout + settings.timeout).await?;
    match rows.first().and_then(|row| row.first()?.as_deref()) {
        Some(b"0") => Ok(()),
        _ => Err(expired(settings, format!("gtid_executed with all of {gtids}"), timeout)),
    }
}

/// Without GTIDs: until one consistent cut of binlog and engine has reached the position.
async fn wait_position(
    connection: &mut WireConnection,
    settings: &Settings,
    since: &Checkpoint,
    deadline: Instant,
    timeout: Duration,
) -> Result<&'static str> {
    const CUT: &str = "SELECT JSON_UNQUOTE(JSON_EXTRACT(LOCAL, '$.binary_log_file')), \
        JSON_EXTRACT(LOCAL, '$.binary_log_position') FROM performance_schema.log_status";
    let wanted = (since.position.0.file, since.position.0.offset);
    loop {
        let rows = match connection.query_text(CUT).await {
            Ok(rows) => rows,
            Err(_) if connection.server_error().is_some_and(|error| matches!(error.code, PRIVILEGE_NEEDED | TABLE_DENIED)) => {
                // No BACKUP_ADMIN.
                tokio::time::sleep(MARGIN).await;
                return Ok("margin");
            }
            Err(error) => return Err(error),
        };
        let text = |place: usize| rows.first().and_then(|row| row.get(place)?.as_deref()).map(String::from_utf8_lossy);
        let reached = text(0).and_then(|name| file_number(&name)).zip(text(1).and_then(|offset| offset.parse::<u64>().ok()));
        let Some(reached) = reached else {
            return Err(connection.failure("performance_schema.log_status gave a position that cannot be read"));
        };
        if reached >= wanted {
            return Ok("log_status");
        }
        if Instant::now() >= deadline {
            return Err(expired(settings, format!("log_status at {}:{}", since.file_name, wanted.1), timeout));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Until none of the XA transactions that are prepared now is open any more.
async fn wait_prepared(connection: &mut WireConnection, settings: &Settings, deadline: Instant, timeout: Duration) -> Result<()> {
    let mut open = prepared(connection, settings).await?;
    while let Some(xid) = open.first() {
        if Instant::now() >= deadline {
            let what = format!(
                "the end of XA transaction {xid}, which was prepared before the load (XA COMMIT {xid} or XA ROLLBACK {xid} ends it)"
            );
            return Err(expired(settings, what, timeout));
        }
        tokio::time::sleep(POLL).await;
        let still = prepared(connection, settings).await?;
        open.retain(|xid| still.contains(xid));
    }
    Ok(())
}

/// The xids that are prepared.
async fn prepared(connection: &mut WireConnection, settings: &Settings) -> Result<BTreeSet<String>> {
    match prepared_xids(connection).await {
        Ok(xids) => Ok(xids.into_iter().collect()),
        Err(_) if connection.server_error().is_some_and(|error| matches!(error.code, XA_DENIED | PRIVILEGE_NEEDED)) => {
            let account = connection.account().unwrap_or("binlake's user").to_owned();
            Err(Error::Refused {
                name: settings.name.clone(),
                address: format!("{}:{}", settings.host, settings.port),
                reason: "the user may not see prepared XA transactions (XA RECOVER)".to_owned(),
                remedy: format!("GRANT XA_RECOVER_ADMIN ON *.* TO {account}"),
            })
        }
        Err(error) => Err(error),
    }
}
