//! A store that misbehaves as told: for tests of what a commit survives.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};

/// What becomes of a put of a log record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It goes through.
    None,
    /// It happens, and the answer is lost.
    AnswerLost,
    /// It does not happen, and the answer is lost.
    Lost,
}

/// See the module. One script for all clones of the store behind it.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    script: Arc<Mutex<VecDeque<Fault>>>,
    /// How many listings more do not show an object, and how many do not show a new one.
    unseen: Arc<Mutex<BTreeMap<Path, u32>>>,
    late: u32,
}

impl FaultyStore {
    /// The puts of records meet these faults, one after another, and then none.
    pub(crate) fn scripted(faults: &[Fault]) -> impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + use<> {
        let script = Arc::new(Mutex::new(faults.iter().copied().collect()));
        move |inner| Arc::new(Self { inner, script, unseen: Arc::default(), late: 0 })
    }

    /// The first `late` listings that should show an object do not.
    pub(crate) fn with_late_listings(late: u32) -> impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + use<> {
        move |inner| Arc::new(Self { inner, script: Arc::default(), unseen: Arc::default(), late })
    }

    fn noted(&self, location: &Path, put: Result<PutResult>) -> Result<PutResult> {
        if put.is_ok() && self.late > 0 {
            self.unseen.lock().unwrap().insert(location.clone(), self.late);
        }
        put
    }

    fn next(&self, location: &Path) -> Fault {
        match ["/log/", "/days/"].iter().any(|records| location.as_ref().contains(records)) {
            true => self.script.lock().unwrap().pop_front().unwrap_or(Fault::None),
            false => Fault::None,
        }
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn silence() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "no answer came".into() }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match self.next(location) {
            Fault::None => self.noted(location, self.inner.put_opts(location, payload, opts).await),
            Fault::Lost => Err(silence()),
            Fault::AnswerLost => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(silence())
            }
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let unseen = Arc::clone(&self.unseen);
        let shows = move |listed: &Result<ObjectMeta>| {
            let Ok(object) = listed else { return true };
            let mut unseen = unseen.lock().unwrap();
            let left = unseen.get_mut(&object.location);
            left.is_none_or(|left| std::mem::replace(left, left.saturating_sub(1)) == 0)
        };
        self.inner.list(prefix).filter(move |listed| std::future::ready(shows(listed))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
