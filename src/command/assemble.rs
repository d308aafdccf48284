//! From the checked configuration to working rooms: the only place that knows both.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use binlake::change::{Clock, DatetimeEncoding, Datetimes, Failure, Remedy, SystemClock, TableName};
use binlake::changelog::{ChangeLog, KafkaLog, Usage};
use binlake::config::{self, Config, LakeNames, Layout, SourceConfig, TlsMode, Word};
use binlake::coordinator::{self, Form, Resolver, SourcePlan, WantedTable};
use binlake::lake::{self, Lake, ObjectLake};
use binlake::metadata::{Metadata, TableState, sqlite::SqliteMetadata};
use binlake::pipeline::{Board, Rooms, load, tail, write};
use binlake::source::{self, Severity, Source, TableOptions, mysql::MysqlSource};
use binlake::telemetry::Metrics;
use tokio::sync::Semaphore;

use super::Failed;
use super::limits::Parts;
use super::log::{Log, kafka_settings};

/// Between two looks for requests of the command line.
const REQUEST_EVERY: Duration = Duration::from_millis(250);

/// Between two tries of a server that is away at the start.
const SERVER_WAIT: Duration = Duration::from_secs(2);

/// What a command needs of the rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The metadata store.
    Metadata,
    /// … and the lake.
    Lake,
    /// The lake and the sources, and nothing that is not there yet is made.
    Check,
    /// All rooms, the change log with them: only the daemon opens it.
    Everything,
}

/// One source with its table list.
pub(crate) struct AssembledSource {
    /// The name in the YAML.
    pub(crate) name: String,
    /// The server.
    pub(crate) source: Arc<dyn Source>,
    /// The table list.
    pub(crate) resolver: Resolver,
    parallel: usize,
}

/// The rooms of one process.
pub(crate) struct Assembled {
    config: Config,
    /// The metadata store.
    pub(crate) metadata: Arc<dyn Metadata>,
    /// The lake.
    pub(crate) lake: Arc<dyn Lake>,
    changelog: Option<Log>,
    /// The sources, in the file's order.
    pub(crate) sources: Vec<AssembledSource>,
    clock: Arc<dyn Clock>,
    parts: Parts,
    /// What the workers note.
    pub(crate) metrics: Arc<Metrics>,
}

/// Reads the configuration; every mistake in one message.
pub(crate) fn configuration(file: &Path) -> Result<Config, Failed> {
    config::load(file).map_err(|problems| Failed(format!("{} of the configuration:\n{problems}", count(problems.0.len()))))
}

fn count(errors: usize) -> String {
    if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") }
}

impl Assembled {
    /// Opens what the command needs.
    pub(crate) async fn open(file: &Path, need: Need) -> Result<Self, Failed> {
        let config = configuration(file)?;
        for warning in config.warnings.iter().filter(|_| need == Need::Everything) {
            tracing::warn!("{warning}");
        }
        let parallel = config.sources.iter().map(|source| source.snapshot.parallel).max().unwrap_or(1);
        let parts = Parts::of(config.memory, config.sources.len(), parallel);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metadata = Self::metadata(&config, need).await?;
        if need == Need::Everything {
            empty(&config.scratch)?;
        }
        let lake =
            ObjectLake::open(lake_settings(&config, &parts, Arc::clone(&clock))).map_err(|error| Failed::from_failure(&error))?;
        let lake = if need == Need::Everything { lake.to_stay() } else { lake };
        let changelog = match need {
            Need::Everything => Some(Log::open(&config.changelog, &parts).await?),
            Need::Metadata | Need::Lake | Need::Check => None,
        };
        let shared = Arc::new(config.clone());
        let names = Arc::new(LakeNames::default());
        let sources = config.sources.iter().map(|source| assemble_source(&shared, source, &parts, &names)).collect();
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), config.memory);
        let metrics = Arc::new(metrics.map_err(|error| Failed(format!("metrics: {error}")))?);
        Ok(Self { config, metadata, lake: Arc::new(lake), changelog, sources, clock, parts, metrics })
    }

    async fn metadata(config: &Config, need: Need) -> Result<Arc<dyn Metadata>, Failed> {
        let exists = config.state.exists();
        if !exists && matches!(need, Need::Metadata | Need::Lake) {
            return Err(Failed(format!(
                "{} is not there: no daemon has run with this configuration\n  remedy: start `binlake run`, or name another file with -c",
                config.state.display()
            )));
        }
        if !exists && need == Need::Check {
            return Ok(Arc::new(binlake::metadata::memory::MemoryMetadata::new()));
        }
        let store = SqliteMetadata::open(&config.state).map_err(|error| Failed::from_failure(&error))?;
        if need == Need::Everything {
            // Before anything else of this state is touched: a second daemon must find the first one's spill files as they are.
            store.claim(&holder()).await.map_err(|error| Failed::from_failure(&error))?;
        }
        Ok(Arc::new(store))
    }

    /// How full the embedded change log is; None on Kafka, and where the log is not open.
    pub(crate) async fn log_usage(&self) -> Option<Usage> {
        let Some(Log::Local(log)) = &self.changelog else { return None };
        log.usage().await.ok()
    }

    /// The log on Kafka, to look at it; None where the log is embedded: only the daemon opens that.
    pub(crate) fn checked_log(&self) -> Result<Option<KafkaLog>, Failed> {
        let config::ChangelogConfig::Kafka(kafka) = &self.config.changelog else { return Ok(None) };
        let log = KafkaLog::open(kafka_settings(kafka, &self.parts)).map_err(|error| Failed::from_failure(&error))?;
        Ok(Some(log))
    }

    /// The newest generation of a table, by its name on the source.
    pub(crate) async fn table(&self, name: &str) -> Result<TableState, Failed> {
        let wanted: TableName =
            name.parse().map_err(|error| Failed(format!("{error}\n  remedy: write database.table, as on the source")))?;
        let mut found = Vec::new();
        let mut known = Vec::new();
        for source in &self.sources {
            for state in self.metadata.tables(&source.name).await.map_err(|error| Failed::from_failure(&error))? {
                known.push(state.table.to_string());
                if state.table == wanted {
                    found.push(state);
                }
            }
        }
        match (found.pop(), found.is_empty()) {
            (Some(state), true) => Ok(state),
            (Some(_), false) => Err(Failed(format!("{name} is captured from several sources"))),
            (None, _) => {
                let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
                Err(Failed(format!("{name} is not known; the tables that are: {known}")))
            }
        }
    }

    /// Whether a daemon holds this state.
    pub(crate) fn daemon_is_running(&self) -> bool {
        matches!(SqliteMetadata::living_holder(&self.config.state), Ok(Some(_)))
    }

    /// `http`.
    pub(crate) fn http(&self) -> std::net::SocketAddr {
        self.config.http
    }

    /// How values would lie in a table's files if a generation of it began now; of a table that is not listed, as they do.
    pub(crate) fn form(&self, state: &TableState) -> Form {
        let source = self.config.sources.iter().find(|source| source.name == state.source);
        let entry = source.and_then(|source| config::entry_of(source, &state.table.database, &state.table.table));
        let partition_by = entry.map_or_else(|| state.partition_by.clone(), |(_, entry)| cut_by(&entry.options));
        form(&self.config.lake, partition_by)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// A store without put-if-absent would let two daemons overwrite each other's commits.
    pub(crate) async fn check_lake(&self) -> Result<(), Failed> {
        match self.lake.probe().await {
            // A store that is away comes back, and the binlog does not wait for it: the first writer tries it out.
            Err(error) if error.remedy() == Remedy::Retry => {
                tracing::warn!(error = %Failed::from_failure(&error).0, "the lake cannot be tried out yet");
                Ok(())
            }
            tried => tried.map_err(|error| Failed::from_failure(&error)),
        }
    }

    /// `lake.datetime_zone` has no default where the server's own zone is not UTC.
    pub(crate) async fn check_zones(&self) -> Result<(), Failed> {
        if self.config.lake.datetime_zone.is_some() {
            return Ok(());
        }
        for source in &self.sources {
            let findings = loop {
                match source.source.preflight(&[]).await {
                    Ok(findings) => break findings,
                    // A server that is away comes back; a daemon that starts before it waits.
                    Err(error) if error.remedy() == Remedy::Retry => {
                        tracing::warn!(source = %source.name, %error, "waiting for the server");
                        tokio::time::sleep(SERVER_WAIT).await;
                    }
                    Err(error) => return Err(Failed::from_failure(&error)),
                }
            };
            if let Some(zone) = findings.iter().find(|finding| finding.subject == "time_zone" && finding.severity > Severity::Ok)
            {
                return Err(Failed(format!(
                    "source {}: {}; `lake.datetime_zone` has no default then\n  remedy: set `lake.datetime_zone` to the zone that DATETIME columns are meant in, e.g. `UTC`",
                    source.name, zone.message
                )));
            }
        }
        Ok(())
    }

    /// The coordinator's plan for every source.
    pub(crate) fn plans(&self, eager: bool) -> Result<Vec<SourcePlan>, Failed> {
        let Some(changelog) = &self.changelog else { return Err(Failed("the change log is not open".to_owned())) };
        let commit = &self.config.lake.commit;
        let batches = Arc::new(Semaphore::new(self.parts.batches));
        let plan = |source: &AssembledSource, changelog: Arc<dyn ChangeLog>| SourcePlan {
            name: source.name.clone(),
            rooms: Rooms {
                source: Arc::clone(&source.source),
                changelog,
                lake: Arc::clone(&self.lake),
                metadata: Arc::clone(&self.metadata),
                clock: Arc::clone(&self.clock),
            },
            resolver: Arc::clone(&source.resolver),
            load: load::Limits {
                chunks: Arc::new(Semaphore::new(source.parallel)),
                parallel: source.parallel,
                flush_bytes: 1 << 20,
                visible_timeout: Duration::from_secs(60),
            },
            tail: tail::Settings { zone: zone(&self.config.lake), ..self.parts.tail() },
            write: write::Limits {
                interval: commit.interval,
                rows: commit.rows,
                bytes: commit.bytes,
                batches: Arc::clone(&batches),
                read_bytes: self.parts.read,
                maintain_every: Duration::from_secs(30),
                eager,
                zone: zone(&self.config.lake),
            },
            board: Arc::new(Board::noting(self.metrics.of(&source.name))),
        };
        self.sources.iter().map(|source| Ok(plan(source, changelog.of(&source.name)?))).collect()
    }

    /// How the coordinator runs.
    pub(crate) fn coordinator_settings(&self, until_caught_up: bool, take_over: bool) -> coordinator::Settings {
        coordinator::Settings {
            holder: holder(),
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(15),
            request_every: REQUEST_EVERY,
            until_caught_up,
            take_over,
        }
    }
}

/// How this process names itself to others.
fn holder() -> String {
    format!("pid {}", std::process::id())
}

/// How the names of what batches and transactions spill begin.
const SPILLED: [&str; 2] = ["batch-", "transaction-"];

/// Makes the scratch directory, empty: what a predecessor spilled is of no use to anyone.
fn empty(scratch: &Path) -> Result<(), Failed> {
    let failed = |error: std::io::Error| Failed(format!("scratch {}: {error}", scratch.display()));
    std::fs::create_dir_all(scratch).map_err(failed)?;
    for entry in std::fs::read_dir(scratch).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Only what we make: a directory that was named by mistake keeps its content.
        if SPILLED.iter().any(|ours| name.starts_with(ours)) {
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.map_err(failed)?;
        }
    }
    Ok(())
}

fn lake_settings(config: &Config, parts: &Parts, clock: Arc<dyn Clock>) -> lake::Settings {
    let lake = &config.lake;
    lake::Settings {
        url: lake.url.clone(),
        options: lake::StoreOptions(lake.options.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect()),
        retention: lake::Retention { min: lake.retention.min, max: lake.retention.max, size: lake.retention.size },
        zero_dates_park: lake.zero_dates == config::ZeroDates::Error,
        check: match lake.check {
            config::Check::Rows => lake::Check::Rows,
            config::Check::Keys => lake::Check::Keys,
        },
        file_bytes: lake.file_bytes,
        row_group_bytes: usize::try_from(lake.file_bytes / 8).unwrap_or(8 << 20),
        checkpoint_every: 32,
        batch_bytes: parts.batch,
        scratch: config.scratch.clone(),
        clock,
        publishing: publishing(lake),
    }
}

/// Publication in the metastore, where one is named. Nothing is connected yet.
fn publishing(lake: &config::LakeConfig) -> Option<Arc<lake::Publishing>> {
    let address =
        |address: &config::MetastoreAddress| lake::metastore::Address { host: address.host.clone(), port: address.port };
    let addresses: Vec<_> = lake.metastore.iter().map(address).collect();
    let metastore = || Arc::new(lake::metastore::ThriftMetastore::new(addresses.clone()));
    (!addresses.is_empty()).then(|| Arc::new(lake::Publishing::new(metastore())))
}

fn assemble_source(config: &Arc<Config>, source: &SourceConfig, parts: &Parts, names: &Arc<LakeNames>) -> AssembledSource {
    AssembledSource {
        name: source.name.clone(),
        source: Arc::new(MysqlSource::new(source_settings(config, source, parts))),
        resolver: resolver(Arc::clone(config), source.clone(), Arc::clone(names)),
        parallel: source.snapshot.parallel,
    }
}

/// The settings of a source, for the room.
fn source_settings(config: &Config, source: &SourceConfig, parts: &Parts) -> source::Settings {
    source::Settings {
        name: source.name.clone(),
        host: source.host.clone(),
        port: source.port,
        user: source.user.clone(),
        password: source::Secret(source.password.reveal().to_owned()),
        tls: source::Tls {
            mode: match source.tls.mode {
                TlsMode::Off => source::TlsMode::Off,
                TlsMode::Required => source::TlsMode::Required,
                TlsMode::VerifyCa => source::TlsMode::VerifyCa,
                TlsMode::VerifyIdentity => source::TlsMode::VerifyIdentity,
            },
            ca: source.tls.ca.clone(),
        },
        server_id: source.server_id,
        replica_uuid: replica_uuid(&source.name, source.server_id),
        snapshot: source::SnapshotSettings {
            parallel: source.snapshot.parallel,
            chunk_rows: source.snapshot.chunk_rows,
            chunk_bytes: source.snapshot.chunk_bytes.min(parts.chunk),
            max_threads_running: source.snapshot.max_threads_running,
        },
        transaction_bytes_max: parts.transaction,
        scratch: config.scratch.clone(),
        heartbeat: Duration::from_secs(5),
        timeout: Duration::from_secs(30),
    }
}

/// The same at every start and on every machine, and another one for every source: the server ends a predecessor's dump thread by it.
fn replica_uuid(name: &str, server_id: u32) -> String {
    let hash = |seed: u64| {
        let text = format!("binlake/{seed}/{server_id}/{name}");
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    uuid::Builder::from_custom_bytes((u128::from(hash(1)) << 64 | u128::from(hash(2))).to_be_bytes()).into_uuid().to_string()
}

fn resolver(config: Arc<Config>, source: SourceConfig, names_taken: Arc<LakeNames>) -> Resolver {
    Arc::new(move |names| {
        let server: Vec<(String, String)> = names.iter().map(|name| (name.database.clone(), name.table.clone())).collect();
        let mut resolution = config::resolve(&config, &source, &server);
        for warning in &resolution.warnings {
            tracing::warn!("{warning}");
        }
        // Over all sources: two tables must not become one in the lake.
        resolution.errors.extend(names_taken.claim(&config, &source.name, &resolution.tables));
        if !resolution.errors.is_empty() {
            return Err(resolution.errors.iter().map(ToString::to_string).collect());
        }
        let wanted = |table: config::ResolvedTable| WantedTable {
            topic: table.topic,
            mode: table.options.mode.word().to_owned(),
            into: (table.lake.database, table.lake.table),
            layout_single: table.options.layout == Layout::Single,
            daily: table.options.daily,
            form: form(&config.lake, cut_by(&table.options)),
            named: table.named,
            options: TableOptions {
                partition_by: cut_by(&table.options),
                exclude_columns: table.options.exclude_columns,
                key: table.options.key,
                accept_cascades: table.options.cascades == config::Cascades::Accept,
                keyless_allowed: table.options.mode == config::Mode::Changelog,
            },
            name: TableName::new(table.database, table.table),
        };
        Ok(resolution.tables.into_iter().map(wanted).collect())
    })
}

/// The column by whose day a table's mirror is cut: a changelog has its own days.
fn cut_by(options: &config::TableOptions) -> Option<String> {
    options.partition_by.clone().filter(|_| options.mode != config::Mode::Changelog)
}

/// How values lie in files of generations that begin now.
fn form(lake: &config::LakeConfig, partition_by: Option<String>) -> Form {
    let encoding = match lake.datetime {
        config::Datetime::Instant => DatetimeEncoding::Instant,
        config::Datetime::String => DatetimeEncoding::String,
    };
    let timestamps_int96 = lake.timestamp_encoding == config::Timestamps::Int96;
    Form { timestamps_int96, datetimes: Datetimes { encoding, zone: zone(lake) }, partition_by }
}

/// The zone that wall clocks are read in, and whose midnights end a day.
fn zone(lake: &config::LakeConfig) -> String {
    lake.datetime_zone.clone().unwrap_or_else(|| "UTC".to_owned())
}

/// A source of which only the address is known, for `discover`.
pub(crate) fn bare_source(name: &str, address: &config::Address) -> source::Settings {
    let parts = Parts::of(128 << 20, 1, 1);
    let server_id = 1;
    source::Settings {
        name: name.to_owned(),
        host: address.host.clone(),
        port: address.port,
        user: address.user.clone().unwrap_or_else(|| "root".to_owned()),
        password: source::Secret(address.password.as_ref().map(|password| password.reveal().to_owned()).unwrap_or_default()),
        tls: source::Tls {
            mode: if address.is_loopback() { source::TlsMode::Off } else { source::TlsMode::VerifyIdentity },
            ca: None,
        },
        server_id,
        replica_uuid: replica_uuid(name, server_id),
        snapshot: source::SnapshotSettings { parallel: 1, chunk_rows: 1, chunk_bytes: 1, max_threads_running: 1 },
        transaction_bytes_max: parts.transaction,
        scratch: std::env::temp_dir(),
        heartbeat: Duration::from_secs(5),
        timeout: Duration::from_secs(30),
    }
}
