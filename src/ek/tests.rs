//! Lines in, packets or reasons out.

use std::{fmt::Write, net::IpAddr};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::select, string::string_regex};

use super::{Line, Parser, fields::BASE};
use crate::metrics::Label;
use crate::record::{
    Checksum, Checksums, Fragment, Header, Icmp, Layer4, MacAddress, Names, Packet, Ports, Raw,
    Tcp, TcpFlags, Timestamp, Transport, Vlans,
};

const TCP: &str = r#"{"timestamp":"1700000000123","layers":{"frame_number":["2"],"frame_time_epoch":["1700000000.123456789"],"frame_len":["78"],"frame_cap_len":["70"],"frame_protocols":["eth:ethertype:vlan:ethertype:ip:tcp:http"],"eth_src":["02:00:00:00:00:01"],"eth_dst":["02:00:00:00:00:02"],"vlan_id":["7"],"ip_src":["10.1.2.3"],"ip_dst":["192.0.2.17"],"ip_proto":["6"],"ip_len":["60"],"ip_id":["0x321b"],"ip_flags_mf":["0"],"ip_frag_offset":["0"],"tcp_srcport":["36813"],"tcp_dstport":["80"],"tcp_flags":["0x0018"],"tcp_seq_raw":["1279124641"],"tcp_ack_raw":["4294967295"],"tcp_hdr_len":["20"],"tcp_len":["8"],"tcp_window_size_value":["64240"],"tcp_checksum_status":["1"]}}"#;

/// Fields of a line beside those every line has.
type Fields<'a> = &'a [(&'a str, &'a [&'a str])];

fn raw(line: impl Into<Bytes>) -> Raw {
    Raw {
        line: line.into(),
        epoch: 0,
        first: 0,
        origin: crate::record::ObservationPoint::default(),
    }
}

fn line(protocols: &str, fields: Fields<'_>) -> Raw {
    let mut text = format!(
        r#"{{"timestamp":"5","layers":{{"frame_number":["1"],"frame_time_epoch":["5.000000000"],"frame_len":["2000"],"frame_cap_len":["2000"],"frame_protocols":["{protocols}"]"#
    );
    for (name, values) in fields {
        write!(text, r#","{name}":{values:?}"#).unwrap();
    }
    raw(text + "}}")
}

fn packet(raw: &Raw) -> Packet {
    match Parser::new(&[]).parse(raw) {
        Ok(Line::Packet(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

fn reason(raw: &Raw) -> &'static str {
    match Parser::new(&[]).parse(raw) {
        Ok(Line::Packet(_) | Line::Packets(_)) => "packet",
        Ok(Line::NotIp(..)) => "not ip",
        Ok(Line::Index) => "index",
        Err(error) => error.reason().name(),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn header(source: &str, destination: &str, transport: u8, ip_bytes: u32, layer4: Layer4) -> Header {
    Header {
        marks: crate::record::Marks::default(),
        source: ip(source),
        destination: ip(destination),
        transport: Transport(transport),
        ip_bytes,
        tunnel: None,
        checksums: Checksums::default(),
        fragment: None,
        layer4,
    }
}

fn ports(source: u16, destination: u16) -> Ports {
    Ports { source, destination }
}

/// The fields of an unfragmented IPv4 header from 10.0.0.1 to 10.0.0.2, and those of another layer.
fn over_ipv4<'a>(proto: &'a [&'a str], rest: Fields<'a>) -> Vec<(&'a str, &'a [&'a str])> {
    let mut fields: Vec<(&str, &[&str])> = vec![
        ("ip_src", &["10.0.0.1"]),
        ("ip_dst", &["10.0.0.2"]),
        ("ip_proto", proto),
        ("ip_len", &["60"]),
    ];
    fields.extend_from_slice(rest);
    fields
}

#[test]
fn ipv6_that_the_reader_of_ipv4_passed_on_is_the_first_header() {
    let mut fields = vec![
        ("ipv6_src", &["2001:db8::1"][..]),
        ("ipv6_dst", &["2001:db8::2"]),
        ("ipv6_nxt", &["17"]),
        ("ipv6_plen", &["60"]),
    ];
    let alone = packet(&line("nflog:ip:ipv6", &fields));
    assert_eq!((alone.outer.source, alone.outer.transport), (ip("2001:db8::1"), Transport::UDP));
    fields[2].1 = &["4"];
    fields.extend([
        ("ip_src", &["10.0.0.1"][..]),
        ("ip_dst", &["10.0.0.2"]),
        ("ip_proto", &["17"]),
        ("ip_len", &["40"]),
    ]);
    let carrying = packet(&line("nflog:ip:ipv6:ip:udp", &fields));
    assert_eq!(carrying.outer.source, ip("2001:db8::1"));
    let inner: Vec<_> = carrying.inner.iter().map(|header| header.source).collect();
    assert_eq!(inner, [ip("10.0.0.1")]);
    // Here IPv4 is a header of its own.
    fields[2].1 = &["17"];
    fields[6].1 = &["41"];
    let carried = packet(&line("nflog:ip:ipv6", &fields));
    assert_eq!((carried.outer.source, carried.inner.len()), (ip("10.0.0.1"), 1));
}

#[test]
fn every_field_of_a_packet_is_filled() {
    let raw = Raw { epoch: 3, first: 50_000, ..raw(TCP) };
    let mut vlans = Vlans::default();
    vlans.push(7);
    let tcp = Tcp {
        ports: ports(36_813, 80),
        flags: TcpFlags(TcpFlags::PSH | TcpFlags::ACK),
        sequence: 1_279_124_641,
        acknowledgement: u32::MAX,
        window: Some(64_240),
        payload_bytes: 8,
    };
    let expected = Packet {
        time: Timestamp::from_nanos(1_700_000_000_123_456_789),
        epoch: 3,
        number: 50_002,
        part: 0,
        origin: crate::record::ObservationPoint::default(),
        frame_bytes: 78,
        captured_bytes: 70,
        source_mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
        destination_mac: Some(MacAddress([2, 0, 0, 0, 0, 2])),
        vlans,
        outer: Header {
            checksums: Checksums { transport: Checksum::Good, ..Checksums::default() },
            ..header("10.1.2.3", "192.0.2.17", 6, 60, Layer4::Tcp(tcp))
        },
        inner: Vec::new(),
        protocol: Some("http".into()),
        damaged: false,
        extra: Vec::new(),
        names: Names::default(),
    };
    assert_eq!(packet(&raw), expected);
}

fn assert_headers(cases: impl IntoIterator<Item = (&'static str, Raw, Vec<Header>)>) {
    for (what, raw, expected) in cases {
        let packet = packet(&raw);
        let headers: Vec<_> = std::iter::once(packet.outer).chain(packet.inner).collect();
        assert_eq!(headers, expected, "{what}");
    }
}

#[test]
fn values_go_to_the_header_they_were_read_from() {
    assert_headers([
        (
            "an ICMP error: the ports are the quoted header's",
            line(
                "eth:ethertype:ip:icmp:ip:udp:dns",
                &[
                    ("ip_src", &["10.0.0.1", "10.0.0.2"]),
                    ("ip_dst", &["10.0.0.2", "10.9.9.9"]),
                    ("ip_proto", &["1", "17"]),
                    ("ip_len", &["56", "32"]),
                    ("udp_srcport", &["30000"]),
                    ("udp_dstport", &["53"]),
                    ("udp_length", &["12"]),
                    ("icmp_type", &["3"]),
                    ("icmp_code", &["1"]),
                ],
            ),
            vec![
                header("10.0.0.1", "10.0.0.2", 1, 56, Layer4::Icmp(Icmp { kind: 3, code: 1 })),
                header("10.0.0.2", "10.9.9.9", 17, 32, Layer4::Udp(ports(30_000, 53), 4)),
            ],
        ),
        (
            "6in4: IPv4 outside, IPv6 inside",
            line(
                "eth:ethertype:ip:ipv6:sctp:data",
                &[
                    ("ip_src", &["10.0.0.1"]),
                    ("ip_dst", &["10.0.0.2"]),
                    ("ip_proto", &["41"]),
                    ("ip_len", &["80"]),
                    ("ipv6_src", &["fd00::1"]),
                    ("ipv6_dst", &["fd00::2"]),
                    ("ipv6_nxt", &["132"]),
                    ("ipv6_plen", &["20"]),
                    ("sctp_srcport", &["5"]),
                    ("sctp_dstport", &["6"]),
                ],
            ),
            vec![
                header("10.0.0.1", "10.0.0.2", 41, 80, Layer4::Opaque),
                header("fd00::1", "fd00::2", 132, 60, Layer4::Sctp(ports(5, 6))),
            ],
        ),
        (
            "UDP in Teredo in UDP in GTP",
            line(
                "eth:ethertype:ip:udp:gtp:ip:udp:teredo:ipv6:udp:data",
                &[
                    ("ip_src", &["10.0.0.1", "10.1.0.1"]),
                    ("ip_dst", &["10.0.0.2", "10.1.0.2"]),
                    ("ip_proto", &["17", "17"]),
                    ("ip_len", &["200", "160"]),
                    ("ipv6_src", &["fd00::1"]),
                    ("ipv6_dst", &["fd00::2"]),
                    ("ipv6_nxt", &["17"]),
                    ("ipv6_plen", &["90"]),
                    ("udp_srcport", &["2152", "3544", "7"]),
                    ("udp_dstport", &["2153", "3545", "8"]),
                    ("udp_length", &["180", "140", "90"]),
                ],
            ),
            vec![
                header("10.0.0.1", "10.0.0.2", 17, 200, Layer4::Udp(ports(2152, 2153), 172)),
                header("10.1.0.1", "10.1.0.2", 17, 160, Layer4::Udp(ports(3544, 3545), 132)),
                header("fd00::1", "fd00::2", 17, 130, Layer4::Udp(ports(7, 8), 82)),
            ],
        ),
    ]);
}

#[test]
fn the_transport_is_what_the_last_extension_header_announces() {
    assert_headers([
        (
            "extension headers: the transport is what comes after the last",
            line(
                "eth:ethertype:ipv6:ipv6.hopopts:ipv6.routing:ipv6.dstopts:icmpv6",
                &[
                    ("ipv6_src", &["fd00::1"]),
                    ("ipv6_dst", &["fd00::2"]),
                    ("ipv6_nxt", &["0"]),
                    ("ipv6_plen", &["64"]),
                    ("ipv6_hopopts_nxt", &["43"]),
                    ("ipv6_routing_nxt", &["60"]),
                    ("ipv6_dstopts_nxt", &["58"]),
                    ("icmpv6_type", &["128"]),
                    ("icmpv6_code", &["0"]),
                ],
            ),
            vec![header("fd00::1", "fd00::2", 58, 104, Layer4::Icmp(Icmp { kind: 128, code: 0 }))],
        ),
        (
            "an authentication header is the transport, whatever tshark finds behind it",
            line(
                "eth:ethertype:ip:ah:udp",
                &over_ipv4(&["51"], &[("udp_srcport", &["5"]), ("udp_dstport", &["6"])]),
            ),
            vec![header("10.0.0.1", "10.0.0.2", 51, 60, Layer4::Opaque)],
        ),
        (
            "a header cut behind its first port",
            line("eth:ethertype:ip:udp", &over_ipv4(&["17"], &[("udp_srcport", &["5"])])),
            vec![header("10.0.0.1", "10.0.0.2", 17, 60, Layer4::Opaque)],
        ),
    ]);
}

#[test]
fn the_first_fragment_has_ports_and_each_its_offset_in_bytes() {
    let fragment = |id, offset, more| Some(Fragment { id, offset, more });
    let ipv6 = [
        ("ipv6_src", &["fd00::1"] as &[_]),
        ("ipv6_dst", &["fd00::2"]),
        ("ipv6_nxt", &["44"]),
        ("ipv6_plen", &["1456"]),
        ("ipv6_fraghdr_nxt", &["17"]),
        ("ipv6_fraghdr_ident", &["0xdeadbeef"]),
    ];
    let with = |rest: Fields<'static>| [&ipv6, rest].concat();
    let udp: Fields<'_> = &[("udp_srcport", &["5"]), ("udp_dstport", &["6"])];
    let cases = [
        (
            line(
                "eth:ethertype:ip:udp:data",
                &over_ipv4(
                    &["17"],
                    &[&[("ip_id", &["0x1234"] as &[_]), ("ip_flags_mf", &["1"])], udp].concat(),
                ),
            ),
            fragment(0x1234, 0, true),
            Some(ports(5, 6)),
        ),
        (
            line(
                "eth:ethertype:ip:data",
                &over_ipv4(&["17"], &[("ip_id", &["0x1234"]), ("ip_frag_offset", &["185"])]),
            ),
            fragment(0x1234, 1480, false),
            None,
        ),
        (
            line(
                "eth:ethertype:ipv6:ipv6.fraghdr:udp",
                &with(&[
                    ("ipv6_fraghdr_more", &["1"]),
                    ("ipv6_fraghdr_offset", &["0"]),
                    ("udp_srcport", &["5"]),
                    ("udp_dstport", &["6"]),
                ]),
            ),
            fragment(0xdead_beef, 0, true),
            Some(ports(5, 6)),
        ),
        (
            line(
                "eth:ethertype:ipv6:ipv6.fraghdr:data",
                &with(&[("ipv6_fraghdr_more", &["True"]), ("ipv6_fraghdr_offset", &["8191"])]),
            ),
            fragment(0xdead_beef, 65_528, true),
            None,
        ),
    ];
    for (raw, fragment, ports) in cases {
        let outer = packet(&raw).outer;
        assert_eq!(outer.transport, Transport::UDP);
        assert_eq!((outer.fragment, outer.layer4.ports()), (fragment, ports));
    }
}

#[test]
fn an_ipv6_packet_without_a_length_has_the_frames_unless_nothing_follows() {
    let jumbo: Fields<'_> = &[("ipv6_opt_jumbo", &["70028"])];
    let cases = [("6", &[] as Fields<'_>, 1986), ("0", &[], 1986), ("59", &[], 40)];
    let long = ("0", jumbo, 1986);
    for (next, more, bytes) in cases.into_iter().chain([long]) {
        let fields: Fields<'_> = &[
            ("ipv6_src", &["fd00::1"]),
            ("ipv6_dst", &["fd00::2"]),
            ("ipv6_nxt", &[next]),
            ("ipv6_plen", &["0"]),
        ];
        let packet = packet(&line("eth:ethertype:ipv6", &[fields, more].concat()));
        assert_eq!(packet.outer.ip_bytes, bytes, "next header {next}");
        // Nothing of what it announces is there.
        assert_eq!(packet.damaged, next != "59", "next header {next}");
    }
}

#[test]
fn nothing_but_what_is_carried_is_followed() {
    let two = |protocols: &str, proto: &[&str], rest: Fields<'_>| {
        let fields: Fields<'_> = &[
            ("ip_src", &["10.0.0.1", "10.1.0.1"]),
            ("ip_dst", &["10.0.0.2", "10.1.0.2"]),
            ("ip_proto", proto),
            ("ip_len", &["200", "100"]),
            ("udp_srcport", &["7", "8"]),
            ("udp_dstport", &["9", "10"]),
            ("udp_length", &["180", "80"]),
        ];
        packet(&line(protocols, &[fields, rest].concat())).inner.len()
    };
    let udp: &[&str] = &["17", "17"];
    let cases = [
        ("eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:udp", udp, 1),
        ("eth:ethertype:ip:udp:sflow:eth:ethertype:ip:udp", udp, 0),
        ("eth:ethertype:ip:udp:data:ip:udp", udp, 0),
        ("eth:ethertype:ip:ip:udp", &["4", "17"], 1),
        ("eth:ethertype:ip:ip:udp", &["60", "17"], 0),
        ("eth:ethertype:ip:ipv6.dstopts:ip:udp", &["60", "17"], 0),
        ("eth:ethertype:ip:gre:ip:udp", &["47", "17"], 1),
        ("eth:ethertype:ip:gre:ip:udp", &["6", "17"], 0),
        ("eth:ethertype:ip:ah:ip:udp", &["51", "17"], 1),
    ];
    for (protocols, proto, inner) in cases {
        assert_eq!(two(protocols, proto, &[]), inner, "{protocols} {proto:?}");
    }
}

#[test]
fn behind_an_extension_header_that_tshark_does_not_read_is_something_whole() {
    let raw = line(
        "eth:ethertype:ipv6:mipv6",
        &[
            ("ipv6_src", &["fd00::1"]),
            ("ipv6_dst", &["fd00::2"]),
            ("ipv6_nxt", &["135"]),
            ("ipv6_plen", &["40"]),
            ("mip6_proto", &["6"]),
        ],
    );
    let packet = packet(&raw);
    assert_eq!((packet.outer.transport, packet.outer.layer4), (Transport::TCP, Layer4::Opaque));
    assert!(!packet.damaged);
}

#[test]
fn a_frame_that_aggregates_packets_gives_each_with_an_id_of_its_own() {
    let raw = line(
        "radiotap:wlan_radio:wlan:llc:ip:udp:dns:llc:arp:llc:ip:udp:data",
        &[
            ("ip_src", &["10.0.0.1", "10.0.0.3"]),
            ("ip_dst", &["10.0.0.2", "10.0.0.4"]),
            ("ip_proto", &["17", "17"]),
            ("ip_len", &["60", "70"]),
            ("udp_srcport", &["7", "8"]),
            ("udp_dstport", &["53", "9"]),
            ("udp_length", &["40", "50"]),
        ],
    );
    let Ok(Line::Packets(packets)) = Parser::new(&[]).parse(&raw) else { panic!("{raw:?}") };
    let seen: Vec<_> = packets
        .iter()
        .map(|packet| (packet.part, packet.outer.ip_bytes, packet.protocol.as_deref()))
        .collect();
    assert_eq!(seen, [(0, 60, Some("dns")), (1, 70, None)]);
    assert_ne!(packets[0].id("a"), packets[1].id("a"));
    assert_eq!(Packet { part: 0, ..packets[1].clone() }.id("a"), packets[0].id("a"));
}

#[test]
fn tags_and_addresses_inside_a_tunnel_are_not_the_frames() {
    let inside: Fields<'_> = &[
        ("eth_src", &["02:00:00:00:00:01"]),
        ("eth_dst", &["02:00:00:00:00:02"]),
        ("vlan_id", &["5", "6"]),
        ("ieee8021ad_id", &["4"]),
    ];
    let fields = over_ipv4(&["47"], inside);
    let tunnel = packet(&line("sll:ethertype:ip:gre:eth:ethertype:vlan:ethertype:arp", &fields));
    assert_eq!(tunnel.source_mac, None);
    assert_eq!(tunnel.vlans, Vlans::default());
    let tagged = "eth:ethertype:ieee8021ad:ethertype:vlan:ethertype:ip:gre:eth:ethertype:vlan";
    let tagged = packet(&line(tagged, &fields));
    assert_eq!(tagged.source_mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
    assert_eq!((tagged.vlans.outer(), tagged.vlans.inner()), (Some(4), Some(5)));
}

#[test]
fn a_frame_without_a_captured_ip_header_is_no_packet() {
    let cases = [
        line("eth:ethertype:arp", &[]),
        line("eth:llc:stp", &[]),
        line("eth:ethertype:ip", &[("ip_len", &["5"])]),
        line(
            "eth:ethertype:ip",
            &[("_ws_short", &["[IPv4 truncated]"]), ("ip_src", &["10.0.0.1"])],
        ),
        line("", &[]),
    ];
    for raw in cases {
        assert_eq!(
            Parser::new(&[]).parse(&raw),
            Ok(Line::NotIp(
                Timestamp::from_nanos(5_000_000_000),
                crate::record::ObservationPoint::default()
            ))
        );
    }
    assert_eq!(
        Parser::new(&[]).parse(&raw(r#"{"index":{"_index":"packets-2023-11-14"}}"#)),
        Ok(Line::Index)
    );
}

#[test]
fn damage_is_what_is_wrong_up_to_the_transport() {
    let tcp = |header: &'static str, length: &'static str| {
        vec![
            ("tcp_srcport", &["5"] as &[_]),
            ("tcp_dstport", &["6"]),
            ("tcp_flags", &["0x0018"]),
            ("tcp_window_size_value", &["9"]),
            ("tcp_hdr_len", if header == "20" { &["20"] } else { &["60"] }),
            ("ip_len", if length == "60" { &["60"] } else { &["9000"] }),
        ]
    };
    let base: Fields<'_> =
        &[("ip_src", &["10.0.0.1"]), ("ip_dst", &["10.0.0.2"]), ("ip_proto", &["6"])];
    let cases = [
        (tcp("20", "60"), false),
        (tcp("60", "60"), true),
        (tcp("20", "9000"), true),
        (
            tcp("20", "60")
                .into_iter()
                .filter(|(name, _)| *name != "tcp_window_size_value")
                .collect(),
            true,
        ),
        (vec![("ip_len", &["60"] as &[_])], true),
    ];
    let mark: Fields<'_> = &[
        ("_ws_malformed", &["[Malformed Packet: HTTP]", "_ws.malformed"]),
        ("_ws_short", &["[Packet size limited during capture: HTTP truncated]"]),
    ];
    for (fields, damaged) in cases {
        let raw = line("eth:ethertype:ip:tcp", &[base, &fields, mark].concat());
        assert_eq!(packet(&raw).damaged, damaged, "{raw:?}");
    }
}

#[test]
fn deeply_nested_headers_are_cut_off() {
    let many = vec!["10.0.0.1"; 1000];
    let protocols = vec!["ip"; 1000].join(":");
    let raw = line(
        &protocols,
        &[
            ("ip_src", &many),
            ("ip_dst", &many),
            ("ip_proto", &vec!["4"; 1000]),
            ("ip_len", &vec!["60"; 1000]),
        ],
    );
    assert_eq!(packet(&raw).inner.len(), 8);
}

#[test]
fn a_bad_line_has_a_reason() {
    let without = |name: &str| TCP.replace(&format!("\"{name}\""), "\"other\"");
    let with = |value: &str, other: &str| {
        assert!(TCP.contains(value));
        TCP.replace(value, other)
    };
    let cases = [
        (String::new(), "not_json"),
        ("garbage".to_owned(), "not_json"),
        ("{".to_owned(), "not_json"),
        (format!("{TCP}{TCP}"), "not_json"),
        ("[".repeat(10_000), "not_json"),
        ("null".to_owned(), "wrong_type"),
        ("[1,2]".to_owned(), "wrong_type"),
        ("{}".to_owned(), "missing_field"),
        (r#"{"layers":{}}"#.to_owned(), "missing_field"),
        (r#"{"layers":[]}"#.to_owned(), "wrong_type"),
        (r#"{"layers":{},"layers":{}}"#.to_owned(), "duplicate_key"),
        (without("frame_number"), "missing_field"),
        // Simple packet blocks of pcapng have none.
        (without("frame_time_epoch"), "packet"),
        (without("frame_len"), "missing_field"),
        (without("frame_protocols"), "missing_field"),
        (without("ip_proto"), "missing_field"),
        (with(r#"["6"]"#, "[6]"), "wrong_type"),
        (with(r#"["6"]"#, "[null]"), "wrong_type"),
        (with(r#"["6"]"#, r#"[["6"]]"#), "wrong_type"),
        (with(r#"["6"]"#, r#""6""#), "wrong_type"),
        (with(r#"["6"]"#, r#"{"6":"6"}"#), "wrong_type"),
        (with(r#"["6"]"#, "[]"), "missing_field"),
        (with(r#"["6"]"#, r#"["six"]"#), "unreadable_value"),
        (with(r#"["6"]"#, r#"["256"]"#), "out_of_range"),
        (with("10.1.2.3", "10.1.2.300"), "unreadable_value"),
        (with("10.1.2.3", "fd00::1"), "unreadable_value"),
        (with("36813", "65536"), "out_of_range"),
        (with("36813", "-1"), "unreadable_value"),
        (with("0x0018", "0x10000"), "out_of_range"),
        (with("1700000000.123456789", "yesterday"), "unreadable_value"),
        (with("1700000000.123456789", "99999999999.0"), "out_of_range"),
        (with("02:00:00:00:00:01", "02:00"), "unreadable_value"),
        (with("eth_dst", "eth_src"), "duplicate_key"),
        (with("ip_flags_mf", "ip_id"), "duplicate_key"),
    ];
    for (text, expected) in cases {
        assert_eq!(reason(&raw(text.clone())), expected, "{text}");
    }
}

#[test]
fn a_frame_number_beyond_64_bits_is_refused() {
    let raw = Raw { first: u64::MAX - 1, ..raw(TCP) };
    assert_eq!(reason(&raw), "out_of_range");
}

#[test]
fn fields_nobody_asked_for_are_skipped_whatever_they_hold() {
    let more = r#""frame_number":["2"],"x":[{"y":[1]}],"z":null,"w":{},"v":[],"u":1.5"#;
    let text = TCP.replace(r#""frame_number":["2"]"#, more);
    assert_eq!(packet(&raw(text)), packet(&raw(TCP)));
}

#[test]
fn the_order_of_fields_does_not_matter() {
    let fields = over_ipv4(&["17"], &[("udp_srcport", &["5"]), ("udp_dstport", &["6"])]);
    let backwards: Vec<_> = fields.iter().rev().copied().collect();
    assert_eq!(
        packet(&line("eth:ethertype:ip:udp", &backwards)),
        packet(&line("eth:ethertype:ip:udp", &fields))
    );
}

#[test]
fn extra_fields_come_in_the_order_of_the_config_within_bounds() {
    let names = ["dns.qry.name", "ip.src", "absent", "_ws.col.Info", "many"].map(str::to_owned);
    let long = "é".repeat(1000);
    let raw = line(
        "eth:ethertype:ip:udp:dns",
        &over_ipv4(
            &["17"],
            &[
                ("_ws_col_Info", &[&long]),
                ("dns_qry_name", &["a.example", "b.example"]),
                ("many", &vec!["1"; 1000]),
            ],
        ),
    );
    let Ok(Line::Packet(packet)) = Parser::new(&names).parse(&raw) else {
        panic!("no packet");
    };
    let extra: Vec<(&str, usize, usize)> = packet
        .extra
        .iter()
        .map(|extra| (&*extra.name, extra.values.len(), extra.values[0].len()))
        .collect();
    assert_eq!(
        extra,
        [("dns_qry_name", 2, 9), ("ip_src", 1, 8), ("_ws_col_Info", 1, 1024), ("many", 64, 1),]
    );
}

#[test]
fn invalid_utf8_is_read_lossily_and_counted() {
    let mut parser = Parser::new(&["info".to_owned()]);
    let text = TCP.replace(r#""ip_id""#, r#""info":["a?b"],"ip_id""#);
    let mut bytes = text.into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    let Ok(Line::Packet(packet)) = parser.parse(&raw(bytes)) else {
        panic!("no packet");
    };
    assert_eq!(*packet.extra[0].values[0], *"a\u{fffd}b");
    assert_eq!((parser.take_mended(), parser.take_mended()), (1, 0));
}

#[test]
fn a_parser_reads_on_after_bad_and_long_lines() {
    let mut parser = Parser::new(&[]);
    let long = TCP.replace("eth:", &"x:".repeat(200_000));
    for text in ["{\"layers\":", "\u{0}", &long, "[[[[[[[[", TCP] {
        drop(parser.parse(&raw(text.to_owned())));
    }
    assert_eq!(parser.parse(&raw(TCP)), Ok(Line::Packet(packet(&raw(TCP)))));
}

#[test]
fn a_line_cut_anywhere_is_no_packet() {
    let mut parser = Parser::new(&[]);
    for end in 0..TCP.len() {
        let cut = raw(Bytes::from_static(TCP.as_bytes()).slice(..end));
        let error = parser.parse(&cut).unwrap_err();
        assert_eq!(error.reason().name(), "not_json", "cut at {end}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..2000)) {
        drop(Parser::new(&[]).parse(&raw(bytes)));
    }

    #[test]
    fn a_mutated_line_never_panics(changes in vec((0..TCP.len(), any::<u8>()), 1..20)) {
        let mut bytes = TCP.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        drop(Parser::new(&["ip.ttl".to_owned()]).parse(&raw(bytes)));
    }

    #[test]
    fn right_fields_with_any_values_never_panic(
        protocols in vec(
            select(vec![
                "eth", "vlan", "ieee8021ad", "ip", "ipv6", "ipv6.hopopts", "ipv6.fraghdr",
                "ipv6.dstopts", "ipv6.routing", "tcp", "udp", "udplite", "sctp", "icmp", "icmpv6",
                "tls", "data", "", "wlan", "llc", "gre", "vxlan", "geneve", "gtp", "ah", "hip",
                "mipv6", "shim6", "sflow",
            ]),
            0..12,
        ),
        values in vec(
            vec(
                prop_oneof![
                    select(vec!["6", "17", "0", "44", "60", "43", "58", "1", "132", "10.0.0.1", "fd00::1"])
                        .prop_map(str::to_owned),
                    string_regex("[0-9a-fx:.+-]{0,24}").unwrap(),
                ],
                0..4,
            ),
            BASE.len(),
        ),
    ) {
        let names: Vec<String> = BASE.iter().map(|name| name.replace('.', "_")).collect();
        let values: Vec<Vec<&str>> =
            values.iter().map(|values| values.iter().map(String::as_str).collect()).collect();
        let fields: Vec<(&str, &[&str])> = names
            .iter()
            .zip(&values)
            .skip(5)
            .map(|(name, values)| (name.as_str(), values.as_slice()))
            .collect();
        drop(Parser::new(&[]).parse(&line(&protocols.join(":"), &fields)));
    }
}
