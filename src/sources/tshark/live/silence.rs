//! How far time has come on a wire where nothing happens.
//!
//! Packets say what time it is; where none come, the capturer's silence does: it had nothing to hand over,
//! so all that was captured until a moment ago has been handed on.

use std::time::Duration;

use crate::record::Timestamp;

/// How often it is looked whether anything was handed over.
pub(in crate::sources::tshark) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a captured packet may take until it is handed over: the kernel holds it back for 250 ms
/// (dumpcap's `CAP_READ_TIMEOUT`), dumpcap's writer for 100 more, and here is as much again for a busy
/// machine.
const HELD_BACK_NANOS: i64 = 500_000_000;

/// The time before which all packets captured were handed over by `now`, as nothing comes.
pub(in crate::sources::tshark) fn reached(now: Timestamp) -> Timestamp {
    Timestamp::from_nanos(now.nanos().saturating_sub(HELD_BACK_NANOS))
}

/// Watches what a capturer has handed over, told apart by an `S`.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Silence<S> {
    last: Option<S>,
}

// === impl Silence ===

impl<S: PartialEq> Silence<S> {
    /// Before the first look.
    pub(in crate::sources::tshark) fn new() -> Self {
        Self { last: None }
    }

    /// So much was handed over by `now`; `None` if more of it is on its way. Once nothing came between two
    /// looks: the time before which all packets captured are among it.
    pub(in crate::sources::tshark) fn look(
        &mut self,
        state: Option<S>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let is_silent = state.is_some() && state == self.last;
        self.last = state;
        is_silent.then(|| reached(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_come_as_far_as_silence_goes_and_no_further() {
        let mut silence = Silence::new();
        let mut look =
            |state, now| silence.look(state, Timestamp::from_nanos(now)).map(Timestamp::nanos);
        let table = [
            (Some(1), 1_000_000_000, None),
            (Some(1), 1_250_000_000, Some(750_000_000)),
            (Some(1), 1_500_000_000, Some(1_000_000_000)),
            // Something came.
            (Some(2), 1_750_000_000, None),
            // Something is on its way, and stays there.
            (None, 2_000_000_000, None),
            (None, 2_250_000_000, None),
            (Some(2), 2_500_000_000, None),
            (Some(2), 2_750_000_000, Some(2_250_000_000)),
        ];
        for (state, now, expected) in table {
            assert_eq!(look(state, now), expected, "at {now}");
        }
    }
}
