//! write: one lake table from its topic, commit by commit.
//!
//! Why the table is exact at every commit: a batch starts at the offsets of the last commit, which the lake itself keeps, and takes every
//! record up to the ends that stand beside `published`, read in one transaction with it: so it holds everything of this table that starts
//! below the position that the commit names, and nothing else. A writer whose daemon was overtaken is not told `published`: its successor's
//! may have passed changes of a table that it does not capture. Where a batch ends earlier (limits), it ends before the first record of
//! another transaction and names *that* transaction's start. Nothing is skipped as "already seen" but what [`ChainCheck`] drops: a record
//! at or before the last one taken. Of a table that is no longer captured nothing at or behind the end of its capture is taken.
//! Offsets are released in the log only after the commit returned.

use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::change::{BinlogPosition, Cut, DayEnd, Dropped, Failure, LogOffset, Operation, Remedy, TableName};
use crate::changelog::chain::ChainCheck;
use crate::changelog::codec::Decoder;
use crate::changelog::{Consumer, Record};
use crate::lake::{CommitPoint, TableSpec, TableWriter, Written};
use crate::metadata::{CaptureState, Phase, Published, TableState};
use crate::telemetry::CommitNumbers;
use crate::trial::{self, Mistake, at, planted};

use super::board::SharedBoard;
use super::epoch::Histories;
use super::gauges::Share;
use super::topic_reader::TopicReader;
use super::{Error, Ledger, Result, Rooms, TableKey, targets};

mod daily;
mod start;

use daily::DailyTable;
use start::{adopt, chains, check_log};

/// Limits of the writers of a source.
#[derive(Clone)]
pub struct Limits {
    /// A commit at least so long after the one before it.
    pub interval: Duration,
    /// … or when so many records wait.
    pub rows: u64,
    /// A batch is cut behind so many record bytes.
    pub bytes: u64,
    /// One permit per batch in memory, over all tables of the daemon.
    pub batches: Arc<Semaphore>,
    /// Record bytes fetched at once.
    pub read_bytes: usize,
    /// Between two clean-ups of a table.
    pub maintain_every: Duration,
    /// Commit as soon as the topic stops growing, and often while it does (`--until-caught-up`).
    pub eager: bool,
    /// The zone whose days are frozen, by its IANA name: the tailer's.
    pub zone: String,
}

/// Between two commits of an eager writer whose topic keeps growing: each has a price of its own, and the file that grows is written
/// anew with it (measured: commits one behind the other made a mirror's million rows cost 2 CPU-seconds more).
const EAGER_PACE: Duration = Duration::from_millis(500);
/// A topic that has not grown for so long is committed at once by an eager writer.
const EAGER_QUIET: Duration = Duration::from_millis(30);

/// Everything one writer works with.
#[derive(Clone)]
pub struct Write {
    /// The rooms.
    pub rooms: Rooms,
    /// The table states.
    pub ledger: Arc<Ledger>,
    /// Wakes and counters.
    pub board: SharedBoard,
    /// Shared limits.
    pub limits: Limits,
    /// The table.
    pub key: TableKey,
    /// The lake table.
    pub spec: TableSpec,
    /// Told where the lake table stands after every commit.
    pub standing: watch::Sender<Standing>,
}

/// Where a lake table stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The position that readers see; None before the first publication.
    pub seen: Option<Cut>,
    /// The number of the commit record.
    pub seq: u64,
    /// The offset behind the last record taken, per partition.
    pub offsets: Vec<LogOffset>,
}

/// One run of a writer.
struct Writing {
    write: Write,
    table: Box<dyn TableWriter>,
    /// Of each partition.
    chains: Vec<ChainCheck>,
    /// What had been dropped before these chains began.
    dropped_before: Dropped,
    decoder: Decoder,
    consumer: Consumer,
    topic: String,
    source: String,
    since: Cut,
    handoff: Cut,
    committed_at: Instant,
    maintained_at: Instant,
    /// The ends up to which the topic holds nothing that may be taken.
    barren: Option<Vec<LogOffset>>,
    /// Where the topic ended when it was last seen to have grown.
    grown: (Vec<LogOffset>, Instant),
    /// The source's earlier histories, as of the last look at what may be taken.
    histories: Arc<Histories>,
    /// The days that are frozen, where they are.
    days: Option<DailyTable>,
    /// What the open batch holds in memory.
    held: Share,
}

/// What a batch may take: everything below `position`, which lies between the offsets `from` and `ends` of each partition.
struct Range {
    from: Vec<LogOffset>,
    ends: Vec<LogOffset>,
    position: Cut,
    published: Published,
    /// The day that ends at `position` and is to be frozen there.
    day: Option<DayEnd>,
}

/// What a batch has taken so far.
#[derive(Default)]
struct SoFar {
    /// The transaction of the last record.
    transaction: Option<BinlogPosition>,
    bytes: u64,
    records: u64,
}

/// How far a batch got.
struct Taken {
    offsets: Vec<LogOffset>,
    position: Cut,
    gtid: Option<String>,
    source_time_us: i64,
    file_name: String,
    record_file: String,
    bytes: u64,
}

impl Write {
    /// Runs until cancelled; goes on at the lake's last commit.
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        let (board, table) = (SharedBoard::clone(&self.board), self.key.table.to_string());
        let ended = self.commit_after_commit(cancel).await;
        // A commit that failed, or one that did not come about: the lake does not let the table be taken up.
        if let Err(error @ Error::Lake(_)) = &ended
            && !matches!(error.remedy(), Remedy::Fenced)
            && let Some(numbers) = board.numbers()
        {
            numbers.commit_failed(&table);
        }
        ended
    }

    async fn commit_after_commit(self, cancel: CancellationToken) -> Result<()> {
        let mut topic = self.board.watch_topic(&self.state().await?.topic);
        let mut published = self.board.watch_published();
        let mut writing = Writing::open(self).await?;
        loop {
            topic.forget();
            published.forget();
            let range = writing.range().await?;
            let published_once = writing.point()?.publish;
            if let Some(due) = writing.due(&range) {
                if due > Instant::now() {
                    tokio::select! {
                        biased;
                        () = cancel.cancelled() => return Ok(()),
                        () = tokio::time::sleep_until(due) => {}
                        // More records may make it due earlier; an eager writer looks again soon enough.
                        () = topic.heard(), if !writing.write.limits.eager => {}
                    }
                    continue;
                }
                let permit = Arc::clone(&writing.write.limits.batches).acquire_owned();
                let _permit = tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Ok(()),
                    permit = permit => permit.map_err(|_| writing.table_error("the daemon is stopping", "none is needed"))?,
                };
                if !writing.batch(range, &cancel).await? {
                    return Ok(());
                }
                writing.maintain().await?;
                continue;
            }
            // A table that is live sleeps until its own topic moves; one that is not yet waits for the position of its handoff.
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(writing.maintained_at + writing.write.limits.maintain_every) => writing.maintain().await?,
                () = topic.heard() => {}
                () = published.heard(), if !published_once => {}
            }
        }
    }

    async fn state(&self) -> Result<Arc<TableState>> {
        self.ledger.get(&self.key).await.ok_or_else(|| Error::Table {
            table: self.key.table.clone(),
            reason: format!("generation {} is no longer known", self.key.generation),
            remedy: "none is needed: a newer generation has replaced it".to_owned(),
        })
    }
}

impl Writing {
    async fn open(write: Write) -> Result<Self> {
        let opening = write.board.openings().acquire_owned().await;
        let state = write.state().await?;
        let (since, handoff) = match (&state.capture, state.phase.handoff()) {
            (CaptureState::On { since } | CaptureState::Ended { since, .. }, Some(handoff)) => (*since, handoff),
            _ => {
                return Err(Error::Table {
                    table: state.table.clone(),
                    reason: "a writer was started before the snapshot was complete".to_owned(),
                    remedy: "report this with the log".to_owned(),
                });
            }
        };
        let mut table = write.rooms.lake.writer(write.spec.clone(), write.ledger.lease().term).await?;
        drop(opening);
        if table.committed().point.is_none() {
            if matches!(state.phase, Phase::Live { .. }) {
                return Err(Error::Table {
                    table: state.table.clone(),
                    reason: "the lake has no commit of a table that was live".to_owned(),
                    remedy: "the lake's folder was removed or replaced: run `binlake rebuild` for it".to_owned(),
                });
            }
            adopt(&write, &state, table.as_mut(), since, handoff).await?;
        }
        check_log(&write, &state, table.committed().point.as_ref(), since).await?;
        let days = DailyTable::open(&write, table.as_ref()).await?;
        let writing = Self {
            days,
            chains: chains(&state, table.committed().point.as_ref()),
            dropped_before: table.committed().point.as_ref().map(|point| point.dropped).unwrap_or_default(),
            decoder: Decoder::new(&state.schema, state.topic.clone()),
            consumer: targets::consumer(&write.spec),
            topic: state.topic.clone(),
            source: state.source.clone(),
            since,
            handoff,
            committed_at: Instant::now(),
            maintained_at: Instant::now(),
            barren: None,
            grown: (Vec::new(), Instant::now()),
            histories: Arc::default(),
            table,
            held: Share::of(&write.board, |gauges| &gauges.batch),
            write,
        };
        let offsets = writing.point()?.offsets.clone();
        writing.write.rooms.changelog.advance(&writing.topic, &writing.consumer, &offsets).await?;
        writing.tell()?;
        Ok(writing)
    }

    fn table_error(&self, reason: &str, remedy: &str) -> Error {
        Error::Table { table: self.table_name().clone(), reason: reason.to_owned(), remedy: remedy.to_owned() }
    }

    fn table_name(&self) -> &TableName {
        &self.write.key.table
    }

    fn point(&self) -> Result<&CommitPoint> {
        self.table
            .committed()
            .point
            .as_ref()
            .ok_or_else(|| self.table_error("the lake table has no commit", "run `binlake rebuild` for it"))
    }

    /// What may be taken now: `published` and the topic's end beside it come from one transaction.
    async fn range(&mut self) -> Result<Range> {
        let from = self.point()?.offsets.clone();
        // Read first: what is exact stays so within an epoch.
        self.histories = Arc::new(Histories::read(&self.write.rooms, &self.source).await?);
        let lease = Some(self.write.ledger.lease());
        let published = || self.write.rooms.metadata.published(lease, &self.source, &self.topic);
        let unaware = match &self.days {
            Some(days) if planted(Mistake::DaysBeforePublished) => !days.has_next(&self.write).await?,
            _ => false,
        };
        let early = if planted(Mistake::EndsBeforePublished) { published().await? } else { None };
        let known = published().await?;
        let Some((published, ends)) = known.map(|(published, ends)| (published, early.map_or(ends, |(_, ends)| ends))) else {
            let published = Published { position: self.point()?.position, file_name: String::new(), source_time_us: 0 };
            return Ok(Range { ends: from.clone(), from, position: published.position, published, day: None });
        };
        if !self.histories.is_exact_at(published.position) {
            return Ok(Range { ends: from.clone(), from, position: self.point()?.position, published, day: None });
        }
        let until = match self.write.state().await?.capture {
            CaptureState::Ended { until, .. } => until,
            CaptureState::On { .. } | CaptureState::Wanted => published.position,
        };
        let published_end = |number: usize| ends.get(number).map(|end| end.offset).unwrap_or_default();
        let ends = from.iter().enumerate().map(|(number, from)| published_end(number).max(*from)).collect();
        let position = published.position.min(until);
        let day = if unaware { None } else { self.day_ended(position).await? };
        let position = day.as_ref().filter(|_| !planted(Mistake::BatchPastDay)).map_or(position, |day| day.end);
        Ok(Range { from, ends, position, published, day })
    }

    /// The next day to freeze that has ended at or below a position which is published: no batch goes past it.
    async fn day_ended(&mut self, position: Cut) -> Result<Option<DayEnd>> {
        let first = self.point()?.position.max(self.handoff);
        match &mut self.days {
            Some(days) => days.next(&self.write, first, position).await,
            None => Ok(None),
        }
    }

    /// What the table holds is what it held when the day ended.
    async fn freeze(&mut self, day: DayEnd) -> Result<()> {
        let Some(days) = &mut self.days else { return Ok(()) };
        days.freeze(&self.write, self.table.as_mut(), day).await?;
        self.tell()
    }

    /// When the next commit is due; None when there is nothing to commit.
    fn due(&mut self, range: &Range) -> Option<Instant> {
        if self.grown.0 != range.ends {
            self.grown = (range.ends.clone(), Instant::now());
        }
        let point = self.point().ok()?;
        if range.day.is_some() {
            return Some(Instant::now());
        }
        let waiting = if self.barren.as_ref() == Some(&range.ends) { 0 } else { between(&range.from, &range.ends) };
        let first_publication = !point.publish && range.position >= self.handoff;
        if (waiting == 0 || range.position <= point.position) && !first_publication {
            return None;
        }
        if !point.publish || waiting >= self.write.limits.rows {
            return Some(Instant::now());
        }
        if self.write.limits.eager {
            return Some((self.grown.1 + EAGER_QUIET).min(self.committed_at + EAGER_PACE));
        }
        Some(self.committed_at + self.write.limits.interval)
    }

    /// Takes records and commits; false when it was cancelled.
    async fn batch(&mut self, range: Range, cancel: &CancellationToken) -> Result<bool> {
        let started = Instant::now();
        let taken = self.take(&range, cancel).await?;
        let Some(taken) = taken else { return Ok(false) };
        let records = between(&range.from, &taken.offsets);
        let before = self.point()?.clone();
        let publish = before.publish || taken.position >= self.handoff;
        let changes = self.table.buffered_changes();
        let point = CommitPoint {
            position: taken.position,
            offsets: taken.offsets.clone(),
            last: self.chains.iter().map(ChainCheck::last).collect(),
            gtid: taken.gtid.or(before.gtid),
            file_name: taken.file_name,
            source_time_us: taken.source_time_us.max(before.source_time_us),
            publish,
            dropped: self.dropped_before + self.chains.iter().map(ChainCheck::dropped).fold(Dropped::default(), Dropped::add),
        };
        let day = range.day.filter(|day| taken.position >= day.end);
        if records == 0 && publish == before.publish {
            if let Some(day) = day {
                self.freeze(day).await?;
                return Ok(true);
            }
            self.barren = Some(range.ends);
            return Ok(true);
        }
        if planted(Mistake::OffsetsApartFromData) {
            self.table.commit(CommitPoint { offsets: before.offsets, last: before.last, ..point.clone() }).await?;
        }
        self.table.commit(point).await?;
        trial::point(at::BEFORE_RELEASE);
        self.committed_at = Instant::now();
        self.held.set(0);
        self.note(taken.bytes, started.elapsed());
        self.write.ledger.works(&self.write.key).await?;
        self.write.rooms.changelog.advance(&self.topic, &self.consumer, &taken.offsets).await?;
        match day {
            Some(day) => self.freeze(day).await?,
            None => self.tell()?,
        }
        tracing::debug!(
            table = %self.write.spec.name, seq = self.table.committed().seq, position = %taken.position, changes,
            milliseconds = started.elapsed().as_millis() as u64, "committed"
        );
        Ok(true)
    }

    async fn take(&mut self, range: &Range, cancel: &CancellationToken) -> Result<Option<Taken>> {
        let mut taken = Taken {
            offsets: Vec::new(),
            position: range.position,
            gtid: None,
            source_time_us: 0,
            file_name: range.day.as_ref().map_or(&range.published.file_name, |day| &day.file_name).clone(),
            record_file: range.published.file_name.clone(),
            bytes: 0,
        };
        let (changelog, topic, histories) =
            (Arc::clone(&self.write.rooms.changelog), self.topic.clone(), Arc::clone(&self.histories));
        let (offsets, chains) = ((range.from.as_slice(), range.ends.as_slice()), std::mem::take(&mut self.chains));
        let mut reader = TopicReader::new(&*changelog, &topic, &histories, offsets, chains, self.write.limits.read_bytes);
        let mut so_far = SoFar::default();
        let at_end = loop {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            if !reader.fill().await? {
                break true;
            }
            let goes_on = self.records(range, &mut reader, &mut taken, &mut so_far)?;
            self.held.set(self.table.buffered_bytes() as u64);
            if !goes_on {
                break false;
            }
            self.table.relieve().await?;
        };
        taken.bytes = so_far.bytes;
        (taken.offsets, self.chains) = reader.stop(at_end);
        Ok(Some(taken))
    }

    /// Takes the records that were fetched; false when the batch ends before the next one.
    fn records(&mut self, range: &Range, reader: &mut TopicReader<'_>, taken: &mut Taken, so_far: &mut SoFar) -> Result<bool> {
        while let Some((partition, record)) = reader.head() {
            let start = record.position.transaction;
            let other = so_far.transaction.is_some_and(|transaction| transaction != start || planted(Mistake::HalfTransaction));
            let full = so_far.bytes >= self.write.limits.bytes || so_far.records >= self.write.limits.rows;
            if start >= range.position.0 || (other && full) {
                taken.position = Cut(start).min(range.position);
                taken.file_name = std::mem::take(&mut taken.record_file);
                return Ok(false);
            }
            self.record(partition, record, taken)?;
            so_far.transaction = Some(start);
            so_far.bytes += record.value.len() as u64;
            so_far.records += 1;
            reader.pass(partition)?;
        }
        Ok(true)
    }

    fn record(&mut self, partition: usize, record: &Record, taken: &mut Taken) -> Result<()> {
        // Before this generation's `since`: an older one took it.
        if self.since.covers(record.position.transaction) {
            return Ok(());
        }
        if *record.schema != *self.decoder.schema_id() {
            return Err(self.table_error(
                &format!("the record at {} has another shape ({}) than this generation", record.position, record.schema),
                "run `binlake rebuild` for it",
            ));
        }
        let mut decoded = self.decoder.decode(u32::try_from(partition).unwrap_or(u32::MAX), record)?;
        // Nothing of it is copied but what a commit needs of its last record.
        let head = decoded.head;
        if head.gtid.is_some() {
            taken.gtid.clone_from(&head.gtid);
        }
        taken.source_time_us = taken.source_time_us.max(head.committed_us);
        if head.operation == Operation::Schema {
            let reason = format!("at {}: {}", record.position, head.statement.as_deref().unwrap_or_default());
            return Err(self.table_error(&reason, "run `binlake rebuild` for it"));
        }
        taken.record_file.clone_from(&head.file);
        let exact = !self.handoff.covers(record.position.transaction);
        if !exact && planted(Mistake::SkipWhatTheRowHas) {
            return Ok(());
        }
        let sink = self.table.sink();
        sink.begin(head, record.offset, exact)?;
        decoded.drive(sink)?;
        sink.end()?;
        Ok(())
    }

    /// For those who look at the numbers.
    fn note(&self, taken: u64, took: Duration) {
        let Some(numbers) = self.write.board.numbers() else { return };
        let Written { rows, files, bytes } = self.table.written();
        numbers.commit(&self.table_name().to_string(), &CommitNumbers { rows, files, bytes, taken, took });
    }

    /// Tells the coordinator how far readers can see.
    fn tell(&self) -> Result<()> {
        self.write.board.stands_at(&self.write.spec.name.to_string(), &self.write.key, self.table.committed());
        let point = self.point()?;
        let seen = point.publish.then_some(point.position);
        let seq = self.table.committed().seq;
        self.write.standing.send_replace(Standing { seen, seq, offsets: point.offsets.clone() });
        self.write.board.committed(&self.write.key);
        Ok(())
    }

    async fn maintain(&mut self) -> Result<()> {
        if self.maintained_at.elapsed() < self.write.limits.maintain_every {
            return Ok(());
        }
        self.maintained_at = Instant::now();
        self.write.ledger.works(&self.write.key).await?;
        if self.table.rests_until_ms() > self.write.rooms.clock.now_ms() {
            return Ok(());
        }
        // The snapshot was adopted when this writer was opened: nothing but the commits needs a chunk's files any more.
        let done = self.table.maintain(&[]).await?;
        if let Some(numbers) = self.write.board.numbers() {
            numbers.cleaned(&self.table_name().to_string(), done.files_deleted);
        }
        if done.files_deleted > 0 {
            tracing::debug!(table = %self.write.spec.name, files = done.files_deleted, entries = done.entries_expired, "cleaned up");
        }
        Ok(())
    }
}

/// How many offsets lie between two rows of them.
fn between(from: &[LogOffset], ends: &[LogOffset]) -> u64 {
    from.iter().zip(ends).map(|(from, end)| end.0 - from.0).sum()
}
