//! A real metastore behind Thrift: buffered transport, binary protocol, no Kerberos and no TLS.
//!
//! Every call is bounded. One connection pool an address; the address that answered last is asked first, and when it cannot be reached
//! the next one is. A call that was sent is never sent again: whether it was done is for the caller to see.

mod convert;
mod failure;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use hive_metastore::{GetTableRequest, ThriftHiveMetastoreClient, ThriftHiveMetastoreClientBuilder};
use volo_thrift::MaybeException;

use self::convert::{context, text};
use self::failure::{Said, refused, unanswered};
use super::{Database, Error, Expected, Format, Metastore, Partition, Result, Table};
use crate::lake::LakeName;

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a call may take: that of a thousand partitions takes seconds.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Connections that stand idle for longer are not used again.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Partitions a call carries at most, where several calls are as good as one.
const ADDED_AT_ONCE: usize = 500;

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// See the module.
pub struct ThriftMetastore {
    addresses: Vec<Address>,
    /// The connection in use: the index of its address, where that led, and its client.
    current: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    index: usize,
    address: String,
    client: ThriftHiveMetastoreClient,
}

impl std::fmt::Debug for ThriftMetastore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThriftMetastore").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Sends a call and sorts what came back: `Ok(Ok)` the answer, `Ok(Err)` what the server said instead.
macro_rules! call {
    ($connection:ident, $method:ident($($argument:expr),*)) => {
        match tokio::time::timeout(CALL_LIMIT, $connection.client.$method($($argument),*)).await {
            Ok(Ok(MaybeException::Ok(answer))) => Ok::<_, Said>(answer),
            Ok(Ok(MaybeException::Exception(exception))) => Err(Said::from(exception)),
            Ok(Err(error)) => Err(unanswered(error)),
            Err(_) => Err(Said::nothing(format!("no answer within {} s", CALL_LIMIT.as_secs()))),
        }
    };
}

impl ThriftMetastore {
    /// A metastore at one of these addresses, at least one. Nothing is connected yet.
    pub fn new(addresses: Vec<Address>) -> Self {
        Self { addresses, current: Mutex::new(None) }
    }

    /// The connection in use, or one to the first address that can be reached.
    async fn connection(&self) -> Result<Connection> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(current) = current {
            return Ok(current);
        }
        let mut failures = Vec::new();
        for (index, address) in self.addresses.iter().enumerate() {
            match reach(address).await {
                Ok(reached) => {
                    let connection = Connection { index, address: address.to_string(), client: client(reached) };
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
                    return Ok(connection);
                }
                Err(reason) => failures.push(format!("{address}: {reason}")),
            }
        }
        Err(Error::Away { address: self.place(), reason: failures.join("; ") })
    }

    /// What a call came to. After one without an answer the addresses are tried anew.
    fn answered<T>(
        &self,
        connection: &Connection,
        call: &'static str,
        what: &dyn std::fmt::Display,
        answer: std::result::Result<T, Said>,
    ) -> Result<T> {
        answer.map_err(|said| {
            if said.is_nothing() {
                let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                current.take_if(|current| current.index == connection.index);
            }
            refused(&connection.address, call, &what.to_string(), said)
        })
    }
}

/// Whether somebody listens there.
async fn reach(address: &Address) -> std::result::Result<SocketAddr, String> {
    let reaching = async {
        let mut found = "the name leads nowhere".to_owned();
        for candidate in
            tokio::net::lookup_host((address.host.as_str(), address.port)).await.map_err(|error| error.to_string())?
        {
            match tokio::net::TcpStream::connect(candidate).await {
                Ok(_) => return Ok(candidate),
                Err(error) => found = error.to_string(),
            }
        }
        Err(found)
    };
    match tokio::time::timeout(CONNECT_LIMIT, reaching).await {
        Ok(reached) => reached,
        Err(_) => Err(format!("no connection within {} s", CONNECT_LIMIT.as_secs())),
    }
}

fn client(address: SocketAddr) -> ThriftHiveMetastoreClient {
    ThriftHiveMetastoreClientBuilder::new("hive_metastore")
        .make_codec(volo_thrift::codec::default::DefaultMakeCodec::buffered())
        .address(address)
        .retry_count(0)
        .connect_timeout(Some(CONNECT_LIMIT))
        .read_write_timeout(Some(CALL_LIMIT))
        .rpc_timeout(Some(CALL_LIMIT))
        .pool_config(volo_thrift::transport::pool::Config::new(8, IDLE_LIMIT))
        .build()
}

#[async_trait]
impl Metastore for ThriftMetastore {
    fn place(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    async fn database(&self, name: &str) -> Result<Option<Database>> {
        let connection = self.connection().await?;
        let answer = call!(connection, get_database(text(name)));
        match answer {
            Err(said) if said.is_missing() => Ok(None),
            answer => {
                self.answered(&connection, "get_database", &name, answer).map(|found| Some(convert::database_of(name, found)))
            }
        }
    }

    async fn create_database(&self, database: &Database) -> Result<()> {
        let connection = self.connection().await?;
        let answer = call!(connection, create_database(convert::database(database)));
        self.answered(&connection, "create_database", &database.name, answer)
    }

    async fn drop_database(&self, name: &str) -> Result<()> {
        if self.database(name).await?.is_none() {
            // Older servers answer with a failure of their own.
            return Ok(());
        }
        let connection = self.connection().await?;
        let answer = call!(connection, drop_database(text(name), false, false));
        self.answered(&connection, "drop_database", &name, answer)
    }

    async fn table(&self, name: &LakeName) -> Result<Option<Table>> {
        let connection = self.connection().await?;
        let request = GetTableRequest { db_name: text(&name.database), tbl_name: text(&name.table), capabilities: None };
        let mut answer = call!(connection, get_table_req(request)).map(|answer| answer.table);
        if matches!(&answer, Err(said) if said.is_unknown_method()) {
            answer = call!(connection, get_table(text(&name.database), text(&name.table)));
        }
        match answer {
            Err(said) if said.is_missing() => Ok(None),
            answer => self.answered(&connection, "get_table", name, answer).map(|found| Some(convert::table_of(name, found))),
        }
    }

    async fn create_table(&self, table: &Table) -> Result<()> {
        let connection = self.connection().await?;
        let answer = call!(connection, create_table_with_environment_context(convert::table(table), context(None)));
        self.answered(&connection, "create_table", &table.name, answer)
    }

    async fn alter_table(&self, name: &LakeName, table: &Table, expected: Option<Expected<'_>>) -> Result<()> {
        let connection = self.connection().await?;
        let (database, old, new) = (text(&name.database), text(&name.table), convert::table(table));
        let answer = call!(connection, alter_table_with_environment_context(database, old, new, context(expected)));
        self.answered(&connection, "alter_table", name, answer)
    }

    async fn drop_table(&self, name: &LakeName) -> Result<()> {
        let connection = self.connection().await?;
        let (database, table) = (text(&name.database), text(&name.table));
        let answer = call!(connection, drop_table_with_environment_context(database, table, false, context(None)));
        match answer {
            Err(said) if said.is_missing() => Ok(()),
            answer => self.answered(&connection, "drop_table", name, answer),
        }
    }

    async fn partitions(&self, name: &LakeName) -> Result<Vec<Partition>> {
        let connection = self.connection().await?;
        let answer = call!(connection, get_partitions(text(&name.database), text(&name.table), -1));
        let found = self.answered(&connection, "get_partitions", name, answer)?;
        Ok(found.into_iter().map(convert::partition_of).collect())
    }

    async fn add_partitions(&self, name: &LakeName, format: &Format, partitions: &[Partition]) -> Result<()> {
        for some in partitions.chunks(ADDED_AT_ONCE) {
            let connection = self.connection().await?;
            let some = some.iter().map(|partition| convert::partition(name, format, partition)).collect();
            let answer = call!(connection, add_partitions(some));
            self.answered(&connection, "add_partitions", name, answer)?;
        }
        Ok(())
    }

    async fn alter_partitions(&self, name: &LakeName, format: &Format, partitions: &[Partition]) -> Result<()> {
        let connection = self.connection().await?;
        let new = partitions.iter().map(|partition| convert::partition(name, format, partition)).collect();
        let (database, table) = (text(&name.database), text(&name.table));
        let answer = call!(connection, alter_partitions_with_environment_context(database, table, new, context(None)));
        self.answered(&connection, "alter_partitions", name, answer)
    }

    async fn drop_partition(&self, name: &LakeName, values: &[String]) -> Result<()> {
        let connection = self.connection().await?;
        let values = values.iter().map(|value| text(value)).collect();
        let answer = call!(connection, drop_partition(text(&name.database), text(&name.table), values, false));
        match answer {
            Err(said) if said.is_missing() => Ok(()),
            answer => self.answered(&connection, "drop_partition", name, answer).map(drop),
        }
    }
}
