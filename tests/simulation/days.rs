//! The days of mirrors: each holds what the source's table held before the first transaction of a later day, stays for ever, and is there
//! for every day that ended while its table was kept without a break.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Deserialize;

use crate::history::{History, Row};
use crate::lake::Contents;
use crate::oracle::{Finding, Peek, source};
use crate::violation::Invariant;

/// What a day's record says.
#[derive(Debug, Deserialize)]
struct Record {
    day: String,
    directory: Option<String>,
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct File {
    path: String,
    rows: u64,
}

/// A mirror, and a day of it.
type Key = (String, String);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Days {
    /// The directory and the files of each day that was frozen; None where there is no such day and never will be.
    frozen: BTreeMap<Key, Option<(String, Vec<String>)>>,
    /// What has to be there in the end.
    expected: BTreeSet<Key>,
    /// Mirrors that were not kept without a break.
    pub excused: BTreeSet<String>,
}

/// The mirror whose days a lake table has.
fn mirror(name: &str) -> Option<&str> {
    name.strip_suffix("_daily")
}

impl Days {
    /// These mirrors are kept, and a day has ended.
    pub(crate) fn expect(&mut self, mirrors: impl Iterator<Item = String>, day: &str) {
        self.expected.extend(mirrors.map(|mirror| (mirror, day.to_owned())));
    }

    /// The source has committed a transaction on this day.
    pub(crate) fn pushed(&self, day: &str) -> Result<(), Finding> {
        match self.frozen.keys().find(|(_, frozen)| frozen.as_str() >= day) {
            Some(key) => Err((Invariant::DayDiffers, format!("{key:?} is frozen, and a transaction of {day} comes"))),
            None => Ok(()),
        }
    }

    /// A record became visible; whether it is a day.
    pub(crate) fn put(
        &mut self,
        (name, inside): (&str, &str),
        bytes: &Bytes,
        (history, contents, peek): (&mut History, &mut Contents, &Peek),
    ) -> Result<bool, Finding> {
        let Some(mirror) = mirror(name).filter(|_| inside.starts_with("_binlake/days/")) else { return Ok(false) };
        let wrong = |invariant, reason: String| (invariant, format!("{name}/{inside}: {reason}"));
        let record: Record = serde_json::from_slice(bytes).map_err(|error| wrong(Invariant::FileDamaged, error.to_string()))?;
        let key = (mirror.to_owned(), record.day.clone());
        let mut rows: Vec<Row> = Vec::new();
        for file in &record.files {
            let path = format!("{name}/{}", file.path);
            let content = contents.of(&path, || peek(&path)).map_err(|reason| wrong(Invariant::FileDamaged, reason))?;
            if content.rows.len() as u64 != file.rows {
                return Err(wrong(Invariant::FileDamaged, format!("{path} has {} rows", content.rows.len())));
            }
            rows.extend(content.rows.iter().cloned());
        }
        let Some(directory) = record.directory else {
            self.frozen.insert(key, None);
            return Ok(false);
        };
        let ended = history.until(&record.day);
        rows.sort_unstable();
        let expected = history.table(&source(mirror)).rows_at(ended);
        if !rows.iter().eq(expected.values()) {
            let reason = format!("{rows:?} and not {:?}, as transaction {ended} found it", expected.values().collect::<Vec<_>>());
            return Err(wrong(Invariant::DayDiffers, reason));
        }
        let files = record.files.into_iter().map(|file| format!("{name}/{}", file.path)).collect();
        self.frozen.insert(key, Some((directory, files)));
        Ok(true)
    }

    /// An object was deleted.
    pub(crate) fn deleted(&self, path: &str) -> Result<(), Finding> {
        let names = |files: &(String, Vec<String>)| files.1.iter().any(|file| file == path);
        match self.frozen.iter().find(|(_, files)| files.as_ref().is_some_and(names)) {
            Some((key, _)) => Err((Invariant::ReaderLostFile, format!("{path} was deleted and is of {key:?}"))),
            None => Ok(()),
        }
    }

    /// The machine lost a record with its power.
    pub(crate) fn lost(&mut self, name: &str, inside: &str) {
        let day = inside.strip_prefix("_binlake/days/").and_then(|file| file.strip_suffix(".json"));
        if let Some((mirror, day)) = mirror(name).zip(day) {
            self.frozen.remove(&(mirror.to_owned(), day.to_owned()));
        }
    }

    /// What a metastore shows of a table of days; None where it is no such table.
    pub(crate) fn showed(&self, name: &str, locations: &[String]) -> Option<Result<(), Finding>> {
        let mirror = mirror(name)?;
        let folder = format!("memory:///{name}/");
        let is_day = |below: &str| self.frozen.iter().any(|((of, _), frozen)| of == mirror && directory_is(frozen, below));
        let strange = locations.iter().find(|location| {
            let below = location.strip_prefix(&folder);
            !below.is_some_and(|below| below == "empty" || is_day(below))
        });
        Some(match strange {
            Some(location) => Err((Invariant::ShownTorn, format!("{name} shows {location}, which is no day of it"))),
            None => Ok(()),
        })
    }

    /// What is missing at the end, when these mirrors are still in their first generation.
    pub(crate) fn missing(&self, peek: &Peek, first: impl Fn(&str) -> bool) -> Option<String> {
        let kept = |(mirror, _): &&Key| !self.excused.contains(mirror) && first(mirror);
        let is_there = |key: &Key| matches!(self.frozen.get(key), Some(Some(_)));
        if let Some((mirror, day)) = self.expected.iter().filter(kept).find(|key| !is_there(key)) {
            return Some(format!("{mirror} has no {day}"));
        }
        let files = self.frozen.values().flatten().flat_map(|(_, files)| files);
        files.into_iter().find(|file| peek(file).is_none()).map(|file| format!("{file} of a frozen day is not there"))
    }
}

fn directory_is(frozen: &Option<(String, Vec<String>)>, below: &str) -> bool {
    frozen.as_ref().is_some_and(|(directory, _)| directory == below)
}
