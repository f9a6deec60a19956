//! The profile `zeek`: what Zeek's connections are where a SIEM wants others.

use super::{packets::*, run};
use crate::{
    flow::{Output, Policy, ServerPorts, Shards, Timeouts},
    record::{Flow, Layer4, Marks, Packet, Transport},
};

type Step = (bool, &'static str, u32, u32, u32);

const SYN: Step = (true, "S", 100, 0, 0);
const SYN_ACK: Step = (false, "SA", 500, 101, 0);
const ACK: Step = (true, "A", 101, 501, 0);

fn zeek() -> Policy {
    Policy { as_zeek: true, inner: true, timeouts: Timeouts::ZEEK, ..Policy::default() }
}

/// A step a second, from the first second on.
fn play(steps: &[Step]) -> Vec<Packet> {
    let steps = steps.iter().zip(1..);
    steps.map(|(&(c, flags, seq, ack, len), s)| tcp(c, flags, seq, ack, len).at(s)).collect()
}

fn flows(packets: &[Packet]) -> Vec<Flow> {
    run(zeek(), packets).0
}

/// State and history of the only flow of these steps.
fn told(policy: Policy, steps: &[Step]) -> (String, String) {
    let flows = run(policy, &play(steps)).0;
    assert_eq!(flows.len(), 1, "{steps:?}");
    (flows[0].conn_state.name().to_owned(), flows[0].history.to_string())
}

#[test]
fn a_repeated_syn_ack_makes_no_gap() {
    let steps = [
        SYN,
        SYN_ACK,
        ACK,
        (false, "PA", 501, 101, 10),
        SYN_ACK,
        (true, "FA", 101, 511, 0),
        (false, "FA", 511, 102, 0),
    ];
    for policy in [Policy::default(), zeek()] {
        assert_eq!(told(policy, &steps), ("SF".to_owned(), "ShAdFf".to_owned()));
    }
}

#[test]
fn a_syn_ack_of_another_number_moves_what_was_seen_with_it() {
    let steps = [
        SYN,
        SYN_ACK,
        ACK,
        (false, "PA", 501, 101, 10),
        (false, "SA", 700, 101, 0),
        (true, "A", 101, 711, 0),
    ];
    // Zeek counts its letters' numbers from the start, which moved, too.
    for (policy, history) in [(Policy::default(), "ShAdh"), (zeek(), "ShAd")] {
        assert_eq!(told(policy, &steps).1, history);
    }
}

#[test]
fn a_reset_connection_waits_for_stragglers_as_any_that_is_over() {
    let before = play(&[SYN, SYN_ACK, ACK, (false, "R", 501, 0, 0)]);
    for (second, expected) in [(8, 1), (9, 2)] {
        let late = tcp(false, "R", 501, 0, 0).at(second);
        assert_eq!(flows(&[before.clone(), vec![late]].concat()).len(), expected, "{second}");
    }
    // Once the other side ends as well, it is waited for anew.
    let closing = tcp(true, "FA", 101, 501, 0).at(7);
    let late = tcp(true, "A", 102, 501, 0).at(11);
    assert_eq!(flows(&[before, vec![closing, late]].concat()).len(), 1);
}

#[test]
fn a_rst_of_who_has_closed_ends_nothing_that_goes_on() {
    let mut packets = play(&[SYN, SYN_ACK, ACK, (true, "FA", 101, 501, 0), (true, "R", 102, 0, 0)]);
    packets.extend([8, 12, 16].map(|second| tcp(false, "A", 501, 102, 0).at(second)));
    assert_eq!(flows(&packets).len(), 1);
    packets.push(tcp(false, "A", 501, 102, 0).at(40));
    assert_eq!(flows(&packets).len(), 2);
}

#[test]
fn what_closed_with_a_hole_is_not_over() {
    let mut packets =
        play(&[SYN, SYN_ACK, ACK, (true, "FA", 201, 501, 0), (false, "FA", 501, 101, 0)]);
    packets.push(tcp(true, "A", 202, 502, 0).at(100));
    assert_eq!(flows(&packets).len(), 1);
    assert_eq!(super::flows(&packets).len(), 2);
    // Once it is filled, both have closed.
    packets.insert(5, tcp(true, "A", 101, 501, 100).at(6));
    assert_eq!(flows(&packets).len(), 2);
}

#[test]
fn a_question_and_its_answer_are_over_after_ten_seconds() {
    let ask = |port, second| udp(CLIENT, 40000, SERVER, port, 60).at(second);
    let answer = |port, second| udp(SERVER, port, CLIENT, 40000, 60).at(second);
    for port in [53, 137, 5353, 5355] {
        let count = |packets: &[Packet]| flows(packets).len();
        assert_eq!(count(&[ask(port, 0), answer(port, 1), ask(port, 9)]), 1);
        assert_eq!(count(&[ask(port, 0), answer(port, 1), ask(port, 10)]), 2);
        // Looked at after 10 s it goes on, and after 10 more.
        assert_eq!(count(&[ask(port, 0), ask(port, 5), ask(port, 11), ask(port, 19)]), 1);
        assert_eq!(count(&[ask(port, 0), ask(port, 5), ask(port, 11), ask(port, 21)]), 2);
        let unlisted = Policy { server_ports: ServerPorts::parse(["80/tcp"]).unwrap(), ..zeek() };
        assert_eq!(run(unlisted, &[ask(port, 0), ask(port, 59)]).0.len(), 1);
        assert_eq!(super::flows(&[ask(port, 0), ask(port, 59)]).len(), 1);
    }
    assert_eq!(flows(&[ask(123, 0), ask(123, 59)]).len(), 1);
}

/// The same with this port of the server's.
fn on_port(mut packet: Packet, port: u16) -> Packet {
    if let Layer4::Tcp(tcp) = &mut packet.outer.layer4 {
        for end in [&mut tcp.ports.source, &mut tcp.ports.destination] {
            *end = if *end == 9999 { port } else { *end };
        }
    }
    packet
}

#[test]
fn logins_may_be_idle_for_an_hour() {
    for (port, idle, expected) in [
        (22, 3_599, 1),
        (22, 3_600, 2),
        (21, 3_599, 1),
        (23, 3_599, 1),
        (513, 3_599, 1),
        (24, 300, 2),
    ] {
        let mut packets = play(&[SYN, SYN_ACK, ACK]);
        packets.push(tcp(true, "PA", 101, 501, 10).at(3 + idle));
        let packets: Vec<_> = packets.into_iter().map(|packet| on_port(packet, port)).collect();
        assert_eq!(flows(&packets).len(), expected, "{port} {idle}");
    }
    // Joined under way, it is none that was established.
    let joined = [tcp(true, "PA", 101, 501, 1).at(0), tcp(true, "PA", 102, 501, 1).at(301)];
    assert_eq!(flows(&joined.map(|packet| on_port(packet, 22))).len(), 2);
}

#[test]
fn a_syn_ack_that_came_first_is_turned_and_establishes_nothing() {
    let steps = [SYN_ACK, ACK, (false, "PA", 501, 101, 10)];
    assert_eq!(told(zeek(), &steps), ("OTH".to_owned(), "^hAd".to_owned()));
    assert_eq!(told(Policy::default(), &steps).0, "S1");
}

#[test]
fn a_syn_that_was_overtaken_is_the_responders_until_it_turns_the_roles() {
    let steps = [SYN_ACK, SYN, ACK, (true, "PA", 101, 501, 10)];
    assert_eq!(told(zeek(), &steps), ("S1".to_owned(), "Hs^AD".to_owned()));
    assert_eq!(told(Policy::default(), &steps), ("S1".to_owned(), "^hSAD".to_owned()));
}

#[test]
fn the_last_packet_ends_it_and_no_clock() {
    let one = |second| udp(CLIENT, 1, SERVER, 2, 60).at(second);
    let late = flows(&[one(100), one(110), one(105)]);
    assert_eq!((late[0].start, late[0].end), (at(100), at(105)));
    let early = flows(&[one(100), one(90)]);
    assert_eq!((early[0].start, early[0].end), (at(100), at(100)));
    let set_back = flows(&[one(1_000), one(1_010), one(2), one(3), one(4), one(1_011)]);
    assert_eq!(set_back.len(), 1);
    assert_eq!((set_back[0].packets(), set_back[0].end), (6, at(1_011)));
    // A single jump forward is believed.
    let stray = flows(&[one(0), one(1_000), one(1), one(2)]);
    assert_eq!(stray.len(), 2);
    assert_eq!(super::flows(&[one(0), one(1_000), one(1), one(2)]).len(), 1);
}

fn opaque(v6: bool, transport: u8) -> Packet {
    let ends = if v6 { ["2001:db8::1", "2001:db8::2"] } else { ["10.0.0.1", "10.0.0.2"] };
    let [source, destination] = ends.map(|text| text.parse().unwrap());
    packet(header(source, destination, Transport(transport))).at(1)
}

#[test]
fn encrypted_payload_is_a_connection_over_ipv4() {
    for (v6, transport, expected) in [
        (false, 50, 1),
        (true, 50, 0),
        (false, 135, 1),
        (true, 135, 0),
        (false, 59, 0),
        (true, 59, 0),
        (false, 47, 0),
        (false, 89, 1),
    ] {
        let packet = opaque(v6, transport);
        assert_eq!(flows(&[packet]).len(), expected, "{transport} {v6}");
    }
}

#[test]
fn what_was_cut_within_its_transport_header_is_no_connection() {
    let segment = || tcp(true, "S", 100, 0, 0).at(1);
    let with_options = || {
        let mut packet = segment();
        (packet.outer.ip_bytes, packet.frame_bytes) = (60, 74);
        packet
    };
    for (make, captured, expected) in [
        (&segment as &dyn Fn() -> Packet, 34 + 19, vec![]),
        (&segment, 34 + 20, vec![(1, "S")]),
        // The options are missing: it counts for nothing.
        (&with_options, 34 + 20, vec![(0, "")]),
        (&with_options, 34 + 40, vec![(1, "S")]),
        (&|| udp(CLIENT, 1, SERVER, 2, 60).at(1), 34 + 7, vec![]),
        (&|| udp(CLIENT, 1, SERVER, 2, 60).at(1), 34 + 8, vec![(1, "D")]),
        (&|| icmp(CLIENT, SERVER, 8, 0).at(1), 34 + 7, vec![]),
        (&|| icmp(CLIENT, SERVER, 8, 0).at(1), 34 + 8, vec![(1, "")]),
    ] {
        let mut packet = make();
        packet.captured_bytes = captured;
        let flows = flows(&[packet]);
        let told: Vec<_> =
            flows.iter().map(|flow| (flow.packets(), flow.history.to_string())).collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(packets, text)| (packets, text.to_owned())).collect();
        assert_eq!(told, expected, "{captured}");
    }
}

fn marked(mut packet: Packet, marks: Marks) -> Packet {
    packet.outer.marks = marks;
    packet
}

/// A datagram between two that both use the server's port.
fn between(by_client: bool, port: u16, marks: Marks, second: i64) -> Packet {
    let (from, to) = if by_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    marked(udp(from, port, to, port, 76).at(second), marks)
}

#[test]
fn what_a_datagram_says_turns_the_roles() {
    let (asks, answers) = (Marks::ASKS, Marks::ANSWERS);
    for (port, steps, expected) in [
        // Who answers is no initiator; what has happened stays the old one's.
        (123, &[(false, answers), (true, asks)][..], ("S0", "D^", 2, 0)),
        (123, &[(false, answers), (true, asks), (false, answers)], ("SF", "D^d", 2, 1)),
        // Who asks is no responder, wherever it does so.
        (123, &[(false, Marks::default()), (true, asks)], ("SF", "Dd^", 0, 2)),
        // Only once.
        (123, &[(false, answers), (true, answers)], ("S0", "D^", 2, 0)),
        (53, &[(false, answers), (true, asks)], ("S0", "D^", 2, 0)),
        (5353, &[(true, asks), (false, asks), (true, answers)], ("SF", "Dd", 2, 1)),
    ] {
        let packets: Vec<_> = steps
            .iter()
            .zip(0..)
            .map(|(&(by_client, marks), second)| between(by_client, port, marks, second))
            .collect();
        let flows = flows(&packets);
        assert_eq!(flows.len(), 1);
        let flow = &flows[0];
        assert_eq!(flow.initiator.address, CLIENT, "{steps:?}");
        let told = (flow.conn_state.name(), flow.history.to_string());
        assert_eq!((told.0, told.1.as_str()), (expected.0, expected.1), "{steps:?}");
        let counts = (flow.initiator.packets, flow.responder.packets);
        assert_eq!(counts, (expected.2, expected.3), "{steps:?}");
        assert_eq!((flow.initiator.bytes, flow.responder.bytes), (counts.0 * 76, counts.1 * 76));
    }
    let unlisted = Policy { server_ports: ServerPorts::parse(["80/tcp"]).unwrap(), ..zeek() };
    let answered = [between(false, 123, answers, 0)];
    assert_eq!(run(unlisted, &answered).0[0].initiator.address, SERVER);
    // Who otherwise sees an answer first takes its sender for the server from the beginning.
    let flows = super::flows(&[between(false, 123, answers, 0), between(true, 123, asks, 1)]);
    assert_eq!((flows[0].initiator.address, flows[0].conn_state.name()), (CLIENT, "SF"));
    assert_eq!(flows[0].history.to_string(), "^dD");
}

#[test]
fn an_announcement_to_a_group_is_its_senders() {
    let group = [224, 0, 0, 251].into();
    let announced = marked(udp(SERVER, 5353, group, 5353, 90).at(1), Marks::ANSWERS);
    for flows in [flows(std::slice::from_ref(&announced)), super::flows(&[announced])] {
        assert_eq!(flows[0].initiator.address, SERVER);
    }
}

#[test]
fn a_length_that_offloading_left_out_counts_nothing() {
    let packet = || marked(tcp(true, "S", 1, 0, 100).at(1), Marks::NO_LENGTH);
    let flow = &flows(&[packet()])[0];
    assert_eq!((flow.initiator.packets, flow.initiator.bytes), (1, 0));
    assert_eq!(super::flows(&[packet()])[0].initiator.bytes, 140);
    let policy = Policy { ignore_checksums: false, ..zeek() };
    assert_eq!(run(policy, &[packet()]).0, []);
}

#[test]
fn what_ends_in_no_connection_is_counted() {
    let carried = udp(CLIENT, 1, SERVER, 2, 60).outer;
    let part = |offset, more| udp(CLIENT, 1, SERVER, 2, 100).fragment(7, offset, more).at(1);
    for (packets, flows, unconnected) in [
        (vec![opaque(true, 50)], 0, 1),
        (vec![opaque(false, 59)], 0, 1),
        (vec![marked(udp(CLIENT, 1, SERVER, 2, 60).at(1), Marks::TOO_LONG)], 0, 1),
        // What a tunnel carries is one, if there is anything.
        (vec![opaque(false, 47)], 0, 1),
        (vec![opaque(false, 47).carrying(carried)], 1, 0),
        // The last part is the packet.
        (vec![part(0, true), part(80, false)], 1, 1),
        (vec![part(0, true), part(160, false)], 0, 2),
    ] {
        let mut table = Shards::new(zeek(), 1);
        let mut out = Output::default();
        table.absorb(&packets, &mut out);
        table.drain(&mut out);
        assert_eq!((out.flows.len(), out.unconnected), (flows, unconnected), "{packets:?}");
    }
}
