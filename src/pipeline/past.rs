//! What the lake and the change log remember of a table, against what the metadata store knows of it.
//!
//! The metadata store gives out generations and terms, and both must never be given twice: a second generation of the same number would
//! go on at the offsets of the first, and records of a lower term are left out by whoever reads them. A store that was lost, or restored
//! from an old backup, has forgotten what it gave. So every new generation lies above all that the lake has traces of, and a daemon whose
//! term lies below theirs does not begin: it cannot tell an old store of its own from another daemon that is alive. The operator can.

use crate::change::Term;
use crate::lake::LakeName;

use super::{Result, Rooms, targets};

/// What there is of a table outside of the metadata store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// The highest generation that left anything in the lake; 0 if there is nothing.
    pub generation: u32,
    /// The highest term in the lake's logs and of the topic; 0 where there is none.
    pub term: Term,
}

/// Looks at the lake tables and the topic of a table.
pub async fn of(rooms: &Rooms, mode: &str, into: &(String, String), topic: &str) -> Result<Past> {
    let mut past = Past::default();
    for (table, _) in targets::names(mode, &into.1) {
        let name = LakeName { database: into.0.clone(), table };
        if let Some(traces) = rooms.lake.traces(&name).await? {
            past.generation = past.generation.max(traces.generation);
            past.term = past.term.max(traces.term);
        }
    }
    past.term = past.term.max(rooms.changelog.topic_term(topic).await?.unwrap_or_default().of_session());
    Ok(past)
}
