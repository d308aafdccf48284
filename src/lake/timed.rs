//! A store whose calls all end: each is bounded by a time that grows with what it carries.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::store::bounded;
use crate::trial;

/// What every call may take.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// What putting an upload together may take: on local files that is when all of it goes to the disk.
const COMPLETION_LIMIT: Duration = Duration::from_secs(600);
/// The slowest store that is worth waiting for.
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Timed {
    inner: Arc<dyn ObjectStore>,
}

impl Timed {
    pub(super) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner }
    }
}

/// An upload in parts, each of them bounded.
#[derive(Debug)]
struct TimedUpload {
    inner: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for TimedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = bounded(limit(data.content_length() as u64), self.inner.put_part(data));
        async move {
            trial::slow_put().await;
            part.await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        bounded(COMPLETION_LIMIT, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        bounded(CALL_LIMIT, self.inner.abort()).await
    }
}

fn limit(bytes: u64) -> Duration {
    CALL_LIMIT + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Timed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        trial::slow_put().await;
        bounded(limit(payload.content_length() as u64), self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = bounded(CALL_LIMIT, self.inner.put_multipart_opts(location, opts)).await?;
        Ok(Box::new(TimedUpload { inner: upload }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        bounded(CALL_LIMIT, self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        bounded(limit(bytes), self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        bounded(CALL_LIMIT, self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        bounded(CALL_LIMIT, self.inner.rename_opts(from, to, options)).await
    }
}
