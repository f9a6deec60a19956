//! What we write in the schemas `ecs` and `cim`, against the lists of fields that their owners publish.

mod add_on;
mod cim;
mod ecs;
mod spl;

use std::{collections::BTreeMap, sync::Arc};

use libtest_mimic::Failed;
use serde_json::Value;
use tidegate::{
    codec::{Encoder, EncodingConfig, Origin, Schema},
    component::Clock,
    field,
    record::{
        Action, Alert, ClockState, CommunityId, Denied, Destination, Details, Endpoint, Flow,
        FlowTags, Health, Icmp, Id, Kind, MapFill, Names, Records, Signal, Timestamp, Transport,
        VerdictDetails, Weight,
    },
};

use self::{cim::Model, ecs::Ecs};
use crate::harness::{Case, Outcome, Scene, all_captures};

/// What is found wrong, of which events, and why it is not.
type Exception = (&'static str, fn(&Value) -> bool, &'static str);

/// What the checker of the Common Information Model holds against events that say the truth.
const EXCEPTIONS: [Exception; 10] = [
    (
        "bytes_in: not valid",
        |event| event["bytes_in"] == 0,
        "a one-way flow or a packet: nothing came back, and the checker wants more than 0",
    ),
    (
        "bytes_out: not valid",
        |event| event["bytes_out"] == 0,
        "only the responder was seen to send, or offloading left IP lengths of 0",
    ),
    (
        "bytes: not valid",
        |event| event["bytes"] == 0,
        "packets of IP length 0, as segmentation offload leaves them",
    ),
    ("transport: not an expected value", is_other, "the model knows tcp, udp and icmp"),
    ("transport: not valid", is_other, "the model knows tcp, udp and icmp"),
    ("protocol: not valid", is_other, "the model knows tcp, udp and icmp"),
    (
        "icmp_type: not valid",
        |event| event["icmp_type"].is_number(),
        "the checker looks at the duration instead: it must be above 0 and below 254",
    ),
    (
        "icmp_type: missing",
        |event| event.get("icmp_code").is_none(),
        "the ICMP header was cut off or is in another fragment",
    ),
    (
        "icmp_code: missing",
        |event| event.get("icmp_type").is_none(),
        "the ICMP header was cut off or is in another fragment",
    ),
    (
        "port: missing",
        |event| event.get("src_port").is_none() && event.get("dest_port").is_none(),
        "the transport header was cut off or is in another fragment",
    ),
];

/// An alert is about one source and whatever it did.
const ALERT_EXCEPTIONS: [&str; 1] = ["src_port: missing"];

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new(every_document_of_every_capture_is_valid).needs_data().busy(),
        Case::new(every_field_of_ours_is_in_the_schema_with_its_type).needs_data(),
        Case::new(alerts_and_health_records_are_valid).needs_data(),
        Case::new(records_of_what_was_dropped_are_valid).needs_data(),
    ];
    cases.extend(add_on::cases());
    cases
}

fn is_other(event: &Value) -> bool {
    !["tcp", "udp", "icmp"].iter().any(|transport| event["transport"] == *transport)
}

fn ecs(scene: &Scene) -> Result<Ecs, Failed> {
    Ecs::read(&scene.data.join("ecs/ecs_flat.yml"))
}

/// How often each exception was needed.
#[derive(Debug, Default)]
struct Tally {
    documents: usize,
    events: usize,
    exceptions: BTreeMap<(&'static str, &'static str), usize>,
}

impl Tally {
    /// Accepts what has a reason.
    fn except(&mut self, event: &Value, wrong: &str) -> Outcome {
        let stem = match wrong {
            "src_port: missing" | "dest_port: missing" => "port: missing",
            wrong => wrong,
        };
        let found = EXCEPTIONS.iter().find(|(name, holds, _)| *name == stem && holds(event));
        let (name, _, reason) = found.ok_or_else(|| format!("{wrong} in {event}"))?;
        *self.exceptions.entry((name, reason)).or_default() += 1;
        Ok(())
    }
}

fn every_document_of_every_capture_is_valid(scene: &Scene) -> Outcome {
    let ecs = ecs(scene)?;
    let model = Model::read(&scene.data.join("cim/Network_Traffic.json"))?;
    let mut tally = Tally::default();
    for kind in ["packets", "flows"] {
        all_captures::each(scene, kind, "ecs", |line| {
            let document = serde_json::from_str(&line)?;
            tally.documents += 1;
            let wrong = ecs.check(&document);
            if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}: {document}").into()) }
        })?;
        all_captures::each(scene, kind, "cim", |line| {
            let event = serde_json::from_str(&line)?;
            tally.events += 1;
            model.check(&event).iter().try_for_each(|wrong| tally.except(&event, wrong))
        })?;
    }
    eprintln!(
        "{} ECS documents, no exception; {} CIM events, of which",
        tally.documents, tally.events
    );
    for ((wrong, reason), times) in &tally.exceptions {
        eprintln!("{times:>8} {wrong}: {reason}");
    }
    assert!(tally.documents > 200_000, "{tally:?}");
    Ok(())
}

fn every_field_of_ours_is_in_the_schema_with_its_type(scene: &Scene) -> Outcome {
    let ecs = ecs(scene)?;
    let mut checked = 0;
    for field in field::named(Schema::Ecs).filter(|field| !field.name.starts_with("tidegate.")) {
        let theirs = ecs.field(field.name).ok_or_else(|| format!("{} is unknown", field.name))?;
        assert_eq!(
            (field.r#type, field.is_list),
            (theirs.r#type.as_str(), theirs.is_list()),
            "{}",
            field.name
        );
        checked += 1;
    }
    assert!(checked > 50);
    Ok(())
}

fn alerts_and_health_records_are_valid(scene: &Scene) -> Outcome {
    let ecs = ecs(scene)?;
    let model = Model::read(&scene.data.join("cim/Intrusion_Detection.json"))?;
    let actions = Action::ALL;
    let alerts = (0..).zip(actions).map(|(ordinal, action)| Alert {
        time: Timestamp::from_nanos(1_700_000_000_000_000_000),
        origin: tidegate::record::ObservationPoint::default(),
        source: "2001:db8::7".parse().expect("an address"),
        action,
        risk_score: 90 - 10 * u8::try_from(ordinal).expect("few"),
        reasons: vec!["80 ports in 1 s".into(), "no answer from 60 hosts".into()],
        ordinal,
        names: Names::default(),
        details: Box::new(details(ordinal, action)),
    });
    let health = Health {
        time: Timestamp::from_nanos(1_700_000_000_000_000_000),
        packets: 12,
        lost: vec![("kernel", 3)],
        verdict_map: Some(MapFill { entries: 1, capacity: 2 }),
        clock: Some(ClockState { offset_nanos: -5, synchronised: false }),
        ..Health::default()
    };
    let batches =
        [Records::Alerts(Arc::new(alerts.collect())), Records::Health(Arc::new(vec![health]))];
    for records in &batches {
        for index in 0..records.len() {
            let wrong = ecs.check(&written(Schema::Ecs, records, index)?);
            assert!(wrong.is_empty(), "{wrong:?}");
            if records.kind() == Kind::Alert {
                let event = written(Schema::Cim, records, index)?;
                let mut wrong = model.check(&event);
                wrong.retain(|wrong| !ALERT_EXCEPTIONS.contains(&wrong.as_str()));
                assert!(wrong.is_empty(), "{wrong:?} in {event}");
            }
        }
    }
    Ok(())
}

fn records_of_what_was_dropped_are_valid(scene: &Scene) -> Outcome {
    let ecs = ecs(scene)?;
    let model = Model::read(&scene.data.join("cim/Network_Traffic.json"))?;
    let denied = |transport, ports: [Option<u16>; 2]| {
        let [source, destination] = ["203.0.113.7", "10.0.0.1"].map(str::parse);
        let initiator = Endpoint::new(source.expect("an address"), ports[0]).sent(3, 180);
        let responder = Endpoint::new(destination.expect("an address"), ports[1]);
        let mut flow =
            Flow::new(Id::of("denied", "test").finish(), transport, initiator, responder);
        flow.start = Timestamp::from_nanos(1_700_000_000_000_000_000);
        flow.end = Timestamp::from_nanos(1_700_000_007_000_000_000);
        flow.denied = Some(Denied { verdict: Some(Id::of("verdict", "test").finish()) });
        flow.tags.insert(FlowTags::ONE_WAY);
        flow
    };
    let mut rest = denied(Transport::UDP, [None, None]);
    rest.tags.insert(FlowTags::OTHER_PORTS);
    let mut ping = denied(Transport::ICMP, [None, None]);
    ping.icmp = Some(Icmp { kind: 8, code: 0 });
    // The model takes it that all of it is from one port, to one, and that something came back.
    let several = &["bytes_in: not valid", "src_port: missing"][..];
    for (flow, excepted) in [
        (denied(Transport::TCP, [Some(40_000), Some(22)]), &several[..1]),
        (denied(Transport::TCP, [None, Some(22)]), several),
        (rest, &["bytes_in: not valid", "dest_port: missing", "src_port: missing"]),
        (ping, &["bytes_in: not valid"]),
    ] {
        let records = Records::Flows(Arc::new(vec![flow]));
        let document = written(Schema::Ecs, &records, 0)?;
        let wrong = ecs.check(&document);
        assert!(wrong.is_empty(), "{wrong:?} in {document}");
        assert_eq!(document["event"]["type"], serde_json::json!(["connection", "denied"]));
        let event = written(Schema::Cim, &records, 0)?;
        let wrong: Vec<_> = model.check(&event).into_iter().collect();
        assert_eq!(wrong, excepted, "{event}");
        assert_eq!(event["action"], "blocked");
        assert!(event["verdict_id"].is_string(), "{event}");
    }
    Ok(())
}

/// Details with all there can be.
fn details(number: u32, action: Action) -> Details {
    let verdict = VerdictDetails {
        id: Id::of("verdict", "sensor").number(number.into()).finish(),
        ttl_secs: 300,
        offence: 2,
        path_proven: true,
        port: Some(22),
    };
    let weigh = |signal| Weight { signal, value: 12, threshold: 9, points: 79 };
    Details {
        rule: Signal::ALL[number as usize],
        is_alert: number.is_multiple_of(2),
        is_in_force: action == Action::Block,
        is_from_inside: number.is_multiple_of(3),
        is_spoofable: true,
        confidence: 80,
        destination: Some(Destination {
            address: "2001:db8::1".parse().expect("an address"),
            port: Some(22),
            transport: Transport::TCP,
        }),
        signals: Signal::ALL.map(weigh).to_vec(),
        verdict: Some(verdict),
        asset: Some("2001:db8::1".parse().expect("an address")),
        host: Some("web-1".into()),
        config_hash: "0123".into(),
        community_ids: vec![CommunityId::from_bytes([7; 20]); 2],
    }
}

fn written(schema: Schema, records: &Records, index: usize) -> Result<Value, Failed> {
    let encoder =
        Encoder::new(&EncodingConfig::default(), schema, Origin::new("sensor", Clock::Wall));
    let mut out = Vec::new();
    encoder.encode(records, index, &mut out)?;
    Ok(serde_json::from_slice(&out)?)
}
