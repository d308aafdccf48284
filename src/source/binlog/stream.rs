//! The stream: reads a dump packet by packet and yields its transactions.
//!
//! `next` may be dropped at any await: what was read lives in the stream, and a transaction that has ended is returned without
//! another await. Progress of other tables' transactions is reported now and then, and at once when the server falls silent, so
//! that what waits behind a batch never waits for traffic.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::change::Capture;
use crate::source::{BinlogStream, Checkpoint, Error, Result, Settings, StreamItem, Watched};

use super::assembler::Trouble;
use super::event_error;
use super::intake::{Intake, Received};
use super::session::{DumpFrom, REBUILD, Session};

/// Transactions without a report, at most.
const UNREPORTED_MAX: u32 = 1024;
/// Time without a report while transactions come.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// The clock is read once for so many transactions.
const UNREPORTED_PER_LOOK: u32 = 32;
/// A silence after which the server counts as having sent all there is.
const SILENCE: Duration = Duration::from_millis(3);

/// A running dump.
pub struct DumpStream {
    settings: Settings,
    session: Session,
    intake: Intake,
    /// Tables were added while a transaction was half read: it is read again.
    reopen: bool,
    unreported: u32,
    unreported_us: Option<i64>,
    reported_at: Instant,
    /// Something was returned since the last report of silence.
    owes_idle: bool,
}

impl DumpStream {
    pub(super) fn new(settings: Settings, session: Session, intake: Intake) -> Self {
        Self {
            settings,
            session,
            intake,
            reopen: false,
            unreported: 0,
            unreported_us: None,
            reported_at: Instant::now(),
            owes_idle: true,
        }
    }

    #[cfg(test)]
    pub(super) fn is_within_transaction(&self) -> bool {
        self.intake.assembler.is_inside()
    }

    /// Begins the dump again at the boundary.
    async fn begin_again(&mut self) -> Result<()> {
        let mut session = Session::connect(&self.settings).await?;
        let checkpoint = self.intake.checkpoint();
        let from = DumpFrom::Place { file_name: &checkpoint.file_name, offset: checkpoint.position.0.offset };
        session.dump(&self.settings, &from).await?;
        // No await from here on.
        self.intake.restart();
        self.session = session;
        self.reopen = false;
        Ok(())
    }

    /// Takes what was just read.
    fn take(&mut self, is_last: bool) -> Result<Option<StreamItem>> {
        let received = self.intake.take(self.session.piece(), is_last);
        match received.map_err(|trouble| as_error(trouble, &self.settings, &self.intake))? {
            Received::Nothing => Ok(None),
            Received::Heartbeat => {
                self.owes_idle = false;
                Ok(Some(self.report(true)))
            }
            Received::Ended(ended) => {
                self.owes_idle = true;
                if let Some(transaction) = ended.transaction {
                    self.reported();
                    return Ok(Some(StreamItem::Transaction(transaction)));
                }
                self.unreported += 1;
                self.unreported_us = Some(ended.head.committed_us);
                Ok(self.report_is_due().then(|| self.report(false)))
            }
        }
    }

    fn report_is_due(&self) -> bool {
        self.unreported >= UNREPORTED_MAX
            || (self.unreported.is_multiple_of(UNREPORTED_PER_LOOK) && self.reported_at.elapsed() >= REPORT_EVERY)
    }

    fn reported(&mut self) {
        self.unreported = 0;
        self.reported_at = Instant::now();
    }

    fn report(&mut self, idle: bool) -> StreamItem {
        self.reported();
        StreamItem::Progress { committed_us: self.unreported_us.take(), idle }
    }
}

/// The room's error for what went wrong at the intake.
pub(super) fn as_error(trouble: Trouble, settings: &Settings, intake: &Intake) -> Error {
    match trouble {
        Trouble::Error(error) => error,
        Trouble::Malformed(malformed) => event_error(&settings.name, intake.error_position(), &malformed.0),
        Trouble::Lost(reason) => Error::History { name: settings.name.clone(), reason, remedy: REBUILD.to_owned(), lost: true },
    }
}

#[async_trait]
impl BinlogStream for DumpStream {
    async fn next(&mut self) -> Result<StreamItem> {
        loop {
            if self.reopen {
                // Boxed: it is rare, and would make the future of each transaction as large as its own.
                Box::pin(self.begin_again()).await?;
            }
            // The clock is read where the network was waited for.
            let waits = !self.session.is_ready();
            let is_last = if self.owes_idle && waits {
                match tokio::time::timeout(SILENCE, self.session.read(&self.settings)).await {
                    Ok(read) => read?,
                    Err(_) => {
                        self.owes_idle = false;
                        return Ok(self.report(true));
                    }
                }
            } else {
                self.session.read(&self.settings).await?
            };
            if waits {
                self.intake.watched.heard();
            }
            if let Some(item) = self.take(is_last)? {
                return Ok(item);
            }
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        self.intake.checkpoint()
    }

    fn watched(&self) -> Option<Arc<Watched>> {
        Some(Arc::clone(&self.intake.watched))
    }

    fn set_capture(&mut self, capture: Capture) {
        let assembler = &mut self.intake.assembler;
        let adds = capture.tables.iter().any(|(table, captured)| assembler.capture().tables.get(table) != Some(captured));
        // Rows of the added tables may be gone from the transaction at hand, whose start the checkpoint names as the next.
        self.reopen |= adds && assembler.left_out();
        assembler.set_capture(Arc::new(capture));
    }

    fn forget_prepared(&mut self, xids: &BTreeSet<String>) {
        self.intake.assembler.forget_prepared(xids);
    }
}
