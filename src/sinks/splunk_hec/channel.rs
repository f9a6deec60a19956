//! A channel: what the collector counts acknowledgement ids by.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::header::HeaderValue;
use tokio::sync::OwnedMutexGuard;

/// One channel, new with each start of ours and whenever the collector may have forgotten it.
#[derive(Debug)]
pub(super) struct Channel {
    guid: Guid,
    /// None from when it is known that an id may stand for more than one request.
    ids: Mutex<Option<Ids>>,
    /// Whether a request was taken on it.
    open: AtomicBool,
    /// Whose request goes first.
    first: Arc<tokio::sync::Mutex<()>>,
}

/// A random (version 4) UUID of RFC 9562.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Guid(u128);

/// The right to send the first request on a channel, until it is dropped.
pub(super) type First = OwnedMutexGuard<()>;

/// The latest ids that the collector has given.
#[derive(Debug)]
struct Ids {
    given: BTreeSet<u64>,
    /// All below were given, or as good as given.
    floor: u64,
    remembered: usize,
}

// === impl Channel ===

impl Channel {
    /// Requests under way may get their ids in any order: `remembered` has to be a good deal more.
    pub(super) fn new(remembered: usize) -> Self {
        let ids = Ids { given: BTreeSet::new(), floor: 0, remembered };
        Self {
            guid: Guid::random(),
            ids: Mutex::new(Some(ids)),
            open: AtomicBool::new(false),
            first: Arc::default(),
        }
    }

    pub(super) fn guid(&self) -> Guid {
        self.guid
    }

    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::try_from(self.guid.to_string()).expect("a GUID is hexadecimal digits")
    }

    /// Waits for whoever sends on it first; what it gives then is to be held until the answer has
    /// come. `None` once a request was taken.
    pub(super) async fn first(&self) -> Option<First> {
        if self.open.load(Ordering::Acquire) {
            return None;
        }
        let first = Arc::clone(&self.first).lock_owned().await;
        (!self.open.load(Ordering::Acquire)).then_some(first)
    }

    /// A request was taken: any number may go now.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Whether this id stands for the request that was given it, and for no other. When it does not,
    /// no id of the channel does any more: the collector counts anew, or there are two.
    pub(super) fn give(&self, ack_id: u64) -> bool {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let good = ids.as_mut().is_some_and(|ids| ids.give(ack_id));
        if !good {
            *ids = None;
        }
        good
    }

    /// No id of the channel stands for a request any more.
    pub(super) fn close(&self) {
        *self.ids.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

// === impl Ids ===

impl Ids {
    /// Whether it is a new one.
    fn give(&mut self, id: u64) -> bool {
        if id < self.floor || !self.given.insert(id) {
            return false;
        }
        if self.given.len() > self.remembered
            && let Some(lowest) = self.given.pop_first()
        {
            self.floor = lowest.saturating_add(1);
        }
        true
    }
}

// === impl Guid ===

impl Guid {
    fn random() -> Self {
        // Seeded by the system's randomness; a channel has to be unique, not secret.
        let random = RandomState::new();
        let bits = u128::from(random.hash_one(0)) << 64 | u128::from(random.hash_one(1));
        Self(bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bits, mask) = (self.0, u128::MAX);
        let group = |shift: u32, digits: u32| bits >> shift & !(mask << (digits * 4));
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            group(96, 8),
            group(80, 4),
            group(64, 4),
            group(48, 4),
            group(0, 12)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_a_random_uuid_and_unique() {
        let (one, other) = (Guid::random().to_string(), Guid::random().to_string());
        assert_ne!(one, other);
        let groups: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }

    #[test]
    fn answers_may_overtake_each_other() {
        let channel = Channel::new(100);
        for id in [0, 40, 30, 41, 3, 1, 139, 39] {
            assert!(channel.give(id), "{id}");
        }
    }

    #[test]
    fn an_id_given_twice_is_the_end_of_all_ids() {
        let channel = Channel::new(100);
        for (id, stands) in [(0, true), (1, true), (0, false), (2, false)] {
            assert_eq!(channel.give(id), stands, "{id}");
        }
    }

    #[test]
    fn an_id_below_those_remembered_means_that_the_collector_counts_anew() {
        let channel = Channel::new(100);
        assert!((7..200).all(|id| channel.give(id)));
        assert!(!channel.give(0));
    }

    #[test]
    fn a_closed_channel_takes_no_id() {
        let channel = Channel::new(100);
        channel.close();
        assert!(!channel.give(0));
    }

    #[tokio::test]
    async fn one_request_goes_first_until_one_was_taken() {
        let channel = Channel::new(100);
        let first = channel.first().await.unwrap();
        let mut second = Box::pin(channel.first());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        let second = second.await.unwrap();
        let mut third = Box::pin(channel.first());
        assert!(futures_util::poll!(&mut third).is_pending());
        channel.open();
        drop(second);
        assert!(third.await.is_none());
        assert!(channel.first().await.is_none());
    }
}
