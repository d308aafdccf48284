//! Reads the lake with DuckDB: a `lake.py` that answers one question after another.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

#[cfg(feature = "hdfs")]
use crate::hdfs::Hdfs;
use crate::s3::S3;

/// A DuckDB that is not ours.
#[derive(Debug)]
pub(crate) struct Reader {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

fn servers() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers")
}

/// The interpreter that has DuckDB.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let made = Command::new(servers().join("python.sh")).stderr(Stdio::inherit()).output().unwrap();
        assert!(made.status.success(), "there is no Python to read the lake with");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    })
}

/// Runs `tamper.py`.
pub(crate) fn tamper(arguments: &[&str]) {
    let done = Command::new(python()).arg(servers().join("tamper.py")).args(arguments).output().unwrap();
    assert!(done.status.success(), "tamper.py {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Reader {
    pub(crate) fn start() -> Self {
        let mut reading = Command::new(python());
        #[cfg(feature = "hdfs")]
        reading.envs(Hdfs::started().map(|server| ("LAKE_HDFS", format!("127.0.0.1:{}", server.files_port()))));
        let mut child = reading
            .arg(servers().join("lake.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(S3::started().map(|server| ("LAKE_S3", format!("127.0.0.1:{}", server.port()))))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn ask(&mut self, request: &Value) -> Value {
        let mut line = request.to_string();
        line.push('\n');
        self.input.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("lake.py answered {answer:?}: {error}"));
        assert!(answer.get("error").is_none(), "{request}: {}", answer["error"]);
        answer
    }

    /// The rows of a query over files, which it sees as views by name.
    pub(crate) fn query(&mut self, query: &str, files: &[(&str, &[String])]) -> Vec<Vec<Value>> {
        let files: BTreeMap<&str, &[String]> = files.iter().copied().collect();
        let answer = self.ask(&json!({"query": query, "files": files}));
        let rows = answer["rows"].as_array().unwrap();
        rows.iter().map(|row| row.as_array().unwrap().clone()).collect()
    }

    /// What `compare.py` says of each job: equal, and the text for people.
    pub(crate) fn compare(&mut self, jobs: &[Value]) -> Vec<(bool, String)> {
        let answer = self.ask(&json!({"compare": jobs}));
        let results = answer["results"].as_array().unwrap();
        results.iter().map(|result| (result["equal"] == true, result["text"].as_str().unwrap().to_owned())).collect()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.input.take());
        self.child.wait().ok();
    }
}
