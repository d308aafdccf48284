//! What the server says in an error packet, and what the operator does about it.

use super::fields::Fields;
use crate::source::{Error, Settings, TlsMode};

/// An error packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// MySQL's error number.
    pub code: u16,
    /// The five characters of SQLSTATE, empty before the handshake.
    pub state: String,
    /// The server's words.
    pub message: String,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (MySQL error {})", self.message, self.code)
    }
}

impl ServerError {
    /// Reads an error packet (its first byte is 0xff).
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let mut fields = Fields(packet);
        if fields.u8()? != 0xff {
            return None;
        }
        let code = fields.u16()?;
        let mut state = String::new();
        if fields.0.first() == Some(&b'#') {
            state = String::from_utf8_lossy(fields.take(6)?.get(1..)?).into_owned();
        }
        Some(Self { code, state, message: String::from_utf8_lossy(fields.0).into_owned() })
    }

    /// The statement that mends a missing right, or another sentence for the operator. None where trying again may help.
    fn remedy(&self, settings: &Settings, account: Option<&str>) -> Option<String> {
        // The message names the address that we came from, which need not be the account's.
        let account = match account {
            Some(account) => account.to_owned(),
            None => self.account().unwrap_or_else(|| format!("'{}'@'%'", settings.user)),
        };
        let remedy = match self.code {
            1045 | 1698 => {
                let plain = if settings.tls.mode == TlsMode::Off {
                    " (and tls.mode, if the account was made with REQUIRE SSL)"
                } else {
                    ""
                };
                let name = &settings.name;
                format!(
                    "check user and password of source {name}{plain}; ALTER USER {account} IDENTIFIED BY '…' sets another password"
                )
            }
            1044 => match self.between("to database '", "'") {
                Some(database) => format!("GRANT SELECT ON {}.* TO {account}", quoted(database)),
                None => format!("GRANT SELECT ON the captured databases TO {account}"),
            },
            1142 | 1143 => {
                let right = self.message.split_whitespace().next().unwrap_or("SELECT");
                match self.between("for table '", "'").or_else(|| self.between("for table `", "` ")) {
                    Some(table) => format!("GRANT {right} ON {table} TO {account} (with the table's database)"),
                    None => format!("GRANT {right} ON the captured tables TO {account}"),
                }
            }
            1227 => match self.between("(at least one of) the ", " privilege") {
                Some(rights) => {
                    let right = rights.split(" or ").next().unwrap_or(rights).split(',').next_back().unwrap_or(rights).trim();
                    format!("GRANT {right} ON *.* TO {account}")
                }
                None => format!("GRANT the right that the server names ON *.* TO {account}"),
            },
            1129 => "FLUSH HOSTS (TRUNCATE TABLE performance_schema.host_cache) on the server".to_owned(),
            1130 => format!("CREATE USER {account} for the address that binlake connects from"),
            1820 | 1862 => format!("ALTER USER {account} IDENTIFIED BY '…': its password has expired"),
            3118 | 3955 => format!("ALTER USER {account} ACCOUNT UNLOCK"),
            3159 => format!("set tls.mode of source {} to verify_identity, verify_ca or required", settings.name),
            1251 | 2059 => format!("ALTER USER {account} IDENTIFIED WITH caching_sha2_password BY '…'"),
            _ => return None,
        };
        Some(remedy)
    }

    /// The room's error for it; `account` is whom the server takes us for, where that is known.
    pub(super) fn error(&self, settings: &Settings, account: Option<&str>) -> Error {
        let (name, address) = (settings.name.clone(), format!("{}:{}", settings.host, settings.port));
        match self.remedy(settings, account) {
            Some(remedy) => Error::Refused { name, address, reason: self.to_string(), remedy },
            None => Error::Connection { name, address, reason: self.to_string() },
        }
    }

    /// `'user'@'host'` as the message has it.
    fn account(&self) -> Option<String> {
        let start = self.message.find("user '")? + "user ".len();
        let text = self.message.get(start..)?;
        let at = text.find("'@'")?;
        let end = at + 3 + text.get(at + 3..)?.find('\'')?;
        text.get(..=end).map(str::to_owned)
    }

    fn between(&self, before: &str, after: &str) -> Option<&str> {
        let start = self.message.find(before)? + before.len();
        let text = self.message.get(start..)?;
        text.get(..text.find(after)?)
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, message: &str) -> ServerError {
        ServerError { code, state: String::new(), message: message.to_owned() }
    }

    fn settings() -> Settings {
        crate::source::wire::tests::settings(3306, "binlake", "")
    }

    #[test]
    fn an_error_packet_is_read_with_and_without_a_state() {
        assert_eq!(
            ServerError::parse(b"\xff\x15\x04#28000Access denied"),
            Some(ServerError { code: 1045, state: "28000".to_owned(), message: "Access denied".to_owned() })
        );
        assert_eq!(ServerError::parse(b"\xff\x10\x04Too many"), Some(error(1040, "Too many")));
        assert_eq!(ServerError::parse(b"\xff\x10"), None);
    }

    #[test]
    fn a_missing_right_names_its_grant() {
        let denied = error(
            1227,
            "Access denied; you need (at least one of) the SUPER, REPLICATION CLIENT privilege(s) for this operation",
        );
        assert_eq!(denied.remedy(&settings(), None).unwrap(), "GRANT REPLICATION CLIENT ON *.* TO 'binlake'@'%'");
        let denied = error(1044, "Access denied for user 'b'@'10.%' to database 'shop'");
        assert_eq!(denied.remedy(&settings(), None).unwrap(), "GRANT SELECT ON `shop`.* TO 'b'@'10.%'");
        assert_eq!(error(1205, "Lock wait timeout exceeded").remedy(&settings(), None), None);
    }
}
