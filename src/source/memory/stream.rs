//! The modelled binlog as a stream, and the body of its transactions. Where it may go on is judged as the real tenant judges it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::world::{Change, Done, Kind, Logged, Row, World};
use super::{Call, MemoryServer};
use crate::change::{BinlogPosition, Capture, Cut, GtidSet, Image, Operation, RowSink, TableName, TableSchema, Value};
use crate::source::{
    BinlogStream, Checkpoint, Error, LastTransaction, Part, PreparedXa, Problem, Result, StreamFrom, StreamItem, Transaction,
    TransactionBody,
};
use crate::trial::{Mistake, planted};

/// An XA transaction that the stream knows to be prepared; without rows where it was prepared before the stream began.
type Kept = (PreparedXa, Option<Vec<Done>>);

/// A stream of one server.
pub(super) struct MemoryStream {
    server: MemoryServer,
    name: String,
    heartbeat: Duration,
    incarnation: u64,
    /// The place in the server's history of the next transaction.
    next: usize,
    checkpoint: Checkpoint,
    /// What was received before the stream was opened on another server: that is not sent again.
    received: Option<GtidSet>,
    prepared: Vec<Kept>,
    capture: Capture,
    /// That nothing more is there has been said.
    idle: bool,
}

impl MemoryStream {
    pub(super) fn open(
        server: &MemoryServer,
        name: &str,
        heartbeat: Duration,
        from: StreamFrom,
        capture: Capture,
    ) -> Result<Self> {
        let world = server.world();
        let (next, checkpoint, received) = match from {
            StreamFrom::Now { epoch } => (world.history.len(), now(&world, epoch), None),
            StreamFrom::Checkpoint(checkpoint) => behind(&world, name, checkpoint)?,
        };
        let again = |place: &PreparedXa| read_again(&world, name, place);
        let prepared = checkpoint.prepared.iter().map(again).collect::<Result<Vec<Kept>>>()?;
        let incarnation = world.incarnation;
        drop(world);
        let (server, name) = (server.clone(), name.to_owned());
        Ok(Self { server, name, heartbeat, incarnation, next, checkpoint, received, prepared, capture, idle: false })
    }

    /// The next item, if there is one already.
    fn take(&mut self) -> Result<Option<StreamItem>> {
        let world = self.server.world();
        if world.incarnation != self.incarnation {
            return Err(super::source::broken(&self.name, "the server closed the stream"));
        }
        if let Some(logged) = world.history.get(self.next).map(Arc::clone) {
            self.next += 1;
            let end = world.history.get(self.next).map_or((world.file, world.offset), |next| (next.file, next.offset));
            let names = (world.file_name(logged.file), world.file_name(end.0));
            drop(world);
            return self.pass(&logged, end, names).map(Some);
        }
        if self.idle {
            return Ok(None);
        }
        self.idle = true;
        self.checkpoint.position.0.file = world.file;
        self.checkpoint.position.0.offset = world.offset;
        self.checkpoint.file_name = world.file_name(world.file);
        Ok(Some(StreamItem::Progress { committed_us: None, idle: true }))
    }

    fn pass(&mut self, logged: &Logged, end: (u64, u64), (file_name, end_name): (String, String)) -> Result<StreamItem> {
        self.idle = false;
        let epoch = self.checkpoint.position.0.epoch;
        let start = BinlogPosition { epoch, file: logged.file, offset: logged.offset };
        let known = |received: &GtidSet| logged.gtid.as_ref().is_some_and(|gtid| received.contains(gtid));
        let is_new = !self.received.as_ref().is_some_and(known);
        let done = if is_new { self.rows(logged, &file_name, start)? } else { None };
        self.checkpoint.last = Some(LastTransaction { file_name: file_name.clone(), offset: logged.offset, crc: logged.crc });
        self.checkpoint.position = Cut(BinlogPosition { epoch, file: end.0, offset: end.1 });
        self.checkpoint.file_name = end_name;
        self.checkpoint.prepared = self.prepared.iter().map(|(place, _)| place.clone()).collect();
        if let (Some(set), Some(gtid)) = (&mut self.checkpoint.gtids, &logged.gtid) {
            set.insert(gtid);
            let mut shown = GtidSet::default();
            shown.insert(gtid);
            let unseen = self.checkpoint.unseen.take().map(|unseen| unseen.subtract(&shown));
            self.checkpoint.unseen = unseen.filter(|unseen| !unseen.is_empty());
        }
        let parts = parts(done.as_deref().unwrap_or_default(), &self.capture, start);
        if parts.is_empty() {
            return Ok(StreamItem::Progress { committed_us: Some(logged.committed_us), idle: false });
        }
        Ok(StreamItem::Transaction(Transaction {
            start,
            file_name: file_name.into(),
            gtid: logged.gtid.as_ref().map(ToString::to_string),
            committed_us: logged.committed_us,
            body: Box::new(MemoryBody { start, parts: parts.into_iter(), current: None }),
        }))
    }

    /// What a group brings: of an XA transaction at its commit, what was kept when it was prepared.
    fn rows(&mut self, logged: &Logged, file_name: &str, start: BinlogPosition) -> Result<Option<Vec<Done>>> {
        let place = |xid: &String| self.prepared.iter().position(|(prepared, _)| prepared.xid == *xid);
        match &logged.kind {
            Kind::Plain => Ok(Some(logged.changes.clone())),
            Kind::Prepare(xid) => {
                let place = PreparedXa {
                    xid: xid.clone(),
                    file_name: file_name.to_owned(),
                    offset: logged.offset,
                    gtid: logged.gtid.as_ref().map(ToString::to_string),
                };
                self.prepared.push((place, Some(logged.changes.clone())));
                Ok(None)
            }
            Kind::Rollback(xid) => {
                place(xid).map(|index| self.prepared.remove(index));
                Ok(None)
            }
            Kind::Commit(xid) => match place(xid) {
                Some(index) => Ok(self.prepared.remove(index).1),
                None => {
                    let reason = format!("the XA transaction {xid} was committed at {start} and its rows were never received");
                    Err(history(&self.name, reason))
                }
            },
        }
    }
}

#[async_trait]
impl BinlogStream for MemoryStream {
    async fn next(&mut self) -> Result<StreamItem> {
        let mut changed = self.server.shared.changed.subscribe();
        loop {
            self.server.called(Call::Next)?;
            if let Some(item) = self.take()? {
                return Ok(item);
            }
            match tokio::time::timeout(self.heartbeat, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(super::source::broken(&self.name, "the server is gone")),
                // The heartbeat.
                Err(_) => self.idle = false,
            }
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        self.checkpoint.clone()
    }

    fn set_capture(&mut self, capture: Capture) {
        self.capture = capture;
    }

    fn forget_prepared(&mut self, xids: &BTreeSet<String>) {
        self.prepared.retain(|(place, rows)| rows.is_some() || !xids.contains(&place.xid));
        self.checkpoint.prepared = self.prepared.iter().map(|(place, _)| place.clone()).collect();
    }
}

/// At the flushed end. The rows of what is prepared are known where the file at hand has them: the real tenant reads it from its start.
fn now(world: &World, epoch: u32) -> Checkpoint {
    let last = world.history.last();
    let prepared = world.prepared.iter().filter(|(_, prepared)| prepared.ended.is_none()).map(|(xid, _)| {
        let is_it = |logged: &&Arc<Logged>| logged.file == world.file && logged.kind == Kind::Prepare(xid.clone());
        let here = world.history.iter().rev().find(is_it);
        let (file_name, offset) = here.map_or((String::new(), 0), |logged| (world.file_name(logged.file), logged.offset));
        let gtid = here.and_then(|logged| logged.gtid.as_ref()).map(ToString::to_string);
        PreparedXa { xid: xid.clone(), file_name, offset, gtid }
    });
    Checkpoint {
        server_uuid: world.server_uuid.clone(),
        file_name: world.file_name(world.file),
        position: Cut(BinlogPosition { epoch, file: world.file, offset: world.offset }),
        gtids: world.gtids.then(|| match planted(Mistake::TwoSamplesAsOne) {
            true => world.executed.clone(),
            false => world.flushed_gtids(),
        }),
        last: last.map(|logged| LastTransaction {
            file_name: world.file_name(logged.file),
            offset: logged.offset,
            crc: logged.crc,
        }),
        prepared: prepared.collect(),
        left: Vec::new(),
        unseen: None,
    }
}

/// Reads a prepared XA transaction again from where it stood.
fn read_again(world: &World, name: &str, place: &PreparedXa) -> Result<Kept> {
    if place.file_name.is_empty() {
        return Ok((place.clone(), None));
    }
    let is_it = |logged: &&Arc<Logged>| {
        logged.offset == place.offset
            && world.file_name(logged.file) == place.file_name
            && logged.kind == Kind::Prepare(place.xid.clone())
    };
    let found = world.history.iter().skip(world.purged).find(is_it);
    let gone = || {
        history(
            name,
            format!("the prepared XA transaction {} is not at {}:{} any more", place.xid, place.file_name, place.offset),
        )
    };
    found.map(|logged| (place.clone(), Some(logged.changes.clone()))).ok_or_else(gone)
}

fn history(name: &str, reason: String) -> Error {
    Error::History { name: name.to_owned(), reason, remedy: "rebuild the tables of the source".to_owned(), lost: true }
}

/// What was received and does not stand below the place.
fn unseen(world: &World, next: usize, received: Option<&GtidSet>) -> Option<GtidSet> {
    let mut shown = GtidSet::default();
    for gtid in world.history.iter().take(next).filter_map(|logged| logged.gtid.as_ref()) {
        shown.insert(gtid);
    }
    received.map(|received| received.subtract(&shown)).filter(|unseen| !unseen.is_empty())
}

/// The place of a checkpoint in the server's history.
fn behind(world: &World, name: &str, checkpoint: Checkpoint) -> Result<(usize, Checkpoint, Option<GtidSet>)> {
    let same = checkpoint.server_uuid == world.server_uuid;
    if let Some(received) = &checkpoint.gtids {
        let missing = received.subtract(&world.flushed_gtids());
        let reason = format!("the server lacks transactions that were captured: {missing}");
        match (missing.is_empty(), same) {
            (true, _) => {}
            (false, true) => return Err(history(name, reason)),
            // It may be a replica that is behind.
            (false, false) => return Err(super::source::broken(name, &reason)),
        }
    }
    let (next, checkpoint, received) = match (&checkpoint.gtids, same) {
        (None, false) => {
            let reason = format!("server_uuid changed from {} to {}, without GTIDs", checkpoint.server_uuid, world.server_uuid);
            return Err(history(name, reason));
        }
        (_, true) => {
            check_last(world, name, &checkpoint)?;
            let place = checkpoint.position.0;
            let below = |logged: &&Arc<Logged>| (logged.file, logged.offset) < (place.file, place.offset);
            let received = checkpoint.unseen.clone();
            (world.history.iter().take_while(below).count(), checkpoint, received)
        }
        (Some(received), false) => {
            // What was prepared is received once more, by its GTID: it stands at another place here.
            let (placed, prepared): (Vec<_>, Vec<_>) =
                checkpoint.prepared.iter().cloned().partition(|prepared| !prepared.file_name.is_empty());
            let received = without(name, received, &placed)?;
            let known = |logged: &&Arc<Logged>| logged.gtid.as_ref().is_some_and(|gtid| received.contains(gtid));
            let next = world.history.iter().take_while(known).count();
            let (file, offset) = world.history.get(next).map_or((world.file, world.offset), |next| (next.file, next.offset));
            let position = Cut(BinlogPosition { epoch: checkpoint.position.0.epoch + 1, file, offset });
            let (file_name, gtids, received) = (world.file_name(file), Some(received.clone()), Some(received));
            let server_uuid = world.server_uuid.clone();
            let mut left = checkpoint.left.clone();
            left.push(checkpoint.position);
            let unseen = unseen(world, next, received.as_ref());
            (next, Checkpoint { server_uuid, file_name, position, last: None, gtids, prepared, left, unseen }, received)
        }
    };
    if next < world.purged {
        return Err(history(name, format!("the binlog at {} is purged", checkpoint.position)));
    }
    Ok((next, checkpoint, received))
}

/// What was received but the groups of these XA transactions.
fn without(name: &str, received: &GtidSet, prepared: &[PreparedXa]) -> Result<GtidSet> {
    let mut left = received.clone();
    for prepared in prepared {
        let gtid = prepared.gtid.as_deref().and_then(|gtid| gtid.parse::<GtidSet>().ok());
        let lost = || format!("the server changed while XA transaction {} was prepared: its place is lost", prepared.xid);
        left = left.subtract(&gtid.ok_or_else(|| history(name, lost()))?);
    }
    Ok(left)
}

/// The last transaction must stand where it stood, and be the same. The file it stood in may be gone when the position is in the next.
fn check_last(world: &World, name: &str, checkpoint: &Checkpoint) -> Result<()> {
    let Some(last) = &checkpoint.last else { return Ok(()) };
    let place = |logged: &&Arc<Logged>| world.file_name(logged.file) == last.file_name && logged.offset == last.offset;
    match world.history.iter().position(|logged| place(&logged)) {
        Some(index) if index < world.purged && last.file_name != checkpoint.file_name => Ok(()),
        Some(index) if world.history.get(index).is_some_and(|logged| logged.crc == last.crc) => Ok(()),
        _ => Err(history(name, format!("at {}:{} there is another transaction than was captured", last.file_name, last.offset))),
    }
}

type Pair = (Option<Row>, Option<Row>);

fn parts(changes: &[Done], capture: &Capture, start: BinlogPosition) -> Vec<(Part, Vec<Pair>)> {
    let mut parts: Vec<(Part, Vec<Pair>)> = Vec::new();
    for (name, shape, change) in changes {
        let Some(captured) = capture.at(name, start) else { continue };
        match change {
            Change::Row { .. } if captured.schema.physical != shape.physical => {
                let reason = format!("{name} has another shape at {start} than the one that is captured");
                parts.push((Part::Unusable { table: name.clone(), problem: rebuild(reason, name) }, Vec::new()));
            }
            Change::Row { operation, before, after } => {
                let pair = (before.clone(), after.clone());
                match parts.last_mut() {
                    Some((Part::Rows { table, operation: last, .. }, rows)) if table == name && last == operation => {
                        rows.push(pair)
                    }
                    _ => parts.push((rows_part(name, &captured.schema, *operation), vec![pair])),
                }
            }
            Change::Truncate { statement } => {
                parts.push((Part::Truncate { table: name.clone(), statement: statement.clone() }, Vec::new()));
            }
            Change::Shape { statement, .. } => {
                let problem = rebuild(format!("{statement} at {start}"), name);
                parts.push((Part::Schema { table: name.clone(), statement: statement.clone(), problem }, Vec::new()));
            }
        }
    }
    parts
}

fn rows_part(table: &TableName, schema: &Arc<TableSchema>, operation: Operation) -> Part {
    Part::Rows { table: table.clone(), schema: Arc::clone(schema), operation }
}

fn rebuild(reason: String, table: &TableName) -> Problem {
    Problem { reason, remedy: format!("binlake rebuild {table}") }
}

/// The rest of a transaction.
struct MemoryBody {
    start: BinlogPosition,
    parts: std::vec::IntoIter<(Part, Vec<Pair>)>,
    current: Option<(TableName, Arc<TableSchema>, std::vec::IntoIter<Pair>)>,
}

impl TransactionBody for MemoryBody {
    fn next_part(&mut self) -> Result<Option<Part>> {
        let Some((part, rows)) = self.parts.next() else {
            self.current = None;
            return Ok(None);
        };
        self.current = match &part {
            Part::Rows { table, schema, .. } => Some((table.clone(), Arc::clone(schema), rows.into_iter())),
            _ => None,
        };
        Ok(Some(part))
    }

    fn next_row(&mut self, sink: &mut dyn RowSink) -> Result<bool> {
        let Some((table, schema, rows)) = &mut self.current else { return Ok(false) };
        let Some((before, after)) = rows.next() else { return Ok(false) };
        for (image, row) in [(Image::Before, before), (Image::After, after)] {
            let Some(row) = row else { continue };
            drive(&row, schema, image, sink).map_err(|error| Error::Row {
                table: table.clone(),
                position: self.start,
                reason: error.to_string(),
                remedy: "exclude the column".to_owned(),
            })?;
        }
        Ok(true)
    }
}

/// Drives the captured columns of a row.
pub(super) fn drive(
    row: &[Value],
    schema: &TableSchema,
    image: Image,
    sink: &mut dyn RowSink,
) -> std::result::Result<(), crate::change::CellError> {
    sink.image(image)?;
    for column in &schema.columns {
        row.get(column.ordinal).unwrap_or(&Value::Null).drive(sink)?;
    }
    Ok(())
}
