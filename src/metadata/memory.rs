//! The metadata store in memory, for simulations and tests: the same answers as the real one, faults on demand, and several
//! processes over one store.
//!
//! A [`MemoryMetadata`] is one process's view. Dropping it is that process's death: what it held is free. What was saved stays
//! for as long as any view does. What was answered is synced; a crash of the machine ([`MemoryMetadata::crash`]) may take back a write
//! whose answer was lost. [`MemoryMetadata::copy`] and [`MemoryMetadata::restore`] are the operator's backup.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{
    ChunkDone, ChunkState, Error, Lease, Metadata, News, Parked, Published, Request, RequestKind, Result, SourceState, TableState,
};
use crate::change::{DayEnd, LogPlace, TableName, Term};
use crate::trial::{Mistake, planted};

/// What is to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails and nothing was done.
    Refused,
    /// It was done, and the caller hears of a failure.
    AnswerLost,
}

type Hook = Box<dyn FnMut(&'static str) -> Option<Fault> + Send>;

/// A copy of everything that a store holds.
#[derive(Debug, Clone)]
pub struct Copied(Box<Saved>);

#[derive(Debug)]
struct Planned {
    fault: Fault,
    method: Option<&'static str>,
    skip: u64,
}

type TableKey = (String, TableName, u32);

/// What the store keeps.
#[derive(Debug, Default, Clone)]
struct Saved {
    terms: BTreeMap<String, Term>,
    sources: BTreeMap<String, SourceState>,
    ends: BTreeMap<(String, String), Vec<LogPlace>>,
    days: BTreeMap<(String, String, String), DayEnd>,
    tables: BTreeMap<TableKey, TableState>,
    chunks: BTreeMap<TableKey, BTreeMap<u64, ChunkState>>,
    troubles: BTreeMap<TableKey, Parked>,
    requests: BTreeMap<u64, Request>,
    requests_ever: u64,
}

#[derive(Debug, Default)]
struct State {
    /// The process that is the daemon, and its name.
    daemon: Option<(u64, String)>,
    saved: Saved,
    /// As it was before the first write that nobody was told of.
    synced: Option<Box<Saved>>,
    faults: Vec<Planned>,
}

/// One process's view of a metadata store in memory.
pub struct MemoryMetadata {
    state: Arc<Mutex<State>>,
    hook: Mutex<Option<Hook>>,
    processes: Arc<AtomicU64>,
    process: u64,
    usurper: bool,
}

impl std::fmt::Debug for MemoryMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryMetadata").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Default for MemoryMetadata {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryMetadata {
    /// An empty store, seen by its first process.
    pub fn new() -> Self {
        let processes = Arc::new(AtomicU64::new(1));
        Self { state: Arc::default(), hook: Mutex::default(), processes, process: 0, usurper: false }
    }

    /// The same store as another process sees it. Its `acquire` is refused while the daemon lives.
    pub fn another_process(&self) -> Self {
        let process = self.processes.fetch_add(1, Ordering::SeqCst);
        let (state, processes) = (Arc::clone(&self.state), Arc::clone(&self.processes));
        Self { state, hook: Mutex::default(), processes, process, usurper: false }
    }

    /// A process that takes over whoever lives, as a store would allow it that judges liveness by time: it fences the other one.
    pub fn rival(&self) -> Self {
        let mut rival = self.another_process();
        rival.usurper = true;
        rival
    }

    /// Lets a call go wrong: the next one after `skip` calls; of `method` (a name of [`Metadata`]'s) or, without, of any.
    pub fn inject(&self, fault: Fault, method: Option<&'static str>, skip: u64) {
        self.locked().faults.push(Planned { fault, method, skip });
    }

    /// Asks `hook` before each call of this process whether it goes wrong. It is told the method's name.
    pub fn on_call(&self, hook: impl FnMut(&'static str) -> Option<Fault> + Send + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    /// The machine crashes and comes up again: no process lives, and unless it `survives` a write that nobody was told of is gone.
    pub fn crash(&self, survives: bool) {
        let mut state = self.locked();
        state.daemon = None;
        if let Some(synced) = state.synced.take()
            && !survives
        {
            state.saved = *synced;
        }
    }

    /// A backup.
    pub fn copy(&self) -> Copied {
        Copied(Box::new(self.locked().saved.clone()))
    }

    /// An operator puts a backup back while no daemon runs: what was saved since is gone.
    pub fn restore(&self, copy: &Copied) {
        let mut state = self.locked();
        (state.saved, state.synced) = ((*copy.0).clone(), None);
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, method: &'static str) -> Option<Fault> {
        if let Some(fault) = self.locked().fault(method) {
            return Some(fault);
        }
        // The hook is taken out while it runs, so that calls it makes itself do not reach it.
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut hook = hook?;
        let fault = hook(method);
        self.hook.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(hook);
        fault
    }

    /// A call that changes nothing.
    fn look<T>(&self, method: &'static str, work: impl FnOnce(&Saved) -> T) -> Result<T> {
        match self.fault(method) {
            None => Ok(work(&self.locked().saved)),
            Some(Fault::Refused) => Err(storage("refused on demand".to_owned())),
            Some(Fault::AnswerLost) => Err(storage("the answer lost on demand".to_owned())),
        }
    }

    fn change<T>(&self, method: &'static str, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let fault = self.fault(method);
        let mut state = self.locked();
        match fault {
            None => {
                let done = work(&mut state)?;
                // What comes before it in the store's journal is synced with it.
                state.synced = None;
                Ok(done)
            }
            Some(Fault::Refused) => Err(storage("refused on demand".to_owned())),
            Some(Fault::AnswerLost) => {
                if state.synced.is_none() {
                    state.synced = Some(Box::new(state.saved.clone()));
                }
                work(&mut state)?;
                Err(storage("done, and the answer lost on demand".to_owned()))
            }
        }
    }

    fn write<T>(&self, method: &'static str, lease: &Lease, work: impl FnOnce(&mut Saved) -> Result<T>) -> Result<T> {
        self.change(method, |state| {
            state.saved.check(lease)?;
            work(&mut state.saved)
        })
    }
}

impl Drop for MemoryMetadata {
    fn drop(&mut self) {
        let mut state = self.locked();
        if state.daemon.as_ref().is_some_and(|(process, _)| *process == self.process) {
            state.daemon = None;
        }
    }
}

fn storage(reason: String) -> Error {
    Error::Storage { path: "memory".to_owned(), reason }
}

fn key(table: &TableState) -> TableKey {
    (table.source.clone(), table.table.clone(), table.generation)
}

impl State {
    fn fault(&mut self, method: &str) -> Option<Fault> {
        let mut due = None;
        for (index, planned) in self.faults.iter_mut().enumerate() {
            if planned.method.is_some_and(|wanted| wanted != method) {
                continue;
            }
            match planned.skip.checked_sub(1) {
                Some(left) => planned.skip = left,
                None if due.is_none() => due = Some(index),
                None => {}
            }
        }
        due.map(|index| self.faults.remove(index).fault)
    }
}

impl Saved {
    fn check(&self, lease: &Lease) -> Result<()> {
        let by = self.terms.get(&lease.resource).copied().unwrap_or_default();
        if by == lease.term || planted(Mistake::TermIgnored) {
            return Ok(());
        }
        Err(Error::Fenced { resource: lease.resource.clone(), term: lease.term, by })
    }

    fn generation(&mut self, key: &TableKey) -> Result<&mut TableState> {
        self.tables.get_mut(key).ok_or_else(|| storage(format!("{} has no generation {}", key.1, key.2)))
    }
}

#[async_trait]
impl Metadata for MemoryMetadata {
    async fn acquire(&self, resource: &str, holder: &str) -> Result<Lease> {
        self.change("acquire", |state| {
            match &state.daemon {
                Some((process, holder)) if *process != self.process && !self.usurper => {
                    return Err(Error::Held { resource: resource.to_owned(), holder: holder.clone() });
                }
                _ => state.daemon = Some((self.process, format!("process {} ({holder})", self.process))),
            }
            let term = state.saved.terms.entry(resource.to_owned()).or_default();
            *term = Term(term.0 + 1);
            Ok(Lease { resource: resource.to_owned(), term: *term })
        })
    }

    async fn raise(&self, lease: &Lease, above: Term) -> Result<Lease> {
        self.write("raise", lease, |state| {
            let term = Term(lease.term.max(above).0 + 1);
            state.terms.insert(lease.resource.clone(), term);
            Ok(Lease { resource: lease.resource.clone(), term })
        })
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.write("release", lease, |_| Ok(()))
    }

    async fn source(&self, name: &str) -> Result<Option<SourceState>> {
        self.look("source", |saved| saved.sources.get(name).cloned())
    }

    async fn save_source(&self, lease: &Lease, source: &SourceState) -> Result<()> {
        self.write("save_source", lease, |state| {
            state.sources.insert(source.name.clone(), source.clone());
            Ok(())
        })
    }

    async fn save_stopped(&self, lease: &Lease, source: &str, stopped: Option<&Parked>) -> Result<()> {
        self.write("save_stopped", lease, |state| {
            if let Some(source) = state.sources.get_mut(source) {
                source.stopped = stopped.cloned();
            }
            Ok(())
        })
    }

    async fn save_published(
        &self,
        lease: &Lease,
        source: &str,
        checkpoint: &str,
        News { published, ends, days }: &News,
    ) -> Result<()> {
        self.write("save_published", lease, |state| {
            let Some(known) = state.sources.get_mut(source) else {
                return Err(storage(format!("source {source} was never saved")));
            };
            known.checkpoint = Some(checkpoint.to_owned());
            known.epoch = known.epoch.max(published.position.0.epoch);
            known.published = Some(published.clone());
            for (topic, offsets) in ends {
                state.ends.insert((source.to_owned(), topic.clone()), offsets.clone());
            }
            for day in days {
                let key = (source.to_owned(), day.zone.clone(), day.day.clone());
                state.days.entry(key).or_insert_with(|| day.clone());
            }
            Ok(())
        })
    }

    async fn published(&self, lease: Option<&Lease>, source: &str, topic: &str) -> Result<Option<(Published, Vec<LogPlace>)>> {
        self.look("published", |state| {
            lease.map_or(Ok(()), |lease| state.check(lease))?;
            let published = state.sources.get(source).and_then(|source| source.published.clone());
            let ends = state.ends.get(&(source.to_owned(), topic.to_owned())).cloned().unwrap_or_default();
            Ok(published.map(|published| (published, ends)))
        })?
    }

    async fn day_end(&self, source: &str, zone: &str, after: Option<&str>) -> Result<Option<DayEnd>> {
        let of_zone = |day: &&DayEnd| after.is_none_or(|after| day.day.as_str() > after);
        self.look("day_end", |state| {
            let days = state.days.iter().filter(|((known, in_zone, _), _)| known == source && in_zone == zone);
            days.map(|(_, day)| day).find(of_zone).cloned()
        })
    }

    async fn tables(&self, source: &str) -> Result<Vec<TableState>> {
        self.look("tables", |state| {
            // Ascending generations: the newest replaces the older ones.
            let of_source = state.tables.values().filter(|table| table.source == source);
            let newest: BTreeMap<&TableName, &TableState> = of_source.map(|table| (&table.table, table)).collect();
            newest.into_values().cloned().collect()
        })
    }

    async fn generations(&self, source: &str, table: &TableName) -> Result<Vec<TableState>> {
        self.look("generations", |state| {
            let (first, last) = ((source.to_owned(), table.clone(), 0), (source.to_owned(), table.clone(), u32::MAX));
            state.tables.range(first..=last).map(|(_, table)| table.clone()).collect()
        })
    }

    async fn save_table(&self, lease: &Lease, table: &TableState) -> Result<()> {
        self.write("save_table", lease, |state| {
            state.tables.insert(key(table), table.clone());
            Ok(())
        })
    }

    async fn remove_table(&self, lease: &Lease, source: &str, table: &TableName, generation: u32) -> Result<()> {
        self.write("remove_table", lease, |state| {
            let key = (source.to_owned(), table.clone(), generation);
            state.chunks.remove(&key);
            state.troubles.remove(&key);
            if let Some(removed) = state.tables.remove(&key)
                && !state.tables.values().any(|other| other.source == source && other.topic == removed.topic)
            {
                state.ends.remove(&(source.to_owned(), removed.topic));
            }
            Ok(())
        })
    }

    async fn troubles(&self, source: &str) -> Result<Vec<(TableName, u32, Parked)>> {
        self.look("troubles", |saved| {
            let of_source = saved.troubles.iter().filter(|((of, ..), _)| of == source);
            of_source.map(|((_, table, generation), trouble)| (table.clone(), *generation, trouble.clone())).collect()
        })
    }

    async fn save_trouble(
        &self,
        lease: &Lease,
        source: &str,
        table: &TableName,
        generation: u32,
        trouble: Option<&Parked>,
    ) -> Result<()> {
        let key = (source.to_owned(), table.clone(), generation);
        self.write("save_trouble", lease, |state| {
            match trouble {
                Some(trouble) => drop(state.troubles.insert(key, trouble.clone())),
                None => drop(state.troubles.remove(&key)),
            }
            Ok(())
        })
    }

    async fn chunks(&self, source: &str, table: &TableName, generation: u32) -> Result<Vec<ChunkState>> {
        self.look("chunks", |state| {
            let chunks = state.chunks.get(&(source.to_owned(), table.clone(), generation));
            chunks.map(|chunks| chunks.values().cloned().collect()).unwrap_or_default()
        })
    }

    async fn save_chunks(&self, lease: &Lease, table: &TableState, chunks: &[ChunkState], planned_all: bool) -> Result<()> {
        self.write("save_chunks", lease, |state| {
            state.generation(&key(table))?.planned_all = planned_all;
            let known = state.chunks.entry(key(table)).or_default();
            known.extend(chunks.iter().map(|chunk| (chunk.index, chunk.clone())));
            Ok(())
        })
    }

    async fn chunk_done(&self, lease: &Lease, table: &TableState, index: u64, done: &ChunkDone) -> Result<bool> {
        self.write("chunk_done", lease, |state| {
            let chunk = state.chunks.get_mut(&key(table)).and_then(|chunks| chunks.get_mut(&index));
            match chunk {
                None => Err(storage(format!("{}, generation {}, has no chunk {index}", table.table, table.generation))),
                Some(chunk) if chunk.done.is_some() => Ok(false),
                Some(chunk) => {
                    chunk.done = Some(done.clone());
                    Ok(true)
                }
            }
        })
    }

    async fn put_request(&self, source: &str, table: &TableName, kind: RequestKind) -> Result<u64> {
        self.change("put_request", |state| {
            state.saved.requests_ever += 1;
            let id = state.saved.requests_ever;
            state.saved.requests.insert(id, Request { id, source: source.to_owned(), table: table.clone(), kind });
            Ok(id)
        })
    }

    async fn requests(&self) -> Result<Vec<Request>> {
        self.look("requests", |saved| saved.requests.values().cloned().collect())
    }

    async fn drop_request(&self, lease: &Lease, id: u64) -> Result<()> {
        self.write("drop_request", lease, |saved| {
            saved.requests.remove(&id);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::contract::{self, Stand};

    struct Memory(MemoryMetadata);

    impl Stand for Memory {
        fn open(&self) -> Result<Arc<dyn Metadata>> {
            Ok(Arc::new(self.0.another_process()))
        }
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::run(&|| Box::new(Memory(MemoryMetadata::new()))).await.unwrap();
    }

    #[tokio::test]
    async fn a_rival_fences_a_living_daemon() {
        let ours = MemoryMetadata::new();
        let lease = ours.acquire("source/shop", "a").await.unwrap();
        assert!(matches!(ours.another_process().acquire("source/shop", "b").await, Err(Error::Held { .. })));
        let rival = ours.rival();
        assert_eq!(rival.acquire("source/shop", "c").await.unwrap().term, Term(2));
        assert!(matches!(ours.release(&lease).await, Err(Error::Fenced { term: Term(1), by: Term(2), .. })));
    }

    #[tokio::test]
    async fn faults_strike_where_they_are_asked_to() {
        let store = MemoryMetadata::new();
        let table = TableName::new("shop", "orders");
        store.inject(Fault::Refused, Some("put_request"), 1);
        store.inject(Fault::AnswerLost, Some("put_request"), 2);
        for works in [true, false, false, true] {
            assert_eq!(store.put_request("shop", &table, RequestKind::Pause).await.is_ok(), works);
        }
        assert_eq!(store.requests().await.unwrap().len(), 3, "the second was not done; the third was, though nobody heard");
        store.inject(Fault::Refused, None, 0);
        assert!(store.requests().await.is_err() && store.requests().await.is_ok());
    }

    #[tokio::test]
    async fn a_crash_takes_back_only_what_nobody_was_told_of_and_a_backup_brings_back_all() {
        let table = TableName::new("shop", "orders");
        for survives in [false, true] {
            let store = MemoryMetadata::new();
            let put = || store.put_request("shop", &table, RequestKind::Pause);
            put().await.unwrap();
            let copy = store.copy();
            put().await.unwrap();
            store.on_call(|method| (method == "put_request").then_some(Fault::AnswerLost));
            assert!(put().await.is_err() && put().await.is_err());
            store.crash(survives);
            assert_eq!(store.requests().await.unwrap().len(), if survives { 4 } else { 2 });
            store.restore(&copy);
            assert_eq!(store.another_process().requests().await.unwrap().len(), 1);
        }
    }
}
