//! The `simple` schema: few flat fields, in a fixed order.

use serde::{Serialize, Serializer};

use super::fields::{Fields, Plain, Visitor, append_text};
use crate::record::{Alert, Flow, Health, HostNames, Names, Packet, Transport};

const PACKET: [&str; 6] =
    ["timestamp", "source_ip", "destination_ip", "protocol", "port", "packet_size"];
const FLOW: [&str; 3] = ["packets", "duration_ns", "flow_id"];
const ALERT: [&str; 3] = ["action", "risk_score", "reasons"];
const HEALTH: [&str; 1] = ["lost_packets"];
const NAMES: [&str; 2] = ["source_name", "destination_name"];

/// A packet: the outermost IP header and the frame's length.
pub(super) struct PacketFields<'a>(pub(super) &'a Packet);

/// A flow's report: a packet's keys at its start, `packet_size` being the bytes both ways.
pub(super) struct FlowFields<'a>(pub(super) &'a Flow);

/// An alert.
pub(super) struct AlertFields<'a>(pub(super) &'a Alert);

/// A health record.
pub(super) struct HealthFields<'a>(pub(super) &'a Health);

/// A transport by its upper-case name, without formatting it where it is a common one.
struct Protocol(Transport);

/// Every key that some kind of record has.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    [&PACKET[..], &FLOW, &ALERT, &HEALTH, &NAMES].into_iter().flatten().copied()
}

/// The names that may be relied upon.
fn visit_names<V: Visitor>(names: &Names, visitor: &mut V) -> Result<(), V::Error> {
    visitor.optional("source_name", names.source.as_deref().and_then(HostNames::name))?;
    visitor.optional("destination_name", names.destination.as_deref().and_then(HostNames::name))
}

// === impl PacketFields ===

impl Fields for PacketFields<'_> {
    fn visit<V: Visitor>(&self, visitor: &mut V) -> Result<(), V::Error> {
        let Packet { time, outer, frame_bytes, names, .. } = self.0;
        visitor.plain("timestamp", time)?;
        visitor.plain("source_ip", &outer.source)?;
        visitor.plain("destination_ip", &outer.destination)?;
        visitor.plain("protocol", &Protocol(outer.transport))?;
        visitor.optional("port", outer.layer4.ports().map(|ports| ports.destination))?;
        visitor.field("packet_size", frame_bytes)?;
        visit_names(names, visitor)
    }
}

// === impl FlowFields ===

impl Fields for FlowFields<'_> {
    fn visit<V: Visitor>(&self, visitor: &mut V) -> Result<(), V::Error> {
        let Flow { start, end, initiator, responder, transport, id, names, .. } = self.0;
        visitor.plain("timestamp", start)?;
        visitor.plain("source_ip", &initiator.address)?;
        visitor.plain("destination_ip", &responder.address)?;
        visitor.plain("protocol", &Protocol(*transport))?;
        visitor.optional("port", responder.port)?;
        visitor.field("packet_size", &initiator.bytes.saturating_add(responder.bytes))?;
        visitor.field("packets", &initiator.packets.saturating_add(responder.packets))?;
        visitor.field("duration_ns", &end.since(*start))?;
        visitor.field("flow_id", id)?;
        visit_names(names, visitor)
    }
}

// === impl AlertFields ===

impl Fields for AlertFields<'_> {
    fn visit<V: Visitor>(&self, visitor: &mut V) -> Result<(), V::Error> {
        visitor.plain("timestamp", &self.0.time)?;
        visitor.plain("source_ip", &self.0.source)?;
        visitor.field("action", self.0.action.name())?;
        visitor.field("risk_score", &self.0.risk_score)?;
        visitor.field("reasons", &self.0.reasons)?;
        visit_names(&self.0.names, visitor)
    }
}

// === impl HealthFields ===

impl Fields for HealthFields<'_> {
    fn visit<V: Visitor>(&self, visitor: &mut V) -> Result<(), V::Error> {
        visitor.plain("timestamp", &self.0.time)?;
        visitor.field("packets", &self.0.packets)?;
        visitor.field("lost_packets", &self.0.lost_packets)
    }
}

// === impl Protocol ===

impl Protocol {
    /// The name, if it is a common one.
    fn name(&self) -> Option<&'static str> {
        match self.0 {
            Transport::TCP => Some("TCP"),
            Transport::UDP => Some("UDP"),
            Transport::ICMP => Some("ICMP"),
            _ => None,
        }
    }
}

impl Plain for Protocol {
    fn append(&self, out: &mut Vec<u8>) {
        match self.name() {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => append_text(self.0, out),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.name() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.collect_str(&self.0),
        }
    }
}
