//! What was seen of contacts, by their keys: bounded, and what was not asked for in a while goes first.
//!
//! A contact that is new costs one look here, so the table is made for that: a line of memory holds seven
//! keys and their marks, and only where more than seven belong into a line is another one looked at.

use crate::record::Timestamp;

/// Keys of a line.
const SLOTS: usize = 7;
/// Keys a line, on average, from which on the table has twice as many lines.
const FULL: usize = 4;
/// Lines behind its own that a key may be in.
const REACH: usize = 7;
const MIN_LINES: usize = 64;

/// Bits of a mark that say whether its slot is taken, and whether its key is of the old generation; the
/// others say what was seen.
const TAKEN: u8 = 0x80;
const OLD: u8 = 0x40;
const SEEN: u8 = 0x3f;

/// Keys with what was seen of them, in two generations: when the young one is full or old, the old one is
/// forgotten and the young one takes its place. What is asked for becomes young.
#[derive(Debug)]
pub(super) struct Seen {
    /// A power of two of them.
    lines: Vec<Line>,
    most_lines: usize,
    young: usize,
    old: usize,
    capacity: usize,
    max_age_nanos: u64,
    since: Option<Timestamp>,
}

/// As much as a processor reads at once.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Line {
    keys: [u64; SLOTS],
    marks: [u8; SLOTS],
    /// Keys that belong here and had to go into a line behind.
    spilled: u8,
}

/// Where a key is.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: usize,
    slot: usize,
}

// === impl Seen ===

impl Seen {
    /// Holds `capacity` keys at least, if so many were asked for, and twice as many at most; each for
    /// `max_age_nanos` after it was last asked for, and twice as long at most. The keys are hashes that
    /// nobody can choose.
    pub(super) fn new(capacity: usize, max_age_nanos: u64) -> Self {
        let most_lines = (2 * capacity.max(1) / FULL).next_power_of_two().max(MIN_LINES);
        Self {
            lines: vec![Line::default(); MIN_LINES],
            most_lines,
            young: 0,
            old: 0,
            capacity: capacity.max(1),
            max_age_nanos,
            since: None,
        }
    }

    /// Adds to what was seen of a key, and gives what had been before.
    pub(super) fn add(&mut self, key: u64, seen: u8, now: Timestamp) -> u8 {
        let since = *self.since.get_or_insert(now);
        let age = now.since(since);
        if age >= self.max_age_nanos || (self.young >= self.capacity && !self.is_young(key)) {
            // Nothing of the old one is younger than twice the age.
            if age >= 2 * self.max_age_nanos {
                self.grow_old();
            }
            self.grow_old();
            self.since = Some(now);
        }
        if let Some(place) = self.find(key) {
            let mark = &mut self.lines[place.line].marks[place.slot];
            let before = *mark;
            *mark = (before | seen & SEEN) & !OLD;
            if before & OLD != 0 {
                self.old -= 1;
                self.young += 1;
            }
            return before & SEEN;
        }
        if self.len() >= FULL * self.lines.len() && self.lines.len() < self.most_lines {
            self.spread();
        }
        self.put(key, TAKEN | seen & SEEN);
        0
    }

    /// What was seen of a key, if it is known.
    pub(super) fn get(&self, key: u64) -> Option<u8> {
        self.find(key).map(|place| self.mark(place) & SEEN)
    }

    /// Reads the line of a key, so that it is there when it is asked for. What it gives is of no use.
    #[inline]
    pub(super) fn touch(&self, key: u64) -> u64 {
        self.lines[self.line(key, 0)].keys[0]
    }

    /// All keys that are known and what was seen of them, the young ones first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u8)> {
        self.of(0).chain(self.of(OLD))
    }

    fn of(&self, generation: u8) -> impl Iterator<Item = (u64, u8)> {
        let slots = self.lines.iter().flat_map(|line| line.keys.iter().zip(&line.marks));
        slots
            .filter(move |(_, mark)| **mark & (TAKEN | OLD) == TAKEN | generation)
            .map(|(key, mark)| (*key, mark & SEEN))
    }

    fn len(&self) -> usize {
        self.young + self.old
    }

    fn is_young(&self, key: u64) -> bool {
        self.find(key).is_some_and(|place| self.mark(place) & OLD == 0)
    }

    fn mark(&self, Place { line, slot }: Place) -> u8 {
        self.lines[line].marks[slot]
    }

    /// The line that a key belongs into, or one behind it.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are what counts")]
    fn line(&self, key: u64, behind: usize) -> usize {
        (key as usize).wrapping_add(behind) & (self.lines.len() - 1)
    }

    #[inline]
    fn find(&self, key: u64) -> Option<Place> {
        let home = self.line(key, 0);
        let line = &self.lines[home];
        if let Some(slot) = line.find(key) {
            return Some(Place { line: home, slot });
        }
        if line.spilled == 0 {
            return None;
        }
        (1..=REACH).find_map(|behind| {
            let line = self.line(key, behind);
            self.lines[line].find(key).map(|slot| Place { line, slot })
        })
    }

    /// Puts a new key in. Where all lines that it may be in are full, another one of its line goes.
    fn put(&mut self, key: u64, mark: u8) {
        let home = self.line(key, 0);
        let free = (0..=REACH).find_map(|behind| {
            let line = self.line(key, behind);
            self.lines[line].free().map(|slot| Place { line, slot })
        });
        let place = free.unwrap_or_else(|| {
            let slot = self.lines[home].least();
            self.remove(Place { line: home, slot });
            Place { line: home, slot }
        });
        self.lines[home].spilled += u8::from(place.line != home);
        let line = &mut self.lines[place.line];
        (line.keys[place.slot], line.marks[place.slot]) = (key, mark);
        if mark & OLD == 0 {
            self.young += 1;
        } else {
            self.old += 1;
        }
    }

    fn remove(&mut self, place: Place) {
        let line = &mut self.lines[place.line];
        let (key, mark) = (line.keys[place.slot], line.marks[place.slot]);
        line.marks[place.slot] = 0;
        if mark & OLD == 0 {
            self.young -= 1;
        } else {
            self.old -= 1;
        }
        let home = self.line(key, 0);
        self.lines[home].spilled -= u8::from(place.line != home);
    }

    /// Forgets the old generation; the young one takes its place.
    fn grow_old(&mut self) {
        for line in 0..self.lines.len() {
            for slot in 0..SLOTS {
                let place = Place { line, slot };
                match self.mark(place) & (TAKEN | OLD) {
                    0 => {}
                    TAKEN => self.lines[line].marks[slot] |= OLD,
                    _ => self.remove(place),
                }
            }
        }
        (self.old, self.young) = (self.young + self.old, 0);
    }

    /// Gives the keys twice as many lines.
    fn spread(&mut self) {
        let twice = vec![Line::default(); 2 * self.lines.len()];
        let before = std::mem::replace(&mut self.lines, twice);
        (self.young, self.old) = (0, 0);
        for line in before {
            for (key, mark) in line.keys.into_iter().zip(line.marks) {
                if mark & TAKEN != 0 {
                    self.put(key, mark);
                }
            }
        }
    }
}

// === impl Line ===

impl Line {
    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let slots = self.keys.iter().zip(&self.marks);
        slots.into_iter().position(|(known, mark)| *known == key && mark & TAKEN != 0)
    }

    fn free(&self) -> Option<usize> {
        self.marks.iter().position(|mark| mark & TAKEN == 0)
    }

    /// What of a full line is of least use: an old key, else any.
    fn least(&self) -> usize {
        self.marks.iter().position(|mark| mark & OLD != 0).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_nanos(secs * 1_000_000_000)
    }

    /// A hash, as keys are.
    fn key(number: u64) -> u64 {
        let mixed = (number ^ number >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn a_line_is_what_a_processor_reads_at_once() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let mut seen = Seen::new(10, u64::MAX / 4);
        seen.add(key(0), 7, at(0));
        for number in 1..1_000 {
            seen.add(key(number), 1, at(0));
            assert_eq!(seen.add(key(0), 0, at(0)), 7, "after {number}");
        }
        assert!(seen.len() <= 20);
        assert_eq!(seen.add(key(1), 1, at(0)), 0, "forgotten");
    }

    #[test]
    fn what_is_not_asked_for_is_forgotten_in_time() {
        let mut seen = Seen::new(10, 100_000_000_000);
        seen.add(1, 7, at(0));
        seen.add(2, 1, at(120));
        assert_eq!(seen.get(1), Some(7));
        seen.add(2, 1, at(240));
        assert_eq!(seen.get(1), None);
        seen.add(3, 3, at(250));
        assert_eq!(seen.add(3, 3, at(10_000)), 0, "a long silence forgets both");
    }

    #[test]
    fn a_million_keys_are_all_there_once_and_take_no_more_than_their_lines() {
        let mut seen = Seen::new(1 << 18, u64::MAX / 4);
        for number in 0..1_u64 << 20 {
            assert_eq!(seen.add(key(number), 1, at(0)), 0, "{number}");
        }
        let (least, most) = (1 << 18, 1 << 19);
        assert!((least..=most).contains(&seen.len()), "{}", seen.len());
        assert_eq!(seen.lines.len(), most / FULL);
        // The last ones are the young.
        let missing = ((1 << 20) - least as u64..1 << 20).filter(|n| seen.get(key(*n)).is_none());
        assert_eq!(missing.count(), 0);
        let keys: HashSet<_> = seen.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), seen.len());
        seen.grow_old();
        seen.grow_old();
        assert!(seen.len() == 0 && seen.lines.iter().all(|line| line.spilled == 0));
    }

    #[test]
    fn keys_of_one_line_push_each_other_out_and_nothing_else() {
        let mut seen = Seen::new(1_000, u64::MAX / 4);
        let lines = MIN_LINES as u64;
        seen.add(5, 2, at(0));
        for number in 0..200 {
            seen.add(number * lines * 16 + 8, 1, at(0));
        }
        assert_eq!(seen.get(5), Some(2));
        assert_eq!(seen.iter().count(), seen.len());
        assert_eq!(seen.get(199 * lines * 16 + 8), Some(1), "the last one is there");
    }

    proptest! {
        /// As long as nothing has to go, it is as a map is.
        #[test]
        fn it_knows_what_a_map_knows(
            asked in proptest::collection::vec((0..400_u64, 0..64_u8), 1..600),
        ) {
            let (mut seen, mut map) = (Seen::new(400, u64::MAX / 4), HashMap::new());
            for (number, what) in asked {
                let before = map.entry(number).or_insert(0);
                prop_assert_eq!(seen.add(key(number), what, at(0)), *before);
                *before |= what;
            }
            let all: HashMap<_, _> = seen.iter().collect();
            let expected: HashMap<_, _> = map.into_iter().map(|(n, what)| (key(n), what)).collect();
            prop_assert_eq!(all, expected);
        }
    }
}
