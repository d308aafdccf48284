//! The `lake` section.

use std::time::Duration;

use super::metastore::metastore;
use super::stores;
use crate::config::cursor::{Fields, Reader};
use crate::config::problem::Place;
use crate::config::settings::{Check, CommitConfig, Datetime, LakeConfig, RetentionConfig, Timestamps, Word, ZeroDates, default};
use crate::config::tree::Node;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn lake(reader: &mut Reader<'_>, top: &mut Fields<'_>) -> Option<LakeConfig> {
    let Some(node) = top.take("lake") else {
        reader.error(&top.place_of("lake"), "it is missing", "add `lake: {url: \"file:///absolute/path\"}`");
        return None;
    };
    let mut fields = reader.fields(node)?;
    let place = stores::place(reader, &mut fields);
    let database = database(reader, &mut fields);
    let metastore = metastore(reader, fields.take("metastore"));
    let commit = commit(reader, fields.take("commit"));
    let retention = retention(reader, fields.take("retention"));
    let file_bytes = match fields.take("file_bytes") {
        Some(node) => reader.size(node, (4 << 10, 1 << 32)),
        None => Some(default::FILE_BYTES),
    };
    let datetime_zone = zone(reader, fields.take("datetime_zone"));
    let datetime = word(reader, fields.take("datetime"), Datetime::Instant);
    let timestamp_encoding = word(reader, fields.take("timestamp_encoding"), Timestamps::Int64);
    let zero_dates = word(reader, fields.take("zero_dates"), ZeroDates::Null);
    let check = word(reader, fields.take("check"), Check::Rows);
    reader.finish(fields);
    let place = place?;
    Some(LakeConfig {
        url: place.url,
        directory: place.directory,
        options: place.options,
        database: database?,
        metastore: metastore?,
        commit: commit?,
        file_bytes: file_bytes?,
        retention: retention?,
        datetime_zone: datetime_zone?,
        datetime: datetime?,
        timestamp_encoding: timestamp_encoding?,
        zero_dates: zero_dates?,
        check: check?,
    })
}

/// The word that is given, or the default.
pub(super) fn word<T: Word>(reader: &mut Reader<'_>, node: Option<&Node>, default: T) -> Option<T> {
    match node {
        Some(node) => reader.word(node),
        None => Some(default),
    }
}

fn database(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<String> {
    let Some(node) = fields.take("database") else {
        return Some(default::LAKE_DATABASE.to_owned());
    };
    let text = reader.text(node)?;
    let rest = text.replace("{database}", "").replace("{source}", "");
    let plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if text.is_empty() || !plain || text.starts_with('_') {
        let remedy = "use letters, digits, `_`, {database} and {source}, and begin with no `_`, e.g. \"ods_{database}\"";
        reader.error(&node.place, "this makes no database name", remedy);
        return None;
    }
    Some(text)
}

fn commit(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<CommitConfig> {
    let standard = CommitConfig::default();
    let Some(node) = node else { return Some(standard) };
    let mut fields = reader.fields(node)?;
    let interval = match fields.take("interval") {
        Some(node) => reader.duration(node, (Duration::from_millis(100), DAY)),
        None => Some(standard.interval),
    };
    let rows = match fields.take("rows") {
        Some(node) => reader.number(node, (1, 1_000_000_000)),
        None => Some(standard.rows),
    };
    let bytes = match fields.take("bytes") {
        Some(node) => reader.size(node, (64 << 10, 1 << 40)),
        None => Some(standard.bytes),
    };
    reader.finish(fields);
    Some(CommitConfig { interval: interval?, rows: rows?, bytes: bytes? })
}

fn retention(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<RetentionConfig> {
    let standard = RetentionConfig::default();
    let Some(node) = node else { return Some(standard) };
    let mut fields = reader.fields(node)?;
    let limits = (Duration::ZERO, DAY * 3660);
    let min = match fields.take("min") {
        Some(node) => reader.duration(node, limits),
        None => Some(standard.min),
    };
    let max = match fields.take("max") {
        Some(node) => reader.duration(node, limits),
        None => Some(standard.max),
    };
    let size = match fields.take("size") {
        Some(node) => reader.ratio(node, (0.0, 1000.0)),
        None => Some(standard.size),
    };
    let place: Place = fields.place_of("max");
    reader.finish(fields);
    let (min, max) = (min?, max?);
    if max < min {
        reader.error(&place, "max is less than min", "give both, max at least as long as min (defaults: 1h and 24h)");
        return None;
    }
    Some(RetentionConfig { min, max, size: size? })
}

/// Outer None: an error. Inner None: not given, so it is UTC, and `check` looks at the server's own zone.
fn zone(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<Option<String>> {
    let Some(node) = node else { return Some(None) };
    let text = reader.text(node)?;
    let zone = jiff::tz::TimeZone::get(&text).ok();
    match zone.and_then(|zone| zone.iana_name().map(ToOwned::to_owned)) {
        Some(name) => Some(Some(name)),
        None => {
            let written = reader.written(node)?;
            let message = format!("{written:?} is no known time zone");
            reader.error(&node.place, message, "give a name of the IANA database, e.g. UTC or Asia/Shanghai");
            None
        }
    }
}
