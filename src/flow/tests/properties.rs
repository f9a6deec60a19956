//! What holds for any packets.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use proptest::prelude::*;

use super::packets::{CLIENT, SERVER, header, icmp, packet, tcp, udp};
use crate::{
    flow::{Output, Policy, Report, Shards},
    record::{
        Checksum, Checksums, Contact, Flow, Fragment, Header, Icmp, Interface, Layer4,
        ObservationPoint, Outcome, Packet, Ports, Tcp, TcpFlags, Timestamp, Transport,
    },
};

fn any_header() -> impl Strategy<Value = Header> {
    let ends = (0_u8..4, 0_u8..4, 0_u8..6, 0_usize..5, 0_usize..5);
    let tcp = (any::<u8>(), 0_u32..60, 0_u32..60, 0_u32..20, any::<bool>());
    let fragment = prop::option::weighted(0.1, (0_u32..3, 0_u32..2, any::<bool>()));
    (ends, tcp, fragment, any::<u16>()).prop_map(|(ends, tcp, fragment, ip_bytes)| {
        let (source, destination, kind, one, other) = ends;
        let (flags, sequence, acknowledgement, payload_bytes, good) = tcp;
        let port = |at: usize| [0, 53, 443, 40000, 65535][at];
        let ports = Ports { source: port(one), destination: port(other) };
        let (transport, layer4) = match kind {
            0..=2 => {
                let layer4 = Layer4::Tcp(Tcp {
                    ports,
                    flags: TcpFlags(flags.into()),
                    sequence: sequence.wrapping_sub(30),
                    acknowledgement: acknowledgement.wrapping_sub(30),
                    window: Some(flags.into()),
                    payload_bytes,
                });
                (Transport::TCP, layer4)
            }
            3 => (Transport::UDP, Layer4::Udp(ports, payload_bytes)),
            4 => {
                let message = Icmp { kind: [0, 3, 8, 11, 14][one], code: flags % 4 };
                (Transport::ICMP, Layer4::Icmp(message))
            }
            _ => (Transport(47), Layer4::Opaque),
        };
        let fragment = fragment.map(|(id, offset, more)| Fragment { id, offset: offset * 8, more });
        let later = fragment.is_some_and(|fragment| fragment.offset > 0);
        let layer4 = if later { Layer4::Opaque } else { layer4 };
        let ip_bytes = ip_bytes.into();
        let ends = header([10, 0, 0, source].into(), [10, 0, 0, destination].into(), transport);
        let transport = if good { Checksum::Good } else { Checksum::Bad };
        let checksums = Checksums { transport, ..Checksums::default() };
        Header { ip_bytes, checksums, fragment, layer4, ..ends }
    })
}

/// Packets whose time mostly goes on by seconds.
fn any_packets() -> BoxedStrategy<Vec<Packet>> {
    let step = prop_oneof![
        10 => -1_i64..5,
        1 => -100_i64..400,
        1 => Just(0),
    ];
    let inner = prop::collection::vec(any_header(), 0..3);
    let one = (any_header(), inner, step, 0_u16..3, any::<bool>());
    let packets = prop::collection::vec(one, 0..120).prop_map(|all| {
        let mut seconds = 1000;
        let mut packets = Vec::new();
        for (number, (outer, inner, step, vlan, wild)) in (1..).zip(all) {
            seconds += step;
            let mut packet = Packet { number, inner, ..packet(outer) }.at(seconds);
            if vlan > 0 {
                packet.vlans.push(vlan);
            }
            // Times at one nanosecond's distance, too.
            if wild {
                packet.time = Timestamp::from_nanos(packet.time.nanos() + 1);
            }
            packets.push(packet);
        }
        packets
    });
    packets.boxed()
}

/// The same, seen at three points whose clocks differ, in one file or several.
fn any_packets_anywhere() -> impl Strategy<Value = Vec<Packet>> {
    let places = prop::collection::vec((0_usize..3, prop::bool::weighted(0.03)), 120);
    let ahead = prop::array::uniform3(prop_oneof![Just(0), -3_i64..3, -400_i64..400]);
    (any_packets(), places, ahead).prop_map(|(packets, places, ahead)| {
        let points = ["eth0", "eth1", "eth2"]
            .map(|name| ObservationPoint::of("properties", Some(Interface::Named(name.into()))));
        let mut epoch = 0;
        let places = places.into_iter().map(|(point, is_another_file)| {
            epoch += u32::from(is_another_file);
            (epoch, points[point], ahead[point] * 1_000_000_000)
        });
        let seen = packets.into_iter().zip(places).map(|(packet, (epoch, origin, ahead))| {
            let time = Timestamp::from_nanos(packet.time.nanos() + ahead);
            Packet { time, epoch, origin, ..packet }
        });
        seen.collect()
    })
}

fn run(
    policy: &Policy,
    shards: usize,
    batch: usize,
    packets: &[Packet],
) -> (Vec<Flow>, Vec<Contact>) {
    let mut table = Shards::new(policy.clone(), shards);
    let (mut flows, mut contacts) = (Vec::new(), Vec::new());
    let mut take = |out: Output| {
        flows.extend(out.flows.into_iter().map(|report| report.record));
        contacts.extend(out.contacts.into_iter().map(|report: Report<Contact>| report.record));
    };
    for packets in packets.chunks(batch) {
        let mut out = Output { wants_contacts: true, ..Output::default() };
        table.absorb(packets, &mut out);
        assert!(table.len() <= policy.max_flows);
        take(out);
    }
    let mut more = true;
    while more {
        let mut out = Output { wants_contacts: true, ..Output::default() };
        more = table.drain_part(batch, &mut out);
        take(out);
    }
    assert!(table.is_empty());
    (flows, contacts)
}

/// Attempts that a contact cannot tell apart, as it says nothing of VLANs, fall due at one instant in
/// whatever order their shards come to it.
#[test]
fn attempts_that_only_a_vlan_tells_apart_time_out_in_one_order() {
    for first in 0..4 {
        let syn = |vlan: u16| {
            let packet = tcp(true, "S", 100, 0, 0).at(997).vlan(vlan);
            let nanos = packet.time.nanos() + i64::from((vlan + first) % 4);
            Packet { time: Timestamp::from_nanos(nanos), ..packet }
        };
        let mut packets = vec![udp(SERVER, 1, SERVER, 1, 60).at(1000)];
        packets.extend((1..9).map(syn));
        packets.push(udp(SERVER, 1, SERVER, 1, 60).at(1010));
        let expected = run(&Policy::default(), 1, 1000, &packets);
        for shards in 2..6 {
            assert_eq!(run(&Policy::default(), shards, 1000, &packets), expected);
        }
    }
}

/// Whether answers are looked for in other VLANs depends on a VLAN having been seen, in whatever shard.
#[test]
fn a_vlan_seen_between_others_tells_every_shard_of_vlans() {
    let of = |last: u8| IpAddr::from([10, 0, 1, last]);
    let refusal = |quoted: &Packet, last: u8| {
        let error = icmp(SERVER, of(last), 3, 3).at(1003).vlan(1);
        error.carrying(quoted.outer.clone())
    };
    let mut packets = vec![udp(CLIENT, 9, SERVER, 9, 60).at(1000).vlan(7)];
    for last in 0..16 {
        let asked = udp(of(last), 40_000, SERVER, 5_000, 60).at(1001);
        packets.push(asked.clone());
        packets.push(refusal(&asked, last));
        let syn = tcp(true, "S", u32::from(last), 0, 0).at(1001);
        let ends = Header { source: of(last), ..syn.outer };
        packets.push(Packet { outer: ends, ..syn.vlan(2) });
        let answer = tcp(false, "SA", 500, u32::from(last) + 1, 0).at(1002);
        let ends = Header { destination: of(last), ..answer.outer };
        packets.push(Packet { outer: ends, ..answer.vlan(3) });
    }
    let numbered = (1..).zip(packets).map(|(number, packet)| Packet { number, ..packet });
    let mut packets: Vec<_> = numbered.collect();
    packets.sort_by_key(|packet| packet.time);
    let expected = run(&Policy::default(), 1, 1, &packets);
    let refused = expected.1.iter().filter(|contact| contact.outcome == Outcome::Refused);
    assert_eq!(refused.count(), 16);
    for (shards, batch) in [(2, 1), (3, 7), (5, 1000), (8, 1000)] {
        assert_eq!(run(&Policy::default(), shards, batch, &packets), expected);
    }
}

proptest! {
    #[test]
    fn every_packet_is_in_one_report_and_every_report_has_its_own_name(
        packets in any_packets(),
        max_flows in 1_usize..20,
        shards in 1_usize..4,
        inner: bool,
    ) {
        let policy = Policy { max_flows, inner, ..Policy::default() };
        let (flows, _) = run(&policy, shards, 16, &packets);
        let sent = |flow: &Flow| flow.initiator.packets + flow.responder.packets;
        let outer: u64 = flows.iter().filter(|flow| flow.parent.is_none()).map(sent).sum();
        prop_assert!(inner || outer == packets.len() as u64);
        let names: BTreeSet<_> = flows.iter().map(|flow| (flow.id, flow.sequence)).collect();
        prop_assert_eq!(names.len(), flows.len());
        let mut reports: BTreeMap<_, Vec<&Flow>> = BTreeMap::new();
        for flow in &flows {
            prop_assert!(flow.start <= flow.end);
            reports.entry(flow.id).or_default().push(flow);
        }
        for reports in reports.values() {
            let last = reports.len() - 1;
            for (at, flow) in reports.iter().enumerate() {
                prop_assert_eq!(flow.sequence as usize, at);
                prop_assert_eq!(flow.is_final(), at == last);
            }
        }
    }

    #[test]
    fn neither_shards_nor_batches_nor_parts_change_what_comes_out(packets in any_packets()) {
        let policy = Policy::default();
        let expected = run(&policy, 1, 1, &packets);
        for (shards, batch) in [(1, 1000), (2, 7), (3, 1000), (4, 1)] {
            prop_assert_eq!(&run(&policy, shards, batch, &packets), &expected);
        }
    }

    #[test]
    fn nor_do_they_where_several_points_see_packets(packets in any_packets_anywhere()) {
        let policy = Policy::default();
        let expected = run(&policy, 1, 1, &packets);
        let counted: u64 = expected.0.iter().map(Flow::packets).sum();
        prop_assert_eq!(counted, packets.len() as u64);
        for (shards, batch) in [(1, 1000), (2, 7), (3, 1000), (4, 1)] {
            prop_assert_eq!(&run(&policy, shards, batch, &packets), &expected);
        }
    }

    #[test]
    fn any_times_at_all_are_survived(
        packets in any_packets(),
        times in prop::collection::vec(any::<i64>(), 120),
        as_zeek: bool,
    ) {
        let packets: Vec<_> = packets
            .into_iter()
            .zip(times)
            .map(|(packet, nanos)| Packet { time: Timestamp::from_nanos(nanos), ..packet })
            .collect();
        let policy = Policy { as_zeek, inner: as_zeek, ignore_checksums: !as_zeek, ..Policy::default() };
        run(&policy, 1, 10, &packets);
    }
}
