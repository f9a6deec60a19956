//! Our own decoder against what the same frames give through tshark, field by field.
//!
//! A frame may differ for a reason, and each reason is a kind: what tshark guesses or leaves out, or
//! what we read wrongly of what it prints.

use std::{collections::BTreeMap, fmt::Debug};

use libtest_mimic::Failed;
use tidegate::{
    decode::{Options, Skipped, decode},
    dns::PassiveNames,
    record::{Checksum, Checksums, Header, Layer4, Packet, Tcp, Transport},
};

use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture},
    packets::packets,
    recorded::{Recorded, recorded},
};

/// Port of flow samples.
const SFLOW: u16 = 6343;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_capture_gives_the_packets_tshark_gives).needs_data(),
        Case::new(frames_cut_at_each_byte_give_the_packets_tshark_gives),
        Case::new(names_are_learnt_without_tshark),
    ]
}

/// Frames that agree, and reasons why others don't.
#[derive(Debug, Default)]
struct Tally {
    same: usize,
    reasons: BTreeMap<(String, &'static str), Vec<u64>>,
    unexplained: Vec<String>,
}

/// A field that differs.
struct Difference {
    field: &'static str,
    ours: String,
    theirs: String,
    reason: Option<&'static str>,
}

fn every_capture_gives_the_packets_tshark_gives(scene: &Scene) -> Outcome {
    let mut tally = Tally::default();
    let reports = scene.data.join("../reports");
    let mut files = captures::below(&scene.data)?;
    if reports.is_dir() {
        files.extend(captures::below(&reports)?);
    }
    for file in &files {
        let name = file.file_name().map_or(String::new(), |name| name.to_string_lossy().into());
        match packets(file, true) {
            Ok(theirs) => tally.compare(&name, &recorded(file)?, theirs),
            // A simple packet block of pcapng has none.
            Err(error)
                if error.message().is_some_and(|why| why.contains("time_epoch is missing")) =>
            {
                tally.explained(&name, "ours: frames without a time are not read", 0);
            }
            Err(error) => return Err(error),
        }
    }
    assert!(tally.same > 240_000, "only {} frames agree", tally.same);
    tally.outcome()
}

fn frames_cut_at_each_byte_give_the_packets_tshark_gives(scene: &Scene) -> Outcome {
    let whole = scene.path("whole.pcap");
    captures::every_kind().write(&whole);
    let mut capture = Capture::nanos();
    for frame in recorded(&whole)?.iter().filter(|frame| frame.bytes.len() == frame.length as usize)
    {
        for captured in 0..frame.bytes.len() {
            capture.cut_frame(captures::EPOCH_SECONDS, 0, &frame.bytes, captured);
        }
    }
    let cut = scene.path("cut.pcap");
    capture.write(&cut);
    let mut tally = Tally::default();
    tally.compare("cut", &recorded(&cut)?, packets(&cut, true)?);
    assert!(tally.same > 1_000, "only {} frames agree", tally.same);
    tally.outcome()
}

fn names_are_learnt_without_tshark(_scene: &Scene) -> Outcome {
    let options = Options { checksums: false, dns: true };
    let frames = recorded(&Scene::project("examples/first/first.pcap"))?;
    let read: Vec<_> =
        frames.iter().filter_map(|frame| decode(&frame.frame(), &options).ok()).collect();
    let mut names = PassiveNames::new(100);
    for packet in &read {
        names.learn(packet);
    }
    let packet = read.last().ok_or("no packets")?;
    let server = "198.51.100.20".parse()?;
    let found = names.names(server, "192.0.2.10".parse()?, packet.time);
    assert_eq!(found.and_then(|names| names.name()), Some("tidegate.example"));
    Ok(())
}

// === impl Tally ===

impl Tally {
    fn explained(&mut self, name: &str, reason: &'static str, number: u64) {
        self.reasons.entry((name.to_owned(), reason)).or_default().push(number);
    }

    fn compare(&mut self, name: &str, frames: &[Recorded], theirs: Vec<Packet>) {
        let options = Options { checksums: true, dns: false };
        let mut theirs = theirs.into_iter().peekable();
        for frame in frames {
            let number = frame.number;
            let their = theirs.next_if(|packet| packet.number == number);
            let found = match (decode(&frame.frame(), &options), &their) {
                (Err(_), None) => Vec::new(),
                (Ok(ours), Some(theirs)) => differences(&ours, theirs),
                (Err(Skipped::SeveralPackets), Some(_)) => {
                    let reason =
                        "ours: a second packet of a frame is taken for one within the first";
                    self.explained(name, reason, number);
                    continue;
                }
                (ours, theirs) => {
                    self.unexplained.push(format!("{name} {number}: {ours:?}, tshark: {theirs:?}"));
                    continue;
                }
            };
            if found.is_empty() {
                self.same += 1;
            }
            for Difference { field, ours, theirs, reason } in found {
                match reason {
                    Some(reason) => self.explained(name, reason, number),
                    None => self
                        .unexplained
                        .push(format!("{name} {number}: {field} is {ours}, by tshark {theirs}")),
                }
            }
        }
        self.unexplained.extend(theirs.map(|packet| format!("{name}: left over: {packet:?}")));
    }

    fn outcome(self) -> Outcome {
        eprintln!("decode: {} frames give the packets tshark gives; others:", self.same);
        for ((name, reason), mut numbers) in self.reasons {
            numbers.dedup();
            let count = numbers.len();
            numbers.truncate(8);
            eprintln!("  {name}: {count} frames: {reason}: {numbers:?}");
        }
        if self.unexplained.is_empty() {
            return Ok(());
        }
        let count = self.unexplained.len();
        let first: Vec<_> = self.unexplained.into_iter().take(40).collect();
        Err(Failed::from(format!("{count} unexplained:\n{}", first.join("\n"))))
    }
}

// === differences ===

fn differences(ours: &Packet, theirs: &Packet) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut found, "time", &ours.time, &theirs.time, None);
    compare(&mut found, "frame_bytes", &ours.frame_bytes, &theirs.frame_bytes, None);
    compare(&mut found, "captured_bytes", &ours.captured_bytes, &theirs.captured_bytes, None);
    let macs = |packet: &Packet| (packet.source_mac, packet.destination_mac);
    compare(&mut found, "macs", &macs(ours), &macs(theirs), None);
    let has_null = [theirs.vlans.outer(), theirs.vlans.inner()].contains(&Some(0));
    let reason = has_null.then_some("ours: VLAN id 0 is taken for a VLAN");
    compare(&mut found, "vlans", &ours.vlans, &theirs.vlans, reason);
    let is_cut = ours.captured_bytes < ours.frame_bytes;
    header(&mut found, &ours.outer, &theirs.outer, is_cut);
    let is_sampled = ours.outer.layer4.ports().is_some_and(|ports| ports.destination == SFLOW);
    let reason = is_sampled.then_some("ours: flow samples are taken for tunnels");
    let depth = |packet: &Packet| packet.inner.len();
    compare(&mut found, "inner headers", &depth(ours), &depth(theirs), reason);
    let carrier = std::iter::once(&ours.outer).chain(&ours.inner);
    let mut partial = false;
    for ((ours, theirs), carrier) in ours.inner.iter().zip(&theirs.inner).zip(carrier) {
        partial |= matches!(carrier.layer4, Layer4::Icmp(_)) || carrier.fragment.is_some();
        if partial {
            of_partial(&mut found, ours, theirs);
        } else {
            header(&mut found, ours, theirs, is_cut);
        }
    }
    found
}

fn compare<T: PartialEq + Debug>(
    found: &mut Vec<Difference>,
    field: &'static str,
    ours: &T,
    theirs: &T,
    reason: Option<&'static str>,
) {
    if ours != theirs {
        let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
        found.push(Difference { field, ours, theirs, reason });
    }
}

/// A header that an ICMP error quotes, or that a fragment holds only in part.
fn of_partial(found: &mut Vec<Difference>, ours: &Header, theirs: &Header) {
    let reason = Some("tshark: numbers and lengths of a quoted header are not printed");
    let mut blurred = [ours.clone(), theirs.clone()];
    for header in &mut blurred {
        header.checksums = Checksums::default();
        match &mut header.layer4 {
            Layer4::Tcp(tcp) => {
                (tcp.sequence, tcp.acknowledgement, tcp.payload_bytes) = (0, 0, 0);
            }
            Layer4::Udp(_, bytes) => *bytes = 0,
            _ => {}
        }
    }
    compare(found, "a quoted header", &blurred[0], &blurred[1], None);
    if blurred[0] == blurred[1] {
        compare(found, "a quoted header", &ours.layer4, &theirs.layer4, reason);
    }
}

fn header(found: &mut Vec<Difference>, ours: &Header, theirs: &Header, is_cut: bool) {
    let is_v6 = ours.source.is_ipv6();
    compare(found, "source", &ours.source, &theirs.source, None);
    let reason = is_v6.then_some("ours: the destination is not a routing header's final one");
    compare(found, "destination", &ours.destination, &theirs.destination, reason);
    let reason = match theirs.ip_bytes {
        0 if is_v6 => Some("ours: an IPv6 packet without a length has none"),
        bytes if bytes > ours.ip_bytes => Some("ours: a length goes beyond the frame"),
        _ => None,
    };
    compare(found, "ip_bytes", &ours.ip_bytes, &theirs.ip_bytes, reason);
    let chain = match (ours.transport, theirs.transport) {
        (Transport(0 | 43 | 44 | 60), theirs) if !is_v6 && theirs != ours.transport => {
            Some("ours: a protocol behind IPv4 is taken for an extension header")
        }
        (_, Transport(51 | 135 | 139 | 140)) if is_v6 => {
            Some("ours: an extension header is not walked")
        }
        (_, Transport(0 | 43 | 44 | 60)) if is_v6 && is_cut => {
            Some("tshark: an extension header that was cut has no next header")
        }
        _ => None,
    };
    compare(found, "transport", &ours.transport, &theirs.transport, chain);
    let is_unread =
        theirs.fragment.is_some_and(|part| (part.offset, part.more, part.id) == (0, false, 0));
    let reason = (is_cut && is_unread).then_some("ours: a fragment header that was cut says 0");
    compare(found, "fragment", &ours.fragment, &theirs.fragment, reason.or(chain));
    // tshark verifies it for TCP alone, as asked.
    if ours.transport == Transport::TCP && chain.is_none() {
        let (one, other) = (ours.checksums.transport, theirs.checksums.transport);
        let reason = (one == Checksum::Unverified && theirs.ip_bytes > ours.ip_bytes)
            .then_some("ours: a length goes beyond the frame");
        compare(found, "checksum", &one, &other, reason);
    }
    let reason = chain.or_else(|| of_transport(ours, theirs, is_cut));
    compare(found, "layer 4", &ours.layer4, &theirs.layer4, reason);
}

/// Why transport headers differ.
fn of_transport(ours: &Header, theirs: &Header, is_cut: bool) -> Option<&'static str> {
    const CUT: &str = "tshark: of a transport header that was cut less is printed";
    match (ours.layer4, theirs.layer4) {
        (Layer4::Tcp(one), Layer4::Tcp(other)) if ours.fragment.is_some() => {
            let same =
                Layer4::Tcp(one) == Layer4::Tcp(Tcp { payload_bytes: one.payload_bytes, ..other });
            (same && other.payload_bytes == 0)
                .then_some("ours: a fragment of a segment has no payload")
        }
        (Layer4::Tcp(tcp), Layer4::TcpPorts(_)) if is_cut && tcp.window.is_none() => Some(CUT),
        (Layer4::Udp(one, _), Layer4::Udp(other, 0)) if is_cut && one == other => Some(CUT),
        (Layer4::Icmp(_) | Layer4::Sctp(_), Layer4::Opaque) if is_cut => Some(CUT),
        (Layer4::Opaque, Layer4::Icmp(message)) if is_cut && message.code == 0 => {
            Some("ours: the code of an ICMP header that was cut is 0")
        }
        // Offloading left no length.
        (_, Layer4::Opaque) if theirs.ip_bytes == 0 => {
            Some("ours: an IPv6 packet without a length has none")
        }
        (Layer4::Udp(one, few), Layer4::Udp(other, many)) if one == other && many > few => {
            Some("ours: a length goes beyond the frame")
        }
        _ => None,
    }
}
