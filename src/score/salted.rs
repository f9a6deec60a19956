//! Hashes that outlive the process: keyed by a salt that nobody outside knows, and that a snapshot keeps.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

/// Makes keys of 64 bits that whoever sends packets can't make collide: those of `SipHash`, begun with the salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(pub(super) [u64; 2]);

/// Finds keys that are hashes already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hashed;

/// A key as its own hash.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Itself(u64);

// === impl Salt ===

impl Salt {
    /// A new one, from the system's randomness.
    pub(super) fn random() -> Self {
        Self([1, 2].map(|part: u64| RandomState::new().hash_one(part)))
    }

    /// The key of `what`.
    pub(super) fn key(self, what: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        what.hash(&mut hasher);
        hasher.finish()
    }
}

// === impl Hashed ===

impl BuildHasher for Hashed {
    type Hasher = Itself;

    fn build_hasher(&self) -> Itself {
        Itself::default()
    }
}

impl Hasher for Itself {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_for_the_same_salt_and_no_other() {
        let (one, other) = (Salt::random(), Salt::random());
        assert_ne!(one, other);
        assert_eq!(one.key((1_u8, 2_u16)), Salt(one.0).key((1_u8, 2_u16)));
        assert_ne!(one.key((1_u8, 2_u16)), other.key((1_u8, 2_u16)));
        assert_eq!(Hashed.hash_one(7_u64), 7);
    }
}
