//! The fields of packets: of the outermost IP header, and of the frame.

use super::{
    Field, Fields,
    Type::{Boolean, Date, Flattened, Ip, Ips, Keyword, Keywords, Label, Long, Text},
    Value,
    shared::{
        app, cim_flag_names, cim_flags, cim_mac, cim_protocol, cim_transport, flag_names, flags,
        ip_version, ip_versions, keywords, name, name_origin, name_origins, reliable, tagged, tags,
        transport, unverified,
    },
    texts::Form,
};
use crate::record::{CommunityId, FlowTags, Header, Icmp, Layer4, Packet, TcpFlags};

type F = Field<Packet>;

/// A packet. The order is that of the simple schema.
const FIELDS: &[Field<Packet>] = &[
    F::new(Date, "when the frame was captured", |packet, _| Value::Time(packet.time))
        .simple(&["timestamp"])
        .ecs(&["@timestamp"])
        .cim(&["timestamp"]),
    F::new(Text, "the packet in one line", |packet, _| Value::PacketLine(packet)).ecs(&["message"]),
    F::new(Ip, "the sender's address", |packet, _| Value::Address(packet.outer.source))
        .simple(&["source_ip"])
        .ecs(&["source.ip"])
        .cim(&["src", "src_ip"]),
    F::new(Keyword, "the sender's address", |packet, _| Value::Address(packet.outer.source))
        .ecs(&["source.address"])
        .of_form(Form::Address),
    F::new(Ip, "the receiver's address", |packet, _| Value::Address(packet.outer.destination))
        .simple(&["destination_ip"])
        .ecs(&["destination.ip"])
        .cim(&["dest", "dest_ip"]),
    F::new(Keyword, "the receiver's address", |packet, _| Value::Address(packet.outer.destination))
        .ecs(&["destination.address"])
        .of_form(Form::Address),
    F::new(Keyword, "the transport in upper case, else its number", |packet, _| {
        Value::Protocol(packet.outer.transport)
    })
    .simple(&["protocol"]),
    F::new(Long, "the receiver's port", |packet, _| {
        Value::number(packet.outer.layer4.ports().map(|ports| ports.destination))
    })
    .simple(&["port"])
    .ecs(&["destination.port"])
    .cim(&["dest_port"]),
    F::new(Long, "the sender's port", |packet, _| {
        Value::number(packet.outer.layer4.ports().map(|ports| ports.source))
    })
    .ecs(&["source.port"])
    .cim(&["src_port"]),
    F::new(Long, "length of the frame on the wire, in bytes", |packet, _| {
        Value::Number(packet.frame_bytes.into())
    })
    .simple(&["packet_size"])
    .ecs(&["tidegate.packet.frame_bytes"])
    .cim(&["frame_bytes"]),
    F::new(Long, "bytes of the frame that were captured", |packet, _| {
        Value::Number(packet.captured_bytes.into())
    })
    .ecs(&["tidegate.packet.captured_bytes"])
    .cim(&["captured_bytes"]),
    F::new(Long, "length of the IP packet, in bytes", |packet, _| {
        Value::Number(packet.ip_bytes().into())
    })
    .ecs(&["source.bytes", "network.bytes"])
    .cim(&["bytes", "bytes_out"]),
    F::of_run(Long, "one packet", |_, _| Value::Number(1))
        .ecs(&["source.packets", "network.packets"])
        .cim(&["packets", "packets_out"]),
    F::of_run(Long, "nothing the other way", |_, _| Value::Number(0))
        .cim(&["bytes_in", "packets_in"]),
    F::new(Keyword, "the packet, the same whenever it is read again", |packet, origin| {
        Value::Id(packet.id(&origin.observer))
    })
    .ecs(&["event.id"])
    .cim(&["event_id"])
    .of_form(Form::Id),
    F::new(Long, "number of the frame within its capture, from 1", |packet, _| {
        Value::Number(packet.number)
    })
    .ecs(&["tidegate.packet.number"])
    .cim(&["frame_number"]),
    F::new(Keyword, "Community ID, version 1", |packet, _| {
        Value::CommunityId(CommunityId::of(&packet.outer))
    })
    .ecs(&["network.community_id"])
    .cim(&["community_id"])
    .of_form(Form::CommunityId),
    F::of_run(Keyword, "what the document is", |_, _| Value::Plain("event")).ecs(&["event.kind"]),
    F::of_run(Keywords, "what it is about", |_, _| Value::Words(&["network"]))
        .ecs(&["event.category"]),
    F::of_run(Keywords, "what kind of event it is", |_, _| Value::Words(&["info"]))
        .ecs(&["event.type"]),
    F::of_run(Keyword, "what happened", |_, _| Value::Plain("network_packet"))
        .ecs(&["event.action"]),
    F::of_run(Keyword, "whether it passed", |_, _| Value::Plain("allowed")).cim(&["action"]),
    F::new(Keyword, "the transport's IANA keyword", |packet, _| transport(packet.outer.transport))
        .ecs(&["network.transport"])
        .one_of(keywords),
    F::new(Keyword, "the transport's IANA keyword, `icmp` for both versions", |packet, _| {
        cim_transport(packet.outer.transport)
    })
    .cim(&["transport"]),
    F::new(Label, "the transport's IANA number", |packet, _| {
        Value::Label(packet.outer.transport.0.into())
    })
    .ecs(&["network.iana_number"])
    .cim(&["iana_number"]),
    F::new(Keyword, "the version of IP", |packet, _| ip_version(packet.outer.source))
        .ecs(&["network.type"])
        .cim(&["protocol_version"])
        .one_of(ip_versions),
    F::new(Keyword, "`icmp` for ICMP, else `ip`", |packet, _| cim_protocol(packet.outer.transport))
        .cim(&["protocol"])
        .one_of(|| vec!["icmp", "ip"]),
    F::new(Keyword, "the application protocol, as tshark names it", |packet, _| {
        Value::text(packet.protocol.as_deref())
    })
    .ecs(&["network.protocol"]),
    F::new(Keyword, "the application protocol, or `unknown`", |packet, _| {
        app(packet.protocol.as_deref())
    })
    .cim(&["app"]),
    F::new(Keyword, "the name a DNS message asks for, where DNS is dissected", |packet, _| {
        Value::text(packet.question())
    })
    .ecs(&["dns.question.name"])
    .cim(&["query"]),
    F::new(
        Keyword,
        "the name of the server in a TLS ClientHello, where TLS is looked into",
        |packet, _| Value::text(packet.server_name()),
    )
    .ecs(&["tls.client.server_name"])
    .cim(&["server_name"]),
    F::new(
        Keyword,
        "the host of an HTTP request, without the port, where HTTP is looked into",
        |packet, _| Value::text(packet.host()),
    )
    .ecs(&["url.domain"])
    .cim(&["url_domain"]),
    F::new(Label, "VLAN id", |packet, _| Value::label(packet.vlans.outer()))
        .ecs(&["network.vlan.id"])
        .cim(&["vlan"]),
    F::new(Label, "inner VLAN id", |packet, _| Value::label(packet.vlans.inner()))
        .ecs(&["network.inner.vlan.id"])
        .cim(&["inner_vlan"]),
    F::new(Keyword, "the sender's link-layer address", |packet, _| packet.source_mac.into())
        .ecs(&["source.mac"])
        .of_form(Form::Mac),
    F::new(Keyword, "the receiver's link-layer address", |packet, _| packet.destination_mac.into())
        .ecs(&["destination.mac"])
        .of_form(Form::Mac),
    F::new(Keyword, "the sender's link-layer address", |packet, _| cim_mac(packet.source_mac))
        .cim(&["src_mac"])
        .of_form(Form::ColonMac),
    F::new(Keyword, "the receiver's link-layer address", |packet, _| {
        cim_mac(packet.destination_mac)
    })
    .cim(&["dest_mac"])
    .of_form(Form::ColonMac),
    F::new(Long, "type of the ICMP message", |packet, _| {
        Value::number(icmp(&packet.outer).map(|icmp| icmp.kind))
    })
    .ecs(&["tidegate.packet.icmp.type"])
    .cim(&["icmp_type"]),
    F::new(Long, "code of the ICMP message", |packet, _| {
        Value::number(icmp(&packet.outer).map(|icmp| icmp.code))
    })
    .ecs(&["tidegate.packet.icmp.code"])
    .cim(&["icmp_code"]),
    F::new(Keywords, "TCP control bits", |packet, _| flags(control_bits(&packet.outer)))
        .ecs(&["tidegate.packet.tcp_flags"])
        .one_of(flag_names),
    F::new(Keywords, "TCP control bits", |packet, _| cim_flags(control_bits(&packet.outer)))
        .cim(&["tcp_flag"])
        .one_of(cim_flag_names),
    F::new(Long, "offset of a fragment in its packet's payload, in bytes", |packet, _| {
        Value::number(packet.outer.fragment.map(|fragment| fragment.offset))
    })
    .ecs(&["tidegate.packet.fragment.offset"])
    .cim(&["fragment_offset"]),
    F::new(Boolean, "whether more fragments of the packet follow", |packet, _| {
        packet.outer.fragment.map_or(Value::Absent, |fragment| Value::Bool(fragment.more))
    })
    .ecs(&["tidegate.packet.fragment.more"])
    .cim(&["fragment_more"]),
    F::new(Long, "IP headers within the outermost: of tunnels, or quoted by ICMP", |packet, _| {
        if packet.inner.is_empty() {
            Value::Absent
        } else {
            Value::Number(packet.inner.len() as u64)
        }
    })
    .ecs(&["tidegate.packet.inner_headers"])
    .cim(&["inner_headers"]),
    F::new(
        Keywords,
        "`forwarded`, unless the traffic is the sensor's own, and remarks",
        |packet, o| tagged(if packet.damaged { FlowTags::DAMAGED } else { FlowTags::default() }, o),
    )
    .ecs(&["tags"])
    .one_of(tags),
    F::new(
        Flattened,
        "the extra fields that the config asks for, by tshark's names with `_` for `.`",
        |packet, _| {
            if packet.extra.is_empty() { Value::Absent } else { Value::Extra(&packet.extra) }
        },
    )
    .ecs(&["tidegate.packet.fields"])
    .cim(&["fields"]),
    F::new(Ips, "the addresses, to search for either", |packet, _| {
        Value::Addresses(packet.outer.source, Some(packet.outer.destination))
    })
    .ecs(&["related.ip"]),
    F::new(Keyword, "a name of the sender that leads back to its address", |packet, _| {
        name(packet.names.source.as_deref())
    })
    .simple(&["source_name"])
    .ecs(&["source.domain"])
    .cim(&["src_host"]),
    F::new(Keyword, "a name of the receiver that leads back to its address", |packet, _| {
        name(packet.names.destination.as_deref())
    })
    .simple(&["destination_name"])
    .ecs(&["destination.domain"])
    .cim(&["dest_host"]),
    F::new(Keyword, "where the sender's names are from: `passive` or `ptr`", |packet, _| {
        name_origin(packet.names.source.as_deref())
    })
    .ecs(&["tidegate.source.name_origin"])
    .cim(&["src_host_origin"])
    .one_of(name_origins),
    F::new(Keyword, "where the receiver's names are from: `passive` or `ptr`", |packet, _| {
        name_origin(packet.names.destination.as_deref())
    })
    .ecs(&["tidegate.destination.name_origin"])
    .cim(&["dest_host_origin"])
    .one_of(name_origins),
    F::new(Keywords, "all names that lead back to the addresses", |packet, _| {
        reliable(&packet.names)
    })
    .ecs(&["related.hosts"]),
    F::new(Keywords, "names nobody vouches for: no rule may rely on them", |packet, _| {
        unverified(&packet.names)
    })
    .ecs(&["tidegate.ptr.unverified"]),
];

impl Fields for Packet {
    const FIELDS: &'static [Field<Self>] = FIELDS;
}

fn icmp(header: &Header) -> Option<Icmp> {
    match header.layer4 {
        Layer4::Icmp(icmp) => Some(icmp),
        _ => None,
    }
}

fn control_bits(header: &Header) -> TcpFlags {
    match header.layer4 {
        Layer4::Tcp(tcp) => tcp.flags,
        _ => TcpFlags::default(),
    }
}
