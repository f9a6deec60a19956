//! What packets tell the judge.

use super::{packets::*, run, run_counting};
use crate::{
    flow::{Output, Policy, Shards},
    record::{Checksum, Checksums, Contact, Layer4, Outcome, Packet, Transport},
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
            // Half open, and dropped by who began it.
            vec![syn(), syn_ack(), tcp(true, "R", 101, 0, 0).at(1)],
            vec![attempt, (Outcome::Refused, true, 9999)],
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
fn what_a_host_would_not_take_refuses_nothing() {
    use Checksum::{Bad, Good, Unverified};
    let asked = udp(CLIENT, 1, SERVER, 161, 60).at(1);
    let error = |ip, transport| {
        let mut error = icmp(SERVER, CLIENT, 3, 3).at(2).carrying(asked.outer.clone());
        error.outer.checksums = Checksums { ip, transport };
        vec![asked.clone(), error]
    };
    let reset = |transport| {
        let mut reset = tcp(false, "RA", 0, 101, 0).at(2).vlan(2);
        reset.outer.checksums = Checksums { ip: Good, transport };
        vec![tcp(true, "S", 100, 0, 0).at(1).vlan(1), reset]
    };
    for (packets, is_good) in [
        (error(Good, Good), true),
        (error(Unverified, Unverified), true),
        (error(Good, Bad), false),
        (error(Bad, Good), false),
        (reset(Good), true),
        (reset(Bad), false),
    ] {
        for ignore_checksums in [false, true] {
            let policy = Policy { ignore_checksums, ..Policy::default() };
            let contacts = run(policy, &packets).1;
            let is_told = contacts.iter().any(|contact| contact.outcome == Outcome::Refused);
            assert_eq!(is_told, is_good || ignore_checksums, "{packets:#?}");
        }
    }
}

#[test]
fn a_port_that_is_tried_again_from_another_one_may_be_refused_then() {
    // Linux sends few unreachables a second: most of a scan's first tries hear nothing.
    let again = udp(CLIENT, 2, SERVER, 161, 60).at(2);
    let error = icmp(SERVER, CLIENT, 3, 3).at(2).carrying(again.outer.clone());
    let packets = [udp(CLIENT, 1, SERVER, 161, 60).at(1), again, error.clone(), error];
    let outcomes: Vec<_> = told(&packets).into_iter().map(|(outcome, ..)| outcome).collect();
    assert_eq!(outcomes, [Outcome::Attempt, Outcome::Refused]);
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

/// A whole connection of the client's from this port to the server's `port`, from `second` on; the
/// client sends `payload` bytes.
fn connection(from: u8, port: u16, second: i64, payload: u32, ends: bool) -> Vec<Packet> {
    let done = 101 + payload;
    let steps: &[(bool, &str, u32, u32, u32, i64)] = &[
        (true, "S", 100, 0, 0, 0),
        (false, "SA", 500, 101, 0, 0),
        (true, "A", 101, 501, 0, 0),
        (true, "PA", 101, 501, payload, 1),
        (true, "FA", done, 501, 0, 2),
        (false, "FA", 501, done + 1, 0, 3),
    ];
    let steps = &steps[..if ends { 6 } else { 4 }];
    let packets = steps.iter().map(|&(by_client, flags, sequence, ack, payload, later)| {
        let mut packet = tcp(by_client, flags, sequence, ack, payload).at(second + later);
        let Layer4::Tcp(tcp) = &mut packet.outer.layer4 else { panic!("{packet:?}") };
        let own = 40_000 + u16::from(from);
        (tcp.ports.source, tcp.ports.destination) =
            if by_client { (own, port) } else { (port, own) };
        packet
    });
    packets.collect()
}

#[test]
fn each_try_to_log_in_is_told_with_its_end_and_of_other_ports_the_first() {
    for (port, told) in [(22, 3), (443, 3), (9_999, 1)] {
        let packets: Vec<_> =
            (0..3).flat_map(|n| connection(n, port, i64::from(n) * 10, 50, true)).collect();
        let contacts = run(Policy::default(), &packets).1;
        let count = |is: fn(&Outcome) -> bool| {
            contacts.iter().filter(|contact| is(&contact.outcome)).count()
        };
        assert_eq!(count(|outcome| *outcome == Outcome::Attempt), told, "{port}");
        assert_eq!(count(|outcome| *outcome == Outcome::Success), told, "{port}");
        let ended: Vec<_> = contacts
            .iter()
            .filter(|contact| matches!(contact.outcome, Outcome::Ended { .. }))
            .map(|contact| (contact.outcome, contact.time, contact.source, contact.port))
            .collect();
        let outcome = Outcome::Ended {
            duration_nanos: 3_000_000_000,
            sent_bytes: 4 * 40 + 50,
            received_bytes: 2 * 40,
        };
        let expected = [3, 13, 23].map(|second| (outcome, at(second), CLIENT, port));
        assert_eq!(ended, if told == 3 { &expected[..] } else { &[] });
    }
}

#[test]
fn the_end_of_a_long_connection_counts_what_was_reported_before() {
    let mut packets = connection(0, 22, 0, 50, false);
    for second in 1..40 {
        let mut packet = packets[2].clone().at(second * 10);
        packet.number = 100;
        packets.push(packet);
    }
    packets.push(udp(SERVER, 53, CLIENT, 7, 60).at(800));
    let contacts = run(Policy::default(), &packets).1;
    let ended = contacts.iter().find(|contact| matches!(contact.outcome, Outcome::Ended { .. }));
    let Some(Outcome::Ended { sent_bytes, received_bytes, duration_nanos }) =
        ended.map(|contact| contact.outcome)
    else {
        panic!("{contacts:?}")
    };
    assert_eq!((sent_bytes, received_bytes), (3 * 40 + 50 + 39 * 40, 40));
    assert_eq!(duration_nanos, 390_000_000_000);
}

#[test]
fn what_a_source_has_open_to_a_web_port_is_told_every_ten_seconds() {
    let mut packets = [
        connection(0, 80, 1, 10, false),
        connection(1, 80, 1, 10, false),
        connection(2, 80, 1, 10, true),
        connection(3, 22, 1, 10, false),
        connection(4, 8_443, 1, 10, false),
    ]
    .concat();
    packets.sort_by_key(|packet| packet.time);
    let mut late = packets[0].clone().at(15);
    late.outer = connection(0, 80, 1, 10, false)[2].outer.clone();
    packets.push(late);
    packets.push(udp(CLIENT, 1, SERVER, 53, 60).at(25));
    let contacts = run(Policy::default(), &packets).1;
    let open: Vec<_> = contacts
        .iter()
        .filter_map(|contact| match contact.outcome {
            Outcome::Open { count, bytes } => {
                assert_eq!(contact.source, CLIENT);
                Some((contact.time, contact.port, count, bytes))
            }
            _ => None,
        })
        .collect();
    let first = 4 * 40 + 10;
    assert_eq!(
        open,
        [
            (at(10), 80, 2, 2 * first),
            (at(10), 8_443, 1, first),
            (at(20), 80, 2, 40),
            (at(20), 8_443, 1, 0)
        ]
    );
}

#[test]
fn packets_syns_and_handshakes_are_counted_each_second() {
    let mut packets = connection(0, 9_999, 1, 10, false);
    packets.push(tcp(true, "S", 7, 0, 0).at(1));
    packets.sort_by_key(|packet| packet.time);
    let contacts = run_counting(Policy::default(), &packets).1;
    let counts: Vec<_> = contacts
        .iter()
        .filter_map(|contact| match contact.outcome {
            Outcome::Counts { packets, syns, completed } => {
                let about = if packets > 0 { contact.source } else { contact.destination };
                Some((contact.time, about, contact.port, packets, syns, completed))
            }
            _ => None,
        })
        .collect();
    assert_eq!(counts, [(at(2), SERVER, 9_999, 0, 2, 1), (at(2), CLIENT, 0, 1, 2, 0),]);
}

#[test]
fn what_a_source_sends_counts_only_where_nobody_answers() {
    let esp = |source, destination| packet(header(source, destination, Transport(50))).at(1);
    let asked = || udp(CLIENT, 40_000, SERVER, 443, 1_200).at(1);
    let answer = || udp(SERVER, 443, CLIENT, 40_000, 1_200).at(1);
    let data = |by_client| tcp(by_client, "A", 600, 600, 100).at(1);
    let many = |packet: Packet| vec![packet; 50];
    let handshake = || connection(0, 9_999, 1, 10, false)[..3].to_vec();
    // What is sent before an answer is there counts, once.
    for (what, packets, of_client, of_server) in [
        ("a download", [handshake(), many(data(false)), many(data(true))].concat(), 1, 0),
        ("joined under way", [many(data(false)), many(data(true))].concat(), 0, 50),
        ("one way of it", [vec![handshake()[0].clone()], many(data(true))].concat(), 1, 0),
        ("the other way", [vec![handshake()[1].clone()], many(data(false))].concat(), 0, 1),
        ("ACKs of nothing", many(data(true)), 50, 0),
        (
            "ACKs that are refused",
            [vec![data(true), tcp(false, "R", 600, 0, 0).at(1)], many(data(true))].concat(),
            51,
            1,
        ),
        ("SYNs", many(handshake()[0].clone()), 50, 0),
        ("datagrams", many(asked()), 50, 0),
        ("QUIC", [vec![asked(), answer()], many(asked()), many(answer())].concat(), 1, 0),
        ("a tunnel", [many(esp(CLIENT, SERVER)), many(esp(SERVER, CLIENT))].concat(), 50, 0),
        (
            "echoes",
            [many(icmp(CLIENT, SERVER, 8, 0).at(1)), many(icmp(SERVER, CLIENT, 0, 0).at(1))]
                .concat(),
            50,
            50,
        ),
    ] {
        for workers in [1, 3] {
            let mut table = Shards::new(Policy::default(), workers);
            let mut out = Output { wants_contacts: true, ..Output::default() };
            table.absorb(&packets, &mut out);
            table.drain(&mut out);
            let sent_by = |source| -> u64 {
                let contacts = out.contacts.iter().map(|report| &report.record);
                let counts = contacts.filter(|contact| {
                    contact.source == source && contact.destination.is_unspecified()
                });
                counts
                    .map(|contact| match contact.outcome {
                        Outcome::Counts { packets, .. } => packets,
                        other => panic!("{other:?}"),
                    })
                    .sum()
            };
            assert_eq!((sent_by(CLIENT), sent_by(SERVER)), (of_client, of_server), "{what}");
        }
    }
}

#[test]
fn what_is_sent_to_one_port_over_and_over_alike_is_counted() {
    let echo = |second: i64| icmp(CLIENT, SERVER, 8, 0).at(second);
    let alike = |from: u16| udp(CLIENT, from, SERVER, 53, 60).at(1);
    let differing = |from: u16| udp(CLIENT, from, SERVER, 123, 60 + u32::from(from)).at(1);
    // As many datagrams of one stream are no repetition.
    let stream = |_: u16| udp(CLIENT, 9, SERVER, 5_004, 60).at(1);
    let mut packets: Vec<_> = (0..30).map(|_| echo(1)).collect();
    packets.extend((0..5).map(|_| icmp(CLIENT, [10, 0, 0, 77].into(), 8, 0).at(1)));
    packets.extend((100..150).map(alike).chain((100..150).map(differing)));
    packets.extend((100..150).map(stream));
    packets.push(echo(3));
    let contacts = run_counting(Policy::default(), &packets).1;
    let counts: Vec<_> = contacts
        .iter()
        .filter(|contact| contact.source == CLIENT && contact.destination == SERVER)
        .filter_map(|contact| match contact.outcome {
            Outcome::Counts { packets, .. } => Some((contact.transport, contact.port, packets)),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [(Transport::ICMP, 0, 30), (Transport::UDP, 53, 49)]);
}

#[test]
fn a_flood_of_first_contacts_is_remembered_in_a_bounded_number() {
    let probe = |port: u16| {
        let mut packet = udp(CLIENT, 1, SERVER, port, 60).at(1);
        packet.number = u64::from(port);
        packet
    };
    let packets: Vec<_> = (1..2_000).chain(1..2_000).map(probe).collect();
    let attempts = run(Policy { max_flows: 10, ..Policy::default() }, &packets).1;
    assert_eq!(attempts.len(), 1_999, "each is told once, though its flow is long gone");
}

#[test]
fn answers_that_the_one_who_asked_refuses_are_told() {
    let question = udp(CLIENT, 1, SERVER, 53, 60).at(1);
    let answer = udp(SERVER, 53, CLIENT, 1, 90).at(1);
    let refused = icmp(CLIENT, SERVER, 3, 3).at(1).carrying(answer.outer.clone());
    let outcomes: Vec<_> = told(&[question, answer, refused])
        .into_iter()
        .map(|(outcome, proven, _)| (outcome, proven))
        .collect();
    assert_eq!(
        outcomes,
        [(Outcome::Attempt, false), (Outcome::Success, false), (Outcome::Refused, true)]
    );
}

#[test]
fn every_handshake_with_a_port_counts_though_only_the_first_one_is_told() {
    let packets: Vec<_> =
        (0..5).flat_map(|from| connection(from, 5_432, 1, 10, false)[..3].to_vec()).collect();
    let contacts = run_counting(Policy::default(), &packets).1;
    let counts = contacts.iter().find_map(|contact| match contact.outcome {
        Outcome::Counts { syns, completed, .. } if contact.destination == SERVER => {
            (syns > 0 && contact.port == 5_432).then_some((syns, completed))
        }
        _ => None,
    });
    assert_eq!(counts, Some((5, 5)));
}

/// Attempts of the client's with these ports of the server, all at this time.
fn attempts(ports: std::ops::Range<u16>, second: i64) -> Vec<Packet> {
    let aimed = ports.map(|port| {
        let mut packet = tcp(true, "S", 100, 0, 0).at(second);
        let Layer4::Tcp(tcp) = &mut packet.outer.layer4 else { panic!("{packet:?}") };
        tcp.ports.destination = port;
        packet
    });
    aimed.collect()
}

/// How many attempts are told as failed.
fn timed_out(contacts: &[Contact]) -> usize {
    contacts.iter().filter(|contact| contact.outcome == Outcome::TimedOut).count()
}

#[test]
fn attempts_that_nothing_answered_have_failed_when_the_input_ends() {
    let answer = |flags: &str, second| {
        let mut packet = tcp(false, flags, 500, 101, 0).at(second);
        let Layer4::Tcp(tcp) = &mut packet.outer.layer4 else { panic!("{packet:?}") };
        tcp.ports.source = 2_000;
        packet
    };
    let later = |second| udp(SERVER, 53, CLIENT, 7, 60).at(second);
    for (what, packets, failed) in [
        ("many at once", attempts(2_000..2_010, 1), 10),
        ("some at once", attempts(2_000..2_008, 1), 0),
        ("one that was repeated", [attempts(2_000..2_001, 1), vec![later(2)]].concat(), 1),
        (
            "many, one of them refused",
            [attempts(2_000..2_010, 1), vec![answer("RA", 1)]].concat(),
            0,
        ),
        (
            "those that are older than an answer is",
            [attempts(2_000..2_010, 1), vec![answer("RA", 1), later(3)]].concat(),
            9,
        ),
        (
            "many since an answer",
            [attempts(2_000..2_001, 1), vec![answer("RA", 1)], attempts(3_000..3_009, 2)].concat(),
            9,
        ),
        ("those that were told before", [attempts(2_000..2_010, 1), vec![later(9)]].concat(), 10),
    ] {
        for workers in [1, 3] {
            let mut table = Shards::new(Policy::default(), workers);
            let mut out = Output { wants_contacts: true, ..Output::default() };
            table.absorb(&packets, &mut out);
            table.drain(&mut out);
            let contacts: Vec<_> = out.contacts.into_iter().map(|report| report.record).collect();
            assert_eq!(timed_out(&contacts), failed, "{what}");
        }
    }
}

#[test]
fn attempts_that_nothing_answered_have_failed_when_the_time_goes_back() {
    let mut packets = attempts(2_000..2_010, 1_000);
    packets.extend((0..4).map(|_| udp(CLIENT, 7, SERVER, 53, 60).at(1)));
    let contacts = run(Policy::default(), &packets).1;
    assert_eq!(timed_out(&contacts), 10);
    assert!(contacts.iter().all(|contact| contact.time <= at(1_000)), "{contacts:?}");
}

#[test]
fn what_is_open_when_a_live_run_stops_has_neither_failed_nor_ended() {
    let mut table = Shards::new(Policy::default(), 1);
    let mut out = Output { wants_contacts: true, ..Output::default() };
    table.absorb(&[attempts(2_000..2_020, 1), connection(0, 22, 1, 50, false)].concat(), &mut out);
    while table.stop_part(3, &mut out) {}
    assert!(table.is_empty());
    let contacts: Vec<_> = out.contacts.into_iter().map(|report| report.record).collect();
    assert_eq!(timed_out(&contacts), 0);
}

#[test]
fn a_session_that_the_end_of_the_input_cuts_off_is_no_short_one() {
    for (ends, told) in [(true, 1), (false, 0)] {
        let contacts = run(Policy::default(), &connection(0, 22, 1, 50, ends)).1;
        let ended =
            contacts.iter().filter(|contact| matches!(contact.outcome, Outcome::Ended { .. }));
        assert_eq!(ended.count(), told);
    }
}

#[test]
fn who_leaves_a_port_half_open_again_is_told_again() {
    let check = |second| {
        [
            tcp(true, "S", 100, 0, 0).at(second),
            tcp(false, "SA", 500, 101, 0).at(second),
            tcp(true, "R", 101, 0, 0).at(second),
        ]
    };
    let refused: Vec<_> = told(&[check(1), check(20), check(40)].concat())
        .into_iter()
        .filter(|(outcome, ..)| *outcome == Outcome::Refused)
        .collect();
    assert_eq!(refused, [(Outcome::Refused, true, 9_999); 3]);
}

#[test]
fn an_answer_in_another_vlan_answers_all_the_same() {
    let syn = || tcp(true, "S", 100, 0, 0).vlan(1).at(1);
    let asked = || udp(CLIENT, 1, SERVER, 161, 60).vlan(1).at(1);
    let attempt = (Outcome::Attempt, false, 9_999);
    let question = (Outcome::Attempt, false, 161);
    let late = || udp(SERVER, 53, CLIENT, 7, 60).at(9);
    let unreachable = |quoted: &Packet| {
        icmp([10, 0, 0, 254].into(), CLIENT, 3, 3).vlan(2).at(1).carrying(quoted.outer.clone())
    };
    let cases = [
        ("no answer", vec![syn(), late()], vec![attempt, (Outcome::TimedOut, false, 9_999)]),
        (
            "refused",
            vec![syn(), tcp(false, "RA", 0, 101, 0).vlan(2).at(1), late()],
            vec![attempt, (Outcome::Refused, false, 9_999)],
        ),
        (
            "an answer to something else",
            vec![syn(), tcp(false, "RA", 0, 777, 0).vlan(2).at(1), late()],
            vec![attempt, (Outcome::TimedOut, false, 9_999)],
        ),
        (
            "unreachable",
            vec![syn(), unreachable(&syn()), late()],
            vec![attempt, (Outcome::Refused, false, 9_999)],
        ),
        ("heard", vec![syn(), tcp(false, "SA", 500, 101, 0).vlan(2).at(1), late()], vec![attempt]),
        (
            "a handshake",
            vec![
                syn(),
                tcp(false, "SA", 500, 101, 0).vlan(2).at(1),
                tcp(true, "A", 101, 501, 0).vlan(1).at(1),
                late(),
            ],
            vec![attempt, (Outcome::Success, false, 9_999)],
        ),
        (
            "left half open",
            vec![
                syn(),
                tcp(false, "SA", 500, 101, 0).vlan(2).at(1),
                tcp(true, "R", 101, 0, 0).vlan(1).at(1),
                late(),
            ],
            vec![attempt, (Outcome::Refused, true, 9_999)],
        ),
        (
            "a datagram",
            vec![asked(), udp(SERVER, 161, CLIENT, 1, 60).vlan(2).at(1)],
            vec![question, (Outcome::Success, false, 161)],
        ),
        (
            "a datagram that is refused",
            vec![asked(), unreachable(&asked())],
            vec![question, (Outcome::Refused, false, 161)],
        ),
        ("itself elsewhere", vec![asked(), asked().vlan(3)], vec![question, question]),
    ];
    for (what, packets, expected) in cases {
        for workers in [1, 3] {
            let mut table = Shards::new(Policy::default(), workers);
            let mut out = Output { wants_contacts: true, ..Output::default() };
            table.absorb(&packets, &mut out);
            table.drain(&mut out);
            let told: Vec<_> = out
                .contacts
                .iter()
                .map(|report| &report.record)
                .filter(|contact| !matches!(contact.outcome, Outcome::Counts { .. }))
                .map(|contact| (contact.outcome, contact.path_proven, contact.port))
                .collect();
            assert_eq!(told, expected, "{what}");
        }
    }
}

#[test]
fn a_flood_of_attempts_in_vlans_is_remembered_in_a_bounded_number() {
    let mut packets = Vec::new();
    for source in 0..70_000_u32 {
        let mut packet = tcp(true, "S", 100, 0, 0).vlan(1).at(1);
        packet.outer.source = std::net::Ipv4Addr::from_bits(0x1400_0000 + source).into();
        packets.push(packet);
    }
    let last = packets.last().unwrap().outer.clone();
    let first = packets[0].outer.clone();
    for quoted in [first, last] {
        packets.push(icmp(SERVER, quoted.source, 3, 1).vlan(2).at(1).carrying(quoted));
    }
    let contacts = run(Policy::default(), &packets).1;
    let refused = contacts.iter().filter(|contact| contact.outcome == Outcome::Refused);
    assert_eq!(refused.count(), 1, "the first one is long forgotten");
}

#[test]
fn who_answers_a_search_by_multicast_has_begun_nothing() {
    for (from, to, outcomes) in [
        (1_900, 50_000, &[][..]),
        (3_702, 50_000, &[]),
        (3_702, 161, &[Outcome::Attempt]),
        (1_901, 50_000, &[Outcome::Attempt]),
    ] {
        let answer = udp(SERVER, from, CLIENT, to, 300).at(1);
        let refused = icmp(CLIENT, SERVER, 3, 3).at(1).carrying(answer.outer.clone());
        let told: Vec<_> = told(&[answer, refused]).into_iter().map(|(told, ..)| told).collect();
        assert_eq!(told.first().as_slice(), outcomes.iter().collect::<Vec<_>>(), "{from} {to}");
    }
}

#[test]
fn an_ack_is_of_a_connection_once_the_other_end_goes_on_with_it() {
    let ack = || tcp(true, "A", 7, 7, 0).at(1);
    let probe = (Outcome::AckProbe, false, 9_999);
    for (answer, more) in [
        (tcp(false, "PA", 7, 7, 100), Some((Outcome::Success, false, 9_999))),
        (tcp(false, "A", 7, 7, 0), Some((Outcome::Success, false, 9_999))),
        (tcp(false, "R", 7, 0, 0), None),
        (tcp(true, "PA", 7, 7, 10), None),
    ] {
        let told = told(&[ack(), answer.at(1), tcp(false, "R", 107, 7, 0).at(2)]);
        assert_eq!(told, [Some(probe), more].into_iter().flatten().collect::<Vec<_>>());
    }
}
