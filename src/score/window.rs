//! Counts within a sliding time, in slots: what has slid out counts no more.

use crate::record::Timestamp;

/// `SLOTS` counts of as many stretches of time, the present one included.
#[derive(Debug, Clone)]
pub(super) struct Window<const SLOTS: usize> {
    counts: [u16; SLOTS],
    /// The number of the present stretch since the epoch.
    present: i64,
}

// === impl Window ===

impl<const SLOTS: usize> Default for Window<SLOTS> {
    fn default() -> Self {
        Self { counts: [0; SLOTS], present: i64::MIN }
    }
}

impl<const SLOTS: usize> Window<SLOTS> {
    /// Counts `n` at `now`, in stretches of `slot_nanos`. What is late counts in the present one.
    pub(super) fn add(&mut self, now: Timestamp, slot_nanos: u64, n: u16) {
        self.slide(now, slot_nanos);
        let count = &mut self.counts[Self::place(self.present)];
        *count = count.saturating_add(n);
    }

    /// What was counted within the time that ends with `now`.
    pub(super) fn sum(&mut self, now: Timestamp, slot_nanos: u64) -> u32 {
        self.slide(now, slot_nanos);
        self.counts.iter().map(|count| u32::from(*count)).sum()
    }

    fn slide(&mut self, now: Timestamp, slot_nanos: u64) {
        let slot = i64::try_from(slot_nanos.max(1)).unwrap_or(i64::MAX);
        let number = now.nanos().div_euclid(slot);
        if number <= self.present {
            return;
        }
        let passed = i128::from(number) - i128::from(self.present);
        if passed >= SLOTS as i128 {
            self.counts = [0; SLOTS];
        } else {
            for slot in self.present + 1..=number {
                self.counts[Self::place(slot)] = 0;
            }
        }
        self.present = number;
    }

    fn place(number: i64) -> usize {
        let slots = i64::try_from(SLOTS).unwrap_or(1);
        usize::try_from(number.rem_euclid(slots)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_counts_no_more_than_the_time_holds(
            steps in proptest::collection::vec(0..40_u64, 1..60),
        ) {
            let mut window = Window::<12>::default();
            let (mut now, mut seen) = (Timestamp::from_nanos(-50), Vec::new());
            for step in steps {
                now = now.saturating_add(step);
                window.add(now, 5, 1);
                seen.push(now);
                let within = |nanos| seen.iter().filter(|at| now.since(**at) < nanos).count();
                let sum = window.sum(now, 5) as usize;
                prop_assert!(within(55) <= sum && sum <= within(60), "{sum}");
            }
        }
    }

    #[test]
    fn time_going_back_counts_in_the_present() {
        let mut window = Window::<4>::default();
        window.add(Timestamp::from_nanos(100), 10, 1);
        window.add(Timestamp::from_nanos(i64::MIN), 10, 1);
        assert_eq!(window.sum(Timestamp::from_nanos(100), 10), 2);
        assert_eq!(window.sum(Timestamp::from_nanos(i64::MAX), 10), 0);
    }
}
