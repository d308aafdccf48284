//! What is MariaDB's own: settings, rights and their names.

use mysql_common::constants::Command;

use super::rights::Rights;
use super::settings::{self, Variables};
use super::{broken, fine, risky};
use crate::source::control::{Answer, Control};
use crate::source::identity::version_numbers;
use crate::source::wire::WireConnection;
use crate::source::{Finding, Identity, Result, Settings};

/// Judges the server's variables.
pub(super) fn judge(variables: &Variables, identity: &Identity, settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![version(&identity.version)];
    findings.extend(settings::binlog(variables));
    findings.extend([settings::row_metadata(variables), strictness(variables), settings::retention(variables)]);
    findings.extend(settings::durability(variables));
    findings.push(scheduling(variables));
    findings.extend(settings::commits(variables));
    for name in ["log_bin_compress", "encrypt_binlog"] {
        findings.extend(variables.get(name).map(|value| fine(name, value)));
    }
    findings.extend([settings::own_server_id(variables, settings), settings::names(variables), settings::zone(variables)]);
    for finding in &mut findings {
        finding.remedy =
            finding.remedy.take().map(|remedy| remedy.replace("SET PERSIST ", "in the configuration, and SET GLOBAL "));
    }
    findings
}

fn version(version: &str) -> Finding {
    match version_numbers(version) {
        Some((10, 11, _) | (11, 8, _)) => fine("version", format!("MariaDB {version}")),
        _ => risky("version", format!("MariaDB {version}: binlake was tried with 10.11 and 11.8"), "try it on a copy first"),
    }
}

fn strictness(variables: &Variables) -> Finding {
    const NAME: &str = "gtid_strict_mode";
    if variables.is_on(NAME) {
        return fine(NAME, "ON");
    }
    risky(
        NAME,
        "OFF: numbers within a domain may go back, so another server behind this address cannot be taken over",
        "SET PERSIST gtid_strict_mode = ON, on this server and its replicas",
    )
}

fn scheduling(variables: &Variables) -> Finding {
    const NAME: &str = "binlog_optimize_thread_scheduling";
    if variables.get(NAME).is_none() || variables.is_on(NAME) {
        return fine(NAME, "ON");
    }
    broken(
        NAME,
        "OFF: the server does not tell which transactions its snapshots show, and a table's start could miss rows",
        format!("start the server without --{NAME}=OFF"),
    )
}

/// Tries each right that binlake uses.
pub(super) async fn try_out(control: &mut Control) -> Result<Rights> {
    let mut findings = Vec::new();
    let binlog_status = shown(control, "SHOW MASTER STATUS", "BINLOG MONITOR", &mut findings).await?;
    let replica_status = shown(control, "SHOW ALL SLAVES STATUS", "SLAVE MONITOR", &mut findings).await?;
    // It needs a right that would be too much to ask for.
    let clients = control.probe("SHOW SLAVE HOSTS").await?.ok();
    findings.push(dump(control).await?);
    Ok(Rights { findings, binlog_status, replica_status, clients })
}

async fn shown(control: &mut Control, statement: &str, right: &str, findings: &mut Vec<Finding>) -> Result<Option<Vec<Answer>>> {
    let (finding, rows) = match control.probe(statement).await? {
        Ok(rows) => (fine(right, "granted"), Some(rows)),
        Err(denial) => (missing(control, right, &denial.message), None),
    };
    findings.push(finding);
    Ok(rows)
}

fn missing(control: &Control, right: &str, message: &str) -> Finding {
    broken(right, message, format!("GRANT {right} ON *.* TO {}", control.account()))
}

/// Asks for a binlog that does not exist, as nobody's replica: the answer tells whether we may ask.
async fn dump(control: &Control) -> Result<Finding> {
    const RIGHT: &str = "REPLICATION SLAVE";
    const DENIED: [u16; 2] = [1045, 1227];
    const DO_NOT_WAIT: u16 = 1;
    let mut payload = 4u32.to_le_bytes().to_vec();
    payload.extend_from_slice(&DO_NOT_WAIT.to_le_bytes());
    payload.extend_from_slice(&0u32.to_le_bytes());
    payload.extend_from_slice(b"binlake.asks");
    let mut connection = WireConnection::connect(control.settings()).await?;
    connection.write_command(Command::COM_BINLOG_DUMP, &payload).await?;
    let answer = connection.read_packet(control.settings().timeout).await.map(drop);
    match (answer, connection.server_error()) {
        (Err(_), Some(said)) if DENIED.contains(&said.code) => Ok(missing(control, RIGHT, &said.message)),
        (Ok(()), _) | (Err(_), Some(_)) => Ok(fine(RIGHT, "granted")),
        (Err(error), None) => Err(error),
    }
}
