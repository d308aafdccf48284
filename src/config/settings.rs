//! The checked configuration as plain values. It knows nothing of the rooms: `main` makes their settings of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::pattern::TablePattern;
use super::problem::{Place, Problem};
use super::secret::Secret;

/// A word list in the YAML.
pub trait Word: Copy + PartialEq + Sized + 'static {
    /// Every word with its meaning, in the order in which they are listed to people.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for it.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

macro_rules! words {
    ($(#[$comment:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$comment])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl Word for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// What a table becomes in the lake.
    Mode {
        /// Current rows.
        Mirror = "mirror",
        /// Every change as a row.
        Changelog = "changelog",
        /// A mirror, and beside it `<table>_changelog`.
        Both = "both",
    }
}
words! {
    /// How a mirror is cut.
    Layout {
        /// By the table's estimated size.
        Auto = "auto",
        /// One segment.
        Single = "single",
        /// Segments.
        Segments = "segments",
    }
}
words! {
    /// What becomes of a table whose foreign keys the server cascades without writing that to its binlog.
    Cascades {
        /// It is not captured.
        Refuse = "refuse",
        /// It is captured all the same.
        Accept = "accept",
    }
}
words! {
    /// What a mirror compares before it changes a row.
    Check {
        /// The row that was there.
        Rows = "rows",
        /// Whether there was one.
        Keys = "keys",
    }
}
words! {
    /// How DATETIME is stored.
    Datetime {
        /// As an instant: the wall clock read in `datetime_zone`.
        Instant = "instant",
        /// As MySQL prints it.
        String = "string",
    }
}
words! {
    /// How instants lie in a Parquet file.
    Timestamps {
        /// Eight bytes, for engines of today.
        Int64 = "int64",
        /// Twelve bytes, for Hive 2 and 3.1.
        Int96 = "int96",
    }
}
words! {
    /// What becomes of zero dates.
    ZeroDates {
        /// They are stored as NULL, and counted.
        Null = "null",
        /// The table parks.
        Error = "error",
    }
}
words! {
    /// How much of a server's certificate is verified.
    TlsMode {
        /// Plain text.
        Off = "off",
        /// Encrypted, nothing verified.
        Required = "required",
        /// It must chain to a trusted CA.
        VerifyCa = "verify_ca",
        /// … and must name the host.
        VerifyIdentity = "verify_identity",
    }
}

/// The whole file, checked, with every default in place and every path absolute.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file as it was named.
    pub file: PathBuf,
    /// `state`: the SQLite file.
    pub state: PathBuf,
    /// `scratch`: emptied at every start.
    pub scratch: PathBuf,
    /// `memory`, in bytes.
    pub memory: u64,
    /// `http`.
    pub http: SocketAddr,
    /// `changelog`.
    pub changelog: ChangelogConfig,
    /// `lake`.
    pub lake: LakeConfig,
    /// `sources`, at least one.
    pub sources: Vec<SourceConfig>,
    /// What works, with a risk that is named.
    pub warnings: Vec<Problem>,
}

/// The change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangelogConfig {
    /// The embedded one.
    Local(LocalConfig),
    /// Kafka topics.
    Kafka(KafkaConfig),
}

/// The embedded change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConfig {
    /// Its directory.
    pub directory: PathBuf,
    /// What it may hold, in bytes.
    pub bytes_max: u64,
}

/// A change log on Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Some brokers, `host:port`.
    pub brokers: Vec<String>,
    /// A table's topic: a text with `{source}`, `{database}` and `{table}`.
    pub topic: String,
    /// Partitions of a topic that is created.
    pub partitions: u32,
    /// Replicas of a topic that is created; None means the brokers' default.
    pub replication: Option<u16>,
    /// Settings of a topic that is created.
    pub topic_config: BTreeMap<String, String>,
    /// Properties of librdkafka.
    pub properties: BTreeMap<String, Property>,
    /// Whether appends are transactions.
    pub transactions: bool,
    /// Whether a delete is followed by a record without a value.
    pub tombstones: bool,
}

/// A property of librdkafka, or an option of an object store's client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// One that may be seen.
    Plain(String),
    /// One whose name says that it is secret, or that came from the environment or a file.
    Secret(Secret),
}

impl Property {
    /// The value, for the one who needs it.
    pub fn reveal(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.reveal(),
        }
    }
}

impl std::fmt::Display for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::Secret(secret) => secret.fmt(f),
        }
    }
}

/// The lake.
#[derive(Debug, Clone, PartialEq)]
pub struct LakeConfig {
    /// `file:///absolute/path`, percent-encoded, or the URL of a place in an object store.
    pub url: String,
    /// The same as a path, where it is one.
    pub directory: Option<PathBuf>,
    /// What the object store's client is told.
    pub options: BTreeMap<String, Property>,
    /// The Hive database of a table: a text with `{database}` and `{source}`.
    pub database: String,
    /// The Hive Metastore that the tables are published in: addresses of one, tried in order. None where it is empty.
    pub metastore: Vec<MetastoreAddress>,
    /// When a batch is committed.
    pub commit: CommitConfig,
    /// Bytes a data file of a mirror aims at: beyond it a segment splits.
    pub file_bytes: u64,
    /// How long replaced files stay.
    pub retention: RetentionConfig,
    /// The zone's IANA name; None where none is given: then it is UTC, and only on a server whose own zone is.
    pub datetime_zone: Option<String>,
    /// How DATETIME is stored.
    pub datetime: Datetime,
    /// How instants are written.
    pub timestamp_encoding: Timestamps,
    /// What becomes of zero dates.
    pub zero_dates: ZeroDates,
    /// What mirrors compare.
    pub check: Check,
}

/// `thrift://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetastoreAddress {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for MetastoreAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "thrift://[{}]:{}", self.host, self.port),
            false => write!(f, "thrift://{}:{}", self.host, self.port),
        }
    }
}

/// A batch is committed when the first of these is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitConfig {
    /// Its age.
    pub interval: Duration,
    /// Its changes.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// How long replaced files stay: all of `min`, none beyond `max`, between them while below `size` times the live bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetentionConfig {
    /// At least so long.
    pub min: Duration,
    /// At most so long.
    pub max: Duration,
    /// Times the table's live bytes.
    pub size: f64,
}

/// One MySQL server.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceConfig {
    /// Where it stands in the file.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Transport security.
    pub tls: TlsConfig,
    /// Our id among the server's replicas.
    pub server_id: u32,
    /// How snapshots are read.
    pub snapshot: SnapshotConfig,
    /// Tables that no pattern takes.
    pub exclude: Vec<TablePattern>,
    /// Which tables, at least one entry. The first that matches counts.
    pub tables: Vec<TableEntry>,
}

/// Transport security.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// How much is verified.
    pub mode: TlsMode,
    /// A PEM file of own CAs; None means the system's.
    pub ca: Option<PathBuf>,
}

/// How snapshots are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// Chunks at once, over all tables of the source.
    pub parallel: usize,
    /// Rows a chunk aims at.
    pub chunk_rows: u64,
    /// Bytes a chunk aims at.
    pub chunk_bytes: u64,
    /// New chunks wait while the server runs more threads.
    pub max_threads_running: u64,
}

/// One entry of `tables`.
#[derive(Debug, Clone, PartialEq)]
pub struct TableEntry {
    /// Where it stands in the file.
    pub place: Place,
    /// Which tables it means.
    pub pattern: TablePattern,
    /// What is said of them.
    pub options: TableOptions,
}

/// What is said of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableOptions {
    /// What it becomes.
    pub mode: Mode,
    /// Columns that identify a row where the server has no key; empty where none are given.
    pub key: Vec<String>,
    /// How a mirror is cut.
    pub layout: Layout,
    /// The column by whose day a mirror is cut.
    pub partition_by: Option<String>,
    /// A mirror is frozen when a day ends.
    pub daily: bool,
    /// What becomes of unseen cascades.
    pub cascades: Cascades,
    /// Columns left out.
    pub exclude_columns: Vec<String>,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Mirror,
            key: Vec::new(),
            layout: Layout::Auto,
            partition_by: None,
            daily: false,
            cascades: Cascades::Refuse,
            exclude_columns: Vec::new(),
        }
    }
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self { parallel: 4, chunk_rows: 100_000, chunk_bytes: 64 << 20, max_threads_running: 50 }
    }
}

impl Default for CommitConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), rows: 1_000_000, bytes: 256 << 20 }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { min: Duration::from_secs(3600), max: Duration::from_secs(24 * 3600), size: 3.0 }
    }
}

/// Defaults of the values that need no type of their own.
pub(super) mod default {
    /// `state`.
    pub(in crate::config) const STATE: &str = "sqlite:state/binlake.db";
    /// `scratch`.
    pub(in crate::config) const SCRATCH: &str = "state/scratch";
    /// `memory`.
    pub(in crate::config) const MEMORY: u64 = 512 << 20;
    /// `http`.
    pub(in crate::config) const HTTP: &str = "127.0.0.1:8650";
    /// `changelog.topic`.
    pub(in crate::config) const TOPIC: &str = "{source}.{database}.{table}";
    /// `changelog.dir`.
    pub(in crate::config) const CHANGELOG_DIRECTORY: &str = "state/changelog";
    /// `changelog.max_bytes`.
    pub(in crate::config) const CHANGELOG_BYTES: u64 = 20 << 30;
    /// `lake.file_bytes`.
    pub(in crate::config) const FILE_BYTES: u64 = 64 << 20;
    /// `lake.database`.
    pub(in crate::config) const LAKE_DATABASE: &str = "ods_{database}";
    /// The port of `lake.metastore`.
    pub(in crate::config) const METASTORE_PORT: u16 = 9083;
    /// The port in `url`.
    pub(in crate::config) const PORT: u16 = 3306;
}
