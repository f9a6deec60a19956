//! What each format says is understood.

use super::{
    made::{Pcap, Pcapng, Writer, frame},
    read,
};
use crate::{
    capture::number::Order,
    record::{CaptureInterface, FramePlace, Timestamp},
};

const ORDERS: [Order; 2] = [Order::Little, Order::Big];
const NANOS: i64 = 1_000_000_000;

/// Times, captured bytes and lengths of the frames, which must have ended well.
fn told(capture: &[u8]) -> Vec<(i64, u32, u32)> {
    let outcome = read(capture);
    assert_eq!(outcome.end, Ok(()));
    let told = |place: &FramePlace| (place.time.nanos(), place.captured, place.length);
    outcome.frames.iter().map(|seen| told(&seen.place)).collect()
}

#[test]
fn every_magic_number_of_a_pcap_is_read_in_both_byte_orders() {
    for order in ORDERS {
        for (magic, nanos) in
            [(0xa1b2_c3d4, 1_000), (0xa1b2_3c4d, 1), (0x1c00_01ac, 1), (0x1c00_01ab, 1_000)]
        {
            let mut pcap = Pcap::new(order, magic);
            if magic >> 16 == 0x1c00 {
                pcap.out.u32(1_000);
            }
            pcap.frame([5, 7], &frame(1, 60)).frame([6, 999], &frame(2, 1_514));
            let expected =
                [(5 * NANOS + 7 * nanos, 60, 60), (6 * NANOS + 999 * nanos, 1_514, 1_514)];
            assert_eq!(told(pcap.bytes()), expected, "{order:?} {magic:#x}");
        }
    }
}

#[test]
fn records_with_longer_headers_are_told_by_their_looks() {
    let mut patched = Writer::new(Order::Little);
    patched.u32(2).u16(0x0800).raw(&[0, 0]);
    let longer = [patched.bytes.as_slice(), &[0; 4]].concat();
    let nokia = 0x9fbf_b601_u32.to_le_bytes();
    let cases: [(u32, &[u8]); 4] = [
        (0xa1b2_c3d4, &patched.bytes),
        (0xa1b2_c3d4, &nokia),
        (0xa1b2_cd34, &patched.bytes),
        (0xa1b2_cd34, &longer),
    ];
    for (magic, extra) in cases {
        for count in 1..=4_u8 {
            let mut pcap = Pcap::new(Order::Little, magic);
            pcap.extra = extra.to_vec();
            for number in 0..count {
                pcap.frame([number.into(), 0], &frame(number, 60));
            }
            let outcome = read(pcap.bytes());
            // What one record alone is like is the most usual.
            if count > 1 {
                let numbers: Vec<_> = outcome.frames.iter().map(|seen| seen.bytes[0]).collect();
                assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{magic:#x} {extra:x?}");
                assert_eq!(outcome.end, Ok(()));
            }
        }
    }
}

#[test]
fn old_versions_have_their_lengths_the_other_way_round() {
    let whole = frame(1, 60);
    for (version, lengths) in
        [([2, 2], [90, 60]), ([2, 3], [90, 60]), ([2, 3], [60, 90]), ([543, 0], [90, 60])]
    {
        let mut pcap = Pcap::versioned(Order::Little, 0xa1b2_c3d4, version, 1);
        pcap.record([0, 0], lengths, &whole).record([1, 0], lengths, &whole);
        assert_eq!(told(pcap.bytes()), [(0, 60, 90), (NANOS, 60, 90)], "{version:?}");
    }
}

#[test]
fn aix_counts_nanoseconds_and_has_numbers_of_its_own_for_links() {
    for (network, link) in [(6, 1), (24, 0)] {
        let mut pcap = Pcap::versioned(Order::Big, 0xa1b2_c3d4, [2, 2], network);
        pcap.frame([1, 5], &frame(1, 60));
        let outcome = read(pcap.bytes());
        let place = outcome.frames[0].place;
        assert_eq!((place.link, place.time.nanos()), (link, NANOS + 5));
    }
}

#[test]
fn the_length_of_check_sequences_is_no_part_of_the_link_type() {
    let mut pcap = Pcap::versioned(Order::Little, 0xa1b2_c3d4, [2, 4], 0x2400_0001);
    pcap.frame([0, 0], &frame(1, 64));
    assert_eq!(read(pcap.bytes()).frames[0].place.link, 1);
}

#[test]
fn every_packet_block_of_a_pcapng_is_read_in_both_byte_orders() {
    for order in ORDERS {
        let mut pcapng = Pcapng::new(order);
        pcapng.interface(1, &[]).packet(0, 5_000_001, &frame(1, 61));
        let mut body = Writer::new(order);
        body.u16(0).u16(77).u32(0).u32(5_000_002).u32(62).u32(100).raw(&frame(2, 62));
        pcapng.block(2, &body.bytes);
        let mut body = Writer::new(order);
        body.u32(63).raw(&frame(3, 63));
        pcapng.block(3, &body.bytes);
        let expected = [(5 * NANOS + 1_000, 61, 61), (5 * NANOS + 2_000, 62, 100), (0, 63, 63)];
        assert_eq!(told(pcapng.bytes()), expected, "{order:?}");
    }
}

#[test]
fn a_frame_is_at_least_as_long_as_what_was_captured_of_it() {
    let whole = frame(1, 60);
    for length in [0, 42, 60] {
        let mut pcap = Pcap::new(Order::Little, 0xa1b2_c3d4);
        pcap.record([0, 0], [60, length], &whole).record([1, 0], [60, length], &whole);
        assert_eq!(told(pcap.bytes()), [(0, 60, 60), (NANOS, 60, 60)], "{length}");
        let mut body = Writer::new(Order::Little);
        body.u32(0).u32(0).u32(0).u32(60).u32(length).raw(&whole);
        let mut pcapng = Pcapng::new(Order::Little);
        pcapng.interface(1, &[]).block(6, &body.bytes);
        assert_eq!(told(pcapng.bytes()), [(0, 60, 60)], "{length}");
    }
}

#[test]
fn a_simple_packet_is_as_long_as_the_first_interface_captures() {
    let mut pcapng = Pcapng::new(Order::Little);
    let mut body = Writer::new(Order::Little);
    body.u16(1).u16(0).u32(20);
    pcapng.block(1, &body.bytes).interface(1, &[]);
    let mut body = Writer::new(Order::Little);
    body.u32(1_500).raw(&frame(1, 20));
    pcapng.block(3, &body.bytes);
    assert_eq!(told(pcapng.bytes()), [(0, 20, 1_500)]);
}

#[test]
fn each_interface_has_its_link_its_clock_and_its_name() {
    let mut pcapng = Pcapng::new(Order::Big);
    pcapng
        .interface(1, &[(2, b"eth0"), (9, &[9]), (0, &[])])
        .interface(113, &[(9, &[0x8a]), (14, &(-3_i64).to_be_bytes()), (2, b"any\0")])
        .interface(101, &[(12, b"an OS")]);
    pcapng.packet(0, 7, &frame(1, 60)).packet(1, 5 << 10, &frame(2, 60)).packet(
        2,
        9,
        &frame(3, 60),
    );
    let frames = read(pcapng.bytes()).frames;
    let told: Vec<_> = frames
        .iter()
        .map(|seen| (seen.place.link, seen.place.time.nanos(), seen.interface.name.as_deref()))
        .collect();
    assert_eq!(told, [(1, 7, Some("eth0")), (113, 2 * NANOS, Some("any")), (101, 9_000, None)]);
    assert_eq!(frames[1].interface.index, 1);
}

#[test]
fn each_section_begins_anew_in_its_own_byte_order() {
    let mut first = Pcapng::new(Order::Little);
    first.interface(1, &[(2, b"a")]).interface(1, &[(2, b"b")]).packet(1, 1, &frame(1, 60));
    let mut second = Pcapng::new(Order::Big);
    second.interface(1, &[(2, b"a"), (9, &[9])]).interface(1, &[(2, b"c")]);
    second.packet(0, 2, &frame(2, 60)).packet(1, 3, &frame(3, 60));
    let both = [first.bytes(), second.bytes()].concat();
    let frames = read(&both).frames;
    let told: Vec<_> = frames
        .iter()
        .map(|seen| (seen.place.number, seen.interface.name.as_deref().unwrap()))
        .collect();
    assert_eq!(told, [(1, "b"), (2, "a"), (3, "c")]);
    assert_eq!(frames[1].place.time, Timestamp::from_nanos(2));
    assert_eq!(frames[1].interface, CaptureInterface { index: 0, name: Some("a".into()) });
}

#[test]
fn blocks_of_no_interest_are_passed_over_whatever_their_length() {
    let long = vec![0x5a; 3_000_000];
    for body in [&b""[..], b"text", &long] {
        let mut pcapng = Pcapng::new(Order::Little);
        pcapng.block(0x7777_7777, body).interface(1, &[]);
        for number in 1..=2_u8 {
            pcapng.packet(0, 1, &frame(number, 60)).block(5, body).block(4, body).block(10, body);
        }
        let outcome = read(pcapng.bytes());
        let numbers: Vec<_> = outcome.frames.iter().map(|seen| seen.place.number).collect();
        assert_eq!((numbers.as_slice(), outcome.end), (&[1, 2][..], Ok(())));
    }
}

#[test]
fn records_without_a_frame_are_numbered_as_wireshark_numbers_them() {
    let mut pcapng = Pcapng::new(Order::Little);
    pcapng.interface(1, &[]).packet(0, 1, &frame(1, 60));
    for kind in [0x9, 0xbad, 0x4000_0bad, 0x204, 0x216, 0x221] {
        pcapng.block(kind, &[0; 40]);
    }
    pcapng.packet(0, 1, &frame(2, 60));
    let numbers: Vec<_> =
        read(pcapng.bytes()).frames.iter().map(|seen| seen.place.number).collect();
    assert_eq!(numbers, [1, 8]);
}

#[test]
fn frames_longer_than_any_we_look_into_are_kept_in_part() {
    // Of USBPcap, whose frames may be so long.
    let long = frame(1, 1_000_000);
    let mut pcap = Pcap::versioned(Order::Little, 0xa1b2_c3d4, [2, 4], 249);
    pcap.frame([0, 0], &long).frame([1, 0], &frame(2, 60));
    let mut pcapng = Pcapng::new(Order::Little);
    pcapng.interface(249, &[]).packet(0, 0, &long).packet(0, 1_000_000, &frame(2, 60));
    for capture in [pcap.bytes(), pcapng.bytes()] {
        assert_eq!(told(capture), [(0, 262_144, 1_000_000), (NANOS, 60, 60)]);
    }
}

#[test]
fn a_capture_without_frames_ends_well() {
    for order in ORDERS {
        assert_eq!(told(Pcap::new(order, 0xa1b2_c3d4).bytes()), []);
        assert_eq!(told(Pcapng::new(order).bytes()), []);
        assert_eq!(told(Pcapng::new(order).interface(1, &[]).bytes()), []);
    }
}
