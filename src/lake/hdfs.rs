//! A lake in HDFS: what a commit needs there and neither HDFS nor its client gives by itself.
//!
//! **Why a record is whole or not there.** HDFS shows a name as soon as it is created, before anything is in it, and a writer that dies leaves
//! a half or an empty file under it. So nothing is written under its own name: what is put goes into a file of [`super::temporary`], is
//! synced and closed, and is then renamed. The NameNode does that in one step, under one lock and in one entry of its journal.
//!
//! **Why it is put only if it is absent.** The call is `rename2` without its flag to overwrite: what is there stays, and the answer is
//! `FileAlreadyExistsException`. That alone is told as [`object_store::Error::AlreadyExists`]. The rename that is older, and what shells use,
//! would move a file *into* a directory of that name; this one refuses. There is no look before the rename: it would prove nothing.
//!
//! **Why nobody else's file is renamed.** The client's own put counts its temporary names up (`.42.json.tmp.1`) until one is free. A writer
//! that is suspended before its rename, while its file is cleaned away and the next writer begins one under the same name, would then
//! put the other's half-written file into the slot and take it for its own. Here no name is used twice: the rename of a file that is gone fails.
//!
//! **When the answer is lost** the outcome is unknown and said to be so: the client repeats a call that changes something only if it was not
//! sent, or refused by a NameNode on standby, so it never takes its own rename for another's. A rename that finds its file gone is unknown, too, and
//! no `NotFound`. [`super::log`] puts the same record again, under another temporary name, until the slot answers. A NameNode that comes
//! back, or the one that takes over, has every rename that was answered in its journal; one that was not answered it has or has not.
//!
//! **Where reads come from.** A NameNode that observes may be behind, and the log relies on reading what was put; so observers are not asked,
//! whatever Hadoop's configuration says.
//!
//! **What is durable when a call returns.** Before a file gets its name every block of it was synced (`hsync`): each DataNode that took
//! part has it on its disk, and the NameNode has the name in its journal. Closing alone promises memory of the DataNodes. Losing the power of *all*
//! of them at once may still leave a block where a DataNode no longer counts it as finished, unless `dfs.datanode.synconclose` is set there.
//!
//! **What stays behind** is of three kinds, none of it seen by readers: temporaries of a process that was killed (those of a call that failed or
//! was given up are removed by a task of its own), which the lake's cleaning finds beside their places; open files, whose leases the NameNode
//! ends by itself; and directories, which are real here, so the lake removes them as it does on a disk.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex as Queue, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use hdfs_native_object_store::HdfsObjectStore;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use tokio::sync::Mutex;

use super::place::StoreOptions;
use super::store::{Directories, bounded};
use super::temporary;

/// The blocks of our files: HDFS's own default. The size has to be known, as each block is synced before the next one begins.
const BLOCK_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 128 << 20 };
/// How long one try to remove a temporary file may take, how many there are, and the pause before the second, which doubles.
const REMOVAL_LIMIT: Duration = Duration::from_secs(60);
const REMOVALS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);
/// The only way of finding a NameNode that asks none that is behind.
const NO_OBSERVERS: &str = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider";

const FILE_NOT_FOUND: &str = "java.io.FileNotFoundException";
const ACCESS_CONTROL: &str = "org.apache.hadoop.security.AccessControlException";
const NOT_EMPTY: &str = "org.apache.hadoop.fs.PathIsNotEmptyDirectoryException";

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Hdfs {
    client: Client,
    /// Reads, lists and deletes.
    inner: HdfsObjectStore,
}

impl Hdfs {
    /// A client of the NameNode, or of the name service, that `url` names. Nothing is asked yet.
    pub(super) fn open(url: &str, host: &str, options: &StoreOptions) -> hdfs_native::Result<Self> {
        let provider = format!("dfs.client.failover.proxy.provider.{host}");
        let properties = options.0.clone().into_iter().chain([(provider, NO_OBSERVERS.to_owned())]);
        let client = ClientBuilder::new().with_url(url).with_config(properties).build()?;
        Ok(Self { inner: HdfsObjectStore::new(client.clone()), client })
    }

    /// The directories of a lake at `root`.
    pub(super) fn directories(&self, root: Path) -> Arc<dyn Directories> {
        Arc::new(LakeDirectories { client: self.client.clone(), root })
    }

    async fn begin(&self, place: &Path) -> Result<Temporary> {
        Temporary::create(&self.client, place).await.map_err(|error| told_of_put(error, place))
    }
}

fn absolute(path: &Path) -> String {
    format!("/{path}")
}

fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: "hdfs", source: source.into() }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "hdfs".to_owned() }
}

/// What Hadoop says, without where in its own code it says so.
fn without_trace(error: HdfsError) -> HdfsError {
    match error {
        HdfsError::RPCError(class, said) => {
            HdfsError::RPCError(class, said.split("\n\tat ").next().unwrap_or_default().to_owned())
        }
        other => other,
    }
}

/// What the client says, in the words of a store. Nothing here tells that a name is taken: only a rename can.
fn told(error: HdfsError, path: &Path) -> Error {
    let path = path.to_string();
    let error = without_trace(error);
    match &error {
        HdfsError::FileNotFound(_) => Error::NotFound { path, source: error.into() },
        HdfsError::RPCError(class, _) if class == FILE_NOT_FOUND => Error::NotFound { path, source: error.into() },
        HdfsError::RPCError(class, _) if class == ACCESS_CONTROL => Error::PermissionDenied { path, source: error.into() },
        _ => generic(error),
    }
}

/// The same of a put. That a file went before it had its place is no `NotFound` of the place: the outcome is unknown.
fn told_of_put(error: HdfsError, place: &Path) -> Error {
    match told(error, place) {
        Error::NotFound { source, .. } => Error::Generic { store: "hdfs", source },
        other => other,
    }
}

/// The same of an error that the client's store has put into words of its own.
fn retold(error: Error, path: &Path) -> Error {
    match error {
        Error::Generic { store, source } => match source.downcast::<HdfsError>() {
            Ok(error) => told(*error, path),
            Err(source) => Error::Generic { store, source },
        },
        other => other,
    }
}

/// A name beside a place; the file of that name is removed unless it gets to its place.
struct Beside {
    client: Client,
    path: String,
    /// Nothing is left under this name.
    gone: bool,
}

/// A file that is written beside its place.
struct Temporary {
    beside: Beside,
    writer: Box<FileWriter>,
    /// Bytes in the block that is open, none of them synced yet.
    unsynced: u64,
}

impl Temporary {
    async fn create(client: &Client, place: &Path) -> hdfs_native::Result<Self> {
        // Before it is there: a call that is not answered, or given up, may have made it.
        let beside = Beside { client: client.clone(), path: absolute(&temporary::beside(place)), gone: false };
        let options = WriteOptions::default().block_size(BLOCK_BYTES);
        let writer = Box::new(Box::pin(client.create(&beside.path, options)).await?);
        Ok(Self { beside, writer, unsynced: 0 })
    }

    async fn write(&mut self, payload: PutPayload) -> hdfs_native::Result<()> {
        for mut bytes in payload {
            while !bytes.is_empty() {
                let room = usize::try_from(BLOCK_BYTES - self.unsynced).unwrap_or(usize::MAX);
                let piece = bytes.split_to(room.min(bytes.len()));
                self.unsynced += piece.len() as u64;
                Box::pin(self.writer.write_bytes(piece)).await?;
                if self.unsynced == BLOCK_BYTES {
                    self.sync().await?;
                }
            }
        }
        Ok(())
    }

    async fn sync(&mut self) -> hdfs_native::Result<()> {
        Box::pin(self.writer.hsync()).await?;
        self.unsynced = 0;
        Ok(())
    }

    /// Gives the file its place; whether it has got it. Any error leaves that open.
    async fn put_at(&mut self, place: &Path, overwrite: bool) -> hdfs_native::Result<bool> {
        if self.unsynced > 0 {
            self.sync().await?;
        }
        Box::pin(self.writer.close()).await?;
        match self.beside.client.rename(&self.beside.path, &absolute(place), overwrite).await {
            Ok(()) => {
                self.beside.gone = true;
                Ok(true)
            }
            Err(HdfsError::AlreadyExists(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Beside {
    /// Removes the file at once: who was refused may end now.
    async fn remove(mut self) {
        let removal = async { self.client.delete(&self.path, false).await.map_err(generic) };
        self.gone = bounded(REMOVAL_LIMIT, removal).await.is_ok();
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let (false, Ok(runtime)) = (self.gone, tokio::runtime::Handle::try_current()) else { return };
        let (client, path) = (self.client.clone(), self.path.clone());
        runtime.spawn(async move {
            let mut pause = PAUSE;
            for _ in 0..REMOVALS {
                // Nobody else has the name: so it does no harm to try again what was perhaps done.
                let removal = async { client.delete(&path, false).await.map_err(generic) };
                let Err(error) = bounded(REMOVAL_LIMIT, removal).await else { return };
                tracing::debug!(path, %error, "what was written for a put that failed is still there");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        });
    }
}

fn put() -> PutResult {
    PutResult { e_tag: None, version: None, extensions: Default::default() }
}

/// Gives what is written its place, and says so as a put does.
async fn finish(mut temporary: Temporary, place: &Path, overwrite: bool) -> Result<PutResult> {
    match temporary.put_at(place, overwrite).await {
        Ok(true) => Ok(put()),
        Ok(false) => {
            temporary.beside.remove().await;
            Err(Error::AlreadyExists { path: place.to_string(), source: "there is a file of this name".into() })
        }
        Err(error) => Err(told_of_put(error, place)),
    }
}

/// An upload: one file, written part after part, in whatever order these are waited for.
struct HdfsUpload {
    place: Path,
    /// How many parts there are.
    parts: usize,
    /// Those that are not written yet, in order.
    waiting: Arc<Queue<VecDeque<PutPayload>>>,
    written: Arc<Mutex<Written>>,
}

struct Written {
    /// None once it has ended, and while parts are being written: what one that was given up has left is not gone on with.
    temporary: Option<Temporary>,
    parts: usize,
}

impl Written {
    /// Writes what waits, as far as the first so many parts.
    async fn write(&mut self, waiting: &Queue<VecDeque<PutPayload>>, parts: usize, place: &Path) -> Result<()> {
        if self.parts >= parts {
            return Ok(());
        }
        let mut temporary = self.temporary.take().ok_or_else(ended)?;
        while self.parts < parts {
            let part = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front().ok_or_else(ended)?;
            Box::pin(temporary.write(part)).await.map_err(|error| told_of_put(error, place))?;
            self.parts += 1;
        }
        self.temporary = Some(temporary);
        Ok(())
    }
}

impl fmt::Debug for HdfsUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HdfsUpload").field("place", &self.place).field("parts", &self.parts).finish_non_exhaustive()
    }
}

fn ended() -> Error {
    generic("the upload has ended")
}

#[async_trait]
impl MultipartUpload for HdfsUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts += 1;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(data);
        let (parts, place) = (self.parts, self.place.clone());
        let (waiting, written) = (Arc::clone(&self.waiting), Arc::clone(&self.written));
        async move { written.lock().await.write(&waiting, parts, &place).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let mut written = self.written.lock().await;
        let temporary = written.temporary.take().filter(|_| written.parts == self.parts).ok_or_else(ended)?;
        Box::pin(finish(temporary, &self.place, true)).await
    }

    async fn abort(&mut self) -> Result<()> {
        drop(self.written.lock().await.temporary.take());
        Ok(())
    }
}

impl fmt::Display for Hdfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HDFS")
    }
}

#[async_trait]
impl ObjectStore for Hdfs {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let overwrite = match opts.mode {
            PutMode::Create => false,
            PutMode::Overwrite => true,
            PutMode::Update(_) => return Err(not_implemented("a put that depends on a version")),
        };
        let mut temporary = self.begin(location).await?;
        temporary.write(payload).await.map_err(|error| told_of_put(error, location))?;
        Box::pin(finish(temporary, location, overwrite)).await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let written = Written { temporary: Some(self.begin(location).await?), parts: 0 };
        let (place, waiting) = (location.clone(), Arc::default());
        Ok(Box::new(HdfsUpload { place, parts: 0, waiting, written: Arc::new(Mutex::new(written)) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await.map_err(|error| retold(error, location))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await.map_err(|error| retold(error, location))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations).map(|each| each.map_err(|error| retold(error, &Path::default()))).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let below = prefix.cloned().unwrap_or_default();
        self.inner.list(prefix).map(move |each| each.map_err(|error| retold(error, &below))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let below = prefix.cloned().unwrap_or_default();
        self.inner.list_with_delimiter(prefix).await.map_err(|error| retold(error, &below))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        // HDFS has no such call, and the client's own writes straight under the name and syncs nothing: `LakeStore` reads and uploads.
        Err(not_implemented("copying"))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await.map_err(|error| retold(error, from))
    }
}

/// The directories of one lake.
#[derive(Debug)]
struct LakeDirectories {
    client: Client,
    root: Path,
}

impl LakeDirectories {
    fn at(&self, below: &Path) -> Path {
        self.root.parts().chain(below.parts()).collect()
    }

    async fn remove(&self, directory: &Path) -> Result<()> {
        match self.client.delete(&absolute(directory), false).await {
            Ok(_) => Ok(()),
            Err(HdfsError::RPCError(class, _)) if class == NOT_EMPTY => Ok(()),
            Err(error) => Err(told(error, directory)),
        }
    }
}

#[async_trait]
impl Directories for LakeDirectories {
    async fn clear(&self, directory: &Path) -> Result<()> {
        let directory = self.at(directory);
        self.client.delete(&absolute(&directory), true).await.map(drop).map_err(|error| told(error, &directory))
    }

    async fn drop_if_empty(&self, directory: &Path) -> Result<()> {
        self.remove(&self.at(directory)).await
    }

    async fn missing(&self) -> Result<Vec<Path>> {
        let mut parts: Vec<_> = self.root.parts().collect();
        let mut missing = Vec::new();
        while !parts.is_empty() {
            let directory: Path = parts.iter().cloned().collect();
            match self.client.get_file_info(&absolute(&directory)).await {
                Ok(_) => break,
                Err(HdfsError::FileNotFound(_)) => missing.push(directory),
                Err(error) => return Err(told(error, &directory)),
            }
            parts.pop();
        }
        Ok(missing)
    }

    async fn remove_made(&self, missing: Vec<Path>) -> Result<()> {
        for directory in &missing {
            self.remove(directory).await?;
        }
        Ok(())
    }
}
