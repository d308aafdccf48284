//! A snapshot's chunk files as a table: files that lie one behind the other become segments, files that overlap are merged first.

use std::collections::BTreeMap;

use super::output::Limits;
use super::rewrite::{Rewrite, key_of};
use super::{MergeContext, Merged, Segment};
use crate::lake::batch::{Change, Checker, Expect, Fold, Frame, MirrorBatch, RowAt, gather};
use crate::lake::columns::Shape;
use crate::lake::datafile::{Decoded, FileEntry, StoredFile, blocking};
use crate::lake::keys::StoredKeys;
use crate::lake::{ChunkPart, Layout, Result};

/// The most files that are read side by side, each with a row group in memory; the fewest, however large row groups are.
const RUNS_MERGED_MAX: usize = 16;
const RUNS_MERGED_MIN: usize = 4;

/// A file of a chunk, and its place in the order of chunks.
#[derive(Debug, Clone)]
struct Part {
    order: usize,
    entry: FileEntry,
    low: Vec<u8>,
    high: Vec<u8>,
}

/// Files that lie one behind the other, read as one stream.
type Run = Vec<FileEntry>;

/// Makes a snapshot's chunk files the table's content. `added` lists all files of the segments, chunk files that stay included;
/// `removed` the chunk files that were merged into others.
///
/// # Errors
/// Store and file errors. Files written until then are orphans.
pub async fn adopt(context: &mut MergeContext<'_>, chunks: &[ChunkPart]) -> Result<Merged> {
    let clusters = clusters(parts(context, chunks)?);
    let batch = MirrorBatch::new(&context.shape, context.settings);
    let checker = Checker { shape: context.shape.clone(), check: context.settings.check };
    let mut rewrite = Rewrite::new(context, batch.into_changes()?).await?;
    let limits = Limits::sealing(context);
    let mut kept: Vec<FileEntry> = Vec::new();
    let shape = context.shape.clone();
    let stays = |index: usize| stays_as_it_is(&shape, context.layout, context.settings.file_bytes, &clusters, index);
    let plan: Vec<bool> = (0..clusters.len()).map(stays).collect();
    for (cluster, stays) in clusters.iter().zip(plan) {
        let Some(first) = cluster.iter().min_by(|left, right| left.low.cmp(&right.low)) else { continue };
        let lower = first.entry.keys.as_ref().map_or(String::new(), |keys| keys.0.clone());
        let segment = Segment { lower: lower.clone(), upper: None, file: Some(first.entry.clone()) };
        match cluster.len() {
            1 if stays => {
                rewrite.close(context, limits).await?;
                kept.push(first.entry.clone());
                rewrite.output.keep(segment);
            }
            1 => rewrite.segment(context, &segment, limits).await?,
            _ => {
                let runs: Vec<Run> = cluster.iter().map(|part| vec![part.entry.clone()]).collect();
                let (runs, own) = merge_down(context, &checker, runs).await?;
                rewrite.output.open(&lower);
                merge_runs(context, &checker, &runs, &mut rewrite, limits).await?;
                remove(context, &own).await;
                rewrite.removed.extend(cluster.iter().map(|part| part.entry.clone()));
            }
        }
    }
    rewrite.close(context, limits).await?;
    let (_, output, removed) = rewrite.into_parts()?;
    let bytes_written = output.bytes_written;
    kept.extend(output.added.iter().cloned());
    Ok(Merged {
        inserted: kept.iter().map(|file| file.rows).sum(),
        added: kept,
        removed,
        updated: 0,
        deleted: 0,
        bytes_written,
        zero_dates: BTreeMap::new(),
        segments: output.into_segments(&context.shape),
    })
}

fn parts(context: &MergeContext<'_>, chunks: &[ChunkPart]) -> Result<Vec<Part>> {
    let filled = chunks.iter().enumerate().filter(|(_, part)| part.rows > 0);
    let part = |(order, part): (usize, &ChunkPart)| {
        let keys = part.keys.clone();
        let (low, high) = keys.ok_or_else(|| context.shape.file_error(&part.path, "a chunk's file without its keys"))?;
        let (low_key, high_key) = (key_of(context, &low)?, key_of(context, &high)?);
        let entry = FileEntry { path: part.path.clone(), rows: part.rows, bytes: part.bytes, keys: Some((low, high)) };
        Ok(Part { order, entry, low: low_key, high: high_key })
    };
    filled.map(part).collect()
}

/// Files whose key ranges overlap, directly or through others, in the order of keys; within, in the order of chunks.
fn clusters(mut parts: Vec<Part>) -> Vec<Vec<Part>> {
    parts.sort_by(|left, right| left.low.cmp(&right.low).then(left.order.cmp(&right.order)));
    let mut clusters: Vec<Vec<Part>> = Vec::new();
    let mut high: Vec<u8> = Vec::new();
    for part in parts {
        match clusters.last_mut() {
            Some(cluster) if part.low <= high => {
                high = high.max(part.high.clone());
                cluster.push(part);
            }
            _ => {
                high = part.high.clone();
                clusters.push(vec![part]);
            }
        }
    }
    clusters.iter_mut().for_each(|cluster| cluster.sort_by_key(|part| part.order));
    clusters
}

/// A file that overlaps no other becomes a segment as it is when it is large, or has no small neighbour to go together with.
fn stays_as_it_is(shape: &Shape, layout: Layout, file_bytes: u64, clusters: &[Vec<Part>], index: usize) -> bool {
    let day = |index: usize| clusters.get(index).and_then(|cluster| cluster.first()).and_then(|part| shape.day_of(&part.low));
    let small = |other: usize| match clusters.get(other).map(Vec::as_slice) {
        // Rows of two days never go together.
        Some(_) if day(other) != day(index) => false,
        Some([only]) => only.entry.bytes < file_bytes / 2,
        // What is merged ends in a file that may take more.
        Some(_) => true,
        None => false,
    };
    let alone = matches!(clusters.get(index).map(Vec::as_slice), Some([_]));
    match layout {
        Layout::Single => alone && clusters.len() == 1,
        Layout::Segments => alone && !(small(index) && (small(index + 1) || index.checked_sub(1).is_some_and(small))),
    }
}

/// Merges runs among each other until few enough are left to be read side by side. Second come the runs it made, to be removed at last.
async fn merge_down(context: &mut MergeContext<'_>, checker: &Checker, mut runs: Vec<Run>) -> Result<(Vec<Run>, Vec<Run>)> {
    let room = context.settings.batch_bytes.saturating_mul(4) / context.settings.row_group_bytes.max(1);
    let side_by_side = room.clamp(RUNS_MERGED_MIN, RUNS_MERGED_MAX);
    let mut own: Vec<Run> = Vec::new();
    while runs.len() > side_by_side {
        let mut longer: Vec<Run> = Vec::new();
        for group in runs.chunks(side_by_side) {
            let batch = MirrorBatch::new(&context.shape, context.settings);
            let mut rewrite = Rewrite::new(context, batch.into_changes()?).await?;
            let limits = Limits::sealing(context);
            merge_runs(context, checker, group, &mut rewrite, limits).await?;
            rewrite.close(context, limits).await?;
            longer.push(std::mem::take(&mut rewrite.output.added));
        }
        remove(context, &own).await;
        own.clone_from(&longer);
        runs = longer;
    }
    Ok((runs, own))
}

/// Files of a pass that no commit ever names. One that stays is an orphan, and goes as orphans go.
async fn remove(context: &MergeContext<'_>, runs: &[Run]) {
    for entry in runs.iter().flatten() {
        let location = crate::lake::datafile::location(&context.table_prefix, &entry.path);
        if let Err(error) = object_store::ObjectStoreExt::delete(&context.store, &location).await {
            tracing::warn!(path = %location, %error, "a file of a merge could not be removed");
        }
    }
}

/// Merges runs into the open output; of rows with the same key the one of the last run stays.
async fn merge_runs(
    context: &mut MergeContext<'_>,
    checker: &Checker,
    runs: &[Run],
    rewrite: &mut Rewrite,
    limits: Limits,
) -> Result<()> {
    let mut readers: Vec<RunFiles> = runs.iter().map(RunFiles::new).collect();
    let mut fold = Fold::new(readers.len());
    loop {
        while let Some(index) = fold.wanting() {
            let frame = match readers.get_mut(index) {
                Some(reader) => reader.next_frame(context).await?,
                None => None,
            };
            fold.supply(index, frame);
        }
        let checker = checker.clone();
        let (back, rows) = blocking(move || {
            let rows = fold.step(&checker)?.map(|frame| {
                let rows: Vec<RowAt> = frame.changes.iter().filter_map(|change| change.after).collect();
                gather(&checker.shape, &frame.after, &rows)
            });
            Ok((fold, rows.transpose()?))
        })
        .await?;
        fold = back;
        let Some(rows) = rows else { return Ok(()) };
        let mut group = rewrite
            .in_thread(move |rewriter| {
                rewriter.push(rows)?;
                rewriter.full()
            })
            .await?;
        while let Some(full) = group {
            rewrite.output.append(context, limits, full).await?;
            group = rewrite.in_thread(|rewriter| rewriter.full()).await?;
        }
    }
}

/// A run as it is read: file after file, row group after row group.
struct RunFiles {
    files: std::vec::IntoIter<FileEntry>,
    file: Option<(StoredFile, usize)>,
    decoded: Option<Decoded>,
}

impl RunFiles {
    fn new(run: &Run) -> Self {
        Self { files: run.clone().into_iter(), file: None, decoded: None }
    }

    async fn next_frame(&mut self, context: &MergeContext<'_>) -> Result<Option<Frame>> {
        loop {
            if let Some(mut decoded) = self.decoded.take() {
                let (back, batch) = blocking(move || {
                    let batch = decoded.next_batch()?;
                    Ok((decoded, batch))
                })
                .await?;
                if let Some((batch, keys)) = batch {
                    self.decoded = Some(back);
                    return Ok(Some(frame_of(batch, keys)));
                }
            }
            match &mut self.file {
                Some((file, next)) if *next < file.row_groups() => {
                    let group = file.row_group(*next).await?;
                    *next += 1;
                    self.decoded = Some(group.decode()?);
                }
                _ => {
                    let Some(entry) = self.files.next() else { return Ok(None) };
                    let file = StoredFile::open(&context.store, &context.table_prefix, &entry, &context.shape).await?;
                    self.file = Some((file, 0));
                }
            }
        }
    }
}

/// Rows as changes that expect nothing.
fn frame_of(batch: arrow::array::RecordBatch, keys: StoredKeys) -> Frame {
    let changes = (0..keys.len() as u32).map(|row| Change {
        key: row,
        expect: Expect::Unchecked,
        position: crate::change::ChangePosition::default(),
        before: None,
        after: Some(RowAt { batch: 0, row }),
    });
    Frame { changes: changes.collect(), keys, before: Vec::new(), after: vec![batch] }
}
