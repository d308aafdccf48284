//! The whole configuration as YAML, defaults included and secrets left out. It reads back as the same configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::settings::{ChangelogConfig, Config, KafkaConfig, LakeConfig, SourceConfig, TableEntry};
use super::units::{show_duration, show_size};

/// A text that YAML, and the substitution of `$`, read back as it is.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '$' => quoted.push_str("$$"),
            c if c.is_control() => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

fn map<T: fmt::Display>(items: &BTreeMap<String, T>) -> String {
    let items: Vec<String> =
        items.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(&value.to_string()))).collect();
    format!("{{{}}}", items.join(", "))
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "state: {}", quoted(&format!("sqlite:{}", self.state.display())))?;
        writeln!(f, "scratch: {}", path(&self.scratch))?;
        writeln!(f, "memory: {}", show_size(self.memory))?;
        writeln!(f, "http: {}", quoted(&self.http.to_string()))?;
        self.changelog.fmt(f)?;
        self.lake.fmt(f)?;
        writeln!(f, "sources:")?;
        self.sources.iter().try_for_each(|source| source.fmt(f))
    }
}

impl fmt::Display for ChangelogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(local) => {
                writeln!(f, "changelog:\n  kind: local\n  dir: {}", path(&local.directory))?;
                writeln!(f, "  max_bytes: {}", show_size(local.bytes_max))
            }
            Self::Kafka(kafka) => kafka.fmt(f),
        }
    }
}

impl fmt::Display for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "changelog:\n  kind: kafka\n  brokers: {}\n  topic: {}", list(&self.brokers), quoted(&self.topic))?;
        writeln!(f, "  partitions: {}", self.partitions)?;
        match self.replication {
            Some(replication) => writeln!(f, "  replication: {replication}")?,
            None => writeln!(f, "  # replication: the brokers' default")?,
        }
        writeln!(f, "  topic_config: {}", map(&self.topic_config))?;
        writeln!(f, "  properties: {}", map(&self.properties))?;
        writeln!(f, "  transactions: {}\n  tombstones: {}", self.transactions, self.tombstones)
    }
}

impl fmt::Display for LakeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "lake:\n  url: {}", quoted(&self.url))?;
        if !self.options.is_empty() {
            writeln!(f, "  options: {}", map(&self.options))?;
        }
        writeln!(f, "  database: {}", quoted(&self.database))?;
        match self.metastore.as_slice() {
            [] => writeln!(f, "  # metastore: none, tables are files")?,
            [only] => writeln!(f, "  metastore: {}", quoted(&only.to_string()))?,
            several => writeln!(f, "  metastore: {}", list(several))?,
        }
        let commit = self.commit;
        let (interval, bytes) = (show_duration(commit.interval), show_size(commit.bytes));
        writeln!(f, "  commit: {{interval: {interval}, rows: {}, bytes: {bytes}}}", commit.rows)?;
        let (min, max) = (show_duration(self.retention.min), show_duration(self.retention.max));
        writeln!(f, "  retention: {{min: {min}, max: {max}, size: {}x}}", self.retention.size)?;
        writeln!(f, "  file_bytes: {}", show_size(self.file_bytes))?;
        match &self.datetime_zone {
            Some(zone) => writeln!(f, "  datetime_zone: {}", quoted(zone))?,
            None => writeln!(f, "  # datetime_zone: UTC, on a server whose own zone is UTC")?,
        }
        writeln!(f, "  datetime: {}\n  timestamp_encoding: {}", self.datetime, self.timestamp_encoding)?;
        writeln!(f, "  zero_dates: {}\n  check: {}", self.zero_dates, self.check)
    }
}

impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        writeln!(f, "  - name: {}\n    url: {}", quoted(&self.name), quoted(&format!("mysql://{host}:{}", self.port)))?;
        writeln!(f, "    user: {}\n    password: {}", quoted(&self.user), quoted(&self.password.to_string()))?;
        let ca = self.tls.ca.as_deref().map(|ca| format!(", ca: {}", path(ca))).unwrap_or_default();
        writeln!(f, "    tls: {{mode: {}{ca}}}\n    server_id: {}", self.tls.mode, self.server_id)?;
        let snapshot = self.snapshot;
        writeln!(
            f,
            "    snapshot: {{parallel: {}, chunk_rows: {}, chunk_bytes: {}, max_threads_running: {}}}",
            snapshot.parallel,
            snapshot.chunk_rows,
            show_size(snapshot.chunk_bytes),
            snapshot.max_threads_running
        )?;
        writeln!(f, "    exclude: {}\n    tables:", list(&self.exclude))?;
        self.tables.iter().try_for_each(|entry| entry.fmt(f))
    }
}

impl fmt::Display for TableEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        writeln!(f, "      - table: {}\n        mode: {}", quoted(&self.pattern.to_string()), options.mode)?;
        if !options.key.is_empty() {
            writeln!(f, "        key: {}", list(&options.key))?;
        }
        writeln!(
            f,
            "        layout: {}\n        daily: {}\n        cascades: {}",
            options.layout, options.daily, options.cascades
        )?;
        if let Some(column) = &options.partition_by {
            writeln!(f, "        partition_by: {{dt: {}}}", quoted(column))?;
        }
        if !options.exclude_columns.is_empty() {
            writeln!(f, "        columns: {{exclude: {}}}", list(&options.exclude_columns))?;
        }
        Ok(())
    }
}
