//! A metastore in memory that behaves as the real ones were measured to, and misbehaves on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Database, EXTERNAL, EXTERNAL_TABLE, Error, Expected, Format, HiveColumn, Metastore, Partition, Result, Table};
use crate::lake::LakeName;

/// What becomes of a call that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does what it should.
    None,
    /// It is not done, and nobody answers.
    Refused,
    /// It is done, and nobody answers.
    AnswerLost,
}

/// See the module. Clones see the same metastore.
#[derive(Debug, Clone, Default)]
pub struct MemoryMetastore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// As 3.1: what was to be compared is not looked at.
    careless: bool,
    away: bool,
    faults: VecDeque<Fault>,
    databases: BTreeMap<String, Database>,
    tables: BTreeMap<(String, String), Stored>,
    /// Calls that changed something: the name, and what tables showed behind it.
    calls: Vec<(&'static str, Sights)>,
}

/// What each table shows: the directories of its partitions, or its own.
pub type Sights = BTreeMap<LakeName, Vec<String>>;

#[derive(Debug, Clone)]
struct Stored {
    table: Table,
    partitions: BTreeMap<Vec<String>, Partition>,
}

fn key(name: &LakeName) -> (String, String) {
    (name.database.clone(), name.table.clone())
}

impl MemoryMetastore {
    /// One that compares and swaps.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that takes stale values without a word, as 3.1 does.
    #[must_use]
    pub fn careless() -> Self {
        let metastore = Self::default();
        metastore.state().careless = true;
        metastore
    }

    /// Whether nobody answers from now on.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// What becomes of the next calls that change something, one after the other.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// The calls so far that changed something, oldest first: the name, and what tables showed behind it.
    pub fn calls(&self) -> Vec<(&'static str, Sights)> {
        self.state().calls.clone()
    }

    /// What tables show now.
    pub fn sights(&self) -> Sights {
        self.state().sights()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn silent() -> Error {
        Error::Away { address: "memory".to_owned(), reason: "no answer".to_owned() }
    }

    fn read(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.away { Err(Self::silent()) } else { Ok(state) }
    }

    fn change<T>(&self, call: &'static str, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.read()?;
        let fault = state.faults.pop_front().unwrap_or(Fault::None);
        if fault == Fault::Refused {
            return Err(Self::silent());
        }
        // As with a real one: what fails changes nothing.
        let done = work(&mut state)?;
        let sights = state.sights();
        state.calls.push((call, sights));
        if fault == Fault::AnswerLost { Err(Self::silent()) } else { Ok(done) }
    }
}

impl State {
    fn sights(&self) -> Sights {
        let sight = |((database, table), stored): (&(String, String), &Stored)| {
            let directories = match stored.table.partitioned_by.is_empty() {
                true => vec![stored.table.location.clone()],
                false => stored.partitions.values().map(|partition| partition.location.clone()).collect(),
            };
            (LakeName { database: database.clone(), table: table.clone() }, directories)
        };
        self.tables.iter().map(sight).collect()
    }

    fn stored(&mut self, name: &LakeName) -> Result<&mut Stored> {
        self.tables.get_mut(&key(name)).ok_or_else(|| Error::Missing { what: name.to_string() })
    }
}

/// A server takes a table without the parameter for its own, whatever its type says.
fn settled(table: &Table) -> Table {
    let external = table.parameters.get(EXTERNAL).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let kind = if external { EXTERNAL_TABLE.to_owned() } else { "MANAGED_TABLE".to_owned() };
    Table { kind, ..table.clone() }
}

/// Columns are compared place by place: those that are there keep their types, or get a wider one.
fn follow(old: &[HiveColumn], new: &[HiveColumn]) -> bool {
    const WIDENING: [&str; 6] = ["tinyint", "smallint", "int", "bigint", "float", "double"];
    let rank = |data_type: &str| WIDENING.iter().position(|known| *known == data_type);
    old.iter().zip(new).all(|(old, new)| {
        let wider = rank(&old.data_type).zip(rank(&new.data_type)).is_some_and(|(old, new)| old <= new);
        old.data_type == new.data_type || wider || new.data_type == "string"
    })
}

#[async_trait]
impl Metastore for MemoryMetastore {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    async fn database(&self, name: &str) -> Result<Option<Database>> {
        Ok(self.read()?.databases.get(name).cloned())
    }

    async fn create_database(&self, database: &Database) -> Result<()> {
        self.change("create_database", |state| {
            if state.databases.contains_key(&database.name) {
                return Err(Error::Exists { what: database.name.clone() });
            }
            state.databases.insert(database.name.clone(), database.clone());
            Ok(())
        })
    }

    async fn drop_database(&self, name: &str) -> Result<()> {
        self.change("drop_database", |state| {
            if state.tables.keys().any(|(database, _)| database == name) {
                let reason = format!("Database {name} is not empty. One or more tables exist.");
                return Err(Error::Failed { address: "memory".to_owned(), call: "drop_database", reason });
            }
            state.databases.remove(name);
            Ok(())
        })
    }

    async fn table(&self, name: &LakeName) -> Result<Option<Table>> {
        Ok(self.read()?.tables.get(&key(name)).map(|stored| stored.table.clone()))
    }

    async fn create_table(&self, table: &Table) -> Result<()> {
        self.change("create_table", |state| {
            if !state.databases.contains_key(&table.name.database) {
                return Err(Error::Missing { what: table.name.database.clone() });
            }
            if state.tables.contains_key(&key(&table.name)) {
                return Err(Error::Exists { what: table.name.to_string() });
            }
            state.tables.insert(key(&table.name), Stored { table: settled(table), partitions: BTreeMap::new() });
            Ok(())
        })
    }

    async fn alter_table(&self, name: &LakeName, table: &Table, expected: Option<Expected<'_>>) -> Result<()> {
        self.change("alter_table", |state| {
            let (careless, renamed) = (state.careless, key(&table.name) != key(name));
            if renamed && state.tables.contains_key(&key(&table.name)) {
                let reason = format!("new table {} already exists", table.name);
                return Err(Error::Failed { address: "memory".to_owned(), call: "alter_table", reason });
            }
            let stored = state.stored(name)?;
            if let Some(expected) = expected.filter(|_| !careless)
                && stored.table.parameters.get(expected.key).is_none_or(|value| value != expected.value)
            {
                return Err(Error::Modified { what: name.to_string() });
            }
            if !follow(&stored.table.columns, &table.columns) || stored.table.partitioned_by != table.partitioned_by {
                let reason = "The following columns have types incompatible with the existing columns".to_owned();
                return Err(Error::Incompatible { what: name.to_string(), reason });
            }
            stored.table = settled(table);
            if renamed && let Some(stored) = state.tables.remove(&key(name)) {
                state.tables.insert(key(&table.name), stored);
            }
            Ok(())
        })
    }

    async fn drop_table(&self, name: &LakeName) -> Result<()> {
        self.change("drop_table", |state| {
            state.tables.remove(&key(name));
            Ok(())
        })
    }

    async fn partitions(&self, name: &LakeName) -> Result<Vec<Partition>> {
        Ok(self.read()?.stored(name)?.partitions.values().cloned().collect())
    }

    async fn add_partitions(&self, name: &LakeName, _: &Format, partitions: &[Partition]) -> Result<()> {
        self.change("add_partitions", |state| {
            let stored = state.stored(name)?;
            if let Some(there) = partitions.iter().find(|partition| stored.partitions.contains_key(&partition.values)) {
                return Err(Error::Exists { what: format!("partition {:?} of {name}", there.values) });
            }
            stored.partitions.extend(partitions.iter().map(|partition| (partition.values.clone(), partition.clone())));
            Ok(())
        })
    }

    async fn alter_partitions(&self, name: &LakeName, _: &Format, partitions: &[Partition]) -> Result<()> {
        self.change("alter_partitions", |state| {
            let stored = state.stored(name)?;
            if let Some(missing) = partitions.iter().find(|partition| !stored.partitions.contains_key(&partition.values)) {
                let reason = format!("alter is not possible: partition {:?} does not exist", missing.values);
                return Err(Error::Failed { address: "memory".to_owned(), call: "alter_partitions", reason });
            }
            stored.partitions.extend(partitions.iter().map(|partition| (partition.values.clone(), partition.clone())));
            Ok(())
        })
    }

    async fn drop_partition(&self, name: &LakeName, values: &[String]) -> Result<()> {
        self.change("drop_partition", |state| {
            state.stored(name)?.partitions.remove(values);
            Ok(())
        })
    }
}
