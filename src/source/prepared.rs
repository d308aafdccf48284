//! Which XA transactions a server holds prepared.

use super::wire::WireConnection;
use super::{PreparedNow, Result, Settings, snapshot};

/// What is prepared, and then the flushed end: of one server, since both are asked on one connection.
pub(super) async fn prepared(settings: &Settings) -> Result<PreparedNow> {
    let mut connection = WireConnection::connect(settings).await?;
    let xids = match prepared_xids(&mut connection).await {
        Ok(xids) => Some(xids.into_iter().collect()),
        Err(_) if connection.server_error().is_some() => None,
        Err(error) => return Err(error),
    };
    Ok(PreparedNow { xids, end: snapshot::sample(&mut connection, settings).await? })
}

/// The xids that are prepared, as the binlog prints them and XA COMMIT takes them: `X'gtrid',X'bqual',format`.
///
/// # Errors
/// MySQL wants XA_RECOVER_ADMIN for it ([`WireConnection::server_error`] tells); MariaDB wants no right.
pub(super) async fn prepared_xids(connection: &mut WireConnection) -> Result<Vec<String>> {
    let is_mariadb = connection.is_mariadb();
    let statement = if is_mariadb { "XA RECOVER" } else { "XA RECOVER CONVERT XID" };
    let rows = connection.query_text(statement).await?;
    let xids: Option<Vec<String>> = rows.iter().map(|row| xid(row, is_mariadb)).collect();
    xids.ok_or_else(|| connection.failure("the answer to XA RECOVER cannot be read"))
}

/// From format, both lengths in bytes, and the data: the bytes themselves, or `0x…`.
fn xid(row: &[Option<Vec<u8>>], is_raw: bool) -> Option<String> {
    let text = |place: usize| std::str::from_utf8(row.get(place)?.as_deref()?).ok();
    let (format, length) = (text(0)?, text(1)?.parse::<usize>().ok()?);
    let digits = if is_raw {
        row.get(3)?.as_deref()?.iter().map(|byte| format!("{byte:02x}")).collect()
    } else {
        text(3)?.strip_prefix("0x")?.to_ascii_lowercase()
    };
    let (gtrid, bqual) = digits.split_at_checked(length.checked_mul(2)?)?;
    Some(format!("X'{gtrid}',X'{bqual}',{format}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_servers_answers_give_the_same_xid() {
        let row = |data: &[u8]| [b"7".as_slice(), b"2", b"1", data].map(|cell| Some(cell.to_vec()));
        assert_eq!(xid(&row(b"0xFF0062"), false).as_deref(), Some("X'ff00',X'62',7"));
        assert_eq!(xid(&row(b"\xff\0b"), true).as_deref(), Some("X'ff00',X'62',7"));
        assert_eq!(xid(&row(b"?"), false), None);
    }
}
