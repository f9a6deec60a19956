//! What follows a transport header: a byte that says which transport, two of the port, two that say how much
//! was not captured, the payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::{
    decode::{Frame, LinkType, Options, decode},
    record::{ObservationPoint, Packet, Timestamp},
};

/// An IPv4 packet with the payload behind a TCP or a UDP header.
fn packet(is_udp: bool, port: [u8; 2], missing: u16, payload: &[u8]) -> Packet {
    let header: &[u8] = if is_udp {
        &[0; 8]
    } else {
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x18, 1, 1, 0, 0, 0, 0]
    };
    let mut bytes = vec![
        0x45,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        64,
        if is_udp { 17 } else { 6 },
        0,
        0,
        10,
        0,
        0,
        1,
        10,
        0,
        0,
        2,
    ];
    let at = bytes.len();
    bytes.extend(header);
    bytes[at..at + 4].copy_from_slice(&[0xc3, 0x50, port[0], port[1]]);
    bytes.extend(payload);
    let frame = Frame {
        origin: ObservationPoint::default(),
        time: Timestamp::from_nanos(7),
        epoch: 0,
        number: 1,
        link: LinkType(101),
        length: u32::try_from(bytes.len()).expect("an input is short") + u32::from(missing),
        bytes: &bytes,
    };
    let options = Options { names: true, dns: true, ..Options::default() };
    decode(&frame, &options).expect("its IP header is whole")
}

fuzz_target!(|input: &[u8]| {
    let Some((&[kind, a, b, c, d], payload)) = input.split_first_chunk() else { return };
    let (is_udp, missing) = (kind % 2 == 1, u16::from_be_bytes([c, d]));
    let whole = packet(is_udp, [a, b], missing, payload);
    for name in [whole.question(), whole.server_name(), whole.host()].into_iter().flatten() {
        assert!((1..=255).contains(&name.len()), "{name:?}");
    }
    // Without its last byte it has the same names, or fewer.
    let Some((_, rest)) = payload.split_last() else { return };
    let cut = packet(is_udp, [a, b], missing.saturating_add(1), rest);
    assert!(cut.server_name().is_none() || cut.server_name() == whole.server_name());
    assert!(cut.question().is_none() || cut.question() == whole.question());
});
