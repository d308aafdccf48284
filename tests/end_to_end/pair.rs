//! A source and its replica, and the address under which one of them is reached.

use mysql_async::prelude::Queryable;

use crate::proxy::Proxy;
use crate::scene::Scene;
use crate::server::Server;

/// Two servers of one history.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) first: Server,
    pub(crate) second: Server,
    pub(crate) address: Proxy,
}

impl Pair {
    /// `second` follows `first`, whose address it is; `options` are for the second alone.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let options: Vec<&str> = ["--server-id=2"].iter().chain(options).copied().collect();
        let (first, second) = tokio::join!(Server::start(&["--server-id=1"]), Server::start(&options));
        // It is to have nothing of its own.
        second.execute(&["DROP USER 'binlake'@'%'", "RESET BINARY LOGS AND GTIDS"]).await;
        follow(&second, &first).await;
        caught_up(&second, &first).await;
        let address = Proxy::start(first.port()).await;
        Self { first, second, address }
    }

    /// A scene whose source is the address.
    pub(crate) fn scene<S: AsRef<str>>(&self, tables: &[S]) -> Scene {
        let mut scene = Scene::new(&self.first, tables);
        scene.edit(|yaml| yaml.url = format!("mysql://127.0.0.1:{}", self.address.port()));
        scene
    }

    /// A failover as it is done by hand: nobody writes, the replica has everything, the roles and the address change.
    pub(crate) async fn switch(&self, from: &Server, to: &Server) {
        caught_up(to, from).await;
        promote(to).await;
        follow(from, to).await;
        self.address.point(to.port());
    }
}

/// Makes `replica` follow `source`.
pub(crate) async fn follow(replica: &Server, source: &Server) {
    let change = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', SOURCE_AUTO_POSITION=1, \
         GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1",
        source.port()
    );
    replica.execute(&["STOP REPLICA", &change, "START REPLICA"]).await;
}

/// Ends the following of another server.
pub(crate) async fn promote(replica: &Server) {
    replica.execute(&["STOP REPLICA", "RESET REPLICA ALL"]).await;
}

/// Waits until `replica` has executed all that `source` has.
pub(crate) async fn caught_up(replica: &Server, source: &Server) {
    let executed = executed(source).await;
    let mut connection = replica.connect().await;
    let waited: Option<i64> =
        connection.query_first(format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 60)")).await.unwrap();
    let status: Option<mysql_async::Row> = connection.query_first("SHOW REPLICA STATUS").await.unwrap();
    connection.disconnect().await.unwrap();
    assert_eq!(waited, Some(0), "the replica did not execute {executed}: {status:?}");
}

/// All that a server has executed.
pub(crate) async fn executed(server: &Server) -> String {
    text(server, "SELECT @@GLOBAL.gtid_executed").await.replace('\n', "")
}

/// A server's uuid.
pub(crate) async fn uuid(server: &Server) -> String {
    text(server, "SELECT @@server_uuid").await
}

async fn text(server: &Server, query: &str) -> String {
    let mut connection = server.connect().await;
    let value: Option<String> = connection.query_first(query).await.unwrap();
    connection.disconnect().await.unwrap();
    value.unwrap()
}
