//! What a metastore shows: asked as any engine asks it, and read at the places that it names.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use binlake::lake::LakeName;
use binlake::lake::metastore::{Address, Metastore, Table, ThriftMetastore};

use crate::metastore::Server;

/// How long a metastore may go on showing nothing whole.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// A client of a metastore.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) metastore: ThriftMetastore,
    /// Lists of partitions that failed, or in which one had no place: a server on Derby does that in the middle of a change, and engines
    /// fail then.
    half_changed: AtomicU64,
}

impl Shown {
    pub(super) fn by(server: &Server) -> Self {
        let address = Address { host: "127.0.0.1".to_owned(), port: server.port() };
        Self { metastore: ThriftMetastore::new(vec![address]), half_changed: AtomicU64::new(0) }
    }

    /// How often a list could not be used.
    pub(super) fn half_changed(&self) -> u64 {
        self.half_changed.load(Ordering::Relaxed)
    }

    pub(super) fn name(database: &str, table: &str) -> LakeName {
        LakeName { database: format!("ods_{database}"), table: table.to_owned() }
    }

    /// A table.
    pub(super) async fn table(&self, name: &LakeName) -> Table {
        self.metastore.table(name).await.unwrap().unwrap_or_else(|| panic!("the metastore has no {name}"))
    }

    /// The files in the directories that the metastore names at one moment, as engines list them.
    pub(super) async fn files(&self, name: &LakeName) -> Vec<String> {
        let table = self.table(name).await;
        if table.partitioned_by.is_empty() {
            return listed(&table.location);
        }
        let deadline = Instant::now() + WHOLE_WITHIN;
        loop {
            // In one call: so the engines that see a swap at once do it.
            if let Ok(partitions) = self.metastore.partitions(name).await
                && partitions.iter().all(|partition| !partition.location.is_empty())
            {
                return partitions.iter().flat_map(|partition| listed(&partition.location)).collect();
            }
            self.half_changed.fetch_add(1, Ordering::Relaxed);
            assert!(Instant::now() < deadline, "the metastore shows no whole list of {name} within {WHOLE_WITHIN:?}");
        }
    }
}

/// The files of a directory that are not hidden.
fn listed(location: &str) -> Vec<String> {
    let path = location.strip_prefix("file:").unwrap_or(location).trim_start_matches("//");
    let entries = std::fs::read_dir(Path::new(path)).unwrap_or_else(|error| panic!("{location}: {error}"));
    let paths = entries.map(|entry| entry.unwrap().path());
    let seen = paths.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with(['_', '.']));
    seen.map(|path| path.display().to_string()).collect()
}
