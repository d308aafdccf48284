//! What a table holds: the sum of its log, and what a checkpoint keeps of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::change::Term;
use crate::lake::datafile::FileEntry;
use crate::lake::effort::LOOKED_BACK_ON;
use crate::lake::log::record::{Record, RecordKind, SegmentChange};
use crate::lake::merge::Segment;
use crate::lake::publish::Published;
use crate::lake::{CommitPoint, Committed, Effort};
use crate::trial::{Mistake, planted};

/// A file that was live once and stays for readers who planned on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retained {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// When the commit that replaced it was made, milliseconds since 1970-01-01 UTC.
    pub(crate) replaced_ms: u64,
    /// The record of that commit.
    #[serde(default)]
    pub(crate) replaced_seq: u64,
    /// When readers of a metastore were first shown a version without it; None where that is not known, or was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unshown_ms: Option<u64>,
}

/// The live files, in the order that the kind of table asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Content {
    /// A mirror: segments by key, together the whole key space; none before the snapshot is adopted.
    Segments(Vec<Segment>),
    /// A changelog: files in the order of their commits.
    Files(Vec<FileEntry>),
}

/// Where readers were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Switched {
    pub(crate) generation: u32,
    pub(crate) at_ms: u64,
}

/// The sum of all records up to `seq`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) generation: u32,
    pub(crate) seq: u64,
    /// The id of the record `seq`.
    pub(crate) id: String,
    /// The highest term so far.
    pub(crate) term: Term,
    pub(crate) point: Option<CommitPoint>,
    /// None before the snapshot is adopted.
    pub(crate) content: Option<Content>,
    pub(crate) retained: Vec<Retained>,
    pub(crate) zero_dates: BTreeMap<String, u64>,
    pub(crate) committed_ms: u64,
    pub(crate) switched: Option<Switched>,
    /// The last publication that a record noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) published: Option<Published>,
    /// When the first one was made that a record noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_published_ms: Option<u64>,
    /// The last commits with changes, oldest first.
    #[serde(default)]
    pub(crate) recent: Vec<Effort>,
}

impl State {
    /// Before the first record.
    pub(crate) fn new(generation: u32) -> Self {
        Self {
            generation,
            seq: 0,
            id: String::new(),
            term: Term(0),
            point: None,
            content: None,
            retained: Vec::new(),
            zero_dates: BTreeMap::new(),
            committed_ms: 0,
            switched: None,
            published: None,
            first_published_ms: None,
            recent: Vec::new(),
        }
    }

    /// The live files.
    pub(crate) fn files(&self) -> Vec<&FileEntry> {
        match &self.content {
            None => Vec::new(),
            Some(Content::Segments(segments)) => segments.iter().filter_map(|segment| segment.file.as_ref()).collect(),
            Some(Content::Files(files)) => files.iter().collect(),
        }
    }

    /// Bytes of the live files.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.files().iter().map(|file| file.bytes).sum()
    }

    /// Whether readers may see it.
    pub(crate) fn publishes(&self) -> bool {
        self.point.as_ref().is_some_and(|point| point.publish)
    }

    /// The same in the words of the door.
    pub(crate) fn committed(&self) -> Committed {
        let files = self.files();
        Committed {
            generation: self.generation,
            seq: self.seq,
            point: self.point.clone(),
            files: files.len() as u64,
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            committed_ms: self.committed_ms,
            zero_dates: self.zero_dates.clone(),
            recent: self.recent.clone(),
        }
    }

    /// Takes the next record in. An `Err` says why it cannot follow: the log does not hold together.
    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), String> {
        if record.seq != self.seq + 1 || record.generation != self.generation {
            return Err(format!("it says record {} of generation {}", record.seq, record.generation));
        }
        if let Some(switched) = self.switched {
            return Err(format!("it stands behind the switch to generation {}", switched.generation));
        }
        if record.kind == RecordKind::Switch {
            let generation = record.switch_to.ok_or("it switches to no generation")?;
            self.switched = Some(Switched { generation, at_ms: record.committed_ms });
        } else if record.term < self.term && !planted(Mistake::TermIgnored) {
            return Err(format!("it has term {} behind term {}", record.term, self.term));
        } else {
            self.term = record.term;
        }
        if record.kind == RecordKind::Adopt {
            if self.content.is_some() {
                return Err("it adopts a snapshot a second time".to_owned());
            }
            self.content = Some(match record.segments {
                Some(_) => Content::Segments(Vec::new()),
                None => Content::Files(Vec::new()),
            });
        }
        self.apply_files(record)?;
        let forgotten: BTreeSet<&String> = record.forgotten.iter().collect();
        self.retained.retain(|file| !forgotten.contains(&file.path));
        for (column, count) in &record.zero_dates {
            *self.zero_dates.entry(column.clone()).or_default() += count;
        }
        if let Some(point) = &record.point {
            self.point = Some(point.clone());
        }
        if let Some(published) = record.published {
            self.note_publication(published);
        }
        self.note_effort(record);
        self.seq = record.seq;
        self.id.clone_from(&record.id);
        self.committed_ms = record.committed_ms;
        Ok(())
    }

    fn note_effort(&mut self, record: &Record) {
        let rows = record.rows.inserted + record.rows.updated + record.rows.deleted;
        if record.kind != RecordKind::Commit || rows == 0 {
            return;
        }
        if self.recent.len() >= LOOKED_BACK_ON {
            self.recent.remove(0);
        }
        let (at_ms, took_ms, bytes) = (record.committed_ms, record.took_ms, record.bytes_written);
        self.recent.push(Effort { at_ms, took_ms, rows, bytes });
    }

    fn note_publication(&mut self, published: Published) {
        let unshown = self.retained.iter_mut().filter(|file| file.unshown_ms.is_none() && file.replaced_seq <= published.seq);
        unshown.for_each(|file| file.unshown_ms = Some(published.at_ms));
        self.first_published_ms.get_or_insert(published.at_ms);
        self.published = Some(published);
    }

    fn apply_files(&mut self, record: &Record) -> Result<(), String> {
        let live: BTreeMap<String, u64> = self.files().iter().map(|file| (file.path.clone(), file.bytes)).collect();
        for path in &record.removed {
            let bytes = *live.get(path).ok_or_else(|| format!("it removes {path}, which is not live"))?;
            let (replaced_ms, replaced_seq) = (record.committed_ms, record.seq);
            self.retained.push(Retained { path: path.clone(), bytes, replaced_ms, replaced_seq, unshown_ms: None });
        }
        if let Some(file) = record.added.iter().find(|file| live.contains_key(&file.path)) {
            return Err(format!("it adds {}, which is live already", file.path));
        }
        let expected = (live.len() + record.added.len()).checked_sub(record.removed.len());
        match &mut self.content {
            None if record.added.is_empty() && record.removed.is_empty() => {}
            None => return Err("it names files before a snapshot was adopted".to_owned()),
            Some(Content::Segments(segments)) => {
                if let Some(change) = &record.segments {
                    change_segments(segments, change)?;
                }
            }
            Some(Content::Files(files)) => {
                let removed: BTreeSet<&String> = record.removed.iter().collect();
                files.retain(|file| !removed.contains(&file.path));
                files.extend(record.added.iter().cloned());
            }
        }
        match expected == Some(self.files().len()) {
            true => Ok(()),
            false => Err("its files and its segments disagree".to_owned()),
        }
    }
}

/// What leads from one list of segments to the next.
pub(crate) fn difference(old: &[Segment], new: &[Segment]) -> SegmentChange {
    let before: BTreeMap<&String, &Segment> = old.iter().map(|segment| (&segment.lower, segment)).collect();
    let after: BTreeMap<&String, &Segment> = new.iter().map(|segment| (&segment.lower, segment)).collect();
    SegmentChange {
        drop: before.keys().filter(|lower| !after.contains_key(**lower)).map(|lower| (*lower).clone()).collect(),
        put: new.iter().filter(|segment| before.get(&segment.lower) != Some(segment)).cloned().collect(),
    }
}

fn change_segments(segments: &mut Vec<Segment>, change: &SegmentChange) -> Result<(), String> {
    let mut by_lower: BTreeMap<String, Segment> =
        std::mem::take(segments).into_iter().map(|segment| (segment.lower.clone(), segment)).collect();
    for lower in &change.drop {
        by_lower.remove(lower).ok_or_else(|| format!("it drops a segment at {lower:?}, where none starts"))?;
    }
    by_lower.extend(change.put.iter().map(|segment| (segment.lower.clone(), segment.clone())));
    *segments = by_lower.into_values().collect();
    let mut bound = Some(String::new());
    for segment in segments.iter() {
        if bound.as_ref() != Some(&segment.lower) {
            return Err(format!("its segments leave a gap, or overlap, before {:?}", segment.lower));
        }
        bound.clone_from(&segment.upper);
    }
    match bound {
        None => Ok(()),
        Some(bound) => Err(format!("its segments end at {bound:?} and not at the end of the keys")),
    }
}

#[cfg(test)]
mod tests;
