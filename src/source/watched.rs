//! What a stream has in hand while its caller waits for the next item: for those who look at the numbers, and for nobody who decides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of one stream.
#[derive(Debug)]
pub struct Watched {
    opened: Instant,
    /// Behind `opened`, in milliseconds.
    heard_ms: AtomicU64,
    transaction_bytes: AtomicU64,
    unknown_events: AtomicU64,
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            heard_ms: AtomicU64::default(),
            transaction_bytes: AtomicU64::default(),
            unknown_events: AtomicU64::default(),
        }
    }
}

impl Watched {
    /// The server has sent something just now.
    pub fn heard(&self) {
        self.heard_ms.store(self.opened.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago that was; from the stream's opening where it has sent nothing yet.
    pub fn silence(&self) -> Duration {
        self.opened.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::Relaxed)))
    }

    /// The transaction whose end has not come holds so many bytes in memory.
    pub fn holds(&self, bytes: u64) {
        self.transaction_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes in memory of the transaction whose end has not come.
    pub fn transaction_bytes(&self) -> u64 {
        self.transaction_bytes.load(Ordering::Relaxed)
    }

    /// An event was left out: its type is unknown, and the server says that it may be.
    pub fn left_out(&self) {
        self.unknown_events.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were.
    pub fn unknown_events(&self) -> u64 {
        self.unknown_events.load(Ordering::Relaxed)
    }
}
