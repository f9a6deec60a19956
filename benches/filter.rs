//! Asking records whether a condition holds: numbers, addresses, texts and lists, alone and joined.

use std::{hint::black_box, net::IpAddr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tidegate::{
    component::Clock,
    condition::{Condition, Predicate},
    field::Origin,
    record::{
        Checksums, ConnState, Direction, Endpoint, Flow, Header, Id, Layer4, Names,
        ObservationPoint, Packet, Ports, Timestamp, Transport, Vlans,
    },
};

const RECORDS: u16 = 1_000;

fn address(number: u16, last: u8) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    IpAddr::from([10, high, low, last])
}

fn port(number: u16) -> u16 {
    [443, 53, 80, 22, 8_080].get(usize::from(number % 5)).copied().unwrap_or_default()
}

fn packet(number: u16) -> Packet {
    let ports = Ports { source: 40_000 + number, destination: port(number) };
    Packet {
        time: Timestamp::from_nanos(1_697_554_523_000_001_000 + i64::from(number) * 1_234_567),
        origin: ObservationPoint::default(),
        epoch: 0,
        number: number.into(),
        part: 0,
        frame_bytes: 60 + u32::from(number),
        captured_bytes: 60,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            marks: tidegate::record::Marks::default(),
            source: address(number, 1),
            destination: address(number, 254),
            tunnel: None,
            transport: if number.is_multiple_of(2) { Transport::TCP } else { Transport::UDP },
            ip_bytes: 46 + u32::from(number),
            checksums: Checksums::default(),
            fragment: None,
            layer4: Layer4::Udp(ports, 0),
        },
        inner: Vec::new(),
        protocol: Some("tls".into()),
        damaged: false,
        extra: Vec::new(),
        names: Names::default(),
    }
}

fn flow(number: u16) -> Flow {
    let initiator = Endpoint::new(address(number, 1), Some(40_000 + number));
    let responder = Endpoint::new(address(number, 254), Some(port(number)));
    let id = Id::of("flow", "bench").number(number.into()).finish();
    let mut flow = Flow::new(
        id,
        Transport::TCP,
        initiator.sent(number.into(), 100 * u64::from(number)),
        responder.sent(2, 700),
    );
    flow.conn_state = if number.is_multiple_of(3) { ConnState::S0 } else { ConnState::Sf };
    flow.direction = Some(Direction::Outbound);
    flow
}

fn predicate(value: Value) -> Predicate {
    let condition: Condition = serde_json::from_value(value).expect("it is a condition");
    condition.compile("condition").expect("it can be meant")
}

fn conditions() -> Vec<(&'static str, Predicate)> {
    let inside = json!({"field": "source.ip", "cidr": ["10.0.0.0/9", "fd00::/8"]});
    let web = json!({"field": "destination.port", "in": [80, 443]});
    let tcp = json!({"field": "network.transport", "equals": "tcp"});
    vec![
        ("port_in", predicate(web.clone())),
        ("bytes_range", predicate(json!({"field": "network.bytes", "range": {"gte": 500}}))),
        ("source_cidr", predicate(inside.clone())),
        ("transport_equals", predicate(tcp.clone())),
        ("tags_in", predicate(json!({"field": "tags", "in": ["damaged", "one_way"]}))),
        ("joined", predicate(json!({"all": [{"any": [web, tcp]}, {"not": inside}]}))),
    ]
}

fn packets(criterion: &mut Criterion) {
    let packets: Vec<_> = (0..RECORDS).map(packet).collect();
    let origin = Origin::new("sensor", Clock::Event);
    let mut group = criterion.benchmark_group("filter_1000_packets");
    group.throughput(Throughput::Elements(RECORDS.into()));
    for (name, predicate) in conditions() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                packets.iter().filter(|one| predicate.holds(black_box(*one), &origin)).count()
            });
        });
    }
    group.finish();
}

fn flows(criterion: &mut Criterion) {
    let flows: Vec<_> = (0..RECORDS).map(flow).collect();
    let origin = Origin::new("sensor", Clock::Event);
    let mut group = criterion.benchmark_group("filter_1000_flows");
    group.throughput(Throughput::Elements(RECORDS.into()));
    for (name, predicate) in conditions() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                flows.iter().filter(|one| predicate.holds(black_box(*one), &origin)).count()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, packets, flows);
criterion_main!(benches);
