//! Query events: the statement, the database it ran in, and how its text is to be read.

use super::event::{Malformed, OrMalformed, kind};
use crate::source::wire::fields::Fields;

/// A statement that the server wrote as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Query {
    /// The current database; empty for none.
    pub(super) database: String,
    /// The statement.
    pub(super) sql: String,
    /// `"` quotes identifiers (`ANSI_QUOTES`).
    pub(super) ansi_quotes: bool,
    /// A backslash is a character like any other (`NO_BACKSLASH_ESCAPES`).
    pub(super) plain_backslash: bool,
    /// The databases whose tables it touched, by views, triggers and functions as well.
    pub(super) touched: Touched,
}

/// What a statement says of the databases that it touched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Touched {
    /// Nothing.
    #[default]
    Untold,
    /// They are more than the server names.
    Many,
    /// These.
    Named(Vec<String>),
}

/// What the status variables say that matters here.
#[derive(Debug, Default)]
struct Status {
    sql_mode: u64,
    client_collation: Option<u16>,
    touched: Touched,
}

/// The bytes of the statement alone.
pub(super) fn statement_bytes(body: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(body);
    fields.take(8)?;
    let database_bytes = usize::from(fields.u8()?);
    fields.take(2)?;
    let status_bytes = usize::from(fields.u16()?);
    fields.take(status_bytes + database_bytes + 1)?;
    Some(fields.0)
}

impl Query {
    /// Reads the body of a query event, or of the event that carries a statement-format LOAD DATA.
    pub(super) fn parse(event_kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "a query event";
        const ANSI_QUOTES: u64 = 1 << 2;
        const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
        let mut fields = Fields(body);
        fields.take(8).or_malformed(WHAT)?;
        let database_bytes = fields.u8().or_malformed(WHAT)?;
        fields.take(2).or_malformed(WHAT)?;
        let status_bytes = fields.u16().or_malformed(WHAT)?;
        if event_kind == kind::EXECUTE_LOAD_QUERY {
            fields.take(13).or_malformed(WHAT)?;
        }
        let status = Status::parse(fields.take(usize::from(status_bytes)).or_malformed(WHAT)?);
        let database = fields.take(usize::from(database_bytes)).or_malformed(WHAT)?;
        fields.take(1).or_malformed(WHAT)?;
        Ok(Self {
            database: String::from_utf8_lossy(database).into_owned(),
            sql: statement_text(fields.0, status.client_collation),
            ansi_quotes: status.sql_mode & ANSI_QUOTES != 0,
            plain_backslash: status.sql_mode & NO_BACKSLASH_ESCAPES != 0,
            touched: status.touched,
        })
    }
}

impl Status {
    /// Reads as far as the variables are known: what matters comes first.
    fn parse(bytes: &[u8]) -> Self {
        let mut status = Self::default();
        let mut fields = Fields(bytes);
        while let Some(()) = status.take_next(&mut fields) {}
        status
    }

    fn take_next(&mut self, fields: &mut Fields<'_>) -> Option<()> {
        let skipped = match fields.u8()? {
            1 => {
                self.sql_mode = fields.array().map(u64::from_le_bytes)?;
                0
            }
            4 => {
                self.client_collation = Some(fields.u16()?);
                4
            }
            0 | 3 | 10 => 4,
            5 | 6 => usize::from(fields.u8()?),
            7 | 8 | 18 => 2,
            9 | 17 => 8,
            11 => {
                let user = usize::from(fields.u8()?);
                fields.take(user)?;
                usize::from(fields.u8()?)
            }
            12 => {
                self.touched = touched(fields)?;
                0
            }
            13 => 3,
            16 | 19 | 20 => 1,
            _ => return None,
        };
        fields.take(skipped).map(|_| ())
    }
}

/// A list of databases; None where it is cut off.
fn touched(fields: &mut Fields<'_>) -> Option<Touched> {
    const TOO_MANY: u8 = 254;
    let count = fields.u8()?;
    if count == TOO_MANY {
        return Some(Touched::Many);
    }
    let mut names = Vec::new();
    for _ in 0..count {
        let end = fields.0.iter().position(|byte| *byte == 0)?;
        let name = fields.take(end)?;
        names.push(String::from_utf8_lossy(name).into_owned());
        fields.take(1)?;
    }
    Some(Touched::Named(names))
}

/// Statements are recognised by their keywords and names; bytes that are no text of the client's character set can only stand
/// in literals and comments, so they are replaced.
fn statement_text(bytes: &[u8], collation: Option<u16>) -> String {
    let text = if bytes.is_ascii() { None } else { collation.and_then(|id| super::text::decode_statement(id, bytes)) };
    text.unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn body(database: &str, status: &[u8], sql: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 8];
        body.push(database.len() as u8);
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&(status.len() as u16).to_le_bytes());
        body.extend_from_slice(status);
        body.extend_from_slice(database.as_bytes());
        body.push(0);
        body.extend_from_slice(sql);
        body
    }

    #[test]
    fn the_databases_that_a_statement_touched_are_read() {
        let touched = |status: &[u8]| Query::parse(kind::QUERY, &body("", status, b"DO 1")).unwrap().touched;
        assert_eq!(touched(b"\x0c\x02crm\0shop\0\x0d\0\0\0"), Touched::Named(vec!["crm".to_owned(), "shop".to_owned()]));
        assert_eq!(touched(b"\x0c\xfe"), Touched::Many);
        assert_eq!(touched(b"\x0c\x02crm\0sh"), Touched::Untold);
        assert_eq!(touched(b""), Touched::Untold);
    }

    #[test]
    fn a_statement_is_read_with_its_database_and_modes() {
        let mut status = vec![0, 0, 0, 0, 0, 1];
        status.extend_from_slice(&((1u64 << 20) | 4).to_le_bytes());
        status.extend_from_slice(&[6, 3, b's', b't', b'd', 4, 8, 0, 8, 0, 8, 0, 99]);
        let query = Query::parse(kind::QUERY, &body("shop", &status, b"TRUNCATE caf\xe9")).unwrap();
        assert_eq!(query.sql, "TRUNCATE café");
        assert_eq!(query.database, "shop");
        assert!(query.ansi_quotes && query.plain_backslash);
    }
}
