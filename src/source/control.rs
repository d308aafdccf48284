//! Questions to the server that carry no rows of user tables: settings, rights, `information_schema`, positions.
//!
//! One connection for a handful of statements, then it is closed; no pool. Every statement has a time limit, and a connection
//! whose statement ran into it is not used again. All answers are taken as text, so that MySQL's own spelling is what is judged.
//! What the server refuses becomes an [`Error::Refused`] with the statement that mends it; what may pass becomes
//! [`Error::Connection`] or [`Error::Timeout`].

use std::future::Future;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, IoError, Opts, OptsBuilder, ServerError, SslOpts};
use tokio_rustls::rustls;

use super::{Error, Result, Settings, TlsMode};

/// A connection for control statements.
pub struct Control {
    connection: Conn,
    settings: Settings,
    account: String,
}

/// One row of an answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    cells: Vec<(String, Option<String>)>,
}

/// A statement that the server understood and refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// MySQL's error number.
    pub code: u16,
    /// What the server said.
    pub message: String,
}

impl Denial {
    /// Whether a right is missing.
    pub fn is_right(&self) -> bool {
        matches!(self.code, 1044 | 1142 | 1143 | 1227 | 1370 | 1401)
    }

    /// Whether the server does not know the statement, the variable or the table: it is older or another one.
    pub fn is_unknown(&self) -> bool {
        matches!(self.code, 1064 | 1109 | 1146 | 1193 | 1235)
    }
}

impl Answer {
    /// The cell of a column, by its name in any case; None where it is NULL or there is no such column.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.cells.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).and_then(|(_, cell)| cell.as_deref())
    }

    /// The cell as a number; None where it is NULL or none.
    pub fn number(&self, column: &str) -> Option<u64> {
        self.text(column)?.parse().ok()
    }

    /// The first cell.
    pub fn first(&self) -> Option<&str> {
        self.cells.first().and_then(|(_, cell)| cell.as_deref())
    }

    #[cfg(test)]
    pub(super) fn of(cells: &[(&str, Option<&str>)]) -> Self {
        Self { cells: cells.iter().map(|(name, cell)| ((*name).to_owned(), cell.map(str::to_owned))).collect() }
    }
}

impl Control {
    /// Connects and sets the session up.
    pub async fn connect(settings: &Settings) -> Result<Self> {
        let options = options(settings)?;
        let attempt = limited(settings, settings.timeout, "a connection", Conn::new(options)).await?;
        let connection = attempt.map_err(|error| translate(settings, error))?;
        let mut control = Self { connection, settings: settings.clone(), account: any_host(settings) };
        control.prepare_session().await?;
        Ok(control)
    }

    async fn prepare_session(&mut self) -> Result<()> {
        let seconds = self.settings.timeout.as_secs().clamp(1, 10);
        self.execute("SET NAMES utf8mb4").await?;
        // Without an own sql_mode a global NO_BACKSLASH_ESCAPES or ANSI_QUOTES would change what `quoted` means.
        self.execute(&format!("SET SESSION sql_mode = '', time_zone = '+00:00', lock_wait_timeout = {seconds}")).await?;
        for newer in ["show_gipk_in_create_table_and_information_schema = ON", "information_schema_stats_expiry = 0"] {
            match self.probe(&format!("SET SESSION {newer}")).await? {
                Err(denial) if !denial.is_unknown() => return Err(self.denied(&denial)),
                Ok(_) | Err(_) => {}
            }
        }
        let rows = self.rows("SELECT CURRENT_USER()").await?;
        if let Some((user, host)) = rows.first().and_then(Answer::first).and_then(|account| account.rsplit_once('@')) {
            self.account = format!("{}@{}", quoted(user), quoted(host));
        }
        Ok(())
    }

    /// The account we are, as it stands in GRANT statements.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The settings this connection was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs a statement without an answer.
    pub async fn execute(&mut self, sql: &str) -> Result<()> {
        self.rows(sql).await.map(drop)
    }

    /// The rows of an answer.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Answer>> {
        self.probe(sql).await?.map_err(|denial| self.denied(&denial))
    }

    /// The rows of an answer, or why the server refused to give one.
    pub async fn probe(&mut self, sql: &str) -> Result<std::result::Result<Vec<Answer>, Denial>> {
        let limit = self.settings.timeout;
        self.probe_within(sql, limit).await
    }

    /// [`Self::probe`] with a limit of its own.
    pub async fn probe_within(&mut self, sql: &str, limit: Duration) -> Result<std::result::Result<Vec<Answer>, Denial>> {
        let asked: std::result::Result<Vec<mysql_async::Row>, mysql_async::Error> =
            limited(&self.settings, limit, sql, self.connection.query(sql)).await?;
        match asked {
            Ok(rows) => rows.into_iter().map(|row| self.answer(row)).collect::<Result<Vec<_>>>().map(Ok),
            Err(mysql_async::Error::Server(error)) if !is_passing(&error) => {
                Ok(Err(Denial { code: error.code, message: error.message }))
            }
            Err(error) => Err(translate(&self.settings, error)),
        }
    }

    fn answer(&self, row: mysql_async::Row) -> Result<Answer> {
        let columns = row.columns();
        let mut cells = Vec::with_capacity(columns.len());
        for (column, value) in columns.iter().zip(row.unwrap_raw()) {
            let cell = match value {
                None | Some(mysql_async::Value::NULL) => None,
                Some(mysql_async::Value::Bytes(bytes)) => Some(
                    String::from_utf8(bytes)
                        .map_err(|_| connection_error(&self.settings, "an answer that is not UTF-8".to_owned()))?,
                ),
                Some(other) => Some(other.as_sql(true)),
            };
            cells.push((column.name_str().into_owned(), cell));
        }
        Ok(Answer { cells })
    }

    /// The error for a denial that the caller has no use for.
    pub fn denied(&self, denial: &Denial) -> Error {
        refusal(&self.settings, &self.account, denial.code, &denial.message)
    }

    /// A system variable as text; None where the server does not have it.
    pub async fn variable(&mut self, name: &str) -> Result<Option<String>> {
        match self.probe(&format!("SELECT @@{name}")).await? {
            Ok(rows) => Ok(rows.first().and_then(Answer::first).map(str::to_owned)),
            Err(denial) if denial.is_unknown() => Ok(None),
            Err(denial) => Err(self.denied(&denial)),
        }
    }

    /// Says good-bye. A server that does not answer any more is no error.
    pub async fn close(self) {
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), self.connection.disconnect()).await {
            tracing::debug!(%error, "closing a control connection");
        }
    }
}

/// A string literal under `sql_mode = ''` and utf8mb4.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A quoted identifier.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

async fn limited<T>(settings: &Settings, limit: Duration, what: &str, work: impl Future<Output = T>) -> Result<T> {
    let what: String = what.chars().take(120).collect();
    tokio::time::timeout(limit, work).await.map_err(|_| Error::Timeout {
        name: settings.name.clone(),
        what: format!("the answer to {what:?}"),
        seconds: limit.as_secs(),
    })
}

fn options(settings: &Settings) -> Result<Opts> {
    let builder = OptsBuilder::default()
        .ip_or_hostname(settings.host.clone())
        .tcp_port(settings.port)
        .user(Some(settings.user.clone()))
        .pass(Some(settings.password.0.clone()))
        // A loopback address would otherwise be left for the server's socket, with other rights.
        .prefer_socket(false)
        .secure_auth(true)
        .stmt_cache_size(0)
        .connect_attribute("program_name", "binlake")
        .ssl_opts(tls_options(settings)?);
    Ok(builder.into())
}

fn tls_options(settings: &Settings) -> Result<Option<SslOpts>> {
    let checked = match settings.tls.mode {
        TlsMode::Off => return Ok(None),
        // The built-in roots stay: rustls builds no verifier without any, though this mode never asks it.
        TlsMode::Required => return Ok(Some(SslOpts::default().with_danger_accept_invalid_certs(true))),
        TlsMode::VerifyCa => SslOpts::default().with_danger_skip_domain_validation(true),
        TlsMode::VerifyIdentity => SslOpts::default(),
    };
    let roots = trusted_roots(settings)?.into_iter().map(Into::into).collect();
    Ok(Some(checked.with_disable_built_in_roots(true).with_root_certs(roots)))
}

/// PEM files or single DER certificates.
fn trusted_roots(settings: &Settings) -> Result<Vec<Vec<u8>>> {
    if let Some(path) = &settings.tls.ca {
        let pem = std::fs::read(path).map_err(|error| tls_refusal(settings, format!("{}: {error}", path.display())))?;
        if !pem.windows(b"BEGIN CERTIFICATE".len()).any(|window| window == b"BEGIN CERTIFICATE") {
            return Err(tls_refusal(settings, format!("{} holds no PEM certificate", path.display())));
        }
        return Ok(vec![pem]);
    }
    let mut store = rustls::RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs().certs;
    let usable = system.into_iter().filter(|certificate| store.add(certificate.clone()).is_ok());
    let roots: Vec<_> = usable.map(|certificate| certificate.to_vec()).collect();
    if roots.is_empty() {
        return Err(tls_refusal(settings, "the system has no trusted certificates".to_owned()));
    }
    Ok(roots)
}

fn address(settings: &Settings) -> String {
    format!("{}:{}", settings.host, settings.port)
}

fn connection_error(settings: &Settings, reason: String) -> Error {
    Error::Connection { name: settings.name.clone(), address: address(settings), reason }
}

fn refused(settings: &Settings, reason: String, remedy: String) -> Error {
    Error::Refused { name: settings.name.clone(), address: address(settings), reason, remedy }
}

fn tls_refusal(settings: &Settings, reason: String) -> Error {
    let remedy = match (&settings.tls.mode, &settings.tls.ca) {
        (TlsMode::Off | TlsMode::Required, _) => "check the server's TLS settings (SHOW VARIABLES LIKE 'ssl%')".to_owned(),
        (_, None) => {
            "set tls.ca to a PEM file of the authority that signed the server's certificate (MySQL's own is ca.pem in its \
                      data directory), or tls.mode to required"
                .to_owned()
        }
        (TlsMode::VerifyCa, Some(ca)) => {
            format!("put the authority that signed the server's certificate into {}, or set tls.mode to required", ca.display())
        }
        (TlsMode::VerifyIdentity, Some(ca)) => format!(
            "put the authority that signed the server's certificate into {}, and connect to a name that the certificate holds \
             (certificates that MySQL made itself hold none: set tls.mode to verify_ca)",
            ca.display()
        ),
    };
    refused(settings, format!("TLS: {reason}"), remedy)
}

/// Errors of the server's present state rather than of the statement.
fn is_passing(error: &ServerError) -> bool {
    // Too many connections, shutting down, killed, aborted, out of resources, deadlock, read-only while failing over.
    matches!(
        error.code,
        1040 | 1041 | 1053 | 1080 | 1152..=1161 | 1184 | 1203 | 1205 | 1213 | 1226 | 1317 | 1927 | 3024 | 3032 | 3168 | 3169
    ) || error.state.starts_with("08")
}

fn translate(settings: &Settings, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(error) if matches!(error.code, 1205 | 3024) => Error::Timeout {
            name: settings.name.clone(),
            what: format!("a lock ({})", error.message),
            seconds: settings.timeout.as_secs(),
        },
        mysql_async::Error::Server(error) if is_passing(&error) => connection_error(settings, error.to_string()),
        mysql_async::Error::Server(error) => refusal(settings, &any_host(settings), error.code, &error.message),
        mysql_async::Error::Io(IoError::Tls(error)) => tls_refusal(settings, format!("{error}")),
        mysql_async::Error::Io(IoError::Io(error)) => {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => tls_refusal(settings, tls.to_string()),
                None => connection_error(settings, error.to_string()),
            }
        }
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => refused(
            settings,
            "TLS: the server does not offer it".to_owned(),
            "give the server a certificate, or set tls.mode to off".to_owned(),
        ),
        mysql_async::Error::Driver(
            error @ (DriverError::UnknownAuthPlugin { .. }
            | DriverError::MysqlOldPasswordDisabled
            | DriverError::CleartextPluginDisabled),
        ) => refused(
            settings,
            error.to_string(),
            format!("ALTER USER {} IDENTIFIED WITH caching_sha2_password BY '…'", any_host(settings)),
        ),
        other => connection_error(settings, other.to_string()),
    }
}

/// The account as long as the server has not named it.
fn any_host(settings: &Settings) -> String {
    format!("{}@'%'", quoted(&settings.user))
}

fn refusal(settings: &Settings, account: &str, code: u16, message: &str) -> Error {
    let remedy = match code {
        1045 | 1698 => format!("check user and password; to make the user: CREATE USER {} IDENTIFIED BY '…'", account),
        1044 => format!("GRANT SELECT ON *.* TO {}", account),
        1142 | 1143 => format!("GRANT SELECT ON {} TO {}", denied_table(message), account),
        1227 => format!("GRANT {} ON *.* TO {}", missing_right(message), account),
        1401 => format!("GRANT XA_RECOVER_ADMIN ON *.* TO {}", account),
        1129 | 1130 => format!("let this host in: CREATE USER {} IDENTIFIED BY '…', or FLUSH HOSTS", account),
        1820 | 1862 | 3118 => format!("ALTER USER {} IDENTIFIED BY '…' ACCOUNT UNLOCK", account),
        3159 => "set tls.mode to verify_identity: the server takes encrypted connections only".to_owned(),
        _ => "see the server's error log; MySQL 8.0, 8.4 and 9 are supported".to_owned(),
    };
    refused(settings, format!("{message} (error {code})"), remedy)
}

/// `… the SUPER, REPLICATION CLIENT privilege(s) …`: the last one named is the narrowest.
fn missing_right(message: &str) -> String {
    message
        .split_once(" the ")
        .and_then(|(_, rest)| rest.split_once(" privilege"))
        .and_then(|(rights, _)| rights.rsplit(',').next())
        .map_or_else(|| "REPLICATION SLAVE, REPLICATION CLIENT".to_owned(), |right| right.trim().to_owned())
}

/// What follows `for table` is the bare name, or both parts in back-quotes.
fn denied_table(message: &str) -> String {
    message.split_once("for table ").map_or_else(
        || "*.*".to_owned(),
        |(_, table)| match table.trim().trim_matches('\'') {
            "log_status" => "performance_schema.log_status".to_owned(),
            name if name.contains('.') => name.to_owned(),
            _ => "*.*".to_owned(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_right_is_taken_from_the_servers_words() {
        let text = "Access denied; you need (at least one of) the SUPER, REPLICATION CLIENT privilege(s) for this operation";
        assert_eq!(missing_right(text), "REPLICATION CLIENT");
        assert_eq!(missing_right("nonsense"), "REPLICATION SLAVE, REPLICATION CLIENT");
    }

    #[test]
    fn literals_cannot_be_left() {
        assert_eq!(quoted(r"a'b\"), r"'a''b\\'");
        assert_eq!(identifier("a`b"), "`a``b`");
    }

    #[test]
    fn cells_are_found_in_any_case_and_null_is_none() {
        let row = Answer::of(&[("File", Some("binlog.000001")), ("N", None)]);
        assert_eq!(row.text("FILE"), Some("binlog.000001"));
        assert_eq!((row.text("n"), row.text("gone"), row.number("File")), (None, None, None));
    }
}
