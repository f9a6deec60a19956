//! A packet through the flow table, against the least that any table does: a hash-map lookup and an
//! update with a fast hasher, at the same number of flows; and the memory of a flow.
#![expect(clippy::print_stderr, reason = "a bench says what it measured")]

use std::{collections::HashMap, fs, hint::black_box, net::Ipv4Addr, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use foldhash::fast::FixedState;
use tidegate::{
    flow::{Output, Policy, Shards},
    record::{
        Checksum, Header, Layer4, MacAddress, Packet, Ports, Tcp, TcpFlags, Timestamp, Transport,
        Vlans,
    },
};

/// Packets of one run: enough to touch a million flows in no order a prefetcher could guess.
const PACKETS: usize = 1 << 20;
const BATCH: usize = 256;

/// The five numbers that name a flow, as the baseline's key.
type Key = ([u8; 16], [u8; 16], u16, u16, u8);

fn packet(flow: u32, nanos: i64) -> Packet {
    let [_, b, c, d] = flow.to_be_bytes();
    let address = Ipv4Addr::new(10, b, c, d);
    Packet {
        time: Timestamp::from_nanos(nanos),
        epoch: 0,
        number: 1,
        frame_bytes: 114,
        captured_bytes: 114,
        source_mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
        destination_mac: Some(MacAddress([2, 0, 0, 0, 0, 2])),
        vlans: Vlans::default(),
        outer: Header {
            source: address.into(),
            destination: Ipv4Addr::new(192, 0, 2, 1).into(),
            transport: Transport::TCP,
            ip_bytes: 100,
            fragment: None,
            layer4: Layer4::Tcp(Tcp {
                ports: Ports { source: 40000, destination: 443 },
                flags: TcpFlags(TcpFlags::ACK),
                sequence: 1,
                acknowledgement: 1,
                window: 1000,
                payload_bytes: 48,
                checksum: Checksum::Unverified,
            }),
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: tidegate::record::Names::default(),
    }
}

/// Every flow once, and then flows at random; all within a second, so that none ends.
fn packets(flows: u32) -> Vec<Packet> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    (0..u32::try_from(PACKETS).unwrap_or(u32::MAX))
        .map(|at| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let random = u32::try_from(state % u64::from(flows)).unwrap_or(0);
            packet(if at < flows { at } else { random }, i64::from(at))
        })
        .collect()
}

fn key(packet: &Packet) -> Key {
    let octets = |address| match address {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(address) => address.octets(),
    };
    let ports = packet.outer.layer4.ports().unwrap_or(Ports { source: 0, destination: 0 });
    let (source, destination) = (octets(packet.outer.source), octets(packet.outer.destination));
    (source, destination, ports.source, ports.destination, packet.outer.transport.0)
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    for flows in [1_000_u32, 1_000_000] {
        let all = packets(flows);
        let mut batches = all.chunks_exact(BATCH).cycle();

        let mut map: HashMap<Key, [u64; 4], FixedState> = HashMap::default();
        for packet in &all {
            map.entry(key(packet)).or_default()[0] += 1;
        }
        group.bench_function(BenchmarkId::new("hash_map", flows), |bench| {
            bench.iter(|| {
                for packet in batches.next().unwrap_or(&[]) {
                    let counters = map.entry(key(packet)).or_default();
                    counters[0] += 1;
                    counters[1] += u64::from(packet.outer.ip_bytes);
                    counters[2] = packet.time.nanos().unsigned_abs();
                }
                black_box(&mut map);
            });
        });
        drop(map);

        let before = resident_bytes();
        let mut table = Shards::new(Policy { max_flows: 1 << 21, ..Policy::default() }, 1);
        let mut out = Output::default();
        for batch in all.chunks(BATCH) {
            table.absorb(batch, &mut out);
        }
        let bytes = resident_bytes().saturating_sub(before);
        eprintln!("{} flows take {} bytes each", table.len(), bytes / table.len().max(1));
        group.bench_function(BenchmarkId::new("table", flows), |bench| {
            bench.iter(|| {
                table.absorb(batches.next().unwrap_or(&[]), &mut out);
            });
        });
        assert!(out.flows.is_empty(), "no flow ends during the measurement");
    }
    group.finish();
}

criterion_group!(benches, table);
criterion_main!(benches);
