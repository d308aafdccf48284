//! What a dump of MariaDB's depends on: who the server is, and whether its settings let us see every row.

use std::collections::HashMap;

use crate::source::binlog::ddl::NameCase;
use crate::source::binlog::session::{ServerFacts, setting, text};
use crate::source::wire::WireConnection;
use crate::source::{Result, Settings, identity};

const SQL: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', \
                   'lower_case_table_names', 'log_slave_updates', 'gtid_strict_mode')";

/// Asks for the settings and refuses what would make us blind. GTIDs are always on.
pub(in crate::source::binlog) async fn read(connection: &mut WireConnection, settings: &Settings) -> Result<ServerFacts> {
    let rows = connection.query_text(SQL).await?;
    let variables: HashMap<String, String> =
        rows.into_iter().filter_map(|row| Some((text(row.first()?)?, text(row.get(1)?)?))).collect();
    let is = |name: &str, value: &str| variables.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    for (name, value, remedy) in [
        ("log_bin", "ON", "start the server with --log-bin and a --server-id"),
        (
            "binlog_format",
            "ROW",
            "SET GLOBAL binlog_format = 'ROW' (and in its configuration), and end the sessions that began before",
        ),
        (
            "binlog_row_image",
            "FULL",
            "SET GLOBAL binlog_row_image = 'FULL' (and in its configuration), and end the sessions that began before",
        ),
    ] {
        if !is(name, value) {
            let found = variables.get(name).map_or("not there", String::as_str);
            return Err(setting(settings, format!("{name} is {found}, not {value}"), remedy));
        }
    }
    // Off by default: only a server that is a replica has to say ON.
    if !is("log_slave_updates", "ON") && !connection.query_text("SHOW ALL SLAVES STATUS").await?.is_empty() {
        return Err(setting(
            settings,
            "the server is a replica and does not write what it replicates to its own binlog",
            "set log_slave_updates=ON in its configuration and restart it",
        ));
    }
    Ok(ServerFacts {
        server_uuid: identity::server_uuid(connection).await?,
        gtids: true,
        gtids_are_strict: is("gtid_strict_mode", "ON"),
        case: if is("lower_case_table_names", "0") { NameCase::Kept } else { NameCase::Lower },
    })
}
