//! Segments rewritten: untouched row groups are copied as they are, touched ones decoded and merged.
//!
//! A row group owns the keys from its first up to the next one's first, so every change belongs to exactly one, and every row group is
//! either copied or decoded, exactly once, in order: no row is lost and none comes twice. The writer refuses a row group that does not
//! follow the one before it.

use super::output::{Limits, Output};
use super::rewriter::Rewriter;
use super::{MergeContext, Segment};
use crate::lake::batch::Changes;
use crate::lake::by_day::DayKey;
use crate::lake::datafile::{EncodedRowGroup, FileEntry, StoredFile, blocking};
use crate::lake::keys::from_hex;
use crate::lake::{Error, Result};

/// Pending rows count so much less in a file than in memory: an estimate, for sizes only.
const COMPRESSION: u64 = 3;

/// A merge on its way.
pub(super) struct Rewrite {
    /// None while a blocking thread has it, and for good when that failed.
    rewriter: Option<Rewriter>,
    next_key: Option<Vec<u8>>,
    row_group_bytes: u64,
    /// The day of the segment that was rewritten last.
    day: Option<DayKey>,
    pub(super) output: Output,
    pub(super) removed: Vec<FileEntry>,
}

pub(super) fn key_of(context: &MergeContext<'_>, hex: &str) -> Result<Vec<u8>> {
    from_hex(hex).ok_or_else(|| context.shape.file_error("segments", format!("{hex:?} is no stored key")))
}

impl Rewrite {
    /// Reads the first change.
    pub(super) async fn new(context: &MergeContext<'_>, changes: Changes) -> Result<Self> {
        let row_group_bytes = context.settings.row_group_bytes.max(1);
        let mut rewrite = Self {
            rewriter: Some(Rewriter::new(changes, row_group_bytes)),
            next_key: None,
            row_group_bytes: row_group_bytes as u64,
            day: None,
            output: Output::default(),
            removed: Vec::new(),
        };
        rewrite.in_thread(|_| Ok(())).await?;
        Ok(rewrite)
    }

    /// Whether a change below `upper` is left.
    pub(super) fn touches(&self, upper: Option<&[u8]>) -> bool {
        self.next_key.as_deref().is_some_and(|key| upper.is_none_or(|upper| key < upper))
    }

    /// Whether rows of this day would go into the open file.
    pub(super) fn continues(&self, day: Option<DayKey>) -> bool {
        self.output.is_open() && self.day == day
    }

    /// About how large the open file would be if it were closed now.
    pub(super) fn open_bytes(&self) -> u64 {
        self.output.open_bytes() + self.pending_bytes() / COMPRESSION
    }

    fn pending_bytes(&self) -> u64 {
        self.rewriter.as_ref().map_or(0, |rewriter| rewriter.pending_bytes() as u64)
    }

    fn lost() -> Error {
        let source = std::io::Error::other("it was abandoned after an error");
        Error::Scratch { path: "a merge".to_owned(), source }
    }

    pub(super) async fn in_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Rewriter) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut rewriter = self.rewriter.take().ok_or_else(Self::lost)?;
        let (rewriter, next_key, done) = blocking(move || {
            let done = work(&mut rewriter)?;
            let next_key = rewriter.next_key()?;
            Ok((rewriter, next_key, done))
        })
        .await?;
        self.rewriter = Some(rewriter);
        self.next_key = next_key;
        Ok(done)
    }

    /// The rewriter, when all is merged.
    pub(super) fn into_parts(self) -> Result<(Rewriter, Output, Vec<FileEntry>)> {
        Ok((self.rewriter.ok_or_else(Self::lost)?, self.output, self.removed))
    }

    /// Rewrites a segment with its changes into the open file, or the files that follow it.
    pub(super) async fn segment(&mut self, context: &mut MergeContext<'_>, segment: &Segment, limits: Limits) -> Result<()> {
        let upper = segment.upper.as_deref().map(|hex| key_of(context, hex)).transpose()?;
        let day = segment.day(&context.shape);
        if day != self.day {
            // What waits is of a day that has ended: no reason to decode what comes.
            self.flush(context, limits).await?;
        }
        self.day = day;
        self.output.open(&segment.lower);
        let Some(entry) = &segment.file else { return self.merge(context, limits, upper).await };
        self.removed.push(entry.clone());
        let file = StoredFile::open(&context.store, &context.table_prefix, entry, &context.shape).await?;
        for index in 0..file.row_groups() {
            let bound = file.first_key(index + 1).map(<[u8]>::to_vec).or_else(|| upper.clone());
            let touched = self.touches(bound.as_deref());
            let behind = touched && index + 1 == file.row_groups() && self.next_key.as_deref() > file.last_key(index);
            let group = file.row_group(index).await?;
            if (!touched || behind) && self.may_copy(file.memory_bytes(index), behind) {
                self.flush(context, limits).await?;
                self.output.copy(context, limits, group).await?;
            } else {
                self.in_thread(move |rewriter| rewriter.decode(&group)).await?;
            }
            self.merge(context, limits, bound).await?;
        }
        Ok(())
    }

    /// Whether a row group of so many bytes stays as it is: neither it nor the one that waits before it is small, so that small ones do
    /// not pile up. The last of a growing file counts as small for longer: what is appended to it would be another one.
    fn may_copy(&self, memory_bytes: u64, growing: bool) -> bool {
        let small = self.row_group_bytes / if growing { 2 } else { 4 };
        let waiting = self.pending_bytes();
        memory_bytes >= small && (waiting == 0 || waiting >= self.row_group_bytes / 4)
    }

    /// Merges what is decoded with the changes below `bound`.
    async fn merge(&mut self, context: &mut MergeContext<'_>, limits: Limits, bound: Option<Vec<u8>>) -> Result<()> {
        loop {
            let bound = bound.clone();
            let group: Option<EncodedRowGroup> = self.in_thread(move |rewriter| rewriter.merge(bound.as_deref())).await?;
            match group {
                Some(group) => self.output.append(context, limits, group).await?,
                None => return Ok(()),
            }
        }
    }

    /// Writes the rows that wait.
    pub(super) async fn flush(&mut self, context: &mut MergeContext<'_>, limits: Limits) -> Result<()> {
        while self.pending_bytes() > 0 {
            if let Some(group) = self.in_thread(Rewriter::flush).await? {
                self.output.append(context, limits, group).await?;
            }
        }
        Ok(())
    }

    /// Ends the open file.
    pub(super) async fn close(&mut self, context: &mut MergeContext<'_>, limits: Limits) -> Result<()> {
        self.flush(context, limits).await?;
        self.output.close().await
    }
}
