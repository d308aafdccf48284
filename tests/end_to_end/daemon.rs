//! A running `binlake run`: started, watched through `status --json`, stopped in order or killed.

use std::fs::OpenOptions;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::scene::{LOOK_INTERVAL, Scene, Status};

/// How long any state may take to come.
const STATE_LIMIT: Duration = Duration::from_secs(300);

/// How long SIGTERM may take: ten seconds by contract, and some for a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A daemon of a scene.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    scene: &'a Scene,
    child: Child,
    ended: bool,
}

impl<'a> Daemon<'a> {
    /// Starts it; it is not ready for anything yet.
    pub(crate) fn start(scene: &'a Scene) -> Self {
        Self::start_with(scene, None)
    }

    /// Starts it, and waits until it has died at the `passage`-th passage of a named point, and nowhere else.
    pub(crate) fn die_at(scene: &Scene, point: &str, passage: u64) {
        let written = std::fs::metadata(scene.log()).map_or(0, |log| log.len()) as usize;
        let mut daemon = Daemon::start_with(scene, Some(("BINLAKE_DIE_AT", &format!("{point}:{passage}"))));
        let deadline = Instant::now() + STATE_LIMIT;
        while daemon.runs() {
            assert!(Instant::now() < deadline, "the daemon has not come {passage} times to {point} within {STATE_LIMIT:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon.ended = true;
        let log = std::fs::read(scene.log()).unwrap();
        let last = String::from_utf8_lossy(&log[written..]);
        assert!(
            last.contains(&format!("BINLAKE_DIE_AT: died at {point}\n")),
            "it did not die at {point}, but like this:\n{last}"
        );
    }

    fn start_with(scene: &'a Scene, variable: Option<(&str, &str)>) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(scene.log()).unwrap();
        let child = scene.command(&["run"]).envs(variable).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        std::fs::write(scene.path("daemon.pid"), child.id().to_string()).unwrap();
        Self { scene, child, ended: false }
    }

    /// Waits for a state that `status --json` shows.
    pub(crate) fn wait_for(&mut self, what: &str, reached: impl FnMut(&Status) -> bool) -> Status {
        self.wait_long_for(STATE_LIMIT, what, reached)
    }

    /// Waits for a state that may take longer than others.
    pub(crate) fn wait_long_for(&mut self, limit: Duration, what: &str, mut reached: impl FnMut(&Status) -> bool) -> Status {
        let deadline = Instant::now() + limit;
        loop {
            let asked = self.scene.ask_status();
            match asked {
                Ok(status) if reached(&status) => return status,
                _ => {}
            }
            if let Some(ended) = self.child.try_wait().unwrap() {
                self.ended = true;
                panic!("the daemon ended ({ended}) while the test waited for {what}");
            }
            assert!(Instant::now() < deadline, "no {what} within {limit:?}: {asked:?}");
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Waits until all these tables are live again: they may be parked at first.
    pub(crate) fn wait_live_again(&mut self, tables: &[String]) {
        self.wait_for("live tables", |status| status.daemon_running() && status.all_live(tables));
    }

    /// Waits until all these tables are live; none may park on the way.
    pub(crate) fn wait_live(&mut self, tables: &[String]) {
        self.wait_for("live tables", |status| {
            for table in tables {
                if let Some(reason) = status.parked(table) {
                    panic!("{table} is parked: {reason}");
                }
            }
            status.daemon_running() && status.all_live(tables)
        });
    }

    /// Waits until a table is parked, and answers reason and remedy in one text.
    pub(crate) fn wait_parked(&mut self, table: &str) -> String {
        self.wait_for("parked table", |status| status.phase(table) == "parked").parked(table).unwrap()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, at this very moment.
    pub(crate) fn kill(mut self) {
        assert!(self.runs(), "the daemon had ended by itself");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.ended = true;
    }

    /// SIGTERM; it has to end well, and in time.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let deadline = Instant::now() + STOP_LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the daemon did not end within {STOP_LIMIT:?} of SIGTERM");
            std::thread::sleep(Duration::from_millis(20));
        };
        self.ended = true;
        assert!(status.success(), "the daemon ended with {status} after SIGTERM");
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if !self.ended && self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}
