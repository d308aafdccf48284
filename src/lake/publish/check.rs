//! Whether a metastore will do: tried with a database and a table of our own, both gone afterwards. A version number says little: what
//! counts is whether this server, with its database and settings, compares and swaps.

use std::collections::BTreeMap;

use object_store::path::Path;

use super::hive::{canonical, hive_location, lies_below};
use super::project::database_location;
use super::{Publishing, SEQ};
use crate::change::{Failure, Remark, Weight};
use crate::lake::metastore::{self, Database, EXTERNAL, EXTERNAL_TABLE, Expected, Format, HiveColumn, Metastore, Table};
use crate::lake::store::LakeStore;
use crate::lake::{LakeName, unique};

fn remark(weight: Weight, subject: &'static str, message: impl Into<String>) -> Remark {
    Remark { weight, subject: subject.to_owned(), message: message.into(), remedy: None }
}

fn failed(subject: &'static str, error: &metastore::Error) -> Remark {
    Remark { remedy: error.advice(), ..remark(Weight::Wrong, subject, error.to_string()) }
}

/// Tries what publication needs, and looks whether a database of those that are there would take the lake's tables with it.
pub(in crate::lake) async fn check(store: &LakeStore, publishing: &Publishing, databases: &[String]) -> Vec<Remark> {
    let metastore = publishing.metastore();
    let mut remarks = Vec::new();
    match metastore.database("default").await {
        Err(error) => return vec![failed("connection", &error)],
        Ok(default) => {
            remarks.push(remark(Weight::Fine, "connection", format!("{} answers", metastore.place())));
            let root = hive_location(store, &Path::default());
            if let Some(default) =
                default.filter(|default| lies_below(&root, &default.location) || same(&root, &default.location))
            {
                remarks.push(Remark {
                    remedy: Some("let `lake.url` name a directory outside the warehouse".to_owned()),
                    ..remark(
                        Weight::Risk,
                        "warehouse",
                        format!("the lake lies below the warehouse {}: servers of version 4 refuse its tables", default.location),
                    )
                });
            }
        }
    }
    for database in databases {
        let database = database.to_lowercase();
        match metastore.database(&database).await {
            Err(error) => remarks.push(failed("database", &error)),
            Ok(Some(found)) if above_tables(store, &database, &found.location) => remarks.push(Remark {
                remedy: Some("drop that database or move it, or set `lake.database` to another name".to_owned()),
                ..remark(
                    Weight::Wrong,
                    "database",
                    format!(
                        "{database} lies at {}, above the lake's tables: DROP DATABASE would delete their files",
                        found.location
                    ),
                )
            }),
            Ok(Some(found)) => remarks.push(remark(Weight::Fine, "database", format!("{database} lies at {}", found.location))),
            Ok(None) => remarks.push(remark(Weight::Fine, "database", format!("{database} will be made"))),
        }
    }
    remarks.push(tried(store, metastore).await);
    remarks
}

fn same(one: &str, other: &str) -> bool {
    canonical(one) == canonical(other)
}

fn above_tables(store: &LakeStore, database: &str, location: &str) -> bool {
    let tables = hive_location(store, &Path::from(database));
    same(&tables, location) || lies_below(&tables, location)
}

/// Whether the server compares and swaps.
async fn tried(store: &LakeStore, metastore: &dyn Metastore) -> Remark {
    let name = format!("binlake_probe_{}", unique().simple());
    let location = database_location(store, &name);
    let database = Database { name: name.clone(), location };
    if let Err(error) = metastore.create_database(&database).await {
        return failed("compare and swap", &error);
    }
    let found = compares(store, metastore, &name).await;
    let table = LakeName { database: name.clone(), table: "probe".to_owned() };
    for gone in [metastore.drop_table(&table).await, metastore.drop_database(&name).await] {
        if let Err(error) = gone {
            tracing::warn!(database = name, %error, "what was tried could not be removed from the metastore");
        }
    }
    // The server made the directory.
    if let Err(error) = store.clear_directory(&Path::from_iter(["_databases", name.as_str()])).await {
        tracing::warn!(database = name, %error, "its directory could not be removed");
    }
    for directory in ["_databases", "_probe"] {
        if let Err(error) = store.drop_if_empty(&Path::from(directory)).await {
            tracing::debug!(directory, %error, "it stays");
        }
    }
    match found {
        Ok(true) => remark(Weight::Fine, "compare and swap", "a stale value is refused, as it must be"),
        Ok(false) => Remark {
            remedy: Some("nothing has to be done; a server of 2.3.10 or 4.x would refuse it at once".to_owned()),
            ..remark(
                Weight::Risk,
                "compare and swap",
                "the server takes a stale value (as 3.1 does): what a daemon that was overtaken still sends is noticed with the next look",
            )
        },
        Err(error) => failed("compare and swap", &error),
    }
}

async fn compares(store: &LakeStore, metastore: &dyn Metastore, database: &str) -> std::result::Result<bool, metastore::Error> {
    let name = LakeName { database: database.to_owned(), table: "probe".to_owned() };
    let said = |seq: &str| BTreeMap::from([(EXTERNAL.to_owned(), "TRUE".to_owned()), (SEQ.to_owned(), seq.to_owned())]);
    let table = Table {
        name: name.clone(),
        kind: EXTERNAL_TABLE.to_owned(),
        columns: vec![HiveColumn { name: "id".to_owned(), data_type: "bigint".to_owned(), comment: None }],
        partitioned_by: Vec::new(),
        location: hive_location(store, &Path::from("_probe")),
        format: Format::parquet(),
        owner: Some("binlake".to_owned()),
        created: 0,
        parameters: said("1"),
    };
    metastore.create_table(&table).await?;
    let next = Table { parameters: said("2"), ..table };
    match metastore.alter_table(&name, &next, Some(Expected { key: SEQ, value: "0" })).await {
        Ok(()) => Ok(false),
        Err(metastore::Error::Modified { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}
