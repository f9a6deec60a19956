//! Encoding 1,000 packets as `simple` JSON, against `serde_json` on a derived struct of the same
//! typed values: what the field filter and the three codecs' common description cost.

use std::{hint::black_box, net::IpAddr, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Serialize;
use tidegate::{
    codec::{Codec, Encoder, EncodingConfig},
    record::{Header, Layer4, Names, Packet, Ports, Records, Timestamp, Transport, Vlans},
};

const PACKETS: usize = 1_000;

/// The same values with the same types, for serde's own derived code.
#[derive(Serialize)]
struct Derived {
    timestamp: Timestamp,
    source_ip: IpAddr,
    destination_ip: IpAddr,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    packet_size: u32,
}

fn packet(number: usize) -> Packet {
    let varied = u16::try_from(number).unwrap_or_default();
    let ports = Ports { source: 40_000 + varied, destination: 443 };
    let [high, low] = varied.to_be_bytes();
    let address = |last: u8| IpAddr::from([10, high, low, last]);
    Packet {
        time: Timestamp::from_nanos(1_697_554_523_000_001_000 + i64::from(varied) * 1_234_567),
        epoch: 0,
        number: number as u64,
        frame_bytes: 60 + u32::from(varied),
        captured_bytes: 60,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            source: address(1),
            destination: address(254),
            transport: Transport::TCP,
            ip_bytes: 46 + u32::from(varied),
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

fn derived(packet: &Packet) -> Derived {
    Derived {
        timestamp: packet.time,
        source_ip: packet.outer.source,
        destination_ip: packet.outer.destination,
        protocol: "TCP",
        port: packet.outer.layer4.ports().map(|ports| ports.destination),
        packet_size: packet.frame_bytes,
    }
}

fn encode(criterion: &mut Criterion) {
    let packets: Vec<_> = (0..PACKETS).map(packet).collect();
    let values: Vec<_> = packets.iter().map(derived).collect();
    let records = Records::Packets(Arc::new(packets));
    let mut group = criterion.benchmark_group("encode_1000_packets");
    group.throughput(Throughput::Elements(PACKETS as u64));
    let mut out = Vec::with_capacity(PACKETS * 200);
    group.bench_function("derived_serde_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            for value in black_box(&values) {
                serde_json::to_writer(&mut out, value).expect("the values have plain keys");
                out.push(b'\n');
            }
            out.len()
        });
    });
    let encoders = [
        ("simple_json", Codec::Json, vec![]),
        ("simple_json_but_port", Codec::Json, vec!["port".to_owned()]),
        ("simple_yaml", Codec::Yaml, vec![]),
        ("simple_msgpack", Codec::Msgpack, vec![]),
    ];
    for (name, codec, except_fields) in encoders {
        let config = EncodingConfig { codec, except_fields, ..EncodingConfig::default() };
        let encoder = Encoder::new(&config);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                for index in 0..records.len() {
                    encoder.encode(black_box(&records), index, &mut out).expect("packets encode");
                }
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
