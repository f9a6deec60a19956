//! A channel: what the collector counts acknowledgement ids by.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use reqwest::header::HeaderValue;

/// Answers overtake each other, so an id may be this far behind the highest; further back, the
/// collector has started to count anew.
const OVERTAKEN: u64 = 16;

/// One channel, new with each start of ours and whenever the collector may have forgotten it.
#[derive(Debug)]
pub(super) struct Channel {
    guid: Guid,
    highest: AtomicU64,
}

/// A random (version 4) UUID of RFC 9562.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Guid(u128);

// === impl Channel ===

impl Channel {
    pub(super) fn new() -> Self {
        Self { guid: Guid::random(), highest: AtomicU64::new(0) }
    }

    pub(super) fn guid(&self) -> Guid {
        self.guid
    }

    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::try_from(self.guid.to_string()).expect("a GUID is hexadecimal digits")
    }

    /// Whether the collector counts on from where it was, rather than anew.
    pub(super) fn counts_on(&self, ack_id: u64) -> bool {
        let highest = self.highest.fetch_max(ack_id, Ordering::Relaxed);
        ack_id.saturating_add(OVERTAKEN) >= highest
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
    fn an_id_far_behind_means_that_the_collector_counts_anew() {
        let channel = Channel::new();
        for (id, on) in [(0, true), (40, true), (30, true), (41, true), (3, false)] {
            assert_eq!(channel.counts_on(id), on, "{id}");
        }
    }
}
