//! The proof that a holder is alive: a file beside the database, locked by the operating system for as long as the process lives.
//!
//! A lease row alone cannot tell a daemon that died from one that is slow, and a clock would only guess. The system's lock falls
//! with the process, `kill -9` included, so the next daemon takes over at once and never beside a living one. The file stays when
//! the lock is gone: removing it would let two processes hold locks on two files of the same name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

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

/// Tries to lock, without waiting.
pub(super) fn attempt(database: &Path, holder: &str) -> std::io::Result<Attempt> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path_of(database))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "process {} ({holder})", std::process::id())?;
            Ok(Attempt::Ours(ProcessLock { file }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The holder may be writing its name at this moment: an empty answer is one too.
            (&mut file).take(4096).read_to_string(&mut text)?;
            let name = text.trim();
            Ok(Attempt::Theirs(if name.is_empty() { "another process".to_owned() } else { name.to_owned() }))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        // Closing the file would free it too; a child that inherited it by accident must not keep it.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the metadata store's lock file could not be unlocked");
        }
    }
}
