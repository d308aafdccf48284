//! A connection made ready for a dump: who the server is, whether its settings let us see every row, and the dump itself.

use std::time::Duration;

use mysql_common::constants::Command;

use crate::change::GtidSet;
use crate::source::prepared::prepared_xids;
use crate::source::wire::WireConnection;
use crate::source::{Error, Result, Settings};

use super::ddl::NameCase;
use super::gtid::encode_set;
use super::mariadb;

/// MySQL: the server sends heartbeats that carry the whole position.
const FLAG_HEARTBEAT_V2: u16 = 1 << 1;
/// MariaDB: the server leaves nothing out. The same bit.
const FLAG_ANNOTATED: u16 = 1 << 1;
/// Heartbeats that may be missing before the socket counts as dead.
const HEARTBEATS_MISSED: u32 = 3;

/// What a dump depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerFacts {
    pub(super) server_uuid: String,
    pub(super) gtids: bool,
    /// Within a domain numbers only grow (MariaDB's `gtid_strict_mode`): a position says all that came before it.
    pub(super) gtids_are_strict: bool,
    pub(super) case: NameCase,
}

/// Where a dump begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DumpFrom<'a> {
    Place {
        file_name: &'a str,
        offset: u64,
    },
    /// Behind these transactions, wherever they stand on this server.
    Gtids(&'a GtidSet),
}

/// A connection for one dump.
pub(super) struct Session {
    pub(super) connection: WireConnection,
    silence: Duration,
    /// The next piece begins a packet.
    begins: bool,
    status_bytes: usize,
}

pub(super) fn setting(settings: &Settings, reason: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Setting { name: settings.name.clone(), reason: reason.into(), remedy: remedy.into() }
}

impl Session {
    /// Connects and tells the server who we are: always the same replica, so that it ends our predecessor's dump itself.
    pub(super) async fn connect(settings: &Settings) -> Result<Self> {
        let mut connection = WireConnection::connect(settings).await?;
        let heartbeat = settings.heartbeat.as_nanos();
        let uuid = settings.replica_uuid.replace(['\'', '\\'], "");
        for sql in [
            // Both names: servers before 8.0.26 know the second only.
            "SET @source_binlog_checksum = 'CRC32', @master_binlog_checksum = 'CRC32'".to_owned(),
            format!("SET @source_heartbeat_period = {heartbeat}, @master_heartbeat_period = {heartbeat}"),
            format!("SET @replica_uuid = '{uuid}', @slave_uuid = '{uuid}'"),
            // Back-pressure may keep us from reading for a while.
            "SET SESSION net_write_timeout = 3600".to_owned(),
        ] {
            connection.execute(&sql).await?;
        }
        if connection.is_mariadb() {
            // We know its GTIDs, and all that came before them.
            connection.execute("SET @mariadb_slave_capability = 4, @slave_gtid_strict_mode = 1").await?;
        }
        Ok(Self { connection, silence: settings.heartbeat * HEARTBEATS_MISSED, begins: true, status_bytes: 1 })
    }

    /// Asks for the settings and refuses what would make us blind.
    pub(super) async fn facts(&mut self, settings: &Settings) -> Result<ServerFacts> {
        if self.connection.is_mariadb() {
            return mariadb::facts::read(&mut self.connection, settings).await;
        }
        let variables = self.variables().await?;
        let is = |name: &str, value: &str| variables.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
        let on = "start the server with --log-bin (binlogs are on by default since 8.0)";
        for (name, value, remedy) in [
            ("log_bin", "ON", on),
            ("binlog_format", "ROW", "SET PERSIST binlog_format = 'ROW', and end the sessions that began before"),
            ("binlog_row_image", "FULL", "SET PERSIST binlog_row_image = 'FULL', and end the sessions that began before"),
        ] {
            // A server that has lost the variable has lost the choice.
            if variables.contains_key(name) && !is(name, value) {
                let found = variables.get(name).map(String::as_str).unwrap_or_default();
                return Err(setting(settings, format!("{name} is {found}, not {value}"), remedy));
            }
        }
        let logs_replicated = is("log_replica_updates", "ON") || is("log_slave_updates", "ON");
        if !logs_replicated && self.is_replica().await? {
            return Err(setting(
                settings,
                "the server is a replica and does not write what it replicates to its own binlog",
                "set log_replica_updates=ON in its configuration and restart it",
            ));
        }
        let server_uuid = variables.get("server_uuid").cloned();
        Ok(ServerFacts {
            server_uuid: server_uuid.ok_or_else(|| self.connection.failure("the server does not tell its server_uuid"))?,
            gtids: is("gtid_mode", "ON"),
            gtids_are_strict: true,
            case: if is("lower_case_table_names", "0") { NameCase::Kept } else { NameCase::Lower },
        })
    }

    async fn variables(&mut self) -> Result<std::collections::HashMap<String, String>> {
        const SQL: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'log_bin', 'binlog_format', \
                           'binlog_row_image', 'gtid_mode', 'lower_case_table_names', 'log_replica_updates', 'log_slave_updates')";
        let rows = self.connection.query_text(SQL).await?;
        Ok(rows.into_iter().filter_map(|row| Some((text(row.first()?)?, text(row.get(1)?)?))).collect())
    }

    async fn is_replica(&mut self) -> Result<bool> {
        Ok(!self.replica_status().await?.is_empty())
    }

    async fn replica_status(&mut self) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        self.query_either("SHOW REPLICA STATUS", "SHOW SLAVE STATUS").await
    }

    /// Whether the server receives or applies transactions of another one, or tries to.
    pub(super) async fn replicates(&mut self) -> Result<bool> {
        // Replica_IO_Running and Replica_SQL_Running, under whatever name.
        const RUNNING: [usize; 2] = [10, 11];
        let stands = |cell: Option<String>| cell.is_none_or(|running| running.eq_ignore_ascii_case("No"));
        let channels = self.replica_status().await?;
        Ok(channels.iter().any(|channel| RUNNING.iter().any(|place| !stands(channel.get(*place).and_then(text)))))
    }

    /// Runs a statement, or its older spelling where the server does not know it.
    async fn query_either(&mut self, sql: &str, older: &str) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        const SYNTAX: u16 = 1064;
        match self.connection.query_text(sql).await {
            Err(_) if self.connection.server_error().is_some_and(|error| error.code == SYNTAX) => {
                self.connection.query_text(older).await
            }
            answer => answer,
        }
    }

    /// The flushed end of the binlog.
    pub(super) async fn flushed(&mut self) -> Result<(String, u64)> {
        let rows = self.query_either("SHOW BINARY LOG STATUS", "SHOW MASTER STATUS").await?;
        let row = rows.into_iter().next().unwrap_or_default();
        let name = row.first().and_then(text);
        let offset = row.get(1).and_then(text).and_then(|offset| offset.parse().ok());
        name.zip(offset).ok_or_else(|| self.connection.failure("the server does not tell the position of its binlog"))
    }

    /// Everything that the server has committed.
    pub(super) async fn gtid_executed(&mut self) -> Result<GtidSet> {
        let rows = self.connection.query_text("SELECT @@GLOBAL.gtid_executed").await?;
        let set = rows.first().and_then(|row| row.first()).and_then(text).unwrap_or_default();
        set.parse().map_err(|error| self.connection.failure(format!("{error}")))
    }

    /// What of `received` the server does not have; MariaDB tells by domain and server.
    pub(super) async fn missing(&mut self, received: &GtidSet) -> Result<GtidSet> {
        if !self.connection.is_mariadb() {
            return Ok(received.subtract(&self.gtid_executed().await?));
        }
        let rows = self.connection.query_text("SELECT @@GLOBAL.gtid_binlog_state").await?;
        let state = rows.first().and_then(|row| row.first()).and_then(text).unwrap_or_default();
        let missing = mariadb::gtid::missing(received, &state);
        missing.ok_or_else(|| self.connection.failure(format!("gtid_binlog_state cannot be read: {state:?}")))
    }

    /// The xids of all prepared XA transactions, as the binlog prints them; None without the right to ask.
    pub(super) async fn prepared_xids(&mut self) -> Result<Option<Vec<String>>> {
        match prepared_xids(&mut self.connection).await {
            Ok(xids) => Ok(Some(xids)),
            Err(_) if self.connection.server_error().is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts the dump; packets are read from here on.
    pub(super) async fn dump(&mut self, settings: &Settings, from: &DumpFrom<'_>) -> Result<()> {
        let mut payload = Vec::new();
        let command = match from {
            DumpFrom::Place { file_name, offset } => {
                // The command has 32 bits; a place behind them is reached from the file's start.
                payload.extend_from_slice(&u32::try_from(*offset).unwrap_or(4).to_le_bytes());
                payload.extend_from_slice(&FLAG_HEARTBEAT_V2.to_le_bytes());
                payload.extend_from_slice(&settings.server_id.to_le_bytes());
                payload.extend_from_slice(file_name.as_bytes());
                Command::COM_BINLOG_DUMP
            }
            DumpFrom::Gtids(set) if self.connection.is_mariadb() => {
                self.connection.execute(&format!("SET @slave_connect_state = '{set}'")).await?;
                payload.extend_from_slice(&4u32.to_le_bytes());
                payload.extend_from_slice(&FLAG_ANNOTATED.to_le_bytes());
                payload.extend_from_slice(&settings.server_id.to_le_bytes());
                Command::COM_BINLOG_DUMP
            }
            DumpFrom::Gtids(set) => {
                let set = encode_set(set).ok_or_else(|| self.connection.failure("a GTID set with an origin that is no UUID"))?;
                payload.extend_from_slice(&FLAG_HEARTBEAT_V2.to_le_bytes());
                payload.extend_from_slice(&settings.server_id.to_le_bytes());
                payload.extend_from_slice(&0u32.to_le_bytes());
                payload.extend_from_slice(&4u64.to_le_bytes());
                payload.extend_from_slice(&(set.len() as u32).to_le_bytes());
                payload.extend_from_slice(&set);
                Command::COM_BINLOG_DUMP_GTID
            }
        };
        self.connection.write_command(command, &payload).await
    }

    /// Reads the next packet of the dump, or a piece of it; true for a packet's last piece. Cancel-safe.
    pub(super) async fn read(&mut self, settings: &Settings) -> Result<bool> {
        let begins = self.begins;
        let is_last = match self.connection.read_piece(self.silence).await {
            Ok(is_last) => is_last,
            Err(error) => {
                let refused =
                    self.connection.server_error().and_then(|server| dump_error(settings, server.code, &server.message));
                return Err(refused.unwrap_or(error));
            }
        };
        self.begins = is_last;
        self.status_bytes = usize::from(begins);
        match self.connection.packet().first() {
            _ if !begins => Ok(is_last),
            Some(0) => Ok(is_last),
            Some(0xfe) => Err(self.connection.failure("the server ended the dump")),
            _ => Err(self.connection.failure("a packet of the dump that cannot be read")),
        }
    }

    /// What [`Self::read`] read, without the status byte before each packet.
    pub(super) fn piece(&self) -> &[u8] {
        self.connection.packet().get(self.status_bytes..).unwrap_or_default()
    }

    /// Whether a packet is there without waiting.
    pub(super) fn is_ready(&self) -> bool {
        self.connection.is_packet_ready()
    }
}

pub(super) fn text(cell: &Option<Vec<u8>>) -> Option<String> {
    cell.as_ref().and_then(|bytes| String::from_utf8(bytes.clone()).ok())
}

/// What an error packet in a dump means; None for one that means no more than it says.
fn dump_error(settings: &Settings, code: u16, message: &str) -> Option<Error> {
    const FATAL_IN_DUMP: u16 = 1236;
    if code != FATAL_IN_DUMP {
        return None;
    }
    let name = settings.name.clone();
    let says = |text: &str| message.contains(text);
    if says("same server_uuid/server_id") || says("same server_uuid") || says("same server_id") {
        let address = format!("{}:{}", settings.host, settings.port);
        let reason = format!(
            "another replica with our server_id {} or replica_uuid {} reads this server's binlog: end it, or set another server_id \
             ({message})",
            settings.server_id, settings.replica_uuid
        );
        return Some(Error::Connection { name, address, reason });
    }
    if says("max_allowed_packet") {
        return Some(setting(settings, message, "SET PERSIST max_allowed_packet = 1073741824 on the server"));
    }
    if says("GTID_MODE") {
        return Some(setting(settings, message, "set gtid_mode=ON, or run `binlake rebuild` for the source's tables"));
    }
    // MariaDB: what we have received is not, or not in this order, in its binlog.
    let diverged = says("which is not in the master's binlog");
    let purged = says("purged") || says("Could not find first log file name") || says("Could not open log file");
    let rewritten = says("> file size") || says("greater than file size") || says("impossible position") || diverged;
    let reason = if purged {
        format!("the server no longer has the binlog that is needed next: {message}")
    } else {
        format!("the server cannot send its binlog from our position: {message}")
    };
    Some(Error::History { name, reason, remedy: REBUILD.to_owned(), lost: purged || rewritten })
}

/// What mends a history that is gone.
pub(super) const REBUILD: &str =
    "run `binlake rebuild` for the source's tables; a longer binlog_expire_logs_seconds keeps the binlog for slower readers";
