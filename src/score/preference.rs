//! Where two sources report on one interface, whose word counts: that of the one which blocks, for each
//! outcome that it tells of. What only the other tells, the other is believed.

use std::{collections::HashMap, sync::Arc};

use crate::record::{Contact, Interface, ObservationPoint, Outcome, Timestamp};

/// How long the preferred source must have been silent about an outcome for another to be heard.
const SILENCE_NANOS: u64 = 60_000_000_000;

/// Who told of what, where.
#[derive(Debug, Default)]
pub(super) struct Preference {
    preferred: Option<Arc<str>>,
    points: HashMap<ObservationPoint, Point>,
    told: HashMap<(Option<Interface>, u8), Timestamp>,
}

#[derive(Debug, Clone)]
struct Point {
    interface: Option<Interface>,
    is_preferred: bool,
}

// === impl Preference ===

impl Preference {
    pub(super) fn new(preferred: Option<Arc<str>>) -> Self {
        Self { preferred, ..Self::default() }
    }

    /// Whether the contact counts, and whether who tells it has looked for the socket.
    pub(super) fn admits(&mut self, contact: &Contact) -> (bool, bool) {
        let Some(preferred) = &self.preferred else { return (true, false) };
        let point = self.points.entry(contact.origin).or_insert_with(|| {
            let names = contact.origin.names();
            Point { is_preferred: names.source == *preferred, interface: names.interface }
        });
        let what = (point.interface.clone(), kind(contact.outcome));
        if point.is_preferred {
            self.told.insert(what, contact.time);
            return (true, true);
        }
        let told = self.told.get(&what);
        (told.is_none_or(|told| contact.time.since(*told) > SILENCE_NANOS), false)
    }
}

/// A number for each outcome.
const fn kind(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Attempt => 0,
        Outcome::Success => 1,
        Outcome::Refused => 2,
        Outcome::TimedOut => 3,
        Outcome::OddFlags(_) => 4,
        Outcome::SplitHeader => 5,
        Outcome::AckProbe => 6,
        Outcome::Echo => 7,
        Outcome::Ended { .. } => 8,
        Outcome::Open { .. } => 9,
        Outcome::Counts { .. } => 10,
    }
}
