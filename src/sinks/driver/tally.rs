//! Counts of what may happen with every record, and so is logged ever more rarely.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often something happened in a sink.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

// === impl Tally ===

impl Tally {
    /// It happened `n` times more. Gives how often in all, if that has reached a next power of two and
    /// so is to be logged.
    pub(super) fn add(&self, n: u64) -> Option<u64> {
        let before = self.0.fetch_add(n, Ordering::Relaxed);
        let now = before.saturating_add(n);
        (now.checked_ilog2() != before.checked_ilog2()).then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_power_of_two_that_is_reached_or_passed_is_said_once() {
        let tally = Tally::default();
        let said: Vec<_> = [0, 1, 1, 1, 1, 3, 1_000, 1].map(|n| tally.add(n)).to_vec();
        assert_eq!(said, [None, Some(1), Some(2), None, Some(4), None, Some(1_007), None]);
    }

    #[test]
    fn a_million_records_are_twenty_lines() {
        let tally = Tally::default();
        assert_eq!((0..1_000_000).filter_map(|_| tally.add(1)).count(), 20);
    }
}
