//! Questions to the server that carry no rows of user tables: settings, rights, `information_schema`, positions.
//!
//! One connection for a handful of statements, then it is dropped; no pool. Every statement has a time limit, and a connection
//! whose statement ran into it is not used again. All answers are taken as text, so that MySQL's own spelling is what is judged.

use std::time::Duration;

use super::wire::WireConnection;
use super::{Error, Result, Settings};

/// A connection for control statements.
pub(super) struct Control {
    connection: WireConnection,
    settings: Settings,
    account: String,
}

/// One row of an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    cells: Vec<(String, Option<String>)>,
}

/// A statement that the server understood and refused, for good.
#[derive(Debug)]
pub(super) struct Denial {
    /// MySQL's error number.
    pub code: u16,
    /// What the server said.
    pub message: String,
    /// The error for it, where the caller has no use for the denial.
    pub error: Error,
}

impl Denial {
    /// Whether a right is missing.
    pub(super) fn is_right(&self) -> bool {
        matches!(self.code, 1044 | 1142 | 1143 | 1227 | 1370 | 1401)
    }

    /// Whether the server does not know the statement, the variable or the table: it is older or another one.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.code, 1064 | 1109 | 1146 | 1193 | 1235)
    }
}

impl Answer {
    /// The cell of a column, by its name in any case; None where it is NULL or there is no such column.
    pub(super) fn text(&self, column: &str) -> Option<&str> {
        self.cells.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).and_then(|(_, cell)| cell.as_deref())
    }

    /// The cell as a number; None where it is NULL or none.
    pub(super) fn number(&self, column: &str) -> Option<u64> {
        self.text(column)?.parse().ok()
    }

    /// The first cell.
    pub(super) fn first(&self) -> Option<&str> {
        self.cells.first().and_then(|(_, cell)| cell.as_deref())
    }

    #[cfg(test)]
    pub(super) fn of(cells: &[(&str, Option<&str>)]) -> Self {
        Self { cells: cells.iter().map(|(name, cell)| ((*name).to_owned(), cell.map(str::to_owned))).collect() }
    }
}

impl Control {
    /// Connects and sets the session up.
    pub(super) async fn connect(settings: &Settings) -> Result<Self> {
        let connection = WireConnection::connect(settings).await?;
        let account = connection.account().map_or_else(|| format!("{}@'%'", quoted(&settings.user)), str::to_owned);
        let mut control = Self { connection, settings: settings.clone(), account };
        control.prepare_session().await?;
        Ok(control)
    }

    async fn prepare_session(&mut self) -> Result<()> {
        // The server gives up before we do.
        let seconds = (self.settings.timeout.as_secs() / 2).clamp(1, 10);
        self.rows("SET NAMES utf8mb4").await?;
        // Without an own sql_mode a global NO_BACKSLASH_ESCAPES or ANSI_QUOTES would change what `quoted` means.
        self.rows(&format!("SET SESSION sql_mode = '', time_zone = '+00:00', lock_wait_timeout = {seconds}")).await?;
        for newer in ["show_gipk_in_create_table_and_information_schema = ON", "information_schema_stats_expiry = 0"] {
            match self.probe(&format!("SET SESSION {newer}")).await? {
                Err(denial) if !denial.is_unknown() => return Err(denial.error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The settings this connection was made with.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the server is MariaDB.
    pub(super) fn is_mariadb(&self) -> bool {
        self.connection.is_mariadb()
    }

    /// The account we are, as it stands in GRANT statements.
    pub(super) fn account(&self) -> &str {
        &self.account
    }

    /// The rows of an answer.
    pub(super) async fn rows(&mut self, sql: &str) -> Result<Vec<Answer>> {
        self.probe(sql).await?.map_err(|denial| denial.error)
    }

    /// The rows of an answer, or why the server refused to give one.
    pub(super) async fn probe(&mut self, sql: &str) -> Result<std::result::Result<Vec<Answer>, Denial>> {
        let limit: Duration = self.settings.timeout;
        match self.connection.query_text_within(sql, limit).await {
            Ok(rows) => rows.into_iter().map(|row| self.answer(row)).collect::<Result<Vec<_>>>().map(Ok),
            Err(error) => match self.connection.server_error() {
                Some(said) if !is_passing(said.code) => {
                    let (code, message) = (said.code, said.message.clone());
                    Ok(Err(Denial { code, message, error: self.with_remedy(code, error) }))
                }
                _ => Err(error),
            },
        }
    }

    /// Errors whose message does not tell which right is missing.
    fn with_remedy(&self, code: u16, error: Error) -> Error {
        match error {
            Error::Connection { name, address, reason } if code == 1401 => {
                Error::Refused { name, address, reason, remedy: format!("GRANT XA_RECOVER_ADMIN ON *.* TO {}", self.account) }
            }
            other => other,
        }
    }

    fn answer(&self, row: Vec<Option<Vec<u8>>>) -> Result<Answer> {
        let mut cells = Vec::with_capacity(row.len());
        for (column, cell) in self.connection.columns().iter().zip(row) {
            let cell = cell.map(String::from_utf8).transpose();
            let cell = cell.map_err(|_| self.connection.failure(format!("column {} of an answer is not UTF-8", column.name)))?;
            cells.push((column.name.clone(), cell));
        }
        Ok(Answer { cells })
    }

    /// A system variable as text; None where the server does not have it.
    pub(super) async fn variable(&mut self, name: &str) -> Result<Option<String>> {
        match self.probe(&format!("SELECT @@{name}")).await? {
            Ok(rows) => Ok(rows.first().and_then(Answer::first).map(str::to_owned)),
            Err(denial) if denial.is_unknown() => Ok(None),
            Err(denial) => Err(denial.error),
        }
    }
}

/// Errors of the server's present state rather than of the statement: too many connections, shutting down, killed, aborted, out
/// of resources, waited too long for a lock, deadlock.
fn is_passing(code: u16) -> bool {
    matches!(
        code,
        1040 | 1041 | 1053 | 1080 | 1152..=1161 | 1184 | 1203 | 1205 | 1213 | 1226 | 1317 | 1927 | 3024 | 3032 | 3168 | 3169
    )
}

/// A string literal under `sql_mode = ''` and utf8mb4.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A quoted identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
