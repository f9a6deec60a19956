//! The fields of flows.

use super::{
    Field, Fields,
    Type::{Boolean, Date, Float, Ip, Ips, Keyword, Keywords, Label, Long, Text},
    Value,
    shared::{
        app, cim_flag_names, cim_flags, cim_mac, cim_protocol, cim_transport, flag_names, flags,
        ip_version, ip_versions, keywords, name, name_origin, name_origins, reliable, tagged, tags,
        transport, unverified,
    },
    texts::Form,
};
use crate::record::{ConnState, Direction, EndReason, Flow, Record, Transport};

type F = Field<Flow>;

/// A report of a flow. The order is that of the simple schema.
const FIELDS: &[Field<Flow>] = &[
    // When.
    F::new(Date, "end of the report's interval", |flow, _| Value::Time(flow.end))
        .ecs(&["@timestamp", "event.end"])
        .cim(&["timestamp", "end_time"]),
    F::new(Date, "start of the report's interval", |flow, _| Value::Time(flow.start))
        .simple(&["timestamp"])
        .ecs(&["event.start"])
        .cim(&["start_time"]),
    F::new(Text, "the flow in one line", |flow, _| Value::FlowLine(flow)).ecs(&["message"]),
    // Who.
    F::new(Ip, "the initiator's address", |flow, _| Value::Address(flow.initiator.address))
        .simple(&["source_ip"])
        .ecs(&["source.ip"])
        .cim(&["src", "src_ip"]),
    F::new(Keyword, "the initiator's address", |flow, _| Value::Address(flow.initiator.address))
        .ecs(&["source.address"])
        .of_form(Form::Address),
    F::new(Ip, "the responder's address", |flow, _| Value::Address(flow.responder.address))
        .simple(&["destination_ip"])
        .ecs(&["destination.ip"])
        .cim(&["dest", "dest_ip"]),
    F::new(Keyword, "the responder's address", |flow, _| Value::Address(flow.responder.address))
        .ecs(&["destination.address"])
        .of_form(Form::Address),
    F::new(Keyword, "the transport in upper case, else its number", |flow, _| {
        Value::Protocol(flow.transport)
    })
    .simple(&["protocol"]),
    F::new(Long, "the responder's port", |flow, _| Value::number(flow.responder.port))
        .simple(&["port"])
        .ecs(&["destination.port"])
        .cim(&["dest_port"]),
    F::new(Long, "the initiator's port", |flow, _| Value::number(flow.initiator.port))
        .ecs(&["source.port"])
        .cim(&["src_port"]),
    // How much.
    F::new(Long, "IP bytes both ways", |flow, _| Value::Number(flow.bytes()))
        .simple(&["packet_size"])
        .ecs(&["network.bytes"])
        .cim(&["bytes"]),
    F::new(Long, "packets both ways", |flow, _| Value::Number(flow.packets()))
        .simple(&["packets"])
        .ecs(&["network.packets"])
        .cim(&["packets"]),
    F::new(Long, "IP bytes from the initiator", |flow, _| Value::Number(flow.initiator.bytes))
        .ecs(&["source.bytes"])
        .cim(&["bytes_out"]),
    F::new(Long, "packets from the initiator", |flow, _| Value::Number(flow.initiator.packets))
        .ecs(&["source.packets"])
        .cim(&["packets_out"]),
    F::new(Long, "IP bytes from the responder", |flow, _| Value::Number(flow.responder.bytes))
        .ecs(&["destination.bytes"])
        .cim(&["bytes_in"]),
    F::new(Long, "packets from the responder", |flow, _| Value::Number(flow.responder.packets))
        .ecs(&["destination.packets"])
        .cim(&["packets_in"]),
    F::new(Long, "nanoseconds from start to end", |flow, _| Value::Number(flow.duration_nanos()))
        .simple(&["duration_ns"])
        .ecs(&["event.duration"]),
    F::new(Float, "seconds from start to end", |flow, _| Value::Seconds(flow.duration_nanos()))
        .cim(&["duration"]),
    // Which.
    F::new(Keyword, "the flow, the same in all its reports", |flow, _| Value::Id(flow.id))
        .simple(&["flow_id"])
        .ecs(&["tidegate.flow.id"])
        .cim(&["flow_id", "session_id"])
        .of_form(Form::Id),
    F::new(Keyword, "the report: the flow's id and the report's number", |flow, _| {
        Value::ReportId(flow.id, flow.sequence)
    })
    .ecs(&["event.id"])
    .cim(&["event_id"]),
    F::new(Long, "the report's number within the flow, from 0", |flow, _| {
        Value::Number(flow.sequence.into())
    })
    .ecs(&["event.sequence"])
    .cim(&["flow_sequence"]),
    F::new(Boolean, "whether no further report of the flow follows", |flow, _| {
        Value::Bool(flow.is_final())
    })
    .ecs(&["tidegate.flow.final"])
    .cim(&["flow_final"]),
    F::new(Keyword, "the flow of the tunnel that carries this one", |flow, _| {
        flow.parent.map_or(Value::Absent, Value::Id)
    })
    .ecs(&["tidegate.flow.parent_id"])
    .cim(&["parent_flow_id"])
    .of_form(Form::Id),
    F::new(Keyword, "Community ID, version 1; none where the ports are several", |flow, _| {
        flow.community_id().map_or(Value::Absent, Value::CommunityId)
    })
    .ecs(&["network.community_id"])
    .cim(&["community_id"])
    .of_form(Form::CommunityId),
    F::new(
        Keyword,
        "the Community ID of the flow that an ICMP error quotes; a list where errors of one flow \
         quote several (8 at most)",
        |flow, _| match flow.related_community_ids.as_slice() {
            [] => Value::Absent,
            [id] => Value::CommunityId(*id),
            ids => Value::CommunityIds(ids),
        },
    )
    .ecs(&["tidegate.flow.related_community_id"])
    .cim(&["related_community_id"])
    .of_form(Form::CommunityId),
    // What.
    F::of_run(Keyword, "what the document is", |_, _| Value::Plain("event")).ecs(&["event.kind"]),
    F::of_run(Keywords, "what it is about", |_, _| Value::Words(&["network"]))
        .ecs(&["event.category"]),
    F::new(Keyword, "what happened: `dropped` where a verdict dropped it", |flow, _| {
        Value::Plain(if flow.denied.is_some() { "dropped" } else { "network_flow" })
    })
    .ecs(&["event.action"])
    .one_of(|| vec!["network_flow", "dropped"]),
    F::new(Keyword, "`success` where it was dropped, as it was to be", |flow, _| {
        Value::plain(flow.denied.map(|_| "success"))
    })
    .ecs(&["event.outcome"])
    .one_of(|| vec!["success"]),
    F::new(
        Keywords,
        "`connection`, `start` on the first report, `end` on the last; `connection` and `denied` of \
         what was dropped",
        |flow, _| Value::Words(types(flow)),
    )
    .ecs(&["event.type"])
    .one_of(|| vec!["connection", "start", "end", "denied"]),
    F::new(
        Keyword,
        "`allowed`, `flow` for an attempt that came to nothing, `blocked` for what was dropped",
        |flow, _| Value::Plain(action(flow)),
    )
    .cim(&["action"])
    .one_of(|| vec!["allowed", "flow", "blocked"]),
    F::new(Boolean, "true where it was dropped", |flow, _| {
        flow.denied.map_or(Value::Absent, |_| Value::Bool(true))
    })
    .simple(&["denied"]),
    F::new(Keyword, "the verdict that dropped it; none where the guard did without one", |flow, _| {
        flow.denied.and_then(|denied| denied.verdict).map_or(Value::Absent, Value::Id)
    })
    .ecs(&["tidegate.verdict.id"])
    .cim(&["verdict_id"])
    .of_form(Form::Id),
    F::new(Keyword, "the transport's IANA keyword", |flow, _| transport(flow.transport))
        .ecs(&["network.transport"])
        .one_of(keywords),
    F::new(Keyword, "the transport's IANA keyword, `icmp` for both versions", |flow, _| {
        cim_transport(flow.transport)
    })
    .cim(&["transport"]),
    F::new(Label, "the transport's IANA number", |flow, _| Value::Label(flow.transport.0.into()))
        .ecs(&["network.iana_number"])
        .cim(&["iana_number"]),
    F::new(Keyword, "the version of IP", |flow, _| ip_version(flow.initiator.address))
        .ecs(&["network.type"])
        .cim(&["protocol_version"])
        .one_of(ip_versions),
    F::new(Keyword, "`icmp` for ICMP, else `ip`", |flow, _| cim_protocol(flow.transport))
        .cim(&["protocol"])
        .one_of(|| vec!["icmp", "ip"]),
    F::new(Keyword, "the application protocol, as tshark names it", |flow, _| {
        Value::text(flow.protocol.as_deref())
    })
    .ecs(&["network.protocol"]),
    F::new(Keyword, "the application protocol, or `unknown`", |flow, _| {
        app(flow.protocol.as_deref())
    })
    .cim(&["app"]),
    F::new(
        Keyword,
        "the name its first DNS message asks for, where DNS is dissected",
        |flow, _| Value::text(flow.question.as_deref()),
    )
    .ecs(&["dns.question.name"])
    .cim(&["query"]),
    F::new(
        Keyword,
        "the name of the server in its first TLS ClientHello with one, where TLS is looked into",
        |flow, _| Value::text(flow.server_name.as_deref()),
    )
    .ecs(&["tls.client.server_name"])
    .cim(&["server_name"]),
    F::new(
        Keyword,
        "the host of its first HTTP request with one, without the port, where HTTP is looked into",
        |flow, _| Value::text(flow.host.as_deref()),
    )
    .ecs(&["url.domain"])
    .cim(&["url_domain"]),
    F::new(Keyword, "where to, seen from the internal networks or from the host", |flow, _| {
        Value::plain(flow.direction.map(Direction::name))
    })
    .ecs(&["network.direction"])
    .one_of(|| Direction::ALL.map(Direction::name).to_vec()),
    F::new(Keyword, "`inbound`, or `outbound`, also between internal hosts", |flow, _| {
        cim_direction(flow)
    })
    .cim(&["direction"])
    .one_of(|| vec!["inbound", "outbound"]),
    F::new(Label, "VLAN id", |flow, _| Value::label(flow.vlans.outer()))
        .ecs(&["network.vlan.id"])
        .cim(&["vlan"]),
    F::new(Label, "inner VLAN id", |flow, _| Value::label(flow.vlans.inner()))
        .ecs(&["network.inner.vlan.id"])
        .cim(&["inner_vlan"]),
    F::new(Keyword, "the initiator's link-layer address", |flow, _| flow.initiator.mac.into())
        .ecs(&["source.mac"])
        .of_form(Form::Mac),
    F::new(Keyword, "the responder's link-layer address", |flow, _| flow.responder.mac.into())
        .ecs(&["destination.mac"])
        .of_form(Form::Mac),
    F::new(Keyword, "the initiator's link-layer address", |flow, _| cim_mac(flow.initiator.mac))
        .cim(&["src_mac"])
        .of_form(Form::ColonMac),
    F::new(Keyword, "the responder's link-layer address", |flow, _| cim_mac(flow.responder.mac))
        .cim(&["dest_mac"])
        .of_form(Form::ColonMac),
    F::new(Long, "type of the initiator's ICMP message", |flow, _| {
        Value::number(flow.icmp.map(|icmp| icmp.kind))
    })
    .ecs(&["tidegate.flow.icmp.type"])
    .cim(&["icmp_type"]),
    F::new(Long, "code of the initiator's ICMP message", |flow, _| {
        Value::number(flow.icmp.map(|icmp| icmp.code))
    })
    .ecs(&["tidegate.flow.icmp.code"])
    .cim(&["icmp_code"]),
    F::new(Keywords, "TCP control bits either side has sent", |flow, _| flags(flow.tcp_flags()))
        .ecs(&["tidegate.flow.tcp_flags"])
        .one_of(flag_names),
    F::new(Keywords, "TCP control bits either side has sent", |flow, _| {
        cim_flags(flow.tcp_flags())
    })
    .cim(&["tcp_flag"])
    .one_of(cim_flag_names),
    F::new(Keyword, "the state of the connection, in Zeek's terms", |flow, _| {
        Value::Plain(flow.conn_state.name())
    })
    .ecs(&["tidegate.flow.conn_state"])
    .cim(&["conn_state"])
    .one_of(|| ConnState::ALL.map(ConnState::name).to_vec()),
    F::new(Keyword, "the first 25 things that happened, a letter each, in Zeek's terms", |flow, _| {
        if flow.history.is_empty() { Value::Absent } else { Value::History(flow.history) }
    })
    .ecs(&["tidegate.flow.history"])
    .cim(&["history"]),
    F::new(Keyword, "why it was reported (IPFIX flowEndReason)", |flow, _| {
        Value::Plain(flow.end_reason.name())
    })
    .ecs(&["tidegate.flow.end_reason"])
    .cim(&["end_reason"])
    .one_of(|| EndReason::ALL.map(EndReason::name).to_vec()),
    F::new(
        Keywords,
        "`forwarded`, unless the traffic is the sensor's own, and remarks",
        |flow, o| tagged(flow.tags, o),
    )
    .ecs(&["tags"])
    .one_of(tags),
    // What is known of the addresses.
    F::new(Ips, "the addresses, to search for either", |flow, _| {
        Value::Addresses(flow.initiator.address, Some(flow.responder.address))
    })
    .ecs(&["related.ip"]),
    F::new(Keyword, "a name of the initiator that leads back to its address", |flow, _| {
        name(flow.names.source.as_deref())
    })
    .simple(&["source_name"])
    .ecs(&["source.domain"])
    .cim(&["src_host"]),
    F::new(Keyword, "a name of the responder that leads back to its address", |flow, _| {
        name(flow.names.destination.as_deref())
    })
    .simple(&["destination_name"])
    .ecs(&["destination.domain"])
    .cim(&["dest_host"]),
    F::new(Keyword, "where the initiator's names are from: `passive` or `ptr`", |flow, _| {
        name_origin(flow.names.source.as_deref())
    })
    .ecs(&["tidegate.source.name_origin"])
    .cim(&["src_host_origin"])
    .one_of(name_origins),
    F::new(Keyword, "where the responder's names are from: `passive` or `ptr`", |flow, _| {
        name_origin(flow.names.destination.as_deref())
    })
    .ecs(&["tidegate.destination.name_origin"])
    .cim(&["dest_host_origin"])
    .one_of(name_origins),
    F::new(Keywords, "all names that lead back to the addresses", |flow, _| reliable(&flow.names))
        .ecs(&["related.hosts"]),
    F::new(Keywords, "names nobody vouches for: no rule may rely on them", |flow, _| {
        unverified(&flow.names)
    })
    .ecs(&["tidegate.ptr.unverified"]),
    F::new(Float, "the initiator's risk score, 0 to 100", |flow, _| Value::number(flow.risk))
        .ecs(&["tidegate.source.risk"])
        .cim(&["risk_score"]),
];

impl Fields for Flow {
    const FIELDS: &'static [Field<Self>] = FIELDS;
}

/// What the report is in the flow's life.
fn types(flow: &Flow) -> &'static [&'static str] {
    if flow.denied.is_some() {
        return &["connection", "denied"];
    }
    match (flow.sequence == 0, flow.is_final()) {
        (true, true) => &["connection", "start", "end"],
        (true, false) => &["connection", "start"],
        (false, true) => &["connection", "end"],
        (false, false) => &["connection"],
    }
}

fn cim_direction(flow: &Flow) -> Value<'static> {
    match flow.direction {
        Some(Direction::Inbound | Direction::Ingress) => Value::Plain("inbound"),
        // Between internal hosts it leaves the one and so is outbound, seen from there.
        Some(Direction::Outbound | Direction::Egress | Direction::Internal) => {
            Value::Plain("outbound")
        }
        Some(Direction::External) | None => Value::Absent,
    }
}

/// Unless it was dropped, nobody has blocked it as far as can be seen; but what was refused, or never answered, was
/// not allowed either: the CIM's `flow` says no more than that it was seen.
fn action(flow: &Flow) -> &'static str {
    if flow.denied.is_some() {
        return "blocked";
    }
    match flow.conn_state {
        ConnState::S0 | ConnState::Rej | ConnState::Sh | ConnState::Rstos0
            if flow.transport == Transport::TCP =>
        {
            "flow"
        }
        _ => "allowed",
    }
}
