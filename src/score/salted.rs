//! Hashes that outlive the process: keyed by a salt that nobody outside knows, and that a snapshot keeps.

use std::{
    hash::{BuildHasher, DefaultHasher, Hasher, RandomState},
    net::IpAddr,
};

use super::source::Source;

/// Makes keys of 64 bits that whoever sends packets can't make collide: those of `SipHash`, begun with the salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(pub(super) [u64; 2]);

/// What a key is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum What {
    Contact,
    Destination,
    AckProbe,
    Echo,
    /// Where somebody logs in, whoever it is.
    Login,
}

// === impl Salt ===

impl Salt {
    /// A new one, from the system's randomness.
    pub(super) fn random() -> Self {
        Self([1, 2].map(|part: u64| RandomState::new().hash_one(part)))
    }

    /// The key of what a source did to an address, and with which number (a port and a transport).
    pub(super) fn key(self, what: What, source: Source, to: IpAddr, number: u32) -> u64 {
        // One write: the hasher takes small ones apart.
        let mut bytes = [0; 56];
        bytes[..8].copy_from_slice(&self.0[0].to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.0[1].to_ne_bytes());
        bytes[16..32].copy_from_slice(&source.bits().to_ne_bytes());
        bytes[32..48].copy_from_slice(&bits(to).to_ne_bytes());
        bytes[48..52].copy_from_slice(&number.to_ne_bytes());
        bytes[52] = what as u8;
        bytes[53] = u8::from(source.is_site()) | u8::from(to.is_ipv6()) << 1;
        bytes[54] = u8::from(source.is_ipv6());
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        hasher.finish()
    }
}

/// An address as a number; of IPv4 the mapped one.
pub(super) const fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_for_the_same_salt_and_no_other() {
        let (one, other) = (Salt::random(), Salt::random());
        assert_ne!(one, other);
        let of = |salt: Salt, what, port| {
            let source = Source::restored([192, 0, 2, 1].into(), false);
            salt.key(what, source, [10, 0, 0, 1].into(), port)
        };
        assert_eq!(of(one, What::Contact, 1), of(Salt(one.0), What::Contact, 1));
        for different in
            [of(other, What::Contact, 1), of(one, What::Echo, 1), of(one, What::Contact, 2)]
        {
            assert_ne!(of(one, What::Contact, 1), different);
        }
    }
}
