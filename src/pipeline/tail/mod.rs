//! tail: the source's binlog into the change log, one for all captured tables of a source.
//!
//! Why no change is lost or doubled: the stream yields whole committed transactions in order; `published` is saved only after
//! [`ChangeLog::append`](crate::changelog::ChangeLog::append) returned for everything below it, together with the stream's checkpoint
//! and the topics' ends, in one transaction. After a crash the stream starts at that checkpoint; what the topics already hold behind it
//! is recognised by position ([`super::record_flow`]). A table's `since` is a transaction boundary of this very stream, saved before any
//! of its changes is asked for, and everything that starts at or behind it is captured, also after a restart from an earlier checkpoint.
//! A table that cannot be captured any more is ended in the metadata store at the start of the transaction in question *before* anything
//! of that transaction is published, so its writer never takes half of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::change::{Capture, CapturedTable, Cut, Failure, LogPlace, Operation, Remedy, TableName, Term};
use crate::changelog::codec::TransactionInfo;
use crate::changelog::{PartitionTail, Unpublished};
use crate::metadata::{CaptureState, News, Published, SourceState, TableState};
use crate::source::{self, BinlogStream, Checkpoint, Part, Problem, StreamFrom, StreamItem, Transaction};

mod days;
mod flush;
mod recapture;
mod waiting;

use days::DayEnds;
use flush::InFlight;

use super::board::SharedBoard;
use super::gauges::Share;
use super::record_flow::RecordFlow;
use super::{Error, Ledger, Result, Rooms, TableKey, epoch, read_document, targets, write_document};

/// Items that have come are taken one behind the other before the tailer looks up: asking everybody else costs as much as a small
/// transaction.
const ITEMS_AT_ONCE: usize = 32;

/// Limits of a tailer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of records that are appended together.
    pub batch_bytes: usize,
    /// How long a record waits for others.
    pub flush_after: Duration,
    /// How often `published` is saved when only other tables' transactions go by.
    pub progress_every: Duration,
    /// How long one wait for room in a full change log lasts.
    pub full_wait: Duration,
    /// The zone whose days end at its midnights, by its IANA name.
    pub zone: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_bytes: 4 << 20,
            flush_after: Duration::from_millis(20),
            progress_every: Duration::from_millis(200),
            full_wait: Duration::from_millis(200),
            zone: "UTC".to_owned(),
        }
    }
}

/// One run of a tailer, from its checkpoint until it is cancelled or fails.
pub struct Tail {
    rooms: Rooms,
    ledger: Arc<Ledger>,
    board: SharedBoard,
    settings: Settings,
    term: Term,
    stream: Box<dyn BinlogStream>,
    state: SourceState,
    flows: BTreeMap<TableName, RecordFlow>,
    capture: Capture,
    /// Tables that want to be captured, and the end of the binlog when that was first seen: see [`Tail::ready`].
    described: BTreeMap<TableKey, source::Sample>,
    /// What the server had prepared, and when it was asked: see [`Tail::unknown`].
    prepared: Option<(Instant, source::PreparedNow)>,
    saved: Cut,
    saved_at: Instant,
    /// When what waits is appended at the latest.
    flush_at: Option<Instant>,
    in_flight: Option<InFlight>,
    source_time_us: i64,
    days: DayEnds,
    /// The server has shown all that an earlier one had sent: writers commit.
    settled: bool,
    /// What is in the log behind `saved`.
    unpublished: Arc<Unpublished>,
    /// Records that were acknowledged and not published yet.
    acknowledged: u64,
    /// What waits to be appended.
    held: Share,
}

/// Runs until cancelled.
pub async fn run(mut tail: Tail, cancel: CancellationToken) -> Result<()> {
    let tables = tail.board.watch_tables();
    let all = tail.ledger.all().await.iter().map(|state| TableKey::of(state)).collect();
    tail.recapture(&all).await?;
    loop {
        let deadline = tail.flush_at.filter(|_| tail.in_flight.is_none());
        tokio::select! {
            // The stream comes last: one that always has something must keep nobody waiting.
            biased;
            () = cancel.cancelled() => return tail.flush_all(&cancel).await,
            landed = flush::landing(&mut tail.in_flight) => tail.landed(landed?).await,
            () = tables.changed() => tail.recapture(&tables.take()).await?,
            () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => tail.flush(&cancel).await?,
            item = tail.stream.next() => {
                tail.pass(item?, &cancel).await?;
                for _ in 1..ITEMS_AT_ONCE {
                    let Some(item) = tail.stream.next().now_or_never() else { break };
                    tail.pass(item?, &cancel).await?;
                }
            }
        }
    }
}

impl Tail {
    /// Opens the stream where it stood, or on another server, and writes that down. Nothing of the source is begun before: what is
    /// stored of an earlier history may mean something else in this one.
    pub async fn open(rooms: Rooms, ledger: Arc<Ledger>, board: SharedBoard, settings: Settings) -> Result<Self> {
        let name = ledger.source_name().to_owned();
        ledger.settle().await?;
        let mut state = ledger.source().await?.unwrap_or_else(|| never_started(&name));
        let (stream, capture, crossed) = open_stream(&rooms, &ledger, &state).await?;
        let checkpoint = stream.checkpoint();
        let days = DayEnds::behind(&state, &checkpoint, &settings.zone)?;
        state.epoch = checkpoint.position.0.epoch;
        state.stopped = None;
        for table in ledger.newest().await {
            targets::forget_the_gone(&rooms, &ledger, &table).await?;
        }
        let document = write_document("checkpoint", &name, &checkpoint)?;
        state.checkpoint = Some(document.clone());
        // The checkpoint was saved with `published`, so it says the same: also where the history has a new name for the place.
        let source_time_us = state.published.as_ref().map_or(0, |published| published.source_time_us);
        let (position, file_name) = (checkpoint.position, checkpoint.file_name.clone());
        let published = Published { position, file_name, source_time_us };
        if crossed {
            // Before the epoch: a start between the two crosses once more.
            let ends = epoch::ends(&rooms, &ledger).await?;
            let news = News { published: published.clone(), ends, days: Vec::new() };
            rooms.metadata.save_published(ledger.lease(), &name, &document, &news).await?;
        }
        state.published = Some(published);
        ledger.save_source(&state).await?;
        board.published_moved();
        let term = ledger.session_term();
        let unpublished = Arc::new(Unpublished::default());
        if checkpoint.unseen.is_some() {
            // Writers wait until the new server has shown all that the old one had sent: a full log would wait for them.
            unpublished.all();
        }
        tracing::info!(source = %name, position = %checkpoint.position, file = %checkpoint.file_name, "binlog stream opened");
        board.gauges.follow(stream.watched());
        Ok(Self {
            rooms,
            ledger,
            held: Share::of(&board, |gauges| &gauges.append),
            board,
            term,
            saved: checkpoint.position,
            stream,
            state,
            flows: BTreeMap::new(),
            capture,
            described: BTreeMap::new(),
            prepared: None,
            saved_at: Instant::now(),
            flush_at: None,
            in_flight: None,
            source_time_us,
            days,
            settled: checkpoint.unseen.is_none(),
            unpublished,
            acknowledged: 0,
            settings,
        })
    }

    /// The server whose binlog is read.
    pub fn server_uuid(&self) -> String {
        self.stream.checkpoint().server_uuid
    }

    /// Takes an item, and what it makes possible.
    async fn pass(&mut self, item: StreamItem, cancel: &CancellationToken) -> Result<()> {
        self.take(item, cancel).await?;
        let reached = self.reached_descriptions();
        if !reached.is_empty() {
            self.recapture(&reached).await?;
        }
        Ok(())
    }

    async fn take(&mut self, item: StreamItem, cancel: &CancellationToken) -> Result<()> {
        match item {
            StreamItem::Transaction(transaction) => {
                self.source_time_us = self.source_time_us.max(transaction.committed_us);
                let (committed_us, start, file_name) =
                    (transaction.committed_us, transaction.start, Arc::clone(&transaction.file_name));
                self.transaction(transaction, cancel).await?;
                self.days.pass(committed_us, start, &file_name);
                self.flush_by(Instant::now() + self.settings.flush_after);
                let buffered = self.buffered_bytes();
                self.held.set(buffered as u64);
                if buffered >= self.settings.batch_bytes {
                    self.flush(cancel).await?;
                }
            }
            StreamItem::Progress { committed_us, idle } => {
                self.source_time_us = self.source_time_us.max(committed_us.unwrap_or(0));
                let Checkpoint { position, file_name, .. } = self.stream.checkpoint();
                self.days.pass_others(committed_us, position, &file_name);
                let moved = position != self.flushed();
                let due = self.saved_at.elapsed() >= self.settings.progress_every;
                if (self.flush_at.is_some() && idle) || (moved && due) {
                    self.flush_by(Instant::now());
                } else if moved && self.flush_at.is_none() {
                    // Saved with the next flush, at the latest when the wait ends.
                    self.flush_by(Instant::now() + self.settings.progress_every + self.settings.flush_after);
                }
            }
        }
        Ok(())
    }

    async fn transaction(&mut self, mut transaction: Transaction, cancel: &CancellationToken) -> Result<()> {
        let mut ended: Vec<TableName> = Vec::new();
        while let Some(part) = transaction.body.next_part()? {
            if ended.contains(part_table(&part)) || !self.open_flow(part_table(&part)).await? {
                continue;
            }
            let table = part_table(&part).clone();
            match self.part(part, &mut transaction, cancel).await? {
                Ok(()) => {}
                Err(error) if matches!(error.remedy(), Remedy::Park(_)) => {
                    self.end_capture(&table, Cut(transaction.start), error).await?;
                    ended.push(table);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes a part of one table. What goes wrong with the table is told from what goes wrong with the log, where other tables' records
    /// are on their way.
    async fn part(&mut self, part: Part, transaction: &mut Transaction, cancel: &CancellationToken) -> Result<Result<()>> {
        let at = TransactionInfo {
            start: transaction.start,
            file_name: &transaction.file_name,
            gtid: transaction.gtid.as_deref(),
            committed_us: transaction.committed_us,
        };
        let (table, statement) = match part {
            Part::Rows { table, operation, .. } => loop {
                // A look-up per batch, not per row.
                let Some(flow) = self.flows.get_mut(&table) else { return Ok(Ok(())) };
                match flow.rows(transaction.body.as_mut(), operation, &at, self.settings.batch_bytes) {
                    // A transaction of any size passes: what is encoded is appended as it comes, `published` stays before it.
                    Ok(true) => self.append_ahead(&table, cancel).await?,
                    outcome => return Ok(outcome.map(drop)),
                }
            },
            Part::Truncate { table, statement, .. } => (table, (Operation::Truncate, statement, None)),
            Part::Schema { table, statement, problem } => (table, (Operation::Schema, statement, Some(problem))),
            Part::Unusable { table, problem } => return Ok(Err(unusable(table, problem))),
        };
        let Some(flow) = self.flows.get_mut(&table) else { return Ok(Ok(())) };
        let (operation, statement, problem) = statement;
        let outcome = flow.statement(operation, &statement, &at);
        Ok(match problem {
            Some(problem) => outcome.and_then(|()| Err(unusable(table, problem))),
            None => outcome,
        })
    }

    /// Makes sure that the table has a flow that goes on behind its topic; false where the table is no longer captured.
    async fn open_flow(&mut self, table: &TableName) -> Result<bool> {
        let Some(captured) = self.capture.tables.get(table) else { return Ok(false) };
        if self.flows.contains_key(table) {
            return Ok(true);
        }
        let schema = Arc::clone(&captured.schema);
        let Some(state) = self.ledger.newest_of(table).await else { return Ok(false) };
        // From here on a predecessor that wakes up gets nothing in any more: the ends that are read now stay.
        self.rooms.changelog.open_topic(&state.topic, self.term).await?;
        let places = self.ledger.published_places(table, &state.topic).await?;
        let tails = match self.rooms.changelog.tails(&state.topic, &places).await {
            // What was published can be read, what lies behind it cannot be gone on with.
            Err(error) if matches!(error.remedy(), Remedy::Park(_)) => {
                self.end_capture(table, self.saved, error.into()).await?;
                return Ok(false);
            }
            tails => tails?,
        };
        if let Some(reason) = self.not_what_it_was(&state.topic, &tails, &places) {
            let remedy = format!("run `binlake rebuild {table}`: readers keep the old state meanwhile");
            self.end_capture(table, self.saved, Error::Table { table: table.clone(), reason, remedy }).await?;
            return Ok(false);
        }
        // Of a predecessor that had begun with the transaction at hand.
        self.unpublished.add(flush::bytes_behind(&self.rooms, &state.topic, &places).await?);
        let record_bytes_max = self.rooms.changelog.record_bytes_max(&state.topic);
        let source = self.ledger.source_name();
        let flow = RecordFlow::new(source, schema, &state.topic, self.term, (&tails, &places), record_bytes_max);
        self.flows.insert(table.clone(), flow);
        Ok(true)
    }

    /// Why a topic cannot be gone on with, if it cannot.
    fn not_what_it_was(&self, topic: &str, tails: &[PartitionTail], places: &[LogPlace]) -> Option<String> {
        if tails.len() != places.len() {
            let (now, then) = (tails.len(), places.len());
            return Some(format!("topic {topic} has {now} partitions, and had {then} when this generation was captured"));
        }
        let (end, place) = tails.iter().map(|tail| tail.end).zip(places).find(|(end, place)| *end < place.offset)?;
        Some(format!(
            "topic {topic} ends at offset {end}, though it was published up to {} (position {}): the change log was lost, or replaced by \
             an older one",
            place.offset, self.saved
        ))
    }

    /// Parks a table on the capture side, durably, before anything of the transaction is published.
    async fn end_capture(&mut self, table: &TableName, until: Cut, error: Error) -> Result<()> {
        targets::end_capture(&self.rooms, &self.ledger, table, until, error).await?;
        self.capture = wanted(&self.ledger.all().await);
        self.stream.set_capture(self.capture.clone());
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        self.flows.values().map(RecordFlow::bytes).sum()
    }
}

fn never_started(name: &str) -> SourceState {
    SourceState { name: name.to_owned(), checkpoint: None, published: None, epoch: 0, stopped: None }
}

/// Opens the stream where the source stood, with what is captured; whether it goes on in another history.
async fn open_stream(rooms: &Rooms, ledger: &Ledger, state: &SourceState) -> Result<(Box<dyn BinlogStream>, Capture, bool)> {
    let from = match &state.checkpoint {
        Some(text) => StreamFrom::Checkpoint(read_document::<Checkpoint>("checkpoint", &state.name, text)?),
        None => StreamFrom::Now { epoch: state.epoch },
    };
    let mut capture = wanted(&ledger.all().await);
    let mut stream = rooms.source.stream(from, capture.clone()).await?;
    let crossed = state.checkpoint.is_some() && stream.checkpoint().position.0.epoch != state.epoch;
    if crossed {
        epoch::crossed(rooms, ledger, state.published.as_ref().map(|published| published.position)).await?;
        // What starts anew is not captured: its topic begins anew as well, and is this daemon's from then on.
        capture = wanted(&ledger.all().await);
        stream.set_capture(capture.clone());
    }
    Ok((stream, capture, crossed))
}

/// The capture that the states ask for: each table from the lowest `since` of its captured generations, in its newest shape.
fn wanted(states: &[Arc<TableState>]) -> Capture {
    let mut capture = Capture::default();
    for state in states {
        let CaptureState::On { since } = state.capture else { continue };
        let table = CapturedTable { schema: Arc::clone(&state.schema), since };
        match capture.tables.get_mut(&state.table) {
            Some(earlier) => *earlier = CapturedTable { since: earlier.since.min(since), ..table },
            None => drop(capture.tables.insert(state.table.clone(), table)),
        }
    }
    capture
}

fn part_table(part: &Part) -> &TableName {
    match part {
        Part::Rows { table, .. } | Part::Truncate { table, .. } | Part::Schema { table, .. } | Part::Unusable { table, .. } => {
            table
        }
    }
}

fn unusable(table: TableName, problem: Problem) -> Error {
    Error::Table { table, reason: problem.reason, remedy: problem.remedy }
}
