//! Who answers at the address, and what of it the description of tables depends on.

use super::control::Control;
use super::wire::WireConnection;
use super::{Error, Flavor, Identity, Result};

/// Asks the server who it is.
///
/// # Errors
/// [`Error::Setting`] for servers that only speak like MySQL: their binlog differs.
pub(super) async fn identity(control: &mut Control) -> Result<Identity> {
    let version = required(control, "version").await?;
    let comment = control.variable("version_comment").await?.unwrap_or_default();
    refuse_others(&control.settings().name, &version, &comment)?;
    if control.is_mariadb() {
        let server_uuid = mariadb_uuid(&required(control, "server_id").await?, &required(control, "server_uid").await?);
        return Ok(Identity { server_uuid, version, flavor: Flavor::Mariadb, gtids: true });
    }
    let server_uuid = required(control, "server_uuid").await?;
    let gtids = control.variable("gtid_mode").await?.is_some_and(|mode| mode == "ON");
    Ok(Identity { server_uuid, version, flavor: Flavor::Mysql, gtids })
}

/// Who the server is, asked on this connection.
pub(super) async fn server_uuid(connection: &mut WireConnection) -> Result<String> {
    let statement = if connection.is_mariadb() { "SELECT @@server_id, @@server_uid" } else { "SELECT @@server_uuid" };
    let rows = connection.query_text(statement).await?;
    let text = |place: usize| rows.first()?.get(place)?.as_deref().map(String::from_utf8_lossy);
    match (text(0), text(1)) {
        (Some(uuid), None) if !connection.is_mariadb() => Ok(uuid.into_owned()),
        (Some(id), Some(uid)) => Ok(mariadb_uuid(&id, &uid)),
        _ => Err(connection.failure("the server did not tell its server_uuid")),
    }
}

/// MariaDB has no `server_uuid`. Its `server_uid` is made of the machine and the port, so servers of one address differ by their id.
fn mariadb_uuid(server_id: &str, server_uid: &str) -> String {
    format!("{server_id}-{server_uid}")
}

async fn required(control: &mut Control, name: &str) -> Result<String> {
    match control.variable(name).await? {
        Some(value) => Ok(value),
        None => Err(Error::Setting {
            name: control.settings().name.clone(),
            reason: format!("the server has no @@{name}"),
            remedy: "give the url of a MySQL server, version 8.0, 8.4 or 9, or of a MariaDB server, version 10.11 or 11.8"
                .to_owned(),
        }),
    }
}

fn refuse_others(name: &str, version: &str, comment: &str) -> Result<()> {
    for other in ["TiDB", "OceanBase"] {
        let lower = other.to_ascii_lowercase();
        if [version, comment].iter().any(|text| text.to_ascii_lowercase().contains(&lower)) {
            return Err(Error::Setting {
                name: name.to_owned(),
                reason: format!("{other} is not supported yet (the server says {version:?})"),
                remedy: "give the url of a MySQL server, version 8.0, 8.4 or 9, or of a MariaDB server, version 10.11 or 11.8"
                    .to_owned(),
            });
        }
    }
    Ok(())
}

/// `8.0.36-log` → (8, 0, 36).
pub(super) fn version_numbers(version: &str) -> Option<(u32, u32, u32)> {
    let digits = version.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next()?;
    let mut parts = digits.split('.').map(str::parse::<u32>);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

/// What every table's description depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerTraits {
    /// `lower_case_table_names` is not 0: names are lower case wherever we keep them.
    pub lower_case_names: bool,
    /// The server writes what foreign keys do to child tables into the binlog.
    pub writes_cascades: bool,
    /// Events name the labels of ENUM and SET columns.
    pub names_labels: bool,
    /// Images of updates and deletes lack generated columns (MariaDB from 11 on, tried on 11.8).
    pub leaves_out_generated: bool,
    /// A UNIQUE key that hashes its columns adds one to the table that only the binlog shows (MariaDB).
    pub hides_hash_columns: bool,
}

impl ServerTraits {
    /// Asks for them.
    pub(super) async fn read(control: &mut Control) -> Result<Self> {
        let lower_case_names = required(control, "lower_case_table_names").await? != "0";
        // The variable came with the server that can do it; where it is ON the engine does it behind the binlog's back.
        let writes_cascades = control.variable("innodb_native_foreign_keys").await?.is_some_and(|value| value == "0");
        let names_labels = control.variable("binlog_row_metadata").await?.is_some_and(|value| value == "FULL");
        let hides_hash_columns = control.is_mariadb();
        let version = required(control, "version").await?;
        let leaves_out_generated = control.is_mariadb() && version_numbers(&version).is_none_or(|(major, ..)| major >= 11);
        Ok(Self { lower_case_names, writes_cascades, names_labels, leaves_out_generated, hides_hash_columns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_any_tail() {
        assert_eq!(version_numbers("9.7.4-2"), Some((9, 7, 4)));
        assert_eq!(version_numbers("5.7.44-log"), Some((5, 7, 44)));
        assert_eq!(version_numbers("what"), None);
    }

    #[test]
    fn servers_that_only_speak_like_mysql_are_refused_by_name() {
        let error = refuse_others("shop", "8.0.11-TiDB-v7.5.0", "").unwrap_err();
        assert!(error.to_string().contains("TiDB is not supported yet"), "{error}");
        assert!(refuse_others("shop", "9.7.4", "MySQL Community Server").is_ok());
        assert!(refuse_others("shop", "11.8.9-MariaDB-log", "").is_ok());
    }
}
