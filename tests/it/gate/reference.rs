//! The program's parser against the reference, `tidegate::decode`: frames made at random and frames of
//! every kind, changed at random.

use std::net::IpAddr;

use libtest_mimic::Failed;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tidegate::{
    decode::{Frame, LinkType, Options, Skipped, decode},
    record::{Layer4, ObservationPoint, Packet, Timestamp, Vlans},
};
use tidegate_ebpf::abi::{self, Parsed, Parsing, Part};

use super::made::{
    ENFORCE, ICMP, ICMPV6, SCTP, SYN, TCP, UDP, extensions, gate, ip4, ip4_with, ip6, tagged, tcp,
    udp,
};
use crate::harness::{Case, Outcome, Scene, frames};

const SHORT_RUN: u32 = 50_000;
const FULL_RUN: u32 = 1_000_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(random_and_changed_frames_are_read_as_the_reference_reads_them)
            .needs_root()
            .busy(),
    ]
}

fn random_and_changed_frames_are_read_as_the_reference_reads_them(scene: &Scene) -> Outcome {
    let (mut gate, _maps) = gate(&ENFORCE)?;
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[13; 32]);
    let kinds = kinds();
    let (mut read, mut other) = (0_u32, 0_u32);
    for round in 0..if scene.full { FULL_RUN } else { SHORT_RUN } {
        let frame = changed(&kinds, &mut random);
        let ours = gate.parse(&frame)?;
        if compare(&frame, &ours).map_err(|what| {
            Failed::from(format!("round {round}, {what}\n{ours:?}\n{frame:02x?}"))
        })? {
            read += 1;
        } else {
            other += 1;
        }
    }
    assert!(read > SHORT_RUN / 3, "only {read} were read");
    assert!(other > SHORT_RUN / 50, "only {other} were no IP, or damaged");
    Ok(())
}

/// A frame of each kind.
pub(super) fn kinds() -> Vec<Vec<u8>> {
    let parts = frames::udp6_fragments([7, 9]);
    let mut kinds = vec![
        ip4(TCP, &tcp(22, SYN)),
        ip4(UDP, &[udp([5, 53]), vec![7; 30]].concat()),
        ip4(ICMP, &[8, 0, 0, 0, 0, 0, 0, 1]),
        ip4(SCTP, &[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]),
        ip4(47, &[0; 12]),
        ip4_with([10, 0, 0, 1], TCP, &[1, 1, 1, 0], 0x4000, &tcp(80, SYN)),
        ip4_with([10, 0, 0, 1], TCP, &[], 0x2000, &tcp(80, SYN)),
        ip4_with([10, 0, 0, 1], TCP, &[], 0x2000, &[1, 2, 3, 4, 5, 6, 7, 8]),
        ip4_with([10, 0, 0, 1], UDP, &[], 5, &[9; 30]),
        ip6(TCP, &tcp(443, SYN)),
        ip6(UDP, &udp([1, 2])),
        ip6(ICMPV6, &[135, 0, 0, 0]),
        ip6(59, &[]),
        ip6(0, &extensions(1, 43, &[6, 0, 4, 0, 0, 0, 0, 0])),
        ip6(60, &extensions(9, TCP, &tcp(25, SYN))),
        ip6(60, &extensions(64, TCP, &tcp(25, SYN))),
        ip6(51, &[&[TCP, 4, 0, 0][..], &[0; 20], &tcp(25, SYN)].concat()),
        ip6(135, &[59, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        frames::arp(),
        frames::ethernet(60, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45]),
    ];
    kinds.extend(parts.iter().map(|packet| frames::on_ethernet(packet)));
    let tags: Vec<_> =
        kinds.iter().flat_map(|frame| [tagged(1, frame), tagged(2, frame)]).collect();
    kinds.extend(tags);
    kinds
}

/// One of the kinds: some bytes changed, perhaps cut or with something behind it; now and then all of it
/// random.
pub(super) fn changed(kinds: &[Vec<u8>], random: &mut TestRng) -> Vec<u8> {
    let mut below = |limit: usize| random.next_u32() as usize % limit;
    let mut frame = kinds[below(kinds.len())].clone();
    match below(8) {
        0 => frame.truncate(14 + below(frame.len() - 13)),
        1 => frame.extend(vec![0xa5; below(64)]),
        2 => {
            let length = 14 + below(120);
            frame.resize(length, 0);
            for byte in frame.iter_mut().skip(14) {
                *byte = u8::try_from(below(256)).unwrap_or(0);
            }
        }
        _ => {}
    }
    for _ in 0..below(4) {
        // Beyond the addresses, where something is decided by.
        let at = 12 + below(frame.len() - 12);
        frame[at] = match below(4) {
            0 => 0,
            1 => 0xff,
            _ => u8::try_from(below(256)).unwrap_or(0),
        };
    }
    frame
}

/// True if both read an IP packet.
fn compare(frame: &[u8], ours: &Parsed) -> Result<bool, String> {
    let reference = decode(
        &Frame {
            time: Timestamp::default(),
            epoch: 0,
            number: 1,
            link: LinkType(1),
            origin: ObservationPoint::default(),
            length: u32::try_from(frame.len()).unwrap_or(0),
            bytes: frame,
        },
        &Options::default(),
    );
    let (kind, tags, at) = announced(frame);
    let version = frame.get(at).map(|byte| byte >> 4);
    match (ours.parsing, reference) {
        // What the gate leaves to others: it reads IP behind at most two tags.
        (Parsing::TooDeep, _) if tags > 2 => Ok(false),
        (Parsing::NotIp, reference) => match kind {
            0x0800 | 0x86dd if tags <= 2 => Err(format!("is no IP to us: {reference:?}")),
            _ => Ok(false),
        },
        // The stack drops what announces one version and is the other; the reference reads it.
        (Parsing::Malformed, _)
            if (kind == 0x0800 && version == Some(6)) || (kind == 0x86dd && version != Some(6)) =>
        {
            Ok(false)
        }
        (Parsing::Malformed, Err(Skipped::Malformed | Skipped::CutShort)) => Ok(false),
        (Parsing::Ok, Ok(packet)) => same(frame, at, ours, &packet).map(|()| true),
        (_, reference) => Err(format!("the reference says {reference:?}")),
    }
}

/// The type that the frame's addresses and tags announce, the tags, and where it begins.
fn announced(frame: &[u8]) -> (u16, usize, usize) {
    let number = |at: usize| {
        frame.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let mut at = 12;
    while matches!(number(at), 0x8100 | 0x88a8 | 0x9100) {
        at += 4;
    }
    (number(at), (at - 12) / 4, at + 2)
}

fn same(frame: &[u8], at: usize, ours: &Parsed, packet: &Packet) -> Result<(), String> {
    let theirs = &packet.outer;
    // The reference follows a source route to its end.
    let routed = match theirs.destination {
        IpAddr::V4(_) => frame[at] & 0x0f > 5,
        IpAddr::V6(_) => true,
    };
    let part = match theirs.fragment {
        Some(fragment) if fragment.offset > 0 => Part::Later,
        Some(fragment) if fragment.more => Part::First,
        // An atomic fragment (RFC 6946) is a whole packet too.
        _ => Part::Whole,
    };
    let mut differences = Vec::new();
    let mut differ = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            differences.push(format!("{what}: ours {ours}, the reference's {theirs}"));
        }
    };
    differ("source", ours.source.to_string(), theirs.source.to_string());
    if !routed {
        differ("destination", ours.destination.to_string(), theirs.destination.to_string());
    }
    // The reference looks further than two tags.
    if announced(frame).1 <= 2 {
        let tags = Vlans::from_words(ours.vlans);
        differ("VLANs", format!("{tags:?}"), format!("{:?}", packet.vlans));
    }
    differ("ip_bytes", ours.ip_bytes.to_string(), theirs.ip_bytes.to_string());
    // Within an extension header that is cut the gate has nothing to say, nor behind 64 of them; the
    // reference says what the beginning of it announces.
    let is_extension = matches!(ours.transport, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140);
    if packet.outer.source.is_ipv6() && is_extension && ours.layer4 == abi::Layer4::Opaque {
        return if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) };
    }
    differ("part", format!("{:?}", ours.part), format!("{part:?}"));
    differ("transport", ours.transport.to_string(), theirs.transport.0.to_string());
    let (layer4, ports, flags, icmp) = match theirs.layer4 {
        Layer4::Opaque => (abi::Layer4::Opaque, [0; 2], 0, [0; 2]),
        Layer4::Tcp(tcp) => {
            let ports = [tcp.ports.source, tcp.ports.destination];
            (abi::Layer4::Read, ports, tcp.flags.0, [0; 2])
        }
        Layer4::TcpPorts(ports) => {
            (abi::Layer4::Ports, [ports.source, ports.destination], 0, [0; 2])
        }
        Layer4::Udp(ports, _) | Layer4::Sctp(ports) => {
            (abi::Layer4::Read, [ports.source, ports.destination], 0, [0; 2])
        }
        Layer4::Icmp(icmp) => (abi::Layer4::Read, [0; 2], 0, [icmp.kind, icmp.code]),
    };
    differ("layer 4", format!("{:?}", ours.layer4), format!("{layer4:?}"));
    differ(
        "ports",
        format!("{:?}", [ours.source_port, ours.destination_port]),
        format!("{ports:?}"),
    );
    differ("flags", ours.tcp_flags.to_string(), flags.to_string());
    differ("icmp", format!("{:?}", ours.icmp), format!("{icmp:?}"));
    if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
}
