//! What binlake writes into a Parquet footer beside Parquet's own: the keys at which row groups begin and end.

use parquet::file::metadata::KeyValue;

use crate::lake::columns::Shape;
use crate::lake::keys::{from_hex, to_hex};

const TABLE: &str = "binlake.table";
const SCHEMA: &str = "binlake.schema";
const FIRST_KEYS: &str = "binlake.first_keys";
const LAST_KEYS: &str = "binlake.last_keys";
const MEMORY_BYTES: &str = "binlake.row_group_memory_bytes";

/// One row group of a file, as its footer describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowGroupEntry {
    /// The stored key of its first row; empty in a changelog table.
    pub(crate) first_key: Vec<u8>,
    /// The stored key of its last row; empty in a changelog table.
    pub(crate) last_key: Vec<u8>,
    /// What its rows take in memory.
    pub(crate) memory_bytes: u64,
}

/// The footer's own part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    /// In the file's order.
    pub(crate) row_groups: Vec<RowGroupEntry>,
}

impl Footer {
    pub(crate) fn to_key_values(&self, shape: &Shape) -> serde_json::Result<Vec<KeyValue>> {
        let first_keys: Vec<String> = self.row_groups.iter().map(|group| to_hex(&group.first_key)).collect();
        let last_keys: Vec<String> = self.row_groups.iter().map(|group| to_hex(&group.last_key)).collect();
        let memory_bytes: Vec<u64> = self.row_groups.iter().map(|group| group.memory_bytes).collect();
        Ok(vec![
            KeyValue::new(TABLE.to_owned(), shape.table().to_owned()),
            KeyValue::new(SCHEMA.to_owned(), shape.schema_id().to_owned()),
            KeyValue::new(FIRST_KEYS.to_owned(), serde_json::to_string(&first_keys)?),
            KeyValue::new(LAST_KEYS.to_owned(), serde_json::to_string(&last_keys)?),
            KeyValue::new(MEMORY_BYTES.to_owned(), serde_json::to_string(&memory_bytes)?),
        ])
    }

    /// Reads it back; the reason when it is not there or not whole.
    pub(crate) fn from_key_values(key_values: Option<&Vec<KeyValue>>) -> Result<Self, String> {
        let value = |name: &str| {
            let found = key_values.into_iter().flatten().find(|pair| pair.key == name);
            found.and_then(|pair| pair.value.as_deref()).ok_or_else(|| format!("its footer has no {name}"))
        };
        let unreadable = |name: &str| format!("its footer's {name} cannot be read");
        let keys = |name: &str| -> Result<Vec<Vec<u8>>, String> {
            let listed: Vec<String> = serde_json::from_str(value(name)?).map_err(|_| unreadable(name))?;
            listed.iter().map(|key| from_hex(key).ok_or_else(|| unreadable(name))).collect()
        };
        let (first_keys, last_keys) = (keys(FIRST_KEYS)?, keys(LAST_KEYS)?);
        let memory_bytes: Vec<u64> = serde_json::from_str(value(MEMORY_BYTES)?).map_err(|_| unreadable(MEMORY_BYTES))?;
        if first_keys.len() != memory_bytes.len() || last_keys.len() != memory_bytes.len() {
            return Err(unreadable(MEMORY_BYTES));
        }
        let row_groups = first_keys
            .into_iter()
            .zip(last_keys)
            .zip(memory_bytes)
            .map(|((first_key, last_key), memory_bytes)| RowGroupEntry { first_key, last_key, memory_bytes });
        Ok(Self { row_groups: row_groups.collect() })
    }
}
