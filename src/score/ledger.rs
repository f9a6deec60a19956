//! One entry a source: its signals, which fade, what is known of its path, and what was decided.
//!
//! The number of entries is bounded. When all are in use, a hand goes round: the first one goes that nothing was ever
//! decided about, and that was not heard of again since the hand came by; where there is none among a few, the one of
//! them that matters least: the lowest level, then the longest silent. So a flood from addresses that are seen once
//! pushes out its own.

mod before;
mod history;
mod weighing;

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use self::before::Before;
pub(super) use self::history::{History, Told};
use super::{
    policy::{Level, Policy},
    source::Source,
    trail::Chain,
};
use crate::record::{ObservationPoint, Signal, Timestamp};

/// After so long a silence a source is a new one.
const SILENCE_NANOS: u64 = 24 * 3_600 * NANOS;
/// How long a source's path stays proven.
const PROVEN_NANOS: u64 = 600 * NANOS;
const NANOS: u64 = 1_000_000_000;
/// Entries that are looked at for one to go, at most.
const CANDIDATES: usize = 8;
/// The walk goes no higher than so many times its threshold, or a long scan would be held against its
/// source for weeks.
const CEILING: f32 = 2.0;
/// Destinations that an entry itself knows.
const MET: usize = 8;
/// Values below are nothing.
const NOTHING: f32 = 0.001;

/// The sources, by their slots.
#[derive(Debug)]
pub(super) struct Ledger {
    slots: HashTable<Slot>,
    hasher: RandomState,
    entries: Vec<Entry>,
    /// The slot that was looked up last: most often the next one too.
    latest: usize,
    /// The source that had none.
    absent: Option<Source>,
    max: usize,
    hand: usize,
}

/// Where an entry is, with its source's hash: as small as it can be, for each look is at another place.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    place: u32,
}

/// What is known of a source.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Entry {
    pub(super) source: Source,
    /// When it was heard of last: as of then the values below hold.
    pub(super) last: Timestamp,
    pub(super) proven: Option<Timestamp>,
    pub(super) failures: u32,
    pub(super) successes: u32,
    /// Successes with what had worked that count once more for the share of failures, and when the last one did.
    pub(super) repeats: u32,
    pub(super) repeated: u32,
    /// Contacts that it left half open.
    pub(super) half_open: u32,
    /// A guess at the port that it leaves most of them from (a majority vote, as below), and the votes.
    pub(super) leaves_from: u16,
    pub(super) from_one_port: u16,
    /// It completed a first contact while nothing weighed against it, and one since then.
    pub(super) was_served: bool,
    pub(super) is_served: bool,
    /// First contacts with what it had resolved, which count neither way as long as they mostly succeed.
    pub(super) resolved_failures: u16,
    pub(super) resolved_successes: u16,
    /// Distinct destinations.
    pub(super) destinations: u32,
    pub(super) walk: f32,
    pub(super) slow_walk: f32,
    /// What it was before it began to fail.
    pub(super) before: Before,
    /// What the other signals have counted, by their index.
    pub(super) counts: [f32; Signal::COUNT],
    /// Destinations, hashed, where it tries to log in.
    pub(super) logins: [u32; 8],
    /// A guess at what it contacts most (Boyer and Moore's majority vote), and what it tried last.
    pub(super) favourite: Target,
    pub(super) votes: u32,
    pub(super) latest: Target,
    /// Marks of the destinations that it met first: most sources meet no more, and for these the memory of contacts
    /// need not be asked.
    pub(super) met: [u32; MET],
    pub(super) origin: ObservationPoint,
    pub(super) level: Level,
    pub(super) max_score: u8,
    /// It was heard of again since the hand came by.
    pub(super) is_back: bool,
    /// A verdict about it was lifted: none is made until its evidence has faded.
    pub(super) is_excused: bool,
    pub(super) history: Option<Box<History>>,
    /// Which flows were held against it.
    pub(super) chain: Chain,
}

/// A destination's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: std::net::IpAddr,
    pub(super) port: u16,
    pub(super) transport: crate::record::Transport,
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn new(max: usize) -> Self {
        Self {
            slots: HashTable::new(),
            hasher: RandomState::default(),
            entries: Vec::new(),
            latest: 0,
            absent: None,
            max: max.max(1),
            hand: 0,
        }
    }

    pub(super) fn get(&self, source: Source) -> Option<&Entry> {
        self.find(source).map(|slot| &self.entries[slot])
    }

    #[inline]
    fn find(&self, source: Source) -> Option<usize> {
        let hash = self.hash(source);
        let is_it =
            |slot: &Slot| slot.hash == hash && self.entries[slot.place as usize].source == source;
        self.slots.find(spread(hash), is_it).map(|slot| slot.place as usize)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits are as good as any")]
    fn hash(&self, source: Source) -> u32 {
        self.hasher.hash_one(source) as u32
    }

    pub(super) fn get_mut(&mut self, source: Source) -> Option<&mut Entry> {
        self.slot(source).map(|slot| &mut self.entries[slot])
    }

    pub(super) fn entry(&mut self, source: Source, now: Timestamp, target: Target) -> &mut Entry {
        let (slot, is_back) = match self.slot(source) {
            Some(slot) => (slot, true),
            None => (self.insert(Entry::new(source, now, target)), false),
        };
        let entry = &mut self.entries[slot];
        entry.is_back |= is_back;
        entry
    }

    fn slot(&mut self, source: Source) -> Option<usize> {
        if self.entries.get(self.latest).is_none_or(|entry| entry.source != source) {
            if self.absent == Some(source) {
                return None;
            }
            let found = self.find(source);
            self.absent = if found.is_none() { Some(source) } else { self.absent };
            self.latest = found?;
        }
        Some(self.latest)
    }

    /// Reads what a look at these sources will read, and what it takes to make room for those that are new. What it
    /// gives is of no use.
    pub(super) fn touch(&self, sources: impl Iterator<Item = Source>) -> u64 {
        let (mut sum, mut new) = (0, 0);
        for source in sources {
            match self.get(source) {
                Some(entry) => sum ^= entry.touch(),
                None => new += 1,
            }
        }
        if self.entries.len() < self.max {
            return sum;
        }
        let mut hand = self.hand;
        for _ in 0..new {
            let (least, passed) = self.least(hand);
            sum ^= u64::from(self.find(self.entries[least].source).is_some());
            hand += passed;
        }
        sum
    }

    /// A mark of a destination, which nobody outside can foresee; never 0.
    pub(super) fn mark(&self, destination: std::net::IpAddr) -> u32 {
        let bits = super::salted::bits(destination);
        let hash = self.hasher.hash_one(bits);
        u32::try_from(hash >> 32).unwrap_or(0).max(1)
    }

    /// Puts an entry in, and gives its slot.
    pub(super) fn insert(&mut self, entry: Entry) -> usize {
        let source = entry.source;
        let slot = if self.entries.len() < self.max {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let slot = self.give_up();
            let hash = self.hash(self.entries[slot].source);
            let is_it = |known: &Slot| known.place as usize == slot;
            if let Ok(known) = self.slots.find_entry(spread(hash), is_it) {
                known.remove();
            }
            self.entries[slot] = entry;
            slot
        };
        let (hash, place) = (self.hash(source), u32::try_from(slot).unwrap_or(u32::MAX));
        self.slots.insert_unique(spread(hash), Slot { hash, place }, |slot| spread(slot.hash));
        (self.latest, self.absent) = (slot, None);
        slot
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Makes room: the slot of the entry that is to go.
    fn give_up(&mut self) -> usize {
        let (least, passed) = self.least(self.hand);
        let all = self.entries.len();
        for further in 0..passed {
            self.entries[(self.hand + further) % all].is_back = false;
        }
        self.hand = (self.hand + passed) % all;
        least
    }

    /// The slot of the entry that is to go when the hand stands there, and how many it passes.
    fn least(&self, hand: usize) -> (usize, usize) {
        let all = self.entries.len();
        let slots = (0..CANDIDATES.min(all)).map(|further| (hand + further) % all);
        let is_none = |slot: usize| {
            let entry = &self.entries[slot];
            !entry.is_back && entry.level == Level::None && entry.history.is_none()
        };
        if let Some((before, slot)) = slots.clone().enumerate().find(|(_, slot)| is_none(*slot)) {
            return (slot, before + 1);
        }
        let worth = |slot: &usize| {
            let entry = &self.entries[*slot];
            (entry.level, entry.history.is_some(), entry.last, *slot)
        };
        (slots.min_by_key(worth).unwrap_or(0), CANDIDATES)
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(source: Source, now: Timestamp, target: Target) -> Self {
        Self {
            source,
            last: now,
            proven: None,
            failures: 0,
            successes: 0,
            repeats: 0,
            repeated: 0,
            half_open: 0,
            leaves_from: 0,
            from_one_port: 0,
            was_served: false,
            is_served: false,
            resolved_failures: 0,
            resolved_successes: 0,
            destinations: 0,
            walk: 0.0,
            slow_walk: 0.0,
            before: Before::default(),
            counts: [0.0; Signal::COUNT],
            logins: [0; 8],
            favourite: target,
            votes: 0,
            latest: target,
            origin: ObservationPoint::default(),
            level: Level::None,
            max_score: 0,
            is_back: false,
            is_excused: false,
            history: None,
            met: [0; MET],
            chain: Chain::default(),
        }
    }

    /// Reads its lines of memory.
    fn touch(&self) -> u64 {
        let parts = [self.failures, self.votes, self.logins[0], self.met[0]];
        let bits = [self.walk.to_bits(), self.counts[0].to_bits()];
        u64::from(parts.iter().chain(&bits).fold(0, |sum, part| sum ^ part))
    }

    /// Lets its values fade until `now`. Time that goes back changes nothing.
    pub(super) fn fade(&mut self, now: Timestamp, policy: &Policy) {
        let nanos = now.since(self.last);
        if nanos == 0 {
            return;
        }
        self.last = now;
        if nanos >= SILENCE_NANOS {
            (self.failures, self.successes, self.half_open) = (0, 0, 0);
            (self.repeats, self.repeated) = (0, 0);
            self.from_one_port = 0;
            (self.destinations, self.met) = (0, [0; MET]);
            self.chain = Chain::default();
            (self.resolved_failures, self.resolved_successes) = (0, 0);
        }
        let secs = seconds(nanos);
        let faded = |value: f32, half_life_secs: f32| {
            let value = value * (-secs / half_life_secs).exp2();
            if value.abs() < NOTHING { 0.0 } else { value }
        };
        if self.walk != 0.0 {
            self.walk = faded(self.walk, policy.of(Signal::Scan).half_life_secs);
        }
        if self.slow_walk != 0.0 {
            self.slow_walk = faded(self.slow_walk, policy.slow_half_life_secs);
        }
        for (count, common) in self.counts.iter_mut().zip(&policy.common) {
            if *count != 0.0 {
                *count = faded(*count, common.half_life_secs);
            }
        }
        if self.counts[Signal::AuthAttempts.index()] == 0.0 {
            self.logins = [0; 8];
        }
    }

    /// Moves the walk by a step.
    pub(super) fn step(&mut self, step: f32, policy: &Policy) {
        let scan = &policy.settings.signals.scan;
        let floor = super::policy::single(scan.floor);
        let ceiling = policy.of(Signal::Scan).threshold * CEILING;
        self.walk = (self.walk + step).clamp(floor, ceiling);
        self.slow_walk = (self.slow_walk + step).clamp(floor, ceiling);
    }

    /// A contact was left half open, from this port of its own; 0 if that is not known.
    pub(super) fn leave_open(&mut self, from: u16) {
        self.half_open = self.half_open.saturating_add(1);
        if from != 0 && from == self.leaves_from {
            self.from_one_port = self.from_one_port.saturating_add(1);
        } else if self.from_one_port > 1 {
            self.from_one_port -= 1;
        } else if from != 0 {
            (self.leaves_from, self.from_one_port) = (from, 1);
        }
    }

    /// What had worked succeeds again. It counts once more each so often, as often as it might had each destination a
    /// turn of its own.
    pub(super) fn repeat(&mut self, now: Timestamp, policy: &Policy) {
        let scan = &policy.settings.signals.scan;
        let most = self.successes.saturating_mul(scan.max_repeats).min(scan.max_all_repeats);
        if self.repeats >= most {
            return;
        }
        let now = whole_secs(now);
        let secs = now.saturating_sub(self.repeated);
        if self.repeated == 0 {
            self.repeated = now;
        } else if u64::from(secs) * u64::from(self.successes) >= scan.repeat_secs {
            (self.repeats, self.repeated) = (self.repeats + 1, now);
        }
    }

    /// First contacts that came to something.
    pub(super) fn contacts(&self) -> u32 {
        self.failures.saturating_add(self.half_open).saturating_add(self.successes)
    }

    pub(super) fn is_proven(&self, now: Timestamp) -> bool {
        self.proven.is_some_and(|proven| now.since(proven) < PROVEN_NANOS)
    }

    /// Whether somebody else may have sent what failed, in its name: it was an honest client before, has
    /// begun nothing since that came to anything, and every signal against it can be raised by others.
    /// Then neither its handshake nor the RSTs by which its host answers what it never asked for prove
    /// that it is the one who scans.
    pub(super) fn may_be_framed(&self, mut signals: impl Iterator<Item = Signal>) -> bool {
        self.was_served && !self.is_served && signals.all(Signal::is_spoofable)
    }

    /// A measure of all the evidence there is: what grew fourfold is worth another record.
    pub(super) fn evidence(&self) -> f32 {
        let failed = self.failures.saturating_add(self.half_open);
        let failures = f32::from(u16::try_from(failed).unwrap_or(u16::MAX));
        failures + self.counts.iter().sum::<f32>()
    }

    pub(super) fn history(&mut self) -> &mut History {
        self.history.get_or_insert_default()
    }

    /// Counts a destination by its mark, if it is one of the first few: those the entry itself knows, and what it
    /// knew before a restart is not counted again. Gives whether it is none of them.
    pub(super) fn is_further(&mut self, mark: u32) -> bool {
        for (count, known) in (1..).zip(&mut self.met) {
            if *known == mark {
                return false;
            }
            if *known == 0 {
                *known = mark;
                self.destinations = self.destinations.max(count);
                return false;
            }
        }
        true
    }

    /// Votes for what it contacts most.
    pub(super) fn aim(&mut self, target: Target) {
        self.latest = target;
        if self.favourite.address == target.address {
            self.favourite.port = target.port;
            self.votes = self.votes.saturating_add(1);
        } else if self.votes == 0 {
            (self.favourite, self.votes) = (target, 1);
        } else {
            self.votes -= 1;
        }
    }
}

/// A hash of 64 bits, for a table that takes its places from the low ones and its marks from the high ones.
const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}

/// Seconds since the epoch.
fn whole_secs(time: Timestamp) -> u32 {
    let secs = u64::try_from(time.nanos()).unwrap_or(0) / NANOS;
    u32::try_from(secs).unwrap_or(u32::MAX)
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "what fades needs no more than seven digits")]
pub(super) fn seconds(nanos: u64) -> f32 {
    nanos as f32 / NANOS as f32
}

/// The nearest whole number, 0 to 255.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is clamped to what fits"
)]
pub(super) fn whole(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// What an entry takes, and what a history does.
#[cfg(test)]
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();
#[cfg(test)]
pub(super) const HISTORY_BYTES: usize = size_of::<History>();
