//! Each alert as an operator meets it: something goes wrong with a real daemon, a real Prometheus lets the alert fire, it is mended, and
//! the alert ends. The rules are those that are shipped, with less patience: see [`prometheus`].

mod prometheus;
mod stores;

use std::collections::BTreeSet;

use crate::daemon::Daemon;
use crate::proxy::{Proxy, Weather};
use crate::scene::Scene;
use crate::server::Server;
use prometheus::{Prometheus, RULES};

/// The alerts that each test lets fire, as its name says.
const TRIED: [(&str, &[&str]); 5] = [
    ("what_happens_every_week", WEEKLY),
    ("a_server_that_is_away", AWAY),
    ("a_lake_that_cannot_be_written_to", stores::LOCKED),
    ("a_metastore_that_is_away", stores::UNSHOWN),
    ("memory_that_is_used", stores::LARGE),
];

const WEEKLY: &[&str] = &["BinlakeTableParked", "BinlakeRunway", "BinlakeDown"];
const AWAY: &[&str] = &["BinlakeSourceDown", "BinlakeSourceStopped", "BinlakeRestarts"];

/// The names of the shipped alerts.
fn shipped() -> BTreeSet<&'static str> {
    RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[test]
fn every_alert_is_tried() {
    let tried: BTreeSet<&str> = TRIED.iter().flat_map(|(_, alerts)| alerts.iter().copied()).collect();
    assert_eq!(tried, shipped());
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let runbooks: BTreeSet<String> =
        files.map(|name| name.strip_suffix(".md").expect("a runbook is Markdown").to_owned()).collect();
    let alerts = shipped();
    assert_eq!(runbooks.iter().map(String::as_str).collect::<BTreeSet<&str>>(), alerts);
    for alert in alerts {
        let text = std::fs::read_to_string(format!("{directory}/{alert}.md")).unwrap();
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let title = format!("# {alert}");
        let wanted = [&title, "## What it means", "## What to look at", "## The cure", "## If nothing is done"];
        assert_eq!(headings, wanted, "{alert}");
        let rule = RULES.split("- alert: ").find(|rule| rule.starts_with(&format!("{alert}\n"))).unwrap();
        assert!(rule.contains(&format!("/docs/runbooks/{alert}.md")), "{alert} has no link to its runbook");
        assert!(["critical", "warning"].iter().any(|severity| rule.contains(&format!("{{severity: {severity}}}"))), "{alert}");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            assert!(std::path::Path::new(directory).join(link).exists(), "{alert}: {link} is not there");
        }
    }
}

/// A scene whose daemon answers over HTTP at an address that outlives it.
fn listening(server: &Server, tables: &[String]) -> (Scene, String) {
    let mut scene = Scene::new(server, &tables.iter().map(|table| format!("{{table: {table}}}")).collect::<Vec<_>>());
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    scene.edit(|yaml| yaml.http.clone_from(&address));
    (scene, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_every_week_fires_and_ends() {
    // Its own: the retention is set.
    let server = Server::start(&[]).await;
    let tables = server.create_small("alerted", &["one", "two"]).await;
    let (scene, address) = listening(&server, &tables);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let mut prometheus = Prometheus::start(&address, &[]);
    prometheus.wait_quiet();

    server.execute(&["ALTER TABLE alerted.two ADD COLUMN more INT NULL", "INSERT INTO alerted.two (id) VALUES (70)"]).await;
    server.execute(&["SET GLOBAL binlog_expire_logs_seconds = 3600"]).await;
    prometheus.wait_firing(&WEEKLY[..2]);
    scene.good(&["rebuild", "alerted.two"]);
    server.execute(&["SET GLOBAL binlog_expire_logs_seconds = 2592000"]).await;
    prometheus.wait_quiet();

    daemon.stop();
    prometheus.wait_firing(&WEEKLY[2..]);
    let daemon = Daemon::start(&scene);
    prometheus.wait_quiet();
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: the daemon's waits between two tries grow"]
async fn a_server_that_is_away_fires_and_ends() {
    let server = Server::shared();
    let tables = server.create_small("alerted_away", &["one"]).await;
    let proxy = Proxy::start(server.port()).await;
    let (mut scene, address) = listening(server, &tables);
    scene.edit(|yaml| yaml.url = format!("mysql://127.0.0.1:{}", proxy.port()));
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let mut prometheus = Prometheus::start(&address, &[("BinlakeRestarts", "> 10", "> 1")]);
    prometheus.wait_quiet();
    proxy.set(Weather::Refusing);
    proxy.cut();
    prometheus.wait_firing(AWAY);
    proxy.set(Weather::Fair);
    prometheus.wait_quiet();
    daemon.stop();
}
