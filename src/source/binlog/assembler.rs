//! Events to transactions. Pure but for the spill file: it is given events with their places and says when one has ended.
//!
//! A transaction is whole when its commit event is there: an Xid event, a COMMIT query, a statement of its own (DDL), an
//! XA_prepare event that says ONE PHASE, or the XA COMMIT of a group that was prepared before. Nothing is given on earlier, so
//! neither a rolled back transaction nor one that a crash cut off can reach the change log. SAVEPOINT ends nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::change::{BinlogPosition, Capture, Gtid, GtidSet};
use crate::source::{Error, PreparedXa, Transaction, Watched};

use super::body::tag;
use super::ddl::NameCase;
use super::effects::{Place, statement_parts};
use super::event::{Event, Malformed, kind};
use super::group::{Group, Head, Progress, raw_body};
use super::gtid::GtidEvent;
use super::mariadb::{self, gtid::Follows, gtid::GroupHead};
use super::query::{Query, statement_bytes};
use super::rows::{NO_TABLE, is_rows};
use super::spill::SpillSettings;
use super::table_map::table_id;
use super::tables::Tables;
use super::xa::{Prepare, Prepared, PreparedTransactions, XaStatement};

/// Why the stream cannot go on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The event is not understood.
    Malformed(Malformed),
    /// Rows are missing for good: what happened.
    Lost(String),
    /// Anything else.
    Error(Error),
}

impl From<Malformed> for Trouble {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

type Taken<T> = std::result::Result<T, Trouble>;

/// A transaction that has ended, whichever way.
pub(super) struct Ended {
    pub(super) head: Head,
    /// What it does to captured tables, if anything.
    pub(super) transaction: Option<Transaction>,
}

/// Collects events until a transaction has ended.
pub(super) struct Assembler {
    source: Arc<str>,
    spill: SpillSettings,
    tables: Tables,
    group: Option<Group>,
    prepared: PreparedTransactions,
    groups: u64,
    /// What is captured from the next transaction on.
    next_capture: Option<Arc<Capture>>,
    /// An XA COMMIT may be of a transaction that was prepared in an earlier file: nothing is given out yet.
    is_scanning: bool,
    watched: Arc<Watched>,
}

impl Assembler {
    pub(super) fn new(source: Arc<str>, spill: SpillSettings, capture: Arc<Capture>, case: NameCase) -> Self {
        let tables = Tables::new(capture, case);
        Self {
            source,
            spill,
            tables,
            group: None,
            prepared: PreparedTransactions::default(),
            groups: 0,
            next_capture: None,
            is_scanning: false,
            watched: Arc::default(),
        }
    }

    /// What is in hand, for those who look on.
    pub(super) fn watched(&self) -> &Arc<Watched> {
        &self.watched
    }

    /// Bytes in memory of the transaction at hand.
    pub(super) fn held_bytes(&self) -> u64 {
        self.group.as_ref().map_or(0, Group::held_bytes)
    }

    /// Whether a transaction has begun and not ended.
    pub(super) fn is_inside(&self) -> bool {
        self.group.is_some()
    }

    /// Whether row events of the transaction at hand were left out for want of a capture.
    pub(super) fn left_out(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.left_out)
    }

    pub(super) fn capture(&self) -> &Arc<Capture> {
        self.tables.capture()
    }

    /// Captures other tables from the next transaction on.
    pub(super) fn set_capture(&mut self, capture: Arc<Capture>) {
        if self.group.is_some() {
            self.next_capture = Some(capture);
        } else {
            self.next_capture = None;
            self.tables.set_capture(capture);
        }
    }

    /// What is read is only looked through, for XA transactions that are open at its end.
    pub(super) fn set_scanning(&mut self, is_scanning: bool) {
        self.is_scanning = is_scanning;
    }

    /// Forgets the transaction at hand: its events will come again.
    pub(super) fn restart(&mut self) {
        self.group = None;
        self.tables.forget();
    }

    /// The XA transactions that are prepared.
    pub(super) fn prepared(&self) -> Vec<PreparedXa> {
        self.prepared.places()
    }

    /// Keeps a prepared XA transaction that was found otherwise.
    pub(super) fn insert_prepared(&mut self, prepared: Prepared) -> Taken<()> {
        match self.prepared.insert(prepared, self.spill.bytes_max as u64)? {
            Some(malformed) => Err(malformed.into()),
            None => Ok(()),
        }
    }

    /// Forgets those of them whose rows were never received.
    pub(super) fn forget_prepared(&mut self, xids: &BTreeSet<String>) {
        self.prepared.forget(xids);
    }

    /// Gives a prepared XA transaction away.
    pub(super) fn take_prepared(&mut self, xid: &str) -> Option<Prepared> {
        self.prepared.remove(xid)
    }

    /// A file's description came. One that was written at a server's start ends what a crash cut off.
    pub(super) fn file_begins(&mut self, server_started: bool) -> Taken<()> {
        if server_started {
            self.tables.forget();
        }
        match (&self.group, server_started) {
            (None, _) => Ok(()),
            (Some(group), true) => {
                tracing::warn!(place = %group.head.place, "the server stopped within a transaction, which was never committed");
                self.group = None;
                Ok(())
            }
            (Some(group), false) => {
                Err(Malformed(format!("the transaction at {} does not end in its file", group.head.place)).into())
            }
        }
    }

    /// Takes an event that stands in a file, or in a transaction payload. `received` is what the stream has received before.
    pub(super) fn take(
        &mut self,
        event: &Event<'_>,
        place: impl FnOnce() -> Place,
        received: Option<&GtidSet>,
    ) -> Taken<Option<Ended>> {
        let event_kind = event.header.kind;
        match event_kind {
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED => self.begin(event, place(), received)?,
            mariadb::kind::GTID => self.begin_group(event, place(), received)?,
            kind::QUERY | kind::EXECUTE_LOAD_QUERY => return self.query(event, place),
            kind::TABLE_MAP => self.table_map(event)?,
            kind::XID => return self.commit().map(Some),
            kind::XA_PREPARE => return self.prepare(Prepare::parse(event.body)?).map(Some),
            event_kind if is_rows(event_kind) => self.rows(event)?,
            other => return Err(Malformed(format!("an event of type {other} has no place in a transaction")).into()),
        }
        Ok(None)
    }

    fn group(&mut self) -> Taken<&mut Group> {
        self.group.as_mut().ok_or_else(|| Malformed::new("an event of a transaction that has not begun").into())
    }

    fn begin(&mut self, event: &Event<'_>, place: Place, received: Option<&GtidSet>) -> Taken<()> {
        if let Some(group) = &self.group {
            return Err(Malformed(format!("the transaction at {} does not end before the next", group.head.place)).into());
        }
        let parsed = GtidEvent::parse(event.header.kind, event.body)?;
        let received_before = match (&parsed.gtid, received) {
            (Some(gtid), Some(received)) => received.contains(gtid),
            _ => false,
        };
        self.open(event, place, parsed.gtid, parsed.committed_us, received_before);
        Ok(())
    }

    /// MariaDB's.
    fn begin_group(&mut self, event: &Event<'_>, place: Place, received: Option<&GtidSet>) -> Taken<()> {
        if let Some(group) = &self.group {
            return Err(Malformed(format!("the transaction at {} does not end before the next", group.head.place)).into());
        }
        let head = GroupHead::parse(event.header.server_id, event.body)?;
        let received_before = received.is_some_and(|received| received.contains(&head.gtid));
        self.open(event, place, Some(head.gtid), None, received_before).progress = match head.follows {
            Follows::Statement => Progress::Headed,
            Follows::Transaction => Progress::Begun,
            Follows::Xa(xid) => Progress::Xa(xid),
        };
        Ok(())
    }

    fn open(
        &mut self,
        event: &Event<'_>,
        place: Place,
        gtid: Option<Gtid>,
        committed_us: Option<i64>,
        received_before: bool,
    ) -> &mut Group {
        let committed_us = committed_us.filter(|committed| *committed != 0);
        let committed_us = committed_us.unwrap_or_else(|| i64::from(event.header.timestamp) * 1_000_000);
        let head = Head { place, crc: event.crc, gtid, committed_us, received_before };
        self.groups += 1;
        if let Some(capture) = self.next_capture.take() {
            self.tables.set_capture(capture);
        }
        self.group.insert(Group::new(head, self.groups, self.spill.clone()))
    }

    fn query(&mut self, event: &Event<'_>, place: impl FnOnce() -> Place) -> Taken<Option<Ended>> {
        // Every transaction begins so: not worth a look at anything else.
        if event.header.kind == kind::QUERY
            && let Some(group) = &mut self.group
            && statement_bytes(event.body) == Some(b"BEGIN")
        {
            group.progress = Progress::Begun;
            return Ok(None);
        }
        let query = Query::parse(event.header.kind, event.body)?;
        if self.group.is_none() {
            // A server without GTID events.
            self.open(event, place(), None, None, false);
        }
        let sql = query.sql.trim_start();
        let verb = sql.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if verb.eq_ignore_ascii_case("BEGIN") {
            self.group()?.progress = Progress::Begun;
            return Ok(None);
        }
        if let Some(statement) = XaStatement::parse(sql) {
            return self.xa(statement);
        }
        if self.group()?.progress == Progress::Headed {
            self.statement(event, &query)?;
            return self.commit().map(Some);
        }
        match verb.to_ascii_uppercase().as_str() {
            "COMMIT" => self.commit().map(Some),
            "ROLLBACK" => self.roll_back(sql),
            "SAVEPOINT" => {
                let name = savepoint_name(sql);
                self.group()?.savepoint(name);
                Ok(None)
            }
            "RELEASE" => Ok(None),
            _ => self.statement(event, &query).map(|()| None),
        }
    }

    fn roll_back(&mut self, sql: &str) -> Taken<Option<Ended>> {
        let is_partial = sql.split_whitespace().nth(1).is_some_and(|word| word.eq_ignore_ascii_case("TO"));
        if !is_partial {
            return self.end(false).map(Some);
        }
        let name = savepoint_name(sql);
        if !self.group()?.roll_back_to(&name)? {
            return Err(Malformed(format!("ROLLBACK TO a savepoint {name:?} that was not set")).into());
        }
        Ok(None)
    }

    /// A statement that is neither the begin nor the end of a transaction.
    fn statement(&mut self, event: &Event<'_>, query: &Query) -> Taken<()> {
        let (capture, case) = (Arc::clone(self.tables.capture()), self.tables.case());
        let group = self.group()?;
        if matches!(group.progress, Progress::Xa(_)) {
            group.push_raw(tag::RAW_QUERY, event)?;
            return Ok(());
        }
        for part in statement_parts(query, &capture, case, &group.head.place) {
            group.push_part(part)?;
        }
        Ok(())
    }

    fn table_map(&mut self, event: &Event<'_>) -> Taken<()> {
        let group = self.group.as_mut().ok_or_else(|| Malformed::new("a table map outside a transaction"))?;
        match group.progress {
            Progress::Xa(_) => group.push_raw(tag::RAW_MAP, event)?,
            Progress::Begun => self.tables.take_map(event.body, group.number)?,
            Progress::Headed => return Err(Malformed::new("a table map before the BEGIN of its transaction").into()),
        }
        Ok(())
    }

    fn rows(&mut self, event: &Event<'_>) -> Taken<()> {
        let id = table_id(event.body)?;
        let group = self.group.as_mut().ok_or_else(|| Malformed::new("a row event outside a transaction"))?;
        if id == NO_TABLE {
            return Ok(());
        }
        if matches!(group.progress, Progress::Xa(_)) {
            group.push_raw(tag::RAW_ROWS, event)?;
            return Ok(());
        }
        match self.tables.get(id, group.number)?.at(group.start()) {
            None => group.left_out = true,
            Some(Ok(plan)) => group.push_rows(plan, event)?,
            Some(Err(unusable)) => {
                if !group.has_unusable(&unusable.0) {
                    let part = super::effects::unusable(unusable, &group.head.place);
                    group.push_part(part)?;
                }
            }
        }
        Ok(())
    }

    fn xa(&mut self, statement: XaStatement) -> Taken<Option<Ended>> {
        match statement {
            XaStatement::Start(xid) => {
                self.group()?.progress = Progress::Xa(xid);
                Ok(None)
            }
            XaStatement::End => Ok(None),
            XaStatement::Commit(xid) => self.commit_prepared(&xid).map(Some),
            XaStatement::Rollback(xid) => {
                self.prepared.remove(&xid);
                self.end(false).map(Some)
            }
        }
    }

    /// `XA COMMIT` of a transaction that was prepared before: it counts from here.
    fn commit_prepared(&mut self, xid: &str) -> Taken<Ended> {
        let head = self.group()?.head.clone();
        if head.received_before {
            return self.end(false);
        }
        let Some(prepared) = self.prepared.remove(xid) else {
            if self.is_scanning {
                return self.end(false);
            }
            return Err(Trouble::Lost(format!(
                "the XA transaction {xid} was committed at {} and its rows were never received: it was prepared before the stream",
                head.place
            )));
        };
        self.group = None;
        let mut transaction = None;
        if let Some(store) = prepared.store {
            let tables = Tables::new(Arc::clone(self.tables.capture()), self.tables.case());
            let body = raw_body(store, &self.source, head.place.clone(), tables)?;
            transaction = body.map(|body| as_transaction(&head, body));
        }
        Ok(Ended { head, transaction })
    }

    fn prepare(&mut self, prepare: Prepare) -> Taken<Ended> {
        let Some(group) = self.group.take() else { return Err(Malformed::new("XA PREPARE outside a transaction").into()) };
        let head = group.head.clone();
        if prepare.one_phase {
            let tables = Tables::new(Arc::clone(self.tables.capture()), self.tables.case());
            let body = group.into_raw_body(&self.source, tables)?;
            return Ok(Ended { transaction: body.map(|body| as_transaction(&head, body)), head });
        }
        // A group that comes again is not prepared twice.
        if !head.received_before {
            let (place, store) = group.into_prepared(prepare.xid);
            self.insert_prepared(Prepared { place, store: Some(store) })?;
        }
        Ok(Ended { head, transaction: None })
    }

    fn commit(&mut self) -> Taken<Ended> {
        self.end(true)
    }

    fn end(&mut self, is_committed: bool) -> Taken<Ended> {
        let Some(group) = self.group.take() else {
            return Err(Malformed::new("the end of a transaction that has not begun").into());
        };
        let head = group.head.clone();
        let body = if is_committed { group.into_body(&self.source)? } else { None };
        Ok(Ended { transaction: body.map(|body| as_transaction(&head, body)), head })
    }

    /// Where the transaction at hand starts.
    pub(super) fn group_start(&self) -> Option<BinlogPosition> {
        self.group.as_ref().map(Group::start)
    }

    /// The place of the transaction at hand: what stands in its payload has it too.
    pub(super) fn group_place(&self) -> Option<Place> {
        self.group.as_ref().map(|group| group.head.place.clone())
    }
}

fn as_transaction(head: &Head, body: super::body::Body) -> Transaction {
    Transaction {
        start: head.place.start,
        file_name: Arc::clone(&head.place.file_name),
        gtid: head.gtid.as_ref().map(Gtid::to_string),
        committed_us: head.committed_us,
        body: Box::new(body),
    }
}

/// The name at the end of a savepoint statement.
fn savepoint_name(sql: &str) -> String {
    let name = sql.split_once(char::is_whitespace).map_or("", |(_, name)| name).trim();
    let name = match name.get(..3) {
        Some(to) if to.eq_ignore_ascii_case("TO ") => name.get(3..).unwrap_or_default().trim(),
        _ => name,
    };
    name.trim_matches('`').to_ascii_lowercase()
}
