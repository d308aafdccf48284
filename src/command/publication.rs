//! What `status` says of the metastore: how far each lake table's publication is, and why no further.

use std::time::Duration;

use binlake::coordinator::supervisor::describe;
use binlake::lake::{Publication, TableSpec};
use binlake::pipeline;
use serde::Serialize;

use super::assemble::Assembled;

/// How long the metastore may take to answer for one table.
const ASK: Duration = Duration::from_secs(5);

/// One lake table in the metastore.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The lake table.
    into: String,
    /// The version that is shown: generation, term and commit, e.g. `g0001/t3/42`.
    shown: Option<String>,
    /// The version that readers are to see.
    live: Option<String>,
    /// Commits between the two.
    behind: Option<u64>,
    /// The age of the first commit that is not shown.
    behind_seconds: Option<f64>,
    reason: Option<String>,
    remedy: Option<String>,
}

/// Looks at every lake table of a table. Empty where no metastore is set.
pub(super) async fn reports(rooms: &Assembled, specs: &[TableSpec]) -> Vec<Report> {
    let mut reports = Vec::new();
    if rooms.lake.is_published() {
        for spec in specs {
            reports.push(report(rooms, spec).await);
        }
    }
    reports
}

async fn report(rooms: &Assembled, spec: &TableSpec) -> Report {
    let into = spec.name.to_string();
    let asked = match tokio::time::timeout(ASK, rooms.lake.publication(&spec.name)).await {
        Ok(asked) => asked.map_err(|error| describe(&pipeline::Error::from(error))),
        Err(_) => Err((format!("the metastore gave no answer within {} s", ASK.as_secs()), "look at the metastore".to_owned())),
    };
    match asked {
        Ok(Some(publication)) => of(into, publication, rooms.now_ms()),
        Ok(None) => Report { into, shown: None, live: None, behind: None, behind_seconds: None, reason: None, remedy: None },
        Err((reason, remedy)) => Report {
            into,
            shown: None,
            live: None,
            behind: None,
            behind_seconds: None,
            reason: Some(reason),
            remedy: Some(remedy),
        },
    }
}

fn of(into: String, publication: Publication, now_ms: u64) -> Report {
    let (reason, remedy) = publication.refusal.unzip();
    Report {
        into,
        shown: publication.shown,
        live: publication.live,
        behind: publication.behind,
        behind_seconds: publication.behind_since_ms.map(|since_ms| now_ms.saturating_sub(since_ms) as f64 / 1e3),
        reason,
        remedy,
    }
}

impl Report {
    /// Whether there is nothing to say.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.reason.is_none() && (self.behind == Some(0) || self.live.is_none())
    }

    /// A line for people, and the reason below it.
    pub(super) fn for_people(&self) -> String {
        let shown = self.shown.as_deref().unwrap_or("nothing yet");
        let behind = match (self.behind, self.behind_seconds) {
            (Some(behind), Some(seconds)) => format!(", {behind} commits and {seconds:.1} s behind"),
            (Some(behind), None) => format!(", {behind} commits behind"),
            (None, _) => String::new(),
        };
        let mut text = format!("      metastore: {} shows {shown}{behind}\n", self.into);
        if let Some(reason) = &self.reason {
            text.push_str(&format!("      {reason}\n      remedy: {}\n", self.remedy.as_deref().unwrap_or("-")));
        }
        text
    }
}
