//! Publication of a mirror's days: `<table>_daily`, partitioned by `dt`, a directory for each day.
//!
//! A day never changes, so nothing is ever swapped: days that are not shown are added, each whole in the call that adds it. The table's columns
//! are those of all days that it shows, the latest type of each; a day without a column shows NULL there. Days whose types the later
//! ones cannot follow (an INT that became a VARCHAR) no table can show beside them: then the one that is there stays as it is and is
//! refused, and when somebody has put it aside under another name, a new one begins with the first day that goes with the latest.

use std::collections::{BTreeMap, BTreeSet};

use object_store::path::Path;

use super::hive::{DAY, can_follow, check_ours, hive_location, hive_name, our_table};
use super::project::ensure_database;
use super::{Publishing, SCHEMA, TABLE, hive, refused};
use crate::lake::daily::{DailyLog, DayRecord};
use crate::lake::log::{table_folder, table_object};
use crate::lake::metastore::{EXTERNAL, Format, HiveColumn, Partition, Table};
use crate::lake::store::LakeStore;
use crate::lake::{Result, Settings, TableSpec};

/// Partitions that one call adds.
const ADDED_AT_ONCE: usize = 100;

/// Shows the days of a mirror that have been frozen.
pub(in crate::lake) async fn publish_days(
    store: &LakeStore,
    settings: &Settings,
    publishing: &Publishing,
    spec: &TableSpec,
) -> Result<()> {
    let log = DailyLog::new(store, &spec.name);
    let days = log.days().await?;
    let Some(last) = days.last().filter(|last| !publishing.shows_day(&log.name, last)) else { return Ok(()) };
    let records = log.read_all(&days).await?;
    let records: Vec<DayRecord> = records.into_iter().filter(|record| record.directory.is_some()).collect();
    let Some(columns) = columns_of(&records) else { return Ok(()) };
    ensure_database(publishing.metastore(), store, &log.name).await?;
    // What a metastore shows must not be taken back by a machine that loses its power.
    log.settle(last).await?;
    let days = Showing { store, publishing, spec, log: &log };
    let table = days.table(&columns, settings.clock.now_ms()).await?;
    days.add(&table, shown_together(&records)).await?;
    publishing.note_day(&log.name, last);
    Ok(())
}

struct Showing<'a> {
    store: &'a LakeStore,
    publishing: &'a Publishing,
    spec: &'a TableSpec,
    log: &'a DailyLog,
}

impl Showing<'_> {
    /// The table, with these columns.
    async fn table(&self, columns: &[HiveColumn], now_ms: u64) -> Result<Table> {
        let (name, folder) = (hive_name(&self.log.name), hive_location(self.store, &table_folder(&self.log.name)));
        let metastore = self.publishing.metastore();
        let Some(found) = metastore.table(&name).await? else {
            let nothing = table_folder(&self.log.name).join(hive::EMPTY).join("_nothing");
            self.store.put(&nothing, bytes::Bytes::new()).await?;
            self.store.settle([nothing]).await?;
            let mut table = our_table(&name, columns.to_vec(), vec![hive::column(DAY, "string")], now_ms);
            table.location = hive_location(self.store, &table_folder(&self.log.name).join(hive::EMPTY));
            table.parameters = BTreeMap::from([
                (EXTERNAL.to_owned(), "TRUE".to_owned()),
                (TABLE.to_owned(), folder),
                ("binlake.source".to_owned(), self.spec.source.clone()),
                ("binlake.source_table".to_owned(), self.spec.schema.name.to_string()),
            ]);
            table.parameters.insert(SCHEMA.to_owned(), hive::fingerprint(&table));
            metastore.create_table(&table).await?;
            return Ok(table);
        };
        check_ours(&found, &folder).map_err(|(reason, remedy)| refused(&self.log.name, reason, remedy))?;
        if !can_follow(&found.columns, columns) {
            let reason = "its earlier days have columns of types that cannot become the present ones";
            let remedy = format!(
                "rename the table {name} in the metastore: it keeps its days, and a new one begins with those of the present types"
            );
            return Err(refused(&self.log.name, reason, remedy));
        }
        let mut next = Table { columns: united(&found.columns, columns), ..found.clone() };
        next.parameters.insert(SCHEMA.to_owned(), hive::fingerprint(&next));
        if next.columns != found.columns {
            metastore.alter_table(&name, &next, None).await?;
        }
        Ok(next)
    }

    /// Adds the days that it does not show.
    async fn add(&self, table: &Table, records: &[DayRecord]) -> Result<()> {
        let metastore = self.publishing.metastore();
        let found = metastore.partitions(&table.name).await?;
        let shown: BTreeSet<&String> = found.iter().filter_map(|partition| partition.values.first()).collect();
        let missing: Vec<Partition> = records
            .iter()
            .filter(|record| !shown.contains(&record.day))
            .map(|record| self.partition(record, &table.columns))
            .collect();
        for partitions in missing.chunks(ADDED_AT_ONCE) {
            metastore.add_partitions(&table.name, &Format::parquet(), partitions).await?;
        }
        Ok(())
    }

    fn partition(&self, record: &DayRecord, columns: &[HiveColumn]) -> Partition {
        let directory = record.directory.as_deref().unwrap_or_default();
        let location: Path = table_object(&self.log.name, directory);
        let parameters = BTreeMap::from([
            ("numFiles".to_owned(), record.files.len().to_string()),
            ("numRows".to_owned(), record.rows().to_string()),
            ("totalSize".to_owned(), record.bytes().to_string()),
            ("binlake.position".to_owned(), format!("{}:{}:{}", record.end.0.epoch, record.file_name, record.end.0.offset)),
            ("binlake.zone".to_owned(), record.zone.clone()),
        ]);
        Partition {
            values: vec![record.day.clone()],
            location: hive_location(self.store, &location),
            columns: columns.to_vec(),
            parameters,
        }
    }
}

/// The days that one table can show with the last one among them.
fn shown_together(records: &[DayRecord]) -> &[DayRecord] {
    let follow = |pair: &[DayRecord]| can_follow(&pair[0].columns, &pair[1].columns);
    let breaks = records.windows(2).rposition(|pair| !follow(pair));
    records.get(breaks.map_or(0, |before| before + 1)..).unwrap_or_default()
}

/// The columns of the days that one table can show; None where there is no day.
fn columns_of(records: &[DayRecord]) -> Option<Vec<HiveColumn>> {
    let mut columns = shown_together(records).iter().map(|record| record.columns.clone());
    let first = columns.next()?;
    Some(columns.fold(first, |all, later| united(&all, &later)))
}

/// The earlier columns where they are, with the types that they have now; new ones behind them.
fn united(earlier: &[HiveColumn], later: &[HiveColumn]) -> Vec<HiveColumn> {
    let now = |old: &HiveColumn| later.iter().find(|new| new.name == old.name);
    let kept = earlier.iter().map(|old| HiveColumn { comment: old.comment.clone(), ..now(old).unwrap_or(old).clone() });
    let added = later.iter().filter(|new| !earlier.iter().any(|old| old.name == new.name)).cloned();
    kept.chain(added).collect()
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
            columns: columns.iter().map(|(name, kind)| hive::column(name, kind)).collect(),
            frozen_ms: 0,
        }
    }

    fn shown(records: &[DayRecord]) -> (usize, String) {
        let columns = columns_of(records).unwrap_or_default();
        let text: Vec<String> = columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
        (shown_together(records).len(), text.join(", "))
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
    }
}
