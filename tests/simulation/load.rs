//! The load: applications that write to the server, and transactions that are in the binlog long before their rows can be seen.

use std::sync::Mutex;

use binlake::change::{Charset, ColumnType, Operation, TableName};
use binlake::pipeline::bell::Bell;
use binlake::source::Sample;
use binlake::source::memory::{Failover, Flushed, MemoryServer, Op, Refusal};
use rand::RngExt;

use crate::history::{Cell, Change, Row};
use crate::stage::{Scene, Stage};

/// The applications.
pub(crate) struct Load {
    pub server: MemoryServer,
    /// Rings with everything that the server does; wakes in the order of the waiting.
    pub bell: Bell,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tables: Vec<TableName>,
    next: i64,
    /// Flushed and not visible.
    hidden: Vec<Flushed>,
    /// What the XA transaction that is prepared will do.
    prepared: Option<Vec<(TableName, Change)>>,
    gtids: bool,
    /// How many transactions there were when the last table was created.
    created: Option<usize>,
    /// So many servers have answered before this one.
    servers: u64,
    /// So many transactions the one that answers has not applied yet.
    behind: usize,
}

/// The tables that the server has from the beginning.
pub(crate) const FIRST: &[&str] = &["numbered", "named", "journal"];
/// One whose second column is a DATE, by which its mirror may be cut.
pub(crate) const BY_DAY: &str = "named";
/// One that is created on the way.
pub(crate) const LATER: &str = "later";

impl Load {
    pub(crate) fn new(server: &MemoryServer, gtids: bool) -> Self {
        Self { server: server.clone(), bell: Bell::default(), state: Mutex::new(State { gtids, ..State::default() }) }
    }

    /// Creates a table; behind the first transaction this is one of its own.
    pub(crate) fn create(&self, stage: &Stage, name: &str) {
        let integer = ColumnType::Integer { bits: 64, unsigned: false };
        let text = ColumnType::Text { charset: Charset("utf8mb4".to_owned()) };
        let (key, value) = if name == BY_DAY { (text, ColumnType::Date) } else { (integer.clone(), integer) };
        let table = TableName::new("shop", name);
        let mut scene = stage.scene();
        let before = self.server.flushed_end();
        self.server.create_table(&table, &[("id", key), ("n", value)], &["id"]);
        let after = self.server.flushed_end();
        if (before.file, before.offset) != (after.file, after.offset) {
            scene.oracle.pushed(start(&before, &after), self.server.clock_us(), Vec::new());
        }
        scene.oracle.history.table(&table);
        let transactions = scene.oracle.history.transactions();
        scene.stepped(0, "create table", &format_args!("{name}"));
        drop(scene);
        let mut state = self.state.lock().unwrap();
        state.created = Some(transactions);
        state.tables.push(table);
        drop(state);
        self.bell.ring();
    }

    /// Whether the table is not there yet, and the server takes statements.
    pub(crate) fn may_create(&self, name: &str) -> bool {
        !self.has(name) && self.state.lock().unwrap().behind == 0
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.state.lock().unwrap().tables.iter().any(|table| table.table == name)
    }

    /// Between two answers of the server.
    pub(crate) fn meanwhile(&self, stage: &Stage) {
        let writes = {
            let mut scene = stage.scene();
            !scene.calm && scene.chance(0.04)
        };
        if writes {
            self.transaction(stage);
        }
    }

    /// One transaction; sometimes it is in the binlog long before its rows are visible.
    pub(crate) fn transaction(&self, stage: &Stage) {
        let mut scene = stage.scene();
        let scene = &mut *scene;
        let mut state = self.state.lock().unwrap();
        if state.behind > 0 {
            let most = scene.between(1, 4) as usize;
            state.behind = self.server.catch_up(most);
            self.took_over(scene, state.behind == 0);
            scene.stepped(0, "replica", &format_args!("is {} behind", state.behind));
            self.bell.ring();
            return;
        }
        if self.xa(scene, &mut state) {
            self.bell.ring();
            return;
        }
        let (ops, changes) = state.plan(scene);
        if ops.is_empty() {
            return;
        }
        let before = self.server.flushed_end();
        let races = !scene.calm && scene.chance(0.3);
        let flushed = match races {
            true => {
                scene.coverage.count("load: visible later than flushed");
                self.server.flush(ops)
            }
            false => self.server.execute(ops),
        };
        let flushed = match flushed {
            Ok(flushed) => flushed,
            Err(Refusal::Locked(_)) => return,
            Err(refusal) => panic!("the plan does not fit the tables: {refusal}"),
        };
        let place = start(&before, &self.server.flushed_end());
        let count = changes.len();
        scene.oracle.pushed(place, self.server.clock_us(), changes);
        scene.coverage.count("load: transaction");
        scene.stepped(0, "transaction", &format_args!("{count} at {place:?} races {races}"));
        if races {
            state.hidden.push(flushed);
        }
        while state.hidden.len() > 2 || (!state.hidden.is_empty() && scene.chance(0.4)) {
            let index = scene.dice.random_range(0..state.hidden.len());
            self.server.make_visible(state.hidden.remove(index));
            scene.stepped(0, "visible", &format_args!(""));
        }
        self.bell.ring();
    }

    /// Prepares an XA transaction, or ends the one that is prepared; whether it did.
    fn xa(&self, scene: &mut Scene, state: &mut State) -> bool {
        let Some(changes) = state.prepared.take() else {
            if !scene.chance(0.04) {
                return false;
            }
            let (ops, changes) = state.plan(scene);
            if changes.iter().any(|(_, change)| change.operation == 't') || self.server.xa_prepare("x", ops).is_err() {
                return false;
            }
            scene.coverage.count("load: XA prepared");
            scene.oracle.logged(self.server.clock_us());
            scene.stepped(0, "XA PREPARE", &format_args!("{}", changes.len()));
            state.prepared = Some(changes);
            return true;
        };
        if !scene.calm && scene.chance(0.6) {
            state.prepared = Some(changes);
            return false;
        }
        let before = self.server.flushed_end();
        let commits = scene.chance(0.8);
        if commits {
            let flushed = self.server.xa_commit("x").unwrap();
            self.server.make_visible(flushed);
        } else {
            self.server.xa_rollback("x").unwrap();
        }
        let changes = if commits { changes } else { Vec::new() };
        scene.oracle.pushed(start(&before, &self.server.flushed_end()), self.server.clock_us(), changes);
        scene.stepped(0, "XA end", &format_args!("commits {commits}"));
        true
    }

    /// Another server takes over, with other files, and behind for a while.
    pub(crate) fn fail_over(&self, stage: &Stage) {
        let mut scene = stage.scene();
        let scene = &mut *scene;
        let mut state = self.state.lock().unwrap();
        if !state.gtids || state.prepared.is_some() || state.behind > 0 {
            return;
        }
        state.servers += 1;
        let mut failover = Failover::to(&format!("00000000-0000-4000-8000-{:012}", state.servers + 1));
        // A table that is listed by its name and not there yet is a mistake of the list.
        let lag = scene.between(1, 6) as usize;
        let created = state.created.is_some_and(|created| scene.oracle.history.transactions() < created + lag);
        failover.behind = if created || scene.chance(0.5) { 0 } else { lag };
        failover.first_file = scene.between(1, 12);
        failover.shifted = scene.between(0, 2000);
        if scene.chance(0.3) {
            failover.file_base = "binlog".to_owned();
        }
        self.server.fail_over(&failover);
        state.hidden.clear();
        state.behind = self.server.catch_up(0);
        self.took_over(scene, state.behind == 0);
        scene.coverage.count("fault: failover");
        scene.stepped(0, "failover", &format_args!("{failover:?}"));
        self.bell.ring();
    }

    /// Where the server that answers now has everything.
    fn took_over(&self, scene: &mut Scene, complete: bool) {
        let end = self.server.flushed_end();
        let names: Vec<TableName> = scene.oracle.history.tables.iter().map(|table| table.name.clone()).collect();
        let places = |name: TableName| {
            let written = self.server.written_in(&name, self.server.era()).unwrap();
            let rows = written.iter().filter(|written| !matches!(written.changes[..], [(Operation::Schema, ..)]));
            let places: Vec<(u64, u64)> = rows.map(|written| (written.file, written.offset)).collect();
            (name, places)
        };
        let places: Vec<_> = names.into_iter().map(places).collect();
        scene.oracle.history.moved(&end.server_uuid, &places, (end.file, end.offset), complete);
    }

    /// A replica catches up, what is prepared ends, and the storage engine catches up with the binlog.
    pub(crate) fn show_all(&self, stage: &Stage) {
        let mut scene = stage.scene();
        let scene = &mut *scene;
        let mut state = self.state.lock().unwrap();
        if state.behind > 0 {
            state.behind = self.server.catch_up(usize::MAX);
            self.took_over(scene, true);
        }
        if state.prepared.is_some() {
            self.xa(scene, &mut state);
        }
        self.server.make_all_visible();
        state.hidden.clear();
        self.bell.ring();
    }
}

/// Where the model's files begin.
const FILE_START: u64 = 158;

/// Where a transaction starts that was written between two samples: a file that is full ends before it.
fn start(before: &Sample, after: &Sample) -> (u64, u64) {
    if before.file == after.file { (before.file, before.offset) } else { (after.file, FILE_START) }
}

type Planned = (Vec<Op>, Vec<(TableName, Change)>);

impl State {
    fn plan(&mut self, scene: &mut Scene) -> Planned {
        let (mut ops, mut changes): Planned = Default::default();
        if scene.chance(0.01) {
            let table = self.any(scene);
            ops.push(Op::Truncate { table: table.clone() });
            changes.push((table, record('t', None, None)));
            scene.coverage.count("load: truncate");
            return (ops, changes);
        }
        let most = if scene.chance(0.05) { 15 } else { 4 };
        for _ in 0..scene.between(1, most + 1) {
            let table = self.any(scene);
            // Against the rows as they are inside this transaction.
            let mut rows = scene.oracle.history.table(&table).rows.clone();
            changes.iter().filter(|(name, _)| *name == table).for_each(|(_, change)| crate::history::apply(&mut rows, change));
            let chosen = match rows.len() {
                0 => None,
                count => rows.values().nth(scene.dice.random_range(0..count)).cloned(),
            };
            let (op, done) = self.op(scene, &table, chosen);
            ops.push(op);
            changes.extend(done.into_iter().map(|change| (table.clone(), change)));
        }
        (ops, changes)
    }

    fn any(&self, scene: &mut Scene) -> TableName {
        self.tables[scene.dice.random_range(0..self.tables.len())].clone()
    }

    fn op(&mut self, scene: &mut Scene, table: &TableName, chosen: Option<Row>) -> (Op, Vec<Change>) {
        self.next += 1;
        let number = if scene.chance(0.7) { self.next } else { -self.next };
        let by_day = table.table == BY_DAY;
        let fresh = if by_day { Cell::Text(format!("k{number}")) } else { Cell::Number(number) };
        let n = match (scene.chance(0.1), by_day) {
            (true, _) => Cell::Null,
            (false, true) if scene.chance(0.6) => Cell::Day(scene.dice.random_range(0..4)),
            (false, true) => Cell::Day(scene.dice.random_range(0..1_000_000)),
            (false, false) => Cell::Number(scene.dice.random_range(0..1_000_000)),
        };
        let values = |row: &Row| row.iter().map(Cell::value).collect::<Vec<_>>();
        let kind = scene.between(0, 100);
        let table = table.clone();
        match (kind, chosen) {
            (0..=44, _) | (_, None) => {
                let row = vec![fresh, n];
                (Op::Insert { table, row: values(&row) }, vec![record('c', None, Some(row))])
            }
            (45..=74, Some(old)) => {
                let row = vec![old[0].clone(), n];
                let op = Op::Update { table, key: vec![old[0].value()], row: values(&row) };
                (op, vec![record('u', Some(old), Some(row))])
            }
            (75..=84, Some(old)) => (Op::Delete { table, key: vec![old[0].value()] }, vec![record('d', Some(old), None)]),
            (_, Some(old)) => {
                let row = vec![fresh, n];
                let op = Op::Update { table, key: vec![old[0].value()], row: values(&row) };
                (op, vec![record('d', Some(old), None), record('c', None, Some(row))])
            }
        }
    }
}

fn record(operation: char, before: Option<Row>, after: Option<Row>) -> Change {
    Change { transaction: 0, ordinal: 0, operation, before, after }
}
