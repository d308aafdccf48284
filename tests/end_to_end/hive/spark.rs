//! Spark on a metastore: a `spark.py` that answers one question after another.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::metastore::{Server, Version};

/// A Spark session.
#[derive(Debug)]
pub(super) struct Spark {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// What a script prints.
fn printed(script: &str, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(script);
    let made = Command::new(&script).args(arguments).stderr(Stdio::inherit()).output().unwrap();
    assert!(made.status.success(), "{} failed: see above", script.display());
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

impl Spark {
    /// Starts a session; it is up when the first answer comes.
    pub(super) fn start(metastore: &Server, version: Version) -> Self {
        let mut command = Command::new(printed("spark.sh", &[]));
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/spark.py"))
            .arg(format!("thrift://127.0.0.1:{}", metastore.port()))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if version == Version::Four {
            command.arg(printed("metastore.sh", &["client"]));
        }
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn ask(&mut self, request: &Value) -> Vec<Vec<Value>> {
        self.try_ask(request).unwrap_or_else(|error| panic!("{request}: {error}"))
    }

    /// The rows, or what Spark says instead.
    fn try_ask(&mut self, request: &Value) -> Result<Vec<Vec<Value>>, String> {
        self.input.as_mut().unwrap().write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("spark.py answered {answer:?}: {error}"));
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().lines().next().unwrap_or_default().to_owned()),
            None => Ok(answer["rows"].as_array().unwrap().iter().map(|row| row.as_array().unwrap().clone()).collect()),
        }
    }

    /// The rows of a query.
    pub(super) fn query(&mut self, query: &str) -> Vec<Vec<Value>> {
        self.ask(&json!({"query": query}))
    }

    /// The rows of a query that may fail.
    pub(super) fn try_query(&mut self, query: &str) -> Result<Vec<Vec<Value>>, String> {
        self.try_ask(&json!({"query": query}))
    }

    /// Another session time zone.
    pub(super) fn set_zone(&mut self, zone: &str) {
        self.ask(&json!({"zone": zone}));
    }

    /// Whether it reads Parquet itself, or by Hive's SerDe.
    pub(super) fn set_native(&mut self, native: bool) {
        self.ask(&json!({"native": native}));
    }

    /// Writes what it sees of a table into a directory, and answers the files.
    pub(super) fn copy(&mut self, table: &str, into: &Path) -> Vec<String> {
        self.ask(&json!({"copy": table, "into": into}));
        let files = std::fs::read_dir(into).unwrap().map(|entry| entry.unwrap().path().display().to_string());
        files.filter(|file| file.ends_with(".parquet")).collect()
    }
}

impl Drop for Spark {
    fn drop(&mut self) {
        drop(self.input.take());
        self.child.wait().ok();
    }
}
