//! The copy-on-write merge: a batch of changes laid over segments of sorted files.
//!
//! The segments of a table cut the whole key space; a change belongs to exactly one of them. Segments without changes stay as they are;
//! the others are written anew, one stream of row groups after the other, and nothing that a commit names is ever changed: until the new
//! files are committed, readers and recovery see the old ones. A segment that outgrows `file_bytes` splits, one that shrank goes
//! together with a neighbour, and the last one of a table in insertion order is filled and sealed. In a mirror that is cut by days
//! (`by_day`) no file has rows of two: a day ends a row group, a file and its segment.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::batch::MirrorBatch;
use super::by_day::DayKey;
use super::columns::Shape;
use super::datafile::FileEntry;
use super::keys::{from_hex, to_hex};
use super::{Layout, Result, Settings};

mod adopt;
mod output;
mod overlay;
mod rewrite;
mod rewriter;

pub use adopt::adopt;
use output::Limits;
use rewrite::{Rewrite, key_of};

#[cfg(test)]
mod tests;

/// A stretch of the key space and the file that holds its rows. The segments of a table, in order, cover the whole key space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The lowest stored key that belongs here, hexadecimal; empty for the first segment.
    pub lower: String,
    /// The lowest stored key that no longer does; None for the last segment.
    pub upper: Option<String>,
    /// Its rows, of one day in a mirror that is cut by days; None where there are none, which only a table's single segment may have.
    pub file: Option<FileEntry>,
}

impl Segment {
    /// The segments of an empty table.
    pub fn empty_table() -> Vec<Self> {
        vec![Self { lower: String::new(), upper: None, file: None }]
    }

    /// The day of its rows; None without rows, and where the table is not cut by days.
    fn day(&self, shape: &Shape) -> Option<DayKey> {
        shape.day()?;
        let (low, _) = self.file.as_ref()?.keys.as_ref()?;
        shape.day_of(&from_hex(low)?)
    }
}

/// What a merge works with.
pub struct MergeContext<'a> {
    /// Where files are.
    pub store: Arc<dyn ObjectStore>,
    /// The table's folder; paths of files are relative to it.
    pub table_prefix: Path,
    /// The table's shape.
    pub shape: Shape,
    /// Sizes and checks.
    pub settings: &'a Settings,
    /// Whether segments split.
    pub layout: Layout,
    /// Names the next data file, relative to the table's folder, in the directory of its day; never the same twice.
    pub next_path: &'a mut (dyn FnMut(Option<&str>) -> String + Send + Sync),
}

/// What a merge made. Files are written and durable as far as the store is, and belong to nothing until a commit names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// The table's segments from now on, all of them.
    pub segments: Vec<Segment>,
    /// Files of `segments` that the table did not have.
    pub added: Vec<FileEntry>,
    /// Files that the table had (or, adopting, chunk files) and that `segments` do not name.
    pub removed: Vec<FileEntry>,
    /// Rows that are new.
    pub inserted: u64,
    /// Rows that were there and have new content.
    pub updated: u64,
    /// Rows that are gone.
    pub deleted: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Zero dates of the batch's after images stored as NULL, by column.
    pub zero_dates: BTreeMap<String, u64>,
}

/// Lays a batch over a table's segments.
///
/// # Errors
/// [`super::Error::Divergence`] by promise 11; store, scratch and file errors. Files written until then are orphans.
pub async fn apply(context: &mut MergeContext<'_>, segments: &[Segment], batch: MirrorBatch) -> Result<Merged> {
    let zero_dates = batch.zero_dates();
    let changes = batch.into_changes()?;
    let mut cleared: Vec<FileEntry> = Vec::new();
    let emptied = Segment::empty_table();
    let segments = if changes.cleared {
        cleared.extend(segments.iter().filter_map(|segment| segment.file.clone()));
        &emptied
    } else {
        segments
    };
    let segments = with_gaps(&context.shape, segments);
    let growing = segments.iter().rposition(|segment| segment.file.is_some()).unwrap_or(0);
    let mut rewrite = Rewrite::new(context, changes).await?;
    let mut limits = Limits::splitting(context, 0);
    for (index, segment) in segments.iter().enumerate() {
        let day = segment.day(&context.shape);
        let bytes = segment.file.as_ref().map_or(0, |file| file.bytes);
        let upper = segment.upper.as_deref().map(|hex| key_of(context, hex)).transpose()?;
        if rewrite.touches(upper.as_deref()) {
            let before = small_together(context, bytes).and_then(|room| rewrite.output.reopen(&context.shape, day, room));
            let before_bytes = before.as_ref().and_then(|segment| segment.file.as_ref()).map_or(0, |file| file.bytes);
            let tail = context.shape.integer_leading() && index >= growing;
            limits = match tail {
                true => Limits::sealing(context),
                false => Limits::splitting(context, rewrite.open_bytes() + before_bytes + bytes),
            };
            if let Some(before) = before {
                rewrite.segment(context, &before, limits).await?;
            }
            rewrite.segment(context, segment, limits).await?;
        } else if rewrite.continues(day) && small_together(context, rewrite.open_bytes()).is_some_and(|room| bytes <= room) {
            rewrite.segment(context, segment, limits).await?;
        } else {
            rewrite.close(context, limits).await?;
            rewrite.output.keep(segment.clone());
        }
    }
    rewrite.close(context, limits).await?;
    let (rewriter, mut output, mut removed) = rewrite.into_parts()?;
    let cleared_rows: u64 = cleared.iter().map(|file| file.rows).sum();
    removed.extend(cleared);
    Ok(Merged {
        added: std::mem::take(&mut output.added),
        removed,
        inserted: rewriter.counts.inserted,
        updated: rewriter.counts.updated,
        deleted: rewriter.counts.deleted + cleared_rows,
        bytes_written: output.bytes_written,
        zero_dates,
        segments: output.into_segments(&context.shape),
    })
}

/// The segments of a mirror that is cut by days, with those between them in which no day has rows: a new day's rows are no reason to write the
/// files beside it anew.
fn with_gaps<'a>(shape: &Shape, segments: &'a [Segment]) -> Cow<'a, [Segment]> {
    if shape.day().is_none() {
        return Cow::Borrowed(segments);
    }
    let mut with_gaps: Vec<Segment> = Vec::with_capacity(segments.len());
    for segment in segments {
        let Some(day) = segment.day(shape) else {
            with_gaps.push(segment.clone());
            continue;
        };
        let (begin, end) = (to_hex(&day.bytes()), to_hex(&day.next().bytes()));
        let mut own = segment.clone();
        if own.lower < begin {
            with_gaps.push(Segment { lower: own.lower, upper: Some(begin.clone()), file: None });
            own.lower = begin;
        }
        let upper = own.upper.take();
        let gap = upper.as_ref().is_none_or(|upper| *upper > end);
        own.upper = if gap { Some(end.clone()) } else { upper.clone() };
        with_gaps.push(own);
        with_gaps.extend(gap.then_some(Segment { lower: end, upper, file: None }));
    }
    Cow::Owned(with_gaps)
}

/// How large a neighbour may be for a segment of `bytes`, which is rewritten, to go together with it: a small one always, for the rewritten
/// one may have shrunk; else both must stay well below the size at which a segment splits, so that nothing is merged and split in turns.
/// Whatever lies beside a segment that is rewritten is therefore not small, which bounds the number of files by the table's bytes.
fn small_together(context: &MergeContext<'_>, bytes: u64) -> Option<u64> {
    let aim = context.settings.file_bytes;
    match context.layout {
        Layout::Single => None,
        Layout::Segments => Some((aim / 4 * 3).saturating_sub(bytes).max(aim / 4)),
    }
}
