//! A clock whose jumps are doubted: one stray time stamp must not move everything else.

use super::Timestamp;

/// A step of more than this, forward or back, is a jump: far beyond any reordering of one capture.
const JUMP_NANOS: u64 = 60_000_000_000;
/// So many times in a row have to agree before a jump counts.
const AGREEING: u8 = 3;

/// The clock of one interface, read off its packets.
#[derive(Debug, Clone, Default)]
pub struct SteadyClock {
    latest: Option<Timestamp>,
    doubt: Option<Doubt>,
}

/// A jump that was not yet confirmed.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    last: Timestamp,
    times: u8,
}

/// What a time says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It goes on from the latest one; whatever was doubted before was astray.
    Steady,
    /// It would be a jump, the first that says so; whatever was doubted before was astray.
    Doubtful,
    /// It agrees with what is doubted.
    StillDoubtful,
    /// It confirms the jump: what was doubted was right.
    Jumped,
}

// === impl SteadyClock ===

impl SteadyClock {
    /// The clock shows this time next.
    #[inline]
    pub fn read(&mut self, time: Timestamp) -> Reading {
        if self.goes_on(time) {
            return Reading::Steady;
        }
        let latest = self.latest.unwrap_or(time);
        // Where packets are rare, the next one is later still.
        let agreeing = self.doubt.filter(|doubt| {
            (doubt.last > latest) == (time > latest)
                && time.saturating_add(JUMP_NANOS) >= doubt.last
        });
        let times = agreeing.map_or(1, |doubt| doubt.times + 1);
        if times >= AGREEING {
            self.jump(time);
            return Reading::Jumped;
        }
        self.doubt = Some(Doubt { last: time, times });
        if agreeing.is_some() { Reading::StillDoubtful } else { Reading::Doubtful }
    }

    /// Shows the time if it goes on from the latest one; else nothing changes.
    #[inline]
    pub fn goes_on(&mut self, time: Timestamp) -> bool {
        let latest = self.latest.unwrap_or(time);
        let steady = !is_jump(latest, time);
        if steady {
            self.latest = Some(latest.max(time));
            self.doubt = None;
        }
        steady
    }

    /// Believes a time, whatever it is.
    pub fn jump(&mut self, time: Timestamp) {
        *self = Self { latest: Some(time), doubt: None };
    }

    /// The latest time that is believed.
    pub fn latest(&self) -> Option<Timestamp> {
        self.latest
    }
}

/// Whether two times lie too far apart for one to follow the other.
pub fn is_jump(one: Timestamp, other: Timestamp) -> bool {
    one.nanos().abs_diff(other.nanos()) > JUMP_NANOS
}

#[cfg(test)]
mod tests {
    use super::{Reading::*, *};

    #[test]
    fn a_jump_counts_once_three_times_in_a_row_agree() {
        let cases: &[(&[i64], &[Reading])] = &[
            (&[100, 90, 160], &[Steady, Steady, Steady]),
            (&[100, 10_000, 101], &[Steady, Doubtful, Steady]),
            (
                &[100, 10_000, 10_001, 10_002, 10_003],
                &[Steady, Doubtful, StillDoubtful, Jumped, Steady],
            ),
            (&[1000, 10, 11, 12, 13], &[Steady, Doubtful, StillDoubtful, Jumped, Steady]),
            (&[1000, 10, 2000, 10, 1000], &[Steady, Doubtful, Doubtful, Doubtful, Steady]),
            // Packets that are rare agree although each is a jump from the one before.
            (&[0, 100, 200, 300], &[Steady, Doubtful, StillDoubtful, Jumped]),
            // A second stray one, before the first, does not confirm it.
            (&[0, 9_000, 100, 200], &[Steady, Doubtful, Doubtful, StillDoubtful]),
        ];
        for (times, expected) in cases {
            let mut clock = SteadyClock::default();
            let readings: Vec<_> = times
                .iter()
                .map(|seconds| clock.read(Timestamp::from_parts(*seconds, 0).unwrap()))
                .collect();
            assert_eq!(&readings, expected, "{times:?}");
        }
    }
}
