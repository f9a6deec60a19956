//! The fields of health records.

use super::super::{
    field::{
        Field,
        Type::{Date, Keyword, Long},
    },
    value::Value,
};
use crate::record::Health;

type F = Field<Health>;

/// A health record. The order is that of the simple schema.
pub(in crate::codec) const FIELDS: &[Field<Health>] = &[
    F::new(Date, "when it was written", |health, _| Value::Time(health.time))
        .simple(&["timestamp"])
        .ecs(&["@timestamp"])
        .cim(&["timestamp"]),
    F::new(Long, "packets received since the last report", |health, _| {
        Value::Number(health.packets)
    })
    .simple(&["packets"])
    .ecs(&["tidegate.health.packets"])
    .cim(&["packets"]),
    F::new(Long, "packets known to be lost since the last report", |health, _| {
        Value::Number(health.lost_packets)
    })
    .simple(&["lost_packets"])
    .ecs(&["tidegate.health.lost_packets"])
    .cim(&["lost_packets"]),
    F::new(Keyword, "the record, the same whenever it is sent again", |health, origin| {
        Value::Id(health.id(&origin.observer))
    })
    .ecs(&["event.id"])
    .cim(&["event_id"]),
    F::of_run(Keyword, "what the document is", |_, _| Value::Plain("metric")).ecs(&["event.kind"]),
    F::of_run(Keyword, "what happened", |_, _| Value::Plain("sensor_health"))
        .ecs(&["event.action"]),
];
