//! A flow: both directions of one conversation between its start and its end, or one report of it.

use std::{net::IpAddr, sync::Arc};

use schemars::JsonSchema;

use super::{
    CommunityId, ConnState, History, Icmp, Id, Kind, MacAddress, Names, ObservationPoint, Parties,
    Record, Records, TcpFlags, Timestamp, Transport, Vlans,
};

/// One report of a bidirectional flow. Counters are those since the last report, so sums are right;
/// state, history and control bits are those since the flow began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The flow's id: the same in all its reports.
    pub id: Id,
    /// Number of the report within the flow, from 0.
    pub sequence: u32,
    /// Time of the flow's first packet: the same in all its reports.
    pub began: Timestamp,
    /// Time of the first packet of the interval this report covers.
    pub start: Timestamp,
    /// Time of the last packet of the interval that carried the conversation on.
    pub end: Timestamp,
    /// The transport.
    pub transport: Transport,
    /// Who began it.
    pub initiator: Endpoint,
    /// Who was addressed.
    pub responder: Endpoint,
    /// Where it was seen.
    pub origin: ObservationPoint,
    /// VLAN tags of its first packet.
    pub vlans: Vlans,
    /// Type and code of the initiator's ICMP message.
    pub icmp: Option<Icmp>,
    /// The state of the connection, in Zeek's terms.
    pub conn_state: ConnState,
    /// What happened, a letter each, in Zeek's terms.
    pub history: History,
    /// Why it was reported.
    pub end_reason: EndReason,
    /// The application protocol as tshark names it (`dns`, `tls`…), if it knew one.
    pub protocol: Option<Arc<str>>,
    /// The name that its first DNS message asks for, where DNS was dissected.
    pub question: Option<Arc<str>>,
    /// The name of the server that its first TLS `ClientHello` with one is for, where TLS was looked into.
    pub server_name: Option<Arc<str>>,
    /// The host that its first HTTP request with one is for, without the port, where HTTP was looked into.
    pub host: Option<Arc<str>>,
    /// From where to where, as far as the config says what is inside.
    pub direction: Option<Direction>,
    /// The Community ID of its addresses and ports; the same in other tools' records of it. It means nothing where
    /// the ports are several ([`Record::community_id`]).
    pub community_id: CommunityId,
    /// The Community IDs of the flows whose packets ICMP errors quote, in the order in which they
    /// came: 8 at most.
    pub related_community_ids: Vec<CommunityId>,
    /// The flow of the tunnel that carries this one.
    pub parent: Option<Id>,
    /// What else is to be known about it.
    pub tags: FlowTags,
    /// The initiator's risk score, 0 to 100, once somebody has judged it.
    pub risk: Option<u8>,
    /// Who decided that nothing of it comes in: then it is what the initiator sent, and all of it was dropped.
    pub denied: Option<Denied>,
    /// The names of the initiator's and the responder's address.
    pub names: Names,
}

/// One side of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port, where the transport has ports.
    pub port: Option<u16>,
    /// Its link-layer address, if the link has such.
    pub mac: Option<MacAddress>,
    /// Packets it sent in the interval.
    pub packets: u64,
    /// IP bytes it sent in the interval.
    pub bytes: u64,
    /// All TCP control bits it has sent since the flow began.
    pub tcp_flags: TcpFlags,
}

/// What dropped a flow's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Denied {
    /// The verdict on its initiator; `None` if the gate's guard did, before there was one.
    pub verdict: Option<Id>,
}

/// Why a flow was reported (IPFIX information element 136, flowEndReason).
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum EndReason {
    /// Nothing came for the idle time-out.
    Idle,
    /// The active time-out: an interim report, the flow goes on.
    Active,
    /// FIN or RST.
    EndDetected,
    /// Shutdown, end of file, a clock that was set back, or port reuse; and what was dropped.
    Forced,
    /// The table was full.
    LackOfResources,
}

/// Where a flow goes, seen from the networks the config calls internal, or from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From outside to inside.
    Inbound,
    /// From inside to outside.
    Outbound,
    /// From inside to inside.
    Internal,
    /// From outside to outside.
    External,
    /// Into this host.
    Ingress,
    /// Out of this host.
    Egress,
}

/// Remarks about a flow, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowTags(pub u8);

// === impl Flow ===

impl Flow {
    /// The first and only report of a flow that nothing more is known of.
    pub fn new(id: Id, transport: Transport, initiator: Endpoint, responder: Endpoint) -> Self {
        Self {
            id,
            sequence: 0,
            began: Timestamp::default(),
            start: Timestamp::default(),
            end: Timestamp::default(),
            transport,
            community_id: CommunityId::of_ports(
                transport,
                (initiator.address, initiator.port),
                (responder.address, responder.port),
            ),
            initiator,
            responder,
            origin: ObservationPoint::default(),
            vlans: Vlans::default(),
            icmp: None,
            conn_state: ConnState::Oth,
            history: History::default(),
            end_reason: EndReason::Forced,
            protocol: None,
            direction: None,
            question: None,
            server_name: None,
            host: None,
            related_community_ids: Vec::new(),
            parent: None,
            tags: FlowTags::default(),
            risk: None,
            denied: None,
            names: Names::default(),
        }
    }

    /// Whether no further report of the flow follows.
    pub fn is_final(&self) -> bool {
        self.end_reason != EndReason::Active
    }

    /// Nanoseconds between start and end.
    pub fn duration_nanos(&self) -> u64 {
        self.end.since(self.start)
    }

    /// IP bytes both ways.
    pub const fn bytes(&self) -> u64 {
        self.initiator.bytes.saturating_add(self.responder.bytes)
    }

    /// Packets both ways.
    pub const fn packets(&self) -> u64 {
        self.initiator.packets.saturating_add(self.responder.packets)
    }

    /// The TCP control bits that either side has sent.
    pub const fn tcp_flags(&self) -> TcpFlags {
        TcpFlags(self.initiator.tcp_flags.0 | self.responder.tcp_flags.0)
    }
}

impl Record for Flow {
    const KIND: Kind = Kind::Flow;
    const HAS_NAMES: bool = true;

    fn wrap(records: Arc<Vec<Self>>) -> Records {
        Records::Flows(records)
    }

    fn origin(&self) -> ObservationPoint {
        self.origin
    }

    fn origin_mut(&mut self) -> Option<&mut ObservationPoint> {
        Some(&mut self.origin)
    }

    fn time(&self) -> Option<Timestamp> {
        Some(self.end)
    }

    fn community_id(&self) -> Option<CommunityId> {
        let has_both = self.initiator.port.is_some() == self.responder.port.is_some();
        (has_both && !self.tags.contains(FlowTags::OTHER_PORTS)).then_some(self.community_id)
    }

    fn memory_bytes(&self) -> usize {
        let names = [&self.question, &self.server_name, &self.host];
        size_of::<Self>()
            + size_of_val(self.related_community_ids.as_slice())
            + names.iter().map(|name| name.as_deref().map_or(0, str::len)).sum::<usize>()
    }

    fn identity(&self, _observer: &str) -> Option<(Id, Option<u32>)> {
        Some((self.id, Some(self.sequence)))
    }

    fn parties(&self) -> Option<Parties<'_>> {
        Some(Parties {
            time: self.began,
            source: self.initiator.address,
            destination: Some(self.responder.address),
            names: &self.names,
        })
    }

    fn names_mut(&mut self) -> Option<&mut Names> {
        Some(&mut self.names)
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint that has sent nothing.
    pub const fn new(address: IpAddr, port: Option<u16>) -> Self {
        Self { address, port, mac: None, packets: 0, bytes: 0, tcp_flags: TcpFlags(0) }
    }

    /// The same endpoint, having sent `packets` of `bytes` in all.
    #[must_use]
    pub const fn sent(self, packets: u64, bytes: u64) -> Self {
        Self { packets, bytes, ..self }
    }
}

// === impl EndReason ===

impl EndReason {
    /// All reasons.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Active, Self::EndDetected, Self::Forced, Self::LackOfResources];

    /// The name in records and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::EndDetected => "end_detected",
            Self::Forced => "forced",
            Self::LackOfResources => "lack_of_resources",
        }
    }
}

// === impl Direction ===

impl Direction {
    /// All directions.
    pub const ALL: [Self; 6] = [
        Self::Inbound,
        Self::Outbound,
        Self::Internal,
        Self::External,
        Self::Ingress,
        Self::Egress,
    ];

    /// The name in records (ECS `network.direction`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Internal => "internal",
            Self::External => "external",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

// === impl FlowTags ===

impl FlowTags {
    /// Only one side was ever seen to send.
    pub const ONE_WAY: Self = Self(1);
    /// Fragments whose first part, and with it the ports, was not seen.
    pub const PORTLESS_FRAGMENTS: Self = Self(2);
    /// Packets with a wrong checksum.
    pub const BAD_CHECKSUM: Self = Self(4);
    /// Packets the dissector found malformed or cut short.
    pub const DAMAGED: Self = Self(8);
    /// All ports of the responder beyond those that its initiator has reports of.
    pub const OTHER_PORTS: Self = Self(16);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::ONE_WAY, "one_way"),
        (Self::PORTLESS_FRAGMENTS, "portless_fragments"),
        (Self::BAD_CHECKSUM, "bad_checksum"),
        (Self::DAMAGED, "damaged"),
        (Self::OTHER_PORTS, "other_ports"),
    ];

    /// Adds the tags of `other`.
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all tags of `other` are there.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What records about traffic that is not the sensor's own are tagged with, as other shippers do.
    pub const FORWARDED: &'static str = "forwarded";

    /// All tags of a record: that it is about others' traffic, if it is, and the names of these.
    pub fn written(self, forwarded: bool) -> impl Iterator<Item = &'static str> {
        forwarded.then_some(Self::FORWARDED).into_iter().chain(self.names())
    }

    /// The names of the tags.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(tag, _)| self.contains(*tag)).map(|(_, name)| name)
    }
}
