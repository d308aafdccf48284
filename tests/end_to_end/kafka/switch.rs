//! From the embedded log to Kafka: what has been drained goes over, what has not is refused.

use super::hall;
use crate::broker::Brokers;
use crate::daemon::Daemon;
use crate::equality::assert_equal;
use crate::scene::Scene;
use crate::server::Server;

fn to_kafka(scene: &mut Scene) -> String {
    let before = scene.yaml.log.clone();
    scene.edit(|yaml| yaml.log = hall::on(&Brokers::shared().addresses()));
    before
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_tables_go_over_and_others_are_told_of() {
    let server = Server::shared();
    let tables = server.create_small("switched", &["one", "two"]).await;
    let mut scene = Scene::new(server, &["{table: switched.*}"]);
    scene.catch_up();
    let insert = |id: u32| tables.iter().map(|table| format!("INSERT INTO {table} VALUES ({id},'row')")).collect::<Vec<_>>();
    server.execute(&insert(900)).await;
    scene.catch_up();

    // A change that the lake has not taken stands in the embedded log alone.
    let mut daemon = Daemon::start(&scene);
    daemon.wait_live(&tables);
    scene.good(&["pause", &tables[0]]);
    daemon.wait_for("a paused table", |status| status.phase(&tables[0]) == "paused");
    let commit = scene.status().commit(&tables[1]);
    server.execute(&insert(901)).await;
    daemon.wait_for("the other table's commit", |status| status.commit(&tables[1]) > commit);
    daemon.stop();
    let local = to_kafka(&mut scene);
    let ended = scene.run(&["check"]);
    assert_eq!(ended.code, Some(1), "{}", ended.text());
    assert!(ended.text().contains("has not taken all of it") && ended.text().contains("--until-caught-up"), "{}", ended.text());

    scene.edit(|yaml| yaml.log = local);
    scene.good(&["resume", &tables[0]]);
    scene.catch_up();
    to_kafka(&mut scene);
    let told = scene.good(&["check"]);
    assert!(told.contains("has taken all of it") && told.contains("binlake rebuild"), "{told}");
    let mut daemon = Daemon::start(&scene);
    server.execute(&insert(902)).await;
    for table in &tables {
        let reason = daemon.wait_parked(table);
        assert!(reason.contains("the change log was lost, or replaced") && reason.contains("rebuild"), "{reason}");
    }
    scene.good(&["rebuild", &tables[0], &tables[1]]);
    daemon.wait_live_again(&tables);
    server.execute(&insert(903)).await;
    daemon.stop();
    scene.catch_up();
    assert_equal(&scene, server, &tables).await;
}
