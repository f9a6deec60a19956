//! Community ID version 1: the same text for the same flow in every tool that writes it.
//!
//! `"1:" + base64(sha1(seed | address | address | protocol | 0 | port | port))`, the smaller
//! endpoint first. Source: the Community ID specification, github.com/corelight/community-id-spec.

use std::{cmp::Ordering, fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer};
use sha1::{Digest as _, Sha1};

use super::{Header, Icmp, Layer4, Transport};

/// A Community ID, written as `1:` and 28 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommunityId([u8; 20]);

/// How an ICMP message stands in for ports: what plays the sender's and the receiver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpPorts {
    /// The message's type.
    pub source: u16,
    /// The type of its counterpart, or its code where it has none.
    pub destination: u16,
    /// Whether no message is its answer, so that the two directions are two flows.
    pub one_way: bool,
    /// Whether the message is the answer rather than the request.
    pub reply: bool,
}

/// Requests and their replies. Sources: IANA, "ICMP Parameters" and "ICMPv6 Parameters".
const PAIRS: &[(Transport, u8, u8)] = &[
    (Transport::ICMP, 8, 0),
    (Transport::ICMP, 13, 14),
    (Transport::ICMP, 15, 16),
    (Transport::ICMP, 10, 9),
    (Transport::ICMP, 17, 18),
    (Transport::ICMPV6, 128, 129),
    (Transport::ICMPV6, 133, 134),
    (Transport::ICMPV6, 135, 136),
    (Transport::ICMPV6, 130, 131),
    (Transport::ICMPV6, 139, 140),
    (Transport::ICMPV6, 144, 145),
];

// === impl IcmpPorts ===

impl IcmpPorts {
    /// What stands in for the ports of `message`.
    pub fn of(transport: Transport, message: Icmp) -> Self {
        let paired = PAIRS.iter().find_map(|&(protocol, request, reply)| match message.kind {
            _ if protocol != transport => None,
            kind if kind == request => Some((reply, false)),
            kind if kind == reply => Some((request, true)),
            _ => None,
        });
        let (destination, reply) = paired.unwrap_or((message.code, false));
        Self {
            source: message.kind.into(),
            destination: destination.into(),
            one_way: paired.is_none(),
            reply,
        }
    }
}

// === impl CommunityId ===

impl CommunityId {
    /// The id of the flow that a packet with this header belongs to.
    pub fn of(header: &Header) -> Self {
        let (source, destination) = (header.source, header.destination);
        match header.layer4 {
            Layer4::Icmp(message) => Self::of_icmp(header.transport, source, destination, message),
            layer4 => {
                let ports = layer4.ports();
                Self::of_ports(
                    header.transport,
                    (source, ports.map(|ports| ports.source)),
                    (destination, ports.map(|ports| ports.destination)),
                )
            }
        }
    }

    /// The id of a flow between two endpoints; without ports it covers all of the transport.
    pub fn of_ports(
        transport: Transport,
        one: (IpAddr, Option<u16>),
        other: (IpAddr, Option<u16>),
    ) -> Self {
        let ports = one.1.zip(other.1);
        Self::seeded(0, transport, one.0, other.0, ports, false)
    }

    /// The id of a flow of ICMP messages.
    pub fn of_icmp(
        transport: Transport,
        source: IpAddr,
        destination: IpAddr,
        message: Icmp,
    ) -> Self {
        let ports = IcmpPorts::of(transport, message);
        let pair = Some((ports.source, ports.destination));
        Self::seeded(0, transport, source, destination, pair, ports.one_way)
    }

    /// The id under another seed than the default 0; `directed` keeps the endpoints in their order.
    pub fn seeded(
        seed: u16,
        transport: Transport,
        source: IpAddr,
        destination: IpAddr,
        ports: Option<(u16, u16)>,
        directed: bool,
    ) -> Self {
        let (source_port, destination_port) = ports.unwrap_or_default();
        let in_order = directed
            || order(source, destination).then(source_port.cmp(&destination_port))
                != Ordering::Greater;
        let (first, second) = if in_order {
            ((source, source_port), (destination, destination_port))
        } else {
            ((destination, destination_port), (source, source_port))
        };
        let mut hash = Sha1::new();
        hash.update(seed.to_be_bytes());
        for address in [first.0, second.0] {
            match address {
                IpAddr::V4(address) => hash.update(address.octets()),
                IpAddr::V6(address) => hash.update(address.octets()),
            }
        }
        hash.update([transport.0, 0]);
        if ports.is_some() {
            hash.update(first.1.to_be_bytes());
            hash.update(second.1.to_be_bytes());
        }
        Self(hash.finalize().into())
    }
}

impl CommunityId {
    /// The id of these [`bytes`](Self::bytes).
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The 20 bytes of the hash.
    pub const fn bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Its text, `1:` and 28 characters of base64.
    pub fn text(&self) -> [u8; 30] {
        let mut text = *b"1:0000000000000000000000000000";
        if let Some(digits) = text.get_mut(2..) {
            let written = STANDARD.encode_slice(self.0, digits);
            debug_assert_eq!(written, Ok(28), "20 bytes are 28 digits");
        }
        text
    }
}

impl fmt::Display for CommunityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl Serialize for CommunityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Orders addresses by their bytes. Both of one packet are of one family.
fn order(one: IpAddr, other: IpAddr) -> Ordering {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets().cmp(&other.octets()),
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets().cmp(&other.octets()),
        (one, other) => one.cmp(&other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The examples of the specification's README and of its baselines.
    #[test]
    fn the_ids_are_those_of_the_specification() {
        for (transport, one, other, id) in [
            (
                Transport::TCP,
                ("128.232.110.120", 34855),
                ("66.35.250.204", 80),
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
            (
                Transport::TCP,
                ("66.35.250.204", 80),
                ("128.232.110.120", 34855),
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
        ] {
            let endpoint = |(address, port)| (ip(address), Some(port));
            let computed = CommunityId::of_ports(transport, endpoint(one), endpoint(other));
            assert_eq!(computed.to_string(), id);
        }
    }

    #[test]
    fn an_echo_and_its_reply_share_an_id_and_an_error_has_one_for_each_direction() {
        let (a, b) = (ip("10.0.0.1"), ip("10.0.0.2"));
        let of = |from, to, kind, code| {
            CommunityId::of_icmp(Transport::ICMP, from, to, Icmp { kind, code })
        };
        assert_eq!(of(a, b, 8, 0), of(b, a, 0, 0));
        assert_ne!(of(a, b, 3, 1), of(b, a, 3, 1));
        assert_ne!(of(a, b, 3, 1), of(a, b, 3, 2));
    }
}
