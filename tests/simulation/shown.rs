//! What a metastore shows of a lake table, held against what was committed: a reader who lists it sees one committed state, never an older one
//! than before, and finds its files.
//!
//! Two things no metastore can rule out, and the product says so: a call that was sent by a daemon that has been overtaken, or that is done
//! long after its sender gave up. Behind one of those a table may show two states at once, until the next publication; it is
//! *disturbed*, and has to be whole in the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::lake::Table;
use crate::oracle::Finding;
use crate::violation::Invariant;

/// A call that a metastore has done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub name: &'static str,
    /// The table, or the database.
    pub of: &'a str,
    pub daemon: u32,
    /// Whether the metastore compares before it swaps.
    pub compares: bool,
    /// Its sender had given it up, or was dead.
    pub late: bool,
    pub now_ms: u64,
}

/// One table in a metastore.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// The directories that it names, below the table's folder.
    directories: BTreeSet<String>,
    /// Those of the last state that was shown whole.
    whole: BTreeSet<String>,
    /// When a directory of a whole state was named last. What an overtaken call shows once more keeps the time that it had.
    left_ms: BTreeMap<String, u64>,
    /// The newest state that was shown: generation and record.
    newest: Option<(u32, u64)>,
    /// The daemon that compared and swapped last.
    claimed_by: u32,
    /// Daemons that have done so and not changed partitions since.
    claims: BTreeSet<u32>,
    pub disturbed: bool,
}

/// What a table is called until it is whole.
pub(crate) const UNTIL_WHOLE: &str = "__binlake_new";

/// The directory of a data file.
fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

impl Shown {
    /// Takes in what the table shows behind a call; whether it changed.
    pub(crate) fn take(&mut self, name: &str, call: &Call<'_>, locations: &[String], table: &Table) -> Result<bool, Finding> {
        if call.of.strip_suffix(UNTIL_WHOLE).unwrap_or(call.of) == name.replace('/', ".") {
            self.heed(call);
        }
        let folder = format!("memory:///{name}/");
        let torn = |reason: String| (Invariant::ShownTorn, format!("{name}, behind {call:?}: {reason}"));
        let mut directories = BTreeSet::new();
        for location in locations {
            let below = location.strip_prefix(&folder).ok_or_else(|| torn(format!("it shows {location}")))?;
            if !["empty", "spare"].contains(&below) && !directories.insert(below.to_owned()) && !self.disturbed {
                return Err(torn(format!("{below} is shown twice")));
            }
        }
        if directories == self.directories {
            return Ok(false);
        }
        let left = self.whole.iter().filter(|known| self.directories.contains(*known) && !directories.contains(*known));
        self.left_ms.extend(left.map(|left| (left.clone(), call.now_ms)));
        self.directories = directories;
        let Some(version) = table.version_with(|path| directory(path), &self.directories) else {
            return if self.disturbed { Ok(true) } else { Err(torn(format!("no commit has just {:?}", self.directories))) };
        };
        if self.newest.is_some_and(|newest| newest > version) {
            let back = || (Invariant::WentBack, format!("{name}: readers went from {:?} to {version:?}", self.newest));
            return if self.disturbed { Ok(true) } else { Err(back()) };
        }
        self.newest = Some(version);
        self.whole.clone_from(&self.directories);
        self.disturbed = false;
        Ok(true)
    }

    /// Whether a call may mix two states: one that came late, or that was sent behind a comparison which somebody has overtaken since.
    fn heed(&mut self, call: &Call<'_>) {
        let overtaken = call.daemon != self.claimed_by;
        self.disturbed |= call.late;
        match call.name {
            "alter table" => {
                self.disturbed |= overtaken && !call.compares;
                self.claimed_by = call.daemon;
                self.claims.insert(call.daemon);
            }
            "alter partitions" => self.disturbed |= self.claims.remove(&call.daemon) && overtaken,
            _ => {}
        }
    }

    /// A data file is deleted: is it still shown, or was it a moment ago?
    pub(crate) fn deleted(&self, path: &str, now_ms: u64, retention_min_ms: u64) -> Result<(), String> {
        if self.disturbed {
            return Ok(());
        }
        if self.directories.contains(directory(path)) {
            return Err("and is shown by the metastore".to_owned());
        }
        match self.left_ms.get(directory(path)) {
            Some(left_ms) if now_ms < left_ms + retention_min_ms => {
                Err(format!("{} ms after the metastore showed it last", now_ms - left_ms))
            }
            _ => Ok(()),
        }
    }

    /// A commit is gone that was seen before it was on the disk: it must not be the one that is shown.
    pub(crate) fn lost(&mut self, name: &str, table: &Table) -> Result<(), Finding> {
        if self.disturbed {
            return Ok(());
        }
        self.newest = table.version_with(|path| directory(path), &self.directories);
        match self.newest {
            None if !self.directories.is_empty() => {
                let shown = &self.directories;
                Err((
                    Invariant::ShownTorn,
                    format!("{name}: the machine lost its power, and no commit that is left has {shown:?}, which is shown"),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Whether it shows just these files.
    pub(crate) fn shows<'a>(&self, files: impl Iterator<Item = &'a str>) -> bool {
        files.map(directory).eq(self.directories.iter().map(String::as_str))
    }
}
