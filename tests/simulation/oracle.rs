//! The check that follows every step: what readers see of each lake table, against what the source was at that very place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use binlake::change::TableName;
use binlake::lake::metastore::Sights;
use bytes::Bytes;

use crate::coverage::Coverage;
use crate::days::Days;
use crate::history::{Cell, Change, History, Row, Rows, apply, day};
use crate::lake::{Content, Contents, Deed, Record, State, Table};
use crate::shown::{Call, Shown, UNTIL_WHOLE};
use crate::violation::Invariant;

pub(crate) type Finding = (Invariant, String);

/// Reads an object of the lake as it is now, past all faults.
pub(crate) type Peek = Box<dyn Fn(&str) -> Option<Bytes> + Send>;

/// What is known of the world, and what has changed since the last look.
pub(crate) struct Oracle {
    pub history: History,
    pub lake: BTreeMap<String, Table>,
    /// What a metastore shows of lake tables, where there is one.
    shown: BTreeMap<String, Shown>,
    pub days: Days,
    /// The day of what the source has written last.
    today: Option<String>,
    /// A day that was frozen before its last transaction.
    early_day: Option<Finding>,
    contents: Contents,
    peek: Peek,
    /// Lake tables whose records or files changed.
    touched: Vec<String>,
    /// The record that was put last went into a slot that had expired.
    pub late_record: bool,
    /// Daemons that put such a record, with the generation's folder: they are to do nothing more there.
    suspended: BTreeSet<(u32, String)>,
    /// How a data file may grow before it is split or sealed.
    pub file_bytes: u64,
    /// How long a replaced file stays at least.
    pub retention_min_ms: u64,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self {
            history: History::default(),
            lake: BTreeMap::new(),
            shown: BTreeMap::new(),
            days: Days::default(),
            today: None,
            early_day: None,
            contents: Contents::default(),
            peek: Box::new(|_| None),
            touched: Vec::new(),
            late_record: false,
            suspended: BTreeSet::new(),
            file_bytes: 0,
            retention_min_ms: 0,
        }
    }

    pub(crate) fn look_with(&mut self, peek: Peek) {
        self.peek = peek;
    }

    /// The source has committed a transaction.
    pub(crate) fn pushed(&mut self, start: (u64, u64), committed_us: i64, changes: Vec<(TableName, Change)>) {
        self.history.push(start, committed_us, changes);
        self.early_day = self.early_day.take().or(self.days.pushed(&day(committed_us)).err());
        self.logged(committed_us);
    }

    /// The source has written something into its binlog.
    pub(crate) fn logged(&mut self, committed_us: i64) {
        let today = day(committed_us);
        let Some(ended) = self.today.replace(today.clone()).filter(|ended| *ended != today) else { return };
        // Of the first transaction that it ever sees the tailer cannot tell whether it ends a day.
        let took_one = |(_, state): (u32, State)| state.point.is_some_and(|point| point.source_time_us > 0);
        if !self.lake.values().filter_map(Table::published).any(took_one) {
            return;
        }
        let is_mirror = |name: &&String| !is_changelog(name);
        let mirrors = self.lake.keys().filter(is_mirror).filter(|name| self.is_in_its_first_generation(name)).cloned();
        self.days.expect(mirrors.collect::<Vec<_>>().into_iter(), &ended);
    }

    fn is_in_its_first_generation(&self, name: &str) -> bool {
        self.lake.get(name).and_then(Table::published).is_some_and(|(generation, _)| generation == 1)
    }

    /// A day that has to be frozen and is not.
    pub(crate) fn missing_day(&self) -> Option<String> {
        self.days.missing(&self.peek, |name| self.is_in_its_first_generation(name))
    }

    /// A daemon has put or deleted an object.
    pub(crate) fn acted(&mut self, daemon: u32, path: &str) -> Result<(), Finding> {
        let mut parts = path.split('/').filter(|part| *part != "_binlake");
        let (Some(database), Some(table), Some(generation)) = (parts.next(), parts.next(), parts.next()) else { return Ok(()) };
        let folder = format!("{database}/{table}/{generation}");
        if parts.next() != Some("chunks") && self.suspended.contains(&(daemon, folder.clone())) {
            return Err((Invariant::SuspendedWriterActs, format!("daemon {daemon} was suspended, and writes {path}")));
        }
        if std::mem::take(&mut self.late_record) {
            self.suspended.insert((daemon, folder));
        }
        Ok(())
    }

    /// An object of the lake became visible.
    pub(crate) fn put(&mut self, path: &str, bytes: &Bytes, coverage: &mut Coverage) -> Result<(), Finding> {
        let Some((table, inside)) = split(path) else { return Ok(()) };
        if self.days.put((table, inside), bytes, (&mut self.history, &mut self.contents, &self.peek))? {
            coverage.count("mirror: day frozen");
        }
        if !inside.contains("/log/") {
            return Ok(());
        }
        let damaged = |reason: String| (Invariant::FileDamaged, format!("{path}: {reason}"));
        let record: Record = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let deed = self.lake.entry(table.to_owned()).or_default().take(&record).map_err(damaged)?;
        self.late_record = matches!(deed, Deed::Expired);
        coverage.count(match deed {
            Deed::TakeOver => "take-over",
            Deed::Split => "mirror: split",
            Deed::Seal => "mirror: seal",
            Deed::Merge => "mirror: merge",
            Deed::Fold => "changelog: fold",
            Deed::Switch => "generation: switch",
            Deed::Expired => "record in an expired slot",
            Deed::Other => "commit",
        });
        self.touched.push(table.to_owned());
        Ok(())
    }

    /// A metastore has done a call, and this is what its tables show behind it.
    pub(crate) fn showed(&mut self, call: &Call<'_>, sights: &Sights, coverage: &mut Coverage) -> Result<(), Finding> {
        if call.late {
            coverage.count("metastore: late call");
        }
        for (name, locations) in sights.iter().filter(|(name, _)| !name.table.ends_with(UNTIL_WHOLE)) {
            let name = format!("{}/{}", name.database, name.table);
            if let Some(shown) = self.days.showed(&name, locations) {
                shown?;
                continue;
            }
            let unknown = || (Invariant::ShownTorn, format!("{name} is shown and was never committed"));
            let table = self.lake.get(&name).ok_or_else(unknown)?;
            let shown = self.shown.entry(name.clone()).or_default();
            if shown.take(&name, call, locations, table)? {
                coverage.count(if shown.disturbed { "metastore: shows a mixture" } else { "metastore: shows another state" });
            }
        }
        let gone = |name: &&String| !sights.keys().any(|known| format!("{}/{}", known.database, known.table) == **name);
        match self.shown.keys().find(gone) {
            Some(name) => Err((Invariant::ShownTorn, format!("{name} is no longer shown, behind {call:?}"))),
            None => Ok(()),
        }
    }

    /// A table whose last commit the metastore does not show.
    pub(crate) fn unshown(&self) -> Option<String> {
        let differs = |(name, table): &(&String, &Table)| {
            let Some((_, state)) = table.published() else { return false };
            let mut files: Vec<&str> = state.files.iter().map(|file| file.path.as_str()).collect();
            files.sort_unstable();
            !self.shown.get(*name).is_some_and(|shown| shown.shows(files.into_iter()))
        };
        let (name, table) = self.lake.iter().find(differs)?;
        Some(format!("{name}: {:?} is shown, {:?} was committed", self.shown.get(name), table.published()))
    }

    /// An object of the lake was deleted at this time.
    pub(crate) fn deleted(&mut self, path: &str, now_ms: u64, coverage: &mut Coverage) -> Result<(), Finding> {
        let Some((name, inside)) = split(path) else { return Ok(()) };
        if inside.starts_with("_binlake/") {
            coverage.count("cleanup: log entry");
            return Ok(());
        }
        self.days.deleted(path)?;
        let Some(table) = self.lake.get(name) else { return Ok(()) };
        if table.names(inside) {
            return Err((Invariant::ReaderLostFile, format!("{path} was deleted and is live")));
        }
        if let Some(Err(why)) = self.shown.get(name).map(|shown| shown.deleted(inside, now_ms, self.retention_min_ms)) {
            return Err((Invariant::ReaderLostFile, format!("{path} was deleted {why}")));
        }
        let Some(replaced_ms) = table.replaced_ms.get(inside) else {
            coverage.count("cleanup: orphan");
            return Ok(());
        };
        if now_ms < replaced_ms + self.retention_min_ms {
            let age = now_ms - replaced_ms;
            return Err((Invariant::ReaderLostFile, format!("{path} was deleted {age} ms after it was replaced")));
        }
        coverage.count("cleanup: file");
        Ok(())
    }

    /// The machine lost an object with its power.
    pub(crate) fn lost(&mut self, path: &str) -> Result<(), Finding> {
        self.contents.forget(path);
        let Some((name, inside)) = split(path) else { return Ok(()) };
        self.days.lost(name, inside);
        let mut parts = inside.split('/');
        let (Some("_binlake"), Some(generation), Some("log"), Some(file)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Ok(());
        };
        let number = |text: &str| text.trim_start_matches('g').trim_end_matches(".json").parse::<u64>().ok();
        let (Some(table), Some(generation), Some(seq)) = (self.lake.get_mut(name), number(generation), number(file)) else {
            return Ok(());
        };
        table.lose(generation as u32, seq);
        self.shown.get_mut(name).map_or(Ok(()), |shown| shown.lost(name, table))
    }

    /// Looks at everything that has changed.
    pub(crate) fn check(&mut self, coverage: &mut Coverage) -> Result<(), Finding> {
        if let Some(early) = self.early_day.take() {
            return Err(early);
        }
        while let Some(name) = self.touched.pop() {
            coverage.count("check");
            self.look(&name)?;
        }
        Ok(())
    }

    /// Why a source's table is not in the lake up to the end of its history.
    pub(crate) fn behind(&mut self, table: &str, transactions: usize) -> Option<String> {
        let names = match table {
            "numbered" => vec!["ods_shop/numbered", "ods_shop/numbered_changelog"],
            "named" => vec!["ods_shop/named"],
            "journal" => vec!["ods_shop/journal"],
            _ => vec!["ods_shop/later"],
        };
        for name in names {
            let Some((_, state)) = self.lake.get(name).and_then(Table::published) else {
                return Some(format!("{name} is not published"));
            };
            let below = match self.below(name, &state) {
                Ok(below) => below,
                Err((_, reason)) => return Some(reason),
            };
            // A table without changes makes no commit.
            let missing = self.history.table(&source(name)).between(below, transactions);
            if let Some(change) = missing.first() {
                return Some(format!("{name} stands at {below} of {transactions} transactions and lacks {change:?}"));
            }
        }
        None
    }

    /// What readers see of a table: generation and record, and the files' locations.
    pub(crate) fn reading(&self, name: &str) -> (Option<(u32, u64)>, Vec<String>) {
        match self.lake.get(name).and_then(Table::published) {
            None => (None, Vec::new()),
            Some((generation, state)) => {
                let mut files: Vec<String> = state.files.iter().map(|file| format!("memory:///{name}/{}", file.path)).collect();
                files.sort();
                (Some((generation, state.seq)), files)
            }
        }
    }

    /// Whether a data file belongs to what readers see; all that is no data file is needed.
    pub(crate) fn is_needed(&self, path: &str) -> bool {
        let Some((name, inside)) = split(path) else { return true };
        let published = self.lake.get(name).and_then(Table::published);
        inside.starts_with("_binlake/")
            || inside.starts_with("empty/")
            || inside.starts_with("spare/")
            || name.ends_with("_daily")
            || published.is_some_and(|(_, state)| state.files.iter().any(|file| file.path == inside))
    }

    fn look(&mut self, name: &str) -> Result<(), Finding> {
        let Some(table) = self.lake.get_mut(name) else { return Ok(()) };
        let Some((generation, state)) = table.published() else {
            return match table.seen {
                Some(seen) => Err((Invariant::WentBack, format!("{name}: {seen:?} was published, and nothing is"))),
                None => Ok(()),
            };
        };
        let place = (generation, state.seq);
        if table.seen.is_some_and(|seen| seen > place) {
            return Err((Invariant::WentBack, format!("{name} went from {:?} to {place:?}", table.seen)));
        }
        table.seen = Some(place);
        self.bounded(name, &state)?;
        match is_changelog(name) {
            true => self.changelog(name, &state),
            false => self.mirror(name, &state),
        }
    }

    fn bounded(&self, name: &str, state: &State) -> Result<(), Finding> {
        let bytes: u64 = state.files.iter().map(|file| file.bytes).sum();
        let bound = 40 + 8 * bytes / self.file_bytes.max(1);
        let files = state.files.len() as u64;
        if files <= bound {
            return Ok(());
        }
        Err((Invariant::FilesUnbounded, format!("{name}: {files} files of {bytes} bytes in all, {bound} are the bound")))
    }

    /// The contents of a state's files.
    fn contents(&mut self, name: &str, state: &State) -> Result<Vec<Arc<Content>>, Finding> {
        let mut all = Vec::with_capacity(state.files.len());
        for file in &state.files {
            let path = format!("{name}/{}", file.path);
            let content = self.contents.of(&path, || (self.peek)(&path));
            let content = content.map_err(|reason| (Invariant::FileDamaged, reason))?;
            if content.rows.len() as u64 != file.rows {
                let reason = format!("{path} has {} rows, its record says {}", content.rows.len(), file.rows);
                return Err((Invariant::FileDamaged, reason));
            }
            all.push(content);
        }
        Ok(all)
    }

    /// How many transactions lie below a state's position.
    fn below(&self, name: &str, state: &State) -> Result<usize, Finding> {
        let point = state.point.as_ref().expect("what is published has a position");
        let torn = || (Invariant::PositionTorn, format!("{name}: {} is a place of no history", point.position));
        self.history.below(point.position).ok_or_else(torn)
    }

    fn mirror(&mut self, name: &str, state: &State) -> Result<(), Finding> {
        let files = self.contents(name, state)?;
        let below = self.below(name, state)?;
        let mut found: Vec<&Row> = files.iter().flat_map(|file| &file.rows).collect();
        found.sort_unstable();
        let expected = self.history.table(&source(name)).rows_at(below);
        if found.iter().copied().eq(expected.values()) {
            return Ok(());
        }
        let position = state.point.as_ref().map(|point| point.position.to_string()).unwrap_or_default();
        let expected: Vec<&Row> = expected.values().collect();
        let lacks: Vec<_> = expected.iter().filter(|row| !found.contains(row)).collect();
        let extra: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
        Err((
            Invariant::MirrorDiffers,
            format!("{name}, record {}, at {position} ({below} transactions): lacks {lacks:?}, and has {extra:?}", state.seq),
        ))
    }

    fn changelog(&mut self, name: &str, state: &State) -> Result<(), Finding> {
        let since = state.since.as_ref().expect("what is published was adopted");
        let since = State { point: Some(since.clone()), ..State::default() };
        let (from, until) = (self.below(name, &since)?, self.below(name, state)?);
        let files = self.contents(name, state)?;
        let (snapshot, changes) = sorted_out(name, &files)?;
        let table = self.history.table(&source(name));
        let expected = table.between(from, until);
        compare(name, expected, &changes)?;
        // The snapshot's rows, healed by the changes, are the table.
        let mut healed: Rows = snapshot;
        expected.iter().for_each(|change| apply(&mut healed, change));
        let rows = table.rows_at(until);
        if healed == *rows {
            return Ok(());
        }
        Err((Invariant::SnapshotDiffers, format!("{name}: the snapshot with its changes is {healed:?}, the table {rows:?}")))
    }
}

/// The table's folder, and the rest of the path.
fn split(path: &str) -> Option<(&str, &str)> {
    let slash = path.find('/')?;
    let second = slash + 1 + path.get(slash + 1..)?.find('/')?;
    Some((path.get(..second)?, path.get(second + 1..)?))
}

fn is_changelog(name: &str) -> bool {
    name.ends_with("_changelog") || name.ends_with("/journal")
}

/// The source's table of a lake table.
pub(crate) fn source(name: &str) -> TableName {
    let table = name.rsplit('/').next().unwrap_or(name);
    TableName::new("shop", table.strip_suffix("_changelog").unwrap_or(table))
}

/// A change as a changelog table has it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found<'a> {
    /// The number in its GTID, which goes on over all servers; 0 where there is none.
    gtid: u64,
    file: &'a str,
    position: i64,
    row: i64,
    operation: char,
    content: &'a [Cell],
}

impl Found<'_> {
    /// Its transaction's place.
    fn place(&self) -> (u64, &str, i64) {
        (self.gtid, self.file, self.position)
    }
}

fn found<'a>(columns: &[String], cells: &'a [Cell]) -> Option<Found<'a>> {
    let of = |wanted: &str| cells.get(columns.iter().position(|column| column == wanted)?);
    let first = columns.iter().position(|column| !column.starts_with('_'))?;
    let text = |cell: Option<&'a Cell>| match cell {
        Some(Cell::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let number = |cell: Option<&'a Cell>| match cell {
        Some(Cell::Number(number)) => Some(*number),
        _ => None,
    };
    Some(Found {
        gtid: text(of("_gtid")).and_then(|gtid| gtid.rsplit(':').next()?.parse().ok()).unwrap_or_default(),
        file: text(of("_file")).unwrap_or_default(),
        position: number(of("_pos"))?,
        row: number(of("_row"))?,
        operation: text(of("_op"))?.chars().next()?,
        content: cells.get(first..)?,
    })
}

/// The snapshot's rows, and the changes in the order of the source.
fn sorted_out<'a>(name: &str, files: &'a [Arc<Content>]) -> Result<(Rows, Vec<Found<'a>>), Finding> {
    let (mut snapshot, mut changes) = (Rows::new(), Vec::new());
    for file in files {
        let before = changes.len();
        for cells in &file.rows {
            let differs = || (Invariant::ChangelogDiffers, format!("{name}: not a row of a changelog: {cells:?}"));
            let change = found(&file.columns, cells).ok_or_else(differs)?;
            if change.operation != 'r' {
                changes.push(change);
            } else if let Some(twice) = snapshot.insert(change.content[0].clone(), change.content.to_vec()) {
                return Err((Invariant::ChangelogDuplicate, format!("{name}: the snapshot has {twice:?} twice")));
            }
        }
        // A folded file has its transactions in any order, the changes of one stand in theirs.
        let wrong = |pair: &[Found<'_>]| pair[0].place() == pair[1].place() && pair[0].row >= pair[1].row;
        if let Some(pair) = changes.get(before..).unwrap_or_default().windows(2).find(|pair| wrong(pair)) {
            return Err((Invariant::ChangelogDiffers, format!("{name}: in one file {:?} stands before {:?}", pair[0], pair[1])));
        }
    }
    changes.sort_unstable();
    Ok((snapshot, changes))
}

/// Whether the changes found are the ones made, in their order, each once.
fn compare(name: &str, expected: &[Change], found: &[Found<'_>]) -> Result<(), Finding> {
    let twice = |pair: &[Found<'_>]| pair[0].place() == pair[1].place() && pair[0].row == pair[1].row;
    if let Some(pair) = found.windows(2).find(|pair| twice(pair)) {
        return Err((Invariant::ChangelogDuplicate, format!("{name}: {:?} stands twice", pair[0])));
    }
    for (index, change) in expected.iter().enumerate() {
        let Some(found_here) = found.get(index) else {
            return Err((Invariant::ChangelogGap, format!("{name}: {change:?} is missing at its end")));
        };
        let nulls = vec![Cell::Null; found_here.content.len()];
        let wanted = match change.operation {
            'd' => change.before.as_ref(),
            't' => Some(&nulls),
            _ => change.after.as_ref(),
        };
        let same = |found: &Found<'_>| found.operation == change.operation && Some(found.content) == wanted.map(Vec::as_slice);
        if !same(found_here) || found_here.row as u64 != change.ordinal {
            let invariant = if found.iter().any(same) { Invariant::ChangelogDiffers } else { Invariant::ChangelogGap };
            return Err((invariant, format!("{name}: expected {change:?}, found {found_here:?}")));
        }
    }
    match found.get(expected.len()) {
        None => Ok(()),
        Some(extra) => {
            Err((Invariant::ChangelogDuplicate, format!("{name}: {extra:?} is more than was made below its position")))
        }
    }
}
