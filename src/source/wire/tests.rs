//! The connection against a real server.

use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use crate::source::{Error, Secret, Settings, SnapshotSettings, Tls, TlsMode};

use super::WireConnection;

/// A server of the tests' own; stopped when dropped.
pub(crate) struct Server {
    directory: tempfile::TempDir,
    pub(crate) port: u16,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/mysql.sh")
}

impl Server {
    /// Starts one on a port that is free now.
    pub(crate) fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let started = Process::new(script()).arg("start").arg(directory.path()).arg(port.to_string()).args(options).status();
        assert!(started.unwrap().success(), "the MySQL server did not start");
        Self { directory, port }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Servers share the certificates that their common template was made with.
    fn restart_with_certificates_of_its_own(&self) {
        let directory = self.directory.path();
        assert!(Process::new(script()).arg("kill").arg(directory).status().unwrap().success());
        for entry in std::fs::read_dir(directory.join("data")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                std::fs::remove_file(path).unwrap();
            }
        }
        let started = Process::new(script()).arg("start").arg(directory).arg(self.port.to_string()).status();
        assert!(started.unwrap().success());
    }

    pub(crate) fn settings(&self) -> Settings {
        settings(self.port, "root", "")
    }

    pub(crate) async fn root(&self) -> WireConnection {
        WireConnection::connect(&self.settings()).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = Process::new(script()).arg("kill").arg(self.directory.path()).status();
        assert!(stopped.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

pub(crate) fn settings(port: u16, user: &str, password: &str) -> Settings {
    Settings {
        name: "shop".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        user: user.to_owned(),
        password: Secret(password.to_owned()),
        tls: Tls { mode: TlsMode::Off, ca: None },
        server_id: 5400,
        replica_uuid: "11111111-2222-3333-4444-555555555555".to_owned(),
        snapshot: SnapshotSettings { parallel: 4, chunk_rows: 1000, chunk_bytes: 1 << 26, max_threads_running: 50 },
        transaction_bytes_max: 1 << 20,
        scratch: PathBuf::from("/nonexistent"),
        heartbeat: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
    }
}

fn with_tls(mut settings: Settings, mode: TlsMode, ca: Option<PathBuf>) -> Settings {
    settings.tls = Tls { mode, ca };
    settings
}

async fn reason_and_remedy(settings: &Settings) -> (String, String) {
    match WireConnection::connect(settings).await.unwrap_err() {
        Error::Refused { reason, remedy, .. } => (reason, remedy),
        other => panic!("not a refusal: {other}"),
    }
}

async fn one(connection: &mut WireConnection, sql: &str) -> String {
    let rows = connection.query_text(sql).await.unwrap();
    String::from_utf8(rows[0].last().unwrap().clone().unwrap()).unwrap()
}

#[tokio::test]
async fn logs_in_by_every_way_of_caching_sha2_and_says_what_is_wrong_otherwise() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    root.execute("CREATE USER 'b'@'%' IDENTIFIED BY 'pass wörd'").await.unwrap();
    let settings = settings(server.port, "b", "pass wörd");

    // A cold cache wants the whole password: first by RSA, then from the cache, then cold again inside TLS.
    let mut plain = WireConnection::connect(&settings).await.unwrap();
    assert_eq!(one(&mut plain, "SELECT CURRENT_USER()").await, "b@%");
    WireConnection::connect(&settings).await.unwrap();
    root.execute("FLUSH PRIVILEGES").await.unwrap();
    let ca = Some(server.path("data/ca.pem"));
    for mode in [TlsMode::VerifyCa, TlsMode::Required] {
        let mut secure = WireConnection::connect(&with_tls(settings.clone(), mode, ca.clone())).await.unwrap();
        assert!(one(&mut secure, "SHOW STATUS LIKE 'Ssl_cipher'").await.starts_with("TLS_"));
    }

    let wrong = Settings { password: Secret("other".to_owned()), ..settings.clone() };
    for wrong in [wrong.clone(), with_tls(wrong, TlsMode::Required, None)] {
        let (reason, remedy) = reason_and_remedy(&wrong).await;
        assert!(reason.contains("1045") && remedy.contains("password"), "{reason} / {remedy}");
    }
    root.execute("SET GLOBAL require_secure_transport = ON").await.unwrap();
    let (reason, remedy) = reason_and_remedy(&settings).await;
    assert!(reason.contains("3159") && remedy.contains("tls.mode"), "{reason} / {remedy}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_is_refused_with_its_reason() {
    let server = Server::start(&[]);
    let ca = server.path("data/ca.pem");
    let identity = |ca: PathBuf| with_tls(server.settings(), TlsMode::VerifyIdentity, Some(ca));
    let (reason, _) = reason_and_remedy(&identity(ca.clone())).await;
    assert!(reason.contains("not for 127.0.0.1"), "{reason}");

    let (reason, _) = reason_and_remedy(&identity(server.path("missing.pem"))).await;
    assert!(reason.contains("missing.pem cannot be read"), "{reason}");
    std::fs::write(server.path("text.pem"), "hello").unwrap();
    let (reason, _) = reason_and_remedy(&identity(server.path("text.pem"))).await;
    assert!(reason.contains("holds no PEM certificate"), "{reason}");

    let other = Server::start(&[]);
    other.restart_with_certificates_of_its_own();
    let foreign = with_tls(server.settings(), TlsMode::VerifyCa, Some(other.path("data/ca.pem")));
    let (reason, remedy) = reason_and_remedy(&foreign).await;
    assert!(reason.contains("not trusted") && remedy.contains("tls.ca"), "{reason}");

    let plain = Server::start(&["--tls-version="]);
    let (reason, _) = reason_and_remedy(&with_tls(plain.settings(), TlsMode::Required, None)).await;
    assert!(reason.contains("no TLS"), "{reason}");
}

#[tokio::test]
async fn a_certificate_of_the_own_authority_that_names_the_host_is_trusted() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
    let option = |name: &str, file: &str| format!("--{name}={}", directory.join(file).display());
    let options = [option("ssl-ca", "authority.pem"), option("ssl-cert", "server.pem"), option("ssl-key", "server-key.pem")];
    let server = Server::start(&options.each_ref().map(String::as_str));
    let authority = Some(directory.join("authority.pem"));
    for host in ["127.0.0.1", "localhost"] {
        let settings = Settings { host: host.to_owned(), ..server.settings() };
        for mode in [TlsMode::VerifyIdentity, TlsMode::VerifyCa] {
            WireConnection::connect(&with_tls(settings.clone(), mode, authority.clone())).await.unwrap();
        }
    }
    let (reason, _) = reason_and_remedy(&with_tls(server.settings(), TlsMode::VerifyIdentity, None)).await;
    assert!(reason.contains("the system"), "{reason}");
    let elsewhere = Settings { host: "127.0.0.2".to_owned(), ..server.settings() };
    assert!(matches!(WireConnection::connect(&elsewhere).await, Err(Error::Connection { .. })));
}

#[tokio::test]
async fn rows_come_as_packets_and_an_unread_answer_blocks_the_next_statement() {
    let server = Server::start(&["--max-allowed-packet=256M"]);
    let mut connection = server.root().await;
    connection.execute("CREATE DATABASE shop").await.unwrap();
    connection.execute("SET SESSION cte_max_recursion_depth = 100000").await.unwrap();
    let sql =
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 50000) SELECT i, REPEAT('x', i % 200) FROM n";
    let silence = Duration::from_secs(20);
    let columns = connection.begin_binary_query(sql, silence).await.unwrap();
    assert_eq!(columns.iter().map(|column| column.name.as_str()).next(), Some("i"));
    let refused = connection.execute("SELECT 1").await.unwrap_err();
    assert!(refused.to_string().contains("in the middle"), "{refused}");
    let mut rows = 0;
    while let Some(packet) = connection.next_row_packet(silence).await.unwrap() {
        rows += 1;
        assert_eq!(packet[0], 0);
    }
    assert_eq!(rows, 50_000);

    connection.begin_binary_query("SELECT REPEAT('y', 40000000)", silence).await.unwrap();
    let length = connection.next_row_packet(silence).await.unwrap().unwrap().len();
    assert!(length > 40_000_000, "{length}");
    assert!(connection.next_row_packet(silence).await.unwrap().is_none());

    let failed = connection.query_text("SELECT * FROM shop.nothing").await.unwrap_err();
    assert!(matches!(failed, Error::Connection { .. }), "{failed}");
    assert_eq!(connection.server_error().map(|error| error.code), Some(1146));
    assert_eq!(one(&mut connection, "SELECT 7").await, "7");
    connection.query_text_within("SELECT SLEEP(5)", Duration::from_millis(50)).await.unwrap_err();
    connection.execute("SELECT 1").await.unwrap_err();
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    let server = Server::start(&[]);
    let mut connection = server.root().await;
    connection
        .begin_binary_query("SELECT SLEEP(0.05), seq.n FROM (VALUES ROW(1), ROW(2), ROW(3)) AS seq(n)", Duration::from_secs(9))
        .await
        .unwrap();
    let mut rows = Vec::new();
    for _ in 0..1000 {
        let read = connection.next_row_packet(Duration::from_secs(9));
        match tokio::time::timeout(Duration::from_millis(7), read).await {
            Ok(Ok(Some(packet))) => rows.push(*packet.last().unwrap()),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => {}
        }
    }
    assert_eq!(rows.len(), 3);
}

#[tokio::test]
async fn missing_rights_name_the_grant() {
    let server = Server::start(&[]);
    let mut root = server.root().await;
    for sql in ["CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT)", "CREATE USER 'b'@'127.%' IDENTIFIED BY 'x'"] {
        root.execute(sql).await.unwrap();
    }
    let mut connection = WireConnection::connect(&settings(server.port, "b", "x")).await.unwrap();
    let mut remedies = Vec::new();
    for sql in ["SHOW BINARY LOG STATUS", "SELECT * FROM shop.orders", "USE shop"] {
        match connection.execute(sql).await.unwrap_err() {
            Error::Refused { remedy, .. } => remedies.push(remedy),
            other => panic!("{other}"),
        }
    }
    assert_eq!(
        remedies,
        [
            "GRANT REPLICATION CLIENT ON *.* TO 'b'@'127.%'",
            "GRANT SELECT ON orders TO 'b'@'127.%' (with the table's database)",
            "GRANT SELECT ON `shop`.* TO 'b'@'127.%'"
        ]
    );
}
