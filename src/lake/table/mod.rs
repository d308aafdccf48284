//! The writers of lake tables: each holds the end of a commit log.

mod changelog;
mod changes;
pub(crate) mod compaction;
pub(crate) mod days;
pub(crate) mod ledger;
mod mirror;
pub(crate) mod retention;

pub(crate) use changelog::ChangelogWriter;
pub(crate) use mirror::MirrorWriter;

#[cfg(test)]
mod tests;
