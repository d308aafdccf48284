//! The change log in memory: the embedded log's rules without its disk, for tests and simulation.
//!
//! Deterministic: nothing depends on time, threads or addresses. A clone is the same client, so that "the process dies" is dropping
//! one handle and going on with another ([`MemoryLog::another_client`]). Before each call a client's hook says what becomes of it
//! ([`Fate`]); [`MemoryLog::fail_next`] plants a single fault.
//!
//! What a log may do to an append depends on the log ([`Rules`]). The embedded one takes a call whole and refuses what does not fit:
//! a lower term, a broken chain. One like Kafka takes each partition's records in order, and after a failure any prefix of them may be
//! in; nor can it tell whose records come late. An append may outlive its caller: it waits in [`MemoryLog::in_flight`] until it is told to
//! land, and is judged as what it meets *then*.
//!
//! What was acknowledged is synced. A crash of the machine ([`MemoryLog::crash`]) may take back what nobody was told of.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::oneshot;

use self::state::{Caller, Limit, Reading, State, size, size_of};
use super::chain::known_places;
use super::range::{Range, replaced};
use super::{Acknowledged, AppendBatch, ChangeLog, Consumer, Error, PartitionTail, Record, Result, Unpublished, Usage};
use crate::change::{LogOffset, LogPlace, Term};

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// [`ChangeLog::open_topic`].
    OpenTopic,
    /// [`ChangeLog::append`].
    Append,
    /// [`ChangeLog::tails`].
    Tails,
    /// [`ChangeLog::read`].
    Read,
    /// [`ChangeLog::register`].
    Register,
    /// [`ChangeLog::advance`].
    Advance,
    /// [`ChangeLog::set_active`].
    SetActive,
    /// [`ChangeLog::forget`].
    Forget,
    /// [`ChangeLog::begin_topic`].
    BeginTopic,
    /// [`ChangeLog::usage`].
    Usage,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was done.
    Refused,
    /// Everything was done, and the answer was lost.
    AnswerLost,
    /// See [`Fate::Half`].
    Half(u64),
    /// See [`Fate::LandsLater`].
    LandsLater,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// It goes through.
    GoesOn,
    /// Nothing happens, and the caller hears of a failure.
    Refused,
    /// It happens, and the caller hears of a failure.
    AnswerLost,
    /// Of an append, where the log is not atomic: of each partition's records the first so many get in, the number drawn from this one, and
    /// the caller hears of a failure. Else: refused.
    Half(u64),
    /// Of an append: the caller hears of a failure at once, and it happens when it is told to land. Else: refused.
    LandsLater,
    /// Of an append: nobody answers until it is told to land, or is lost. Else: it goes on.
    Hangs,
}

/// What a log does with an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The batches of one call get in together or not at all.
    pub atomic: bool,
    /// A lower term than the topic's, and a record that does not follow the last one, are refused. Else it is the reader who drops them.
    pub refuses: bool,
}

impl Rules {
    /// As the embedded log does.
    pub const EMBEDDED: Self = Self { atomic: true, refuses: true };
    /// As Kafka does.
    pub const LIKE_KAFKA: Self = Self { atomic: false, refuses: false };
}

type Hook = Box<dyn FnMut(Call) -> Fate + Send>;

/// A change log in memory, as one client has it.
#[derive(Clone)]
pub struct MemoryLog {
    partitions: u32,
    bytes_max: u64,
    rules: Rules,
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl std::fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryLog").field("rules", &self.rules).finish_non_exhaustive()
    }
}

fn failure(reason: &str) -> Error {
    Error::Storage { path: "memory".to_owned(), reason: reason.to_owned() }
}

impl MemoryLog {
    /// An empty log whose topics have so many partitions, with the embedded log's rules.
    pub fn new(partitions: u32, bytes_max: u64) -> Self {
        Self { partitions, bytes_max, rules: Rules::EMBEDDED, state: Arc::default(), hook: Arc::default() }
    }

    /// The same log under other rules.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// The same log as another client has it, without a hook.
    #[must_use]
    pub fn another_client(&self) -> Self {
        Self { hook: Arc::default(), ..self.clone() }
    }

    /// Asks `hook` before each call of this client what becomes of it.
    pub fn on_call(&self, hook: impl FnMut(Call) -> Fate + Send + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    /// Makes the next such call fail. Faults of the same call queue up.
    pub fn fail_next(&self, call: Call, fault: Fault) {
        self.state().faults.push_back((call, fault));
    }

    /// The delayed appends of all clients, the earliest first.
    pub fn in_flight(&self) -> Vec<u64> {
        self.state().in_flight.keys().copied().collect()
    }

    /// Carries a delayed append out; a caller that still waits gets its answer. False where there is no such append.
    pub fn land(&self, id: u64) -> bool {
        let mut state = self.state();
        let Some((batches, caller)) = state.in_flight.remove(&id) else { return false };
        let outcome = state.append(&batches, Limit { bytes_max: self.bytes_max, unpublished: 0 }, self.rules.refuses);
        match caller {
            Some(caller) => {
                // A caller that is gone hears nothing.
                if outcome.is_ok() && !caller.is_closed() {
                    state.doubtful.clear();
                }
                drop(caller.send(outcome));
            }
            None => tracing::debug!(landed = outcome.is_ok(), "a late append"),
        }
        true
    }

    /// A delayed append never happens; a caller that still waits hears of a failure. False where there is no such append.
    pub fn lose(&self, id: u64) -> bool {
        self.state().in_flight.remove(&id).is_some()
    }

    /// A process opens the log: it syncs what another one left behind before anybody takes it.
    pub fn opened(&self) {
        self.state().doubtful.clear();
    }

    /// The machine crashes and comes up again: what is in flight is lost, and unless it `survives` so is what nobody was told of.
    pub fn crash(&self, survives: bool) {
        let mut state = self.state();
        state.in_flight.clear();
        let doubtful = std::mem::take(&mut state.doubtful);
        if !survives {
            state.undo(doubtful);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self, call: Call) -> Fate {
        let planted = {
            let mut state = self.state();
            let planted = state.faults.iter().position(|(planted, _)| *planted == call);
            planted.and_then(|index| state.faults.remove(index))
        };
        match planted {
            Some((_, Fault::Refused)) => return Fate::Refused,
            Some((_, Fault::AnswerLost)) => return Fate::AnswerLost,
            Some((_, Fault::Half(number))) => return Fate::Half(number),
            Some((_, Fault::LandsLater)) => return Fate::LandsLater,
            None => {}
        }
        // The hook is taken out while it runs, so that calls it makes itself do not reach it.
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut hook) = hook else { return Fate::GoesOn };
        let fate = hook(call);
        self.hook.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(hook);
        fate
    }

    fn run<T>(&self, call: Call, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let fate = self.fate(call);
        let mut state = self.state();
        let changes = !matches!(call, Call::Tails | Call::Read | Call::Usage);
        match fate {
            Fate::GoesOn | Fate::Hangs => {
                let done = work(&mut state)?;
                if changes {
                    state.doubtful.clear();
                }
                Ok(done)
            }
            Fate::AnswerLost => work(&mut state).and(Err(failure("the answer was lost"))),
            Fate::Refused | Fate::Half(_) | Fate::LandsLater => Err(failure("refused")),
        }
    }

    /// Appends to a log in which `unpublished` bytes can not be taken by anybody yet.
    async fn append_beside(&self, batches: Vec<AppendBatch>, unpublished: u64) -> Result<Vec<Acknowledged>> {
        let (refuses, limit) = (self.rules.refuses, Limit { bytes_max: self.bytes_max, unpublished });
        match self.fate(Call::Append) {
            Fate::GoesOn => {
                let mut state = self.state();
                let acknowledged = state.append(&batches, limit, refuses)?;
                state.doubtful.clear();
                Ok(acknowledged)
            }
            Fate::AnswerLost => self.state().append(&batches, limit, refuses).and(Err(failure("the answer was lost"))),
            Fate::Half(number) if !self.rules.atomic => {
                let halves: Vec<AppendBatch> =
                    (0..).zip(&batches).map(|(index, batch)| half(batch, number.rotate_right(index * 5))).collect();
                self.state().append(&halves, limit, refuses).and(Err(failure("the answer was lost")))
            }
            Fate::Refused | Fate::Half(_) => Err(failure("refused")),
            Fate::LandsLater => {
                self.delay(batches, None);
                Err(failure("no answer came"))
            }
            Fate::Hangs => {
                let (caller, answer) = oneshot::channel();
                self.delay(batches, Some(caller));
                answer.await.unwrap_or_else(|_| Err(failure("the connection broke")))
            }
        }
    }

    fn delay(&self, batches: Vec<AppendBatch>, caller: Option<Caller>) {
        let mut state = self.state();
        state.delayed += 1;
        let id = state.delayed;
        state.in_flight.insert(id, (batches, caller));
    }
}

/// The first records of each partition, as many as the number says.
fn half(batch: &AppendBatch, number: u64) -> AppendBatch {
    let mut cut = batch.clone();
    for partition in 0..batch.records.iter().map(|record| record.partition + 1).max().unwrap_or_default() {
        let count = batch.records.iter().filter(|record| record.partition == partition).count() as u64;
        let mut left = (number.wrapping_mul(u64::from(partition) + 7) >> 3) % (count + 1);
        cut.records.retain(|record| {
            let goes_in = record.partition != partition || left > 0;
            left -= u64::from(record.partition == partition && goes_in);
            goes_in
        });
    }
    cut
}

#[async_trait]
impl ChangeLog for MemoryLog {
    async fn open_topic(&self, topic: &str, term: Term) -> Result<u32> {
        self.run(Call::OpenTopic, |state| state.open(topic, term, self.partitions, self.rules.refuses))
    }

    async fn append(&self, batches: Vec<AppendBatch>) -> Result<Vec<Acknowledged>> {
        self.append_beside(batches, 0).await
    }

    async fn append_unpublished(
        &self,
        batches: &Arc<Vec<AppendBatch>>,
        unpublished: &Arc<Unpublished>,
    ) -> Result<Vec<Acknowledged>> {
        let added = batches.iter().flat_map(|batch| &batch.records).map(size_of).sum();
        let acknowledged = self.append_beside(Vec::clone(batches), unpublished.bytes()).await?;
        unpublished.add(added);
        Ok(acknowledged)
    }

    async fn bytes_from(&self, topic: &str, from: LogOffset) -> Result<u64> {
        self.run(Call::Tails, |state| {
            let records = state.topic(topic)?.partitions.iter().flat_map(|partition| &partition.records);
            Ok(records.filter(|(_, record)| record.offset >= from).map(|(_, record)| size(record)).sum())
        })
    }

    async fn ends(&self, topic: &str) -> Result<Vec<LogOffset>> {
        self.run(Call::Tails, |state| Ok(state.topic(topic)?.partitions.iter().map(|partition| partition.tail.end).collect()))
    }

    async fn tails(&self, topic: &str, known: &[LogPlace]) -> Result<Vec<PartitionTail>> {
        let refuses = self.rules.refuses;
        self.run(Call::Tails, |state| {
            let partitions = state.topic(topic)?.partitions.iter().zip(known_places(known));
            Ok(partitions.map(|(partition, known)| partition.tail(&known, refuses)).collect())
        })
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: LogOffset,
        until: LogOffset,
        bytes_max: usize,
    ) -> Result<Vec<Record>> {
        self.run(Call::Read, |state| {
            let found = state.topic(topic)?.partition(topic, partition)?;
            let range = Range { topic: topic.to_owned(), partition, from, until, bytes_max };
            range.check_start(LogOffset(found.first), found.tail.end, replaced)?;
            let skipped = usize::try_from(from.0 - found.first).unwrap_or(usize::MAX);
            let (mut records, mut bytes) = (Vec::new(), 0);
            for (_, record) in found.records.iter().skip(skipped).take_while(|(_, record)| record.offset < until) {
                if bytes >= bytes_max && !records.is_empty() {
                    break;
                }
                bytes += record.key.len() + record.value.len();
                records.push(record.clone());
            }
            Ok(records)
        })
    }

    async fn register(&self, topic: &str, term: Term, consumer: &Consumer, offsets: &[LogOffset]) -> Result<()> {
        self.run(Call::Register, |state| {
            state.raise(topic, term, self.rules.refuses)?;
            let fresh = || Reading { active: true, offsets: vec![0; offsets.len()] };
            state.topic(topic)?.consumers.entry(consumer.clone()).or_insert_with(fresh);
            state.advance(topic, consumer, offsets)
        })
    }

    async fn advance(&self, topic: &str, consumer: &Consumer, offsets: &[LogOffset]) -> Result<()> {
        self.run(Call::Advance, |state| state.advance(topic, consumer, offsets))
    }

    async fn set_active(&self, topic: &str, consumer: &Consumer, active: bool) -> Result<()> {
        self.run(Call::SetActive, |state| {
            let found = state.topics.get_mut(topic).and_then(|topic| topic.consumers.get_mut(consumer));
            if let Some(found) = found {
                found.active = active;
            }
            Ok(())
        })
    }

    async fn consumers(&self, topic: &str) -> Result<Vec<Consumer>> {
        self.run(Call::Tails, |state| {
            Ok(state.topics.get(topic).into_iter().flat_map(|topic| topic.consumers.keys().cloned()).collect())
        })
    }

    async fn forget(&self, topic: &str, term: Term, consumers: &[Consumer]) -> Result<()> {
        self.run(Call::Forget, |state| {
            if !state.topics.contains_key(topic) {
                return Ok(());
            }
            state.raise(topic, term, self.rules.refuses)?;
            let found = state.topic(topic)?;
            found.consumers.retain(|known, _| !consumers.contains(known));
            let freed = found.release();
            state.bytes -= freed;
            Ok(())
        })
    }

    async fn begin_topic(&self, topic: &str, term: Term) -> Result<Vec<LogOffset>> {
        self.run(Call::BeginTopic, |state| state.begin(topic, term, self.partitions, self.rules.refuses))
    }

    async fn topic_term(&self, topic: &str) -> Result<Option<Term>> {
        self.run(Call::Tails, |state| Ok(state.topics.get(topic).map(|topic| topic.term)))
    }

    async fn usage(&self) -> Result<Usage> {
        self.run(Call::Usage, |state| Ok(Usage { bytes: state.bytes, bytes_max: self.bytes_max }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changelog::contract::{Feed, Tenant};

    struct InMemory(u32);

    #[async_trait]
    impl Tenant for InMemory {
        async fn fresh(&self, bytes_max: u64) -> Arc<dyn ChangeLog> {
            Arc::new(MemoryLog::new(self.0, bytes_max))
        }
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        for partitions in [1, 3] {
            crate::changelog::contract::every_log(&InMemory(partitions)).await;
            crate::changelog::contract::bounded_log(&InMemory(partitions)).await;
        }
    }

    #[tokio::test]
    async fn planted_faults_happen_once_and_before_or_after_the_deed() {
        let log = MemoryLog::new(1, u64::MAX);
        log.open_topic("t", Term(0)).await.unwrap();
        let mut feed = Feed::new("t", 0);
        let batch = feed.batch(1, 2, 10);
        log.fail_next(Call::Append, Fault::Refused);
        log.fail_next(Call::Append, Fault::AnswerLost);
        assert!(matches!(log.append(vec![batch.clone()]).await, Err(Error::Storage { .. })));
        assert_eq!(log.ends("t").await.unwrap()[0], LogOffset(0));
        assert!(matches!(log.append(vec![batch.clone()]).await, Err(Error::Storage { .. })));
        assert_eq!(log.ends("t").await.unwrap()[0], LogOffset(2));
        assert!(matches!(log.append(vec![batch]).await, Err(Error::Broken { .. })), "the answer was lost, the records were not");
    }

    #[tokio::test]
    async fn a_log_that_is_not_atomic_takes_half_of_a_call_and_the_rest_fits_behind_it() {
        let log = MemoryLog::new(1, u64::MAX).with_rules(Rules { atomic: false, refuses: true });
        let mut batches = Vec::new();
        for topic in ["a", "b"] {
            log.open_topic(topic, Term(0)).await.unwrap();
            batches.push(Feed::new(topic, 0).batch(1, 8, 10));
        }
        log.on_call(|call| if call == Call::Append { Fate::Half(99) } else { Fate::GoesOn });
        assert!(log.append(batches.clone()).await.is_err());
        let end = |ends: Vec<LogOffset>| ends[0].0;
        let (a, b) = (end(log.ends("a").await.unwrap()), end(log.ends("b").await.unwrap()));
        assert!((1..16).contains(&(a + b)), "{a} and {b} of 8 records");
        let rest =
            |batch: &AppendBatch, from: u64| AppendBatch { records: batch.records[from as usize..].to_vec(), ..batch.clone() };
        log.another_client().append(vec![rest(&batches[0], a), rest(&batches[1], b)]).await.unwrap();
        assert_eq!((end(log.ends("a").await.unwrap()), end(log.ends("b").await.unwrap())), (8, 8));
    }

    #[tokio::test]
    async fn a_late_append_meets_what_is_there_when_it_lands() {
        for (rules, end) in [(Rules::EMBEDDED, 2), (Rules::LIKE_KAFKA, 4)] {
            let log = MemoryLog::new(1, u64::MAX).with_rules(rules);
            log.open_topic("t", Term(0)).await.unwrap();
            log.on_call(|call| if call == Call::Append { Fate::LandsLater } else { Fate::GoesOn });
            let (late, ours) = (Feed::new("t", 0).batch(1, 2, 10), Feed::new("t", 0).batch(2, 2, 10));
            assert!(log.append(vec![late]).await.is_err());
            let id = log.in_flight()[0];
            log.another_client().append(vec![ours]).await.unwrap();
            assert!(log.land(id) && !log.land(id));
            assert_eq!(log.ends("t").await.unwrap()[0], LogOffset(end), "{rules:?}");
        }
    }

    #[tokio::test]
    async fn a_crash_takes_back_what_nobody_was_told_of_and_nothing_else() {
        for survives in [false, true] {
            let log = MemoryLog::new(1, u64::MAX);
            log.open_topic("t", Term(0)).await.unwrap();
            let mut feed = Feed::new("t", 0);
            log.append(vec![feed.batch(1, 2, 10)]).await.unwrap();
            log.fail_next(Call::Append, Fault::AnswerLost);
            assert!(log.append(vec![feed.batch(1, 3, 10)]).await.is_err());
            log.crash(survives);
            assert_eq!(log.ends("t").await.unwrap()[0], LogOffset(if survives { 5 } else { 2 }));
        }
    }
}
