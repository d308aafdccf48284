//! Opens a stream: now, or behind a checkpoint that is first proved to lie in this server's history.
//!
//! The proof on the same server: all GTIDs that were received are executed there, and the last transaction's first event, read
//! again from its place, has the sum that it had (a server that lost its last transactions in a crash, or whose binlogs were
//! reset, would go on with other transactions at the same coordinates). On another server only GTIDs can tell.

use std::sync::Arc;

use crate::change::{BinlogPosition, Capture, GtidSet};
use crate::source::{Checkpoint, Error, Flavor, LastTransaction, PreparedXa, Result, Settings, StreamFrom};

use super::assembler::Assembler;
use super::effects::Place;
use super::event::{Header, file_number, kind};
use super::event_error;
use super::intake::{Intake, Received};
use super::session::{DumpFrom, REBUILD, ServerFacts, Session};
use super::spill::SpillSettings;
use super::stream::{DumpStream, as_error};
use super::tables::Tables;
use super::track::Track;
use super::xa::Prepared;

/// The first event of a file stands here.
const FILE_START: u64 = 4;
/// Attempts at sampling a place while no file ends.
const SAMPLES_MAX: u32 = 5;

/// Opens the binlog of a server.
///
/// # Errors
/// [`Error::Setting`] where the server does not write what is needed, [`Error::History`] where it has not what comes next.
pub async fn open(settings: &Settings, from: StreamFrom, capture: Capture) -> Result<DumpStream> {
    let mut session = Session::connect(settings).await?;
    let facts = session.facts(settings).await?;
    let opening = Opening { settings, facts };
    let (session, intake) = match from {
        StreamFrom::Now { epoch } => Box::pin(opening.now(session, epoch, capture)).await?,
        StreamFrom::Checkpoint(checkpoint) if checkpoint.server_uuid == opening.facts.server_uuid => {
            Box::pin(opening.behind(session, checkpoint, capture)).await?
        }
        StreamFrom::Checkpoint(checkpoint) => Box::pin(opening.elsewhere(session, checkpoint, capture)).await?,
    };
    Ok(DumpStream::new(settings.clone(), session, intake))
}

struct Opening<'a> {
    settings: &'a Settings,
    facts: ServerFacts,
}

impl Opening<'_> {
    fn history(&self, reason: String, lost: bool) -> Error {
        Error::History { name: self.settings.name.clone(), reason, remedy: REBUILD.to_owned(), lost }
    }

    fn assembler(&self, capture: Capture) -> Assembler {
        let spill =
            SpillSettings { scratch: self.settings.scratch.as_path().into(), bytes_max: self.settings.transaction_bytes_max };
        let tables = Tables::new(Arc::new(capture), self.facts.case, Flavor::of(&self.facts.server_uuid));
        Assembler::new(self.settings.name.as_str().into(), spill, tables)
    }

    fn intake(&self, assembler: Assembler, place: &Place) -> Intake {
        Intake::new(assembler, place, self.settings.name.as_str().into(), self.facts.server_uuid.clone())
    }

    /// Reads what was just received into `intake`.
    async fn step(&self, session: &mut Session, intake: &mut Intake) -> Result<Received> {
        let is_last = session.read(self.settings).await?;
        intake.take(session.piece(), is_last).map_err(|trouble| as_error(trouble, self.settings, intake))
    }

    /// At the flushed end. The file is read from its start: that gives the exact GTID set at the place, the last transaction, and
    /// the XA transactions that are prepared in it; those of earlier files are known by their xid alone.
    async fn now(&self, mut session: Session, epoch: u32, capture: Capture) -> Result<(Session, Intake)> {
        let (file_name, offset, xids) = self.sample(&mut session).await?;
        let place = self.place(epoch, &file_name, FILE_START)?;
        let end = BinlogPosition { offset, ..place.start };
        let mut assembler = self.assembler(Capture::default());
        assembler.set_scanning(true);
        for xid in xids {
            let place = PreparedXa { xid, file_name: String::new(), offset: 0, gtid: None };
            let inserted = assembler.insert_prepared(Prepared { place, store: None });
            inserted.map_err(|_| self.history("there are more prepared XA transactions than can be kept".to_owned(), false))?;
        }
        let gtids = self.facts.gtids.then(GtidSet::default);
        let mut intake = self.intake(assembler, &place).with_history(gtids, None);
        session.dump(self.settings, &DumpFrom::Place { file_name: &file_name, offset: FILE_START }).await?;
        while intake.boundary() < end {
            self.step(&mut session, &mut intake).await?;
        }
        intake.assembler.set_scanning(false);
        intake.assembler.set_capture(Arc::new(capture));
        Ok((session, intake))
    }

    /// The flushed end, and the xids that were prepared before it in an earlier file.
    async fn sample(&self, session: &mut Session) -> Result<(String, u64, Vec<String>)> {
        for _ in 0..SAMPLES_MAX {
            let (before, _) = session.flushed().await?;
            let xids = session.prepared_xids().await?;
            let (file_name, offset) = session.flushed().await?;
            // Whatever was prepared between the two samples is found in the file itself.
            if file_name == before {
                return Ok((file_name, offset, xids.unwrap_or_default()));
            }
        }
        Err(session.connection.failure("the server ended a binlog file at each of five looks"))
    }

    fn place(&self, epoch: u32, file_name: &str, offset: u64) -> Result<Place> {
        let file = file_number(file_name)
            .ok_or_else(|| self.history(format!("the binlog file {file_name:?} has no number in its name"), false))?;
        Ok(Place { start: BinlogPosition { epoch, file, offset }, file_name: file_name.into() })
    }

    /// Behind a checkpoint of this same server.
    async fn behind(&self, mut session: Session, checkpoint: Checkpoint, capture: Capture) -> Result<(Session, Intake)> {
        self.check_gtids(&mut session, &checkpoint).await?;
        if let Some(last) = &checkpoint.last {
            self.verify_last(last, &checkpoint).await?;
        }
        let mut assembler = self.assembler(capture);
        for prepared in &checkpoint.prepared {
            let prepared = self.read_prepared(prepared).await?;
            let xid = prepared.place.xid.clone();
            let kept = assembler.insert_prepared(prepared);
            kept.map_err(|_| self.history(format!("the XA transaction {xid} cannot be kept"), false))?;
        }
        let position = checkpoint.position.0;
        let place = Place { start: position, file_name: checkpoint.file_name.as_str().into() };
        let mut intake = self.intake(assembler, &place).with_history(checkpoint.gtids, checkpoint.last);
        intake = intake.with_earlier(checkpoint.left, checkpoint.unseen);
        session.dump(self.settings, &DumpFrom::Place { file_name: &checkpoint.file_name, offset: position.offset }).await?;
        self.begin(&mut session, &mut intake).await?;
        Ok((session, intake))
    }

    /// Reads until the server has begun to send: an error of the dump is an error of opening it.
    async fn begin(&self, session: &mut Session, intake: &mut Intake) -> Result<()> {
        while !intake.has_begun() {
            self.step(session, intake).await?;
        }
        Ok(())
    }

    async fn check_gtids(&self, session: &mut Session, checkpoint: &Checkpoint) -> Result<()> {
        let Some(gtids) = &checkpoint.gtids else {
            if self.facts.gtids {
                tracing::warn!(source = %self.settings.name, "gtid_mode was switched on: positions stay file and offset until a rebuild");
            }
            return Ok(());
        };
        if !self.facts.gtids {
            return Err(Error::History {
                name: self.settings.name.clone(),
                reason: "gtid_mode is not ON any more, and the stream's position is a GTID set".to_owned(),
                remedy: "set gtid_mode=ON again, or run `binlake rebuild` for the source's tables".to_owned(),
                lost: false,
            });
        }
        let missing = session.missing(gtids).await?;
        if missing.is_empty() || self.is_still_there(checkpoint).await? {
            return Ok(());
        }
        Err(self.history(format!("the server no longer has transactions that it sent us: {missing}"), true))
    }

    /// Whether the last transaction stands where it came from. A server sends one as soon as it is in the binlog, and counts it as executed
    /// when it is committed: with semi-synchronous replication that waits for replicas, and may be long after.
    async fn is_still_there(&self, checkpoint: &Checkpoint) -> Result<bool> {
        let Some(last) = &checkpoint.last else { return Ok(false) };
        match Box::pin(self.read_sum(last)).await {
            Ok(sum) => Ok(sum == Some(last.crc)),
            Err(Error::History { .. } | Error::Setting { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// On another server than the checkpoint's: by GTIDs, in a new epoch.
    ///
    /// The server says in which file the first transaction stands that we lack; that file is read from its start. What was received
    /// before is left out by its GTID, and the place where all of it has passed is known exactly, in whatever order it stands there.
    async fn elsewhere(&self, mut session: Session, mut checkpoint: Checkpoint, capture: Capture) -> Result<(Session, Intake)> {
        let (old, new) = (&checkpoint.server_uuid, &self.facts.server_uuid);
        let Some(mut gtids) = checkpoint.gtids.take() else {
            return Err(
                self.history(format!("server_uuid changed from {old} to {new}, and without GTIDs the place is lost"), true)
            );
        };
        // MariaDB's position is no further than the stream: what is still to be left out was received as well.
        if let Some(unseen) = &checkpoint.unseen {
            gtids.union(unseen);
        }
        self.check_contained(&mut session, &checkpoint, &gtids).await?;
        let mut assembler = self.assembler(capture);
        let mut received = gtids.clone();
        for prepared in checkpoint.prepared {
            if prepared.file_name.is_empty() {
                let kept = assembler.insert_prepared(Prepared { place: prepared, store: None });
                kept.map_err(|_| self.history("an XA transaction cannot be kept".to_owned(), false))?;
            } else {
                received = received.subtract(&self.prepared_gtid(&prepared, old)?);
            }
        }
        let file_name = self.file_behind(&received).await?;
        let place = self.place(checkpoint.position.0.epoch + 1, &file_name, FILE_START)?;
        checkpoint.left.push(checkpoint.position);
        // Nothing was returned of what was prepared: it is neither received nor unseen, whatever server comes next.
        let intake = self.intake(assembler, &place).with_history(Some(received.clone()), None);
        let mut intake = intake.with_earlier(checkpoint.left, Some(received));
        session.dump(self.settings, &DumpFrom::Place { file_name: &file_name, offset: FILE_START }).await?;
        self.begin(&mut session, &mut intake).await?;
        Ok((session, intake))
    }

    /// A prepared transaction's rows stand at another place here: it is received once more, by its GTID.
    fn prepared_gtid(&self, prepared: &PreparedXa, old: &str) -> Result<GtidSet> {
        let gtid = prepared.gtid.as_deref().and_then(|gtid| gtid.parse().ok());
        // Of MariaDB's domains only the end is known: one transaction in their midst cannot be had once more.
        let gtid = gtid.filter(|gtid: &GtidSet| gtid.domains().next().is_none());
        gtid.ok_or_else(|| {
            let (new, xid) = (&self.facts.server_uuid, &prepared.xid);
            let reason =
                format!("server_uuid changed from {old} to {new} while XA transaction {xid} was prepared: its place is lost");
            self.history(reason, true)
        })
    }

    /// The file from which on everything stands that is not in `received`.
    async fn file_behind(&self, received: &GtidSet) -> Result<String> {
        let mut session = Session::connect(self.settings).await?;
        session.dump(self.settings, &DumpFrom::Gtids(received)).await?;
        let mut track = Track::new(0, "", FILE_START);
        while !track.is_described() || track.file_name().is_empty() {
            if !session.read(self.settings).await? {
                return Err(session.connection.failure("a binlog file begins with an event of many packets"));
            }
            let read = track.read(session.piece()).map(drop);
            read.map_err(|malformed| event_error(&self.settings.name, BinlogPosition::default(), &malformed.0))?;
        }
        Ok(track.file_name().to_string())
    }

    async fn check_contained(&self, session: &mut Session, checkpoint: &Checkpoint, gtids: &GtidSet) -> Result<()> {
        let (old, new) = (&checkpoint.server_uuid, &self.facts.server_uuid);
        if !self.facts.gtids {
            return Err(self.history(format!("server_uuid changed from {old} to {new}, whose gtid_mode is not ON"), true));
        }
        if !self.facts.gtids_are_strict {
            let reason = format!(
                "the server changed from {old} to {new}, whose gtid_strict_mode is OFF: a place in its binlog does not tell what came before"
            );
            return Err(self.history(reason, true));
        }
        // Asked before what is executed: what it applies in between may be all that was missing.
        let replicates = session.replicates().await?;
        let missing = session.missing(gtids).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let reason = format!("server {new} lacks transactions that server {old} sent us: {missing}");
        if replicates {
            return Err(session.connection.failure(format!(
                "{reason}; it is a replica that is behind, and is waited for (if they were lost in the failover, end its \
                 replication, then {REBUILD})"
            )));
        }
        let remedy = "let the address lead to a server that has them; if they were lost in the failover, run `binlake rebuild` for \
                      the source's tables: they are read anew from this server while readers keep the old state";
        Err(Error::History { name: self.settings.name.clone(), reason, remedy: remedy.to_owned(), lost: false })
    }

    /// Reads the first event of the last transaction again.
    async fn verify_last(&self, last: &LastTransaction, checkpoint: &Checkpoint) -> Result<()> {
        let found = Box::pin(self.read_sum(last)).await;
        let reason = match found {
            Ok(Some(sum)) if sum == last.crc => return Ok(()),
            Ok(_) => "another event stands there".to_owned(),
            // The file of the last transaction may go when the position is in the next.
            Err(Error::History { .. }) if last.file_name != checkpoint.file_name => return Ok(()),
            // In the midst of another event the server reads whatever it finds there, and says so in many ways.
            Err(Error::History { reason, .. } | Error::Setting { reason, .. }) => reason,
            Err(error) => return Err(error),
        };
        Err(self.history(
            format!(
                "the server's history was rewritten: the transaction that it sent from {}:{} is not there any more ({reason})",
                last.file_name, last.offset
            ),
            true,
        ))
    }

    /// The sum of the event at a place; None where no event starts there.
    async fn read_sum(&self, last: &LastTransaction) -> Result<Option<u32>> {
        let mut session = Session::connect(self.settings).await?;
        session.dump(self.settings, &DumpFrom::Place { file_name: &last.file_name, offset: last.offset }).await?;
        let start = u32::try_from(last.offset).map_or(FILE_START, u64::from);
        let mut track = Track::new(0, &last.file_name, start);
        let mut large: Option<Header> = None;
        loop {
            let is_last = session.read(self.settings).await?;
            if let Some(header) = &large {
                if is_last {
                    if track.pass(header).is_err() {
                        return Ok(None);
                    }
                    large = None;
                }
                continue;
            }
            if !is_last {
                large = Header::parse(session.piece());
                continue;
            }
            let Ok(placed) = track.read(session.piece()) else { return Ok(None) };
            let header = placed.event.header;
            match header.kind {
                kind::HEARTBEAT | kind::HEARTBEAT_V2 => return Ok(None),
                kind::FORMAT_DESCRIPTION | kind::PREVIOUS_GTIDS => {}
                _ if header.is_artificial() => {}
                _ if placed.start.offset < last.offset => {}
                _ => return Ok((placed.start.offset == last.offset).then_some(placed.event.crc)),
            }
        }
    }

    /// Reads a prepared XA transaction again from where it stood.
    async fn read_prepared(&self, prepared: &PreparedXa) -> Result<Prepared> {
        if prepared.file_name.is_empty() {
            return Ok(Prepared { place: prepared.clone(), store: None });
        }
        let mut session = Session::connect(self.settings).await?;
        let place = self.place(0, &prepared.file_name, prepared.offset)?;
        session.dump(self.settings, &DumpFrom::Place { file_name: &prepared.file_name, offset: prepared.offset }).await?;
        let mut intake = self.intake(self.assembler(Capture::default()), &place);
        let found = loop {
            match Box::pin(self.step(&mut session, &mut intake)).await? {
                Received::Nothing => {}
                Received::Heartbeat | Received::Ended(_) => break intake.assembler.take_prepared(&prepared.xid),
            }
        };
        found.ok_or_else(|| {
            let (xid, file_name, offset) = (&prepared.xid, &prepared.file_name, prepared.offset);
            self.history(format!("the prepared XA transaction {xid} is not at {file_name}:{offset} any more"), true)
        })
    }
}
