//! Our rights, tried out; the answers serve the other checks.

use super::{broken, fine, risky};
use crate::source::control::{Answer, Control, Denial};
use crate::source::{Finding, Identity, Result};

/// What trying gave.
pub(super) struct Rights {
    /// A line for each right.
    pub findings: Vec<Finding>,
    /// `SHOW BINARY LOG STATUS`, where we may.
    pub binlog_status: Option<Vec<Answer>>,
    /// `SHOW REPLICA STATUS`, where we may.
    pub replica_status: Option<Vec<Answer>>,
    /// `SHOW REPLICAS`, where we may.
    pub clients: Option<Vec<Answer>>,
}

/// Tries each right that binlake uses.
pub(super) async fn try_out(control: &mut Control, identity: &Identity, log_bin: bool) -> Result<Rights> {
    let mut findings = Vec::new();
    let binlog_status = match either(control, "SHOW BINARY LOG STATUS", "SHOW MASTER STATUS").await? {
        Ok(rows) => {
            findings.push(fine("REPLICATION CLIENT", "granted"));
            Some(rows)
        }
        Err(denial) => {
            // Without a binlog some versions have no status to show: that is said by log_bin.
            if log_bin || denial.is_right() {
                findings.push(missing(control, "REPLICATION CLIENT", &denial));
            }
            None
        }
    };
    let replica_status = match either(control, "SHOW REPLICA STATUS", "SHOW SLAVE STATUS").await? {
        Ok(rows) => Some(rows),
        // The same right as above, named there.
        Err(denial) if denial.is_right() => None,
        Err(denial) => return Err(denial.error),
    };
    let clients = match either(control, "SHOW REPLICAS", "SHOW SLAVE HOSTS").await? {
        Ok(rows) => {
            findings.push(fine("REPLICATION SLAVE", "granted"));
            Some(rows)
        }
        Err(denial) => {
            findings.push(missing(control, "REPLICATION SLAVE", &denial));
            None
        }
    };
    findings.push(xa_recover(control).await?);
    if !identity.gtids {
        findings.push(log_status(control).await?);
    }
    Ok(Rights { findings, binlog_status, replica_status, clients })
}

async fn either(control: &mut Control, new: &str, old: &str) -> Result<std::result::Result<Vec<Answer>, Denial>> {
    match control.probe(new).await? {
        Err(denial) if denial.is_unknown() => control.probe(old).await,
        answer => Ok(answer),
    }
}

fn missing(control: &Control, right: &str, denial: &Denial) -> Finding {
    broken(right, format!("{} (error {})", denial.message, denial.code), format!("GRANT {right} ON *.* TO {}", control.account()))
}

async fn xa_recover(control: &mut Control) -> Result<Finding> {
    const RIGHT: &str = "XA_RECOVER_ADMIN";
    Ok(match control.probe("XA RECOVER CONVERT XID").await? {
        Ok(_) => fine(RIGHT, "granted"),
        Err(denial) => broken(
            RIGHT,
            format!("prepared XA transactions cannot be seen, and a table's start could miss their rows (error {})", denial.code),
            format!("GRANT {RIGHT} ON *.* TO {}", control.account()),
        ),
    })
}

async fn log_status(control: &mut Control) -> Result<Finding> {
    const RIGHT: &str = "BACKUP_ADMIN";
    Ok(match control.probe("SELECT LOCAL FROM performance_schema.log_status").await? {
        Ok(_) => fine(RIGHT, "granted: performance_schema.log_status can be read"),
        Err(denial) => risky(
            RIGHT,
            format!(
                "without GTIDs and without performance_schema.log_status (error {}) the start of a table is awaited by a margin of time",
                denial.code
            ),
            format!(
                "GRANT {RIGHT} ON *.* TO {account}; GRANT SELECT ON performance_schema.log_status TO {account}",
                account = control.account()
            ),
        ),
    })
}
