//! Publication of a mirror's days: `<table>_daily`, partitioned by `dt`, a directory for each day.
//!
//! A day never changes, so nothing is ever swapped: days that are not shown are added, each whole in the call that adds it. The table's columns
//! are those of all days that it shows, the latest type of each; a day without a column shows NULL there. Days whose types the later
//! ones cannot follow (an INT that became a VARCHAR) no table can show beside them: then the one that is there stays as it is and is
//! refused, and when somebody has put it aside under another name, a new one begins with the first day that goes with the latest.

use std::collections::BTreeMap;

use super::hive::{DAY, EMPTY, can_follow, check_ours, column, fingerprint, hive_location, hive_name, our_table, ours, place};
use super::project::ensure_database;
use super::{Publishing, SCHEMA, refused};
use crate::lake::daily::{DailyLog, DayRecord};
use crate::lake::log::{table_folder, table_object};
use crate::lake::metastore::{Format, HiveColumn, Metastore, Partition, Table};
use crate::lake::store::LakeStore;
use crate::lake::{LakeName, Result, Settings, TableSpec};

/// Partitions that one call adds.
const ADDED_AT_ONCE: usize = 100;

/// Shows the days of a mirror that have been frozen since the last one that is shown. An earlier one that is not shown was dropped by somebody,
/// or lies before what the table can show: it stays away.
pub(in crate::lake) async fn publish_days(
    store: &LakeStore,
    settings: &Settings,
    publishing: &Publishing,
    spec: &TableSpec,
) -> Result<()> {
    let log = DailyLog::new(store, &spec.name);
    let _turn = publishing.turn(&log.name).await;
    let days = log.days().await?;
    let Some(last) = days.last().filter(|last| !publishing.shows_day(&log.name, last)) else { return Ok(()) };
    let showing = Showing { store, metastore: publishing.metastore(), spec, log: &log, name: hive_name(&log.name) };
    let found = showing.found().await?;
    let shown = found.as_ref().and_then(|(_, shown)| shown.as_deref());
    let new = days.partition_point(|day| shown.is_some_and(|shown| day.as_str() <= shown));
    let records = log.read_all(days.get(new..).unwrap_or_default()).await?;
    let records: Vec<DayRecord> = records.into_iter().filter(|record| record.directory.is_some()).collect();
    let (records, begin) = shown_together(&records);
    if !records.is_empty() {
        // What a metastore shows must not be taken back by a machine that loses its power.
        log.settle(last).await?;
        let columns = match found {
            Some((found, _)) => showing.alter(found, &begin, records).await?,
            None => showing.create(records, settings.clock.now_ms()).await?,
        };
        showing.add(&columns, records).await?;
    }
    publishing.note_day(&log.name, last);
    Ok(())
}

struct Showing<'a> {
    store: &'a LakeStore,
    metastore: &'a dyn Metastore,
    spec: &'a TableSpec,
    log: &'a DailyLog,
    /// The table, as Hive has it.
    name: LakeName,
}

impl Showing<'_> {
    fn folder(&self) -> String {
        hive_location(self.store, &table_folder(&self.log.name))
    }

    /// The table that is there, and the last day that it shows.
    async fn found(&self) -> Result<Option<(Table, Option<String>)>> {
        let Some(found) = self.metastore.table(&self.name).await? else { return Ok(None) };
        check_ours(&found, &self.folder()).map_err(|(reason, remedy)| refused(&self.log.name, reason, remedy))?;
        let partitions = self.metastore.partitions(&self.name).await?;
        let last = partitions.into_iter().filter_map(|partition| partition.values.into_iter().next()).max();
        Ok(Some((found, last)))
    }

    /// Makes the table; answers its columns.
    async fn create(&self, records: &[DayRecord], now_ms: u64) -> Result<Vec<HiveColumn>> {
        ensure_database(self.metastore, self.store, &self.log.name).await?;
        let empty = table_folder(&self.log.name).join(EMPTY);
        self.store.put_nothing(std::slice::from_ref(&empty)).await?;
        let columns = united(&[], records);
        let shape = (columns.clone(), vec![column(DAY, "string")]);
        let (location, parameters) = (hive_location(self.store, &empty), ours(self.spec, &self.folder()));
        self.metastore.create_table(&our_table(&self.name, shape, location, parameters, now_ms)).await?;
        Ok(columns)
    }

    /// Gives the table that is there what columns these days have besides, which begin so; answers them all.
    async fn alter(&self, found: Table, begin: &[HiveColumn], records: &[DayRecord]) -> Result<Vec<HiveColumn>> {
        if !can_follow(&found.columns, begin) {
            let reason = "its earlier days have columns of types that cannot become the present ones";
            let remedy = format!(
                "rename the table {} in the metastore: it keeps its days, and a new one begins with those of the present types",
                self.name
            );
            return Err(refused(&self.log.name, reason, remedy));
        }
        let columns = united(&found.columns, records);
        if columns != found.columns {
            let mut next = Table { columns: columns.clone(), ..found };
            next.parameters.insert(SCHEMA.to_owned(), fingerprint(&next));
            self.metastore.alter_table(&self.name, &next, None).await?;
        }
        Ok(columns)
    }

    async fn add(&self, columns: &[HiveColumn], records: &[DayRecord]) -> Result<()> {
        for records in records.chunks(ADDED_AT_ONCE) {
            let partitions: Vec<Partition> = records.iter().map(|record| self.partition(record, columns)).collect();
            self.metastore.add_partitions(&self.name, &Format::parquet(), &partitions).await?;
        }
        Ok(())
    }

    fn partition(&self, record: &DayRecord, columns: &[HiveColumn]) -> Partition {
        let directory = record.directory.as_deref().unwrap_or_default();
        let parameters = BTreeMap::from([
            ("numFiles".to_owned(), record.files.len().to_string()),
            ("numRows".to_owned(), record.rows().to_string()),
            ("totalSize".to_owned(), record.bytes().to_string()),
            place(record.end, &record.file_name),
            ("binlake.zone".to_owned(), record.zone.clone()),
        ]);
        Partition {
            values: vec![record.day.clone()],
            location: hive_location(self.store, &table_object(&self.log.name, directory)),
            columns: columns.to_vec(),
            parameters,
        }
    }
}

/// The days that one table can show with the last one among them, and the columns of all of them with the types that they begin with.
fn shown_together(records: &[DayRecord]) -> (&[DayRecord], Vec<HiveColumn>) {
    let (mut from, mut begin) = (records.len(), Vec::new());
    for record in records.iter().rev() {
        if !can_follow(&record.columns, &begin) {
            break;
        }
        begin = with_types_of(begin, &record.columns);
        from -= 1;
    }
    (records.get(from..).unwrap_or_default(), begin)
}

/// These columns with the types of others, where those have them; what is new stands behind them.
fn with_types_of(mut columns: Vec<HiveColumn>, others: &[HiveColumn]) -> Vec<HiveColumn> {
    for other in others {
        match columns.iter_mut().find(|known| known.name == other.name) {
            Some(known) => known.data_type.clone_from(&other.data_type),
            None => columns.push(other.clone()),
        }
    }
    columns
}

/// The columns that are there, with the types that they have in the last of these days; new ones behind them.
fn united(earlier: &[HiveColumn], records: &[DayRecord]) -> Vec<HiveColumn> {
    records.iter().fold(earlier.to_vec(), |columns, record| with_types_of(columns, &record.columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{BinlogPosition, Cut, Term};

    fn day(day: &str, columns: &[(&str, &str)]) -> DayRecord {
        DayRecord {
            v: 1,
            day: day.to_owned(),
            zone: "UTC".to_owned(),
            end: Cut(BinlogPosition { epoch: 0, file: 1, offset: 4 }),
            file_name: "binlog.000001".to_owned(),
            generation: 1,
            seq: 3,
            term: Term(1),
            directory: Some(format!("dt={day}/t1-x")),
            files: Vec::new(),
            columns: columns.iter().map(|(name, kind)| column(name, kind)).collect(),
            frozen_ms: 0,
        }
    }

    fn shown(records: &[DayRecord]) -> (usize, String) {
        let columns = united(&[], shown_together(records).0);
        let text: Vec<String> = columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
        (shown_together(records).0.len(), text.join(", "))
    }

    #[test]
    fn columns_come_go_and_widen_and_all_days_are_shown() {
        let records = [
            day("2026-11-20", &[("id", "int"), ("gone", "string")]),
            day("2026-11-21", &[("id", "int"), ("new", "date")]),
            day("2026-11-22", &[("id", "bigint"), ("new", "date")]),
        ];
        assert_eq!(shown(&records), (3, "id bigint, gone string, new date".to_owned()));
        assert_eq!(shown(&[]), (0, String::new()));
    }

    #[test]
    fn days_before_a_type_that_cannot_follow_are_left_out() {
        let records = [
            day("2026-11-20", &[("id", "int")]),
            day("2026-11-21", &[("id", "string")]),
            day("2026-11-22", &[("id", "string"), ("n", "int")]),
        ];
        assert_eq!(shown(&records), (2, "id string, n int".to_owned()));
        let gone_between = [
            day("2026-11-20", &[("id", "int"), ("n", "string")]),
            day("2026-11-21", &[("id", "int")]),
            day("2026-11-22", &[("id", "int"), ("n", "int")]),
        ];
        assert_eq!(shown(&gone_between), (2, "id int, n int".to_owned()), "a table has one type for a column");
    }
}
