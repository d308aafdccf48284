//! The object store behind the lake: local files that are durable when a call returns, a bucket, or memory.
//!
//! **Durable** means more than the store's own fsync. It syncs a file, the directory it is put into and the directories it makes
//! for it; but a directory that another writer made, or an attempt that was killed between making and syncing it, is taken as
//! it is. So [`LakeStore::settle`] syncs *every* directory from the lake's root down to the files named, and a commit calls it
//! for its data before the record is put and for the record before it counts. In memory, and in buckets and HDFS, whose answer to a put
//! says that it is durable, it does nothing.
//!
//! Every call is bounded by a timeout. What timed out may still happen: the answer is unknown, and the commit log knows how to
//! live with that. Nothing here is tried again, but for what a bucket's client does inside one call,
//! and listings of one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, WriteMultipart};

use super::place::{self, Place, StoreOptions};
use super::{Error, Result, timed::Timed};

/// Before the paths of objects that lie nowhere.
const MEMORY: &str = "memory://";

/// How long a listing may take in all.
const LISTING_LIMIT: Duration = Duration::from_secs(300);
/// How often a bucket is asked for a listing that broke off.
const LISTING_ATTEMPTS: u32 = 4;
/// How long reading one small object may take.
const READING_LIMIT: Duration = Duration::from_secs(60);

/// A larger object is copied in parts: S3 copies 5 GB at once at most, and a call has its limit.
const COPIED_BY_ITSELF: u64 = 1 << 30;
/// The size of a part: with ten thousand of them, which S3 takes, a file may have 160 GB.
const PART_BYTES: u64 = 16 << 20;
/// Parts of a copy that are on their way.
const PARTS_AT_ONCE: usize = 2;

/// What became of a put-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// The object is ours.
    Done,
    /// There is one already.
    Occupied,
}

/// Makes durable what was put, where that is a step of its own: for stores that model a machine which may lose its power.
#[async_trait]
pub trait Settle: std::fmt::Debug + Send + Sync {
    /// When it returns, these objects outlive the machine's power.
    async fn settle(&self, objects: Vec<Path>) -> object_store::Result<()>;
}

/// A store whose directories are real, and not on this machine. Paths are relative to the lake's root, but for `missing`.
#[async_trait]
pub(super) trait Directories: std::fmt::Debug + Send + Sync {
    /// Removes one with all that is in it; one that is not there is as good.
    async fn clear(&self, directory: &Path) -> object_store::Result<()>;
    /// Removes one if it is empty; one that is not there is as good.
    async fn drop_if_empty(&self, directory: &Path) -> object_store::Result<()>;
    /// The lake's root and those above it, as far as they are not there; the deepest first.
    async fn missing(&self) -> object_store::Result<Vec<Path>>;
    /// Removes those that were missing and are there now; whatever is in use by now stays.
    async fn remove_made(&self, missing: Vec<Path>) -> object_store::Result<()>;
}

/// The store, and where its files lie if they lie on this machine.
#[derive(Debug, Clone)]
pub(super) struct LakeStore {
    objects: Arc<dyn ObjectStore>,
    local: Option<PathBuf>,
    /// Where directories are real and not on this machine.
    directories: Option<Arc<dyn Directories>>,
    /// What stands before an object's path in its URL.
    root: String,
    settling: Option<Arc<dyn Settle>>,
}

impl LakeStore {
    /// Opens the lake's place; a directory is made. Returns the directories it made too, deepest first.
    pub(super) fn open(url: &str, options: &StoreOptions) -> Result<(Self, Vec<PathBuf>)> {
        let Place { objects, local, directories, root, made } = place::open(url, options)?;
        Ok((Self { objects: Arc::new(Timed::new(objects)), local, directories, root, settling: None }, made))
    }

    /// A store that forgets everything with its last clone.
    pub(super) fn in_memory() -> Self {
        Self { objects: Arc::new(InMemory::new()), local: None, directories: None, root: MEMORY.to_owned(), settling: None }
    }

    /// A store that the caller brings.
    pub(super) fn over(objects: Arc<dyn ObjectStore>, settling: Arc<dyn Settle>) -> Self {
        Self { objects, local: None, directories: None, root: MEMORY.to_owned(), settling: Some(settling) }
    }

    /// The same place seen through another store: faults in tests.
    #[cfg(test)]
    pub(super) fn behind(&self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self { objects: wrap(Arc::clone(&self.objects)), ..self.clone() }
    }

    /// The store itself, for the halves that read and write Parquet.
    pub(super) fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// Whether directories are real, and a listing shows what is there.
    pub(super) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// Whether it is behind a network, and so another's.
    pub(super) fn is_remote(&self) -> bool {
        self.local.is_none() && self.root != MEMORY
    }

    /// Whether a put that is killed may leave something beside its place (`temporary`).
    pub(super) fn leaves_temporaries(&self) -> bool {
        self.directories.is_some()
    }

    /// The absolute path, or URL, of an object.
    pub(super) fn location(&self, path: &Path) -> String {
        match &self.local {
            Some(root) => root.join(path.as_ref()).display().to_string(),
            None => format!("{}/{path}", self.root),
        }
    }

    /// Puts an object that must not be there yet.
    pub(super) async fn put_if_absent(&self, path: &Path, bytes: Bytes) -> Result<Put> {
        match self.objects.put_opts(path, bytes.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(Put::Done),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Put::Occupied),
            Err(source) => Err(failed(path, source)),
        }
    }

    /// That a call's outcome is unknown.
    pub(super) fn silent(&self, path: &Path, reason: &'static str) -> Error {
        failed(path, generic(reason.into()))
    }

    /// Puts an object whose name nobody else uses.
    pub(super) async fn put(&self, path: &Path, bytes: Bytes) -> Result<()> {
        self.objects.put(path, bytes.into()).await.map(|_| ()).map_err(|source| failed(path, source))
    }

    /// The whole of an object; None if there is none.
    pub(super) async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        let reading = async { self.objects.get(path).await?.bytes().await };
        match bounded(READING_LIMIT, reading).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed(path, source)),
        }
    }

    /// The size of an object; None if there is none.
    pub(super) async fn size(&self, path: &Path) -> Result<Option<u64>> {
        match bounded(READING_LIMIT, self.objects.head(path)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed(path, source)),
        }
    }

    /// Every object below a directory.
    pub(super) async fn list(&self, directory: &Path) -> Result<Vec<ObjectMeta>> {
        match self.read_again(|| self.objects.list(Some(directory)).try_collect::<Vec<_>>()).await {
            Ok(objects) => Ok(objects),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(source) => Err(failed(directory, source)),
        }
    }

    /// The names of the directories right below a directory.
    pub(super) async fn directories(&self, directory: &Path) -> Result<Vec<String>> {
        match self.read_again(|| self.objects.list_with_delimiter(Some(directory))).await {
            Ok(listed) => Ok(listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect()),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(source) => Err(failed(directory, source)),
        }
    }

    /// A listing within its limit. A bucket's client does not try it again when the answer breaks off in the middle.
    async fn read_again<T, F>(&self, listing: impl Fn() -> F) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut attempt = 1;
        loop {
            match bounded(LISTING_LIMIT, listing()).await {
                Err(object_store::Error::Generic { .. }) if self.is_remote() && attempt < LISTING_ATTEMPTS => attempt += 1,
                answered => return answered,
            }
        }
    }

    /// Makes sure that directories are there which hold nothing: in a store they are by what lies in them, and what engines pass over is hidden.
    pub(super) async fn put_nothing(&self, directories: &[Path]) -> Result<()> {
        let paths: Vec<Path> = directories.iter().map(|directory| directory.clone().join("_nothing")).collect();
        for path in &paths {
            self.put(path, Bytes::new()).await?;
        }
        self.settle(paths).await
    }

    /// Copies an object of so many bytes to a name that nobody else uses: by the store itself where it can.
    pub(super) async fn copy(&self, from: &Path, to: &Path, bytes: u64) -> Result<()> {
        let by_itself = bytes <= COPIED_BY_ITSELF || !self.is_remote();
        let copied = if by_itself { self.objects.copy(from, to).await } else { self.copy_through(from, to, bytes).await };
        let copied = match copied {
            // A disk without hard links, or a store that cannot: HDFS.
            Err(object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. }) => {
                self.copy_through(from, to, bytes).await
            }
            Err(object_store::Error::Generic { .. }) if self.is_local() => self.copy_through(from, to, bytes).await,
            copied => copied,
        };
        copied.map_err(|source| failed(to, source))
    }

    /// Copies by reading and writing, part by part: each call has its own limit, whatever the object's size.
    async fn copy_through(&self, from: &Path, to: &Path, bytes: u64) -> object_store::Result<()> {
        let upload = self.objects.put_multipart(to).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES as usize);
        let written = async {
            for start in (0..bytes).step_by(PART_BYTES as usize) {
                let part = self.objects.get_range(from, start..bytes.min(start + PART_BYTES)).await?;
                upload.wait_for_capacity(PARTS_AT_ONCE).await?;
                upload.put(part);
            }
            Ok(())
        };
        match written.await {
            Ok(()) => upload.finish().await.map(drop),
            Err(error) => {
                drop(upload.abort().await);
                Err(error)
            }
        }
    }

    /// Deletes an object; one that is not there is as good.
    pub(super) async fn delete(&self, path: &Path) -> Result<()> {
        match bounded(READING_LIMIT, self.objects.delete(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(failed(path, source)),
        }
    }

    /// Removes a directory that nothing will ever be put into again: what is left in it of uploads that never ended, and the
    /// directories themselves. Where directories are only a way of speaking there is nothing to do.
    pub(super) async fn clear_directory(&self, directory: &Path) -> Result<()> {
        if let Some(directories) = &self.directories {
            return bounded(READING_LIMIT, directories.clear(directory)).await.map_err(|source| failed(directory, source));
        }
        let Some(root) = &self.local else { return Ok(()) };
        let place = root.join(directory.as_ref());
        self.on_disk(directory, move || match std::fs::remove_dir_all(&place) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
        .await
    }

    /// Removes the directory that held a deleted object, if it is empty now.
    pub(super) async fn drop_if_empty(&self, directory: &Path) -> Result<()> {
        if let Some(directories) = &self.directories {
            return bounded(READING_LIMIT, directories.drop_if_empty(directory))
                .await
                .map_err(|source| failed(directory, source));
        }
        let Some(root) = &self.local else { return Ok(()) };
        let place = root.join(directory.as_ref());
        self.on_disk(directory, move || match std::fs::remove_dir(&place) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty) => Ok(()),
            other => other,
        })
        .await
    }

    /// Directories that a put would make besides those below the lake's root, the deepest first; none where they are only a way of speaking,
    /// and none on this machine, where opening the lake makes them.
    pub(super) async fn missing_directories(&self) -> Result<Vec<Path>> {
        let Some(directories) = &self.directories else { return Ok(Vec::new()) };
        bounded(READING_LIMIT, directories.missing()).await.map_err(|source| failed(&Path::default(), source))
    }

    /// Removes what was missing and was made since, as far as nobody uses it by now.
    pub(super) async fn remove_made(&self, missing: Vec<Path>) -> Result<()> {
        let Some(directories) = &self.directories else { return Ok(()) };
        bounded(READING_LIMIT, directories.remove_made(missing)).await.map_err(|source| failed(&Path::default(), source))
    }

    /// Makes the entries of all directories from the lake's root down to these objects durable.
    pub(super) async fn settle(&self, objects: impl IntoIterator<Item = Path>) -> Result<()> {
        if let Some(settling) = &self.settling {
            let objects: Vec<Path> = objects.into_iter().collect();
            let Some(first) = objects.first().cloned() else { return Ok(()) };
            return bounded(READING_LIMIT, settling.settle(objects)).await.map_err(|source| failed(&first, source));
        }
        let Some(root) = &self.local else { return Ok(()) };
        let mut directories = BTreeSet::from([root.clone()]);
        let mut first = None;
        for object in objects {
            let place = root.join(object.as_ref());
            directories.extend(place.ancestors().skip(1).take_while(|above| *above != root).map(PathBuf::from));
            first.get_or_insert(object);
        }
        let Some(first) = first else { return Ok(()) };
        self.on_disk(&first, move || directories.iter().rev().try_for_each(|directory| sync_directory(directory))).await
    }

    async fn on_disk(&self, path: &Path, work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<()> {
        let done = bounded(READING_LIMIT, async {
            match tokio::task::spawn_blocking(work).await {
                Ok(result) => result.map_err(|error| generic(Box::new(error))),
                Err(error) => Err(generic(Box::new(error))),
            }
        });
        done.await.map_err(|source| failed(path, source))
    }
}

pub(super) fn sync_directory(directory: &std::path::Path) -> std::io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic { store: "lake", source }
}

fn failed(path: &Path, source: object_store::Error) -> Error {
    Error::Store { path: path.to_string(), source }
}

/// Runs a call to the store for no longer than `limit`; after that its outcome is unknown.
pub(super) async fn bounded<T>(limit: Duration, call: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result,
        Err(elapsed) => Err(generic(Box::new(elapsed))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_put_if_absent_is_refused_and_leaves_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}/new/lake", directory.path().display());
        let (local, made) = LakeStore::open(&url, &StoreOptions::default()).unwrap();
        assert_eq!(made.len(), 2);
        for store in [local, LakeStore::in_memory()] {
            let path = Path::from("a/b/c.json");
            assert_eq!(store.put_if_absent(&path, Bytes::from_static(b"one")).await.unwrap(), Put::Done);
            assert_eq!(store.put_if_absent(&path, Bytes::from_static(b"two")).await.unwrap(), Put::Occupied);
            assert_eq!(store.get(&path).await.unwrap().unwrap(), Bytes::from_static(b"one"));
            assert_eq!(store.size(&path).await.unwrap(), Some(3));
            assert_eq!(store.directories(&Path::from("a")).await.unwrap(), ["b"]);
            store.settle([path.clone()]).await.unwrap();
            store.drop_if_empty(&Path::from("a/b")).await.unwrap();
            store.delete(&path).await.unwrap();
            store.delete(&path).await.unwrap();
            assert_eq!(store.get(&path).await.unwrap(), None);
            assert!(store.list(&Path::from("nowhere")).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_copy_is_the_same_by_the_store_and_by_reading_and_writing() {
        let directory = tempfile::tempdir().unwrap();
        let (local, _) = LakeStore::open(&format!("file://{}", directory.path().display()), &StoreOptions::default()).unwrap();
        for store in [local, LakeStore::in_memory()] {
            let (from, copy, through) = (Path::from("a/b"), Path::from("c/d/e"), Path::from("c/f"));
            let bytes: Bytes = (0..(PART_BYTES as usize * 2 + 5) / 4).flat_map(|number| (number as u32).to_le_bytes()).collect();
            store.put(&from, bytes.clone()).await.unwrap();
            store.copy(&from, &copy, bytes.len() as u64).await.unwrap();
            store.copy_through(&from, &through, bytes.len() as u64).await.unwrap();
            store.delete(&from).await.unwrap();
            for path in [copy, through] {
                assert_eq!(store.get(&path).await.unwrap().unwrap(), bytes);
            }
            assert!(store.copy(&from, &Path::from("g"), 1).await.is_err(), "nothing is there");
        }
    }

    #[tokio::test]
    async fn uploads_that_never_ended_go_with_their_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = LakeStore::open(&format!("file://{}", directory.path().display()), &StoreOptions::default()).unwrap();
        std::fs::create_dir_all(directory.path().join("t/s1")).unwrap();
        std::fs::write(directory.path().join("t/s1/part.parquet#1"), b"half").unwrap();
        assert!(store.list(&Path::from("t")).await.unwrap().is_empty(), "the store hides it");
        store.clear_directory(&Path::from("t/s1")).await.unwrap();
        assert!(!directory.path().join("t/s1").exists());
    }
}
