use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::record::{
    Action, Alert, Checksums, ClockState, ConnState, Contact, Direction, EndReason, Endpoint, Flow,
    FlowTags, Header, Health, HostNames, Id, Kind, Layer4, Letter, MacAddress, NameOrigin, Names,
    Outcome, Packet, Ports, Tcp, TcpFlags, Timestamp, Transport, Vlans,
};

const MAC: MacAddress = MacAddress([0, 0x16, 0x47, 0x9d, 0xf2, 0xc2]);

fn names() -> Names {
    let named = |name: &str| {
        let reliable = vec![name.into()];
        Arc::new(HostNames { origin: NameOrigin::Passive, reliable, unverified: Vec::new() })
    };
    Names { source: Some(named("client.example")), destination: Some(named("server.example")) }
}

fn vlans() -> Vlans {
    let mut vlans = Vlans::default();
    vlans.push(100);
    vlans.push(200);
    vlans
}

/// A packet in which nothing is missing.
fn packet() -> Packet {
    Packet {
        time: Timestamp::default(),
        epoch: 0,
        number: 1,
        frame_bytes: 1_294,
        captured_bytes: 128,
        source_mac: Some(MAC),
        destination_mac: Some(MAC),
        vlans: vlans(),
        outer: Header {
            source: "10.1.2.3".parse().unwrap(),
            destination: "2001:db8::1".parse().unwrap(),
            transport: Transport::TCP,
            ip_bytes: 1_280,
            checksums: Checksums::default(),
            fragment: None,
            layer4: Layer4::Tcp(Tcp {
                ports: Ports { source: 51_234, destination: 443 },
                flags: TcpFlags(TcpFlags::ACK),
                sequence: 1,
                acknowledgement: 1,
                window: Some(1),
                payload_bytes: 1_240,
            }),
        },
        inner: Vec::new(),
        protocol: Some("tls".into()),
        damaged: true,
        extra: Vec::new(),
        names: names(),
    }
}

/// A flow in which nothing is missing.
fn flow() -> Flow {
    let id = Id::of("flow", "test").finish();
    let initiator = Endpoint::new("10.1.2.3".parse().unwrap(), Some(51_234)).sent(3, 300);
    let responder = Endpoint::new("192.0.2.1".parse().unwrap(), Some(53)).sent(2, 700);
    let mut flow = Flow::new(id, Transport::UDP, initiator, responder);
    flow.initiator.mac = Some(MAC);
    flow.responder.mac = Some(MAC);
    flow.sequence = 4;
    flow.end = Timestamp::from_nanos(1_500);
    flow.vlans = vlans();
    flow.conn_state = ConnState::Sf;
    flow.history.push(Letter::Data, true);
    flow.history.push(Letter::Data, false);
    flow.end_reason = EndReason::Idle;
    flow.protocol = Some("dns".into());
    flow.direction = Some(Direction::Outbound);
    flow.tags = FlowTags::ONE_WAY;
    flow.tags.insert(FlowTags::BAD_CHECKSUM);
    flow.risk = Some(7);
    flow.names = names();
    flow
}

/// A flow in which all is missing that may be.
fn bare_flow() -> Flow {
    let end = |text: &str| Endpoint::new(text.parse().unwrap(), None);
    let id = Id::of("flow", "test").finish();
    Flow::new(id, Transport(253), end("::1"), end("::2"))
}

fn contact() -> Contact {
    Contact {
        time: Timestamp::default(),
        source: "10.1.2.3".parse().unwrap(),
        destination: "192.0.2.1".parse().unwrap(),
        port: 22,
        transport: Transport::TCP,
        outcome: Outcome::Attempt,
        path_proven: false,
    }
}

fn alert() -> Alert {
    Alert {
        time: Timestamp::default(),
        source: "10.1.2.3".parse().unwrap(),
        action: Action::WouldBlock,
        risk_score: 88,
        reasons: Vec::new(),
        ordinal: 0,
        names: names(),
    }
}

fn health() -> Health {
    Health {
        packets: 9,
        lost: vec![("kernel", 2), ("frame_gap", 1)],
        clock: Some(ClockState { offset_nanos: 1, synchronised: false }),
        ..Health::default()
    }
}

fn condition(value: Value) -> Condition {
    serde_json::from_value(value).unwrap()
}

fn predicate(value: Value) -> Predicate {
    let shown = value.to_string();
    condition(value).compile("condition").unwrap_or_else(|problems| panic!("{shown}: {problems:?}"))
}

fn kinds_with(field: Field) -> Vec<Kind> {
    let test = &Test::Present;
    let there = [
        (Kind::Packet, packet().any(field, test)),
        (Kind::Contact, contact().any(field, test)),
        (Kind::Flow, flow().any(field, test)),
        (Kind::Alert, alert().any(field, test)),
        (Kind::Health, health().any(field, test)),
    ];
    there.into_iter().filter(|(_, there)| *there).map(|(kind, _)| kind).collect()
}

#[test]
fn every_kind_of_record_has_the_fields_that_the_table_says() {
    for field in Field::ALL {
        assert_eq!(kinds_with(*field), field.kinds().iter().collect::<Vec<_>>(), "{field:?}");
    }
}

#[test]
fn a_field_is_read_by_the_name_it_has() {
    for field in Field::ALL {
        assert_eq!(serde_json::from_value::<Field>(field.name().into()).unwrap(), *field);
    }
}

#[test]
fn every_field_has_the_values_of_its_record() {
    let community_id = flow().community_id.to_string();
    let cases = [
        (json!({"field": "source.ip", "equals": "10.1.2.3"}), [true, true, true, false]),
        (json!({"field": "source.ip", "in": ["::1", "10.1.2.3"]}), [true, true, true, false]),
        (json!({"field": "source.ip", "cidr": "10.0.0.0/8"}), [true, true, true, false]),
        (
            json!({"field": "source.ip", "cidr": ["fd00::/8", "10.1.2.3"]}),
            [true, true, true, false],
        ),
        (json!({"field": "source.ip", "cidr": ["10.0.0.0/16"]}), [false; 4]),
        (json!({"field": "destination.ip", "cidr": "2001:db8::/32"}), [true, false, false, false]),
        (json!({"field": "source.port", "range": {"gte": 51_234}}), [true, true, false, false]),
        (json!({"field": "source.port", "range": {"gt": 51_234}}), [false; 4]),
        (json!({"field": "destination.port", "in": [80, 443]}), [true, false, false, false]),
        (json!({"field": "destination.port", "equals": "53"}), [false, true, false, false]),
        (json!({"field": "destination.port", "range": {"lt": 443}}), [false, true, false, false]),
        (json!({"field": "destination.port", "range": {"lte": 443}}), [true, true, false, false]),
        (json!({"field": "source.mac", "equals": "00-16-47-9D-F2-C2"}), [true, true, false, false]),
        (json!({"field": "source.bytes", "equals": 300}), [false, true, false, false]),
        (json!({"field": "network.bytes", "in": [1_000, 1_280]}), [true, true, false, false]),
        (json!({"field": "network.packets", "equals": 5}), [false, true, false, false]),
        (json!({"field": "source.domain", "equals": "client.example"}), [true, true, true, false]),
        (json!({"field": "source.domain", "equals": "Client.example"}), [false; 4]),
        (json!({"field": "network.transport", "equals": "udp"}), [false, true, false, false]),
        (json!({"field": "network.iana_number", "range": {"lt": 7}}), [true, false, false, false]),
        (json!({"field": "network.type", "equals": "ipv4"}), [true, true, false, false]),
        (json!({"field": "network.protocol", "in": ["dns", "tls"]}), [true, true, false, false]),
        (
            json!({"field": "network.community_id", "equals": community_id}),
            [false, true, false, false],
        ),
        (json!({"field": "network.direction", "equals": "outbound"}), [false, true, false, false]),
        (json!({"field": "network.vlan.id", "equals": 100}), [true, true, false, false]),
        (json!({"field": "network.inner.vlan.id", "equals": 200}), [true, true, false, false]),
        (json!({"field": "event.kind", "in": ["alert", "metric"]}), [false, false, true, true]),
        (json!({"field": "event.action", "equals": "would_block"}), [false, false, true, false]),
        (json!({"field": "event.duration", "equals": 1_500}), [false, true, false, false]),
        (json!({"field": "event.sequence", "equals": 4}), [false, true, false, false]),
        (json!({"field": "event.risk_score", "range": {"gte": 60}}), [false, false, true, false]),
        (json!({"field": "tidegate.source.risk", "equals": 7}), [false, true, false, false]),
        (json!({"field": "tidegate.flow.conn_state", "equals": "SF"}), [false, true, false, false]),
        (json!({"field": "tidegate.flow.history", "equals": "Dd"}), [false, true, false, false]),
        (
            json!({"field": "tidegate.flow.end_reason", "equals": "idle"}),
            [false, true, false, false],
        ),
        (json!({"field": "tidegate.flow.final", "equals": true}), [false, true, false, false]),
        (json!({"field": "tidegate.flow.final", "in": [false]}), [false; 4]),
        (
            json!({"field": "tidegate.packet.frame_bytes", "equals": 1_294}),
            [true, false, false, false],
        ),
        (
            json!({"field": "tidegate.health.lost_packets", "equals": 3}),
            [false, false, false, true],
        ),
        (json!({"field": "tags", "equals": "forwarded"}), [true, true, false, false]),
        (json!({"field": "tags", "equals": "one_way"}), [false, true, false, false]),
        (json!({"field": "tags", "in": ["damaged", "bad_checksum"]}), [true, true, false, false]),
        (json!({"field": "source.port", "exists": true}), [true, true, false, false]),
        (json!({"field": "source.port", "exists": false}), [false, false, true, true]),
    ];
    for (value, expected) in cases {
        let predicate = predicate(value.clone());
        let got = [
            predicate.holds(&packet()),
            predicate.holds(&flow()),
            predicate.holds(&alert()),
            predicate.holds(&health()),
        ];
        assert_eq!(got, expected, "packet, flow, alert, health: {value}");
    }
}

#[test]
fn what_is_absent_fails_every_comparison() {
    for value in [
        json!({"field": "destination.port", "range": {"gte": 0}}),
        json!({"field": "network.transport", "in": ["tcp", "udp"]}),
        json!({"field": "tidegate.flow.history", "exists": true}),
        json!({"field": "network.direction", "exists": true}),
        json!({"field": "source.mac", "exists": true}),
    ] {
        assert!(!predicate(value.clone()).holds(&bare_flow()), "{value}");
        assert!(predicate(json!({"not": value})).holds(&bare_flow()), "{value}");
    }
}

#[test]
fn conditions_are_joined() {
    let web = json!({"field": "destination.port", "in": [80, 443]});
    let inside = json!({"field": "source.ip", "cidr": ["10.0.0.0/8"]});
    for (value, expected) in [
        (json!({"all": [web, inside]}), true),
        (json!({"all": [web, {"not": inside}]}), false),
        (json!({"any": [{"not": web}, inside]}), true),
        (json!({"any": [{"not": web}, {"not": inside}]}), false),
        (json!({"not": {"all": [web, {"not": {"any": [inside]}}]}}), true),
    ] {
        assert_eq!(predicate(value.clone()).holds(&packet()), expected, "{value}");
    }
}

/// Refused with one problem each: the condition, the key it has below `c`, and the words.
type Refused = (Value, &'static str, &'static str);

fn check(cases: Vec<Refused>) {
    for (value, key, message) in cases {
        let problems = condition(value.clone()).compile("c").unwrap_err();
        let found: Vec<_> =
            problems.iter().map(|problem| (&*problem.key, &*problem.message)).collect();
        assert_eq!(found, [(key, message)], "{value}");
        assert!(problems[0].hint.is_some(), "{value}");
    }
}

#[test]
fn a_condition_that_is_none_or_two_is_refused() {
    check(vec![
        (json!({}), "c", "the condition is empty"),
        (json!({"equals": 1}), "c", "`equals` of what? The key `field` is missing"),
        (json!({"field": "tags"}), "c", "what `tags` has to be is missing"),
        (json!({"all": []}), "c.all", "there is no condition in it"),
        (json!({"all": [{"not": {}}]}), "c.all[0].not", "the condition is empty"),
        (
            json!({"field": "tags", "exists": true, "any": []}),
            "c.field",
            "`any` and `field` are two conditions in one",
        ),
        (
            json!({"not": {"field": "tags", "exists": true}, "equals": 1}),
            "c.equals",
            "`not` and `equals` are two conditions in one",
        ),
        (
            json!({"field": "source.port", "equals": 1, "exists": true}),
            "c.exists",
            "`equals` and `exists` of one field",
        ),
    ]);
}

#[test]
fn a_value_that_does_not_fit_its_field_is_refused() {
    check(vec![
        (
            json!({"field": "source.port", "cidr": "10.0.0.0/8"}),
            "c.cidr",
            "`source.port` is a number, and a network holds addresses",
        ),
        (
            json!({"field": "source.ip", "range": {"gte": 1}}),
            "c.range",
            "`source.ip` is an address, and a range holds numbers",
        ),
        (
            json!({"field": "source.ip", "in": ["10.0.0.1", "10.0.0.0/8"]}),
            "c.in[1]",
            "`source.ip` is an address, and \"10.0.0.0/8\" is not",
        ),
        (
            json!({"field": "source.ip", "equals": 10}),
            "c.equals",
            "`source.ip` is an address, and 10 is not",
        ),
        (
            json!({"field": "source.port", "equals": "http"}),
            "c.equals",
            "`source.port` is a number, and \"http\" is not",
        ),
        (
            json!({"field": "network.protocol", "equals": 6}),
            "c.equals",
            "`network.protocol` is a text, and 6 is not",
        ),
        (
            json!({"field": "tidegate.flow.final", "equals": "true"}),
            "c.equals",
            "`tidegate.flow.final` is true or false, and \"true\" is not",
        ),
        (
            json!({"field": "network.transport", "equals": "TCP"}),
            "c.equals",
            "`network.transport` is never \"TCP\"",
        ),
        (
            json!({"field": "source.mac", "equals": "00:16:47:9d:f2:c2"}),
            "c.equals",
            "`source.mac` is never \"00:16:47:9d:f2:c2\"",
        ),
        (json!({"field": "source.ip", "in": []}), "c.in", "there is no value"),
        (json!({"field": "source.ip", "cidr": []}), "c.cidr", "there is no network"),
        (
            json!({"field": "source.ip", "cidr": ["10.0.0.0/33"]}),
            "c.cidr[0]",
            "\"10.0.0.0/33\" is no network",
        ),
        (json!({"field": "source.port", "range": {}}), "c.range", "there is no bound"),
        (
            json!({"field": "source.port", "range": {"gt": 1, "gte": 1}}),
            "c.range",
            "`gte` and `gt` are two lower bounds",
        ),
        (
            json!({"field": "source.port", "range": {"gt": 5, "lt": 6}}),
            "c.range",
            "no number lies between these bounds",
        ),
        (
            json!({"field": "source.bytes", "range": {"lt": 0}}),
            "c.range",
            "no number lies between these bounds",
        ),
        (
            json!({"field": "source.bytes", "range": {"gt": u64::MAX}}),
            "c.range",
            "no number lies between these bounds",
        ),
    ]);
}

#[test]
fn a_condition_names_the_fields_it_asks_for() {
    let both = condition(json!({"all": [
        {"field": "event.risk_score", "range": {"gte": 1}},
        {"not": {"field": "tags", "exists": true}},
    ]}));
    let asks = both.asks("condition");
    let shown: Vec<_> =
        asks.iter().map(|ask| format!("{} {} {}", ask.key, ask.field, ask.kinds)).collect();
    assert_eq!(
        shown,
        [
            "condition.all[0].field event.risk_score alert",
            "condition.all[1].not.field tags packet, flow, health"
        ]
    );
}

/// Any condition on a flow, with few enough values that each comes out both ways.
fn any_condition() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (0..4_u64).prop_map(|n| json!({"field": "destination.port", "equals": n})),
        (0..4_u64).prop_map(|n| json!({"field": "source.packets", "range": {"gte": n}})),
        any::<bool>().prop_map(|there| json!({"field": "network.direction", "exists": there})),
        (0..4_u8).prop_map(|n| json!({"field": "source.ip", "cidr": format!("10.0.0.{n}/31")})),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let list = || prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            inner.clone().prop_map(|one| json!({"not": one})),
            list().prop_map(|list| json!({"all": list})),
            list().prop_map(|list| json!({"any": list})),
        ]
    })
}

fn any_flow() -> impl Strategy<Value = Flow> {
    (0..4_u8, prop::option::of(0..4_u16), 0..4_u64, any::<bool>()).prop_map(
        |(host, port, packets, inside)| {
            let mut flow = flow();
            flow.initiator.address = [10, 0, 0, host].into();
            flow.responder.port = port;
            flow.initiator.packets = packets;
            flow.direction = inside.then_some(Direction::Internal);
            flow
        },
    )
}

proptest! {
    #[test]
    fn all_any_and_not_keep_to_the_laws_of_logic(
        one in any_condition(),
        other in any_condition(),
        flow in any_flow(),
    ) {
        let holds = |value: Value| predicate(value).holds(&flow);
        let (first, second) = (holds(one.clone()), holds(other.clone()));
        prop_assert_eq!(holds(json!({"not": one})), !first);
        prop_assert_eq!(holds(json!({"all": [one, other]})), first && second);
        prop_assert_eq!(holds(json!({"any": [one, other]})), first || second);
        prop_assert_eq!(
            holds(json!({"not": {"all": [one, other]}})),
            holds(json!({"any": [{"not": one}, {"not": other}]}))
        );
    }

    #[test]
    fn a_condition_never_panics(field in 0..Field::ALL.len(), text in ".{0,20}", number: u64) {
        let field = Field::ALL[field].name();
        for value in [
            json!({"field": field, "equals": text}),
            json!({"field": field, "in": [number, text]}),
            json!({"field": field, "cidr": [text]}),
            json!({"field": field, "range": {"gt": number, "lt": number.wrapping_mul(3)}}),
        ] {
            if let Ok(predicate) = condition(value).compile("c") {
                predicate.holds(&packet());
                predicate.holds(&flow());
            }
        }
    }
}
