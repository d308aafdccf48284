//! The proof that a holder is alive: a file beside the database, locked by the operating system for as long as the process lives.
//!
//! A lease row alone cannot tell a daemon that died from one that is slow, and a clock would only guess. The system's lock falls
//! with the process, `kill -9` included, so the next daemon takes over at once and never beside a living one. The file stays when
//! the lock is gone: removing it would let two processes hold locks on two files of the same name.
//!
//! Whoever asks whether a daemon lives holds the lock, shared, for the moment of asking; and a daemon that is being replaced may need
//! a moment to be gone. So a refusal counts only after [`PATIENCE`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock may be in the way before it counts as held.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// The lock of this process. It falls when this is dropped.
#[derive(Debug)]
pub(super) struct ProcessLock {
    file: File,
}

/// What became of the attempt.
pub(super) enum Attempt {
    /// It is ours.
    Ours(ProcessLock),
    /// It is held; by whom, as far as the file says.
    Theirs(String),
}

/// `<database>.lock`.
pub(super) fn path_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Tries to lock, for as long as [`PATIENCE`]. Blocks.
pub(super) fn attempt(database: &Path, holder: &str) -> std::io::Result<Attempt> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path_of(database))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                writeln!(file, "process {} ({holder})", std::process::id())?;
                return Ok(Attempt::Ours(ProcessLock { file }));
            }
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => std::thread::sleep(PATIENCE / 10),
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Theirs(holder_of(&mut file)?)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Who holds the lock; None where nobody does.
pub(super) fn living_holder(database: &Path) -> std::io::Result<Option<String>> {
    let mut file = match File::open(path_of(database)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => holder_of(&mut file).map(Some),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// What the holder wrote. It may be writing at this moment: then it has no name yet.
fn holder_of(file: &mut File) -> std::io::Result<String> {
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text)?;
    let name = text.trim();
    Ok(if name.is_empty() { "another process".to_owned() } else { name.to_owned() })
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        // Closing the file would free it too; a child that inherited it by accident must not keep it.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the metadata store's lock file could not be unlocked");
        }
    }
}
