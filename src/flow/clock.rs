//! Event time as the table sees it: it only goes forward, until the clock was set back.

use crate::record::Timestamp;

/// A packet this much older than the latest time seen means that the clock was set back, or that
/// another capture began: 60 s is far beyond any reordering of one capture.
const SET_BACK_NANOS: u64 = 60_000_000_000;

/// The latest time seen.
#[derive(Debug, Default)]
pub(super) struct Clock {
    now: Option<Timestamp>,
    /// The latest time ever, before and after the clock was set back.
    ceiling: Option<Timestamp>,
    packets: u64,
    era: u32,
}

/// When a packet came, in terms that don't depend on batches or shards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// The latest time seen, this packet's included.
    pub(super) now: Timestamp,
    /// The packet's number in the run, from 1; 0 for what no packet caused.
    pub(super) number: u64,
    /// How often the clock was set back before.
    pub(super) era: u32,
    /// Whether a flow that began at the packet's time may have been there and gone.
    pub(super) late: bool,
}

// === impl Clock ===

impl Clock {
    /// A packet of this time arrives. The second value says whether the clock was set back before it.
    pub(super) fn arrive(&mut self, time: Timestamp) -> (Moment, bool) {
        let set_back = self.now.is_some_and(|now| now.since(time) > SET_BACK_NANOS);
        self.era = self.era.saturating_add(u32::from(set_back));
        let now = self.now.filter(|_| !set_back).map_or(time, |now| now.max(time));
        self.now = Some(now);
        self.packets += 1;
        let late = self.ceiling.is_some_and(|ceiling| time < ceiling);
        self.ceiling = self.ceiling.max(Some(time));
        let number = self.packets;
        (Moment { now, number, era: self.era, late }, set_back)
    }

    /// Time has come this far without a packet.
    pub(super) fn advance(&mut self, time: Timestamp) -> Moment {
        let now = self.now.map_or(time, |now| now.max(time));
        self.now = Some(now);
        Moment { now, number: 0, era: self.era, late: false }
    }

    /// The latest time seen.
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_unless_the_clock_was_set_back() {
        let mut clock = Clock::default();
        let second = |seconds| Timestamp::from_parts(seconds, 0).unwrap();
        for (time, now, late, set_back) in [
            (100, 100, false, false),
            (90, 100, true, false),
            (100, 100, false, false),
            (39, 39, true, true),
            (45, 45, true, false),
            (200, 200, false, false),
        ] {
            let (moment, was_set_back) = clock.arrive(second(time));
            assert_eq!((moment.now, moment.late, was_set_back), (second(now), late, set_back));
        }
    }
}
