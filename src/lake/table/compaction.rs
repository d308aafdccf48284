//! Folding small files of changelog tables, so that commits every minute do not leave a file a minute for ever.
//!
//! Within a day files lie in tiers, each eight times the one below; eight in a tier become one of the next. So a day has at most
//! seven small files a tier, and a row is written once a tier. A day that is over keeps one small file at most: one such day is
//! folded with each commit. A file of a quarter of the wanted size or more is left alone for good: what a daemon
//! commits that catches up is about half of it, and all of that would be written twice.

use std::collections::{BTreeMap, BTreeSet};

use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::days;
use super::ledger::Ledger;
use crate::lake::columns::Shape;
use crate::lake::datafile::{FileEntry, FileUpload, blocking};
use crate::lake::{Error, Result};

/// Files that make a tier full.
const FULL: usize = 8;
/// Groups that one commit folds at most.
const GROUPS_AT_ONCE: usize = 4;
/// Rows decoded at a time.
const ROWS_AT_ONCE: usize = 8192;

/// Files of one day that become one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) day: String,
    pub(crate) files: Vec<FileEntry>,
}

/// Which of the live files a commit that adds to the days `touched` folds.
pub(crate) fn plan(live: &[FileEntry], touched: &BTreeSet<String>, file_bytes: u64) -> Vec<Group> {
    let mut small: BTreeMap<&str, Vec<&FileEntry>> = BTreeMap::new();
    for file in live.iter().filter(|file| file.bytes.saturating_mul(4) < file_bytes) {
        if let Some(day) = days::of_path(&file.path) {
            small.entry(day).or_default().push(file);
        }
    }
    let mut groups = Vec::new();
    for (day, files) in small.iter().filter(|(day, _)| touched.contains(**day)) {
        let mut tiers: BTreeMap<u32, Vec<&FileEntry>> = BTreeMap::new();
        for file in files {
            tiers.entry(tier(file.bytes)).or_default().push(file);
        }
        groups.extend(tiers.into_values().filter(|tier| tier.len() >= FULL).filter_map(|tier| group(day, &tier, file_bytes)));
    }
    let newest = touched.iter().next_back();
    let over = small.iter().filter(|(day, _)| !touched.contains(**day) && newest.is_some_and(|newest| **day < newest.as_str()));
    let over = over.filter_map(|(day, files)| group(day, files, file_bytes)).next();
    groups.truncate(GROUPS_AT_ONCE);
    groups.extend(over);
    groups
}

/// The first files that together are no larger than a file may be; one alone is nothing to fold.
fn group(day: &str, files: &[&FileEntry], file_bytes: u64) -> Option<Group> {
    let mut bytes = 0;
    let fitting = files.iter().take_while(|file| {
        bytes += file.bytes;
        bytes <= file_bytes
    });
    let files: Vec<FileEntry> = fitting.map(|file| (*file).clone()).collect();
    (files.len() > 1).then(|| Group { day: day.to_owned(), files })
}

fn tier(bytes: u64) -> u32 {
    bytes.max(1).ilog2() / FULL.ilog2()
}

/// Writes the rows of some files into one, in their order, holding only a few rows of it at a time beside the file that is read.
pub(crate) async fn fold(ledger: &Ledger, shape: &Shape, files: &[FileEntry], mut upload: FileUpload) -> Result<FileEntry> {
    for file in files {
        let path = ledger.object(&file.path);
        let bytes = ledger.store.get(&path).await?.ok_or_else(|| damaged(&file.path, "it is gone, though it is live"))?;
        let options = ArrowReaderOptions::new().with_schema(shape.arrow_schema());
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
            .and_then(|reader| reader.with_batch_size(ROWS_AT_ONCE).build());
        let mut reader = reader.map_err(|error| damaged(&file.path, error))?;
        let mut rows = 0;
        loop {
            let (rest, batch) = blocking(move || {
                let batch = reader.next();
                Ok((reader, batch))
            })
            .await?;
            reader = rest;
            let Some(batch) = batch else { break };
            let batch = batch.map_err(|error| damaged(&file.path, error))?;
            rows += batch.num_rows() as u64;
            upload.write(batch).await?;
        }
        if rows != file.rows {
            return Err(damaged(&file.path, format!("it has {rows} rows, the commit log says {}", file.rows)));
        }
    }
    upload.finish().await
}

fn damaged(path: &str, reason: impl std::fmt::Display) -> Error {
    Error::File { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(day: &str, name: usize, bytes: u64) -> FileEntry {
        FileEntry { path: format!("g0001/dt={day}/{name}/part-0000.parquet"), rows: 1, bytes, keys: None }
    }

    #[test]
    fn a_month_of_commits_every_minute_leaves_few_files() {
        let mut live: Vec<FileEntry> = Vec::new();
        let mut most = 0;
        let mut written = 0;
        let mut rewritten = 0;
        for minute in 0..30 * 1440usize {
            let day = format!("2026-11-{:02}", minute / 1440 + 1);
            for group in plan(&live, &BTreeSet::from([day.clone()]), 64 << 20) {
                let bytes = group.files.iter().map(|file| file.bytes).sum();
                live.retain(|file| !group.files.contains(file));
                live.push(file(&group.day, 1_000_000 + live.len() + minute, bytes));
                rewritten += bytes;
            }
            live.push(file(&day, minute, 20_000));
            written += 20_000u64;
            most = most.max(live.iter().filter(|file| file.path.contains(&day)).count());
        }
        assert!(most <= 40, "{most} files in a day");
        assert!(live.len() <= 29 + 40, "{} files", live.len());
        assert!(rewritten <= 6 * written, "{rewritten} bytes rewritten for {written}");
    }

    #[test]
    fn large_files_are_left_alone() {
        let live: Vec<FileEntry> = (0..100).map(|name| file("2026-11-01", name, 16 << 20)).collect();
        assert!(plan(&live, &BTreeSet::from(["2026-11-01".to_owned()]), 64 << 20).is_empty());
    }
}
