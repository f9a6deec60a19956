//! How often like events are logged: what may happen with each record or request would otherwise fill
//! the disk that it complains about.
//!
//! Metrics count every event; a line says how many events it stands for beside its own.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::record::Timestamp;

/// Nanoseconds between the first two lines of a series; the gap doubles from line to line.
const FIRST_GAP: u64 = 1_000_000_000;
/// The longest gap: an event after a quiet time of this length begins a new series.
const LONGEST_GAP: u64 = 300_000_000_000;

/// Decides which events of one kind are logged.
#[derive(Debug)]
pub struct LogLimit {
    rule: Rule,
    state: Mutex<Series>,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// The first at once, then ever more rarely.
    Series,
    /// So many, then none.
    First(u32),
}

#[derive(Debug, Default)]
struct Series {
    /// Lines so far, and the time of the last one.
    lines: u32,
    logged: Timestamp,
    /// The time of the last event.
    seen: Timestamp,
    gap: u64,
    suppressed: u64,
}

// === impl LogLimit ===

impl LogLimit {
    /// The first event is logged at once; then one after 1 s, 2 s, 4 s… and at least one each five
    /// minutes, as long as events come.
    pub fn series() -> Self {
        Self { rule: Rule::Series, state: Mutex::default() }
    }

    /// The first `lines` events are logged, and no more.
    pub fn first(lines: u32) -> Self {
        Self { rule: Rule::First(lines), state: Mutex::default() }
    }

    /// `events` happened at `now`. If that is to be logged, gives how many were suppressed since the
    /// last line. Time that goes back begins a new series.
    pub fn admit(&self, events: u64, now: Timestamp) -> Option<u64> {
        let mut series = self.state();
        let admitted = events > 0
            && match self.rule {
                Rule::First(lines) => series.lines < lines,
                Rule::Series => series.is_due(now),
            };
        series.seen = now;
        if admitted {
            series.lines = series.lines.saturating_add(1);
            series.logged = now;
            Some(std::mem::take(&mut series.suppressed))
        } else {
            series.suppressed = series.suppressed.saturating_add(events);
            None
        }
    }

    /// How many were suppressed since the last line, for a line at the end of it all.
    pub fn take_suppressed(&self) -> u64 {
        std::mem::take(&mut self.state().suppressed)
    }

    fn state(&self) -> MutexGuard<'_, Series> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Series ===

impl Series {
    fn is_due(&mut self, now: Timestamp) -> bool {
        if self.lines == 0 || now < self.seen || now.since(self.seen) >= LONGEST_GAP {
            self.gap = FIRST_GAP;
            return true;
        }
        let is_due = now.since(self.logged) >= self.gap;
        if is_due {
            self.gap = (self.gap * 2).min(LONGEST_GAP);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: i64 = 1_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_nanos(millis * MILLIS)
    }

    /// What is given at each of these times, in milliseconds.
    fn admitted(limit: &LogLimit, times: &[i64]) -> Vec<Option<u64>> {
        times.iter().map(|time| limit.admit(1, at(*time))).collect()
    }

    #[test]
    fn the_first_is_logged_at_once_and_the_rest_ever_more_rarely() {
        let times = [0, 1, 999, 1_000, 1_001, 2_999, 3_000, 6_999, 7_000];
        let expected = [Some(0), None, None, Some(2), None, None, Some(2), None, Some(1)];
        assert_eq!(admitted(&LogLimit::series(), &times), expected);
    }

    #[test]
    fn a_million_events_in_an_hour_are_some_twenty_lines() {
        let limit = LogLimit::series();
        let lines: Vec<_> =
            (0..1_000_000).filter_map(|n| limit.admit(3, at(n * 36 / 10))).collect();
        assert!((15..25).contains(&lines.len()), "{}", lines.len());
        let suppressed: u64 = lines.iter().sum::<u64>() + limit.take_suppressed();
        assert_eq!(suppressed + 3 * lines.len() as u64, 3_000_000);
    }

    #[test]
    fn after_a_quiet_time_the_next_is_logged_at_once() {
        let limit = LogLimit::series();
        let times = [0, 1_000, 3_000, 7_000, 15_000, 314_999, 315_000, 616_000, 616_999, 617_000];
        let expected =
            [Some(0), Some(0), Some(0), Some(0), Some(0), Some(0), None, Some(1), None, Some(1)];
        assert_eq!(admitted(&limit, &times), expected);
    }

    #[test]
    fn time_that_goes_back_silences_nothing() {
        let limit = LogLimit::series();
        assert_eq!(admitted(&limit, &[1_000_000, 1_000_001, 5]), [Some(0), None, Some(1)]);
    }

    #[test]
    fn only_the_first_lines_are_logged_and_the_rest_is_told_at_the_end() {
        let limit = LogLimit::first(2);
        assert_eq!(admitted(&limit, &[0, 0, 0, 900_000_000]), [Some(0), Some(0), None, None]);
        assert_eq!((limit.take_suppressed(), limit.take_suppressed()), (2, 0));
    }

    #[test]
    fn no_event_is_no_line() {
        let limit = LogLimit::series();
        assert_eq!((limit.admit(0, at(0)), limit.admit(1, at(1))), (None, Some(0)));
    }
}
