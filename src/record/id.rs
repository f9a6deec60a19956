//! Record ids: the same record read twice has the same id, so a sink can tell a retry from news.

use std::{fmt, io::Write as _, net::IpAddr};

use serde::{Serialize, Serializer};

use super::Timestamp;

/// A 128-bit record id, written as 32 lower-case hexadecimal digits.
///
/// It is a BLAKE3 hash cut to 128 bits rather than a fast hash: an id decides whether a server's
/// "already there" counts as delivered, so nobody who chooses packet contents may make two collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 16]);

/// Bytes that are hashed at once: enough for any id whose observer has a usual name.
const ROOM_BYTES: usize = 160;

/// Collects the parts of an id, each with its length, so that neighbours can't run together.
#[derive(Debug)]
pub struct IdBuilder {
    room: [u8; ROOM_BYTES],
    used: usize,
    /// Takes over where there is no room left. Apart: it is 2 KB, and each part moves the builder.
    hasher: Option<Box<blake3::Hasher>>,
}

// === impl Id ===

impl Id {
    /// Starts an id of the given kind (`packet`, `flow`, `alert`) seen by `observer`.
    pub fn of(kind: &str, observer: &str) -> IdBuilder {
        let empty = IdBuilder { room: [0; ROOM_BYTES], used: 0, hasher: None };
        empty.bytes(kind.as_bytes()).bytes(observer.as_bytes())
    }

    /// The 16 bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its 32 lower-case hexadecimal digits.
    pub fn hex(&self) -> [u8; 32] {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        text
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl IdBuilder ===

impl IdBuilder {
    /// Adds a byte string.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.add(&(bytes.len() as u64).to_be_bytes());
        self.add(bytes);
        self
    }

    /// Adds an address, as it is written.
    #[must_use]
    pub fn address(self, address: IpAddr) -> Self {
        let mut text = [0; 64];
        let mut rest = &mut text[..];
        // The longest, an IPv4 address within an IPv6 one, takes 45 bytes.
        let written = write!(rest, "{address}");
        debug_assert!(written.is_ok());
        let used = 64 - rest.len();
        self.bytes(&text[..used])
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.add(&number.to_be_bytes());
        self
    }

    /// Adds a time.
    #[must_use]
    pub fn time(mut self, time: Timestamp) -> Self {
        self.add(&time.nanos().to_be_bytes());
        self
    }

    /// The id.
    pub fn finish(self) -> Id {
        let hash = match self.hasher {
            Some(hasher) => hasher.finalize(),
            None => blake3::hash(&self.room[..self.used]),
        };
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        Id(bytes)
    }

    fn add(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        if let (None, Some(room)) = (&self.hasher, self.room.get_mut(self.used..end)) {
            room.copy_from_slice(bytes);
            self.used = end;
            return;
        }
        let begun = &self.room[..self.used];
        let hasher = self.hasher.get_or_insert_with(|| {
            let mut hasher = Box::new(blake3::Hasher::new());
            hasher.update(begun);
            hasher
        });
        hasher.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_parts_do_not_run_together() {
        let one = Id::of("flow", "a").bytes(b"bc").finish();
        let other = Id::of("flow", "ab").bytes(b"c").finish();
        assert_ne!(one, other);
    }

    #[test]
    fn an_id_of_any_length_is_the_hash_of_its_parts() {
        for length in [0, 1, 60, 90, 100, 101, 102, 127, 128, 129, 5000] {
            let observer = "o".repeat(length);
            let id = Id::of("packet", &observer).number(1).bytes(b"end").finish();
            let mut hasher = blake3::Hasher::new();
            hasher.update(&6_u64.to_be_bytes()).update(b"packet");
            hasher.update(&(length as u64).to_be_bytes()).update(observer.as_bytes());
            hasher.update(&1_u64.to_be_bytes()).update(&3_u64.to_be_bytes()).update(b"end");
            assert_eq!(id.bytes(), &hasher.finalize().as_bytes()[..16], "{length}");
        }
    }

    #[test]
    fn an_id_is_stable_across_releases() {
        let id = Id::of("packet", "sensor").number(1).time(Timestamp::from_nanos(2)).finish();
        insta::assert_snapshot!(id.to_string());
    }
}
