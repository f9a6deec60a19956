//! The values of fields, of each kind of record.

use std::{fmt, io::Write, net::IpAddr, sync::Arc};

use super::{field::Field, operand::Test};
use crate::record::{
    Alert, CommunityId, Contact, Direction, Flow, FlowTags, Health, HostNames, MacAddress, Packet,
    Raw, Returned, Transport, Vlans,
};

/// A longer text than any value that has to be written to be compared: a Community ID has 30 bytes.
const LONGEST: usize = 64;

/// A record that can be asked for the values of its fields.
pub trait Asked {
    /// Whether the record has the field and one of its values passes the test.
    fn any(&self, field: Field, test: &Test) -> bool;
}

impl Asked for Packet {
    fn any(&self, field: Field, test: &Test) -> bool {
        let ports = || self.outer.layer4.ports();
        match field {
            Field::SourceIp => test.address(self.outer.source),
            Field::SourcePort => ports().is_some_and(|ports| test.number(ports.source)),
            Field::SourceMac => mac(self.source_mac, test),
            Field::SourceBytes | Field::NetworkBytes => test.number(self.ip_bytes()),
            Field::SourcePackets | Field::NetworkPackets => test.number(1_u64),
            Field::SourceDomain => domain(self.names.source.as_ref(), test),
            Field::DestinationIp => test.address(self.outer.destination),
            Field::DestinationPort => ports().is_some_and(|ports| test.number(ports.destination)),
            Field::DestinationMac => mac(self.destination_mac, test),
            Field::DestinationDomain => domain(self.names.destination.as_ref(), test),
            Field::NetworkTransport | Field::NetworkIanaNumber | Field::NetworkType => {
                network(field, self.outer.transport, self.outer.source, test)
            }
            Field::NetworkProtocol => text(self.protocol.as_deref(), test),
            Field::NetworkCommunityId => written(CommunityId::of(&self.outer), test),
            Field::NetworkVlanId | Field::NetworkInnerVlanId => vlan(field, self.vlans, test),
            Field::EventKind => test.text("event"),
            Field::EventAction => test.text("network_packet"),
            Field::PacketFrameBytes => test.number(self.frame_bytes),
            Field::Tags if self.damaged => tags(FlowTags::DAMAGED, test),
            Field::Tags => tags(FlowTags::default(), test),
            _ => false,
        }
    }
}

impl Asked for Contact {
    fn any(&self, field: Field, test: &Test) -> bool {
        match field {
            Field::SourceIp => test.address(self.source),
            Field::DestinationIp => test.address(self.destination),
            Field::DestinationPort => self.transport.has_ports() && test.number(self.port),
            Field::NetworkTransport | Field::NetworkIanaNumber | Field::NetworkType => {
                network(field, self.transport, self.source, test)
            }
            _ => false,
        }
    }
}

impl Asked for Flow {
    fn any(&self, field: Field, test: &Test) -> bool {
        let (source, destination) = (&self.initiator, &self.responder);
        match field {
            Field::SourceIp => test.address(source.address),
            Field::SourcePort => source.port.is_some_and(|port| test.number(port)),
            Field::SourceMac => mac(source.mac, test),
            Field::SourceBytes => test.number(source.bytes),
            Field::SourcePackets => test.number(source.packets),
            Field::SourceDomain => domain(self.names.source.as_ref(), test),
            Field::SourceRisk => self.risk.is_some_and(|risk| test.number(risk)),
            Field::DestinationIp => test.address(destination.address),
            Field::DestinationPort => destination.port.is_some_and(|port| test.number(port)),
            Field::DestinationMac => mac(destination.mac, test),
            Field::DestinationBytes => test.number(destination.bytes),
            Field::DestinationPackets => test.number(destination.packets),
            Field::DestinationDomain => domain(self.names.destination.as_ref(), test),
            Field::NetworkBytes => test.number(self.bytes()),
            Field::NetworkPackets => test.number(self.packets()),
            Field::NetworkTransport | Field::NetworkIanaNumber | Field::NetworkType => {
                network(field, self.transport, source.address, test)
            }
            Field::NetworkProtocol => text(self.protocol.as_deref(), test),
            Field::NetworkCommunityId => written(self.community_id, test),
            Field::NetworkDirection => text(self.direction.map(Direction::name), test),
            Field::NetworkVlanId | Field::NetworkInnerVlanId => vlan(field, self.vlans, test),
            Field::EventKind => test.text("event"),
            Field::EventAction => test.text("network_flow"),
            Field::EventDuration => test.number(self.duration_nanos()),
            Field::EventSequence => test.number(self.sequence),
            Field::FlowConnState => test.text(self.conn_state.name()),
            Field::FlowHistory => !self.history.is_empty() && written(self.history, test),
            Field::FlowEndReason => test.text(self.end_reason.name()),
            Field::FlowFinal => test.flag(self.is_final()),
            Field::Tags => tags(self.tags, test),
            _ => false,
        }
    }
}

impl Asked for Alert {
    fn any(&self, field: Field, test: &Test) -> bool {
        match field {
            Field::SourceIp => test.address(self.source),
            Field::SourceDomain => domain(self.names.source.as_ref(), test),
            Field::EventKind => test.text("alert"),
            Field::EventAction => test.text(self.action.name()),
            Field::EventRiskScore => test.number(self.risk_score),
            _ => false,
        }
    }
}

impl Asked for Health {
    fn any(&self, field: Field, test: &Test) -> bool {
        match field {
            Field::EventKind => test.text("metric"),
            Field::EventAction => test.text("sensor_health"),
            Field::Tags => self.is_unsynced() && test.text(Health::CLOCK_UNSYNCED),
            Field::HealthPackets => test.number(self.packets),
            Field::HealthLostPackets => test.number(self.lost_packets()),
            _ => false,
        }
    }
}

impl Asked for Raw {
    fn any(&self, _field: Field, _test: &Test) -> bool {
        false
    }
}

impl Asked for Returned {
    fn any(&self, _field: Field, _test: &Test) -> bool {
        false
    }
}

fn text(value: Option<&str>, test: &Test) -> bool {
    value.is_some_and(|value| test.text(value))
}

fn domain(names: Option<&Arc<HostNames>>, test: &Test) -> bool {
    text(names.and_then(|names| names.name()), test)
}

fn tags(tags: FlowTags, test: &Test) -> bool {
    tags.written().any(|name| test.text(name))
}

fn network(field: Field, transport: Transport, address: IpAddr, test: &Test) -> bool {
    match field {
        Field::NetworkTransport => text(transport.keyword(), test),
        Field::NetworkIanaNumber => test.number(transport.0),
        _ => test.text(if address.is_ipv4() { "ipv4" } else { "ipv6" }),
    }
}

fn vlan(field: Field, vlans: Vlans, test: &Test) -> bool {
    let id = if field == Field::NetworkVlanId { vlans.outer() } else { vlans.inner() };
    id.is_some_and(|id| test.number(id))
}

fn mac(address: Option<MacAddress>, test: &Test) -> bool {
    address.is_some_and(|address| written(address, test))
}

/// Compares what a value displays, on the stack.
fn written(value: impl fmt::Display, test: &Test) -> bool {
    let mut bytes = [0; LONGEST];
    let mut room = bytes.as_mut_slice();
    let left = write!(room, "{value}").map(|()| room.len()).unwrap_or(LONGEST);
    text(bytes.get(..LONGEST - left).and_then(|written| str::from_utf8(written).ok()), test)
}
