//! What may precede an IP header.

use super::{super::each, CHECKED, Skipped, build::*, packet, skipped};
use crate::record::MacAddress;

fn inside() -> Vec<u8> {
    ipv4(17, &udp(Over::V4, b"inside"))
}

fn inside6() -> Vec<u8> {
    ipv6(17, &udp(Over::V6, b"inside"))
}

/// A data frame of IEEE 802.11.
fn wlan(control: [u8; 2], quality: &[u8], payload: &[u8]) -> Vec<u8> {
    [&control, &[0; 22][..], quality, payload].concat()
}

fn value(kind: u16, payload: &[u8], to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut value = [to_bytes(length(payload) + 4), to_bytes(kind)].concat();
    value.extend(payload);
    value.resize(value.len().next_multiple_of(4), 0);
    value
}

#[test]
fn ip_is_found_behind_every_link_layer() {
    let (v4, v6) = (inside(), inside6());
    let logical = [&SNAP, typed_ip(&v4).as_slice()].concat();
    let behind = |front: &[u8], packet: &[u8]| [front, packet].concat();
    let nested = |link: u8, at: usize, bytes: usize, payload: &[u8]| {
        let mut header = vec![0; bytes];
        header[if at == 4 { 2 } else { 0 }] = u8::try_from(bytes).unwrap();
        header[at] = link;
        behind(&header, payload)
    };
    let log = |family, to_bytes: fn(u16) -> [u8; 2], packet: &[u8]| {
        let values = [value(1, &[8, 0, 3, 0], to_bytes), value(10, b"x", to_bytes)].concat();
        [&[family, 0, 0, 0], values.as_slice(), &value(9, packet, to_bytes)].concat()
    };
    let cases = [
        ("Ethernet", 1, on_ethernet(&v4)),
        ("802.2 with SNAP", 1, ethernet(length(&logical), &logical)),
        ("802.2", 1, ethernet(length(&v4) + 3, &behind(&[6, 6, 3], &v4))),
        ("cooked", 113, behind(&[0; 14], &typed_ip(&v4))),
        ("cooked, 802.2", 113, behind(&[0; 14], &typed(4, &logical))),
        ("cooked 2", 276, behind(&typed_ip(&[0x45])[..2], &behind(&[0; 18], &v4))),
        ("raw", 101, v4.clone()),
        ("raw", 12, v6.clone()),
        ("IPv4", 228, v4.clone()),
        ("IPv6", 229, v6.clone()),
        ("loopback, little-endian", 0, behind(&[2, 0, 0, 0], &v4)),
        ("loopback, big-endian", 0, behind(&[0, 0, 0, 30], &v6)),
        ("loopback, Linux", 0, behind(&[10, 0, 0, 0], &v6)),
        ("loopback of OpenBSD", 108, behind(&[0, 0, 0, 24], &v6)),
        ("PPP with address", 9, behind(&[0xff, 3, 0, 0x21], &v4)),
        ("PPP without", 9, behind(&[0, 0x57], &v6)),
        ("PPP, short protocol", 9, behind(&[0x21], &v4)),
        ("Cisco HDLC", 50, behind(&[0x0f, 0], &typed_ip(&v4))),
        ("Cisco HDLC", 104, behind(&[0x8f, 0], &typed_ip(&v6))),
        ("PPPoE", 51, behind(&[0x11, 0, 0, 1, 0, 0, 0, 0x57], &v6)),
        ("PPP with direction", 166, behind(&[1, 0xff, 3, 0, 0x21], &v4)),
        ("PPP with direction", 204, behind(&[0, 0, 0x21], &v4)),
        ("frame relay", 107, behind(&[0x18, 0x41, 3, 0xcc], &v4)),
        ("frame relay, padded", 107, behind(&[0x18, 0x41, 3, 0, 0x80, 0, 0, 0], &typed_ip(&v4))),
        ("frame relay by Cisco", 107, behind(&[0x18, 0x41], &typed_ip(&v4))),
        ("ATM", 100, logical.clone()),
        (
            "ATM, bridged",
            100,
            behind(&[0xaa, 0xaa, 3, 0, 0x80, 0xc2, 0, 7, 0, 0], &on_ethernet(&v4)),
        ),
        ("802.11", 105, wlan([0x08, 1], &[], &logical)),
        ("802.11 with quality of service", 105, wlan([0x88, 2], &[0, 0], &logical)),
        ("802.11 with control", 105, wlan([0x88, 0x81], &[0; 6], &logical)),
        ("802.11 between stations", 105, wlan([0x08, 3], &[0; 6], &logical)),
        (
            "802.11 in a mesh",
            105,
            wlan([0x88, 3], &[&[0; 6], &[0, 1, 0, 31, 1, 0, 0, 0][..]].concat(), &logical),
        ),
        (
            "802.11 in a mesh, to a group",
            105,
            wlan([0x88, 2], &[&[0, 1, 1, 31], &[0; 10][..]].concat(), &logical),
        ),
        (
            "802.11 in a mesh, between two outside it",
            105,
            wlan([0x88, 3], &[&[0; 6], &[0, 1, 2, 31][..], &[0; 16]].concat(), &logical),
        ),
        ("802.11 with a queue's size", 105, wlan([0x88, 1], &[0, 1], &logical)),
        ("802.11 with a buffer's state", 105, wlan([0x88, 2], &[0, 1], &logical)),
        ("radiotap", 127, behind(&[0, 0, 8, 0, 0, 0, 0, 0], &wlan([0x08, 1], &[], &logical))),
        (
            "radiotap, padded",
            127,
            behind(&[0, 0, 9, 0, 2, 0, 0, 0, 0x20], &wlan([0x88, 1], &[0; 4], &logical)),
        ),
        ("Prism", 119, behind(&[0; 144], &wlan([0x08, 1], &[], &logical))),
        ("AVS", 163, behind(&[0; 64], &wlan([0x08, 1], &[], &logical))),
        ("PPI", 192, nested(1, 4, 8, &on_ethernet(&v4))),
        ("PKTAP", 258, nested(1, 8, 108, &on_ethernet(&v4))),
        ("PKTAP of old", 149, nested(12, 8, 108, &v4)),
        ("ENC", 109, behind(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &v4)),
        ("PFLOG", 117, behind(&[61, 2], &behind(&[0; 62], &v4))),
        ("IPNET", 226, behind(&[0; 24], &v4)),
        ("NFLOG", 239, log(2, u16::to_le_bytes, &v4)),
        ("NFLOG, big-endian", 239, log(10, u16::to_be_bytes, &v6)),
        ("IEEE 1394", 138, behind(&[0; 16], &typed_ip(&v4))),
        ("netANALYZER", 240, behind(&[0; 4], &on_ethernet(&v4))),
    ];
    for (name, link, bytes) in cases {
        let packet = packet(link, &bytes);
        let expected = if packet.outer.source.is_ipv4() { v4.len() } else { v6.len() };
        assert_eq!(packet.outer.ip_bytes as usize, expected, "{name}");
        assert_eq!(packet.outer.layer4.ports().unwrap().destination, 514, "{name}");
        assert!(!packet.damaged, "{name}");
    }
}

#[test]
fn ip_is_found_behind_every_tag_and_shim() {
    let v4 = typed_ip(&inside());
    let whole = on_ethernet(&inside());
    let cases: [(&str, u16, &[u8], &[u8]); 16] = [
        ("MPLS", 0x8847, &[0, 1, 0, 64, 0, 2, 1, 64], &inside()),
        ("MPLS, IPv6", 0x8848, &[0, 1, 1, 64], &inside6()),
        ("pseudowire", 0x8847, &[0, 1, 1, 64], &whole),
        ("pseudowire with control word", 0x8847, &[0, 1, 1, 64, 0, 0, 0, 0], &whole),
        ("PPPoE", 0x8864, &[0x11, 0, 0, 1, 0, 56, 0, 0x57], &inside6()),
        ("group tag", 0x8909, &[1, 1, 0, 1, 0, 32], &v4),
        ("VN-Tag", 0x8926, &[0, 0, 0, 5], &v4),
        ("HSR", 0x892f, &[0, 60, 0, 7], &v4),
        ("R-Tag", 0xf1c1, &[0, 0, 0, 7], &v4),
        ("provider backbone", 0x88e7, &[0, 0, 0, 5], &whole),
        ("MAC security", 0x88e5, &[0, 0, 0, 0, 0, 1], &v4),
        ("MAC security with channel", 0x88e5, &[0x20, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8], &v4),
        ("service header", 0x894f, &[0x0f, 0xc2, 2, 1, 0, 0, 0, 1], &inside()),
        ("TRILL", 0x22f3, &[0, 1, 0, 5, 0, 6], &whole),
        ("PPP", 0x880b, &[0xff, 3, 0, 0x21], &inside()),
        ("bridged", 0x6558, &[], &whole),
    ];
    for (name, kind, front, payload) in cases {
        let packet = packet(1, &ethernet(kind, &[front, payload].concat()));
        assert_eq!(packet.outer.layer4.ports().unwrap().destination, 514, "{name}");
        assert_eq!(packet.source_mac, Some(MacAddress([2, 0, 0, 0, 0, 1])), "{name}");
    }
}

#[test]
fn the_frames_within_ciscos_frames_are_read_with_their_own_addresses() {
    let whole = on_ethernet(&inside());
    let between = [2, 1, 0, 0, 0, 7, 2, 2, 0, 0, 0, 9];
    let fabric_path = [&between[..], &[0x89, 0x03, 0x04, 0x20], &whole].concat();
    let trunk = |group: u8| {
        let front = [group, 0, 0x0c, 0, 0, 0, 2, 2, 0, 0, 0, 9];
        let rest = [0xaa, 0xaa, 3, 2, 2, 0, 0, 0x14, 0, 3, 0, 0];
        let held = length(&whole) + 12;
        [&front[..], &held.to_be_bytes(), &rest, &whole, &[1, 2, 3, 4]].concat()
    };
    for frame in [fabric_path, trunk(1), trunk(3)] {
        let packet = packet(1, &frame);
        assert_eq!(packet.outer.layer4.ports().unwrap().destination, 514);
        assert_eq!(packet.source_mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
        assert!(!packet.damaged);
    }
}

#[test]
fn vlans_are_told_from_the_outside_in_and_0_is_none() {
    let tagged = |tags: &[(u16, u16)]| {
        let tagged = tags
            .iter()
            .rev()
            .fold(typed_ip(&inside()), |inner, (kind, id)| typed(*kind, &typed(*id, &inner)));
        let vlans = packet(1, &[&MACS, tagged.as_slice()].concat()).vlans;
        (vlans.outer(), vlans.inner())
    };
    assert_eq!(tagged(&[(0x8100, 100)]), (Some(100), None));
    assert_eq!(tagged(&[(0x8100, 0xe064)]), (Some(100), None));
    assert_eq!(tagged(&[(0x88a8, 5), (0x8100, 6)]), (Some(5), Some(6)));
    assert_eq!(tagged(&[(0x9100, 5), (0x8100, 6), (0x8100, 7)]), (Some(5), Some(6)));
    assert_eq!(tagged(&[(0x8100, 0xe000)]), (None, None));
    assert_eq!(tagged(&[(0x8100, 0), (0x8100, 7)]), (Some(7), None));
}

#[test]
fn what_carries_no_ip_packet_is_skipped_with_its_reason() {
    let logical = [&SNAP, typed_ip(&inside()).as_slice()].concat();
    let cases = [
        ("ARP", 1, ethernet(0x0806, &[0; 28]), Skipped::NotIp),
        ("spanning tree", 1, ethernet(38, &[0x42; 38]), Skipped::NotIp),
        ("PPPoE discovery", 1, ethernet(0x8863, &[0; 40]), Skipped::NotIp),
        ("PPP configuration", 9, vec![0xff, 3, 0xc0, 0x21, 1, 1, 0, 4], Skipped::NotIp),
        ("MPLS, no IP", 1, ethernet(0x8847, &[0, 1, 1, 64, 0x10, 0, 0, 0]), Skipped::NotIp),
        ("netlink", 113, [&[0, 0, 3, 0x38][..], &[0; 40]].concat(), Skipped::NotIp),
        ("other family", 0, vec![7, 0, 0, 0, 0, 0], Skipped::NotIp),
        ("beacon", 105, wlan([0x80, 0], &[], &[0; 40]), Skipped::NotIp),
        ("no data", 105, wlan([0x48, 0], &[], &[]), Skipped::NotIp),
        ("802.11, encrypted", 105, wlan([0x08, 0x41], &[], &[0; 40]), Skipped::Encrypted),
        ("802.11, several", 105, wlan([0x88, 1], &[0x80, 0], &logical), Skipped::SeveralPackets),
        ("MAC security, encrypted", 1, ethernet(0x88e5, &[0x0c; 40]), Skipped::Encrypted),
        ("IPv4 announced as IPv6", 1, ethernet(0x86dd, &inside()), Skipped::NotIp),
        ("IPv6 announced as IPv4", 1, ethernet(0x0800, &inside6()), Skipped::NotIp),
        ("no version, announced as IPv4", 1, ethernet(0x0800, &[0; 40]), Skipped::Malformed),
        ("IPv6 as IPv4 in PPP", 9, [&[0xff, 3, 0, 0x21], &inside6()[..]].concat(), Skipped::NotIp),
        ("IPv4 as IPv6 in PPP", 9, [&[0xff, 3, 0, 0x57], &inside()[..]].concat(), Skipped::NotIp),
        ("Bluetooth", 201, on_ethernet(&inside()), Skipped::UnknownLink),
        ("PPI in PPI", 192, vec![0, 0, 8, 0, 192, 0, 0, 0], Skipped::UnknownLink),
        ("half a header", 1, vec![0; 13], Skipped::Malformed),
        ("nothing", 1, Vec::new(), Skipped::Malformed),
        ("nothing", 101, Vec::new(), Skipped::Malformed),
    ];
    for (name, link, bytes, reason) in cases {
        assert_eq!(skipped(link, &bytes), reason, "{name}");
    }
}

#[test]
fn tags_without_end_are_given_up() {
    let tags = [0x81, 0, 0, 1].repeat(400);
    assert_eq!(skipped(1, &[&MACS[..], &tags].concat()), Skipped::TooDeep);
    let labels = [0, 1, 0, 64].repeat(400);
    assert_eq!(skipped(1, &ethernet(0x8847, &labels)), Skipped::TooDeep);
}

/// One packet of an aggregate, filled up.
fn in_aggregate(packet: &[u8]) -> Vec<u8> {
    let logical = [&SNAP, typed_ip(packet).as_slice()].concat();
    let mut part = [&MACS[..], &length(&logical).to_be_bytes(), &logical].concat();
    part.resize(part.len().next_multiple_of(4), 0);
    part
}

fn parts(payload: &[u8], link: u16) -> Result<Vec<(u16, u32)>, Skipped> {
    let bytes = match link {
        127 => {
            [&[0, 0, 8, 0, 0, 0, 0, 0], wlan([0x88, 1], &[0x80, 0], payload).as_slice()].concat()
        }
        _ => wlan([0x88, 1], &[0x80, 0], payload),
    };
    let packets = each(&frame(link, &bytes), &CHECKED)?;
    Ok(packets.iter().map(|packet| (packet.part, packet.outer.ip_bytes)).collect())
}

#[test]
fn each_packet_of_an_aggregate_is_read() {
    let (one, other) = (in_aggregate(&inside()), in_aggregate(&inside6()));
    let all = [one.as_slice(), &other, &one].concat();
    let whole = Ok(vec![(0, 34), (1, 54), (2, 34)]);
    assert_eq!((parts(&all, 105), parts(&all, 127)), (whole.clone(), whole));
    let arp = [&MACS[..], &[0, 10], &SNAP, &[8, 6], &[0; 2]].concat();
    assert_eq!(parts(&[arp.as_slice(), &one].concat(), 105), Ok(vec![(0, 34)]));
    assert_eq!(parts(&arp, 105), Err(Skipped::NotIp));
    assert_eq!(parts(&[], 105), Err(Skipped::SeveralPackets));
    for end in 0..all.len() {
        let cut = parts(&all[..end], 105).unwrap_or_default();
        assert!(cut.len() <= 3 && cut.iter().all(|(_, bytes)| *bytes <= 54), "{end}: {cut:?}");
    }
}
