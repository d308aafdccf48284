//! The `sources` section.

use std::collections::HashMap;
use std::path::PathBuf;

use super::tables;
use crate::config::address::{self, Address};
use crate::config::cursor::{Fields, Reader};
use crate::config::pattern::TablePattern;
use crate::config::problem::Place;
use crate::config::secret::Secret;
use crate::config::settings::{SnapshotConfig, SourceConfig, TableEntry, TlsConfig, TlsMode};
use crate::config::tree::{Kind, Node, merged};

/// What every source and every table takes where it says nothing itself.
#[derive(Default)]
struct Defaults {
    source: Option<Node>,
    table: Option<Node>,
}

pub(super) fn sources(reader: &mut Reader<'_>, top: &mut Fields<'_>) -> Option<Vec<SourceConfig>> {
    let defaults = defaults(reader, top);
    let Some(node) = top.take("sources") else {
        reader.error(&top.place_of("sources"), "it is missing", "list at least one source with name, url and tables");
        return None;
    };
    let items = reader.list(node)?;
    if items.is_empty() {
        reader.error(&node.place, "the list is empty", "list at least one source with name, url and tables");
        return None;
    }
    let sources: Vec<Option<SourceConfig>> = items.iter().map(|item| source(reader, item, &defaults)).collect();
    distinct(reader, &sources);
    sources.into_iter().collect()
}

fn defaults(reader: &mut Reader<'_>, top: &mut Fields<'_>) -> Defaults {
    let Some(mut fields) = top.take("defaults").and_then(|node| reader.fields(node)) else {
        return Defaults::default();
    };
    let of_source = ["name", "url", "server_id", "tables"];
    // Read once for themselves: a default that every source overrides is checked all the same.
    let source = fields.take("source").map(|node| without(reader, node, &of_source));
    if let Some(mut fields) = source.as_ref().and_then(|node| reader.fields(node)) {
        shared(reader, &mut fields);
        reader.finish(fields);
    }
    let table = fields.take("table").map(|node| without(reader, node, &["table"]));
    if let Some(mut fields) = table.as_ref().and_then(|node| reader.fields(node)) {
        tables::options(reader, &mut fields);
        reader.finish(fields);
    }
    reader.finish(fields);
    Defaults { source, table }
}

/// Defaults without the keys that are each one's own; those are errors.
fn without(reader: &mut Reader<'_>, node: &Node, own: &[&str]) -> Node {
    let mut node = node.clone();
    if let Kind::Map(entries) = &mut node.kind {
        for entry in entries.extract_if(.., |entry| own.contains(&entry.key.as_str())) {
            reader.error(&entry.place, "this has no default: it is each one's own", "move it to where it belongs");
        }
    }
    node
}

/// What may stand in a source and in `defaults.source`.
struct Shared<'n> {
    user: Option<&'n Node>,
    password: Option<&'n Node>,
    tls: Option<(Option<TlsMode>, Option<PathBuf>)>,
    snapshot: Option<SnapshotConfig>,
    exclude: Option<Vec<TablePattern>>,
}

fn shared<'n>(reader: &mut Reader<'_>, fields: &mut Fields<'n>) -> Shared<'n> {
    Shared {
        user: fields.take("user"),
        password: fields.take("password"),
        tls: tls(reader, fields.take("tls")),
        snapshot: snapshot(reader, fields.take("snapshot")),
        exclude: exclude(reader, fields.take("exclude")),
    }
}

fn source(reader: &mut Reader<'_>, node: &Node, defaults: &Defaults) -> Option<SourceConfig> {
    let whole = merged(node, defaults.source.as_ref());
    let mut fields = reader.fields(&whole)?;
    let name = name(reader, &mut fields);
    let address = address(reader, &mut fields);
    let server_id = match fields.take("server_id") {
        Some(node) => reader.number(node, (1, u64::from(u32::MAX))).and_then(|id| u32::try_from(id).ok()),
        None => name.as_deref().map(derived_server_id),
    };
    let shared = shared(reader, &mut fields);
    let login = login(reader, &fields, address.as_ref(), &shared);
    let tables = tables(reader, &mut fields, defaults.table.as_ref());
    let place = fields.place.clone();
    reader.finish(fields);
    let ((mode, ca), address, (user, password)) = (shared.tls?, address?, login?);
    let default_mode = if address.is_loopback() && ca.is_none() { TlsMode::Off } else { TlsMode::VerifyIdentity };
    let source = SourceConfig {
        place,
        name: name?,
        tls: TlsConfig { mode: mode.unwrap_or(default_mode), ca },
        host: address.host,
        port: address.port,
        user,
        password,
        server_id: server_id?,
        snapshot: shared.snapshot?,
        exclude: shared.exclude?,
        tables: tables?,
    };
    tables::check_order(reader, &source);
    Some(source)
}

fn name(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<String> {
    let form = "use up to 64 letters, digits, `_` and `-`, beginning with a letter or digit";
    let Some(node) = fields.take("name") else {
        reader.error(&fields.place_of("name"), "it is missing", form);
        return None;
    };
    let name = reader.text(node)?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !plain || name.len() > 64 || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        reader.error(&node.place, format!("{name:?} is no plain name"), form);
        return None;
    }
    Some(name)
}

/// The same name gives the same id for ever. Small numbers are left to people.
fn derived_server_id(name: &str) -> u32 {
    const FIRST: u32 = 1_000_000;
    FIRST + crc32fast::hash(name.as_bytes()) % (u32::MAX - FIRST)
}

fn address(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<Address> {
    let Some(node) = fields.take("url") else {
        reader.error(&fields.place_of("url"), "it is missing", "write mysql://[user[:password]@]host[:port]");
        return None;
    };
    let written = reader.written(node)?;
    match address::parse(written, &reader.substitution()) {
        Ok(address) => Some(address),
        Err(missing) => {
            reader.missing(&node.place, missing);
            None
        }
    }
}

/// User and password, from the keys or from the URL. A key of `defaults` gives way to the URL; a key of the source contradicts it.
fn login(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    address: Option<&Address>,
    shared: &Shared<'_>,
) -> Option<(String, Secret)> {
    let in_url = (address.and_then(|address| address.user.clone()), address.and_then(|address| address.password.clone()));
    let user = one_of(reader, "user", shared.user, in_url.0);
    let password = one_of(reader, "password", shared.password, in_url.1.map(|secret| secret.reveal().to_owned()));
    // A URL that could not be read may have named the user.
    address?;
    match user? {
        Some(user) => Some((user, Secret::new(password?.unwrap_or_default()))),
        None => {
            reader.error(&fields.place_of("user"), "it is missing", "name the user here or in the url");
            None
        }
    }
}

fn one_of(reader: &mut Reader<'_>, key: &str, node: Option<&Node>, in_url: Option<String>) -> Option<Option<String>> {
    match (node, in_url) {
        (None, in_url) => Some(in_url),
        (Some(node), None) => reader.text(node).map(Some),
        (Some(node), Some(in_url)) if node.place.path.starts_with("defaults.") => Some(Some(in_url)),
        (Some(node), Some(_)) => {
            reader.error(&node.place, format!("the url holds a {key} too"), "give it in one place");
            None
        }
    }
}

fn tls(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<(Option<TlsMode>, Option<PathBuf>)> {
    let Some(node) = node else { return Some((None, None)) };
    let mut fields = reader.fields(node)?;
    let mode = match fields.take("mode") {
        Some(node) => reader.word(node).map(Some),
        None => Some(None),
    };
    let ca_node = fields.take("ca");
    let ca = match ca_node {
        Some(node) => reader.path(node).map(Some),
        None => Some(None),
    };
    let place = fields.place.clone();
    reader.finish(fields);
    let unverified = matches!(mode, Some(Some(TlsMode::Off | TlsMode::Required)));
    match ca_node {
        // A source that turns verification off has no use for the CA that others take from the defaults.
        Some(node) if unverified && node.place.path.starts_with("defaults.") && !place.path.starts_with("defaults.") => {
            Some((mode?, None))
        }
        Some(node) if unverified => {
            reader.error(&node.place, "nothing is verified with this mode", "remove `ca`, or use verify_ca or verify_identity");
            None
        }
        _ => Some((mode?, ca?)),
    }
}

fn snapshot(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<SnapshotConfig> {
    let standard = SnapshotConfig::default();
    let Some(node) = node else { return Some(standard) };
    let mut fields = reader.fields(node)?;
    let number = |reader: &mut Reader<'_>, fields: &mut Fields<'_>, key, default, most| match fields.take(key) {
        Some(node) => reader.number(node, (1, most)),
        None => Some(default),
    };
    let parallel = number(reader, &mut fields, "parallel", standard.parallel as u64, 256);
    let chunk_rows = number(reader, &mut fields, "chunk_rows", standard.chunk_rows, 1_000_000_000);
    let max_threads_running = number(reader, &mut fields, "max_threads_running", standard.max_threads_running, 1_000_000);
    let chunk_bytes = match fields.take("chunk_bytes") {
        Some(node) => reader.size(node, (1 << 10, 1 << 40)),
        None => Some(standard.chunk_bytes),
    };
    reader.finish(fields);
    Some(SnapshotConfig {
        parallel: usize::try_from(parallel?).ok()?,
        chunk_rows: chunk_rows?,
        chunk_bytes: chunk_bytes?,
        max_threads_running: max_threads_running?,
    })
}

fn exclude(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<Vec<TablePattern>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let items = reader.list(node)?;
    let patterns: Vec<Option<TablePattern>> = items.iter().map(|item| tables::pattern(reader, item)).collect();
    patterns.into_iter().collect()
}

fn tables(reader: &mut Reader<'_>, fields: &mut Fields<'_>, defaults: Option<&Node>) -> Option<Vec<TableEntry>> {
    let remedy = "list at least one, e.g. `- table: shop.orders`";
    let Some(node) = fields.take("tables") else {
        reader.error(&fields.place_of("tables"), "it is missing", remedy);
        return None;
    };
    let items = reader.list(node)?;
    if items.is_empty() {
        reader.error(&node.place, "the list is empty", remedy);
        return None;
    }
    let mut entries = Vec::new();
    for item in items {
        if let Kind::Scalar { text, .. } = &item.kind {
            reader.error(&item.place, "expected a map of keys, found a single value", format!("write `- table: {text}`"));
            continue;
        }
        entries.push(tables::entry(reader, item, defaults));
    }
    entries.into_iter().collect()
}

/// Names are the sources' identity; two sources that are one server to the server must differ in their id.
fn distinct(reader: &mut Reader<'_>, sources: &[Option<SourceConfig>]) {
    let (mut names, mut ids) = (HashMap::new(), HashMap::new());
    for source in sources.iter().flatten() {
        let place: Place = source.place.key("name");
        if let Some(first) = names.insert(source.name.to_lowercase(), source.place.path.clone()) {
            reader.error(&place, format!("{:?} is the name of {first} too", source.name), "give each source a name of its own");
        }
        let server = (source.host.to_lowercase(), source.port, source.server_id);
        if let Some(first) = ids.insert(server, source.place.path.clone()) {
            let message = format!("{first} is the same server with the same server_id: they would end each other's connection");
            reader.error(&source.place.key("server_id"), message, "join the two sources, or give each an id of its own");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derived_id_stays_the_same_and_is_never_small() {
        assert_eq!(derived_server_id("shop"), derived_server_id("shop"));
        assert_ne!(derived_server_id("shop"), derived_server_id("school"));
        assert_eq!(derived_server_id(""), 1_000_000, "pinned: a changed id would look like another replica");
        assert!((0..1000).all(|number| derived_server_id(&number.to_string()) >= 1_000_000));
    }
}
