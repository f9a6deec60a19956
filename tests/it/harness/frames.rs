//! Ethernet frames as bytes, built layer by layer from the inside out, with right checksums.

/// IP protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6: u8 = 41;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

const CLIENT: [u8; 4] = [192, 0, 2, 10];
const SERVER: [u8; 4] = [198, 51, 100, 20];
const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
const SERVER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20];

/// Ends of an IP header, client to server or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the server.
    There,
    /// From the server to the client.
    Back,
}

/// TCP control bits.
pub(crate) mod flags {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const PSH: u8 = 0x08;
    pub(crate) const ACK: u8 = 0x10;
}

/// A TCP segment's variable part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment<'a> {
    /// Source and destination port.
    pub(crate) ports: [u16; 2],
    /// Sequence and acknowledgement number.
    pub(crate) numbers: [u32; 2],
    /// Control bits.
    pub(crate) flags: u8,
    /// Payload.
    pub(crate) payload: &'a [u8],
}

// === link layer ===

/// An Ethernet frame around an IPv4 or IPv6 packet, or with another type.
pub(crate) fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Ethernet around an IP packet of either version.
pub(crate) fn on_ethernet(packet: &[u8]) -> Vec<u8> {
    ethernet(kind_of(packet), packet)
}

/// Ethernet with VLAN tags around an IP packet, outermost tag first.
pub(crate) fn on_vlans(vlans: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut inside = packet.to_vec();
    let mut kind = kind_of(packet);
    for vlan in vlans.iter().rev() {
        let mut tagged = vlan.to_be_bytes().to_vec();
        tagged.extend(kind.to_be_bytes());
        tagged.append(&mut inside);
        inside = tagged;
        kind = 0x8100;
    }
    ethernet(kind, &inside)
}

/// An ARP request: a frame without an IP layer.
pub(crate) fn arp() -> Vec<u8> {
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1];
    request.extend(CLIENT);
    request.extend([0; 6]);
    request.extend(SERVER);
    ethernet(0x0806, &request)
}

fn kind_of(packet: &[u8]) -> u16 {
    if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 }
}

// === network layer ===

/// An IPv4 packet.
pub(crate) fn ipv4(way: Way, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_part(way, protocol, 0, 0, payload)
}

/// A fragment of an IPv4 packet: offset in units of 8 bytes, with the more-fragments bit 0x2000.
pub(crate) fn ipv4_part(way: Way, protocol: u8, id: u16, part: u16, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = match way {
        Way::There => (CLIENT, SERVER),
        Way::Back => (SERVER, CLIENT),
    };
    let length = u16::try_from(20 + payload.len()).expect("a frame is shorter than 64 KiB");
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(part.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv6 packet.
pub(crate) fn ipv6(way: Way, next: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = match way {
        Way::There => (CLIENT6, SERVER6),
        Way::Back => (SERVER6, CLIENT6),
    };
    let length = u16::try_from(payload.len()).expect("a frame is shorter than 64 KiB");
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    packet
}

/// An 8-byte extension header (hop-by-hop 0, destination options 60) of padding.
pub(crate) fn padding_options(next: u8, payload: &[u8]) -> Vec<u8> {
    [&[next, 0, 1, 4, 0, 0, 0, 0], payload].concat()
}

/// An IPv6 fragment header.
pub(crate) fn fragment_header(next: u8, offset_bytes: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let place = (offset_bytes & !7) | u16::from(more);
    let mut header = vec![next, 0];
    header.extend(place.to_be_bytes());
    header.extend(0x1234_5678_u32.to_be_bytes());
    header.extend(payload);
    header
}

// === transport layer ===

/// A TCP segment over IPv4.
pub(crate) fn tcp(way: Way, segment: Segment<'_>) -> Vec<u8> {
    ipv4(way, TCP, &tcp_bytes(way, segment, &v4_pseudo(TCP)))
}

/// A TCP segment over IPv6.
pub(crate) fn tcp6(way: Way, segment: Segment<'_>) -> Vec<u8> {
    ipv6(way, TCP, &tcp_bytes(way, segment, &v6_pseudo(TCP)))
}

/// A UDP datagram over IPv4.
pub(crate) fn udp(way: Way, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    ipv4(way, UDP, &udp_bytes(ports, payload, &v4_pseudo(UDP)))
}

/// UDP over IPv6.
pub(crate) fn udp6(way: Way, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    ipv6(way, UDP, &udp_bytes(ports, payload, &v6_pseudo(UDP)))
}

/// UDP behind a chain of IPv6 extension headers.
pub(crate) fn udp6_behind_extensions(ports: [u16; 2]) -> Vec<u8> {
    let datagram = udp_bytes(ports, b"behind", &v6_pseudo(UDP));
    ipv6(Way::There, 0, &padding_options(60, &padding_options(UDP, &datagram)))
}

/// The two fragments of a UDP datagram over IPv6: only the first has ports.
pub(crate) fn udp6_fragments(ports: [u16; 2]) -> [Vec<u8>; 2] {
    let datagram = udp_bytes(ports, &[7; 120], &v6_pseudo(UDP));
    let (first, second) = datagram.split_at(64);
    [
        ipv6(Way::There, FRAGMENT, &fragment_header(UDP, 0, true, first)),
        ipv6(Way::There, FRAGMENT, &fragment_header(UDP, 64, false, second)),
    ]
}

/// The two fragments of a UDP datagram over IPv4: only the first has ports.
pub(crate) fn udp_fragments(ports: [u16; 2]) -> [Vec<u8>; 2] {
    let datagram = udp_bytes(ports, &[7; 120], &v4_pseudo(UDP));
    let (first, second) = datagram.split_at(64);
    [ipv4_part(Way::There, UDP, 77, 0x2000, first), ipv4_part(Way::There, UDP, 77, 8, second)]
}

/// An ICMP echo request.
pub(crate) fn ping(sequence: u16) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0, 1];
    message.extend(sequence.to_be_bytes());
    message.extend(b"abcdefgh");
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(Way::There, ICMP, &message)
}

/// An ICMPv6 echo request.
pub(crate) fn ping6(sequence: u16) -> Vec<u8> {
    let mut message = vec![128, 0, 0, 0, 0, 1];
    message.extend(sequence.to_be_bytes());
    message.extend(b"abcdefgh");
    let sum = checksum(&[&v6_pseudo(ICMPV6), &length_bytes(&message), &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv6(Way::There, ICMPV6, &message)
}

/// An ICMP "port unreachable" that quotes the packet it answers.
pub(crate) fn port_unreachable(quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(Way::Back, ICMP, &message)
}

/// An SCTP packet with one COOKIE ACK chunk; its CRC is left 0.
pub(crate) fn sctp(ports: [u16; 2]) -> Vec<u8> {
    let mut packet = port_bytes(ports);
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 11, 0, 0, 4]);
    ipv4(Way::There, SCTP, &packet)
}

/// An IPv6 packet inside an IPv4 one.
pub(crate) fn six_in_four(inner: &[u8]) -> Vec<u8> {
    ipv4(Way::There, IPV6, inner)
}

fn tcp_bytes(way: Way, segment: Segment<'_>, pseudo: &[u8]) -> Vec<u8> {
    let [client, server] = segment.ports;
    let mut bytes = port_bytes(match way {
        Way::There => [client, server],
        Way::Back => [server, client],
    });
    for number in segment.numbers {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend([0x50, segment.flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    bytes.extend(segment.payload);
    let sum = checksum(&[pseudo, &length_bytes(&bytes), &bytes]);
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn udp_bytes(ports: [u16; 2], payload: &[u8], pseudo: &[u8]) -> Vec<u8> {
    let mut bytes = port_bytes(ports);
    let length = u16::try_from(8 + payload.len()).expect("a frame is shorter than 64 KiB");
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    let sum = checksum(&[pseudo, &length_bytes(&bytes), &bytes]);
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn port_bytes([source, destination]: [u16; 2]) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

/// The constant part of the pseudo header; sums don't depend on the order of the addresses.
fn v4_pseudo(protocol: u8) -> Vec<u8> {
    [&CLIENT[..], &SERVER, &[0, protocol]].concat()
}

fn v6_pseudo(protocol: u8) -> Vec<u8> {
    [&CLIENT6[..], &SERVER6, &[0, protocol]].concat()
}

fn length_bytes(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).expect("a frame is shorter than 64 KiB").to_be_bytes()
}

/// The Internet checksum (RFC 1071) over parts of even length but the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}
