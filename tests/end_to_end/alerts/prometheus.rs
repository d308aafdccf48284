//! A real Prometheus that scrapes a daemon every second, with the rules as they are shipped but for their patience: what takes minutes there
//! takes seconds here, and a limit that only a bad day reaches is set to what a test reaches. Everything else of a rule is as it is.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::keeper::Keeper;

/// How long an alert may take to come or to go: a daemon whose server was away waits up to 15 seconds before it tries again.
const LIMIT: Duration = Duration::from_secs(90);

/// The shipped rules.
pub(crate) const RULES: &str = include_str!("../../../deploy/prometheus/binlake.rules.yml");

/// See the module.
#[derive(Debug)]
pub(crate) struct Prometheus {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
    _keeper: Keeper,
}

/// An alert's limit, and what a test makes of it: the alert, as its expression has it, and the other.
pub(crate) type Limit<'a> = (&'a str, &'a str, &'a str);

/// The rules with seconds for minutes and these limits.
fn impatient(limits: &[Limit<'_>]) -> String {
    let mut alert = "";
    let mut changed = BTreeSet::new();
    let mut text = String::new();
    for line in RULES.lines() {
        let (indent, content) = line.split_at(line.len() - line.trim_start().len());
        let mut content = content.to_owned();
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            alert = name;
        } else if content.starts_with("for: ") {
            content = "for: 1s".to_owned();
        } else if content.starts_with("expr: ") {
            content = content.replace("[5m]", "[5s]").replace("[15m]", "[10s]");
            for (_, from, to) in limits.iter().filter(|limit| limit.0 == alert) {
                assert!(content.contains(from), "{from:?} is not in {content:?}");
                content = content.replace(from, to);
                changed.insert(alert);
            }
        }
        text.push_str(&format!("{indent}{content}\n"));
    }
    assert_eq!(changed.len(), limits.len(), "there is no alert of one of these names: {limits:?}");
    text
}

/// The path of the program, fetched if it is not there.
fn program() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/promtool.sh");
    let output = Command::new(script).arg("prometheus").stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "Prometheus could not be fetched: see above");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Prometheus {
    /// Starts one that scrapes a daemon at an address, and waits until it has.
    pub(crate) fn start(daemon: &str, limits: &[Limit<'_>]) -> Self {
        let directory = tempfile::Builder::new().prefix("binlake-prometheus.").tempdir().unwrap();
        std::fs::write(directory.path().join("impatient.yml"), impatient(limits)).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [impatient.yml]\n\
             scrape_configs:\n  - job_name: binlake\n    static_configs: [{{targets: [\"{daemon}\"]}}]\n"
        );
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(program())
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let places = [child.id().to_string(), directory.path().display().to_string()];
        let clean_up = r#"tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF "$2" && kill -9 "$1"; rm -rf "$2""#;
        let keeper = Keeper::new(clean_up, &[&places[0], &places[1]]);
        let mut prometheus = Self { child, port, directory, _keeper: keeper };
        prometheus.wait_for("a scrape", |prometheus| prometheus.result("up").first().is_some_and(|up| up == "1"));
        prometheus
    }

    /// The values of a query's series; none while it does not answer.
    pub(crate) fn result(&self, query: &str) -> Vec<String> {
        let answer = self.asked(&format!("/api/v1/query?query={query}"));
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        series.iter().filter_map(|one| Some(one["value"][1].as_str()?.to_owned())).collect()
    }

    /// The alerts that fire.
    pub(crate) fn firing(&self) -> BTreeSet<String> {
        let answer = self.asked("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    /// Null while it does not answer.
    fn asked(&self, path: &str) -> Value {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)) else { return Value::Null };
        let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
        let mut answer = String::new();
        if connection.write_all(request.as_bytes()).and_then(|()| connection.read_to_string(&mut answer)).is_err() {
            return Value::Null;
        }
        answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or(Value::Null)
    }

    fn wait_for(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !reached(self) {
            let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "Prometheus has ended:\n{}", log());
            assert!(Instant::now() < deadline, "never {what}; firing: {:?}\n{}", self.firing(), log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until all of these fire.
    pub(crate) fn wait_firing(&mut self, alerts: &[&str]) {
        self.wait_for(&format!("all of {alerts:?}"), |prometheus| {
            let firing = prometheus.firing();
            alerts.iter().all(|alert| firing.contains(*alert))
        });
    }

    /// Waits until none fires, and the daemon is scraped.
    pub(crate) fn wait_quiet(&mut self) {
        self.wait_for("quiet", |prometheus| {
            prometheus.result("up").first().is_some_and(|up| up == "1") && prometheus.firing().is_empty()
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}
