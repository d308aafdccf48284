//! A data file on its way into the store: encoded in blocking threads, uploaded in parts of one size.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};

use super::write::DataFileWriter;
use super::{EncodedRowGroup, FileEntry, PendingRows, StoredRowGroup, blocking, encode_row_group};
use crate::lake::columns::Shape;
use crate::lake::{Error, Result, Settings};

/// Bytes of an uploaded part: above every store's minimum, and all parts but the last alike.
const PART_BYTES: usize = 8 << 20;

/// Writes one data file. A mirror's rows come in the order of their stored keys, each once. A file that is dropped before
/// [`FileUpload::finish`] is not there.
pub struct FileUpload {
    store: Arc<dyn ObjectStore>,
    location: Path,
    shape: Shape,
    row_group_bytes: usize,
    /// None while a blocking thread has it, and for good when that failed.
    writer: Option<DataFileWriter>,
    pending: PendingRows,
    /// What waits to be a part, as it came: a huge row group is not copied once more.
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// Nobody locks it: it may not be shared between threads, and whoever holds a file may be.
    upload: Mutex<Option<Box<dyn MultipartUpload>>>,
    bytes: u64,
}

impl std::fmt::Debug for FileUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileUpload").field("location", &self.location).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// The object of a file, given relative to the table's folder.
pub(crate) fn location(table_prefix: &Path, path: &str) -> Path {
    table_prefix.parts().chain(Path::from(path).parts()).collect()
}

impl FileUpload {
    /// A file at `path`, relative to the table's folder.
    ///
    /// # Errors
    /// When Parquet cannot hold the shape.
    pub fn new(
        store: &Arc<dyn ObjectStore>,
        table_prefix: &Path,
        path: String,
        shape: &Shape,
        settings: &Settings,
    ) -> Result<Self> {
        Ok(Self {
            store: Arc::clone(store),
            location: location(table_prefix, &path),
            writer: Some(DataFileWriter::new(shape, path)?),
            shape: shape.clone(),
            row_group_bytes: settings.row_group_bytes.max(1),
            pending: PendingRows::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            upload: Mutex::new(None),
            bytes: 0,
        })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// When a mirror's rows are out of order, or the store fails; the file is lost then.
    pub async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        self.pending.push(rows);
        while let Some(batches) = self.pending.full(self.row_group_bytes) {
            self.encode(batches).await?;
        }
        Ok(())
    }

    /// Ends a row group: no row is held in memory behind it.
    ///
    /// # Errors
    /// As [`FileUpload::write`].
    pub(crate) async fn flush(&mut self) -> Result<()> {
        while let Some(batches) = self.pending.rest(self.row_group_bytes) {
            self.encode(batches).await?;
        }
        Ok(())
    }

    /// Bytes of finished row groups.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Closes the file; it is there when this returns.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish(mut self) -> Result<FileEntry> {
        self.flush().await?;
        let writer = self.take_writer()?;
        let (rest, entry) = blocking(move || writer.finish()).await?;
        self.wait(rest);
        let last = self.next_part(usize::MAX);
        let done = match self.upload().take() {
            None => self.store.put(&self.location, last).await.map(drop),
            Some(mut upload) => match upload.put_part(last).await {
                Ok(()) => upload.complete().await.map(drop),
                Err(error) => Err(error),
            },
        };
        done.map_err(|source| self.store_error(source))?;
        Ok(entry)
    }

    /// Adds a row group that is encoded already.
    pub(crate) async fn append(&mut self, group: EncodedRowGroup) -> Result<()> {
        self.through_writer(move |writer| writer.append(group)).await
    }

    /// Adds a row group of another file, byte for byte.
    pub(crate) async fn copy(&mut self, group: StoredRowGroup) -> Result<()> {
        self.through_writer(move |writer| writer.copy(&group)).await
    }

    async fn encode(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        let shape = self.shape.clone();
        self.through_writer(move |writer| writer.append(encode_row_group(&shape, &batches)?)).await
    }

    fn take_writer(&mut self) -> Result<DataFileWriter> {
        self.writer.take().ok_or_else(|| self.shape.file_error(self.location.as_ref(), "it was abandoned after an error"))
    }

    async fn through_writer(&mut self, work: impl FnOnce(&mut DataFileWriter) -> Result<()> + Send + 'static) -> Result<()> {
        let mut writer = self.take_writer()?;
        let (writer, written) = blocking(move || {
            work(&mut writer)?;
            let written = writer.drain()?;
            Ok((writer, written))
        })
        .await?;
        self.bytes += written.len() as u64;
        self.wait(written);
        self.send_parts().await?;
        self.writer = Some(writer);
        Ok(())
    }

    fn wait(&mut self, bytes: Bytes) {
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(bytes);
    }

    /// The first bytes that wait, at most so many.
    fn next_part(&mut self, bytes_max: usize) -> PutPayload {
        let mut part = Vec::new();
        let mut left = bytes_max.min(self.waiting_bytes);
        self.waiting_bytes -= left;
        while left > 0
            && let Some(mut bytes) = self.waiting.pop_front()
        {
            if bytes.len() > left {
                self.waiting.push_front(bytes.split_off(left));
            }
            left -= bytes.len();
            part.push(bytes);
        }
        PutPayload::from_iter(part)
    }

    async fn send_parts(&mut self) -> Result<()> {
        while self.waiting_bytes > PART_BYTES {
            let begun = self.upload().take();
            let mut upload = match begun {
                Some(upload) => upload,
                None => self.store.put_multipart(&self.location).await.map_err(|source| self.store_error(source))?,
            };
            let part = self.next_part(PART_BYTES);
            upload.put_part(part).await.map_err(|source| self.store_error(source))?;
            *self.upload() = Some(upload);
        }
        Ok(())
    }

    fn upload(&mut self) -> &mut Option<Box<dyn MultipartUpload>> {
        self.upload.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn store_error(&self, source: object_store::Error) -> Error {
        Error::Store { path: self.location.to_string(), source }
    }
}
