//! Captures that are cut or wrong: what is whole before is given, and then said what is wrong where.

use std::io::{self, Read, Write as _};

use flate2::{Compression, write::GzEncoder};

use super::{
    drain,
    made::{Pcap, Pcapng, Writer, frame},
    read,
};
use crate::capture::{Fault, Reader, number::Order};

const ORDERS: [Order; 2] = [Order::Little, Order::Big];

fn pcap(order: Order, frames: u8) -> Pcap {
    let mut pcap = Pcap::new(order, 0xa1b2_c3d4);
    for number in 0..frames {
        pcap.frame([number.into(), 0], &frame(number, 60));
    }
    pcap
}

fn pcapng(order: Order, frames: u8) -> Pcapng {
    let mut pcapng = Pcapng::new(order);
    pcapng.interface(1, &[(2, b"eth0")]);
    for number in 0..frames {
        pcapng.packet(0, number.into(), &frame(number, 60));
    }
    pcapng
}

/// How many frames there are, and what is said at the end.
fn said(capture: &[u8]) -> (usize, String) {
    let outcome = read(capture);
    let end = outcome.end.err().map_or_else(String::new, |damage| damage.to_string());
    (outcome.frames.len(), end)
}

#[test]
fn a_capture_cut_at_any_byte_gives_its_whole_frames() {
    for order in ORDERS {
        let both = [
            (pcap(order, 3).bytes().to_vec(), pcap(order, 2).bytes().len(), "a packet"),
            (pcapng(order, 3).bytes().to_vec(), pcapng(order, 2).bytes().len(), "a block"),
        ];
        for (capture, whole, what) in both {
            for end in whole..=capture.len() {
                let (frames, says) = said(&capture[..end]);
                let expected = match end {
                    _ if end == whole => (2, String::new()),
                    _ if end == capture.len() => (3, String::new()),
                    _ => (2, format!("it was cut short in the middle of {what}, at byte {whole}")),
                };
                assert_eq!((frames, says), expected, "{order:?}, {end} bytes");
            }
        }
    }
}

#[test]
fn a_capture_cut_in_its_header_has_no_frames() {
    for order in ORDERS {
        for capture in [pcap(order, 1).bytes(), pcapng(order, 1).bytes()] {
            for end in 1..24 {
                let (frames, says) = said(&capture[..end]);
                assert_eq!(frames, 0);
                assert!(says.starts_with("it was cut short in the middle of"), "{end}: {says}");
            }
        }
    }
}

#[test]
fn a_compressed_capture_cut_at_any_byte_gives_whole_frames_and_says_so() {
    let capture = pcap(Order::Little, 3);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(capture.bytes()).unwrap();
    let gzip = encoder.finish().unwrap();
    let zstd = zstd::encode_all(capture.bytes(), 1).unwrap();
    for packed in [gzip, zstd] {
        for end in 5..packed.len() {
            let (frames, says) = said(&packed[..end]);
            assert!(frames <= 3);
            assert!(
                says.contains("can't be unpacked") && says.ends_with(" of the unpacked file"),
                "{end} of {}: {says}",
                packed.len()
            );
        }
        assert_eq!(said(&packed), (3, String::new()));
    }
}

#[test]
fn frames_before_damage_in_a_compressed_capture_are_given() {
    let mut pcap = Pcap::new(Order::Little, 0xa1b2_c3d4);
    for number in 0..10_000_u32 {
        let mut frame = frame(1, 60);
        // What can't be packed well, so that there are many blocks.
        frame[14..18].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_le_bytes());
        pcap.frame([number, 0], &frame);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(pcap.bytes()).unwrap();
    let gzip = encoder.finish().unwrap();
    let zstd = zstd::encode_all(pcap.bytes(), 1).unwrap();
    let whole = read(pcap.bytes()).frames;
    // zstd unpacks blocks of 128 KiB as a whole.
    for (packed, name, block) in [(gzip, "gzip", 0), (zstd, "zstd", (128 << 10) / 76 + 1)] {
        for cut in [packed.len() / 3, packed.len() / 2, packed.len() - 9] {
            let outcome = read(&packed[..cut]);
            let given = outcome.frames.len();
            let least = whole.len() * cut * 9 / packed.len() / 10;
            assert!(given + block > least, "{name}, {cut} of {}: {given}", packed.len());
            assert!(outcome.frames == whole[..given] && outcome.end.is_err());
        }
        let mut wrong = packed.clone();
        let half = packed.len() / 2;
        wrong[half..half + 4].copy_from_slice(&[0xff; 4]);
        let outcome = read(&wrong);
        assert!(outcome.frames.len() > 3_000, "{name}: {}", outcome.frames.len());
        assert!(outcome.end.is_err(), "{name}");
    }
}

#[test]
fn the_parts_of_gzips_header_are_passed_over_and_its_checksum_is_checked() {
    let capture = pcap(Order::Little, 2);
    let member = |extra: &[u8], name: &str| {
        let builder = flate2::GzBuilder::new().extra(extra).filename(name).comment("made");
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(capture.bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let mut gzip = member(b"extra", "name");
    assert_eq!(said(&gzip), (2, String::new()));
    let trailer = gzip.len() - 8;
    gzip[trailer] ^= 1;
    let (frames, says) = said(&gzip);
    assert_eq!(frames, 2);
    assert!(says.contains("its checksum is not that of its content"), "{says}");
    let behind = [member(b"", "x"), b"something else".to_vec()].concat();
    assert!(said(&behind).1.contains("what follows is no member of gzip"), "{}", said(&behind).1);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let little = Order::Little;
    let text = b"this is a text and no capture";
    let mut long = pcap(little, 2);
    long.record([9, 0], [u32::MAX, u32::MAX], &[0; 40]);
    let mut unknown_interface = pcapng(little, 2);
    unknown_interface.packet(3, 0, &frame(9, 60));
    let mut simple = Pcapng::new(little);
    simple.block(3, &[0; 20]);
    let mut short = pcapng(little, 2);
    short.head(6, 8);
    let mut odd = pcapng(little, 2);
    odd.head(6, 37).0.raw(&[0; 29]);
    let mut beyond = pcapng(little, 2);
    let mut body = Writer::new(little);
    body.u32(0).u32(0).u32(0).u32(100).u32(100).raw(&[0; 60]);
    beyond.block(6, &body.bytes);
    let mut ends = pcapng(little, 2).0.bytes;
    let last = ends.len() - 4;
    ends[last] = 7;
    let mut option = Pcapng::new(little);
    let mut body = Writer::new(little);
    body.u16(1).u16(0).u32(0).u16(2).u16(200).u32(0);
    option.block(1, &body.bytes);
    let mut version = Pcapng::new(little).0.bytes;
    version[12] = 2;
    let mut magic = Pcapng::new(little).0.bytes;
    magic[8] = 0;
    let reserved = Pcap::versioned(little, 0xa1b2_c3d4, [2, 4], 0x0001_0001);
    let ancient = Pcap::versioned(little, 0xa1b2_c3d4, [1, 0], 1);
    let cases: [(&[u8], usize, &str); 15] = [
        (b"", 0, "it is empty (zero bytes), at byte 0"),
        (
            text,
            0,
            "it is neither a pcap nor a pcapng file, as it begins with the bytes [74, 68, 69, 73], at byte 0",
        ),
        (
            b"\x04\x22\x4d\x18....",
            0,
            "it is compressed with lz4, which is not read here: unpack it first, at byte 0",
        ),
        (
            long.bytes(),
            2,
            "a frame claims 4294967295 captured bytes, more than the 262144 there can be, at byte 176",
        ),
        (
            unknown_interface.bytes(),
            2,
            "a packet is of interface 3, and 1 are described, at byte 240",
        ),
        (simple.bytes(), 0, "a packet is of interface 0, and 0 are described, at byte 28"),
        (short.bytes(), 2, "it was cut short in the middle of a block, at byte 240"),
        (odd.bytes(), 2, "a block of type 0x6 claims a length of 37 bytes, at byte 240"),
        (
            beyond.bytes(),
            2,
            "a frame claims 100 captured bytes, more than the 60 there can be, at byte 240",
        ),
        (
            &ends,
            1,
            "a block of type 0x6 claims a length of 92 bytes before its body and 7 after it, at byte 148",
        ),
        (
            option.bytes(),
            0,
            "option 2 of an interface claims 200 bytes, more than there are, at byte 28",
        ),
        (&version, 0, "version 2.0 of pcapng is unknown, at byte 0"),
        (&magic, 0, "a section header has the unknown byte-order magic 0x1a2b3c00, at byte 0"),
        (reserved.bytes(), 0, "its link type is 0x00010001, with reserved bits set, at byte 0"),
        (ancient.bytes(), 0, "version 1.0 of pcap is unknown, at byte 0"),
    ];
    for (capture, frames, says) in cases {
        assert_eq!(said(capture), (frames, says.to_owned()));
    }
}

#[test]
fn a_block_that_claims_gigabytes_is_not_waited_for_in_memory() {
    for kind in [1, 6, 3, 0x0a0d_0d0a, 0x7777_7777] {
        let mut pcapng = pcapng(Order::Little, 1);
        pcapng.head(kind, 0xffff_fff0).0.raw(&0x1a2b_3c4d_u32.to_le_bytes()).raw(&[1, 0, 0, 0]);
        let read = said(pcapng.bytes());
        assert_eq!(read.0, 1);
        assert!(read.1.starts_with("it was cut short in the middle of a block"), "{}", read.1);
    }
}

#[test]
fn too_many_interfaces_are_refused() {
    let mut pcapng = Pcapng::new(Order::Little);
    for _ in 0..=u16::MAX {
        pcapng.interface(1, &[]);
    }
    assert_eq!(
        said(pcapng.bytes()).1.split(',').next().unwrap(),
        "more than 65535 interfaces are described"
    );
}

/// Fails once all is read.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Ok(0) => Err(io::Error::other("the disk is gone")),
            read => read,
        }
    }
}

#[test]
fn a_file_that_can_no_longer_be_read_gives_the_frames_before() {
    let outcome = drain(Reader::new(Failing(pcap(Order::Little, 2).bytes())), 0);
    assert_eq!(outcome.frames.len(), 2);
    let damage = outcome.end.unwrap_err();
    assert_eq!(damage.fault, Fault::Reading("the disk is gone".to_owned()));
    assert_eq!(damage.to_string(), "it can't be read: the disk is gone, at byte 176");
}
