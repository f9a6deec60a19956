//! How flows are told apart, timed and reported.

use std::{net::IpAddr, sync::Arc};

use super::{key::Place, server_ports::ServerPorts};
use crate::{
    networks::NetworkSet,
    record::{
        Direction, IcmpPorts, Layer4, MacAddress, Marks, Packet, Ports, TcpFlags, Transport, Vlans,
    },
};
use ipnet::IpNet;

const SECOND: u64 = 1_000_000_000;

/// The rules of a flow table.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Policy {
    /// The sensor's name: part of every flow id.
    pub observer: Arc<str>,
    /// When flows end or are reported.
    pub timeouts: Timeouts,
    /// How many flows there may be at once, over all shards; at least 1, at most 2³¹.
    pub max_flows: usize,
    /// Whether VLAN ids tell flows apart.
    pub vlan_in_key: bool,
    /// Whether the headers inside tunnels make flows of their own.
    pub inner: bool,
    /// Ports that servers listen on: they decide who is the responder of a flow joined under way.
    pub server_ports: ServerPorts,
    /// How many ended flows' roles are remembered, over all shards.
    pub remembered: usize,
    /// Whether packets with a wrong checksum count as any other.
    pub ignore_checksums: bool,
    /// What is inside, for the direction; empty: no direction.
    pub internal_networks: NetworkSet,
    /// Whether to count as Zeek does where that is not what a SIEM wants: tunnels of IP protocols of
    /// their own make no outer flow, fragments are one packet, SCTP has no ports, replies may begin
    /// ICMP flows, payload that was not captured is a gap, neither interfaces nor tunnels tell flows
    /// apart, a SYN with another number begins another connection at once, every RST is believed.
    pub as_zeek: bool,
}

/// Times in nanoseconds, each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// An established TCP connection without packets.
    pub tcp_established: u64,
    /// A TCP connection attempt, from its SYN, without an answer.
    pub tcp_attempt: u64,
    /// A TCP connection that is over: how long its stragglers are waited for.
    pub tcp_closed: u64,
    /// A UDP flow without packets.
    pub udp: u64,
    /// An ICMP flow without packets.
    pub icmp: u64,
    /// Any other flow without packets.
    pub other: u64,
    /// Reports of a flow that goes on; `None`: only one at its end.
    pub active: Option<u64>,
}

// === impl Policy ===

impl Policy {
    /// From where to where a flow goes, if the config says what is inside.
    pub(super) fn direction(&self, initiator: IpAddr, responder: IpAddr) -> Option<Direction> {
        if self.internal_networks.is_empty() {
            return None;
        }
        if stays_near(initiator) || stays_near(responder) {
            return Some(Direction::Internal);
        }
        let inside = |address: IpAddr| self.internal_networks.contains(address);
        Some(match (inside(initiator), inside(responder)) {
            (true, true) => Direction::Internal,
            (true, false) => Direction::Outbound,
            (false, true) => Direction::Inbound,
            (false, false) => Direction::External,
        })
    }

    /// What tells a packet's outermost flow from others with its addresses and ports.
    #[inline]
    pub(super) fn place(&self, packet: &Packet) -> Place {
        let vlans = if self.vlan_in_key { packet.vlans } else { Vlans::default() };
        if self.as_zeek {
            return Place { vlans, ..Place::default() };
        }
        Place { vlans, origin: packet.origin, tunnel: None }
    }

    /// Whether ports or types say that a flow's first packet is the responder's.
    pub(super) fn sender_is_responder(
        &self,
        transport: Transport,
        layer4: &Layer4,
        ports: Ports,
        marks: Marks,
    ) -> bool {
        let Ports { source, destination } = ports;
        let serves = |port| self.server_ports.contains(transport, port);
        match *layer4 {
            Layer4::Tcp(tcp) => {
                let syn = tcp.flags.has(TcpFlags::SYN);
                if syn && !tcp.flags.has(TcpFlags::ACK) {
                    return false;
                }
                match (serves(source), serves(destination)) {
                    // Both may be servers: the lower port is the likelier one.
                    (true, true) => !syn && source < destination,
                    (from, to) if from != to => from,
                    // The system ports (RFC 6335 section 6).
                    _ => !self.as_zeek && source < 1024 && destination >= 1024,
                }
            }
            Layer4::Icmp(message) => {
                // Router and neighbour advertisements come unasked, too.
                let asked = !matches!(
                    (transport, message.kind),
                    (Transport::ICMP, 9) | (Transport::ICMPV6, 131 | 134 | 136)
                );
                asked && !self.as_zeek && IcmpPorts::of(transport, message).reply
            }
            // Both may use the server's port: then the message tells.
            Layer4::Udp(..) if !self.as_zeek && marks.has(Marks::ANSWERS) => serves(source),
            _ => serves(source) && !serves(destination),
        }
    }

    /// Whether an address is that of a group or a broadcast, as far as can be told: of an IPv4 network
    /// whose mask is not known the last octet is asked, and the frame's receiver, if it is known.
    pub(super) fn is_group(&self, address: IpAddr, mac: Option<MacAddress>) -> bool {
        let of_network = |network: &IpNet| match (network, address) {
            (IpNet::V4(network), IpAddr::V4(address)) => {
                network.prefix_len() < 31 && network.broadcast() == address
            }
            _ => false,
        };
        is_certain_group(address)
            || mac.is_some_and(|MacAddress([first, ..])| first & 1 == 1)
            || matches!(address, IpAddr::V4(address) if address.octets()[3] == 255)
            || self.internal_networks.iter().any(|(network, ())| of_network(network))
    }
}

/// Whether an address is that of a group, or of everybody on the link.
pub(super) fn is_certain_group(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

/// Whether what is sent to or from an address stays near: broadcasts (RFC 919), the groups
/// 224.0.0.0/24 (RFC 5771 section 4) and 239.255.0.0/16 (RFC 2365 section 6.1), those of the scopes
/// interface, link and realm (RFC 7346), and link-local addresses (RFC 3927, RFC 4291 section 2.5.6).
fn stays_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            address.is_broadcast()
                || address.is_link_local()
                || [a, b, c] == [224, 0, 0]
                || [a, b] == [239, 255]
        }
        IpAddr::V6(address) => {
            let scope = address.segments()[0] & 15;
            let is_near = address.is_multicast() && matches!(scope, 1..=3);
            is_near || address.is_unicast_link_local()
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            observer: Arc::from(""),
            timeouts: Timeouts::default(),
            max_flows: 1_000_000,
            vlan_in_key: true,
            inner: false,
            server_ports: ServerPorts::default(),
            remembered: 262_144,
            ignore_checksums: true,
            internal_networks: NetworkSet::default(),
            as_zeek: false,
        }
    }
}

// === impl Timeouts ===

impl Timeouts {
    /// Zeek's: attempts 5 s, no reports of flows that go on.
    pub const ZEEK: Self = Self { tcp_attempt: 5 * SECOND, active: None, ..Self::USUAL };

    /// Ours.
    pub const USUAL: Self = Self {
        tcp_established: 300 * SECOND,
        tcp_attempt: 60 * SECOND,
        tcp_closed: 5 * SECOND,
        udp: 60 * SECOND,
        icmp: 60 * SECOND,
        other: 60 * SECOND,
        active: Some(300 * SECOND),
    };
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::USUAL
    }
}
