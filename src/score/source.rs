//! Whom a ledger's entry is about: an address, or of IPv6 the network behind which one sits.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::salted::bits;
use crate::networks::NetworkSet;

/// Bits of an IPv6 address that a site chooses by itself, from outside.
const SITE_BITS: u8 = 64;

/// A source: an IPv4 address, an IPv6 address inside, or the /64 of one outside, where one host has more
/// addresses than a table has rows. Link-local and unique local addresses (RFC 4193) are never outside: their /64 is
/// a network of many hosts.
///
/// Two whole numbers, for each contact copies, compares and hashes it several times: an `IpAddr` is 17 bytes that begin
/// anywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    is_ipv6: bool,
    /// The address; of IPv4 the mapped one.
    high: u64,
    low: u64,
    is_site: bool,
}

// === impl Source ===

impl Source {
    /// The source that `address` is of.
    pub fn of(address: IpAddr, internal: &NetworkSet) -> Self {
        match address {
            IpAddr::V6(v6) if is_site(v6) && !internal.contains(address) => {
                let bits = v6.to_bits() >> (128 - SITE_BITS) << (128 - SITE_BITS);
                Self { is_site: true, ..Self::exactly(Ipv6Addr::from_bits(bits).into()) }
            }
            _ => Self::exactly(address),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "it is cut in two")]
    const fn exactly(address: IpAddr) -> Self {
        let bits = bits(address);
        Self {
            is_ipv6: address.is_ipv6(),
            high: (bits >> 64) as u64,
            low: bits as u64,
            is_site: false,
        }
    }

    /// The source that was known before a restart: an address, or the /64 that begins with it.
    pub(super) fn restored(address: IpAddr, is_site: bool) -> Self {
        match address {
            IpAddr::V6(_) if is_site => Self::of(address, &NetworkSet::default()),
            _ => Self::exactly(address),
        }
    }

    /// Whether it is a /64.
    pub(super) const fn is_site(self) -> bool {
        self.is_site
    }

    /// The network that a verdict about it names.
    pub fn network(self) -> IpNet {
        match self.address() {
            address if self.is_site => {
                IpNet::new(address, SITE_BITS).unwrap_or_else(|_| address.into())
            }
            address => address.into(),
        }
    }

    /// Its address; of a /64 the first one.
    #[expect(clippy::cast_possible_truncation, reason = "IPv4 addresses are the low 32 bits")]
    pub const fn address(self) -> IpAddr {
        if self.is_ipv6 {
            IpAddr::V6(Ipv6Addr::from_bits(self.bits()))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(self.low as u32))
        }
    }

    /// Its address as a number; of IPv4 the mapped one.
    pub(super) const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// Whether it is an address of IPv6, or a network.
    pub(super) const fn is_ipv6(self) -> bool {
        self.is_ipv6
    }
}

impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.bits());
        state.write_u8(u8::from(self.is_site) | u8::from(self.is_ipv6) << 1);
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.network())
    }
}

fn is_site(address: Ipv6Addr) -> bool {
    let is_near = address.is_unicast_link_local() || address.is_unique_local();
    !is_near && !address.is_multicast() && !address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_outside_is_its_64_and_one_inside_itself() {
        let inside: NetworkSet =
            ["2001:db8:9::/48".parse::<IpNet>().unwrap()].into_iter().collect();
        for (address, network) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:9::5", "2001:db8:9::5/128"),
            ("fd00::5", "fd00::5/128"),
            ("fc00::5", "fc00::5/128"),
            ("fbff::5", "fbff::/64"),
            ("fe80::5", "fe80::5/128"),
            ("::1", "::1/128"),
        ] {
            let source = Source::of(address.parse().unwrap(), &inside);
            assert_eq!(source.network().to_string(), network);
        }
    }
}
