//! publish: a lake table's commits → the Hive Metastore.
//!
//! It follows the lake's log and holds nothing that has to last: what is published is asked of the metastore each time, so it may end
//! anywhere and be started anywhere. Commits do not wait for it. Between commits it looks now and then, too: somebody else may have let the
//! table show something old.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::lake::TableSpec;

use super::bell::Listener;
use super::board::SharedBoard;
use super::{Result, Rooms, TableKey};

/// Between two looks at a table without commits.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Everything one publication works with.
#[derive(Clone)]
pub struct Publish {
    /// The rooms.
    pub rooms: Rooms,
    /// Wakes.
    pub board: SharedBoard,
    /// The table.
    pub key: TableKey,
    /// The lake table.
    pub spec: TableSpec,
}

impl Publish {
    /// Brings the metastore to the last commit.
    pub async fn once(&self) -> Result<()> {
        self.rooms.lake.publish(&self.spec).await?;
        if let Some(shown) = self.rooms.lake.shown(&self.spec.name) {
            self.board.shows(&self.spec.name.to_string(), shown);
        }
        Ok(())
    }

    /// Hears of commits from now on.
    pub fn commits(&self) -> Listener {
        self.board.watch_commits(&self.key)
    }

    /// Waits until there is something to look at; false when it was cancelled.
    pub async fn wait(&self, commits: &mut Listener, cancel: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = cancel.cancelled() => false,
            () = commits.heard() => true,
            () = tokio::time::sleep(LOOK_EVERY) => true,
        }
    }
}
