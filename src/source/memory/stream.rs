//! The modelled binlog as a stream, and the body of its transactions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::world::{Change, Logged, Row, World};
use super::{Call, MemoryServer};
use crate::change::{BinlogPosition, Capture, Cut, Image, Operation, RowSink, TableName, TableSchema, Value};
use crate::source::{
    BinlogStream, Checkpoint, Error, LastTransaction, Part, Problem, Result, StreamFrom, StreamItem, Transaction, TransactionBody,
};

/// A stream of one server.
pub(super) struct MemoryStream {
    server: MemoryServer,
    name: String,
    heartbeat: Duration,
    incarnation: u64,
    /// The place in the server's history of the next transaction.
    next: usize,
    checkpoint: Checkpoint,
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
        let (next, checkpoint) = match from {
            StreamFrom::Now { epoch } => (world.history.len(), now(&world, epoch)),
            StreamFrom::Checkpoint(checkpoint) => behind(&world, name, checkpoint)?,
        };
        let incarnation = world.incarnation;
        drop(world);
        Ok(Self { server: server.clone(), name: name.to_owned(), heartbeat, incarnation, next, checkpoint, capture, idle: false })
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
            drop(world);
            return Ok(Some(self.pass(&logged, end)));
        }
        if self.idle {
            return Ok(None);
        }
        self.idle = true;
        self.checkpoint.position.0.file = world.file;
        self.checkpoint.position.0.offset = world.offset;
        self.checkpoint.file_name = World::file_name(world.file);
        Ok(Some(StreamItem::Progress { committed_us: None, idle: true }))
    }

    fn pass(&mut self, logged: &Logged, end: (u64, u64)) -> StreamItem {
        self.idle = false;
        let epoch = self.checkpoint.position.0.epoch;
        let start = BinlogPosition { epoch, file: logged.file, offset: logged.offset };
        let file_name = World::file_name(logged.file);
        self.checkpoint.last = Some(LastTransaction { file_name: file_name.clone(), offset: logged.offset, crc: logged.crc });
        self.checkpoint.position = Cut(BinlogPosition { epoch, file: end.0, offset: end.1 });
        self.checkpoint.file_name = World::file_name(end.0);
        if let (Some(set), Some(gtid)) = (&mut self.checkpoint.gtids, &logged.gtid) {
            set.insert(gtid);
        }
        let parts = parts(logged, &self.capture, start);
        if parts.is_empty() {
            return StreamItem::Progress { committed_us: Some(logged.committed_us), idle: false };
        }
        StreamItem::Transaction(Transaction {
            start,
            file_name: file_name.into(),
            gtid: logged.gtid.as_ref().map(ToString::to_string),
            committed_us: logged.committed_us,
            body: Box::new(MemoryBody { start, parts: parts.into_iter(), current: None }),
        })
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
}

fn now(world: &World, epoch: u32) -> Checkpoint {
    let last = world.history.last();
    Checkpoint {
        server_uuid: world.server_uuid.clone(),
        file_name: World::file_name(world.file),
        position: Cut(BinlogPosition { epoch, file: world.file, offset: world.offset }),
        gtids: world.gtids.then(|| world.flushed_gtids()),
        last: last.map(|logged| LastTransaction {
            file_name: World::file_name(logged.file),
            offset: logged.offset,
            crc: logged.crc,
        }),
        prepared: Vec::new(),
    }
}

fn history(name: &str, reason: String) -> Error {
    Error::History { name: name.to_owned(), reason, remedy: "rebuild the tables of the source".to_owned(), lost: true }
}

/// The place of a checkpoint in the server's history.
fn behind(world: &World, name: &str, checkpoint: Checkpoint) -> Result<(usize, Checkpoint)> {
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
    let (next, checkpoint) = match (&checkpoint.gtids, same) {
        (None, false) => {
            let reason = format!("server_uuid changed from {} to {}, without GTIDs", checkpoint.server_uuid, world.server_uuid);
            return Err(history(name, reason));
        }
        (_, true) => {
            check_last(world, name, &checkpoint)?;
            let place = checkpoint.position.0;
            let below = |logged: &&Arc<Logged>| (logged.file, logged.offset) < (place.file, place.offset);
            (world.history.iter().take_while(below).count(), checkpoint)
        }
        (Some(received), false) => {
            let known = |logged: &&Arc<Logged>| logged.gtid.as_ref().is_some_and(|gtid| received.contains(gtid));
            let next = world.history.iter().take_while(known).count();
            let (file, offset) = world.history.get(next).map_or((world.file, world.offset), |next| (next.file, next.offset));
            let position = Cut(BinlogPosition { epoch: checkpoint.position.0.epoch + 1, file, offset });
            let file_name = World::file_name(file);
            (next, Checkpoint { server_uuid: world.server_uuid.clone(), file_name, position, last: None, ..checkpoint })
        }
    };
    if next < world.purged {
        return Err(history(name, format!("the binlog at {} is purged", checkpoint.position)));
    }
    Ok((next, checkpoint))
}

/// The last transaction must stand where it stood, and be the same.
fn check_last(world: &World, name: &str, checkpoint: &Checkpoint) -> Result<()> {
    let Some(last) = &checkpoint.last else { return Ok(()) };
    let place = |logged: &&Arc<Logged>| World::file_name(logged.file) == last.file_name && logged.offset == last.offset;
    match world.history.iter().find(place) {
        Some(logged) if logged.crc == last.crc => Ok(()),
        _ => Err(history(name, format!("at {}:{} there is another transaction than was captured", last.file_name, last.offset))),
    }
}

type Pair = (Option<Row>, Option<Row>);

fn parts(logged: &Logged, capture: &Capture, start: BinlogPosition) -> Vec<(Part, Vec<Pair>)> {
    let mut parts: Vec<(Part, Vec<Pair>)> = Vec::new();
    for (name, shape, change) in &logged.changes {
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
