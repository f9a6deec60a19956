//! Fields that records of every kind have: who saw it, and where it is going.

use super::{Field, Type, Value};
use crate::component::Machine;

/// The fields that records of type `T` share with those of other kinds.
pub(crate) struct Common<T>(std::marker::PhantomData<T>);

/// The Elastic Common Schema's version that the names are of.
pub const ECS_VERSION: &str = "9.4.0";

/// Who made the records, as Splunk names products.
const VENDOR_PRODUCT: &str = "Tidegate";

impl<T: 'static> Common<T> {
    pub(crate) const FIELDS: &'static [Field<T>] = &[
        Field::of_run(Type::Keyword, "version of the Elastic Common Schema", |_, _| {
            Value::Text(ECS_VERSION)
        })
        .ecs(&["ecs.version"]),
        Field::of_run(Type::Keyword, "the module that made the record", |_, _| {
            Value::Plain("tidegate")
        })
        .ecs(&["event.module"]),
        Field::of_run(
            Type::Keyword,
            "the data set, by default `tidegate.` and the kind",
            |o, k| Value::Text(o.dataset(k)),
        )
        .ecs(&["event.dataset"]),
        Field::of_run(Type::ConstantKeyword, "part of the data stream's name", |_, _| {
            Value::Plain("logs")
        })
        .ecs(&["data_stream.type"]),
        Field::of_run(Type::ConstantKeyword, "part of the data stream's name", |o, k| {
            Value::Text(o.dataset(k))
        })
        .ecs(&["data_stream.dataset"]),
        Field::of_run(Type::ConstantKeyword, "part of the data stream's name", |o, _| {
            Value::Text(&o.namespace)
        })
        .ecs(&["data_stream.namespace"]),
        Field::of_run(Type::Keyword, "the sensor's name", |o, _| Value::Text(&o.observer))
            .ecs(&["observer.name"])
            .cim(&["dvc"]),
        Field::of_run(
            Type::Keyword,
            "the name of the sensor's machine; not in a replay",
            |o, _| Value::text(o.machine().map(|machine| &*machine.hostname)),
        )
        .ecs(&["observer.hostname"]),
        Field::of_run(
            Type::Ips,
            "the addresses of the sensor's machine; not in a replay",
            |o, _| addresses(o.machine()),
        )
        .ecs(&["observer.ip"]),
        Field::of_run(Type::Keyword, "what the sensor is", |_, _| Value::Plain("sensor"))
            .ecs(&["observer.type"]),
        Field::of_run(Type::Keyword, "who made the sensor", |_, _| Value::Plain("Tidegate"))
            .ecs(&["observer.vendor", "observer.product"]),
        Field::of_run(Type::Keyword, "the sensor's release", |_, _| {
            Value::Text(env!("CARGO_PKG_VERSION"))
        })
        .ecs(&["observer.version"]),
        Field::of_run(
            Type::Keyword,
            "the interface it was captured on; not in a replay",
            |o, _| Value::text(o.interface.as_deref()),
        )
        .ecs(&["observer.ingress.interface.name"])
        .cim(&["dvc_interface"]),
        Field::of_run(Type::Keyword, "an id of the sensor: a hash of its name", |o, _| {
            Value::Text(&o.agent)
        })
        .ecs(&["agent.id"]),
        Field::of_run(Type::Keyword, "the shipper", |_, _| Value::Plain("tidegate"))
            .ecs(&["agent.type"]),
        Field::of_run(Type::Keyword, "the shipper's release", |_, _| {
            Value::Text(env!("CARGO_PKG_VERSION"))
        })
        .ecs(&["agent.version"]),
        Field::of_run(Type::Keyword, "vendor and product of the sensor", |_, _| {
            Value::Plain(VENDOR_PRODUCT)
        })
        .cim(&["vendor_product"]),
        Field::new(Type::Date, "when the record was made; not in a replay", |_, origin| {
            origin.created().map_or(Value::Absent, Value::Time)
        })
        .ecs(&["event.created"]),
    ];

    /// The host whose traffic it is. Alerts have their own: those of the host at risk.
    pub(crate) const HOST: &'static [Field<T>] = &[
        Field::of_run(
            Type::Keyword,
            "the sensor's name, where the traffic is its own (`observer.role: host`)",
            |o, _| if o.is_own_traffic() { Value::Text(&o.observer) } else { Value::Absent },
        )
        .ecs(&["host.name"]),
        Field::of_run(
            Type::Keyword,
            "the name of the machine, where the traffic is its own; not in a replay",
            |o, _| Value::text(o.host().map(|machine| &*machine.hostname)),
        )
        .ecs(&["host.hostname"]),
        Field::of_run(
            Type::Ips,
            "its addresses, where the traffic is its own; not in a replay",
            |o, _| addresses(o.host()),
        )
        .ecs(&["host.ip"]),
        Field::of_run(
            Type::Keywords,
            "its link-layer addresses, where the traffic is its own; not in a replay",
            |o, _| o.host().map_or(Value::Absent, |machine| Value::texts(&machine.macs, &[])),
        )
        .ecs(&["host.mac"]),
        Field::of_run(
            Type::Keyword,
            "its machine id (`machine-id(5)`), where the traffic is its own; not in a replay",
            |o, _| Value::text(o.host().and_then(|machine| machine.id.as_deref())),
        )
        .ecs(&["host.id"]),
        Field::of_run(
            Type::Keyword,
            "its architecture, where the traffic is its own; not in a replay",
            |o, _| Value::plain(o.host().map(|_| std::env::consts::ARCH)),
        )
        .ecs(&["host.architecture"]),
    ];
}

/// Addresses of a machine, if it is known and has any.
pub(super) fn addresses(machine: Option<&Machine>) -> Value<'_> {
    let known = machine.filter(|machine| !machine.addresses.is_empty());
    known.map_or(Value::Absent, |machine| Value::AddressList(&machine.addresses))
}
