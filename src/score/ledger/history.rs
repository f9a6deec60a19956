//! What was decided about a source: few have any, so it is kept apart.

use super::seconds;
use crate::{
    record::{Action, Id, Timestamp},
    score::policy::Level,
};

/// When a record was made, in seconds since the epoch (0: never), and the evidence then.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::score) struct Told {
    pub(in crate::score) secs: u32,
    pub(in crate::score) evidence: f32,
}

/// What was decided about a source, and its sessions.
#[derive(Debug, Clone, Default)]
pub(in crate::score) struct History {
    /// Offences as of `offended`, which fade.
    pub(in crate::score) offences: f64,
    pub(in crate::score) offended: Option<Timestamp>,
    /// What stands until when.
    pub(in crate::score) standing: Level,
    pub(in crate::score) until: Option<Timestamp>,
    /// The verdict that was put in force last, until the source has calmed down.
    pub(in crate::score) verdict: Option<Id>,
    /// Whether what stands drops all that the source sends.
    pub(in crate::score) is_silenced: bool,
    /// For each action: when a record was made, and the evidence then.
    pub(in crate::score) told: [Told; Action::ALL.len()],
    /// When its open sessions with admin ports began.
    pub(in crate::score) sessions: Vec<Timestamp>,
    /// It is from before a restart: what stands is yet to be confirmed by the store.
    pub(in crate::score) is_restored: bool,
}

// === impl History ===

impl History {
    /// Offences as far as they are remembered at `now`.
    pub(in crate::score) fn offences_at(&self, now: Timestamp, half_life_secs: u64) -> f64 {
        let Some(offended) = self.offended else { return 0.0 };
        let half_lives = f64::from(seconds(now.since(offended))) / whole_secs(half_life_secs);
        self.offences * (-half_lives).exp2()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a half-life needs no more than 15 digits")]
fn whole_secs(secs: u64) -> f64 {
    secs.max(1) as f64
}
