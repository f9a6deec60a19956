//! What is written is read back by readers that share no code with the writers.

use std::{
    net::{IpAddr, Ipv4Addr},
    slice,
    sync::Arc,
};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    component::{Clock, Context, Machine, View},
    metrics::Meter,
    record::{
        Action, Alert, Checksums, ConnState, Denied, Direction, Endpoint, Flow, Header, Health,
        HostNames, Id, Layer4, NameOrigin, Names, Packet, Ports, Raw, Transport, Vlans,
    },
};

const NAMES: [&str; 3] = ["json", "yaml", "msgpack"];
const CODECS: [Codec; 3] = [Codec::Json, Codec::Yaml, Codec::Msgpack];

fn packet(transport: Transport, layer4: Layer4) -> Packet {
    Packet {
        time: Timestamp::from_nanos(1_697_554_523_000_000_000),
        epoch: 0,
        number: 1,
        part: 0,
        origin: crate::record::ObservationPoint::default(),
        frame_bytes: 1280,
        captured_bytes: 128,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            marks: crate::record::Marks::default(),
            source: IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)),
            destination: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)),
            transport,
            ip_bytes: 1266,
            tunnel: None,
            checksums: Checksums::default(),
            fragment: None,
            layer4,
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: Names::default(),
    }
}

fn to_443() -> Records {
    let ports = Ports { source: 50_000, destination: 443 };
    Records::Packets(Arc::new(vec![packet(Transport::TCP, Layer4::Udp(ports, 0))]))
}

fn origin() -> Origin {
    Origin::new("sensor", Clock::Event)
}

fn encoded(config: &EncodingConfig, records: &Records) -> Vec<u8> {
    let encoder = Encoder::new(config, Schema::Simple, origin());
    let mut out = Vec::new();
    for index in 0..records.len() {
        encoder.encode(records, index, &mut out).unwrap();
    }
    out
}

fn text(config: &EncodingConfig, records: &Records) -> String {
    String::from_utf8(encoded(config, records)).unwrap()
}

fn of(codec: Codec) -> EncodingConfig {
    EncodingConfig { codec, ..EncodingConfig::default() }
}

fn read_back(codec: Codec, bytes: &[u8]) -> Vec<Value> {
    match codec {
        Codec::Json => {
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
        }
        Codec::Yaml => serde_saphyr::from_multiple(std::str::from_utf8(bytes).unwrap()).unwrap(),
        Codec::Msgpack | Codec::Wire => {
            let mut rest = bytes;
            let mut read = Vec::new();
            while !rest.is_empty() {
                read.push(rmp_serde::from_read(&mut rest).unwrap());
            }
            read
        }
    }
}

#[test]
fn a_packet_to_443_has_exactly_the_keys_of_the_interface_in_their_order() {
    assert_eq!(
        text(&of(Codec::Json), &to_443()),
        "{\"timestamp\":\"2023-10-17T14:55:23Z\",\"source_ip\":\"192.168.1.1\",\
         \"destination_ip\":\"10.0.0.5\",\"protocol\":\"TCP\",\"port\":443,\"packet_size\":1280}\n"
    );
    assert_eq!(
        text(&of(Codec::Yaml), &to_443()),
        "---\ntimestamp: \"2023-10-17T14:55:23Z\"\nsource_ip: \"192.168.1.1\"\n\
         destination_ip: \"10.0.0.5\"\nprotocol: \"TCP\"\nport: 443\npacket_size: 1280\n"
    );
}

#[test]
fn protocols_are_named_in_upper_case_and_only_headers_with_ports_have_a_port() {
    for (number, name) in [(6, "TCP"), (17, "UDP"), (1, "ICMP"), (58, "ICMPV6"), (253, "253")] {
        let records = Records::Packets(Arc::new(vec![packet(Transport(number), Layer4::Opaque)]));
        let read = read_back(Codec::Json, &encoded(&of(Codec::Json), &records));
        assert_eq!(read[0]["protocol"], name);
        assert_eq!(read[0].get("port"), None, "{name}");
    }
}

#[test]
fn each_kind_of_record_has_its_own_fields() {
    let end = |address: [u8; 4], port, packets, bytes| {
        Endpoint::new(address.into(), port).sent(packets, bytes)
    };
    let flow = Flow {
        start: Timestamp::from_nanos(1_000_000_000),
        end: Timestamp::from_nanos(3_000_000_001),
        ..Flow::new(
            Id::of("flow", "sensor").number(1).finish(),
            Transport::UDP,
            end([10, 0, 0, 1], Some(5353), 2, 200),
            end([10, 0, 0, 2], Some(53), 1, 300),
        )
    };
    let id = flow.id.to_string();
    let alert = Alert {
        time: Timestamp::from_nanos(5),
        origin: crate::record::ObservationPoint::default(),
        source: [10, 9, 8, 7].into(),
        action: Action::WouldBlock,
        risk_score: 87,
        reasons: vec!["80 ports in 1 s".into()],
        ordinal: 0,
        names: Names::default(),
        details: Box::default(),
    };
    let health = Health { packets: 7, lost: vec![("kernel", 1)], ..Health::default() };
    let cases = [
        (
            Records::Flows(Arc::new(vec![flow])),
            json!({"timestamp": "1970-01-01T00:00:01Z", "source_ip": "10.0.0.1",
                   "destination_ip": "10.0.0.2", "protocol": "UDP", "port": 53,
                   "packet_size": 500, "packets": 3, "duration_ns": 2_000_000_001_u64,
                   "flow_id": id}),
        ),
        (
            Records::Alerts(Arc::new(vec![alert])),
            json!({"timestamp": "1970-01-01T00:00:00.000000005Z", "source_ip": "10.9.8.7",
                   "action": "would_block", "risk_score": 87, "reasons": ["80 ports in 1 s"]}),
        ),
        (
            Records::Health(Arc::new(vec![health])),
            json!({"timestamp": "1970-01-01T00:00:00Z", "packets": 7, "lost_packets": 1}),
        ),
    ];
    for (records, expected) in cases {
        for codec in CODECS {
            let read = read_back(codec, &encoded(&of(codec), &records));
            assert_eq!(read, slice::from_ref(&expected), "{codec:?}");
        }
    }
}

#[test]
fn raw_lines_and_records_past_the_end_are_refused_and_leave_nothing_behind() {
    let raw = Raw {
        line: bytes::Bytes::from_static(b"{}"),
        epoch: 0,
        first: 0,
        origin: crate::record::ObservationPoint::default(),
    };
    let mut out = b"before".to_vec();
    let encoder = Encoder::new(&EncodingConfig::default(), Schema::Simple, origin());
    let refused = encoder.encode(&Records::Raw(Arc::new(vec![raw])), 0, &mut out);
    assert!(matches!(refused, Err(Error::Kind(Kind::Raw))));
    let missing = encoder.encode(&to_443(), 1, &mut out);
    assert!(matches!(missing, Err(Error::Index { index: 1, len: 1 })));
    assert_eq!(out, b"before");
}

#[test]
fn only_and_except_fields_filter_by_key_and_keep_the_order() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let cases = [
        (
            names(&["port", "source_ip"]),
            names(&[]),
            json!({"source_ip": "192.168.1.1", "port": 443}),
        ),
        (names(&["port", "source_ip"]), names(&["port"]), json!({"source_ip": "192.168.1.1"})),
        (names(&["flow_id"]), names(&[]), json!({})),
    ];
    for (only_fields, except_fields, expected) in cases {
        for codec in CODECS {
            let config = EncodingConfig {
                only_fields: only_fields.clone(),
                except_fields: except_fields.clone(),
                ..of(codec)
            };
            let read = read_back(codec, &encoded(&config, &to_443()));
            assert_eq!(read, slice::from_ref(&expected), "{codec:?} {config:?}");
        }
    }
}

#[test]
fn an_unknown_field_name_is_a_problem_with_its_place() {
    let config =
        EncodingConfig { except_fields: vec!["port".into(), "prot".into()], ..of(Codec::Json) };
    let problems = config.check(Schema::Simple);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "encoding.except_fields[1]");
    assert!(problems[0].message.contains("\"prot\""));
}

#[test]
fn codecs_are_named_in_lower_case() {
    for (name, codec) in NAMES.into_iter().zip(CODECS) {
        let config: EncodingConfig = serde_json::from_value(json!({"codec": name})).unwrap();
        assert_eq!(config, of(codec));
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::collection::vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect()),
        Just("---\n...\n: {[\"'\u{85}\u{2028}\u{feff}\u{0}\u{7f}\\u0041".to_owned()),
    ]
}

proptest! {
    #[test]
    fn packets_are_read_back_as_they_were(
        frames in prop::collection::vec(
            (any::<i64>(), any::<IpAddr>(), any::<IpAddr>(), any::<u8>(), any::<Option<u16>>(), any::<u32>()),
            0..8,
        ),
    ) {
        let (mut packets, mut expected) = (Vec::new(), Vec::new());
        for (nanos, source, destination, number, port, frame_bytes) in frames {
            let ports = port.map(|port| Ports { source: 1, destination: port });
            let layer4 = ports.map_or(Layer4::Opaque, Layer4::Sctp);
            let mut packet = packet(Transport(number), layer4);
            packet.time = Timestamp::from_nanos(nanos);
            (packet.outer.source, packet.outer.destination) = (source, destination);
            packet.frame_bytes = frame_bytes;
            let mut value = json!({
                "timestamp": packet.time.to_string(), "source_ip": source.to_string(),
                "destination_ip": destination.to_string(),
                "protocol": Transport(number).to_string(), "packet_size": frame_bytes,
            });
            if let Some(port) = port {
                value["port"] = port.into();
            }
            packets.push(packet);
            expected.push(value);
        }
        let records = Records::Packets(Arc::new(packets));
        for codec in CODECS {
            prop_assert_eq!(&read_back(codec, &encoded(&of(codec), &records)), &expected);
        }
    }

    #[test]
    fn any_text_in_a_reason_is_read_back_as_it_was(reasons in prop::collection::vec(any_text(), 0..4)) {
        let alert = Alert {
            time: Timestamp::default(),
            origin: crate::record::ObservationPoint::default(),
            source: [127, 0, 0, 1].into(),
            action: Action::Alert,
            risk_score: 1,
            reasons: reasons.iter().map(|reason| reason.as_str().into()).collect(),
            ordinal: 0,
            names: Names::default(),
            details: Box::default(),
        };
        let records = Records::Alerts(Arc::new(vec![alert.clone(), alert]));
        for codec in CODECS {
            let read = read_back(codec, &encoded(&of(codec), &records));
            prop_assert_eq!(read.len(), 2);
            for record in read {
                prop_assert_eq!(&record["reasons"], &json!(reasons));
            }
        }
    }
}

fn sample_flow() -> Flow {
    let names = |reliable: &[&str], unverified: &[&str]| {
        let boxed = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        Some(Arc::new(HostNames {
            origin: NameOrigin::Ptr,
            reliable: boxed(reliable),
            unverified: boxed(unverified),
        }))
    };
    let mut vlans = Vlans::default();
    vlans.push(100);
    let side = |address: &str, port, packets| Endpoint {
        tcp_flags: crate::record::TcpFlags(0x12),
        ..Endpoint::new(address.parse().unwrap(), Some(port)).sent(packets, packets * 100)
    };
    Flow {
        start: Timestamp::from_nanos(1_000_000_000),
        end: Timestamp::from_nanos(2_500_000_000),
        vlans,
        protocol: Some("t\"ls".into()),
        question: Some("asked.example".into()),
        server_name: Some("served.example".into()),
        host: Some("host.example".into()),
        direction: Some(Direction::Outbound),
        risk: Some(7),
        names: Names {
            source: names(&["a.example"], &[]),
            destination: names(&[], &["claimed.example"]),
        },
        ..Flow::new(
            Id::of("flow", "sensor").finish(),
            Transport::TCP,
            side("10.0.0.1", 40_000, 2),
            side("2001:db8::1", 443, 1),
        )
    }
}

#[test]
fn an_ecs_document_nests_its_fields_and_leaves_out_what_is_not_there() {
    let config = EncodingConfig { schema: Some(Schema::Ecs), ..EncodingConfig::default() };
    let records = Records::Flows(Arc::new(vec![sample_flow()]));
    let read = read_back(Codec::Json, &encoded(&config, &records)).remove(0);
    let id = sample_flow().id;
    for (pointer, value) in [
        ("/@timestamp", json!("1970-01-01T00:00:02.500Z")),
        ("/event/duration", json!(1_500_000_000)),
        ("/event/type", json!(["connection", "start", "end"])),
        ("/event/id", json!(format!("{id}-0"))),
        ("/source/domain", json!("a.example")),
        ("/destination/ip", json!("2001:db8::1")),
        ("/related/ip", json!(["10.0.0.1", "2001:db8::1"])),
        ("/related/hosts", json!(["a.example"])),
        ("/tidegate/ptr/unverified", json!(["claimed.example"])),
        ("/network/vlan/id", json!("100")),
        ("/network/protocol", json!("t\"ls")),
        ("/tidegate/flow/tcp_flags", json!(["SYN", "ACK"])),
        ("/tidegate/source/risk", json!(7)),
        ("/tags", json!(["forwarded"])),
        ("/data_stream/dataset", json!("tidegate.flow")),
        ("/observer/name", json!("sensor")),
        ("/dns/question/name", json!("asked.example")),
        ("/tls/client/server_name", json!("served.example")),
        ("/url/domain", json!("host.example")),
        ("/message", json!("tcp 10.0.0.1:40000 > [2001:db8::1]:443, 3 packets, 300 bytes")),
    ] {
        assert_eq!(read.pointer(pointer), Some(&value), "{pointer}");
    }
    let absent =
        ["/destination/domain", "/network/inner", "/event/created", "/source/mac", "/host"];
    for absent in absent {
        assert_eq!(read.pointer(absent), None, "{absent}");
    }
}

#[test]
fn a_cim_event_is_flat_and_its_sides_may_be_exchanged() {
    let records = Records::Flows(Arc::new(vec![sample_flow()]));
    for (cim_in, bytes_in, bytes_out) in [(Side::Responder, 100, 200), (Side::Initiator, 200, 100)]
    {
        let config =
            EncodingConfig { schema: Some(Schema::Cim), cim_in, ..EncodingConfig::default() };
        let read = read_back(Codec::Json, &encoded(&config, &records)).remove(0);
        assert_eq!(read["bytes_in"], bytes_in);
        assert_eq!(read["bytes_out"], bytes_out);
        assert_eq!(read["duration"], 1.5);
        assert_eq!(read["tcp_flag"], json!(["SYN", "ACK"]));
        assert_eq!((&read["direction"], &read["dvc"]), (&json!("outbound"), &json!("sensor")));
        let nested = read.as_object().unwrap().values().filter(|value| value.is_object());
        assert_eq!(nested.count(), 0);
    }
}

/// What one document of a flow says under a name of the CIM.
fn cim(flow: Flow, name: &str) -> Value {
    let config = EncodingConfig { schema: Some(Schema::Cim), ..EncodingConfig::default() };
    let records = Records::Flows(Arc::new(vec![flow]));
    read_back(Codec::Json, &encoded(&config, &records)).remove(0)[name].clone()
}

#[test]
fn a_cim_event_says_no_more_than_is_known() {
    let with = |state| Flow { conn_state: state, ..sample_flow() };
    for (state, action) in [
        (ConnState::Sf, "allowed"),
        (ConnState::S1, "allowed"),
        (ConnState::S0, "flow"),
        (ConnState::Rej, "flow"),
    ] {
        assert_eq!(cim(with(state), "action"), action, "{}", state.name());
    }
    let datagram = Flow { transport: Transport::UDP, ..with(ConnState::S0) };
    assert_eq!(cim(datagram, "action"), "allowed");
    let denied = Some(Denied { verdict: None });
    assert_eq!(cim(Flow { denied, ..with(ConnState::S0) }, "action"), "blocked");
    let towards = |direction| Flow { direction, ..sample_flow() };
    for (direction, said) in [
        (Some(Direction::Internal), json!("outbound")),
        (Some(Direction::Inbound), json!("inbound")),
        (Some(Direction::External), Value::Null),
        (None, Value::Null),
    ] {
        assert_eq!(cim(towards(direction), "direction"), said);
    }
    let mut flow = sample_flow();
    flow.initiator.mac = Some(crate::record::MacAddress([0, 0x16, 0x47, 0x9d, 0xf2, 0xc2]));
    assert_eq!(cim(flow.clone(), "src_mac"), "00:16:47:9d:f2:c2");
    assert_eq!(cim(flow.clone(), "dest_mac"), Value::Null);
    assert_eq!(cim(flow, "vendor_product"), "Tidegate");
}

#[test]
fn documents_name_the_host_where_the_traffic_is_its_own() {
    let machine = |view| {
        let addresses = vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let (hostname, macs) = ("box".into(), vec!["02-00-00-00-00-07".into()]);
        Arc::new(Machine { view, hostname, addresses, macs, id: Some("0123".into()) })
    };
    let read = |view, clock| {
        let context =
            Context { machine: machine(view), clock, ..Context::alone(Meter::new("out", "file")) };
        let config = EncodingConfig { schema: Some(Schema::Ecs), ..EncodingConfig::default() };
        let encoder = Encoder::new(&config, Schema::Ecs, Origin::of(&context));
        let mut out = Vec::new();
        encoder.encode(&Records::Flows(Arc::new(vec![sample_flow()])), 0, &mut out).unwrap();
        let read: Value = serde_json::from_slice(&out).unwrap();
        (read["host"].clone(), read["observer"]["hostname"].clone(), read["tags"].clone())
    };
    let host = json!({
        "name": "test", "hostname": "box", "ip": ["192.0.2.7", "2001:db8::7"],
        "mac": ["02-00-00-00-00-07"], "id": "0123", "architecture": std::env::consts::ARCH,
    });
    assert_eq!(read(View::Host, Clock::Wall), (host, json!("box"), Value::Null));
    let span = (Value::Null, json!("box"), json!(["forwarded"]));
    assert_eq!(read(View::Span, Clock::Wall), span);
    // A replay is the same on every machine.
    let replayed = (json!({"name": "test"}), Value::Null, Value::Null);
    assert_eq!(read(View::Host, Clock::Event), replayed);
}

#[test]
fn every_codec_writes_the_same_document_in_every_schema() {
    let alert = Alert {
        time: Timestamp::from_nanos(5),
        origin: crate::record::ObservationPoint::default(),
        source: [10, 9, 8, 7].into(),
        action: Action::Block,
        risk_score: 87,
        reasons: vec!["80 ports in 1 s".into()],
        ordinal: 0,
        names: Names::default(),
        details: Box::default(),
    };
    let health = Health { lost: vec![("kernel", 3)], packets: 9, ..Health::default() };
    let batches = [
        to_443(),
        Records::Flows(Arc::new(vec![sample_flow()])),
        Records::Alerts(Arc::new(vec![alert])),
        Records::Health(Arc::new(vec![health])),
    ];
    for records in &batches {
        for schema in Schema::ALL {
            let read = CODECS.map(|codec| {
                let config = EncodingConfig { schema: Some(schema), ..of(codec) };
                read_back(codec, &encoded(&config, records))
            });
            assert_eq!(read[0], read[1], "{schema:?}: json and yaml");
            assert_eq!(read[0], read[2], "{schema:?}: json and msgpack");
        }
    }
}

#[test]
fn a_filter_names_a_field_or_all_that_lies_under_a_name() {
    let records = Records::Flows(Arc::new(vec![sample_flow()]));
    let config = |only: &[&str], except: &[&str]| EncodingConfig {
        schema: Some(Schema::Ecs),
        only_fields: only.iter().map(|&name| name.to_owned()).collect(),
        except_fields: except.iter().map(|&name| name.to_owned()).collect(),
        ..EncodingConfig::default()
    };
    let cases = [
        (config(&["network.transport"], &[]), json!({"network": {"transport": "tcp"}})),
        (
            config(&["source"], &["source.bytes", "source.packets", "source.domain"]),
            json!({
                "source": {"ip": "10.0.0.1", "address": "10.0.0.1", "port": 40_000},
            }),
        ),
        (config(&["destination.domain"], &[]), json!({})),
    ];
    for (config, expected) in cases {
        assert_eq!(config.check(Schema::Simple), []);
        assert_eq!(read_back(Codec::Json, &encoded(&config, &records)), [expected]);
    }
    let problems = config(&["source.adress", "sou"], &[]).check(Schema::Simple);
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean source.address?"));
}

#[test]
fn a_packet_whose_length_offloading_left_out_has_that_of_its_frame() {
    let mut frame = packet(Transport::TCP, Layer4::Opaque);
    frame.outer.ip_bytes = 0;
    frame.source_mac = Some(crate::record::MacAddress([2; 6]));
    frame.vlans.push(7);
    let config = EncodingConfig { schema: Some(Schema::Ecs), ..EncodingConfig::default() };
    let read = read_back(Codec::Json, &encoded(&config, &Records::Packets(Arc::new(vec![frame]))));
    assert_eq!(read[0]["network"]["bytes"], 1280 - 14 - 4);
}

#[test]
fn bits_about_congestion_are_named_where_the_schema_knows_them() {
    let mut flow = sample_flow();
    flow.initiator.tcp_flags = crate::record::TcpFlags(0xc2);
    flow.responder.tcp_flags = crate::record::TcpFlags(0x100);
    let records = Records::Flows(Arc::new(vec![flow]));
    for (schema, pointer, names) in [
        (Schema::Ecs, "/tidegate/flow/tcp_flags", json!(["SYN", "ECE", "CWR"])),
        (Schema::Cim, "/tcp_flag", json!(["SYN"])),
    ] {
        let config = EncodingConfig { schema: Some(schema), ..EncodingConfig::default() };
        let read = read_back(Codec::Json, &encoded(&config, &records)).remove(0);
        assert_eq!(read.pointer(pointer), Some(&names));
    }
}

/// A label, and a tag that has to be escaped.
fn adding() -> Origin {
    let added = crate::record::Added {
        labels: [("env".to_owned(), "prod \"1\"".to_owned())].into(),
        tags: vec!["dmz".to_owned(), "a\\b".to_owned()],
    };
    origin().adding(&added)
}

#[test]
fn static_fields_are_in_every_schema_and_codec_behind_what_a_record_has() {
    let damaged = |damaged| Packet { damaged, ..packet(Transport::UDP, Layer4::Opaque) };
    let records = Records::Packets(Arc::new(vec![damaged(true), damaged(false)]));
    for (codec, name) in CODECS.into_iter().zip(NAMES) {
        for schema in Schema::ALL {
            let encoder = Encoder::new(&of(codec), schema, adding());
            let plain = Encoder::new(&of(codec), schema, origin());
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for index in 0..2 {
                encoder.encode(&records, index, &mut with).unwrap();
                plain.encode(&records, index, &mut without).unwrap();
            }
            let (with, without) = (read_back(codec, &with), read_back(codec, &without));
            for (mut with, without) in with.into_iter().zip(without) {
                let own =
                    without.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
                let tags = [own, vec![json!("dmz"), json!("a\\b")]].concat();
                assert_eq!(with["tags"], Value::Array(tags), "{name} {}", schema.name());
                let label = match schema {
                    Schema::Ecs => with["labels"]["env"].take(),
                    Schema::Simple | Schema::Cim => with["env"].take(),
                };
                assert_eq!(label, json!("prod \"1\""), "{name} {}", schema.name());
                // All else is as it was.
                let with = with.as_object_mut().unwrap();
                for key in ["labels", "env", "tags"] {
                    with.remove(key);
                }
                let mut without = without;
                without.as_object_mut().unwrap().remove("tags");
                assert_eq!(Value::Object(with.clone()), without, "{name} {}", schema.name());
            }
        }
    }
}

#[test]
fn tags_that_all_records_share_are_a_list_like_any_other() {
    let line = |schema| {
        let encoder = Encoder::new(&of(Codec::Json), schema, adding());
        let mut out = Vec::new();
        encoder.encode(&to_443(), 0, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert!(line(Schema::Simple).ends_with(
        "\"packet_size\":1280,\"tags\":[\"dmz\",\"a\\\\b\"],\"env\":\"prod \\\"1\\\"\"}\n"
    ));
    assert!(line(Schema::Ecs).contains("\"tags\":[\"forwarded\",\"dmz\",\"a\\\\b\"]"));
}

#[test]
fn records_of_another_sensor_have_its_name_and_nothing_of_this_machine() {
    let machine = Machine {
        view: View::Host,
        hostname: "here".into(),
        addresses: vec!["192.0.2.77".parse().unwrap()],
        ..Machine::default()
    };
    let meter = Meter::new("siem", "test");
    let context = Context {
        machine: Arc::new(machine),
        observer: "siem".into(),
        interface: Some("eth9".into()),
        ..Context::alone(meter)
    };
    let encoder = Encoder::new(&EncodingConfig::default(), Schema::Ecs, Origin::of(&context));
    let own = Records::Health(Arc::new(vec![Health::default()]));
    let mut other = own.clone();
    other.seen_by(&"agent".into());
    let document = |records: &Records| {
        let mut line = Vec::new();
        encoder.encode(records, 0, &mut line).unwrap();
        serde_json::from_slice::<Value>(&line).unwrap()
    };
    let [own_document, document] = [&own, &other].map(document);
    assert_eq!(own_document["observer"]["name"], "siem");
    assert_eq!(own_document["host"]["name"], "siem");
    assert_eq!(document["observer"]["name"], "agent");
    assert_ne!(document["agent"]["id"], own_document["agent"]["id"]);
    for ours in ["here", "192.0.2.77", "siem", "eth9"] {
        assert!(!document.to_string().contains(ours), "{ours}: {document}");
    }
    // The id is the agent's wherever it is written.
    let id = other.id(0, "siem").unwrap();
    assert_eq!(id, own.id(0, "agent").unwrap());
    assert_eq!(document["event"]["id"], id.0.to_string());
    // And so it is when it is written once more for others.
    let mut written = Vec::new();
    wire::write(&other, 0, "siem", &mut written).unwrap();
    let mut reader = wire::Reader::default();
    reader.read(&written).unwrap();
    assert_eq!(&*reader.take()[0].0, "agent");
}
