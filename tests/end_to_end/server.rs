//! A real server for a test, by `tests/servers/mysql.sh` or `mariadb.sh`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

use crate::keeper::Keeper;

/// The user binlake connects as, and its password.
pub(crate) const USER: &str = "binlake";
/// See [`USER`]; with signs that a shell, YAML or a URL would trip over.
pub(crate) const PASSWORD: &str = "p@ss: #$word'/?";

/// What a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Mysql,
    /// The version's first two numbers.
    Mariadb(&'static str),
}

impl Kind {
    /// All rights that binlake asks for.
    fn rights(self) -> &'static str {
        match self {
            Self::Mysql => "SELECT, REPLICATION SLAVE, REPLICATION CLIENT, BACKUP_ADMIN, XA_RECOVER_ADMIN",
            Self::Mariadb(_) => "SELECT, REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR",
        }
    }

    /// The script that makes servers of this kind, with the arguments before its command.
    fn script(self) -> Vec<String> {
        let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers");
        let script = |name: &str| servers.join(name).to_str().unwrap().to_owned();
        match self {
            Self::Mysql => vec![script("mysql.sh")],
            Self::Mariadb(version) => vec![script("mariadb.sh"), version.to_owned()],
        }
    }
}

/// How long a server that was killed may take until it answers again.
const RETURN_LIMIT: Duration = Duration::from_secs(120);

/// Where a server listens: what stays of it when it is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address(u16);

impl Address {
    /// A connection as root, in UTC and with MySQL's strict defaults; None while nobody answers.
    async fn connect(self) -> mysql_async::Result<Conn> {
        let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(self.0).user(Some("root")).prefer_socket(false);
        let mut connection = Conn::new(opts).await?;
        connection.query_drop("SET SESSION time_zone = '+00:00'").await?;
        Ok(connection)
    }

    /// Connects to a server that may have been killed a moment ago.
    pub(crate) async fn connect_again(self) -> Conn {
        let deadline = Instant::now() + RETURN_LIMIT;
        loop {
            match self.connect().await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < deadline, "the server did not come back: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A running server with data of its own.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    directory: PathBuf,
    port: u16,
    options: Vec<String>,
    zone: String,
    _keeper: Keeper,
}

/// A port that nobody listens on at this moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Starts a MySQL server with `options` for mysqld beside the defaults of the script, and makes the user [`USER`].
    pub(crate) async fn start(options: &[&str]) -> Self {
        Self::start_of(Kind::Mysql, "UTC", options).await
    }

    /// [`Self::start`] for any kind of server.
    pub(crate) async fn start_a(kind: Kind, options: &[&str]) -> Self {
        Self::start_of(kind, "UTC", options).await
    }

    /// The same, with the system's time zone set to `zone`, as `TZ` has it.
    pub(crate) async fn start_of(kind: Kind, zone: &str, options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("binlake-server.").tempdir().unwrap().keep();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let script = kind.script();
        let arguments: Vec<&str> = [directory.to_str().unwrap()].into_iter().chain(script.iter().map(String::as_str)).collect();
        let keeper = Keeper::new(r#"directory=$1; shift; "$@" kill "$directory"; rm -rf "$directory""#, &arguments);
        let mut server = Self { kind, directory, port: 0, options, zone: zone.to_owned(), _keeper: keeper };
        // Another process may take the port between the choice and the start.
        for _ in 0..3 {
            server.port = free_port();
            if server.launch() {
                server.create_user(USER, kind.rights()).await;
                return server;
            }
        }
        panic!("the server did not start: see above");
    }

    /// The server that tests share which need nothing special of one.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| {
            // Called from within a runtime, which must not be blocked on: another thread has another runtime.
            std::thread::spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(Self::start(&[]))).join().unwrap()
        })
    }

    fn script(&self, command: &str) -> Command {
        let script = self.kind.script();
        let mut process = Command::new(&script[0]);
        process.args(&script[1..]).arg(command);
        process
    }

    fn launch(&self) -> bool {
        let started = self
            .script("start")
            .args([self.directory.as_os_str(), self.port.to_string().as_ref()])
            .args(&self.options)
            .env("TZ", &self.zone)
            .status()
            .unwrap();
        started.success()
    }

    /// Stops it in order; its data stay.
    pub(crate) fn stop(&self) {
        assert!(self.script("stop").arg(&self.directory).status().unwrap().success());
    }

    /// Starts it again with the same data and port.
    pub(crate) fn start_again(&self) {
        assert!(self.launch(), "the server did not start again");
    }

    /// SIGKILL, at this very moment; its data stay.
    pub(crate) fn kill(&self) {
        assert!(self.script("kill").arg(&self.directory).status().unwrap().success());
    }

    /// Other options from its next start on.
    pub(crate) fn set_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens, for those who outlive its being killed.
    pub(crate) fn address(&self) -> Address {
        Address(self.port)
    }

    /// The authority that signed the certificate it made for itself.
    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.join("data/ca.pem")
    }

    /// A connection as root, in UTC and with MySQL's strict defaults.
    pub(crate) async fn connect(&self) -> Conn {
        self.address().connect().await.unwrap()
    }

    /// Runs statements as root, one after another, in one session.
    pub(crate) async fn execute<S: AsRef<str>>(&self, statements: &[S]) {
        let mut connection = self.connect().await;
        for statement in statements {
            if let Err(error) = connection.query_drop(statement.as_ref()).await {
                panic!("{}: {error}", statement.as_ref());
            }
        }
        connection.disconnect().await.unwrap();
    }

    /// A user with the password [`PASSWORD`] and rights on everything.
    pub(crate) async fn create_user(&self, user: &str, rights: &str) {
        let password = PASSWORD.replace('\'', "''");
        self.execute(&[
            format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'"),
            format!("GRANT {rights} ON *.* TO '{user}'@'%'"),
        ])
        .await;
    }

    /// A fresh database with tables of two rows: an id and a note. Their names, as `database.table`.
    pub(crate) async fn create_small(&self, database: &str, names: &[&str]) -> Vec<String> {
        self.create_database(database).await;
        let mut tables = Vec::new();
        for name in names {
            let table = format!("{database}.{name}");
            self.execute(&[
                format!("CREATE TABLE {table} (id INT NOT NULL PRIMARY KEY, note VARCHAR(40) NULL)"),
                format!("INSERT INTO {table} VALUES (1,'one'),(2,'two')"),
            ])
            .await;
            tables.push(table);
        }
        tables
    }

    /// A fresh database.
    pub(crate) async fn create_database(&self, name: &str) {
        self.execute(&[format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")]).await;
    }
}
