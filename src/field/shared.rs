//! Values that several kinds of record have.

use std::net::IpAddr;

use super::{Origin, Value};
use crate::record::{FlowTags, HostNames, MacAddress, NameOrigin, Names, TcpFlags, Transport};

pub(super) fn transport(transport: Transport) -> Value<'static> {
    Value::plain(transport.keyword())
}

/// CIM knows one ICMP.
pub(super) fn cim_transport(transport: Transport) -> Value<'static> {
    match (transport, transport.keyword()) {
        (Transport::ICMP | Transport::ICMPV6, _) => Value::Plain("icmp"),
        (_, Some(keyword)) => Value::Plain(keyword),
        (Transport(number), None) => Value::Label(number.into()),
    }
}

pub(super) fn cim_protocol(transport: Transport) -> Value<'static> {
    Value::Plain(match transport {
        Transport::ICMP | Transport::ICMPV6 => "icmp",
        _ => "ip",
    })
}

pub(super) fn ip_version(address: IpAddr) -> Value<'static> {
    Value::Plain(if address.is_ipv4() { "ipv4" } else { "ipv6" })
}

/// CIM wants the application named, known or not.
pub(super) fn app(protocol: Option<&str>) -> Value<'_> {
    protocol.map_or(Value::Plain("unknown"), Value::Text)
}

/// Control bits by name, where there are any.
pub(super) fn flags(flags: TcpFlags) -> Value<'static> {
    let named = TcpFlags(flags.0 & 0xff);
    if named == TcpFlags::default() { Value::Absent } else { Value::Flags(named) }
}

/// CIM knows no bits about congestion.
pub(super) fn cim_flags(all: TcpFlags) -> Value<'static> {
    flags(TcpFlags(all.0 & !(TcpFlags::ECE | TcpFlags::CWR)))
}

/// The one name to show.
pub(super) fn name(names: Option<&HostNames>) -> Value<'_> {
    Value::text(names.and_then(HostNames::name))
}

pub(super) fn name_origin(names: Option<&HostNames>) -> Value<'static> {
    Value::plain(names.map(|names| names.origin.name()))
}

pub(super) fn reliable(names: &Names) -> Value<'_> {
    both(names, |names| &names.reliable)
}

pub(super) fn unverified(names: &Names) -> Value<'_> {
    both(names, |names| &names.unverified)
}

pub(super) fn both(names: &Names, pick: fn(&HostNames) -> &[Box<str>]) -> Value<'_> {
    Value::texts(
        names.source.as_deref().map_or(&[], pick),
        names.destination.as_deref().map_or(&[], pick),
    )
}

/// The keywords that transports have.
pub(super) fn keywords() -> Vec<&'static str> {
    (0..=u8::MAX).filter_map(|number| Transport(number).keyword()).collect()
}

/// The versions of IP.
pub(super) fn ip_versions() -> Vec<&'static str> {
    vec!["ipv4", "ipv6"]
}

/// Where names can be from.
pub(super) fn name_origins() -> Vec<&'static str> {
    [NameOrigin::Passive, NameOrigin::Ptr].map(NameOrigin::name).to_vec()
}

/// The names of TCP's control bits.
pub(super) fn flag_names() -> Vec<&'static str> {
    Value::flag_names(TcpFlags(u16::MAX)).collect()
}

/// The names of the control bits that CIM knows.
pub(super) fn cim_flag_names() -> Vec<&'static str> {
    Value::flag_names(TcpFlags(!(TcpFlags::ECE | TcpFlags::CWR))).collect()
}

/// The tags that records can have.
pub(super) fn tags() -> Vec<&'static str> {
    FlowTags(u8::MAX).written(true).collect()
}

/// Those of a record.
pub(super) fn tagged(tags: FlowTags, origin: &Origin) -> Value<'static> {
    let forwarded = !origin.is_own_traffic();
    if forwarded || tags != FlowTags::default() {
        Value::Tags(tags, forwarded)
    } else {
        Value::Absent
    }
}

/// A link-layer address as the CIM writes it.
pub(super) fn cim_mac(address: Option<MacAddress>) -> Value<'static> {
    address.map_or(Value::Absent, Value::ColonMac)
}
