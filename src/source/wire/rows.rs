//! Result sets: text rows for small questions, binary rows for data.

use std::time::Duration;

use mysql_common::constants::Command;

use super::fields::Fields;
use super::{State, WireConnection, field_count, is_end};
use crate::source::Result;

/// A table has at most 4,096 columns.
const COLUMNS_MAX: u64 = 4096;
/// Small questions have small answers.
const TEXT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// The table it comes from; empty for an expression.
    pub table: String,
    /// The name of the result's column.
    pub name: String,
    /// The collation's id; 63 is binary.
    pub collation: u16,
    /// The greatest length in bytes, or the display width.
    pub length: u32,
    /// The protocol's type (`MYSQL_TYPE_…`).
    pub kind: u8,
    /// The protocol's flags (`UNSIGNED_FLAG` is 0x20, `ENUM_FLAG` 0x100, `SET_FLAG` 0x800).
    pub flags: u16,
    /// Digits behind the point.
    pub decimals: u8,
}

impl ColumnDefinition {
    fn parse(packet: &[u8]) -> Option<Self> {
        let mut fields = Fields(packet);
        let (_catalog, _database, _alias) = (fields.string()?, fields.string()?, fields.string()?);
        let table = String::from_utf8_lossy(fields.string()?).into_owned();
        let name = String::from_utf8_lossy(fields.string()?).into_owned();
        let (_original, _fixed_length) = (fields.string()?, fields.u8()?);
        Some(Self {
            table,
            name,
            collation: fields.u16()?,
            length: fields.u32()?,
            kind: fields.u8()?,
            flags: fields.u16()?,
            decimals: fields.u8()?,
        })
    }
}

impl WireConnection {
    /// Runs a SELECT without parameters by the binary protocol. Its rows are read with [`Self::next_row_packet`]; `silence` is
    /// how long the server may take to the first of them.
    pub async fn begin_binary_query(&mut self, sql: &str, silence: Duration) -> Result<&[ColumnDefinition]> {
        self.send(Command::COM_STMT_PREPARE, sql.as_bytes()).await?;
        let prepared = self.read_checked(silence).await?;
        let mut fields = Fields(prepared);
        let (Some(0), Some(statement), Some(columns), Some(parameters)) = (fields.u8(), fields.u32(), fields.u16(), fields.u16())
        else {
            return Err(self.failure("the answer to a prepare cannot be read"));
        };
        self.statement = Some(statement);
        for count in [parameters, columns] {
            self.skip_definitions(count, silence).await?;
        }
        if columns == 0 || parameters > 0 {
            self.state = State::Idle;
            return Err(self.failure("a statement without columns, or with parameters, was prepared as a query"));
        }
        // No cursor, executed once.
        let mut payload = statement.to_le_bytes().to_vec();
        payload.push(0);
        payload.extend_from_slice(&1u32.to_le_bytes());
        self.state = State::Idle;
        self.statement = None;
        let executed = self.send(Command::COM_STMT_EXECUTE, &payload).await;
        self.statement = Some(statement);
        executed?;
        let first = self.read_checked(silence).await?;
        let Some(count @ 1..=COLUMNS_MAX) = field_count(first) else {
            return Err(self.failure("the answer to a query cannot be read"));
        };
        self.read_definitions(count, silence).await?;
        self.state = State::Rows;
        Ok(&self.columns)
    }

    /// The columns of the last result.
    pub fn columns(&self) -> &[ColumnDefinition] {
        &self.columns
    }

    /// The next row of [`Self::begin_binary_query`] as the server sent it (from its leading zero byte), borrowed until the next
    /// call; None after the last. Cancel-safe.
    pub async fn next_row_packet(&mut self, silence: Duration) -> Result<Option<&[u8]>> {
        if self.state != State::Rows {
            return Err(self.failure("no result is open"));
        }
        if is_end(self.read_checked(silence).await?) {
            self.state = State::Idle;
            return Ok(None);
        }
        Ok(Some(self.channel.packet()))
    }

    pub(super) async fn text_rows(&mut self, sql: &str, silence: Duration) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        self.send(Command::COM_QUERY, sql.as_bytes()).await?;
        let first = self.read_checked(silence).await?;
        let count = match (first.first(), field_count(first)) {
            (Some(0), _) => {
                self.state = State::Idle;
                return Ok(Vec::new());
            }
            (_, Some(count @ 1..=COLUMNS_MAX)) => count,
            _ => return Err(self.failure("the answer to a query cannot be read")),
        };
        self.read_definitions(count, silence).await?;
        let mut rows = Vec::new();
        let mut bytes = 0;
        loop {
            let packet = self.read_checked(silence).await?;
            if is_end(packet) {
                self.state = State::Idle;
                return Ok(rows);
            }
            bytes += packet.len();
            let row = text_row(packet, count);
            match row {
                Some(row) if bytes <= TEXT_BYTES_MAX => rows.push(row),
                Some(_) => return Err(self.failure(format!("the answer is larger than {TEXT_BYTES_MAX} bytes"))),
                None => return Err(self.failure("a text row cannot be read")),
            }
        }
    }

    async fn skip_definitions(&mut self, count: u16, silence: Duration) -> Result<()> {
        for _ in 0..count {
            self.read_checked(silence).await?;
        }
        if count > 0 && !is_end(self.read_checked(silence).await?) {
            return Err(self.failure("a list of columns without its end"));
        }
        Ok(())
    }

    async fn read_definitions(&mut self, count: u64, silence: Duration) -> Result<()> {
        self.columns.clear();
        for _ in 0..count {
            let definition = ColumnDefinition::parse(self.read_checked(silence).await?);
            match definition {
                Some(definition) => self.columns.push(definition),
                None => return Err(self.failure("the description of a column cannot be read")),
            }
        }
        if !is_end(self.read_checked(silence).await?) {
            return Err(self.failure("a list of columns without its end"));
        }
        Ok(())
    }
}

fn text_row(packet: &[u8], count: u64) -> Option<Vec<Option<Vec<u8>>>> {
    let mut fields = Fields(packet);
    let row: Option<Vec<_>> = (0..count).map(|_| fields.nullable_string().map(|cell| cell.map(<[u8]>::to_vec))).collect();
    row.filter(|_| fields.0.is_empty())
}
