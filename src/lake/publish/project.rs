//! Brings the metastore to what the log says.

use std::time::Duration;

use object_store::path::Path;

use super::hive::{EMPTY, SPARE, Wanted, can_follow, canonical, hive_location, hive_name, lies_below};
use super::{Publishing, SEQ, UNFINISHED, Version, plan, refused};
use crate::lake::log::{generations, table_folder};
use crate::lake::metastore::{self, Database, Expected, Format, Metastore, Partition, Table};
use crate::lake::store::LakeStore;
use crate::lake::{Error, LakeName, Result, Settings, TableSpec};
use crate::trial::{self, Mistake, at, planted};

/// What a table is called until it is whole.
const UNTIL_WHOLE: &str = "__binlake_new";
/// How old a name has to be before something is shown under it: longer than an engine takes between its list of names and the directories. A
/// margin for what no spare name was there for, as behind a rebuild to many more files; not a proof.
const NAMES_AGE: Duration = Duration::from_secs(2);
/// Empty partitions that one publication drops at most: each is a call.
const DROPPED_AT_ONCE: usize = 16;
/// Where databases lie: away from every table, for their location is deleted with them.
const DATABASES: &str = "_databases";

/// One publication.
struct Projection<'a> {
    store: &'a LakeStore,
    settings: &'a Settings,
    metastore: &'a dyn Metastore,
    wanted: Wanted,
}

/// Publishes what readers of a table are to see, if its generation `spec` is the one that they see. Nothing happens where that is so
/// already.
pub(in crate::lake) async fn publish(
    store: &LakeStore,
    settings: &Settings,
    publishing: &Publishing,
    spec: &TableSpec,
) -> Result<()> {
    let _turn = publishing.turn(&spec.name).await;
    let live = generations::live(store, &spec.name).await?;
    if live.generation() != spec.generation {
        return Ok(());
    }
    if !planted(Mistake::ShownBeforeSettled) {
        live.settle(store).await?;
    }
    let Some(state) = live.state?.filter(|state| state.publishes()) else { return Ok(()) };
    let wanted = Wanted::new(store, settings, spec, &state)?;
    let version = wanted.version;
    let projection = Projection { store, settings, metastore: publishing.metastore(), wanted };
    trial::point(at::SHOWING);
    if planted(Mistake::NotedBeforeShown) {
        publishing.note(&spec.name, version, settings.clock.now_ms());
    }
    projection.run().await?;
    trial::point(at::SHOWN);
    publishing.note(&spec.name, version, settings.clock.now_ms());
    Ok(())
}

/// The location that a database of ours has.
pub(super) fn database_location(store: &LakeStore, name: &str) -> String {
    hive_location(store, &Path::from_iter([DATABASES, name]))
}

/// Makes the database if it is not there, and refuses one that would take tables with it.
pub(super) async fn ensure_database(metastore: &dyn Metastore, store: &LakeStore, name: &LakeName) -> Result<()> {
    let database = hive_name(name).database;
    let wanted = Database { name: database.clone(), location: database_location(store, &database) };
    if metastore.database(&database).await?.is_none() {
        match metastore.create_database(&wanted).await {
            Ok(()) | Err(metastore::Error::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // What was asked for is not always what was made.
    let Some(found) = metastore.database(&database).await? else {
        return Err(metastore::Error::Missing { what: format!("database {database}") }.into());
    };
    let folder = hive_location(store, &table_folder(name));
    if lies_below(&folder, &found.location) {
        let reason = format!(
            "the database {database} lies at {}, above the lake's tables: dropping it would delete their files",
            found.location
        );
        let remedy =
            format!("drop that database or move it away from the lake, or set `lake.database` to another name than {database}");
        return Err(refused(name, reason, remedy));
    }
    Ok(())
}

impl Projection<'_> {
    async fn run(&self) -> Result<()> {
        ensure_database(self.metastore, self.store, &self.wanted.lake_name).await?;
        let Some(found) = self.metastore.table(&self.wanted.name).await? else { return self.create(None).await };
        self.wanted.check_ours(&found)?;
        if let Some(shown) = found.parameters.get(SEQ).and_then(|text| Version::read(text))
            && self.wanted.version.is_behind(shown)
        {
            // The log has gone on behind our back: the next look sees it.
            return Err(metastore::Error::Modified { what: self.wanted.name.to_string() }.into());
        }
        if found.partitioned_by != self.wanted.partitioned_by {
            return self.create(Some(&found)).await;
        }
        let outcome = match self.wanted.partitioned_by.is_empty() {
            true => self.swap_location(&found).await,
            false if !can_follow(&found.columns, &self.wanted.columns) => return self.create(Some(&found)).await,
            false => self.swap_partitions(&found).await,
        };
        match outcome {
            Err(Error::Metastore(metastore::Error::Incompatible { .. })) => self.create(Some(&found)).await,
            outcome => outcome,
        }
    }

    /// A new table, whole when it is seen; in the place of one of ours whose columns or layout cannot become the new ones.
    async fn create(&self, instead_of: Option<&Table>) -> Result<()> {
        self.need_empty().await?;
        let now_ms = self.settings.clock.now_ms();
        let name = LakeName { table: format!("{}{UNTIL_WHOLE}", self.wanted.name.table), ..self.wanted.name.clone() };
        if let Some(left) = self.metastore.table(&name).await? {
            // Of an attempt that did not come to its end.
            self.wanted.check_ours(&left)?;
            self.metastore.drop_table(&name).await?;
        }
        if instead_of.is_none() && self.wanted.partitioned_by.is_empty() {
            return Ok(self.metastore.create_table(&self.wanted.table(&self.wanted.name, now_ms)).await?);
        }
        let table = self.wanted.table(&name, now_ms);
        self.metastore.create_table(&table).await?;
        let partitions = plan::fresh(&self.wanted, &table.columns);
        if !partitions.is_empty() {
            self.metastore.add_partitions(&name, &table.format, &partitions).await?;
        }
        // As the server made it.
        let made = self.metastore.table(&name).await?.ok_or_else(|| metastore::Error::Missing { what: name.to_string() })?;
        if let Some(old) = instead_of {
            tracing::warn!(table = %self.wanted.name, "the table is dropped and made anew: its columns or its layout cannot follow");
            self.metastore.drop_table(&old.name).await?;
        }
        Ok(self.metastore.alter_table(&name, &Table { name: self.wanted.name.clone(), ..made }, None).await?)
    }

    async fn swap_location(&self, found: &Table) -> Result<()> {
        let next = self.wanted.applied_to(found);
        if self.is_shown(found) && canonical(&found.location) == canonical(&next.location) {
            return Ok(());
        }
        if self.wanted.directories.is_empty() {
            self.need_empty().await?;
        }
        self.swap(found, &next).await
    }

    async fn swap_partitions(&self, found: &Table) -> Result<()> {
        let next = self.wanted.applied_to(found);
        let partitions = self.metastore.partitions(&found.name).await?;
        self.check_partitions(found, &partitions)?;
        let plan = plan::plan(&self.wanted, &next.columns, &partitions);
        // What is on the empty directory is nothing to a reader, whoever adds it.
        if plan.needs_empty {
            self.need_empty().await?;
        }
        if !plan.add.is_empty() {
            self.metastore.add_partitions(&found.name, &Format::parquet(), &plan.add).await?;
        }
        if self.is_shown(found) && plan.alter.is_empty() {
            return self.drop_empty(found, &plan.drop).await;
        }
        if plan.is_unforeseen {
            tokio::time::sleep(NAMES_AGE).await;
        }
        let mut from = found.clone();
        if !plan.alter.is_empty() {
            // First the comparison: what was overtaken changes no partition.
            let mut unfinished = next.clone();
            unfinished.parameters.insert(UNFINISHED.to_owned(), "true".to_owned());
            if !planted(Mistake::SwapWithoutClaim) {
                self.swap(found, &unfinished).await?;
            }
            trial::point(at::CLAIMED);
            let at_once = if planted(Mistake::SwapInTwoCalls) { plan.alter.len().div_ceil(2) } else { plan.alter.len() };
            for partitions in plan.alter.chunks(at_once) {
                self.metastore.alter_partitions(&found.name, &Format::parquet(), partitions).await?;
            }
            trial::point(at::SWAPPED);
            from = unfinished;
        }
        self.swap(&from, &next).await?;
        self.drop_empty(found, &plan.drop).await
    }

    /// Whether the table says that it shows this version, whole and as we would have it.
    fn is_shown(&self, found: &Table) -> bool {
        let said = |key: &str| found.parameters.get(key);
        said(SEQ) == Some(&self.wanted.version.to_string())
            && said(UNFINISHED).is_none()
            && self.wanted.applied_to(found).parameters == found.parameters
    }

    /// One `alter_table` that the server does only if nobody was faster.
    async fn swap(&self, from: &Table, next: &Table) -> Result<()> {
        let value = from.parameters.get(SEQ).map(String::as_str);
        let expected = value.map(|value| Expected { key: SEQ, value });
        Ok(self.metastore.alter_table(&from.name, next, expected).await?)
    }

    /// Partitions that somebody else added or moved are not ours to change.
    fn check_partitions(&self, found: &Table, partitions: &[Partition]) -> Result<()> {
        let foreign = partitions.iter().find(|partition| !lies_below(&partition.location, &self.wanted.folder));
        let Some(foreign) = foreign else { return Ok(()) };
        let reason =
            format!("somebody let the partition {} of {} show {}", foreign.values.join("/"), found.name, foreign.location);
        let remedy = format!("drop that partition, or the table {} (its files stay): it is made anew by itself", found.name);
        Err(refused(&self.wanted.lake_name, reason, remedy))
    }

    async fn drop_empty(&self, found: &Table, empty: &[Vec<String>]) -> Result<()> {
        for values in empty.iter().take(DROPPED_AT_ONCE) {
            self.metastore.drop_partition(&found.name, values).await?;
        }
        Ok(())
    }

    async fn need_empty(&self) -> Result<()> {
        let folder = table_folder(&self.wanted.lake_name);
        self.store.put_nothing(&[EMPTY, SPARE].map(|empty| folder.clone().join(empty))).await
    }
}
