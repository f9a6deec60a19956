//! Packets.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    super::values::{Address, NamesForm, Octets, PointForm, Word},
    shared, text,
};
use crate::record::{
    Checksum, Checksums, Extra, Fragment, Header, Icmp, Layer4, MacAddress, Marks, Packet, Ports,
    Tcp, TcpFlags, Timestamp, Transport, TunnelKey, Vlans,
};

/// A packet.
#[derive(Serialize, Deserialize)]
pub(in crate::codec::wire) struct PacketForm<'a> {
    time: i64,
    epoch: u32,
    number: u64,
    part: u16,
    origin: PointForm<'a>,
    frame_bytes: u32,
    captured_bytes: u32,
    source_mac: Option<Octets<6>>,
    destination_mac: Option<Octets<6>>,
    vlans: [u16; 2],
    outer: HeaderForm,
    inner: Vec<HeaderForm>,
    protocol: Option<Cow<'a, str>>,
    damaged: bool,
    extra: Vec<(Cow<'a, str>, Vec<Cow<'a, str>>)>,
    names: NamesForm<'a>,
}

#[derive(Serialize, Deserialize)]
struct HeaderForm {
    source: Address,
    destination: Address,
    tunnel: Option<TunnelForm>,
    transport: u8,
    ip_bytes: u32,
    checksums: [Word<Checksum>; 2],
    fragment: Option<(u32, u32, bool)>,
    layer4: Layer4Form,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TunnelForm {
    Vni(u32),
    Teid(u32),
    Gre(u32),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Layer4Form {
    Opaque,
    /// Ports, control bits, sequence and acknowledgement numbers, window, bytes of payload.
    Tcp([u16; 2], u16, u32, u32, Option<u16>, u32),
    TcpPorts([u16; 2]),
    Udp([u16; 2], u32),
    Sctp([u16; 2]),
    Icmp(u8, u8),
}

// === packets ===

impl<'a> From<&'a Packet> for PacketForm<'a> {
    fn from(packet: &'a Packet) -> Self {
        let Packet {
            time,
            epoch,
            number,
            part,
            origin,
            frame_bytes,
            captured_bytes,
            source_mac,
            destination_mac,
            vlans,
            outer,
            inner,
            protocol,
            damaged,
            extra,
            names,
        } = packet;
        let values = |extra: &'a Extra| {
            (text(&extra.name), extra.values.iter().map(|value| text(value)).collect())
        };
        Self {
            time: time.nanos(),
            epoch: *epoch,
            number: *number,
            part: *part,
            origin: (*origin).into(),
            frame_bytes: *frame_bytes,
            captured_bytes: *captured_bytes,
            source_mac: source_mac.map(|mac| Octets(mac.0)),
            destination_mac: destination_mac.map(|mac| Octets(mac.0)),
            vlans: vlans.words(),
            outer: outer.into(),
            inner: inner.iter().map(Into::into).collect(),
            protocol: protocol.as_deref().map(text),
            damaged: *damaged,
            extra: extra.iter().map(values).collect(),
            names: names.into(),
        }
    }
}

impl From<PacketForm<'_>> for Packet {
    fn from(form: PacketForm<'_>) -> Self {
        let extra = |(name, values): (Cow<'_, str>, Vec<Cow<'_, str>>)| Extra {
            name: name.into(),
            values: values.into_iter().map(Into::into).collect(),
        };
        Self {
            time: Timestamp::from_nanos(form.time),
            epoch: form.epoch,
            number: form.number,
            part: form.part,
            origin: form.origin.into(),
            frame_bytes: form.frame_bytes,
            captured_bytes: form.captured_bytes,
            source_mac: form.source_mac.map(|mac| MacAddress(mac.0)),
            destination_mac: form.destination_mac.map(|mac| MacAddress(mac.0)),
            vlans: Vlans::from_words(form.vlans),
            outer: form.outer.into(),
            inner: form.inner.into_iter().map(Into::into).collect(),
            protocol: shared(form.protocol),
            damaged: form.damaged,
            extra: form.extra.into_iter().map(extra).collect(),
            names: form.names.into(),
        }
    }
}

impl From<&Header> for HeaderForm {
    fn from(header: &Header) -> Self {
        let Header {
            marks: _,
            source,
            destination,
            tunnel,
            transport,
            ip_bytes,
            checksums: Checksums { ip, transport: of_transport },
            fragment,
            layer4,
        } = *header;
        Self {
            source: Address(source),
            destination: Address(destination),
            tunnel: tunnel.map(|tunnel| match tunnel {
                TunnelKey::Vni(key) => TunnelForm::Vni(key),
                TunnelKey::Teid(key) => TunnelForm::Teid(key),
                TunnelKey::Gre(key) => TunnelForm::Gre(key),
            }),
            transport: transport.0,
            ip_bytes,
            checksums: [Word(ip), Word(of_transport)],
            fragment: fragment.map(|Fragment { id, offset, more }| (id, offset, more)),
            layer4: layer4.into(),
        }
    }
}

impl From<HeaderForm> for Header {
    fn from(form: HeaderForm) -> Self {
        let [ip, transport] = form.checksums;
        Self {
            source: form.source.0,
            destination: form.destination.0,
            tunnel: form.tunnel.map(|tunnel| match tunnel {
                TunnelForm::Vni(key) => TunnelKey::Vni(key),
                TunnelForm::Teid(key) => TunnelKey::Teid(key),
                TunnelForm::Gre(key) => TunnelKey::Gre(key),
            }),
            marks: Marks::default(),
            transport: Transport(form.transport),
            ip_bytes: form.ip_bytes,
            checksums: Checksums { ip: ip.0, transport: transport.0 },
            fragment: form.fragment.map(|(id, offset, more)| Fragment { id, offset, more }),
            layer4: form.layer4.into(),
        }
    }
}

impl From<Layer4> for Layer4Form {
    fn from(layer4: Layer4) -> Self {
        let pair = |Ports { source, destination }| [source, destination];
        match layer4 {
            Layer4::Opaque => Self::Opaque,
            Layer4::Tcp(Tcp { ports, flags, sequence, acknowledgement, window, payload_bytes }) => {
                Self::Tcp(pair(ports), flags.0, sequence, acknowledgement, window, payload_bytes)
            }
            Layer4::TcpPorts(ports) => Self::TcpPorts(pair(ports)),
            Layer4::Udp(ports, bytes) => Self::Udp(pair(ports), bytes),
            Layer4::Sctp(ports) => Self::Sctp(pair(ports)),
            Layer4::Icmp(Icmp { kind, code }) => Self::Icmp(kind, code),
        }
    }
}

impl From<Layer4Form> for Layer4 {
    fn from(form: Layer4Form) -> Self {
        let ports = |[source, destination]: [u16; 2]| Ports { source, destination };
        match form {
            Layer4Form::Opaque => Self::Opaque,
            Layer4Form::Tcp(pair, flags, sequence, acknowledgement, window, payload_bytes) => {
                let (ports, flags) = (ports(pair), TcpFlags(flags));
                Self::Tcp(Tcp { ports, flags, sequence, acknowledgement, window, payload_bytes })
            }
            Layer4Form::TcpPorts(pair) => Self::TcpPorts(ports(pair)),
            Layer4Form::Udp(pair, bytes) => Self::Udp(ports(pair), bytes),
            Layer4Form::Sctp(pair) => Self::Sctp(ports(pair)),
            Layer4Form::Icmp(kind, code) => Self::Icmp(Icmp { kind, code }),
        }
    }
}
