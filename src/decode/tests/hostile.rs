//! Any bytes: no panic, and nothing beyond the frame.

use proptest::{collection::vec, prelude::*};

use super::{
    super::{Frame, LinkType, decode},
    CHECKED,
    build::*,
};
use crate::record::Packet;

/// Link types, all that are read among them.
fn any_link() -> impl Strategy<Value = u16> {
    let read = [
        0, 1, 9, 12, 50, 51, 100, 101, 104, 105, 107, 108, 109, 113, 117, 119, 127, 138, 149, 163,
        166, 192, 204, 226, 228, 229, 239, 240, 258, 276,
    ];
    prop_oneof![9 => prop::sample::select(read.to_vec()), 1 => any::<u16>()]
}

/// Frames with many headers each, to be changed.
fn rich() -> Vec<Vec<u8>> {
    let segment = tcp(Over::V6, &[2, 4, 5, 180], b"payload");
    let deep = ipv6(
        0,
        &extension(
            60,
            2,
            &extension(43, 1, &routing(44, 0, 1, &[FINAL6], &part6(6, 0, true, &segment))),
        ),
    );
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0], on_ethernet(&deep).as_slice()].concat();
    let tunnel = ipv4(
        47,
        &gre(
            0x3000,
            0x6558,
            &[0; 8],
            &ethernet(
                0x8100,
                &typed(9, &typed_ip(&ipv4(17, &udp_between(Over::V4, [1, 4789], &vxlan)))),
            ),
        ),
    );
    let quoted = ipv4(1, &icmp(3, 3, &[&[0; 4], tunnel.as_slice()].concat()));
    let gtp = [&[0x34, 255, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 1, 0], deep.as_slice()].concat();
    let labels = [
        &[0, 1, 0, 64, 0, 2, 1, 64],
        on_ethernet(&ipv4(17, &udp_between(Over::V4, [2152, 2152], &gtp))).as_slice(),
    ]
    .concat();
    vec![
        on_ethernet(&deep),
        on_ethernet(&tunnel),
        on_ethernet(&quoted),
        ethernet(0x88a8, &typed(5, &typed(0x8847, &labels))),
        on_ethernet(&ipv4_with(6, &[131, 7, 4, 10, 0, 0, 1, 0], 0, &tcp(Over::V4, &[], b"x"))),
        on_ethernet(&ipv4(132, &sctp())),
    ]
}

fn read(link: u16, length: u32, bytes: &[u8]) -> Option<Packet> {
    let frame = Frame { link: LinkType(link), length, ..frame(1, bytes) };
    decode(&frame, &CHECKED).ok()
}

/// What holds for each packet.
fn check(packet: &Packet) {
    assert!(packet.outer.ip_bytes <= packet.frame_bytes, "{packet:?}");
    assert!(packet.inner.len() <= 8);
    for header in packet.inner.iter().chain([&packet.outer]) {
        assert_eq!(header.source.is_ipv4(), header.destination.is_ipv4());
    }
}

#[test]
fn frames_cut_at_each_byte_are_packets_or_have_a_reason() {
    for bytes in rich() {
        let whole = read(1, length32(bytes.len()), &bytes).unwrap();
        assert!(!whole.damaged);
        // Up to the outermost transport header.
        let mut is_complete = false;
        for end in 0..bytes.len() {
            let cut = read(1, length32(bytes.len()), &bytes[..end]);
            if let Some(cut) = cut {
                check(&cut);
                assert!(!(is_complete && cut.damaged), "cut at {end}: {cut:?}");
                is_complete |= !cut.damaged;
                assert_eq!(
                    (cut.outer.source, cut.outer.ip_bytes),
                    (whole.outer.source, whole.outer.ip_bytes)
                );
                assert!(whole.inner.len() >= cut.inner.len());
            }
            read(1, length32(end), &bytes[..end]).iter().for_each(check);
        }
    }
}

#[test]
fn each_value_of_each_header_byte_is_read() {
    for bytes in rich() {
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let mut changed = bytes.clone();
                changed[at] = value;
                read(1, length32(changed.len()), &changed).iter().for_each(check);
            }
        }
    }
}

#[test]
fn many_extension_headers_are_walked_or_given_up() {
    for (count, is_read) in [(64, true), (128, true), (129, false), (1000, false)] {
        let segment = tcp(Over::V6, &[], b"");
        let chain =
            (0..count).fold((6, segment), |(next, inner), _| (60, extension(next, 1, &inner)));
        let packet = read(1, 70_000, &on_ethernet(&ipv6(60, &chain.1))).unwrap();
        assert_eq!(packet.outer.layer4.ports().is_some(), is_read, "{count}");
        assert!(!packet.damaged);
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        link in any_link(),
        bytes in vec(any::<u8>(), 0..300),
        more in 0_u32..200,
    ) {
        read(link, length32(bytes.len()) + more, &bytes).iter().for_each(check);
    }

    #[test]
    fn a_changed_frame_never_panics(
        which in 0_usize..6,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        end in any::<prop::sample::Index>(),
        link in prop_oneof![5 => Just(1), 1 => any_link()],
        length in prop_oneof![3 => Just(None), 1 => any::<u32>().prop_map(Some)],
    ) {
        let mut bytes = rich().swap_remove(which);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(end.index(bytes.len()) + 1);
        let whole = length.unwrap_or(length32(bytes.len()));
        read(link, whole, &bytes).iter().for_each(check);
    }

    #[test]
    fn random_messages_never_panic(message in vec(any::<u8>(), 0..200)) {
        let bytes = on_ethernet(&ipv4(17, &udp_between(Over::V4, [53, 40_000], &message)));
        let packet = read(1, length32(bytes.len()), &bytes).unwrap();
        for extra in packet.extra {
            prop_assert!(extra.values.len() <= 64 && extra.values.iter().all(|value| value.len() <= 1024));
        }
    }
}
