//! What a source was before it began to fail: an outage makes honest clients fail, and when it is over they are what
//! they were.

use std::borrow::Cow;

use super::{Entry, whole_secs};
use crate::{
    record::Timestamp,
    score::policy::{Level, Policy},
};

/// An entry's values before the first of the failures that came one soon after the other.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::score) struct Before {
    /// When the first one and the latest one were, in seconds since the epoch.
    first: u32,
    latest: u32,
    failures: u32,
    half_open: u32,
    walk: f32,
    slow_walk: f32,
    level: Level,
    /// An outage makes it fail.
    pub(in crate::score) is_struck: bool,
}

// === impl Entry ===

impl Entry {
    /// It is about to fail, as of its own time, while there is an outage since then or none. Keeps what it is now,
    /// unless it failed within the outage, or the breaker's window, before. Whom an outage strikes was not suspected.
    pub(in crate::score) fn keep_before(&mut self, outage: Option<Timestamp>, policy: &Policy) {
        if self.before.is_struck {
            return;
        }
        let now = whole_secs(self.last);
        let window = policy.settings.circuit_breaker.window_secs;
        let is_over = match outage {
            Some(since) => self.before.first < whole_secs(since),
            None => u64::from(now.saturating_sub(self.before.latest)) > window,
        };
        if is_over {
            self.before = Before {
                first: now,
                latest: now,
                failures: self.failures,
                half_open: self.half_open,
                walk: self.walk,
                slow_walk: self.slow_walk,
                level: self.level,
                is_struck: false,
            };
        }
        self.before.latest = now;
        self.before.is_struck = outage.is_some() && self.before.level < Level::Alert;
    }

    /// There is no outage: it is as it was before the one that struck it, if one did.
    pub(in crate::score) fn relieve(&mut self) {
        if !std::mem::take(&mut self.before.is_struck) {
            return;
        }
        let before = self.before;
        self.failures = self.failures.min(before.failures);
        self.half_open = self.half_open.min(before.half_open);
        self.from_one_port =
            self.from_one_port.min(u16::try_from(self.half_open).unwrap_or(u16::MAX));
        self.walk = self.walk.min(before.walk);
        self.slow_walk = self.slow_walk.min(before.slow_walk);
        // What was refused meanwhile is no verdict that stands.
        if let Some(history) = self.history.as_mut().filter(|history| !history.is_silenced) {
            (history.standing, history.until) = (Level::None, None);
        }
    }

    /// The entry without what an outage holds against it.
    pub(in crate::score) fn relieved(&self) -> Cow<'_, Self> {
        if !self.before.is_struck {
            return Cow::Borrowed(self);
        }
        let mut entry = self.clone();
        entry.relieve();
        Cow::Owned(entry)
    }
}
