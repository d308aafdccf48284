//! A table's shape from `information_schema`, as far as these tests need it.

use std::sync::Arc;

use super::{KeyKind, TableName, TableSchema, WireConnection};
use crate::change::{AddressKind, Charset, Column, ColumnType};
use crate::source::snapshot::sql;

pub(super) async fn describe(connection: &mut WireConnection, table: &str) -> Arc<TableSchema> {
    let name: TableName = table.parse().unwrap();
    let filter = format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", sql::string(&name.database), sql::string(&name.table));
    let rows = connection
        .query_text(&format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, CHARACTER_MAXIMUM_LENGTH, \
             NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION FROM information_schema.COLUMNS WHERE {filter} \
             ORDER BY ORDINAL_POSITION"
        ))
        .await
        .unwrap();
    let columns: Vec<Column> = rows
        .iter()
        .enumerate()
        .map(|(ordinal, row)| {
            let text = |place: usize| String::from_utf8(row[place].clone().unwrap_or_default()).unwrap();
            Column {
                name: text(0),
                kind: kind(&text),
                nullable: text(3) == "YES",
                generated: Default::default(),
                ordinal,
                declared: text(2),
            }
        })
        .collect();
    let keys = connection
        .query_text(&format!(
            "SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE {filter} AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX"
        ))
        .await
        .unwrap();
    let key = keys
        .iter()
        .map(|row| columns.iter().position(|column| Some(column.name.as_bytes()) == row[0].as_deref()).unwrap())
        .collect();
    let physical = columns.iter().map(|column| (column.name.clone(), column.kind.clone())).collect();
    Arc::new(TableSchema { name, physical_columns: columns.len(), columns, key, key_kind: KeyKind::Primary, physical })
}

fn kind(text: &dyn Fn(usize) -> String) -> ColumnType {
    let declared = text(2);
    let unsigned = declared.contains("unsigned");
    let number = |place: usize| text(place).parse::<u32>().unwrap();
    let charset = Charset(text(4));
    let labels = || {
        let inner = declared.split_once('(').unwrap().1.strip_suffix(')').unwrap();
        inner.split(',').map(|label| label.trim_matches('\'').to_owned()).collect::<Vec<_>>()
    };
    let fraction = || u8::try_from(number(8)).unwrap();
    match text(1).as_str() {
        "tinyint" => ColumnType::Integer { bits: 8, unsigned },
        "smallint" => ColumnType::Integer { bits: 16, unsigned },
        "mediumint" => ColumnType::Integer { bits: 24, unsigned },
        "int" => ColumnType::Integer { bits: 32, unsigned },
        "bigint" => ColumnType::Integer { bits: 64, unsigned },
        "year" => ColumnType::Year,
        "float" => ColumnType::Float,
        "double" => ColumnType::Double,
        "decimal" => ColumnType::Decimal { precision: number(6) as u8, scale: number(7) as u8 },
        "bit" => ColumnType::Bit { bits: number(6) as u8 },
        "enum" => ColumnType::Enum { labels: labels(), charset },
        "set" => ColumnType::Set { labels: labels(), charset },
        "json" => ColumnType::Json,
        "date" => ColumnType::Date,
        "time" => ColumnType::Time { fraction: fraction() },
        "datetime" => ColumnType::Datetime { fraction: fraction() },
        "timestamp" => ColumnType::Timestamp { fraction: fraction() },
        "binary" => ColumnType::Binary { fixed: Some(number(5)) },
        "varbinary" | "blob" | "longblob" => ColumnType::Binary { fixed: None },
        "geometry" => ColumnType::Geometry,
        "vector" => ColumnType::Vector,
        "uuid" => ColumnType::Address(AddressKind::Uuid),
        "inet4" => ColumnType::Address(AddressKind::Inet4),
        "inet6" => ColumnType::Address(AddressKind::Inet6),
        "char" | "varchar" | "text" | "longtext" => ColumnType::Text { charset },
        other => panic!("{other}"),
    }
}
