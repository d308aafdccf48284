//! Encode, decode, compare: random shapes and rows with a printed seed, corner values, wire bytes, and damage.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::change::{
    BinlogPosition, CellError, ChangePosition, Charset, Column, ColumnType, Generated, Image, KeyKind, LogOffset, Operation,
    RowSink, TableName, TableSchema, Term, Value, ValueSink,
};
use crate::changelog::chain::Links;
use crate::changelog::{AppendBatch, Error, PartitionTail, Record};

/// A small generator of numbers (splitmix64): the same seed, the same run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// Any bits, small ones more often.
    fn bits(&mut self) -> u64 {
        let shift = self.below(64);
        match self.below(4) {
            0 => 0,
            1 => u64::MAX >> shift,
            _ => self.roll() >> shift,
        }
    }

    fn text(&mut self) -> String {
        let length = self.pick(&[0, 1, 2, 7, 8, 9, 40, 300]);
        (0..length)
            .map(|_| match self.below(5) {
                0 => char::from(self.below(0x80) as u8),
                1 => self.pick(&['"', '\\', '\n', '\0', '\u{1f}', '{', '}', ',', '\u{2028}', '😀', '\u{10ffff}']),
                2 => char::from_u32(self.below(0x11_0000) as u32).unwrap_or('é'),
                _ => char::from(b'a' + self.below(26) as u8),
            })
            .collect()
    }

    fn blob(&mut self) -> Vec<u8> {
        let length = self.pick(&[0, 1, 2, 3, 4, 5, 25, 700]);
        (0..length).map(|_| self.roll() as u8).collect()
    }

    fn float(&mut self) -> f32 {
        let any = f32::from_bits(self.roll() as u32);
        let corners = [0.0, -0.0, 0.1, f32::MIN, f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), 16_777_216.0, any];
        Some(self.pick(&corners)).filter(|value| value.is_finite()).unwrap_or(1.5)
    }

    fn double(&mut self) -> f64 {
        let any = f64::from_bits(self.roll());
        let corners = [0.0, -0.0, 0.1, 1e15, 1e300, f64::MIN, f64::MAX, f64::from_bits(1), any, any];
        Some(self.pick(&corners)).filter(|value| value.is_finite()).unwrap_or(1.5)
    }

    fn decimal(&mut self, precision: u8, scale: u8) -> String {
        let mut text = if self.below(2) == 0 { "-".to_owned() } else { String::new() };
        text.push('7');
        (scale + 1..precision).for_each(|_| text.push(char::from(b'0' + self.below(10) as u8)));
        if scale > 0 {
            text.push('.');
            (0..scale).for_each(|_| text.push(char::from(b'0' + self.below(10) as u8)));
        }
        text
    }

    /// Microseconds between the years 0 and 9999, with at most `fraction` digits.
    fn microseconds(&mut self, fraction: u8) -> i64 {
        const FIRST: i64 = -62_167_219_200_000_000;
        const LAST: i64 = 253_402_300_799_999_999;
        let any = FIRST + (self.roll() % (LAST - FIRST) as u64) as i64;
        let value = self.pick(&[FIRST, LAST, 0, -1_000_000, 2_147_483_647_999_999, any, any]);
        value - value.rem_euclid(10_i64.pow(6 - u32::from(fraction)))
    }

    fn kind(&mut self) -> ColumnType {
        let charset = || Charset("utf8mb4".to_owned());
        let labels = || vec!["a".to_owned(), "b\"".to_owned()];
        let fraction = self.below(7) as u8;
        let precision = 1 + self.below(65) as u8;
        match self.below(19) {
            0 => ColumnType::Year,
            1 => ColumnType::Float,
            2 => ColumnType::Double,
            3 => ColumnType::Decimal { precision, scale: self.below(u64::from(precision.min(31))) as u8 },
            4 => ColumnType::Bit { bits: 1 },
            5 => ColumnType::Bit { bits: 1 + self.below(64) as u8 },
            6 => ColumnType::Binary { fixed: None },
            7 => ColumnType::Enum { labels: labels(), charset: charset() },
            8 => ColumnType::Set { labels: labels(), charset: charset() },
            9 => ColumnType::Json,
            10 => ColumnType::Date,
            11 => ColumnType::Time { fraction },
            12 => ColumnType::Datetime { fraction },
            13 => ColumnType::Timestamp { fraction },
            14 => ColumnType::Geometry,
            15 => ColumnType::Vector,
            16 => ColumnType::Text { charset: charset() },
            _ => ColumnType::Integer { bits: self.pick(&[8, 16, 24, 32, 64]), unsigned: self.below(2) == 0 },
        }
    }

    fn value(&mut self, kind: &ColumnType) -> Value {
        if self.below(8) == 0 {
            return Value::Null;
        }
        let date = matches!(kind, ColumnType::Date | ColumnType::Datetime { .. } | ColumnType::Timestamp { .. });
        if date && self.below(6) == 0 {
            return Value::ZeroDate;
        }
        match kind {
            ColumnType::Integer { unsigned: true, .. } => Value::Unsigned(self.bits()),
            ColumnType::Integer { unsigned: false, .. } | ColumnType::Year => Value::Signed(self.bits() as i64),
            ColumnType::Float => Value::Float(self.float()),
            ColumnType::Double => Value::Double(self.double()),
            ColumnType::Decimal { precision, scale } => Value::Decimal(self.decimal(*precision, *scale)),
            ColumnType::Bit { bits } => Value::Unsigned(self.bits() & (u64::MAX >> (64 - bits))),
            ColumnType::Text { .. }
            | ColumnType::Enum { .. }
            | ColumnType::Set { .. }
            | ColumnType::Json
            | ColumnType::Address(_) => Value::Text(self.text()),
            ColumnType::Binary { .. } | ColumnType::Geometry => Value::Bytes(self.blob()),
            ColumnType::Date => Value::Date(self.bits() as i32),
            ColumnType::Time { .. } => Value::Time(self.bits() as i64),
            ColumnType::Datetime { fraction } => Value::Datetime(self.microseconds(*fraction)),
            ColumnType::Timestamp { fraction } => Value::Timestamp(self.microseconds(*fraction)),
            ColumnType::Vector => {
                let mut bytes = self.blob();
                bytes.truncate(bytes.len() / 4 * 4);
                Value::Bytes(bytes)
            }
        }
    }

    fn schema(&mut self) -> TableSchema {
        let columns: Vec<_> = (0..1 + self.below(12)).map(|nth| (format!("{}{nth}", self.text()), self.kind())).collect();
        let key = (0..columns.len()).filter(|_| self.below(4) == 0).collect();
        schema(columns, key)
    }

    fn row(&mut self, schema: &TableSchema) -> Vec<Value> {
        schema.columns.iter().map(|column| self.value(&column.kind)).collect()
    }
}

fn schema(columns: Vec<(String, ColumnType)>, key: Vec<usize>) -> TableSchema {
    let physical = columns.clone();
    let columns = columns.into_iter().enumerate().map(|(ordinal, (name, kind))| Column {
        name,
        kind,
        nullable: true,
        generated: Generated::No,
        ordinal,
        declared: "whatever".to_owned(),
    });
    let columns: Vec<_> = columns.collect();
    let physical_columns = columns.len();
    TableSchema { name: TableName::new("shop", "orders"), columns, key, key_kind: KeyKind::Primary, physical_columns, physical }
}

/// An image with its cells.
type Row = (Image, Vec<Value>);

const INFO: TransactionInfo<'static> = TransactionInfo {
    start: BinlogPosition { epoch: 2, file: 12, offset: 4711 },
    file_name: "binlog.000012",
    gtid: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:23"),
    committed_us: 1_700_000_000_123_456,
};

fn links(partitions: usize) -> Links {
    Links::new(&vec![PartitionTail::default(); partitions], &[])
}

fn drive(sink: &mut dyn RowSink, image: Image, row: &[Value]) -> std::result::Result<(), CellError> {
    sink.image(image)?;
    row.iter().try_for_each(|value| value.drive(sink))
}

fn records(batch: &AppendBatch) -> Vec<Record> {
    let part = |range: &std::ops::Range<usize>| Bytes::copy_from_slice(&batch.bytes[range.clone()]);
    let record = |(nth, record): (usize, &crate::changelog::AppendRecord)| Record {
        offset: LogOffset(nth as u64),
        position: record.position,
        previous: record.previous,
        term: batch.term,
        schema: Arc::clone(&record.schema),
        key: part(&record.key),
        value: part(&record.value),
    };
    batch.records.iter().enumerate().map(record).collect()
}

/// The images as bits, so that -0.0 is not 0.0.
fn bits(images: &[(Image, Vec<Value>)]) -> String {
    format!("{images:?}")
}

fn encode(schema: &TableSchema, operation: Operation, before: Option<&[Value]>, after: Option<&[Value]>) -> Vec<Record> {
    let mut encoder = Encoder::new(schema, "shop");
    let mut batch = AppendBatch { term: Term(3), ..AppendBatch::default() };
    encoder.start(operation);
    for (image, row) in [(Image::Before, before), (Image::After, after)] {
        if let Some(row) = row {
            drive(&mut encoder, image, row).unwrap();
        }
    }
    let ordinals = encoder.finish(&INFO, 5, &mut links(1), &mut batch).unwrap();
    assert_eq!(ordinals, batch.records.len() as u64);
    records(&batch)
}

#[test]
fn every_row_reads_back_as_it_was_written() {
    let seed = std::env::var("BINLAKE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_101);
    println!("BINLAKE_SEED={seed}");
    for run in 0..1500 {
        let mut dice = Dice(seed + run);
        let schema = dice.schema();
        let (before, mut after) = (dice.row(&schema), dice.row(&schema));
        let operation = dice.pick(&[Operation::Create, Operation::Update, Operation::Update, Operation::Delete]);
        if dice.below(2) == 0 {
            schema.key.iter().for_each(|index| after[*index] = before[*index].clone());
        }
        let before = (operation != Operation::Create).then_some(before);
        let after = (operation != Operation::Delete).then_some(after);
        let written = encode(&schema, operation, before.as_deref(), after.as_deref());
        let mut sink = ValueSink::default();
        let mut decoder = Decoder::new(&schema, "shop.orders");
        for (nth, record) in written.iter().enumerate() {
            serde_json::from_slice::<serde::de::IgnoredAny>(&record.value).expect("valid JSON");
            let mut decoded = decoder.decode(0, record).unwrap();
            decoded.drive(&mut sink).unwrap();
            let head = decoded.head;
            assert_eq!(head.position, ChangePosition { transaction: INFO.start, ordinal: 5 + nth as u64 });
            assert_eq!((head.gtid.as_deref(), head.file.as_str(), head.term), (INFO.gtid, INFO.file_name, Term(3)));
            assert_eq!((head.committed_us, &head.schema), (INFO.committed_us, &schema.id()));
            let expected = if written.len() == 1 { operation } else { [Operation::Delete, Operation::Create][nth] };
            assert_eq!(head.operation, expected);
        }
        let images = [(Image::Before, before), (Image::After, after)];
        let images: Vec<_> = images.into_iter().filter_map(|(image, row)| row.map(|row| (image, row))).collect();
        assert_eq!(bits(&sink.images), bits(&images), "seed {}", seed + run);
    }
}

#[test]
fn the_wire_bytes_are_debeziums() {
    let kinds = vec![
        ("id".to_owned(), ColumnType::Integer { bits: 64, unsigned: true }),
        ("price".to_owned(), ColumnType::Decimal { precision: 10, scale: 2 }),
        ("flag".to_owned(), ColumnType::Bit { bits: 1 }),
        ("bits".to_owned(), ColumnType::Bit { bits: 10 }),
        ("blob".to_owned(), ColumnType::Binary { fixed: None }),
        ("d3".to_owned(), ColumnType::Datetime { fraction: 3 }),
        ("d6".to_owned(), ColumnType::Datetime { fraction: 6 }),
        ("ts".to_owned(), ColumnType::Timestamp { fraction: 3 }),
        ("t".to_owned(), ColumnType::Time { fraction: 0 }),
        ("day".to_owned(), ColumnType::Date),
        ("place".to_owned(), ColumnType::Geometry),
        ("v".to_owned(), ColumnType::Vector),
        ("none".to_owned(), ColumnType::Date),
    ];
    let row = [
        Value::Unsigned(u64::MAX),
        Value::Decimal("-1.50".to_owned()),
        Value::Unsigned(1),
        Value::Unsigned(0x201),
        Value::Bytes(vec![0, 255]),
        Value::Datetime(1_529_501_823_123_000),
        Value::Datetime(1_529_501_823_123_456),
        Value::Timestamp(1_529_501_823_120_000),
        Value::Time(-1_000_000),
        Value::Date(-1),
        Value::Bytes(vec![0xe6, 0x10, 0, 0, 1, 2]),
        Value::Bytes([1.5_f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat()),
        Value::ZeroDate,
    ];
    let written = encode(&schema(kinds, vec![0]), Operation::Create, None, Some(&row));
    assert_eq!(written[0].key, r#"{"id":18446744073709551615}"#);
    let expected = concat!(
        r#"{"before":null,"after":{"id":18446744073709551615,"price":"-1.50","flag":true,"bits":"AQI=","blob":"AP8=","#,
        r#""d3":1529501823123,"d6":1529501823123456,"ts":"2018-06-20T13:37:03.120Z","t":-1000000,"day":-1,"#,
        r#""place":{"wkb":"AQI=","srid":4326},"v":[1.5,"7fc00000"],"none":null},"#,
        r#""source":{"version":"VERSION","connector":"mysql","name":"shop","ts_ms":1700000000123,"snapshot":"false","db":"shop","#,
        r#""ts_us":1700000000123456,"ts_ns":1700000000123456000,"table":"orders","gtid":"3e11fa47-71ca-11e1-9e33-c80aa9429562:23","#,
        r#""file":"binlog.000012","pos":4711,"row":5,"zero_dates":{"before":[],"after":["none"]}},"#,
        r#""op":"c","ts_ms":1700000000123,"ts_us":1700000000123456,"ts_ns":1700000000123456000}"#,
    );
    assert_eq!(std::str::from_utf8(&written[0].value).unwrap(), expected.replace("VERSION", env!("CARGO_PKG_VERSION")));
}

fn two_columns() -> TableSchema {
    let integer = ColumnType::Integer { bits: 32, unsigned: false };
    schema(vec![("id".to_owned(), integer), ("source".to_owned(), ColumnType::Json)], vec![0])
}

fn two_cells(id: i64, text: &str) -> Vec<Value> {
    vec![Value::Signed(id), Value::Text(text.to_owned())]
}

#[test]
fn a_changed_key_is_a_delete_and_a_create() {
    let (before, after) = (two_cells(1, "x"), two_cells(2, "x"));
    let written = encode(&two_columns(), Operation::Update, Some(&before), Some(&after));
    let keys: Vec<_> =
        written.iter().map(|record| (record.key.clone(), record.position.ordinal, record.previous.is_some())).collect();
    assert_eq!(keys, [(Bytes::from(r#"{"id":1}"#), 5, false), (Bytes::from(r#"{"id":2}"#), 6, true)]);
    assert!(
        written[0].value.ends_with(br#""op":"d","ts_ms":1700000000123,"ts_us":1700000000123456,"ts_ns":1700000000123456000}"#)
    );
    assert!(written[0].value.starts_with(br#"{"before":{"id":1,"source":"x"},"after":null,"source":{"#));
    assert!(written[1].value.starts_with(br#"{"before":null,"after":{"id":2,"source":"x"},"source":{"#));
    assert_eq!(encode(&two_columns(), Operation::Update, Some(&before), Some(&before)).len(), 1);
}

#[test]
fn a_text_that_looks_like_the_envelope_is_not_taken_for_it() {
    let text = r#"},"source":{"version":"x"},"op":"d"}"#;
    let row = two_cells(1, text);
    let written = encode(&two_columns(), Operation::Create, None, Some(&row));
    let mut sink = ValueSink::default();
    let mut decoder = Decoder::new(&two_columns(), "t");
    decoder.decode(0, &written[0]).unwrap().drive(&mut sink).unwrap();
    assert_eq!(sink.images, [(Image::After, row)]);
}

#[test]
fn truncate_and_schema_records_carry_their_statement() {
    for (operation, letter) in [(Operation::Truncate, 't'), (Operation::Schema, 's')] {
        let mut encoder = Encoder::new(&two_columns(), "shop");
        let mut batch = AppendBatch::default();
        let statement = "ALTER TABLE `orders` /* ,\"source\":{ */ DROP x";
        let position = (&TransactionInfo { gtid: None, ..INFO }, 0);
        assert_eq!(encoder.statement(operation, statement, position, &mut links(4), &mut batch).unwrap(), 1);
        let record = &records(&batch)[0];
        assert!(record.key.is_empty() && batch.records[0].partition == 0);
        let json: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        assert_eq!((&json["source"]["query"], &json["op"]), (&statement.into(), &letter.to_string().into()));
        let mut decoder = Decoder::new(&two_columns(), "t");
        let mut decoded = decoder.decode(0, record).unwrap();
        assert_eq!((decoded.head.operation, decoded.head.gtid.as_ref()), (operation, None));
        assert_eq!(decoded.head.statement.as_deref(), Some(statement));
        let mut sink = ValueSink::default();
        decoded.drive(&mut sink).unwrap();
        assert_eq!(sink, ValueSink::default());
    }
}

#[test]
fn rows_that_are_not_whole_leave_no_trace() {
    let mut encoder = Encoder::new(&two_columns(), "shop");
    let mut batch = AppendBatch::default();
    let cases: [(Operation, Vec<Row>); 5] = [
        (Operation::Create, vec![(Image::After, vec![Value::Signed(1)])]),
        (Operation::Create, vec![]),
        (Operation::Create, vec![(Image::Before, two_cells(1, "x"))]),
        (Operation::Update, vec![(Image::After, two_cells(1, "x"))]),
        (Operation::Delete, vec![(Image::Before, two_cells(1, "x")), (Image::After, two_cells(1, "x"))]),
    ];
    for (operation, images) in cases {
        encoder.start(operation);
        for (image, row) in &images {
            drive(&mut encoder, *image, row).unwrap();
        }
        let error = encoder.finish(&INFO, 0, &mut links(1), &mut batch).unwrap_err();
        assert!(matches!(error, Error::Cell { .. }), "{error}");
    }
    encoder.start(Operation::Create);
    assert!(encoder.signed(1).is_err(), "a cell before its image");
    encoder.image(Image::After).unwrap();
    assert!(encoder.text("1").is_err(), "a text for a number");
    encoder.signed(1).unwrap();
    encoder.text("x").unwrap();
    assert!(encoder.null().is_err(), "a cell too many");
    assert!(batch.bytes.is_empty() && batch.records.is_empty());
    assert_eq!(encoder.finish(&INFO, 0, &mut links(1), &mut batch).unwrap(), 1);
    assert!(batch.bytes.starts_with(br#"{"id":1}{"before":null,"after":{"id":1,"source":"x"},"#));
}

#[test]
fn values_beyond_their_column_are_refused() {
    let one = |kind| schema(vec![("c".to_owned(), kind)], vec![]);
    for (kind, value) in [
        (ColumnType::Bit { bits: 3 }, Value::Unsigned(8)),
        (ColumnType::Bit { bits: 1 }, Value::Unsigned(2)),
        (ColumnType::Datetime { fraction: 3 }, Value::Datetime(1)),
        (ColumnType::Timestamp { fraction: 0 }, Value::Timestamp(1)),
        (ColumnType::Timestamp { fraction: 6 }, Value::Timestamp(i64::MAX)),
        (ColumnType::Float, Value::Float(f32::NAN)),
        (ColumnType::Double, Value::Double(f64::INFINITY)),
        (ColumnType::Vector, Value::Bytes(vec![0; 5])),
        (ColumnType::Json, Value::ZeroDate),
        (ColumnType::Date, Value::Datetime(0)),
        (ColumnType::Integer { bits: 64, unsigned: true }, Value::Signed(1)),
    ] {
        let mut encoder = Encoder::new(&one(kind.clone()), "shop");
        encoder.start(Operation::Create);
        encoder.image(Image::After).unwrap();
        let error = value.drive(&mut encoder).unwrap_err();
        assert_eq!(error.column, "c", "{kind:?}");
    }
}

#[test]
fn what_the_log_has_is_not_appended_again() {
    let schema = two_columns();
    let mut encoder = Encoder::new(&schema, "shop");
    let last = ChangePosition { transaction: INFO.start, ordinal: 5 };
    let mut links = Links::new(&[PartitionTail { end: LogOffset(1), last: Some((last, Term(1))), marks: Vec::new() }], &[]);
    let mut batch = AppendBatch::default();
    encoder.start(Operation::Update);
    drive(&mut encoder, Image::Before, &two_cells(1, "x")).unwrap();
    drive(&mut encoder, Image::After, &two_cells(2, "x")).unwrap();
    assert_eq!(encoder.finish(&INFO, 5, &mut links, &mut batch).unwrap(), 2);
    assert_eq!(batch.records.len(), 1, "the delete is in the log, the create is not");
    assert_eq!((batch.records[0].position.ordinal, batch.records[0].previous), (6, Some(last)));
}

#[test]
fn damage_is_found_and_never_panics() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let schema = dice.schema();
        let row = dice.row(&schema);
        let record = encode(&schema, Operation::Create, None, Some(&row)).remove(0);
        let mut decoder = Decoder::new(&schema, "t");
        let mut read = |value: Vec<u8>| {
            let record = Record { value: value.into(), ..record.clone() };
            let mut sink = ValueSink::default();
            let mut decoded = decoder.decode(0, &record)?;
            decoded.drive(&mut sink)
        };
        for end in 0..record.value.len() {
            let error = read(record.value[..end].to_vec()).expect_err("a record cut off");
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        }
        for _ in 0..300 {
            let mut value = record.value.to_vec();
            let at = dice.below(value.len() as u64) as usize;
            value[at] = dice.roll() as u8;
            if let Err(error) = read(value) {
                assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            }
        }
        let mut longer = record.value.to_vec();
        longer.push(b' ');
        assert!(read(longer).is_err());
    }
}

#[test]
fn a_record_of_another_shape_or_position_is_refused() {
    let row = two_cells(1, "x");
    let record = encode(&two_columns(), Operation::Create, None, Some(&row)).remove(0);
    let mut decoder = Decoder::new(&two_columns(), "t");
    let other = Record { schema: "00000000".into(), ..record.clone() };
    assert!(matches!(decoder.decode(0, &other), Err(Error::Corrupt { .. })));
    let moved = Record { position: ChangePosition { ordinal: 6, ..record.position }, ..record };
    assert!(matches!(decoder.decode(0, &moved), Err(Error::Corrupt { .. })));
}

#[test]
fn heads_are_their_own_whatever_came_before() {
    let schema = two_columns();
    let mut encoder = Encoder::new(&schema, "shop");
    let (mut links, mut batch) = (links(1), AppendBatch::default());
    let at = |offset| BinlogPosition { offset, ..INFO.start };
    let infos = [
        TransactionInfo { start: at(4), gtid: None, ..INFO },
        TransactionInfo { start: at(50), committed_us: -1, ..INFO },
        TransactionInfo { start: at(51), committed_us: i64::MAX, file_name: "b\"ünlog.000012", ..INFO },
        TransactionInfo { start: at(52), gtid: Some("u:tag:7"), ..INFO },
    ];
    let mut expected = Vec::new();
    for info in &infos {
        for ordinal in 0..12 {
            encoder.start(Operation::Delete);
            drive(&mut encoder, Image::Before, &two_cells(1, "x")).unwrap();
            encoder.finish(info, ordinal, &mut links, &mut batch).unwrap();
            expected.push((info, ordinal));
        }
    }
    let records = records(&batch);
    let mut decoder = Decoder::new(&schema, "t");
    for nth in (0..records.len()).chain((0..records.len()).rev()) {
        let (info, ordinal) = expected[nth];
        let head = decoder.decode(0, &records[nth]).unwrap().head.clone();
        assert_eq!((head.gtid.as_deref(), head.file.as_str(), head.committed_us), (info.gtid, info.file_name, info.committed_us));
        assert_eq!(head.position, ChangePosition { transaction: info.start, ordinal });
        assert_eq!((head.operation, head.statement), (Operation::Delete, None));
    }
}

/// Not a benchmark, a look: `cargo test --release --lib codec::tests::speed -- --ignored --nocapture`.
#[test]
#[ignore = "prints the speed of the codec"]
fn speed() {
    let text = || ColumnType::Text { charset: Charset("utf8mb4".to_owned()) };
    let schema = schema(
        vec![
            ("id".to_owned(), ColumnType::Integer { bits: 64, unsigned: false }),
            ("k".to_owned(), ColumnType::Integer { bits: 32, unsigned: false }),
            ("c".to_owned(), text()),
            ("pad".to_owned(), text()),
            ("ts".to_owned(), ColumnType::Timestamp { fraction: 6 }),
            ("amount".to_owned(), ColumnType::Decimal { precision: 18, scale: 4 }),
            ("note".to_owned(), text()),
        ],
        vec![0],
    );
    let mut row = two_cells(1, "");
    row[1] = Value::Signed(4711);
    row.extend([120, 60].map(|length| Value::Text("0123456789-".repeat(20)[..length].to_owned())));
    row.extend([
        Value::Timestamp(1_700_000_000_123_456),
        Value::Decimal("12345.6789".to_owned()),
        Value::Text("a note".to_owned()),
    ]);
    let mut encoder = Encoder::new(&schema, "shop");
    let (mut links, mut batch) = (links(1), AppendBatch::default());
    let (rounds, rows) = (20, 10_000);
    let (mut encoding, mut decoding) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    let mut decoder = Decoder::new(&schema, "t");
    for round in 0..rounds {
        batch.bytes.clear();
        batch.records.clear();
        let start = std::time::Instant::now();
        for nth in 0..rows {
            // Four rows a transaction.
            let start = BinlogPosition { epoch: 0, file: 1 + round, offset: 4 + nth / 4 };
            let info = TransactionInfo { start, committed_us: INFO.committed_us + nth as i64 / 4, ..INFO };
            encoder.start(Operation::Create);
            drive(&mut encoder, Image::After, &row).unwrap();
            encoder.finish(&info, nth % 4, &mut links, &mut batch).unwrap();
        }
        encoding += start.elapsed();
        let records = records(&batch);
        let start = std::time::Instant::now();
        for record in &records {
            decoder.decode(0, record).unwrap().drive(&mut Nothing).unwrap();
        }
        decoding += start.elapsed();
    }
    let per_million = |time: std::time::Duration| time.as_secs_f64() / (rounds * rows) as f64 * 1e6;
    let bytes = batch.bytes.len() as u64 / rows;
    println!("{bytes} bytes a record; s per M rows: encode {:.3}, decode {:.3}", per_million(encoding), per_million(decoding));
}

/// Takes every cell and keeps none.
struct Nothing;

impl RowSink for Nothing {
    fn image(&mut self, _: Image) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn null(&mut self) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn signed(&mut self, _: i64) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn unsigned(&mut self, _: u64) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn float(&mut self, _: f32) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn double(&mut self, _: f64) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn decimal(&mut self, _: &str) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn text(&mut self, _: &str) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn bytes(&mut self, _: &[u8]) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn date(&mut self, _: i32) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn time(&mut self, _: i64) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn datetime(&mut self, _: i64) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn timestamp(&mut self, _: i64) -> std::result::Result<(), CellError> {
        Ok(())
    }
    fn zero_date(&mut self) -> std::result::Result<(), CellError> {
        Ok(())
    }
}
