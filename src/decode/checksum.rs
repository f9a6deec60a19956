//! Checksums, as far as what they cover was captured.
//!
//! Sources: RFC 1071 (the internet checksum), RFC 8200 section 8.1, RFC 768 and 6935 (UDP without
//! one), RFC 9260 appendix A (`CRC32c`).

use std::net::IpAddr;

use super::view::View;
use crate::record::{Checksum, Header, Layer4, Transport};

/// `CRC32c` of each byte, reflected.
const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut at: u32 = 0;
    while at < 256 {
        let (mut value, mut bit) = (at, 0);
        while bit < 8 {
            value = if value & 1 == 0 { value >> 1 } else { value >> 1 ^ 0x82f6_3b78 };
            bit += 1;
        }
        table[at as usize] = value;
        at += 1;
    }
    table
};

/// The checksum of an IPv4 header, if it is to be verified.
pub(super) fn ipv4(verify: bool, packet: View<'_>, header_bytes: usize) -> Checksum {
    match packet.bytes().get(..header_bytes) {
        Some(header) if verify => verdict(add(0, header)),
        _ => Checksum::Unverified,
    }
}

/// The checksum of a transport header and its payload.
pub(super) fn transport(header: &Header, payload: View<'_>, is_tunnel: bool) -> Checksum {
    if !payload.is_whole() {
        return Checksum::Unverified;
    }
    match (header.transport, header.layer4) {
        (Transport::UDP, Layer4::Udp(_, bytes)) => udp(header, payload, bytes, is_tunnel),
        (Transport::ICMP, Layer4::Icmp(_)) => verdict(add(0, payload.bytes())),
        (Transport::TCP, Layer4::Tcp(_)) | (Transport::ICMPV6, Layer4::Icmp(_)) => {
            verdict(add(pseudo(header, payload.wire()), payload.bytes()))
        }
        (Transport::SCTP, Layer4::Sctp(_)) => sctp(payload),
        _ => Checksum::Unverified,
    }
}

/// A datagram may be shorter than what carries it, and have no checksum over IPv4; over IPv6 only
/// tunnels may do without.
fn udp(header: &Header, payload: View<'_>, bytes: u32, is_tunnel: bool) -> Checksum {
    match payload.number(6) {
        Some(0) if header.source.is_ipv6() && !is_tunnel => Checksum::Bad,
        None | Some(0) => Checksum::Unverified,
        Some(_) => {
            let datagram = payload.limit(bytes.saturating_add(8));
            verdict(add(pseudo(header, datagram.wire()), datagram.bytes()))
        }
    }
}

fn sctp(payload: View<'_>) -> Checksum {
    let Some((ports_and_tag, rest)) = payload.bytes().split_first_chunk::<8>() else {
        return Checksum::Unverified;
    };
    let Some((sum, chunks)) = rest.split_first_chunk::<4>() else {
        return Checksum::Unverified;
    };
    let step = |crc: u32, byte: &u8| {
        let at = crc.to_le_bytes()[0] ^ byte;
        crc >> 8 ^ CRC32C[usize::from(at)]
    };
    let covered = ports_and_tag.iter().chain(&[0; 4]).chain(chunks);
    let crc = !covered.fold(u32::MAX, step);
    if u32::from_le_bytes(*sum) == crc { Checksum::Good } else { Checksum::Bad }
}

/// The sum over what TCP, UDP and ICMPv6 cover beside themselves: addresses, length and protocol.
fn pseudo(header: &Header, length: u32) -> u64 {
    let addresses =
        [header.source, header.destination].into_iter().fold(0, |sum, address| match address {
            IpAddr::V4(address) => add(sum, &address.octets()),
            IpAddr::V6(address) => add(sum, &address.octets()),
        });
    addresses + u64::from(length) + u64::from(header.transport.0)
}

/// Adds 16-bit words, in parts of 32 bits; an odd last byte is filled up with zero.
fn add(sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum = words.iter().fold(sum, |sum, word| sum + u64::from(u32::from_be_bytes(*word)));
    let mut last = [0; 4];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    sum + u64::from(u32::from_be_bytes(last))
}

/// Good if all words together come to nothing but ones.
fn verdict(mut sum: u64) -> Checksum {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    if sum == 0xffff { Checksum::Good } else { Checksum::Bad }
}
