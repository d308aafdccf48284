//! The `changelog` section.

use super::SIZE_MAX;
use super::kafka::{self, KAFKA_KEYS};
use crate::config::cursor::{Fields, Reader};
use crate::config::settings::{ChangelogConfig, LocalConfig, default};

/// Keys of the embedded log alone.
const LOCAL_KEYS: [&str; 2] = ["dir", "max_bytes"];

pub(super) fn changelog(reader: &mut Reader<'_>, top: &mut Fields<'_>) -> Option<ChangelogConfig> {
    let Some(node) = top.take("changelog") else {
        return Some(ChangelogConfig::Local(standard(reader)));
    };
    let mut fields = reader.fields(node)?;
    let kind = match fields.take("kind") {
        Some(node) => reader.text(node).map(|kind| (kind, node.place.clone())),
        None => Some(("local".to_owned(), fields.place.clone())),
    };
    let (kind, place) = kind?;
    let changelog = match kind.as_str() {
        "local" => {
            refuse(reader, &mut fields, &KAFKA_KEYS, "kafka", "remove it, or use `kind: kafka`");
            local(reader, &mut fields).map(ChangelogConfig::Local)
        }
        "kafka" => {
            refuse(reader, &mut fields, &LOCAL_KEYS, "local", "remove it: topics are kept by the brokers");
            kafka::kafka(reader, &mut fields).map(ChangelogConfig::Kafka)
        }
        _ => {
            reader.error(&place, "this is no kind of change log", "use `local` or `kafka`");
            return None;
        }
    };
    reader.finish(fields);
    changelog
}

/// Keys of the other kind are named as that.
fn refuse(reader: &mut Reader<'_>, fields: &mut Fields<'_>, keys: &[&'static str], kind: &str, remedy: &str) {
    for key in keys {
        if fields.take(key).is_some() {
            let place = fields.place_of(key);
            reader.error(&place, format!("this is a key of `kind: {kind}`"), remedy);
        }
    }
}

fn standard(reader: &Reader<'_>) -> LocalConfig {
    LocalConfig { directory: reader.directory.join(default::CHANGELOG_DIRECTORY), bytes_max: default::CHANGELOG_BYTES }
}

fn local(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<LocalConfig> {
    let standard = standard(reader);
    let directory = match fields.take("dir") {
        Some(node) => reader.path(node),
        None => Some(standard.directory),
    };
    let bytes_max = match fields.take("max_bytes") {
        Some(node) => reader.size(node, (1 << 20, SIZE_MAX)),
        None => Some(standard.bytes_max),
    };
    Some(LocalConfig { directory: directory?, bytes_max: bytes_max? })
}
