//! The raw parts of one transaction while its end is awaited: in memory up to a limit, behind it in a file.
//!
//! The file loses its name as soon as it is open, so that neither a crash nor an error leaves one behind. What was written can
//! be cut back to an earlier length (a transaction that rolls back to a savepoint), and is read once, from the start.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::source::{Error, Result};

/// What a spilled store keeps in memory before it writes on.
const WRITE_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 256 << 10;
/// The length and the tag before each entry.
const HEAD_BYTES: usize = 5;

static NEXT_FILE: AtomicU64 = AtomicU64::new(0);

/// Where stores spill, and when.
#[derive(Debug, Clone)]
pub(super) struct SpillSettings {
    pub(super) scratch: Arc<Path>,
    /// Bytes of one store that stay in memory.
    pub(super) bytes_max: usize,
}

/// Entries that are being collected.
#[derive(Debug)]
pub(super) struct Store {
    settings: SpillSettings,
    /// All entries, or those that are not in the file yet.
    memory: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    filed: u64,
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::Scratch { path: path.display().to_string(), source }
}

impl Store {
    pub(super) fn new(settings: SpillSettings) -> Self {
        Self { settings, memory: Vec::new(), file: None, filed: 0 }
    }

    /// Bytes of all entries.
    pub(super) fn len(&self) -> u64 {
        self.filed + self.memory.len() as u64
    }

    /// Bytes in memory.
    pub(super) fn held_bytes(&self) -> u64 {
        self.memory.len() as u64
    }

    pub(super) fn is_spilled(&self) -> bool {
        self.file.is_some()
    }

    /// Appends an entry, given in two pieces.
    pub(super) fn push(&mut self, tag: u8, head: &[u8], rest: &[u8]) -> Result<()> {
        let length = (head.len() + rest.len()) as u32;
        let limit = if self.file.is_some() { WRITE_BYTES } else { self.settings.bytes_max };
        let stays = self.memory.len() + HEAD_BYTES + head.len() + rest.len() <= limit;
        if stays {
            // Once, not piece by piece: most transactions have one entry.
            self.memory.reserve(HEAD_BYTES + head.len() + rest.len());
        }
        self.memory.extend_from_slice(&length.to_le_bytes());
        self.memory.push(tag);
        self.memory.extend_from_slice(head);
        if stays {
            self.memory.extend_from_slice(rest);
            return Ok(());
        }
        // What goes to the file goes there from where it is: a huge row is not held twice.
        self.write_out()?;
        self.write(rest)
    }

    /// Moves everything to the file.
    pub(super) fn spill(&mut self) -> Result<()> {
        self.write_out()
    }

    /// Forgets everything behind the first `length` bytes.
    pub(super) fn truncate(&mut self, length: u64) -> Result<()> {
        if let Some(kept) = length.checked_sub(self.filed) {
            self.memory.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            return Ok(());
        }
        self.memory.clear();
        if let Some(file) = &mut self.file {
            file.set_len(length)
                .and_then(|()| file.seek(SeekFrom::Start(length)))
                .map_err(|error| failed(&self.settings.scratch, error))?;
        }
        self.filed = length;
        Ok(())
    }

    fn write_out(&mut self) -> Result<()> {
        let mut memory = std::mem::take(&mut self.memory);
        self.write(&memory)?;
        memory.clear();
        // The next entries need the file's share only.
        memory.shrink_to(WRITE_BYTES);
        self.memory = memory;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let scratch = &self.settings.scratch;
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open_nameless(scratch)?),
        };
        file.write_all(bytes).map_err(|error| failed(scratch, error))?;
        self.filed += bytes.len() as u64;
        Ok(())
    }

    /// Ends the collecting.
    pub(super) fn into_reader(mut self) -> Result<StoreReader> {
        let mut file = None;
        if self.file.is_some() {
            self.write_out()?;
            if let Some(mut spilled) = self.file.take() {
                spilled.rewind().map_err(|error| failed(&self.settings.scratch, error))?;
                file = Some(BufReader::with_capacity(READ_BYTES, spilled));
            }
            self.memory = Vec::new();
        }
        Ok(StoreReader { memory: self.memory, at: 0, entry: 0..0, file, left: self.filed, scratch: self.settings.scratch })
    }
}

fn open_nameless(scratch: &Path) -> Result<File> {
    let path = scratch.join(format!("transaction-{}-{}", std::process::id(), NEXT_FILE.fetch_add(1, Ordering::Relaxed)));
    let open = || {
        std::fs::create_dir_all(scratch)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    };
    open().map_err(|error| failed(&path, error))
}

/// Entries that are being read.
#[derive(Debug)]
pub(super) struct StoreReader {
    /// All entries, or the one at hand.
    memory: Vec<u8>,
    at: usize,
    entry: std::ops::Range<usize>,
    file: Option<BufReader<File>>,
    /// Bytes of the file that were not read yet.
    left: u64,
    scratch: Arc<Path>,
}

impl StoreReader {
    /// Goes to the next entry and returns its tag; None behind the last.
    pub(super) fn advance(&mut self) -> Result<Option<u8>> {
        let Some(file) = &mut self.file else { return Ok(self.advance_in_memory()) };
        if self.left == 0 {
            return Ok(None);
        }
        let mut head = [0; HEAD_BYTES];
        let broken = |error| failed(&self.scratch, error);
        file.read_exact(&mut head).map_err(broken)?;
        let [a, b, c, d, tag] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        self.memory.clear();
        self.memory.shrink_to(READ_BYTES);
        let read = file.take(u64::from(length)).read_to_end(&mut self.memory).map_err(broken)?;
        if read as u64 != u64::from(length) {
            return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
        }
        self.left = self.left.saturating_sub(HEAD_BYTES as u64 + u64::from(length));
        self.entry = 0..read;
        Ok(Some(tag))
    }

    fn advance_in_memory(&mut self) -> Option<u8> {
        let head = self.memory.get(self.at..)?.first_chunk::<HEAD_BYTES>()?;
        let [a, b, c, d, tag] = *head;
        let start = self.at + HEAD_BYTES;
        let end = start + u32::from_le_bytes([a, b, c, d]) as usize;
        self.entry = start..end;
        self.at = end;
        Some(tag)
    }

    /// The entry at hand was read: a huge one makes room for what was made of it.
    pub(super) fn release(&mut self) {
        if self.file.is_some() && self.memory.len() > READ_BYTES {
            self.entry = 0..0;
            self.memory = Vec::new();
        }
    }

    /// The entry at hand.
    pub(super) fn entry(&self) -> &[u8] {
        self.memory.get(self.entry.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(reader: &mut StoreReader) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        while let Some(tag) = reader.advance().unwrap() {
            found.push((tag, reader.entry().to_vec()));
        }
        found
    }

    #[test]
    fn entries_come_back_from_memory_and_from_a_file() {
        let scratch = tempfile::tempdir().unwrap();
        for bytes_max in [usize::MAX, 0, 100, 3000] {
            let mut store = Store::new(SpillSettings { scratch: scratch.path().into(), bytes_max });
            let expected: Vec<(u8, Vec<u8>)> = (0..50u8).map(|tag| (tag, vec![tag; usize::from(tag) * 3])).collect();
            for (tag, bytes) in &expected {
                let (head, rest) = bytes.split_at(bytes.len() / 2);
                store.push(*tag, head, rest).unwrap();
            }
            assert_eq!(store.is_spilled(), bytes_max != usize::MAX);
            assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "a spill file has no name");
            assert_eq!(entries(&mut store.into_reader().unwrap()), expected);
        }
    }

    #[test]
    fn what_a_savepoint_takes_back_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        for bytes_max in [usize::MAX, 0, 20] {
            let mut store = Store::new(SpillSettings { scratch: scratch.path().into(), bytes_max });
            store.push(1, b"kept", b"").unwrap();
            let length = store.len();
            store.push(2, b"rolled", b"back").unwrap();
            store.truncate(length).unwrap();
            store.push(3, b"after", b"").unwrap();
            let found = entries(&mut store.into_reader().unwrap());
            assert_eq!(found, [(1, b"kept".to_vec()), (3, b"after".to_vec())]);
        }
    }
}
