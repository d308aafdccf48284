//! What a room found when it was asked whether it will do: for `check`.

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// As it should be.
    Fine,
    /// It works, with a risk that is named.
    Risk,
    /// It does not work, or loses changes.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How good it is.
    pub weight: Weight,
    /// What it is about.
    pub subject: String,
    /// What was found.
    pub message: String,
    /// What helps, where something has to.
    pub remedy: Option<String>,
}
