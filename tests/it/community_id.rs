//! Community ID against the vectors of its specification, and against what tshark computes.

use std::{collections::BTreeMap, fs, net::IpAddr};

use serde::Deserialize;
use tidegate::record::{CommunityId, Header, Icmp, IcmpPorts, Layer4, Packet, Transport};

use crate::harness::{
    Case, Outcome, Scene, captures,
    packets::{self, Read},
    tshark,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_vector_of_the_specification_is_met).needs_data(),
        // What tshark gives is what `headers` gives: decode::every_capture_gives_the_packets_tshark_gives.
        Case::new(every_packet_has_the_id_tshark_gives_it).needs_data().busy().slow(),
        Case::new(every_packet_by_headers_has_the_id_tshark_gives_it).needs_data().busy(),
    ]
}

#[derive(Debug, Deserialize)]
struct Vector {
    proto: u8,
    saddr: IpAddr,
    daddr: IpAddr,
    sport: Option<u16>,
    dport: Option<u16>,
    communityid: String,
}

fn every_vector_of_the_specification_is_met(scene: &Scene) -> Outcome {
    let mut met = 0;
    for (file, seed, is_hex) in
        [("baseline_deflt", 0, false), ("baseline_seed1", 1, false), ("baseline_nob64", 0, true)]
    {
        let path = scene.data.join(format!("community-id/{file}.json"));
        let vectors: Vec<Vector> = serde_json::from_slice(&fs::read(path)?)?;
        for vector in vectors {
            let id = vector.id(seed);
            let text = if is_hex { hexadecimal(&id) } else { id.to_string() };
            if text != vector.communityid {
                return Err(format!("{file}: {vector:?} came out as {text}").into());
            }
            met += 1;
        }
    }
    if met == 69 { Ok(()) } else { Err(format!("{met} vectors, not 69").into()) }
}

fn every_packet_has_the_id_tshark_gives_it(scene: &Scene) -> Outcome {
    compare_all(scene, packets::packets)
}

fn every_packet_by_headers_has_the_id_tshark_gives_it(scene: &Scene) -> Outcome {
    compare_all(scene, packets::by_headers)
}

fn compare_all(scene: &Scene, read: Read) -> Outcome {
    let (mut same, mut unexplained) = (0, Vec::new());
    let mut reasons = BTreeMap::<_, usize>::new();
    // From the last one: another case asks tshark from the first one on.
    for capture in captures::below(&scene.data)?.into_iter().rev() {
        let name = capture.strip_prefix(&scene.data)?.display().to_string();
        let theirs = tshark::answers(&capture)?.by_number("communityid")?;
        let packets = read(&capture, false)?;
        // Elsewhere it has to agree on every packet.
        let may_differ = packets.iter().any(|packet| {
            packet.outer.fragment.is_some() || (!packet.inner.is_empty() && !is_icmp(packet))
        });
        for packet in &packets {
            let ours = CommunityId::of(&packet.outer).to_string();
            let theirs = &theirs[&packet.number];
            if ours == *theirs {
                same += 1;
            } else if let Some(reason) = reason(packet, theirs).filter(|_| may_differ) {
                *reasons.entry((name.clone(), reason)).or_default() += 1;
            } else {
                let (number, header) = (packet.number, &packet.outer);
                unexplained
                    .push(format!("{name} {number}: {ours}, tshark has {theirs:?}: {header:?}"));
            }
        }
    }
    eprintln!("community id: {same} packets have the id tshark gives them; others:");
    for ((name, reason), count) in reasons {
        eprintln!("  {name}: {count} packets: {reason}");
    }
    assert!(same > 100_000, "only {same} packets agree");
    if unexplained.is_empty() { Ok(()) } else { Err(unexplained.join("\n").into()) }
}

/// Whether what lies inside is only quoted.
fn is_icmp(packet: &Packet) -> bool {
    matches!(packet.outer.layer4, Layer4::Icmp(_))
}

/// Why tshark has another id than that of the outermost header.
fn reason(packet: &Packet, theirs: &str) -> Option<&'static str> {
    let is_theirs = |id: CommunityId| id.to_string() == theirs;
    if packet.inner.iter().any(|header| is_theirs(CommunityId::of(header))) {
        return Some("tshark takes the innermost packet of a tunnel");
    }
    let headers = || std::iter::once(&packet.outer).chain(&packet.inner);
    let mixed = |ends: &Header, ports: &Header| {
        let (from, to) =
            ports.layer4.ports().map(|ports| (ports.source, ports.destination)).unzip();
        let (from, to) = ((ends.source, from), (ends.destination, to));
        is_theirs(CommunityId::of_ports(ports.transport, from, to))
    };
    headers()
        .any(|ends| headers().any(|ports| mixed(ends, ports)))
        .then_some("tshark joins the addresses of one header with the ports of another")
}

fn hexadecimal(id: &CommunityId) -> String {
    id.bytes().iter().fold("1:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

impl Vector {
    fn id(&self, seed: u16) -> CommunityId {
        let transport = Transport(self.proto);
        let is_icmp = matches!(transport, Transport::ICMP | Transport::ICMPV6);
        let ports = self.sport.zip(self.dport);
        // The vectors carry what stands for the ports: a type, and its counterpart or a code.
        let directed = is_icmp
            && ports
                .and_then(|(kind, code)| kind.try_into().ok().zip(code.try_into().ok()))
                .is_some_and(|(kind, code)| IcmpPorts::of(transport, Icmp { kind, code }).one_way);
        CommunityId::seeded(seed, transport, self.saddr, self.daddr, ports, directed)
    }
}
