//! The fields of contacts. They are never written, but conditions may ask for them, by the names that
//! the same things have in packets and flows.

use super::{
    Field, Fields,
    Type::{Boolean, Date, Ip, Ips, Keyword, Keywords, Label, Long},
    Value,
    shared::{
        cim_protocol, cim_transport, flag_names, flags, ip_version, ip_versions, keywords,
        transport,
    },
    texts::Form,
};
use crate::record::{Contact, Outcome};

type F = Field<Contact>;

/// A contact.
const FIELDS: &[Field<Contact>] = &[
    F::new(Date, "when it happened", |contact, _| Value::Time(contact.time))
        .simple(&["timestamp"])
        .ecs(&["@timestamp"])
        .cim(&["timestamp"]),
    F::new(Ip, "the address of who made the contact", |contact, _| Value::Address(contact.source))
        .simple(&["source_ip"])
        .ecs(&["source.ip"])
        .cim(&["src", "src_ip"]),
    F::new(Keyword, "the address of who made the contact", |contact, _| {
        Value::Address(contact.source)
    })
    .ecs(&["source.address"])
    .of_form(Form::Address),
    F::new(Ip, "the address of whom it met", |contact, _| Value::Address(contact.destination))
        .simple(&["destination_ip"])
        .ecs(&["destination.ip"])
        .cim(&["dest", "dest_ip"]),
    F::new(Keyword, "the address of whom it met", |contact, _| Value::Address(contact.destination))
        .ecs(&["destination.address"])
        .of_form(Form::Address),
    F::new(Keyword, "the transport in upper case, else its number", |contact, _| {
        Value::Protocol(contact.transport)
    })
    .simple(&["protocol"]),
    F::new(Long, "the destination's port", |contact, _| {
        Value::number(contact.transport.has_ports().then_some(contact.port))
    })
    .simple(&["port"])
    .ecs(&["destination.port"])
    .cim(&["dest_port"]),
    F::new(Long, "the source's port, where it is about one flow", |contact, _| {
        Value::number((contact.source_port > 0).then_some(contact.source_port))
    })
    .ecs(&["source.port"])
    .cim(&["src_port"]),
    F::new(Keyword, "the transport's IANA keyword", |contact, _| transport(contact.transport))
        .ecs(&["network.transport"])
        .one_of(keywords),
    F::new(Keyword, "the transport's IANA keyword, `icmp` for both versions", |contact, _| {
        cim_transport(contact.transport)
    })
    .cim(&["transport"]),
    F::new(Label, "the transport's IANA number", |contact, _| {
        Value::Label(contact.transport.0.into())
    })
    .ecs(&["network.iana_number"])
    .cim(&["iana_number"]),
    F::new(Keyword, "the version of IP", |contact, _| ip_version(contact.source))
        .ecs(&["network.type"])
        .cim(&["protocol_version"])
        .one_of(ip_versions),
    F::new(Keyword, "`icmp` for ICMP, else `ip`", |contact, _| cim_protocol(contact.transport))
        .cim(&["protocol"])
        .one_of(|| vec!["icmp", "ip"]),
    F::new(Ips, "the addresses, to search for either", |contact, _| {
        Value::Addresses(contact.source, Some(contact.destination))
    })
    .ecs(&["related.ip"]),
    F::new(Keyword, "what came of it", |contact, _| Value::Plain(outcome(contact.outcome)))
        .ecs(&["tidegate.contact.outcome"])
        .one_of(|| OUTCOMES.to_vec()),
    F::new(Keywords, "control bits that no sane stack sends", |contact, _| match contact.outcome {
        Outcome::OddFlags(odd) => flags(odd),
        _ => Value::Absent,
    })
    .ecs(&["tidegate.contact.tcp_flags"])
    .one_of(flag_names),
    F::new(Long, "packets of the source since its last report", |contact, _| {
        match contact.outcome {
            Outcome::Counts { packets, .. } => Value::Number(packets),
            _ => Value::Absent,
        }
    })
    .ecs(&["tidegate.contact.packets"]),
    F::new(
        Long,
        "SYNs without ACK of the source since its last report",
        |contact, _| match contact.outcome {
            Outcome::Counts { syns, .. } => Value::Number(syns),
            _ => Value::Absent,
        },
    )
    .ecs(&["tidegate.contact.syns"]),
    F::new(
        Long,
        "handshakes of the destination that were completed within the second",
        |contact, _| match contact.outcome {
            Outcome::Counts { completed, .. } => Value::Number(completed),
            _ => Value::Absent,
        },
    )
    .ecs(&["tidegate.contact.completed"]),
    F::new(Long, "nanoseconds that a connection lasted", |contact, _| match contact.outcome {
        Outcome::Ended { duration_nanos, .. } => Value::Number(duration_nanos),
        _ => Value::Absent,
    })
    .ecs(&["event.duration"]),
    F::new(Long, "IP bytes that the source sent over it", |contact, _| match contact.outcome {
        Outcome::Ended { sent_bytes, .. } => Value::Number(sent_bytes),
        _ => Value::Absent,
    })
    .ecs(&["source.bytes"]),
    F::new(Long, "IP bytes that the source received over it", |contact, _| match contact.outcome {
        Outcome::Ended { received_bytes, .. } => Value::Number(received_bytes),
        _ => Value::Absent,
    })
    .ecs(&["destination.bytes"]),
    F::new(Long, "connections of the source to the port that are open", |contact, _| match contact
        .outcome
    {
        Outcome::Open { count, .. } => Value::Number(count.into()),
        _ => Value::Absent,
    })
    .ecs(&["tidegate.contact.open"]),
    F::new(Long, "IP bytes of these since they were last told", |contact, _| {
        match contact.outcome {
            Outcome::Open { bytes, .. } => Value::Number(bytes),
            _ => Value::Absent,
        }
    })
    .ecs(&["tidegate.contact.open_bytes"]),
    F::new(Boolean, "whether the source is proven to be at its address", |contact, _| {
        Value::Bool(contact.path_proven)
    })
    .ecs(&["tidegate.contact.path_proven"]),
];

/// What can come of a contact.
const OUTCOMES: [&str; 11] = [
    "attempt",
    "success",
    "refused",
    "timed_out",
    "odd_flags",
    "split_header",
    "ack_probe",
    "echo",
    "ended",
    "open",
    "counts",
];

impl Fields for Contact {
    const FIELDS: &'static [Field<Self>] = FIELDS;
}

fn outcome(outcome: Outcome) -> &'static str {
    let [
        attempt,
        success,
        refused,
        timed_out,
        odd_flags,
        split_header,
        ack_probe,
        echo,
        ended,
        open,
        counts,
    ] = OUTCOMES;
    match outcome {
        Outcome::Attempt => attempt,
        Outcome::Success => success,
        Outcome::Refused => refused,
        Outcome::TimedOut => timed_out,
        Outcome::OddFlags(_) => odd_flags,
        Outcome::SplitHeader => split_header,
        Outcome::AckProbe => ack_probe,
        Outcome::Echo => echo,
        Outcome::Ended { .. } => ended,
        Outcome::Open { .. } => open,
        Outcome::Counts { .. } => counts,
    }
}
