//! What `discover` shows of a server: every table, what needs a decision, and the statements that make a user for us.

use super::control::{Control, identifier, quoted};
use super::identity::{self, ServerTraits};
use super::{Discovered, Flavor, Problem, Result, Settings, TableOptions, schema};
use crate::change::KeyKind;

/// Every table of every user database, with what needs a decision. A table that cannot be captured has [`KeyKind::None`] and
/// its reasons among the notes. With the kind of server, on which the statements of [`grants`] depend.
pub async fn discover(settings: &Settings) -> Result<(Flavor, Vec<Discovered>)> {
    let mut control = Control::connect(settings).await?;
    let control = &mut control;
    let flavor = identity::identity(control).await?.flavor;
    let traits = ServerTraits::read(control).await?;
    let mut found = Vec::new();
    for name in schema::tables(control).await? {
        let options = TableOptions::default();
        let examined = schema::examine(control, &traits, &name, &options).await?;
        let say = |problem: &Problem| format!("{}: {}", problem.reason, problem.remedy);
        let (key_kind, notes) = match &examined.shape {
            Ok(shape) => (shape.key_kind, schema::notes(&examined.facts, shape, &traits).iter().map(say).collect()),
            Err(problems) => (KeyKind::None, problems.iter().map(say).collect()),
        };
        found.push(Discovered { name, key_kind, notes, rows: examined.facts.rows, bytes: examined.facts.bytes });
    }
    Ok((flavor, found))
}

/// The statements that make a user with exactly the rights that binlake uses, for tables of these databases.
pub fn grants(flavor: Flavor, user: &str, databases: &[String]) -> Vec<String> {
    let account = format!("{}@'%'", quoted(user));
    let mut statements = match flavor {
        Flavor::Mysql => vec![
            format!("CREATE USER {account} IDENTIFIED WITH caching_sha2_password BY '…'"),
            format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT, XA_RECOVER_ADMIN, BACKUP_ADMIN ON *.* TO {account}"),
            format!("GRANT SELECT ON performance_schema.log_status TO {account}"),
        ],
        Flavor::Mariadb => vec![
            format!("CREATE USER {account} IDENTIFIED BY '…'"),
            format!("GRANT REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR ON *.* TO {account}"),
        ],
    };
    statements.extend(databases.iter().map(|database| format!("GRANT SELECT ON {}.* TO {account}", identifier(database))));
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_grants_are_quoted() {
        let statements = grants(Flavor::Mysql, "o'hara", &["a`b".to_owned()]);
        assert_eq!(statements.last().map(String::as_str), Some("GRANT SELECT ON `a``b`.* TO 'o''hara'@'%'"));
    }
}
