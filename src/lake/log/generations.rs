//! Which generation readers see: a chain of `switch` records, one at the end of each generation that was live.
//!
//! The chain starts at generation 1. A generation's log either goes on, then it is the one that counts, or ends in a `switch` that
//! names a later one. The switch is a put-if-absent in the *old* log: in the same instant readers go to the new generation and the
//! old one's writer finds its next slot taken. It is put only after the new generation's own commit says `publish`; a crash between
//! the two is mended by the next writer, because both are asked of the logs and neither is remembered elsewhere.
//! A switch is never deleted, so an old log ends where it ended for ever.
//!
//! A log that somebody damaged ends all the same: its newest record says whether readers have left it, and the switch goes behind that
//! record. So a rebuild recovers a table whatever became of the old generation's log.

use std::sync::Arc;

use object_store::path::Path;

use super::record::{Record, RecordKind, VERSION};
use super::state::{State, Switched};
use super::{CommitLog, Slot};
use crate::change::{Clock, Term};
use crate::lake::store::LakeStore;
use crate::lake::{Error, LakeName, Result, unique};
use crate::trial::{self, at};

/// How many generations a chain may have.
const CHAIN_LIMIT: usize = 10_000;
/// How often the switch may find its slot taken by the old generation's writer.
const SWITCH_ATTEMPTS: usize = 64;

/// The end of the chain.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) log: CommitLog,
    /// None if its log is empty, which only generation 1's can be. An error says why its log does not hold together.
    pub(crate) state: Result<Option<State>>,
    /// When readers were switched to it; None for generation 1.
    pub(crate) since_ms: Option<u64>,
    /// The record that switched them.
    switch: Option<Path>,
}

impl Live {
    pub(crate) fn generation(&self) -> u32 {
        self.log.generation()
    }

    /// Makes durable what was seen here. Whoever put it may not have come to that, and what others are told of it must not be taken back by a
    /// machine that loses its power.
    pub(crate) async fn settle(&self, store: &LakeStore) -> Result<()> {
        let newest = self.state.as_ref().ok().and_then(Option::as_ref).map(|state| self.log.slot(state.seq));
        store.settle(newest.into_iter().chain(self.switch.clone())).await
    }
}

/// Follows the chain to its end.
pub(crate) async fn live(store: &LakeStore, table: &LakeName) -> Result<Live> {
    let mut log = CommitLog::new(store, table, 1);
    let (mut since_ms, mut switch) = (None, None);
    for _ in 0..CHAIN_LIMIT {
        let (state, switched) = match log.load().await {
            Ok(state) => {
                let switched = state.as_ref().and_then(|state| Some((state.switched?, state.seq)));
                (Ok(state), switched)
            }
            Err(broken @ Error::Log { .. }) => (Err(broken), log.ends_in_switch().await?),
            Err(error) => return Err(error),
        };
        let Some((Switched { generation: next, at_ms }, seq)) = switched else {
            let unpublished = state.as_ref().is_ok_and(|state| !state.as_ref().is_some_and(State::publishes));
            if log.generation() > 1 && unpublished {
                return Err(log.broken(&log.slot(1), "readers were switched to this generation, and it is not published"));
            }
            return Ok(Live { log, state, since_ms, switch });
        };
        if next <= log.generation() {
            return Err(log.broken(&log.slot(1), format!("it switches back, to generation {next}")));
        }
        since_ms = Some(at_ms);
        switch = Some(log.slot(seq));
        log = CommitLog::new(store, table, next);
    }
    Err(log.broken(&log.slot(1), format!("more than {CHAIN_LIMIT} generations")))
}

/// Who switches.
#[derive(Debug, Clone)]
pub(crate) struct Switcher {
    pub(crate) table: LakeName,
    pub(crate) source: String,
    pub(crate) schema: String,
    pub(crate) generation: u32,
    pub(crate) term: Term,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Sends readers to a generation whose own log says `publish`. Doing it again does nothing. Answers when
/// it was done.
pub(crate) async fn switch(store: &LakeStore, switcher: &Switcher) -> Result<u64> {
    let fenced = |reason: String| Error::Fenced { table: switcher.table.to_string(), term: switcher.term, reason };
    for _ in 0..SWITCH_ATTEMPTS {
        let live = live(store, &switcher.table).await?;
        if live.generation() == switcher.generation {
            live.settle(store).await?;
            return Ok(live.since_ms.unwrap_or_else(|| switcher.clock.now_ms()));
        }
        if live.generation() > switcher.generation {
            return Err(fenced(format!("generation {} is live already", live.generation())));
        }
        let seq = match live.state {
            Ok(state) => state.map_or(0, |state| state.seq),
            Err(_) => live.log.newest().await?,
        } + 1;
        let record = record(switcher, live.log.generation(), seq);
        match live.log.put(&record).await? {
            // As in a commit: a slot that was free because it had expired does not count.
            Slot::Ours if follows(&live.log, seq).await? => {
                trial::point(at::SWITCHED);
                return Ok(record.committed_ms);
            }
            Slot::Ours | Slot::Taken(_) => {}
        }
    }
    Err(fenced("the older generation's writer is always ahead of the switch".to_owned()))
}

/// Whether a record that was just put stands behind what was there: the first one alone has nothing before it.
async fn follows(log: &CommitLog, seq: u64) -> Result<bool> {
    if seq == 1 { Ok(!log.goes_on_behind(seq).await?) } else { log.has(seq - 1).await }
}

fn record(switcher: &Switcher, generation: u32, seq: u64) -> Record {
    Record {
        v: VERSION,
        kind: RecordKind::Switch,
        id: unique().to_string(),
        table: switcher.table.to_string(),
        source: switcher.source.clone(),
        generation,
        seq,
        term: switcher.term,
        // Of this attempt: the old files' time counts from it, and what a reader sees may have changed since the first one.
        committed_ms: switcher.clock.now_ms(),
        schema: switcher.schema.clone(),
        point: None,
        added: Vec::new(),
        removed: Vec::new(),
        forgotten: Vec::new(),
        segments: None,
        rows: Default::default(),
        bytes_written: 0,
        took_ms: 0,
        zero_dates: Default::default(),
        published: None,
        switch_to: Some(switcher.generation),
    }
}
