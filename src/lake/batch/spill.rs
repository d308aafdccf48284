//! The runs of a batch in the order of time, kept few: so many runs of one level become one of the next.

use std::path::{Path, PathBuf};

use super::collapse::collapse;
use super::compare::Checker;
use super::fold::Fold;
use super::frame::Frame;
use super::run::{RunReader, RunWriter, Scratch};
use crate::lake::Result;

/// So many runs are read side by side, and become one.
const RUNS_MERGED: usize = 16;

#[derive(Debug)]
struct Run {
    path: PathBuf,
    level: u32,
}

/// What a batch has in scratch.
#[derive(Debug, Default)]
pub(crate) struct Spilled {
    runs: Vec<Run>,
    // Behind the runs: it is dropped last, and takes what is left with it.
    scratch: Option<Scratch>,
}

impl Spilled {
    /// Puts a frame behind the runs that are there.
    pub(crate) fn spill(&mut self, frame: Frame, checker: &Checker, parent: &Path, batch_bytes: usize) -> Result<()> {
        let frame_bytes = (batch_bytes / (4 * RUNS_MERGED)).clamp(4 << 10, 1 << 20);
        let frame = collapse(frame, checker)?;
        let mut writer = RunWriter::create(self.next_run(parent)?, &checker.shape, frame_bytes)?;
        writer.write(&frame)?;
        self.runs.push(Run { path: writer.finish()?, level: 0 });
        while let Some(level) = self.crowded() {
            self.merge_last(checker, parent, frame_bytes, level)?;
        }
        Ok(())
    }

    /// The level of the last runs when there are enough of it to become one.
    fn crowded(&self) -> Option<u32> {
        let level = self.runs.last()?.level;
        let alike = self.runs.iter().rev().take_while(|run| run.level == level).count();
        (alike >= RUNS_MERGED).then_some(level)
    }

    fn merge_last(&mut self, checker: &Checker, parent: &Path, frame_bytes: usize, level: u32) -> Result<()> {
        let last = self.runs.split_off(self.runs.len().saturating_sub(RUNS_MERGED));
        let mut writer = RunWriter::create(self.next_run(parent)?, &checker.shape, frame_bytes)?;
        let mut merge = RunsMerge::open(last, checker, None)?;
        while let Some(frame) = merge.next_frame(checker)? {
            writer.write(&frame)?;
        }
        self.runs.push(Run { path: writer.finish()?, level: level + 1 });
        Ok(())
    }

    fn next_run(&mut self, parent: &Path) -> Result<PathBuf> {
        let scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => Scratch::new(parent)?,
        };
        Ok(self.scratch.insert(scratch).next_run())
    }

    /// All runs and, behind them in time, what is still in memory, merged.
    pub(crate) fn merge(self, checker: &Checker, memory: Frame) -> Result<RunsMerge> {
        let memory = collapse(memory, checker)?;
        let mut merge = RunsMerge::open(self.runs, checker, Some(memory))?;
        merge._scratch = self.scratch;
        Ok(merge)
    }
}

/// Runs read side by side.
pub(crate) struct RunsMerge {
    readers: Vec<RunReader>,
    fold: Fold,
    // Behind the readers: it is dropped last, and takes what is left with it.
    _scratch: Option<Scratch>,
}

impl RunsMerge {
    fn open(runs: Vec<Run>, checker: &Checker, memory: Option<Frame>) -> Result<Self> {
        let readers = runs.into_iter().map(|run| RunReader::open(run.path, &checker.shape)).collect::<Result<Vec<_>>>()?;
        let fold = Fold::new(readers.len());
        let fold = match memory {
            Some(frame) => fold.with_frame(frame),
            None => fold,
        };
        Ok(Self { readers, fold, _scratch: None })
    }

    /// The next changes in the order of keys, one per key.
    pub(crate) fn next_frame(&mut self, checker: &Checker) -> Result<Option<Frame>> {
        while let Some(index) = self.fold.wanting() {
            let frame = match self.readers.get_mut(index) {
                Some(reader) => reader.next_frame()?,
                None => None,
            };
            self.fold.supply(index, frame);
        }
        self.fold.step(checker)
    }
}
