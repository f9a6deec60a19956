//! Observation points, tunnels, clocks that differ, and fragments.

use super::{flows, packets::*, run};
use crate::{
    flow::{Output, Policy, Shards},
    record::{
        Checksum, CommunityId, Direction, EndReason, Flow, FlowTags, Header, Interface,
        ObservationPoint, Packet, Transport, TunnelKey,
    },
};

fn point(name: &str) -> ObservationPoint {
    ObservationPoint::of("places", Some(Interface::Named(name.into())))
}

fn seen(packet: Packet, name: &str) -> Packet {
    Packet { origin: point(name), ..packet }
}

#[test]
fn what_two_interfaces_see_is_two_flows() {
    let there = || udp(CLIENT, 1, SERVER, 2, 60).at(1);
    let packets = [seen(there(), "eth0"), seen(there(), "eth1")];
    let flows = flows(&packets);
    assert_eq!(flows.len(), 2);
    assert_ne!(flows[0].id, flows[1].id);
    assert_eq!(flows[0].community_id, flows[1].community_id);
    let mut origins: Vec<_> = flows.iter().map(|flow| flow.origin.names().interface).collect();
    origins.sort_by_key(|interface| format!("{interface:?}"));
    let named = |name: &str| Some(Interface::Named(name.into()));
    assert_eq!(origins, [named("eth0"), named("eth1")]);
    let policy = Policy { as_zeek: true, ..Policy::default() };
    assert_eq!(run(policy, &packets).0.len(), 1);
}

#[test]
fn an_id_depends_on_the_names_of_its_point_alone() {
    let id = |name: &str| flows(&[seen(udp(CLIENT, 1, SERVER, 2, 60).at(1), name)])[0].id;
    let one = id("eth0");
    ObservationPoint::of("another", None);
    assert_eq!(id("eth0"), one);
    assert_ne!(id("eth1"), one);
}

/// A datagram from one host of a tenant's to another, or back, inside a tunnel.
fn tunnelled(there: bool, tunnel: Option<TunnelKey>) -> Packet {
    let (one, other) = ([192, 168, 0, 1].into(), [192, 168, 0, 2].into());
    let inner = if there { udp(one, 7, other, 9, 80) } else { udp(other, 9, one, 7, 80) };
    let outer = if there { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let outer = udp(outer.0, 5_000, outer.1, 4_789, 120).at(1);
    outer.carrying(Header { tunnel, ..inner.outer })
}

fn inner_flows(packets: &[Packet]) -> Vec<Flow> {
    let flows = run(Policy { inner: true, ..Policy::default() }, packets).0;
    flows.into_iter().filter(|flow| flow.parent.is_some()).collect()
}

#[test]
fn the_number_of_a_tunnel_tells_its_contents_apart() {
    use TunnelKey::{Gre, Vni};
    for (one, other, expected) in [
        (Some(Vni(100)), Some(Vni(200)), 2),
        (Some(Gre(1)), Some(Gre(2)), 2),
        (Some(Vni(1)), Some(Gre(1)), 2),
        (Some(Vni(1)), None, 2),
        (Some(Vni(1)), Some(Vni(1)), 1),
        (None, None, 1),
    ] {
        let flows = inner_flows(&[tunnelled(true, one), tunnelled(false, other)]);
        assert_eq!(flows.len(), expected, "{one:?} {other:?}");
        let ids: std::collections::BTreeSet<_> = flows.iter().map(|flow| flow.id).collect();
        assert_eq!(ids.len(), expected);
    }
}

#[test]
fn a_tunnel_within_a_tunnel_counts_with_the_one_around_it() {
    let nested = |vni| {
        let mut packet = tunnelled(true, Some(TunnelKey::Vni(vni)));
        let innermost = Header { tunnel: Some(TunnelKey::Gre(5)), ..packet.inner[0].clone() };
        packet.inner[0].transport = Transport(47);
        packet.inner[0].layer4 = crate::record::Layer4::Opaque;
        packet.carrying(innermost)
    };
    let flows = inner_flows(&[nested(100), nested(200), nested(100)]);
    let innermost = flows.iter().filter(|flow| flow.transport == Transport::UDP);
    let mut packets: Vec<_> = innermost.map(Flow::packets).collect();
    packets.sort_unstable();
    assert_eq!(packets, [1, 2]);
}

#[test]
fn the_two_teids_of_a_session_are_one_flow_and_those_of_another_are_not() {
    use TunnelKey::Teid;
    let packets = [
        tunnelled(true, Some(Teid(1))),
        tunnelled(false, Some(Teid(2))),
        tunnelled(true, Some(Teid(3))),
        tunnelled(true, Some(Teid(1))),
        tunnelled(false, Some(Teid(4))),
        tunnelled(false, Some(Teid(2))),
    ];
    let flows = inner_flows(&packets);
    let mut counts: Vec<_> =
        flows.iter().map(|flow| (flow.initiator.packets, flow.responder.packets)).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(1, 1), (2, 2)]);
    assert_ne!(flows[0].id, flows[1].id);
}

#[test]
fn one_stray_time_stamp_ends_nobodys_flow() {
    let one = |port, second| udp(CLIENT, port, SERVER, 2, 60).at(second);
    for stray in [-1_000_000, 40, 5_000, 1_000_000_000] {
        let packets = [one(1, 1_000), one(2, 1_001), one(1, stray), one(1, 1_002), one(2, 1_003)];
        let flows = flows(&packets);
        assert_eq!(flows.len(), 2, "{stray}");
        let first = &flows[0];
        assert_eq!((first.start, first.end, first.packets()), (at(1_000), at(1_002), 3), "{stray}");
    }
}

#[test]
fn a_pause_ends_flows_whatever_comes_after_it() {
    let one = |second| udp(CLIENT, 1, SERVER, 2, 60).at(second);
    for (seconds, expected) in
        [(vec![0, 100], 2), (vec![0, 100, 200], 3), (vec![0, 100, 101, 102, 103], 2)]
    {
        let packets: Vec<_> = seconds.iter().map(|second| one(*second)).collect();
        let flows = flows(&packets);
        assert_eq!(flows.len(), expected, "{seconds:?}");
        assert_eq!(flows[0].end_reason, EndReason::Idle);
    }
}

#[test]
fn interfaces_whose_clocks_differ_end_nothing_of_each_others() {
    let mut packets = Vec::new();
    for second in 0..10 {
        packets.push(seen(udp(CLIENT, 1, SERVER, 2, 60).at(1_000 + second), "eth0"));
        packets.push(seen(udp(CLIENT, 3, SERVER, 4, 60).at(910 + second), "eth1"));
    }
    let flows = flows(&packets);
    let mut told: Vec<_> = flows.iter().map(|flow| (flow.start, flow.packets())).collect();
    told.sort_unstable();
    assert_eq!(told, [(at(910), 10), (at(1_000), 10)]);
}

#[test]
fn a_clock_that_is_set_back_ends_the_flows_of_its_interface_alone() {
    let mut packets = Vec::new();
    for second in 0..10 {
        let back = if second < 5 { 1_000 } else { 400 };
        packets.push(seen(udp(CLIENT, 1, SERVER, 2, 60).at(1_000 + second), "eth0"));
        packets.push(seen(udp(CLIENT, 3, SERVER, 4, 60).at(back + second), "eth1"));
    }
    let flows = flows(&packets);
    let mut told: Vec<_> = flows.iter().map(|flow| (flow.start, flow.packets())).collect();
    told.sort_unstable();
    assert_eq!(told, [(at(405), 5), (at(1_000), 5), (at(1_000), 10)]);
}

#[test]
fn later_fragments_of_a_ping_are_the_pings() {
    let big = |there: bool, id| {
        let (from, to) = if there { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let kind = if there { 8 } else { 0 };
        let later = |offset, more| icmp(from, to, kind, 0).fragment(id, offset, more).at(1);
        [
            icmp(from, to, kind, 0).fragment(id, 0, true).at(1),
            later(1_480, true),
            later(2_960, false),
        ]
    };
    let flows = flows(&[big(true, 7), big(false, 9)].concat());
    assert_eq!(flows.len(), 1);
    assert_eq!((flows[0].initiator.packets, flows[0].responder.packets), (3, 3));
    assert_eq!(flows[0].icmp.map(|icmp| icmp.kind), Some(8));
    assert_eq!(flows[0].tags, FlowTags::default());
}

#[test]
fn a_fragment_without_its_first_is_no_message_of_any_type() {
    let flows = flows(&[icmp(CLIENT, SERVER, 8, 0).fragment(7, 1_480, false).at(1)]);
    assert_eq!((flows[0].icmp, flows[0].initiator.address), (None, CLIENT));
    assert!(flows[0].tags.contains(FlowTags::PORTLESS_FRAGMENTS));
    let bare = CommunityId::of_ports(Transport::ICMP, (CLIENT, None), (SERVER, None));
    assert_eq!(flows[0].community_id, bare);
}

#[test]
fn ipv6_fragments_go_by_their_identification_whatever_header_they_name() {
    let (one, other) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let part = |offset, more, second| {
        let mut packet = udp(one, 40_000, other, 9_000, 1_280).fragment(7, offset, more).at(second);
        if offset > 0 {
            // Destination options come before UDP in the fragmentable part.
            packet.outer.transport = Transport(60);
        }
        packet
    };
    let flows = flows(&[part(0, true, 1), part(1_232, true, 50), part(2_464, false, 70)]);
    let told: Vec<_> = flows.iter().map(|flow| (flow.transport.0, flow.packets())).collect();
    // After 60 s its first fragment is forgotten.
    assert_eq!(told, [(17, 2), (60, 1)]);
}

#[test]
fn a_segment_in_fragments_is_data_without_a_gap() {
    let segment = |offset: u32, more| {
        let mut packet = tcp(true, "PA", 101, 501, 1_460).fragment(7, offset, more).at(1);
        packet.outer.ip_bytes = if more { 1_500 } else { 560 };
        packet
    };
    let open =
        [tcp(true, "S", 100, 0, 0), tcp(false, "SA", 500, 101, 0), tcp(true, "A", 101, 501, 0)];
    let acknowledged = tcp(false, "A", 501, 2_101, 0).at(1);
    for (parts, history) in [
        (vec![segment(0, true), segment(1_480, false)], "ShADa"),
        (vec![segment(0, true)], "ShADGa"),
    ] {
        let all = [open.to_vec(), parts, vec![acknowledged.clone()]].concat();
        let packets: Vec<_> = all.into_iter().map(|packet| packet.at(1)).collect();
        let got = flows(&packets)[0].history.to_string();
        let sorted = |text: &str| {
            let mut letters: Vec<_> = text.chars().collect();
            letters.sort_unstable();
            letters
        };
        assert_eq!(sorted(&got), sorted(history), "{got}");
    }
}

#[test]
fn wrong_checksums_count_as_a_letter_and_those_of_ip_as_nothing() {
    let v6: [std::net::IpAddr; 2] =
        ["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()];
    let mut echo = icmp(v6[0], v6[1], 128, 0).at(1);
    echo.outer.transport = Transport::ICMPV6;
    let sctp = packet(Header {
        layer4: crate::record::Layer4::Sctp(crate::record::Ports { source: 1, destination: 2 }),
        ..header(CLIENT, SERVER, Transport::SCTP)
    });
    let kinds = [
        udp(CLIENT, 1, SERVER, 2, 60),
        icmp(CLIENT, SERVER, 8, 0),
        echo,
        sctp,
        tcp(true, "S", 1, 0, 0),
    ];
    for mut packet in kinds {
        packet.outer.checksums.transport = Checksum::Bad;
        for (ignore_checksums, counted) in [(true, 1), (false, 0)] {
            let policy = Policy { ignore_checksums, ..Policy::default() };
            let flows = run(policy, &[packet.clone()]).0;
            assert_eq!(flows[0].initiator.packets, counted, "{:?}", packet.outer);
            assert_eq!(flows[0].history.to_string() == "C", !ignore_checksums);
            assert!(flows[0].tags.contains(FlowTags::BAD_CHECKSUM));
        }
    }
    let mut packet = udp(CLIENT, 1, SERVER, 2, 60).at(1);
    packet.outer.checksums.ip = Checksum::Bad;
    for (ignore_checksums, flows) in [(true, 1), (false, 0)] {
        let mut table = Shards::new(Policy { ignore_checksums, ..Policy::default() }, 1);
        let mut out = Output::default();
        table.absorb(&[packet.clone()], &mut out);
        assert_eq!((table.len(), out.discarded), (flows, 1 - flows as u64));
    }
}

#[test]
fn an_ip_length_beyond_the_frame_is_cut_to_it() {
    let mut packet = udp(CLIENT, 1, SERVER, 2, 65_535).at(1);
    packet.frame_bytes = 60;
    assert_eq!(flows(&[packet])[0].initiator.bytes, 46);
}

#[test]
fn errors_of_one_flow_name_all_they_quote_up_to_eight() {
    for (errors, expected) in [(1_u16, 1), (5, 5), (12, 8)] {
        let quoted = |port| udp(CLIENT, port, SERVER, 53, 60).outer;
        let twice = (0..errors).chain(0..errors);
        let packets: Vec<_> =
            twice.map(|port| icmp(SERVER, CLIENT, 3, 3).at(1).carrying(quoted(port))).collect();
        let flows = flows(&packets);
        let ids: Vec<_> = (0..expected).map(|port| CommunityId::of(&quoted(port))).collect();
        assert_eq!(flows[0].related_community_ids, ids);
    }
}

#[test]
fn what_stays_on_the_link_or_near_it_is_internal() {
    for (source, destination, expected) in [
        ("192.0.2.10", "224.0.0.251", Direction::Internal),
        ("198.51.100.1", "224.0.0.1", Direction::Internal),
        ("0.0.0.0", "255.255.255.255", Direction::Internal),
        ("fe80::1", "ff02::fb", Direction::Internal),
        ("2001:db8::1", "ff12::1", Direction::Internal),
        ("fe80::1", "fe80::2", Direction::Internal),
        ("169.254.1.1", "169.254.1.2", Direction::Internal),
        ("192.0.2.10", "239.255.255.250", Direction::Internal),
        ("192.0.2.10", "239.1.2.3", Direction::Outbound),
        ("192.0.2.10", "224.0.1.1", Direction::Outbound),
        ("198.51.100.1", "ff0e::1", Direction::External),
        ("192.0.2.10", "192.0.2.255", Direction::Internal),
    ] {
        let internal_networks = ["192.0.2.0/24".parse().unwrap()].into_iter().collect();
        let policy = Policy { internal_networks, ..Policy::default() };
        let direction = policy.direction(source.parse().unwrap(), destination.parse().unwrap());
        assert_eq!(direction, Some(expected), "{source} > {destination}");
    }
}
