//! The shape of a table as binlake captures it. Serialised into the metadata store, so fields are only ever added.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `database.table` on a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The MySQL schema.
    pub database: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// Builds a name from its two parts.
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        Self { database: database.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

impl FromStr for TableName {
    type Err = super::ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('.') {
            Some((database, table)) if !database.is_empty() && !table.is_empty() => Ok(Self::new(database, table)),
            _ => Err(super::ParsePositionError { text: text.to_owned(), what: "table name (database.table)" }),
        }
    }
}

/// A character set by MySQL's name for it, lower case (`utf8mb4`, `latin1`, …).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Charset(pub String);

/// What a column holds. Decides which [`super::RowSink`] call its cells make.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// TINYINT 8, SMALLINT 16, MEDIUMINT 24, INT 32, BIGINT 64 bits.
    Integer {
        /// Width in bits.
        bits: u8,
        /// UNSIGNED (ZEROFILL implies it).
        unsigned: bool,
    },
    /// YEAR.
    Year,
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// DECIMAL(precision, scale).
    Decimal {
        /// Digits in all, up to 65.
        precision: u8,
        /// Digits behind the point, up to 30.
        scale: u8,
    },
    /// BIT(bits).
    Bit {
        /// 1 to 64.
        bits: u8,
    },
    /// CHAR, VARCHAR, TEXT of any size.
    Text {
        /// The column's character set.
        charset: Charset,
    },
    /// BINARY, VARBINARY, BLOB of any size.
    Binary {
        /// BINARY(n): padded with zero bytes to this length; None where the length varies.
        fixed: Option<u32>,
    },
    /// ENUM.
    Enum {
        /// The labels in order, in Unicode.
        labels: Vec<String>,
        /// The column's character set.
        charset: Charset,
    },
    /// SET.
    Set {
        /// The labels in order, in Unicode.
        labels: Vec<String>,
        /// The column's character set.
        charset: Charset,
    },
    /// JSON.
    Json,
    /// DATE.
    Date,
    /// TIME(fraction).
    Time {
        /// Digits of the second's fraction, 0 to 6.
        fraction: u8,
    },
    /// DATETIME(fraction).
    Datetime {
        /// Digits of the second's fraction, 0 to 6.
        fraction: u8,
    },
    /// TIMESTAMP(fraction).
    Timestamp {
        /// Digits of the second's fraction, 0 to 6.
        fraction: u8,
    },
    /// GEOMETRY and its kinds.
    Geometry,
    /// VECTOR.
    Vector,
    /// MariaDB's UUID, INET4 or INET6: text, and never of a character set.
    Address(AddressKind),
}

/// What is kept as a few bytes and shown as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressKind {
    /// UUID, 16 bytes.
    Uuid,
    /// INET4, 4 bytes.
    Inet4,
    /// INET6, 16 bytes.
    Inet6,
}

/// Whether a column's value is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Generated {
    /// An ordinary column.
    #[default]
    No,
    /// GENERATED … VIRTUAL: may depend on the writer's session, so it is not compared (promise 11).
    Virtual,
    /// GENERATED … STORED.
    Stored,
}

/// One captured column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// The name as MySQL has it.
    pub name: String,
    /// What it holds.
    pub kind: ColumnType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Whether it is computed.
    #[serde(default)]
    pub generated: Generated,
    /// The column's place among *all* columns of the MySQL table, from 0: what a row image counts by.
    pub ordinal: usize,
    /// The type as `information_schema.columns.COLUMN_TYPE` prints it, for messages.
    pub declared: String,
}

/// What identifies a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// The primary key (also a generated invisible one).
    Primary,
    /// A UNIQUE key whose columns are all NOT NULL.
    Unique,
    /// `key:` in the YAML.
    Configured,
    /// Nothing does: only `mode: changelog`.
    None,
}

/// The captured shape of a table at one time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSchema {
    /// `database.table`.
    pub name: TableName,
    /// The captured columns in the table's order; excluded ones are left out.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the key, in the key's order; empty for a keyless table.
    pub key: Vec<usize>,
    /// Where the key comes from.
    pub key_kind: KeyKind,
    /// How many columns the MySQL table has, captured or not.
    pub physical_columns: usize,
    /// Every column of the MySQL table by name and declared type, captured or not: what a table map is checked against.
    pub physical: Vec<(String, ColumnType)>,
}

impl TableSchema {
    /// A short fingerprint of the captured shape: equal shapes have equal ids, on every machine.
    pub fn id(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        format!("{:08x}", crc32fast::hash(&text))
    }

    /// The names of the key columns.
    pub fn key_names(&self) -> Vec<&str> {
        self.key.iter().filter_map(|index| self.columns.get(*index)).map(|column| column.name.as_str()).collect()
    }
}
