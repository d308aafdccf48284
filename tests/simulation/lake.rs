//! The lake as its commit records say, read without any of the lake's own code: which files a table has, which of them readers see,
//! since when a file is replaced, and what is in the files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Date32Array, Int32Array, Int64Array};
use binlake::lake::CommitPoint;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use crate::history::{Cell, Row};

/// One commit record.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    pub kind: String,
    pub generation: u32,
    pub seq: u64,
    pub committed_ms: u64,
    #[serde(default)]
    pub point: Option<CommitPoint>,
    #[serde(default)]
    added: Vec<File>,
    #[serde(default)]
    pub removed: Vec<String>,
    #[serde(default)]
    switch_to: Option<u32>,
    #[serde(default)]
    pub segments: Option<Segments>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Segments {
    pub drop: Vec<String>,
    pub put: Vec<SegmentBounds>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SegmentBounds {
    pub lower: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct File {
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
}

/// A generation as of one record.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub seq: u64,
    pub files: Vec<Arc<File>>,
    pub point: Option<CommitPoint>,
    /// Where the snapshot was adopted.
    pub since: Option<CommitPoint>,
    pub lowers: BTreeSet<String>,
    pub switched: Option<u32>,
}

/// What a record did that is worth counting.
pub(crate) enum Deed {
    TakeOver,
    Split,
    Seal,
    Merge,
    Fold,
    Switch,
    /// Into a slot below the newest record: its writer was suspended.
    Expired,
    Other,
}

/// A generation's states, one for each record that ever was visible.
#[derive(Debug, Default)]
struct Generation(BTreeMap<u64, State>);

/// One lake table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    generations: BTreeMap<u32, Generation>,
    /// When a file that readers saw was replaced, by its path.
    pub replaced_ms: BTreeMap<String, u64>,
    /// What readers saw last: generation and record.
    pub seen: Option<(u32, u64)>,
}

impl Table {
    /// Takes in a record that became visible. An `Err` says why it cannot follow.
    pub(crate) fn take(&mut self, record: &Record) -> Result<Deed, String> {
        let before = self.published();
        let states = &mut self.generations.entry(record.generation).or_default().0;
        let last = states.last_key_value().map(|(_, state)| state.clone()).unwrap_or_default();
        if record.seq <= last.seq {
            // The slot of an entry that has expired: a writer that was suspended. Nobody reads it.
            return Ok(Deed::Expired);
        }
        if record.seq != last.seq + 1 {
            return Err(format!("record {} follows record {}", record.seq, last.seq));
        }
        let (state, deed) = next(&last, record)?;
        states.insert(record.seq, state);
        let after = self.published();
        let still: BTreeSet<&str> = after.iter().flat_map(|(_, state)| &state.files).map(|file| file.path.as_str()).collect();
        let replaced = before.iter().flat_map(|(_, state)| &state.files).filter(|file| !still.contains(file.path.as_str()));
        let replaced: Vec<String> = replaced.map(|file| file.path.clone()).collect();
        // A record that came late says when it was made: retention counts from there.
        self.replaced_ms.extend(replaced.into_iter().map(|path| (path, record.committed_ms)));
        Ok(deed)
    }

    /// The machine lost its power, and this record with it.
    pub(crate) fn lose(&mut self, generation: u32, seq: u64) {
        if let Some(generation) = self.generations.get_mut(&generation) {
            // A record above an expired one is the newest: those below it are history.
            generation.0.retain(|known, _| *known < seq);
        }
        self.seen = self.published().map(|(generation, state)| (generation, state.seq));
    }

    /// What readers see: the generation and its state.
    pub(crate) fn published(&self) -> Option<(u32, State)> {
        let mut generation = 1;
        loop {
            let state = self.generations.get(&generation)?.0.last_key_value().map(|(_, state)| state)?;
            match state.switched {
                Some(next) => generation = next,
                None => return state.point.as_ref().is_some_and(|point| point.publish).then(|| (generation, state.clone())),
            }
        }
    }

    /// The newest state that readers may see or could, whose files lie in just these directories.
    pub(crate) fn version_with(&self, directory: impl Fn(&str) -> &str, directories: &BTreeSet<String>) -> Option<(u32, u64)> {
        let (live, _) = self.published()?;
        let states = self
            .generations
            .range(..=live)
            .rev()
            .flat_map(|(number, generation)| generation.0.values().rev().map(move |state| (*number, state)));
        let is_it = |state: &State| {
            state.point.as_ref().is_some_and(|point| point.publish)
                && state.files.len() == directories.len()
                && state.files.iter().all(|file| directories.contains(directory(&file.path)))
        };
        states.filter(|(_, state)| is_it(state)).map(|(number, state)| (number, state.seq)).next()
    }

    /// Whether the generation that readers see, or one that is being built, names the file.
    pub(crate) fn names(&self, path: &str) -> bool {
        let live = self.published().map_or(0, |(generation, _)| generation);
        let newest = self.generations.range(live..).filter_map(|(_, generation)| generation.0.last_key_value());
        newest.flat_map(|(_, state)| &state.files).any(|file| file.path == path)
    }
}

fn next(last: &State, record: &Record) -> Result<(State, Deed), String> {
    let mut state = State { seq: record.seq, ..last.clone() };
    if last.switched.is_some() {
        return Err("a record stands behind the switch".to_owned());
    }
    if let Some(path) = record.removed.iter().find(|path| !last.files.iter().any(|file| file.path == **path)) {
        return Err(format!("it removes {path}, which is not live"));
    }
    state.files.retain(|file| !record.removed.contains(&file.path));
    state.files.extend(record.added.iter().cloned().map(Arc::new));
    if record.kind == "adopt" {
        state.since.clone_from(&record.point);
    }
    if record.point.is_some() {
        state.point.clone_from(&record.point);
    }
    state.switched = record.switch_to;
    let mut new_lowers = Vec::new();
    if let Some(segments) = &record.segments {
        for lower in &segments.drop {
            state.lowers.remove(lower);
        }
        for segment in &segments.put {
            if state.lowers.insert(segment.lower.clone()) {
                new_lowers.push(segment.lower.clone());
            }
        }
    }
    let deed = match record.kind.as_str() {
        "term" => Deed::TakeOver,
        "switch" => Deed::Switch,
        "commit" if record.segments.is_none() && !record.removed.is_empty() => Deed::Fold,
        "commit" if state.lowers.len() > last.lowers.len() && !last.lowers.is_empty() => {
            let highest = last.lowers.last();
            let at_end = new_lowers.iter().all(|lower| Some(lower) > highest);
            if at_end { Deed::Seal } else { Deed::Split }
        }
        "commit" if state.lowers.len() < last.lowers.len() => Deed::Merge,
        _ => Deed::Other,
    };
    Ok((state, deed))
}

/// The rows of a data file, by column name.
#[derive(Debug)]
pub(crate) struct Content {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

/// The contents of data files, each read once: what a commit names never changes.
#[derive(Debug, Default)]
pub(crate) struct Contents(HashMap<String, Arc<Content>>);

impl Contents {
    pub(crate) fn of(&mut self, path: &str, bytes: impl FnOnce() -> Option<Bytes>) -> Result<Arc<Content>, String> {
        if let Some(known) = self.0.get(path) {
            return Ok(Arc::clone(known));
        }
        let bytes = bytes().ok_or_else(|| format!("{path} is not there"))?;
        let content = Arc::new(read(bytes).map_err(|error| format!("{path}: {error}"))?);
        self.0.insert(path.to_owned(), Arc::clone(&content));
        Ok(content)
    }

    pub(crate) fn forget(&mut self, path: &str) {
        self.0.remove(path);
    }
}

fn read(bytes: Bytes) -> parquet::errors::Result<Content> {
    let mut content = Content { columns: Vec::new(), rows: Vec::new() };
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        let batch = batch?;
        content.columns = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        for row in 0..batch.num_rows() {
            content.rows.push(batch.columns().iter().map(|column| cell(column.as_ref(), row)).collect());
        }
    }
    Ok(content)
}

fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    if let Some(numbers) = array.as_any().downcast_ref::<Int64Array>() {
        return Cell::Number(numbers.value(row));
    }
    if let Some(numbers) = array.as_any().downcast_ref::<Int32Array>() {
        return Cell::Number(numbers.value(row).into());
    }
    if let Some(days) = array.as_any().downcast_ref::<Date32Array>() {
        return Cell::Day(days.value(row));
    }
    Cell::Text(array.as_string::<i32>().value(row).to_owned())
}
