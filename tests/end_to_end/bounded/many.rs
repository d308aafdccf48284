//! A thousand tables in one list: none waits for the others, and when nothing happens nothing is done.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use serde_json::json;

use super::{assert_within, processor_ticks};
use crate::daemon::Daemon;
use crate::lake::Reader;
use crate::scene::Scene;
use crate::server::Server;

const TABLES: usize = 1_000;
/// The default of `memory`, in MiB.
const MEMORY_DEFAULT_MIB: u64 = 512;
/// Processor seconds that the first start of a thousand tables may take: a state that costs as much as there are tables took 21 of
/// them on the machine that this was written on, and ten times as many tables would take a hundred times as long.
const START_TICKS: u64 = 60 * 100;
/// … and a start that finds all of them live.
const RESTART_TICKS: u64 = 10 * 100;
/// How long the daemon is watched while nothing happens.
const WINDOW: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tables_start_and_then_cost_nothing() {
    // With the connections that a server takes by default: they must not all be wanted at once.
    let server = Server::start(&["--max-connections=100"]).await;
    server.create_database("many").await;
    let mut connection = server.connect().await;
    for number in 0..TABLES {
        let table = format!("many.t{number:04}");
        connection.query_drop(format!("CREATE TABLE {table} (id INT NOT NULL PRIMARY KEY, note VARCHAR(20))")).await.unwrap();
        connection.query_drop(format!("INSERT INTO {table} VALUES (1,'a'),(2,'b')")).await.unwrap();
    }
    let scene = Scene::new(&server, &["{table: many.*}"]);
    let tables: Vec<String> = (0..TABLES).map(|number| format!("many.t{number:04}")).collect();
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    let started = processor_ticks(&daemon);
    assert!(started <= START_TICKS, "the first start took {started} hundredths of a second of the processor");
    assert_within(&daemon, MEMORY_DEFAULT_MIB);
    daemon.stop();

    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    // Whoever is not back yet has not taken this change up.
    connection.query_drop("INSERT INTO many.t0999 VALUES (3,'c')").await.unwrap();
    let mut reader = Reader::start();
    daemon.wait_for("change of the last table", |_| {
        json!(reader.query("SELECT count(*) FROM t", &[("t", &scene.files("many.t0999"))])) == json!([[3]])
    });
    let restarted = processor_ticks(&daemon);
    assert!(restarted <= RESTART_TICKS, "a start took {restarted} hundredths of a second of the processor");
    let (before, since) = (processor_ticks(&daemon), Instant::now());
    tokio::time::sleep(WINDOW).await;
    let share = (processor_ticks(&daemon) - before) as f64 / 100.0 / since.elapsed().as_secs_f64();
    println!("start {started}, restart {restarted} ticks; idle at {:.2} % of a core", share * 100.0);
    assert!(share < 0.01, "the idle daemon took {:.1} % of a core", share * 100.0);
    connection.disconnect().await.unwrap();
    daemon.stop();
}
