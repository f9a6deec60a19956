//! The fields conditions may ask for: their names, types and the kinds of record that have them.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::record::{
    Action, ConnState, Direction, EndReason, FlowTags, Health, Kind, Kinds, Transport,
};

/// A field of records, by its name in the Elastic Common Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Field {
    /// Address of the sender, of the initiator, or of whom an alert is about.
    #[serde(rename = "source.ip")]
    SourceIp,
    /// Port of the sender or initiator.
    #[serde(rename = "source.port")]
    SourcePort,
    /// Link-layer address of the sender or initiator, as `00-16-47-9D-F2-C2`.
    #[serde(rename = "source.mac")]
    SourceMac,
    /// IP bytes from the sender or initiator.
    #[serde(rename = "source.bytes")]
    SourceBytes,
    /// Packets from the sender or initiator.
    #[serde(rename = "source.packets")]
    SourcePackets,
    /// Name that leads back to the source's address.
    #[serde(rename = "source.domain")]
    SourceDomain,
    /// Risk score of a flow's initiator, 0 to 100.
    #[serde(rename = "tidegate.source.risk")]
    SourceRisk,
    /// Address of the receiver or responder.
    #[serde(rename = "destination.ip")]
    DestinationIp,
    /// Port of the receiver or responder.
    #[serde(rename = "destination.port")]
    DestinationPort,
    /// Link-layer address of the receiver or responder, as `00-16-47-9D-F2-C2`.
    #[serde(rename = "destination.mac")]
    DestinationMac,
    /// IP bytes from the responder.
    #[serde(rename = "destination.bytes")]
    DestinationBytes,
    /// Packets from the responder.
    #[serde(rename = "destination.packets")]
    DestinationPackets,
    /// Name that leads back to the destination's address.
    #[serde(rename = "destination.domain")]
    DestinationDomain,
    /// IP bytes both ways.
    #[serde(rename = "network.bytes")]
    NetworkBytes,
    /// Packets both ways.
    #[serde(rename = "network.packets")]
    NetworkPackets,
    /// IANA keyword of the transport in lower case: `tcp`, `udp`, `icmp`, `ipv6-icmp`…
    #[serde(rename = "network.transport")]
    NetworkTransport,
    /// IANA number of the transport.
    #[serde(rename = "network.iana_number")]
    NetworkIanaNumber,
    /// `ipv4` or `ipv6`.
    #[serde(rename = "network.type")]
    NetworkType,
    /// Application protocol as tshark names it: `dns`, `tls`…
    #[serde(rename = "network.protocol")]
    NetworkProtocol,
    /// Community ID, version 1.
    #[serde(rename = "network.community_id")]
    NetworkCommunityId,
    /// `inbound`, `outbound`, `internal` or `external`; `ingress` or `egress`.
    #[serde(rename = "network.direction")]
    NetworkDirection,
    /// Id of the outermost VLAN.
    #[serde(rename = "network.vlan.id")]
    NetworkVlanId,
    /// Id of the VLAN inside it.
    #[serde(rename = "network.inner.vlan.id")]
    NetworkInnerVlanId,
    /// `event` of packets and flows, `alert`, `metric` of health records.
    #[serde(rename = "event.kind")]
    EventKind,
    /// What was decided in an alert; `network_packet`, `network_flow`, `sensor_health`.
    #[serde(rename = "event.action")]
    EventAction,
    /// Nanoseconds from a report's start to its end.
    #[serde(rename = "event.duration")]
    EventDuration,
    /// Number of the report within its flow, from 0.
    #[serde(rename = "event.sequence")]
    EventSequence,
    /// Risk score of an alert, 0 to 100.
    #[serde(rename = "event.risk_score")]
    EventRiskScore,
    /// State of the connection in Zeek's terms: `S0`, `SF`, `REJ`…
    #[serde(rename = "tidegate.flow.conn_state")]
    FlowConnState,
    /// What happened, a letter each, in Zeek's terms.
    #[serde(rename = "tidegate.flow.history")]
    FlowHistory,
    /// `idle`, `active`, `end_detected`, `forced` or `lack_of_resources`.
    #[serde(rename = "tidegate.flow.end_reason")]
    FlowEndReason,
    /// Whether no further report of the flow follows.
    #[serde(rename = "tidegate.flow.final")]
    FlowFinal,
    /// Length of the frame on the wire, in bytes.
    #[serde(rename = "tidegate.packet.frame_bytes")]
    PacketFrameBytes,
    /// Packets received in the interval.
    #[serde(rename = "tidegate.health.packets")]
    HealthPackets,
    /// Packets known to be lost in the interval.
    #[serde(rename = "tidegate.health.lost_packets")]
    HealthLostPackets,
    /// Remarks: `one_way`, `portless_fragments`, `bad_checksum`, `damaged`.
    #[serde(rename = "tags")]
    Tags,
}

/// What the values of a field are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// IPv4 and IPv6 addresses.
    Address,
    /// Whole numbers.
    Number,
    /// Texts.
    Text,
    /// True or false.
    Flag,
}

const PACKETS_CONTACTS_FLOWS_ALERTS: Kinds =
    Kinds::of(&[Kind::Packet, Kind::Contact, Kind::Flow, Kind::Alert]);
const PACKETS_FLOWS: Kinds = Kinds::of(&[Kind::Packet, Kind::Flow]);
const PACKETS_FLOWS_HEALTH: Kinds = Kinds::of(&[Kind::Packet, Kind::Flow, Kind::Health]);
const PACKETS_FLOWS_ALERTS: Kinds = Kinds::of(&[Kind::Packet, Kind::Flow, Kind::Alert]);
const FLOWS: Kinds = Kinds::of(&[Kind::Flow]);
const PACKETS_CONTACTS_FLOWS: Kinds = Kinds::of(&[Kind::Packet, Kind::Contact, Kind::Flow]);
const PACKETS_FLOWS_ALERTS_HEALTH: Kinds =
    Kinds::of(&[Kind::Packet, Kind::Flow, Kind::Alert, Kind::Health]);
const ALERTS: Kinds = Kinds::of(&[Kind::Alert]);
const PACKETS: Kinds = Kinds::of(&[Kind::Packet]);
const HEALTH: Kinds = Kinds::of(&[Kind::Health]);

// === impl Field ===

impl Field {
    /// All fields.
    pub const ALL: &'static [Self] = &[
        Self::SourceIp,
        Self::SourcePort,
        Self::SourceMac,
        Self::SourceBytes,
        Self::SourcePackets,
        Self::SourceDomain,
        Self::SourceRisk,
        Self::DestinationIp,
        Self::DestinationPort,
        Self::DestinationMac,
        Self::DestinationBytes,
        Self::DestinationPackets,
        Self::DestinationDomain,
        Self::NetworkBytes,
        Self::NetworkPackets,
        Self::NetworkTransport,
        Self::NetworkIanaNumber,
        Self::NetworkType,
        Self::NetworkProtocol,
        Self::NetworkCommunityId,
        Self::NetworkDirection,
        Self::NetworkVlanId,
        Self::NetworkInnerVlanId,
        Self::EventKind,
        Self::EventAction,
        Self::EventDuration,
        Self::EventSequence,
        Self::EventRiskScore,
        Self::FlowConnState,
        Self::FlowHistory,
        Self::FlowEndReason,
        Self::FlowFinal,
        Self::PacketFrameBytes,
        Self::HealthPackets,
        Self::HealthLostPackets,
        Self::Tags,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// The kinds of record that may have it.
    pub const fn kinds(self) -> Kinds {
        self.facts().1
    }

    /// What its values are.
    pub(super) const fn value_type(self) -> Type {
        self.facts().2
    }

    const fn facts(self) -> (&'static str, Kinds, Type) {
        use Type::{Address, Flag, Number, Text};
        match self {
            Self::SourceIp => ("source.ip", PACKETS_CONTACTS_FLOWS_ALERTS, Address),
            Self::SourcePort => ("source.port", PACKETS_FLOWS, Number),
            Self::SourceMac => ("source.mac", PACKETS_FLOWS, Text),
            Self::SourceBytes => ("source.bytes", PACKETS_FLOWS, Number),
            Self::SourcePackets => ("source.packets", PACKETS_FLOWS, Number),
            Self::SourceDomain => ("source.domain", PACKETS_FLOWS_ALERTS, Text),
            Self::SourceRisk => ("tidegate.source.risk", FLOWS, Number),
            Self::DestinationIp => ("destination.ip", PACKETS_CONTACTS_FLOWS, Address),
            Self::DestinationPort => ("destination.port", PACKETS_CONTACTS_FLOWS, Number),
            Self::DestinationMac => ("destination.mac", PACKETS_FLOWS, Text),
            Self::DestinationBytes => ("destination.bytes", FLOWS, Number),
            Self::DestinationPackets => ("destination.packets", FLOWS, Number),
            Self::DestinationDomain => ("destination.domain", PACKETS_FLOWS, Text),
            Self::NetworkBytes => ("network.bytes", PACKETS_FLOWS, Number),
            Self::NetworkPackets => ("network.packets", PACKETS_FLOWS, Number),
            Self::NetworkTransport => ("network.transport", PACKETS_CONTACTS_FLOWS, Text),
            Self::NetworkIanaNumber => ("network.iana_number", PACKETS_CONTACTS_FLOWS, Number),
            Self::NetworkType => ("network.type", PACKETS_CONTACTS_FLOWS, Text),
            Self::NetworkProtocol => ("network.protocol", PACKETS_FLOWS, Text),
            Self::NetworkCommunityId => ("network.community_id", PACKETS_FLOWS, Text),
            Self::NetworkDirection => ("network.direction", FLOWS, Text),
            Self::NetworkVlanId => ("network.vlan.id", PACKETS_FLOWS, Number),
            Self::NetworkInnerVlanId => ("network.inner.vlan.id", PACKETS_FLOWS, Number),
            Self::EventKind => ("event.kind", PACKETS_FLOWS_ALERTS_HEALTH, Text),
            Self::EventAction => ("event.action", PACKETS_FLOWS_ALERTS_HEALTH, Text),
            Self::EventDuration => ("event.duration", FLOWS, Number),
            Self::EventSequence => ("event.sequence", FLOWS, Number),
            Self::EventRiskScore => ("event.risk_score", ALERTS, Number),
            Self::FlowConnState => ("tidegate.flow.conn_state", FLOWS, Text),
            Self::FlowHistory => ("tidegate.flow.history", FLOWS, Text),
            Self::FlowEndReason => ("tidegate.flow.end_reason", FLOWS, Text),
            Self::FlowFinal => ("tidegate.flow.final", FLOWS, Flag),
            Self::PacketFrameBytes => ("tidegate.packet.frame_bytes", PACKETS, Number),
            Self::HealthPackets => ("tidegate.health.packets", HEALTH, Number),
            Self::HealthLostPackets => ("tidegate.health.lost_packets", HEALTH, Number),
            Self::Tags => ("tags", PACKETS_FLOWS_HEALTH, Text),
        }
    }

    /// The texts it can have, where these are few.
    fn words(self) -> Option<Vec<&'static str>> {
        let words = match self {
            Self::NetworkTransport => {
                (0..=u8::MAX).filter_map(|number| Transport(number).keyword()).collect()
            }
            Self::NetworkType => vec!["ipv4", "ipv6"],
            Self::NetworkDirection => Direction::ALL.map(Direction::name).to_vec(),
            Self::EventKind => vec!["event", "alert", "metric"],
            Self::EventAction => {
                let others = ["network_packet", "network_flow", "sensor_health"];
                Action::ALL.map(Action::name).into_iter().chain(others).collect()
            }
            Self::FlowConnState => ConnState::ALL.map(ConnState::name).to_vec(),
            Self::FlowEndReason => EndReason::ALL.map(EndReason::name).to_vec(),
            Self::Tags => FlowTags(u8::MAX).written().chain([Health::CLOCK_UNSYNCED]).collect(),
            _ => return None,
        };
        Some(words)
    }

    /// Whether a text is one that it can have.
    pub(super) fn can_be(self, text: &str) -> bool {
        match self {
            Self::SourceMac | Self::DestinationMac => is_mac(text),
            Self::NetworkCommunityId => text.len() == 30 && text.starts_with("1:"),
            _ => self.words().is_none_or(|words| words.contains(&text)),
        }
    }

    /// The texts it can have, in words.
    pub(super) fn possible_values(self) -> String {
        match self {
            Self::SourceMac | Self::DestinationMac => "write it as 00-16-47-9D-F2-C2".to_owned(),
            Self::NetworkCommunityId => "it is `1:` and 28 characters of base64".to_owned(),
            _ => format!("possible values: {}", self.words().unwrap_or_default().join(", ")),
        }
    }
}

/// Six bytes as ECS writes them (RFC 7042).
fn is_mac(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    let fits = |(at, byte): (usize, u8)| if at % 3 == 2 { byte == b'-' } else { is_digit(byte) };
    text.len() == 17 && text.bytes().enumerate().all(fits)
}

// === impl Type ===

impl Type {
    /// What values of it can be compared by.
    pub(super) const fn operators(self) -> &'static str {
        match self {
            Self::Address => "`equals`, `in`, `cidr` and `exists`",
            Self::Number => "`equals`, `in`, `range` and `exists`",
            Self::Text | Self::Flag => "`equals`, `in` and `exists`",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "an address",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Flag => "true or false",
        })
    }
}
