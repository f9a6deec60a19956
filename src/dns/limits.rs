//! How fast resolvers are asked, and when they are left in peace.

use std::time::{Duration, Instant};

/// Questions in a row without any answer after which a resolver is taken to be gone.
const MAX_UNANSWERED: u32 = 16;
/// How long it is left in peace at first; twice as long each time it is still gone.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// And at most. Short, for the silence may be that of some zones alone, which an attacker may own.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A token bucket: `rate` questions a second, and as many at once after a quiet second.
#[derive(Debug)]
pub(super) struct Rate {
    interval: Duration,
    burst: Duration,
    /// When the bucket is full; further ahead than `burst` it is empty.
    full: Option<Instant>,
}

/// Whether a resolver answers at all.
#[derive(Debug)]
pub(super) enum Health {
    /// As far as is known; the questions in a row that went unanswered.
    Up(u32),
    /// It is left in peace.
    Down {
        /// Until then.
        until: Instant,
        /// For so long next time.
        pause: Duration,
        /// Whether the one question is out that tries it again.
        trying: bool,
    },
}

/// What a resolver's health allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Ask, and wait for the answer.
    Ask,
    /// Ask to see whether it is back, but let nothing wait for it.
    Try,
    /// Don't ask.
    Suspended,
}

// === impl Rate ===

impl Rate {
    pub(super) fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: Duration::from_secs(1).max(interval), full: None }
    }

    /// Whether as many tokens are there, and one more.
    pub(super) fn has_more_than(&self, taken: usize, now: Instant) -> bool {
        let taken = self.interval.saturating_mul(u32::try_from(taken).unwrap_or(u32::MAX));
        let free = (now + self.burst).saturating_duration_since(self.full.unwrap_or(now).max(now));
        free >= taken.saturating_add(self.interval)
    }

    /// Takes a token, or says when there will be one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full = self.full.unwrap_or(now).max(now) + self.interval;
        match full.checked_duration_since(now + self.burst) {
            Some(missing) if !missing.is_zero() => Err(now + missing),
            _ => {
                self.full = Some(full);
                Ok(())
            }
        }
    }
}

// === impl Health ===

impl Health {
    pub(super) const UP: Self = Self::Up(0);

    /// What may be done now.
    pub(super) fn leave(&mut self, now: Instant) -> Leave {
        match self {
            Self::Up(_) => Leave::Ask,
            Self::Down { until, trying, .. } if *until <= now && !*trying => {
                *trying = true;
                Leave::Try
            }
            Self::Down { .. } => Leave::Suspended,
        }
    }

    /// It answered, were it only to refuse.
    pub(super) fn answered(&mut self) {
        *self = Self::UP;
    }

    /// A question went unanswered. True if it is taken to be gone from here on.
    pub(super) fn unanswered(&mut self, now: Instant) -> bool {
        match self {
            Self::Up(unanswered) if *unanswered + 1 < MAX_UNANSWERED => {
                *unanswered += 1;
                false
            }
            Self::Up(_) => {
                *self = Self::down(now, FIRST_PAUSE);
                true
            }
            Self::Down { pause, trying: true, .. } => {
                *self = Self::down(now, *pause);
                false
            }
            Self::Down { .. } => false,
        }
    }

    fn down(now: Instant, pause: Duration) -> Self {
        Self::Down { until: now + pause, pause: (pause * 2).min(LONGEST_PAUSE), trying: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn a_burst_of_one_second_passes_and_then_the_rate() {
        let (mut rate, now) = (Rate::new(10), start());
        assert!(rate.has_more_than(9, now) && !rate.has_more_than(10, now));
        assert_eq!((0..20).filter(|_| rate.take(now).is_ok()).count(), 10);
        assert!(!rate.has_more_than(0, now));
        assert_eq!(rate.take(now), Err(now + 100 * MS));
        assert_eq!(rate.take(now + 100 * MS), Ok(()));
        assert!(rate.take(now + 100 * MS).is_err());
        let later = now + Duration::from_hours(1);
        assert_eq!((0..20).filter(|_| rate.take(later).is_ok()).count(), 10);
    }

    #[test]
    fn a_resolver_that_never_answers_is_tried_once_a_pause_and_comes_back() {
        let (mut health, now) = (Health::UP, start());
        for _ in 1..MAX_UNANSWERED {
            assert!(!health.unanswered(now));
            assert_eq!(health.leave(now), Leave::Ask);
        }
        assert!(health.unanswered(now));
        assert_eq!(health.leave(now), Leave::Suspended);
        let again = now + FIRST_PAUSE;
        assert_eq!(health.leave(again), Leave::Try);
        assert_eq!(health.leave(again), Leave::Suspended);
        assert!(!health.unanswered(again));
        assert_eq!(health.leave(again + FIRST_PAUSE), Leave::Suspended);
        assert_eq!(health.leave(again + 2 * FIRST_PAUSE), Leave::Try);
        health.answered();
        assert_eq!(health.leave(again), Leave::Ask);
    }

    #[test]
    fn the_pause_has_an_end() {
        let (mut health, mut now) = (Health::UP, start());
        for _ in 0..MAX_UNANSWERED {
            health.unanswered(now);
        }
        for _ in 0..20 {
            now += LONGEST_PAUSE;
            assert_eq!(health.leave(now), Leave::Try);
            health.unanswered(now);
        }
    }
}
