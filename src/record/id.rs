//! Record ids: the same record read twice has the same id, so a sink can tell a retry from news.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Timestamp;

/// A 128-bit record id, written as 32 lower-case hexadecimal digits.
///
/// It is a BLAKE3 hash cut to 128 bits rather than a fast hash: an id decides whether a server's
/// "already there" counts as delivered, so nobody who chooses packet contents may make two collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 16]);

/// Collects the parts of an id, each with its length, so that neighbours can't run together.
#[derive(Debug)]
pub struct IdBuilder(blake3::Hasher);

// === impl Id ===

impl Id {
    /// Starts an id of the given kind (`packet`, `flow`, `alert`) seen by `observer`.
    pub fn of(kind: &str, observer: &str) -> IdBuilder {
        IdBuilder(blake3::Hasher::new()).bytes(kind.as_bytes()).bytes(observer.as_bytes())
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
        self.0.update(&(bytes.len() as u64).to_be_bytes()).update(bytes);
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.0.update(&number.to_be_bytes());
        self
    }

    /// Adds a time.
    #[must_use]
    pub fn time(mut self, time: Timestamp) -> Self {
        self.0.update(&time.nanos().to_be_bytes());
        self
    }

    /// The id.
    pub fn finish(self) -> Id {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        Id(bytes)
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
    fn an_id_is_stable_across_releases() {
        let id = Id::of("packet", "sensor").number(1).time(Timestamp::from_nanos(2)).finish();
        insta::assert_snapshot!(id.to_string());
    }
}
