//! Encoding records as JSON against `serde_json` on derived structs of the same typed values, in the
//! same order: packets in the schema `simple`, flows in the schema `ecs`.

use std::{hint::black_box, net::IpAddr, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Serialize;
use tidegate::{
    codec::{Codec, Encoder, EncodingConfig, Origin, Schema},
    component::Clock,
    record::{
        Checksums, CommunityId, ConnState, Direction, EndReason, Endpoint, Flow, Header, History,
        Id, Layer4, Letter, Names, Packet, Ports, Records, TcpFlags, Timestamp, Transport, Vlans,
    },
};

const RECORDS: u16 = 1_000;

fn address(number: u16, last: u8) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    IpAddr::from([10, high, low, last])
}

/// A packet's values with their types, for serde's own derived code.
#[derive(Serialize)]
struct DerivedPacket {
    timestamp: Timestamp,
    source_ip: IpAddr,
    destination_ip: IpAddr,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    packet_size: u32,
}

fn packet(number: u16) -> Packet {
    let ports = Ports { source: 40_000 + number, destination: 443 };
    Packet {
        time: Timestamp::from_nanos(1_697_554_523_000_001_000 + i64::from(number) * 1_234_567),
        epoch: 0,
        number: number.into(),
        part: 0,
        origin: tidegate::record::ObservationPoint::default(),
        frame_bytes: 60 + u32::from(number),
        captured_bytes: 60,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            marks: tidegate::record::Marks::default(),
            source: address(number, 1),
            destination: address(number, 254),
            transport: Transport::TCP,
            ip_bytes: 46 + u32::from(number),
            tunnel: None,
            checksums: Checksums::default(),
            fragment: None,
            layer4: Layer4::Udp(ports, 0),
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: Names::default(),
    }
}

impl From<&Packet> for DerivedPacket {
    fn from(packet: &Packet) -> Self {
        Self {
            timestamp: packet.time,
            source_ip: packet.outer.source,
            destination_ip: packet.outer.destination,
            protocol: "TCP",
            port: packet.outer.layer4.ports().map(|ports| ports.destination),
            packet_size: packet.frame_bytes,
        }
    }
}

/// A flow's values with their types, as an ECS document.
#[derive(Serialize)]
struct DerivedFlow {
    #[serde(rename = "@timestamp")]
    timestamp: Timestamp,
    event: Event,
    source: Side,
    destination: Side,
    network: Network,
    tidegate: Tidegate,
    tags: [&'static str; 1],
    related: Related,
    ecs: Ecs,
    data_stream: DataStream,
    observer: Observer,
    agent: Agent,
}

#[derive(Serialize)]
struct Event {
    end: Timestamp,
    start: Timestamp,
    duration: u64,
    id: ReportId,
    sequence: u32,
    kind: &'static str,
    category: [&'static str; 1],
    action: &'static str,
    r#type: [&'static str; 3],
    module: &'static str,
    dataset: &'static str,
}

struct ReportId(Id, u32);

#[derive(Serialize)]
struct Side {
    ip: IpAddr,
    address: IpAddr,
    port: u16,
    bytes: u64,
    packets: u64,
}

#[derive(Serialize)]
struct Network {
    bytes: u64,
    packets: u64,
    community_id: CommunityId,
    transport: &'static str,
    iana_number: &'static str,
    r#type: &'static str,
    protocol: Arc<str>,
    direction: &'static str,
}

#[derive(Serialize)]
struct Tidegate {
    flow: TidegateFlow,
}

#[derive(Serialize)]
struct TidegateFlow {
    id: Id,
    r#final: bool,
    tcp_flags: [&'static str; 4],
    conn_state: &'static str,
    history: Text<History>,
    end_reason: &'static str,
}

struct Text<T>(T);

#[derive(Serialize)]
struct Related {
    ip: [IpAddr; 2],
}

#[derive(Serialize)]
struct Ecs {
    version: &'static str,
}

#[derive(Serialize)]
struct DataStream {
    r#type: &'static str,
    dataset: &'static str,
    namespace: &'static str,
}

#[derive(Serialize)]
struct Observer {
    name: &'static str,
    r#type: &'static str,
    vendor: &'static str,
    product: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Agent {
    id: Box<str>,
    r#type: &'static str,
    version: &'static str,
}

impl Serialize for ReportId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}-{}", self.0, self.1))
    }
}

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

fn flow(number: u16) -> Flow {
    let flags = TcpFlags(TcpFlags::SYN | TcpFlags::ACK | TcpFlags::PSH | TcpFlags::FIN);
    let side = |last, port, packets| Endpoint {
        tcp_flags: flags,
        ..Endpoint::new(address(number, last), Some(port)).sent(packets, packets * 700)
    };
    let mut history = History::default();
    for (letter, by_initiator) in [
        (Letter::Syn, true),
        (Letter::SynAck, false),
        (Letter::Ack, true),
        (Letter::Data, true),
        (Letter::Data, false),
        (Letter::Fin, true),
        (Letter::Fin, false),
    ] {
        history.push(letter, by_initiator);
    }
    let start = Timestamp::from_nanos(1_697_554_523_000_001_000 + i64::from(number) * 1_234_567);
    Flow {
        start,
        end: start.saturating_add(1_234_567_891),
        conn_state: ConnState::Sf,
        history,
        end_reason: EndReason::EndDetected,
        protocol: Some("tls".into()),
        direction: Some(Direction::Outbound),
        ..Flow::new(
            Id::of("flow", "sensor").number(number.into()).finish(),
            Transport::TCP,
            side(1, 40_000 + number, 12),
            side(254, 443, u64::from(number) + 9),
        )
    }
}

impl From<&Flow> for DerivedFlow {
    fn from(flow: &Flow) -> Self {
        let side = |end: &Endpoint| Side {
            ip: end.address,
            address: end.address,
            port: end.port.unwrap_or_default(),
            bytes: end.bytes,
            packets: end.packets,
        };
        Self {
            timestamp: flow.end,
            event: Event {
                end: flow.end,
                start: flow.start,
                duration: flow.duration_nanos(),
                id: ReportId(flow.id, flow.sequence),
                sequence: flow.sequence,
                kind: "event",
                category: ["network"],
                action: "network_flow",
                r#type: ["connection", "start", "end"],
                module: "tidegate",
                dataset: "tidegate.flow",
            },
            source: side(&flow.initiator),
            destination: side(&flow.responder),
            network: Network {
                bytes: flow.bytes(),
                packets: flow.packets(),
                community_id: flow.community_id,
                transport: "tcp",
                iana_number: "6",
                r#type: "ipv4",
                protocol: Arc::from("tls"),
                direction: "outbound",
            },
            tidegate: Tidegate {
                flow: TidegateFlow {
                    id: flow.id,
                    r#final: true,
                    tcp_flags: ["FIN", "SYN", "PSH", "ACK"],
                    conn_state: "SF",
                    history: Text(flow.history),
                    end_reason: "end_detected",
                },
            },
            tags: ["forwarded"],
            related: Related { ip: [flow.initiator.address, flow.responder.address] },
            ecs: Ecs { version: "9.4.0" },
            data_stream: DataStream {
                r#type: "logs",
                dataset: "tidegate.flow",
                namespace: "default",
            },
            observer: Observer {
                name: "sensor",
                r#type: "sensor",
                vendor: "Tidegate",
                product: "Tidegate",
                version: env!("CARGO_PKG_VERSION"),
            },
            agent: Agent {
                id: Id::of("agent", "sensor").finish().to_string().into(),
                r#type: "tidegate",
                version: env!("CARGO_PKG_VERSION"),
            },
        }
    }
}

fn encoder(codec: Codec, schema: Schema, except_fields: &[&str]) -> Encoder {
    let except_fields = except_fields.iter().map(|&name| name.to_owned()).collect();
    let config = EncodingConfig { codec, except_fields, ..EncodingConfig::default() };
    Encoder::new(&config, schema, Origin::new("sensor", Clock::Event))
}

fn compare<T: Serialize>(
    criterion: &mut Criterion,
    name: &str,
    values: &[T],
    records: &Records,
    encoders: &[(&str, Encoder)],
) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(RECORDS.into()));
    let mut out = Vec::new();
    group.bench_function("derived_serde_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            for value in black_box(values) {
                serde_json::to_writer(&mut out, value).expect("the values have plain keys");
                out.push(b'\n');
            }
            out.len()
        });
    });
    for (name, encoder) in encoders {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                out.clear();
                for index in 0..records.len() {
                    encoder.encode(black_box(records), index, &mut out).expect("records encode");
                }
                out.len()
            });
        });
    }
    group.finish();
}

fn packets(criterion: &mut Criterion) {
    let packets: Vec<_> = (0..RECORDS).map(packet).collect();
    let values: Vec<_> = packets.iter().map(DerivedPacket::from).collect();
    let encoders = [
        ("simple_json", encoder(Codec::Json, Schema::Simple, &[])),
        ("simple_json_but_port", encoder(Codec::Json, Schema::Simple, &["port"])),
        ("simple_yaml", encoder(Codec::Yaml, Schema::Simple, &[])),
        ("simple_msgpack", encoder(Codec::Msgpack, Schema::Simple, &[])),
        ("ecs_json", encoder(Codec::Json, Schema::Ecs, &[])),
    ];
    let records = Records::Packets(Arc::new(packets));
    compare(criterion, "encode_1000_packets", &values, &records, &encoders);
}

fn flows(criterion: &mut Criterion) {
    let flows: Vec<_> = (0..RECORDS).map(flow).collect();
    let values: Vec<_> = flows.iter().map(DerivedFlow::from).collect();
    let records = Records::Flows(Arc::new(flows));
    let ecs = encoder(Codec::Json, Schema::Ecs, &[]);
    let (mut ours, derived) = (Vec::new(), serde_json::to_value(&values[0]));
    ecs.encode(&records, 0, &mut ours).expect("flows encode");
    let ours: serde_json::Value = serde_json::from_slice(&ours).expect("it is JSON");
    assert_eq!(ours, derived.expect("it is a value"), "the same document both ways");
    let encoders = [
        ("ecs_json", ecs),
        ("cim_json", encoder(Codec::Json, Schema::Cim, &[])),
        ("ecs_msgpack", encoder(Codec::Msgpack, Schema::Ecs, &[])),
    ];
    compare(criterion, "encode_1000_flows", &values, &records, &encoders);
}

criterion_group!(benches, packets, flows);
criterion_main!(benches);
