//! IP, its extensions, and the transport headers.

use super::{build::*, header, packet};
use crate::record::{
    Checksum, Fragment, Icmp, Layer4, MacAddress, Ports, Tcp, TcpFlags, Timestamp, Transport,
};

fn ports(source: u16, destination: u16) -> Ports {
    Ports { source, destination }
}

fn segment(payload_bytes: u32) -> Layer4 {
    Layer4::Tcp(Tcp {
        ports: ports(40_000, 443),
        flags: TcpFlags(TcpFlags::PSH | TcpFlags::ACK),
        sequence: 1000,
        acknowledgement: 2000,
        window: Some(502),
        payload_bytes,
    })
}

#[test]
fn every_field_of_a_packet_is_filled() {
    let bytes = on_ethernet(&ipv4(6, &tcp(Over::V4, &[], b"hello")));
    let packet = packet(1, &bytes);
    assert_eq!((packet.time, packet.epoch, packet.number), (Timestamp::from_nanos(7), 3, 9));
    assert_eq!((packet.frame_bytes, packet.captured_bytes), (59, 59));
    assert_eq!(packet.source_mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
    assert_eq!(packet.destination_mac, Some(MacAddress([2, 0, 0, 0, 0, 2])));
    assert_eq!((packet.vlans.outer(), packet.damaged), (None, false));
    assert!(packet.inner.is_empty() && packet.extra.is_empty() && packet.protocol.is_none());
    let outer = packet.outer;
    assert_eq!((outer.source, outer.destination), (SOURCE.into(), DESTINATION.into()));
    assert_eq!((outer.transport, outer.ip_bytes, outer.fragment), (Transport::TCP, 45, None));
    assert_eq!(outer.layer4, segment(5));
    assert_eq!((outer.checksums.ip, outer.checksums.transport), (Checksum::Good, Checksum::Good));
}

#[test]
fn each_transport_is_read_over_both_versions_of_ip() {
    let icmp_of = |kind, code| Layer4::Icmp(Icmp { kind, code });
    let cases = [
        (ipv4(6, &tcp(Over::V4, &[2, 4, 5, 180], b"abc")), 6, segment(3)),
        (ipv6(6, &tcp(Over::V6, &[2, 4, 5, 180], b"abc")), 6, segment(3)),
        (ipv4(17, &udp(Over::V4, b"odd")), 17, Layer4::Udp(ports(40_000, 514), 3)),
        (ipv6(17, &udp(Over::V6, b"odd")), 17, Layer4::Udp(ports(40_000, 514), 3)),
        (ipv4(132, &sctp()), 132, Layer4::Sctp(ports(2905, 2906))),
        (ipv6(132, &sctp()), 132, Layer4::Sctp(ports(2905, 2906))),
        (ipv4(1, &icmp(8, 0, b"\0\x01\0\x01ping")), 1, icmp_of(8, 0)),
        (ipv6(58, &icmp6(128, 0, b"\0\x01\0\x01ping")), 58, icmp_of(128, 0)),
        (ipv4_with(6, &[148, 4, 0, 0], 0, &tcp(Over::V4, &[], b"abc")), 6, segment(3)),
    ];
    for (bytes, transport, layer4) in cases {
        let header = header(&bytes);
        assert_eq!((header.transport.0, header.layer4), (transport, layer4), "{bytes:02x?}");
        assert_eq!(header.checksums.transport, Checksum::Good, "{bytes:02x?}");
        assert_eq!(header.ip_bytes, length32(bytes.len()));
    }
}

#[test]
fn a_protocol_without_ports_is_opaque() {
    for (protocol, payload) in [(50, sctp()), (136, udp(Over::V4, b"lite")), (253, Vec::new())] {
        let header = header(&ipv4(protocol, &payload));
        assert_eq!((header.transport.0, header.layer4), (protocol, Layer4::Opaque));
    }
}

#[test]
fn behind_ipv4_the_numbers_of_extension_headers_are_unknown_protocols() {
    for number in [0, 43, 44, 60, 135, 139, 140] {
        let header = header(&ipv4(number, &extension(6, 1, &tcp(Over::V4, &[], b""))));
        assert_eq!((header.transport.0, header.layer4), (number, Layer4::Opaque));
        assert_eq!(header.fragment, None);
    }
}

#[test]
fn every_extension_header_is_walked() {
    let inside = tcp(Over::V6, &[], b"abc");
    let authentication = [&[6, 4, 0, 0], [0; 20].as_slice(), &inside].concat();
    let cases = [
        ("hop-by-hop", 0, extension(6, 1, &inside)),
        ("destination", 60, extension(6, 2, &inside)),
        ("mobility", 135, extension(6, 1, &inside)),
        ("host identity", 139, extension(6, 3, &inside)),
        ("shim6", 140, extension(6, 1, &inside)),
        ("authentication", 51, authentication),
        ("routing, done", 43, routing(6, 0, 0, &[FINAL6], &inside)),
        ("atomic fragment", 44, part6(6, 0, false, &inside)),
        ("three", 0, extension(60, 1, &extension(43, 1, &routing(6, 4, 0, &[], &inside)))),
    ];
    for (name, next, payload) in cases {
        let bytes = ipv6(next, &payload);
        let header = header(&bytes);
        assert_eq!((header.transport, header.layer4), (Transport::TCP, segment(3)), "{name}");
        assert_eq!(header.checksums.transport, Checksum::Good, "{name}");
        assert_eq!(
            (header.ip_bytes, header.destination),
            (length32(bytes.len()), DESTINATION6.into())
        );
        assert_eq!(header.fragment.is_some(), next == 44, "{name}");
    }
}

#[test]
fn signalling_without_a_payload_keeps_its_own_number() {
    for number in [135, 139, 140] {
        let header = header(&ipv6(number, &extension(59, 2, &[])));
        assert_eq!((header.transport.0, header.layer4), (number, Layer4::Opaque));
    }
    assert_eq!(header(&ipv6(59, &[])).transport.0, 59);
    assert_eq!(header(&ipv6(60, &extension(59, 1, &[]))).transport.0, 59);
}

#[test]
fn with_a_routing_header_the_destination_is_the_final_one() {
    let inside = udp(Over::V6To(FINAL6), b"");
    let cases = [
        ("type 0", routing(17, 0, 1, &[FINAL6], &inside), true),
        ("type 0, two hops", routing(17, 0, 2, &[DESTINATION6, FINAL6], &inside), true),
        ("mobile", routing(17, 2, 1, &[FINAL6], &inside), true),
        ("segments", routing(17, 4, 1, &[FINAL6, DESTINATION6], &inside), true),
        ("unknown type", routing(17, 3, 1, &[FINAL6], &inside), false),
        ("more left than there are", routing(17, 0, 2, &[FINAL6], &inside), false),
    ];
    for (name, payload, is_final) in cases {
        let header = header(&ipv6(43, &payload));
        let expected = if is_final { FINAL6 } else { DESTINATION6 };
        assert_eq!(header.destination, std::net::IpAddr::from(expected), "{name}");
        assert_eq!(header.layer4.ports(), Some(ports(40_000, 514)), "{name}");
        assert_eq!(header.checksums.transport == Checksum::Good, is_final, "{name}");
    }
}

#[test]
fn with_a_source_route_the_destination_is_the_final_one() {
    let route = |kind, next| [1, kind, 11, next, 10, 0, 0, 1, 10, 0, 0, 2];
    let cases = [(131, 4, [10, 0, 0, 2]), (137, 8, [10, 0, 0, 2]), (131, 12, DESTINATION)];
    for (kind, next, expected) in cases {
        let header = header(&ipv4_with(17, &route(kind, next), 0, &udp(Over::V4, b"")));
        assert_eq!(header.destination, std::net::IpAddr::from(expected), "{kind} {next}");
    }
}

#[test]
fn a_fragment_says_where_it_belongs_and_only_the_first_has_ports() {
    let datagram = udp(Over::V4, &[7; 100]);
    let first = header(&ipv4_with(17, &[], 0x2000, &datagram[..64]));
    let place = |id, offset, more| Some(Fragment { id, offset, more });
    assert_eq!(first.fragment, place(0x1234, 0, true));
    assert_eq!(first.layer4, Layer4::Udp(ports(40_000, 514), 100));
    assert_eq!(first.checksums.transport, Checksum::Unverified);
    let last = header(&ipv4_with(17, &[], 8, &datagram[64..]));
    assert_eq!((last.fragment, last.layer4), (place(0x1234, 64, false), Layer4::Opaque));
    let first =
        header(&ipv6(60, &extension(44, 1, &part6(6, 0, true, &tcp(Over::V6, &[], b"12")))));
    assert_eq!((first.fragment, first.layer4), (place(0x4321, 0, true), segment(2)));
    let last = header(&ipv6(44, &part6(60, 64, false, &tcp(Over::V6, &[], b"12"))));
    assert_eq!((last.fragment, last.layer4), (place(0x4321, 64, false), Layer4::Opaque));
    assert_eq!(last.transport.0, 60);
    let echo = header(&ipv4_with(1, &[], 8, &icmp(0, 0, b"no message at all")));
    assert_eq!(echo.layer4, Layer4::Opaque);
}

#[test]
fn of_a_segment_that_was_cut_only_what_was_captured_is_known() {
    let bytes = on_ethernet(&ipv4(6, &tcp(Over::V4, &[], b"hello")));
    for captured in 34..bytes.len() {
        let mut cut = frame(1, &bytes[..captured]);
        cut.length = length32(bytes.len());
        let packet = super::read(&cut);
        let expected = match captured - 34 {
            0..4 => Layer4::Opaque,
            4..14 => Layer4::TcpPorts(ports(40_000, 443)),
            14 | 15 => match segment(5) {
                Layer4::Tcp(tcp) => Layer4::Tcp(Tcp { window: None, ..tcp }),
                other => other,
            },
            _ => segment(5),
        };
        assert_eq!(packet.outer.layer4, expected, "{captured} bytes");
        assert_eq!(packet.outer.checksums.transport, Checksum::Unverified);
        assert_eq!(packet.damaged, captured < 50, "{captured} bytes");
    }
}

#[test]
fn a_wrong_checksum_is_found_wherever_there_is_one() {
    let cases = [
        (ipv4(6, &tcp(Over::V4, &[], b"x")), 20),
        (ipv6(6, &tcp(Over::V6, &[], b"x")), 40),
        (ipv4(17, &udp(Over::V4, b"x")), 20),
        (ipv4(1, &icmp(8, 0, b"1234")), 20),
        (ipv6(58, &icmp6(128, 0, b"1234")), 40),
        (ipv4(132, &sctp()), 20),
    ];
    for (mut bytes, at) in cases {
        *bytes.last_mut().unwrap() ^= 1;
        let header = header(&bytes);
        assert_eq!(header.checksums.transport, Checksum::Bad, "{at} {:?}", header.transport);
        assert_ne!(header.checksums.ip, Checksum::Bad);
    }
    let mut bytes = ipv4(6, &tcp(Over::V4, &[], b"x"));
    bytes[8] ^= 1;
    assert_eq!(header(&bytes).checksums.ip, Checksum::Bad);
    assert_eq!(header(&bytes).checksums.transport, Checksum::Good);
}

#[test]
fn a_datagram_without_a_checksum_is_wrong_over_ipv6_only() {
    for (version, expected) in [(4, Checksum::Unverified), (6, Checksum::Bad)] {
        let mut datagram = udp(Over::V4, b"x");
        datagram[6..8].fill(0);
        let bytes = if version == 4 { ipv4(17, &datagram) } else { ipv6(17, &datagram) };
        assert_eq!(header(&bytes).checksums.transport, expected);
    }
}
