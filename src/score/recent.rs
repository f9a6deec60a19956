//! A map that forgets: bounded in number, and what was not asked for in a while goes first.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashMap;

use crate::record::Timestamp;

/// Two generations: when the young one is full or old, the old one is forgotten and the young one takes
/// its place. What is asked for moves to the young one.
#[derive(Debug)]
pub(super) struct Recent<K, V, S> {
    young: HashMap<K, V, S>,
    old: HashMap<K, V, S>,
    capacity: usize,
    max_age_nanos: u64,
    since: Option<Timestamp>,
}

// === impl Recent ===

impl<K: Eq + Hash, V: Default, S: BuildHasher + Clone> Recent<K, V, S> {
    /// Holds `capacity` keys at least, if so many were asked for, and twice as many at most; each for
    /// `max_age_nanos` after it was last asked for, and twice as long at most.
    pub(super) fn new(capacity: usize, max_age_nanos: u64, hasher: S) -> Self {
        Self {
            young: HashMap::with_hasher(hasher.clone()),
            old: HashMap::with_hasher(hasher),
            capacity: capacity.max(1),
            max_age_nanos,
            since: None,
        }
    }

    /// The value of a key, made if there is none.
    pub(super) fn entry(&mut self, key: K, now: Timestamp) -> &mut V {
        let since = *self.since.get_or_insert(now);
        let is_old = now.since(since) >= self.max_age_nanos;
        if is_old || (self.young.len() >= self.capacity && !self.young.contains_key(&key)) {
            // Nothing of the old one is younger than twice the age.
            if now.since(since) >= 2 * self.max_age_nanos {
                self.young.clear();
            }
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.since = Some(now);
        }
        let old = &mut self.old;
        let young = &mut self.young;
        young.entry(key).or_insert_with_key(|key| old.remove(key).unwrap_or_default())
    }

    /// The value of a key that is known.
    pub(super) fn known(&mut self, key: &K) -> Option<&mut V> {
        match self.young.get_mut(key) {
            Some(value) => Some(value),
            None => self.old.get_mut(key),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let mut recent = Recent::<u32, u32, _>::new(10, u64::MAX / 4, RandomState::new());
        *recent.entry(0, at(0)) = 7;
        for key in 1..1_000 {
            *recent.entry(key, at(0)) = 1;
            assert_eq!(*recent.entry(0, at(0)), 7, "after {key}");
        }
        assert!(recent.len() <= 20);
        assert_eq!(*recent.entry(1, at(0)), 0, "forgotten");
    }

    #[test]
    fn what_is_not_asked_for_is_forgotten_in_time() {
        let mut recent = Recent::<u32, u32, _>::new(10, 100_000_000_000, RandomState::new());
        *recent.entry(1, at(0)) = 7;
        assert_eq!(*recent.entry(2, at(120)), 0);
        assert_eq!(recent.known(&1), Some(&mut 7));
        recent.entry(2, at(240));
        assert_eq!(recent.known(&1), None);
        *recent.entry(3, at(250)) = 3;
        assert_eq!(*recent.entry(3, at(10_000)), 0, "a long silence forgets both");
    }
}
