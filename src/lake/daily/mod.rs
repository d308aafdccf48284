//! The days of a mirror: `<table>_daily`, a partition `dt` for each, kept for ever.
//!
//! ```text
//! <table>_daily/_binlake/days/2026-11-22.json       put-if-absent = THE commit of the day: its files, its place in the source's history
//! <table>_daily/dt=2026-11-22/t7-5f0c91ab/0000.parquet   copies of the mirror's files
//! ```
//!
//! **Why a day is what the mirror held.** The writer freezes between two batches, when the mirror stands where the day ended: the files
//! are those of its last commit, which names them and never changes. They are copied into a directory that nobody else uses,
//! made durable, and only then named by the day's record. What a crash leaves without a record is nothing to anybody.
//!
//! **Why two writers do no harm.** The mirror's content at a position is the same whoever writes it, so of two that freeze the same
//! day either is right, and the store takes one record. The other's copies are removed behind that: a record names one directory and never
//! another. A day that nobody will freeze any more gets a record that says so before its leftovers go, so that a put which is still on its
//! way finds its place taken.
//!
//! **Why copies.** A partition of a Hive table is a directory, and two must not share one (`publish`); and a mirror's files go when their time is
//! over. A store copies by itself, on a local disk a copy is another name of the same bytes.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::log::state::State;
use super::log::{table_folder, table_object};
use super::metastore::HiveColumn;
use super::store::{LakeStore, Put};
use super::table::days;
use super::{Error, FrozenDay, LakeName, Result, TableSpec, temporary, unique};
use crate::change::{DayEnd, Term};
use crate::trial::{Mistake, at, planted, point};

/// The format this program writes, and the newest it reads.
const VERSION: u32 = 1;
/// Days with a record that are looked at again when one is frozen.
const CLEANED_AGAIN: usize = 2;
/// Files copied, and records read, at a time.
const AT_ONCE: usize = 8;

/// What a day's record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DayRecord {
    /// The format.
    pub(crate) v: u32,
    pub(crate) day: String,
    /// The zone whose midnight ended it.
    pub(crate) zone: String,
    /// Where it ended; with the binlog file's name, for people.
    pub(crate) end: crate::change::Cut,
    pub(crate) file_name: String,
    /// The mirror's commit: generation and record.
    pub(crate) generation: u32,
    pub(crate) seq: u64,
    pub(crate) term: Term,
    /// Where its files lie, below the table's folder; None where there is no such day and never will be.
    pub(crate) directory: Option<String>,
    pub(crate) files: Vec<DayFile>,
    pub(crate) columns: Vec<HiveColumn>,
    pub(crate) frozen_ms: u64,
}

/// One file of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DayFile {
    /// Relative to the table's folder.
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl DayRecord {
    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// The name of the table of a mirror's days.
pub(crate) fn daily_name(mirror: &LakeName) -> LakeName {
    LakeName { database: mirror.database.clone(), table: format!("{}_daily", mirror.table) }
}

/// The days of one mirror.
#[derive(Debug, Clone)]
pub(crate) struct DailyLog {
    store: LakeStore,
    pub(crate) name: LakeName,
}

impl DailyLog {
    pub(crate) fn new(store: &LakeStore, mirror: &LakeName) -> Self {
        Self { store: store.clone(), name: daily_name(mirror) }
    }

    fn records(&self) -> Path {
        table_folder(&self.name).join("_binlake").join("days")
    }

    fn record_path(&self, day: &str) -> Path {
        self.records().join(format!("{day}.json"))
    }

    fn broken(&self, path: &Path, reason: impl Into<String>) -> Error {
        Error::Log { table: self.name.to_string(), path: path.to_string(), reason: reason.into() }
    }

    /// The days that have a record, in order.
    pub(crate) async fn days(&self) -> Result<Vec<String>> {
        let objects = self.store.list(&self.records()).await?;
        let day = |path: &Path| path.filename().and_then(|name| name.strip_suffix(".json")).map(str::to_owned);
        let mut days: Vec<String> = objects.iter().filter_map(|object| day(&object.location)).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// The last day that has a record, on the disk from here on: whoever sees it goes on behind it.
    pub(crate) async fn last(&self) -> Result<Option<String>> {
        let last = self.days().await?.pop();
        if let Some(last) = &last {
            self.settle(last).await?;
        }
        Ok(last)
    }

    /// Makes durable that a day has its record; and with it those before it, which lie beside it.
    pub(crate) async fn settle(&self, day: &str) -> Result<()> {
        self.store.settle([self.record_path(day)]).await
    }

    /// The record of a day; None where there is none.
    pub(crate) async fn read(&self, day: &str) -> Result<Option<DayRecord>> {
        let path = self.record_path(day);
        let Some(bytes) = self.store.get(&path).await? else { return Ok(None) };
        let record: DayRecord = serde_json::from_slice(&bytes).map_err(|error| self.broken(&path, error.to_string()))?;
        if record.v > VERSION {
            let (table, path) = (self.name.to_string(), path.to_string());
            return Err(Error::Newer { table, path, found: record.v, known: VERSION });
        }
        Ok(Some(record))
    }

    /// The records of these days, in order.
    pub(crate) async fn read_all(&self, days: &[String]) -> Result<Vec<DayRecord>> {
        let reading: Vec<_> = days.iter().map(|day| self.read(day)).collect();
        let records = futures::stream::iter(reading).buffered(AT_ONCE);
        Ok(records.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// A day for people and programs; None where it was not frozen.
    pub(crate) async fn frozen(&self, day: &str) -> Result<Option<FrozenDay>> {
        let Some(record) = self.read(day).await?.filter(|record| record.directory.is_some()) else { return Ok(None) };
        let location = |file: &DayFile| self.store.location(&table_object(&self.name, &file.path));
        let (rows, bytes) = (record.rows(), record.bytes());
        Ok(Some(FrozenDay { rows, bytes, files: record.files.iter().map(location).collect(), day: record.day }))
    }

    /// Keeps what a mirror's state holds as a day; false where the day has a record already.
    pub(crate) async fn freeze(&self, spec: &TableSpec, state: &State, end: &DayEnd, writer: Writer<'_>) -> Result<bool> {
        let is_new = match self.read(&end.day).await? {
            // It may have been put by one that died right behind it.
            Some(_) => {
                self.settle(&end.day).await?;
                false
            }
            None => self.freeze_anew(spec, state, end, writer).await?,
        };
        self.clean(end, writer).await?;
        Ok(is_new)
    }

    async fn freeze_anew(&self, spec: &TableSpec, state: &State, end: &DayEnd, writer: Writer<'_>) -> Result<bool> {
        let unique = unique().simple().to_string();
        let attempt = format!("t{}-{}", writer.term, unique.get(..8).unwrap_or(&unique));
        let directory = format!("{}/{attempt}", days::directory(&end.day));
        let copies: Vec<(Path, DayFile)> = state
            .files()
            .into_iter()
            .enumerate()
            .map(|(number, file)| {
                let path = format!("{directory}/{number:04}.parquet");
                (table_object(&spec.name, &file.path), DayFile { path, rows: file.rows, bytes: file.bytes })
            })
            .collect();
        let files: Vec<DayFile> = copies.iter().map(|(_, file)| file.clone()).collect();
        let record = DayRecord {
            directory: Some(directory),
            files,
            columns: writer.columns.to_vec(),
            generation: state.generation,
            seq: state.seq,
            ..self.without_files(end, writer)
        };
        if planted(Mistake::DayNamedBeforeCopied) {
            let put = self.put(&record).await?;
            self.copy(copies).await?;
            return Ok(put);
        }
        if record.files.is_empty() {
            // The partition's directory has to be there.
            self.store.put_nothing(&[table_object(&self.name, record.directory.as_deref().unwrap_or_default())]).await?;
        }
        if let Err(error) = self.copy(copies).await {
            // Another that was faster has removed them.
            return if self.read(&end.day).await?.is_some() { Ok(false) } else { Err(error) };
        }
        point(at::DAY_COPIED);
        self.put(&record).await
    }

    fn without_files(&self, end: &DayEnd, writer: Writer<'_>) -> DayRecord {
        DayRecord {
            v: VERSION,
            day: end.day.clone(),
            zone: end.zone.clone(),
            end: end.end,
            file_name: end.file_name.clone(),
            generation: 0,
            seq: 0,
            term: writer.term,
            directory: None,
            files: Vec::new(),
            columns: Vec::new(),
            frozen_ms: writer.now_ms,
        }
    }

    async fn copy(&self, copies: Vec<(Path, DayFile)>) -> Result<()> {
        let object = |file: &DayFile| table_object(&self.name, &file.path);
        let paths: Vec<Path> = copies.iter().map(|(_, file)| object(file)).collect();
        let copying = copies.into_iter().map(|(from, file)| async move {
            let to = table_object(&self.name, &file.path);
            self.store.copy(&from, &to, file.bytes).await?;
            match self.store.size(&to).await? {
                Some(bytes) if bytes == file.bytes => Ok(()),
                _ => Err(self.store.silent(&to, "the copy is not there as it was made")),
            }
        });
        futures::stream::iter(copying).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        self.store.settle(paths).await
    }

    /// Puts a record; false where another holds the day. An answer that was lost is settled by whoever tries next.
    async fn put(&self, record: &DayRecord) -> Result<bool> {
        let path = self.record_path(&record.day);
        let bytes = Bytes::from(serde_json::to_vec(record).map_err(|error| self.broken(&path, error.to_string()))?);
        let put = self.store.put_if_absent(&path, bytes).await?;
        // S3 refuses, too, while another put is under way, whatever becomes of that one.
        if put == Put::Occupied && self.read(&record.day).await?.is_none() {
            return Err(self.store.silent(&path, "the day was called taken, and it has no record"));
        }
        self.store.settle([path]).await?;
        point(at::DAY_FROZEN);
        Ok(put == Put::Done)
    }

    /// Removes what killed puts left beside records, which no longer have a place to go to.
    async fn clear_leftovers(&self) -> Result<()> {
        for object in self.store.list(&self.records()).await? {
            let place = object.location.filename().and_then(temporary::of).and_then(|place| place.strip_suffix(".json"));
            if let Some(day) = place
                && self.read(day).await?.is_some()
            {
                self.store.delete(&object.location).await?;
            }
        }
        Ok(())
    }

    /// Removes copies that no record names: of this day, of the one before it, which may have got some since, and of all that have no record.
    async fn clean(&self, end: &DayEnd, writer: Writer<'_>) -> Result<()> {
        if self.store.leaves_temporaries() {
            self.clear_leftovers().await?;
        }
        let recorded = self.days().await?;
        let until = recorded.partition_point(|day| *day <= end.day);
        let done = recorded.get(..until.saturating_sub(CLEANED_AGAIN)).unwrap_or_default();
        for directory in self.store.directories(&table_folder(&self.name)).await? {
            let day = days::of_path(&directory).filter(|day| *day <= end.day.as_str());
            if let Some(day) = day.filter(|day| done.binary_search_by(|done| done.as_str().cmp(day)).is_err()) {
                self.clean_day(&DayEnd { day: day.to_owned(), ..end.clone() }, writer).await?;
            }
        }
        Ok(())
    }

    async fn clean_day(&self, end: &DayEnd, writer: Writer<'_>) -> Result<()> {
        let objects = self.store.list(&table_folder(&self.name).join(days::directory(&end.day))).await?;
        if objects.is_empty() {
            return Ok(());
        }
        let mut named = self.read(&end.day).await?;
        if named.is_none() {
            self.put(&self.without_files(end, writer)).await?;
            named = self.read(&end.day).await?;
        }
        // It is there: what was put is read back.
        let Some(named) = named else { return Ok(()) };
        let kept = named.directory.map(|directory| table_object(&self.name, &directory));
        let is_kept = |path: &Path| kept.as_ref().is_some_and(|kept| path.prefix_matches(kept));
        for object in objects.iter().filter(|object| !is_kept(&object.location)) {
            self.store.delete(&object.location).await?;
            if let Some((above, _)) = object.location.as_ref().rsplit_once('/') {
                self.store.drop_if_empty(&Path::from(above)).await?;
            }
        }
        Ok(())
    }
}

/// Who freezes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) term: Term,
    pub(crate) columns: &'a [HiveColumn],
    pub(crate) now_ms: u64,
}
