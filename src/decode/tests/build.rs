//! Frames made by hand, from the inside out, with right lengths and checksums.

use crate::record::Timestamp;

use super::super::{Frame, LinkType};

pub(super) const SOURCE: [u8; 4] = [192, 0, 2, 10];
pub(super) const DESTINATION: [u8; 4] = [198, 51, 100, 20];
pub(super) const SOURCE6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
pub(super) const DESTINATION6: [u8; 16] =
    [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20];
/// Where a routing header leads.
pub(super) const FINAL6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99];
pub(super) const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
/// SNAP with the organisation that numbers as Ethernet does.
pub(super) const SNAP: [u8; 6] = [0xaa, 0xaa, 3, 0, 0, 0];

/// A frame on a link, captured whole.
pub(super) fn frame(link: u16, bytes: &[u8]) -> Frame<'_> {
    Frame {
        time: Timestamp::from_nanos(7),
        epoch: 3,
        number: 9,
        link: LinkType(link),
        length: length32(bytes.len()),
        bytes,
    }
}

pub(super) fn length32(length: usize) -> u32 {
    u32::try_from(length).unwrap()
}

/// A number of two bytes, and what follows it.
pub(super) fn typed(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), payload].concat()
}

pub(super) fn length(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap()
}

pub(super) fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&MACS, typed(kind, payload).as_slice()].concat()
}

/// An IP packet behind its type.
pub(super) fn typed_ip(packet: &[u8]) -> Vec<u8> {
    typed(if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 }, packet)
}

pub(super) fn on_ethernet(packet: &[u8]) -> Vec<u8> {
    [&MACS, typed_ip(packet).as_slice()].concat()
}

/// An IPv4 packet; `part` is flags and offset as the header has them.
pub(super) fn ipv4_with(protocol: u8, options: &[u8], part: u16, payload: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let total = 20 + length(options) + length(payload);
    let mut header = vec![0x40 | words, 0];
    header.extend(total.to_be_bytes());
    header.extend([0x12, 0x34]);
    header.extend(part.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(SOURCE);
    header.extend(DESTINATION);
    header.extend(options);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum);
    header.extend(payload);
    header
}

pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(protocol, &[], 0, payload)
}

pub(super) fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(u16::try_from(payload.len()).unwrap_or(0).to_be_bytes());
    header.extend([next, 64]);
    header.extend(SOURCE6);
    header.extend(DESTINATION6);
    header.extend(payload);
    header
}

/// An extension header of `words` times 8 bytes, filled with padding options.
pub(super) fn extension(next: u8, words: u8, payload: &[u8]) -> Vec<u8> {
    let padding = words * 8 - 4;
    [&[next, words - 1, 1, padding], vec![0; padding.into()].as_slice(), payload].concat()
}

/// An IPv6 fragment header.
pub(super) fn part6(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let place = (offset | u16::from(more)).to_be_bytes();
    [&[next, 0, place[0], place[1], 0, 0, 0x43, 0x21], payload].concat()
}

/// A routing header with these addresses.
pub(super) fn routing(
    next: u8,
    kind: u8,
    left: u8,
    addresses: &[[u8; 16]],
    payload: &[u8],
) -> Vec<u8> {
    let words = u8::try_from(addresses.len() * 2).unwrap();
    [&[next, words, kind, left, 0, 0, 0, 0], addresses.concat().as_slice(), payload].concat()
}

/// What the checksums of a transport header begin with.
#[derive(Clone, Copy)]
pub(super) enum Over {
    V4,
    V6,
    /// IPv6 with another destination.
    V6To([u8; 16]),
}

fn pseudo(over: Over, protocol: u8, length: usize) -> Vec<u8> {
    let ends = match over {
        Over::V4 => [SOURCE, DESTINATION].concat(),
        Over::V6 => [SOURCE6, DESTINATION6].concat(),
        Over::V6To(destination) => [SOURCE6, destination].concat(),
    };
    [ends.as_slice(), &length32(length).to_be_bytes(), &[0, 0, 0, protocol]].concat()
}

/// A segment from port 40000 to 443 with PSH and ACK.
pub(super) fn tcp(over: Over, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let mut segment = [40_000_u16, 443].map(u16::to_be_bytes).concat();
    segment.extend([1000_u32, 2000].map(u32::to_be_bytes).concat());
    segment.extend([words << 4, 0x18]);
    segment.extend(502_u16.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend(options);
    segment.extend(payload);
    let sum = checksum(&[&pseudo(over, 6, segment.len()), &segment]);
    segment[16..18].copy_from_slice(&sum);
    segment
}

pub(super) fn udp_between(over: Over, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut datagram = ports.map(u16::to_be_bytes).concat();
    datagram.extend((8 + length(payload)).to_be_bytes());
    datagram.extend([0; 2]);
    datagram.extend(payload);
    let sum = checksum(&[&pseudo(over, 17, datagram.len()), &datagram]);
    datagram[6..8].copy_from_slice(&sum);
    datagram
}

/// A datagram from port 40000 to 514.
pub(super) fn udp(over: Over, payload: &[u8]) -> Vec<u8> {
    udp_between(over, [40_000, 514], payload)
}

pub(super) fn icmp(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], rest].concat();
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum);
    message
}

pub(super) fn icmp6(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], rest].concat();
    let sum = checksum(&[&pseudo(Over::V6, 58, message.len()), &message]);
    message[2..4].copy_from_slice(&sum);
    message
}

/// From port 2905 to 2906, with a chunk of four bytes and its right `CRC32c`.
pub(super) fn sctp() -> Vec<u8> {
    let mut packet = [2905_u16, 2906].map(u16::to_be_bytes).concat();
    packet.extend([0, 0, 0, 7, 0, 0, 0, 0, 11, 0, 0, 4]);
    let mut crc = u32::MAX;
    for byte in &packet {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
        }
    }
    packet[8..12].copy_from_slice(&(!crc).to_le_bytes());
    packet
}

/// A GRE header and what it carries.
pub(super) fn gre(flags: u16, kind: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    [&flags.to_be_bytes(), &kind.to_be_bytes(), options, payload].concat()
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}
