//! Lengths that are missing, lie, or leave out what is no part of the packet.

use super::{Skipped, build::*, header, packet, read, skipped};
use crate::record::{Checksum, Layer4, Marks};

fn zeroed(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = if bytes[0] >> 4 == 4 { 2 } else { 4 };
    bytes[at..at + 2].fill(0);
    bytes
}

fn payload_bytes(layer4: Layer4) -> u32 {
    match layer4 {
        Layer4::Tcp(tcp) => tcp.payload_bytes,
        Layer4::Udp(_, bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn padding_and_trailers_are_no_part_of_the_packet() {
    let inside = ipv4(17, &udp(Over::V4, b"x"));
    let padded = |mut bytes: Vec<u8>| {
        bytes.extend([0xee; 40]);
        bytes
    };
    let session = |length: u16, payload: &[u8]| {
        ethernet(0x8864, &[&[0x11, 0, 0, 1], &length.to_be_bytes()[..], payload].concat())
    };
    let short = typed(0x0021, &inside);
    let logical = [&SNAP, typed_ip(&inside).as_slice()].concat();
    let cases = [
        padded(on_ethernet(&inside)),
        padded(session(length(&short), &short)),
        padded(ethernet(length(&logical), &logical)),
    ];
    for bytes in cases {
        let packet = packet(1, &bytes);
        assert_eq!(packet.outer.ip_bytes, 29);
        assert_eq!(payload_bytes(packet.outer.layer4), 1);
        assert_eq!(packet.outer.checksums.transport, Checksum::Good);
        assert_eq!((packet.frame_bytes as usize, packet.damaged), (bytes.len(), false));
    }
}

#[test]
fn without_a_length_the_frame_tells() {
    for offloaded in [
        zeroed(ipv4(6, &tcp(Over::V4, &[], &[1; 3000]))),
        zeroed(ipv6(6, &tcp(Over::V6, &[], &[1; 3000]))),
    ] {
        let bytes = length32(offloaded.len());
        let tagged = ethernet(0x8100, &typed(5, &typed_ip(&offloaded)));
        let cooked = [&[0; 14][..], &typed_ip(&offloaded)].concat();
        for (link, frame) in
            [(1, on_ethernet(&offloaded)), (1, tagged), (113, cooked), (101, offloaded)]
        {
            let packet = packet(link, &frame);
            assert_eq!((packet.outer.ip_bytes, packet.ip_bytes()), (bytes, bytes));
            assert_eq!(payload_bytes(packet.outer.layer4), 3000);
            assert_eq!(packet.outer.marks, Marks::NO_LENGTH);
            assert!(!packet.damaged);
        }
    }
}

#[test]
fn a_datagram_says_whether_it_asks_where_both_ends_may_use_one_port() {
    let message = |second: u8, length: usize| {
        let mut bytes = vec![0; length];
        bytes[2] = second;
        bytes
    };
    let time = |mode: u8, length: usize| [&[0x20 | mode][..], &vec![0; length - 1]].concat();
    let (asks, answers, nothing) = (Marks::ASKS, Marks::ANSWERS, Marks::default());
    for (ports, payload, expected) in [
        ([53, 53], message(0x01, 12), asks),
        ([53, 53], message(0x81, 12), answers),
        ([53, 53], message(0x81, 11), nothing),
        ([53, 53], message(0x90, 12), nothing),
        ([137, 137], message(0xa8, 12), answers),
        ([5353, 5353], message(0x84, 12), answers),
        ([40_000, 5355], message(0, 12), asks),
        ([123, 123], time(3, 48), asks),
        ([123, 123], time(4, 48), answers),
        ([123, 123], time(4, 47), nothing),
        ([123, 123], time(1, 48), nothing),
        ([40_000, 514], message(0x81, 12), nothing),
    ] {
        let outer = header(&ipv4(17, &udp_between(Over::V4, ports, &payload)));
        assert_eq!(outer.marks, expected, "{ports:?} {payload:?}");
    }
}

#[test]
fn a_jumbogram_is_as_long_as_its_option_says() {
    let segment = tcp(Over::V6, &[], &vec![1; 70_000]);
    let option = [&[6, 0, 0xc2, 4], &(length32(segment.len()) + 8).to_be_bytes()[..]].concat();
    let jumbo = ipv6(0, &[option, segment].concat());
    let padded = [on_ethernet(&jumbo), vec![0; 9]].concat();
    let outer = packet(1, &padded).outer;
    assert_eq!((outer.ip_bytes, payload_bytes(outer.layer4)), (70_068, 70_000));
    let session = [&[0x11, 0, 0, 1, 0, 0][..], &typed(0x0057, &jumbo)].concat();
    assert_eq!(packet(1, &ethernet(0x8864, &session)).outer.ip_bytes, 70_068);
}

#[test]
fn a_length_beyond_the_frame_is_cut_to_it() {
    for (mut inside, at) in
        [(ipv4(6, &tcp(Over::V4, &[], b"hello")), 2), (ipv6(6, &tcp(Over::V6, &[], b"hello")), 4)]
    {
        inside[at..at + 2].copy_from_slice(&[0xff, 0xf0]);
        let packet = packet(1, &on_ethernet(&inside));
        assert_eq!(packet.outer.ip_bytes, length32(inside.len()));
        assert_eq!(payload_bytes(packet.outer.layer4), 5);
        assert_eq!(packet.outer.marks, Marks::TOO_LONG);
        assert!(packet.damaged);
    }
}

#[test]
fn a_cut_frame_keeps_its_lengths_and_is_damaged_only_within_its_headers() {
    let inside = ipv4(6, &tcp(Over::V4, &[], &[1; 1000]));
    let whole = on_ethernet(&inside);
    for captured in 34..whole.len() {
        let mut cut = frame(1, &whole[..captured]);
        cut.length = length32(whole.len());
        let packet = read(&cut);
        assert_eq!((packet.outer.ip_bytes, packet.damaged), (1040, captured < 50), "{captured}");
        assert_eq!((packet.frame_bytes, packet.captured_bytes), (1054, length32(captured)));
    }
}

#[test]
fn headers_that_contradict_themselves_are_damage() {
    let changed = |at: usize, value: u8| {
        let mut inside = ipv4(6, &tcp(Over::V4, &[], b"hello"));
        inside[at] = value;
        packet(1, &on_ethernet(&inside))
    };
    assert!(changed(32, 0x20).damaged, "a TCP header of 8 bytes");
    assert!(changed(32, 0xf0).damaged, "a TCP header longer than its packet");
    let mut datagram = udp(Over::V4, b"hello");
    for length in [7_u16, 9000] {
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        let packet = packet(1, &on_ethernet(&ipv4(17, &datagram)));
        assert!(packet.damaged && payload_bytes(packet.outer.layer4) <= 5);
    }
    assert!(packet(1, &on_ethernet(&ipv4(6, &[1; 10]))).damaged, "half a TCP header");
    assert!(packet(1, &on_ethernet(&ipv6(60, &[6, 200, 0, 0]))).damaged, "options without end");
}

#[test]
fn an_ip_header_that_can_not_be_is_no_packet() {
    let changed = |at: usize, value: u8| {
        let mut inside = ipv4(6, &tcp(Over::V4, &[], b""));
        inside[at] = value;
        skipped(1, &on_ethernet(&inside))
    };
    assert_eq!(changed(0, 0x44), Skipped::Malformed);
    assert_eq!(changed(0, 0x55), Skipped::Malformed);
    assert_eq!(changed(3, 19), Skipped::Malformed);
    assert_eq!(skipped(1, &on_ethernet(&ipv4(6, b""))[..30]), Skipped::Malformed);
    let whole = on_ethernet(&ipv4(6, b""));
    let mut cut = frame(1, &whole[..30]);
    cut.length = 34;
    assert_eq!(super::decode(&cut, &super::CHECKED), Err(Skipped::CutShort));
}

#[test]
fn bytes_beyond_the_length_on_the_wire_are_not_read() {
    let whole = on_ethernet(&ipv4(17, &udp(Over::V4, &[1; 100])));
    let mut lying = frame(1, &whole);
    lying.length = 60;
    let packet = read(&lying);
    assert_eq!((packet.outer.ip_bytes, packet.damaged), (46, true));
}

#[test]
fn a_tunnel_holds_no_more_than_its_datagram() {
    let mut inside = ipv4(17, &udp(Over::V4, b"x"));
    inside[2..4].copy_from_slice(&[0xff, 0xff]);
    let outer = packet(1, &on_ethernet(&ipv4(4, &inside)));
    assert_eq!(outer.inner[0].ip_bytes, 29);
    assert_eq!(header(&ipv4(4, &inside)).ip_bytes, 49);
}
