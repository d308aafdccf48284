//! The writer of a changelog table: rows are appended, and small files of earlier commits folded together on the way.
//!
//! A commit that does not fit into memory is written as it comes, into one file a day that grows to the wanted size: a file each time
//! would be small, and all of them written once more when they are folded.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::changes::ChangeRows;
use super::compaction;
use super::days;
use super::ledger::{Draft, Ledger, sum_zero_dates};
use crate::change::DayEnd;
use crate::lake::columns::Shape;
use crate::lake::datafile::{FILE_NAME, FileEntry, FileUpload};
use crate::lake::log::record::{RecordKind, RowCounts};
use crate::lake::{ChangeSink, ChunkFile, CommitPoint, Committed, Maintenance, Result, TableWriter, Written};

/// Days whose files grow at the same time, those around a midnight: each holds a part of an upload, which no limit counts.
const DAYS_GROWING: usize = 2;

/// See the module.
pub(crate) struct ChangelogWriter {
    ledger: Ledger,
    shape: Shape,
    rows: ChangeRows,
    /// The open commit's directory, in each day's.
    directory: String,
    /// Files of the open commit: those that still grow, by day, and finished ones.
    growing: BTreeMap<String, FileUpload>,
    written: Vec<FileEntry>,
    parts: usize,
}

impl ChangelogWriter {
    pub(crate) fn new(ledger: Ledger) -> Result<Self> {
        let shape = Shape::new(&ledger.spec, &ledger.settings)?;
        let rows = ChangeRows::new(&shape);
        let directory = ledger.commit_directory();
        Ok(Self { ledger, shape, rows, directory, growing: BTreeMap::new(), written: Vec::new(), parts: 0 })
    }

    fn next_path(&mut self, day: &str) -> String {
        let generation = self.ledger.generation_directory();
        let path = format!("{generation}/{}/{}-{:04}/{FILE_NAME}", days::directory(day), self.directory, self.parts);
        self.parts += 1;
        path
    }

    fn upload(&self, path: String) -> Result<FileUpload> {
        FileUpload::new(&self.ledger.store.objects(), &self.ledger.folder(), path, &self.shape, &self.ledger.settings)
    }

    /// Writes what is in memory behind what was written before, day by day.
    async fn write_out(&mut self) -> Result<()> {
        for (day, mut rows) in self.rows.take() {
            let mut file = match self.growing.remove(&day) {
                Some(file) => file,
                None => {
                    let path = self.next_path(&day);
                    self.upload(path)?
                }
            };
            file.write(rows.take()?).await?;
            file.flush().await?;
            match file.bytes() >= self.ledger.settings.file_bytes {
                true => self.written.push(file.finish().await?),
                false => drop(self.growing.insert(day, file)),
            }
            self.finish_growing(DAYS_GROWING).await?;
        }
        Ok(())
    }

    /// Finishes files until so many grow, those of the earliest days first.
    async fn finish_growing(&mut self, left: usize) -> Result<()> {
        while self.growing.len() > left
            && let Some((_, file)) = self.growing.pop_first()
        {
            self.written.push(file.finish().await?);
        }
        Ok(())
    }

    /// Folds small files of earlier commits; returns what the record is to add and remove for it.
    async fn fold(&mut self) -> Result<(Vec<FileEntry>, Vec<String>)> {
        let touched = self.written.iter().filter_map(|file| days::of_path(&file.path)).map(str::to_owned).collect();
        let live: Vec<FileEntry> = self.ledger.state.files().into_iter().cloned().collect();
        let mut added = Vec::new();
        let mut removed = Vec::new();
        for group in compaction::plan(&live, &touched, self.ledger.settings.file_bytes) {
            let path = self.next_path(&group.day);
            let upload = self.upload(path)?;
            added.push(compaction::fold(&self.ledger, &self.shape, &group.files, upload).await?);
            removed.extend(group.files.into_iter().map(|file| file.path));
        }
        Ok((added, removed))
    }
}

#[async_trait]
impl TableWriter for ChangelogWriter {
    fn committed(&self) -> &Committed {
        self.ledger.committed()
    }

    fn written(&self) -> Written {
        self.ledger.written
    }

    async fn adopt(&mut self, chunks: Vec<ChunkFile>, point: CommitPoint) -> Result<()> {
        self.ledger.begin()?;
        self.ledger.check_adoption(&chunks).await?;
        let parts = chunks.iter().flat_map(|chunk| &chunk.files);
        let added: Vec<FileEntry> =
            parts.map(|part| FileEntry { path: part.path.clone(), rows: part.rows, bytes: part.bytes, keys: None }).collect();
        if let Some(file) = added.iter().find(|file| days::of_path(&file.path).is_none()) {
            return Err(self.ledger.refused(format!("the chunk file {} lies in no day's directory", file.path)));
        }
        let rows = RowCounts { inserted: added.iter().map(|file| file.rows).sum(), ..RowCounts::default() };
        let zero_dates = sum_zero_dates(&chunks);
        let draft = Draft { point: Some(point), added, rows, zero_dates, ..Draft::default() };
        self.ledger.append(RecordKind::Adopt, draft).await?;
        self.directory = self.ledger.commit_directory();
        Ok(())
    }

    fn sink(&mut self) -> &mut (dyn ChangeSink + Send) {
        &mut self.rows
    }

    fn buffered_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }

    fn buffered_changes(&self) -> u64 {
        self.rows.changes()
    }

    async fn relieve(&mut self) -> Result<()> {
        if self.rows.memory_bytes() <= self.ledger.settings.batch_bytes && !self.rows.is_scattered() {
            return Ok(());
        }
        self.ledger.begin()?;
        self.write_out().await?;
        self.ledger.end();
        Ok(())
    }

    async fn commit(&mut self, point: CommitPoint) -> Result<()> {
        self.ledger.begin()?;
        self.ledger.check_point(&point)?;
        if self.ledger.state.content.is_none() {
            return Err(self.ledger.refused("no snapshot was adopted yet"));
        }
        self.write_out().await?;
        self.finish_growing(0).await?;
        let (mut added, removed) = match self.written.is_empty() {
            true => Default::default(),
            false => self.fold().await?,
        };
        added.append(&mut self.written);
        let (rows, zero_dates) = self.rows.close();
        let bytes_written = added.iter().map(|file| file.bytes).sum();
        let draft = Draft { point: Some(point), added, removed, rows, bytes_written, zero_dates, segments: None };
        self.ledger.append(RecordKind::Commit, draft).await?;
        self.parts = 0;
        self.directory = self.ledger.commit_directory();
        Ok(())
    }

    async fn maintain(&mut self, keep: &[String]) -> Result<Maintenance> {
        self.ledger.maintain(keep).await
    }

    async fn frozen(&self) -> Result<Option<String>> {
        Ok(None)
    }

    async fn freeze(&mut self, _day: &DayEnd) -> Result<bool> {
        Err(self.ledger.refused("a changelog has no days to freeze"))
    }

    fn rests_until_ms(&self) -> u64 {
        self.ledger.rests_until_ms
    }
}
