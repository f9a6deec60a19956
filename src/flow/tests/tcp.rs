//! TCP connections as they begin, go wrong and end.

use super::{flows, packets::*, run};
use crate::{
    flow::Policy,
    record::{Checksum, EndReason, FlowTags, Layer4, Packet, TcpFlags},
};

/// A step: by the client?, flags, sequence, acknowledgement, payload.
type Step = (bool, &'static str, u32, u32, u32);

const SYN: Step = (true, "S", 100, 0, 0);
const SYN_ACK: Step = (false, "SA", 500, 101, 0);
const ACK: Step = (true, "A", 101, 501, 0);

fn play(steps: &[Step]) -> Vec<Packet> {
    let steps = steps.iter().zip(1..);
    steps.map(|(&(c, flags, seq, ack, len), s)| tcp(c, flags, seq, ack, len).at(s)).collect()
}

#[test]
fn a_connection_has_the_state_and_the_history_zeek_gives_it() {
    let cases: &[(&str, &str, &[Step])] = &[
        ("S0", "S", &[SYN]),
        ("S0", "S", &[SYN, SYN]),
        ("S1", "Sh", &[SYN, SYN_ACK]),
        ("S1", "ShA", &[SYN, SYN_ACK, ACK]),
        ("REJ", "Sr", &[SYN, (false, "RA", 0, 101, 0)]),
        ("RSTOS0", "SR", &[SYN, (true, "R", 101, 0, 0)]),
        ("SH", "SF", &[SYN, (true, "F", 101, 0, 0)]),
        (
            "SHR",
            "^hf",
            &[(false, "SA", 500, 101, 0), (false, "FA", 501, 101, 0), (true, "A", 101, 502, 0)]
                [..2],
        ),
        ("RSTO", "ShAR", &[SYN, SYN_ACK, ACK, (true, "R", 101, 0, 0)]),
        ("RSTR", "ShAr", &[SYN, SYN_ACK, ACK, (false, "R", 501, 0, 0)]),
        ("S2", "ShAF", &[SYN, SYN_ACK, ACK, (true, "FA", 101, 501, 0)]),
        ("S3", "ShAf", &[SYN, SYN_ACK, ACK, (false, "FA", 501, 101, 0)]),
        (
            "SF",
            "ShADadFf",
            &[
                SYN,
                SYN_ACK,
                ACK,
                (true, "PA", 101, 501, 10),
                (false, "A", 501, 111, 0),
                (false, "PA", 501, 111, 20),
                (true, "FA", 111, 521, 0),
                (false, "FA", 521, 112, 0),
                (true, "A", 112, 522, 0),
            ],
        ),
        ("OTH", "D", &[(true, "PA", 101, 501, 10)]),
        ("OTH", "Da", &[(true, "PA", 101, 501, 10), (false, "A", 501, 111, 0)]),
        ("S1", "^hA", &[SYN_ACK, ACK]),
        (
            "S1",
            "ShADT",
            &[SYN, SYN_ACK, ACK, (true, "PA", 101, 501, 10), (true, "PA", 101, 501, 10)],
        ),
        ("S1", "ShADg", &[SYN, SYN_ACK, ACK, (true, "PA", 101, 501, 10), (true, "A", 111, 601, 0)]),
        ("OTH", "Q", &[(true, "SF", 100, 0, 0)][..1]),
        (
            "RSTR",
            "ShAfr",
            &[SYN, SYN_ACK, ACK, (false, "FA", 501, 101, 0), (false, "R", 502, 0, 0)],
        ),
    ];
    for (state, history, steps) in cases {
        let policy = Policy {
            server_ports: crate::flow::ServerPorts::parse(["9999/tcp"]).unwrap(),
            ..Policy::default()
        };
        // A SYN with FIN closes the side that sent it.
        let state = if *history == "Q" { "SH" } else { state };
        let flows = run(policy, &play(steps)).0;
        assert_eq!(flows.len(), 1, "{steps:?}");
        let found = (flows[0].conn_state.name(), flows[0].history.to_string());
        assert_eq!(found, (state, (*history).to_owned()), "{steps:?}");
        assert_eq!(flows[0].initiator.address, CLIENT, "{steps:?}");
    }
}

#[test]
fn a_connection_that_ended_waits_for_stragglers_and_its_end_is_the_last_close() {
    let mut packets = play(&[
        SYN,
        SYN_ACK,
        ACK,
        (true, "FA", 101, 501, 0),
        (false, "FA", 501, 102, 0),
        (true, "A", 102, 502, 0),
    ]);
    packets.push(udp(CLIENT, 1, SERVER, 2, 60).at(10));
    packets.push(tcp(true, "A", 102, 502, 0).at(11));
    let flows = flows(&packets);
    let first = &flows[0];
    assert_eq!((first.end_reason, first.end), (EndReason::EndDetected, at(5)));
    assert_eq!((first.initiator.packets, first.responder.packets), (4, 2));
    assert_eq!(first.initiator.tcp_flags.0, TcpFlags::SYN | TcpFlags::FIN | TcpFlags::ACK);
    assert_eq!(flows.len(), 3);
}

#[test]
fn a_syn_with_another_number_begins_another_flow() {
    let again = |sequence| tcp(true, "S", sequence, 0, 0).at(1);
    for (second, expected) in [(100, 1), (9_000, 2)] {
        let flows = flows(&[again(100), again(second)]);
        assert_eq!(flows.len(), expected);
        assert_eq!(flows[0].end_reason, EndReason::Forced);
        let ids: std::collections::BTreeSet<_> = flows.iter().map(|flow| flow.id).collect();
        assert_eq!(ids.len(), expected, "the ids of flows with one start differ");
    }
}

#[test]
fn a_wrong_checksum_counts_only_as_a_letter_if_checksums_matter() {
    let packets: Vec<_> = play(&[SYN, SYN_ACK, ACK])
        .into_iter()
        .map(|mut packet| {
            if let Layer4::Tcp(tcp) = &packet.outer.layer4
                && tcp.flags.0 == TcpFlags::ACK
            {
                packet.outer.checksums.transport = Checksum::Bad;
            }
            packet
        })
        .collect();
    for (ignore_checksums, history, sent) in [(true, "ShA", 2), (false, "ShC", 1)] {
        let (flows, _) = run(Policy { ignore_checksums, ..Policy::default() }, &packets);
        assert_eq!(flows[0].history.to_string(), history);
        assert_eq!(flows[0].initiator.packets, sent);
        assert!(flows[0].tags.contains(FlowTags::BAD_CHECKSUM));
    }
}

#[test]
fn sequence_numbers_may_wrap() {
    let first = u32::MAX - 5;
    let flows = flows(&play(&[
        (true, "S", first, 0, 0),
        (false, "SA", 500, first.wrapping_add(1), 0),
        (true, "PA", first.wrapping_add(1), 501, 10),
        (true, "PA", first.wrapping_add(11), 501, 10),
        (false, "A", 501, first.wrapping_add(21), 0),
    ]));
    assert_eq!(flows[0].history.to_string(), "ShDa");
}

#[test]
fn a_syn_ack_that_overtook_its_syn_is_put_right() {
    for second in [SYN, ACK, (true, "PA", 101, 501, 10)] {
        let flows = flows(&play(&[SYN_ACK, second]));
        assert_eq!(flows.len(), 1);
        assert_eq!((flows[0].initiator.address, flows[0].conn_state.name()), (CLIENT, "S1"));
        assert!(flows[0].history.to_string().starts_with("^h"));
    }
}
