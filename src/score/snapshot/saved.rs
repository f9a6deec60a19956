//! A source in a snapshot.

use std::{collections::HashMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    record::{Action, Id, Interface, ObservationPoint, PointNames, Signal, Timestamp, Transport},
    score::{
        ledger::{Entry, History, Target, Told},
        policy::Level,
        source::Source,
    },
};

/// Observation points of a snapshot: of more, the rest is the unnamed one.
const MAX_POINTS: usize = 256;
/// Sessions of a source.
const MAX_SESSIONS: usize = 16;

/// Where contacts were seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Point {
    source: String,
    name: Option<String>,
    number: Option<u32>,
    /// The sensor, if it is another one.
    #[serde(default)]
    observer: Option<String>,
}

/// Numbers points in the order in which they are met.
#[derive(Debug, Default)]
pub(super) struct Points {
    list: Vec<ObservationPoint>,
    numbers: HashMap<ObservationPoint, u16>,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Saved {
    address: IpAddr,
    is_site: bool,
    last: i64,
    proven: Option<i64>,
    /// Failures, successes, contacts left half open, destinations.
    contacts: [u32; 4],
    /// The port that most of the half-open ones came from, and the votes for it.
    #[serde(default)]
    left_from: [u16; 2],
    /// Whether it completed a first contact while nothing weighed against it, and since.
    served: [bool; 2],
    /// Failures and successes with what it had resolved.
    resolved: [u16; 2],
    walks: [f32; 2],
    counts: [f32; Signal::COUNT],
    logins: [u32; 8],
    favourite: Place,
    votes: u32,
    latest: Place,
    point: u16,
    level: u8,
    max_score: u8,
    is_excused: bool,
    history: Option<SavedHistory>,
    /// Successes that count once more.
    #[serde(default)]
    repeats: u32,
}

/// A destination's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place(IpAddr, u16, u8);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedHistory {
    offences: f64,
    offended: Option<i64>,
    standing: u8,
    until: Option<i64>,
    verdict: Option<[u8; 16]>,
    is_silenced: bool,
    told: [(u32, f32); Action::ALL.len()],
    sessions: Vec<i64>,
}

// === impl Point ===

impl Point {
    fn of(point: ObservationPoint) -> Self {
        let PointNames { source, interface, observer } = point.names();
        let (name, number) = match interface {
            None => (None, None),
            Some(Interface::Named(name)) => (Some(name.to_string()), None),
            Some(Interface::Numbered(number)) => (None, Some(number)),
        };
        let observer = observer.map(|observer| observer.to_string());
        Self { source: source.to_string(), name, number, observer }
    }

    pub(super) fn restored(self) -> ObservationPoint {
        let name = self.name.map(|name| Interface::Named(name.into()));
        let point =
            ObservationPoint::of(&self.source, name.or(self.number.map(Interface::Numbered)));
        self.observer.map_or(point, |observer| point.seen_by(&observer.into()))
    }
}

// === impl Points ===

impl Points {
    fn number(&mut self, point: ObservationPoint) -> u16 {
        if let Some(number) = self.numbers.get(&point) {
            return *number;
        }
        if self.list.len() >= MAX_POINTS {
            return u16::MAX;
        }
        let number = u16::try_from(self.list.len()).unwrap_or(u16::MAX);
        self.list.push(point);
        self.numbers.insert(point, number);
        number
    }

    pub(super) fn into_list(self) -> Vec<Point> {
        self.list.into_iter().map(Point::of).collect()
    }
}

// === impl Saved ===

impl Saved {
    /// Of an entry. What an outage holds against it is not kept: nobody would know that it was one.
    pub(super) fn of(entry: &Entry, points: &mut Points) -> Self {
        let entry = &entry.relieved();
        Self {
            address: entry.source.address(),
            is_site: entry.source.is_site(),
            last: entry.last.nanos(),
            proven: entry.proven.map(Timestamp::nanos),
            contacts: [entry.failures, entry.successes, entry.half_open, entry.destinations],
            left_from: [entry.leaves_from, entry.from_one_port],
            served: [entry.was_served, entry.is_served],
            resolved: [entry.resolved_failures, entry.resolved_successes],
            walks: [entry.walk, entry.slow_walk],
            counts: entry.counts,
            logins: entry.logins,
            favourite: Place::of(entry.favourite),
            votes: entry.votes,
            latest: Place::of(entry.latest),
            point: points.number(entry.origin),
            level: entry.level as u8,
            max_score: entry.max_score,
            is_excused: entry.is_excused,
            history: entry.history.as_deref().map(SavedHistory::of),
            repeats: entry.repeats,
        }
    }

    /// The entry, whose times are not after `taken`; `None` if there can be no such one.
    pub(super) fn restored(self, taken: Timestamp, points: &[ObservationPoint]) -> Option<Entry> {
        let time = |nanos| Timestamp::from_nanos(nanos).min(taken);
        let finite = self.walks.iter().chain(&self.counts).all(|value| value.is_finite());
        if !finite || self.counts.iter().any(|count| *count < 0.0) {
            return None;
        }
        let source = Source::restored(self.address, self.is_site);
        let [failures, successes, half_open, destinations] = self.contacts;
        let history = match self.history {
            Some(history) => Some(Box::new(history.restored(taken)?)),
            None => None,
        };
        Some(Entry {
            proven: self.proven.map(time),
            failures,
            successes,
            repeats: self.repeats,
            half_open,
            leaves_from: self.left_from[0],
            from_one_port: self.left_from[1],
            destinations,
            was_served: self.served[0],
            is_served: self.served[1],
            resolved_failures: self.resolved[0],
            resolved_successes: self.resolved[1],
            walk: self.walks[0],
            slow_walk: self.walks[1],
            counts: self.counts,
            logins: self.logins,
            votes: self.votes,
            latest: self.latest.target(),
            origin: points.get(usize::from(self.point)).copied().unwrap_or_default(),
            level: Level::from_number(self.level)?,
            max_score: self.max_score.min(100),
            is_excused: self.is_excused,
            history,
            ..Entry::new(source, time(self.last), self.favourite.target())
        })
    }
}

// === impl Place ===

impl Place {
    fn of(target: Target) -> Self {
        Self(target.address, target.port, target.transport.0)
    }

    fn target(self) -> Target {
        Target { address: self.0, port: self.1, transport: Transport(self.2) }
    }
}

// === impl SavedHistory ===

impl SavedHistory {
    fn of(history: &History) -> Self {
        Self {
            offences: history.offences,
            offended: history.offended.map(Timestamp::nanos),
            standing: history.standing as u8,
            until: history.until.map(Timestamp::nanos),
            verdict: history.verdict.map(|id| *id.bytes()),
            is_silenced: history.is_silenced,
            told: history.told.map(|told| (told.secs, told.evidence)),
            sessions: history.sessions.iter().map(|session| session.nanos()).collect(),
        }
    }

    fn restored(self, taken: Timestamp) -> Option<History> {
        let time = |nanos| Timestamp::from_nanos(nanos).min(taken);
        let told_well = self.told.iter().all(|(_, evidence)| evidence.is_finite());
        if !self.offences.is_finite() || self.offences < 0.0 || !told_well {
            return None;
        }
        Some(History {
            offences: self.offences,
            offended: self.offended.map(time),
            standing: Level::from_number(self.standing)?,
            until: self.until.map(Timestamp::from_nanos),
            verdict: self.verdict.map(Id::from_bytes),
            is_silenced: self.is_silenced,
            told: self.told.map(|(secs, evidence)| Told { secs, evidence }),
            sessions: self.sessions.into_iter().take(MAX_SESSIONS).map(time).collect(),
            is_restored: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_was_written_before_successes_counted_again_is_read() {
        let here = IpAddr::from([192, 0, 2, 1]);
        let target = Target { address: here, port: 1, transport: Transport::TCP };
        let entry = Entry::new(Source::restored(here, false), Timestamp::from_nanos(1), target);
        let saved = Saved::of(&entry, &mut Points::default());
        let mut bytes = rmp_serde::to_vec(&saved).unwrap();
        // An array of more than fifteen, whose last is a zero.
        assert_eq!((bytes[0], bytes.pop()), (0xdc, Some(0)));
        bytes[2] -= 1;
        assert_eq!(rmp_serde::from_slice::<Saved>(&bytes).unwrap(), saved);
    }
}
