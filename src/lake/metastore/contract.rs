//! What every metastore has to hold, tried on the one in memory here and on real ones beside their tenant.

use std::collections::BTreeMap;

use super::{
    Database, EXTERNAL, EXTERNAL_TABLE, Error, Expected, Format, HiveColumn, MemoryMetastore, Metastore, Partition, Table,
};
use crate::lake::{LakeName, unique};

fn column(name: &str, data_type: &str) -> HiveColumn {
    HiveColumn { name: name.to_owned(), data_type: data_type.to_owned(), comment: None }
}

struct World {
    metastore: Box<dyn Metastore>,
    directory: tempfile::TempDir,
    database: String,
}

impl World {
    async fn new(metastore: impl Metastore + 'static) -> Self {
        let world = Self {
            metastore: Box::new(metastore),
            directory: tempfile::tempdir().unwrap(),
            database: format!("contract_{}", unique().simple()),
        };
        let database = Database { name: world.database.clone(), location: world.place("_databases") };
        assert_eq!(world.metastore.database(&world.database).await.unwrap(), None);
        world.metastore.create_database(&database).await.unwrap();
        assert!(matches!(world.metastore.create_database(&database).await, Err(Error::Exists { .. })));
        assert!(world.metastore.database(&world.database).await.unwrap().is_some());
        world
    }

    /// A directory that is there: servers look.
    fn place(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        format!("file://{}", path.display())
    }

    fn name(&self, table: &str) -> LakeName {
        LakeName { database: self.database.clone(), table: table.to_owned() }
    }

    fn table(&self, table: &str, partitioned_by: &[HiveColumn]) -> Table {
        Table {
            name: self.name(table),
            kind: EXTERNAL_TABLE.to_owned(),
            columns: vec![column("id", "bigint"), column("n", "int"), column("price", "decimal(20,0)")],
            partitioned_by: partitioned_by.to_vec(),
            location: self.place("one"),
            format: Format::parquet(),
            owner: Some("binlake".to_owned()),
            created: 1,
            parameters: BTreeMap::from([
                (EXTERNAL.to_owned(), "TRUE".to_owned()),
                ("binlake.seq".to_owned(), "1".to_owned()),
                ("numRows".to_owned(), "3".to_owned()),
            ]),
        }
    }

    fn partition(&self, value: &str, place: &str) -> Partition {
        Partition {
            values: vec![value.to_owned()],
            location: self.place(place),
            columns: vec![column("id", "bigint"), column("n", "int"), column("price", "decimal(20,0)")],
            parameters: BTreeMap::from([("numRows".to_owned(), "3".to_owned())]),
        }
    }

    async fn end(self) {
        for table in ["plain", "parts", "renamed", "columns"] {
            self.metastore.drop_table(&self.name(table)).await.unwrap();
        }
        self.metastore.drop_database(&self.database).await.unwrap();
        assert_eq!(self.metastore.database(&self.database).await.unwrap(), None);
        self.metastore.drop_database(&self.database).await.unwrap();
    }
}

/// Locations differ in their slashes.
fn path(location: &str) -> &str {
    location.trim_start_matches("file:").trim_start_matches("//")
}

async fn swaps(world: &World, compares: bool) {
    let name = world.name("plain");
    assert_eq!(world.metastore.table(&name).await.unwrap(), None);
    let table = world.table("plain", &[]);
    world.metastore.create_table(&table).await.unwrap();
    assert!(matches!(world.metastore.create_table(&table).await, Err(Error::Exists { .. })));
    let found = world.metastore.table(&name).await.unwrap().unwrap();
    assert_eq!((&found.columns, &found.kind, &found.format), (&table.columns, &table.kind, &table.format));
    assert_eq!(found.parameters.get("numRows").map(String::as_str), Some("3"));
    let mut next = found.clone();
    next.location = world.place("two");
    next.columns.push(column("extra", "string"));
    next.parameters.insert("binlake.seq".to_owned(), "2".to_owned());
    next.parameters.insert("numRows".to_owned(), "4".to_owned());
    world.metastore.alter_table(&name, &next, Some(Expected { key: "binlake.seq", value: "1" })).await.unwrap();
    let found = world.metastore.table(&name).await.unwrap().unwrap();
    assert_eq!(path(&found.location), path(&next.location));
    assert_eq!(found.kind, EXTERNAL_TABLE);
    assert_eq!((found.columns.len(), found.parameters.get("numRows").map(String::as_str)), (4, Some("4")));
    let stale = world.metastore.alter_table(&name, &next, Some(Expected { key: "binlake.seq", value: "1" })).await;
    match compares {
        true => assert!(matches!(stale, Err(Error::Modified { .. })), "{stale:?}"),
        false => stale.unwrap(),
    }
}

async fn parts(world: &World) {
    let name = world.name("parts");
    world.metastore.create_table(&world.table("parts", &[column("_part", "int")])).await.unwrap();
    let empty = [world.partition("0", "_empty"), world.partition("1", "_empty")];
    world.metastore.add_partitions(&name, &Format::parquet(), &empty).await.unwrap();
    assert!(matches!(world.metastore.add_partitions(&name, &Format::parquet(), &empty[..1]).await, Err(Error::Exists { .. })));
    let filled = [world.partition("0", "a"), world.partition("1", "b")];
    world.metastore.alter_partitions(&name, &Format::parquet(), &filled).await.unwrap();
    let mut found = world.metastore.partitions(&name).await.unwrap();
    found.sort_by(|one, other| one.values.cmp(&other.values));
    let places: Vec<&str> = found.iter().map(|partition| path(&partition.location)).collect();
    assert_eq!(places, filled.iter().map(|partition| path(&partition.location)).collect::<Vec<_>>());
    assert_eq!(found[0].parameters.get("numRows").map(String::as_str), Some("3"));
    assert!(world.metastore.alter_partitions(&name, &Format::parquet(), &[world.partition("9", "c")]).await.is_err());
    world.metastore.drop_partition(&name, &["1".to_owned()]).await.unwrap();
    world.metastore.drop_partition(&name, &["1".to_owned()]).await.unwrap();
    let mut renamed = world.metastore.table(&name).await.unwrap().unwrap();
    renamed.name = world.name("renamed");
    world.metastore.alter_table(&name, &renamed, None).await.unwrap();
    assert_eq!(world.metastore.table(&name).await.unwrap(), None);
    let found = world.metastore.partitions(&renamed.name).await.unwrap();
    assert_eq!(found.iter().map(|partition| path(&partition.location)).collect::<Vec<_>>(), [path(&filled[0].location)]);
}

async fn columns(world: &World) {
    let name = world.name("columns");
    world.metastore.create_table(&world.table("columns", &[])).await.unwrap();
    let mut next = world.metastore.table(&name).await.unwrap().unwrap();
    next.columns[0].data_type = "int".to_owned();
    let refused = world.metastore.alter_table(&name, &next, None).await;
    assert!(matches!(refused, Err(Error::Incompatible { .. })), "{refused:?}");
    next.columns[0].data_type = "bigint".to_owned();
    next.columns[1].data_type = "bigint".to_owned();
    world.metastore.alter_table(&name, &next, None).await.unwrap();
}

pub(super) async fn holds(metastore: impl Metastore + 'static, compares: bool) {
    let world = World::new(metastore).await;
    swaps(&world, compares).await;
    parts(&world).await;
    columns(&world).await;
    world.end().await;
}

/// What readers met while a partitioned table was changed.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// Reads of the table, and of all its partitions.
    pub(super) tables: u64,
    pub(super) lists: u64,
    /// Lists with two states in them, and lists with a partition that has no value, place or columns.
    pub(super) torn: u64,
    pub(super) broken: u64,
    /// Calls that failed.
    pub(super) failed: u64,
}

/// Changes a table and all its partitions again and again, as publication does it, while others read both. A table that lacks what it is
/// partitioned by would be read as an empty one, in silence: that must not be seen, ever.
pub(super) async fn read_while_it_changes(
    writer: impl Metastore + 'static,
    reader: impl Metastore + 'static,
    changes: usize,
) -> Sightings {
    const PARTS: usize = 32;
    let world = World::new(writer).await;
    let name = world.name("parts");
    let mut table = world.table("parts", &[column("dt", "string"), column("_part", "int")]);
    world.metastore.create_table(&table).await.unwrap();
    let places: Vec<String> = (0..2).map(|turn| world.place(&format!("turn-{turn}"))).collect();
    let parts = |turn: usize| -> Vec<Partition> {
        let of = |part: usize| Partition {
            values: vec!["2026-11-22".to_owned(), part.to_string()],
            location: format!("{}/{part}", places[turn % 2]),
            ..world.partition("", "one")
        };
        (0..PARTS).map(of).collect()
    };
    for place in &places {
        (0..PARTS).for_each(|part| std::fs::create_dir_all(format!("{}/{part}", path(place))).unwrap());
    }
    world.metastore.add_partitions(&name, &Format::parquet(), &parts(0)).await.unwrap();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reading = tokio::spawn({
        let (done, name, wanted) = (std::sync::Arc::clone(&done), name.clone(), table.clone());
        async move {
            let mut seen = Sightings::default();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                read_once(&reader, &name, &wanted, &mut seen).await;
            }
            seen
        }
    });
    for turn in 1..=changes {
        for said in ["unfinished", "whole"] {
            table.parameters.insert("binlake.seq".to_owned(), format!("{turn} {said}"));
            let found = world.metastore.table(&name).await.unwrap().unwrap();
            let value = found.parameters["binlake.seq"].clone();
            let next = Table { parameters: table.parameters.clone(), ..found };
            world.metastore.alter_table(&name, &next, Some(Expected { key: "binlake.seq", value: &value })).await.unwrap();
            if said == "unfinished" {
                world.metastore.alter_partitions(&name, &Format::parquet(), &parts(turn)).await.unwrap();
            }
        }
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let seen = reading.await.unwrap();
    world.metastore.drop_table(&name).await.unwrap();
    world.metastore.drop_database(&world.database).await.unwrap();
    seen
}

async fn read_once(reader: &impl Metastore, name: &LakeName, wanted: &Table, seen: &mut Sightings) {
    match reader.table(name).await {
        Ok(Some(found)) => {
            seen.tables += 1;
            assert_eq!(found.partitioned_by, wanted.partitioned_by, "it would be read as if it were empty");
            assert_eq!((&found.columns, &found.kind), (&wanted.columns, &wanted.kind));
            assert_eq!(path(&found.location), path(&wanted.location));
        }
        Ok(None) => panic!("the table was not there"),
        Err(_) => seen.failed += 1,
    }
    match reader.partitions(name).await {
        Ok(found) => {
            seen.lists += 1;
            assert!(found.len() == 32, "{} partitions", found.len());
            let is_broken = |part: &Partition| part.values.len() != 2 || part.location.is_empty() || part.columns.len() != 3;
            seen.broken += u64::from(found.iter().any(is_broken));
            let turns: std::collections::BTreeSet<_> = found.iter().map(|part| part.location.contains("/turn-1/")).collect();
            seen.torn += u64::from(turns.len() != 1);
        }
        Err(_) => seen.failed += 1,
    }
}

#[tokio::test]
async fn a_metastore_in_memory_keeps_the_contract() {
    holds(MemoryMetastore::new(), true).await;
    holds(MemoryMetastore::careless(), false).await;
}
