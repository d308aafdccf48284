//! A transaction whose end has not come yet.

use std::sync::Arc;

use crate::change::{BinlogPosition, Gtid, TableName};
use crate::source::{Part, PreparedXa, Result};

use super::body::{Body, tag};
use super::effects::{Place, table_of};
use super::event::Event;
use super::plan::Plan;
use super::spill::{SpillSettings, Store};
use super::tables::Tables;

/// How far a transaction has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Its GTID event was read: one statement, or BEGIN.
    Headed,
    /// BEGIN was read.
    Begun,
    /// XA START of this xid was read.
    Xa(String),
}

/// The first event of a transaction.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) place: Place,
    /// CRC32 of the first event.
    pub(super) crc: u32,
    pub(super) gtid: Option<Gtid>,
    pub(super) committed_us: i64,
    /// The server sends it again; it was received before.
    pub(super) received_before: bool,
}

/// What has come of a transaction so far.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) head: Head,
    pub(super) progress: Progress,
    /// Tells this group's table maps from older ones.
    pub(super) number: u64,
    /// Row events of tables that are not captured were left out.
    pub(super) left_out: bool,
    store: Store,
    plans: Vec<Arc<Plan>>,
    parts: Vec<Part>,
    savepoints: Vec<Savepoint>,
}

#[derive(Debug)]
struct Savepoint {
    name: String,
    bytes: u64,
    parts: usize,
}

impl Group {
    pub(super) fn new(head: Head, number: u64, spill: SpillSettings) -> Self {
        Self {
            head,
            progress: Progress::Headed,
            number,
            left_out: false,
            store: Store::new(spill),
            plans: Vec::new(),
            parts: Vec::new(),
            savepoints: Vec::new(),
        }
    }

    pub(super) fn start(&self) -> BinlogPosition {
        self.head.place.start
    }

    /// Bytes in memory.
    pub(super) fn held_bytes(&self) -> u64 {
        self.store.held_bytes()
    }

    pub(super) fn push_rows(&mut self, plan: &Arc<Plan>, event: &Event<'_>) -> Result<()> {
        // A transaction has few tables, and mostly the last one again.
        let known = self.plans.iter().rposition(|known| Arc::ptr_eq(known, plan));
        let number = known.unwrap_or_else(|| {
            self.plans.push(Arc::clone(plan));
            self.plans.len() - 1
        }) as u32;
        let [a, b, c, d] = number.to_le_bytes();
        self.store.push(tag::ROWS, &[a, b, c, d, event.header.kind], event.body)
    }

    /// Keeps a part that is known already; one of a kind and table is enough for anything but TRUNCATE.
    pub(super) fn push_part(&mut self, part: Part) -> Result<()> {
        let is_new = match &part {
            Part::Unusable { table, .. } => !self.has_unusable(table),
            _ => true,
        };
        if !is_new {
            return Ok(());
        }
        self.store.push(tag::PART, &(self.parts.len() as u32).to_le_bytes(), &[])?;
        self.parts.push(part);
        Ok(())
    }

    /// Whether it was said already that this table cannot be used.
    pub(super) fn has_unusable(&self, table: &TableName) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Unusable { .. }) && table_of(part) == table)
    }

    /// Keeps an event of an XA transaction as it came.
    pub(super) fn push_raw(&mut self, kind: u8, event: &Event<'_>) -> Result<()> {
        match kind {
            tag::RAW_MAP => self.store.push(kind, &[], event.body),
            _ => self.store.push(kind, &[event.header.kind], event.body),
        }
    }

    pub(super) fn savepoint(&mut self, name: String) {
        self.savepoints.retain(|savepoint| savepoint.name != name);
        self.savepoints.push(Savepoint { name, bytes: self.store.len(), parts: self.parts.len() });
    }

    /// Forgets what came behind the savepoint. The server writes this only where it could not cut its own cache.
    pub(super) fn roll_back_to(&mut self, name: &str) -> Result<bool> {
        let Some(index) = self.savepoints.iter().position(|savepoint| savepoint.name == name) else { return Ok(false) };
        self.savepoints.truncate(index + 1);
        if let Some(savepoint) = self.savepoints.last() {
            self.store.truncate(savepoint.bytes)?;
            self.parts.truncate(savepoint.parts);
        }
        Ok(true)
    }

    /// The transaction's parts; None where nothing of a captured table is in it.
    pub(super) fn into_body(self, source: &Arc<str>) -> Result<Option<Body>> {
        if self.store.len() == 0 || self.head.received_before {
            return Ok(None);
        }
        let reader = self.store.into_reader()?;
        Ok(Some(Body::new(Arc::clone(source), self.head.place, reader, self.plans, self.parts, None)))
    }

    /// The parts of a transaction all of whose events were kept as they came.
    pub(super) fn into_raw_body(self, source: &Arc<str>, tables: Tables) -> Result<Option<Body>> {
        if self.head.received_before {
            return Ok(None);
        }
        raw_body(self.store, source, self.head.place, tables)
    }

    /// Ends with PREPARE: the place, and what was kept.
    pub(super) fn into_prepared(self, xid: String) -> (PreparedXa, Store) {
        let place = self.head.place;
        let gtid = self.head.gtid.as_ref().map(ToString::to_string);
        (PreparedXa { xid, file_name: place.file_name.to_string(), offset: place.start.offset, gtid }, self.store)
    }
}

/// The parts of events that were kept as they came, as they count at `place`.
pub(super) fn raw_body(store: Store, source: &Arc<str>, place: Place, tables: Tables) -> Result<Option<Body>> {
    if store.len() == 0 {
        return Ok(None);
    }
    Ok(Some(Body::new(Arc::clone(source), place, store.into_reader()?, Vec::new(), Vec::new(), Some(tables))))
}
