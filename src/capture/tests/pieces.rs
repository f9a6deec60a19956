//! A capture is the same in whatever pieces it comes, also compressed, also while it grows.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::{
    Pieces, drain,
    made::{Pcap, Pcapng, Writer, frame},
    read,
};
use crate::{
    capture::{Part, Reader, number::Order},
    record::Frames,
};

/// Captures of every format and layout, with frames of many lengths.
fn captures() -> Vec<Vec<u8>> {
    let mut captures = Vec::new();
    let mut patched = Writer::new(Order::Big);
    patched.u32(2).u16(0x0800).raw(&[0, 0]);
    for (magic, extra) in
        [(0xa1b2_c3d4, &[][..]), (0xa1b2_3c4d, &[]), (0xa1b2_cd34, &patched.bytes)]
    {
        let mut pcap = Pcap::new(Order::Big, magic);
        pcap.extra = extra.to_vec();
        for number in 0..40_u8 {
            pcap.frame([number.into(), 3], &frame(number, usize::from(number) * 37));
        }
        captures.push(pcap.bytes().to_vec());
    }
    for order in [Order::Little, Order::Big] {
        let mut pcapng = Pcapng::new(order);
        pcapng.interface(1, &[(2, b"eth0")]).interface(101, &[(9, &[9])]);
        for number in 0..40_u8 {
            pcapng.packet(
                u32::from(number % 2),
                number.into(),
                &frame(number, usize::from(number)),
            );
            if number % 8 == 0 {
                pcapng.block(0x7777_7777, &vec![1; usize::from(number) * 10]);
            }
            if number == 20 {
                pcapng.section().interface(1, &[(2, b"eth1")]).interface(1, &[]);
            }
        }
        captures.push(pcapng.bytes().to_vec());
    }
    captures
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_captures_are_known_by_their_content() {
    for capture in captures() {
        let plain = read(&capture);
        assert_eq!((plain.frames.len(), &plain.end), (40, &Ok(())));
        let half = capture.len() / 2;
        let members = [gzipped(&capture[..half]), gzipped(&capture[half..])].concat();
        let frames = [&capture[..half], &capture[half..]]
            .map(|part| zstd::encode_all(part, 3).unwrap())
            .concat();
        for packed in [gzipped(&capture), members, zstd::encode_all(&*capture, 1).unwrap(), frames]
        {
            assert_eq!(read(&packed), plain);
        }
    }
}

#[test]
fn frames_come_at_once_where_the_input_may_pause() {
    let mut pcap = Pcap::new(Order::Little, 0xa1b2_3c4d);
    pcap.frame([1, 0], &frame(1, 60));
    let first = pcap.bytes().len();
    pcap.frame([2, 0], &frame(2, 60));
    let sizes = [4, first - 4, 40, 0, 1_000];
    let mut reader = Reader::new(Pieces { bytes: pcap.bytes(), sizes: &sizes, at: 0 }).at_once();
    let numbers = |part: Part| match part {
        Part::Frames(frames) => frames.places.iter().map(|place| place.number).collect(),
        Part::End => Vec::new(),
    };
    assert_eq!(numbers(reader.read().unwrap()), [1]);
    assert_eq!(numbers(reader.read().unwrap()), [0; 0], "the second is not there as a whole");
    assert_eq!(numbers(reader.read().unwrap()), [2]);
    assert_eq!(numbers(reader.read().unwrap()), [0; 0]);
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn many_frames_come_in_batches_that_share_buffers() {
    let mut pcap = Pcap::new(Order::Little, 0xa1b2_c3d4);
    for number in 0..10_000_u32 {
        pcap.frame([number, 0], &frame(1, 60));
    }
    let mut reader = Reader::new(pcap.bytes());
    let mut batches: Vec<Frames> = Vec::new();
    while let Part::Frames(frames) = reader.read().unwrap() {
        batches.push(frames);
    }
    let bytes: usize = batches.iter().map(|frames| frames.bytes.len()).sum();
    assert_eq!(bytes, pcap.bytes().len(), "each byte is in one batch");
    assert!(batches.len() <= 14, "{} batches", batches.len());
    assert!(batches.iter().all(|frames| frames.len() <= 1_024));
    let last = batches.last().and_then(|frames| frames.places.last()).unwrap();
    assert_eq!(last.number, 10_000);
}

proptest! {
    #[test]
    fn pieces_and_pauses_change_nothing(
        which in 0..5_usize,
        sizes in prop::collection::vec(0..300_usize, 1..20),
        at_once in any::<bool>(),
    ) {
        let capture = &captures()[which];
        // Somewhere something has to come, and the first bytes at once: an input without them is empty.
        let sizes: Vec<_> = [4].into_iter().chain(sizes).collect();
        let reader = Reader::new(Pieces { bytes: capture, sizes: &sizes, at: 0 });
        let reader = if at_once { reader.at_once() } else { reader };
        prop_assert!(drain(reader, 100_000) == read(capture));
    }

    #[test]
    fn wrong_bytes_are_no_reason_to_panic_and_no_length_is_believed(
        which in 0..5_usize,
        changes in prop::collection::vec((0..4_000_usize, any::<u8>()), 1..6),
        size in 1..5_000_usize,
    ) {
        let mut capture = captures().swap_remove(which);
        for (at, byte) in changes {
            let length = capture.len();
            capture[at % length] = byte;
        }
        let whole = read(&capture);
        prop_assert!(whole.frames.iter().map(|seen| seen.bytes.len()).sum::<usize>() <= capture.len());
        let sizes = [size];
        let pieces = Reader::new(Pieces { bytes: &capture, sizes: &sizes, at: 0 }).at_once();
        prop_assert!(drain(pieces, 0) == whole, "{:?}", whole.end);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read(&bytes);
    }
}
