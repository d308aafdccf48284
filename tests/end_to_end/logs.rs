//! The log as a machine reads it: a line of JSON for each event of note, that says of whom it speaks; no row's values and no secret in it, and
//! what repeats is a line a minute.

use std::process::Stdio;

use serde_json::Value;

use crate::http::{numbers, value};
use crate::lake;
use crate::proxy::{Proxy, Weather};
use crate::scene::Scene;
use crate::server::{PASSWORD, Server};

/// The lines of a log, each of which has to be JSON.
fn lines(scene: &Scene) -> Vec<Value> {
    let text = std::fs::read_to_string(scene.path("json.log")).unwrap();
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    // The last line may be on its way.
    text.rsplit_once('\n').map_or("", |(whole, _)| whole).lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_json_say_of_whom_and_hold_no_values() {
    let server = Server::shared();
    let tables = server.create_small("logged", &["diverging", "fine"]).await;
    // Enough that a file compressed harder is shorter, and can be filled up to its old length.
    let rows: Vec<String> = (10..800).map(|id| format!("({id},'row {id}')")).collect();
    server.execute(&[format!("INSERT INTO {} VALUES {}", tables[0], rows.join(","))]).await;
    let proxy = Proxy::start(server.port()).await;
    let mut scene = Scene::new(server, &["{table: logged.*}"]);
    scene.edit(|yaml| {
        yaml.url = format!("mysql://127.0.0.1:{}", proxy.port());
        yaml.snapshot = "{parallel: 1, chunk_rows: 2000}".to_owned();
    });
    scene.catch_up();
    lake::tamper(&[&scene.files(&tables[0])[0], "id", "1", "note", "forged-value"]);

    let log = std::fs::File::create(scene.path("json.log")).unwrap();
    let mut daemon = scene.command(&["run", "--log", "json"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    std::fs::write(scene.path("daemon.pid"), daemon.id().to_string()).unwrap();
    let wait = |what: &str, reached: &dyn Fn(&[Value]) -> bool| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !reached(&lines(&scene)) {
            assert!(std::time::Instant::now() < deadline, "no {what}: {:#?}", lines(&scene));
            std::thread::sleep(crate::scene::LOOK_INTERVAL);
        }
    };
    let says = |line: &Value, message: &str| line["message"].as_str().is_some_and(|said| said.contains(message));
    wait("stream", &|lines| lines.iter().any(|line| says(line, "binlog stream opened")));
    server.execute(&[format!("UPDATE {} SET note = 'true-value' WHERE id = 1", tables[0])]).await;
    wait("parked table", &|lines| lines.iter().any(|line| line["phase"] == "parked"));

    // A source that is away fails again and again, and is told of once.
    proxy.set(Weather::Refusing);
    proxy.cut();
    let served = lines(&scene).into_iter().find(|line| says(line, "served over HTTP")).unwrap();
    let series = format!("binlake_restarts_total{{remedy=\"retry\",source=\"{}\",worker=\"source\"}}", scene.yaml.name);
    wait("tries", &|_| value(&numbers(served["address"].as_str().unwrap()), &series) >= Some(5.0));
    daemon.kill().unwrap();
    daemon.wait().unwrap();

    let lines = lines(&scene);
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string()));
    let stands: Vec<&Value> = lines.iter().filter(|line| says(line, "the source stands still")).collect();
    assert!((1..=3).contains(&stands.len()), "of five failures, a line for each kind: {stands:#?}");
    assert!(stands.iter().all(|line| line["source"] == scene.yaml.name), "{stands:#?}");
    let parked = lines.iter().find(|line| line["phase"] == "parked").unwrap();
    assert!(parked["table"].as_str().unwrap().contains("logged.diverging"), "{parked}");
    let spans = parked["spans"].to_string();
    assert!(spans.contains(&scene.yaml.name) && spans.contains("logged.diverging"), "{parked}");

    let text = std::fs::read_to_string(scene.path("json.log")).unwrap();
    for value in [PASSWORD, "forged-value", "true-value", "note"] {
        assert!(!text.contains(value), "{value} is in the log: {text}");
    }
    let status = scene.status();
    let reason = status.parked(&tables[0]).unwrap();
    assert!(reason.contains("forged-value") && reason.contains("key"), "the status has both rows: {reason}");
}
