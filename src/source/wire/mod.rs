//! A small MySQL client connection for the two data paths: the binlog dump and the snapshot's result rows.
//!
//! A client library builds a value per cell; here a packet's bytes reach our decoders as they came. One connection does one
//! thing at a time, and knows it: a command is refused while an answer has not been read to its end, so a dropped future can
//! never make one statement's rows the answer to the next. Reading is cancel-safe, sending a command is not (the connection
//! then refuses further commands).

use std::time::Duration;

use mysql_common::constants::Command;

use self::channel::Channel;
use self::fields::Fields;
use super::{Error, Result, Settings};

mod authenticate;
mod channel;
pub(crate) mod fields;
mod inbox;
mod refusal;
mod rows;
#[cfg(test)]
pub(crate) mod tests;

pub use refusal::ServerError;
pub use rows::ColumnDefinition;

/// Our account in two quoted pieces; a user's name may hold an `@`, a host's may not.
const ACCOUNT: &str = "SELECT QUOTE(LEFT(CURRENT_USER(), CHAR_LENGTH(CURRENT_USER()) - CHAR_LENGTH(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)) - 1)), \
    QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1))";

/// What the connection is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing: a command may be sent.
    Idle,
    /// A command was sent (or half sent) and its answer was not read to the end.
    Busy,
    /// Rows of a binary result are being read.
    Rows,
    /// The packets belong to whoever sent the command.
    Stream,
}

/// A connection that is logged in.
pub struct WireConnection {
    channel: Channel,
    state: State,
    version: String,
    is_mariadb: bool,
    connection_id: u32,
    /// `'user'@'host'` as the server matched it.
    account: Option<String>,
    last_error: Option<ServerError>,
    /// A prepared statement that the next command closes.
    statement: Option<u32>,
    columns: Vec<ColumnDefinition>,
    /// The last piece was not its packet's last.
    is_within_packet: bool,
}

impl std::fmt::Debug for WireConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WireConnection").field("connection_id", &self.connection_id).field("state", &self.state).finish()
    }
}

impl WireConnection {
    /// Connects and logs in, within `settings.timeout`.
    ///
    /// # Errors
    /// [`Error::Refused`] when trying again cannot help (password, TLS, rights), else [`Error::Connection`].
    pub async fn connect(settings: &Settings) -> Result<Self> {
        match tokio::time::timeout(settings.timeout, Box::pin(Self::open(settings))).await {
            Ok(connected) => connected,
            Err(_) => Err(Error::Connection {
                name: settings.name.clone(),
                address: format!("{}:{}", settings.host, settings.port),
                reason: format!("no connection within {} s", settings.timeout.as_secs_f64()),
            }),
        }
    }

    async fn open(settings: &Settings) -> Result<Self> {
        let mut channel = Channel::open(settings).await?;
        let greeting = authenticate::authenticate(&mut channel).await?;
        let mut connection = Self {
            channel,
            state: State::Idle,
            is_mariadb: greeting.is_mariadb,
            version: greeting.version,
            connection_id: greeting.connection_id,
            account: None,
            last_error: None,
            statement: None,
            columns: Vec::new(),
            is_within_packet: false,
        };
        // Asked now, since a remedy that names the account is made where nothing more can be asked.
        let rows = connection.text_rows(ACCOUNT, settings.timeout).await?;
        if let Some([Some(user), Some(host)]) = rows.first().map(Vec::as_slice) {
            connection.account = Some(format!("{}@{}", String::from_utf8_lossy(user), String::from_utf8_lossy(host)));
        }
        Ok(connection)
    }

    /// The server's version as it greets.
    pub fn server_version(&self) -> &str {
        &self.version
    }

    /// Whether the server is MariaDB.
    pub fn is_mariadb(&self) -> bool {
        self.is_mariadb
    }

    /// `CONNECTION_ID()`.
    pub fn connection_id(&self) -> u32 {
        self.connection_id
    }

    /// The account that the server matched, `'user'@'host'`, ready for a GRANT.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The error packet behind the last error that was returned, to tell error numbers apart.
    pub fn server_error(&self) -> Option<&ServerError> {
        self.last_error.as_ref()
    }

    /// An [`Error::Connection`] of this source with this reason.
    pub fn failure(&self, reason: impl Into<String>) -> Error {
        self.channel.failure(reason)
    }

    /// Sends a command whose answer is read by [`Self::read_packet`]. From here on the connection belongs to that answer.
    pub async fn write_command(&mut self, command: Command, payload: &[u8]) -> Result<()> {
        self.send(command, payload).await?;
        self.state = State::Stream;
        Ok(())
    }

    /// The next packet of the answer to [`Self::write_command`], without its header, frames joined; borrowed until the next call.
    /// Cancel-safe.
    ///
    /// # Errors
    /// An error packet is an error (see [`Self::server_error`]), and so is a silence longer than `silence`.
    pub async fn read_packet(&mut self, silence: Duration) -> Result<&[u8]> {
        if self.state != State::Stream {
            return Err(self.channel.failure("no command was sent whose packets could be read"));
        }
        self.read_checked(silence).await
    }

    /// Like [`Self::read_packet`], but a large packet comes in pieces of a few MiB, so that none is ever held whole; true for the
    /// last piece of a packet. [`Self::packet`] is the piece. Cancel-safe.
    pub async fn read_piece(&mut self, silence: Duration) -> Result<bool> {
        if self.state != State::Stream {
            return Err(self.channel.failure("no command was sent whose packets could be read"));
        }
        let is_last = self.channel.read_piece(silence).await?;
        let begins = !std::mem::replace(&mut self.is_within_packet, !is_last);
        if begins && self.channel.packet().first() == Some(&0xff) {
            return Err(self.take_error());
        }
        Ok(is_last)
    }

    /// What was read last.
    pub fn packet(&self) -> &[u8] {
        self.channel.packet()
    }

    /// Whether [`Self::read_packet`] would return at once.
    pub fn is_packet_ready(&self) -> bool {
        self.channel.is_packet_ready()
    }

    /// Runs a statement that returns no rows.
    pub async fn execute(&mut self, sql: &str) -> Result<()> {
        self.query_text(sql).await.map(|_| ())
    }

    /// Runs a small statement and returns its rows; each cell as the server prints it, None for NULL.
    ///
    /// # Errors
    /// Also when it takes longer than the settings' timeout: the connection then refuses further commands.
    pub async fn query_text(&mut self, sql: &str) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        let limit = self.channel.settings().timeout;
        self.query_text_within(sql, limit).await
    }

    /// [`Self::query_text`] with a time limit of its own.
    pub async fn query_text_within(&mut self, sql: &str, limit: Duration) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        match tokio::time::timeout(limit, Box::pin(self.text_rows(sql, limit))).await {
            Ok(rows) => rows,
            Err(_) => Err(self.channel.failure(format!("no answer within {} s to: {}", limit.as_secs_f64(), shortened(sql)))),
        }
    }

    async fn send(&mut self, command: Command, payload: &[u8]) -> Result<()> {
        if self.state != State::Idle {
            return Err(self.channel.failure("the connection is in the middle of another statement"));
        }
        self.state = State::Busy;
        self.last_error = None;
        if let Some(statement) = self.statement.take() {
            self.channel.reset_sequence();
            self.channel.write(&command_bytes(Command::COM_STMT_CLOSE, &statement.to_le_bytes())).await?;
        }
        self.channel.reset_sequence();
        self.channel.write(&command_bytes(command, payload)).await
    }

    /// A packet that is no error packet.
    async fn read_checked(&mut self, silence: Duration) -> Result<&[u8]> {
        if self.channel.read(silence).await?.first() == Some(&0xff) {
            return Err(self.take_error());
        }
        Ok(self.channel.packet())
    }

    /// The last packet, an error packet, as an error. The server has nothing more to say to the command.
    fn take_error(&mut self) -> Error {
        let Some(error) = ServerError::parse(self.channel.packet()) else {
            return self.channel.failure("an error packet that cannot be read");
        };
        if matches!(self.state, State::Busy | State::Rows) {
            self.state = State::Idle;
        }
        let refused = error.error(self.channel.settings(), self.account.as_deref());
        self.last_error = Some(error);
        refused
    }
}

fn command_bytes(command: Command, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 1);
    bytes.push(command as u8);
    bytes.extend_from_slice(payload);
    bytes
}

/// A statement as an error shows it. Statements hold key values at most, never a secret.
fn shortened(sql: &str) -> String {
    const SHOWN: usize = 200;
    match sql.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", sql.get(..end).unwrap_or_default()),
        None => sql.to_owned(),
    }
}

/// Whether a packet ends a list of columns or rows.
fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// The number of columns that a result announces.
fn field_count(packet: &[u8]) -> Option<u64> {
    Fields(packet).length()
}
