//! A store behind a network: an upload that is not completed is taken back, and no message shows a secret.
//!
//! Parts of an upload that nobody ends stay in a bucket for ever and are in no listing. Whoever drops an upload has failed or was
//! cancelled: the store is told to forget it, in a task of its own, as dropping cannot wait. That task is bounded by the client's own
//! limits; what a killed process leaves, a lifecycle rule of the bucket removes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::place::hidden;

/// See the module.
#[derive(Clone)]
pub(super) struct Remote {
    inner: Arc<dyn ObjectStore>,
    secrets: Arc<[String]>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("store", &self.inner.to_string()).finish_non_exhaustive()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Remote {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, secrets: Vec<String>) -> Self {
        Self { inner, secrets: secrets.into() }
    }
}

/// The error itself, or, where anything in it shows a secret, one that says the same without it.
fn discreet(secrets: &[String], error: Error) -> Error {
    let mut said = vec![error.to_string(), format!("{error:?}")];
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        said.push(error.to_string());
        cause = error.source();
    }
    if !secrets.iter().any(|secret| said.iter().any(|text| text.contains(secret.as_str()))) {
        return error;
    }
    let source = hidden(&said[0], secrets).into();
    match error {
        Error::NotFound { path, .. } => Error::NotFound { path, source },
        Error::AlreadyExists { path, .. } => Error::AlreadyExists { path, source },
        Error::PermissionDenied { path, .. } => Error::PermissionDenied { path, source },
        Error::Unauthenticated { path, .. } => Error::Unauthenticated { path, source },
        _ => Error::Generic { store: "lake", source },
    }
}

/// An upload that is aborted unless it is completed.
#[derive(Debug)]
struct RemoteUpload {
    /// None once it is completed, or being aborted.
    inner: Option<Box<dyn MultipartUpload>>,
    path: Path,
    secrets: Arc<[String]>,
}

impl RemoteUpload {
    fn ended() -> Error {
        Error::Generic { store: "lake", source: "the upload has ended".into() }
    }
}

#[async_trait]
impl MultipartUpload for RemoteUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(inner) = &mut self.inner else { return std::future::ready(Err(Self::ended())).boxed() };
        let (part, secrets) = (inner.put_part(data), Arc::clone(&self.secrets));
        async move { part.await.map_err(|error| discreet(&secrets, error)) }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let inner = self.inner.as_mut().ok_or_else(Self::ended)?;
        let put = inner.complete().await.map_err(|error| discreet(&self.secrets, error))?;
        self.inner = None;
        Ok(put)
    }

    async fn abort(&mut self) -> Result<()> {
        let mut inner = self.inner.take().ok_or_else(Self::ended)?;
        inner.abort().await.map_err(|error| discreet(&self.secrets, error))
    }
}

impl Drop for RemoteUpload {
    fn drop(&mut self) {
        let (Some(mut inner), Ok(runtime)) = (self.inner.take(), tokio::runtime::Handle::try_current()) else { return };
        let (path, secrets) = (self.path.clone(), Arc::clone(&self.secrets));
        runtime.spawn(async move {
            if let Err(error) = inner.abort().await.map_err(|error| discreet(&secrets, error)) {
                tracing::warn!(%path, %error, "the parts of an upload that failed may still be in the store");
            }
        });
    }
}

#[async_trait]
impl ObjectStore for Remote {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await.map_err(|error| discreet(&self.secrets, error))
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let (store, path) = (self.clone(), location.clone());
        // A task of its own: of an upload that is begun while its caller is cancelled nobody else would know the name.
        let begun = tokio::spawn(async move {
            let begun = store.inner.put_multipart_opts(&path, opts).await;
            let inner = begun.map_err(|error| discreet(&store.secrets, error))?;
            Ok(RemoteUpload { inner: Some(inner), path, secrets: store.secrets })
        });
        match begun.await {
            Ok(begun) => begun.map(|upload| Box::new(upload) as _),
            Err(error) => Err(Error::Generic { store: "lake", source: error.into() }),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await.map_err(|error| discreet(&self.secrets, error))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await.map_err(|error| discreet(&self.secrets, error))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let secrets = Arc::clone(&self.secrets);
        self.inner.delete_stream(locations).map(move |each| each.map_err(|error| discreet(&secrets, error))).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let secrets = Arc::clone(&self.secrets);
        self.inner.list(prefix).map(move |each| each.map_err(|error| discreet(&secrets, error))).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let secrets = Arc::clone(&self.secrets);
        let listed = self.inner.list_with_offset(prefix, offset);
        listed.map(move |each| each.map_err(|error| discreet(&secrets, error))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await.map_err(|error| discreet(&self.secrets, error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await.map_err(|error| discreet(&self.secrets, error))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await.map_err(|error| discreet(&self.secrets, error))
    }
}
