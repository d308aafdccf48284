//! Other clients of the server, its own source, and filters on the way into its binlog.

use super::settings::Variables;
use super::{broken, fine, of_table, risky};
use crate::change::TableName;
use crate::source::control::Answer;
use crate::source::{BINLOG_FILTERS, Finding, Settings};

/// Whether another client has our server id. One that announces our own uuid is our predecessor, which the server ends itself.
pub(super) fn clients(settings: &Settings, clients: Option<&[Answer]>) -> Option<Finding> {
    let ours = u64::from(settings.server_id);
    let other = clients?.iter().find(|client| {
        let uuid = client.text("Replica_UUID").or_else(|| client.text("Slave_UUID")).unwrap_or_default();
        client.number("Server_Id") == Some(ours) && !uuid.eq_ignore_ascii_case(&settings.replica_uuid)
    });
    Some(match other {
        None => fine("replicas", "no other client has our server_id"),
        Some(client) => {
            let uuid = client.text("Replica_UUID").or_else(|| client.text("Slave_UUID")).unwrap_or("?");
            let host = client.text("Host").filter(|host| !host.is_empty()).unwrap_or("unknown");
            broken(
                "replicas",
                format!(
                    "server_id {ours} is taken by another client (uuid {uuid}, host {host}): each would end the other's stream"
                ),
                "give the source another `server_id`, or stop the other client",
            )
        }
    })
}

/// Whether a server that is a replica itself passes on what it receives.
pub(super) fn replica(variables: &Variables, status: Option<&[Answer]>, tables: &[TableName]) -> Vec<Finding> {
    let Some(status) = status else { return Vec::new() };
    if status.is_empty() {
        return vec![fine("replica", "the server is no replica")];
    }
    let writes = variables.is_on("log_replica_updates") || variables.is_on("log_slave_updates");
    let mut findings = vec![if writes {
        fine("log_replica_updates", "ON: the server is a replica and passes on what it receives")
    } else {
        broken(
            "log_replica_updates",
            "OFF: the server is a replica, and what it receives is in none of its binlogs",
            "start the server with --log-replica-updates=ON, or capture its source",
        )
    }];
    for channel in status {
        let filters = ReplicaFilters::of(channel);
        for table in tables.iter().filter(|table| filters.drops(table)) {
            let finding = risky(
                "replicate filters",
                format!(
                    "the server is a replica and a filter keeps its source's changes of {table} away: its rows are not those of the source"
                ),
                "take the table out of the filter (CHANGE REPLICATION FILTER …), or capture the source",
            );
            findings.push(of_table(finding, table));
        }
    }
    findings
}

/// Whether `--binlog-do-db` or `--binlog-ignore-db` keep captured tables out of the binlog: no row event arrives then.
pub(super) fn binlog_filters(status: Option<&[Answer]>, tables: &[TableName]) -> Vec<Finding> {
    let Some(status) = status.and_then(<[Answer]>::first) else { return Vec::new() };
    let only = list(status, "Binlog_Do_DB");
    let never = list(status, "Binlog_Ignore_DB");
    let kept_out = |table: &&TableName| {
        let among = |names: &[String]| names.contains(&table.database);
        // As the server does it: where there is a do-list the other one is not looked at.
        if only.is_empty() { among(&never) } else { !among(&only) }
    };
    let findings: Vec<Finding> = tables
        .iter()
        .filter(kept_out)
        .map(|table| {
            let finding = broken(
                BINLOG_FILTERS,
                format!(
                    "changes of {table} are in no binlog (binlog_do_db: {}; binlog_ignore_db: {})",
                    shown(&only),
                    shown(&never)
                ),
                format!("start the server without the filter on {}", table.database),
            );
            of_table(finding, table)
        })
        .collect();
    if findings.is_empty() { vec![fine(BINLOG_FILTERS, "none touches a captured database")] } else { findings }
}

fn shown(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn list(row: &Answer, column: &str) -> Vec<String> {
    let text = row.text(column).unwrap_or_default();
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The filters of one channel, in the order the server looks at them.
struct ReplicaFilters {
    do_database: Vec<String>,
    ignore_database: Vec<String>,
    do_table: Vec<String>,
    ignore_table: Vec<String>,
    wild_do_table: Vec<String>,
    wild_ignore_table: Vec<String>,
}

impl ReplicaFilters {
    fn of(channel: &Answer) -> Self {
        Self {
            do_database: list(channel, "Replicate_Do_DB"),
            ignore_database: list(channel, "Replicate_Ignore_DB"),
            do_table: list(channel, "Replicate_Do_Table"),
            ignore_table: list(channel, "Replicate_Ignore_Table"),
            wild_do_table: list(channel, "Replicate_Wild_Do_Table"),
            wild_ignore_table: list(channel, "Replicate_Wild_Ignore_Table"),
        }
    }

    fn drops(&self, table: &TableName) -> bool {
        let by_database = if self.do_database.is_empty() {
            self.ignore_database.contains(&table.database)
        } else {
            !self.do_database.contains(&table.database)
        };
        if by_database {
            return true;
        }
        let name = table.to_string();
        let wild = |patterns: &[String]| patterns.iter().any(|pattern| like(pattern, &name));
        if self.do_table.contains(&name) {
            return false;
        }
        if self.ignore_table.contains(&name) {
            return true;
        }
        if wild(&self.wild_do_table) {
            return false;
        }
        if wild(&self.wild_ignore_table) {
            return true;
        }
        !self.do_table.is_empty() || !self.wild_do_table.is_empty()
    }
}

/// MySQL's LIKE: `%` any text, `_` one letter, `\` takes the next literally.
fn like(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // reached[i]: the pattern so far matches the first i letters.
    let mut reached = vec![false; text.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    let mut letters = pattern.into_iter();
    while let Some(letter) = letters.next() {
        let mut next = vec![false; text.len() + 1];
        if letter == '%' {
            let mut seen = false;
            for (there, now) in reached.iter().zip(next.iter_mut()) {
                seen |= *there;
                *now = seen;
            }
        } else {
            let wanted = match letter {
                '_' => None,
                '\\' => Some(letters.next().unwrap_or('\\')),
                other => Some(other),
            };
            for ((there, now), found) in reached.iter().zip(next.iter_mut().skip(1)).zip(&text) {
                *now = *there && wanted.is_none_or(|wanted| wanted == *found);
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Severity;

    fn tables() -> Vec<TableName> {
        vec![TableName::new("shop", "orders"), TableName::new("crm", "users")]
    }

    #[test]
    fn binlog_filters_are_read_as_the_server_reads_them() {
        let touched = |only: &str, never: &str| {
            let row = Answer::of(&[("Binlog_Do_DB", Some(only)), ("Binlog_Ignore_DB", Some(never))]);
            let findings = binlog_filters(Some(&[row]), &tables());
            findings.into_iter().filter_map(|finding| finding.table).map(|table| table.database).collect::<Vec<_>>()
        };
        assert_eq!(touched("", ""), Vec::<String>::new());
        assert_eq!(touched("shop", ""), ["crm"]);
        assert_eq!(touched("", "shop,x"), ["shop"]);
        assert_eq!(touched("shop,crm", "shop"), Vec::<String>::new());
    }

    #[test]
    fn a_foreign_client_with_our_id_is_a_clash_and_our_predecessor_is_none() {
        let settings = crate::source::wire::tests::settings(1, "root", "");
        let client =
            |id: &str, uuid: &str| Answer::of(&[("Server_Id", Some(id)), ("Host", Some("")), ("Replica_UUID", Some(uuid))]);
        let severity = |client: Answer| clients(&settings, Some(&[client])).map(|finding| finding.severity);
        assert_eq!(severity(client("5400", "another")), Some(Severity::Error));
        assert_eq!(severity(client("5400", &settings.replica_uuid)), Some(Severity::Ok));
        assert_eq!(severity(client("5401", "another")), Some(Severity::Ok));
        assert_eq!(clients(&settings, None), None);
    }

    #[test]
    fn replica_filters_name_the_tables_they_drop() {
        let drops = |name: &str, rule: &str| {
            let row = Answer::of(&[(name, Some(rule))]);
            let variables = Variables::of(&[("log_replica_updates", "ON")]);
            let findings = replica(&variables, Some(&[row]), &tables());
            findings.into_iter().filter_map(|finding| finding.table).map(|table| table.table).collect::<Vec<_>>()
        };
        assert_eq!(drops("Replicate_Do_DB", "shop"), ["users"]);
        assert_eq!(drops("Replicate_Wild_Ignore_Table", "sh%.ord_rs"), ["orders"]);
        assert_eq!(drops("Replicate_Do_Table", "crm.users"), ["orders"]);
        assert_eq!(drops("Replicate_Ignore_Table", "other.x"), Vec::<String>::new());
    }

    #[test]
    fn a_replica_that_keeps_its_changes_to_itself_is_refused() {
        let off = Variables::of(&[("log_replica_updates", "OFF")]);
        let severity = |status: &[Answer]| replica(&off, Some(status), &[]).first().map(|finding| finding.severity);
        assert_eq!(severity(&[Answer::default()]), Some(Severity::Error));
        assert_eq!(severity(&[]), Some(Severity::Ok));
    }

    #[test]
    fn like_is_mysqls() {
        assert!(like("a%.b\\_c", "axx.b_c") && !like("a%.b\\_c", "axx.bxc") && like("%", "") && !like("_", ""));
    }
}
