//! How a table's phase and its capture change: each step is a method that takes the old state and refuses what does not follow.
//!
//! The invariant: `paused` and `parked` keep the working phase they interrupt, never one another more than once, so a state is at
//! most three deep (`parked` over `paused` over a working phase) and `resume` always leads back to a working phase.

use std::fmt;

use super::{CaptureState, Parked, Phase};
use crate::change::Cut;

/// A step that does not follow from where the table stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhaseError {
    /// The step belongs to another phase.
    #[error("a table that is {from} cannot become {to}")]
    Step {
        /// Where it stands.
        from: &'static str,
        /// Where it should have gone.
        to: &'static str,
    },
    /// `resume` does not help.
    #[error("{reason}; {remedy}")]
    NotResumable {
        /// Why it is parked.
        reason: String,
        /// What helps.
        remedy: String,
    },
}

impl Phase {
    /// The phase's name as people and scripts read it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Snapshotting => "snapshotting",
            Self::CatchingUp { .. } => "catching_up",
            Self::Live { .. } => "live",
            Self::Paused { .. } => "paused",
            Self::Parked { .. } => "parked",
        }
    }

    /// The working phase: this one, or the one that a pause or a park interrupted.
    pub fn working(&self) -> &Self {
        let mut phase = self;
        loop {
            match phase {
                Self::Pending | Self::Snapshotting | Self::CatchingUp { .. } | Self::Live { .. } => return phase,
                Self::Paused { before } | Self::Parked { before, .. } => phase = before,
            }
        }
    }

    /// Whether workers run for the table.
    pub fn is_working(&self) -> bool {
        match self {
            Self::Pending | Self::Snapshotting | Self::CatchingUp { .. } | Self::Live { .. } => true,
            Self::Paused { .. } | Self::Parked { .. } => false,
        }
    }

    /// The handoff, once all chunks are in; also of a table that stands still.
    pub fn handoff(&self) -> Option<Cut> {
        match self.working() {
            Self::CatchingUp { handoff } | Self::Live { handoff } => Some(*handoff),
            Self::Pending | Self::Snapshotting | Self::Paused { .. } | Self::Parked { .. } => None,
        }
    }

    /// Why the table is parked; None when it is not.
    pub fn parked(&self) -> Option<&Parked> {
        match self {
            Self::Parked { parked, .. } => Some(parked),
            Self::Pending | Self::Snapshotting | Self::CatchingUp { .. } | Self::Live { .. } | Self::Paused { .. } => None,
        }
    }

    /// Chunks begin to be read.
    pub fn started(self) -> Result<Self, PhaseError> {
        match self {
            Self::Pending => Ok(Self::Snapshotting),
            Self::Snapshotting | Self::CatchingUp { .. } | Self::Live { .. } | Self::Paused { .. } | Self::Parked { .. } => {
                Err(self.refuse("snapshotting"))
            }
        }
    }

    /// All chunks are in; `handoff` is the highest `high` of them.
    pub fn snapshotted(self, handoff: Cut) -> Result<Self, PhaseError> {
        match self {
            Self::Snapshotting => Ok(Self::CatchingUp { handoff }),
            Self::Pending | Self::CatchingUp { .. } | Self::Live { .. } | Self::Paused { .. } | Self::Parked { .. } => {
                Err(self.refuse("catching_up"))
            }
        }
    }

    /// The lake has passed the handoff.
    pub fn went_live(self) -> Result<Self, PhaseError> {
        match self {
            Self::CatchingUp { handoff } => Ok(Self::Live { handoff }),
            Self::Pending | Self::Snapshotting | Self::Live { .. } | Self::Paused { .. } | Self::Parked { .. } => {
                Err(self.refuse("live"))
            }
        }
    }

    /// The operator stops the table.
    pub fn pause(self) -> Result<Self, PhaseError> {
        match self {
            Self::Pending | Self::Snapshotting | Self::CatchingUp { .. } | Self::Live { .. } => {
                Ok(Self::Paused { before: Box::new(self) })
            }
            Self::Paused { .. } | Self::Parked { .. } => Err(self.refuse("paused")),
        }
    }

    /// The table cannot be kept right. Parking never fails; of two reasons the first is kept, for it is the cause, unless only the
    /// newer one rules out `resume`: what needs a rebuild once, needs it for good.
    pub fn park(self, parked: Parked) -> Self {
        match self {
            Self::Parked { parked: older, before } => {
                let kept = if older.resumable && !parked.resumable { parked } else { older };
                Self::Parked { parked: kept, before }
            }
            Self::Pending | Self::Snapshotting | Self::CatchingUp { .. } | Self::Live { .. } | Self::Paused { .. } => {
                Self::Parked { parked, before: Box::new(self) }
            }
        }
    }

    /// A paused or parked table goes on in its working phase.
    ///
    /// # Errors
    /// [`PhaseError::NotResumable`] with the remedy when only a rebuild helps; [`PhaseError::Step`] when the table works already.
    pub fn resume(self) -> Result<Self, PhaseError> {
        match self {
            Self::Parked { parked, .. } if !parked.resumable => {
                Err(PhaseError::NotResumable { reason: parked.reason, remedy: parked.remedy })
            }
            Self::Paused { before } | Self::Parked { before, .. } => Ok(before.working().clone()),
            Self::Pending | Self::Snapshotting | Self::CatchingUp { .. } | Self::Live { .. } => Err(self.refuse("resumed")),
        }
    }

    fn refuse(&self, to: &'static str) -> PhaseError {
        PhaseError::Step { from: self.name(), to }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl CaptureState {
    /// The state's name as people read it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::On { .. } => "on",
            Self::Ended { .. } => "ended",
        }
    }

    /// The cut behind which changes are captured, once it is taken.
    pub fn since(&self) -> Option<Cut> {
        match self {
            Self::Wanted => None,
            Self::On { since } | Self::Ended { since, .. } => Some(*since),
        }
    }

    /// Capture begins. `since` is taken once, so this is refused ever after.
    pub fn began(self, since: Cut) -> Result<Self, PhaseError> {
        match self {
            Self::Wanted => Ok(Self::On { since }),
            Self::On { .. } | Self::Ended { .. } => Err(PhaseError::Step { from: self.name(), to: "on" }),
        }
    }

    /// Capture ends at `until`. Ended before: the earlier end counts, for nothing behind it is in the log.
    pub fn ended(self, until: Cut) -> Result<Self, PhaseError> {
        match self {
            Self::On { since } => Ok(Self::Ended { since, until: until.max(since) }),
            Self::Ended { since, until: earlier } => Ok(Self::Ended { since, until: earlier.min(until.max(since)) }),
            Self::Wanted => Err(PhaseError::Step { from: "wanted", to: "ended" }),
        }
    }

    /// Capture goes on: the stream is read again from `from`, which must not lie behind the end.
    pub fn continued(self, from: Cut) -> Result<Self, PhaseError> {
        match self {
            Self::Ended { since, until } if from <= until => Ok(Self::On { since }),
            Self::Ended { .. } => Err(PhaseError::Step { from: "ended before the stream's start", to: "on" }),
            Self::On { .. } | Self::Wanted => Err(PhaseError::Step { from: self.name(), to: "on again" }),
        }
    }
}

impl fmt::Display for CaptureState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::BinlogPosition;

    fn cut(offset: u64) -> Cut {
        Cut(BinlogPosition { epoch: 0, file: 1, offset })
    }

    fn why(resumable: bool) -> Parked {
        Parked { reason: format!("resumable {resumable}"), remedy: "rebuild it".to_owned(), resumable, at_ms: 1 }
    }

    #[test]
    fn the_way_of_a_table_and_its_names() {
        let phase = Phase::Pending.started().unwrap();
        assert_eq!(phase.to_string(), "snapshotting");
        let phase = phase.snapshotted(cut(9)).unwrap();
        assert_eq!((phase.name(), phase.handoff()), ("catching_up", Some(cut(9))));
        let phase = phase.went_live().unwrap();
        assert_eq!((phase.name(), phase.handoff()), ("live", Some(cut(9))));
        assert_eq!(Phase::Pending.name(), "pending");
    }

    #[test]
    fn no_step_can_be_left_out_or_taken_twice() {
        assert!(Phase::Pending.snapshotted(cut(1)).is_err());
        assert!(Phase::Snapshotting.went_live().is_err());
        assert!(Phase::Live { handoff: cut(1) }.went_live().is_err());
        assert!(Phase::CatchingUp { handoff: cut(1) }.snapshotted(cut(2)).is_err());
        assert!(Phase::Snapshotting.started().is_err());
        assert!(Phase::Snapshotting.pause().unwrap().snapshotted(cut(1)).is_err());
        assert_eq!(
            Phase::Live { handoff: cut(1) }.resume(),
            Err(PhaseError::Step { from: "live", to: "resumed" }),
            "a working table has nothing to resume"
        );
    }

    #[test]
    fn resume_leads_back_to_the_working_phase_through_pause_and_park() {
        let live = Phase::Live { handoff: cut(3) };
        let parked = live.clone().pause().unwrap().park(why(true));
        assert_eq!((parked.name(), parked.handoff()), ("parked", Some(cut(3))));
        assert!(!parked.is_working() && parked.clone().pause().is_err());
        assert_eq!(parked.resume().unwrap(), live);
    }

    #[test]
    fn a_reason_that_needs_a_rebuild_is_never_covered_by_a_milder_one() {
        let phase = Phase::Snapshotting.park(why(false)).park(why(true));
        assert_eq!(phase.parked(), Some(&why(false)));
        assert!(matches!(phase.resume(), Err(PhaseError::NotResumable { .. })));
        assert_eq!(Phase::Snapshotting.park(why(true)).park(why(false)).parked(), Some(&why(false)));
        let second = Parked { reason: "second".to_owned(), ..why(true) };
        assert_eq!(Phase::Snapshotting.park(why(true)).park(second).parked(), Some(&why(true)), "the first is the cause");
    }

    #[test]
    fn phases_survive_their_documents() {
        let phase = Phase::CatchingUp { handoff: cut(4) }.pause().unwrap().park(why(true));
        let text = serde_json::to_string(&phase).unwrap();
        assert_eq!(serde_json::from_str::<Phase>(&text).unwrap(), phase, "{text}");
    }

    #[test]
    fn capture_begins_once_and_goes_on_only_without_a_hole() {
        let on = CaptureState::Wanted.began(cut(10)).unwrap();
        assert!(on.clone().began(cut(20)).is_err());
        let ended = on.ended(cut(30)).unwrap();
        assert_eq!(ended.clone().ended(cut(40)).unwrap(), ended, "the earlier end counts");
        assert!(ended.clone().continued(cut(31)).is_err());
        assert_eq!(ended.continued(cut(30)).unwrap(), CaptureState::On { since: cut(10) });
    }
}
