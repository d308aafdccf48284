//! Servers that are not what they were: purged, reset, another one, a prepared transaction from before.

use super::*;
use crate::source::Error;

async fn refused(settings: &Settings, checkpoint: Checkpoint) -> Error {
    match open(settings, StreamFrom::Checkpoint(checkpoint), Capture::default()).await {
        Ok(_) => panic!("the stream was opened"),
        Err(error) => error,
    }
}

#[track_caller]
fn assert_lost(error: &Error, says: &str) {
    match error {
        Error::History { lost: true, reason, remedy, .. } => {
            assert!(reason.contains(says), "{reason}");
            assert!(remedy.contains("binlake rebuild"), "{remedy}");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_purged_or_rewritten_history_is_told() {
    for options in [&[][..], &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]] {
        let mut bench = Bench::start(options).await;
        bench.run("CREATE TABLE a (id INT PRIMARY KEY)").await;
        let mut stream = bench.open_now(&["a"]).await;
        bench.run("INSERT INTO a VALUES (1)").await;
        bench.drain(&mut stream).await;
        let checkpoint = stream.checkpoint();
        bench.run("FLUSH BINARY LOGS;\nINSERT INTO a VALUES (2);\nFLUSH BINARY LOGS").await;
        let file = bench.source().flushed().await.unwrap().file_name;
        bench.run(&format!("PURGE BINARY LOGS TO '{file}'")).await;
        assert_lost(&refused(&bench.settings(), checkpoint.clone()).await, "Could not find first log file");

        // As many transactions as before: the GTIDs are there again, and mean others.
        bench.run("RESET BINARY LOGS AND GTIDS").await;
        if options.is_empty() {
            assert_lost(&refused(&bench.settings(), checkpoint.clone()).await, "no longer has transactions");
        }
        for id in 10..60 {
            bench.run(&format!("INSERT INTO a VALUES ({id})")).await;
        }
        let mut checkpoint = Checkpoint { file_name: file_name(1), ..checkpoint };
        checkpoint.position.0.file = 1;
        if let Some(last) = &mut checkpoint.last {
            last.file_name = file_name(1);
        }
        let error = refused(&bench.settings(), checkpoint).await;
        assert_lost(&error, "was rewritten");
    }
}

/// A commit that waits for a replica to confirm it has been sent to everybody, and is in no `gtid_executed`.
#[tokio::test]
async fn what_was_sent_and_is_not_committed_yet_is_no_lost_history() {
    let mut bench = Bench::start(&["--plugin-load-add=semisync_source.so"]).await;
    bench.run("CREATE TABLE a (id INT PRIMARY KEY)").await;
    let mut stream = bench.open_now(&["a"]).await;
    bench
        .run(
            "SET GLOBAL rpl_semi_sync_source_timeout=3600000;
SET GLOBAL rpl_semi_sync_source_enabled=ON",
        )
        .await;
    let mut writer = bench.server.root().await;
    let waits =
        tokio::spawn(async move { writer.execute("INSERT INTO d.a VALUES (1)").await.map_err(|error| error.to_string()) });
    let transaction = loop {
        if let StreamItem::Transaction(transaction) = next(&mut stream).await {
            break transaction;
        }
    };
    assert_eq!(look(transaction).rows(), ["a c 1"]);
    let checkpoint = stream.checkpoint();
    let committed = bench.root.query_text("SELECT COUNT(*) FROM d.a").await.unwrap();
    assert_eq!(committed[0][0].as_deref(), Some(&b"0"[..]), "the server waits for a replica");
    let mut again = bench.open_behind(checkpoint.clone(), &["a"]).await;
    bench
        .run(
            "SET GLOBAL rpl_semi_sync_source_enabled=OFF;
INSERT INTO a VALUES (2)",
        )
        .await;
    waits.await.unwrap().unwrap();
    assert_eq!(bench.drain(&mut again).await.iter().flat_map(Seen::rows).collect::<Vec<_>>(), ["a c 2"]);
    // Without the place of the last transaction there is only what the server says.
    bench.run("RESET BINARY LOGS AND GTIDS").await;
    assert_lost(&refused(&bench.settings(), Checkpoint { last: None, ..checkpoint }).await, "no longer has transactions");
}

fn file_name(number: u64) -> String {
    format!("binlog.{number:06}")
}

#[tokio::test]
async fn another_server_is_taken_with_gtids_and_not_without() {
    let mut first = Bench::start(&["--server-id=1"]).await;
    first.run("CREATE TABLE a (id INT PRIMARY KEY)").await;
    first.run("INSERT INTO a VALUES (1)").await;
    let mut stream = first.open_now(&["a"]).await;
    first.run("INSERT INTO a VALUES (2)").await;
    assert_eq!(first.drain(&mut stream).await.len(), 1);
    let checkpoint = stream.checkpoint();
    first.run("INSERT INTO a VALUES (3);\nFLUSH BINARY LOGS;\nINSERT INTO a VALUES (4)").await;

    // Its own transaction gives the second server another numbering of files and offsets.
    let mut second = Bench::start(&["--server-id=2"]).await;
    second.run("DROP DATABASE d;\nRESET BINARY LOGS AND GTIDS").await;
    let error = refused(&second.settings(), checkpoint.clone()).await;
    assert!(matches!(&error, Error::History { lost: false, reason, .. } if reason.contains("lacks transactions")), "{error}");
    second
        .run(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', SOURCE_AUTO_POSITION=1, \
             GET_SOURCE_PUBLIC_KEY=1;\nSTART REPLICA",
            first.server.port
        ))
        .await;
    let executed = first.root.query_text("SELECT @@GLOBAL.gtid_executed").await.unwrap();
    let executed = String::from_utf8(executed[0][0].clone().unwrap()).unwrap();
    second.root.query_text(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 20)")).await.unwrap();

    let without = Checkpoint { gtids: None, ..checkpoint.clone() };
    assert_lost(&refused(&second.settings(), without).await, "server_uuid changed");

    second.run("STOP REPLICA;\nINSERT INTO d.a VALUES (5)").await;
    let left = checkpoint.position;
    let mut stream = second.open_behind(checkpoint, &["a"]).await;
    assert_eq!(stream.checkpoint().position.0.epoch, 1);
    assert_eq!(stream.checkpoint().left, [left]);
    assert!(stream.checkpoint().unseen.is_some(), "all that was received is said to lie below the file's start");
    // Before anything of the new server was received, and after: the rest comes from both.
    let unmoved = stream.checkpoint();
    let seen = second.drain(&mut stream).await;
    let rows: Vec<_> = seen.iter().flat_map(Seen::rows).collect();
    assert_eq!(rows, ["a c 3", "a c 4", "a c 5"]);
    assert_eq!(stream.checkpoint().unseen, None);
    let mut again = second.open_behind(unmoved, &["a"]).await;
    assert_eq!(second.drain(&mut again).await, seen);
    assert_eq!(again.checkpoint(), stream.checkpoint());
}

#[tokio::test]
async fn what_was_prepared_before_the_stream_is_waited_for_and_not_missed() {
    let mut bench = Bench::start(&[]).await;
    bench.run("CREATE TABLE a (id INT PRIMARY KEY)").await;
    let prepare =
        |xid: &str, id: u32| format!("XA START '{xid}';\nINSERT INTO a VALUES ({id});\nXA END '{xid}';\nXA PREPARE '{xid}'");
    bench.run(&prepare("old", 1)).await;
    bench.run("FLUSH BINARY LOGS").await;
    bench.run(&prepare("recent", 2)).await;
    bench.run(&prepare("gone", 3)).await;
    bench.run("XA COMMIT 'gone'").await;
    let mut stream = bench.open_now(&["a"]).await;
    let checkpoint = stream.checkpoint();
    assert_eq!(checkpoint.prepared.len(), 2);
    bench.run("XA COMMIT 'old';\nXA COMMIT 'recent'").await;
    // The rows of `old` are in no chunk before it has ended; those of `recent` come as well.
    let seen = bench.drain(&mut stream).await;
    assert_eq!(seen.iter().flat_map(Seen::rows).collect::<Vec<_>>(), ["a c 2"]);
    let mut again = bench.open_behind(checkpoint.clone(), &["a"]).await;
    assert_eq!(bench.drain(&mut again).await, seen);

    let forgotten = Checkpoint { prepared: Vec::new(), ..checkpoint };
    let mut blind = bench.open_behind(forgotten, &["a"]).await;
    let error = loop {
        match blind.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_lost(&error, "X'6f6c64',X'',1");
}

#[tokio::test]
async fn tagged_gtids_and_gaps_are_kept_exactly() {
    let mut bench = Bench::start(&[]).await;
    bench.run("CREATE TABLE a (id INT PRIMARY KEY)").await;
    bench.run("SET gtid_next = 'AUTOMATIC:blue';\nINSERT INTO a VALUES (1);\nFLUSH BINARY LOGS").await;
    let mut stream = bench.open_now(&["a"]).await;
    let uuid = bench.source().identity().await.unwrap().server_uuid;
    bench.run("INSERT INTO a VALUES (2)").await;
    bench.run(&format!("SET gtid_next = '{uuid}:1000';\nINSERT INTO a VALUES (3);\nSET gtid_next = 'AUTOMATIC'")).await;
    bench.run("INSERT INTO a VALUES (4)").await;
    let seen = bench.drain(&mut stream).await;
    assert_eq!(seen[0].gtid, Some(format!("{uuid}:blue:2")));
    let executed = bench.root.query_text("SELECT @@GLOBAL.gtid_executed").await.unwrap();
    let executed = String::from_utf8(executed[0][0].clone().unwrap()).unwrap();
    assert_eq!(stream.checkpoint().gtids, Some(executed.parse().unwrap()));
    let mut again = bench.open_behind(stream.checkpoint(), &["a"]).await;
    bench.run("INSERT INTO a VALUES (5)").await;
    assert_eq!(bench.drain(&mut again).await.len(), 1);
    // The whole set, tags and gaps, is understood by the server.
    let checkpoint = Checkpoint { server_uuid: "another".to_owned(), ..stream.checkpoint() };
    let mut by_set = bench.open_behind(checkpoint, &["a"]).await;
    assert_eq!(bench.drain(&mut by_set).await[0].rows(), ["a c 5"]);
}
