//! MySQL shapes become lake shapes, and every kind of cell its lake value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int16Type, Int64Type, TimestampMicrosecondType};

use super::*;
use crate::change::{
    CellError, Charset, Column, ColumnType, Generated, Image, KeyKind, RowSink, SystemClock, TableName, TableSchema, Value,
};
use crate::lake::{Check, LakeName, Layout, Retention, Settings, TableKind, TableSpec, TimestampEncoding};

pub(crate) fn settings() -> Settings {
    Settings {
        url: String::new(),
        options: crate::lake::StoreOptions::default(),
        retention: Retention { min: Duration::ZERO, max: Duration::ZERO, size: 1.0 },
        zero_dates_park: false,
        check: Check::Rows,
        file_bytes: 1 << 20,
        row_group_bytes: 64 << 10,
        checkpoint_every: 10,
        batch_bytes: 1 << 20,
        scratch: std::env::temp_dir(),
        clock: Arc::new(SystemClock),
        publishing: None,
    }
}

pub(crate) fn spec(kind: TableKind, columns: &[(&str, ColumnType)]) -> TableSpec {
    let column = |(ordinal, (name, kind)): (usize, &(&str, ColumnType))| Column {
        name: (*name).to_owned(),
        kind: kind.clone(),
        nullable: ordinal > 0,
        generated: Generated::No,
        ordinal,
        declared: String::new(),
    };
    let columns: Vec<Column> = columns.iter().enumerate().map(column).collect();
    let schema = TableSchema {
        name: TableName::new("shop", "t"),
        physical_columns: columns.len(),
        physical: Vec::new(),
        columns,
        key: vec![0],
        key_kind: KeyKind::Primary,
    };
    let name = LakeName { database: "ods_shop".to_owned(), table: "t".to_owned() };
    TableSpec {
        name,
        kind,
        generation: 1,
        schema: Arc::new(schema),
        layout: Layout::Segments,
        partition_by: None,
        daily: false,
        timestamp_encoding: TimestampEncoding::Int64,
        datetimes: "instant in UTC".parse().ok(),
        source: "shop".to_owned(),
    }
}

/// A column of every type.
pub(crate) fn every_type() -> Vec<(&'static str, ColumnType)> {
    let charset = || Charset("utf8mb4".to_owned());
    let integer = |bits, unsigned| ColumnType::Integer { bits, unsigned };
    vec![
        ("Id", integer(64, true)),
        ("i8", integer(8, false)),
        ("u8", integer(8, true)),
        ("i16", integer(16, false)),
        ("u16", integer(16, true)),
        ("i24", integer(24, false)),
        ("u24", integer(24, true)),
        ("i32", integer(32, false)),
        ("u32", integer(32, true)),
        ("i64", integer(64, false)),
        ("year", ColumnType::Year),
        ("float", ColumnType::Float),
        ("double", ColumnType::Double),
        ("dec9", ColumnType::Decimal { precision: 9, scale: 2 }),
        ("dec38", ColumnType::Decimal { precision: 38, scale: 10 }),
        ("dec65", ColumnType::Decimal { precision: 65, scale: 30 }),
        ("bit1", ColumnType::Bit { bits: 1 }),
        ("bit8", ColumnType::Bit { bits: 8 }),
        ("bit64", ColumnType::Bit { bits: 64 }),
        ("text", ColumnType::Text { charset: charset() }),
        ("binary", ColumnType::Binary { fixed: Some(4) }),
        ("enum", ColumnType::Enum { labels: vec!["a".to_owned()], charset: charset() }),
        ("set", ColumnType::Set { labels: vec!["a".to_owned()], charset: charset() }),
        ("json", ColumnType::Json),
        ("date", ColumnType::Date),
        ("time", ColumnType::Time { fraction: 3 }),
        ("datetime", ColumnType::Datetime { fraction: 6 }),
        ("timestamp", ColumnType::Timestamp { fraction: 0 }),
        ("geometry", ColumnType::Geometry),
        ("vector", ColumnType::Vector),
    ]
}

/// One row with the largest values there are.
pub(crate) fn largest() -> Vec<Value> {
    let text = |text: &str| Value::Text(text.to_owned());
    vec![
        Value::Unsigned(u64::MAX),
        Value::Signed(-128),
        Value::Unsigned(255),
        Value::Signed(-32768),
        Value::Unsigned(65535),
        Value::Signed(-8_388_608),
        Value::Unsigned(16_777_215),
        Value::Signed(i32::MIN.into()),
        Value::Unsigned(u32::MAX.into()),
        Value::Signed(i64::MIN),
        Value::Signed(2155),
        Value::Float(f32::MAX),
        Value::Double(5e-324),
        Value::Decimal("-9999999.99".to_owned()),
        Value::Decimal("9999999999999999999999999999.9999999999".to_owned()),
        Value::Decimal(format!("-{}.{}", "9".repeat(35), "9".repeat(30))),
        Value::Unsigned(1),
        Value::Unsigned(255),
        Value::Unsigned(u64::MAX),
        text("é\u{1F980} "),
        Value::Bytes(vec![1, 0, 0, 0]),
        text("a"),
        text(""),
        text("{\"a\": 1.0}"),
        Value::Date(2_932_896),
        Value::Time(-3_020_399_000_000),
        Value::Datetime(253_402_300_799_999_999),
        Value::Timestamp(2_147_483_647_000_000),
        Value::Bytes(Vec::new()),
        Value::Bytes(vec![0; 8]),
    ]
}

pub(crate) fn build(shape: &Shape, rows: &[Vec<Value>]) -> Result<RecordBatch, CellError> {
    let mut builder = RowsBuilder::new(shape);
    for row in rows {
        builder.image(Image::After)?;
        row.iter().try_for_each(|value| value.drive(&mut builder))?;
    }
    Ok(builder.take().unwrap())
}

#[test]
fn every_type_keeps_its_largest_values() {
    let shape = Shape::new(&spec(TableKind::Mirror, &every_type()), &settings()).unwrap();
    let batch = build(&shape, &[largest()]).unwrap();
    assert_eq!(
        row_text(&batch, 0),
        "(id=18446744073709551615, i8=-128, u8=255, i16=-32768, u16=65535, i24=-8388608, u24=16777215, i32=-2147483648, \
         u32=4294967295, i64=-9223372036854775808, year=2155, float=3.4028235e38, double=5e-324, dec9=-9999999.99, \
         dec38=9999999999999999999999999999.9999999999, dec65=-99999999999999999999999999999999999.999999999999999999999999999999, \
         bit1=true, bit8=255, bit64=18446744073709551615, text=é\u{1F980} , binary=01000000, enum=a, set=, json={\"a\": 1.0}, \
         date=9999-12-31, time=-838:59:59.000, datetime=9999-12-31 23:59:59.999999Z, timestamp=2038-01-19 03:14:07.000000Z, geometry=, \
         vector=0000000000000000)"
    );
    assert_eq!(key_text(&shape, &batch, 0), "id=18446744073709551615");
    assert_eq!(batch.column(2).as_primitive::<Int16Type>().value(0), 255);
    assert_eq!(batch.column(0).as_primitive::<Decimal128Type>().value(0), i128::from(u64::MAX));
    assert!(batch.schema().fields().iter().all(|field| field.is_nullable()));
}

#[test]
fn values_out_of_range_are_refused_with_their_column() {
    let shape = Shape::new(&spec(TableKind::Mirror, &every_type()), &settings()).unwrap();
    for (column, wrong) in [
        (1, Value::Signed(128)),
        (8, Value::Unsigned(1 << 63)),
        (13, Value::Decimal("10000000.00".to_owned())),
        (13, Value::Decimal("1.5".to_owned())),
        (16, Value::Unsigned(2)),
        (19, Value::Signed(1)),
        (24, Value::Text("2026-01-01".to_owned())),
        (0, Value::Null),
    ] {
        let mut row = largest();
        row[column] = wrong.clone();
        let error = build(&shape, &[row]).unwrap_err();
        assert_eq!(error.column, every_type()[column].0, "{wrong:?}: {error}");
    }
    let mut short = largest();
    short.pop();
    assert!(build(&shape, &[short.clone(), largest()]).is_err(), "a row that ends too soon");
    short.extend([Value::Null, Value::Null]);
    assert!(build(&shape, &[short]).is_err(), "a row that goes on too long");
}

#[test]
fn zero_dates_become_null_and_are_counted_unless_they_must_park_or_are_a_key() {
    let columns = [("d", ColumnType::Date), ("At", ColumnType::Datetime { fraction: 0 })];
    let table = spec(TableKind::Mirror, &columns);
    let shape = Shape::new(&table, &settings()).unwrap();
    let mut builder = RowsBuilder::new(&shape);
    for day in 0..3 {
        builder.image(Image::After).unwrap();
        builder.date(day).unwrap();
        builder.zero_date().unwrap();
    }
    assert_eq!(builder.take().unwrap().column(1).null_count(), 3);
    assert_eq!(builder.zero_dates(), BTreeMap::from([("at".to_owned(), 3)]));
    builder.image(Image::After).unwrap();
    assert_eq!(builder.zero_date().unwrap_err().column, "d");
    let strict = Shape::new(&table, &Settings { zero_dates_park: true, ..settings() }).unwrap();
    let error = build(&strict, &[vec![Value::Date(1), Value::ZeroDate]]).unwrap_err();
    assert_eq!(error.column, "At");
}

#[test]
fn a_datetime_is_an_instant_of_the_zone_or_text() {
    let columns = [("id", ColumnType::Date), ("at", ColumnType::Datetime { fraction: 2 })];
    let shape = |datetimes: &str| {
        Shape::new(&TableSpec { datetimes: datetimes.parse().ok(), ..spec(TableKind::Mirror, &columns) }, &settings())
    };
    // 2026-03-29 02:30:00 is skipped in Berlin.
    let row = |clock| vec![vec![Value::Date(1), Value::Datetime(clock)]];
    let skipped = 1_774_751_400_000_000;
    let berlin = shape("instant in Europe/Berlin").unwrap();
    let batch = build(&berlin, &row(skipped - 3_600_000_000)).unwrap();
    assert_eq!(batch.column(1).as_primitive::<TimestampMicrosecondType>().value(0), skipped - 7_200_000_000);
    let error = build(&berlin, &row(skipped)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column at: DATETIME 2026-03-29 02:30:00.000000 is skipped in Europe/Berlin: set `datetime: string`"
    );
    let text = shape("string in Europe/Berlin").unwrap();
    assert_eq!(build(&text, &row(skipped)).unwrap().column(1).as_string::<i32>().value(0), "2026-03-29 02:30:00.00");
    assert!(shape("instant in Nowhere/At_All").is_err());
    assert!(shape("not known").is_err());
}

#[test]
fn names_that_would_collide_are_refused() {
    let integer = || ColumnType::Integer { bits: 32, unsigned: false };
    let fails = |kind, columns: &[(&str, ColumnType)]| Shape::new(&spec(kind, columns), &settings()).is_err();
    assert!(fails(TableKind::Mirror, &[("id", integer()), ("ID", integer())]));
    assert!(fails(TableKind::Changelog, &[("id", integer()), ("_op", integer())]));
    assert!(fails(TableKind::Changelog, &[("id", integer()), ("dt", integer())]));
    assert!(!fails(TableKind::Mirror, &[("id", integer()), ("_op", integer()), ("dt", integer())]));
    let mut keyless = spec(TableKind::Mirror, &[("id", integer())]);
    Arc::make_mut(&mut keyless.schema).key.clear();
    assert!(Shape::new(&keyless, &settings()).is_err());
    keyless.kind = TableKind::Changelog;
    assert!(Shape::new(&keyless, &settings()).is_ok());
}

#[test]
fn a_changelog_row_carries_its_change_before_its_cells() {
    let shape = Shape::new(&spec(TableKind::Changelog, &[("id", ColumnType::Date)]), &settings()).unwrap();
    let mut builder = RowsBuilder::new(&shape);
    let change =
        ChangeColumns { operation: 'u', committed_ms: Some(7), gtid: Some("a:1"), file: Some("b.000001"), position: 4, row: 2 };
    builder.change(&change).unwrap();
    builder.image(Image::After).unwrap();
    builder.date(1).unwrap();
    builder.change(&ChangeColumns { operation: 't', committed_ms: None, gtid: None, ..change }).unwrap();
    builder.null_row().unwrap();
    assert!(builder.image(Image::After).is_err(), "a row without its change");
    let batch = builder.take().unwrap();
    assert_eq!(row_text(&batch, 0), "(_op=u, _ts_ms=7, _gtid=a:1, _file=b.000001, _pos=4, _row=2, id=1970-01-02)");
    assert_eq!(row_text(&batch, 1), "(_op=t, _ts_ms=NULL, _gtid=NULL, _file=b.000001, _pos=4, _row=2, id=NULL)");
    assert_eq!(batch.column(5).as_primitive::<Int64Type>().value(1), 2);
    assert_eq!(builder.memory_bytes(), 0);
}

#[test]
fn a_mirror_is_cut_by_the_day_of_a_column_that_has_one() {
    let cut = |by: &str, datetimes: &str| {
        let spec = spec(TableKind::Mirror, &every_type());
        Shape::new(&TableSpec { partition_by: Some(by.to_owned()), datetimes: datetimes.parse().ok(), ..spec }, &settings())
    };
    for name in ["date", "DateTime", "timestamp"] {
        assert!(cut(name, "instant in UTC").unwrap().day().is_some(), "{name}");
    }
    assert!(cut("date", "string in UTC").is_ok());
    for (name, datetimes, reason) in [
        ("gone", "instant in UTC", "there is no such column"),
        ("i64", "instant in UTC", "no DATE, DATETIME or TIMESTAMP"),
        ("datetime", "string in UTC", "with days of its own"),
    ] {
        let error = cut(name, datetimes).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(reason), "{error}");
    }
    let mut unkept = TableSpec { partition_by: Some("date".to_owned()), ..spec(TableKind::Mirror, &every_type()) };
    Arc::make_mut(&mut unkept.schema).key_kind = KeyKind::Configured;
    assert!(Shape::new(&unkept, &settings()).unwrap_err().to_string().contains("a key that the server keeps unique"));
    let mut columns = every_type();
    columns.push(("DT", ColumnType::Year));
    assert!(Shape::new(&spec(TableKind::Mirror, &columns), &settings()).is_ok());
    let by_day = TableSpec { partition_by: Some("date".to_owned()), ..spec(TableKind::Mirror, &columns) };
    assert!(Shape::new(&by_day, &settings()).unwrap_err().to_string().contains("two columns would be named dt"));
}
