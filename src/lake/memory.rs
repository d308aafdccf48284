//! An object store in memory that can do what real ones do to a lake: refuse, answer and not be heard, be late, and forget in a crash
//! what was never synced.
//!
//! [`MemoryObjects`] is one client's handle; [`MemoryObjects::another_client`] sees the same objects with a hook of its own. Before
//! each call the hook is told its kind and path, and says what becomes of it ([`Fate`]).
//!
//! **Visible and synced are two things.** A put is seen by everybody at once and survives the death of the process that made it. A crash
//! of the machine ([`MemoryObjects::crash`]) may take back every put that no [`CallKind::Settle`] covered, and bring back what was
//! deleted and not settled, just as a disk may: which of them, the caller decides.
//!
//! **A call may outlive its caller.** What [`Fate::LandsLater`] or [`Fate::Hangs`] delayed waits in [`MemoryObjects::in_flight`] until
//! [`MemoryObjects::land`] carries it out, whatever has become of the client: a put-if-absent may then find its name taken, or free
//! again. A hanging call that lands wakes its caller as if nothing had happened, which is what a suspended process sees.
//!
//! A lake over it: `ObjectLake::over(Arc::new(objects.clone()), Arc::new(objects), settings)`.
//!
//! Nothing waits for a clock or a thread, so it works under a paused one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::sync::oneshot;

use super::Settle;

/// What a call is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallKind {
    /// Puts an object, over one that is there.
    Put,
    /// Puts an object that must not be there.
    PutIfAbsent,
    /// Reads an object, or asks for its size.
    Get,
    /// Lists what lies below a path.
    List,
    /// Deletes an object.
    Delete,
    /// Makes an object durable, with the directories above it.
    Settle,
}

impl CallKind {
    /// Whether the call changes anything.
    pub fn changes(self) -> bool {
        matches!(self, Self::Put | Self::PutIfAbsent | Self::Delete | Self::Settle)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// It goes through.
    GoesOn,
    /// Nothing happens, and the caller hears of a failure.
    Refused,
    /// It happens, and the caller hears of a failure.
    AnswerLost,
    /// The caller hears of a failure at once; it happens when it is told to land. Of a call that changes nothing: refused.
    LandsLater,
    /// Nothing happens, and nobody answers, until it is told to land, or is lost. Of a call that changes nothing: it goes on.
    Hangs,
}

/// A call that was delayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Its number, for [`MemoryObjects::land`] and [`MemoryObjects::lose`]; the earliest has the lowest.
    pub id: u64,
    /// What it will do.
    pub kind: CallKind,
    /// To which object.
    pub path: String,
}

/// Who waits for a call that hangs.
type Caller = oneshot::Sender<Result<PutResult>>;

type Hook = Box<dyn FnMut(CallKind, &str) -> Fate + Send>;

/// A change that can be carried out at any time.
#[derive(Debug, Clone)]
enum Deed {
    Put { path: Path, bytes: Bytes, absent: bool },
    Delete(Path),
    Settle(Path),
}

impl Deed {
    fn kind(&self) -> CallKind {
        match self {
            Self::Put { absent: false, .. } => CallKind::Put,
            Self::Put { absent: true, .. } => CallKind::PutIfAbsent,
            Self::Delete(_) => CallKind::Delete,
            Self::Settle(_) => CallKind::Settle,
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Put { path, .. } | Self::Delete(path) | Self::Settle(path) => path,
        }
    }
}

/// An object as it was when something not settled was done to it: None where there was none.
type Before = Option<Bytes>;

#[derive(Debug, Default)]
struct State {
    /// What a crash may take back: the object as the last settle left it.
    unsettled: BTreeMap<Path, Before>,
    in_flight: BTreeMap<u64, (Deed, Option<Caller>)>,
    calls: u64,
}

#[derive(Debug, Default)]
struct Shared {
    objects: InMemory,
    state: Mutex<State>,
}

/// See the module. Clones are one client.
#[derive(Clone, Default)]
pub struct MemoryObjects {
    shared: Arc<Shared>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl fmt::Debug for MemoryObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryObjects").finish_non_exhaustive()
    }
}

impl fmt::Display for MemoryObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

fn failure(reason: &'static str) -> Error {
    Error::Generic { store: "memory", source: reason.into() }
}

/// The store in memory answers at once.
fn at_once<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    call.now_or_never().unwrap_or_else(|| Err(failure("the store in memory did not answer at once")))
}

impl MemoryObjects {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same objects as another client sees them, without a hook.
    #[must_use]
    pub fn another_client(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), hook: Arc::default() }
    }

    /// Asks `hook` before each call of this client what becomes of it.
    pub fn on_call(&self, hook: impl FnMut(CallKind, &str) -> Fate + Send + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    /// The delayed calls of all clients, the earliest first.
    pub fn in_flight(&self) -> Vec<InFlight> {
        let state = self.state();
        let of = |(id, (deed, _)): (&u64, &(Deed, _))| InFlight { id: *id, kind: deed.kind(), path: deed.path().to_string() };
        state.in_flight.iter().map(of).collect()
    }

    /// Carries a delayed call out; a caller that still waits gets its answer. False where there is no such call.
    pub fn land(&self, id: u64) -> bool {
        let Some((deed, caller)) = self.state().in_flight.remove(&id) else { return false };
        let outcome = self.carry_out(&deed);
        if let Some(caller) = caller {
            // A caller that is gone hears nothing.
            drop(caller.send(outcome));
        }
        true
    }

    /// A delayed call never happens; a caller that still waits hears of a failure. False where there is no such call.
    pub fn lose(&self, id: u64) -> bool {
        self.state().in_flight.remove(&id).is_some()
    }

    /// The machine crashes and comes up again. `survives` is asked for each object to which something was done that was never settled,
    /// whether that reached the disk all the same. What is in flight is lost.
    pub fn crash(&self, mut survives: impl FnMut(&str) -> bool) {
        let (unsettled, in_flight) = {
            let mut state = self.state();
            (std::mem::take(&mut state.unsettled), std::mem::take(&mut state.in_flight))
        };
        drop(in_flight);
        for (path, before) in unsettled {
            if survives(path.as_ref()) {
                continue;
            }
            let undone = match before {
                Some(bytes) => at_once(self.shared.objects.put(&path, bytes.into())).map(drop),
                None => at_once(self.shared.objects.delete(&path)),
            };
            debug_assert!(matches!(undone, Ok(()) | Err(Error::NotFound { .. })), "{path}: {undone:?}");
        }
    }

    /// All objects with their bytes: what everybody sees.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        let metas: Vec<Result<ObjectMeta>> =
            self.shared.objects.list(None).collect::<Vec<_>>().now_or_never().unwrap_or_default();
        metas.into_iter().flatten().filter_map(|meta| Some((meta.location.to_string(), self.bytes(&meta.location)?))).collect()
    }

    /// One object's bytes, without asking any hook.
    pub fn object(&self, path: &str) -> Option<Bytes> {
        self.bytes(&Path::from(path))
    }

    fn bytes(&self, path: &Path) -> Option<Bytes> {
        at_once(async { self.shared.objects.get(path).await?.bytes().await }).ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self, kind: CallKind, path: &Path) -> Fate {
        // The hook is taken out while it runs, so that calls it makes itself do not reach it.
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut hook) = hook else { return Fate::GoesOn };
        let fate = hook(kind, path.as_ref());
        self.hook.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(hook);
        fate
    }

    /// A call that changes nothing.
    fn look(&self, kind: CallKind, path: &Path) -> Result<()> {
        match self.fate(kind, path) {
            Fate::GoesOn | Fate::Hangs => Ok(()),
            Fate::Refused | Fate::LandsLater => Err(failure("refused")),
            Fate::AnswerLost => Err(failure("the answer was lost")),
        }
    }

    async fn act(&self, deed: Deed) -> Result<PutResult> {
        match self.fate(deed.kind(), deed.path()) {
            Fate::GoesOn => self.carry_out(&deed),
            Fate::Refused => Err(failure("refused")),
            Fate::AnswerLost => {
                self.carry_out(&deed)?;
                Err(failure("the answer was lost"))
            }
            Fate::LandsLater => {
                self.delay(deed, None);
                Err(failure("no answer came"))
            }
            Fate::Hangs => {
                let (caller, answer) = oneshot::channel();
                self.delay(deed, Some(caller));
                answer.await.unwrap_or_else(|_| Err(failure("the connection broke")))
            }
        }
    }

    fn delay(&self, deed: Deed, caller: Option<Caller>) {
        let mut state = self.state();
        state.calls += 1;
        let id = state.calls;
        state.in_flight.insert(id, (deed, caller));
    }

    fn carry_out(&self, deed: &Deed) -> Result<PutResult> {
        let objects = &self.shared.objects;
        let path = deed.path();
        let nothing = PutResult { e_tag: None, version: None, extensions: Default::default() };
        match deed {
            Deed::Put { bytes, absent, .. } => {
                let before = self.bytes(path);
                let mode = if *absent { PutMode::Create } else { PutMode::Overwrite };
                let put = at_once(objects.put_opts(path, bytes.clone().into(), mode.into()))?;
                self.state().unsettled.entry(path.clone()).or_insert(before);
                Ok(put)
            }
            Deed::Delete(_) => {
                let before = self.bytes(path);
                at_once(objects.delete(path))?;
                let mut state = self.state();
                match state.unsettled.get(path) {
                    // It was never on the disk.
                    Some(None) => drop(state.unsettled.remove(path)),
                    Some(Some(_)) => {}
                    None => drop(state.unsettled.insert(path.clone(), before)),
                }
                Ok(nothing)
            }
            Deed::Settle(_) => {
                self.settled(path);
                Ok(nothing)
            }
        }
    }

    /// The object is on the disk, and with the directory it lies in, that others were deleted from there.
    fn settled(&self, path: &Path) {
        let directory = |path: &Path| path.as_ref().rsplit_once('/').map(|(directory, _)| directory.to_owned());
        let ours = directory(path);
        let here: BTreeSet<Path> = {
            let state = self.state();
            state.unsettled.keys().filter(|other| directory(other) == ours).cloned().collect()
        };
        let gone: Vec<Path> = here.into_iter().filter(|other| other == path || self.bytes(other).is_none()).collect();
        let mut state = self.state();
        gone.iter().for_each(|path| drop(state.unsettled.remove(path)));
    }
}

#[async_trait]
impl Settle for MemoryObjects {
    async fn settle(&self, objects: Vec<Path>) -> Result<()> {
        for path in objects {
            self.act(Deed::Settle(path)).await?;
        }
        Ok(())
    }
}

/// An upload in parts: there when it is complete.
#[derive(Debug)]
struct Upload {
    objects: MemoryObjects,
    path: Path,
    bytes: BytesMut,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        data.iter().for_each(|part| self.bytes.extend_from_slice(part));
        std::future::ready(Ok(())).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let bytes = std::mem::take(&mut self.bytes).freeze();
        self.objects.act(Deed::Put { path: self.path.clone(), bytes, absent: false }).await
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for MemoryObjects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let absent = matches!(opts.mode, PutMode::Create);
        self.act(Deed::Put { path: location.clone(), bytes: payload.into(), absent }).await
    }

    async fn put_multipart_opts(&self, location: &Path, _opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload { objects: self.clone(), path: location.clone(), bytes: BytesMut::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.look(CallKind::Get, location)?;
        self.shared.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let client = self.clone();
        let delete = move |path: Result<Path>| {
            let client = client.clone();
            async move {
                let path = path?;
                client.act(Deed::Delete(path.clone())).await.map(|_| path)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.look(CallKind::List, &prefix.cloned().unwrap_or_default()) {
            Ok(()) => self.shared.objects.list(prefix),
            Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.look(CallKind::List, &prefix.cloned().unwrap_or_default())?;
        self.shared.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(failure("nothing is copied here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(name: &str) -> (Path, PutPayload) {
        (Path::from(name), PutPayload::from_static(b"bytes"))
    }

    async fn create(store: &MemoryObjects, name: &str) -> Result<PutResult> {
        let (path, payload) = put(name);
        store.put_opts(&path, payload, PutMode::Create.into()).await
    }

    #[tokio::test]
    async fn a_crash_takes_back_what_was_not_settled_and_brings_back_what_was_deleted() {
        let store = MemoryObjects::new();
        for name in ["d/kept", "d/lost", "e/back", "d/gone"] {
            create(&store, name).await.unwrap();
        }
        store.settle(["d/kept", "e/back", "d/gone"].map(Path::from).into()).await.unwrap();
        store.delete(&Path::from("e/back")).await.unwrap();
        store.delete(&Path::from("d/gone")).await.unwrap();
        store.settle(vec![Path::from("d/kept")]).await.unwrap();
        store.crash(|_| false);
        assert_eq!(store.objects().into_keys().collect::<Vec<_>>(), ["d/kept", "e/back"]);
        create(&store, "d/lucky").await.unwrap();
        store.crash(|_| true);
        assert!(store.object("d/lucky").is_some(), "a disk may have it all the same");
    }

    #[tokio::test]
    async fn a_late_put_lands_when_it_is_told_to_and_respects_what_is_there_by_then() {
        let store = MemoryObjects::new();
        store.on_call(|kind, _| if kind == CallKind::PutIfAbsent { Fate::LandsLater } else { Fate::GoesOn });
        assert!(create(&store, "a").await.is_err() && create(&store, "b").await.is_err());
        let late = store.in_flight();
        assert_eq!(late.iter().map(|call| call.path.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let other = store.another_client();
        other.put(&Path::from("a"), PutPayload::from_static(b"other")).await.unwrap();
        assert!(late.iter().all(|call| store.land(call.id)) && !store.land(late[0].id));
        assert_eq!(store.object("a").unwrap(), "other");
        assert_eq!(store.object("b").unwrap(), "bytes");
    }

    #[tokio::test]
    async fn a_hanging_call_lands_even_if_its_caller_is_gone_and_else_wakes_it() {
        let store = MemoryObjects::new();
        store.on_call(|kind, _| if kind.changes() { Fate::Hangs } else { Fate::GoesOn });
        let hanging = |name: &'static str| {
            let store = store.clone();
            tokio::spawn(async move { create(&store, name).await.is_ok() })
        };
        let (waits, dies, fails) = (hanging("waits"), hanging("dies"), hanging("fails"));
        tokio::task::yield_now().await;
        dies.abort();
        assert!(dies.await.unwrap_err().is_cancelled());
        let ids: Vec<u64> = store.in_flight().iter().map(|call| call.id).collect();
        assert!(store.land(ids[0]) && store.land(ids[1]) && store.lose(ids[2]));
        assert!(waits.await.unwrap() && !fails.await.unwrap());
        assert_eq!(store.objects().into_keys().collect::<Vec<_>>(), ["dies", "waits"]);
    }

    #[tokio::test]
    async fn refused_is_not_done_and_a_lost_answer_is() {
        let store = MemoryObjects::new();
        let mut fates = vec![Fate::AnswerLost, Fate::Refused].into_iter();
        store.on_call(move |_, _| fates.next().unwrap_or(Fate::GoesOn));
        assert!(create(&store, "lost").await.is_err() && create(&store, "refused").await.is_err());
        assert!(create(&store, "fine").await.is_ok());
        assert_eq!(store.objects().into_keys().collect::<Vec<_>>(), ["fine", "lost"]);
    }
}
