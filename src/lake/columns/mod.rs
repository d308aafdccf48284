//! From MySQL's shape to the lake's: which Parquet column a MySQL column becomes, and builders that take cells without a value per cell.
//!
//! Parquet as every Hive engine reads it: lower-case names, all columns optional, no unsigned and no TIME logical types. A snapshot's
//! row and a binlog's row go through the same builder, so the same MySQL value is the same lake value, bit by bit (promise 8).

mod builder;
mod calendar;
mod cells;
mod decimal;
mod shape;
mod text;

pub use builder::{ChangeColumns, RowsBuilder};
pub use shape::Shape;
pub(crate) use text::{key_text, row_text};

#[cfg(test)]
pub(crate) mod tests;
