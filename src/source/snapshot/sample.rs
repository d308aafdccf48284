//! The flushed end of a server's binlog: an upper bound of all that it shows.

use crate::source::wire::WireConnection;
use crate::source::{Error, Result, Sample, Settings, identity::server_uuid};

/// The flushed position of the server that answers, sampled now.
pub async fn flushed(settings: &Settings) -> Result<Sample> {
    let mut connection = WireConnection::connect(settings).await?;
    sample(&mut connection, settings).await
}

/// The flushed position, asked on this connection.
pub(in crate::source) async fn sample(connection: &mut WireConnection, settings: &Settings) -> Result<Sample> {
    let server_uuid = server_uuid(connection).await?;
    // MySQL renamed the statement in 8.2 and dropped the old name in 8.4; MariaDB has the old one.
    let statement = if !connection.is_mariadb() && renamed(connection.server_version()) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let rows = connection.query_text(statement).await?;
    let Some([Some(name), Some(offset), ..]) = rows.first().map(Vec::as_slice) else {
        return Err(Error::Setting {
            name: settings.name.clone(),
            reason: "the server writes no binlog".to_owned(),
            remedy: "set log_bin (and log_replica_updates on a replica) in the server's configuration and restart it".to_owned(),
        });
    };
    let file_name = String::from_utf8_lossy(name).into_owned();
    let file = file_number(&file_name);
    let offset = String::from_utf8_lossy(offset).parse().ok();
    match (file, offset) {
        (Some(file), Some(offset)) => Ok(Sample { server_uuid, file_name, file, offset }),
        _ => Err(connection.failure(format!("{statement} gave a position that cannot be read: {file_name:?}"))),
    }
}

/// The number in a binlog file's name.
pub(in crate::source) fn file_number(name: &str) -> Option<u64> {
    name.rsplit_once('.')?.1.parse().ok()
}

fn renamed(version: &str) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (major, minor) >= (8, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_follows_the_version_and_the_file_its_number() {
        for (version, expected) in [("9.7.4", true), ("8.4.0-log", true), ("8.0.36", false), ("5.7.44", false)] {
            assert_eq!(renamed(version), expected, "{version}");
        }
        assert_eq!(file_number("my.log-bin.1000000"), Some(1_000_000));
        assert_eq!(file_number("binlog"), None);
    }
}
