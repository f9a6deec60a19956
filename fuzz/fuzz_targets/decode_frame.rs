//! A captured frame: two bytes of link type, two that say how much of it was not captured, its bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::{
    decode::{Frame, LinkType, Options, decode, each},
    record::{ObservationPoint, Packet, Timestamp},
};

fn read(link: u16, length: usize, bytes: &[u8]) -> Option<Packet> {
    let frame = Frame {
 origin: ObservationPoint::default(),
        time: Timestamp::from_nanos(7),
        epoch: 0,
        number: 1,
        link: LinkType(link),
        length: u32::try_from(length).expect("an input is short"),
        bytes,
    };
    let options = Options { checksums: true, dns: true, names: true };
    for packet in each(&frame, &options).unwrap_or_default() {
        assert!(packet.outer.ip_bytes <= packet.frame_bytes, "{packet:?}");
    }
    decode(&frame, &options).ok()
}

fuzz_target!(|input: &[u8]| {
    let Some((&[a, b, c, d], bytes)) = input.split_first_chunk() else { return };
    let (link, missing) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let length = bytes.len() + usize::from(missing);
    let Some(packet) = read(link, length, bytes) else { return };
    assert!(packet.outer.ip_bytes <= packet.frame_bytes, "{packet:?}");
    assert!(packet.inner.len() <= 8);
    for extra in &packet.extra {
        assert!(extra.values.len() <= 64 && extra.values.iter().all(|value| value.len() <= 1024));
    }
    // Without its last byte it is the same packet, as far as that byte tells nothing.
    let Some((_, rest)) = bytes.split_last() else { return };
    if let Some(cut) = read(link, length, rest) {
        assert_eq!((cut.outer.source, cut.frame_bytes), (packet.outer.source, packet.frame_bytes));
    }
});
