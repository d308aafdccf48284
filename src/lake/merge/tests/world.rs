//! A table in a lake beside the oracle of what MySQL would show, and changes driven into both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::TimestampMicrosecondType;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use object_store::memory::InMemory;

use super::super::*;
use crate::change::{
    BinlogPosition, ChangePosition, Charset, Column, ColumnType, Generated, Image, KeyKind, LogOffset, Operation, RecordHead,
    RowSink, SystemClock, TableName, TableSchema, Term, Value,
};
use crate::lake::by_day::cut_by_day;
use crate::lake::columns::RowsBuilder;
use crate::lake::datafile::{FileUpload, StoredFile};
use crate::lake::keys::{sorted_by_key, stored_keys};
use crate::lake::{ChangeSink, Check, ChunkPart, LakeName, Retention, TableKind, TableSpec, TimestampEncoding};

/// SplitMix64: small, seeded, the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Int,
    BigUnsigned,
    IntText,
    Text,
    Decimal,
    Binary,
}

pub(super) const KINDS: [Kind; 6] = [Kind::Int, Kind::BigUnsigned, Kind::IntText, Kind::Text, Kind::Decimal, Kind::Binary];

pub(super) fn utf8() -> Charset {
    Charset("utf8mb4".to_owned())
}

pub(super) fn key_types(kind: Kind) -> Vec<ColumnType> {
    match kind {
        Kind::Int => vec![ColumnType::Integer { bits: 32, unsigned: false }],
        Kind::BigUnsigned => vec![ColumnType::Integer { bits: 64, unsigned: true }],
        Kind::IntText => vec![ColumnType::Integer { bits: 16, unsigned: false }, ColumnType::Text { charset: utf8() }],
        Kind::Text => vec![ColumnType::Text { charset: utf8() }],
        Kind::Decimal => vec![ColumnType::Decimal { precision: 20, scale: 3 }],
        Kind::Binary => vec![ColumnType::Binary { fixed: None }],
    }
}

/// The key with number `n`: signs, zero bytes, prefixes of each other and trailing spaces among them.
pub(super) fn key_values(kind: Kind, n: u64) -> Vec<Value> {
    let text = |n: u64| {
        format!("{}{}", "k".repeat((n % 3) as usize), ["", " ", "\0", "ä", "z"][(n % 5) as usize]) + &(n / 7).to_string()
    };
    match kind {
        Kind::Int => vec![Value::Signed(n as i64 - 150)],
        Kind::BigUnsigned => vec![Value::Unsigned(if n.is_multiple_of(2) { u64::MAX - n } else { n })],
        Kind::IntText => vec![Value::Signed((n % 20) as i64 - 10), Value::Text(text(n))],
        Kind::Text => vec![Value::Text(format!("{}#{n}", text(n)))],
        Kind::Decimal => {
            vec![Value::Decimal(format!("{}{}.{:03}", if n.is_multiple_of(2) && n > 0 { "-" } else { "" }, n, n % 1000))]
        }
        Kind::Binary => {
            let mut bytes = vec![0_u8; (n % 4) as usize];
            bytes.extend_from_slice(&(n as u32).to_be_bytes());
            vec![Value::Bytes(bytes)]
        }
    }
}

pub(super) fn column(name: &str, ordinal: usize, kind: ColumnType, generated: Generated) -> Column {
    Column { name: name.to_owned(), kind, nullable: true, generated, ordinal, declared: String::new() }
}

pub(super) fn spec(kind: Kind, layout: Layout) -> TableSpec {
    let mut columns = vec![column("Note", 0, ColumnType::Text { charset: utf8() }, Generated::No)];
    for (index, key) in key_types(kind).into_iter().enumerate() {
        columns.push(column(&format!("k{index}"), columns.len(), key, Generated::No));
    }
    let key = (1..columns.len()).collect();
    columns.push(column("amount", columns.len(), ColumnType::Double, Generated::No));
    columns.push(column("at", columns.len(), ColumnType::Datetime { fraction: 6 }, Generated::No));
    columns.push(column("computed", columns.len(), ColumnType::Date, Generated::Virtual));
    let schema = TableSchema {
        name: TableName::new("shop", "orders"),
        physical_columns: columns.len(),
        physical: Vec::new(),
        columns,
        key,
        key_kind: KeyKind::Primary,
    };
    let name = LakeName { database: "ods_shop".to_owned(), table: "orders".to_owned() };
    TableSpec {
        name,
        kind: TableKind::Mirror,
        generation: 1,
        schema: Arc::new(schema),
        layout,
        partition_by: None,
        daily: false,
        timestamp_encoding: TimestampEncoding::Int64,
        datetimes: "instant in Asia/Shanghai".parse().ok(),
        source: "shop".to_owned(),
    }
}

pub(super) fn settings(scratch: &std::path::Path) -> Settings {
    Settings {
        url: String::new(),
        options: crate::lake::StoreOptions::default(),
        retention: Retention { min: Duration::ZERO, max: Duration::ZERO, size: 1.0 },
        zero_dates_park: false,
        check: Check::Rows,
        file_bytes: 12 << 10,
        row_group_bytes: 2 << 10,
        checkpoint_every: 10,
        batch_bytes: 3 << 10,
        scratch: scratch.to_owned(),
        clock: Arc::new(SystemClock),
        publishing: None,
    }
}

/// A table in a lake, and what MySQL would show.
pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) shape: Shape,
    pub(super) settings: Settings,
    pub(super) layout: Layout,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) segments: Vec<Segment>,
    pub(super) oracle: BTreeMap<u64, Vec<Value>>,
    pub(super) random: Random,
    pub(super) files: u64,
    pub(super) ordinal: u64,
    pub(super) _scratch: tempfile::TempDir,
}

impl World {
    pub(super) fn new(kind: Kind, layout: Layout, seed: u64) -> Self {
        Self::cut_by(None, kind, layout, seed)
    }

    /// A mirror that is cut by the day of a column.
    pub(super) fn cut_by(column: Option<&str>, kind: Kind, layout: Layout, seed: u64) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut settings = settings(scratch.path());
        if column.is_some() {
            // A day is a small table, and has segments of its own.
            (settings.file_bytes, settings.row_group_bytes) = (2 << 10, 1 << 10);
        }
        let timestamp_encoding = if seed.is_multiple_of(2) { TimestampEncoding::Int64 } else { TimestampEncoding::Int96 };
        Self {
            kind,
            shape: Shape::new(
                &TableSpec { timestamp_encoding, partition_by: column.map(str::to_owned), ..spec(kind, layout) },
                &settings,
            )
            .unwrap(),
            settings,
            layout,
            store: Arc::new(InMemory::new()),
            segments: Segment::empty_table(),
            oracle: BTreeMap::new(),
            random: Random(seed),
            files: 0,
            ordinal: 0,
            _scratch: scratch,
        }
    }

    pub(super) fn row(&mut self, n: u64) -> Vec<Value> {
        let length = self.random.below(60) as usize;
        let mut row = vec![match self.random.below(8) {
            0 => Value::Null,
            _ => Value::Text((0..length).map(|_| char::from(b'!' + self.random.below(90) as u8)).collect()),
        }];
        row.extend(key_values(self.kind, n));
        row.push(Value::Double([0.0, -0.0, f64::NAN, 1.5][self.random.below(4) as usize]));
        row.push(match self.random.below(20) {
            0 if self.shape.day().is_some() => Value::Null,
            _ => Value::Datetime(1_700_000_000_000_000 + self.random.below(1 << 40) as i64),
        });
        row.push(if self.random.below(30) == 0 { Value::ZeroDate } else { Value::Date(self.random.below(20_000) as i32) });
        row
    }

    pub(super) fn batch(&self) -> MirrorBatch {
        MirrorBatch::new(&self.shape, &self.settings)
    }

    pub(super) async fn change(
        &mut self,
        batch: &mut MirrorBatch,
        exact: bool,
        before: Option<&[Value]>,
        after: Option<&[Value]>,
    ) {
        let operation = match (before, after) {
            (None, Some(_)) => Operation::Create,
            (Some(_), Some(_)) => Operation::Update,
            (Some(_), None) => Operation::Delete,
            (None, None) => Operation::Truncate,
        };
        self.ordinal += 1;
        batch.begin(&head(operation, self.ordinal), LogOffset(0), exact).unwrap();
        for (image, row) in [(Image::Before, before), (Image::After, after)] {
            if let Some(row) = row {
                batch.image(image).unwrap();
                row.iter().for_each(|value| value.drive(batch).unwrap());
            }
        }
        batch.end().unwrap();
        batch.relieve().await.unwrap();
    }

    /// One random change of MySQL's table, into oracle and batch alike.
    pub(super) async fn random_change(&mut self, batch: &mut MirrorBatch, exact: bool, keys: u64) {
        let n = self.random.below(keys);
        let before = self.oracle.get(&n).cloned();
        let choice = self.random.below(100);
        match before {
            None => {
                let row = self.row(n);
                self.change(batch, exact, None, Some(&row)).await;
                self.oracle.insert(n, row);
            }
            Some(before) if choice < 30 => {
                self.change(batch, exact, Some(&before), None).await;
                self.oracle.remove(&n);
            }
            Some(before) if choice < 40 => {
                let to = self.random.below(keys);
                if self.oracle.contains_key(&to) {
                    return;
                }
                let after = self.row(to);
                if choice < 35 {
                    self.change(batch, exact, Some(&before), Some(&after)).await;
                } else {
                    self.change(batch, exact, Some(&before), None).await;
                    self.change(batch, exact, None, Some(&after)).await;
                }
                self.oracle.remove(&n);
                self.oracle.insert(to, after);
            }
            Some(before) => {
                let after = self.row(n);
                self.change(batch, exact, Some(&before), Some(&after)).await;
                self.oracle.insert(n, after);
            }
        }
    }

    pub(super) async fn apply(&mut self, batch: MirrorBatch) -> Result<Merged> {
        let segments = self.segments.clone();
        let files = &mut self.files;
        let mut next_path = move |day: Option<&str>| {
            *files += 1;
            format!("g0001/{}/s{files:08}/part-0000.parquet", day.unwrap_or("all"))
        };
        let mut context = MergeContext {
            store: Arc::clone(&self.store),
            table_prefix: Path::from("ods_shop/orders"),
            shape: self.shape.clone(),
            settings: &self.settings,
            layout: self.layout,
            next_path: &mut next_path,
        };
        let merged = apply(&mut context, &segments, batch).await?;
        check_files(&segments, &merged);
        self.segments = merged.segments.clone();
        Ok(merged)
    }

    pub(super) async fn read(&self, entry: &FileEntry) -> Vec<RecordBatch> {
        let file = StoredFile::open(&self.store, &Path::from("ods_shop/orders"), entry, &self.shape).await.unwrap();
        let mut batches = Vec::new();
        for index in 0..file.row_groups() {
            let group = file.row_group(index).await.unwrap();
            let mut decoded = group.decode().unwrap();
            let mut keys = Vec::new();
            while let Some((batch, stored)) = decoded.next_batch().unwrap() {
                keys.extend((0..stored.len()).map(|row| stored.get(row).to_vec()));
                batches.push(batch);
            }
            assert_eq!(keys.first().map(Vec::as_slice), file.first_key(index), "the footer's first key");
            assert_eq!(keys.last().map(Vec::as_slice), file.last_key(index), "the footer's last key");
        }
        batches
    }

    pub(super) fn expected(&self) -> RecordBatch {
        let mut builder = RowsBuilder::new(&self.shape);
        for row in self.oracle.values() {
            builder.image(Image::After).unwrap();
            row.iter().for_each(|value| value.drive(&mut builder).unwrap());
        }
        sorted_by_key(&self.shape, &builder.take().unwrap()).unwrap()
    }

    /// The files hold the oracle's rows, and the segments are well formed.
    pub(super) async fn check(&self) {
        let mut rows = Vec::new();
        let mut lower = String::new();
        for (index, segment) in self.segments.iter().enumerate() {
            assert_eq!(segment.lower, lower, "segments follow each other");
            assert_eq!(segment.upper.is_none(), index + 1 == self.segments.len());
            assert!(segment.file.is_some() || self.segments.len() == 1, "only an empty table has an empty segment");
            if let Some(entry) = &segment.file {
                let batches = self.read(entry).await;
                let (low, high) = entry.keys.clone().unwrap();
                let first = to_hex_key(&self.shape, batches.first().unwrap(), true);
                let last = to_hex_key(&self.shape, batches.last().unwrap(), false);
                assert_eq!((&low, &high), (&first, &last));
                assert!(segment.lower <= low && segment.upper.as_ref().is_none_or(|upper| high < *upper), "rows within bounds");
                assert!(entry.rows > 0);
                self.check_day(entry, &batches);
                rows.extend(batches);
            }
            lower = segment.upper.clone().unwrap_or_default();
        }
        let read = concat_batches(&self.shape.arrow_schema(), &rows).unwrap();
        let expected = self.expected();
        assert_eq!(read.num_rows(), expected.num_rows(), "rows");
        assert_eq!(read, expected);
    }

    /// Files neither pile up nor outgrow their aim.
    pub(super) fn check_sizes(&self) {
        let sizes: Vec<u64> = self.segments.iter().filter_map(|segment| segment.file.as_ref()).map(|file| file.bytes).collect();
        let bytes: u64 = sizes.iter().sum();
        match self.layout {
            Layout::Single => assert!(sizes.len() <= 1),
            Layout::Segments if self.shape.day().is_some() => self.check_sizes_by_day(),
            Layout::Segments => {
                // A footer counts here, and not where files are cut.
                let most = self.settings.file_bytes * 5 / 4 + (8 << 10);
                assert!(sizes.iter().all(|size| *size <= most), "{sizes:?}");
                assert!(sizes.len() as u64 <= 4 * bytes / self.settings.file_bytes + 1, "{sizes:?}");
            }
        }
    }
}

pub(super) fn to_hex_key(shape: &Shape, batch: &RecordBatch, first: bool) -> String {
    let keys = stored_keys(shape, batch).unwrap();
    crate::lake::keys::to_hex(if first { keys.first() } else { keys.last() }.unwrap())
}

pub(super) fn head(operation: Operation, ordinal: u64) -> RecordHead {
    let transaction = BinlogPosition { epoch: 0, file: 1, offset: 4 };
    RecordHead {
        operation,
        position: ChangePosition { transaction, ordinal },
        previous: None,
        term: Term(1),
        schema: String::new(),
        gtid: None,
        file: "binlog.000001".to_owned(),
        committed_us: 0,
        statement: None,
    }
}

/// `added` and `removed` are exactly the difference of the file lists.
pub(super) fn check_files(before: &[Segment], merged: &Merged) {
    let paths = |segments: &[Segment]| -> BTreeSet<String> {
        segments.iter().filter_map(|segment| segment.file.as_ref()).map(|file| file.path.clone()).collect()
    };
    let list = |files: &[FileEntry]| -> BTreeSet<String> { files.iter().map(|file| file.path.clone()).collect() };
    let (old, new) = (paths(before), paths(&merged.segments));
    assert_eq!(list(&merged.added), new.difference(&old).cloned().collect());
    assert_eq!(list(&merged.removed), old.difference(&new).cloned().collect());
}

impl World {
    /// Deletes nearly all rows of one segment.
    pub(super) async fn shrink(&mut self, index: usize) {
        let segment = self.segments[index].clone();
        let inside = |key: &str| segment.lower.as_str() <= key && segment.upper.as_deref().is_none_or(|upper| key < upper);
        let mut batch = self.batch();
        let mut left = 3;
        for n in self.oracle.keys().copied().collect::<Vec<_>>() {
            let row = self.oracle[&n].clone();
            let mut builder = RowsBuilder::new(&self.shape);
            builder.image(Image::After).unwrap();
            row.iter().for_each(|value| value.drive(&mut builder).unwrap());
            if inside(&to_hex_key(&self.shape, &builder.take().unwrap(), true)) {
                if left > 0 {
                    left -= 1;
                    continue;
                }
                self.change(&mut batch, true, Some(&row), None).await;
                self.oracle.remove(&n);
            }
        }
        self.apply(batch).await.unwrap();
        self.check().await;
    }
}

impl World {
    pub(super) fn change_unrelieved(&mut self, batch: &mut MirrorBatch, before: Option<&[Value]>, after: Option<&[Value]>) {
        let operation = match (before, after) {
            (None, _) => Operation::Create,
            (_, None) => Operation::Delete,
            _ => Operation::Update,
        };
        self.ordinal += 1;
        batch.begin(&head(operation, self.ordinal), LogOffset(0), true).unwrap();
        for (image, row) in [(Image::Before, before), (Image::After, after)] {
            if let Some(row) = row {
                batch.image(image).unwrap();
                row.iter().for_each(|value| value.drive(batch).unwrap());
            }
        }
        batch.end().unwrap();
    }

    pub(super) async fn adopt(&mut self, chunks: &[ChunkPart]) -> Merged {
        let files = &mut self.files;
        let mut next_path = move |day: Option<&str>| {
            *files += 1;
            format!("g0001/{}/a{files:08}/part-0000.parquet", day.unwrap_or("all"))
        };
        let mut context = MergeContext {
            store: Arc::clone(&self.store),
            table_prefix: Path::from("ods_shop/orders"),
            shape: self.shape.clone(),
            settings: &self.settings,
            layout: self.layout,
            next_path: &mut next_path,
        };
        let merged = adopt(&mut context, chunks).await.unwrap();
        self.segments = merged.segments.clone();
        merged
    }

    /// The files of a chunk: one, or one for each day.
    pub(super) async fn chunk(&mut self, name: &str, rows: &[Vec<Value>]) -> Vec<ChunkPart> {
        let mut builder = RowsBuilder::new(&self.shape);
        for row in rows {
            builder.image(Image::After).unwrap();
            row.iter().for_each(|value| value.drive(&mut builder).unwrap());
        }
        let sorted = sorted_by_key(&self.shape, &builder.take().unwrap()).unwrap();
        let prefix = Path::from("ods_shop/orders");
        let mut parts = Vec::new();
        for (day, rows) in cut_by_day(&self.shape, sorted).unwrap() {
            let directory = day.map_or("all".to_owned(), |day| day.directory(&self.shape).unwrap());
            let path = format!("g0001/{directory}/chunk-{name}.parquet");
            let mut upload = FileUpload::new(&self.store, &prefix, path, &self.shape, &self.settings).unwrap();
            upload.write(rows).await.unwrap();
            let entry = upload.finish().await.unwrap();
            parts.push(ChunkPart { path: entry.path, rows: entry.rows, bytes: entry.bytes, keys: entry.keys });
        }
        parts
    }
}

impl World {
    /// A file has rows of one day, and lies in that day's directory.
    fn check_day(&self, entry: &FileEntry, batches: &[RecordBatch]) {
        let Some(index) = self.shape.day() else { return };
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        for batch in batches {
            let instants = batch.column(index).as_primitive::<TimestampMicrosecondType>();
            for instant in instants {
                let day = instant.map(|at| Timestamp::from_microsecond(at).unwrap().to_zoned(zone.clone()).date().to_string());
                let directory = format!("/dt={}/", day.as_deref().unwrap_or("__HIVE_DEFAULT_PARTITION__"));
                assert!(entry.path.contains(&directory), "{instant:?} in {}", entry.path);
            }
        }
    }

    /// The directory of the wall clock's day.
    pub(super) fn directory(&self, at: &Value) -> String {
        let Value::Datetime(at) = at else { panic!("{at:?}") };
        format!("/dt={}/", Timestamp::from_microsecond(*at).unwrap().to_zoned(TimeZone::UTC).date())
    }

    /// Of a day as of a table: its files neither pile up nor outgrow their aim.
    fn check_sizes_by_day(&self) {
        let mut days: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for file in self.segments.iter().filter_map(|segment| segment.file.as_ref()) {
            days.entry(file.path.split('/').nth(1).unwrap().to_owned()).or_default().push(file.bytes);
        }
        for (day, sizes) in days {
            let most = self.settings.file_bytes * 5 / 4 + (8 << 10);
            assert!(sizes.iter().all(|size| *size <= most), "{day}: {sizes:?}");
            assert!(sizes.len() as u64 <= 4 * sizes.iter().sum::<u64>() / self.settings.file_bytes + 1, "{day}: {sizes:?}");
        }
    }
}
