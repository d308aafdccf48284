//! The days of a mirror, in a metastore and read by Spark.

use serde_json::Value;

use super::publish_in;
use super::spark::Spark;
use crate::daemon::Daemon;
use crate::daily::{DAY, NOON, at_time, last_day, now, plain, prepared, start};
use crate::metastore::{Server as MetastoreServer, Version};

#[tokio::test(flavor = "multi_thread")]
async fn days_are_partitions_of_a_table_in_the_metastore() {
    let metastore = tokio::task::block_in_place(|| MetastoreServer::shared(Version::Four));
    let (server, database) = (start().await, "shown_days");
    let mut scene = prepared(&server, database).await;
    publish_in(&mut scene, metastore);
    let orders = format!("{database}.orders");
    scene.catch_up();
    at_time(&server, NOON + 1, &[format!("INSERT INTO {database}.other VALUES (1, 'not captured')")]).await;
    scene.catch_up();
    let first = now(&server, &orders).await;
    let mut daemon = Daemon::start(&scene);
    at_time(&server, NOON + DAY, &[format!("INSERT INTO {database}.other VALUES (2, 'not captured')")]).await;
    daemon.wait_for("a day", |status| last_day(status, &orders) == "2026-03-04");
    at_time(&server, NOON + DAY, &[format!("ALTER TABLE {orders} ADD COLUMN n INT")]).await;
    daemon.wait_parked(&orders);
    scene.good(&["rebuild", &orders]);
    daemon.wait_live_again(std::slice::from_ref(&orders));
    at_time(&server, NOON + 2 * DAY, &[format!("UPDATE {orders} SET n = id WHERE id = 7")]).await;
    daemon.wait_for("another day", |status| last_day(status, &orders) == "2026-03-05");
    daemon.stop();
    scene.catch_up();
    let mut spark = Spark::start(metastore, Version::Four);
    let query =
        format!("SELECT dt, count(*), sum(id), max(t), count(n) FROM ods_{database}.orders_daily GROUP BY dt ORDER BY dt");
    for native in [true, false] {
        spark.set_native(native);
        let rows: Vec<String> = spark.query(&query).into_iter().map(|row| plain(&Value::from(row).to_string())).collect();
        let of = |day: &str, filled| format!("[{day},{},{filled}]", first.trim_matches(['[', ']']));
        assert_eq!(rows, [of("2026-03-04", 0), of("2026-03-05", 0)], "native {native}");
    }
}
