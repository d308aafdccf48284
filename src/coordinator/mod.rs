//! phases + table list → what runs. The only place that starts workers, retries them with backoff, and parks tables.
//!
//! It never sees a row. Per source there is one tailer and per table one attendant ([`attendant`]); what each of them does is decided
//! from the stored phase alone, so a daemon that was killed anywhere goes on from what is stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::change::TableName;
use crate::metadata::Parked;
use crate::pipeline::board::SharedBoard;
use crate::pipeline::{Board, Rooms, TableOptions, load, tail, write};

pub mod attendant;
pub mod form;
pub mod lookout;
pub mod publication;
pub mod reconcile;
pub mod requests;
pub mod source_runner;
pub mod supervisor;

pub use form::Form;

/// One table as the YAML wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedTable {
    /// `database.table` on the source.
    pub name: TableName,
    /// `mirror`, `changelog` or `both`.
    pub mode: String,
    /// The lake's database and table name.
    pub into: (String, String),
    /// The topic of its changes.
    pub topic: String,
    /// `layout: single`.
    pub layout_single: bool,
    /// Its mirror is frozen when a day ends.
    pub daily: bool,
    /// How values lie in its files, if it begins now.
    pub form: Form,
    /// The list names it; else a pattern brought it. What cannot be captured is an error if it is named, and parks if it is not.
    pub named: bool,
    /// What the source needs to know.
    pub options: TableOptions,
}

/// The YAML's table list held against a server's tables: what is wanted, and what is wrong with the list.
pub type Resolver = Arc<dyn Fn(&[TableName]) -> Result<Vec<WantedTable>, Vec<String>> + Send + Sync>;

/// One source to keep.
#[derive(Clone)]
pub struct SourcePlan {
    /// The name in the YAML.
    pub name: String,
    /// The rooms.
    pub rooms: Rooms,
    /// The table list.
    pub resolver: Resolver,
    /// Limits of its loads.
    pub load: load::Limits,
    /// Limits of its tailer.
    pub tail: tail::Settings,
    /// Limits of its writers.
    pub write: write::Limits,
    /// Wakes and counters.
    pub board: SharedBoard,
}

impl SourcePlan {
    /// A new board for a source.
    pub fn board() -> SharedBoard {
        Arc::new(Board::default())
    }
}

/// How a daemon runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who we are, for the leases' messages.
    pub holder: String,
    /// The first wait after a failure; doubles up to `backoff_max`.
    pub backoff: Duration,
    /// The longest wait after a failure.
    pub backoff_max: Duration,
    /// How often requests of the command line are looked for.
    pub request_every: Duration,
    /// Work until every table covers the source's position at the start, then end.
    pub until_caught_up: bool,
    /// The operator says that no other daemon is alive: go on above whatever terms the lake and the change log have seen.
    pub take_over: bool,
}

/// What stands still at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Sources that stopped, with reason and remedy.
    pub stopped: Vec<(String, String, String)>,
    /// Tables that are parked.
    pub parked: Vec<(TableName, Parked)>,
}

/// Runs every source until cancelled, or until all have caught up.
pub async fn run(plans: Vec<SourcePlan>, settings: Settings, cancel: CancellationToken) -> Outcome {
    let mut running = JoinSet::new();
    for plan in plans {
        let (settings, cancel) = (settings.clone(), cancel.clone());
        let span = tracing::info_span!("source", source = plan.name);
        running.spawn(async move { source_runner::run(plan, settings, cancel).await }.instrument(span));
    }
    let mut outcome = Outcome::default();
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(one) => {
                // The others go on: what stopped must be heard now, not when they end.
                for (source, reason, remedy) in one.stopped.iter().filter(|_| !running.is_empty()) {
                    tracing::error!(source, reason, remedy, "the source stopped; the others go on");
                }
                outcome.stopped.extend(one.stopped);
                outcome.parked.extend(one.parked);
            }
            Err(error) => outcome.stopped.push((
                "a source".to_owned(),
                format!("its task ended: {error}"),
                "report this with the log".to_owned(),
            )),
        }
    }
    outcome.stopped.sort();
    outcome.parked.sort_by(|a, b| a.0.cmp(&b.0));
    outcome
}
