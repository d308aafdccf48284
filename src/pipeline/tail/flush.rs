//! What waits is appended, and `published` saved behind it, while the stream goes on being read.
//!
//! Why `published` still moves only past what is acknowledged (promise 5), with places that count exactly that: a flush takes the records
//! that wait, the stream's checkpoint and where every topic stands, all at one transaction boundary, and saves this checkpoint with these
//! places when the append has returned. One is in flight at a time, and the next begins when its `published` is saved, so the log has the
//! records in the stream's order, and a crash leaves at most one flush unpublished in it. What is read meanwhile is linked behind records that
//! are on their way; if they fail, the session ends, and the next looks at the tails. What changes the table list, or ends the run, waits
//! for what is in flight.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::board::SharedBoard;
use super::super::gauges::Share;
use super::super::record_flow::Changes;
use super::super::{Error, Ledger, Result, Rooms, write_document};
use super::waiting::Waiting;
use super::{Tail, wanted};
use crate::change::{Cut, DayEnd, LogOffset, LogPlace, Operation, TableName};
use crate::changelog::chain::Linked;
use crate::changelog::{self, Acknowledged, AppendBatch, Unpublished};
use crate::metadata::{News, Published};
use crate::source::Checkpoint;
use crate::trial::{Mistake, at, planted, point};

/// Between two lines about the same wait.
const SAID_EVERY: Duration = Duration::from_secs(30);

/// A flush on its way.
pub(super) struct InFlight {
    work: BoxFuture<'static, Result<Landed>>,
    /// What it saves; None where it only appends.
    publishes: Option<Cut>,
}

/// A flush that has come to its end.
pub(super) struct Landed {
    topics: Vec<Topic>,
    saved: Option<(Cut, bool)>,
    /// Records that the log has acknowledged.
    records: u64,
}

/// One topic's part in a flush.
struct Topic {
    table: TableName,
    name: String,
    linked: Linked,
    /// What the log said, where it had records.
    ends: Vec<Option<LogOffset>>,
    /// The changes that the records are made of.
    changes: Changes,
}

/// What becomes durable together with `published`.
struct Publish {
    document: String,
    published: Published,
    days: Vec<DayEnd>,
    /// The server has shown all that an earlier one had sent.
    settled: bool,
}

/// What a flush needs of the tailer while that goes on.
struct Flush {
    rooms: Rooms,
    ledger: Arc<Ledger>,
    board: SharedBoard,
    unpublished: Arc<Unpublished>,
    full_wait: Duration,
    cancel: CancellationToken,
    batches: Arc<Vec<AppendBatch>>,
    topics: Vec<Topic>,
    publish: Option<Publish>,
    /// Records that were acknowledged.
    records: u64,
    /// The batches' bytes.
    held: Share,
}

/// When the flush in flight ends; never where there is none.
pub(super) async fn landing(in_flight: &mut Option<InFlight>) -> Result<Landed> {
    let Some(flush) = in_flight else { return std::future::pending().await };
    let landed = flush.work.as_mut().await;
    *in_flight = None;
    landed
}

impl Tail {
    /// What waits is appended then, at the latest.
    pub(super) fn flush_by(&mut self, deadline: Instant) {
        self.flush_at = Some(self.flush_at.map_or(deadline, |earlier| earlier.min(deadline)));
    }

    /// Up to where all is saved, or about to be.
    pub(super) fn flushed(&self) -> Cut {
        self.in_flight.as_ref().and_then(|flush| flush.publishes).unwrap_or(self.saved)
    }

    /// Begins to append what waits, and to save `published` behind it; first waits for what is in flight.
    pub(super) async fn flush(&mut self, cancel: &CancellationToken) -> Result<()> {
        self.drain().await?;
        self.flush_at = None;
        let moved = |flow: &super::RecordFlow| flow.records() > 0 || flow.has_moved();
        let tables: Vec<TableName> = self.flows.iter().filter(|(_, flow)| moved(flow)).map(|(table, _)| table.clone()).collect();
        let here = Some(self.here()?).filter(|here| here.published.position != self.saved);
        let publish = here.map(|here| Publish { days: self.days.take(&here.published), ..here });
        self.begin(&tables, publish, cancel);
        Ok(())
    }

    /// The same, to its end.
    pub(super) async fn flush_all(&mut self, cancel: &CancellationToken) -> Result<()> {
        self.flush(cancel).await?;
        self.drain().await
    }

    /// Begins to append what waits of a table in the middle of a transaction: `published` stays before it.
    pub(super) async fn append_ahead(&mut self, table: &TableName, cancel: &CancellationToken) -> Result<()> {
        self.drain().await?;
        self.begin(std::slice::from_ref(table), None, cancel);
        Ok(())
    }

    /// Waits for what is in flight.
    pub(super) async fn drain(&mut self) -> Result<()> {
        if self.in_flight.is_some() {
            let landed = landing(&mut self.in_flight).await?;
            self.landed(landed).await;
        }
        Ok(())
    }

    /// The stream's place, as it is saved.
    fn here(&self) -> Result<Publish> {
        let checkpoint = self.stream.checkpoint();
        let document = write_document("checkpoint", &self.state.name, &checkpoint)?;
        let settled = self.settled || checkpoint.unseen.is_none();
        let Checkpoint { position, file_name, .. } = checkpoint;
        let published = Published { position, file_name, source_time_us: self.source_time_us };
        Ok(Publish { document, published, days: Vec::new(), settled })
    }

    fn begin(&mut self, tables: &[TableName], publish: Option<Publish>, cancel: &CancellationToken) {
        let (mut batches, mut topics) = (Vec::new(), Vec::new());
        for table in tables {
            let Some(flow) = self.flows.get_mut(table) else { continue };
            let (name, linked) = (flow.topic().to_owned(), flow.linked());
            let mut topic = Topic { table: table.clone(), name, linked, ends: Vec::new(), changes: Changes::default() };
            if flow.records() > 0 {
                let (batch, changes) = flow.take();
                batches.push(batch);
                topic.changes = changes;
            }
            topics.push(topic);
        }
        let bytes = batches.iter().map(|batch: &AppendBatch| batch.bytes.len() as u64).sum();
        self.held.set(self.buffered_bytes() as u64);
        if batches.is_empty() && publish.is_none() {
            return;
        }
        let publishes = publish.as_ref().map(|publish| publish.published.position);
        let mut held = Share::of(&self.board, |gauges| &gauges.append);
        held.set(bytes);
        let flush = Flush {
            records: 0,
            held,
            rooms: self.rooms.clone(),
            ledger: Arc::clone(&self.ledger),
            board: Arc::clone(&self.board),
            unpublished: Arc::clone(&self.unpublished),
            full_wait: self.settings.full_wait,
            cancel: cancel.clone(),
            batches: Arc::new(batches),
            topics,
            publish,
        };
        self.in_flight = Some(InFlight { work: flush.run().boxed(), publishes });
    }

    /// Takes in what a flush has done.
    pub(super) async fn landed(&mut self, landed: Landed) {
        self.acknowledged += landed.records;
        if let Some(numbers) = self.board.numbers().filter(|_| landed.saved.is_some()) {
            numbers.published(std::mem::take(&mut self.acknowledged));
        }
        for topic in landed.topics {
            if let Some(flow) = self.flows.get_mut(&topic.table).filter(|flow| flow.topic() == topic.name) {
                flow.acknowledged(&topic.linked, &topic.ends);
                if landed.saved.is_some() {
                    flow.saved(topic.linked.places(&topic.ends));
                }
            }
            if landed.saved.is_some() {
                self.board.topic_moved(&topic.name);
            }
        }
        let Some((position, settled)) = landed.saved else { return };
        self.is_saved(position);
        if settled && !self.settled {
            self.settled = true;
            for state in self.ledger.all().await {
                self.board.topic_moved(&state.topic);
            }
        }
    }

    fn is_saved(&mut self, position: Cut) {
        self.saved = position;
        self.saved_at = Instant::now();
        self.board.published_moved();
    }

    /// Saves the stream's place with where topics stand, in one transaction; nothing may be in flight.
    pub(super) async fn save_published(&mut self, ends: Vec<(String, Vec<LogPlace>)>) -> Result<()> {
        let Publish { document, published, .. } = self.here()?;
        let news = News { days: self.days.take(&published), published, ends };
        self.rooms.metadata.save_published(self.ledger.lease(), &self.state.name, &document, &news).await?;
        if self.settled {
            self.unpublished.clear();
        }
        self.is_saved(news.published.position);
        Ok(())
    }
}

impl Flush {
    /// Appends, then saves `published`: never the other way round (promise 5).
    async fn run(mut self) -> Result<Landed> {
        if planted(Mistake::PublishedBeforeAcknowledged) {
            self.save().await?;
            self.append().await?;
        } else {
            self.append().await?;
            self.save().await?;
        }
        let saved = self.publish.map(|publish| (publish.published.position, publish.settled));
        Ok(Landed { topics: self.topics, saved, records: self.records })
    }

    async fn save(&mut self) -> Result<()> {
        let Some(publish) = &mut self.publish else { return Ok(()) };
        let place = |topic: &Topic| (topic.name.clone(), topic.linked.places(&topic.ends));
        let places: Vec<(String, Vec<LogPlace>)> = self.topics.iter().map(place).collect();
        let has_places = !places.is_empty();
        if has_places {
            point(at::ACKNOWLEDGED);
        }
        let (lease, source) = (self.ledger.lease(), self.ledger.source_name());
        let news = News { published: publish.published.clone(), ends: places, days: std::mem::take(&mut publish.days) };
        self.rooms.metadata.save_published(lease, source, &publish.document, &news).await?;
        if has_places {
            point(at::PUBLISHED);
        }
        if publish.settled {
            self.unpublished.clear();
        }
        Ok(())
    }

    async fn append(&mut self) -> Result<()> {
        if self.batches.is_empty() {
            return Ok(());
        }
        let waiting = Waiting::begin(&self.rooms, &self.ledger, &self.board);
        let acknowledged = waiting.told(self.append_when_there_is_room(&waiting)).await?;
        self.note(acknowledged);
        Ok(())
    }

    /// Appends, waiting while the change log is full: that wait is the back-pressure that reaches up to the binlog reader.
    async fn append_when_there_is_room(&self, waiting: &Waiting) -> Result<Vec<Acknowledged>> {
        let (mut said, mut counted): (Option<Instant>, bool) = (None, false);
        loop {
            match self.rooms.changelog.append_unpublished(&self.batches, &self.unpublished).await {
                // Behind the first wait: a writer mostly makes room in it, and this asks for every table.
                Err(changelog::Error::Full { .. }) if said.is_some() && !counted => {
                    counted = true;
                    self.count_unpublished().await?;
                }
                Err(error @ changelog::Error::Full { .. }) => {
                    if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                        tracing::warn!(source = %self.ledger.source_name(), %error, "waiting for the writers");
                        said = Some(Instant::now());
                    }
                    waiting.is_full(&error);
                    tokio::select! {
                        biased;
                        () = self.cancel.cancelled() => return Err(error.into()),
                        () = tokio::time::sleep(self.full_wait) => {}
                    }
                }
                // The topic goes on otherwise than it did at this run's look: a predecessor's late records. Another look recognises them.
                Err(error @ changelog::Error::Broken { .. }) => return Err(Error::Overtaken { reason: error.to_string() }),
                other => return Ok(other?),
            }
        }
    }

    fn note(&mut self, acknowledged: Vec<Acknowledged>) {
        let records: usize = self.batches.iter().map(|batch| batch.records.len()).sum();
        for Acknowledged { topic, ends } in acknowledged {
            let found = self.topics.iter_mut().find(|known| known.name == topic);
            found.into_iter().for_each(|known| known.ends.clone_from(&ends));
        }
        // Their bytes are not needed any more.
        self.batches = Arc::default();
        self.held.set(0);
        self.records = records as u64;
        if let Some(numbers) = self.board.numbers() {
            numbers.acknowledged(self.records);
            for topic in &self.topics {
                let table = topic.table.to_string();
                for (operation, changes) in Operation::ALL.iter().zip(topic.changes).filter(|(_, changes)| *changes > 0) {
                    numbers.rows_in(&table, operation.word(), changes);
                }
            }
        }
        self.board.changes.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// Counts what lies behind the published places in all topics: a predecessor may have left most of a transaction in some that are not
    /// open yet, and nobody can take it before the rest is in.
    async fn count_unpublished(&self) -> Result<()> {
        let mut bytes = 0;
        for table in wanted(&self.ledger.all().await).tables.keys() {
            let Some(state) = self.ledger.newest_of(table).await else { continue };
            let places = self.ledger.published_places(table, &state.topic).await?;
            match bytes_behind(&self.rooms, &state.topic, &places).await {
                Ok(found) => bytes += found,
                Err(changelog::Error::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.unpublished.at_least(bytes);
        Ok(())
    }
}

/// The bytes that a topic holds behind places.
pub(super) async fn bytes_behind(rooms: &Rooms, topic: &str, places: &[LogPlace]) -> changelog::Result<u64> {
    let first = places.first().map(|place| place.offset).unwrap_or_default();
    rooms.changelog.bytes_from(topic, first).await
}
