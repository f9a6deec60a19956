//! Frames of the kinds that readers of captures get wrong: lengths that lie or are missing, extension
//! headers in every order and place, priorities without a VLAN, quoted and reported packets, aggregates.

use crate::harness::frames::{self, Segment, Way, flags};

/// IP protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const NOTHING: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;

const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
const FINAL6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99];

/// What was captured of a frame, and its length on the wire.
pub(super) struct Framed {
    pub(super) bytes: Vec<u8>,
    pub(super) length: usize,
}

/// A name, a link type and frames of it, for each kind.
pub(super) fn all() -> Vec<(&'static str, u16, Vec<Framed>)> {
    vec![
        ("lengths-that-lie", 1, whole(lengths_that_lie())),
        ("without-length", 1, whole(without_length())),
        ("behind-ipv4", 1, whole(behind_ipv4())),
        ("extensions", 1, whole(extensions())),
        ("routing", 1, whole(routing_headers())),
        ("vlans", 1, whole(vlans())),
        ("quoted", 1, whole(quoted())),
        ("reported", 1, whole(reported())),
        ("tunnels", 1, whole(tunnels())),
        ("checksums", 1, whole(checksums())),
        ("broken-headers", 1, whole(broken_headers())),
        ("cut", 1, cut()),
        ("aggregates", 105, whole(aggregates())),
        ("cooked", 113, whole(cooked())),
        ("behind-ppi", 192, whole(behind_ppi())),
        ("mesh", 105, whole(mesh())),
        ("logged", 239, whole(logged())),
    ]
}

fn whole(frames: Vec<Vec<u8>>) -> Vec<Framed> {
    frames.into_iter().map(|bytes| Framed { length: bytes.len(), bytes }).collect()
}

// === builders ===

/// An IPv4 packet with its checksum, its length as claimed.
fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    frames::ipv4(Way::There, protocol, payload)
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    frames::ipv6(Way::There, next, payload)
}

/// What follows the IP header of a packet of either version.
fn behind(packet: &[u8]) -> Vec<u8> {
    packet[if packet[0] >> 4 == 4 { 20 } else { 40 }..].to_vec()
}

fn on(packet: &[u8]) -> Vec<u8> {
    frames::on_ethernet(packet)
}

fn datagram(payload: &[u8]) -> Vec<u8> {
    behind(&frames::udp(Way::There, [40_000, 9_000], payload))
}

fn datagram6(payload: &[u8]) -> Vec<u8> {
    behind(&frames::udp6(Way::There, [40_000, 9_000], payload))
}

const SEGMENT: Segment<'static> = Segment {
    ports: [40_000, 9_000],
    numbers: [7, 9],
    flags: flags::ACK | flags::PSH,
    payload: b"twenty bytes of data",
};

fn segment() -> Vec<u8> {
    behind(&frames::tcp(Way::There, SEGMENT))
}

fn segment6() -> Vec<u8> {
    behind(&frames::tcp6(Way::There, SEGMENT))
}

/// The packet with another IP length, and a checksum that fits it.
fn claiming(mut packet: Vec<u8>, length: u16) -> Vec<u8> {
    let at = if packet[0] >> 4 == 4 { 2 } else { 4 };
    packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
    packet
}

fn to_port(port: u16, payload: &[u8]) -> Vec<u8> {
    frames::udp(Way::There, [40_000, port], payload)
}

/// An extension header of 8 bytes and so many further units of 8.
fn extension(next: u8, units: u8, rest: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next, units];
    header.extend(rest);
    header.resize(8 + usize::from(units) * 8, 0);
    header.extend(payload);
    header
}

/// Signalling of Mobility, HIP or Shim6 without anything behind it.
fn signalling(next: u8) -> Vec<u8> {
    extension(next, 4, &[1, 0x11], &[])
}

fn authentication(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next, 4, 0, 0];
    header.resize(24, 7);
    header.extend(payload);
    header
}

fn routing(next: u8, kind: u8, left: u8, addresses: &[[u8; 16]], payload: &[u8]) -> Vec<u8> {
    let units = u8::try_from(addresses.len() * 2).expect("a few addresses");
    let last = u8::try_from(addresses.len().saturating_sub(1)).expect("a few addresses");
    let mut rest = vec![kind, left, if kind == 4 { last } else { 0 }, 0, 0, 0];
    rest.extend(addresses.concat());
    extension(next, units, &rest, payload)
}

// === kinds ===

fn lengths_that_lie() -> Vec<Vec<u8>> {
    let mut long_datagram = datagram(b"twenty bytes of data");
    long_datagram[4..6].copy_from_slice(&500_u16.to_be_bytes());
    let mut short_datagram = datagram(b"twenty bytes of data");
    short_datagram[4..6].copy_from_slice(&4_u16.to_be_bytes());
    let mut inner = v4(UDP, &datagram(b"inside"));
    inner = claiming(inner, 1_000);
    vec![
        on(&claiming(v4(UDP, &datagram(b"x")), 5_000)),
        on(&claiming(v4(TCP, &segment()), 65_535)),
        on(&claiming(v4(TCP, &segment()), 45)),
        on(&claiming(v6(TCP, &segment6()), 5_000)),
        on(&claiming(v6(UDP, &datagram6(b"x")), 65_535)),
        on(&v4(UDP, &long_datagram)),
        on(&v4(UDP, &short_datagram)),
        on(&claiming(v4(ICMP, &behind(&frames::ping(1))), 400)),
        on(&claiming(v4(47, &[0; 8]), 400)),
        frames::on_vlans(&[5], &claiming(v4(UDP, &datagram(b"x")), 300)),
        on(&v4(4, &inner)),
    ]
}

fn without_length() -> Vec<Vec<u8>> {
    let options = |payload: &[u8]| extension(TCP, 0, &[1, 4, 0, 0, 0, 0], payload);
    let jumbo = |length: u32, payload: &[u8]| {
        extension(TCP, 0, &[&[0xc2, 4], &length.to_be_bytes()[..]].concat(), payload)
    };
    let long = vec![7; 66_000];
    let big = behind(&frames::tcp6(Way::There, Segment { payload: &[], ..SEGMENT }));
    let big = [big, long].concat();
    let length = u32::try_from(big.len() + 8).expect("a frame is short");
    let unsized6 = |next, payload: &[u8]| {
        let mut packet = v6(next, &[]);
        packet.extend(payload);
        on(&packet)
    };
    vec![
        on(&claiming(v4(TCP, &segment()), 0)),
        on(&claiming(v4(UDP, &datagram(b"x")), 0)),
        on(&claiming(v6(TCP, &segment6()), 0)),
        on(&claiming(v6(UDP, &datagram6(b"x")), 0)),
        on(&claiming(v6(0, &options(&segment6())), 0)),
        frames::on_vlans(&[9], &claiming(v6(TCP, &segment6()), 0)),
        unsized6(TCP, &big),
        unsized6(0, &jumbo(length, &big)),
        on(&v6(NOTHING, &[])),
    ]
}

fn behind_ipv4() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for protocol in [0, 43, DESTINATION_OPTIONS] {
        frames.push(on(&v4(protocol, &extension(TCP, 0, &[1, 4], &segment()))));
        frames.push(on(&v4(protocol, &extension(UDP, 0, &[1, 4], &datagram(b"x")))));
        frames.push(on(&v4(protocol, &extension(4, 0, &[1, 4], &v4(UDP, &datagram(b"x"))))));
    }
    frames.push(on(&v4(44, &frames::fragment_header(UDP, 0, false, &datagram(b"x")))));
    frames.push(on(&v4(44, &frames::fragment_header(UDP, 64, true, &[7; 64]))));
    frames.push(on(&v4(51, &authentication(TCP, &segment()))));
    frames.push(on(&v4(51, &authentication(4, &v4(UDP, &datagram(b"x"))))));
    frames.push(on(&v4(139, &signalling(NOTHING))));
    frames
}

fn extensions() -> Vec<Vec<u8>> {
    let part = |offset, more, payload: &[u8]| {
        frames::fragment_header(DESTINATION_OPTIONS, offset, more, payload)
    };
    let options = frames::padding_options(UDP, &datagram6(b"behind options"));
    vec![
        on(&v6(51, &authentication(TCP, &segment6()))),
        on(&v6(51, &authentication(UDP, &datagram6(b"x")))),
        on(&v6(51, &authentication(41, &v6(UDP, &datagram6(b"x"))))),
        on(&v6(0, &frames::padding_options(51, &authentication(TCP, &segment6())))),
        on(&v6(51, &authentication(60, &extension(TCP, 3, &[1, 28], &segment6())))),
        on(&v6(140, &extension(TCP, 1, &[0x80, 0], &segment6()))),
        on(&v6(139, &signalling(NOTHING))),
        on(&v6(135, &signalling(NOTHING))),
        on(&v6(44, &part(0, true, &options))),
        on(&v6(44, &part(8, false, &options))),
        on(&v6(0, &frames::padding_options(44, &part(0, false, &options)))),
        on(&v6(60, &extension(NOTHING, 0, &[1, 4], &[]))),
        on(&v6(0, &extension(ICMPV6, 0, &[5, 2], &behind(&frames::ping6(1))))),
    ]
}

fn routing_headers() -> Vec<Vec<u8>> {
    let datagram = datagram6(b"x");
    let mut all = vec![
        on(&v6(43, &routing(UDP, 4, 1, &[FINAL6, CLIENT6], &datagram))),
        on(&v6(43, &routing(UDP, 0, 2, &[CLIENT6, CLIENT6, FINAL6], &datagram))),
        on(&v6(43, &routing(43, 2, 1, &[FINAL6], &routing(TCP, 4, 0, &[CLIENT6], &segment6())))),
        on(&v6(43, &routing(43, 4, 1, &[CLIENT6], &routing(TCP, 4, 1, &[FINAL6], &segment6())))),
        on(&v4(41, &v6(43, &routing(UDP, 4, 1, &[FINAL6, CLIENT6], &datagram)))),
    ];
    // More segments left than there are can't be; tshark verifies checksums as if they could.
    for (kind, left) in [(0, 0), (0, 1), (2, 0), (2, 1), (3, 0), (4, 0), (4, 1)] {
        all.push(on(&v6(43, &routing(UDP, kind, left, &[FINAL6], &datagram))));
    }
    all
}

fn vlans() -> Vec<Vec<u8>> {
    let packet = v4(UDP, &datagram(b"x"));
    let tags: [&[u16]; 7] =
        [&[0], &[0, 5], &[5, 0], &[0, 0], &[0xe000], &[0x6005, 0xe000], &[0, 5, 6]];
    let mut all: Vec<_> = tags.iter().map(|tags| frames::on_vlans(tags, &packet)).collect();
    let service = [&[0, 0, 0x81, 0, 0, 7, 8, 0], packet.as_slice()].concat();
    all.push(frames::ethernet(0x88a8, &service));
    all
}

fn quoted() -> Vec<Vec<u8>> {
    let message = |kind: u8, rest: &[u8]| [&[kind, 0, 0, 0], rest].concat();
    let packet = v6(UDP, &datagram6(b"about"));
    let option = |kind: u8, bytes: &[u8]| {
        let units = u8::try_from((8 + bytes.len()).div_ceil(8)).expect("short");
        extension(kind, units - 1, &[&[0; 6], bytes].concat(), &[])
    };
    let redirect = [&[0; 4][..], &FINAL6, &CLIENT6, &option(4, &packet)].concat();
    let with_target =
        [&[0; 4][..], &FINAL6, &CLIENT6, &extension(2, 0, &[2; 6], &[]), &option(4, &packet)]
            .concat();
    let lying = claiming(v4(UDP, &datagram(b"about")), 1_400);
    vec![
        on(&v6(ICMPV6, &message(137, &redirect))),
        on(&v6(ICMPV6, &message(137, &with_target))),
        on(&v6(ICMPV6, &message(137, &redirect[..36]))),
        on(&v6(ICMPV6, &message(1, &[&[0; 4], packet.as_slice()].concat()))),
        on(&frames::port_unreachable(&lying)),
        on(&frames::port_unreachable(&v4(60, &extension(TCP, 0, &[1, 4], &segment())))),
        on(&v4(ICMP, &message(11, &[&[0; 4], v4(UDP, &datagram(b"x")).as_slice()].concat()))),
    ]
}

/// Samples are reports about packets that went elsewhere.
fn reported() -> Vec<Vec<u8>> {
    let sampled = on(&v4(TCP, &segment()));
    let word = |number: usize| u32::try_from(number).expect("short").to_be_bytes();
    let record = |sampled: &[u8]| {
        let padded = sampled.len().next_multiple_of(4);
        let mut record = [word(1), word(16 + padded), word(1), word(1_500), word(4)].concat();
        record.extend(word(sampled.len()));
        record.extend(sampled);
        record.resize(24 + padded, 0);
        record
    };
    let sample = |record: &[u8]| {
        let head = [1, 0, 256, 1_000, 0, 1, 2, 1].map(word).concat();
        [word(1).to_vec(), word(head.len() + record.len()).to_vec(), head, record.to_vec()].concat()
    };
    let report = |samples: usize| {
        let mut report = [word(5), word(1)].concat();
        report.extend([192, 0, 2, 1]);
        report.extend([0, 1, 5_000, samples].map(word).concat());
        (0..samples).for_each(|_| report.extend(sample(&record(&sampled))));
        on(&to_port(6_343, &report))
    };
    vec![report(1), report(2), report(3)]
}

fn tunnels() -> Vec<Vec<u8>> {
    let inner = on(&v4(UDP, &datagram(b"inside")));
    let lying = on(&claiming(v4(UDP, &datagram(b"inside")), 900));
    let network = |frame: &[u8]| [&[8, 0, 0, 0, 0, 0, 9, 0], frame].concat();
    let geneve = |frame: &[u8]| [&[0, 0, 0x65, 0x58, 0, 0, 9, 0], frame].concat();
    vec![
        on(&to_port(4_789, &network(&inner))),
        on(&to_port(4_789, &network(&lying))),
        on(&to_port(4_789, &network(&frames::on_vlans(&[0, 7], &v4(TCP, &segment()))))),
        on(&to_port(6_081, &geneve(&inner))),
        on(&v4(47, &[&[0x20, 0, 0x65, 0x58, 0, 0, 0, 7], inner.as_slice()].concat())),
        on(&v4(41, &v6(51, &authentication(TCP, &segment6())))),
        on(&v4(4, &v4(60, &extension(TCP, 0, &[1, 4], &segment())))),
        on(&to_port(
            2_152,
            &[&[0x30, 255, 0, 48, 0, 0, 0, 5], v4(UDP, &datagram(b"x")).as_slice()].concat(),
        )),
        on(&to_port(5_000, &v4(UDP, &datagram(b"no tunnel")))),
    ]
}

/// Right and wrong ones, and those that are not there.
fn checksums() -> Vec<Vec<u8>> {
    let sound = [
        frames::tcp(Way::There, SEGMENT),
        frames::tcp6(Way::There, SEGMENT),
        frames::udp(Way::There, [40_000, 9_000], b"odd"),
        frames::udp6(Way::There, [40_000, 9_000], b"odd"),
        frames::ping(1),
        frames::ping6(1),
        frames::sctp([2_905, 2_906]),
    ];
    let mut all = Vec::new();
    for packet in &sound {
        all.push(on(packet));
        let mut changed = packet.clone();
        *changed.last_mut().expect("a packet has bytes") ^= 1;
        all.push(on(&changed));
    }
    let mut wrong_header = sound[0].clone();
    wrong_header[8] ^= 1;
    all.push(on(&wrong_header));
    for packet in &sound[2..4] {
        let mut without = packet.clone();
        let at = packet.len() - 5;
        without[at..at + 2].fill(0);
        all.push(on(&without));
    }
    all
}

fn broken_headers() -> Vec<Vec<u8>> {
    let with_offset = |words: u8| {
        let mut segment = segment();
        segment[12] = words << 4;
        on(&v4(TCP, &segment))
    };
    vec![
        with_offset(3),
        with_offset(15),
        on(&v4(TCP, &segment()[..10])),
        on(&v4(TCP, &[])),
        on(&v4(UDP, &datagram(b"x")[..6])),
        on(&v4(UDP, &[])),
        on(&v4(ICMP, &[8])),
        on(&v6(60, &[TCP, 200, 0, 0, 0, 0, 0, 0])),
        // An application's message that is wrong is no damage.
        on(&to_port(53, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x0fabc")),
        on(&to_port(161, b"\x30\x82\xff\xff\x02\x01")),
    ]
}

/// Cut within and behind their headers.
fn cut() -> Vec<Framed> {
    let whole = [
        on(&v4(TCP, &segment())),
        on(&v4(UDP, &datagram(b"some payload"))),
        on(&frames::ping(1)),
        on(&frames::ping6(1)),
        on(&v6(44, &frames::fragment_header(UDP, 0, true, &datagram6(b"first")))),
        on(&v6(44, &frames::fragment_header(UDP, 64, false, b"and last"))),
        on(&v6(51, &authentication(TCP, &segment6()))),
        on(&to_port(53, &[1; 200])),
    ];
    let cuts = |bytes: &Vec<u8>| {
        let length = bytes.len();
        (0..length).map(|end| Framed { bytes: bytes[..end].to_vec(), length }).collect::<Vec<_>>()
    };
    whole.iter().flat_map(cuts).collect()
}

/// Several packets in one frame of IEEE 802.11.
fn aggregates() -> Vec<Vec<u8>> {
    let mut header = vec![0x88, 1];
    header.resize(24, 2);
    header[22..].fill(0);
    header.extend([0x80, 0]);
    let part = |kind: [u8; 2], packet: &[u8]| {
        let mut payload = vec![0xaa, 0xaa, 3, 0, 0, 0, kind[0], kind[1]];
        payload.extend(packet);
        let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
        [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], &length[..], &payload].concat()
    };
    let aggregate = |parts: &[Vec<u8>]| {
        let mut frame = header.clone();
        for (at, part) in parts.iter().enumerate() {
            frame.extend(part);
            if at + 1 < parts.len() {
                frame.resize(26 + (frame.len() - 26).next_multiple_of(4), 0);
            }
        }
        frame
    };
    let udp = part([8, 0], &v4(UDP, &datagram(b"one")));
    let tcp = part([8, 0], &v4(TCP, &segment()));
    let six = part([0x86, 0xdd], &v6(UDP, &datagram6(b"six")));
    let arp = part([8, 6], &frames::arp()[14..]);
    let tunnel = part([8, 0], &v4(4, &v4(UDP, &datagram(b"inside"))));
    vec![
        aggregate(std::slice::from_ref(&udp)),
        aggregate(&[udp.clone(), tcp.clone()]),
        aggregate(&[tcp.clone(), six.clone(), udp.clone()]),
        aggregate(&[arp.clone(), udp.clone()]),
        aggregate(&[udp.clone(), arp, six]),
        aggregate(&[tunnel, tcp]),
    ]
}

fn cooked() -> Vec<Vec<u8>> {
    let on_cooked = |packet: &[u8]| {
        let kind: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
        [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], &kind[..], packet].concat()
    };
    vec![
        on_cooked(&v4(TCP, &segment())),
        on_cooked(&claiming(v4(UDP, &datagram(b"x")), 5_000)),
        on_cooked(&claiming(v6(TCP, &segment6()), 0)),
    ]
}

/// Ethernet behind another header has addresses too.
fn behind_ppi() -> Vec<Vec<u8>> {
    let behind = |frame: Vec<u8>| [&[0, 0, 8, 0, 1, 0, 0, 0], frame.as_slice()].concat();
    vec![
        behind(on(&v4(TCP, &segment()))),
        behind(frames::on_vlans(&[3], &v4(UDP, &datagram(b"x")))),
        behind(on(&claiming(v4(UDP, &datagram(b"x")), 5_000))),
    ]
}

/// Data frames of a mesh of IEEE 802.11.
fn mesh() -> Vec<Vec<u8>> {
    let frame = |distribution: u8, addresses: u8, packet: &[u8]| {
        let mut frame = vec![0x88, distribution];
        frame.resize(if distribution == 3 { 30 } else { 24 }, 2);
        frame[22..24].fill(0);
        frame.extend([0, 1, addresses, 31, 1, 0, 0, 0]);
        frame.resize(frame.len() + usize::from(addresses) * 6, 2);
        let kind: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
        frame.extend([0xaa, 0xaa, 3, 0, 0, 0, kind[0], kind[1]]);
        [frame.as_slice(), packet].concat()
    };
    vec![
        frame(3, 0, &v4(TCP, &segment())),
        frame(3, 2, &v6(UDP, &datagram6(b"x"))),
        frame(2, 0, &v4(UDP, &datagram(b"x"))),
        frame(2, 1, &v4(UDP, &datagram(b"x"))),
    ]
}

/// Packets that a rule of the kernel's packet filter logs, with their family.
fn logged() -> Vec<Vec<u8>> {
    let log = |packet: &[u8]| {
        let family = if packet[0] >> 4 == 6 { 10 } else { 2 };
        let length = u16::try_from(4 + packet.len()).expect("short").to_le_bytes();
        let prefix = [6, 0, 10, 0, b'x', 0, 0, 0];
        [&[family, 0, 0, 5], &prefix[..], &length, &[9, 0], packet].concat()
    };
    let about = |packet: &[u8]| v6(ICMPV6, &[&[1, 4, 0, 0, 0, 0, 0, 0], packet].concat());
    vec![
        log(&v4(TCP, &segment())),
        log(&v4(41, &v6(UDP, &datagram6(b"x")))),
        log(&v6(TCP, &segment6())),
        log(&v6(4, &v4(UDP, &datagram(b"x")))),
        log(&v6(4, &v4(41, &v6(UDP, &datagram6(b"x"))))),
        log(&about(&v6(UDP, &datagram6(b"x")))),
    ]
}
