//! The rooms as one daemon finds them: in memory, behind decorators through which each call meets its fate.

mod changelog;
mod metadata;
mod metastore;
mod source;
mod store;

pub(crate) use changelog::LifeLog;
pub(crate) use metadata::LifeMetadata;
pub(crate) use metastore::LifeMetastore;
pub(crate) use source::LifeSource;
pub(crate) use store::{LifeStore, Shore};
