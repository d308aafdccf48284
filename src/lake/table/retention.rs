//! Removing what nobody needs: replaced files after their time, what crashes left behind, older generations, old log entries.
//!
//! **Why nothing live is touched.** Three kinds of files go, each for a reason that no later event can undo:
//! - *Replaced* files: a commit says that they are no longer live, names are never used twice, and so none comes back. They stay
//!   for readers as retention says, counted from the commit that replaced them; where a metastore sends readers to them, from the
//!   publication of a version without them, and none goes that the metastore still names. Files go first and the record that forgets them
//!   comes later: after a crash in between they are deleted once more.
//! - *Orphans* that no state names. A commit's directory carries its writer's term. Ours is in the log behind everything that
//!   older terms committed, and the slot that an older writer would put next is ours, so what it wrote and did not commit it never
//!   will. Files of our own term are left alone (the open commit's are among them), those of a later term too. Chunk attempts
//!   are dead once the snapshot is adopted, which happens once a generation; before that none is touched. What `keep` names stays.
//!   What killed puts left beside the log's slots goes with them.
//! - *Older generations* go as a whole, counted from the switch, and only by the writer of the generation that is live.
//!
//! A writer that was suspended may get here with an old view. It looks at the log's end first; and if it is suspended right behind
//! that look, all of the above still holds for it: what its view calls replaced is replaced, the terms it calls older
//! are older, and what newer writers made has newer terms. Log entries go in ascending order and only below a checkpoint, as
//! [`super::super::log`] needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use object_store::path::Path;

use super::days;
use super::ledger::Ledger;
use crate::change::Term;
use crate::lake::log::state::{Retained, State};
use crate::lake::log::{CommitLog, generation_of};
use crate::lake::publish::{canonical, hive_location};
use crate::lake::{Error, Maintenance, Result, Retention};
use crate::trial::{Mistake, planted};

/// Log entries that are kept at most, for people.
const ENTRIES_KEPT: usize = 10_000;

/// Between two looks for log entries of a table without changes that have come of age.
const ENTRIES_EVERY_MS: u64 = 3_600_000;

/// Which replaced files go now.
pub(crate) fn lapsed<'a>(retained: &'a [Retained], live_bytes: u64, now_ms: u64, retention: &Retention) -> Vec<&'a Retained> {
    let mut oldest_first: Vec<&Retained> = retained.iter().collect();
    oldest_first.sort_by_key(|file| file.replaced_ms);
    let mut bytes: u64 = retained.iter().map(|file| file.bytes).sum();
    let goes = |file: &&Retained| {
        let over = lets_go(now_ms.saturating_sub(file.replaced_ms), bytes, live_bytes, retention);
        bytes -= if over { file.bytes } else { 0 };
        over
    };
    oldest_first.into_iter().filter(goes).collect()
}

/// Whether something old goes, while old things together have `old_bytes`.
fn lets_go(age_ms: u64, old_bytes: u64, live_bytes: u64, retention: &Retention) -> bool {
    let age = Duration::from_millis(age_ms);
    age >= retention.max || (age >= retention.min && old_bytes as f64 > retention.size * live_bytes as f64)
}

/// When the next of the files goes if nothing is committed; None while there are none.
fn next_lapse_ms(retained: &[&Retained], live_bytes: u64, retention: &Retention) -> Option<u64> {
    let oldest_ms = retained.iter().map(|file| file.replaced_ms).min()?;
    let bytes: u64 = retained.iter().map(|file| file.bytes).sum();
    let too_much = lets_go(retention.min.as_millis() as u64, bytes, live_bytes, retention);
    let age = if too_much { retention.min } else { retention.max };
    Some(oldest_ms.saturating_add(age.as_millis() as u64))
}

/// Whose a directory below a generation's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Chunk,
    Commit(Term),
    Stranger,
}

/// The directory that was made in one go, and whose it is, from a path below the generation's directory.
fn unit(path: &str) -> Option<(String, Owner)> {
    let mut parts = path.split('/');
    let first = parts.next()?;
    if first == "chunks" {
        return Some((format!("chunks/{}", parts.next()?), Owner::Chunk));
    }
    let (name, unit) = match first.strip_prefix("dt=") {
        Some(_) => parts.next().map(|name| (name, format!("{first}/{name}")))?,
        None => (first, first.to_owned()),
    };
    let term = name.strip_prefix('s').and_then(|rest| rest.split('-').nth(1)).and_then(|term| term.strip_prefix('t'));
    Some((unit, term.and_then(|term| term.parse().ok()).map_or(Owner::Stranger, |term| Owner::Commit(Term(term)))))
}

impl Ledger {
    /// See [`crate::lake::TableWriter::maintain`].
    pub(crate) async fn maintain(&mut self, keep: &[String]) -> Result<Maintenance> {
        self.begin()?;
        self.check_still_ours().await?;
        let now_ms = self.settings.clock.now_ms();
        let keep: BTreeSet<String> = keep.iter().cloned().collect();
        let mut done = Maintenance::default();
        done.files_deleted += self.delete_lapsed(&keep, now_ms).await?;
        if !self.swept {
            done.files_deleted += self.delete_orphans(&keep).await?;
            if self.store.leaves_temporaries() {
                done.files_deleted += self.log.clear_leftovers().await?;
            }
            // Chunks that are kept for now, or not adopted yet, want another look.
            self.swept = self.state.content.is_some() && keep.is_empty();
        }
        let (deleted, left) = self.delete_older_generations(now_ms).await?;
        done.files_deleted += deleted;
        let before_ms = now_ms.saturating_sub(self.settings.retention.max.as_millis() as u64);
        done.entries_expired = self.log.expire(before_ms, ENTRIES_KEPT).await?;
        self.rests_until_ms = if left || !self.swept { 0 } else { self.next_removal_ms(now_ms) };
        self.end();
        Ok(done)
    }

    /// When there may be something to remove again: a table without changes is left alone until then, and with it the store.
    fn next_removal_ms(&self, now_ms: u64) -> u64 {
        let forgotten: BTreeSet<&String> = self.forgotten.iter().collect();
        let here = || self.state.retained.iter().filter(|file| !forgotten.contains(&file.path));
        let retained: Vec<Retained> = here().filter_map(|file| self.left_by_readers(file)).collect();
        if retained.len() < here().count() {
            // When the metastore follows nobody knows.
            return 0;
        }
        let retained: Vec<&Retained> = retained.iter().collect();
        let lapse_ms = next_lapse_ms(&retained, self.state.live_bytes(), &self.settings.retention);
        // Log entries go one by one as they come of age.
        let entries_ms = now_ms.saturating_add(ENTRIES_EVERY_MS);
        lapse_ms.map_or(entries_ms, |lapse_ms| lapse_ms.min(entries_ms))
    }

    async fn delete_lapsed(&mut self, keep: &BTreeSet<String>, now_ms: u64) -> Result<u64> {
        let forgotten: BTreeSet<&String> = self.forgotten.iter().collect();
        let here = |file: &&Retained| !forgotten.contains(&file.path) && !keep.contains(&file.path);
        let retained: Vec<Retained> =
            self.state.retained.iter().filter(here).filter_map(|file| self.left_by_readers(file)).collect();
        let mut lapsed = lapsed(&retained, self.state.live_bytes(), now_ms, &self.settings.retention);
        if !lapsed.is_empty() {
            let Some(named) = self.named_by_metastore().await else { return Ok(0) };
            lapsed.retain(|file| !self.is_named(&named, &file.path));
        }
        for file in &lapsed {
            self.store.delete(&self.object(&file.path)).await?;
            self.drop_empty_directories(&file.path).await?;
            self.forgotten.push(file.path.clone());
        }
        Ok(lapsed.len() as u64)
    }

    /// A replaced file with the time since when no new reader is sent to it; None while a metastore may send some.
    fn left_by_readers(&self, file: &Retained) -> Option<Retained> {
        if self.settings.publishing.is_none() || planted(Mistake::RetentionFromCommit) {
            return Some(file.clone());
        }
        let noted = self.publication().filter(|published| published.seq >= file.replaced_seq).map(|published| published.at_ms);
        let unshown_ms = file.unshown_ms.or(noted)?;
        Some(Retained { replaced_ms: file.replaced_ms.max(unshown_ms), ..file.clone() })
    }

    /// What the metastore names at this moment; empty where there is none. None where it does not say: then nothing is deleted.
    async fn named_by_metastore(&self) -> Option<BTreeSet<String>> {
        let Some(publishing) = &self.settings.publishing else { return Some(BTreeSet::new()) };
        let named = publishing.named(&self.spec.name).await;
        named
            .inspect_err(
                |error| tracing::warn!(table = %self.spec.name, %error, "nothing is deleted while the metastore does not answer"),
            )
            .ok()
    }

    fn is_named(&self, named: &BTreeSet<String>, path: &str) -> bool {
        let directory = path.rsplit_once('/').map_or(path, |(directory, _)| directory);
        let is_named = named.contains(&canonical(&hive_location(&self.store, &self.object(directory))));
        if is_named {
            tracing::warn!(table = %self.spec.name, directory, "it stays: the metastore shows it again, though a later version was published");
        }
        is_named
    }

    /// The directories of a deleted file, up to the one that was made in one go.
    async fn drop_empty_directories(&self, path: &str) -> Result<()> {
        let mut directory = path;
        for _ in 0..2 {
            let Some((above, _)) = directory.rsplit_once('/') else { return Ok(()) };
            let day = above.rsplit('/').next().is_some_and(is_day) && !above.contains("/chunks/");
            let stays = day || above.ends_with("/chunks") || !above.contains('/');
            if stays {
                return Ok(());
            }
            self.store.drop_if_empty(&self.object(above)).await?;
            directory = above;
        }
        Ok(())
    }

    async fn delete_orphans(&self, keep: &BTreeSet<String>) -> Result<u64> {
        let generation = self.generation_directory();
        let mut known: BTreeSet<String> = keep.clone();
        known.extend(self.state.files().iter().map(|file| file.path.clone()));
        known.extend(self.state.retained.iter().map(|file| file.path.clone()));
        let mut deleted = 0;
        for (unit, (owner, files)) in self.units(&generation).await? {
            let dead = match owner {
                Owner::Chunk => self.state.content.is_some(),
                Owner::Commit(term) => term < self.term,
                Owner::Stranger => false,
            };
            if !dead {
                continue;
            }
            let orphans: Vec<&String> = files.iter().filter(|file| !known.contains(*file)).collect();
            for file in &orphans {
                self.store.delete(&self.object(file)).await?;
                deleted += 1;
            }
            if orphans.len() == files.len() {
                self.store.clear_directory(&self.object(&format!("{generation}/{unit}"))).await?;
            }
        }
        Ok(deleted)
    }

    /// Everything below the generation's directory by the directory that was made in one go; paths are relative to the table's.
    async fn units(&self, generation: &str) -> Result<BTreeMap<String, (Owner, Vec<String>)>> {
        let root = self.object(generation);
        let mut units: BTreeMap<String, (Owner, Vec<String>)> = BTreeMap::new();
        let mut note = |below: &str, file: bool| {
            if let Some((name, owner)) = unit(below) {
                let files = &mut units.entry(name).or_insert_with(|| (owner, Vec::new())).1;
                files.extend(file.then(|| format!("{generation}/{below}")));
            }
        };
        for object in self.store.list(&root).await? {
            if let Some(below) = object.location.as_ref().strip_prefix(root.as_ref()) {
                note(below.trim_start_matches('/'), true);
            }
        }
        // Uploads that never ended are in no listing, but their directories are.
        for name in self.store.directories(&root).await? {
            match name == "chunks" || is_day(&name) {
                true => {
                    let inner = self.store.directories(&root.clone().join(name.as_str())).await?;
                    inner.iter().for_each(|inner| note(&format!("{name}/{inner}"), false));
                }
                false => note(&name, false),
            }
        }
        Ok(units)
    }

    /// How many files went, and whether there is a generation left that will go.
    async fn delete_older_generations(&self, now_ms: u64) -> Result<(u64, bool)> {
        let Some(mut our_switch_ms) = self.switched_ms else { return Ok((0, false)) };
        if self.settings.publishing.is_some() {
            let noted = self.publication().map(|published| published.at_ms);
            let Some(first_ms) = self.state.first_published_ms.or(noted) else { return Ok((0, true)) };
            our_switch_ms = our_switch_ms.max(first_ms);
        }
        let retention = &self.settings.retention;
        let retained_bytes: u64 = self.state.retained.iter().map(|file| file.bytes).sum();
        let (mut deleted, mut left) = (0, false);
        for name in self.store.directories(&self.folder()).await? {
            let Some(generation) = older_generation(&name, self.spec.generation) else { continue };
            let log = CommitLog::new(&self.store, &self.spec.name, generation);
            let state = match log.load().await {
                Ok(state) => state.unwrap_or_else(|| State::new(generation)),
                // Not in the chain of what was live, or else we could not be: nobody asks it any more.
                Err(Error::Log { .. }) => State::new(generation),
                Err(error) => return Err(error),
            };
            let switched_ms = state.switched.map_or(our_switch_ms, |switched| switched.at_ms);
            let since_ms = if self.settings.publishing.is_some() { switched_ms.max(our_switch_ms) } else { switched_ms };
            let old_bytes = retained_bytes + state.live_bytes() + state.retained.iter().map(|file| file.bytes).sum::<u64>();
            if !lets_go(now_ms.saturating_sub(since_ms), old_bytes, self.state.live_bytes(), retention) {
                left = true;
                continue;
            }
            let directory = self.object(&name);
            if !self.is_left_alone(&directory).await {
                left = true;
                continue;
            }
            deleted += self.delete_all(&directory).await?;
            if self.store.leaves_temporaries() {
                deleted += log.clear_leftovers().await?;
            }
            log.expire(u64::MAX, 0).await?;
        }
        Ok((deleted, left))
    }

    /// Whether the metastore names nothing in a directory.
    async fn is_left_alone(&self, directory: &Path) -> bool {
        let Some(named) = self.named_by_metastore().await else { return false };
        let above = format!("{}/", canonical(&hive_location(&self.store, directory)));
        !named.iter().any(|location| location.starts_with(&above))
    }

    async fn delete_all(&self, directory: &Path) -> Result<u64> {
        let objects = self.store.list(directory).await?;
        for object in &objects {
            self.store.delete(&object.location).await?;
        }
        self.store.clear_directory(directory).await?;
        Ok(objects.len() as u64)
    }
}

fn is_day(name: &str) -> bool {
    days::of_path(name).is_some()
}

fn older_generation(name: &str, than: u32) -> Option<u32> {
    generation_of(name).filter(|generation| *generation < than)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retention() -> Retention {
        Retention { min: Duration::from_secs(3600), max: Duration::from_secs(86400), size: 3.0 }
    }

    fn old(name: &str, bytes: u64, replaced_ms: u64) -> Retained {
        Retained { path: name.to_owned(), bytes, replaced_ms, replaced_seq: 1, unshown_ms: None }
    }

    fn names(files: &[&Retained]) -> Vec<String> {
        files.iter().map(|file| file.path.clone()).collect()
    }

    #[test]
    fn all_of_min_stays_and_nothing_outlives_max() {
        let hour = 3_600_000;
        let files = [old("young", 1_000, 100 * hour), old("ancient", 1, 76 * hour), old("middle", 1, 90 * hour)];
        assert_eq!(names(&lapsed(&files, 1, 100 * hour, &retention())), ["ancient", "middle"]);
        assert_eq!(names(&lapsed(&files, 1_000, 100 * hour, &retention())), ["ancient"]);
    }

    #[test]
    fn between_them_the_oldest_go_while_there_is_too_much() {
        let hour = 3_600_000;
        let files = [old("b", 200, 96 * hour), old("a", 200, 95 * hour), old("c", 200, 97 * hour)];
        assert_eq!(names(&lapsed(&files, 100, 100 * hour, &retention())), ["a", "b"]);
        assert_eq!(names(&lapsed(&files, 200, 100 * hour, &retention())), Vec::<String>::new());
    }

    #[test]
    fn a_table_rests_until_its_next_file_goes_and_no_longer() {
        let hour = 3_600_000;
        let files = [old("b", 200, 96 * hour), old("a", 200, 95 * hour)];
        for live_bytes in [100, 1_000] {
            let retained: Vec<&Retained> = files.iter().collect();
            let next_ms = next_lapse_ms(&retained, live_bytes, &retention()).unwrap();
            assert_eq!(names(&lapsed(&files, live_bytes, next_ms - 1, &retention())), Vec::<String>::new());
            assert_eq!(names(&lapsed(&files, live_bytes, next_ms, &retention())), ["a"]);
        }
        assert_eq!(next_lapse_ms(&[], 100, &retention()), None);
    }

    #[test]
    fn a_path_says_whose_it_is() {
        assert_eq!(
            unit("s00000042-t7-abcd1234/part-0000.parquet"),
            Some(("s00000042-t7-abcd1234".into(), Owner::Commit(Term(7))))
        );
        let day = "dt=2026-11-22/s00000042-t12-abcd1234";
        assert_eq!(unit(&format!("{day}/part-0000.parquet")), Some((day.into(), Owner::Commit(Term(12)))));
        let chunk = "chunks/c000012-one/dt=2026-11-22/part-0000.parquet";
        assert_eq!(unit(chunk), Some(("chunks/c000012-one".into(), Owner::Chunk)));
        assert_eq!(unit("somebody/else"), Some(("somebody".into(), Owner::Stranger)));
        assert_eq!(older_generation("g0001", 2), Some(1));
        assert_eq!(older_generation("g0002", 2), None);
        assert_eq!(older_generation("g1", 2), None);
    }
}
