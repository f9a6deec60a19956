//! What packets tell the judge.

use super::{packets::*, run};
use crate::{
    flow::Policy,
    record::{Contact, Layer4, Outcome, Packet, Transport},
};

fn told(packets: &[Packet]) -> Vec<(Outcome, bool, u16)> {
    let contacts = run(Policy::default(), packets).1;
    contacts.iter().map(|c: &Contact| (c.outcome, c.path_proven, c.port)).collect()
}

#[test]
fn an_attempt_is_told_with_what_came_of_it() {
    let syn = || tcp(true, "S", 100, 0, 0).at(1);
    let syn_ack = || tcp(false, "SA", 500, 101, 0).at(1);
    let attempt = (Outcome::Attempt, false, 9999);
    let cases = [
        (vec![syn()], vec![attempt]),
        (
            vec![syn(), syn_ack(), tcp(true, "A", 101, 501, 0).at(1)],
            vec![attempt, (Outcome::Success, true, 9999)],
        ),
        // Who never saw our SYN-ACK does not know what to acknowledge.
        (vec![syn(), syn_ack(), tcp(true, "A", 101, 7, 0).at(1)], vec![attempt]),
        (
            vec![syn(), syn_ack(), tcp(true, "R", 101, 0, 0).at(1)],
            vec![attempt, (Outcome::Success, true, 9999)],
        ),
        (
            vec![syn(), tcp(false, "RA", 0, 101, 0).at(1)],
            vec![attempt, (Outcome::Refused, false, 9999)],
        ),
        (
            vec![syn(), syn().at(2), udp(CLIENT, 1, CLIENT, 1, 60).at(5)],
            vec![attempt, (Outcome::TimedOut, false, 9999), (Outcome::Attempt, false, 1)],
        ),
        // Only one direction passes the sensor.
        (
            vec![syn(), tcp(true, "A", 101, 501, 0).at(2)],
            vec![attempt, (Outcome::Success, false, 9999)],
        ),
        (vec![syn_ack()], vec![]),
        (vec![tcp(false, "RA", 0, 101, 0).at(1)], vec![]),
        (
            vec![udp(CLIENT, 1, SERVER, 161, 60).at(1), udp(SERVER, 161, CLIENT, 1, 60).at(1)],
            vec![(Outcome::Attempt, false, 161), (Outcome::Success, false, 161)],
        ),
        (vec![icmp(CLIENT, SERVER, 8, 0).at(1)], vec![(Outcome::Echo, false, 0)]),
        (vec![tcp(true, "A", 7, 7, 0).at(1)], vec![(Outcome::AckProbe, false, 9999)]),
    ];
    for (packets, expected) in cases {
        assert_eq!(told(&packets), expected, "{packets:#?}");
    }
}

#[test]
fn an_unreachable_refuses_the_attempt_it_quotes_and_no_other() {
    let attempt = udp(CLIENT, 1, SERVER, 161, 60).at(1);
    let router = [10, 0, 0, 254].into();
    for (quoted, kind, code, refused) in [
        (attempt.outer.clone(), 3, 3, true),
        (attempt.outer.clone(), 3, 4, false),
        (attempt.outer.clone(), 11, 0, false),
        (udp(CLIENT, 1, SERVER, 162, 60).outer, 3, 3, false),
        (udp(SERVER, 161, CLIENT, 1, 60).outer, 3, 3, false),
    ] {
        let error = icmp(router, CLIENT, kind, code).at(1).carrying(quoted);
        let contacts = run(Policy::default(), &[attempt.clone(), error]).1;
        let outcomes: Vec<_> = contacts.iter().map(|contact| contact.outcome).collect();
        let expected: &[_] =
            if refused { &[Outcome::Attempt, Outcome::Refused] } else { &[Outcome::Attempt] };
        assert_eq!(outcomes, expected, "type {kind} code {code}");
        assert!(contacts.iter().all(|contact| contact.source == CLIENT));
    }
}

#[test]
fn odd_flags_are_told_each_time() {
    for (flags, odd) in [
        ("", true),
        ("F", true),
        ("FPU", true),
        ("SF", true),
        ("SR", true),
        ("S", false),
        ("FA", false),
        ("R", false),
        ("RA", false),
    ] {
        let outcomes: Vec<_> =
            told(&[tcp(true, flags, 1, 0, 0).at(1), tcp(true, flags, 1, 0, 0).at(1)])
                .into_iter()
                .filter(|(outcome, ..)| matches!(outcome, Outcome::OddFlags(_)))
                .collect();
        assert_eq!(outcomes.len(), if odd { 2 } else { 0 }, "{flags}");
    }
}

#[test]
fn a_tcp_header_in_two_fragments_is_told() {
    let whole = tcp(true, "S", 1, 0, 0).at(1);
    let mut tiny = whole.clone().fragment(1, 0, true);
    tiny.outer.ip_bytes = 28;
    tiny.outer.layer4 = Layer4::Opaque;
    let second = whole.clone().fragment(1, 8, true);
    let harmless = whole.fragment(2, 0, true);
    let split = |packet: Packet| {
        told(&[packet]).iter().any(|(outcome, ..)| *outcome == Outcome::SplitHeader)
    };
    assert!(split(tiny) && split(second) && !split(harmless));
}

#[test]
fn who_writes_to_a_group_expects_no_answer() {
    let group = [224, 0, 0, 251].into();
    assert_eq!(told(&[udp(CLIENT, 5353, group, 5353, 60).at(1)]), []);
}

#[test]
fn contacts_of_tunnelled_packets_are_nobodys() {
    let policy = Policy { inner: true, ..Policy::default() };
    let outer = packet(header(CLIENT, SERVER, Transport(47))).at(1);
    let inner = tcp(true, "S", 1, 0, 0).outer;
    assert_eq!(run(policy, &[outer.carrying(inner)]).1, []);
}
