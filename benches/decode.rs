//! A line of tshark into a typed packet, against what simd-json alone takes for the same line; and a
//! captured frame into the same packet, without tshark.
//!
//! The baselines are borrowed structs of the same fields that serde fills from simd-json's tape, with
//! every buffer reused: no packet is made of them. One keeps a field's first value, the other all of
//! them. Aim: `packet` ≤ 1.5 × the cheaper one; `frames/lab` ≤ 100 ns a frame.

use std::{fmt, hint::black_box};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use simd_json::{Buffers, INPUT_PADDING, Tape, fill_tape_padded};
use tidegate::{
    decode::{self, Frame, LinkType, Options},
    ek::Parser,
    record::{ObservationPoint, Raw, Timestamp},
};

/// A line of each kind, in the shape tshark 4.0 prints it.
const LINES: [(&str, &str); 6] = [
    (
        "tcp",
        r#"{"timestamp":"1700000000123","layers":{"frame_number":["2"],"frame_time_epoch":["1700000000.123456000"],"frame_len":["74"],"frame_cap_len":["74"],"frame_protocols":["eth:ethertype:ip:tcp"],"eth_src":["02:00:00:00:00:01"],"eth_dst":["02:00:00:00:00:02"],"ip_src":["10.1.2.3"],"ip_dst":["192.0.2.17"],"ip_proto":["6"],"ip_len":["60"],"ip_id":["0x321b"],"ip_flags_mf":["0"],"ip_frag_offset":["0"],"tcp_srcport":["36813"],"tcp_dstport":["80"],"tcp_flags":["0x0002"],"tcp_seq_raw":["1279124641"],"tcp_ack_raw":["0"],"tcp_len":["0"],"tcp_window_size_value":["64240"],"tcp_checksum_status":["2"]}}"#,
    ),
    (
        "tcp_ipv6",
        r#"{"timestamp":"1700000000124","layers":{"frame_number":["3"],"frame_time_epoch":["1700000000.124456001"],"frame_len":["1294"],"frame_cap_len":["128"],"frame_protocols":["eth:ethertype:vlan:ethertype:ipv6:tcp:tls"],"_ws_short":["[Packet size limited during capture: TLS truncated]"],"eth_src":["02:00:00:00:00:01"],"eth_dst":["02:00:00:00:00:02"],"vlan_id":["120"],"ipv6_src":["2001:db8:17::a51c:9"],"ipv6_dst":["2001:db8:4:2::1:443"],"ipv6_nxt":["6"],"ipv6_plen":["1236"],"tcp_srcport":["443"],"tcp_dstport":["51234"],"tcp_flags":["0x0018"],"tcp_seq_raw":["3279124641"],"tcp_ack_raw":["129983341"],"tcp_len":["1204"],"tcp_window_size_value":["502"],"tcp_checksum_status":["2"]}}"#,
    ),
    (
        "dns",
        r#"{"timestamp":"1700000000125","layers":{"frame_number":["4"],"frame_time_epoch":["1700000000.125456002"],"frame_len":["86"],"frame_cap_len":["86"],"frame_protocols":["eth:ethertype:ip:udp:dns"],"eth_src":["02:00:00:00:00:01"],"eth_dst":["02:00:00:00:00:02"],"ip_src":["10.1.2.3"],"ip_dst":["192.0.2.53"],"ip_proto":["17"],"ip_len":["72"],"ip_id":["0x9a01"],"ip_flags_mf":["0"],"ip_frag_offset":["0"],"udp_srcport":["40213"],"udp_dstport":["53"],"udp_length":["52"]}}"#,
    ),
    (
        "icmp_error",
        r#"{"timestamp":"1700000000126","layers":{"frame_number":["5"],"frame_time_epoch":["1700000000.126456003"],"frame_len":["74"],"frame_cap_len":["74"],"frame_protocols":["eth:ethertype:ip:icmp:ip:udp:data"],"eth_src":["02:00:00:00:00:01"],"eth_dst":["02:00:00:00:00:02"],"ip_src":["10.0.0.1","10.0.0.2"],"ip_dst":["10.0.0.2","198.51.100.7"],"ip_proto":["1","17"],"ip_len":["60","32"],"ip_id":["0x0001","0x0002"],"ip_flags_mf":["0","0"],"ip_frag_offset":["0","0"],"udp_srcport":["30000"],"udp_dstport":["33434"],"udp_length":["12"],"icmp_type":["11"],"icmp_code":["0"]}}"#,
    ),
    (
        "vxlan",
        r#"{"timestamp":"1700000000127","layers":{"frame_number":["6"],"frame_time_epoch":["1700000000.127456004"],"frame_len":["116"],"frame_cap_len":["116"],"frame_protocols":["eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:tcp"],"eth_src":["02:00:00:00:00:01","02:00:00:00:01:01"],"eth_dst":["02:00:00:00:00:02","02:00:00:00:01:02"],"ip_src":["10.1.200.131","172.16.11.201"],"ip_dst":["10.1.1.172","203.0.113.188"],"ip_proto":["17","6"],"ip_len":["102","52"],"ip_id":["0x0000","0x1999"],"ip_flags_mf":["0","0"],"ip_frag_offset":["0","0"],"tcp_srcport":["40354"],"tcp_dstport":["80"],"tcp_flags":["0x0010"],"tcp_seq_raw":["1521476009"],"tcp_ack_raw":["2528538526"],"tcp_len":["0"],"tcp_window_size_value":["502"],"tcp_checksum_status":["2"],"udp_srcport":["50000"],"udp_dstport":["4789"],"udp_length":["82"]}}"#,
    ),
    (
        "arp",
        r#"{"timestamp":"1700000000128","layers":{"frame_number":["7"],"frame_time_epoch":["1700000000.128456005"],"frame_len":["42"],"frame_cap_len":["42"],"frame_protocols":["eth:ethertype:arp"],"eth_src":["02:00:00:00:00:01"],"eth_dst":["ff:ff:ff:ff:ff:ff"]}}"#,
    ),
];

/// The borrowed struct; `V` holds the values of a field.
#[derive(Deserialize)]
#[expect(dead_code, reason = "filling it is what is measured")]
struct Line<V: Default> {
    layers: Layers<V>,
}

/// The cheapest way to hold a field that nearly always has one value: further ones are skipped.
#[derive(Default)]
#[expect(dead_code, reason = "filling it is what is measured")]
struct First<'l>(Option<&'l str>);

#[derive(Deserialize)]
#[expect(dead_code, reason = "filling it is what is measured")]
struct Layers<V: Default> {
    #[serde(default)]
    frame_number: V,
    #[serde(default)]
    frame_time_epoch: V,
    #[serde(default)]
    frame_len: V,
    #[serde(default)]
    frame_cap_len: V,
    #[serde(default)]
    frame_protocols: V,
    #[serde(default)]
    _ws_malformed: V,
    #[serde(default)]
    _ws_short: V,
    #[serde(default)]
    eth_src: V,
    #[serde(default)]
    eth_dst: V,
    #[serde(default)]
    vlan_id: V,
    #[serde(default)]
    ieee8021ad_id: V,
    #[serde(default)]
    ip_src: V,
    #[serde(default)]
    ip_dst: V,
    #[serde(default)]
    ip_proto: V,
    #[serde(default)]
    ip_len: V,
    #[serde(default)]
    ip_id: V,
    #[serde(default)]
    ip_flags_mf: V,
    #[serde(default)]
    ip_frag_offset: V,
    #[serde(default)]
    ipv6_src: V,
    #[serde(default)]
    ipv6_dst: V,
    #[serde(default)]
    ipv6_nxt: V,
    #[serde(default)]
    ipv6_plen: V,
    #[serde(default)]
    ipv6_hopopts_nxt: V,
    #[serde(default)]
    ipv6_dstopts_nxt: V,
    #[serde(default)]
    ipv6_routing_nxt: V,
    #[serde(default)]
    ipv6_fraghdr_nxt: V,
    #[serde(default)]
    ipv6_fraghdr_offset: V,
    #[serde(default)]
    ipv6_fraghdr_more: V,
    #[serde(default)]
    ipv6_fraghdr_ident: V,
    #[serde(default)]
    tcp_srcport: V,
    #[serde(default)]
    tcp_dstport: V,
    #[serde(default)]
    tcp_flags: V,
    #[serde(default)]
    tcp_seq_raw: V,
    #[serde(default)]
    tcp_ack_raw: V,
    #[serde(default)]
    tcp_len: V,
    #[serde(default)]
    tcp_window_size_value: V,
    #[serde(default)]
    tcp_checksum_status: V,
    #[serde(default)]
    udp_srcport: V,
    #[serde(default)]
    udp_dstport: V,
    #[serde(default)]
    udp_length: V,
    #[serde(default)]
    sctp_srcport: V,
    #[serde(default)]
    sctp_dstport: V,
    #[serde(default)]
    icmp_type: V,
    #[serde(default)]
    icmp_code: V,
    #[serde(default)]
    icmpv6_type: V,
    #[serde(default)]
    icmpv6_code: V,
}

impl<'de> Deserialize<'de> for First<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = First<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of strings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<First<'de>, A::Error> {
                let first = values.next_element()?;
                while values.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(Values)
    }
}

/// What simd-json and serde do with a line, every buffer reused.
struct Baseline {
    copy: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Baseline {
    fn new() -> Self {
        Self { copy: Vec::new(), buffers: Buffers::new(4096), tape: Tape::null() }
    }

    /// Fills the struct, and drops it.
    fn parse<'l, V: Deserialize<'l> + Default>(&'l mut self, line: &[u8]) {
        self.copy.clear();
        self.copy.extend_from_slice(line);
        self.copy.resize(line.len() + INPUT_PADDING, 0);
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        fill_tape_padded(&mut self.copy, line.len(), &mut self.buffers, &mut tape)
            .expect("a line above");
        let mut deserializer = simd_json::Deserializer::from_tape(tape);
        black_box(Line::<V>::deserialize(&mut deserializer).expect("a line above"));
        self.tape = deserializer.into_tape().reset();
    }
}

fn decode(criterion: &mut Criterion) {
    for (kind, line) in LINES {
        let raw = Raw {
            line: Bytes::from_static(line.as_bytes()),
            epoch: 0,
            first: 0,
            origin: ObservationPoint::default(),
        };
        let mut group = criterion.benchmark_group(kind);
        group.throughput(Throughput::Elements(1));
        let mut baseline = Baseline::new();
        group.bench_function("baseline_first_value", |bencher| {
            bencher.iter(|| baseline.parse::<First<'_>>(black_box(&raw.line)));
        });
        group.bench_function("baseline_every_value", |bencher| {
            bencher.iter(|| baseline.parse::<Vec<&str>>(black_box(&raw.line)));
        });
        let mut parser = Parser::new(&[]);
        group.bench_function("packet", |bencher| {
            bencher.iter(|| parser.parse(black_box(&raw)).expect("a line above"));
        });
        group.finish();
    }
}

/// IPv4 or IPv6 over Ethernet, cut at 128 bytes as a live capture is; what is not a header is zero.
fn frame(headers: &[&[u8]], length: usize) -> (Vec<u8>, u32) {
    let mut bytes = headers.concat();
    bytes.resize(length.min(128), 0);
    (bytes, u32::try_from(length).expect("a frame is short"))
}

/// Frames as they come in the lab's capture: of a hundred, 97 TCP, two UDP and one ICMP.
fn lab() -> Vec<(Vec<u8>, u32)> {
    const ETHERNET: &[u8] = &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    const TAGGED: &[u8] = &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 120, 0x86, 0xdd];
    const TCP: &[u8] =
        &[0x9c, 0x40, 1, 0xbb, 0, 0, 3, 0xe8, 0, 0, 7, 0xd0, 0x80, 0x10, 1, 0xf6, 0, 0, 0, 0];
    const UDP: &[u8] = &[0x9c, 0x40, 0, 53, 0, 52, 0, 0];
    let v4 = |protocol: u8, total: u16| {
        let [high, low] = total.to_be_bytes();
        vec![
            0x45, 0, high, low, 0x32, 0x1b, 0x40, 0, 64, protocol, 0, 0, 10, 1, 2, 3, 192, 0, 2, 17,
        ]
    };
    let mut v6 = vec![0x60, 0, 0, 0, 4, 212, 6, 64];
    v6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9].repeat(2));
    let mut frames = Vec::new();
    for _ in 0..48 {
        frames.push(frame(&[ETHERNET, &v4(6, 52), TCP], 66));
        frames.push(frame(&[ETHERNET, &v4(6, 1280), TCP], 1294));
    }
    frames.push(frame(&[TAGGED, &v6, TCP], 1294));
    frames.push(frame(&[ETHERNET, &v4(17, 72), UDP], 86));
    frames.push(frame(&[ETHERNET, &v4(17, 72), UDP], 86));
    frames.push(frame(&[ETHERNET, &v4(1, 84), &[8, 0, 0, 0]], 98));
    frames
}

fn frames(criterion: &mut Criterion) {
    let lab = lab();
    let mut group = criterion.benchmark_group("frames");
    group.throughput(Throughput::Elements(lab.len() as u64));
    let choices = [
        ("lab", Options::default()),
        ("lab_checksums", Options { checksums: true, ..Options::default() }),
        ("lab_dns", Options { dns: true, ..Options::default() }),
        ("lab_names", Options { names: true, ..Options::default() }),
    ];
    for (name, options) in choices {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for (number, (bytes, length)) in (1..).zip(&lab) {
                    let frame = Frame {
                        origin: ObservationPoint::default(),
                        time: Timestamp::from_nanos(1_700_000_000_123_456_789),
                        epoch: 0,
                        number,
                        link: LinkType(1),
                        length: *length,
                        bytes,
                    };
                    black_box(decode::decode(black_box(&frame), &options))
                        .expect("a frame with an IP header");
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, frames);
criterion_main!(benches);
