//! Delays between tries: exponential, with full jitter.
//!
//! This is the only user of the `backoff` package, which is unmaintained (RUSTSEC-2025-0012): we use
//! nothing of it but the arithmetic of its intervals, and can replace that here without anybody
//! noticing.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};

/// Delays that grow twofold from try to try, each drawn evenly from nothing up to its bound, so that
/// many who failed together don't come back together.
///
/// "Full jitter" of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug)]
pub struct Delays(ExponentialBackoff);

/// A delay drawn evenly from nothing up to `bound`.
pub fn jitter(bound: Duration) -> Duration {
    Delays::new(bound, bound).next_delay()
}

// === impl Delays ===

impl Delays {
    /// Delays of at most `initial`, then twice that, up to `max`.
    pub fn new(initial: Duration, max: Duration) -> Self {
        // The package draws from interval × (1 ± factor): with factor 1, from 0 to twice the interval.
        Self(
            ExponentialBackoffBuilder::new()
                .with_initial_interval(initial.min(max) / 2)
                .with_max_interval(max / 2)
                .with_multiplier(2.0)
                .with_randomization_factor(1.0)
                .with_max_elapsed_time(None)
                .build(),
        )
    }

    /// How long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// It worked: the next failure starts from the beginning.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_maximum_and_starts_over_after_a_reset() {
        let (initial, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut longest = [Duration::ZERO; 8];
        for _ in 0..500 {
            let mut delays = Delays::new(initial, max);
            for longest in &mut longest {
                *longest = (*longest).max(delays.next_delay());
            }
            delays.reset();
            assert!(delays.next_delay() <= initial);
        }
        let mut bound = initial;
        for longest in longest {
            assert!(longest <= bound, "{longest:?} over {bound:?}");
            assert!(longest > bound * 8 / 10, "{longest:?} never near {bound:?}");
            bound = (bound * 2).min(max);
        }
    }

    #[test]
    fn a_jitter_is_anything_up_to_its_bound() {
        let bound = Duration::from_secs(1);
        let drawn: Vec<_> = (0..500).map(|_| jitter(bound)).collect();
        assert!(drawn.iter().all(|jitter| *jitter <= bound));
        assert!(drawn.iter().any(|jitter| *jitter < bound / 5));
        assert!(drawn.iter().any(|jitter| *jitter > bound * 4 / 5));
    }

    #[test]
    fn an_initial_delay_over_the_maximum_is_cut() {
        let mut delays = Delays::new(Duration::from_secs(9), Duration::from_secs(1));
        assert!(delays.next_delay() <= Duration::from_secs(1));
    }
}
