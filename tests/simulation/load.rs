//! The load: applications that write to the server, and transactions that are in the binlog long before their rows can be seen.

use std::sync::Mutex;

use binlake::change::{Charset, ColumnType, TableName};
use binlake::source::memory::{Flushed, MemoryServer, Op};
use rand::RngExt;

use crate::history::{Cell, Change, Row};
use crate::stage::{Scene, Stage};

/// The applications.
pub(crate) struct Load {
    pub server: MemoryServer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tables: Vec<TableName>,
    next: i64,
    /// Flushed and not visible.
    hidden: Vec<Flushed>,
}

/// The tables that the server has from the beginning.
pub(crate) const FIRST: &[&str] = &["numbered", "named", "journal"];
/// One that is created on the way.
pub(crate) const LATER: &str = "later";

impl Load {
    pub(crate) fn new(server: &MemoryServer) -> Self {
        Self { server: server.clone(), state: Mutex::default() }
    }

    /// Creates a table; behind the first transaction this is one of its own.
    pub(crate) fn create(&self, stage: &Stage, name: &str) {
        let integer = ColumnType::Integer { bits: 64, unsigned: false };
        let text = ColumnType::Text { charset: Charset("utf8mb4".to_owned()) };
        let key = if name == "named" { text } else { integer.clone() };
        let table = TableName::new("shop", name);
        let mut scene = stage.scene();
        let before = self.server.flushed_end();
        self.server.create_table(&table, &[("id", key), ("n", integer)], &["id"]);
        let after = self.server.flushed_end();
        if (before.file, before.offset) != (after.file, after.offset) {
            scene.oracle.history.push((after.file, after.offset - SIZE - CHANGE_SIZE), Vec::new());
        }
        scene.oracle.history.table(&table);
        scene.stepped(0, "create table", &format_args!("{name}"));
        drop(scene);
        self.state.lock().unwrap().tables.push(table);
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
        let (ops, changes) = state.plan(scene);
        if ops.is_empty() {
            return;
        }
        let size = SIZE + CHANGE_SIZE * ops.len() as u64;
        let races = !scene.calm && scene.chance(0.3);
        let flushed = match races {
            true => {
                scene.coverage.count("load: visible later than flushed");
                self.server.flush(ops)
            }
            false => self.server.execute(ops),
        };
        let flushed = flushed.expect("the plan fits the tables");
        let end = self.server.flushed_end();
        let count = changes.len();
        scene.oracle.history.push((end.file, end.offset - size), changes);
        scene.coverage.count("load: transaction");
        scene.stepped(0, "transaction", &format_args!("{count} at {}:{} races {races}", end.file, end.offset - size));
        if races {
            state.hidden.push(flushed);
        }
        while state.hidden.len() > 2 || (!state.hidden.is_empty() && scene.chance(0.4)) {
            let index = scene.dice.random_range(0..state.hidden.len());
            self.server.make_visible(state.hidden.remove(index));
            scene.stepped(0, "visible", &format_args!(""));
        }
    }

    /// The storage engine catches up with the binlog.
    pub(crate) fn show_all(&self) {
        self.server.make_all_visible();
        self.state.lock().unwrap().hidden.clear();
    }
}

/// What a transaction takes in the model's files, and each of its changes more.
const SIZE: u64 = 120;
const CHANGE_SIZE: u64 = 40;

type Planned = (Vec<Op>, Vec<(TableName, Change)>);

impl State {
    fn plan(&mut self, scene: &mut Scene) -> Planned {
        let (mut ops, mut changes): Planned = Default::default();
        if scene.chance(0.02) {
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
        let fresh = if table.table == "named" { Cell::Text(format!("k{number}")) } else { Cell::Number(number) };
        let n = if scene.chance(0.1) { Cell::Null } else { Cell::Number(scene.dice.random_range(0..1_000_000)) };
        let values = |row: &Row| row.iter().map(Cell::value).collect::<Vec<_>>();
        let kind = scene.between(0, 100);
        let table = table.clone();
        match (kind, chosen) {
            (0..=34, _) | (_, None) => {
                let row = vec![fresh, n];
                (Op::Insert { table, row: values(&row) }, vec![record('c', None, Some(row))])
            }
            (35..=69, Some(old)) => {
                let row = vec![old[0].clone(), n];
                let op = Op::Update { table, key: vec![old[0].value()], row: values(&row) };
                (op, vec![record('u', Some(old), Some(row))])
            }
            (70..=84, Some(old)) => (Op::Delete { table, key: vec![old[0].value()] }, vec![record('d', Some(old), None)]),
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
