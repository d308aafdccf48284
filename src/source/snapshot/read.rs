//! Reads one chunk.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::change::{KeyKind, RowSink, TableSchema};
use crate::source::decode::result::RowDecoder;
use crate::source::wire::WireConnection;
use crate::source::{ChunkRange, ChunkReader, Error, Result, Sample, Settings, Visible};

use super::sample::sample;
use super::{chunks, session, sql};

/// Between two looks at a busy server.
const THROTTLE_PAUSE: Duration = Duration::from_millis(200);

/// A chunk that is being read.
#[derive(Debug)]
pub struct SnapshotReader {
    connection: WireConnection,
    settings: Settings,
    schema: Arc<TableSchema>,
    decoder: RowDecoder,
    finished: bool,
}

/// Starts reading a chunk on a connection of its own.
///
/// # Errors
/// [`Error::Connection`] on another server than `visible`'s; [`Error::Table`] when the table's shape is no longer `schema`'s;
/// [`Error::Timeout`] when the server stays busier than `max_threads_running`.
pub async fn read_chunk(
    settings: &Settings,
    schema: Arc<TableSchema>,
    range: &ChunkRange,
    visible: &Visible,
) -> Result<SnapshotReader> {
    let mut connection = session::open(settings, Some(&visible.server_uuid)).await?;
    throttle(&mut connection, settings).await?;
    session::check_shape(&mut connection, &schema).await?;
    let key = sql::key(&schema);
    // An index gives this order for nothing; a key that only the YAML knows would be sorted for it.
    let order = match schema.key_kind {
        KeyKind::Primary | KeyKind::Unique if !key.is_empty() => format!(" ORDER BY {}", sql::order(&key, "ASC")),
        _ => String::new(),
    };
    let statement =
        format!("SELECT {} FROM {}{}{order}", sql::column_list(&schema), chunks::indexed(&schema), sql::range(&key, range));
    if let Err(error) = connection.begin_binary_query(&statement, settings.timeout).await {
        return Err(session::on_table(&connection, &schema, error));
    }
    let decoder = RowDecoder::new(&schema, connection.columns())
        .map_err(|error| session::changed(&schema, format!("column {}: {}", error.column, error.reason)))?;
    Ok(SnapshotReader { connection, settings: settings.clone(), schema, decoder, finished: false })
}

/// Waits, for a bounded time, until the server is not too busy.
async fn throttle(connection: &mut WireConnection, settings: &Settings) -> Result<()> {
    let limit = settings.snapshot.max_threads_running;
    let deadline = Instant::now() + settings.timeout;
    loop {
        let rows = connection.query_text("SHOW GLOBAL STATUS LIKE 'Threads_running'").await?;
        let value = rows.first().and_then(|row| row.get(1)?.as_deref()).map(String::from_utf8_lossy);
        let Some(running) = value.and_then(|value| value.parse::<u64>().ok()) else {
            return Err(connection.failure("the server did not tell Threads_running"));
        };
        if running <= limit {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout {
                name: settings.name.clone(),
                what: format!("a server with at most {limit} threads running (snapshot.max_threads_running; {running} run)"),
                seconds: settings.timeout.as_secs(),
            });
        }
        tokio::time::sleep(THROTTLE_PAUSE).await;
    }
}

#[async_trait]
impl ChunkReader for SnapshotReader {
    async fn next_rows(&mut self, sink: &mut (dyn RowSink + Send), bytes: usize) -> Result<u64> {
        let (mut rows, mut read) = (0, 0);
        while !self.finished && (rows == 0 || read < bytes) {
            match self.connection.next_row_packet(self.settings.timeout).await? {
                Some(packet) => {
                    read += packet.len();
                    rows += 1;
                    let decoded = self.decoder.decode(packet, sink);
                    decoded.map_err(|error| Error::Table {
                        table: self.schema.name.clone(),
                        reason: format!("a row cannot be loaded: column {}: {}", error.column, error.reason),
                        remedy: format!(
                            "correct the row on the source, or exclude the column, then binlake rebuild {}",
                            self.schema.name
                        ),
                    })?;
                }
                None => self.finished = true,
            }
        }
        Ok(rows)
    }

    async fn high(mut self: Box<Self>) -> Result<Sample> {
        if !self.finished {
            return Err(self.connection.failure("the chunk was not read to its end"));
        }
        sample(&mut self.connection, &self.settings).await
    }
}
