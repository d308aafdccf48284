//! What a server still has of its binlog, and for how long: for the lag in bytes, and the time that is left.

use std::time::Duration;

use super::control::Control;
use super::{Result, preflight, snapshot};

/// What a server holds of its binlog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// The numbers of its files, and their bytes.
    pub files: Vec<(u64, u64)>,
    /// How long a file is kept behind its last change; None where files are kept for ever, or nobody knows.
    pub kept_for: Option<Duration>,
}

impl Holding {
    /// Bytes behind a place; None where its file is not there.
    pub fn bytes_behind(&self, file: u64, offset: u64) -> Option<u64> {
        let (_, own) = self.files.iter().find(|(number, _)| *number == file)?;
        let later: u64 = self.files.iter().filter(|(number, _)| *number > file).map(|(_, bytes)| bytes).sum();
        Some(own.saturating_sub(offset) + later)
    }

    /// How long at least a place is kept whose transaction was committed so long ago: its file was changed then, or later.
    pub fn runway(&self, age: Duration) -> Option<Duration> {
        self.kept_for.map(|kept| kept.saturating_sub(age))
    }
}

pub(super) async fn holding(control: &mut Control) -> Result<Holding> {
    let rows = control.rows("SHOW BINARY LOGS").await?;
    let file = |row: &super::control::Answer| Some((snapshot::file_number(row.text("Log_name")?)?, row.number("File_size")?));
    Ok(Holding { files: rows.iter().filter_map(file).collect(), kept_for: preflight::kept_for(control).await? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_over_files_and_time_from_the_last_transaction() {
        let holding = Holding { files: vec![(9, 100), (10, 50), (11, 7)], kept_for: Some(Duration::from_secs(60)) };
        assert_eq!(holding.bytes_behind(9, 40), Some(117));
        assert_eq!(holding.bytes_behind(11, 7), Some(0));
        assert_eq!(holding.bytes_behind(8, 4), None);
        assert_eq!(holding.runway(Duration::from_secs(20)), Some(Duration::from_secs(40)));
        assert_eq!(holding.runway(Duration::from_secs(90)), Some(Duration::ZERO));
        assert_eq!(Holding { kept_for: None, ..holding }.runway(Duration::ZERO), None);
    }
}
