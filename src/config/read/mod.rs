//! The top of the file, and what concerns several of its parts.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use super::cursor::{Fields, Reader};
use super::problem::Place;
use super::settings::{ChangelogConfig, Config, default};
use super::tree::Node;

mod changelog;
mod hadoop;
mod kafka;
mod lake;
mod metastore;
mod sources;
mod stores;

pub use stores::store_options;
mod tables;

/// The most a size may be: 1024 TiB.
const SIZE_MAX: u64 = 1 << 50;

/// Reads the whole file. None only where errors were noted.
pub(super) fn config(reader: &mut Reader<'_>, root: &Node) -> Option<Config> {
    let mut fields = reader.fields(root)?;
    let state = state(reader, &mut fields);
    let scratch = match fields.take("scratch") {
        Some(node) => reader.path(node),
        None => Some(reader.directory.join(default::SCRATCH)),
    };
    let memory = match fields.take("memory") {
        Some(node) => reader.size(node, (64 << 20, SIZE_MAX)),
        None => Some(default::MEMORY),
    };
    let http = http(reader, &mut fields);
    let changelog = changelog::changelog(reader, &mut fields);
    let lake = lake::lake(reader, &mut fields);
    let sources = sources::sources(reader, &mut fields);
    let places = Places { scratch: fields.place_of("scratch"), changelog: fields.place_of("changelog") };
    reader.finish(fields);
    let config = Config {
        file: reader.file.to_owned(),
        state: state?,
        scratch: scratch?,
        memory: memory?,
        http: http?,
        changelog: changelog?,
        lake: lake?,
        sources: sources?,
        warnings: Vec::new(),
    };
    keep_apart(reader, &config, &places);
    Some(config)
}

fn state(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<PathBuf> {
    let Some(node) = fields.take("state") else {
        return default::STATE.strip_prefix("sqlite:").map(|path| reader.directory.join(path));
    };
    let text = reader.text(node)?;
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        reader.error(&node.place, "PostgreSQL is not built yet in this version", "use `sqlite:state/binlake.db`");
        return None;
    }
    match text.strip_prefix("sqlite:").filter(|path| !path.is_empty() && !path.starts_with("//")) {
        Some(path) => Some(reader.directory.join(path)),
        None => {
            reader.error(&node.place, "this names no SQLite file", "write sqlite:relative/path or sqlite:/absolute/path");
            None
        }
    }
}

fn http(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<SocketAddr> {
    let (text, node) = match fields.take("http") {
        Some(node) => (reader.text(node)?, Some(node)),
        None => (default::HTTP.to_owned(), None),
    };
    let place = node.map_or_else(|| fields.place_of("http"), |node| node.place.clone());
    match text.replace("localhost:", "127.0.0.1:").parse::<SocketAddr>() {
        Ok(address) => {
            if !address.ip().is_loopback() {
                let message = format!("{address} can be reached from other machines, and asks for no password");
                reader.warning(&place, message, "keep it behind a firewall, or use 127.0.0.1");
            }
            Some(address)
        }
        Err(_) => {
            reader.error(&place, "this is no address to listen at", "write address:port, e.g. 127.0.0.1:8650");
            None
        }
    }
}

struct Places {
    scratch: Place,
    changelog: Place,
}

/// `scratch` is emptied at every start, and the change log removes its own files: neither may hold anything else.
fn keep_apart(reader: &mut Reader<'_>, config: &Config, places: &Places) {
    let (scratch, lake) = (plain(&config.scratch), config.lake.directory.as_deref().map(plain));
    let log = match &config.changelog {
        ChangelogConfig::Local(local) => Some(plain(&local.directory)),
        ChangelogConfig::Kafka(_) => None,
    };
    let file = std::path::absolute(&config.file).map(|file| plain(&file)).unwrap_or_else(|_| config.file.clone());
    let directories = [log.clone().map(|log| ("changelog.dir", log)), lake.clone().map(|lake| ("lake.url", lake))];
    let directories: Vec<(&str, PathBuf)> = directories.into_iter().flatten().collect();
    let files = [("state", plain(&config.state)), ("this file", file)];
    for (name, path) in files.iter().take(1).chain(&directories).chain(files.iter().skip(1)) {
        if path.starts_with(&scratch) {
            let message = format!("{} is emptied at every start, and {name} lies in it", scratch.display());
            reader.error(&places.scratch, message, "give scratch a directory of its own");
        }
    }
    for (name, path) in &directories {
        if scratch.starts_with(path) && scratch != *path {
            let message = format!("{} lies in {name}", scratch.display());
            reader.error(&places.scratch, message, "give scratch a directory of its own");
        }
    }
    if let (Some(log), Some(lake)) = (log, lake)
        && (log.starts_with(&lake) || lake.starts_with(&log))
    {
        let message = format!("{} and lake.url lie one in the other", log.display());
        reader.error(&places.changelog.key("dir"), message, "give each a directory of its own");
    }
}

/// Without `.` and `..`, as far as that can be said without looking at the disk.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if plain.pop() => {}
            other => plain.push(other),
        }
    }
    plain
}
