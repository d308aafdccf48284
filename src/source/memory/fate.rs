//! What befalls a whole server: another takes over, it crashes, it is reset; and what its earlier histories said.

use std::collections::VecDeque;
use std::sync::Arc;

use super::world::{Change, Era, FILE_START, Kind, Logged, Prepared, Tables, World, replay};
use super::{Failover, Written};
use crate::change::{Gtid, GtidSet, Operation, TableName};

impl Era {
    /// The tables as all that starts below a place leaves them.
    pub(super) fn tables_at(&self, file: u64, offset: u64) -> Tables {
        tables_at(&self.base, &self.history, file, offset)
    }
}

fn tables_at(base: &Tables, history: &[Arc<Logged>], file: u64, offset: u64) -> Tables {
    let mut tables = base.clone();
    for logged in history.iter().take_while(|logged| (logged.file, logged.offset) < (file, offset)) {
        for (name, _, change) in logged.applied() {
            replay(&mut tables, name, change);
        }
    }
    tables
}

fn written(history: &[Arc<Logged>], table: &TableName) -> Vec<Written> {
    let of_table = |logged: &Arc<Logged>| {
        let mine = logged.applied().iter().filter(|(name, ..)| name == table);
        let changes: Vec<_> = mine
            .map(|(_, _, change)| match change {
                Change::Row { operation, before, after } => (*operation, before.clone(), after.clone()),
                Change::Truncate { .. } => (Operation::Truncate, None, None),
                Change::Shape { .. } => (Operation::Schema, None, None),
            })
            .collect();
        let gtid = logged.gtid.as_ref().map(Gtid::to_string);
        let (file, offset, committed_us) = (logged.file, logged.offset, logged.committed_us);
        (!changes.is_empty()).then_some(Written { file, offset, gtid, committed_us, changes })
    };
    history.iter().filter_map(of_table).collect()
}

impl World {
    /// The number of the history at hand; those before it count from 0.
    pub(super) fn era(&self) -> usize {
        self.past.len()
    }

    /// The tables of a history as all that starts below a place leaves them.
    pub(super) fn tables_in(&self, era: usize, file: u64, offset: u64) -> Option<Tables> {
        match self.past.get(era) {
            Some(past) => Some(past.tables_at(file, offset)),
            None => (era == self.era()).then(|| tables_at(&self.base, &self.history, file, offset)),
        }
    }

    /// The newest history of a server.
    pub(super) fn era_of(&self, server_uuid: &str) -> Option<usize> {
        if self.server_uuid == server_uuid {
            return Some(self.era());
        }
        self.past.iter().rposition(|past| past.server_uuid == server_uuid)
    }

    /// What a history says of a table.
    pub(super) fn written_in(&self, era: usize, table: &TableName) -> Option<Vec<Written>> {
        match self.past.get(era) {
            Some(past) => Some(written(&past.history, table)),
            None => (era == self.era()).then(|| written(&self.history, table)),
        }
    }

    /// The history at hand is one of the past; its transactions.
    fn leave(&mut self) -> Vec<Arc<Logged>> {
        self.incarnation += 1;
        let history = self.history.clone();
        self.past.push(Era { server_uuid: self.server_uuid.clone(), base: self.base.clone(), history });
        std::mem::take(&mut self.history)
    }

    /// Begins a history from `base` with nothing in it.
    fn begin(&mut self) {
        self.purged = 0;
        self.visible.clear();
        self.prepared.clear();
        self.executed = GtidSet::default();
        (self.flushed_tables, self.visible_tables) = (self.base.clone(), self.base.clone());
    }

    /// Takes a transaction in that was made before, at the place that it says.
    fn take(&mut self, logged: Arc<Logged>) {
        for (name, _, change) in logged.applied() {
            replay(&mut self.flushed_tables, name, change);
        }
        if let Kind::Prepare(xid) = &logged.kind {
            self.prepared.insert(xid.clone(), Prepared { changes: logged.changes.clone(), ended: None });
        }
        self.history.push(logged);
        self.visible.push(false);
        self.make_visible(self.history.len() - 1);
    }

    /// A replica applies what it has not applied yet.
    pub(super) fn catch_up(&mut self, most: usize) {
        for _ in 0..most {
            let Some(logged) = self.backlog.pop_front() else { return };
            if self.offset >= self.file_bytes {
                self.rotate();
            }
            let moved = Logged { file: self.file, offset: self.offset, ..(*logged).clone() };
            self.offset += moved.bytes();
            self.take(Arc::new(moved));
        }
    }

    /// Another server takes over; its files have other names and numbers.
    pub(super) fn fail_over(&mut self, failover: &Failover) {
        let mut history: VecDeque<Arc<Logged>> = self.leave().into();
        history.extend(std::mem::take(&mut self.backlog));
        history.truncate(history.len().saturating_sub(failover.lost));
        self.server_uuid.clone_from(&failover.server_uuid);
        self.file_base.clone_from(&failover.file_base);
        (self.file, self.offset) = (failover.first_file, FILE_START + failover.shifted);
        self.begin();
        let now = history.len().saturating_sub(failover.behind);
        self.backlog = history;
        self.catch_up(now);
    }

    /// The server crashes and comes up again without the last `lost` transactions: `sync_binlog` was not 1. Numbers and places are used
    /// again.
    pub(super) fn crash(&mut self, lost: usize) {
        let mut history = self.leave();
        let kept = history.len().saturating_sub(lost).max(self.purged);
        if let Some(first) = history.get(kept) {
            (self.file, self.offset) = (first.file, first.offset);
            let own = |logged: &Arc<Logged>| logged.gtid.as_ref().is_some_and(|gtid| gtid.origin == self.server_uuid);
            let gone = history.iter().skip(kept).filter(|logged| !self.gtids || own(logged)).count();
            self.next_number = self.next_number.saturating_sub(gone as u64).max(1);
        }
        history.truncate(kept);
        let purged = self.purged;
        self.begin();
        history.into_iter().for_each(|logged| self.take(logged));
        self.purged = purged;
        // A server begins a file when it starts.
        self.rotate();
    }

    /// `RESET BINARY LOGS AND GTIDS`: the rows stay.
    pub(super) fn reset(&mut self) {
        self.catch_up(usize::MAX);
        for index in 0..self.history.len() {
            self.make_visible(index);
        }
        self.leave();
        self.base = self.flushed_tables.clone();
        self.begin();
        (self.file, self.offset, self.next_number) = (1, FILE_START, 1);
    }
}
