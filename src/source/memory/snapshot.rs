//! Reads of the modelled server: what is visible, in key order, in chunks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::key::Key;
use super::stream::drive;
use super::world::{Row, Tables, World};
use super::{Call, MemoryServer};
use crate::change::{BinlogPosition, Image, RowSink, TableSchema, Value};
use crate::source::{Checkpoint, ChunkRange, ChunkReader, Error, KeyBound, Result, Sample, SnapshotPlan, Visible};
use crate::trial::{Mistake, planted};

fn table_error(schema: &TableSchema, reason: &str) -> Error {
    Error::Table { table: schema.name.clone(), reason: reason.to_owned(), remedy: format!("binlake rebuild {}", schema.name) }
}

/// The visible rows by the captured key.
fn visible_rows(tables: &Tables, schema: &TableSchema) -> Result<Vec<(Key, Row)>> {
    let table = tables.get(&schema.name).ok_or_else(|| table_error(schema, "the table is gone"))?;
    let rows = table.rows.values().flat_map(|(row, count)| std::iter::repeat_n(row, *count));
    let mut keyed: Vec<(Key, Row)> = rows.map(|row| (Key::of(schema, row), row.clone())).collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(keyed)
}

fn bound(schema: &TableSchema, key: &Key) -> Result<KeyBound> {
    key.bound().ok_or_else(|| table_error(schema, "the key has a value that the model cannot order"))
}

fn parsed(schema: &TableSchema, bound: Option<&KeyBound>) -> Result<Option<Key>> {
    let parse = |bound| Key::from_bound(bound).ok_or_else(|| table_error(schema, "a chunk bound that is none"));
    bound.map(parse).transpose()
}

pub(super) fn plan(server: &MemoryServer, name: &str, schema: &TableSchema, visible: Option<&Visible>) -> Result<SnapshotPlan> {
    let world = server.world();
    if let Some(visible) = visible {
        check_server(&world, name, visible)?;
    }
    let rows = visible_rows(&world.visible_tables, schema)?;
    let keyless = schema.key.is_empty();
    let upper = match rows.last() {
        Some((key, _)) if !keyless => Some(bound(schema, key)?),
        _ => None,
    };
    let estimated_rows = rows.len() as u64;
    Ok(SnapshotPlan { upper, estimated_rows, estimated_bytes: estimated_rows * 100, whole: keyless, empty: rows.is_empty() })
}

pub(super) fn next_chunk(
    server: &MemoryServer,
    schema: &TableSchema,
    plan: &SnapshotPlan,
    after: Option<&KeyBound>,
    chunk_rows: usize,
) -> Result<Option<ChunkRange>> {
    if plan.empty {
        return Ok(None);
    }
    if plan.whole {
        // Its one chunk ends at a bound without columns, so that there is something to go on behind.
        return Ok(after.is_none().then(|| ChunkRange { lower: None, upper: Some(KeyBound(Vec::new())) }));
    }
    let (lower, upper) = (parsed(schema, after)?, parsed(schema, plan.upper.as_ref())?);
    if lower >= upper {
        return Ok(None);
    }
    let rows = visible_rows(&server.world().visible_tables, schema)?;
    let inside = |key: &&Key| lower.as_ref().is_none_or(|lower| *key > lower) && upper.as_ref().is_none_or(|upper| *key < upper);
    let end = match rows.iter().map(|(key, _)| key).filter(inside).nth(chunk_rows.saturating_sub(1)) {
        Some(key) => Some(bound(schema, key)?),
        None => plan.upper.clone(),
    };
    Ok(Some(ChunkRange { lower: after.cloned(), upper: end }))
}

/// Refuses a server other than the one that showed `since`.
fn check_server(world: &World, name: &str, visible: &Visible) -> Result<()> {
    let answering = &world.server_uuid;
    if *answering == visible.server_uuid {
        return Ok(());
    }
    Err(super::source::broken(name, &format!("another server answers ({answering}) than the one that showed `since`")))
}

/// A chunk as one consistent read saw it.
pub(super) struct MemoryReader {
    server: MemoryServer,
    name: String,
    schema: Arc<TableSchema>,
    incarnation: u64,
    rows: std::vec::IntoIter<Row>,
}

impl MemoryReader {
    pub(super) fn open(
        server: &MemoryServer,
        name: &str,
        schema: Arc<TableSchema>,
        range: &ChunkRange,
        visible: &Visible,
    ) -> Result<Self> {
        let world = server.world();
        check_server(&world, name, visible)?;
        if world.visible_tables.get(&schema.name).is_some_and(|table| table.schema.physical != schema.physical) {
            return Err(table_error(&schema, "the table has another shape than the one that is captured"));
        }
        let (lower, upper) = (parsed(&schema, range.lower.as_ref())?, parsed(&schema, range.upper.as_ref())?);
        let (whole, closed) = (schema.key.is_empty(), !planted(Mistake::ChunkBoundsInNeither));
        let inside = |key: &Key| {
            whole
                || lower.as_ref().is_none_or(|lower| key > lower)
                    && upper.as_ref().is_none_or(|upper| key < upper || (key == upper && closed))
        };
        let mut rows = visible_rows(&world.visible_tables, &schema)?;
        rows.retain(|(key, _)| inside(key));
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        let incarnation = world.incarnation;
        drop(world);
        Ok(Self { server: server.clone(), name: name.to_owned(), schema, incarnation, rows: rows.into_iter() })
    }

    fn check(&self) -> Result<()> {
        if self.server.world().incarnation == self.incarnation {
            Ok(())
        } else {
            Err(super::source::broken(&self.name, "the server closed the connection"))
        }
    }
}

fn width(row: &[Value]) -> usize {
    row.iter()
        .map(|value| match value {
            Value::Text(text) | Value::Decimal(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 8,
        })
        .sum()
}

#[async_trait]
impl ChunkReader for MemoryReader {
    async fn next_rows(&mut self, sink: &mut (dyn RowSink + Send), bytes: usize) -> Result<u64> {
        self.server.called(Call::NextRows)?;
        self.check()?;
        let (mut count, mut read) = (0, 0);
        while count == 0 || read < bytes {
            let Some(row) = self.rows.next() else { break };
            read += width(&row);
            count += 1;
            drive(&row, &self.schema, Image::After, sink).map_err(|error| Error::Row {
                table: self.schema.name.clone(),
                position: BinlogPosition::default(),
                reason: error.to_string(),
                remedy: "exclude the column".to_owned(),
            })?;
        }
        Ok(count)
    }

    async fn high(self: Box<Self>) -> Result<Sample> {
        self.server.called(Call::High)?;
        self.check()?;
        match () {
            () if planted(Mistake::HighFromExecuted) => Ok(self.server.executed_end()),
            () if planted(Mistake::HandoffOneEarly) => Ok(self.server.last_start()),
            () => Ok(self.server.flushed_end()),
        }
    }
}

/// Waits until all below `since` is visible, and no XA transaction that was prepared by then is open.
pub(super) async fn wait_visible(server: &MemoryServer, name: &str, since: &Checkpoint, timeout: Duration) -> Result<Visible> {
    let mut changed = server.shared.changed.subscribe();
    let mut open: Option<Vec<String>> = None;
    let shown = async {
        loop {
            server.called(Call::WaitVisible)?;
            if let Some(visible) = shows(server, name, since)? {
                let open = open.get_or_insert_with(|| server.xa_recover());
                let still = server.xa_recover();
                open.retain(|xid| still.contains(xid));
                if open.is_empty() || planted(Mistake::XaPreparedBeforeSince) {
                    return Ok(visible);
                }
            }
            if changed.changed().await.is_err() {
                return Err(super::source::broken(name, "the server is gone"));
            }
        }
    };
    match tokio::time::timeout(timeout, shown).await {
        Ok(visible) => visible,
        Err(_) => Err(Error::Timeout {
            name: name.to_owned(),
            what: format!("the visibility of all below {}", since.position),
            seconds: timeout.as_secs(),
        }),
    }
}

fn shows(server: &MemoryServer, name: &str, since: &Checkpoint) -> Result<Option<Visible>> {
    let world = server.world();
    let (shown, by) = match &since.gtids {
        Some(set) => (world.executed.contains_set(set), "gtid_executed"),
        None if since.server_uuid != world.server_uuid => {
            return Err(Error::History {
                name: name.to_owned(),
                reason: format!("server_uuid changed from {} to {}, without GTIDs", since.server_uuid, world.server_uuid),
                remedy: "rebuild the tables of the source".to_owned(),
                lost: true,
            });
        }
        None => {
            let place = since.position.0;
            let mut below = world.history.iter().zip(&world.visible);
            let hidden = below.any(|(logged, visible)| !visible && (logged.file, logged.offset) < (place.file, place.offset));
            (!hidden, "log_status")
        }
    };
    Ok(shown.then(|| Visible { server_uuid: world.server_uuid.clone(), by: by.to_owned() }))
}
