//! The fields of health records.

use super::{
    Field, Fields,
    Type::{Boolean, Counts, Date, Keyword, Keywords, Long, Signed},
    Value,
    texts::Form,
};
use crate::record::Health;

type F = Field<Health>;

/// A health record. The order is that of the simple schema.
const FIELDS: &[Field<Health>] = &[
    F::new(Date, "when it was written: the end of its interval", |health, _| {
        Value::Time(health.time)
    })
    .simple(&["timestamp"])
    .ecs(&["@timestamp"])
    .cim(&["timestamp"]),
    F::new(Long, "packets received in the interval", |health, _| Value::Number(health.packets))
        .simple(&["packets"])
        .ecs(&["tidegate.health.packets"])
        .cim(&["packets"]),
    F::new(Long, "packets known to be lost in the interval", |health, _| {
        Value::Number(health.lost_packets())
    })
    .simple(&["lost_packets"])
    .ecs(&["tidegate.health.lost_packets"])
    .cim(&["lost_packets"]),
    F::new(Counts, "the lost packets by cause", |health, _| {
        if health.lost.is_empty() { Value::Absent } else { Value::Counts(&health.lost) }
    })
    .ecs(&["tidegate.health.lost"])
    .cim(&["lost"]),
    F::new(Long, "how often something may have lost packets uncounted", |health, _| {
        Value::Number(health.unknown_losses)
    })
    .ecs(&["tidegate.health.unknown_losses"])
    .cim(&["unknown_losses"]),
    F::new(Long, "records that destinations confirmed in the interval", |health, _| {
        Value::Number(health.delivered)
    })
    .ecs(&["tidegate.health.delivered"])
    .cim(&["delivered"]),
    F::new(Long, "records written to dead-letter files in the interval", |health, _| {
        Value::Number(health.dead_lettered)
    })
    .ecs(&["tidegate.health.dead_lettered"])
    .cim(&["dead_lettered"]),
    F::new(Long, "records the config had no interest in, in the interval", |health, _| {
        Value::Number(health.filtered)
    })
    .ecs(&["tidegate.health.filtered"])
    .cim(&["filtered"]),
    F::new(Long, "records dropped in the interval", |health, _| Value::Number(health.dropped))
        .ecs(&["tidegate.health.dropped"])
        .cim(&["dropped"]),
    F::new(Long, "records that wait in buffers", |health, _| Value::Number(health.waiting_events))
        .ecs(&["tidegate.health.waiting.events"])
        .cim(&["waiting_events"]),
    F::new(Long, "bytes of memory that waiting records take", |health, _| {
        Value::Number(health.waiting_bytes)
    })
    .ecs(&["tidegate.health.waiting.bytes"])
    .cim(&["waiting_bytes"]),
    F::new(Long, "entries in the kernel's map of verdicts", |health, _| {
        Value::number(health.verdict_map.map(|map| map.entries))
    })
    .ecs(&["tidegate.health.verdict_map.entries"])
    .cim(&["verdict_map_entries"]),
    F::new(Long, "entries that the kernel's map of verdicts can hold", |health, _| {
        Value::number(health.verdict_map.map(|map| map.capacity))
    })
    .ecs(&["tidegate.health.verdict_map.capacity"])
    .cim(&["verdict_map_capacity"]),
    F::new(Keywords, "the interfaces that gates are on", |health, _| {
        Value::texts(&health.gates.interfaces, &[])
    })
    .ecs(&["tidegate.health.gate.interface"])
    .cim(&["gate_interface"]),
    F::new(Keywords, "`observe` or `enforce`, of each gate", |health, _| {
        Value::texts(&health.gates.modes, &[])
    })
    .ecs(&["tidegate.health.gate.mode"])
    .cim(&["gate_mode"]),
    F::new(
        Keywords,
        "how each gate is attached, `native` or `skb`; `no` while it is not",
        |health, _| Value::texts(&health.gates.attached, &[]),
    )
    .ecs(&["tidegate.health.gate.attached"])
    .cim(&["gate_attached"]),
    F::new(Signed, "nanoseconds by which the clock is behind", |health, _| {
        health.clock.map_or(Value::Absent, |clock| Value::Signed(clock.offset_nanos))
    })
    .ecs(&["tidegate.health.clock.offset"])
    .cim(&["clock_offset"]),
    F::new(Boolean, "whether somebody keeps the clock in step", |health, _| {
        health.clock.map_or(Value::Absent, |clock| Value::Bool(clock.synchronised))
    })
    .ecs(&["tidegate.health.clock.synchronised"])
    .cim(&["clock_synchronised"]),
    F::new(Keywords, "`clock_unsynced`, where nobody keeps the clock in step", |health, _| {
        if health.is_unsynced() { Value::Words(&[Health::CLOCK_UNSYNCED]) } else { Value::Absent }
    })
    .ecs(&["tags"])
    .cim(&["tags"])
    .one_of(|| vec![Health::CLOCK_UNSYNCED]),
    F::new(Long, "nanoseconds that the interval lasted", |health, _| {
        Value::Number(health.interval_nanos)
    })
    .ecs(&["tidegate.health.interval"])
    .cim(&["interval_ns"]),
    F::new(Long, "nanoseconds since the sensor was started", |health, _| {
        Value::Number(health.uptime_nanos)
    })
    .ecs(&["tidegate.health.uptime"])
    .cim(&["uptime_ns"]),
    F::new(Keyword, "the config's hash; equal configs have equal ones", |health, _| {
        Value::Text(&health.config_hash)
    })
    .ecs(&["tidegate.health.config_hash"])
    .cim(&["config_hash"]),
    F::new(Keyword, "the record, the same whenever it is sent again", |health, origin| {
        Value::Id(health.id(&origin.observer))
    })
    .ecs(&["event.id"])
    .cim(&["event_id"])
    .of_form(Form::Id),
    F::of_run(Keyword, "what the document is", |_, _| Value::Plain("metric")).ecs(&["event.kind"]),
    F::of_run(Keyword, "what happened", |_, _| Value::Plain("sensor_health"))
        .ecs(&["event.action"]),
];

impl Fields for Health {
    const FIELDS: &'static [Field<Self>] = FIELDS;
}
