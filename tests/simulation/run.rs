//! Seeds, one after another and side by side: each in a thread and a runtime of its own.

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use binlake::trial::{self, Mistake};

use crate::coverage::Coverage;
use crate::stage::Stage;
use crate::violation::{Invariant, Violation};
use crate::world;

/// What must have happened five hundred times in ten thousand seeds.
pub(crate) const EXPECTED: &[&str] = &[
    "fault: refused",
    "fault: answer lost",
    "fault: half of a batch",
    "fault: late append",
    "late append landed",
    "fault: killed before a step",
    "fault: killed behind a step",
    "fault: done after all gave up",
    "fault: disconnected",
    "fault: failover",
    "fault: machine lost its power",
    "fault: hung and woke",
    "fault: lease lost",
    "load: visible later than flushed",
    "load: XA prepared",
    "mirror: split",
    "mirror: seal",
    "mirror: day frozen",
    "changelog: fold",
    "cleanup: file",
    "cleanup: log entry",
    "generation: switch",
    "snapshot: chunk read again",
    "metastore: late call",
    "metastore: shows another state",
    "table created",
    "table left out of the list",
    "take-over",
];

/// Runs one seed, with a mistake planted or as it is.
pub(crate) fn seed(seed: u64, mistake: Option<Mistake>) -> Result<Coverage, Violation> {
    staged(Stage::new(seed, false), mistake)
}

/// Runs one seed and prints each step.
pub(crate) fn shown(seed: u64) -> Result<Coverage, Violation> {
    if std::env::var_os("SIMULATION_LOG").is_some() {
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false).with_test_writer().init();
    }
    staged(Stage::new(seed, true), None)
}

fn staged(stage: Stage, mistake: Option<Mistake>) -> Result<Coverage, Violation> {
    let _simulated = trial::simulate(stage.seed());
    let _planted = mistake.map(trial::plant);
    listen();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(world::play(&stage));
    }));
    if let Some(text) = PANIC.take() {
        stage.violate(Invariant::Panicked, text);
    }
    drop(ran);
    stage.outcome()
}

thread_local! {
    /// What a panic in this thread said.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics are remembered: one in a task of a daemon's ends no more than that task.
fn listen() {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANIC.set(Some(panic.to_string()));
            before(panic);
        }));
    });
    PANIC.set(None);
}

/// Runs seeds on all processors; the answer is what all of them covered, or what the lowest seed that failed has found.
pub(crate) fn seeds(range: Range<u64>, mistake: Option<Mistake>) -> Result<Coverage, Violation> {
    let (next, failed) = (AtomicU64::new(range.start), AtomicBool::new(false));
    let total: Mutex<(Coverage, Option<Violation>)> = Mutex::default();
    let work = || {
        while !failed.load(Ordering::SeqCst) {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= range.end {
                return;
            }
            let ran = seed(number, mistake);
            let mut total = total.lock().unwrap();
            match ran {
                Ok(coverage) => total.0.add(&coverage),
                Err(violation) => {
                    failed.store(true, Ordering::SeqCst);
                    if total.1.as_ref().is_none_or(|known| violation.seed < known.seed) {
                        total.1 = Some(violation);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    match total.into_inner().unwrap() {
        (_, Some(violation)) => Err(violation),
        (coverage, None) => Ok(coverage),
    }
}
