//! Packets within packets.

use super::{build::*, packet};
use crate::record::{Checksum, Icmp, Layer4, Packet, Transport};

fn inside() -> Vec<u8> {
    ipv4(6, &tcp(Over::V4, &[], b"inside"))
}

fn inside6() -> Vec<u8> {
    ipv6(6, &tcp(Over::V6, &[], b"inside"))
}

fn on(bytes: &[u8]) -> Packet {
    packet(1, &on_ethernet(bytes))
}

fn over_udp(ports: [u16; 2], front: &[u8], payload: &[u8]) -> Vec<u8> {
    ipv4(17, &udp_between(Over::V4, ports, &[front, payload].concat()))
}

#[test]
fn every_tunnel_shows_what_it_carries() {
    let (v4, v6, whole) = (inside(), inside6(), on_ethernet(&inside()));
    let tagged = ethernet(0x8100, &typed(9, &typed_ip(&v4)));
    let ppp = typed(0x0021, &v4);
    let authentication = [&[4, 4, 0, 0], [0; 20].as_slice(), &v4].concat();
    let cases = [
        ("IPIP", ipv4(4, &v4)),
        ("6in4", ipv4(41, &v6)),
        ("4in6", ipv6(4, &v4)),
        ("authenticated", ipv4(51, &authentication)),
        ("GRE", ipv4(47, &gre(0, 0x0800, &[], &v4))),
        ("GRE with key and number", ipv4(47, &gre(0x3000, 0x86dd, &[0; 8], &v6))),
        ("GRE with checksum", ipv4(47, &gre(0x8000, 0x0800, &[0; 4], &v4))),
        (
            "GRE with routes",
            ipv4(47, &gre(0x4000, 0x0800, &[0, 0, 0, 0, 8, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0], &v4)),
        ),
        ("GRE, bridged", ipv4(47, &gre(0x2000, 0x6558, &[0; 4], &tagged))),
        ("GRE, MPLS", ipv4(47, &gre(0, 0x8847, &[0, 1, 1, 64], &v4))),
        ("PPTP", ipv4(47, &gre(0x3081, 0x880b, &[0; 12], &ppp))),
        ("ERSPAN I", ipv4(47, &gre(0, 0x88be, &[], &whole))),
        ("ERSPAN II", ipv4(47, &gre(0x1000, 0x88be, &[0; 12], &whole))),
        ("ERSPAN III", ipv4(47, &gre(0x1000, 0x22eb, &[0; 16], &whole))),
        ("WCCP", ipv4(47, &gre(0, 0x883e, &[0; 4], &v4))),
        ("EtherIP", ipv4(97, &[&[0x30, 0], whole.as_slice()].concat())),
        ("MPLS in IP", ipv4(137, &[&[0, 1, 1, 64], v4.as_slice()].concat())),
        ("Ethernet over segments", ipv6(143, &whole)),
        ("VXLAN", over_udp([50_000, 4789], &[8, 0, 0, 0, 0, 0, 1, 0], &whole)),
        ("VXLAN of Linux", over_udp([50_000, 8472], &[8, 0, 0, 0, 0, 0, 1, 0], &tagged)),
        ("VXLAN-GPE", over_udp([50_000, 4790], &[12, 0, 0, 1, 0, 0, 1, 0], &v4)),
        ("GENEVE", over_udp([50_000, 6081], &[1, 0, 0x65, 0x58, 0, 0, 1, 0, 9, 9, 9, 9], &whole)),
        ("GTP-U", over_udp([2152, 2152], &[0x30, 255, 0, 0, 0, 0, 0, 1], &v4)),
        (
            "GTP-U, extended",
            over_udp([2152, 2152], &[0x34, 255, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 1, 0], &v4),
        ),
        ("Teredo", over_udp([50_000, 3544], &[0, 0, 1, 2, 3, 4, 5, 6], &v6)),
        (
            "AYIYA",
            over_udp([50_000, 5072], &[&[0x42, 0x52, 0x11, 41], [0; 40].as_slice()].concat(), &v6),
        ),
        ("GRE in UDP", over_udp([50_000, 4754], &[0, 0, 8, 0], &v4)),
        ("MPLS in UDP", over_udp([50_000, 6635], &[0, 1, 1, 64], &v4)),
        ("L2TP", over_udp([1701, 1701], &[0x40, 2, 0, 0, 0, 1, 0, 2, 0xff, 3], &ppp)),
        ("LISP", over_udp([50_000, 4341], &[0x80, 0, 0, 1, 0, 0, 0, 1], &v4)),
    ];
    for (name, bytes) in cases {
        let packet = on(&bytes);
        assert_eq!(packet.outer.ip_bytes, length32(bytes.len()), "{name}");
        let [inner] = packet.inner.as_slice() else { panic!("{name}: {packet:?}") };
        let expected = if inner.source.is_ipv4() { v4.len() } else { v6.len() };
        assert_eq!(
            (inner.ip_bytes as usize, inner.transport),
            (expected, Transport::TCP),
            "{name}"
        );
        assert_eq!(inner.checksums.transport, Checksum::Good, "{name}");
        assert_eq!((packet.vlans.outer(), packet.damaged), (None, false), "{name}");
    }
}

#[test]
fn what_only_looks_like_a_tunnel_shows_nothing() {
    let whole = on_ethernet(&inside());
    let samples = [&[0, 0, 0, 5], whole.as_slice()].concat();
    for (name, bytes) in [
        ("VXLAN without its flag", over_udp([50_000, 4789], &[0; 8], &whole)),
        ("GTP echo", over_udp([2152, 2152], &[0x32, 1, 0, 4, 0, 0, 0, 1], &inside())),
        ("L2TP control", over_udp([1701, 1701], &[0xc8, 2, 0, 12], &inside())),
        ("IPv6 on any port", over_udp([50_000, 50_001], &[], &inside6())),
        ("flow samples", over_udp([50_000, 6343], &[], &samples)),
        ("redirected header", ipv6(58, &icmp6(137, 0, &[&[0; 36], inside6().as_slice()].concat()))),
    ] {
        assert!(on(&bytes).inner.is_empty(), "{name}");
    }
}

#[test]
fn teredo_between_peers_shows_by_its_addresses() {
    let mut inside = inside6();
    inside[8..12].copy_from_slice(&[0x20, 1, 0, 0]);
    assert_eq!(on(&over_udp([50_000, 50_001], &[], &inside)).inner.len(), 1);
    assert!(on(&over_udp([50_000, 50_001], &[], &[inside, vec![0]].concat())).inner.is_empty());
}

#[test]
fn an_icmp_error_shows_the_header_it_quotes_with_its_own_length() {
    let quoted = ipv4(6, &tcp(Over::V4, &[], &[1; 1000]));
    let quoted6 = ipv6(17, &udp(Over::V6, &[1; 1000]));
    for kind in [3, 4, 5, 11, 12] {
        let packet = on(&ipv4(1, &icmp(kind, 1, &[&[0; 4], &quoted[..28]].concat())));
        assert_eq!(packet.outer.layer4, Layer4::Icmp(Icmp { kind, code: 1 }));
        let [inner] = packet.inner.as_slice() else { panic!("{packet:?}") };
        assert_eq!((inner.ip_bytes, packet.damaged), (1040, false));
        assert!(matches!(inner.layer4, Layer4::TcpPorts(ports) if ports.destination == 443));
    }
    for kind in 1..=4 {
        let packet = on(&ipv6(58, &icmp6(kind, 0, &[&[0; 4], &quoted6[..60]].concat())));
        let [inner] = packet.inner.as_slice() else { panic!("{packet:?}") };
        assert_eq!((inner.ip_bytes, packet.damaged), (1048, false));
        assert!(matches!(inner.layer4, Layer4::Udp(_, 1000)));
    }
    assert!(on(&ipv4(1, &icmp(0, 0, &[&[0; 4], &quoted[..28]].concat()))).inner.is_empty());
}

#[test]
fn the_first_fragment_of_a_tunnel_shows_the_whole_length_of_what_it_carries() {
    let datagram = udp_between(
        Over::V4,
        [2152, 2152],
        &[&[0x30, 255, 0, 0, 0, 0, 0, 1], inside().as_slice()].concat(),
    );
    let packet = on(&ipv4_with(17, &[], 0x2000, &datagram[..56]));
    assert_eq!(packet.inner[0].ip_bytes as usize, inside().len());
    assert_eq!(packet.outer.ip_bytes, 76);
    assert!(on(&ipv4_with(17, &[], 7, &datagram[56..])).inner.is_empty());
}

#[test]
fn tunnels_within_tunnels_are_followed_so_far() {
    let nested = |depth: usize| (0..depth).fold(inside(), |inner, _| ipv4(4, &inner));
    for (depth, shown) in [(1, 1), (8, 8), (9, 8), (50, 8)] {
        assert_eq!(on(&nested(depth)).inner.len(), shown);
    }
}

#[test]
fn a_redirect_over_ipv6_quotes_the_packet_it_is_about_among_its_options() {
    let quoted = ipv6(17, &udp(Over::V6, b"redirected"));
    let option = |kind: u8, bytes: &[u8]| {
        let mut option = [&[kind, 0, 0, 0, 0, 0, 0, 0], bytes].concat();
        option.resize(option.len().next_multiple_of(8), 0);
        option[1] = u8::try_from(option.len() / 8).unwrap();
        option
    };
    let redirect = |options: &[u8]| {
        let rest = [&[0; 4], &SOURCE6[..], &DESTINATION6, options].concat();
        packet(1, &on_ethernet(&ipv6(58, &icmp6(137, 0, &rest)))).inner
    };
    let target = option(2, &[]);
    let read = redirect(&[target.as_slice(), &option(4, &quoted)].concat());
    assert_eq!((read.len(), read[0].ip_bytes), (1, length32(quoted.len())));
    for options in [&[][..], &target, &[4, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0], &[4, 1]] {
        assert_eq!(redirect(options), [], "{options:?}");
    }
}
