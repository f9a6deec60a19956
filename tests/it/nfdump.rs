//! Packets and IP bytes of each directed 5-tuple, against what nfpcapd and nfdump count.
//!
//! Packets in tunnels and fragments are left out of the captures first, by what tshark says of them:
//! nfpcapd makes flows of what tunnels carry, and reassembles. Two further habits of its are known,
//! and what they make of our sums is worked out and printed; any other difference fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use libtest_mimic::Failed;
use tidegate::{
    flow::{Output, Policy, Shards},
    record::{Flow, Icmp, IcmpPorts, Packet, Transport},
};

use crate::harness::{
    Case, Outcome, Scene, captures,
    nfdump::{self, OneWay},
    packets::{self, Read},
    tshark,
};

/// nfpcapd does not look behind these IPv6 extension headers: hop-by-hop, routing, destination.
const EXTENSION_HEADERS: [u8; 3] = [0, 43, 60];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        // What tshark gives is what `headers` gives: decode::every_capture_gives_the_packets_tshark_gives.
        Case::new(packets_and_bytes_are_those_that_nfdump_counts).needs_data().busy().slow(),
        Case::new(packets_and_bytes_by_headers_are_those_that_nfdump_counts).needs_data().busy(),
    ]
}

/// Transport, sender with port, receiver with port. Of an ICMP message the ports are those of its
/// Community ID, made from the type and the code that nfpcapd has in their place.
type Tuple = (u8, (IpAddr, u16), (IpAddr, u16));

/// Packets and bytes.
type Sums = BTreeMap<Tuple, (u64, u64)>;

fn packets_and_bytes_are_those_that_nfdump_counts(scene: &Scene) -> Outcome {
    compare_all(scene, packets::packets)
}

fn packets_and_bytes_by_headers_are_those_that_nfdump_counts(scene: &Scene) -> Outcome {
    compare_all(scene, packets::by_headers)
}

fn compare_all(scene: &Scene, read: Read) -> Outcome {
    let (mut counted, mut tuples) = (0, 0);
    let (mut explained, mut unexplained) = (Vec::new(), Vec::new());
    for capture in captures::below(&scene.data)? {
        let name = capture.strip_prefix(&scene.data)?.display();
        let plain = scene.path("plain.pcap");
        tshark::filtered(&capture, tshark::NEITHER_TUNNEL_NOR_FRAGMENT, &plain)?;
        let packets = read(&plain, false)?;
        let theirs = theirs(&nfdump::flows(&plain, packets.len(), &scene.path("nfdump"))?);
        let mut expected = ours(&packets);
        counted += packets.len();
        tuples += expected.len();
        if expected == theirs {
            continue;
        }
        let mut reasons = without_lengths(&plain, &packets, &mut expected)?;
        reasons.extend(behind_extension_headers(&theirs, &mut expected));
        explained.extend(reasons.iter().map(|reason| format!("  {name}: {reason}")));
        let different = differences(&expected, &theirs).into_iter();
        unexplained.extend(different.map(|text| format!("{name}: {text}")));
    }
    eprintln!("nfdump: {counted} packets compared in {tuples} directed tuples; others differ:");
    for line in &explained {
        eprintln!("{line}");
    }
    assert!(counted > 100_000, "only {counted} packets were compared");
    if unexplained.is_empty() { Ok(()) } else { Err(unexplained.join("\n").into()) }
}

fn differences(expected: &Sums, theirs: &Sums) -> Vec<String> {
    let tuples: BTreeSet<_> = expected.keys().chain(theirs.keys()).collect();
    let difference = |tuple| {
        let (ours, theirs) = (expected.get(tuple), theirs.get(tuple));
        (ours != theirs).then(|| format!("{tuple:?}: {ours:?}, nfdump has {theirs:?}"))
    };
    tuples.into_iter().filter_map(difference).collect()
}

/// Offloading leaves large packets without a length: nfpcapd counts what is written there, we what
/// the frame holds.
fn without_lengths(
    capture: &Path,
    packets: &[Packet],
    expected: &mut Sums,
) -> Result<Vec<String>, Failed> {
    let numbers = tshark::without_ip_length(capture)?;
    let mut reasons = BTreeMap::<_, u64>::new();
    for packet in packets.iter().filter(|packet| numbers.contains(&packet.number)) {
        let header = &packet.outer;
        let ports = header.layer4.ports().map_or((0, 0), |ports| (ports.source, ports.destination));
        let (source, destination) = ((header.source, ports.0), (header.destination, ports.1));
        let tuple = (header.transport.0, source, destination);
        if let Some(sum) = expected.get_mut(&tuple) {
            sum.1 -= u64::from(header.ip_bytes);
            *reasons.entry(tuple).or_default() += u64::from(header.ip_bytes);
        }
    }
    let reason = |(tuple, bytes)| format!("{tuple:?}: {bytes} bytes of packets without a length");
    Ok(reasons.into_iter().map(reason).collect())
}

/// What nfpcapd counts under an extension header is ours under what lies behind: in sum the same
/// between two addresses.
fn behind_extension_headers(theirs: &Sums, expected: &mut Sums) -> Vec<String> {
    let mut reasons = Vec::new();
    for (tuple, sum) in theirs.iter().filter(|(tuple, _)| EXTENSION_HEADERS.contains(&tuple.0)) {
        let between = |other: &Tuple| (other.1.0, other.2.0) == (tuple.1.0, tuple.2.0);
        let seen = |tuple: &Tuple| theirs.get(tuple).copied().unwrap_or_default();
        let lacking: Vec<_> = expected
            .iter()
            .filter(|(other, ours)| between(other) && **ours > seen(other))
            .map(|(other, ours)| (*other, *ours, seen(other)))
            .collect();
        let lack = lacking.iter().fold((0, 0), |lack, (_, ours, seen)| {
            (lack.0 + ours.0 - seen.0, lack.1 + ours.1 - seen.1)
        });
        if lack == *sum {
            for (other, _, seen) in lacking {
                expected.remove(&other);
                add(expected, other, seen.0, seen.1);
            }
            expected.insert(*tuple, *sum);
            let packets = sum.0;
            reasons.push(format!("{tuple:?}: {packets} packets with IPv6 extension headers"));
        }
    }
    reasons
}

/// What our table counts.
fn ours(packets: &[Packet]) -> Sums {
    let mut table = Shards::new(Policy::default(), 1);
    let mut out = Output::default();
    table.absorb(packets, &mut out);
    table.drain(&mut out);
    let mut sums = Sums::new();
    for flow in out.flows.iter().map(|report| &report.record) {
        let (initiator, responder) = ends(flow);
        for (from, to, sent) in
            [(initiator, responder, &flow.initiator), (responder, initiator, &flow.responder)]
        {
            add(&mut sums, (flow.transport.0, from, to), sent.packets, sent.bytes);
        }
    }
    sums
}

/// The ends of a flow, with the ports that nfpcapd has.
fn ends(flow: &Flow) -> ((IpAddr, u16), (IpAddr, u16)) {
    let [initiator, responder] = match flow.icmp {
        Some(message) => {
            let ports = IcmpPorts::of(flow.transport, message);
            [ports.source, ports.destination]
        }
        // It reads no others than those of TCP and UDP.
        None if flow.transport == Transport::SCTP => [0, 0],
        None => [&flow.initiator, &flow.responder].map(|end| end.port.unwrap_or(0)),
    };
    ((flow.initiator.address, initiator), (flow.responder.address, responder))
}

/// What nfdump counts.
fn theirs(flows: &[OneWay]) -> Sums {
    let mut sums = Sums::new();
    for flow in flows {
        let (mut source, mut destination) = (flow.source, flow.destination);
        if let Some((kind, code)) = flow.icmp {
            let ports = IcmpPorts::of(Transport(flow.transport), Icmp { kind, code });
            (source.1, destination.1) = (ports.source, ports.destination);
        }
        add(&mut sums, (flow.transport, source, destination), flow.packets, flow.bytes);
    }
    sums
}

fn add(sums: &mut Sums, tuple: Tuple, packets: u64, bytes: u64) {
    if packets > 0 {
        let sum = sums.entry(tuple).or_default();
        *sum = (sum.0 + packets, sum.1 + bytes);
    }
}
