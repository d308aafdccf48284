//! Everything that must hold on the server before and while it is captured, one line each; it never stops at the first problem.
//!
//! Values are judged by pure functions in [`settings`] and [`replication`]; rights are tried out ([`rights`]) rather than read
//! from grants, which roles and wildcards make ambiguous.

mod mariadb;
mod replication;
mod rights;
mod settings;
mod tables;

#[cfg(test)]
mod tests;

use super::control::Control;
use super::identity::{self, ServerTraits};
use super::{Error, Finding, Result, Severity, TableOptions};
use crate::change::{Failure, Remedy, TableName};

/// Looks at the server's settings, our rights, its other clients, and each table.
pub(super) async fn preflight(control: &mut Control, tables: &[(TableName, TableOptions)]) -> Result<Vec<Finding>> {
    let identity = match identity::identity(control).await {
        Ok(identity) => identity,
        Err(error @ Error::Setting { .. }) => return Ok(vec![other_server(&error)]),
        Err(error) => return Err(error),
    };
    let traits = ServerTraits::read(control).await?;
    let variables = settings::Variables::read(control).await?;
    let mut findings = settings::judge(&variables, &identity, control.settings());
    let rights = if control.is_mariadb() {
        mariadb::try_out(control).await?
    } else {
        rights::try_out(control, &identity, variables.is_on("log_bin")).await?
    };
    findings.extend(rights.findings);
    let names: Vec<TableName> = tables.iter().map(|(name, _)| super::schema::in_case(name, traits.lower_case_names)).collect();
    findings.extend(replication::clients(control.settings(), rights.clients.as_deref()));
    findings.extend(replication::replica(&variables, rights.replica_status.as_deref(), &names));
    findings.extend(replication::binlog_filters(rights.binlog_status.as_deref(), &names));
    findings.extend(tables::judge(control, &traits, tables).await?);
    Ok(findings)
}

/// How long the server keeps its binlog; None where it does for ever.
pub(super) async fn kept_for(control: &mut Control) -> Result<Option<std::time::Duration>> {
    let variables = settings::Variables::read(control).await?;
    Ok(settings::kept_seconds(&variables).map(std::time::Duration::from_secs))
}

fn other_server(error: &Error) -> Finding {
    let Remedy::Stop(remedy) = error.remedy() else { return broken("server", error.to_string(), String::new()) };
    broken("server", error.to_string(), remedy)
}

fn fine(subject: &str, message: impl Into<String>) -> Finding {
    Finding { severity: Severity::Ok, subject: subject.to_owned(), message: message.into(), remedy: None, table: None }
}

fn risky(subject: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { severity: Severity::Warning, remedy: Some(remedy.into()), ..fine(subject, message) }
}

fn broken(subject: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { severity: Severity::Error, remedy: Some(remedy.into()), ..fine(subject, message) }
}

fn of_table(finding: Finding, table: &TableName) -> Finding {
    Finding { table: Some(table.clone()), ..finding }
}
