//! The few consumers that serve all reads: a thousand tables do not make a thousand clients, and one that is read on and on is never
//! asked for twice.
//!
//! A read takes the consumer that stands where it begins; else one that has rested longest is pointed there, which costs a round trip or
//! two. Those in use are bounded, and a read waits for one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::failure::storage_text;
use super::reader::Reader;
use super::settings::KafkaSettings;
use crate::changelog::range::Range;
use crate::changelog::{Record, Result};

/// The consumers.
pub(super) struct Readers {
    settings: Arc<KafkaSettings>,
    free: Arc<Semaphore>,
    resting: Arc<Resting>,
}

/// Consumers at rest, the longest first, each with the time since when it rests.
type Resting = Mutex<Vec<(Instant, Reader)>>;

/// A consumer that rests for longer goes: what its client has to say is heard only while it reads.
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Says that nobody waits any more when it is dropped.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Readers {
    pub(super) fn new(settings: &Arc<KafkaSettings>) -> Self {
        let free = Arc::new(Semaphore::new(settings.consumers.max(1)));
        Self { settings: Arc::clone(settings), free, resting: Arc::default() }
    }

    /// Lets go of consumers that nobody has used for a while.
    pub(super) fn let_go(&self) {
        let gone: Vec<_> = {
            let mut resting = locked(&self.resting);
            let kept = resting.iter().position(|(since, _)| since.elapsed() < REST_LIMIT).unwrap_or(resting.len());
            resting.drain(..kept).collect()
        };
        drop(gone);
    }

    /// Reads; see [`Reader::read`]. When the call is dropped, so is the read.
    pub(super) async fn read(&self, range: Range) -> Result<Vec<Record>> {
        let gone = |error: &dyn std::fmt::Display| storage_text(&range.topic, format!("the read ended early: {error}"));
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(|error| gone(&error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let guard = Stop(Arc::clone(&stop));
        let (settings, resting, wanted) = (Arc::clone(&self.settings), Arc::clone(&self.resting), range.clone());
        let rest_max = self.free.available_permits();
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut reader = match choose(&resting, &wanted, rest_max) {
                Some(reader) => reader,
                None => Reader::new(&settings)?,
            };
            let records = reader.read(&wanted, &stop)?;
            // One whose read has failed is not kept.
            locked(&resting).push((Instant::now(), reader));
            Ok(records)
        });
        let records = reading.await.map_err(|error| gone(&error))?;
        drop(guard);
        records
    }
}

/// What lies behind the lock is whole at any time.
fn locked(resting: &Resting) -> MutexGuard<'_, Vec<(Instant, Reader)>> {
    resting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The consumer at rest that stands where the read begins; else, where there may be no more of them, the one that has rested longest.
fn choose(resting: &Resting, wanted: &Range, rest_max: usize) -> Option<Reader> {
    let mut resting = locked(resting);
    let there = resting.iter().position(|(_, reader)| reader.stands_at(&wanted.topic, wanted.partition, wanted.from));
    let chosen = there.or_else(|| (resting.len() > rest_max).then_some(0));
    chosen.map(|chosen| resting.remove(chosen).1)
}
