//! Random histories against an oracle: after every batch the files hold exactly the oracle's rows, in order, in well-formed segments.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use object_store::memory::InMemory;

use super::*;
use crate::change::{
    BinlogPosition, ChangePosition, Charset, Column, ColumnType, Generated, Image, KeyKind, LogOffset, Operation, RecordHead,
    RowSink, SystemClock, TableName, TableSchema, Term, Value,
};
use crate::lake::columns::RowsBuilder;
use crate::lake::datafile::{FileUpload, StoredFile};
use crate::lake::keys::{from_hex, sorted_by_key, stored_keys};
use crate::lake::{ChangeSink, Check, ChunkPart, DatetimeEncoding, Error, LakeName, Retention, TableKind, TableSpec};

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Int,
    BigUnsigned,
    IntText,
    Text,
    Decimal,
    Binary,
}

const KINDS: [Kind; 6] = [Kind::Int, Kind::BigUnsigned, Kind::IntText, Kind::Text, Kind::Decimal, Kind::Binary];

fn utf8() -> Charset {
    Charset("utf8mb4".to_owned())
}

fn key_types(kind: Kind) -> Vec<ColumnType> {
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
fn key_values(kind: Kind, n: u64) -> Vec<Value> {
    let text = |n: u64| {
        format!("{}{}", "k".repeat((n % 3) as usize), ["", " ", "\0", "ä", "z"][(n % 5) as usize]) + &(n / 7).to_string()
    };
    match kind {
        Kind::Int => vec![Value::Signed(n as i64 - 150)],
        Kind::BigUnsigned => vec![Value::Unsigned(if n % 2 == 0 { u64::MAX - n } else { n })],
        Kind::IntText => vec![Value::Signed((n % 20) as i64 - 10), Value::Text(text(n))],
        Kind::Text => vec![Value::Text(format!("{}#{n}", text(n)))],
        Kind::Decimal => vec![Value::Decimal(format!("{}{}.{:03}", if n % 2 == 0 && n > 0 { "-" } else { "" }, n, n % 1000))],
        Kind::Binary => {
            let mut bytes = vec![0_u8; (n % 4) as usize];
            bytes.extend_from_slice(&(n as u32).to_be_bytes());
            vec![Value::Bytes(bytes)]
        }
    }
}

fn column(name: &str, ordinal: usize, kind: ColumnType, generated: Generated) -> Column {
    Column { name: name.to_owned(), kind, nullable: true, generated, ordinal, declared: String::new() }
}

fn spec(kind: Kind, layout: Layout) -> TableSpec {
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
    TableSpec { name, kind: TableKind::Mirror, generation: 1, schema: Arc::new(schema), layout, source: "shop".to_owned() }
}

fn settings(scratch: &std::path::Path) -> Settings {
    Settings {
        url: String::new(),
        retention: Retention { min: Duration::ZERO, max: Duration::ZERO, size: 1.0 },
        datetime_zone: "Asia/Shanghai".to_owned(),
        datetime: DatetimeEncoding::Instant,
        zero_dates_park: false,
        check: Check::Rows,
        file_bytes: 12 << 10,
        row_group_bytes: 2 << 10,
        checkpoint_every: 10,
        batch_bytes: 3 << 10,
        scratch: scratch.to_owned(),
        clock: Arc::new(SystemClock),
    }
}

/// A table in a lake, and what MySQL would show.
struct World {
    kind: Kind,
    shape: Shape,
    settings: Settings,
    layout: Layout,
    store: Arc<dyn ObjectStore>,
    segments: Vec<Segment>,
    oracle: BTreeMap<u64, Vec<Value>>,
    random: Random,
    files: u64,
    ordinal: u64,
    _scratch: tempfile::TempDir,
}

impl World {
    fn new(kind: Kind, layout: Layout, seed: u64) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let settings = settings(scratch.path());
        Self {
            kind,
            shape: Shape::new(&spec(kind, layout), &settings).unwrap(),
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

    fn row(&mut self, n: u64) -> Vec<Value> {
        let length = self.random.below(60) as usize;
        let mut row = vec![match self.random.below(8) {
            0 => Value::Null,
            _ => Value::Text((0..length).map(|_| char::from(b'!' + self.random.below(90) as u8)).collect()),
        }];
        row.extend(key_values(self.kind, n));
        row.push(Value::Double([0.0, -0.0, f64::NAN, 1.5][self.random.below(4) as usize]));
        row.push(Value::Datetime(1_700_000_000_000_000 + self.random.below(1 << 40) as i64));
        row.push(if self.random.below(30) == 0 { Value::ZeroDate } else { Value::Date(self.random.below(20_000) as i32) });
        row
    }

    fn batch(&self) -> MirrorBatch {
        MirrorBatch::new(&self.shape, &self.settings)
    }

    async fn change(&mut self, batch: &mut MirrorBatch, exact: bool, before: Option<&[Value]>, after: Option<&[Value]>) {
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
    async fn random_change(&mut self, batch: &mut MirrorBatch, exact: bool, keys: u64) {
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

    async fn apply(&mut self, batch: MirrorBatch) -> Result<Merged> {
        let segments = self.segments.clone();
        let files = &mut self.files;
        let mut next_path = move || {
            *files += 1;
            format!("g0001/s{files:08}/part-0000.parquet")
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

    async fn read(&self, entry: &FileEntry) -> Vec<RecordBatch> {
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

    fn expected(&self) -> RecordBatch {
        let mut builder = RowsBuilder::new(&self.shape);
        for row in self.oracle.values() {
            builder.image(Image::After).unwrap();
            row.iter().for_each(|value| value.drive(&mut builder).unwrap());
        }
        sorted_by_key(&self.shape, &builder.take().unwrap()).unwrap()
    }

    /// The files hold the oracle's rows, and the segments are well formed.
    async fn check(&self) {
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
    fn check_sizes(&self) {
        let sizes: Vec<u64> = self.segments.iter().filter_map(|segment| segment.file.as_ref()).map(|file| file.bytes).collect();
        let bytes: u64 = sizes.iter().sum();
        match self.layout {
            Layout::Single => assert!(sizes.len() <= 1),
            Layout::Segments => {
                // A footer counts here, and not where files are cut.
                let most = self.settings.file_bytes * 5 / 4 + (8 << 10);
                assert!(sizes.iter().all(|size| *size <= most), "{sizes:?}");
                assert!(sizes.len() as u64 <= 4 * bytes / self.settings.file_bytes + 1, "{sizes:?}");
            }
        }
    }
}

fn to_hex_key(shape: &Shape, batch: &RecordBatch, first: bool) -> String {
    let keys = stored_keys(shape, batch).unwrap();
    crate::lake::keys::to_hex(if first { keys.first() } else { keys.last() }.unwrap())
}

fn head(operation: Operation, ordinal: u64) -> RecordHead {
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
fn check_files(before: &[Segment], merged: &Merged) {
    let paths = |segments: &[Segment]| -> BTreeSet<String> {
        segments.iter().filter_map(|segment| segment.file.as_ref()).map(|file| file.path.clone()).collect()
    };
    let list = |files: &[FileEntry]| -> BTreeSet<String> { files.iter().map(|file| file.path.clone()).collect() };
    let (old, new) = (paths(before), paths(&merged.segments));
    assert_eq!(list(&merged.added), new.difference(&old).cloned().collect());
    assert_eq!(list(&merged.removed), old.difference(&new).cloned().collect());
}

async fn history(kind: Kind, layout: Layout, seed: u64, batches: usize) -> World {
    let mut world = World::new(kind, layout, seed);
    let mut segments_seen = HashSet::new();
    for number in 0..batches {
        let mut batch = world.batch();
        let keys = 400 + 60 * number as u64;
        let changes = match world.random.below(4) {
            _ if number == 0 => 600,
            0 => 1 + world.random.below(5),
            1 => 500,
            _ => 1 + world.random.below(120),
        };
        let rows_before = world.oracle.len() as u64;
        for _ in 0..changes {
            if world.random.below(1500) == 0 {
                world.change(&mut batch, true, None, None).await;
                world.oracle.clear();
            }
            world.random_change(&mut batch, true, keys).await;
        }
        let merged = world.apply(batch).await.unwrap_or_else(|error| panic!("{kind:?} seed {seed} batch {number}: {error}"));
        assert_eq!(rows_before + merged.inserted - merged.deleted, world.oracle.len() as u64, "counts");
        world.check().await;
        world.check_sizes();
        segments_seen.insert(world.segments.len());
    }
    if layout == Layout::Segments {
        assert!(segments_seen.len() > 1, "{kind:?}: the history never split a segment");
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_leave_exactly_the_rows_of_the_oracle() {
    // BINLAKE_SEEDS asks for more histories than the two a test run has time for.
    let seeds = std::env::var("BINLAKE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2);
    for kind in KINDS {
        for seed in 0..seeds {
            history(kind, Layout::Segments, seed, 16).await;
        }
        history(kind, Layout::Single, 7, 8).await;
    }
}

#[tokio::test]
async fn a_table_that_is_emptied_and_filled_again_keeps_few_files() {
    let mut world = World::new(Kind::Text, Layout::Segments, 3);
    let mut batch = world.batch();
    for n in 0..1500 {
        let row = world.row(n);
        world.change(&mut batch, true, None, Some(&row)).await;
        world.oracle.insert(n, row);
    }
    world.apply(batch).await.unwrap();
    assert!(world.segments.len() > 3);
    let mut batch = world.batch();
    let rows: Vec<(u64, Vec<Value>)> = world.oracle.iter().map(|(n, row)| (*n, row.clone())).collect();
    for (n, row) in rows.iter().filter(|(n, _)| n % 50 != 0) {
        world.change(&mut batch, true, Some(row), None).await;
        world.oracle.remove(n);
    }
    world.apply(batch).await.unwrap();
    world.check().await;
    assert_eq!(world.segments.len(), 1, "what shrank goes together");
    let mut batch = world.batch();
    for (n, row) in rows.iter().filter(|(n, _)| n % 50 == 0) {
        world.change(&mut batch, true, Some(row), None).await;
        world.oracle.remove(n);
    }
    world.apply(batch).await.unwrap();
    assert_eq!(world.segments, Segment::empty_table());
    let mut batch = world.batch();
    for n in 0..2000 {
        let row = world.row(n);
        world.change(&mut batch, true, None, Some(&row)).await;
        world.oracle.insert(n, row);
    }
    world.apply(batch).await.unwrap();
    world.check().await;
    world.check_sizes();
}

#[tokio::test]
async fn small_appends_fill_and_seal_the_tail_and_touch_nothing_else() {
    let mut world = World::new(Kind::Int, Layout::Segments, 1);
    let mut sealed: Vec<FileEntry> = Vec::new();
    for number in 0..120_u64 {
        let mut batch = world.batch();
        for n in number * 10..number * 10 + 10 {
            let row = world.row(n);
            world.change(&mut batch, true, None, Some(&row)).await;
            world.oracle.insert(n, row);
        }
        let merged = world.apply(batch).await.unwrap();
        assert!(merged.removed.len() <= 1, "only the tail is rewritten");
        assert!(merged.removed.iter().all(|file| !sealed.contains(file)), "a sealed file is not touched");
        let files: Vec<FileEntry> = world.segments.iter().filter_map(|segment| segment.file.clone()).collect();
        sealed = files[..files.len() - 1].to_vec();
    }
    world.check().await;
    world.check_sizes();
    assert!(sealed.len() > 2);
    assert!(sealed.iter().all(|file| file.bytes > world.settings.file_bytes / 2), "sealed files are full");
}

#[tokio::test]
async fn a_change_of_one_row_copies_the_other_row_groups_byte_for_byte() {
    let mut world = World::new(Kind::Int, Layout::Single, 5);
    let mut batch = world.batch();
    for n in 0..600 {
        let row = world.row(n);
        world.change(&mut batch, true, None, Some(&row)).await;
        world.oracle.insert(n, row);
    }
    world.apply(batch).await.unwrap();
    let old = world.segments[0].file.clone().unwrap();
    let mut batch = world.batch();
    let (before, after) = (world.oracle[&300].clone(), world.row(300));
    world.change(&mut batch, true, Some(&before), Some(&after)).await;
    world.oracle.insert(300, after);
    world.apply(batch).await.unwrap();
    world.check().await;
    let new = world.segments[0].file.clone().unwrap();
    let prefix = Path::from("ods_shop/orders");
    let groups = |entry: FileEntry| {
        let (store, shape, prefix) = (Arc::clone(&world.store), world.shape.clone(), prefix.clone());
        async move {
            let file = StoredFile::open(&store, &prefix, &entry, &shape).await.unwrap();
            let mut bytes = Vec::new();
            for index in 0..file.row_groups() {
                bytes.push(file.row_group(index).await.unwrap().bytes_of_file().to_vec());
            }
            bytes
        }
    };
    let (old, new) = (groups(old).await, groups(new).await);
    assert_eq!(old.len(), new.len());
    assert!(old.len() > 5);
    assert_eq!(old.iter().zip(&new).filter(|(old, new)| old != new).count(), 1);
}

#[tokio::test]
async fn before_the_handoff_the_log_heals_whatever_the_snapshot_read() {
    for kind in KINDS {
        let mut world = World::new(kind, Layout::Segments, 11);
        // The snapshot saw some rows early, some late, some not at all: any state of the keys that change afterwards will do.
        let mut batch = world.batch();
        for n in (0..200).step_by(2) {
            let row = world.row(n);
            world.change(&mut batch, false, None, Some(&row)).await;
        }
        world.apply(batch).await.unwrap();
        let mut batch = world.batch();
        for n in 0..200 {
            let (old, new) = (world.row(n), world.row(n));
            match n % 4 {
                0 => world.change(&mut batch, false, None, Some(&new)).await,
                1 => world.change(&mut batch, false, Some(&old), Some(&new)).await,
                _ => world.change(&mut batch, false, Some(&old), None).await,
            }
            if n % 4 < 2 {
                world.oracle.insert(n, new);
            }
        }
        // From here on the mirror is exact, in the same batch too.
        for _ in 0..100 {
            world.random_change(&mut batch, true, 200).await;
        }
        world.apply(batch).await.unwrap();
        world.check().await;
    }
}

#[derive(Debug, Clone, Copy)]
enum Plant {
    InsertOfPresent,
    UpdateOfAbsent,
    DeleteOfAbsent,
    UpdateOfOther,
    DeleteOfOther,
}

#[tokio::test]
async fn every_planted_divergence_is_found_in_the_base_and_inside_a_batch_spilled_or_not() {
    use Plant::*;
    for kind in [Kind::Int, Kind::Text] {
        for plant in [InsertOfPresent, UpdateOfAbsent, DeleteOfAbsent, UpdateOfOther, DeleteOfOther] {
            for inside in [false, true] {
                for spilled in [false, true] {
                    for check in [Check::Rows, Check::Keys] {
                        planted(kind, plant, inside, spilled, check).await;
                    }
                }
            }
        }
    }
}

async fn planted(kind: Kind, plant: Plant, inside: bool, spilled: bool, check: Check) {
    let mut world = World::new(kind, Layout::Segments, 23);
    world.settings.check = check;
    if !spilled {
        world.settings.batch_bytes = usize::MAX;
    }
    let mut batch = world.batch();
    for n in 0..300 {
        let row = world.row(n);
        world.change(&mut batch, true, None, Some(&row)).await;
        world.oracle.insert(n, row);
    }
    if !inside {
        world.apply(batch).await.unwrap();
        batch = world.batch();
    }
    for _ in 0..40 {
        world.random_change(&mut batch, true, 100).await;
    }
    let (there, gone) = (200, 1000);
    let row = world.oracle[&there].clone();
    let mut other = row.clone();
    let amount = other.len() - 3;
    other[amount] = Value::Double(if row[amount] == Value::Double(1.5) { 2.5 } else { 1.5 });
    let absent = world.row(gone);
    let found = match plant {
        Plant::InsertOfPresent => (None, Some(&row)),
        Plant::UpdateOfAbsent => (Some(&absent), Some(&absent)),
        Plant::DeleteOfAbsent => (Some(&absent), None),
        Plant::UpdateOfOther => (Some(&other), Some(&row)),
        Plant::DeleteOfOther => (Some(&other), None),
    };
    world.ordinal = 76;
    world.change_unrelieved(&mut batch, found.0.map(Vec::as_slice), found.1.map(Vec::as_slice));
    let outcome = match batch.relieve().await {
        Ok(()) => world.apply(batch).await.map(drop),
        Err(error) => Err(error),
    };
    let only_rows_differ = matches!(plant, Plant::UpdateOfOther | Plant::DeleteOfOther);
    match outcome {
        Err(Error::Divergence { position, key, expected, found, .. }) => {
            assert_eq!(position.ordinal, 77);
            assert!(key.starts_with("k0="), "{key}");
            let expects_row = !matches!(plant, Plant::InsertOfPresent);
            let finds_row = !matches!(plant, Plant::UpdateOfAbsent | Plant::DeleteOfAbsent);
            assert_eq!(expected != "no row", expects_row, "{expected}");
            assert_eq!(found != "no row", finds_row, "{found}");
            assert!(check == Check::Rows || !only_rows_differ);
        }
        Ok(()) => assert!(check == Check::Keys && only_rows_differ, "{kind:?} {plant:?} inside {inside} spilled {spilled}"),
        Err(other) => panic!("{other}"),
    }
}

impl World {
    fn change_unrelieved(&mut self, batch: &mut MirrorBatch, before: Option<&[Value]>, after: Option<&[Value]>) {
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

    async fn adopt(&mut self, chunks: &[ChunkPart]) -> Merged {
        let files = &mut self.files;
        let mut next_path = move || {
            *files += 1;
            format!("g0001/a{files:08}/part-0000.parquet")
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

    async fn chunk(&mut self, name: &str, rows: &[Vec<Value>]) -> ChunkPart {
        let mut builder = RowsBuilder::new(&self.shape);
        for row in rows {
            builder.image(Image::After).unwrap();
            row.iter().for_each(|value| value.drive(&mut builder).unwrap());
        }
        let sorted = sorted_by_key(&self.shape, &builder.take().unwrap()).unwrap();
        let prefix = Path::from("ods_shop/orders");
        let path = format!("g0001/chunk-{name}.parquet");
        let mut upload = FileUpload::new(&self.store, &prefix, path, &self.shape, &self.settings).unwrap();
        upload.write(sorted).await.unwrap();
        let entry = upload.finish().await.unwrap();
        ChunkPart { path: entry.path, rows: entry.rows, bytes: entry.bytes, keys: entry.keys }
    }
}

#[tokio::test]
async fn chunks_are_adopted_whether_they_overlap_or_not() {
    for (kind, chunk_rows, layout) in [
        (Kind::Int, 40, Layout::Segments),
        (Kind::Int, 900, Layout::Segments),
        (Kind::IntText, 70, Layout::Segments),
        (Kind::Text, 30, Layout::Segments),
        (Kind::Binary, 400, Layout::Segments),
        (Kind::Text, 100, Layout::Single),
        (Kind::Int, 100, Layout::Single),
    ] {
        let mut world = World::new(kind, layout, 31);
        let mut chunks = Vec::new();
        for number in 0..(1800 / chunk_rows) {
            let mut rows = Vec::new();
            for n in number * chunk_rows..(number + 1) * chunk_rows {
                let row = world.row(n);
                rows.push(row.clone());
                world.oracle.insert(n, row);
            }
            chunks.push(world.chunk(&number.to_string(), &rows).await);
        }
        chunks.push(world.chunk("empty", &[]).await);
        let merged = world.adopt(&chunks).await;
        assert_eq!(merged.inserted, world.oracle.len() as u64);
        world.check().await;
        if chunk_rows < 400 {
            world.check_sizes();
        }
        if kind == Kind::Int && chunk_rows == 900 {
            assert_eq!(merged.bytes_written, 0, "large files one behind the other stay");
        }
        // What no segment names is listed, and nothing else was left in the lake.
        use futures::TryStreamExt as _;
        let listed: Vec<_> = world.store.list(None).try_collect().await.unwrap();
        let empty = 1;
        assert_eq!(listed.len(), merged.added.len() + merged.removed.len() + empty);
        for _ in 0..3 {
            let mut batch = world.batch();
            for _ in 0..150 {
                world.random_change(&mut batch, true, 2000).await;
            }
            world.apply(batch).await.unwrap();
            world.check().await;
        }
    }
}

#[tokio::test]
async fn a_key_in_two_chunks_is_one_row_that_of_the_later_chunk() {
    let mut world = World::new(Kind::Text, Layout::Segments, 37);
    let mut first: Vec<Vec<Value>> = Vec::new();
    for n in 0..100 {
        let row = world.row(n);
        first.push(row);
    }
    let mut second: Vec<Vec<Value>> = Vec::new();
    for n in 50..150 {
        let row = world.row(n);
        second.push(row);
    }
    for (n, row) in (0..100).zip(&first).chain((50..150).zip(&second)) {
        world.oracle.insert(n, row.clone());
    }
    let chunks = [world.chunk("a", &first).await, world.chunk("b", &second).await];
    world.adopt(&chunks).await;
    world.check().await;
}

#[tokio::test]
async fn scratch_is_empty_when_a_batch_is_gone() {
    let mut world = World::new(Kind::Int, Layout::Segments, 41);
    for commits in [true, false] {
        let mut batch = world.batch();
        for n in 0..2000 {
            let row = world.row(n);
            let before = world.oracle.get(&n).cloned();
            world.change(&mut batch, true, before.as_deref(), Some(&row)).await;
            world.oracle.insert(n, row);
            assert!(batch.memory_bytes() <= world.settings.batch_bytes + 1024);
        }
        let runs = || std::fs::read_dir(world.settings.scratch.clone()).unwrap().count();
        assert_eq!(runs(), 1, "it spilled");
        if commits {
            world.apply(batch).await.unwrap();
            world.check().await;
        } else {
            drop(batch);
        }
        assert_eq!(std::fs::read_dir(&world.settings.scratch).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn segments_bounds_are_stored_keys() {
    let world = history(Kind::Decimal, Layout::Segments, 2, 10).await;
    assert!(world.segments.iter().all(|segment| from_hex(&segment.lower).is_some()));
    let text = serde_json::to_string(&world.segments).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Segment>>(&text).unwrap(), world.segments);
}
