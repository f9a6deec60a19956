//! Conditions against documents: what `filter` and `route` see of a record is what a sink writes of it.

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::{
    codec::{Encoder, EncodingConfig, Origin, Schema},
    component::Clock,
    condition::Condition,
    field::{self, Fields},
    flow::{Output, Policy, Shards},
    record::Records,
};

use crate::harness::{Case, Outcome, Scene, captures, packets::packets};

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(a_condition_sees_the_values_that_documents_have)]
}

fn a_condition_sees_the_values_that_documents_have(scene: &Scene) -> Outcome {
    let path = scene.path("every-kind.pcap");
    captures::every_kind().write(&path);
    let packets = packets(&path, false)?;
    let (mut table, mut out) = (Shards::new(Policy::default(), 1), Output::default());
    table.absorb(&packets, &mut out);
    table.drain(&mut out);
    let flows: Vec<_> = out.flows.into_iter().map(|report| report.record).collect();
    assert!(packets.len() > 20 && flows.len() > 10, "{} flows", flows.len());
    let mut compared = 0;
    let (all_packets, all_flows) =
        (Records::Packets(packets.clone().into()), Records::Flows(flows.clone().into()));
    for (index, packet) in packets.iter().enumerate() {
        compared += compare(packet, &all_packets, index)?;
    }
    for (index, flow) in flows.iter().enumerate() {
        compared += compare(flow, &all_flows, index)?;
    }
    assert!(compared > 3_000, "only {compared} values were compared");
    Ok(())
}

/// Asks a record for each value of its document, and for each field that the document lacks; answers
/// how many values there were.
fn compare(record: &impl Fields, records: &Records, index: usize) -> Result<usize, Failed> {
    let mut compared = 0;
    for schema in Schema::ALL {
        compared += compare_in(schema, record, records, index)?;
    }
    Ok(compared)
}

fn compare_in(
    schema: Schema,
    record: &impl Fields,
    records: &Records,
    index: usize,
) -> Result<usize, Failed> {
    let origin = Origin::new("sensor", Clock::Event);
    let mut document = Vec::new();
    Encoder::new(&EncodingConfig::default(), schema, origin.clone()).encode(
        records,
        index,
        &mut document,
    )?;
    let document: Value = serde_json::from_slice(&document)?;
    let holds = |condition: Value| {
        let condition: Condition = serde_json::from_value(condition)?;
        let predicate = condition.compile("condition");
        let holds = predicate.is_ok_and(|predicate| predicate.holds(record, &origin));
        Ok::<_, serde_json::Error>(holds)
    };
    let mut compared = 0;
    for field in field::named(schema).filter(|field| field.kind == records.kind()) {
        let name = field.name;
        let written = match schema {
            Schema::Ecs => document.pointer(&format!("/{}", name.replace('.', "/"))),
            Schema::Simple | Schema::Cim => document.get(name),
        };
        let asked = |more: Value| {
            let mut asked = json!({"field": name, "schema": schema.name()});
            if let (Some(asked), Value::Object(more)) = (asked.as_object_mut(), more) {
                asked.extend(more);
            }
            asked
        };
        assert_eq!(holds(asked(json!({"exists": true})))?, written.is_some(), "{name}");
        let values = match written {
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => &[],
        };
        for value in values {
            assert!(holds(asked(json!({"equals": value})))?, "{name}: {document}");
            compared += 1;
        }
    }
    Ok(compared)
}
