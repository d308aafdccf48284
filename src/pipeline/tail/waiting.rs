//! An append that the change log does not answer: who looks at the source's status sees that it stands, and for whom.
//!
//! A broker that is away, or too few replicas in sync, fail nothing: the append waits, and with it the whole source. So it is said here, and
//! taken back when the answer has come. Nobody decides by it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::board::SharedBoard;
use super::super::{Ledger, Result, Rooms};
use crate::change::Failure;
use crate::changelog;
use crate::metadata::Parked;

/// An append that is answered by then is none to speak of.
const SPOKEN_OF_AFTER: Duration = Duration::from_secs(10);

/// One append that waits.
pub(super) struct Waiting {
    rooms: Rooms,
    ledger: Arc<Ledger>,
    board: SharedBoard,
    /// The log was full when it was last asked: what it said, and what helps.
    full: Mutex<Option<(String, String)>>,
}

impl Waiting {
    /// The append begins.
    pub(super) fn begin(rooms: &Rooms, ledger: &Arc<Ledger>, board: &SharedBoard) -> Self {
        board.gauges.appending_since_ms.store(rooms.clock.now_ms(), Ordering::Relaxed);
        Self { rooms: rooms.clone(), ledger: Arc::clone(ledger), board: SharedBoard::clone(board), full: Mutex::default() }
    }

    /// The log takes nothing: it is full.
    pub(super) fn is_full(&self, error: &changelog::Error) {
        let advice = error.advice().unwrap_or_default();
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = Some((error.to_string(), advice));
    }

    /// Waits for the append, and lets the status say so while that lasts.
    pub(super) async fn told<T>(&self, append: impl Future<Output = Result<T>>) -> Result<T> {
        let mut append = std::pin::pin!(append);
        tokio::select! {
            biased;
            done = &mut append => return done,
            () = tokio::time::sleep(SPOKEN_OF_AFTER) => {}
        }
        self.say(Some(self.reason())).await;
        let done = append.await;
        // One that failed ends the session, which says why.
        if done.is_ok() {
            self.say(None).await;
        }
        done
    }

    fn reason(&self) -> Parked {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (reason, remedy) = full.unwrap_or_else(|| {
            (
                format!("the change log acknowledges nothing: {}", self.rooms.changelog.waits_for()),
                "let it answer again (of Kafka: the partitions' leaders, and as many replicas in sync as min.insync.replicas asks for): \
                 it goes on by itself"
                    .to_owned(),
            )
        });
        Parked { reason, remedy, resumable: true, at_ms: self.rooms.clock.now_ms() }
    }

    async fn say(&self, stands: Option<Parked>) {
        let source = self.ledger.source_name();
        match &stands {
            Some(parked) => tracing::warn!(source, reason = parked.reason, remedy = parked.remedy, "the source waits"),
            None => tracing::info!(source, "the change log has answered, the source goes on"),
        }
        // For people: whoever cannot be told goes without.
        if let Err(error) = self.ledger.stands(stands).await {
            tracing::warn!(source, %error, "that the source waits could not be written down");
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.board.gauges.appending_since_ms.store(0, Ordering::Relaxed);
    }
}
