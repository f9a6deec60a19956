//! Who began: SYNs from either side, numbers that are not the connection's, roles that are remembered.

use super::{flows, packets::*, run};
use crate::{
    flow::{Policy, Timeouts},
    record::{EndReason, Flow, Layer4, MacAddress, Outcome, Packet, Timestamp},
};

type Step = (bool, &'static str, u32, u32, u32);

const SYN: Step = (true, "S", 100, 0, 0);
const SYN_ACK: Step = (false, "SA", 500, 101, 0);
const ACK: Step = (true, "A", 101, 501, 0);
const CLOSE: [Step; 3] =
    [(true, "FA", 101, 501, 0), (false, "FA", 501, 102, 0), (true, "A", 102, 502, 0)];

/// A step a second, from this second on.
fn play(from: i64, steps: &[Step]) -> Vec<Packet> {
    let steps = steps.iter().zip(from..);
    steps.map(|(&(c, flags, seq, ack, len), s)| tcp(c, flags, seq, ack, len).at(s)).collect()
}

fn zeek() -> Policy {
    Policy { as_zeek: true, timeouts: Timeouts::ZEEK, ..Policy::default() }
}

/// State, packets and history of each flow.
fn told(flows: &[Flow]) -> Vec<(&'static str, u64, u64, String)> {
    let of = |flow: &Flow| {
        let (one, other) = (flow.initiator.packets, flow.responder.packets);
        (flow.conn_state.name(), one, other, flow.history.to_string())
    };
    flows.iter().map(of).collect()
}

#[test]
fn a_syn_of_the_responder_is_of_the_same_connection() {
    let answer = (false, "S", 300, 0, 0);
    let finish: &[&[Step]] = &[
        // The split handshake.
        &[(true, "SA", 100, 301, 0), (false, "A", 301, 101, 0)],
        // Both open at once.
        &[(true, "SA", 100, 301, 0), (false, "SA", 300, 101, 0)],
        &[(false, "S", 300, 0, 0), (true, "A", 101, 301, 0)],
    ];
    for rest in finish {
        let flows = flows(&play(1, &[&[SYN, answer], *rest].concat()));
        assert_eq!(flows.len(), 1, "{rest:?}");
        assert_eq!((flows[0].initiator.address, flows[0].conn_state.name()), (CLIENT, "S1"));
    }
}

/// The split handshake in its longer form: the responder acknowledges before it sends a SYN of its own.
#[test]
fn a_syn_of_the_responder_is_of_the_connection_whose_syn_it_has_acknowledged() {
    let rest = [
        (false, "S", 300, 0, 0),
        (true, "SA", 100, 301, 0),
        (false, "A", 301, 101, 0),
        (true, "PA", 101, 301, 10),
        (false, "A", 301, 111, 0),
    ];
    for number in [0, 299, 300, 9_000] {
        let acknowledges = (false, "A", number, 101, 0);
        for early in [&[acknowledges][..], &[acknowledges; 2]] {
            let flows = flows(&play(1, &[&[SYN], early, &rest].concat()));
            let [flow] = flows.as_slice() else { panic!("{number}: {:?}", told(&flows)) };
            assert_eq!((flow.initiator.address, flow.conn_state.name()), (CLIENT, "S1"));
            assert_eq!(flow.packets(), 6 + early.len() as u64);
        }
    }
    // Whoever has gone on has an answer already, and this is none.
    let gone_on = [SYN, (true, "A", 101, 501, 0), (false, "S", 9_000, 0, 0)];
    let another = [(true, "SA", 70, 9_001, 0), (false, "A", 9_001, 71, 0)];
    let flows = flows(&play(1, &[&gone_on[..], &another].concat()));
    assert_eq!(flows.len(), 2);
}

#[test]
fn a_syn_with_another_number_counts_to_an_open_connection_until_it_is_answered() {
    let open = [SYN, SYN_ACK, ACK, (true, "PA", 101, 501, 10)];
    for by_client in [true, false] {
        let stray = (by_client, "S", 9_000, 0, 0);
        let on = [(false, "A", 501, 111, 0), (true, "PA", 111, 501, 10)];
        let flows = flows(&play(1, &[&open[..], &[stray], &on].concat()));
        let expected = if by_client { (5, 2) } else { (4, 3) };
        assert_eq!(flows.len(), 1);
        assert_eq!((flows[0].initiator.packets, flows[0].responder.packets), expected);
        assert_eq!(flows[0].conn_state.name(), "S1");
        assert!(!flows[0].history.to_string().contains(['g', 'G', 't', 'T']));
    }
}

#[test]
fn a_syn_that_is_answered_was_the_beginning_of_another_connection() {
    let open = [SYN, SYN_ACK, ACK];
    for by_client in [true, false] {
        let again = [
            (by_client, "S", 9_000, 0, 0),
            (!by_client, "SA", 7_000, 9_001, 0),
            (by_client, "A", 9_001, 7_001, 0),
        ];
        let packets = play(1, &[&open[..], &again].concat());
        let flows = flows(&packets);
        let state = |history: &str| ("S1", 2, 1, history.to_owned());
        assert_eq!(told(&flows), [state("ShA"), state("ShA")]);
        assert_eq!((flows[0].start, flows[0].end), (at(1), at(3)));
        assert_eq!((flows[1].start, flows[1].end), (at(4), at(6)));
        let initiator = if by_client { CLIENT } else { SERVER };
        assert_eq!(flows[1].initiator.address, initiator);
        assert_eq!(flows.iter().map(Flow::bytes).sum::<u64>(), 6 * 40);
        assert_ne!(flows[0].id, flows[1].id);
    }
    // A host that knows nothing of the old connection refuses the new one.
    let refused = [(true, "S", 9_000, 0, 0), (false, "RA", 0, 9_001, 0)];
    let flows = flows(&play(1, &[&open[..], &refused].concat()));
    assert_eq!(told(&flows)[1], ("REJ", 1, 1, "Sr".to_owned()));
}

#[test]
fn zeek_takes_any_other_number_for_another_connection_at_once() {
    let steps = [SYN, SYN_ACK, ACK, (true, "S", 9_000, 0, 0), (true, "A", 101, 501, 0)];
    assert_eq!(run(zeek(), &play(1, &steps)).0.len(), 2);
}

#[test]
fn a_syn_with_the_recorded_number_is_the_connections_own_after_its_close_too() {
    let closed = [&[SYN, SYN_ACK, ACK][..], &CLOSE].concat();
    let overtaken = [&[SYN_ACK, ACK][..], &CLOSE].concat();
    for (before, number, expected) in
        [(&closed, 100, 1), (&closed, 101, 2), (&overtaken, 100, 1), (&overtaken, 99, 2)]
    {
        let again = [(true, "S", number, 0, 0)];
        let flows = flows(&play(1, &[&before[..], &again].concat()));
        assert_eq!(flows.len(), expected, "{number}");
        assert_eq!(flows[0].conn_state.name(), "SF");
    }
}

#[test]
fn a_syn_after_a_rst_begins_anew_with_any_number() {
    for number in [100, 200] {
        let again = |number| [(true, "S", number, 0, 0), (false, "RA", 0, number + 1, 0)];
        let flows = flows(&play(1, &[again(100), again(number), again(number)].concat()));
        let rejected = ("REJ", 1, 1, "Sr".to_owned());
        assert_eq!(told(&flows), [rejected.clone(), rejected.clone(), rejected]);
        let ids: std::collections::BTreeSet<_> = flows.iter().map(|flow| flow.id).collect();
        assert_eq!(ids.len(), 3);
    }
}

#[test]
fn a_rst_outside_the_window_changes_nothing() {
    let open = [SYN, SYN_ACK, ACK];
    for (by_client, number, believed) in [
        (false, 501, true),
        (false, 501 + 60_000, true),
        (false, 501 + 70_000, false),
        (false, 501_u32.wrapping_sub(70_000), false),
        (true, 101, true),
        (true, 999_999, false),
    ] {
        let steps = [&open[..], &[(by_client, "R", number, 0, 0)]].concat();
        let state = if by_client { "RSTO" } else { "RSTR" };
        let flows = flows(&play(1, &steps));
        assert_eq!(flows.len(), 1);
        let expected = if believed { state } else { "S1" };
        assert_eq!(flows[0].conn_state.name(), expected, "{number}");
        assert_eq!(run(zeek(), &play(1, &steps)).0[0].conn_state.name(), state);
    }
}

#[test]
fn a_rst_that_is_not_believed_is_no_outcome() {
    let steps = [SYN, SYN_ACK, (true, "R", 999_999, 0, 0)];
    let outcomes: Vec<_> =
        run(Policy::default(), &play(1, &steps)).1.iter().map(|contact| contact.outcome).collect();
    assert_eq!(outcomes, [Outcome::Attempt]);
}

#[test]
fn a_syn_ack_and_what_follows_of_either_side_tell_who_began() {
    for (second, packets) in [
        ((true, "A", 101, 501, 0), (1, 1)),
        ((true, "PA", 101, 501, 5), (1, 1)),
        ((false, "A", 501, 101, 0), (0, 2)),
        ((false, "PA", 501, 101, 5), (0, 2)),
    ] {
        let flows = flows(&play(1, &[SYN_ACK, second]));
        assert_eq!(flows.len(), 1);
        assert_eq!(flows[0].initiator.address, CLIENT);
        assert_eq!((flows[0].initiator.packets, flows[0].responder.packets), packets);
        assert!(flows[0].history.to_string().starts_with("^h"), "{second:?}");
    }
}

#[test]
fn the_only_system_port_is_the_servers() {
    let from = |source: u16, destination: u16| {
        let mut packet = tcp(false, "PA", 1, 1, 5).at(1);
        if let Layer4::Tcp(tcp) = &mut packet.outer.layer4 {
            (tcp.ports.source, tcp.ports.destination) = (source, destination);
        }
        packet
    };
    for (source, destination, flips, as_zeek) in [
        (23, 40_000, true, false),
        (110, 40_000, true, false),
        (179, 1_024, true, false),
        (23, 110, false, false),
        (1_024, 40_000, false, false),
        (40_000, 23, false, false),
        // One on the list outweighs one that is only low.
        (23, 8080, false, false),
        (443, 40_000, true, true),
    ] {
        let packets = [from(source, destination)];
        let initiator = run(Policy::default(), &packets).0[0].initiator.address;
        assert_eq!(initiator == CLIENT, flips, "{source} > {destination}");
        let initiator = run(zeek(), &packets).0[0].initiator.address;
        assert_eq!(initiator == CLIENT, as_zeek, "{source} > {destination} as Zeek");
    }
}

#[test]
fn a_group_or_broadcast_address_begins_nothing() {
    let v6 = |text: &str| text.parse().unwrap();
    let group_mac = Some(MacAddress([0xff; 6]));
    let own = udp(SERVER, 53, CLIENT, 40_000, 60).at(1).destination_mac;
    for (source, destination, mac, initiator) in [
        (SERVER, [224, 0, 0, 251].into(), own, SERVER),
        (SERVER, [239, 1, 2, 3].into(), own, SERVER),
        (SERVER, [255, 255, 255, 255].into(), own, SERVER),
        (SERVER, [10, 0, 0, 255].into(), own, SERVER),
        (SERVER, [10, 0, 0, 127].into(), own, SERVER),
        (SERVER, [10, 0, 1, 63].into(), group_mac, SERVER),
        (v6("2001:db8::2"), v6("ff05::1234"), own, v6("2001:db8::2")),
        // One that is none, and one that can't be.
        (SERVER, [10, 0, 1, 63].into(), own, [10, 0, 1, 63].into()),
        ([224, 0, 0, 9].into(), CLIENT, own, CLIENT),
    ] {
        let mut packet = udp(source, 514, destination, 40_000, 60).at(1);
        packet.destination_mac = mac;
        let internal_networks = ["10.0.0.0/25".parse().unwrap()].into_iter().collect();
        let policy = Policy { internal_networks, ..Policy::default() };
        let flow = &run(policy, &[packet]).0[0];
        assert_eq!(flow.initiator.address, initiator, "{source} > {destination}");
    }
}

/// A connection of a few seconds, and hours later what the server sends first.
fn after_hours(stragglers: &[Step]) -> Vec<Packet> {
    let mut packets = play(1, &[&[SYN, SYN_ACK, ACK][..], &CLOSE].concat());
    packets.extend(play(7_200, stragglers));
    packets
}

#[test]
fn stragglers_of_a_connection_that_is_over_have_its_initiator() {
    for step in [
        (false, "FA", 501, 102, 0),
        (false, "A", 500, 102, 0),
        (false, "PA", 501, 102, 7),
        (true, "A", 102, 502, 0),
        (false, "R", 501, 0, 0),
    ] {
        let (flows, contacts) = run(Policy::default(), &after_hours(&[step]));
        assert_eq!(flows.len(), 2);
        assert_eq!(flows[1].initiator.address, CLIENT, "{step:?}");
        let outcomes: Vec<_> = contacts.iter().map(|contact| contact.outcome).collect();
        let of_first = [Outcome::Attempt, Outcome::Success];
        let further = |outcome: &&Outcome| !matches!(outcome, Outcome::Ended { .. });
        let outcomes: Vec<_> = outcomes.iter().filter(further).copied().collect();
        assert_eq!(outcomes, of_first, "{step:?} is no attempt");
        // And again after it.
        let flows = self::flows(&[after_hours(&[step]), play(20_000, &[step])].concat());
        assert_eq!(flows[2].initiator.address, CLIENT);
    }
}

#[test]
fn roles_are_remembered_in_a_bounded_number_and_of_one_capture() {
    let late = (false, "FA", 501, 102, 0);
    let policy = Policy { remembered: 0, ..Policy::default() };
    assert_eq!(run(policy, &after_hours(&[late])).0[1].initiator.address, SERVER);
    // Attempts that nobody answered push out no connection.
    let mut packets = play(1, &[&[SYN, SYN_ACK, ACK][..], &CLOSE].concat());
    for port in 1..100 {
        let mut probe = tcp(true, "S", 7, 0, 0).at(20);
        probe.outer.source = [10, 9, 9, port].into();
        packets.push(probe);
    }
    packets.extend(play(7_200, &[late]));
    let policy = Policy { remembered: 1, ..Policy::default() };
    let flows = run(policy, &packets).0;
    assert_eq!(flows.last().unwrap().initiator.address, CLIENT);
    // The clock was set back: these may be other hosts.
    let mut packets = play(10_000, &[&[SYN, SYN_ACK, ACK][..], &CLOSE].concat());
    packets.push(udp(CLIENT, 1, SERVER, 2, 60).at(10_030));
    packets.extend(play(1, &[late, late, late]));
    let flows = self::flows(&packets);
    assert_eq!(flows.last().unwrap().initiator.address, SERVER);
}

#[test]
fn a_datagram_flow_that_both_sides_spoke_in_keeps_its_roles() {
    let there = |second| udp(CLIENT, 5_000, SERVER, 6_000, 60).at(second);
    let back = |second| udp(SERVER, 6_000, CLIENT, 5_000, 60).at(second);
    let (flows, contacts) = run(Policy::default(), &[there(1), back(2), back(500)]);
    assert_eq!(flows.len(), 2);
    assert_eq!(flows[1].initiator.address, CLIENT);
    assert!(contacts.iter().all(|contact| contact.source == CLIENT));
}

#[test]
fn an_initiator_that_acknowledges_its_peer_is_no_attempt() {
    let mut packets = vec![tcp(true, "S", 100, 0, 0).at(0)];
    packets.extend((1..180).map(|second| tcp(true, "A", 101, 500, 0).at(second)));
    packets.push(tcp(true, "FA", 101, 500, 0).at(180));
    packets.push(udp(CLIENT, 1, SERVER, 2, 60).at(190));
    let of = |policy: Policy| {
        let flows = run(policy, &packets).0.into_iter();
        flows.filter(|flow| flow.initiator.port == Some(40_000)).collect::<Vec<_>>()
    };
    let flows = of(Policy::default());
    assert_eq!(flows.len(), 1);
    assert_eq!((flows[0].end_reason, flows[0].end), (EndReason::EndDetected, at(180)));
    assert_eq!(flows[0].initiator.packets, 181);
    assert!(of(zeek()).len() > 1, "Zeek waits 5 s for the other side");
}

#[test]
fn a_rst_lingers_as_long_as_a_fin() {
    let nanos = |milliseconds: i64| Timestamp::from_nanos(milliseconds * 1_000_000);
    let mut packets = play(0, &[SYN, (false, "RA", 0, 101, 0), (true, "A", 101, 1, 0)]);
    for (packet, time) in packets.iter_mut().zip([0, 10, 200]) {
        packet.time = nanos(time);
    }
    assert_eq!(run(Policy::default(), &packets).0.len(), 1);
    assert_eq!(run(zeek(), &packets).0.len(), 1);
}

#[test]
fn data_in_a_syn_is_sent_once() {
    let steps = [(true, "S", 100, 0, 18), (false, "SA", 500, 119, 4), (true, "A", 119, 505, 0)];
    for (policy, history) in [(Policy::default(), "ShA"), (zeek(), "STht")] {
        let flows = run(policy, &play(1, &steps)).0;
        assert!(flows[0].history.to_string().starts_with(history), "{}", flows[0].history);
    }
    let again = [(true, "S", 100, 0, 18), (true, "S", 100, 0, 18)];
    assert_eq!(flows(&play(1, &again))[0].history.to_string(), "ST");
}

#[test]
fn what_was_cut_off_is_neither_flag_nor_window() {
    let mut cut = tcp(true, "S", 100, 0, 0).at(1);
    let ports = cut.outer.layer4.ports().unwrap();
    cut.outer.layer4 = Layer4::TcpPorts(ports);
    let mut later = cut.clone().at(100);
    later.number = 2;
    let flows = flows(&[cut, later]);
    assert_eq!(flows.len(), 1, "it is no attempt that ends after a minute");
    assert_eq!(told(&flows), [("OTH", 2, 0, String::new())]);
    assert_eq!(flows[0].responder.port, Some(9_999));
}
