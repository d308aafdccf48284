//! Recorded events with broken bytes: whatever comes, the answer is an error or a value, never a panic.

use super::*;
use crate::source::Flavor;
use crate::source::binlog::assembler::Assembler;
use crate::source::binlog::ddl::NameCase;
use crate::source::binlog::effects::Place;
use crate::source::binlog::intake::{Intake, Received};
use crate::source::binlog::spill::SpillSettings;
use crate::source::binlog::tables::Tables;

/// The events of a binlog file.
fn events(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = &file[4..];
    let mut events = Vec::new();
    while rest.len() >= 19 {
        let size = u32::from_le_bytes(rest[9..13].try_into().unwrap()) as usize;
        let (event, behind) = rest.split_at(size);
        events.push(event);
        rest = behind;
    }
    events
}

/// The types of the events of a binlog file.
pub(super) fn kinds(file: &[u8]) -> Vec<u8> {
    events(file).iter().map(|event| event[4]).collect()
}

/// A generator that needs no seed but a number: the same run on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

fn intake(capture: &Capture, scratch: &std::path::Path) -> Intake {
    let spill = SpillSettings { scratch: scratch.into(), bytes_max: 2000 };
    let assembler = Assembler::new("shop".into(), spill, Tables::new(Arc::new(capture.clone()), NameCase::Kept, Flavor::Mysql));
    let start = crate::change::BinlogPosition { epoch: 0, file: 1, offset: 4 };
    Intake::new(assembler, &Place { start, file_name: "binlog.000001".into() }, "shop".into(), "uuid".to_owned())
        .with_history(Some(crate::change::GtidSet::default()), None)
}

/// Feeds all events and reads all rows; says how many, or that it ended with an error.
fn feed(intake: &mut Intake, events: &[Vec<u8>], piece: usize) -> Result<usize, String> {
    let mut rows = 0;
    for event in events {
        let pieces: Vec<&[u8]> = event.chunks(piece).collect();
        for (index, bytes) in pieces.iter().enumerate() {
            match intake.take(bytes, index + 1 == pieces.len()) {
                Ok(Received::Ended(ended)) => {
                    let Some(mut transaction) = ended.transaction else { continue };
                    while let Some(part) = transaction.body.next_part().map_err(|error| error.to_string())? {
                        if !matches!(part, Part::Rows { .. }) {
                            continue;
                        }
                        while matches!(transaction.body.next_row(&mut ValueSink::default()), Ok(true)) {
                            rows += 1;
                        }
                    }
                }
                Ok(_) => {}
                Err(trouble) => return Err(format!("{trouble:?}")),
            }
        }
    }
    Ok(rows)
}

/// The events with some bytes broken, their sums made right again.
fn broken(recorded: &[Vec<u8>], seed: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut broken = recorded.to_vec();
    for _ in 0..=dice.roll(3) {
        // Not the description of the file, whose numbers all others are read by.
        let victim = 1 + dice.roll(broken.len() - 1);
        let event = &mut broken[victim];
        let place = if dice.roll(8) == 0 { 4 } else { 13 + dice.roll(event.len() - 17) };
        event[place] = if dice.roll(2) == 0 { event[place] ^ (1 << dice.roll(8)) } else { dice.roll(256) as u8 };
        if dice.roll(6) == 0 {
            let length = 23 + dice.roll(event.len() - 22).min(event.len() - 23);
            event.truncate(length);
            let size = (length as u32).to_le_bytes();
            event[9..13].copy_from_slice(&size);
        }
        let content = event.len() - 4;
        let sum = crc32fast::hash(&event[..content]).to_le_bytes();
        event[content..].copy_from_slice(&sum);
    }
    broken
}

#[tokio::test]
async fn broken_bytes_never_panic() {
    let mut bench = Bench::start(&["--binlog-row-value-options=PARTIAL_JSON"]).await;
    bench
        .run(
            "CREATE TABLE a (id INT PRIMARY KEY, j JSON, t TEXT CHARACTER SET gbk, n DECIMAL(30,10), d DATETIME(3), e ENUM('x','y'),
             s SET('x','y'), b BIT(9), g GEOMETRY, v TIME(6), w CHAR(200),
             x1 TINYTEXT DEFAULT ('abc'), x2 BLOB DEFAULT (x'00ff'), x3 YEAR DEFAULT 2026, x4 TIMESTAMP(3) NULL DEFAULT '2026-01-01 00:00:00.5',
             x5 BINARY(5) DEFAULT 'a', x6 VARBINARY(300) DEFAULT 'b', x7 VECTOR(2) DEFAULT (TO_VECTOR('[1,2]')), x8 BIGINT UNSIGNED DEFAULT 7,
             x9 FLOAT DEFAULT 1.5, xa DOUBLE DEFAULT 2.5, xb VARCHAR(300) CHARACTER SET utf16 DEFAULT '😀', xc DATE DEFAULT '2026-01-01',
             xd SET('a','b','c','d','e','f','g','h','i') DEFAULT 'a,i', xe TIME DEFAULT '-1:00:00', xf DATETIME DEFAULT '2026-01-01 00:00:00');
INSERT INTO a (id, j, t, n, d, e, s, b, g, v, w) VALUES (1, '{\"a\": [1, 2.5, \"x\", {\"b\": null}]}', '中国', -12.5, '2024-01-01 01:01:01.5', 'x', 'x,y', 5, POINT(1,1), '-1:1:1.5', 'w');
UPDATE a SET j = JSON_SET(j, '$.a[0]', 7, '$.c', 'new'), t = 'x' WHERE id = 1;
SET SESSION binlog_transaction_compression = ON;
INSERT INTO a (id, j, t, n, d, e, s, b, g, v, w) SELECT id + 1, j, t, n, d, e, s, b, g, v, w FROM a;
SET SESSION binlog_transaction_compression = OFF;
XA START 'x';
DELETE FROM a WHERE id = 1;
XA END 'x';
XA PREPARE 'x';
XA COMMIT 'x';
SET gtid_next = 'AUTOMATIC:tag';
INSERT INTO a (id) VALUES (9);
SET gtid_next = 'AUTOMATIC';
TRUNCATE TABLE a;
ALTER TABLE a ADD COLUMN x INT",
        )
        .await;
    let mut capture = bench.capture(&["a"]).await;
    for table in capture.tables.values_mut() {
        let mut schema = TableSchema::clone(&table.schema);
        schema.columns.pop();
        schema.physical.pop();
        schema.physical_columns -= 1;
        table.schema = Arc::new(schema);
    }
    let file = bench.binlogs().pop().unwrap();
    let mut recorded: Vec<Vec<u8>> = events(&file).iter().map(|event| event.to_vec()).collect();
    // The file is in use, which its description says in a flag that its sum leaves out and a dump does not send.
    recorded[0][17] &= !1;
    for piece in [usize::MAX, 1, 100] {
        assert_eq!(feed(&mut intake(&capture, bench.scratch.path()), &recorded, piece), Ok(5), "pieces of {piece}");
    }
    let (mut read, mut refused) = (0, 0);
    for seed in 1..1000u64 {
        let broken = broken(&recorded, seed);
        match feed(&mut intake(&capture, bench.scratch.path()), &broken, usize::MAX) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 50 && refused > 50, "{read} read, {refused} refused");
}
