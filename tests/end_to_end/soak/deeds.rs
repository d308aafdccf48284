//! What goes wrong in a long run, and what an operator does meanwhile.

use std::time::Duration;

use binlake::trial::at;
use rand::RngExt;
use rand::rngs::StdRng;

use super::Soak;
use crate::daemon::Daemon;
use crate::proxy::{Direction, Weather};

/// How long bad weather lasts, in milliseconds.
const SPELL: std::ops::Range<u64> = 500..8000;

/// Points that a daemon of live tables comes by.
const POINTS: [&str; 5] = [at::ACKNOWLEDGED, at::PUBLISHED, at::UPLOADED, at::COMMITTED, at::BEFORE_RELEASE];

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    KillDaemon,
    DieAt(&'static str),
    StopDaemon,
    KillServer,
    RestartServer,
    KillBoth,
    Cut,
    Mute(Direction),
    Spell(Weather),
    Rebuild(&'static str),
    NewBinlog,
}

impl Deed {
    pub(super) fn draw(dice: &mut StdRng) -> Self {
        match dice.random_range(0..100) {
            0..15 => Self::KillDaemon,
            15..35 => Self::DieAt(POINTS[dice.random_range(0..POINTS.len())]),
            35..40 => Self::StopDaemon,
            40..50 => Self::KillServer,
            50..54 => Self::RestartServer,
            54..60 => Self::KillBoth,
            60..70 => Self::Cut,
            70..74 => Self::Mute(Direction::ToServer),
            74..78 => Self::Mute(Direction::FromServer),
            78..81 => Self::Spell(Weather::Stalled),
            81..85 => Self::Spell(Weather::Refusing),
            85..88 => Self::Spell(Weather::Slow(Duration::from_millis(50))),
            88..92 => Self::Rebuild("bank.accounts"),
            92..96 => Self::Rebuild("soak.composite"),
            _ => Self::NewBinlog,
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KillDaemon => "`kill -9` of the daemon",
            Self::DieAt(_) => "`kill -9` of the daemon, and again at a named point",
            Self::StopDaemon => "SIGTERM of the daemon, and another start",
            Self::KillServer => "`kill -9` of MySQL",
            Self::RestartServer => "MySQL stopped and started",
            Self::KillBoth => "`kill -9` of both",
            Self::Cut => "all connections cut",
            Self::Mute(Direction::ToServer) => "connections mute towards MySQL",
            Self::Mute(Direction::FromServer) => "connections mute towards binlake",
            Self::Spell(Weather::Refusing) => "connections refused for seconds",
            Self::Spell(Weather::Stalled) => "network stalled for seconds",
            Self::Spell(Weather::Fair | Weather::Slow(_)) => "network slow for seconds",
            Self::Rebuild(_) => "rebuild of a table",
            Self::NewBinlog => "FLUSH BINARY LOGS, three times",
        }
    }

    /// Does it; answers the daemon that runs afterwards.
    pub(super) async fn happens<'a>(self, soak: &'a Soak, mut daemon: Daemon<'a>, dice: &mut StdRng) -> Daemon<'a> {
        match self {
            Self::KillDaemon => {
                daemon.kill();
                return Daemon::start(&soak.scene);
            }
            Self::DieAt(point) => {
                daemon.kill();
                Daemon::die_at(&soak.scene, point, dice.random_range(1..10));
                return Daemon::start(&soak.scene);
            }
            Self::StopDaemon => {
                daemon.stop();
                return Daemon::start(&soak.scene);
            }
            Self::KillServer => {
                soak.server.kill();
                soak.server.start_again();
            }
            Self::RestartServer => {
                soak.server.stop();
                soak.server.start_again();
            }
            Self::KillBoth => {
                soak.server.kill();
                daemon.kill();
                let daemon = Daemon::start(&soak.scene);
                soak.server.start_again();
                return daemon;
            }
            Self::Cut => soak.proxy.cut(),
            Self::Mute(direction) => soak.proxy.mute(direction),
            Self::Spell(weather) => {
                soak.proxy.set(weather);
                tokio::time::sleep(Duration::from_millis(dice.random_range(SPELL))).await;
                soak.proxy.set(Weather::Fair);
            }
            Self::Rebuild(table) => rebuild(soak, &mut daemon, table),
            Self::NewBinlog => soak.server.execute(&["FLUSH BINARY LOGS"; 3]).await,
        }
        daemon
    }
}

/// A rebuild under the running daemon, until readers see the new generation.
fn rebuild(soak: &Soak, daemon: &mut Daemon<'_>, table: &str) {
    let generation = || soak.scene.files(table)[0].split('/').find_map(|part| part.strip_prefix('g')?.parse::<u32>().ok());
    let before = generation();
    soak.scene.good(&["rebuild", table]);
    daemon.wait_for("a new generation", |status| status.phase(table) == "live" && generation() > before);
}
