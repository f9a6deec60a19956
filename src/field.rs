//! The one table of fields: of each kind of record, every field with its value and its names in the
//! schemas. Encoders, index templates and the field reference are all made of it.

mod alert;
mod common;
mod entry;
mod flow;
mod health;
mod origin;
mod packet;
#[cfg(test)]
mod reference;
mod value;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::{common::ECS_VERSION, origin::Origin};
pub(crate) use self::{
    entry::{Field, Given, Type},
    value::Value,
};
use crate::record::{Alert, Flow, Health, HostNames, Kind, Names, Packet, TcpFlags, Transport};

/// Records of a kind that leaves the pipeline.
pub(crate) trait Reported: Sized + 'static {
    /// The kind.
    const KIND: Kind;
    /// The fields that only this kind has.
    const FIELDS: &'static [Field<Self>];

    /// All the fields, in the order they are written.
    fn fields() -> impl Iterator<Item = &'static Field<Self>> {
        Self::FIELDS.iter().chain(common::Common::<Self>::FIELDS)
    }
}

/// The names and the selection of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// Few flat fields: time, addresses, protocol, destination port and size; what the kind adds.
    Simple,
    /// The Elastic Common Schema, as nested objects; what it has no name for is under `tidegate`.
    Ecs,
    /// Splunk's Common Information Model, flat: Network Traffic, alerts as Intrusion Detection.
    Cim,
}

/// A field's name in a schema, with what it is: the table without the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// The name; dotted in the Elastic Common Schema.
    pub name: &'static str,
    /// The kind of record that has it.
    pub kind: Kind,
    /// What its values are, in the terms of Elasticsearch's mappings.
    pub r#type: &'static str,
    /// Whether a value is a list.
    pub is_list: bool,
    /// What it is.
    pub about: &'static str,
}

/// Every field of a schema, kind after kind.
pub fn named(schema: Schema) -> impl Iterator<Item = Named> {
    fn of<T: Reported>(schema: Schema) -> impl Iterator<Item = Named> {
        T::fields().flat_map(move |field| {
            field.names(schema).iter().map(|name| Named {
                name,
                kind: T::KIND,
                r#type: field.r#type.name(),
                is_list: field.r#type.is_list(),
                about: field.about,
            })
        })
    }
    of::<Packet>(schema)
        .chain(of::<Flow>(schema))
        .chain(of::<Alert>(schema))
        .chain(of::<Health>(schema))
}

// === impl Schema ===

impl Schema {
    /// All schemas.
    pub const ALL: [Self; 3] = [Self::Simple, Self::Ecs, Self::Cim];

    /// The name in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Ecs => "ecs",
            Self::Cim => "cim",
        }
    }
}

// === impl Reported ===

impl Reported for Packet {
    const KIND: Kind = Kind::Packet;
    const FIELDS: &'static [Field<Self>] = packet::FIELDS;
}

impl Reported for Flow {
    const KIND: Kind = Kind::Flow;
    const FIELDS: &'static [Field<Self>] = flow::FIELDS;
}

impl Reported for Alert {
    const KIND: Kind = Kind::Alert;
    const FIELDS: &'static [Field<Self>] = alert::FIELDS;
}

impl Reported for Health {
    const KIND: Kind = Kind::Health;
    const FIELDS: &'static [Field<Self>] = health::FIELDS;
}

// === Values that several kinds have ===

fn transport(transport: Transport) -> Value<'static> {
    Value::plain(transport.keyword())
}

/// CIM knows one ICMP.
fn cim_transport(transport: Transport) -> Value<'static> {
    match (transport, transport.keyword()) {
        (Transport::ICMP | Transport::ICMPV6, _) => Value::Plain("icmp"),
        (_, Some(keyword)) => Value::Plain(keyword),
        (Transport(number), None) => Value::Label(number.into()),
    }
}

fn cim_protocol(transport: Transport) -> Value<'static> {
    Value::Plain(match transport {
        Transport::ICMP | Transport::ICMPV6 => "icmp",
        _ => "ip",
    })
}

fn ip_version(address: IpAddr) -> Value<'static> {
    Value::Plain(if address.is_ipv4() { "ipv4" } else { "ipv6" })
}

/// CIM wants the application named, known or not.
fn app(protocol: Option<&str>) -> Value<'_> {
    protocol.map_or(Value::Plain("unknown"), Value::Text)
}

/// Control bits by name, where there are any.
fn flags(flags: TcpFlags) -> Value<'static> {
    let named = TcpFlags(flags.0 & 0xff);
    if named == TcpFlags::default() { Value::Absent } else { Value::Flags(named) }
}

/// CIM knows no bits about congestion.
fn cim_flags(all: TcpFlags) -> Value<'static> {
    flags(TcpFlags(all.0 & !(TcpFlags::ECE | TcpFlags::CWR)))
}

/// The one name to show.
fn name(names: Option<&HostNames>) -> Value<'_> {
    Value::text(names.and_then(HostNames::name))
}

fn name_origin(names: Option<&HostNames>) -> Value<'static> {
    Value::plain(names.map(|names| names.origin.name()))
}

fn reliable(names: &Names) -> Value<'_> {
    both(names, |names| &names.reliable)
}

fn unverified(names: &Names) -> Value<'_> {
    both(names, |names| &names.unverified)
}

fn both(names: &Names, pick: fn(&HostNames) -> &[Box<str>]) -> Value<'_> {
    Value::texts(
        names.source.as_deref().map_or(&[], pick),
        names.destination.as_deref().map_or(&[], pick),
    )
}
