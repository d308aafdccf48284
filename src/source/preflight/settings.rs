//! The server's variables, judged.

use std::collections::HashMap;

use super::{broken, fine, mariadb, risky};
use crate::source::control::Control;
use crate::source::identity::version_numbers;
use crate::source::{Finding, Flavor, Identity, Result, Settings};

/// What is asked for. Those that a server does not have are absent.
const NAMES: [&str; 28] = [
    "version",
    "server_id",
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_checksum",
    "binlog_order_commits",
    "binlog_transaction_compression",
    "binlog_expire_logs_seconds",
    "binlog_expire_logs_auto_purge",
    "expire_logs_days",
    "gtid_mode",
    "gtid_strict_mode",
    "binlog_optimize_thread_scheduling",
    "log_bin_compress",
    "encrypt_binlog",
    "sync_binlog",
    "innodb_flush_log_at_trx_commit",
    "lower_case_table_names",
    "time_zone",
    "system_time_zone",
    "log_replica_updates",
    "log_slave_updates",
    "innodb_native_foreign_keys",
    "read_only",
    "super_read_only",
];

const DAY_SECONDS: u64 = 86_400;

/// Global variables by name.
#[derive(Debug, Default)]
pub(super) struct Variables(HashMap<String, String>);

impl Variables {
    /// Asks for all of [`NAMES`].
    pub(super) async fn read(control: &mut Control) -> Result<Self> {
        let names: Vec<String> = NAMES.iter().map(|name| format!("'{name}'")).collect();
        let rows = control.rows(&format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.join(", "))).await?;
        let pair = |row: &crate::source::control::Answer| {
            Some((row.text("Variable_name")?.to_ascii_lowercase(), row.text("Value")?.to_owned()))
        };
        Ok(Self(rows.iter().filter_map(pair).collect()))
    }

    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// The value; None where the server has no such variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether it is there and ON.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "ON" || value == "1")
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}

/// Judges them all.
pub(super) fn judge(variables: &Variables, identity: &Identity, settings: &Settings) -> Vec<Finding> {
    if identity.flavor == Flavor::Mariadb {
        return mariadb::judge(variables, identity, settings);
    }
    let mut findings = vec![version(&identity.version)];
    findings.extend(binlog(variables));
    findings.extend([row_metadata(variables), value_options(variables), gtids(variables), retention(variables)]);
    findings.extend(durability(variables));
    findings.extend(commits(variables));
    findings.extend([own_server_id(variables, settings), names(variables), zone(variables)]);
    findings
}

fn version(version: &str) -> Finding {
    match version_numbers(version) {
        Some((8 | 9, ..)) => fine("version", format!("MySQL {version}")),
        Some((5, 7, _)) => risky(
            "version",
            format!("MySQL {version} is past its end of life, and its binlog does not describe itself"),
            "upgrade to MySQL 8.0 or later",
        ),
        Some((major, ..)) if major > 9 => {
            risky("version", format!("MySQL {version} is newer than what binlake was tried with"), "try it on a copy first")
        }
        Some(_) => broken("version", format!("MySQL {version} is too old"), "upgrade to MySQL 8.0 or later"),
        None => risky("version", format!("the version {version:?} cannot be read"), "use MySQL 8.0, 8.4 or 9"),
    }
}

fn expect(variables: &Variables, name: &str, wanted: &str, why: &str, remedy: &str) -> Finding {
    match variables.get(name) {
        Some(value) if value.eq_ignore_ascii_case(wanted) => fine(name, value),
        Some(value) => broken(name, format!("{value}: {why}"), remedy),
        None => broken(name, format!("the server has no such variable: {why}"), remedy),
    }
}

pub(super) fn binlog(variables: &Variables) -> [Finding; 3] {
    [
        expect(variables, "log_bin", "ON", "the server writes no binlog", "start the server with --log-bin and a --server-id"),
        expect(
            variables,
            "binlog_format",
            "ROW",
            "changes are written as statements, from which no rows can be had",
            "SET PERSIST binlog_format = ROW (sessions that are open keep the old one)",
        ),
        expect(
            variables,
            "binlog_row_image",
            "FULL",
            "row images lack columns",
            "SET PERSIST binlog_row_image = FULL (sessions that are open keep the old one)",
        ),
    ]
}

pub(super) fn row_metadata(variables: &Variables) -> Finding {
    const NAME: &str = "binlog_row_metadata";
    match variables.get(NAME) {
        Some("FULL") => fine(NAME, "FULL"),
        Some(value) => risky(
            NAME,
            format!("{value}: events do not name their columns, so a change of a table is known only by its statement"),
            "SET PERSIST binlog_row_metadata = FULL",
        ),
        None => risky(
            NAME,
            "the server has no such variable: events do not name their columns, so a change of a table is known only by its statement",
            "upgrade to MySQL 8.0 or later",
        ),
    }
}

fn value_options(variables: &Variables) -> Finding {
    const NAME: &str = "binlog_row_value_options";
    match variables.get(NAME) {
        None | Some("") => fine(NAME, "whole values"),
        Some("PARTIAL_JSON") => fine(NAME, "PARTIAL_JSON: the differences are applied to the document before"),
        Some(value) => risky(NAME, format!("{value} is not known"), "SET PERSIST binlog_row_value_options = ''"),
    }
}

fn gtids(variables: &Variables) -> Finding {
    match variables.get("gtid_mode") {
        Some("ON") => fine("gtid_mode", "ON"),
        Some(value) => risky(
            "gtid_mode",
            format!("{value}: positions are file and offset, which do not survive a failover"),
            "SET PERSIST gtid_mode = …, one step after the other up to ON, after enforce_gtid_consistency = ON",
        ),
        None => risky("gtid_mode", "the server has no such variable", "use MySQL 8.0 or later"),
    }
}

/// How long the server keeps its binlog, in seconds; None where it does for ever.
pub(super) fn kept_seconds(variables: &Variables) -> Option<u64> {
    let days = variables.number("expire_logs_days").unwrap_or(0).saturating_mul(DAY_SECONDS);
    let seconds = variables.number("binlog_expire_logs_seconds").filter(|seconds| *seconds > 0).unwrap_or(days);
    (variables.get("binlog_expire_logs_auto_purge") != Some("OFF") && seconds > 0).then_some(seconds)
}

pub(super) fn retention(variables: &Variables) -> Finding {
    let name = "binlog_expire_logs_seconds";
    let Some(seconds) = kept_seconds(variables) else {
        return fine(name, "the server keeps its binlog for ever");
    };
    if seconds < DAY_SECONDS {
        return risky(
            name,
            format!("the binlog is kept for {seconds} s: a longer outage costs a rebuild of every table"),
            "SET PERSIST binlog_expire_logs_seconds = 604800",
        );
    }
    fine(name, format!("the binlog is kept for {} h", seconds / 3600))
}

pub(super) fn durability(variables: &Variables) -> [Finding; 2] {
    let durable = |name: &str, why: &str| match variables.get(name) {
        Some("1") => fine(name, "1"),
        value => risky(name, format!("{}: {why}", value.unwrap_or("not there")), format!("SET PERSIST {name} = 1")),
    };
    [
        durable(
            "sync_binlog",
            "a crash of the machine loses transactions that were already captured, and gives their GTIDs to others",
        ),
        durable(
            "innodb_flush_log_at_trx_commit",
            "a crash of the machine loses rows that are in the binlog already, and the server differs from its own history",
        ),
    ]
}

pub(super) fn commits(variables: &Variables) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(value) = variables.get("binlog_order_commits") {
        findings.push(fine("binlog_order_commits", value));
    }
    if let Some(value) = variables.get("binlog_transaction_compression") {
        findings.push(fine("binlog_transaction_compression", value));
    }
    findings.push(match variables.get("binlog_checksum") {
        Some("NONE") => risky("binlog_checksum", "NONE: a damaged event is not noticed", "SET PERSIST binlog_checksum = CRC32"),
        value => fine("binlog_checksum", value.unwrap_or("CRC32")),
    });
    findings
}

pub(super) fn own_server_id(variables: &Variables, settings: &Settings) -> Finding {
    let ours = settings.server_id;
    match variables.number("server_id") {
        Some(server) if server == u64::from(ours) => broken(
            "server_id",
            format!("{ours} is the server's own id"),
            "give the source another `server_id`, one that no server or replica has",
        ),
        Some(0) => broken("server_id", "the server's own server_id is 0: it serves no replicas", "SET PERSIST server_id = 1"),
        _ => fine("server_id", format!("ours is {ours}")),
    }
}

pub(super) fn names(variables: &Variables) -> Finding {
    let value = variables.get("lower_case_table_names").unwrap_or("0");
    let meaning = if value == "0" { "names are told apart by case" } else { "names are kept in lower case" };
    fine("lower_case_table_names", format!("{value}: {meaning}"))
}

pub(super) fn zone(variables: &Variables) -> Finding {
    let zone = match variables.get("time_zone") {
        Some("SYSTEM") | None => variables.get("system_time_zone").unwrap_or("SYSTEM"),
        Some(zone) => zone,
    };
    if ["UTC", "+00:00", "-00:00", "GMT", "Etc/UTC"].iter().any(|utc| zone.eq_ignore_ascii_case(utc)) {
        return fine("time_zone", format!("{zone}; our sessions set +00:00"));
    }
    risky(
        "time_zone",
        format!("{zone}: a DATETIME is a wall clock of a zone that the server does not record; TIMESTAMP is not touched by it"),
        "say in `lake.datetime_zone` how DATETIME columns are to be read",
    )
}
