//! The circuit breaker: when clients no longer reach what they reached before, it is the network that
//! fails, or the sensor sees half of it, and nobody is blocked for that.

use std::hash::RandomState;

use super::{recent::Recent, settings::CircuitBreaker, source::Source, window::Window};
use crate::record::Timestamp;

const SLOTS: usize = 6;
const NANOS: u64 = 1_000_000_000;
/// Clients that it takes, at least: one that tries again and again what is gone is no outage.
const CLIENTS: u32 = 3;
/// The part of the attempts that open it from which on those that succeed close it.
const FEWER: u32 = 5;
/// Windows without a failure of several clients after which it closes though nobody has succeeded.
const SILENT_WINDOWS: u64 = 20;
/// Clients whose failures are counted apart; twice as many at most.
const MAX_CLIENTS: usize = 1 << 12;
const HOUR_NANOS: u64 = 3_600 * NANOS;
/// Contacts that are remembered to be counted once: where two share a place, they count more often.
const COUNTED: usize = 1 << 12;

/// Handshakes of clients with what had worked before.
#[derive(Debug)]
pub(super) struct Breaker {
    tried: Window<SLOTS>,
    failed: Window<SLOTS>,
    counted: Vec<Counted>,
    /// Failures of each client.
    by_client: Recent<Source, Window<SLOTS>, RandomState>,
    /// The clients that failed last, and when: the latest first.
    failing: [Option<(Source, Timestamp)>; CLIENTS as usize],
    is_open: bool,
}

/// What was counted of a contact in which slot.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    key: u64,
    slot: i64,
    succeeded: bool,
    failed: bool,
}

// === impl Breaker ===

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            tried: Window::default(),
            failed: Window::default(),
            counted: Vec::new(),
            by_client: Recent::new(MAX_CLIENTS, HOUR_NANOS, RandomState::new()),
            failing: [None; CLIENTS as usize],
            is_open: false,
        }
    }

    /// Counts a client's handshake with what had worked before, by the contact's key: once a slot, however often it
    /// is tried, and of one client no more failures than its part of those that it takes.
    pub(super) fn count(
        &mut self,
        (client, key): (Source, u64),
        succeeded: bool,
        now: Timestamp,
        settings: &CircuitBreaker,
    ) {
        let slot = slot_nanos(settings);
        if !self.is_new(key, succeeded, number(now, slot)) {
            return;
        }
        if !succeeded {
            self.keep_failing(client, now);
            let most = settings.min_attempts.max(1).div_ceil(clients(settings));
            let own = self.by_client.entry(client, now);
            if own.sum(now, slot) >= most {
                return;
            }
            own.add(now, slot, 1);
            self.failed.add(now, slot, 1);
        }
        self.tried.add(now, slot, 1);
    }

    /// Whether no new verdicts are to be made: then the share that succeeded. That few try is no sign that what failed
    /// works again: it takes some that succeed, or a long time in which no several clients fail.
    pub(super) fn is_open(&mut self, now: Timestamp, settings: &CircuitBreaker) -> Option<f64> {
        let slot = slot_nanos(settings);
        let (tried, failed) = (self.tried.sum(now, slot), self.failed.sum(now, slot));
        let succeeded = f64::from(tried.saturating_sub(failed)) / f64::from(tried.max(1));
        let attempts = settings.min_attempts.max(1);
        self.is_open = settings.enabled
            && if self.is_open {
                let works = tried >= attempts.div_ceil(FEWER) && succeeded >= settings.min_success;
                !works && !self.is_silent(now, settings)
            } else {
                tried >= attempts && succeeded < settings.min_success
            };
        self.is_open.then_some(succeeded)
    }

    /// Whether a contact has not been counted so in this slot.
    fn is_new(&mut self, key: u64, succeeded: bool, slot: i64) -> bool {
        if self.counted.is_empty() {
            self.counted = vec![Counted::default(); COUNTED];
        }
        let place = usize::try_from(key % COUNTED as u64).unwrap_or(0);
        let counted = &mut self.counted[place];
        if (counted.key, counted.slot) != (key, slot) {
            *counted = Counted { key, slot, ..Counted::default() };
        }
        let known = if succeeded { &mut counted.succeeded } else { &mut counted.failed };
        !std::mem::replace(known, true)
    }

    fn keep_failing(&mut self, client: Source, now: Timestamp) {
        let is_it = |known: &Option<(Source, Timestamp)>| known.is_none_or(|(of, _)| of == client);
        let place = self.failing.iter().position(is_it).unwrap_or(self.failing.len() - 1);
        self.failing[..=place].rotate_right(1);
        self.failing[0] = Some((client, now));
    }

    /// Whether it is long ago that as many clients failed as it takes.
    fn is_silent(&self, now: Timestamp, settings: &CircuitBreaker) -> bool {
        let silence = SILENT_WINDOWS * settings.window_secs.max(1) * NANOS;
        let last = self.failing[clients(settings) as usize - 1];
        last.is_none_or(|(_, at)| now.since(at) >= silence)
    }
}

/// Clients that must fail: of few attempts no more than there are.
fn clients(settings: &CircuitBreaker) -> u32 {
    settings.min_attempts.clamp(1, CLIENTS)
}

fn number(now: Timestamp, slot: u64) -> i64 {
    now.nanos().div_euclid(i64::try_from(slot).unwrap_or(i64::MAX))
}

fn slot_nanos(settings: &CircuitBreaker) -> u64 {
    settings.window_secs.max(1) * NANOS / SLOTS as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_nanos(secs * 1_000_000_000)
    }

    /// A contact of one of `clients` clients.
    fn of(number: u64, clients: u64) -> (Source, u64) {
        let [.., low] = (number % clients).to_be_bytes();
        (Source::restored([10, 5, 0, low].into(), false), number)
    }

    fn opened(settings: &CircuitBreaker) -> Breaker {
        let mut breaker = Breaker::new();
        for number in 0..60 {
            breaker.count(of(number, 10), false, at(0), settings);
        }
        assert_eq!(breaker.is_open(at(0), settings), Some(0.0));
        breaker
    }

    #[test]
    fn it_opens_when_most_of_what_worked_fails_and_closes_when_it_works_again() {
        let settings = CircuitBreaker::default();
        let mut breaker = Breaker::new();
        for number in 0..49 {
            breaker.count(of(number, 7), false, at(5), &settings);
        }
        assert_eq!(breaker.is_open(at(5), &settings), None, "too few to tell");
        breaker.count(of(49, 7), false, at(5), &settings);
        assert_eq!(breaker.is_open(at(5), &settings), Some(0.0));
        assert_eq!(breaker.is_open(at(60), &settings), Some(0.0), "nobody says that it is over");
        for number in 0..9 {
            breaker.count(of(number, 7), true, at(61), &settings);
        }
        assert_eq!(breaker.is_open(at(61), &settings), Some(1.0), "too few to tell");
        breaker.count(of(9, 7), true, at(61), &settings);
        assert_eq!(breaker.is_open(at(61), &settings), None);
        for number in 0..100 {
            breaker.count(of(number, 7), true, at(62), &settings);
            breaker.count(of(number, 7), false, at(62), &settings);
        }
        assert_eq!(breaker.is_open(at(62), &settings), None, "half of them work");
    }

    #[test]
    fn what_is_tried_again_and_again_counts_once_a_slot() {
        let settings = CircuitBreaker::default();
        let mut breaker = Breaker::new();
        for tenth in 0..300 {
            for number in 0..4 {
                breaker.count(of(number, 4), false, at(tenth / 10), &settings);
            }
        }
        assert_eq!(breaker.is_open(at(29), &settings), None, "24 of 1,200");
    }

    #[test]
    fn two_clients_open_nothing_and_three_do() {
        let settings = CircuitBreaker::default();
        for clients in 1..4 {
            let mut breaker = Breaker::new();
            for number in 0..600 {
                breaker.count(of(number, clients), false, at(0), &settings);
            }
            assert_eq!(breaker.is_open(at(0), &settings).is_some(), clients == 3, "{clients}");
        }
    }

    #[test]
    fn few_clients_hold_it_open_for_a_while_and_no_longer() {
        let settings = CircuitBreaker::default();
        let mut breaker = opened(&settings);
        for secs in 1..700 {
            breaker.count(of(0, 10), false, at(secs), &settings);
            breaker.count(of(1, 10), false, at(secs), &settings);
            assert_eq!(breaker.is_open(at(secs), &settings).is_some(), secs < 600, "{secs}");
        }
    }

    #[test]
    fn one_client_does_not_hold_it_open_against_others_that_succeed() {
        let settings = CircuitBreaker::default();
        let mut breaker = opened(&settings);
        for number in 0..600 {
            breaker.count(of(number, 1), false, at(40), &settings);
        }
        for number in 600..608 {
            breaker.count(of(number, 7), true, at(40), &settings);
        }
        assert_eq!(breaker.is_open(at(40), &settings), None);
    }

    #[test]
    fn it_opens_and_closes_by_whatever_numbers() {
        for min_attempts in [0, 1, 2, 4] {
            let settings = CircuitBreaker { min_attempts, ..CircuitBreaker::default() };
            let mut breaker = opened(&settings);
            assert!(breaker.is_open(at(20), &settings).is_some());
            assert_eq!(breaker.is_open(at(i64::MAX / 2_000_000_000), &settings), None);
        }
    }
}
