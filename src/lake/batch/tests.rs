//! Batches: collapse, comparison and spilling, each with what must be found.

use std::sync::Arc;

use super::*;
use crate::change::{BinlogPosition, ChangePosition, ColumnType, Generated, Term, Value};
use crate::lake::columns::tests::{settings, spec};
use crate::lake::{Check, TableKind};

fn head(operation: Operation, ordinal: u64) -> RecordHead {
    RecordHead {
        operation,
        position: ChangePosition { transaction: BinlogPosition { epoch: 0, file: 1, offset: 4 }, ordinal },
        previous: None,
        term: Term(1),
        schema: String::new(),
        gtid: None,
        file: "binlog.000001".to_owned(),
        committed_us: 0,
        statement: Some("DROP TABLE shop.t".to_owned()),
    }
}

fn shape(generated: Generated) -> Shape {
    let mut table =
        spec(TableKind::Mirror, &[("id", ColumnType::Integer { bits: 32, unsigned: false }), ("amount", ColumnType::Double)]);
    Arc::make_mut(&mut table.schema).columns[1].generated = generated;
    Shape::new(&table, &settings()).unwrap()
}

fn drive(batch: &mut MirrorBatch, ordinal: u64, before: Option<(i64, f64)>, after: Option<(i64, f64)>) {
    let operation = match (before, after) {
        (None, Some(_)) => Operation::Create,
        (Some(_), Some(_)) => Operation::Update,
        (Some(_), None) => Operation::Delete,
        (None, None) => Operation::Truncate,
    };
    batch.begin(&head(operation, ordinal), LogOffset(ordinal), true).unwrap();
    for (image, row) in [(Image::Before, before), (Image::After, after)] {
        if let Some((id, amount)) = row {
            batch.image(image).unwrap();
            Value::Signed(id).drive(batch).unwrap();
            Value::Double(amount).drive(batch).unwrap();
        }
    }
    batch.end().unwrap();
}

/// Per key: what the net change expects, and the amount it leaves behind.
fn net(batch: MirrorBatch) -> Result<Vec<(Expect, Option<f64>)>> {
    use arrow::array::AsArray;
    let mut changes = batch.into_changes()?;
    let mut net = Vec::new();
    while changes.peek()?.is_some() {
        let (frame, from, _) = changes.at_hand();
        let change = frame.changes[from];
        let amount = |at: RowAt| {
            let column = frame.after[at.batch as usize].column(1);
            column.as_primitive::<arrow::datatypes::Float64Type>().value(at.row as usize)
        };
        net.push((change.expect, change.after.map(amount)));
        changes.advance(1);
    }
    Ok(net)
}

#[test]
fn changes_of_a_key_become_one() {
    let mut batch = MirrorBatch::new(&shape(Generated::No), &settings());
    drive(&mut batch, 0, Some((2, 1.0)), Some((2, 2.0)));
    drive(&mut batch, 1, None, Some((1, 1.0)));
    drive(&mut batch, 2, Some((2, 2.0)), None);
    drive(&mut batch, 3, Some((1, 1.0)), Some((1, 5.0)));
    drive(&mut batch, 4, None, Some((3, 1.0)));
    drive(&mut batch, 5, Some((3, 1.0)), None);
    drive(&mut batch, 6, Some((1, 5.0)), Some((4, 5.0)));
    assert_eq!(batch.changes(), 7);
    let expected = [(Expect::Absent, None), (Expect::Present, None), (Expect::Absent, None), (Expect::Absent, Some(5.0))];
    assert_eq!(net(batch).unwrap(), expected);
}

#[test]
fn floats_are_compared_by_their_bits_and_virtual_columns_not_at_all() {
    for (first, second, generated, fits) in [
        (0.0, -0.0, Generated::No, false),
        (f64::NAN, f64::NAN, Generated::No, true),
        (1.0, 2.0, Generated::Stored, false),
        (1.0, 2.0, Generated::Virtual, true),
    ] {
        let mut batch = MirrorBatch::new(&shape(generated), &settings());
        drive(&mut batch, 0, None, Some((1, first)));
        drive(&mut batch, 1, Some((1, second)), None);
        assert_eq!(net(batch).is_ok(), fits, "{first} {second}");
    }
}

#[test]
fn a_divergence_names_key_rows_and_position() {
    let mut batch = MirrorBatch::new(&shape(Generated::No), &settings());
    drive(&mut batch, 7, None, Some((1, 1.0)));
    drive(&mut batch, 8, Some((1, 2.0)), Some((1, 3.0)));
    assert_eq!(
        net(batch).unwrap_err().to_string(),
        "ods_shop.t: at 0:1:4/8: the mirror differs from the source: key id=1: \
         the change expects (id=1, amount=2.0), the mirror holds (id=1, amount=1.0)"
    );
}

#[test]
fn a_truncate_forgets_what_came_before_it() {
    let mut batch = MirrorBatch::new(&shape(Generated::No), &settings());
    drive(&mut batch, 0, Some((1, 1.0)), Some((1, 2.0)));
    drive(&mut batch, 1, None, None);
    drive(&mut batch, 2, None, Some((1, 3.0)));
    assert!(batch.cleared);
    assert_eq!(net(batch).unwrap(), [(Expect::Absent, Some(3.0))]);
}

#[tokio::test]
async fn a_chain_that_is_broken_between_two_runs_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let small = Settings { batch_bytes: 64, scratch: directory.path().to_owned(), check: Check::Rows, ..settings() };
    for broken in [false, true] {
        let mut batch = MirrorBatch::new(&shape(Generated::No), &small);
        let mut amount = 0.0;
        drive(&mut batch, 0, None, Some((1, amount)));
        // Enough runs for three levels.
        for ordinal in 1..600_u64 {
            let expected = if broken && ordinal == 300 { amount + 1.0 } else { amount };
            drive(&mut batch, ordinal, Some((1, expected)), Some((1, ordinal as f64)));
            amount = ordinal as f64;
            match batch.relieve().await {
                Ok(()) => {}
                Err(Error::Divergence { position, .. }) => {
                    assert!(broken);
                    assert_eq!(position.ordinal, 300);
                    assert!(batch.relieve().await.is_ok() || batch.is_empty());
                    assert!(batch.into_changes().is_err(), "a batch is lost after an error");
                    return;
                }
                Err(other) => panic!("{other}"),
            }
        }
        match net(batch) {
            Ok(net) => assert_eq!((broken, net), (false, vec![(Expect::Absent, Some(599.0))])),
            Err(Error::Divergence { position, .. }) => assert_eq!((broken, position.ordinal), (true, 300)),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn changes_out_of_turn_are_refused() {
    let mut batch = MirrorBatch::new(&shape(Generated::No), &settings());
    assert!(batch.image(Image::After).is_err());
    assert!(batch.null().is_err());
    assert!(batch.end().is_err());
    batch.begin(&head(Operation::Update, 0), LogOffset(0), true).unwrap();
    assert!(batch.begin(&head(Operation::Update, 1), LogOffset(1), true).is_err());
    assert!(batch.end().is_err(), "an update without its images");
    match batch.begin(&head(Operation::Schema, 2), LogOffset(2), true) {
        Err(Error::Value { reason, .. }) => {
            assert!(reason.contains("DROP TABLE shop.t") && reason.contains("0:1:4/2"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_batch_whose_spill_was_abandoned_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let small = Settings { batch_bytes: 64, scratch: directory.path().to_owned(), ..settings() };
    let mut batch = MirrorBatch::new(&shape(Generated::No), &small);
    (0..10).for_each(|id| drive(&mut batch, id as u64, None, Some((id, 1.0))));
    let abandoned = futures::poll!(std::pin::pin!(batch.relieve())).is_pending();
    assert_eq!(batch.into_changes().is_err(), abandoned);
}
