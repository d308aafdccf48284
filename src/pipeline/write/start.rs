//! Where a writer begins: at the lake's last commit, if it fits the log and the table's state, or with the snapshot.

use std::collections::BTreeMap;

use super::super::{Error, Result, read_document};
use super::Write;
use crate::change::{Cut, Dropped, LogPlace};
use crate::changelog;
use crate::changelog::chain::ChainCheck;
use crate::lake::{ChunkFile, CommitPoint, TableWriter};
use crate::metadata::TableState;

/// The lake's offsets count only in the very log they were taken from. One that ends before them, or before the ends saved beside
/// `published`, was lost or replaced by an older one; and a lake that stands before `since` holds another capture's commits.
pub(super) async fn check_log(write: &Write, state: &TableState, point: Option<&CommitPoint>, since: Cut) -> Result<()> {
    let found = |reason: String| Error::Table {
        table: state.table.clone(),
        reason,
        remedy: format!("run `binlake rebuild {}`: readers keep the old state meanwhile", state.table),
    };
    let Some(point) = point else { return Ok(()) };
    if point.position < since {
        return Err(found(format!(
            "the lake's commit at {} lies before {since}, from where its changes are captured",
            point.position
        )));
    }
    // Before the log's own end is asked for: it grows, and what is published has been appended.
    let published = write.rooms.metadata.published(Some(write.ledger.lease()), &write.spec.source, &state.topic).await?;
    let published = published.map(|(_, ends)| ends).unwrap_or_default();
    let ends = match write.rooms.changelog.ends(&state.topic).await {
        Ok(ends) => ends,
        Err(changelog::Error::Missing { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    for (number, taken) in point.offsets.iter().enumerate() {
        let end = ends.get(number).copied().unwrap_or_default();
        let published = published.get(number).map(|place| place.offset).unwrap_or_default();
        let (needed, of) =
            if *taken >= published { (*taken, "the lake has taken it") } else { (published, "it was filled and published") };
        if end < needed {
            return Err(found(format!(
                "topic {} ends at offset {end}, though {of} up to {needed} (position {}): the change log was lost, or replaced by an \
                 older one",
                state.topic, point.position
            )));
        }
    }
    Ok(())
}

/// The records of each partition go on where the last commit has taken them, or where the generation's begin. A record of a tailer that
/// had been overtaken before that is late whatever it follows.
pub(super) fn chains(state: &TableState, point: Option<&CommitPoint>) -> Vec<ChainCheck> {
    let chain = |(number, start): (usize, &LogPlace)| {
        let taken = point.and_then(|point| point.last.get(number).copied().flatten());
        let place = taken.map_or(*start, |(last, term)| LogPlace { last: Some(last), term: term.max(start.term), ..*start });
        ChainCheck::new(state.topic.clone(), u32::try_from(number).unwrap_or(u32::MAX), &place)
    };
    state.starts.iter().enumerate().map(chain).collect()
}

/// Makes the snapshot the table's content. Its position is `since`: a snapshot row is the oldest there is.
pub(super) async fn adopt(
    write: &Write,
    state: &TableState,
    table: &mut dyn TableWriter,
    since: Cut,
    handoff: Cut,
) -> Result<()> {
    let chunks = chunk_files(write).await?;
    // A generation goes with its chunks: one that a rebuild has replaced meanwhile has none, and would be an empty table.
    let stored = write.rooms.metadata.generations(&write.spec.source, &write.key.table).await?;
    if stored.iter().all(|stored| stored.generation != write.key.generation) {
        return Err(Error::Table {
            table: state.table.clone(),
            reason: format!("generation {} is no longer known", state.generation),
            remedy: "none is needed: a newer generation has replaced it".to_owned(),
        });
    }
    let since_checkpoint: Option<crate::source::Checkpoint> =
        state.since_checkpoint.as_deref().map(|text| read_document("checkpoint", &state.table, text)).transpose()?;
    let point = CommitPoint {
        position: since,
        offsets: state.starts.iter().map(|start| start.offset).collect(),
        last: state.starts.iter().map(|start| start.last.map(|last| (last, start.term))).collect(),
        gtid: None,
        file_name: since_checkpoint.map(|checkpoint| checkpoint.file_name).unwrap_or_default(),
        source_time_us: 0,
        publish: since >= handoff,
        dropped: Dropped::default(),
    };
    table.adopt(chunks, point).await?;
    Ok(())
}

/// The chunk files of this lake table, in key order.
async fn chunk_files(write: &Write) -> Result<Vec<ChunkFile>> {
    let chunks = write.rooms.metadata.chunks(&write.spec.source, &write.key.table, write.key.generation).await?;
    let mut files = Vec::with_capacity(chunks.len());
    for done in chunks.into_iter().filter_map(|chunk| chunk.done) {
        let mut by_table: BTreeMap<String, ChunkFile> = read_document("chunk files", &write.key.table, &done.files)?;
        files.extend(by_table.remove(&write.spec.name.table));
    }
    Ok(files)
}
