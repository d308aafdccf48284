//! The object store under the lake: what is visible, what a crash of the machine would leave of it, and requests that land late.
//!
//! Two kinds of store are modelled, one for each seed. On *this machine* (`file://`) what was put is visible at once and outlives a
//! crash of the machine only once it was settled; what was deleted may come back. *Far away* (`s3://` and its like) everything that is
//! visible stays, and a request whose caller gave up, or died, may still be done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use binlake::lake::Settle;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::stage::{Fate, Life, Stage, Step, change, look};
use crate::violation::Invariant;

/// Everything that was put and deleted, and what of it is not on the disk yet: with what is there instead.
#[derive(Debug)]
pub(crate) struct Shore {
    objects: InMemory,
    unsettled: Mutex<BTreeMap<Path, Option<Bytes>>>,
    pub far: bool,
}

/// What memory answers, it answers at once.
fn at_once<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("memory answers at once")
}

impl Shore {
    pub(crate) fn new(far: bool) -> Self {
        Self { objects: InMemory::new(), unsettled: Mutex::default(), far }
    }

    /// An object as it is now.
    pub(crate) fn peek(&self, path: &str) -> Option<Bytes> {
        let path = Path::from(path);
        at_once(async { self.objects.get(&path).await.ok()?.bytes().await.ok() })
    }

    /// All objects.
    pub(crate) fn paths(&self) -> Vec<String> {
        let listing = self.objects.list(None).map_ok(|object| object.location.to_string());
        at_once(listing.try_collect()).unwrap()
    }

    fn put(&self, stage: &Stage, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = Bytes::from(payload.clone());
        let before = self.peek(path.as_ref());
        let data = path.as_ref().ends_with(".parquet");
        if data && before.as_ref().is_some_and(|before| *before != bytes) {
            stage.violate(Invariant::FileDamaged, format!("{path} was put again, with other content"));
        }
        let put = at_once(self.objects.put_opts(path, payload, options))?;
        if !self.far {
            self.unsettled.lock().unwrap().entry(path.clone()).or_insert(before);
        }
        let mut scene = stage.scene();
        let scene = &mut *scene;
        if let Err((invariant, detail)) = scene.oracle.put(path.as_ref(), &bytes, &mut scene.coverage) {
            scene.violate(invariant, detail);
        }
        Ok(put)
    }

    fn delete(&self, stage: &Stage, path: &Path) -> Result<()> {
        let before = self.peek(path.as_ref());
        if before.is_none() {
            return Ok(());
        }
        at_once(self.objects.delete(path))?;
        if !self.far {
            self.unsettled.lock().unwrap().entry(path.clone()).or_insert(before);
        }
        let mut scene = stage.scene();
        let scene = &mut *scene;
        let now_ms = crate::stage::BEGIN_MS + scene.elapsed_ms();
        if let Err((invariant, detail)) = scene.oracle.deleted(path.as_ref(), now_ms, &mut scene.coverage) {
            scene.violate(invariant, detail);
        }
        Ok(())
    }

    /// The machine loses its power: of what was not settled, each may be on the disk or not.
    pub(crate) fn crash(&self, stage: &Stage) {
        let unsettled = std::mem::take(&mut *self.unsettled.lock().unwrap());
        let mut scene = stage.scene();
        for (path, before) in unsettled.into_iter().rev() {
            if scene.chance(0.5) {
                continue;
            }
            match before {
                Some(bytes) => at_once(self.objects.put(&path, bytes.into())).map(drop).unwrap(),
                None if self.peek(path.as_ref()).is_some() => {
                    at_once(self.objects.delete(&path)).unwrap();
                    scene.coverage.count("crash: object lost");
                    if let Err((invariant, detail)) = scene.oracle.lost(path.as_ref()) {
                        scene.violate(invariant, detail);
                    }
                }
                None => {}
            }
        }
    }
}

/// The store as one daemon sees it.
#[derive(Debug, Clone)]
pub(crate) struct LifeStore {
    pub life: Life,
    pub shore: Arc<Shore>,
}

impl LifeStore {
    /// A disk may take its time with a commit's record, which everybody sees by then.
    async fn linger(&self, objects: &[Path]) {
        let is_record = objects.iter().any(|path| path.as_ref().contains("/log/"));
        let linger = {
            let mut scene = self.life.stage.scene();
            let lingers = is_record && !scene.calm && scene.chance(0.3);
            lingers.then(|| scene.between(1, 500))
        };
        if let Some(ms) = linger {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }
}

fn fault(reason: &'static str) -> object_store::Error {
    object_store::Error::Generic { store: "shore", source: reason.into() }
}

impl fmt::Display for LifeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store of {:?}", self.life)
    }
}

impl LifeStore {
    fn step(&self, name: &'static str) -> Step {
        Step { late: self.shore.far, ..change(name) }
    }

    /// One request that changes something; `request` does it, now or when nobody waits for it any more.
    async fn request<T: Send>(
        &self,
        name: &'static str,
        path: &Path,
        request: impl FnOnce(&Shore, &Stage) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let step = self.step(name);
        let fate = self.life.fate(step).await;
        let stage = &self.life.stage;
        let outcome = match fate {
            Fate::Refused => Err(fault("refused")),
            Fate::Late(ms) => return self.late(ms, step, path, move |this| request(&this.shore, &this.life.stage).is_ok()).await,
            _ => request(&self.shore, stage),
        };
        if outcome.is_ok() {
            let mut scene = stage.scene();
            if let Err((invariant, detail)) = scene.oracle.acted(self.life.number, path.as_ref()) {
                scene.violate(invariant, detail);
            }
        }
        let outcome = if fate == Fate::AnswerLost { outcome.and(Err(fault("the answer was lost"))) } else { outcome };
        stage.stepped(self.life.number, step.name, &format_args!("{path} {fate:?} {}", outcome.is_ok()));
        match fate {
            Fate::KilledBehind => self.life.die(step).await,
            _ => outcome,
        }
    }

    /// Nobody hears of it: the caller waits until it gives up, or dies.
    async fn late<T>(&self, ms: u64, step: Step, path: &Path, request: impl FnOnce(&Self) -> bool + Send + 'static) -> T {
        let (this, path) = (self.clone(), path.clone());
        let dies = this.life.stage.scene().chance(0.3);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let done = request(&this);
            this.life.stage.scene().oracle.late_record = false;
            this.life.stage.stepped(this.life.number, step.name, &format_args!("{path} late {done}"));
        });
        if dies { self.life.die(step).await } else { std::future::pending().await }
    }
}

/// The directory that an object lies in.
fn parent(path: &Path) -> &str {
    path.as_ref().rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn kind(path: &Path) -> &'static str {
    match path.as_ref() {
        path if path.contains("/log/") => "put record",
        path if path.contains("/checkpoint/") => "put checkpoint",
        _ => "put data",
    }
}

#[async_trait]
impl ObjectStore for LifeStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let object = path.clone();
        self.request(kind(path), path, move |shore, stage| shore.put(stage, &object, payload, options)).await
    }

    async fn put_multipart_opts(&self, path: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(object_store::Error::NotSupported { source: format!("{path} is too large for a simulation").into() })
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.life.fate(look("get")).await {
            Fate::Refused => Err(fault("refused")),
            _ => self.shore.objects.get_opts(path, options).await,
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |path: Path| {
            let this = this.clone();
            async move {
                let object = path.clone();
                this.request("delete", &path, move |shore, stage| shore.delete(stage, &object)).await?;
                Ok(path)
            }
        };
        paths.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let listing = async move {
            match this.life.fate(look("list")).await {
                Fate::Refused => futures::stream::once(async { Err(fault("refused")) }).boxed(),
                _ => this.shore.objects.list(prefix.as_ref()),
            }
        };
        listing.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.life.fate(look("list")).await {
            Fate::Refused => Err(fault("refused")),
            _ => self.shore.objects.list_with_delimiter(prefix).await,
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        let (from, object) = (from.clone(), to.clone());
        let copy = move |shore: &Shore, stage: &Stage| {
            let missing = || object_store::Error::NotFound { path: from.to_string(), source: "nothing is there".into() };
            let bytes = shore.peek(from.as_ref()).ok_or_else(missing)?;
            shore.put(stage, &object, bytes.into(), PutOptions::default()).map(drop)
        };
        self.request("copy", to, copy).await
    }
}

#[async_trait]
impl Settle for LifeStore {
    async fn settle(&self, objects: Vec<Path>) -> Result<()> {
        if self.shore.far {
            return Ok(());
        }
        self.linger(&objects).await;
        let settle = async {
            let mut unsettled = self.shore.unsettled.lock().unwrap();
            // Directories are synced, from the root down to the objects: whatever else lies in one of them is safe as well.
            let synced = |other: &Path| {
                let directory = parent(other);
                objects.iter().any(|path| path.as_ref().strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')))
            };
            unsettled.retain(|other, _| !synced(other));
            Ok(())
        };
        self.life.act(change("settle"), &objects.len().to_string(), fault, || (), settle).await
    }
}
