//! Silence, clashes, wrong settings.

use super::*;
use crate::source::Error;

#[tokio::test]
async fn a_quiet_server_is_told_and_its_heartbeats_are_heard() {
    let mut bench = Bench::start(&[]).await;
    bench.run("CREATE TABLE a (id INT PRIMARY KEY)").await;
    let settings = Settings { heartbeat: Duration::from_millis(300), ..bench.settings() };
    let mut stream = open(&settings, StreamFrom::Now { epoch: 0 }, bench.capture(&["a"]).await).await.unwrap();
    for _ in 0..4 {
        assert!(matches!(next(&mut stream).await, StreamItem::Progress { idle: true, .. }));
    }
    bench.run("CREATE TABLE other (id INT)").await;
    assert!(matches!(next(&mut stream).await, StreamItem::Progress { .. }));
    assert_eq!(stream.checkpoint().position, bench.source().flushed().await.unwrap().cut(0));
}

#[tokio::test]
async fn a_silent_socket_is_a_broken_one() {
    let mut bench = Bench::start(&[]).await;
    bench.run("CREATE TABLE a (id INT PRIMARY KEY)").await;
    // A proxy that stops passing anything on, and says nothing about it.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (target, (stop, stopped)) = (bench.server.port, tokio::sync::watch::channel(false));
    let proxy = async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            let mut stopped = stopped.clone();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = stopped.wait_for(|stopped| *stopped) => std::future::pending::<()>().await,
            }
        }
    };
    let settings = Settings { port, heartbeat: Duration::from_millis(200), ..bench.settings() };
    let stream = async {
        let mut stream = open(&settings, StreamFrom::Now { epoch: 0 }, Capture::default()).await.unwrap();
        next(&mut stream).await;
        stop.send(true).unwrap();
        loop {
            match tokio::time::timeout(Duration::from_secs(10), stream.next()).await.expect("the silence is not noticed") {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    let error = tokio::select! {
        () = proxy => unreachable!(),
        error = stream => error,
    };
    assert!(matches!(error, Error::Connection { .. }), "{error}");
}

#[tokio::test]
async fn a_successor_takes_over_and_the_predecessor_is_told() {
    let mut bench = Bench::start(&[]).await;
    bench.run("CREATE TABLE a (id INT PRIMARY KEY)").await;
    let mut first = bench.open_now(&["a"]).await;
    let mut second = bench.open_behind(first.checkpoint(), &["a"]).await;
    bench.run("INSERT INTO a VALUES (1)").await;
    assert_eq!(bench.drain(&mut second).await.len(), 1);
    let error = loop {
        match first.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::Connection { reason, .. } if reason.contains("another replica")), "{error}");
}

#[tokio::test]
async fn settings_that_would_blind_us_are_refused() {
    let bench = Bench::start(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).await;
    let mut root = bench.server.root().await;
    for (set, reset, says) in [
        ("SET GLOBAL binlog_format = 'STATEMENT'", "SET GLOBAL binlog_format = 'ROW'", "binlog_format is STATEMENT"),
        ("SET GLOBAL binlog_row_image = 'MINIMAL'", "SET GLOBAL binlog_row_image = 'FULL'", "binlog_row_image is MINIMAL"),
    ] {
        root.execute(set).await.unwrap();
        match open(&bench.settings(), StreamFrom::Now { epoch: 0 }, Capture::default()).await {
            Err(Error::Setting { reason, remedy, .. }) => {
                assert!(reason.contains(says) && remedy.starts_with("SET PERSIST"), "{reason} {remedy}");
            }
            other => panic!("{:?}", other.err().map(|error| error.to_string())),
        }
        root.execute(reset).await.unwrap();
    }
    let stream = bench.open_now(&[]).await;
    let with_gtids = Checkpoint { gtids: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1".parse().unwrap()), ..stream.checkpoint() };
    let opened = open(&bench.settings(), StreamFrom::Checkpoint(with_gtids), Capture::default()).await;
    assert!(matches!(opened.err(), Some(Error::History { lost: false, reason, .. }) if reason.contains("gtid_mode")));
}
