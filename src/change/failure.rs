//! What an error means for the operator: every room's error answers [`Failure`], and only the coordinator acts on the answer.

/// What is to be done about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// It may pass: start the worker again from its durable checkpoint, with backoff.
    Retry,
    /// One table cannot be kept right: stop it, loudly, while all others go on. The text is one sentence for the operator.
    Park(String),
    /// The whole source, or the daemon, cannot go on. The text is one sentence for the operator.
    Stop(String),
    /// Another daemon has taken over: stop without touching anything more.
    Fenced,
}

/// An error that knows its remedy.
pub trait Failure: std::error::Error {
    /// What is to be done.
    fn remedy(&self) -> Remedy;
}
