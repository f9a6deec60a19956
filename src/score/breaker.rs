//! The circuit breaker: when clients no longer reach what they reached before, it is the network that
//! fails, or the sensor sees half of it, and nobody is blocked for that.

use super::{settings::CircuitBreaker, window::Window};
use crate::record::Timestamp;

const SLOTS: usize = 6;
const NANOS: u64 = 1_000_000_000;

/// Handshakes of clients with what had worked before.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    tried: Window<SLOTS>,
    failed: Window<SLOTS>,
}

// === impl Breaker ===

impl Breaker {
    /// Counts a handshake with what had worked before.
    pub(super) fn count(&mut self, succeeded: bool, now: Timestamp, settings: &CircuitBreaker) {
        let slot = slot_nanos(settings);
        self.tried.add(now, slot, 1);
        if !succeeded {
            self.failed.add(now, slot, 1);
        }
    }

    /// Whether no new verdicts are to be made: then the share that succeeded.
    pub(super) fn is_open(&mut self, now: Timestamp, settings: &CircuitBreaker) -> Option<f64> {
        let slot = slot_nanos(settings);
        let (tried, failed) = (self.tried.sum(now, slot), self.failed.sum(now, slot));
        if !settings.enabled || tried < settings.min_attempts.max(1) {
            return None;
        }
        let succeeded = f64::from(tried.saturating_sub(failed)) / f64::from(tried);
        (succeeded < settings.min_success).then_some(succeeded)
    }
}

fn slot_nanos(settings: &CircuitBreaker) -> u64 {
    settings.window_secs.max(1) * NANOS / SLOTS as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_when_most_of_what_worked_fails_and_closes_when_it_works_again() {
        let settings = CircuitBreaker::default();
        let mut breaker = Breaker::default();
        let at = |secs: i64| Timestamp::from_nanos(secs * 1_000_000_000);
        for second in 0..49 {
            breaker.count(false, at(second / 10), &settings);
        }
        assert_eq!(breaker.is_open(at(5), &settings), None, "too few to tell");
        breaker.count(false, at(5), &settings);
        assert_eq!(breaker.is_open(at(5), &settings), Some(0.0));
        assert_eq!(breaker.is_open(at(60), &settings), None, "they have slid out");
        for _ in 0..100 {
            breaker.count(true, at(61), &settings);
            breaker.count(false, at(61), &settings);
        }
        assert_eq!(breaker.is_open(at(61), &settings), None, "half of them work");
    }
}
