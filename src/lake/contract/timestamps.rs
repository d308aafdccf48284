//! Instants in both forms, from the first to the last that MySQL has, as others read them: DuckDB and pyarrow.

use super::*;

/// What each reader makes of the files: lines `id microseconds`.
const BY_DUCKDB: &str = "
import sys, duckdb
connection = duckdb.connect()
connection.execute('SET TimeZone = ?', ['Asia/Shanghai'])
query = f'SELECT id, epoch_us(born) FROM read_parquet({sys.argv[1:]!r}, hive_partitioning = false) ORDER BY ALL'
for row in connection.execute(query).fetchall(): print(*row)
";
const BY_PYARROW: &str = "
import sys, pyarrow, pyarrow.parquet as parquet
rows = []
for file in sys.argv[1:]:
    table = parquet.read_table(file, partitioning=None, coerce_int96_timestamp_unit='us')
    rows += zip(table['id'].to_pylist(), table['born'].cast(pyarrow.int64()).to_pylist())
for row in sorted(rows, key=lambda row: row[0]): print(*row)
";

/// 0000-01-01, the edges of what nanoseconds in eight bytes hold, both sides of 1970, and 9999-12-31 23:59:59.999999.
const INSTANTS: [i64; 8] = [
    -62_167_219_200_000_000,
    -9_223_372_036_854_776,
    -86_400_000_000,
    -1,
    0,
    1_774_751_400_123_456,
    9_223_372_036_854_776,
    253_402_300_799_999_999,
];

fn instant(id: i64) -> i64 {
    INSTANTS[usize::try_from(id).unwrap() % INSTANTS.len()]
}

fn drive_row(sink: &mut (impl RowSink + ?Sized), id: i64) {
    sink.image(Image::After).unwrap();
    sink.signed(id).unwrap();
    sink.text("name").unwrap();
    match id % 9 {
        8 => sink.null().unwrap(),
        _ => sink.datetime(instant(id)).unwrap(),
    }
}

/// The house's table, with DATETIME(6) in its last column.
fn spec(house: &House, kind: TableKind, timestamp_encoding: TimestampEncoding) -> TableSpec {
    let spec = house.spec(kind, 1);
    let mut schema = TableSchema::clone(&spec.schema);
    schema.columns[2].kind = ColumnType::Datetime { fraction: 6 };
    TableSpec { schema: Arc::new(schema), timestamp_encoding, ..spec }
}

/// A snapshot of ten rows and twenty inserts, each a commit: a mirror's row groups are copied and merged, a changelog's files folded.
async fn filled(house: &House, spec: &TableSpec) {
    let since = Cut(BinlogPosition { epoch: 0, file: 1, offset: 100 });
    let mut chunk = house.lake.chunk(spec, since, 0, "a").await.unwrap();
    (0..10).for_each(|id| drive_row(chunk.sink(), id));
    let mut writer = house.lake.writer(spec.clone(), Term(1)).await.unwrap();
    writer.adopt(vec![chunk.finish().await.unwrap()], point(0, false)).await.unwrap();
    for transaction in 0..20 {
        let head = head(Operation::Create, transaction, MIDNIGHT_MS);
        writer.sink().begin(&head, LogOffset(transaction), true).unwrap();
        drive_row(writer.sink(), transaction as i64 + 10);
        writer.sink().end().unwrap();
        writer.commit(point(transaction + 1, true)).await.unwrap();
    }
    assert!(writer.committed().files < 20, "nothing was folded");
}

/// Generations of one table are written side by side, each by what it was begun with: nothing of it is the lake's own.
#[tokio::test]
async fn each_generation_keeps_the_zone_that_it_was_begun_with() {
    for house in houses() {
        for kind in [TableKind::Mirror, TableKind::Changelog] {
            let spec = |generation: u32, datetimes: &str| {
                let name = LakeName { table: format!("{kind:?}"), ..name() };
                let datetimes = datetimes.parse().ok();
                TableSpec { name, generation, datetimes, ..spec(&house, kind, TimestampEncoding::Int64) }
            };
            let specs = [spec(1, "instant in UTC"), spec(2, "instant in Asia/Shanghai"), spec(3, "string in America/New_York")];
            let since = Cut(BinlogPosition { epoch: 0, file: 1, offset: 100 });
            // An hour before midnight in UTC: the snapshot is read and the changes are committed then.
            let now_ms = MIDNIGHT_MS + 23 * HOUR_MS;
            house.clock.advance(now_ms - house.clock.now_ms());
            for spec in &specs {
                let mut chunk = house.lake.chunk(spec, since, 0, "a").await.unwrap();
                drive_row(chunk.sink(), 5);
                let mut writer = house.lake.writer(spec.clone(), Term(1)).await.unwrap();
                writer.adopt(vec![chunk.finish().await.unwrap()], point(0, false)).await.unwrap();
            }
            for transaction in 0..3 {
                for spec in &specs {
                    // As after a restart, each time.
                    let lake = house.reopened();
                    let mut writer = lake.writer(spec.clone(), Term(2 + transaction)).await.unwrap();
                    writer.sink().begin(&head(Operation::Create, transaction, now_ms), LogOffset(transaction), true).unwrap();
                    drive_row(writer.sink(), 13 + 8 * transaction as i64);
                    writer.sink().end().unwrap();
                    writer.commit(point(transaction + 1, false)).await.unwrap();
                }
            }
            let clocks = ["2026-03-29T02:30:00.123456Z", "2026-03-28T18:30:00.123456Z", "2026-03-29 02:30:00.123456"];
            for ((spec, clock), day) in specs.iter().zip(clocks).zip(["2026-11-22", "2026-11-23", "2026-11-22"]) {
                let rows = house.lake.read_back(&spec.name, spec.generation).await.unwrap();
                assert_eq!(counted(&rows, "born"), BTreeMap::from([(clock.to_owned(), 4)]), "{kind:?} {}", spec.generation);
                if kind == TableKind::Changelog {
                    assert_eq!(counted(&rows, "dt").get(day), Some(&4), "{:?}", counted(&rows, "dt"));
                }
            }
        }
    }
}

#[tokio::test]
async fn others_read_the_same_instants_in_both_forms() {
    let python = readers::python();
    for kind in [TableKind::Mirror, TableKind::Changelog] {
        for encoding in [TimestampEncoding::Int64, TimestampEncoding::Int96] {
            let house = House::new(Ground::Files);
            let spec = spec(&house, kind, encoding);
            filled(&house, &spec).await;
            let text = |id: i64| match id % 9 {
                8 => format!("{id} None\n"),
                _ => format!("{id} {}\n", instant(id)),
            };
            let expected: String = (0..30).map(text).collect();
            let rows = house.lake.read_back(&name(), 1).await.unwrap();
            assert_eq!(rows.iter().filter(|row| cell(row, "born") == "9999-12-31T23:59:59.999999Z").count(), 3, "{rows:?}");
            let Some(python) = &python else { continue };
            let files = house.lake.files(&name()).await.unwrap();
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            for program in [BY_DUCKDB, BY_PYARROW] {
                assert_eq!(readers::run(python, program, &files), expected, "{kind:?} {encoding:?} {program}");
            }
        }
    }
}
