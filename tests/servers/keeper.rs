//! Cleans up behind a test, however the test ends.
//!
//! A keeper is a shell that waits for the end of its standard input. The other end of that pipe is held by the test process alone, so
//! the shell wakes up when the keeper is dropped, and as well when the test process is killed or exits without dropping its statics.

use std::process::{Child, ChildStdin, Command, Stdio};

/// Runs a shell script when it is dropped, or when this process is gone.
#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
    input: Option<ChildStdin>,
}

impl Keeper {
    /// `script` sees `arguments` as `$1`, `$2`, …
    pub(crate) fn new(script: &str, arguments: &[&str]) -> Self {
        let waiting = format!("trap '' INT TERM HUP; read -r _; {script}");
        let mut shell = Command::new("sh")
            .args(["-c", &waiting, "keeper"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = shell.stdin.take();
        Self { shell, input }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Err(error) = self.shell.wait() {
            eprintln!("a keeper could not be waited for: {error}");
        }
    }
}
