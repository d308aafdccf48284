//! How far a table's publication is: asked of the log and the metastore, so that it can be told with the daemon up or down.

use super::hive::{check_ours, hive_location, hive_name};
use super::{Publishing, SEQ, UNFINISHED, Version};
use crate::lake::log::{CommitLog, generations, table_folder};
use crate::lake::metastore::Table;
use crate::lake::store::LakeStore;
use crate::lake::{LakeName, Result};

/// What the metastore shows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The version that is shown, as `binlake.seq` says it; None where there is none of ours.
    pub shown: Option<String>,
    /// The version that readers are to see; None before the first.
    pub live: Option<String>,
    /// Commits between the two; None where they are of two generations, or nothing is shown.
    pub behind: Option<u64>,
    /// When the first commit that is not shown was made, milliseconds since 1970-01-01 UTC; None where there is none, or nobody knows.
    pub behind_since_ms: Option<u64>,
    /// Why the table that is there is not touched, and what helps.
    pub refusal: Option<(String, String)>,
}

/// Looks; changes nothing.
pub(in crate::lake) async fn publication(store: &LakeStore, publishing: &Publishing, name: &LakeName) -> Result<Publication> {
    let live = generations::live(store, name).await?;
    let state = live.state?.filter(|state| state.publishes());
    let found = publishing.metastore().table(&hive_name(name)).await?;
    let folder = hive_location(store, &table_folder(name));
    let refusal = found.as_ref().and_then(|found| check_ours(found, &folder).err());
    let shown = found.as_ref().filter(|_| refusal.is_none()).and_then(shown);
    let Some(state) = state else {
        return Ok(Publication {
            shown: shown.map(|shown| shown.to_string()),
            live: None,
            behind: None,
            behind_since_ms: None,
            refusal,
        });
    };
    let version = Version::of(&state);
    let of_generation = shown.filter(|shown| shown.generation == version.generation);
    let behind = of_generation.map(|shown| version.seq.saturating_sub(shown.seq));
    let behind_since_ms = match of_generation {
        Some(shown) if shown.seq < version.seq => {
            let next = CommitLog::new(store, name, version.generation).read_record(shown.seq + 1).await?;
            next.map(|record| record.committed_ms)
        }
        _ => None,
    };
    Ok(Publication {
        shown: shown.map(|shown| shown.to_string()),
        live: Some(version.to_string()),
        behind,
        behind_since_ms,
        refusal,
    })
}

/// The version that a table shows, whole.
fn shown(table: &Table) -> Option<Version> {
    let version = table.parameters.get(SEQ).and_then(|text| Version::read(text))?;
    let behind_it = || Version { seq: version.seq.saturating_sub(1), ..version };
    Some(if table.parameters.contains_key(UNFINISHED) { behind_it() } else { version })
}
