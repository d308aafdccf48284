//! Who answers at the address, and what of it the description of tables depends on.

use super::control::Control;
use super::{Error, Flavor, Identity, Result};

/// Asks the server who it is.
///
/// # Errors
/// [`Error::Setting`] for servers that only speak like MySQL: their binlog differs.
pub(super) async fn identity(control: &mut Control) -> Result<Identity> {
    let version = required(control, "version").await?;
    let comment = control.variable("version_comment").await?.unwrap_or_default();
    refuse_others(&control.settings().name, &version, &comment)?;
    let server_uuid = required(control, "server_uuid").await?;
    let gtids = control.variable("gtid_mode").await?.is_some_and(|mode| mode == "ON");
    Ok(Identity { server_uuid, version, flavor: Flavor::Mysql, gtids })
}

async fn required(control: &mut Control, name: &str) -> Result<String> {
    match control.variable(name).await? {
        Some(value) => Ok(value),
        None => Err(Error::Setting {
            name: control.settings().name.clone(),
            reason: format!("the server has no @@{name}"),
            remedy: "give the url of a MySQL server, version 8.0, 8.4 or 9".to_owned(),
        }),
    }
}

fn refuse_others(name: &str, version: &str, comment: &str) -> Result<()> {
    for other in ["MariaDB", "TiDB", "OceanBase"] {
        let lower = other.to_ascii_lowercase();
        if [version, comment].iter().any(|text| text.to_ascii_lowercase().contains(&lower)) {
            return Err(Error::Setting {
                name: name.to_owned(),
                reason: format!("{other} is not supported yet (the server says {version:?})"),
                remedy: "give the url of a MySQL server, version 8.0, 8.4 or 9".to_owned(),
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
}

impl ServerTraits {
    /// Asks for them.
    pub(super) async fn read(control: &mut Control) -> Result<Self> {
        let lower_case_names = required(control, "lower_case_table_names").await? != "0";
        // The variable came with the server that can do it; where it is ON the engine does it behind the binlog's back.
        let writes_cascades = control.variable("innodb_native_foreign_keys").await?.is_some_and(|value| value == "0");
        let names_labels = control.variable("binlog_row_metadata").await?.is_some_and(|value| value == "FULL");
        Ok(Self { lower_case_names, writes_cascades, names_labels })
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
    fn mariadb_is_refused_by_name() {
        let error = refuse_others("shop", "11.4.2-MariaDB-log", "").unwrap_err();
        assert!(error.to_string().contains("MariaDB is not supported yet"), "{error}");
        assert!(refuse_others("shop", "9.7.4", "MySQL Community Server").is_ok());
    }
}
