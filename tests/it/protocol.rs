//! The application protocol of each packet, against the one tshark shows in its `Protocol` column.

use std::collections::BTreeMap;

use crate::harness::{Case, Outcome, Scene, captures, packets::packets_of_data, tshark};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(every_packet_has_the_protocol_tshark_shows).needs_data().busy()]
}

/// Where the column has another name: what stands inside, or what it used to be called.
const OTHERWISE: [(&str, &str, &str); 9] = [
    ("bvlc", "BACnet-APDU", "the link layer that BACnet has over UDP"),
    ("dhcp", "BOOTP", "a message without DHCP's options"),
    ("http", "TCP", "a proxy's connection, once it is through"),
    ("http", "TLSv1", "the same"),
    ("http", "TLSv1.2", "the same"),
    ("rpc", "NFS", "a program that frame.protocols does not name"),
    ("rpc", "Portmap", "the same"),
    ("smb", "BROWSER", "carried by SMB"),
    ("tls", "SSL", "a record without a version"),
];
/// What the column shows of packets that carry no application: those of tunnels too, and of what is in
/// tunnels without an IP packet that could be read.
const NO_APPLICATION: [&str; 12] = [
    "ARP", "AYIYA", "ESP", "Ethernet", "ICMP", "ICMPv6", "IPv4", "L2TP", "RSVP", "SCTP", "TCP",
    "UDP",
];

/// The column is about the innermost packet: those in tunnels, or quoted, are left out.
fn every_packet_has_the_protocol_tshark_shows(scene: &Scene) -> Outcome {
    let mut pairs = BTreeMap::<_, usize>::new();
    for capture in captures::below(&scene.data)? {
        let shown = tshark::answers(&capture)?.by_number("_ws.col.Protocol")?;
        let packets = packets_of_data(&capture)?;
        for packet in packets.iter().filter(|packet| packet.inner.is_empty()) {
            let shown = shown[&packet.number].clone();
            *pairs.entry((packet.protocol.clone(), shown)).or_default() += 1;
        }
    }
    let wrong: Vec<_> =
        pairs.iter().filter(|((ours, shown), _)| !agree(ours.as_deref(), shown)).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}").into()) }
}

fn agree(ours: Option<&str>, shown: &str) -> bool {
    let Some(ours) = ours else { return NO_APPLICATION.contains(&shown) };
    // `SSHv2`, `HTTP/JSON`.
    shown.to_lowercase().starts_with(ours)
        || OTHERWISE.iter().any(|(name, column, _)| (*name, *column) == (ours, shown))
}
