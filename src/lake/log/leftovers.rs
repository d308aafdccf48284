//! What puts that were killed left beside the slots: files under names of their own, in stores that write so (`super::super::temporary`).
//!
//! **Why none that counts is touched.** A record's file goes once its slot, or a later one, is filled: no record is put over another, so all it
//! can still get into is a slot that has expired, where it counts for nothing. A checkpoint's goes with that too: whoever still writes one
//! finds it gone, and a put whose file is gone has done nothing, and has said so.

use super::{CommitLog, digits};
use crate::lake::{Result, temporary};

impl CommitLog {
    /// Deletes them; answers how many there were.
    pub(crate) async fn clear_leftovers(&self) -> Result<u64> {
        let newest = self.newest().await?;
        let mut deleted = 0;
        for kind in ["log", "checkpoint"] {
            for object in self.store.list(&self.directory(kind)).await? {
                let place = object.location.filename().and_then(temporary::of).and_then(digits);
                if place.is_some_and(|seq| seq <= newest) {
                    self.store.delete(&object.location).await?;
                    deleted += 1;
                }
            }
        }
        Ok(deleted)
    }
}
