//! The capture side of the tailer: which tables want to be captured, and from where on.
//!
//! A table's `since` is a transaction boundary of the stream itself. Only the tables that changed are looked at, and those that are
//! captured here are captured together: of a thousand new tables none waits for the others' turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Result, TableKey, targets, write_document};
use super::{Tail, wanted};
use crate::change::{Capture, LogOffset, LogPlace, Term};
use crate::changelog;
use crate::metadata::{CaptureState, TableState};
use crate::source;
use crate::trial::{Mistake, at, planted, point};

/// Topics that are made at once: the embedded log makes calls at the same time durable together.
const AT_ONCE: usize = 32;

/// Between two questions what is prepared.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Something that the change log was asked for.
type Asked<T> = BoxFuture<'static, changelog::Result<T>>;

impl Tail {
    /// At a transaction boundary: of the tables that changed, those that want to be captured get their `since`, and the stream gets
    /// the list of today.
    pub(super) async fn recapture(&mut self, changed: &BTreeSet<TableKey>) -> Result<()> {
        self.flush_all(&CancellationToken::new()).await?;
        let ready = self.ready(changed).await?;
        if !ready.is_empty() {
            self.capture_tables(&ready).await?;
        }
        let mut capture: Option<Capture> = None;
        for key in changed {
            let now = wanted(&self.ledger.generations(&key.table).await).tables.remove(&key.table);
            if now.as_ref() != self.capture.tables.get(&key.table) {
                let tables = &mut capture.get_or_insert_with(|| self.capture.clone()).tables;
                drop(tables.remove(&key.table));
                tables.extend(now.map(|now| (key.table.clone(), now)));
            }
        }
        if let Some(capture) = capture {
            self.flows.retain(|table, flow| capture.tables.get(table).is_some_and(|now| flow.has_schema(&now.schema)));
            self.stream.set_capture(capture.clone());
            self.capture = capture;
        }
        Ok(())
    }

    /// Those of the tables that may be captured here and now. A table is captured no sooner than the stream has come to where the
    /// binlog ended after the table was described: the statements that gave it this shape lie before that, and would be taken for
    /// changes of the shape.
    async fn ready(&mut self, changed: &BTreeSet<TableKey>) -> Result<Vec<Arc<TableState>>> {
        // What was prepared before the stream began brings no rows: a table whose `since` lay before its end would lack a change.
        let unknown = self.unknown().await?;
        let ended = unknown.is_none() || planted(Mistake::XaPreparedBeforeSince);
        let stands = self.stream.checkpoint();
        let mut sampled: Option<source::Sample> = None;
        let mut ready = Vec::new();
        for key in changed {
            // Kept only for those that still want to be captured.
            let described = self.described.remove(key).filter(|end| end.server_uuid == stands.server_uuid);
            let Some(state) = self.ledger.newest_of(&key.table).await.filter(|state| wants_capture(key, state)) else { continue };
            if let (Some(xid), None) = (&unknown, &described) {
                tracing::warn!(table = %state.table, xid, "captured only when this XA transaction has ended");
            }
            let end = match (described, &sampled) {
                (Some(end), _) => end,
                (None, Some(end)) => end.clone(),
                (None, None) => sampled.insert(self.rooms.source.flushed().await?).clone(),
            };
            if ended && stands.position >= end.cut(stands.position.0.epoch) {
                ready.push(state);
            } else {
                self.described.insert(key.clone(), end);
            }
        }
        Ok(ready)
    }

    /// The xid of a prepared XA transaction whose rows the stream never had, and whose end it has not seen.
    ///
    /// The end of one that changed nothing is in no binlog. So the server is asked what is still prepared: what has ended by then and
    /// is unknown still when the stream has come to where the binlog ended afterwards has no end there, and is forgotten.
    async fn unknown(&mut self) -> Result<Option<String>> {
        let stands = self.stream.checkpoint();
        let mut unknown: BTreeSet<String> = without_rows(&stands);
        if unknown.is_empty() {
            return Ok(None);
        }
        let (asked_at, now) = match self.prepared.take() {
            // An answer is kept until the stream has come to its end, however far that is behind the server's.
            Some((asked_at, now)) if now.end.server_uuid == stands.server_uuid => (asked_at, now),
            _ => (Instant::now(), self.rooms.source.prepared().await?),
        };
        let reached = now.end.server_uuid == stands.server_uuid && stands.position >= now.end.cut(stands.position.0.epoch);
        if let (true, Some(open)) = (reached, &now.xids) {
            let ended: BTreeSet<String> = unknown.difference(open).cloned().collect();
            self.stream.forget_prepared(&ended);
            unknown.retain(|xid| open.contains(xid));
        }
        if !reached || asked_at.elapsed() < ASKED_EVERY {
            self.prepared = Some((asked_at, now));
        }
        Ok(unknown.pop_first())
    }

    /// The tables whose description the stream has come to.
    pub(super) fn reached_descriptions(&self) -> BTreeSet<TableKey> {
        if self.described.is_empty() {
            return BTreeSet::new();
        }
        let position = self.stream.checkpoint().position;
        let reached = self.described.iter().filter(|(_, end)| position >= end.cut(position.0.epoch));
        reached.map(|(key, _)| key.clone()).collect()
    }

    /// Gives tables their `since`: this very place of the stream.
    async fn capture_tables(&mut self, states: &[Arc<TableState>]) -> Result<()> {
        let checkpoint = self.stream.checkpoint();
        let document = write_document("checkpoint", &self.state.name, &checkpoint)?;
        let starts = self.starts(states).await?;
        let mut registering: Vec<Asked<()>> = Vec::new();
        for (state, start) in states.iter().zip(&starts) {
            for spec in targets::targets(state) {
                let (changelog, topic, term) = (Arc::clone(&self.rooms.changelog), state.topic.clone(), self.term);
                let offsets: Vec<LogOffset> = start.iter().map(|place| place.offset).collect();
                registering
                    .push(async move { changelog.register(&topic, term, &targets::consumer(&spec), &offsets).await }.boxed());
            }
        }
        futures::stream::iter(registering).buffered(AT_ONCE).try_collect::<()>().await?;
        let starts: BTreeMap<TableKey, Vec<LogPlace>> = states.iter().map(|state| TableKey::of(state)).zip(starts).collect();
        let keys: Vec<TableKey> = starts.keys().cloned().collect();
        point(at::CAPTURING);
        self.ledger
            .update_all(&keys, |table| {
                table.capture = CaptureState::On { since: checkpoint.position };
                table.since_checkpoint = Some(document.clone());
                table.starts = starts.get(&TableKey::of(table)).cloned().unwrap_or_default();
            })
            .await?;
        for key in keys {
            tracing::info!(table = %key.table, generation = key.generation, since = %checkpoint.position, "captured");
        }
        Ok(())
    }

    /// Where generations' records start. An older generation that is captured shares the topic: behind what has passed so far. Else
    /// nobody has a claim on what the topic may still hold (of a capture that ended, of a generation that is gone, of a lost metadata
    /// store): it begins anew.
    async fn starts(&mut self, states: &[Arc<TableState>]) -> Result<Vec<Vec<LogPlace>>> {
        let mut starts: Vec<Option<Vec<LogPlace>>> = Vec::with_capacity(states.len());
        let mut beginning: Vec<Asked<Vec<LogOffset>>> = Vec::new();
        for state in states {
            let known = self.ledger.generations(&state.table).await;
            let shared = known.iter().any(|older| matches!(older.capture, CaptureState::On { .. }));
            starts.push(match self.flows.get(&state.table) {
                Some(flow) if shared => Some(flow.places()),
                None if shared => Some(self.ledger.published_places(&state.table, &state.topic).await?),
                _ => {
                    self.flows.remove(&state.table);
                    let (changelog, topic, term) = (Arc::clone(&self.rooms.changelog), state.topic.clone(), self.term);
                    beginning.push(async move { changelog.begin_topic(&topic, term).await }.boxed());
                    None
                }
            });
        }
        let begun: Vec<Vec<LogOffset>> = futures::stream::iter(beginning).buffered(AT_ONCE).try_collect().await?;
        let mut begun = begun.into_iter().map(|offsets| places(&offsets, self.term));
        let mut begins = Vec::new();
        let starts = states.iter().zip(starts).map(|(state, start)| {
            start.or_else(|| begun.next().inspect(|start| begins.push((state.topic.clone(), start.clone())))).unwrap_or_default()
        });
        let starts = starts.collect();
        if !begins.is_empty() {
            self.save_published(begins).await?;
        }
        Ok(starts)
    }
}

/// Where a topic begins anew: what lies before these offsets counts for nobody, nor what a lower term still appends.
fn places(offsets: &[LogOffset], term: Term) -> Vec<LogPlace> {
    offsets.iter().map(|offset| LogPlace { offset: *offset, last: None, term }).collect()
}

/// The XA transactions that are known by their xid alone.
fn without_rows(stands: &source::Checkpoint) -> BTreeSet<String> {
    let unknown = stands.prepared.iter().filter(|prepared| prepared.file_name.is_empty());
    unknown.map(|prepared| prepared.xid.clone()).collect()
}

/// Whether this is a table's newest generation, and waits to be captured.
fn wants_capture(key: &TableKey, state: &TableState) -> bool {
    state.generation == key.generation
        && state.capture == CaptureState::Wanted
        && state.listed
        && !state.schema.columns.is_empty()
        && state.phase.parked().is_none()
}
