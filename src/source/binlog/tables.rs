//! Which table a number in the stream means, and how its rows are read: table maps resolved against the capture.
//!
//! A server sends the same table map again and again; equal bytes are resolved once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::change::{BinlogPosition, Capture, Cut, TableName};
use crate::source::{Flavor, Problem};

use super::ddl::NameCase;
use super::event::Malformed;
use super::plan::{Decoders, Plan, compile};
use super::table_map::{TableMap, parse_name, table_id};

/// A server gives a table a new number at every change; old ones are forgotten together.
const TABLES_MAX: usize = 16 * 1024;

/// How a table's rows are read, or why they cannot be.
pub(super) type Reading = Result<Arc<Plan>, Arc<(TableName, Problem)>>;

/// What is known of a table number.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// The table is not captured.
    Ignored,
    /// It is, from `since` on.
    Captured { since: Cut, plan: Reading },
}

#[derive(Debug)]
struct Entry {
    map: Box<[u8]>,
    known: Known,
    /// The transaction in which the server said so last.
    transaction: u64,
}

/// Table numbers and what they mean.
#[derive(Debug)]
pub(super) struct Tables {
    capture: Arc<Capture>,
    case: NameCase,
    flavor: Flavor,
    decoders: Decoders,
    entries: HashMap<u64, Entry>,
}

impl Tables {
    pub(super) fn new(capture: Arc<Capture>, case: NameCase, flavor: Flavor) -> Self {
        Self { capture, case, flavor, decoders: Decoders::new(), entries: HashMap::new() }
    }

    /// The same, knowing no table map.
    pub(super) fn anew(&self) -> Self {
        Self::new(Arc::clone(&self.capture), self.case, self.flavor)
    }

    pub(super) fn capture(&self) -> &Arc<Capture> {
        &self.capture
    }

    pub(super) fn case(&self) -> NameCase {
        self.case
    }

    /// Other tables are captured from now on.
    pub(super) fn set_capture(&mut self, capture: Arc<Capture>) {
        self.capture = capture;
        self.entries.clear();
    }

    /// The server was started anew: its numbers begin again.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
    }

    /// Takes the body of a table map event of this transaction.
    pub(super) fn take_map(&mut self, body: &[u8], transaction: u64) -> Result<(), Malformed> {
        let id = table_id(body)?;
        if let Some(entry) = self.entries.get_mut(&id)
            && *entry.map == *body
        {
            entry.transaction = transaction;
            return Ok(());
        }
        let known = self.resolve(body)?;
        if self.entries.len() >= TABLES_MAX {
            // Those of the transaction at hand are still needed.
            self.entries.retain(|_, entry| entry.transaction == transaction);
        }
        self.entries.insert(id, Entry { map: body.into(), known, transaction });
        Ok(())
    }

    /// What a row event's table number means in this transaction.
    pub(super) fn get(&self, id: u64, transaction: u64) -> Result<&Known, Malformed> {
        match self.entries.get(&id) {
            Some(entry) if entry.transaction == transaction => Ok(&entry.known),
            _ => Err(Malformed(format!("a row event of table number {id}, which no table map of its transaction explains"))),
        }
    }

    fn resolve(&mut self, body: &[u8]) -> Result<Known, Malformed> {
        let (database, table) = parse_name(body)?;
        let name = self.case.fold(database, table);
        let Some(captured) = self.capture.tables.get(&name) else { return Ok(Known::Ignored) };
        let plan = match TableMap::parse(body, self.flavor) {
            Ok(map) => compile(&map, &captured.schema, &mut self.decoders).map(Arc::new),
            Err(malformed) => Err(Problem {
                reason: format!("the binlog's description of {name} cannot be read: {malformed}"),
                remedy: format!("leave {name} out, or run `binlake rebuild {name}` once its columns are of known types"),
            }),
        };
        Ok(Known::Captured { since: captured.since, plan: plan.map_err(|problem| Arc::new((name, problem))) })
    }
}

impl Known {
    /// How the rows of a transaction that starts here are read; None where they are not wanted.
    pub(super) fn at(&self, start: BinlogPosition) -> Option<&Reading> {
        match self {
            Self::Captured { since, plan } if !since.covers(start) => Some(plan),
            _ => None,
        }
    }
}
