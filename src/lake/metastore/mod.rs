//! The Hive Metastore, as far as a lake needs one: databases, external tables, partitions.
//!
//! The door is [`Metastore`]. It has two tenants: [`ThriftMetastore`], a real one behind Thrift, and [`MemoryMetastore`], which behaves as
//! the real ones were measured to (2.3.10, 3.1.3, 4.1.0) and misbehaves on demand. What is put into it, and why readers are right, is
//! [`super::publish`]'s matter.
//!
//! What the calls have in common, as it was measured:
//! - `create_table` is a put-if-absent; `add_partitions` is all or nothing.
//! - `alter_table` compares and swaps one parameter where the server can (2.3.10, 4.x; 3.1.3 takes whatever it is given, and says nothing).
//! - `alter_partitions` is seen at once or not at all by who lists partitions in one call. It never compares anything.
//! - A call without an answer may have been done: every error of [`Error::is_unknown`] says so, and who calls looks again.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::LakeName;

#[cfg(test)]
mod contract;
mod error;
mod memory;
mod thrift;

pub use error::Error;
pub use memory::{Fault, MemoryMetastore, Sights};
pub use thrift::{Address, ThriftMetastore};

/// What a metastore returns.
pub type Result<T> = std::result::Result<T, Error>;

/// The parameter that makes a table external, whatever its type says: without it a server makes it its own and deletes its files.
pub const EXTERNAL: &str = "EXTERNAL";
/// The parameter by which a 4.x server deletes the files of an external table.
pub const PURGE: &str = "external.table.purge";
/// The type of a table whose files are somebody else's.
pub const EXTERNAL_TABLE: &str = "EXTERNAL_TABLE";

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name, in lower case.
    pub name: String,
    /// `DROP DATABASE … CASCADE` deletes what lies below it, other tables' files as well.
    pub location: String,
}

/// A column as Hive knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiveColumn {
    /// In lower case.
    pub name: String,
    /// `bigint`, `decimal(20,0)`.
    pub data_type: String,
    /// What somebody said about it.
    pub comment: Option<String>,
}

/// How files are read: Hive's names of classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// The input format.
    pub input: String,
    /// The output format.
    pub output: String,
    /// The SerDe.
    pub serde: String,
}

impl Format {
    /// Parquet.
    pub fn parquet() -> Self {
        let class = |name: &str| format!("org.apache.hadoop.hive.ql.io.parquet.{name}");
        Self {
            input: class("MapredParquetInputFormat"),
            output: class("MapredParquetOutputFormat"),
            serde: class("serde.ParquetHiveSerDe"),
        }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// In lower case.
    pub name: LakeName,
    /// `EXTERNAL_TABLE` and the like.
    pub kind: String,
    /// Without those it is partitioned by.
    pub columns: Vec<HiveColumn>,
    /// What it is partitioned by.
    pub partitioned_by: Vec<HiveColumn>,
    /// Its directory.
    pub location: String,
    /// How its files are read.
    pub format: Format,
    /// Whoever made it.
    pub owner: Option<String>,
    /// When, seconds since 1970-01-01 UTC.
    pub created: i32,
    /// What else is said of it.
    pub parameters: BTreeMap<String, String>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Of the columns that the table is partitioned by, in their order.
    pub values: Vec<String>,
    /// Its directory.
    pub location: String,
    /// The columns of its files.
    pub columns: Vec<HiveColumn>,
    /// What else is said of it.
    pub parameters: BTreeMap<String, String>,
}

/// What `alter_table` compares: a parameter and the value that it has to have still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The parameter.
    pub key: &'a str,
    /// Its value until now.
    pub value: &'a str,
}

/// A metastore. Names are given in lower case. No call deletes a file.
#[async_trait]
pub trait Metastore: std::fmt::Debug + Send + Sync {
    /// Where it is, for people.
    fn place(&self) -> String;
    /// A database; None if there is none.
    async fn database(&self, name: &str) -> Result<Option<Database>>;
    /// Makes a database; [`Error::Exists`] if there is one.
    async fn create_database(&self, database: &Database) -> Result<()>;
    /// Drops a database without tables; one that is not there is as good.
    async fn drop_database(&self, name: &str) -> Result<()>;
    /// A table; None if there is none, or no such database.
    async fn table(&self, name: &LakeName) -> Result<Option<Table>>;
    /// Makes a table; [`Error::Exists`] if there is one.
    async fn create_table(&self, table: &Table) -> Result<()>;
    /// Changes everything of a table at once, its name included; its partitions keep what they have. [`Error::Modified`] when the
    /// parameter is another one by now, on servers that compare; [`Error::Incompatible`] when the columns cannot follow those before.
    async fn alter_table(&self, name: &LakeName, table: &Table, expected: Option<Expected<'_>>) -> Result<()>;
    /// Drops a table, never its files; one that is not there is as good.
    async fn drop_table(&self, name: &LakeName) -> Result<()>;
    /// Every partition of a table.
    async fn partitions(&self, name: &LakeName) -> Result<Vec<Partition>>;
    /// Adds partitions, all or none; [`Error::Exists`] if one is there.
    async fn add_partitions(&self, name: &LakeName, format: &Format, partitions: &[Partition]) -> Result<()>;
    /// Changes partitions, all at once.
    async fn alter_partitions(&self, name: &LakeName, format: &Format, partitions: &[Partition]) -> Result<()>;
    /// Drops a partition, never its files; one that is not there is as good.
    async fn drop_partition(&self, name: &LakeName, values: &[String]) -> Result<()>;
}
