use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    component::{Clock, Context, Machine, View},
    field::{Fields, Origin, Type, all_named},
    metrics::Meter,
    record::{
        Action, Alert, Checksums, ClockState, CommunityId, ConnState, Contact, Denied, Destination,
        Details, Direction, EndReason, Endpoint, Extra, Flow, FlowTags, Fragment, GateStates,
        Header, Health, HostNames, Icmp, Id, Kind, Layer4, Letter, MacAddress, MapFill, NameOrigin,
        Names, Outcome, Packet, Ports, Records, Signal, Tcp, TcpFlags, Timestamp, Transport,
        VerdictDetails, Visit, Vlans, Weight,
    },
};

const MAC: MacAddress = MacAddress([0, 0x16, 0x47, 0x9d, 0xf2, 0xc2]);

fn names() -> Names {
    let named = |name: &str| {
        let reliable = vec![name.into()];
        let unverified = vec!["claimed.example".into()];
        Arc::new(HostNames { origin: NameOrigin::Passive, reliable, unverified })
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
        part: 0,
        origin: crate::record::ObservationPoint::default(),
        frame_bytes: 1_294,
        captured_bytes: 128,
        source_mac: Some(MAC),
        destination_mac: Some(MAC),
        vlans: vlans(),
        outer: Header {
            marks: crate::record::Marks::default(),
            source: "10.1.2.3".parse().unwrap(),
            destination: "2001:db8::1".parse().unwrap(),
            transport: Transport::TCP,
            ip_bytes: 1_280,
            tunnel: None,
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
    flow.question = Some("asked.example".into());
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
        origin: crate::record::ObservationPoint::default(),
        source: "10.1.2.3".parse().unwrap(),
        destination: "192.0.2.1".parse().unwrap(),
        port: 22,
        source_port: 40_000,
        transport: Transport::TCP,
        outcome: Outcome::Attempt,
        path_proven: false,
    }
}

/// Details with every field.
fn full_details() -> Details {
    let verdict = VerdictDetails {
        id: Id::of("verdict", "sensor").finish(),
        ttl_secs: 300,
        offence: 1,
        path_proven: true,
        port: Some(22),
    };
    let weigh = |signal| Weight { signal, value: 12, threshold: 9, points: 79 };
    Details {
        is_alert: true,
        destination: Some(Destination {
            address: [192, 0, 2, 77].into(),
            port: Some(4_022),
            transport: Transport(132),
        }),
        signals: Signal::ALL.map(weigh).to_vec(),
        verdict: Some(verdict),
        asset: Some([192, 0, 2, 77].into()),
        host: Some("web-1".into()),
        config_hash: "0123".into(),
        community_ids: vec![CommunityId::from_bytes([3; 20])],
        ..Details::default()
    }
}

fn alert() -> Alert {
    Alert {
        time: Timestamp::default(),
        origin: crate::record::ObservationPoint::default(),
        source: "10.1.2.3".parse().unwrap(),
        action: Action::WouldBlock,
        risk_score: 88,
        reasons: Vec::new(),
        ordinal: 0,
        names: names(),
        details: Box::new(full_details()),
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

fn origin() -> Origin {
    let mut origin = Origin::new("sensor", Clock::Event);
    origin.interface = Some("eth0".into());
    origin
}

fn extra(name: &str, values: &[&str]) -> Extra {
    Extra { name: name.into(), values: values.iter().map(|&value| value.into()).collect() }
}

/// Batches in which each field of each kind has a value in some record.
fn batches() -> Vec<Records> {
    let mut message = packet();
    message.outer.transport = Transport::ICMP;
    message.outer.layer4 = Layer4::Icmp(Icmp { kind: 3, code: 1 });
    message.outer.fragment = Some(Fragment { id: 1, offset: 8, more: true });
    message.inner = vec![message.outer.clone()];
    message.extra = vec![extra("dns_qry_name", &["a.example", "b.example"])];
    let mut segment = packet();
    segment.extra = vec![
        extra("tls_handshake_extensions_server_name", &["www.example.org"]),
        extra("http_host", &["shop.example:8080"]),
    ];
    let mut full = flow();
    (full.server_name, full.host) = (Some("www.example.org".into()), Some("[::1]".into()));
    full.icmp = Some(Icmp { kind: 8, code: 0 });
    full.initiator.tcp_flags = TcpFlags(TcpFlags::SYN | TcpFlags::ECE);
    full.parent = Some(full.id);
    full.related_community_ids = vec![full.community_id];
    full.denied = Some(Denied { verdict: Some(full.id) });
    let contacts = [
        Outcome::OddFlags(TcpFlags(TcpFlags::FIN | TcpFlags::SYN)),
        Outcome::Counts { packets: 5, syns: 4, completed: 3 },
        Outcome::Ended { duration_nanos: 9, sent_bytes: 8, received_bytes: 7 },
        Outcome::Open { count: 2, bytes: 6 },
        Outcome::TimedOut,
    ];
    let contacts = contacts.map(|outcome| Contact { outcome, ..contact() });
    let mut health = health();
    health.verdict_map = Some(MapFill { entries: 1, capacity: 2 });
    health.gates = GateStates {
        interfaces: vec!["eth0".into()],
        modes: vec!["observe".into()],
        attached: vec!["native".into()],
    };
    let lagging = Some(ClockState { offset_nanos: -5, synchronised: true });
    let in_step = Health { clock: lagging, ..Health::default() };
    let alert = Alert { reasons: vec!["it \"scans\"".into()], ..alert() };
    vec![
        Records::Packets(vec![packet(), message, segment].into()),
        Records::Contacts(contacts.to_vec().into()),
        Records::Flows(vec![flow(), full, bare_flow()].into()),
        Records::Alerts(vec![alert, Alert { action: Action::Block, ..self::alert() }].into()),
        Records::Health(vec![health, in_step].into()),
    ]
}

/// Asks records of any kind by every name of their table; answers the names that had a value.
struct EveryName;

impl<R: Fields> Visit<R, BTreeSet<(&'static str, &'static str)>> for EveryName {
    fn visit(self, records: &[R]) -> BTreeSet<(&'static str, &'static str)> {
        let origin = origin();
        let mut met = BTreeSet::new();
        for record in records {
            for schema in Schema::ALL {
                for field in R::fields() {
                    let value = field.given.value(record, &origin, R::KIND);
                    let holds = |name: &str, more: &Value| holds(record, name, schema, more);
                    for name in field.names(schema) {
                        assert_eq!(holds(name, &json!({"exists": true})), !value.is_absent());
                        if value.is_absent() {
                            continue;
                        }
                        met.insert((schema.name(), *name));
                        let value = serde_json::to_value(value).unwrap();
                        if let Value::Object(members) = &value {
                            for (member, value) in members {
                                let name = format!("{name}.{member}");
                                check_value(&|more| holds(&name, more), value, field.r#type);
                            }
                            continue;
                        }
                        check_value(&|more| holds(name, more), &value, field.r#type);
                    }
                }
            }
        }
        met
    }
}

/// Asks by a name of a schema, and without the schema too where the name is that of one thing only.
fn holds<R: Fields>(record: &R, name: &str, schema: Schema, more: &Value) -> bool {
    let mut asked = json!({"field": name, "schema": schema.name()});
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (predicate, origin) = (predicate(asked.clone()), origin());
    let mut holds = false;
    let heap = allocation_counter::measure(|| holds = predicate.holds(record, &origin));
    assert_eq!(heap.count_total, 0, "asking by {name} takes memory");
    asked.as_object_mut().unwrap().remove("schema");
    match condition(asked).compile("c") {
        Ok(predicate) => assert_eq!(predicate.holds(record, &origin), holds, "{name}"),
        Err(problems) => assert!(problems[0].message.contains("another in"), "{problems:?}"),
    }
    holds
}

/// Each element of a value is found, alone and in a list, and between bounds where there is an order.
fn check_value(holds: &dyn Fn(&Value) -> bool, value: &Value, r#type: Type) {
    let elements = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    for element in elements {
        assert!(holds(&json!({"equals": element})), "{element} of {value}");
        assert!(holds(&json!({"in": [element]})), "{element} of {value}");
        if element.is_number() || r#type == Type::Date {
            assert!(holds(&json!({"range": {"gte": element, "lte": element}})), "{element}");
            assert!(!holds(&json!({"range": {"gt": element}})), "{element}");
        }
        if matches!(r#type, Type::Ip | Type::Ips) {
            assert!(holds(&json!({"cidr": [element, "198.51.100.0/24"]})), "{element}");
            assert!(!holds(&json!({"cidr": "198.51.100.0/24"})), "{element}");
        }
    }
}

#[test]
fn every_name_of_every_kind_of_record_can_be_asked_for() {
    for records in batches() {
        let kind = records.kind();
        let met: BTreeSet<_> = records.visit(EveryName);
        for schema in Schema::ALL {
            for field in all_named(schema).filter(|field| field.kind == kind) {
                let is_met = met.contains(&(schema.name(), field.name))
                    || field.name == "event.created"
                    || OF_THE_MACHINE.contains(&field.name);
                assert!(is_met, "{kind}: no record has {}", field.name);
            }
        }
    }
}

/// Known live only, as is when a record was made.
const OF_THE_MACHINE: [&str; 8] = [
    "observer.hostname",
    "observer.ip",
    "host.name",
    "host.hostname",
    "host.ip",
    "host.mac",
    "host.id",
    "host.architecture",
];

#[test]
fn what_is_known_of_the_machine_can_be_asked_for() {
    let machine = Machine {
        view: View::Host,
        hostname: "box".into(),
        addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        macs: vec!["02-00-00-00-00-07".into()],
        id: Some("0123".into()),
    };
    let meter = Meter::new("only", "filter");
    let context = Context { machine: Arc::new(machine), ..Context::alone(meter) };
    for asked in [
        json!({"field": "host.ip", "cidr": "192.0.2.0/24"}),
        json!({"field": "observer.ip", "equals": "2001:db8::7"}),
        json!({"field": "host.mac", "equals": "02-00-00-00-00-07"}),
        json!({"field": "host.name", "equals": "test"}),
        json!({"field": "observer.hostname", "in": ["box"]}),
        json!({"field": "message", "exists": true}),
    ] {
        assert!(predicate(asked.clone()).holds(&flow(), &Origin::of(&context)), "{asked}");
    }
    for field in OF_THE_MACHINE {
        let exists = predicate(json!({"field": field, "exists": true}));
        assert!(exists.holds(&flow(), &Origin::of(&context)), "{field}");
        assert!(!exists.holds(&flow(), &Origin::new("sensor", Clock::Event)), "{field}");
    }
}

#[test]
fn when_a_record_is_made_is_known_live_and_not_in_a_replay() {
    let made =
        predicate(json!({"field": "event.created", "range": {"gte": "2020-01-01T00:00:00Z"}}));
    assert!(made.holds(&flow(), &Origin::new("sensor", Clock::Wall)));
    assert!(!made.holds(&flow(), &Origin::new("sensor", Clock::Event)));
}

#[test]
fn a_name_that_means_two_things_wants_its_schema() {
    let problems =
        condition(json!({"field": "protocol", "equals": "ip"})).compile("c").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "c.field");
    assert!(problems[0].hint.as_ref().unwrap().contains("`schema: simple` or `schema: cim`"));
    for (schema, value) in [("simple", "UDP"), ("cim", "ip")] {
        let asked = json!({"field": "protocol", "schema": schema, "equals": value});
        assert!(predicate(asked).holds(&flow(), &origin()), "{schema}");
    }
}

#[test]
fn the_extra_fields_of_tshark_are_asked_for_by_its_names_and_as_documents_name_them() {
    let mut packet = packet();
    packet.extra = vec![
        extra("dns_qry_name", &["a.example", "b.example"]),
        extra("ip_ttl", &["64", "63"]),
        extra("ip_id", &["0x00000fa0"]),
        extra("dns_a", &["192.0.2.7"]),
    ];
    let cases = [
        (json!({"field": "dns.qry.name", "equals": "b.example"}), true),
        (json!({"field": "dns_qry_name", "in": ["a.example"]}), true),
        (json!({"field": "tidegate.packet.fields.dns_qry_name", "equals": "a.example"}), true),
        (json!({"field": "fields.dns_qry_name", "schema": "cim", "equals": "a.example"}), true),
        (json!({"field": "dns.qry.name", "equals": "c.example"}), false),
        (json!({"field": "ip.ttl", "range": {"lt": 64}}), true),
        (json!({"field": "ip.ttl", "equals": 63}), true),
        (json!({"field": "ip.ttl", "equals": "63"}), true),
        (json!({"field": "ip.ttl", "in": [1, "64"]}), true),
        (json!({"field": "ip.ttl", "range": {"gt": 64}}), false),
        (json!({"field": "ip.id", "equals": 4_000}), true),
        (json!({"field": "dns.a", "cidr": "192.0.2.0/24"}), true),
        (json!({"field": "dns.a", "cidr": "10.0.0.0/8"}), false),
        (json!({"field": "dns.qry.name", "cidr": "10.0.0.0/8"}), false),
        (json!({"field": "dns.aaaa", "exists": true}), false),
        (json!({"field": "dns.a", "exists": true}), true),
    ];
    for (value, expected) in cases {
        assert_eq!(predicate(value.clone()).holds(&packet, &origin()), expected, "{value}");
        assert!(!predicate(value.clone()).holds(&flow(), &origin()), "{value}");
    }
}

#[test]
fn numbers_below_zero_and_with_a_fraction_and_times_are_compared_exactly() {
    let late = Health {
        clock: Some(ClockState { offset_nanos: -1_500, synchronised: true }),
        time: Timestamp::from_nanos(1_700_000_000_000_000_001),
        ..Health::default()
    };
    let offset = "tidegate.health.clock.offset";
    for (value, expected) in [
        (json!({"field": offset, "equals": -1_500}), true),
        (json!({"field": offset, "range": {"lt": -1_499}}), true),
        (json!({"field": offset, "range": {"gte": -1_499.5}}), false),
        (json!({"field": "@timestamp", "equals": "2023-11-14T22:13:20.000000001Z"}), true),
        (json!({"field": "@timestamp", "range": {"gt": "2023-11-14T22:13:20Z"}}), true),
        (json!({"field": "@timestamp", "range": {"lt": "2023-11-15T00:13:20+02:00"}}), false),
    ] {
        assert_eq!(predicate(value.clone()).holds(&late, &origin()), expected, "{value}");
    }
    let seconds = |value: Value| predicate(value).holds(&flow(), &origin());
    assert!(seconds(json!({"field": "duration", "equals": 0.000_001_5})));
    assert!(!seconds(json!({"field": "duration", "range": {"gt": 0.000_001_5}})));
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
            predicate.holds(&packet(), &origin()),
            predicate.holds(&flow(), &origin()),
            predicate.holds(&alert(), &origin()),
            predicate.holds(&health(), &origin()),
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
        assert!(!predicate(value.clone()).holds(&bare_flow(), &origin()), "{value}");
        assert!(predicate(json!({"not": value})).holds(&bare_flow(), &origin()), "{value}");
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
        assert_eq!(predicate(value.clone()).holds(&packet(), &origin()), expected, "{value}");
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
            "`source.port` is a whole number, and a network holds addresses",
        ),
        (
            json!({"field": "source.ip", "range": {"gte": 1}}),
            "c.range",
            "`source.ip` is an address, and a range holds numbers or times",
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
            "`source.port` is a whole number, and \"http\" is not",
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
    ]);
}

#[test]
fn what_a_field_never_is_and_bounds_without_a_number_between_are_refused() {
    check(vec![
        (
            json!({"field": "source.address", "equals": "2001:DB8::1"}),
            "c.equals",
            "`source.address` is never \"2001:DB8::1\"",
        ),
        (
            json!({"field": "tidegate.flow.id", "equals": "abc"}),
            "c.equals",
            "`tidegate.flow.id` is never \"abc\"",
        ),
        (
            json!({"field": "event.category", "equals": "process"}),
            "c.equals",
            "`event.category` is never \"process\"",
        ),
        (
            json!({"field": "source.port", "equals": 1.5}),
            "c.equals",
            "`source.port` is a whole number, and 1.5 is not",
        ),
        (
            json!({"field": "source.port", "range": {"gte": -1}}),
            "c.range.gte",
            "`source.port` is a whole number, and -1 is not",
        ),
        (
            json!({"field": "@timestamp", "range": {"gte": "yesterday"}}),
            "c.range.gte",
            "`@timestamp` is a time, and \"yesterday\" is not",
        ),
        (
            json!({"field": "tidegate.health.lost", "equals": 1}),
            "c.equals",
            "`tidegate.health.lost` is an object, and an object is no value",
        ),
        (
            json!({"all": [{"field": "tags", "exists": true}], "schema": "ecs"}),
            "c.schema",
            "`schema` goes with `field`",
        ),
        (
            json!({"field": "source_ip", "schema": "ecs", "exists": true}),
            "c.field",
            "the schema ecs has no field `source_ip`",
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
    let extra = |name: &str| {
        let asks = condition(json!({"field": name, "exists": true})).asks("condition").remove(0);
        (asks.kinds, asks.extra.map(|name| name.to_string()))
    };
    let one = |name: &str| (Kind::Packet.into(), Some(name.to_owned()));
    assert_eq!(extra("dns.qry.name"), one("dns_qry_name"));
    assert_eq!(extra("tidegate.packet.fields.ip_ttl"), one("ip_ttl"));
    assert_eq!(extra("tidegate.health.lost.kernel"), (Kind::Health.into(), None));
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
        let holds = |value: Value| predicate(value).holds(&flow, &origin());
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
    fn a_condition_never_panics(
        field in any::<prop::sample::Index>(),
        text in ".{0,20}",
        number: u64,
        decimal: f64,
    ) {
        let names: Vec<_> = all_named(Schema::Ecs).map(|named| named.name).collect();
        let field = field.get(&names);
        for value in [
            json!({"field": field, "equals": text}),
            json!({"field": field, "in": [number, text, decimal]}),
            json!({"field": field, "range": {"gte": text, "lt": decimal}}),
            json!({"field": field, "cidr": [text]}),
            json!({"field": field, "range": {"gt": number, "lt": number.wrapping_mul(3)}}),
        ] {
            let condition: Result<Condition, _> = serde_json::from_value(value);
            if let Ok(Ok(predicate)) = condition.map(|condition| condition.compile("c")) {
                predicate.holds(&packet(), &origin());
                predicate.holds(&flow(), &origin());
            }
        }
    }
}
