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

    /// What the operator can do meanwhile about something that is tried again; None where there is nothing but to wait.
    fn advice(&self) -> Option<String> {
        None
    }

    /// What a log may say of it instead of its text, where that holds values of a row: those are for `status` alone.
    fn without_values(&self) -> Option<String> {
        None
    }
}

/// The advice on a file or directory that could not be written, from what the system or SQLite said about it.
pub fn advice_on_place(path: &str, said: &str) -> Option<String> {
    let said = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["no space left", "disk is full", "quota exceeded"]) {
        return Some(format!("make room on the file system of {path}: it goes on by itself"));
    }
    says(&["read-only", "readonly", "permission denied"])
        .then(|| format!("make {path} writable for binlake again: it goes on by itself"))
}

/// What an error and all its causes say.
pub fn all_said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_or_locked_place_is_named_with_what_helps() {
        let full = std::io::Error::from_raw_os_error(28).to_string();
        assert!(advice_on_place("/lake", &full).unwrap().starts_with("make room on the file system of /lake"));
        assert!(advice_on_place("/state/x.db", "database or disk is full").unwrap().contains("make room"));
        let locked = std::io::Error::from_raw_os_error(30).to_string();
        assert!(advice_on_place("/lake", &locked).unwrap().contains("writable"));
        assert!(advice_on_place("/x", "attempt to write a readonly database").unwrap().contains("writable"));
        assert_eq!(advice_on_place("/lake", "connection reset"), None);
    }
}
