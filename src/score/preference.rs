//! Where two sources report on one interface, whose word counts: that of the one which blocks, for each
//! outcome that it tells of. What only the other tells, the other is believed.

use std::{collections::HashMap, sync::Arc};

use crate::record::{Contact, Interface, ObservationPoint, Outcome, Timestamp};

/// How long the preferred source must have been silent about an outcome for another to be heard.
const SILENCE_NANOS: u64 = 60_000_000_000;
/// Kinds of outcomes, counts of a source, of a destination and of what one sends the other being three.
const KINDS: usize = 13;

/// Who told of what, where.
#[derive(Debug, Default)]
pub(super) struct Preference {
    preferred: Option<Arc<str>>,
    points: HashMap<ObservationPoint, Point>,
    /// Each interface, and when the preferred source last told of each kind of outcome there.
    told: Vec<(Option<Interface>, [Option<Timestamp>; KINDS])>,
    /// Where the latest contact was seen: most often the next one's place too.
    latest: Option<(ObservationPoint, Point)>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    /// The place of its interface in the list.
    interface: usize,
    is_preferred: bool,
}

// === impl Preference ===

impl Preference {
    pub(super) fn new(preferred: Option<Arc<str>>) -> Self {
        Self { preferred, ..Self::default() }
    }

    /// Whether the contact counts, and whether who tells it has looked for the socket.
    pub(super) fn admits(&mut self, contact: &Contact) -> (bool, bool) {
        if self.preferred.is_none() {
            return (true, false);
        }
        let point = self.point(contact.origin);
        let told = &mut self.told[point.interface].1[kind(contact)];
        if point.is_preferred {
            *told = Some(contact.time);
            return (true, true);
        }
        (told.is_none_or(|told| contact.time.since(told) > SILENCE_NANOS), false)
    }

    fn point(&mut self, origin: ObservationPoint) -> Point {
        if let Some((latest, point)) = self.latest
            && latest == origin
        {
            return point;
        }
        let (preferred, told) = (&self.preferred, &mut self.told);
        let point = *self.points.entry(origin).or_insert_with(|| {
            let names = origin.names();
            let known = told.iter().position(|(interface, _)| *interface == names.interface);
            let is_preferred = preferred.as_deref() == Some(&*names.source);
            let interface = known.unwrap_or_else(|| {
                told.push((names.interface, [None; KINDS]));
                told.len() - 1
            });
            Point { interface, is_preferred }
        });
        self.latest = Some((origin, point));
        point
    }
}

/// A number for each outcome.
fn kind(contact: &Contact) -> usize {
    match contact.outcome {
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
        Outcome::Counts { .. } if contact.destination.is_unspecified() => 10,
        Outcome::Counts { .. } if contact.source.is_unspecified() => 11,
        Outcome::Counts { .. } => 12,
    }
}
