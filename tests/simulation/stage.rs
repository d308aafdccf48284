//! Where a seed plays: its dice, its steps, what it has found, and the lives of its daemons.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use binlake::change::Clock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::coverage::Coverage;
use crate::oracle::Oracle;
use crate::violation::{Invariant, Violation};

/// What a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Goes,
    /// It goes through so many milliseconds later.
    Slow(u64),
    /// Nothing was done, and the caller hears of a failure.
    Refused,
    /// It was done, and the caller hears of a failure.
    AnswerLost,
    /// No answer ever comes; it is done so many milliseconds later.
    Late(u64),
    /// The process dies before it was done.
    KilledBefore,
    /// The process dies right behind it.
    KilledBehind,
    /// The process hangs before it.
    Hangs,
}

/// How a daemon ends, as a step of it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Killed,
    Hung,
}

/// A call that may change something durable or visible, or one that only looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub name: &'static str,
    pub changes: bool,
    /// Its request may be done after the caller has given up, or died.
    pub late: bool,
}

/// A step that changes something.
pub(crate) const fn change(name: &'static str) -> Step {
    Step { name, changes: true, late: false }
}

/// A call that only looks.
pub(crate) const fn look(name: &'static str) -> Step {
    Step { name, changes: false, late: false }
}

/// Everything of a seed but the rooms.
pub(crate) struct Scene {
    pub dice: StdRng,
    /// How often a step meets a fault.
    pub trouble: f64,
    /// No faults any more.
    pub calm: bool,
    pub coverage: Coverage,
    pub oracle: Oracle,
    /// What a step wants of the daemon with this number.
    pub ending: Option<(u32, Ending)>,
    seed: u64,
    steps: u64,
    trace: u64,
    shown: bool,
    started: Option<Instant>,
    violation: Option<Violation>,
}

impl Scene {
    pub(crate) fn chance(&mut self, chance: f64) -> bool {
        self.dice.random_bool(chance)
    }

    pub(crate) fn between(&mut self, from: u64, until: u64) -> u64 {
        self.dice.random_range(from..until)
    }

    /// Milliseconds since the seed began.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.started.map_or(0, |started| started.elapsed().as_millis() as u64)
    }

    /// A step is over: it is counted, remembered, and the world is looked at.
    pub(crate) fn stepped(&mut self, life: u32, name: &str, detail: &fmt::Arguments<'_>) {
        self.steps += 1;
        self.note(life, name, detail);
        if let Err((invariant, detail)) = self.oracle.check(&mut self.coverage) {
            self.violate(invariant, detail);
        }
    }

    /// Something that is no step, and yet tells one way from another.
    pub(crate) fn note(&mut self, life: u32, name: &str, detail: &fmt::Arguments<'_>) {
        let elapsed = self.elapsed_ms();
        let mut hash = Fingerprint(self.trace);
        hash.add(&elapsed.to_le_bytes());
        hash.add(&life.to_le_bytes());
        hash.add(name.as_bytes());
        fmt::Write::write_fmt(&mut hash, *detail).unwrap();
        self.trace = hash.0;
        if self.shown {
            println!("{:>5} {:>7} ms  daemon {life}  {name} {detail}", self.steps, elapsed);
        }
    }

    pub(crate) fn violate(&mut self, invariant: Invariant, detail: String) {
        if self.violation.is_none() {
            if self.shown {
                println!("VIOLATION {invariant:?}: {detail}");
            }
            self.violation = Some(Violation { invariant, seed: self.seed, step: self.steps, detail });
        }
    }

    pub(crate) fn is_violated(&self) -> bool {
        self.violation.is_some()
    }

    fn fate(&mut self, step: Step) -> Fate {
        if self.calm {
            return Fate::Goes;
        }
        let drawn = self.dice.random_range(0.0..1.0);
        if drawn >= self.trouble {
            return match drawn < self.trouble + 0.1 {
                true => Fate::Slow(self.between(1, 30)),
                false => Fate::Goes,
            };
        }
        let kind = (drawn / self.trouble * 100.0) as u32;
        let fate = match (step.changes, kind) {
            (_, 0..=29) => Fate::Refused,
            (false, _) => Fate::Slow(self.between(1, 300)),
            (true, 30..=57) => Fate::AnswerLost,
            (true, 76..) if step.late => Fate::Late(self.between(1, 70_000)),
            (true, 58..=67) => Fate::KilledBefore,
            (true, 68..=77) => Fate::KilledBehind,
            (true, 78..=83) => Fate::Hangs,
            (true, _) => Fate::Slow(self.between(1, 2_000)),
        };
        self.coverage.count(match fate {
            Fate::Goes | Fate::Slow(_) => "fault: slow",
            Fate::Refused => "fault: refused",
            Fate::AnswerLost => "fault: answer lost",
            Fate::Late(_) => "fault: done after all gave up",
            Fate::KilledBefore => "fault: killed before a step",
            Fate::KilledBehind => "fault: killed behind a step",
            Fate::Hangs => "fault: hung",
        });
        fate
    }
}

/// FNV-1a.
struct Fingerprint(u64);

impl Fingerprint {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Write for Fingerprint {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

/// A handle to a seed's stage.
#[derive(Clone)]
pub(crate) struct Stage {
    scene: Arc<Mutex<Scene>>,
    /// Called when the driver of the world has to look.
    pub wake: Arc<Notify>,
}

impl Stage {
    pub(crate) fn new(seed: u64, shown: bool) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let trouble = [0.0, 0.01, 0.02, 0.04, 0.08][dice.random_range(0..5)];
        let scene = Scene {
            oracle: Oracle::new(),
            dice,
            trouble,
            calm: false,
            coverage: Coverage::default(),
            ending: None,
            seed,
            steps: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            shown,
            started: None,
            violation: None,
        };
        Self { scene: Arc::new(Mutex::new(scene)), wake: Arc::default() }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.scene().seed
    }

    pub(crate) fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn begin(&self) {
        self.scene().started = Some(Instant::now());
    }

    pub(crate) fn violate(&self, invariant: Invariant, detail: String) {
        self.scene().violate(invariant, detail);
        self.wake.notify_one();
    }

    /// A step of the world, or one that a room has taken.
    pub(crate) fn stepped(&self, life: u32, name: &str, detail: &fmt::Arguments<'_>) {
        let mut scene = self.scene();
        scene.stepped(life, name, detail);
        let violated = scene.is_violated();
        drop(scene);
        if violated {
            self.wake.notify_one();
        }
    }

    pub(crate) fn outcome(&self) -> Result<Coverage, Violation> {
        let scene = self.scene();
        match &scene.violation {
            Some(violation) => Err(violation.clone()),
            None => Ok(Coverage { steps: vec![scene.steps], trace: scene.trace, ..scene.coverage.clone() }),
        }
    }
}

/// The time of a seed: that of its runtime, which stands still while anything can be done.
#[derive(Debug)]
pub(crate) struct SeedClock(Instant);

/// When every seed begins.
pub(crate) const BEGIN_MS: u64 = 1_700_000_000_000;

impl SeedClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SeedClock {
    fn now_ms(&self) -> u64 {
        BEGIN_MS + self.0.elapsed().as_millis() as u64
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulse {
    Beats,
    /// SIGSTOP: nothing is done, and everything that was on its way goes on when it wakes.
    Stands,
    Dead,
}

/// One daemon's life: all that it does to the rooms passes here.
#[derive(Clone)]
pub(crate) struct Life {
    pub number: u32,
    pub stage: Stage,
    /// It meets no faults.
    steady: bool,
    pulse: Arc<Mutex<Pulse>>,
    wakes: Arc<Notify>,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "daemon {}", self.number)
    }
}

impl Life {
    /// A life without faults: of a reader.
    pub(crate) fn steady(stage: &Stage) -> Self {
        Self { steady: true, ..Self::new(0, stage) }
    }

    pub(crate) fn new(number: u32, stage: &Stage) -> Self {
        Self { steady: false, number, stage: stage.clone(), pulse: Arc::new(Mutex::new(Pulse::Beats)), wakes: Arc::default() }
    }

    /// Nothing that this daemon still wants to do is done any more.
    pub(crate) fn end(&self) {
        *self.pulse.lock().unwrap() = Pulse::Dead;
    }

    pub(crate) fn stop(&self) {
        *self.pulse.lock().unwrap() = Pulse::Stands;
    }

    pub(crate) fn wake(&self) {
        *self.pulse.lock().unwrap() = Pulse::Beats;
        self.wakes.notify_waiters();
    }

    /// Waits while the process stands still; does not come back when it is dead.
    pub(crate) async fn beats(&self) {
        loop {
            let wakes = self.wakes.notified();
            let now = *self.pulse.lock().unwrap();
            match now {
                Pulse::Beats => return,
                Pulse::Dead => std::future::pending().await,
                Pulse::Stands => wakes.await,
            }
        }
    }

    /// What the next call meets; a process that is to hang or to die does so here.
    pub(crate) async fn fate(&self, step: Step) -> Fate {
        self.beats().await;
        if self.steady {
            return Fate::Goes;
        }
        let fate = self.stage.scene().fate(step);
        match fate {
            Fate::Slow(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.beats().await;
                Fate::Goes
            }
            Fate::Hangs => {
                self.stop();
                self.want(Ending::Hung, step);
                self.beats().await;
                Fate::Goes
            }
            Fate::KilledBefore => self.die(step).await,
            fate => fate,
        }
    }

    pub(crate) async fn die<T>(&self, step: Step) -> T {
        self.end();
        self.want(Ending::Killed, step);
        std::future::pending().await
    }

    fn want(&self, ending: Ending, step: Step) {
        let mut scene = self.stage.scene();
        scene.ending = Some((self.number, ending));
        scene.note(self.number, step.name, &format_args!("{ending:?}"));
        drop(scene);
        self.stage.wake.notify_one();
    }

    /// Does a call of a room, or what its fate wants instead.
    pub(crate) async fn act<T, E>(
        &self,
        step: Step,
        detail: &str,
        fault: impl Fn(&'static str) -> E,
        doubt: impl FnOnce(),
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let fate = self.fate(step).await;
        if matches!(fate, Fate::AnswerLost | Fate::KilledBehind) {
            // Nobody hears of it: a crash of the machine may take it back.
            doubt();
        }
        let outcome = match fate {
            Fate::Refused => Err(fault("refused")),
            Fate::AnswerLost => work.await.and(Err(fault("the answer was lost"))),
            _ => work.await,
        };
        if step.changes {
            let ok = outcome.is_ok();
            self.stage.stepped(self.number, step.name, &format_args!("{detail} {fate:?} {ok}"));
        }
        match fate {
            Fate::KilledBehind => self.die(step).await,
            _ => outcome,
        }
    }
}
