//! What a server says instead of an answer, sorted.

use hive_metastore::{
    AlreadyExistsException, InvalidObjectException, InvalidOperationException, MetaException, NoSuchObjectException,
    ThriftHiveMetastoreAddPartitionsException as AddPartitions,
    ThriftHiveMetastoreAlterPartitionsWithEnvironmentContextException as AlterPartitions,
    ThriftHiveMetastoreAlterTableWithEnvironmentContextException as AlterTable,
    ThriftHiveMetastoreCreateDatabaseException as CreateDatabase,
    ThriftHiveMetastoreCreateTableWithEnvironmentContextException as CreateTable,
    ThriftHiveMetastoreDropDatabaseException as DropDatabase, ThriftHiveMetastoreDropPartitionException as DropPartition,
    ThriftHiveMetastoreDropTableWithEnvironmentContextException as DropTable,
    ThriftHiveMetastoreGetDatabaseException as GetDatabase, ThriftHiveMetastoreGetPartitionsException as GetPartitions,
    ThriftHiveMetastoreGetTableException as GetTable, ThriftHiveMetastoreGetTableReqException as GetTableReq,
};
use volo_thrift::ClientError;

use crate::lake::metastore::Error;

/// How servers begin when a compared parameter has another value by now.
const MODIFIED: &str = "The table has been modified";
/// What they say of columns that do not follow those before.
const INCOMPATIBLE: &str = "incompatible with the existing columns";
/// What they say of a method that they have not.
const UNKNOWN_METHOD: &str = "Invalid method name";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The connection broke, or time ran out.
    Nothing,
    /// An answer that is none of the method's own.
    Application,
    Meta,
    Missing,
    Exists,
    InvalidObject,
    InvalidOperation,
}

/// What came instead of an answer.
#[derive(Debug)]
pub(super) struct Said {
    kind: Kind,
    text: String,
}

impl Said {
    pub(super) fn nothing(text: String) -> Self {
        Self { kind: Kind::Nothing, text }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.kind == Kind::Nothing
    }

    pub(super) fn is_missing(&self) -> bool {
        self.kind == Kind::Missing
    }

    pub(super) fn is_unknown_method(&self) -> bool {
        self.kind == Kind::Application && self.text.contains(UNKNOWN_METHOD)
    }
}

macro_rules! kinds {
    ($($exception:ident: $kind:ident),*) => {
        $(impl From<$exception> for Said {
            fn from(exception: $exception) -> Self {
                Self { kind: Kind::$kind, text: exception.message.map(|text| text.to_string()).unwrap_or_default() }
            }
        })*
    };
}

kinds!(
    MetaException: Meta,
    NoSuchObjectException: Missing,
    AlreadyExistsException: Exists,
    InvalidObjectException: InvalidObject,
    InvalidOperationException: InvalidOperation
);

macro_rules! exceptions {
    ($($method:ident: $($variant:ident),*;)*) => {
        $(impl From<$method> for Said {
            fn from(exception: $method) -> Self {
                match exception { $($method::$variant(exception) => exception.into()),* }
            }
        })*
    };
}

exceptions! {
    GetDatabase: O1, O2;
    CreateDatabase: O1, O2, O3;
    DropDatabase: O1, O2, O3;
    GetTable: O1, O2;
    GetTableReq: O1, O2;
    CreateTable: O1, O2, O3, O4;
    AlterTable: O1, O2;
    DropTable: O1, O3;
    GetPartitions: O1, O2;
    AddPartitions: O1, O2, O3;
    AlterPartitions: O1, O2;
    DropPartition: O1, O2;
}

/// A call that the protocol, and not the method, answered.
pub(super) fn unanswered(error: ClientError) -> Said {
    match error {
        ClientError::Application(error) => Said { kind: Kind::Application, text: error.to_string() },
        error => Said::nothing(plain(&error.to_string())),
    }
}

/// Without what the client library says of itself: half a page of its settings.
fn plain(text: &str) -> String {
    let text = text.split(", rpc_info:").next().unwrap_or(text);
    text.strip_prefix("transport exception: ").unwrap_or(text).to_owned()
}

/// The same in the words of the room.
pub(super) fn refused(address: &str, call: &'static str, what: &str, said: Said) -> Error {
    let (address, what, reason) = (address.to_owned(), what.to_owned(), said.text);
    match said.kind {
        Kind::Nothing => Error::Away { address, reason },
        Kind::Missing => Error::Missing { what },
        Kind::Exists => Error::Exists { what },
        Kind::Meta if reason.starts_with(MODIFIED) => Error::Modified { what },
        Kind::InvalidOperation if reason.contains(INCOMPATIBLE) => Error::Incompatible { what, reason },
        Kind::Application | Kind::Meta | Kind::InvalidObject | Kind::InvalidOperation => Error::Failed { address, call, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(text: &str) -> Error {
        let exception = MetaException { message: Some(text.to_owned().into()) };
        refused("here:9083", "alter_table", "ods.t", AlterTable::O2(exception).into())
    }

    #[test]
    fn a_broken_connection_is_told_in_a_few_words() {
        let said = "transport exception: unexpected end of file: an unexpected end of file from server, rpc_info: RpcInfo { role: Client }";
        assert_eq!(plain(said), "unexpected end of file: an unexpected end of file from server");
        assert_eq!(plain("anything else"), "anything else");
    }

    #[test]
    fn a_lost_comparison_is_told_from_any_other_failure() {
        let lost = "The table has been modified. The parameter value for key 'binlake.seq' is 'g0001/t1/3'. The expected was value was 'g0001/t1/2'";
        assert_eq!(meta(lost), Error::Modified { what: "ods.t".to_owned() });
        assert_eq!(meta("The table has been modified. The parameter value for key 'binlake.seq' is different"), meta(lost));
        assert!(matches!(meta("New value for expected key nokey is not set"), Error::Failed { .. }));
    }

    #[test]
    fn columns_that_do_not_follow_are_told_from_other_refusals() {
        let said = |text: &str| InvalidOperationException { message: Some(text.to_owned().into()) };
        let columns =
            said("The following columns have types incompatible with the existing columns in their respective positions :\ni");
        let error = refused("here:9083", "alter_table", "ods.t", AlterTable::O1(columns).into());
        assert!(matches!(error, Error::Incompatible { .. }), "{error}");
        let other = refused("here:9083", "alter_table", "ods.t", AlterTable::O1(said("alter is not possible")).into());
        assert!(matches!(other, Error::Failed { .. }), "{other}");
    }
}
