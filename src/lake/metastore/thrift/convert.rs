//! Our words and Thrift's. What a table has that we do not know goes with every change as it was read, where it has a place in [`Table`].

use std::collections::BTreeMap;

use hive_metastore as thrift;
use pilota::{AHashMap, FastStr};

use crate::lake::LakeName;
use crate::lake::metastore::{Database, Expected, Format, HiveColumn, Partition, Table};

pub(super) fn text(text: &str) -> FastStr {
    FastStr::from_string(text.to_owned())
}

fn string(text: Option<FastStr>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

fn map(parameters: &BTreeMap<String, String>) -> AHashMap<FastStr, FastStr> {
    parameters.iter().map(|(key, value)| (text(key), text(value))).collect()
}

fn map_of(parameters: Option<AHashMap<FastStr, FastStr>>) -> BTreeMap<String, String> {
    parameters.into_iter().flatten().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// What every call that changes something is told: our statistics are right, theirs would come of listing directories.
pub(super) fn context(expected: Option<Expected<'_>>) -> thrift::EnvironmentContext {
    let mut properties = vec![("DO_NOT_UPDATE_STATS", "true")];
    if let Some(Expected { key, value }) = expected {
        properties.extend([("expected_parameter_key", key), ("expected_parameter_value", value)]);
    }
    thrift::EnvironmentContext { properties: Some(properties.into_iter().map(|(key, value)| (text(key), text(value))).collect()) }
}

pub(super) fn database(database: &Database) -> thrift::Database {
    thrift::Database {
        name: Some(text(&database.name)),
        description: Some(text("made by binlake")),
        location_uri: Some(text(&database.location)),
        parameters: Some(AHashMap::default()),
        ..Default::default()
    }
}

pub(super) fn database_of(name: &str, found: thrift::Database) -> Database {
    Database { name: name.to_owned(), location: string(found.location_uri) }
}

fn columns(columns: &[HiveColumn]) -> Vec<thrift::FieldSchema> {
    let column = |column: &HiveColumn| thrift::FieldSchema {
        name: Some(text(&column.name)),
        r#type: Some(text(&column.data_type)),
        comment: column.comment.as_deref().map(text),
    };
    columns.iter().map(column).collect()
}

fn columns_of(found: Option<Vec<thrift::FieldSchema>>) -> Vec<HiveColumn> {
    let column = |column: thrift::FieldSchema| HiveColumn {
        name: string(column.name),
        data_type: string(column.r#type),
        comment: column.comment.map(|comment| comment.to_string()),
    };
    found.into_iter().flatten().map(column).collect()
}

fn storage(fields: &[HiveColumn], location: &str, format: &Format) -> thrift::StorageDescriptor {
    thrift::StorageDescriptor {
        cols: Some(columns(fields)),
        location: Some(text(location)),
        input_format: Some(text(&format.input)),
        output_format: Some(text(&format.output)),
        compressed: Some(false),
        num_buckets: Some(-1),
        serde_info: Some(thrift::SerDeInfo {
            name: None,
            serialization_lib: Some(text(&format.serde)),
            parameters: Some(AHashMap::from_iter([(text("serialization.format"), text("1"))])),
        }),
        bucket_cols: Some(Vec::new()),
        sort_cols: Some(Vec::new()),
        parameters: Some(AHashMap::default()),
        skewed_info: None,
        stored_as_sub_directories: Some(false),
    }
}

pub(super) fn table(table: &Table) -> thrift::Table {
    thrift::Table {
        table_name: Some(text(&table.name.table)),
        db_name: Some(text(&table.name.database)),
        owner: table.owner.as_deref().map(text),
        create_time: Some(table.created),
        last_access_time: Some(0),
        retention: Some(0),
        sd: Some(storage(&table.columns, &table.location, &table.format)),
        partition_keys: Some(columns(&table.partitioned_by)),
        parameters: Some(map(&table.parameters)),
        view_original_text: None,
        view_expanded_text: None,
        table_type: Some(text(&table.kind)),
        privileges: None,
        temporary: Some(false),
        rewrite_enabled: None,
        cat_name: None,
    }
}

pub(super) fn table_of(name: &LakeName, found: thrift::Table) -> Table {
    let (fields, location, format) = storage_of(found.sd);
    Table {
        name: name.clone(),
        kind: string(found.table_type),
        columns: fields,
        partitioned_by: columns_of(found.partition_keys),
        location,
        format,
        owner: found.owner.map(|owner| owner.to_string()),
        created: found.create_time.unwrap_or_default(),
        parameters: map_of(found.parameters),
    }
}

fn storage_of(found: Option<thrift::StorageDescriptor>) -> (Vec<HiveColumn>, String, Format) {
    let Some(found) = found else {
        return (Vec::new(), String::new(), Format { input: String::new(), output: String::new(), serde: String::new() });
    };
    let serde = string(found.serde_info.and_then(|serde| serde.serialization_lib));
    let format = Format { input: string(found.input_format), output: string(found.output_format), serde };
    (columns_of(found.cols), string(found.location), format)
}

pub(super) fn partition(name: &LakeName, format: &Format, partition: &Partition) -> thrift::Partition {
    thrift::Partition {
        values: Some(partition.values.iter().map(|value| text(value)).collect()),
        db_name: Some(text(&name.database)),
        table_name: Some(text(&name.table)),
        create_time: Some(0),
        last_access_time: Some(0),
        sd: Some(storage(&partition.columns, &partition.location, format)),
        parameters: Some(map(&partition.parameters)),
        privileges: None,
        cat_name: None,
    }
}

pub(super) fn partition_of(found: thrift::Partition) -> Partition {
    let (fields, location, _) = storage_of(found.sd);
    Partition {
        values: found.values.into_iter().flatten().map(|value| value.to_string()).collect(),
        location,
        columns: fields,
        parameters: map_of(found.parameters),
    }
}
