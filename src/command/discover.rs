//! `discover`: a whole configuration file for a server, with what its operator must do first as comments.

use std::path::Path;

use binlake::change::KeyKind;
use binlake::config::{ProcessEnvironment, parse_address};
use binlake::source::{Discovered, Flavor, discover};

use super::assemble::bare_source;
use super::{Failed, Outcome, print};

/// Prints the file.
pub(crate) async fn run(url: &str, name: &str) -> Outcome {
    let address = parse_address(url, Path::new("."), &ProcessEnvironment).map_err(|error| Failed(format!("the URL: {error}")))?;
    let settings = bare_source(name, &address);
    let (flavor, tables) = discover::discover(&settings).await.map_err(|error| Failed::from_failure(&error))?;
    print(&file(url, name, flavor, &tables))?;
    Ok(true)
}

fn file(url: &str, name: &str, flavor: Flavor, tables: &[Discovered]) -> String {
    let mut databases: Vec<String> = tables.iter().map(|table| table.name.database.clone()).collect();
    databases.dedup();
    let mut text = String::from("# A user with the rights that binlake needs, once on the server:\n");
    for statement in discover::grants(flavor, "binlake", &databases) {
        text.push_str(&format!("#   {statement};\n"));
    }
    text.push_str("# Then look at what will be done with `binlake check`, and start `binlake run`.\n\n");
    text.push_str("state: sqlite:state/binlake.db\nscratch: state/scratch\nchangelog: {kind: local, dir: state/changelog}\n");
    let lake = std::env::current_dir().map(|directory| directory.join("lake")).unwrap_or_else(|_| "/var/lib/binlake/lake".into());
    text.push_str(&format!("lake:\n  url: {}\n  datetime_zone: UTC\n", quoted(&format!("file://{}", lake.display()))));
    let (url, hidden) = without_password(url);
    text.push_str(&format!("sources:\n  - name: {}\n    url: {}\n", quoted(name), quoted(&url)));
    if hidden {
        text.push_str("    password: ${MYSQL_PASSWORD}  # the one in the URL is not written down: put it into this variable\n");
    }
    text.push_str("    tables:\n");
    for table in tables {
        for note in &table.notes {
            text.push_str(&format!("      # {note}\n"));
        }
        let table_name = quoted(&table.name.to_string());
        let line = match table.key_kind {
            KeyKind::Primary | KeyKind::Unique | KeyKind::Configured => format!("- table: {table_name}"),
            KeyKind::None if is_keyless(table) => format!("- {{table: {table_name}, mode: changelog}}"),
            KeyKind::None => format!("# - table: {table_name}"),
        };
        text.push_str(&format!("      {line}  # about {} rows, {} bytes\n", table.rows, table.bytes));
    }
    text
}

/// The URL without a password that stands in it literally. What is substituted later (`${…}`) may stay.
fn without_password(url: &str) -> (String, bool) {
    let parts =
        url.rsplit_once('@').and_then(|(login, host)| login.rsplit_once("//").map(|(scheme, login)| (scheme, login, host)));
    match parts.and_then(|(scheme, login, host)| login.split_once(':').map(|(user, password)| (scheme, user, password, host))) {
        Some((scheme, user, password, host)) if !password.contains('$') && !password.is_empty() => {
            (format!("{scheme}//{user}@{host}"), true)
        }
        _ => (url.to_owned(), false),
    }
}

/// Only the key is missing: then its changes can be kept.
fn is_keyless(table: &Discovered) -> bool {
    table.notes.iter().all(|note| note.contains("key"))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_written_down() {
        assert_eq!(without_password("mysql://u:secret@h:1"), ("mysql://u@h:1".to_owned(), true));
        assert_eq!(without_password("mysql://u:p@ss@h:1"), ("mysql://u@h:1".to_owned(), true));
        assert_eq!(without_password("mysql://u:${PASSWORD}@h"), ("mysql://u:${PASSWORD}@h".to_owned(), false));
        assert_eq!(without_password("mysql://u@h"), ("mysql://u@h".to_owned(), false));
    }
}
