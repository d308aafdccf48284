//! Streams that a server seldom sends, made by hand: crashes, savepoints that roll back, unknown events, huge files.

use super::*;
use crate::change::{BinlogPosition, Column, ColumnType, Generated, KeyKind};
use crate::source::binlog::assembler::{Assembler, Trouble};
use crate::source::binlog::ddl::NameCase;
use crate::source::binlog::effects::Place;
use crate::source::binlog::event::kind;
use crate::source::binlog::intake::{Intake, Received};
use crate::source::binlog::spill::SpillSettings;

const IGNORABLE: u16 = 0x80;

/// Writes events one behind another.
struct Script {
    intake: Intake,
    end: u64,
    seen: Vec<Vec<String>>,
}

impl Script {
    fn new(offset: u64) -> Self {
        let kind = ColumnType::Integer { bits: 32, unsigned: false };
        let column = Column {
            name: "id".to_owned(),
            kind: kind.clone(),
            nullable: false,
            generated: Generated::No,
            ordinal: 0,
            declared: "int".to_owned(),
        };
        let schema = TableSchema {
            name: TableName::new("d", "t"),
            columns: vec![column],
            key: vec![0],
            key_kind: KeyKind::Primary,
            physical_columns: 1,
            physical: vec![("id".to_owned(), kind)],
        };
        let mut capture = Capture::default();
        capture.tables.insert(schema.name.clone(), CapturedTable { schema: Arc::new(schema), since: Cut::default() });
        let spill = SpillSettings { scratch: std::env::temp_dir().into(), bytes_max: 1 << 20 };
        let assembler = Assembler::new("shop".into(), spill, Arc::new(capture), NameCase::Kept);
        let start = BinlogPosition { epoch: 0, file: 1, offset };
        let place = Place { start, file_name: "b.000001".into() };
        let end = u32::try_from(offset).map_or(4, u64::from);
        Self { intake: Intake::new(assembler, &place, "shop".into(), "uuid".to_owned()), end, seen: Vec::new() }
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> Result<(), Trouble> {
        self.send_with(kind, 0, body)
    }

    fn send_with(&mut self, kind: u8, flags: u16, body: &[u8]) -> Result<(), Trouble> {
        let size = 19 + body.len() + 4;
        self.end += size as u64;
        let mut bytes = vec![0, 0, 0, 0, kind, 1, 0, 0, 0];
        bytes.extend_from_slice(&(size as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.end as u32).to_le_bytes());
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        if let Received::Ended(ended) = self.intake.take(&bytes, true)?
            && let Some(transaction) = ended.transaction
        {
            self.seen.push(look(transaction).rows());
        }
        Ok(())
    }

    fn query(&mut self, sql: &str) -> Result<(), Trouble> {
        let mut body = vec![0; 13];
        body[8] = 1;
        body.extend_from_slice(b"d\0");
        body.extend_from_slice(sql.as_bytes());
        self.send(kind::QUERY, &body)
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        self.send(kind::ANONYMOUS_GTID, &[0; 42])?;
        self.query("BEGIN")
    }

    fn insert(&mut self, id: i32) -> Result<(), Trouble> {
        self.send(kind::TABLE_MAP, &[9, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 1, 3, 0, 0])?;
        let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 0];
        body.extend_from_slice(&id.to_le_bytes());
        self.send(kind::WRITE_ROWS, &body)
    }

    fn commit(&mut self) -> Result<(), Trouble> {
        self.send(kind::XID, &[0; 8])
    }

    fn description(&mut self, created: u32) -> Result<(), Trouble> {
        let mut body = vec![4, 0];
        body.extend_from_slice(&[0; 50]);
        body.extend_from_slice(&created.to_le_bytes());
        body.push(19);
        body.extend_from_slice(&[0; 41]);
        body[57 + 18] = 8;
        body.push(1);
        self.send(kind::FORMAT_DESCRIPTION, &body)
    }
}

#[track_caller]
fn says(result: Result<(), Trouble>, expected: &str) {
    match result {
        Err(Trouble::Malformed(malformed)) => assert!(malformed.0.contains(expected), "{malformed}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rollback_to_a_savepoint_takes_its_rows_back() {
    let mut script = Script::new(4);
    let mut play = || {
        script.begin()?;
        script.insert(1)?;
        script.query("SAVEPOINT `S 1`")?;
        script.insert(2)?;
        script.query("savepoint two")?;
        script.insert(3)?;
        script.query("ROLLBACK TO `s 1`")?;
        script.insert(4)?;
        script.commit()?;
        script.begin()?;
        script.insert(5)?;
        script.query("ROLLBACK /* whole */")
    };
    play().unwrap();
    assert_eq!(script.seen, [["t c 1", "t c 4"]]);
    script.begin().unwrap();
    says(script.query("ROLLBACK TO unknown"), "not set");
}

#[test]
fn what_a_crash_cut_off_is_dropped_and_nothing_else_is() {
    let mut script = Script::new(4);
    script.begin().unwrap();
    script.insert(1).unwrap();
    let before = script.intake.boundary();
    script.description(1).unwrap();
    assert!(script.intake.boundary() > before);
    script.begin().unwrap();
    script.insert(2).unwrap();
    script.commit().unwrap();
    assert_eq!(script.seen, [["t c 2"]]);
    script.begin().unwrap();
    says(script.description(0), "does not end in its file");
}

#[test]
fn events_out_of_order_and_unknown_ones_are_errors() {
    says(Script::new(4).commit(), "has not begun");
    says(Script::new(4).insert(1), "outside a transaction");
    says(Script::new(4).send(99, b""), "type 99");
    says(Script::new(4).send(20, b""), "type 20");
    let mut script = Script::new(4);
    assert_eq!(script.intake.watched.unknown_events(), 0);
    script.send_with(99, IGNORABLE, b"").unwrap();
    assert_eq!(script.intake.watched.unknown_events(), 1, "it is passed over, and counted");
    script.begin().unwrap();
    says(script.begin(), "does not end before the next");
    let mut script = Script::new(4);
    script.begin().unwrap();
    says(script.send(kind::WRITE_ROWS, &[9, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 0, 1, 0, 0, 0]), "no table map");
    assert!(matches!(Script::new(4).send(kind::INCIDENT, &[1, 0, 0]), Err(Trouble::Lost(_))));
}

#[test]
fn an_event_that_is_left_out_is_missed() {
    let mut script = Script::new(4);
    script.end += 100;
    says(script.begin(), "left something out");
}

#[test]
fn a_place_behind_4_gib_is_reached_from_the_start_of_its_file() {
    let boundary = 5u64 << 30;
    let mut script = Script::new(boundary);
    assert_eq!(script.end, 4);
    script.description(0).unwrap();
    // Two events of gigabytes, of which only the headers matter.
    for end in [0xf000_0000u64, boundary] {
        let mut header = vec![0, 0, 0, 0, kind::TRANSACTION_PAYLOAD, 1, 0, 0, 0];
        header.extend_from_slice(&((end - script.end) as u32).to_le_bytes());
        header.extend_from_slice(&(end as u32).to_le_bytes());
        header.extend_from_slice(&[0, 0]);
        assert!(matches!(script.intake.take(&header, false), Ok(Received::Nothing)));
        assert!(matches!(script.intake.take(b"more", false), Ok(Received::Nothing)));
        assert!(matches!(script.intake.take(b"end", true), Ok(Received::Nothing)));
        script.end = end;
    }
    assert_eq!(script.intake.boundary().offset, boundary);
    script.begin().unwrap();
    script.insert(7).unwrap();
    script.commit().unwrap();
    assert_eq!(script.seen, [["t c 7"]]);
    assert_eq!(script.intake.boundary().offset, script.end);
    assert_eq!(script.intake.checkpoint().last.unwrap().offset, boundary);
}
