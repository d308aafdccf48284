//! A broker that stands still holds back all that comes before it, up to the reader of the binlog, in bounded memory.

use mysql_async::prelude::Queryable;
use serde_json::Value;

use super::hall;
use crate::bounded::assert_within;
use crate::broker::Brokers;
use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::proxy::{Proxy, Weather};
use crate::scene::Scene;
use crate::server::Server;

const MEMORY_MIB: u64 = 64;
const TABLE: &str = "pressed.t";
/// Rows, each of 64 KiB; an update of all has both images of each in the binlog, 12.5 MiB.
const ROWS: u64 = 100;
/// Updates in one transaction: more than may be held at all.
const ALL_AT_ONCE: u64 = 24;
const ONE_BY_ONE: u64 = 8;

fn update(round: u64) -> String {
    format!("UPDATE {TABLE} SET body = REPEAT(SHA2(CONCAT(id, '-', {round}), 512), 512)")
}

/// Up to where changes are published.
fn published(scene: &Scene) -> Value {
    scene.status().0["sources"][0]["position"].clone()
}

/// What the server's thread that sends the binlog is at.
async fn sender(server: &Server) -> String {
    let mut connection = server.connect().await;
    let query = "SELECT state FROM performance_schema.processlist WHERE command LIKE 'Binlog Dump%'";
    let states: Vec<Option<String>> = connection.query(query).await.unwrap();
    connection.disconnect().await.unwrap();
    assert_eq!(states.len(), 1, "one stream is open");
    states[0].clone().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stands_still_holds_the_binlog_reader_back_and_memory_stays_flat() {
    let proxy = Proxy::start(0).await;
    let advertised = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:@CONTROLLER@", proxy.port());
    let brokers = Brokers::start(1, &[&advertised]);
    proxy.point(hall::port(&brokers.addresses()[0]));
    let server = Server::start(&[]).await;
    server.create_database("pressed").await;
    let rows: Vec<String> = (1..=ROWS).map(|id| format!("({id},'')")).collect();
    server
        .execute(&[
            format!("CREATE TABLE {TABLE} (id INT NOT NULL PRIMARY KEY, body MEDIUMTEXT NOT NULL)"),
            format!("INSERT INTO {TABLE} VALUES {}", rows.join(",")),
        ])
        .await;
    let mut scene = Scene::new(&server, &[format!("{{table: {TABLE}}}")]);
    scene.edit(|yaml| {
        yaml.log = hall::on(&[format!("127.0.0.1:{}", proxy.port())]);
        yaml.more = format!("memory: {MEMORY_MIB}MiB\n");
    });
    let tables = [TABLE.to_owned()];
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    server.execute(&[update(0)]).await;
    let commit = scene.status().commit(TABLE);
    daemon.wait_for("commit", |status| status.commit(TABLE) > commit);

    proxy.set(Weather::Stalled);
    let before: (String, u64) = {
        let mut connection = server.connect().await;
        let (file, position, ..): (String, u64, String, String, String) =
            connection.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
        connection.disconnect().await.unwrap();
        (file, position)
    };
    let large: Vec<String> = ["BEGIN".to_owned()]
        .into_iter()
        .chain((1..=ALL_AT_ONCE).map(update))
        .chain(["COMMIT".to_owned()])
        .chain((1..=ONE_BY_ONE).map(|round| update(ALL_AT_ONCE + round)))
        .collect();
    server.execute(&large).await;
    daemon.wait_for("words about the stall", |_| scene.has_logged("kafka acknowledges nothing"));
    let stands = published(&scene);
    assert!(
        stands["file"].as_str() == Some(&before.0) && stands["offset"].as_u64() <= Some(before.1),
        "{stands} behind {before:?}"
    );
    assert_within(&daemon, MEMORY_MIB);
    server.execute(&[update(99)]).await;
    let state = sender(&server).await;
    assert!(!state.contains("has sent all"), "the server could send all of its binlog: {state}");
    assert_eq!(published(&scene), stands);

    proxy.set(Weather::Fair);
    daemon.wait_for("stream that has all", |_| published(&scene)["offset"].as_u64() > Some(before.1));
    assert_within(&daemon, MEMORY_MIB);
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, &server, &tables).await;
}
