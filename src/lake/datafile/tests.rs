//! Files are written, copied and read back row for row.

use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::basic::{Compression, PageType};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;
use crate::change::{ColumnType, Image, RowSink, Value};
use crate::lake::columns::tests::{build, every_type, largest, settings, spec};
use crate::lake::columns::{ChangeColumns, RowsBuilder, Shape};
use crate::lake::{Error, Settings, TableKind, TableSpec, TimestampEncoding};

fn prefix() -> Path {
    Path::from("ods_shop/t")
}

async fn upload(store: &Arc<dyn ObjectStore>, shape: &Shape, settings: &Settings, rows: &[Vec<Value>]) -> Result<FileEntry> {
    let mut upload = FileUpload::new(store, &prefix(), "g0001/s1/part-0000.parquet".to_owned(), shape, settings)?;
    for rows in rows.chunks(1000) {
        upload.write(build(shape, rows).unwrap()).await?;
    }
    upload.finish().await
}

async fn object(store: &Arc<dyn ObjectStore>, entry: &FileEntry) -> Bytes {
    store.get(&location(&prefix(), &entry.path)).await.unwrap().bytes().await.unwrap()
}

#[tokio::test]
async fn files_are_what_every_hive_engine_reads() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let shape = Shape::new(&spec(TableKind::Mirror, &every_type()), &settings()).unwrap();
    let entry = upload(&store, &shape, &settings(), &[largest()]).await.unwrap();
    let bytes = object(&store, &entry).await;
    assert_eq!(entry.bytes, bytes.len() as u64);
    let reader = SerializedFileReader::new(bytes).unwrap();
    let metadata = reader.metadata();
    assert_eq!(metadata.file_metadata().version(), 1);
    let names: Vec<&str> =
        metadata.file_metadata().key_value_metadata().into_iter().flatten().map(|pair| pair.key.as_str()).collect();
    assert!(names.contains(&"binlake.table") && !names.contains(&"ARROW:schema"), "{names:?}");
    // Types every engine knows: no UINT, no TIME, every column optional, names in lower case.
    let mut printed = Vec::new();
    parquet::schema::printer::print_schema(&mut printed, metadata.file_metadata().schema());
    assert_eq!(String::from_utf8(printed).unwrap(), SCHEMA);
    let group = reader.get_row_group(0).unwrap();
    for (index, column) in group.metadata().columns().iter().enumerate() {
        assert_eq!(column.compression(), Compression::SNAPPY);
        assert!(column.statistics().is_some(), "{}", column.column_path());
        assert!(column.offset_index_offset().is_none() && column.column_index_offset().is_none());
        let mut pages = group.get_column_page_reader(index).unwrap();
        let page = pages.get_next_page().unwrap().unwrap();
        assert!(matches!(page.page_type(), PageType::DATA_PAGE | PageType::DICTIONARY_PAGE));
    }
}

const SCHEMA: &str = "message arrow_schema {
  OPTIONAL FIXED_LEN_BYTE_ARRAY (9) id (DECIMAL(20,0));
  OPTIONAL INT32 i8 (INTEGER(8,true));
  OPTIONAL INT32 u8 (INTEGER(16,true));
  OPTIONAL INT32 i16 (INTEGER(16,true));
  OPTIONAL INT32 u16;
  OPTIONAL INT32 i24;
  OPTIONAL INT32 u24;
  OPTIONAL INT32 i32;
  OPTIONAL INT64 u32;
  OPTIONAL INT64 i64;
  OPTIONAL INT32 year;
  OPTIONAL FLOAT float;
  OPTIONAL DOUBLE double;
  OPTIONAL INT32 dec9 (DECIMAL(9,2));
  OPTIONAL FIXED_LEN_BYTE_ARRAY (16) dec38 (DECIMAL(38,10));
  OPTIONAL BYTE_ARRAY dec65 (STRING);
  OPTIONAL BOOLEAN bit1;
  OPTIONAL INT64 bit8;
  OPTIONAL FIXED_LEN_BYTE_ARRAY (9) bit64 (DECIMAL(20,0));
  OPTIONAL BYTE_ARRAY text (STRING);
  OPTIONAL BYTE_ARRAY binary;
  OPTIONAL BYTE_ARRAY enum (STRING);
  OPTIONAL BYTE_ARRAY set (STRING);
  OPTIONAL BYTE_ARRAY json (STRING);
  OPTIONAL INT32 date (DATE);
  OPTIONAL BYTE_ARRAY time (STRING);
  OPTIONAL INT64 datetime (TIMESTAMP(MICROS,true));
  OPTIONAL INT64 timestamp (TIMESTAMP(MICROS,true));
  OPTIONAL BYTE_ARRAY geometry;
  OPTIONAL BYTE_ARRAY vector;
}
";

#[tokio::test]
async fn a_large_file_goes_up_in_parts_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(directory.path()).unwrap());
    let columns = [("id", ColumnType::Integer { bits: 32, unsigned: false }), ("blob", ColumnType::Binary { fixed: None })];
    let shape = Shape::new(&spec(TableKind::Mirror, &columns), &settings()).unwrap();
    let mut noise = 1_u64;
    let mut blob = || {
        let next = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 56) as u8
        };
        std::iter::repeat_with(next).take(10_000).collect::<Vec<u8>>()
    };
    let rows: Vec<Vec<Value>> = (0..2500).map(|id| vec![Value::Signed(id), Value::Bytes(blob())]).collect();
    let large = Settings { row_group_bytes: 3 << 20, ..settings() };
    let entry = upload(&store, &shape, &large, &rows).await.unwrap();
    assert!(entry.bytes > 20 << 20);
    assert_eq!(entry.keys, Some(("8000000000000000".to_owned(), "80000000000009c3".to_owned())));
    let file = StoredFile::open(&store, &prefix(), &entry, &shape).await.unwrap();
    assert!(file.row_groups() > 5);
    let mut read = 0;
    for index in 0..file.row_groups() {
        let mut decoded = file.row_group(index).await.unwrap().decode().unwrap();
        while let Some((batch, _)) = decoded.next_batch().unwrap() {
            assert_eq!(batch, build(&shape, &rows[read..read + batch.num_rows()]).unwrap());
            assert!(memory_bytes(&batch) < 4 << 20);
            read += batch.num_rows();
        }
    }
    assert_eq!(read, rows.len());
}

#[tokio::test]
async fn rows_out_of_order_and_keys_that_come_twice_never_reach_a_file() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let columns = [("id", ColumnType::Integer { bits: 32, unsigned: false })];
    let shape = Shape::new(&spec(TableKind::Mirror, &columns), &settings()).unwrap();
    let rows = |ids: &[i64]| ids.iter().map(|id| vec![Value::Signed(*id)]).collect::<Vec<_>>();
    assert!(matches!(upload(&store, &shape, &settings(), &rows(&[1, 3, 2])).await, Err(Error::File { .. })));
    match upload(&store, &shape, &settings(), &rows(&[1, 2, 2])).await {
        Err(Error::Value { reason, .. }) => assert_eq!(reason, "two rows have the key id=2"),
        other => panic!("{other:?}"),
    }
    let empty = upload(&store, &shape, &settings(), &[]).await.unwrap();
    assert_eq!((empty.rows, empty.keys), (0, None));
}

#[tokio::test]
async fn a_damaged_or_missing_file_is_said_to_be_one() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let columns = [("id", ColumnType::Integer { bits: 32, unsigned: false })];
    let shape = Shape::new(&spec(TableKind::Mirror, &columns), &settings()).unwrap();
    let rows: Vec<Vec<Value>> = (0..100).map(|id| vec![Value::Signed(id)]).collect();
    let entry = upload(&store, &shape, &settings(), &rows).await.unwrap();
    let whole = object(&store, &entry).await;
    let location = location(&prefix(), &entry.path);
    for damaged in [whole.slice(..whole.len() - 9), Bytes::from(vec![7; whole.len()]), Bytes::from_static(b"PAR1")] {
        store.put(&location, damaged.into()).await.unwrap();
        assert!(StoredFile::open(&store, &prefix(), &entry, &shape).await.is_err());
    }
    store.put(&location, whole.into()).await.unwrap();
    let fewer = FileEntry { rows: 99, ..entry.clone() };
    assert!(matches!(StoredFile::open(&store, &prefix(), &fewer, &shape).await, Err(Error::File { .. })));
    store.delete(&location).await.unwrap();
    assert!(matches!(StoredFile::open(&store, &prefix(), &entry, &shape).await, Err(Error::File { .. })));
}

#[tokio::test]
async fn a_changelog_file_keeps_its_rows_as_they_came() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let shape = Shape::new(&spec(TableKind::Changelog, &[("id", ColumnType::Date)]), &settings()).unwrap();
    let mut builder = RowsBuilder::new(&shape);
    for day in [3, 1, 1] {
        let change = ChangeColumns { operation: 'u', committed_ms: Some(1), gtid: None, file: None, position: 4, row: 0 };
        builder.change(&change).unwrap();
        builder.image(Image::After).unwrap();
        builder.date(day).unwrap();
    }
    let batch = builder.take().unwrap();
    let mut upload = FileUpload::new(&store, &prefix(), "g0001/c.parquet".to_owned(), &shape, &settings()).unwrap();
    upload.write(batch.clone()).await.unwrap();
    let entry = upload.finish().await.unwrap();
    assert_eq!((entry.rows, &entry.keys), (3, &None));
    let file = StoredFile::open(&store, &prefix(), &entry, &shape).await.unwrap();
    let mut decoded = file.row_group(0).await.unwrap().decode().unwrap();
    assert_eq!(decoded.next_batch().unwrap().unwrap().0, batch);
}

#[test]
fn a_dictionary_is_used_where_values_repeat() {
    let columns = [("id", ColumnType::Integer { bits: 32, unsigned: false }), ("grade", ColumnType::Json)];
    let shape = Shape::new(&spec(TableKind::Mirror, &columns), &settings()).unwrap();
    let row = |id: i64| vec![Value::Signed(id), Value::Text(format!("grade {}", id % 9))];
    let rows: Vec<Vec<Value>> = (0..2000).map(row).collect();
    let group = encode_row_group(&shape, &[build(&shape, &rows).unwrap()]).unwrap();
    let dictionaries: Vec<bool> =
        group.chunks.iter().map(|chunk| chunk.close().metadata.dictionary_page_offset().is_some()).collect();
    assert_eq!(dictionaries, [false, true]);
}

/// Instants at the edges of what MySQL has, days before and behind 1970 among them, and a NULL after every few.
fn edges(rows: i64) -> Vec<Vec<Value>> {
    const YEAR_0: i64 = -62_167_219_200_000_000;
    const YEAR_9999: i64 = 253_402_300_799_999_999;
    let clock = |id: i64| match id % 7 {
        0 => YEAR_0 + id,
        1 => YEAR_9999 - id,
        2 => -1 - id,
        3 => id * 86_400_000_000,
        4 => 9_223_372_036_854_775 + id,
        5 => -9_223_372_036_854_776 - id,
        _ => 1_774_751_400_000_000,
    };
    let row = |id: i64| match id % 5 {
        4 => vec![Value::Signed(id), Value::Null, Value::Timestamp(1_000_000)],
        _ => vec![Value::Signed(id), Value::Datetime(clock(id)), Value::Null],
    };
    (0..rows).map(row).collect()
}

#[tokio::test]
async fn instants_are_the_same_in_both_forms_over_all_that_mysql_has() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let columns = [
        ("id", ColumnType::Integer { bits: 32, unsigned: false }),
        ("at", ColumnType::Datetime { fraction: 6 }),
        ("seen", ColumnType::Timestamp { fraction: 6 }),
    ];
    let small = Settings { row_group_bytes: 8 << 10, ..settings() };
    let shape =
        |timestamp_encoding| Shape::new(&TableSpec { timestamp_encoding, ..spec(TableKind::Mirror, &columns) }, &small).unwrap();
    let (long, short) = (shape(TimestampEncoding::Int96), shape(TimestampEncoding::Int64));
    let rows = edges(3000);
    let entry = upload(&store, &long, &small, &rows).await.unwrap();
    let reader = SerializedFileReader::new(object(&store, &entry).await).unwrap();
    let mut printed = Vec::new();
    parquet::schema::printer::print_schema(&mut printed, reader.metadata().file_metadata().schema());
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.contains("OPTIONAL INT96 at;\n  OPTIONAL INT96 seen;"), "{printed}");
    for group in reader.metadata().row_groups() {
        let statistics: Vec<bool> = group.columns().iter().map(|column| column.statistics().is_some()).collect();
        assert_eq!(statistics, [true, false, false]);
        assert!(group.column(2).dictionary_page_offset().is_some(), "values repeat");
    }
    // Readers get microseconds of it, whichever form they would write.
    for shape in [&long, &short] {
        let file = StoredFile::open(&store, &prefix(), &entry, shape).await.unwrap();
        assert!(file.row_groups() > 3);
        let mut read = 0;
        for index in 0..file.row_groups() {
            let mut decoded = file.row_group(index).await.unwrap().decode().unwrap();
            while let Some((batch, _)) = decoded.next_batch().unwrap() {
                assert_eq!(batch, build(shape, &rows[read..read + batch.num_rows()]).unwrap());
                read += batch.num_rows();
            }
        }
        assert_eq!(read, rows.len());
    }
}
