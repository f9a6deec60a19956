//! What was last known of keys that the table no longer holds, bounded in number: the oldest go first.
//!
//! Who began the connections that are over, so that a straggler or a keep-alive after hours is no
//! news; and whom a source has met already. Keys are 64 bits of a secret hash, so that two are taken
//! for one as good as never.

use std::collections::{HashMap, VecDeque};

/// Values by the hashes of their keys.
#[derive(Debug)]
pub(super) struct Recent<V> {
    capacity: usize,
    known: HashMap<u64, Known<V>, foldhash::fast::RandomState>,
    order: VecDeque<(u64, u32)>,
    stamp: u32,
}

#[derive(Debug, Clone, Copy)]
struct Known<V> {
    value: V,
    /// Tells it from an older one of the same key.
    stamp: u32,
}

// === impl Recent ===

impl<V> Recent<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, known: HashMap::default(), order: VecDeque::new(), stamp: 0 }
    }

    /// Keeps a value.
    pub(super) fn remember(&mut self, key: u64, value: V) {
        if self.capacity == 0 {
            return;
        }
        if self.order.len() >= self.capacity
            && let Some((oldest, stamp)) = self.order.pop_front()
            && self.known.get(&oldest).is_some_and(|known| known.stamp == stamp)
        {
            self.known.remove(&oldest);
        }
        self.stamp = self.stamp.wrapping_add(1);
        self.known.insert(key, Known { value, stamp: self.stamp });
        self.order.push_back((key, self.stamp));
    }

    /// Takes a value out again.
    pub(super) fn take(&mut self, key: u64) -> Option<V> {
        if self.known.is_empty() {
            return None;
        }
        self.known.remove(&key).map(|known| known.value)
    }

    /// Whether a key is known.
    pub(super) fn contains(&self, key: u64) -> bool {
        self.known.contains_key(&key)
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let mut roles = Recent::new(3);
        for key in 0..5 {
            roles.remember(key, key % 2 == 0);
        }
        let known: Vec<_> = (0..5).map(|key| roles.take(key)).collect();
        assert_eq!(known, [None, None, Some(true), Some(false), Some(true)]);
        assert_eq!(roles.take(4), None);
    }

    #[test]
    fn what_was_remembered_again_is_as_young_as_the_last_time() {
        let mut roles = Recent::new(3);
        for key in [1, 2, 1, 3, 4] {
            roles.remember(key, true);
        }
        assert_eq!([1, 2, 3, 4].map(|key| roles.contains(key)), [true, false, true, true]);
        assert!(roles.order.len() <= 3 && roles.known.len() <= 3);
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let mut roles = Recent::new(0);
        roles.remember(1, true);
        assert_eq!(roles.take(1), None);
        assert!(roles.order.is_empty());
    }
}
