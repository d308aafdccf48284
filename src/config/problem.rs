//! What is wrong with the file: each problem with its file, line, path and remedy, and all of them together.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    /// E.g. `sources[0].tables[2].key`; empty for the file as a whole.
    pub path: String,
}

impl Place {
    /// The place of a key below this one.
    pub fn key(&self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { line: self.line, path }
    }
}

/// One error or warning. Prints as `binlake.yaml:14: sources[0].tables[2].key: what is wrong; what mends it`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What mends it.
    pub remedy: String,
}

impl Problem {
    /// A problem of a file.
    pub fn new(file: &Path, place: &Place, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: place.clone(), message: message.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.place.line > 0 {
            write!(f, ":{}", self.place.line)?;
        }
        if !self.place.path.is_empty() {
            write!(f, ": {}", self.place.path)?;
        }
        write!(f, ": {}; {}", self.message, self.remedy)
    }
}

/// Everything that is wrong with a file, in the order of its lines. Prints a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Sorted by line, each once: a default that is wrong is wrong for every table that takes it, and said once.
pub(super) fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.place.line);
    let mut once: Vec<Problem> = Vec::with_capacity(problems.len());
    for problem in problems {
        if !once.contains(&problem) {
            once.push(problem);
        }
    }
    once
}
