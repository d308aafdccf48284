//! The open batch of a mirror: changes as they come, then sorted by key and collapsed to one net change per key.
//!
//! A batch of any size takes bounded memory: beyond `batch_bytes` what is there is sorted, collapsed and spilled as a run, runs are merged
//! into longer ones, and at commit all runs are read side by side in the order of keys and of time. Nothing is lost on the way: a change
//! enters exactly one frame, a frame is in exactly one run, and a merge takes all changes of a key together in the order they came in.
//! Inside the batch every exact change is compared with the one before it of its key (promise 11); what the first of a key expects is
//! compared with the mirror by the merge. Changes from before the handoff expect nothing: each is applied as it is (promise 2).

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::columns::{RowsBuilder, Shape};
use super::datafile::blocking;
use super::{ChangeSink, Error, Result, Settings};
use crate::change::row::pass_cells;
use crate::change::{CellError, Image, LogOffset, Operation, RecordHead, RowSink};

mod changes;
mod collapse;
mod compare;
mod fold;
mod frame;
mod raw;
mod run;
mod spill;

pub(crate) use changes::Changes;
pub(crate) use compare::{Checker, Pair};
pub(crate) use fold::Fold;
pub(crate) use frame::{Change, Expect, Frame, RowAt, gather};
use raw::{RawChange, RawChanges};
use spill::Spilled;

#[cfg(test)]
mod tests;

/// Changes that were not committed yet. It is all or nothing: after any error the batch is lost.
#[derive(Debug)]
pub struct MirrorBatch {
    checker: Checker,
    batch_bytes: usize,
    scratch: PathBuf,
    before: RowsBuilder,
    after: RowsBuilder,
    changes: Vec<RawChange>,
    open: Option<RawChange>,
    side: Option<Image>,
    /// None while a blocking thread has it, and for good when that failed: the batch is lost then.
    spilled: Option<Spilled>,
    cleared: bool,
    taken: u64,
}

impl MirrorBatch {
    /// An empty batch.
    pub fn new(shape: &Shape, settings: &Settings) -> Self {
        Self {
            checker: Checker { shape: shape.clone(), check: settings.check },
            batch_bytes: settings.batch_bytes.max(1),
            scratch: settings.scratch.clone(),
            before: RowsBuilder::new(shape),
            after: RowsBuilder::new(shape),
            changes: Vec::new(),
            open: None,
            side: None,
            spilled: Some(Spilled::default()),
            cleared: false,
            taken: 0,
        }
    }

    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.before.memory_bytes() + self.after.memory_bytes() + self.changes.len() * size_of::<RawChange>()
    }

    /// Changes taken so far, a truncate counted as one.
    pub fn changes(&self) -> u64 {
        self.taken
    }

    /// Whether nothing came yet.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Zero dates of after images stored as NULL so far, by column.
    pub fn zero_dates(&self) -> BTreeMap<String, u64> {
        self.after.zero_dates()
    }

    /// Spills what is held when it is over `batch_bytes`; does nothing below it. Call between changes.
    ///
    /// # Errors
    /// [`Error::Divergence`] when changes do not fit each other, [`Error::Scratch`]; the batch is lost then, and also when the call is
    /// abandoned half-way.
    pub async fn relieve(&mut self) -> Result<()> {
        if self.memory_bytes() <= self.batch_bytes || self.changes.is_empty() {
            return Ok(());
        }
        let mut spilled = self.take_spilled()?;
        let raw = self.take_raw()?;
        let (checker, scratch, batch_bytes) = (self.checker.clone(), self.scratch.clone(), self.batch_bytes);
        let spilled = blocking(move || {
            spilled.spill(raw.into_frame(&checker.shape)?, &checker, &scratch, batch_bytes)?;
            Ok(spilled)
        })
        .await?;
        self.spilled = Some(spilled);
        Ok(())
    }

    /// Closes the batch: its net changes in the order of keys.
    pub(crate) fn into_changes(mut self) -> Result<Changes> {
        let spilled = self.take_spilled()?;
        let raw = self.take_raw()?;
        Ok(Changes::new(self.checker, spilled, raw, self.cleared))
    }

    fn take_spilled(&mut self) -> Result<Spilled> {
        let lost = "an error or an interruption left the batch incomplete";
        let file_error = || Error::Scratch { path: self.scratch.display().to_string(), source: std::io::Error::other(lost) };
        if self.open.is_some() {
            return Err(file_error());
        }
        self.spilled.take().ok_or_else(file_error)
    }

    /// Everything in memory; the builders are empty afterwards.
    fn take_raw(&mut self) -> Result<RawChanges> {
        let changes = std::mem::take(&mut self.changes);
        Ok(RawChanges { before: self.before.take()?, after: self.after.take()?, changes })
    }

    /// The table was emptied: nothing before it matters any more.
    fn clear(&mut self) -> Result<()> {
        self.before.take()?;
        self.after.take()?;
        self.changes.clear();
        self.take_spilled()?;
        self.spilled = Some(Spilled::default());
        self.cleared = true;
        Ok(())
    }

    fn side(&mut self) -> std::result::Result<&mut RowsBuilder, CellError> {
        match self.side {
            Some(Image::Before) => Ok(&mut self.before),
            Some(Image::After) => Ok(&mut self.after),
            None => Err(CellError { column: String::new(), reason: "a cell came outside of a change's image".to_owned() }),
        }
    }

    fn pass(
        &mut self,
        cell: impl FnOnce(&mut RowsBuilder) -> std::result::Result<(), CellError>,
    ) -> std::result::Result<(), CellError> {
        cell(self.side()?)
    }

    fn out_of_turn(&self, reason: &str) -> Error {
        self.checker.shape.value_error(reason.to_owned(), "report this as a bug of binlake")
    }
}

impl RowSink for MirrorBatch {
    fn image(&mut self, image: Image) -> std::result::Result<(), CellError> {
        let refuse = |reason: &str| CellError { column: String::new(), reason: reason.to_owned() };
        let open = self.open.as_mut().ok_or_else(|| refuse("an image came outside of a change"))?;
        let (builder, row) = match image {
            Image::Before => (&mut self.before, &mut open.before),
            Image::After => (&mut self.after, &mut open.after),
        };
        let number = u32::try_from(builder.len()).map_err(|_| refuse("too many rows in one batch"))?;
        if row.replace(number).is_some() {
            return Err(refuse("a change has the same image twice"));
        }
        self.side = Some(image);
        builder.image(image)
    }

    pass_cells!();
}

impl ChangeSink for MirrorBatch {
    fn begin(&mut self, head: &RecordHead, _offset: LogOffset, exact: bool) -> Result<()> {
        if self.open.is_some() {
            return Err(self.out_of_turn("a change began inside another"));
        }
        if head.operation == Operation::Schema {
            let statement = head.statement.as_deref().unwrap_or("a statement");
            let reason = format!("at {} the table was changed by: {statement}", head.position);
            return Err(self.checker.shape.value_error(reason, "run `binlake rebuild` for it"));
        }
        self.open = Some(RawChange { operation: head.operation, exact, position: head.position, before: None, after: None });
        self.side = None;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let Some(change) = self.open.take() else { return Err(self.out_of_turn("a change ended that had not begun")) };
        self.side = None;
        self.taken += 1;
        match (change.operation, change.before, change.after) {
            (Operation::Truncate, None, None) => self.clear(),
            (Operation::Create, None, Some(_)) | (Operation::Update, Some(_), Some(_)) | (Operation::Delete, Some(_), None) => {
                self.changes.push(change);
                Ok(())
            }
            _ => Err(self.out_of_turn("a change came without the images of its kind")),
        }
    }
}
