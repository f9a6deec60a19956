//! Which addresses a public resolver may be asked about.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use ipnet::IpNet;

use crate::networks::NetworkSet;

/// What kind of address it is, for reverse DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Globally reachable: any resolver may be asked.
    Public,
    /// Private or special: to ask a public resolver would tell it about our network, in vain.
    Private,
    /// It names no single host anywhere (unspecified, loopback, multicast, broadcast).
    Nameless,
}

/// Which resolvers a question goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Those of `resolvers`.
    Public,
    /// That of `private`.
    Private,
}

/// Networks whose addresses never go to a public resolver: RFC 6303 (locally served zones), RFC 7793
/// (shared address space) and what RFC 6890 and the IANA special-purpose registries say is not
/// globally reachable.
const PRIVATE_NETWORKS: &[IpNet] = &[
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([240, 0, 0, 0], 4),
    v6([0x64, 0xff9b, 1], 48),
    v6([0x100, 0, 0], 64),
    v6([0x2001, 0, 0], 23),
    v6([0x2001, 0xdb8, 0], 32),
    v6([0x3fff, 0, 0], 20),
    v6([0x5f00, 0, 0], 16),
    v6([0xfc00, 0, 0], 7),
    v6([0xfe80, 0, 0], 10),
    v6([0xfec0, 0, 0], 10),
];

static PRIVATE: LazyLock<NetworkSet> = LazyLock::new(|| PRIVATE_NETWORKS.iter().copied().collect());

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length)
}

const fn v6([a, b, c]: [u16; 3], length: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), length)
}

// === impl Range ===

impl Range {
    /// The range `address` lies in. An IPv6 address that embeds an IPv4 one (mapped, NAT64, 6to4) is
    /// private or nameless if that is, for its reverse name would give it away.
    pub fn of(address: IpAddr) -> Self {
        if let IpAddr::V6(v6) = address
            && let Some(v4) = embedded(v6)
            && let range @ (Self::Private | Self::Nameless) = Self::of(v4.into())
        {
            return range;
        }
        let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast
        {
            Self::Nameless
        } else if PRIVATE.contains(address) {
            Self::Private
        } else {
            Self::Public
        }
    }
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] if high != 0 => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_special_addresses_are_told_from_public_ones() {
        use Range::{Nameless, Private, Public};
        let cases = [
            ("8.8.8.8", Public),
            ("2606:4700::1111", Public),
            ("172.32.0.1", Public),
            ("100.128.0.1", Public),
            ("10.1.2.3", Private),
            ("172.31.255.255", Private),
            ("192.168.0.1", Private),
            ("169.254.1.1", Private),
            ("100.64.0.1", Private),
            ("192.0.2.1", Private),
            ("198.18.0.1", Private),
            ("255.255.255.254", Private),
            ("fd00::1", Private),
            ("fe80::1", Private),
            ("2001:db8::1", Private),
            ("::ffff:10.0.0.1", Private),
            ("64:ff9b::a00:1", Private),
            ("64:ff9b::808:808", Public),
            ("2002:c0a8:1::1", Private),
            ("2002:808:808::1", Public),
            ("0.0.0.0", Nameless),
            ("127.0.0.53", Nameless),
            ("224.0.0.251", Nameless),
            ("255.255.255.255", Nameless),
            ("::", Nameless),
            ("::1", Nameless),
            ("ff02::fb", Nameless),
            ("::ffff:127.0.0.1", Nameless),
        ];
        for (address, range) in cases {
            assert_eq!(Range::of(address.parse().unwrap()), range, "{address}");
        }
    }
}
