//! Every point where a process may die: [`ALL`] is what the kill tests go through.

/// Metadata store: a step of its format is done and not committed.
pub const FORMAT_STEP: &str = "format_step";
/// Tailer: the topic is open, the table's `since` is not saved.
pub const CAPTURING: &str = "capturing";
/// Tailer: records are acknowledged, `published` is not saved.
pub const ACKNOWLEDGED: &str = "acknowledged";
/// Tailer: `published` is saved, nobody was told.
pub const PUBLISHED: &str = "published";
/// Loader: a chunk's files are durable, the metadata store does not know them.
pub const CHUNK_UPLOADED: &str = "chunk_uploaded";
/// Loader: a chunk is in.
pub const CHUNK_DONE: &str = "chunk_done";
/// Loader: the last chunk is in, the table is not catching up yet.
pub const CHUNKS_IN: &str = "chunks_in";
/// Lake: what the adoption wrote is durable, its record is not put.
pub const ADOPTING: &str = "adopting";
/// Lake: the record of the adoption is put.
pub const ADOPTED: &str = "adopted";
/// Lake: a commit's files are durable, its record is not put.
pub const UPLOADED: &str = "uploaded";
/// Lake: a commit's record is put, nothing was done behind it.
pub const COMMITTED: &str = "committed";
/// Writer: the commit is through, the change log still holds what it took.
pub const BEFORE_RELEASE: &str = "before_release";
/// Coordinator: the next generation is stored, the request for it still stands.
pub const REBUILD_BEGUN: &str = "rebuild_begun";
/// Lake: the new generation says `publish`, readers still go to the old one.
pub const SWITCHING: &str = "switching";
/// Lake: readers go to the new generation, the metadata store does not know it.
pub const SWITCHED: &str = "switched";
/// Coordinator: the metadata store has forgotten the old generation, the change log has not.
pub const RETIRING: &str = "retiring";

/// Publication: the log was read, the metastore was not asked for anything.
pub const SHOWING: &str = "showing";
/// Publication: `binlake.seq` is swapped, the partitions are as they were.
pub const CLAIMED: &str = "claimed";
/// Publication: the partitions are swapped, the table still says that they are not.
pub const SWAPPED: &str = "swapped";
/// Publication: the metastore shows the version, nobody was told.
pub const SHOWN: &str = "shown";

/// Those that are passed only where a lake is published in a metastore.
pub const OF_PUBLICATION: &[&str] = &[SHOWING, CLAIMED, SWAPPED, SHOWN];

/// Lake: a day's copies are durable, its record is not put.
pub const DAY_COPIED: &str = "day_copied";
/// Lake: a day's record is put, nothing was done behind it.
pub const DAY_FROZEN: &str = "day_frozen";

/// Those that are passed only where days are frozen.
pub const OF_DAYS: &[&str] = &[DAY_COPIED, DAY_FROZEN];

/// All others.
pub const ALL: &[&str] = &[
    FORMAT_STEP,
    CAPTURING,
    ACKNOWLEDGED,
    PUBLISHED,
    CHUNK_UPLOADED,
    CHUNK_DONE,
    CHUNKS_IN,
    ADOPTING,
    ADOPTED,
    UPLOADED,
    COMMITTED,
    BEFORE_RELEASE,
    REBUILD_BEGUN,
    SWITCHING,
    SWITCHED,
    RETIRING,
];
