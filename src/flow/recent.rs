//! What was last known of keys that the table no longer holds, bounded in number.
//!
//! Who began the connections that are over, so that a straggler or a keep-alive after hours is no
//! news; and whom a source has met already. Keys are 64 bits of a secret hash, so that two are taken
//! for one as good as never; one bit of them gives its place to the mark that is kept with the key.
//!
//! There are two generations: once the younger one has come to half of what may be kept, the older
//! one goes, the oldest half at once. So nothing has to be known of each key's age, and a flow that
//! comes and goes touches few cache lines here.

use std::mem;

use hashbrown::HashTable;

/// The bit of a stored key that is its mark: one that a table of less than 2^40 places asks for
/// neither when it looks for a place nor when it compares what lies there (the highest seven).
const MARK: u64 = 1 << 40;

/// Keys, each with a mark.
#[derive(Debug)]
pub(super) struct Recent {
    capacity: usize,
    young: HashTable<u64>,
    old: HashTable<u64>,
}

// === impl Recent ===

impl Recent {
    /// Room for `capacity` keys, of which the younger half is there for certain.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, young: HashTable::new(), old: HashTable::new() }
    }

    /// Keeps a key with its mark.
    pub(super) fn remember(&mut self, key: u64, mark: bool) {
        if let Some(known) = self.young.find_mut(name(key), |other| name(*other) == name(key)) {
            *known = marked(key, mark);
            return;
        }
        if self.capacity == 0 {
            return;
        }
        if self.young.len() >= (self.capacity / 2).max(1) {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            if self.capacity == 1 {
                self.old.clear();
            }
        }
        self.young.insert_unique(name(key), marked(key, mark), |other| name(*other));
    }

    /// Takes a key out again; tells its mark.
    pub(super) fn take(&mut self, key: u64) -> Option<bool> {
        let mut found = None;
        for generation in [&mut self.old, &mut self.young] {
            let is_it = |other: &u64| name(*other) == name(key);
            if let Ok(entry) = generation.find_entry(name(key), is_it) {
                found = Some(entry.remove().0 & MARK != 0);
            }
        }
        found
    }

    /// Whether a key is known.
    pub(super) fn contains(&self, key: u64) -> bool {
        let is_in = |generation: &HashTable<u64>| {
            generation.find(name(key), |other| name(*other) == name(key)).is_some()
        };
        is_in(&self.young) || is_in(&self.old)
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

/// What is compared of a key.
fn name(key: u64) -> u64 {
    key & !MARK
}

fn marked(key: u64, mark: bool) -> u64 {
    if mark { key | MARK } else { name(key) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A number spread over the bits, as a hash is.
    fn key(number: u64) -> u64 {
        (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn the_oldest_half_goes_first() {
        let mut roles = Recent::new(4);
        for number in 0..5 {
            roles.remember(key(number), number % 2 == 0);
        }
        let known: Vec<_> = (0..5).map(|number| roles.take(key(number))).collect();
        assert_eq!(known, [None, None, Some(true), Some(false), Some(true)]);
        assert_eq!(roles.take(key(4)), None);
    }

    #[test]
    fn what_was_remembered_again_is_as_young_as_the_last_time() {
        let mut roles = Recent::new(4);
        for (number, mark) in [(1, true), (2, true), (1, false), (3, true), (4, true)] {
            roles.remember(key(number), mark);
        }
        assert_eq!([1, 2, 3, 4].map(|it| roles.contains(key(it))), [true, true, true, true]);
        let mut roles = Recent::new(4);
        for number in [1, 2, 3, 1, 4, 5] {
            roles.remember(key(number), true);
        }
        assert_eq!([1, 2, 3].map(|it| roles.contains(key(it))), [true, false, true]);
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let mut roles = Recent::new(0);
        roles.remember(key(1), true);
        assert_eq!(roles.take(key(1)), None);
    }

    proptest! {
        /// Never more than there is room for; the younger half is there, each with its last mark.
        #[test]
        fn the_younger_half_is_there(
            capacity in 1_usize..12,
            steps in prop::collection::vec((0_u64..40, any::<bool>(), any::<bool>()), 0..200),
        ) {
            let mut recent = Recent::new(capacity);
            // In the order in which they were remembered last; no mark: taken out since.
            let mut model: Vec<(u64, Option<bool>)> = Vec::new();
            for (number, mark, taken) in steps {
                let before = model.iter().position(|(known, _)| *known == number);
                if taken {
                    let known = before.and_then(|at| model[at].1.take());
                    let found = recent.take(key(number));
                    prop_assert!(found.is_none() || found == known);
                } else {
                    recent.remember(key(number), mark);
                    before.map(|at| model.remove(at));
                    model.push((number, Some(mark)));
                }
                prop_assert!(recent.young.len() + recent.old.len() <= capacity);
                for (number, mark) in model.iter().rev().take((capacity / 2).max(1)) {
                    prop_assert_eq!(recent.contains(key(*number)), mark.is_some());
                }
            }
        }
    }
}
