//! How flows are told apart, timed and reported.

use std::{net::IpAddr, sync::Arc};

use super::server_ports::ServerPorts;
use crate::{networks::NetworkSet, record::Direction};

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
    /// Whether packets with a wrong checksum count as any other.
    pub ignore_checksums: bool,
    /// What is inside, for the direction; empty: no direction.
    pub internal_networks: NetworkSet,
    /// Whether to count as Zeek does where that is not what a SIEM wants: tunnels of IP protocols of
    /// their own make no outer flow, fragments are one packet, SCTP has no ports, replies may begin
    /// ICMP flows, payload that was not captured is a gap.
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
        let inside = |address: IpAddr| self.internal_networks.contains(address);
        Some(match (inside(initiator), inside(responder)) {
            (true, true) => Direction::Internal,
            (true, false) => Direction::Outbound,
            (false, true) => Direction::Inbound,
            (false, false) => Direction::External,
        })
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
