//! MySQL's bytes to cells: what the snapshot and the binlog share, so that both give the same value.

pub mod calendar;
pub mod charset;
pub mod labels;
pub mod result;
