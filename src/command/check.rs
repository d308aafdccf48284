//! `check`: the configuration and everything it will touch, a line each; changes nothing that lasts.

use std::path::Path;

use binlake::change::{Remark, Weight};
use binlake::source::{Finding, Severity};

use super::assemble::{Assembled, Need, configuration};
use super::{Failed, Outcome, other_log, print};

/// What is asked for.
pub(crate) struct Options {
    /// The file alone.
    pub(crate) offline: bool,
    /// Warnings fail.
    pub(crate) strict: bool,
    /// For scripts.
    pub(crate) json: bool,
    /// Print the settings in force.
    pub(crate) print_config: bool,
}

/// Checks.
pub(crate) async fn run(config: &Path, options: &Options) -> Outcome {
    let settings = configuration(config)?;
    if options.print_config {
        print(&settings.to_string())?;
        return Ok(true);
    }
    let mut findings: Vec<(String, Finding)> =
        vec![("configuration".to_owned(), ok(&config.display().to_string(), "the file is good"))];
    for warning in &settings.warnings {
        findings.push(("configuration".to_owned(), warn(&config.display().to_string(), &warning.to_string())));
    }
    if !options.offline {
        let rooms = Assembled::open(config, Need::Check).await?;
        findings.push(("lake".to_owned(), lake(&rooms).await));
        let mut databases = std::collections::BTreeSet::new();
        let log = rooms.checked_log()?;
        if let Some(log) = &log {
            findings.push(("changelog".to_owned(), of_remark(log.check_brokers().await)));
        }
        for source in &rooms.sources {
            let (of_source, topics, into) = of_source(source).await;
            databases.extend(into);
            if let Some(log) = &log {
                let elsewhere = other_log::findings(&rooms, log, &source.name).await?;
                findings.extend(elsewhere.into_iter().map(|finding| ("changelog".to_owned(), finding)));
            }
            for topic in topics {
                if let Some(log) = &log {
                    findings.extend(
                        log.check_topic(&topic).await.into_iter().map(|remark| ("changelog".to_owned(), of_remark(remark))),
                    );
                }
            }
            for mut finding in of_source {
                if finding.subject == "time_zone" && settings.lake.datetime_zone.is_some() {
                    finding.severity = Severity::Ok;
                }
                findings.push((source.name.clone(), finding));
            }
        }
        let databases: Vec<String> = databases.into_iter().collect();
        let remarks = rooms.lake.check_metastore(&databases).await;
        findings.extend(remarks.into_iter().map(|remark| ("metastore".to_owned(), of_remark(remark))));
    }
    report(&findings, options)
}

async fn lake(rooms: &Assembled) -> Finding {
    match rooms.lake.probe().await {
        Ok(()) => ok("lake", "a second put to the same name is refused, as it must be"),
        Err(error) => bad("lake", &Failed::from_failure(&error).0),
    }
}

/// What is found of a source, and the topics and databases of the lake that its tables want.
async fn of_source(source: &super::assemble::AssembledSource) -> (Vec<Finding>, Vec<String>, Vec<String>) {
    let names = match source.source.tables().await {
        Ok(names) => names,
        Err(error) => return (vec![bad("connection", &Failed::from_failure(&error).0)], Vec::new(), Vec::new()),
    };
    match (source.resolver)(&names) {
        Ok(wanted) => {
            let topics = wanted.iter().map(|table| table.topic.clone()).collect();
            let databases = wanted.iter().map(|table| table.into.0.clone()).collect();
            let tables: Vec<_> = wanted.into_iter().map(|table| (table.name, table.options)).collect();
            let findings = match source.source.preflight(&tables).await {
                Ok(findings) => findings,
                Err(error) => vec![bad("preflight", &Failed::from_failure(&error).0)],
            };
            (findings, topics, databases)
        }
        Err(mistakes) => (mistakes.iter().map(|mistake| bad("tables", mistake)).collect(), Vec::new(), Vec::new()),
    }
}

fn of_remark(remark: Remark) -> Finding {
    let severity = match remark.weight {
        Weight::Fine => Severity::Ok,
        Weight::Risk => Severity::Warning,
        Weight::Wrong => Severity::Error,
    };
    Finding { remedy: remark.remedy, ..finding(severity, &remark.subject, &remark.message) }
}

fn report(findings: &[(String, Finding)], options: &Options) -> Outcome {
    let worst = findings.iter().map(|(_, finding)| finding.severity).max().unwrap_or(Severity::Ok);
    let limit = if options.strict { Severity::Ok } else { Severity::Warning };
    let good = worst <= limit;
    if options.json {
        let lines: Vec<_> = findings
            .iter()
            .map(|(of, finding)| {
                serde_json::json!({ "of": of, "severity": finding.severity, "subject": finding.subject, "message": finding.message,
                    "remedy": finding.remedy, "table": finding.table.as_ref().map(ToString::to_string) })
            })
            .collect();
        print(&format!("{}\n", serde_json::json!({ "good": good, "findings": lines })))?;
        return Ok(good);
    }
    let mut text = String::new();
    for (of, finding) in findings {
        let word = match finding.severity {
            Severity::Ok => "OK      ",
            Severity::Warning => "WARNING ",
            Severity::Error => "ERROR   ",
        };
        text.push_str(&format!("{word} {of}: {}: {}\n", finding.subject, finding.message));
        if let (Some(remedy), true) = (&finding.remedy, finding.severity > Severity::Ok) {
            text.push_str(&format!("          remedy: {remedy}\n"));
        }
    }
    print(&text)?;
    Ok(good)
}

fn finding(severity: Severity, subject: &str, message: &str) -> Finding {
    Finding { severity, subject: subject.to_owned(), message: message.to_owned(), remedy: None, table: None }
}

fn ok(subject: &str, message: &str) -> Finding {
    finding(Severity::Ok, subject, message)
}

fn warn(subject: &str, message: &str) -> Finding {
    finding(Severity::Warning, subject, message)
}

fn bad(subject: &str, message: &str) -> Finding {
    finding(Severity::Error, subject, message)
}
