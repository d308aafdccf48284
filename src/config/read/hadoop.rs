//! A lake in HDFS: its URL, and the properties of Hadoop's client that `lake.options` holds for it.
//!
//! Hadoop has hundreds of properties, and its own files give them too, so only the form of a name is looked at.

use std::collections::BTreeMap;

use crate::config::cursor::Reader;
use crate::config::secret::Secret;
use crate::config::settings::Property;
use crate::config::tree::{Entry, Kind, Node};

/// How the names of those that concern a client of HDFS begin.
const PREFIXES: [&str; 3] = ["dfs.", "fs.", "hadoop."];

/// The options of a place, whose URL is looked at too.
pub(super) fn place(
    reader: &mut Reader<'_>,
    node: &Node,
    options: Option<&Node>,
    text: &str,
) -> Option<BTreeMap<String, Property>> {
    if !cfg!(feature = "hdfs") {
        reader.error(&node.place, "this binlake was built without hdfs://", "build with --features hdfs");
        return None;
    }
    let parsed = url::Url::parse(text).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    let Some(url) = parsed else {
        reader.error(&node.place, "no NameNode is named", "write hdfs://namenode:port/path, or hdfs://nameservice/path");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        reader.error(&node.place, "a user does not belong into the URL", "set HADOOP_USER_NAME in the environment");
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        reader.error(&node.place, "the URL of a directory ends with its path", "remove what begins with `?` or `#`");
        return None;
    }
    options.map_or_else(|| Some(BTreeMap::new()), |node| properties(reader, node))
}

fn properties(reader: &mut Reader<'_>, node: &Node) -> Option<BTreeMap<String, Property>> {
    let Kind::Map(entries) = &node.kind else {
        let message = format!("expected a map of names and values, found {}", node.describe());
        reader.error(&node.place, message, "write {name: value}");
        return None;
    };
    let read: Vec<_> = entries.iter().map(|entry| property(reader, entry)).collect();
    read.into_iter().collect()
}

fn property(reader: &mut Reader<'_>, entry: &Entry) -> Option<(String, Property)> {
    if !PREFIXES.iter().any(|prefix| entry.key.starts_with(prefix)) {
        let remedy = "write one of Hadoop's, e.g. dfs.client.socket-timeout: \"30000\"";
        reader.error(&entry.place, "a property of Hadoop's client begins with dfs., fs. or hadoop.", remedy);
        return None;
    }
    let text = reader.text(&entry.value)?;
    let secret = reader.written(&entry.value)?.contains("${");
    Some((entry.key.clone(), if secret { Property::Secret(Secret::new(text)) } else { Property::Plain(text) }))
}
