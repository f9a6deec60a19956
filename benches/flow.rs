//! A packet through the flow table, against the least that any table does: a hash-map lookup and an
//! update with a fast hasher, at the same number of flows; the memory of a flow; and whether a packet
//! costs more as the run grows older.
//!
//! Both are timed in turns, so that whatever else the machine does hits both; the lowest tenth of the
//! samples is what they cost when it does nothing else.
#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::{fs, hint::black_box, net::Ipv4Addr, time::Instant};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tidegate::{
    flow::{Output, Policy, Shards, Timeouts},
    record::{
        Checksums, Header, Layer4, MacAddress, Names, Packet, Ports, Tcp, TcpFlags, Timestamp,
        Transport, Vlans,
    },
};

/// Packets of one run: enough to touch a million flows in no order a prefetcher could guess.
const PACKETS: usize = 1 << 20;
const BATCH: usize = 256;
/// Batches timed at once, and how often.
const SLICE: usize = 64;
const SAMPLES: usize = 400;

/// The five numbers that name a flow, as the baseline's key.
type Key = ([u8; 16], [u8; 16], u16, u16, u8);

fn packet(flow: u32, nanos: i64) -> Packet {
    let [_, b, c, d] = flow.to_be_bytes();
    let address = Ipv4Addr::new(10, b, c, d);
    Packet {
        time: Timestamp::from_nanos(nanos),
        epoch: 0,
        number: 1,
        part: 0,
        origin: tidegate::record::ObservationPoint::default(),
        frame_bytes: 114,
        captured_bytes: 114,
        source_mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
        destination_mac: Some(MacAddress([2, 0, 0, 0, 0, 2])),
        vlans: Vlans::default(),
        outer: Header {
            marks: tidegate::record::Marks::default(),
            source: address.into(),
            destination: Ipv4Addr::new(192, 0, 2, 1).into(),
            transport: Transport::TCP,
            ip_bytes: 100,
            tunnel: None,
            checksums: Checksums::default(),
            fragment: None,
            layer4: Layer4::Tcp(Tcp {
                ports: Ports { source: 40000, destination: 443 },
                flags: TcpFlags(TcpFlags::ACK),
                sequence: 1,
                acknowledgement: 1,
                window: Some(1000),
                payload_bytes: 48,
            }),
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: Names::default(),
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

/// Nanoseconds that something takes.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn nanos(run: impl FnOnce()) -> u128 {
    let started = Instant::now();
    run();
    started.elapsed().as_nanos()
}

/// The sample that a tenth of them are below, in nanoseconds a packet.
#[expect(clippy::cast_precision_loss, reason = "no sample takes 2^53 ns")]
fn low(mut samples: Vec<u128>, packets: usize) -> f64 {
    samples.sort_unstable();
    samples.get(samples.len() / 10).map_or(0.0, |nanos| *nanos as f64 / packets as f64)
}

fn against_a_map(flows: u32) {
    let all = packets(flows);
    let before = resident_bytes();
    let mut table = Shards::new(Policy { max_flows: 1 << 21, ..Policy::default() }, 1);
    let mut out = Output::default();
    for batch in all.chunks(BATCH) {
        table.absorb(batch, &mut out);
    }
    let bytes = resident_bytes().saturating_sub(before) / table.len().max(1);
    let mut map: HashMap<Key, [u64; 4], FixedState> = HashMap::default();
    for packet in &all {
        map.entry(key(packet)).or_default()[0] += 1;
    }
    let mut slices = all.chunks_exact(BATCH * SLICE).cycle();
    let (mut in_map, mut in_table) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let slice = slices.next().unwrap_or(&[]);
        in_map.push(nanos(|| {
            for packet in slice {
                let counters = map.entry(key(packet)).or_default();
                counters[0] += 1;
                counters[1] += u64::from(packet.outer.ip_bytes);
                counters[2] = packet.time.nanos().unsigned_abs();
            }
            black_box(&mut map);
        }));
        let slice = slices.next().unwrap_or(&[]);
        in_table.push(nanos(|| {
            for batch in slice.chunks_exact(BATCH) {
                table.absorb(batch, &mut out);
            }
        }));
    }
    assert!(out.flows.is_empty(), "no flow ends during the measurement");
    let (map, table) = (low(in_map, BATCH * SLICE), low(in_table, BATCH * SLICE));
    let ratio = table / map;
    println!("{flows} flows: map {map:.1} ns, table {table:.1} ns a packet, ratio {ratio:.2}");
    if flows >= 1_000_000 {
        println!("{flows} flows: {bytes} bytes a flow");
    }
}

/// A hundred thousand packets a second; flows of ten packets, spread over half a second, that end
/// after five seconds without any: each tenth of the run replaces the table's content twice.
fn over_its_age() {
    const TENTHS: u32 = 10;
    const TENTH: u32 = 1_000_000;
    let timeouts = Timeouts { tcp_established: 5_000_000_000, ..Timeouts::USUAL };
    let mut table = Shards::new(Policy { timeouts, ..Policy::default() }, 1);
    let mut batch: Vec<_> = (0..BATCH).map(|_| packet(0, 0)).collect();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut at = 0_u32;
    let mut ended = 0;
    for tenth in 1..=TENTHS {
        let mut samples = Vec::new();
        while at < tenth * TENTH {
            for slot in &mut batch {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let back = u32::try_from(state % 5_000).unwrap_or(0);
                *slot = packet((at / 10 + 5_000) - back, i64::from(at) * 10_000);
                at += 1;
            }
            let mut out = Output::default();
            samples.push(nanos(|| {
                table.absorb(&batch, &mut out);
            }));
            ended += out.flows.len();
        }
        let (active, nanos) = (table.len(), low(samples, BATCH));
        println!("tenth {tenth} of the run: {nanos:.1} ns a packet, {active} flows, {ended} ended");
    }
}

fn main() {
    against_a_map(1_000);
    against_a_map(1_000_000);
    over_its_age();
}
