//! What is in hand at this moment, for those who look at the numbers: bytes that are buffered, calls that wait for an answer. Nothing is
//! decided by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::board::SharedBoard;
use crate::source::Watched;

/// Of one source. Bytes unless a name says otherwise.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Since when the append at hand waits for the change log; 0 where there is none.
    pub appending_since_ms: AtomicU64,
    /// Records that wait to be appended.
    pub append: AtomicU64,
    /// Changes in writers' open batches.
    pub batch: AtomicU64,
    /// Snapshot chunks that are being read: a number.
    pub chunks: AtomicU64,
    /// The stream at hand, and the unknown events of those before it.
    stream: Mutex<(Option<Arc<Watched>>, u64)>,
}

impl Gauges {
    /// Another stream was opened.
    pub fn follow(&self, stream: Option<Arc<Watched>>) {
        let mut followed = self.followed();
        followed.1 += followed.0.as_ref().map_or(0, |stream| stream.unknown_events());
        followed.0 = stream;
    }

    /// The stream at hand.
    pub fn stream(&self) -> Option<Arc<Watched>> {
        self.followed().0.clone()
    }

    /// Events of unknown types that were left out since the start.
    pub fn unknown_events(&self) -> u64 {
        let followed = self.followed();
        followed.1 + followed.0.as_ref().map_or(0, |stream| stream.unknown_events())
    }

    fn followed(&self) -> MutexGuard<'_, (Option<Arc<Watched>>, u64)> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of them.
pub type Which = fn(&Gauges) -> &AtomicU64;

/// One worker's part in a gauge; it goes with the worker.
#[derive(Debug)]
pub struct Share {
    board: SharedBoard,
    which: Which,
    held: u64,
}

impl Share {
    /// Of nothing yet.
    pub fn of(board: &SharedBoard, which: Which) -> Self {
        Self { board: SharedBoard::clone(board), which, held: 0 }
    }

    /// It is so much now.
    pub fn set(&mut self, held: u64) {
        let gauge = (self.which)(&self.board.gauges);
        // Added first: it must not go below nothing.
        gauge.fetch_add(held, Ordering::Relaxed);
        gauge.fetch_sub(self.held, Ordering::Relaxed);
        self.held = held;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Board;

    #[test]
    fn unknown_events_of_all_streams_count() {
        let (gauges, first, second) = (Gauges::default(), Arc::new(Watched::default()), Arc::new(Watched::default()));
        gauges.follow(Some(Arc::clone(&first)));
        first.left_out();
        gauges.follow(Some(Arc::clone(&second)));
        second.left_out();
        second.left_out();
        assert_eq!(gauges.unknown_events(), 3);
    }

    #[test]
    fn shares_add_up_and_go_with_their_workers() {
        let board = Arc::new(Board::default());
        let held = || board.gauges.batch.load(Ordering::Relaxed);
        let (mut one, mut other) = (Share::of(&board, |gauges| &gauges.batch), Share::of(&board, |gauges| &gauges.batch));
        one.set(5);
        other.set(7);
        one.set(3);
        assert_eq!(held(), 10);
        drop(other);
        assert_eq!(held(), 3);
        drop(one);
        assert_eq!(held(), 0);
    }
}
