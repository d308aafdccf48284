//! Which tables a stream captures, and in which shape.

use std::collections::HashMap;
use std::sync::Arc;

use super::{BinlogPosition, Cut, TableName, TableSchema};

/// One captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedTable {
    /// The shape in force.
    pub schema: Arc<TableSchema>,
    /// Changes whose transaction starts below it are not this capture's: they are left out.
    pub since: Cut,
}

/// The captured tables of a source. The stream takes a new one only between two transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capture {
    /// By name; lower case where the server's `lower_case_table_names` is not 0.
    pub tables: HashMap<TableName, CapturedTable>,
}

impl Capture {
    /// The table, if it is captured at a transaction that starts at `start`.
    pub fn at(&self, name: &TableName, start: BinlogPosition) -> Option<&CapturedTable> {
        self.tables.get(name).filter(|table| !table.since.covers(start))
    }
}
