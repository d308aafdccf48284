//! A daemon's world: a directory with its YAML, its state and its lake, and what can be asked of the binary about it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::keeper::Keeper;
use crate::server::{PASSWORD, Server, USER};

/// How long a command that asks for something may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// How long `run --until-caught-up` may take.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(180);

/// How often a state is looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Lines of a log that a failed test prints.
const LOG_LINES: usize = 60;

/// What stands in the YAML. Fields are YAML text.
#[derive(Debug, Clone)]
pub(crate) struct Yaml {
    /// The source's name: every test another one, as its id among the server's replicas is made from it.
    pub(crate) name: String,
    /// The source's address.
    pub(crate) url: String,
    /// The user.
    pub(crate) user: String,
    /// Flow map behind `tls:`; the default where it is empty.
    pub(crate) tls: String,
    /// Flow map behind `snapshot:`.
    pub(crate) snapshot: String,
    /// Flow map behind `commit:`.
    pub(crate) commit: String,
    /// The items of `tables:`, a line each.
    pub(crate) tables: Vec<String>,
    /// Which change log: the first keys of the flow map behind `changelog:`.
    pub(crate) log: String,
    /// More of that flow map, from its comma on.
    pub(crate) changelog: String,
    /// `lake.datetime_zone`.
    pub(crate) zone: String,
    /// The time zone that binlake itself runs in, as `TZ` has it.
    pub(crate) our_zone: String,
    /// Lines of `lake:`, indented.
    pub(crate) lake: String,
    /// `http`: any free port, as daemons of other tests run beside this one.
    pub(crate) http: String,
    /// `lake.url` where it is not the scene's directory.
    pub(crate) lake_url: Option<String>,
    /// Lines at the top level.
    pub(crate) more: String,
    /// A second source with one table: its port, and the item of its `tables:`.
    pub(crate) second: Option<(u16, String)>,
}

impl Yaml {
    fn text(&self, lake: &Path) -> String {
        let tls = if self.tls.is_empty() { String::new() } else { format!("    tls: {}\n", self.tls) };
        let tables: String = self.tables.iter().map(|table| format!("      - {table}\n")).collect();
        let lake_url = self.lake_url.clone().unwrap_or_else(|| format!("file://{}", lake.display()));
        let second = self.second.as_ref().map(|(port, table)| {
            format!(
                "  - name: {}_second\n    url: mysql://127.0.0.1:{port}\n    user: {USER}\n    password: ${{E2E_PASSWORD}}\n    \
                 tables:\n      - {table}\n",
                self.name
            )
        });
        format!(
            "state: sqlite:state/binlake.db\n\
             scratch: state/scratch\n\
             http: {}\n\
             changelog: {{{}{}}}\n\
             {}\
             lake:\n  url: {}\n  commit: {}\n  datetime_zone: {}\n{}\
             sources:\n  - name: {}\n    url: {}\n    user: {}\n    password: ${{E2E_PASSWORD}}\n{tls}    snapshot: {}\n    tables:\n{tables}{}",
            self.http,
            self.log,
            self.changelog,
            self.more,
            lake_url,
            self.commit,
            self.zone,
            self.lake,
            self.name,
            self.url,
            self.user,
            self.snapshot,
            second.unwrap_or_default(),
        )
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Both outputs, for messages.
    pub(crate) fn text(&self) -> String {
        format!("exit {:?}\n{}{}", self.code, self.stdout, self.stderr)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scene {
    directory: PathBuf,
    pub(crate) yaml: Yaml,
    /// The lake's directory: of this scene, or of another one that it succeeds.
    pub(crate) lake: PathBuf,
    /// Set in the environment of every command.
    pub(crate) variables: Vec<(&'static str, String)>,
    _keeper: Keeper,
}

impl Scene {
    /// A daemon that captures `tables` (items of the YAML's list) of a server, with chunks of 500 rows and a commit a second.
    pub(crate) fn new<S: AsRef<str>>(server: &Server, tables: &[S]) -> Self {
        let directory = tempfile::Builder::new().prefix("binlake-scene.").tempdir().unwrap().keep();
        let clean_up =
            r#"pid=$(cat "$1/daemon.pid"); tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF "$1" && kill -9 "$pid"; rm -rf "$1""#;
        let keeper = Keeper::new(clean_up, &[directory.to_str().unwrap()]);
        std::fs::create_dir(directory.join("state")).unwrap();
        let unique = directory.extension().unwrap().to_str().unwrap().to_owned();
        let yaml = Yaml {
            name: format!("test_{unique}"),
            url: format!("mysql://127.0.0.1:{}", server.port()),
            user: USER.to_owned(),
            tls: String::new(),
            snapshot: "{parallel: 2, chunk_rows: 500}".to_owned(),
            commit: "{interval: 1s}".to_owned(),
            tables: tables.iter().map(|table| table.as_ref().to_owned()).collect(),
            log: "kind: local, dir: state/changelog".to_owned(),
            changelog: String::new(),
            zone: "UTC".to_owned(),
            our_zone: "UTC".to_owned(),
            lake: String::new(),
            lake_url: None,
            http: "127.0.0.1:0".to_owned(),
            more: String::new(),
            second: None,
        };
        let lake = directory.join("lake");
        let scene = Self { directory, yaml, lake, variables: Vec::new(), _keeper: keeper };
        scene.write();
        scene
    }

    /// Changes the YAML and writes it.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Yaml)) {
        change(&mut self.yaml);
        self.write();
    }

    fn write(&self) {
        std::fs::write(self.config(), self.yaml.text(&self.lake)).unwrap();
    }

    /// The YAML's path.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory.join("binlake.yaml")
    }

    /// A file of this scene.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The binary with arguments and this scene's YAML.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // A long run names a copy: what is built meanwhile is not what it tries.
        let binary = std::env::var_os("BINLAKE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_binlake").into());
        let mut command = Command::new(binary);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
            .args(arguments)
            .arg("-c")
            .arg(self.config())
            .env("E2E_PASSWORD", PASSWORD)
            .env("TZ", &self.yaml.our_zone)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_within(arguments, COMMAND_LIMIT)
    }

    fn run_within(&self, arguments: &[&str], limit: Duration) -> Ended {
        let outputs = tempfile::tempdir_in(&self.directory).unwrap();
        let (stdout, stderr) = (outputs.path().join("stdout"), outputs.path().join("stderr"));
        let mut child = self
            .command(arguments)
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + limit;
        let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return Ended { code: status.code(), stdout: read(&stdout), stderr: read(&stderr) };
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{arguments:?} did not end within {limit:?}:\n{}\n{}", read(&stdout), tail(&read(&stderr)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs a command that has to end well, and answers its output.
    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.text());
        ended.stdout
    }

    /// `run --until-caught-up` to its good end.
    pub(crate) fn catch_up(&self) {
        let ended = self.run_within(&["run", "--until-caught-up"], CATCH_UP_LIMIT);
        assert_eq!(ended.code, Some(0), "run --until-caught-up: exit {:?}\n{}", ended.code, tail(&ended.stderr));
    }

    /// `run --until-caught-up` to whatever end.
    pub(crate) fn catch_up_somehow(&self) -> Ended {
        self.run_within(&["run", "--until-caught-up"], CATCH_UP_LIMIT)
    }

    /// `run --until-caught-up` to an end that is not good.
    pub(crate) fn catch_up_badly(&self) -> Ended {
        let ended = self.run_within(&["run", "--until-caught-up"], CATCH_UP_LIMIT);
        assert_eq!(ended.code, Some(1), "run --until-caught-up: {}", ended.text());
        ended
    }

    /// `run --until-caught-up --take-over`, however it ends.
    pub(crate) fn take_over(&self) -> Ended {
        self.run_within(&["run", "--until-caught-up", "--take-over"], CATCH_UP_LIMIT)
    }

    /// What `status --json` says.
    pub(crate) fn status(&self) -> Status {
        self.ask_status().unwrap_or_else(|ended| panic!("status --json: {}", ended.text()))
    }

    /// What `status --json` says, or how it failed: a daemon that has just started may have no state yet.
    pub(crate) fn ask_status(&self) -> Result<Status, Ended> {
        let ended = self.run(&["status", "--json"]);
        match (ended.code, serde_json::from_str(&ended.stdout)) {
            (Some(0), Ok(status)) => Ok(Status(status)),
            _ => Err(ended),
        }
    }

    /// The live files of a table's mirror.
    pub(crate) fn files(&self, table: &str) -> Vec<String> {
        self.good(&["files", table]).lines().map(str::to_owned).collect()
    }

    /// The live files of a table's changelog.
    pub(crate) fn changelog_files(&self, table: &str) -> Vec<String> {
        self.good(&["files", table, "--changelog"]).lines().map(str::to_owned).collect()
    }

    /// Whether a daemon has said this.
    pub(crate) fn has_logged(&self, words: &str) -> bool {
        std::fs::read_to_string(self.log()).unwrap().contains(words)
    }

    /// The daemon's log of all its starts.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("daemon.log")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read(self.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            eprintln!("---- {} and the end of its daemon's log ----", self.directory.display());
            eprintln!("{}", self.yaml.text(Path::new("…")));
            eprintln!("{}", log.map_or_else(|_| "no daemon was started".to_owned(), |text| tail(&text)));
        }
    }
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// The answer of `status --json`.
#[derive(Debug)]
pub(crate) struct Status(pub(crate) Value);

impl Status {
    /// Whether a daemon holds the state: an earlier one's last words say the same of the tables.
    pub(crate) fn daemon_running(&self) -> bool {
        self.0["daemon_running"] == true
    }

    /// A table's entry; None while it is unknown.
    pub(crate) fn table(&self, name: &str) -> Option<&Value> {
        let sources = self.0["sources"].as_array()?;
        sources.iter().flat_map(|source| source["tables"].as_array().into_iter().flatten()).find(|table| table["table"] == name)
    }

    /// A table's phase; empty while it is unknown.
    pub(crate) fn phase(&self, table: &str) -> &str {
        self.table(table).and_then(|entry| entry["phase"].as_str()).unwrap_or_default()
    }

    /// Why a table is parked, and what helps: in one text.
    pub(crate) fn parked(&self, table: &str) -> Option<String> {
        let entry = self.table(table)?;
        (entry["phase"] == "parked").then(|| format!("{} / {}", entry["reason"], entry["remedy"]))
    }

    /// Rows of the snapshot's finished chunks.
    pub(crate) fn snapshot_rows(&self, table: &str) -> u64 {
        self.table(table).and_then(|entry| entry["snapshot"]["rows"].as_u64()).unwrap_or_default()
    }

    /// The number of the table's last commit.
    pub(crate) fn commit(&self, table: &str) -> Option<u64> {
        self.table(table)?["committed"]["seq"].as_u64()
    }

    /// Whether all of `tables` are live.
    pub(crate) fn all_live(&self, tables: &[String]) -> bool {
        tables.iter().all(|table| self.phase(table) == "live")
    }
}
