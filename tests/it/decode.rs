//! Our own decoder against what the same frames give through tshark, field by field.
//!
//! A frame may differ for a reason, and each reason is a kind of what tshark guesses or leaves out.

mod kinds;

use std::{collections::BTreeMap, fmt::Debug};

use libtest_mimic::Failed;
use tidegate::{
    decode::{Options, decode},
    dns::PassiveNames,
    record::{Checksums, Header, Layer4, Packet, Transport},
};

use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture},
    packets::{each, packets},
    recorded::{Recorded, recorded},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_capture_gives_the_packets_tshark_gives).needs_data(),
        Case::new(frames_of_every_kind_of_trouble_give_the_packets_tshark_gives),
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
        tally.compare(&name, &recorded(file)?, packets(file, true)?);
    }
    assert!(tally.same > 240_000, "only {} frames agree", tally.same);
    tally.outcome()
}

fn frames_of_every_kind_of_trouble_give_the_packets_tshark_gives(scene: &Scene) -> Outcome {
    let mut tally = Tally::default();
    for (name, link, frames) in kinds::all() {
        let mut capture = Capture::nanos().of_link(link);
        for kinds::Framed { bytes, length } in &frames {
            let mut whole = bytes.clone();
            whole.resize(*length, 0);
            capture.cut_frame(captures::EPOCH_SECONDS, 0, &whole, bytes.len());
        }
        let file = scene.path(&format!("{name}.pcap"));
        capture.write(&file);
        let before = tally.same;
        tally.compare(name, &recorded(&file)?, packets(&file, true)?);
        assert!(tally.same > before, "no frame of {name} agrees");
    }
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
    let options = Options { dns: true, ..Options::default() };
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
        let options = Options { checksums: true, ..Options::default() };
        let mut theirs = theirs.into_iter().peekable();
        for frame in frames {
            let number = frame.number;
            let mut their = Vec::new();
            while let Some(packet) = theirs.next_if(|packet| packet.number == number) {
                their.push(packet);
            }
            let ours = each(&frame.frame(), options).unwrap_or_default();
            if ours.len() != their.len() {
                let line = format!("{name} {number}: {ours:?}, tshark: {their:?}");
                self.unexplained.push(line);
                continue;
            }
            let found: Vec<_> =
                ours.iter().zip(&their).flat_map(|(one, other)| differences(one, other)).collect();
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
    compare(&mut found, "part", &ours.part, &theirs.part, None);
    compare(&mut found, "frame_bytes", &ours.frame_bytes, &theirs.frame_bytes, None);
    compare(&mut found, "captured_bytes", &ours.captured_bytes, &theirs.captured_bytes, None);
    let macs = |packet: &Packet| (packet.source_mac, packet.destination_mac);
    compare(&mut found, "macs", &macs(ours), &macs(theirs), None);
    compare(&mut found, "vlans", &ours.vlans, &theirs.vlans, None);
    let is_cut = ours.captured_bytes < ours.frame_bytes;
    // A header that is cut is damage; one that is not shown looks cut.
    let reason = unread(&ours.outer, &theirs.outer, is_cut)
        .or_else(|| of_transport(&ours.outer, &theirs.outer, is_cut))
        .filter(|_| theirs.damaged);
    compare(&mut found, "damaged", &ours.damaged, &theirs.damaged, reason);
    header(&mut found, &ours.outer, &theirs.outer, is_cut);
    let depth = |packet: &Packet| packet.inner.len();
    compare(&mut found, "inner headers", &depth(ours), &depth(theirs), None);
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
    compare(found, "source", &ours.source, &theirs.source, None);
    compare(found, "destination", &ours.destination, &theirs.destination, None);
    compare(found, "ip_bytes", &ours.ip_bytes, &theirs.ip_bytes, None);
    let chain = unread(ours, theirs, is_cut);
    compare(found, "transport", &ours.transport, &theirs.transport, chain);
    compare(found, "fragment", &ours.fragment, &theirs.fragment, chain);
    compare(found, "checksums", &ours.checksums, &theirs.checksums, chain);
    let reason = chain.or_else(|| of_transport(ours, theirs, is_cut));
    compare(found, "layer 4", &ours.layer4, &theirs.layer4, reason);
}

/// Why a chain of extension headers ends before it does.
fn unread(ours: &Header, theirs: &Header, is_cut: bool) -> Option<&'static str> {
    match theirs.transport {
        Transport(0 | 43 | 44 | 51 | 60) if is_cut && theirs.source.is_ipv6() => {
            Some("tshark: an extension header that was cut has no next header")
        }
        Transport(0) if theirs.source.is_ipv6() && theirs.transport != ours.transport => {
            Some("tshark: hop-by-hop options of a packet without a length are not read")
        }
        _ => None,
    }
}

/// Why transport headers differ.
fn of_transport(ours: &Header, theirs: &Header, is_cut: bool) -> Option<&'static str> {
    const CUT: &str = "tshark: of a transport header that was cut less is printed";
    match (ours.layer4, theirs.layer4) {
        (Layer4::Tcp(tcp), Layer4::TcpPorts(_)) if is_cut && tcp.window.is_none() => Some(CUT),
        (Layer4::Icmp(_) | Layer4::Sctp(_), Layer4::Opaque) if is_cut => Some(CUT),
        _ => None,
    }
}
