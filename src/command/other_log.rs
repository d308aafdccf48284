//! Tables that went on in another change log before: what they have not taken of it is not in this one.

use binlake::changelog::{self, ChangeLog, KafkaLog};
use binlake::metadata::{CaptureState, TableState};
use binlake::pipeline::targets;
use binlake::source::{Finding, Severity};

use super::Failed;
use super::assemble::Assembled;
use super::status::covered;

/// What is to be said of the tables of a source whose topics end before what was published of them.
pub(crate) async fn findings(rooms: &Assembled, log: &KafkaLog, source: &str) -> Result<Vec<Finding>, Failed> {
    let mut findings = Vec::new();
    for table in rooms.metadata.tables(source).await.map_err(|error| Failed::from_failure(&error))? {
        let captured = matches!(table.capture, CaptureState::On { .. }) && table.phase.parked().is_none();
        if captured && was_elsewhere(rooms, log, &table).await? {
            findings.push(judged(rooms, &table).await?);
        }
    }
    Ok(findings)
}

async fn was_elsewhere(rooms: &Assembled, log: &KafkaLog, table: &TableState) -> Result<bool, Failed> {
    let known = rooms.metadata.published(None, &table.source, &table.topic).await;
    let Some((_, places)) = known.map_err(|error| Failed::from_failure(&error))? else { return Ok(false) };
    let ends = match log.ends(&table.topic).await {
        Ok(ends) => ends,
        Err(changelog::Error::Missing { .. }) => Vec::new(),
        // The topic itself is looked at elsewhere.
        Err(_) => return Ok(false),
    };
    let end = |partition: usize| ends.get(partition).copied().unwrap_or_default();
    Ok(places.iter().enumerate().any(|(partition, place)| place.offset > end(partition)))
}

/// Without loss is only what has taken all of the other log: its changelog table would else lack what is left there.
async fn judged(rooms: &Assembled, table: &TableState) -> Result<Finding, Failed> {
    let committed = match targets::targets(table).first() {
        Some(spec) => rooms.lake.published(&spec.name).await.map_err(|error| Failed::from_failure(&error))?,
        None => None,
    };
    let (severity, message, remedy) = if covered(rooms, table, committed.as_ref()).await? {
        let message =
            "it went on in another change log before, and has taken all of it: it parks at its next change, until it is rebuilt";
        (Severity::Warning, message, format!("start the daemon and run `binlake rebuild {}`", table.table))
    } else {
        let message =
            "it went on in another change log before, and has not taken all of it: what is left there is in no other place";
        let remedy = "set `changelog` back to what it was, run `binlake run --until-caught-up`, and switch then".to_owned();
        (Severity::Error, message, remedy)
    };
    let subject = table.table.to_string();
    Ok(Finding { severity, subject, message: message.to_owned(), remedy: Some(remedy), table: Some(table.table.clone()) })
}
