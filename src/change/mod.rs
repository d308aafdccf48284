//! The vocabulary every room shares: places in a source's history, table shapes, rows as they pass.
//!
//! Pure: no I/O, no async, nothing of ours imported. A room knows its neighbours only through these words.

pub mod capture;
pub mod clock;
pub mod datetimes;
pub mod days;
pub mod failure;
pub mod gtid;
pub mod position;
pub mod record;
pub mod remark;
pub mod row;
pub mod schema;

pub use capture::{Capture, CapturedTable};
pub use clock::{Clock, ManualClock, SystemClock};
pub use datetimes::{DatetimeEncoding, Datetimes};
pub use days::{DayEnd, Days};
pub use failure::{Failure, Remedy};
pub use gtid::{Gtid, GtidSet};
pub use position::{BinlogPosition, ChangePosition, Cut, Dropped, LogOffset, LogPlace, ParsePositionError, Term};
pub use record::{Operation, RecordHead};
pub use remark::{Remark, Weight};
pub use row::{CellError, Image, RowSink, Value, ValueSink};
pub use schema::{AddressKind, Charset, Column, ColumnType, Generated, KeyKind, TableName, TableSchema};
