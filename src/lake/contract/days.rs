//! What a mirror's days owe their readers: each is what the mirror was, stays for ever, and appears whole.

use futures::FutureExt;

use super::*;
use crate::lake::daily::daily_name;
use crate::lake::faults::{Fault, FaultyStore};
use crate::lake::log::table_folder;
use crate::lake::metastore::{MemoryMetastore, Metastore};

fn spec(house: &House) -> TableSpec {
    TableSpec { daily: true, ..house.spec(TableKind::Mirror, 1) }
}

fn end(day: &str, transactions: u64) -> DayEnd {
    let end = point(transactions, true).position;
    DayEnd { zone: "UTC".to_owned(), day: day.to_owned(), end, file_name: "binlog.000001".to_owned() }
}

/// A mirror with rows 0 to 99, published.
async fn begun(house: &House, spec: &TableSpec) -> Box<dyn TableWriter> {
    let rows: Vec<(i64, &str)> = (0..100).map(|id| (id, "x")).collect();
    let chunk = house.chunk(spec, 0, "a", &rows).await;
    let mut writer = house.lake.writer(spec.clone(), Term(1)).await.unwrap();
    writer.adopt(vec![chunk], point(0, true)).await.unwrap();
    writer
}

async fn insert(writer: &mut dyn TableWriter, transaction: u64) {
    put(writer, transaction, MIDNIGHT_MS, &Change::Insert(1_000 + transaction as i64, "x")).unwrap();
    writer.commit(point(transaction + 1, true)).await.unwrap();
}

/// Whether all files of a day are there, and its rows.
async fn rows_of(house: &House, day: &str) -> Option<u64> {
    let frozen = house.lake.day(&name(), day).await.unwrap()?;
    let folder = table_folder(&daily_name(&name()));
    let listed = house.lake.store().list(&folder.join(format!("dt={day}"))).await.unwrap();
    let there: Vec<String> = listed.iter().map(|object| house.lake.store().location(&object.location)).collect();
    assert!(frozen.files.iter().all(|file| there.contains(file)), "{:?} of {there:?}", frozen.files);
    assert_eq!(there.len(), frozen.files.len(), "nothing else lies beside them");
    assert_eq!(listed.iter().map(|object| object.size).sum::<u64>(), frozen.bytes);
    Some(frozen.rows)
}

#[tokio::test]
async fn a_day_stays_what_the_mirror_was() {
    for house in houses() {
        let mut writer = begun(&house, &spec(&house)).await;
        assert_eq!(writer.frozen().await.unwrap(), None);
        insert(writer.as_mut(), 0).await;
        assert!(writer.freeze(&end("2026-11-22", 1)).await.unwrap());
        insert(writer.as_mut(), 1).await;
        assert!(!writer.freeze(&end("2026-11-22", 2)).await.unwrap(), "it is there already");
        assert!(writer.freeze(&end("2026-11-23", 2)).await.unwrap());
        // All that the days were made of is replaced and goes.
        for transaction in 2..5 {
            insert(writer.as_mut(), transaction).await;
        }
        house.clock.advance(48 * HOUR_MS);
        assert!(writer.maintain(&[]).await.unwrap().files_deleted > 0);
        assert_eq!(rows_of(&house, "2026-11-22").await, Some(101));
        assert_eq!(rows_of(&house, "2026-11-23").await, Some(102));
        assert_eq!(rows_of(&house, "2026-11-24").await, None);
        assert_eq!(house.lake.days(&name()).await.unwrap(), ["2026-11-22", "2026-11-23"]);
        let writer = house.reopened().writer(spec(&house), Term(2)).await.unwrap();
        assert_eq!(writer.frozen().await.unwrap().as_deref(), Some("2026-11-23"));
    }
}

#[tokio::test]
async fn what_a_crash_left_of_a_day_goes_and_no_late_record_brings_it_back() {
    for house in houses() {
        drop(begun(&house, &spec(&house)).await);
        for (day, fault) in [("2026-11-20", Fault::Lost), ("2026-11-21", Fault::AnswerLost), ("2026-11-22", Fault::Lost)] {
            let faulty = house.lake.behind(FaultyStore::scripted(&[Fault::None, fault]));
            let mut writer = faulty.writer(spec(&house), Term(2)).await.unwrap();
            assert!(matches!(writer.freeze(&end(day, 0)).await, Err(Error::Store { .. })), "{day}");
        }
        let mut writer = house.lake.writer(spec(&house), Term(3)).await.unwrap();
        assert!(writer.freeze(&end("2026-11-22", 0)).await.unwrap());
        assert_eq!(rows_of(&house, "2026-11-22").await, Some(100));
        assert_eq!(rows_of(&house, "2026-11-21").await, Some(100), "its record is there, though nobody was told");
        assert_eq!(rows_of(&house, "2026-11-20").await, None);
        let left = table_folder(&daily_name(&name())).join("dt=2026-11-20");
        assert!(house.lake.store().list(&left).await.unwrap().is_empty(), "copies without a record");
        assert!(!writer.freeze(&end("2026-11-20", 0)).await.unwrap(), "it has missed its time, and that is written down");
        assert_eq!(rows_of(&house, "2026-11-20").await, None);
    }
}

#[tokio::test]
async fn a_changelog_has_no_days() {
    let house = House::new(Ground::Memory);
    let mut writer = house.lake.writer(house.spec(TableKind::Changelog, 1), Term(1)).await.unwrap();
    assert!(matches!(writer.freeze(&end("2026-11-22", 0)).await, Err(Error::Log { .. })));
}

/// The days that a metastore shows, with where they lie.
async fn shown(metastore: &MemoryMetastore) -> Vec<(String, String)> {
    let partitions = metastore.partitions(&daily_name(&name())).await.unwrap();
    let mut shown: Vec<_> =
        partitions.into_iter().map(|partition| (partition.values.join("/"), partition.parameters["numRows"].clone())).collect();
    shown.sort();
    shown
}

fn rows(days: &[(&str, &str)]) -> Vec<(String, String)> {
    days.iter().map(|(day, rows)| ((*day).to_owned(), (*rows).to_owned())).collect()
}

/// A lake that is published, and where.
fn published(ground: Ground) -> (House, MemoryMetastore) {
    let metastore = MemoryMetastore::new();
    (House::with(ground, Some(publishing(&metastore))), metastore)
}

fn publishing(metastore: &MemoryMetastore) -> Arc<Publishing> {
    Arc::new(Publishing::new(Arc::new(metastore.clone())))
}

/// As after a restart: nothing is remembered of what was shown.
async fn publish_anew(house: &House, metastore: &MemoryMetastore, spec: &TableSpec) {
    let settings = Settings { publishing: Some(publishing(metastore)), ..house.settings.clone() };
    house.lake.with_settings(settings).publish(spec).await.unwrap();
}

#[tokio::test]
async fn days_are_added_to_a_table_of_their_own_and_never_changed() {
    let (house, metastore) = published(Ground::Files);
    let spec = spec(&house);
    let mut writer = begun(&house, &spec).await;
    house.lake.publish(&spec).await.unwrap();
    assert_eq!(metastore.table(&daily_name(&name())).await.unwrap(), None, "no day, no table");
    assert!(writer.freeze(&end("2026-11-22", 0)).await.unwrap());
    house.lake.publish(&spec).await.unwrap();
    let first = metastore.partitions(&daily_name(&name())).await.unwrap();
    insert(writer.as_mut(), 0).await;
    assert!(writer.freeze(&end("2026-11-23", 1)).await.unwrap());
    assert!(writer.freeze(&end("2026-11-24", 1)).await.unwrap());
    publish_anew(&house, &metastore, &spec).await;
    assert_eq!(shown(&metastore).await, rows(&[("2026-11-22", "100"), ("2026-11-23", "101"), ("2026-11-24", "101")]));
    assert!(metastore.partitions(&daily_name(&name())).await.unwrap().contains(&first[0]), "a day stays as it was shown");
    // Somebody has no use for the oldest any more.
    metastore.drop_partition(&daily_name(&name()), &["2026-11-22".to_owned()]).await.unwrap();
    assert!(writer.freeze(&end("2026-11-25", 1)).await.unwrap());
    publish_anew(&house, &metastore, &spec).await;
    assert_eq!(shown(&metastore).await, rows(&[("2026-11-23", "101"), ("2026-11-24", "101"), ("2026-11-25", "101")]));
}

#[tokio::test]
async fn two_generations_take_turns() {
    let (house, metastore) = published(Ground::Memory);
    let spec = spec(&house);
    let mut writer = begun(&house, &spec).await;
    assert!(house.lake.publish(&spec).now_or_never().is_some(), "memory answers at once");
    assert!(writer.freeze(&end("2026-11-22", 0)).await.unwrap());
    let publishing = house.settings.publishing.clone().unwrap();
    for name in [name(), daily_name(&name())] {
        let other = publishing.turn(&name).await;
        assert!(house.lake.publish(&spec).now_or_never().is_none(), "another publishes {name}");
        drop(other);
    }
    assert!(house.lake.publish(&spec).now_or_never().is_some());
    assert_eq!(shown(&metastore).await, rows(&[("2026-11-22", "100")]));
}

#[tokio::test]
async fn a_day_without_rows_has_its_directory() {
    for house in houses() {
        let mut writer = house.lake.writer(spec(&house), Term(1)).await.unwrap();
        writer.adopt(Vec::new(), point(0, true)).await.unwrap();
        assert!(writer.freeze(&end("2026-11-22", 0)).await.unwrap());
        let frozen = house.lake.day(&name(), "2026-11-22").await.unwrap().unwrap();
        assert_eq!((frozen.rows, frozen.files.len()), (0, 0));
        let day = table_folder(&daily_name(&name())).join("dt=2026-11-22");
        let left: Vec<String> =
            house.lake.store().list(&day).await.unwrap().iter().map(|object| object.location.to_string()).collect();
        assert!(left.len() == 1 && left[0].ends_with("/_nothing"), "what engines pass over: {left:?}");
    }
}

#[tokio::test]
async fn days_of_types_that_cannot_follow_want_a_table_of_their_own() {
    let (house, metastore) = published(Ground::Files);
    let old = spec(&house);
    let mut writer = begun(&house, &old).await;
    assert!(writer.freeze(&end("2026-11-22", 0)).await.unwrap());
    house.lake.publish(&old).await.unwrap();
    let mut schema = TableSchema::clone(&old.schema);
    schema.columns[1].kind = ColumnType::Date;
    schema.columns.truncate(2);
    let new = TableSpec { generation: 2, schema: Arc::new(schema), ..old.clone() };
    let mut writer = house.lake.writer(new.clone(), Term(2)).await.unwrap();
    writer.adopt(Vec::new(), point(3, true)).await.unwrap();
    assert!(writer.freeze(&end("2026-11-23", 3)).await.unwrap());
    let refused = house.lake.publish(&new).await.unwrap_err();
    assert!(matches!(&refused, Error::Publication { remedy, .. } if remedy.contains("rename the table")), "{refused}");
    assert_eq!(shown(&metastore).await, rows(&[("2026-11-22", "100")]), "the old days are shown as they were");
    // Somebody puts it aside.
    let table = metastore.table(&daily_name(&name())).await.unwrap().unwrap();
    let aside = LakeName { table: "users_daily_until_november".to_owned(), ..daily_name(&name()) };
    let renamed = crate::lake::metastore::Table { name: aside, ..table };
    metastore.alter_table(&daily_name(&name()), &renamed, None).await.unwrap();
    house.lake.publish(&new).await.unwrap();
    assert_eq!(shown(&metastore).await, rows(&[("2026-11-23", "0")]));
}
