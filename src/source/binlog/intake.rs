//! Packets of a dump to transactions, and where the stream stands after each: the checkpoint is kept here and nowhere else.
//!
//! `boundary` moves only when no transaction is open, together with the GTID set and the last transaction, and a transaction
//! that has ended is given to the caller in the same step. So a checkpoint never covers what was not given.

use std::sync::Arc;

use crate::change::{BinlogPosition, Cut, GtidSet};
use crate::source::{Checkpoint, Error, LastTransaction, Watched};

use super::assembler::{Assembler, Ended, Trouble};
use super::effects::Place;
use super::event::{Event, HEADER_BYTES, Header, Malformed, kind};
use super::gtid::parse_previous;
use super::mariadb::{self, gtid::parse_list, inflate::inflated};
use super::payload_event::PayloadEvent;
use super::track::{Placed, Track};

/// What a packet came to.
pub(super) enum Received {
    /// Nothing that a caller need know.
    Nothing,
    /// The server has nothing to send.
    Heartbeat,
    /// A transaction has ended.
    Ended(Box<Ended>),
}

/// Reads a dump.
pub(super) struct Intake {
    pub(super) assembler: Assembler,
    pub(super) watched: Arc<Watched>,
    track: Track,
    source: Arc<str>,
    server_uuid: String,
    /// Where the next transaction starts.
    boundary: Place,
    /// Exactly the transactions below the boundary.
    gtids: Option<GtidSet>,
    last: Option<LastTransaction>,
    /// Where earlier histories were left.
    left: Vec<Cut>,
    /// What another server had sent and this one has not shown yet.
    unseen: Option<GtidSet>,
    /// An event that comes in pieces.
    large: Option<Large>,
    /// What an event was before it was compressed.
    inflated: Vec<u8>,
    /// The dump began before the boundary, and this is where it was to begin.
    skip_below: Option<BinlogPosition>,
}

/// An event of which more is to come.
enum Large {
    /// It lies below the boundary.
    Skipped(Header),
    Gathered(Vec<u8>),
    Payload(Box<PayloadEvent>),
}

impl Intake {
    /// A dump that begins at a place, or where the server chooses (an empty name).
    pub(super) fn new(assembler: Assembler, place: &Place, source: Arc<str>, server_uuid: String) -> Self {
        let (track, skip_below) = track_from(place);
        let boundary = place.clone();
        Self {
            watched: Arc::clone(assembler.watched()),
            assembler,
            track,
            source,
            server_uuid,
            boundary,
            gtids: None,
            last: None,
            left: Vec::new(),
            unseen: None,
            large: None,
            inflated: Vec::new(),
            skip_below,
        }
    }

    /// What was received before this dump.
    pub(super) fn with_history(mut self, gtids: Option<GtidSet>, last: Option<LastTransaction>) -> Self {
        (self.gtids, self.last) = (gtids, last);
        self
    }

    /// The histories before this one.
    pub(super) fn with_earlier(mut self, left: Vec<Cut>, unseen: Option<GtidSet>) -> Self {
        (self.left, self.unseen) = (left, unseen.filter(|unseen| !unseen.is_empty()));
        self
    }

    /// Where the next transaction starts.
    pub(super) fn boundary(&self) -> BinlogPosition {
        self.boundary.start
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            server_uuid: self.server_uuid.clone(),
            file_name: self.boundary.file_name.to_string(),
            position: Cut(self.boundary.start),
            gtids: self.gtids.clone(),
            last: self.last.clone(),
            prepared: self.assembler.prepared(),
            left: self.left.clone(),
            unseen: self.unseen.clone(),
        }
    }

    /// The dump begins again at the boundary.
    pub(super) fn restart(&mut self) {
        self.assembler.restart();
        self.large = None;
        (self.track, self.skip_below) = track_from(&self.boundary);
    }

    /// Whether the server has begun to send.
    pub(super) fn has_begun(&self) -> bool {
        self.track.is_described()
    }

    /// The place that an error names.
    pub(super) fn error_position(&self) -> BinlogPosition {
        self.assembler.group_start().unwrap_or_else(|| self.track.position())
    }

    /// Takes a packet, or a piece of one, without the status byte.
    pub(super) fn take(&mut self, piece: &[u8], is_last: bool) -> Result<Received, Trouble> {
        let Some(large) = self.large.take() else {
            if !is_last && self.is_below_boundary() {
                self.large = Header::parse(piece).map(Large::Skipped);
                return Ok(Received::Nothing);
            }
            let is_payload = (is_last || piece.len() >= HEADER_BYTES)
                && piece.get(4) == Some(&kind::TRANSACTION_PAYLOAD)
                && !self.is_below_boundary();
            if is_payload {
                let large = PayloadEvent::begin(piece, self.track.checksum())?;
                return self.take_payload(Box::new(large), piece, is_last);
            }
            if is_last {
                return self.take_event(piece);
            }
            self.large = Some(Large::Gathered(piece.to_vec()));
            return Ok(Received::Nothing);
        };
        match large {
            Large::Skipped(header) if is_last => {
                self.track.pass(&header)?;
                Ok(Received::Nothing)
            }
            Large::Skipped(_) => {
                self.large = Some(large);
                Ok(Received::Nothing)
            }
            Large::Payload(large) => self.take_payload(large, piece, is_last),
            Large::Gathered(mut gathered) => {
                gathered.extend_from_slice(piece);
                if is_last {
                    return self.take(&gathered, true);
                }
                self.large = Some(Large::Gathered(gathered));
                Ok(Received::Nothing)
            }
        }
    }

    fn take_event(&mut self, packet: &[u8]) -> Result<Received, Trouble> {
        let is_below = self.is_below_boundary();
        let Placed { event, start, server_started } = self.track.read(packet)?;
        if is_below {
            return Ok(Received::Nothing);
        }
        let mut buffer = std::mem::take(&mut self.inflated);
        let received = self.take_placed(&inflated(event, &mut buffer)?, start, server_started)?;
        self.inflated = buffer;
        self.watched.holds(self.assembler.held_bytes());
        self.move_boundary();
        Ok(received)
    }

    fn take_placed(&mut self, event: &Event<'_>, start: BinlogPosition, server_started: bool) -> Result<Received, Trouble> {
        Ok(match event.header.kind {
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => Received::Heartbeat,
            kind::ROTATE => Received::Nothing,
            kind::FORMAT_DESCRIPTION => {
                self.assembler.file_begins(server_started)?;
                Received::Nothing
            }
            kind::PREVIOUS_GTIDS => {
                self.previous_gtids(&parse_previous(event.body)?);
                Received::Nothing
            }
            // One that the server makes up repeats what it was asked with.
            mariadb::kind::GTID_LIST => {
                if !event.header.is_artificial() {
                    self.previous_gtids(&parse_list(event.body)?);
                }
                Received::Nothing
            }
            _ => {
                let file_name = self.track.file_name();
                let place = || Place { start, file_name: Arc::clone(file_name) };
                // MariaDB's numbers may go back on the server that sent them: only what another one sent is left out.
                let is_group = event.header.kind == mariadb::kind::GTID;
                let received = if is_group { self.unseen.as_ref() } else { self.gtids.as_ref() };
                match dispatch(&mut self.assembler, event, place, received)? {
                    Some(ended) => self.ended(ended)?,
                    None => Received::Nothing,
                }
            }
        })
    }

    fn is_below_boundary(&mut self) -> bool {
        if self.skip_below.is_some_and(|boundary| self.track.position() >= boundary) {
            self.skip_below = None;
        }
        self.skip_below.is_some()
    }

    fn move_boundary(&mut self) {
        if !self.assembler.is_inside() {
            self.boundary.start = self.track.position();
            if !Arc::ptr_eq(&self.boundary.file_name, self.track.file_name()) {
                self.boundary.file_name = Arc::clone(self.track.file_name());
            }
        }
    }

    /// A file's head names everything before it. More than was received means that someone added to `gtid_purged`: no events
    /// stand for it, on any server.
    fn previous_gtids(&mut self, previous: &GtidSet) {
        let Some(gtids) = &mut self.gtids else { return };
        let unseen = previous.subtract(gtids);
        if !gtids.is_empty() && !unseen.is_empty() {
            tracing::warn!(source = %self.source, gtids = %unseen, "the server declares transactions purged that it never sent");
        }
        gtids.union(&unseen);
        self.shown(previous);
    }

    /// This server's binlog holds these below the place.
    fn shown(&mut self, shown: &GtidSet) {
        let rest = self.unseen.take().map(|unseen| unseen.subtract(shown));
        self.unseen = rest.filter(|unseen| !unseen.is_empty());
    }

    fn ended(&mut self, ended: Ended) -> Result<Received, Trouble> {
        match (&mut self.gtids, &ended.head.gtid) {
            (Some(gtids), Some(gtid)) => {
                gtids.insert(gtid);
                if self.unseen.is_some() {
                    let mut shown = GtidSet::default();
                    shown.insert(gtid);
                    self.shown(&shown);
                }
            }
            (Some(_), None) => {
                return Err(Trouble::Error(Error::History {
                    name: self.source.to_string(),
                    reason: format!("the transaction at {} has no GTID, and those before it had", ended.head.place),
                    remedy: "set gtid_mode=ON again, then run `binlake rebuild` for the source's tables".to_owned(),
                    lost: false,
                }));
            }
            (None, _) => {}
        }
        let place = &ended.head.place;
        self.last =
            Some(LastTransaction { file_name: place.file_name.to_string(), offset: place.start.offset, crc: ended.head.crc });
        Ok(Received::Ended(Box::new(ended)))
    }

    fn take_payload(&mut self, mut large: Box<PayloadEvent>, piece: &[u8], is_last: bool) -> Result<Received, Trouble> {
        let place = self.assembler.group_place();
        let place = place.ok_or_else(|| Malformed::new("a transaction payload without its GTID event"))?;
        let assembler = &mut self.assembler;
        large.push(piece, |ended, bytes| take_inner(ended, bytes, assembler, &place))?;
        self.watched.holds(assembler.held_bytes());
        if !is_last {
            self.large = Some(Large::Payload(large));
            return Ok(Received::Nothing);
        }
        let (header, ended) = large.end()?;
        self.track.pass(&header)?;
        let received = self.ended(ended)?;
        self.move_boundary();
        Ok(received)
    }
}

/// The dump command has 32 bits for an offset: beyond them it begins with the file, and what lies before is left out.
fn track_from(place: &Place) -> (Track, Option<BinlogPosition>) {
    let start = place.start;
    if u32::try_from(start.offset).is_ok() {
        return (Track::new(start.epoch, &place.file_name, start.offset), None);
    }
    (Track::new(start.epoch, &place.file_name, 4), Some(start))
}

/// Gives an event to where it belongs. What is not known and may not be left out is an error.
fn dispatch(
    assembler: &mut Assembler,
    event: &Event<'_>,
    place: impl FnOnce() -> Place,
    received: Option<&GtidSet>,
) -> Result<Option<Ended>, Trouble> {
    match event.header.kind {
        kind::STOP
        | kind::INTVAR
        | kind::RAND
        | kind::USER_VAR
        | kind::APPEND_BLOCK
        | kind::DELETE_FILE
        | kind::BEGIN_LOAD_QUERY
        | kind::IGNORABLE
        | kind::ROWS_QUERY
        | kind::TRANSACTION_CONTEXT
        | kind::VIEW_CHANGE
        // The server decrypts what it sends.
        | mariadb::kind::START_ENCRYPTION
        | mariadb::kind::ANNOTATE_ROWS
        | mariadb::kind::BINLOG_CHECKPOINT => Ok(None),
        kind::INCIDENT => Err(Trouble::Lost("the server lost events and says so in its binlog (an incident event)".to_owned())),
        kind::QUERY
        | kind::EXECUTE_LOAD_QUERY
        | kind::XID
        | kind::TABLE_MAP
        | kind::GTID
        | kind::ANONYMOUS_GTID
        | kind::GTID_TAGGED
        | mariadb::kind::GTID
        | kind::XA_PREPARE => assembler.take(event, place, received),
        kind if super::rows::is_rows(kind) => assembler.take(event, place, received),
        _ if event.header.is_ignorable() => {
            assembler.watched().left_out();
            Ok(None)
        }
        kind => Err(Malformed(format!("an event of type {kind} is not known and may not be left out")).into()),
    }
}

/// Takes an event out of a payload.
fn take_inner(ended: &mut Option<Ended>, bytes: &[u8], assembler: &mut Assembler, place: &Place) -> Result<(), Trouble> {
    if ended.is_some() {
        return Err(Malformed::new("a transaction payload goes on behind the end of its transaction").into());
    }
    let event = Event::parse_inner(bytes)?;
    *ended = dispatch(assembler, &event, || place.clone(), None)?;
    Ok(())
}
